// Package hello is what two libOSes tell each other in the private data of rdma_cm while
// they connect: the offer in the request, the answer in the reply, or a typed reason in a
// reject.
//
// What lives here: the layout of the three messages, their checks, and the agreement of
// versions. What must not: sockets, verbs, and anything stateful.
//
// All numbers are little-endian. Private data comes padded with zeros up to the
// transport's maximum (56 bytes in a request, 196 in a reply, 148 in a reject with
// RDMA_PS_TCP), so each message carries its own length; a receiver ignores what is behind
// it, and a message that is longer than this version knows is read as far as it is known.
//
// A probe is the first eight bytes alone, with kind 4.
//
//	offset  size  offer and answer         reject
//	     0     4  magic "CTMT"             magic "CTMT"
//	     4     1  length in bytes (40)     length in bytes (16)
//	     5     1  kind: 1 offer, 2 answer  kind: 3
//	     6     1  lowest version           lowest version
//	     7     1  highest version          highest version
//	     8     4  feature bits             reason
//	    12     4  bytes of a receive       detail
//	    16     4  receives for data
//	    20     4  receives for control
//	    24     8  bytes of the largest message
//	    32     8  nonce
//
// An answer's lowest and highest version are the same: the version that is spoken. Its
// nonce is the offer's. Feature bits 0 to 15 are offers, which the answer confirms; bits
// 16 to 31 are demands: who does not know one refuses.
package hello

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
)

// Sizes in bytes.
const (
	Size       = 40 // of an offer or an answer
	RejectSize = 16 // of a reject
	MaxSize    = 56 // of private data in a request with RDMA_PS_TCP, rdma_connect(3)
)

// The versions of the protocol (frames included) that this code speaks.
const (
	MinVersion = 1
	MaxVersion = 1
)

// Limits that no sane peer exceeds, checked before anything is believed.
const (
	MinRecvSize   = 64      // bytes
	MaxRecvSize   = 1 << 24 // bytes
	MinCtrlWindow = 4       // receives: below, two sides can wait for each other (docs/protocol.md)
	MaxWindow     = 1 << 14 // receives: differences of 16-bit counts stay below 2^15
	MaxMaxMessage = 1 << 30 // bytes
)

var magic = [4]byte{'C', 'T', 'M', 'T'}

// Kind says what a message is.
type Kind uint8

// The kinds.
const (
	Offer  Kind = 1
	Answer Kind = 2
	refuse Kind = 3
	Probe  Kind = 4
)

// Feature is a set of feature bits.
type Feature uint32

// Demands are the feature bits that a receiver must know or refuse.
const Demands Feature = 0xffff_0000

// Known are the feature bits that this version knows. There are none yet.
const Known Feature = 0

// Hello is an offer or an answer.
type Hello struct {
	Kind       Kind
	MinVersion uint8
	MaxVersion uint8
	Features   Feature
	RecvSize   uint32 // bytes of one receive, frame header included
	DataWindow uint32 // receives for messages
	CtrlWindow uint32 // receives for control frames
	MaxMessage uint64 // bytes of the largest message taken
	Nonce      uint64 // names the attempt; an answer repeats the offer's
}

// Errors of Parse and Agree. Each matches EPROTO.
var (
	ErrForeign  = protoError("private data is not Catmint's: the peer speaks another protocol")
	ErrShort    = protoError("hello is shorter than it says or than it must be")
	ErrKind     = protoError("hello is of the wrong kind")
	ErrVersion  = protoError("no version of the protocol in common")
	ErrLimits   = protoError("hello announces impossible limits")
	ErrNonce    = protoError("answer belongs to another offer")
	ErrDemands  = protoError("peer demands a feature that is not known here")
	ErrPretends = protoError("answer confirms a feature that was not offered")
	ErrProbe    = protoError("private data is a probe")
)

type protocolError struct{ msg string }

func protoError(msg string) error { return &protocolError{msg} }

