package connfsm

import (
	"fmt"
	"syscall"
)

// Op is what the driver has to do.
type Op uint8

// The actions. "May fail" means that the driver may answer with CallFailed.
const (
	// CreateID makes the id (or takes the one that bind made) and binds it. May fail.
	CreateID Op = iota
	// ResolveAddr starts address resolution. May fail.
	ResolveAddr
	// CreateQP makes the queue pair and the data plane's half, and posts every receive,
	// off the loop. Answered by QPReady or QPFailed.
	CreateQP
	// ResolveRoute starts route resolution. May fail.
	ResolveRoute
	// ConnectPeer calls rdma_connect with our hello. May fail.
	ConnectPeer
	// AcceptPeer calls rdma_accept with our hello. May fail.
	AcceptPeer
	// RejectPeer refuses the request; Err says why: EAGAIN for want of resources,
	// ECONNABORTED when shutting down.
	RejectPeer
	// Attach hands the established connection to the data plane. Answered by Attached
	// or CallFailed.
	Attach
	// CompleteToken completes the connect token with success.
	CompleteToken
	// FailToken completes the connect token with Err.
	FailToken
	// Ready gives the connection to its listener for demi_accept (passive side).
	Ready
	// Gone tells the listener that the connection will never be ready (passive side).
	Gone
	// SendFIN ends pending pops with ECANCELED and sends FIN behind what was pushed.
	SendFIN
	// CancelPushes ends pending pushes with ECANCELED.
	CancelPushes
	// Disconnect calls rdma_disconnect; EINVAL from it is normal.
	Disconnect
	// Flush moves the queue pair to the error state and asks the data plane to account
	// for all posted work, deliver what arrived and fail the rest with Err (0: orderly).
	// Answered by Flushed, or never.
	Flush
	// DestroyQP destroys the queue pair.
	DestroyQP
	// DestroyConn destroys the data plane's half; buffers return to their arenas.
	DestroyConn
	// DestroyID destroys the id.
	DestroyID
	// CompleteClose tells whoever called close that it is done.
	CompleteClose
	// Release frees the descriptor and forgets the connection.
	Release
	// StartTimer and StopTimer control the timer named by Timer.
	StartTimer
	StopTimer
	// Unexpected asks for a log line: this event should not have come in this state.
	Unexpected

	numOps
)

var opNames = [numOps]string{
	CreateID:      "create-id",
	ResolveAddr:   "resolve-addr",
	CreateQP:      "create-qp",
	ResolveRoute:  "resolve-route",
	ConnectPeer:   "connect",
	AcceptPeer:    "accept",
	RejectPeer:    "reject",
	Attach:        "attach",
	CompleteToken: "complete-token",
	FailToken:     "fail-token",
	Ready:         "ready",
	Gone:          "gone",
	SendFIN:       "send-fin",
	CancelPushes:  "cancel-pushes",
	Disconnect:    "disconnect",
	Flush:         "flush",
	DestroyQP:     "destroy-qp",
	DestroyConn:   "destroy-conn",
	DestroyID:     "destroy-id",
	CompleteClose: "complete-close",
	Release:       "release",
	StartTimer:    "start",
	StopTimer:     "stop",
	Unexpected:    "unexpected",
}

func (o Op) String() string {
	if o < numOps {
		return opNames[o]
	}
	return fmt.Sprintf("Op(%d)", uint8(o))
}

// Timer names one of a connection's timers.
type Timer uint8

// The timers of a connection; each answers with its own event.
const (
	NoTimer  Timer = iota
	Deadline       // of the whole connect or accept: DeadlineTimer
	Retry          // until the next try of a resolution: RetryTimer
	Linger         // of close: LingerTimer
	FlushEnd       // until posted work counts as lost: FlushTimer

	NumTimers
)

var timerNames = [NumTimers]string{"none", "deadline", "retry", "linger", "flush"}

func (t Timer) String() string {
	if t < NumTimers {
		return timerNames[t]
	}
	return fmt.Sprintf("Timer(%d)", uint8(t))
}

// Event is the event that the timer's expiry is.
func (t Timer) Event() Event {
	switch t {
	case Deadline:
		return Event{Kind: DeadlineTimer}
	case Retry:
		return Event{Kind: RetryTimer}
	case Linger:
		return Event{Kind: LingerTimer}
	default:
		return Event{Kind: FlushTimer}
	}
}

// Action is one thing that the driver has to do.
type Action struct {
	Op    Op
	Timer Timer         // of StartTimer and StopTimer
	Err   syscall.Errno // of FailToken, Flush, RejectPeer and Gone; 0 for none
}

func (a Action) String() string {
	s := a.Op.String()
	if a.Timer != NoTimer {
		s += "-" + a.Timer.String()
	}
	if a.Err != 0 {
		s += "(" + ErrnoName(a.Err) + ")"
	}
	return s
}
