// Package background starts every goroutine of the library, and every function that a timer
// runs, so that a panic in one of them can be caught: nobody above it on its stack can.
//
// By default a panic ends the program, as in any Go program. The C library, whose host must
// never see one, says what to do instead (OnPanic). A test of the C library keeps to it that
// the packages concerned start goroutines in no other way.
//
// What must not live here: anything about what the goroutines do.
package background
