// Package ctable lets the tests of package qtoken reach the C table of qtoken.h, because a
// _test.go file cannot import "C". Nothing but tests may import it: a table belongs to an
// engine of package datapath, under that engine's lock; here it belongs to one goroutine.
package ctable
