// Package scripts holds the tests of the scripts beside it that others trust: a job of CI that fails
// must not pass unseen.
//
// What lives here: shell scripts that the Makefile runs, and their tests. What must not: what Go can
// do in a package of its own.
package scripts
