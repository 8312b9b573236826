// Package selftest holds the tests of the test bed that run on it. It has nothing else in it.
package selftest
