package connfsm

import "fmt"

// State is where a connection stands.
type State uint8

// The states of a connection, in the order in which a life goes through them.
const (
	// Idle: a socket, perhaps bound; no connection has been asked for.
	Idle State = iota
	// ResolvingAddr: rdma_resolve_addr is under way (active side).
	ResolvingAddr
	// RetryingAddr: address resolution failed in a way that may pass; the retry timer runs.
	RetryingAddr
	// ResolvingRoute: rdma_resolve_route is under way, and the queue pair is being made or has
	// been (active side).
	ResolvingRoute
	// RetryingRoute: route resolution failed in a way that may pass; the retry timer runs.
	RetryingRoute
	// CreatingQP: the queue pair is still being made and its receives posted, off the loop;
	// everything else is there.
	CreatingQP
	// Connecting: rdma_connect has been called; the peer has not answered (active side).
	Connecting
	// Accepting: rdma_accept has been called; the peer has not confirmed (passive side).
	Accepting
	// Attaching: CM says established; the data plane is taking the connection over.
	Attaching
	// Established: data flows.
	Established
	// Closing: the application has closed; FIN is on its way and the linger timer runs.
	Closing
	// AbortingFailed: given up while the queue pair was being made; its maker must report first.
	AbortingFailed
	// AbortingClosed: as AbortingFailed, and the application has closed (or never knew).
	AbortingClosed
	// FlushingRetry: the peer's CM holds a stale connection; this queue pair is flushed, a new one follows.
	FlushingRetry
	// FlushingFailed: connect failed; posted work is being accounted for.
	FlushingFailed
	// FlushingBroken: an established connection ended; posted work is being accounted for.
	FlushingBroken
	// FlushingClosed: as the two above, and the application has closed (or never knew).
	FlushingClosed
	// Detached: queue pair and id are gone; the application may still pop what had arrived.
	Detached
	// Failed: connect failed and everything is released; the descriptor waits for its close.
	Failed
	// Released: the end.
	Released

	numStates
)

var stateNames = [numStates]string{
	Idle:           "Idle",
	ResolvingAddr:  "ResolvingAddr",
	RetryingAddr:   "RetryingAddr",
	ResolvingRoute: "ResolvingRoute",
	RetryingRoute:  "RetryingRoute",
	CreatingQP:     "CreatingQP",
	Connecting:     "Connecting",
	Accepting:      "Accepting",
	Attaching:      "Attaching",
	Established:    "Established",
	Closing:        "Closing",
	AbortingFailed: "AbortingFailed",
	AbortingClosed: "AbortingClosed",
	FlushingRetry:  "FlushingRetry",
	FlushingFailed: "FlushingFailed",
	FlushingBroken: "FlushingBroken",
	FlushingClosed: "FlushingClosed",
	Detached:       "Detached",
	Failed:         "Failed",
	Released:       "Released",
}

func (s State) String() string {
	if s < numStates {
		return stateNames[s]
	}
	return fmt.Sprintf("State(%d)", uint8(s))
}

// Phase says in a user's words what a connection in this state is doing; it is the
// "while ..." of an error message.
func (s State) Phase() string {
	switch s {
	case ResolvingAddr, RetryingAddr:
		return "resolving the address"
	case CreatingQP, AbortingFailed, AbortingClosed:
		return "creating the queue pair"
	case ResolvingRoute, RetryingRoute:
		return "resolving the route"
	case Connecting, FlushingRetry:
		return "waiting for the peer's answer"
	case Accepting:
		return "waiting for the peer's confirmation"
	case Attaching:
		return "starting the data plane"
	case Established:
		return "connected"
	case Closing, FlushingClosed:
		return "closing"
	case FlushingFailed, FlushingBroken, Detached, Failed:
		return "tearing down"
	default:
		return "idle"
	}
}

// Phase says in a user's words what a connection in this state was doing that ended in ev.
func Phase(s State, ev Event) string {
	if ev.Kind == QPFailed {
		return CreatingQP.Phase()
	}
	return s.Phase()
}

// Role is the side of a connection.
type Role uint8

// The two sides of a connection.
const (
	Active  Role = iota // the side that called connect
	Passive             // the side that listens
)

func (r Role) String() string {
	if r == Passive {
		return "passive"
	}
	return "active"
}
