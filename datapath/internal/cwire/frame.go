package cwire

// #cgo CFLAGS: -std=c11 -Wall -Wextra -Werror
// #cgo noescape frame_parse
// #cgo nocallback frame_parse
// #include "../../wire/frame.h"
import "C"

import (
	"syscall"
	"unsafe"

	_ "catmint/datapath/wire" // rebuilds this package when a header there changes
)

// Sizes on the wire, in bytes.
const (
	HeaderSize = C.FRAME_HEADER_SIZE
	RTSSize    = C.FRAME_RTS_SIZE
)

// FlagFull is the flag of a FIN and FIN_ACK for a full close.
const FlagFull = C.FRAME_F_FULL

// FlagWaited is the flag of a DATA or RTS: its sender had to wait for a receive.
const FlagWaited = C.FRAME_F_WAITED

// FlagDoubled is the flag of a DATA or RTS: its sender's data window has doubled.
const FlagDoubled = C.FRAME_F_DOUBLED

// Type is enum frame_type.
type Type uint8

// The types of a frame.
const (
	Data   Type = C.FRAME_DATA
	Credit Type = C.FRAME_CREDIT
	RTS    Type = C.FRAME_RTS
	Done   Type = C.FRAME_DONE
	Fin    Type = C.FRAME_FIN
	FinAck Type = C.FRAME_FIN_ACK
	Ping   Type = C.FRAME_PING
	Pong   Type = C.FRAME_PONG
	Reset  Type = C.FRAME_RESET

	TypeLast Type = C.FRAME_TYPE_LAST
)

var typeNames = [...]string{
	Data: "DATA", Credit: "CREDIT", RTS: "RTS", Done: "DONE", Fin: "FIN",
	FinAck: "FIN_ACK", Ping: "PING", Pong: "PONG", Reset: "RESET",
}

// String returns the name that docs/protocol.md uses.
func (t Type) String() string {
	if t == 0 || t > TypeLast {
		return "type?"
	}
	return typeNames[t]
}

// IsData tells whether a frame of the type uses a receive of the data account.
func (t Type) IsData() bool { return t == Data || t == RTS }

// Frame is struct frame: a header in host order.
type Frame struct {
	Type         Type
	Flags        uint8
	DataReturned uint16
	CtrlReturned uint16
	Seq          uint16
	Length       uint32
	Arg          uint32
}

// RTSBody is struct frame_rts: the payload of an RTS in host order.
type RTSBody struct {
	Addr   uint64
	Length uint64
	RKey   uint32
}

// Limits is struct frame_limits.
type Limits struct {
	RecvSize   uint32 // bytes of one receive, header included
	MaxMessage uint64 // bytes of the largest message, by RTS
}

func (l Limits) c() C.struct_frame_limits {
	return C.struct_frame_limits{
		recv_size:   C.uint32_t(l.RecvSize),
		max_message: C.uint64_t(l.MaxMessage),
	}
}

// Encode writes the header to out. It implements frame_encode.
func (f *Frame) Encode(out *[HeaderSize]byte) {
	C.frame_encode((*C.struct_frame)(unsafe.Pointer(f)), (*C.uint8_t)(&out[0]))
}

// Parse judges all of in as one received frame: syscall.EPROTO or nil. It
// implements frame_parse.
func Parse(in []byte, lim Limits) (Frame, error) {
	var f Frame
	l := lim.c()
	rc := C.frame_parse((*C.uint8_t)(unsafe.SliceData(in)), C.size_t(len(in)), &l,
		(*C.struct_frame)(unsafe.Pointer(&f)))
	return f, asError(rc)
}

// Encode writes the payload of an RTS to out. It implements frame_encode_rts.
func (r RTSBody) Encode(out *[RTSSize]byte) {
	body := C.struct_frame_rts{
		addr:   C.uint64_t(r.Addr),
		length: C.uint64_t(r.Length),
		rkey:   C.uint32_t(r.RKey),
	}
	C.frame_encode_rts(&body, (*C.uint8_t)(&out[0]))
}

// ParseRTS judges the payload of an RTS: syscall.EPROTO or nil. It implements
// frame_parse_rts.
func ParseRTS(in *[RTSSize]byte, lim Limits) (RTSBody, error) {
	var body C.struct_frame_rts
	l := lim.c()
	rc := C.frame_parse_rts((*C.uint8_t)(&in[0]), &l, &body)
	return RTSBody{
		Addr:   uint64(body.addr),
		Length: uint64(body.length),
		RKey:   uint32(body.rkey),
	}, asError(rc)
}

// asError turns 0 into nil and an errno of C into a syscall.Errno.
func asError(rc C.int) error {
	if rc == 0 {
		return nil
	}
	return syscall.Errno(rc)
}
