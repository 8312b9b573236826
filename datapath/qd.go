package datapath

// #include "datapath.h"
// #cgo noescape dp_qd_alloc
// #cgo nocallback dp_qd_alloc
import "C"

// QDState is the state of a queue descriptor, which decides what push and pop answer.
type QDState int

// The states of a queue descriptor.
const (
	QDFree       QDState = C.DP_QD_FREE
	QDSocket     QDState = C.DP_QD_SOCKET     // fresh or bound
	QDListening  QDState = C.DP_QD_LISTENING  // takes accepts
	QDConnecting QDState = C.DP_QD_CONNECTING // ENOTCONN
	QDConnected  QDState = C.DP_QD_CONNECTED  // push and pop work
	QDFailed     QDState = C.DP_QD_FAILED     // connect failed: EBADF
	QDClosing    QDState = C.DP_QD_CLOSING    // close has begun: EBADF
)

// QDFirst is the lowest queue descriptor.
const QDFirst = int32(C.DP_QD_FIRST)

// String names the state.
func (s QDState) String() string {
	switch s {
	case QDFree:
		return "free"
	case QDSocket:
		return "socket"
	case QDListening:
		return "listening"
	case QDConnecting:
		return "connecting"
	case QDConnected:
		return "connected"
	case QDFailed:
		return "failed"
	case QDClosing:
		return "closing"
	}
	return "unknown"
}

// AllocQD allocates the lowest free descriptor for e, in state QDSocket. EMFILE: too many.
func AllocQD(e *Engine) (int32, error) {
	var qd C.int32_t
	err := errnoErr(C.dp_qd_alloc(e.c, &qd))
	return int32(qd), err
}

// SetQDState sets the state of a descriptor. EBADF: it is free or bad.
func SetQDState(qd int32, s QDState) error {
	return errnoErr(C.dp_qd_set_state(C.int32_t(qd), C.enum_dp_qd_state(s)))
}

// GetQDState returns QDFree for a bad descriptor.
func GetQDState(qd int32) QDState { return QDState(C.dp_qd_get_state(C.int32_t(qd))) }

// QDEngine returns the engine of a descriptor, nil for a bad or free one.
func QDEngine(qd int32) *Engine {
	e := C.dp_qd_engine(C.int32_t(qd))
	if e == nil {
		return nil
	}
	return &Engine{c: e}
}

// FreeQD frees a descriptor; a connection tied to it is untied. EBADF: it is free or bad.
func FreeQD(qd int32) error { return errnoErr(C.dp_qd_free(C.int32_t(qd))) }
