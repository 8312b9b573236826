package rdma

import "unsafe"

// AsyncEventType is the type of an asynchronous event of a device: enum ibv_event_type of
// <infiniband/verbs.h>; ibv_get_async_event(3).
type AsyncEventType int

// Asynchronous events.
const (
	EventCQErr AsyncEventType = iota
	EventQPFatal
	EventQPReqErr
	EventQPAccessErr
	EventCommEst
	EventSQDrained
	EventPathMig
	EventPathMigErr
	EventDeviceFatal
	EventPortActive
	EventPortErr
	EventLIDChange
	EventPKeyChange
	EventSMChange
	EventSRQErr
	EventSRQLimitReached
	EventQPLastWQEReached
	EventClientReregister
	EventGIDChange
	EventWQFatal
)

var asyncEventNames = [...]string{
	EventCQErr:            "CQ_ERR",
	EventQPFatal:          "QP_FATAL",
	EventQPReqErr:         "QP_REQ_ERR",
	EventQPAccessErr:      "QP_ACCESS_ERR",
	EventCommEst:          "COMM_EST",
	EventSQDrained:        "SQ_DRAINED",
	EventPathMig:          "PATH_MIG",
	EventPathMigErr:       "PATH_MIG_ERR",
	EventDeviceFatal:      "DEVICE_FATAL",
	EventPortActive:       "PORT_ACTIVE",
	EventPortErr:          "PORT_ERR",
	EventLIDChange:        "LID_CHANGE",
	EventPKeyChange:       "PKEY_CHANGE",
	EventSMChange:         "SM_CHANGE",
	EventSRQErr:           "SRQ_ERR",
	EventSRQLimitReached:  "SRQ_LIMIT_REACHED",
	EventQPLastWQEReached: "QP_LAST_WQE_REACHED",
	EventClientReregister: "CLIENT_REREGISTER",
	EventGIDChange:        "GID_CHANGE",
	EventWQFatal:          "WQ_FATAL",
}

// String returns the name in the C header without its prefix IBV_EVENT_.
func (t AsyncEventType) String() string {
	return enumName(asyncEventNames[:], int(t), "AsyncEventType")
}

// AsyncEvent is a copy of an ibv_async_event, which has been acknowledged: the object
// that it concerns may be closed at any time.
type AsyncEvent struct {
	Type AsyncEventType
	// QP and CQ are the handle (as their Handle methods return it) of the queue pair or
	// completion queue that the event concerns, to compare and not to follow; nil if it
	// concerns none.
	QP, CQ unsafe.Pointer
	QPNum  uint32 // of QP, if it is not nil
	Port   int    // of port events, from 1; 0 otherwise
}
