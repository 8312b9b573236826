package connfsm

import (
	"fmt"
	"syscall"
)

// EventKind says what happened.
type EventKind uint8

// The events. The first group mirrors enum rdma_cm_event_type (rdma_get_cm_event(3)).
const (
	AddrResolved    EventKind = iota
	AddrError                 // Err: why
	RouteResolved             //
	RouteError                // Err: why
	ConnectRequest            // belongs to listeners
	ConnectResponse           // only ids without a queue pair see it
	ConnectError              // Err: why
	Unreachable               // Err: why
	Rejected                  // Reason: of the transport; Err: from a typed reject of ours, 0 if none
	EstablishedCM             // Err: EPROTO when the peer's hello is not acceptable
	Disconnected              //
	DeviceRemoval             //
	MulticastJoin             //
	MulticastError            //
	AddrChange                //
	TimewaitExit              //

	Connect // the application: connect
	Request // the listener: this id came with a connect request that we admit
	Close   // the application: close, with FIN
	Abort   // the application or its listener: close at once, without FIN

	QPReady    // answers CreateQP: queue pair made, receives posted
	QPFailed   // answers CreateQP: neither was made; Err: why
	Attached   // answers Attach
	CallFailed // an action failed; Err: why

	DeadlineTimer // the time for the whole connect is over
	RetryTimer    // time for the next try of the resolution
	LingerTimer   // the linger time of close is over
	FlushTimer    // the time to account for posted work is over

	Broken  // the data plane: the queue pair failed; Err: why
	Drained // the data plane: FIN and FIN_ACK have been exchanged
	Flushed // the data plane: every posted work request is accounted for
	PeerFin // the data plane: the peer sent FIN

	numEvents
)

var eventNames = [numEvents]string{
	AddrResolved:    "ADDR_RESOLVED",
	AddrError:       "ADDR_ERROR",
	RouteResolved:   "ROUTE_RESOLVED",
	RouteError:      "ROUTE_ERROR",
	ConnectRequest:  "CONNECT_REQUEST",
	ConnectResponse: "CONNECT_RESPONSE",
	ConnectError:    "CONNECT_ERROR",
	Unreachable:     "UNREACHABLE",
	Rejected:        "REJECTED",
	EstablishedCM:   "ESTABLISHED",
	Disconnected:    "DISCONNECTED",
	DeviceRemoval:   "DEVICE_REMOVAL",
	MulticastJoin:   "MULTICAST_JOIN",
	MulticastError:  "MULTICAST_ERROR",
	AddrChange:      "ADDR_CHANGE",
	TimewaitExit:    "TIMEWAIT_EXIT",
	Connect:         "connect",
	Request:         "request",
	Close:           "close",
	Abort:           "abort",
	QPReady:         "qp-ready",
	QPFailed:        "qp-failed",
	Attached:        "attached",
	CallFailed:      "call-failed",
	DeadlineTimer:   "deadline",
	RetryTimer:      "retry",
	LingerTimer:     "linger",
	FlushTimer:      "flush-timeout",
	Broken:          "broken",
	Drained:         "drained",
	Flushed:         "flushed",
	PeerFin:         "peer-fin",
}

func (k EventKind) String() string {
	if k < numEvents {
		return eventNames[k]
	}
	return fmt.Sprintf("EventKind(%d)", uint8(k))
}

// Event is one thing that happened to a connection.
type Event struct {
	Kind   EventKind
	Err    syscall.Errno // positive; 0 when there is none
	Reason int           // of Rejected: the transport's reject reason (IBTA vol. 1, 12.6.7.2)
}

func (e Event) String() string {
	s := e.Kind.String()
	if e.Reason != 0 {
		s += fmt.Sprintf(" reason=%d", e.Reason)
	}
	if e.Err != 0 {
		s += " err=" + ErrnoName(e.Err)
	}
	return s
}
