package datapath

// #include "datapath.h"
// #cgo noescape dp_token_alloc
// #cgo nocallback dp_token_alloc
// #cgo noescape dp_token_watch
// #cgo nocallback dp_token_watch
// #cgo noescape dp_token_redeem
// #cgo nocallback dp_token_redeem
import "C"

import (
	"syscall"
	"unsafe"
)

// Token is a queue token (demi_qtoken_t). 0 and ^Token(0) never name an operation.
type Token uint64

// Opcode says what an operation was (demi_opcode_t).
type Opcode uint32

// The opcodes.
const (
	OpInvalid Opcode = C.DEMI_OPC_INVALID
	OpPush    Opcode = C.DEMI_OPC_PUSH
	OpPop     Opcode = C.DEMI_OPC_POP
	OpAccept  Opcode = C.DEMI_OPC_ACCEPT
	OpConnect Opcode = C.DEMI_OPC_CONNECT
	OpClose   Opcode = C.DEMI_OPC_CLOSE
	OpFailed  Opcode = C.DEMI_OPC_FAILED
)

// String names the opcode.
func (o Opcode) String() string {
	switch o {
	case OpInvalid:
		return "INVALID"
	case OpPush:
		return "PUSH"
	case OpPop:
		return "POP"
	case OpAccept:
		return "ACCEPT"
	case OpConnect:
		return "CONNECT"
	case OpClose:
		return "CLOSE"
	case OpFailed:
		return "FAILED"
	}
	return "unknown"
}

// AcceptResult is a demi_accept_result_t: the new descriptor and the peer's sockaddr_in as
// the kernel lays it out (family in host byte order, port and address in network byte
// order).
type AcceptResult struct {
	QD   int32
	Addr [16]byte
}

// Result is a demi_qresult_t, byte for byte.
type Result struct {
	Opcode Opcode
	QD     int32
	Token  Token
	Ret    int64
	value  [40]byte
}

// A compile-time check that Result has the layout of demi_qresult_t.
var (
	_ [0]struct{} = [unsafe.Sizeof(Result{}) - C.sizeof_demi_qresult_t]struct{}{}
	_ [0]struct{} = [unsafe.Sizeof(AcceptResult{}) - C.sizeof_demi_accept_result_t]struct{}{}
	_ [0]struct{} = [unsafe.Sizeof(SGArray{}) - C.sizeof_demi_sgarray_t]struct{}{}
)

// SGA is the message of a pop; the caller frees it with SGAFree.
func (r *Result) SGA() SGArray { return SGArray{raw: r.value} }

// Accept is the result of an accept.
func (r *Result) Accept() AcceptResult {
	return *(*AcceptResult)(unsafe.Pointer(&r.value[0]))
}

// Err is nil for a success and a syscall.Errno for a failed operation.
func (r *Result) Err() error {
	if r.Opcode != OpFailed {
		return nil
	}
	return syscall.Errno(r.Ret)
}

func (r *Result) c() *C.demi_qresult_t { return (*C.demi_qresult_t)(unsafe.Pointer(r)) }

// AllocToken takes a token for a connect, accept or close operation on qd. EAGAIN: none
// left.
func AllocToken(e *Engine, qd int32, op Opcode) (Token, error) {
	var qt C.demi_qtoken_t
	err := errnoErr(C.dp_token_alloc(e.c, C.int32_t(qd), C.enum_demi_opcode(op), &qt))
	return Token(qt), err
}

// CompleteToken completes a token with its own opcode. Neither it nor the two below gives a
// notice: the caller tells those who watch the token. EINVAL: not a pending token.
func CompleteToken(qt Token, op Opcode) error {
	return errnoErr(C.dp_token_complete_quietly(C.demi_qtoken_t(qt), C.enum_demi_opcode(op), 0, nil))
}

// CompleteAccept completes an accept token. EINVAL: not a pending token.
func CompleteAccept(qt Token, r AcceptResult) error {
	return errnoErr(C.dp_token_complete_quietly(C.demi_qtoken_t(qt), C.DEMI_OPC_ACCEPT, 0,
		(*C.demi_accept_result_t)(unsafe.Pointer(&r))))
}

// FailToken completes a token as failed. EINVAL: not a pending token.
func FailToken(qt Token, errno syscall.Errno) error {
	return errnoErr(C.dp_token_complete_quietly(C.demi_qtoken_t(qt), C.DEMI_OPC_FAILED,
		C.int64_t(errno), nil))
}

// AbandonToken frees a pending token that was never shown to the application.
func AbandonToken(qt Token) error { return errnoErr(C.dp_token_abandon(C.demi_qtoken_t(qt))) }

// WatchToken asks for a NoticeToken when the data plane completes qt; done if it has completed already, in
// which case no notice comes. setsUp: it is one of connect or accept, which no completion queue
// moves. A watched token belongs to its watcher: WaitNextN does not take it. EINVAL: no such token.
func WatchToken(qt Token) (done, setsUp bool, err error) {
	var d, s C.bool
	err = errnoErr(C.dp_token_watch(C.demi_qtoken_t(qt), &d, &s))
	return bool(d), bool(s), err
}

// UnwatchToken takes WatchToken back; a notice that was under way may still come.
func UnwatchToken(qt Token) error { return errnoErr(C.dp_token_unwatch(C.demi_qtoken_t(qt))) }

// RedeemToken takes a completed token's result without waiting. ETIMEDOUT: it is pending;
// EINVAL: no such token.
func RedeemToken(qt Token, r *Result) error {
	return errnoErr(C.dp_token_redeem(C.demi_qtoken_t(qt), r.c()))
}
