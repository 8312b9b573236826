package datapath

// #include "datapath.h"
import "C"

import "unsafe"

// NoticeKind says what a notice is about.
type NoticeKind uint32

// The notices from the data plane to the control plane.
const (
	NoticeBroken      NoticeKind = C.DP_NOTICE_BROKEN      // Arg: positive errno
	NoticeDrained     NoticeKind = C.DP_NOTICE_DRAINED     // the peer acknowledged our close
	NoticeFlushed     NoticeKind = C.DP_NOTICE_FLUSHED     // every work request is accounted for
	NoticePeerFin     NoticeKind = C.DP_NOTICE_PEER_FIN    // Arg: 1 full, 0 half
	NoticeToken       NoticeKind = C.DP_NOTICE_TOKEN       // Cookie: the token
	NoticeHousekeeper NoticeKind = C.DP_NOTICE_HOUSEKEEPER // a C leader left
)

// String names the kind.
func (k NoticeKind) String() string {
	switch k {
	case NoticeBroken:
		return "BROKEN"
	case NoticeDrained:
		return "DRAINED"
	case NoticeFlushed:
		return "FLUSHED"
	case NoticePeerFin:
		return "PEER_FIN"
	case NoticeToken:
		return "TOKEN"
	case NoticeHousekeeper:
		return "HOUSEKEEPER"
	}
	return "unknown"
}

// Notice is one message from the data plane, laid out as struct dp_notice.
type Notice struct {
	Kind   NoticeKind
	Arg    int32
	Cookie uint64 // of the connection, or the token
}

var _ [0]struct{} = [unsafe.Sizeof(Notice{}) - C.sizeof_struct_dp_notice]struct{}{}

// NoticeFD is a non-blocking eventfd that is readable when notices wait. It belongs to the
// engine: dup it before giving it to os.NewFile.
func (e *Engine) NoticeFD() int { return int(C.dp_engine_notice_fd(e.c)) }

// Notices takes up to len(out) notices and returns how many; nothing is ever dropped. When
// fewer than len(out) come, the eventfd has been drained and rings again for the next one.
func (e *Engine) Notices(out []Notice) int {
	if len(out) == 0 {
		return 0
	}
	return int(C.dp_engine_notices(e.c, (*C.struct_dp_notice)(unsafe.Pointer(&out[0])),
		C.int(len(out))))
}