func (e *protocolError) Error() string { return "hello: " + e.msg }

func (e *protocolError) Unwrap() error { return syscall.EPROTO }

// Marshal writes the message.
func (h Hello) Marshal() []byte {
	b := make([]byte, Size)
	copy(b, magic[:])
	b[4], b[5], b[6], b[7] = Size, byte(h.Kind), h.MinVersion, h.MaxVersion
	binary.LittleEndian.PutUint32(b[8:], uint32(h.Features))
	binary.LittleEndian.PutUint32(b[12:], h.RecvSize)
	binary.LittleEndian.PutUint32(b[16:], h.DataWindow)
	binary.LittleEndian.PutUint32(b[20:], h.CtrlWindow)
	binary.LittleEndian.PutUint64(b[24:], h.MaxMessage)
	binary.LittleEndian.PutUint64(b[32:], h.Nonce)
	return b
}

// header checks what all messages have in common and cuts the padding off.
func header(b []byte, size int) ([]byte, error) {
	if len(b) < len(magic) || [4]byte(b[:4]) != magic {
		return nil, ErrForeign
	}
	if len(b) < 8 || int(b[4]) < size || int(b[4]) > len(b) {
		return nil, ErrShort
	}
	return b[:b[4]], nil
}

// Parse reads an offer or an answer, checks it against what can be, and returns it.
func Parse(private []byte, want Kind) (Hello, error) {
	b, err := header(private, 8)
	if err != nil {
		return Hello{}, err
	}
	if Kind(b[5]) == Probe {
		return Hello{}, ErrProbe
	}
	if Kind(b[5]) != want {
		return Hello{}, ErrKind
	}
	if b[6] > b[7] || b[6] > MaxVersion || b[7] < MinVersion {
		return Hello{}, ErrVersion // before the length: a later version may differ in everything else
	}
	if len(b) < Size {
		return Hello{}, ErrShort
	}
	h := Hello{
		Kind: want, MinVersion: b[6], MaxVersion: b[7],
		Features:   Feature(binary.LittleEndian.Uint32(b[8:])),
		RecvSize:   binary.LittleEndian.Uint32(b[12:]),
		DataWindow: binary.LittleEndian.Uint32(b[16:]),
		CtrlWindow: binary.LittleEndian.Uint32(b[20:]),
		MaxMessage: binary.LittleEndian.Uint64(b[24:]),
		Nonce:      binary.LittleEndian.Uint64(b[32:]),
	}
	if h.RecvSize < MinRecvSize || h.RecvSize > MaxRecvSize || h.DataWindow == 0 || h.DataWindow > MaxWindow ||
		h.CtrlWindow < MinCtrlWindow || h.CtrlWindow > MaxWindow || h.MaxMessage == 0 || h.MaxMessage > MaxMaxMessage {
		return Hello{}, ErrLimits
	}
	if h.Features&Demands&^Known != 0 {
		return Hello{}, ErrDemands
	}
	return h, nil
}

// Reply is the answer to an offer: limits are ours, version and features the best that
// both know.
func (h Hello) Reply(limits Hello) Hello {
	limits.Kind = Answer
	limits.MaxVersion = min(h.MaxVersion, MaxVersion)
	limits.MinVersion = limits.MaxVersion
	limits.Features &= h.Features & Known
	limits.Nonce = h.Nonce
	return limits
}

// CheckAnswer says whether an answer fits the offer that was sent.
func (h Hello) CheckAnswer(offer Hello) error {
	switch {
	case h.Nonce != offer.Nonce:
		return ErrNonce
	case h.MinVersion != h.MaxVersion || h.MaxVersion < offer.MinVersion || h.MaxVersion > offer.MaxVersion:
		return ErrVersion
	case h.Features&^offer.Features != 0:
		return ErrPretends
	}
	return nil
}

// Reason says why a peer refuses.
type Reason uint32

