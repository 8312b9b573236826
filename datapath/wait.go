package datapath

/*
#include "datapath.h"
#cgo noescape dp_push
#cgo nocallback dp_push
#cgo noescape dp_pop
#cgo nocallback dp_pop
#cgo noescape dp_wait
#cgo nocallback dp_wait
#cgo noescape dp_wait_any
#cgo nocallback dp_wait_any
#cgo noescape dp_wait_next_n
#cgo nocallback dp_wait_next_n
*/
import "C"

import (
	"syscall"
	"time"
	"unsafe"
)

// Push starts sending a message on a connected descriptor; the caller may free it at once.
// EBADF, ENOTCONN, EINVAL (not ours, empty), EMSGSIZE, EAGAIN (no token left).
func Push(qd int32, sga *SGArray) (Token, error) {
	var qt C.demi_qtoken_t
	m := *sga // which may lie in a structure of Go pointers, where C may not look
	err := errnoErr(C.dp_push(C.int(qd), m.c(), &qt))
	return Token(qt), err
}

// Pop starts receiving a message from a connected descriptor. EBADF, ENOTCONN, EAGAIN.
func Pop(qd int32) (Token, error) {
	var qt C.demi_qtoken_t
	err := errnoErr(C.dp_pop(C.int(qd), &qt))
	return Token(qt), err
}

// Forever as a timeout waits without end.
const Forever = time.Duration(-1)

func timespec(d time.Duration, ts *C.struct_timespec) *C.struct_timespec {
	if d < 0 {
		return nil
	}
	ts.tv_sec = C.time_t(d / time.Second)
	ts.tv_nsec = C.long(d % time.Second)
	return ts
}

// Wait waits for one token as C callers do, with its thread inside C; goroutines that
// wait for long use WatchToken instead. ETIMEDOUT; EINVAL: no such token.
func Wait(qt Token, r *Result, timeout time.Duration) error {
	var ts C.struct_timespec
	return errnoErr(C.dp_wait(C.demi_qtoken_t(qt), r.c(), timespec(timeout, &ts)))
}

// WaitAny waits for one of several tokens of one engine: the lowest index among the
// complete wins. ETIMEDOUT; EINVAL: a token that is none, or tokens of different engines.
func WaitAny(qts []Token, r *Result, timeout time.Duration) (int, error) {
	if len(qts) == 0 {
		return 0, syscall.EINVAL
	}
	var ts C.struct_timespec
	var off C.int
	rc := C.dp_wait_any((*C.demi_qtoken_t)(unsafe.Pointer(&qts[0])), C.int(len(qts)), r.c(), &off,
		timespec(timeout, &ts))
	return int(off), errnoErr(rc)
}

// WaitNextN waits until len(rs) tokens of e, any, have completed. On ETIMEDOUT the first n
// results are valid and consumed all the same.
func WaitNextN(e *Engine, rs []Result, timeout time.Duration) (n int, err error) {
	if len(rs) == 0 {
		return 0, syscall.EINVAL
	}
	var ts C.struct_timespec
	var out C.int
	rc := C.dp_wait_next_n(e.c, rs[0].c(), C.int(len(rs)), &out, timespec(timeout, &ts))
	return int(out), errnoErr(rc)
}