// The reasons. Numbers are part of the protocol.
const (
	ReasonFull         Reason = 1 // the backlog is full
	ReasonShuttingDown Reason = 2 // the listener is going away
	ReasonResources    Reason = 3 // no queue pair, completion queue, memory or descriptor
	ReasonForeign      Reason = 4 // the request's private data is not Catmint's
	ReasonVersion      Reason = 5 // no version in common
	ReasonMalformed    Reason = 6 // the hello is wrong in itself
	ReasonDemands      Reason = 7 // a demanded feature is not known
	ReasonProbed       Reason = 8 // the request was a probe, and this is a libOS
)

func (r Reason) String() string {
	switch r {
	case ReasonFull:
		return "backlog full"
	case ReasonShuttingDown:
		return "shutting down"
	case ReasonResources:
		return "out of resources"
	case ReasonForeign:
		return "not Catmint's protocol"
	case ReasonVersion:
		return "no version in common"
	case ReasonMalformed:
		return "malformed hello"
	case ReasonDemands:
		return "unknown feature demanded"
	case ReasonProbed:
		return "probed, and a libOS"
	default:
		return fmt.Sprintf("Reason(%d)", uint32(r))
	}
}

// Errno is what connect answers when the peer refuses for this reason.
func (r Reason) Errno() syscall.Errno {
	switch r {
	case ReasonForeign, ReasonVersion, ReasonMalformed, ReasonDemands:
		return syscall.EPROTO
	case ReasonProbed:
		return syscall.EPROTOTYPE
	default:
		return syscall.ECONNREFUSED
	}
}

// MarshalProbe is the private data of a request that wants no connection from a libOS: one
// refuses it with ReasonProbed, while a server of a protocol without private data takes it
// for any client. So a client that speaks several protocols finds out which to speak
// without using a connection up.
func MarshalProbe() []byte {
	b := make([]byte, probeSize)
	copy(b, magic[:])
	b[4], b[5], b[6], b[7] = probeSize, byte(Probe), MinVersion, MaxVersion
	return b
}

const probeSize = 8

// RejectError is a typed refusal. As an error it unwraps to its errno.
type RejectError struct {
	Reason Reason
	Detail uint32 // for ReasonFull, the backlog; otherwise 0
}

func (r RejectError) Error() string { return "peer refuses: " + r.Reason.String() }

// Unwrap returns the errno.
func (r RejectError) Unwrap() error { return r.Reason.Errno() }

// Marshal writes the message.
func (r RejectError) Marshal() []byte {
	b := make([]byte, RejectSize)
	copy(b, magic[:])
	b[4], b[5], b[6], b[7] = RejectSize, byte(refuse), MinVersion, MaxVersion
	binary.LittleEndian.PutUint32(b[8:], uint32(r.Reason))
	binary.LittleEndian.PutUint32(b[12:], r.Detail)
	return b
}

// ParseReject reads the private data of a reject. ErrForeign: it is not ours.
func ParseReject(private []byte) (RejectError, error) {
	b, err := header(private, RejectSize)
	if err != nil {
		return RejectError{}, err
	}
	if Kind(b[5]) != refuse {
		return RejectError{}, ErrKind
	}
	return RejectError{
		Reason: Reason(binary.LittleEndian.Uint32(b[8:])),
		Detail: binary.LittleEndian.Uint32(b[12:]),
	}, nil
}

// RejectFor is the refusal that goes with an error of Parse.
func RejectFor(err error) RejectError {
	switch {
	case errors.Is(err, ErrForeign):
		return RejectError{Reason: ReasonForeign}
	case errors.Is(err, ErrVersion):
		return RejectError{Reason: ReasonVersion}
	case errors.Is(err, ErrDemands):
		return RejectError{Reason: ReasonDemands}
	case errors.Is(err, ErrProbe):
		return RejectError{Reason: ReasonProbed}
	default:
		return RejectError{Reason: ReasonMalformed}
	}
}
