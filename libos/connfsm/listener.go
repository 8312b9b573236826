package connfsm

import (
	"fmt"
	"syscall"
)

// Listener is the whole state of a listening socket. Accept works as TCP's does: up to
// Backlog connections are established before anybody accepts; beyond that they are
// refused, with a typed reason. An accept that waits makes room for one more. A connection that was
// answered and is not confirmed has its place in the backlog for some time; after that it gives way
// to the next request, or whoever sends requests and confirms none would keep everybody out.
type Listener struct {
	State    ListenerState
	Backlog  int // at least 1
	Underway int // admitted, not established yet
	Ready    int // established, not accepted yet
	Waiting  int // accepts that wait for a connection
}

// ListenerState is where a listener stands.
type ListenerState uint8

// The states of a listener.
const (
	Listening      ListenerState = iota
	ListenerFailed               // its device went away: accept answers ENODEV
	ListenerClosed               // closed by the application; connections under way may still report
)

func (s ListenerState) String() string {
	switch s {
	case Listening:
		return "Listening"
	case ListenerFailed:
		return "Failed"
	case ListenerClosed:
		return "Closed"
	default:
		return fmt.Sprintf("ListenerState(%d)", uint8(s))
	}
}

// ListenerEvent is what can happen to a listener.
type ListenerEvent uint8

// The events of a listener.
const (
	ListenRequest    ListenerEvent = iota // a CONNECT_REQUEST came
	ListenBadRequest                      // a CONNECT_REQUEST came whose hello is not acceptable
	ListenChildReady                      // a connection is established
	ListenChildGone                       // a connection failed before it was established
	ListenAccept                          // the application calls accept
	ListenClose                           // the application closes
	ListenDeviceGone                      // DEVICE_REMOVAL of the listening id
	ListenPressing                        // a CONNECT_REQUEST came, and a connection under way has not been confirmed for too long
	ListenStray                           // any other CM event: one error must not end the accept loop

	numListenerEvents
)

var listenerEventNames = [numListenerEvents]string{
	"request", "bad-request", "child-ready", "child-gone", "accept", "close", "device-gone", "pressing", "stray",
}

func (e ListenerEvent) String() string {
	if e < numListenerEvents {
		return listenerEventNames[e]
	}
	return fmt.Sprintf("ListenerEvent(%d)", uint8(e))
}

// ListenerOp is what the driver of a listener has to do.
type ListenerOp uint8

// The actions of a listener.
const (
	Admit               ListenerOp = iota // begin a passive connection with this request
	Refuse                                // reject this request; Err: ECONNREFUSED full, ECONNABORTED shutting down, EPROTO
	Match                                 // complete the oldest waiting accept with the oldest ready connection
	KeepAccept                            // this accept waits
	FailAccept                            // this accept fails with Err
	FailWaiting                           // every waiting accept ends with Err
	AbortReady                            // abort every connection that is ready and not accepted
	AbortUnderway                         // abort every connection that is under way
	AbortChild                            // abort this connection: nobody will accept it
	Evict                                 // abort the connection that has been waiting to be confirmed longest
	DestroyListenID                       // destroy the listening id
	CompleteListenClose                   // the close is done
	LogStray                              // log this event

	numListenerOps
)

var listenerOpNames = [numListenerOps]string{
	"admit", "refuse", "match", "keep-accept", "fail-accept", "fail-waiting", "abort-ready", "abort-underway",
	"abort-child", "evict", "destroy-id", "complete-close", "log",
}

func (o ListenerOp) String() string {
	if o < numListenerOps {
		return listenerOpNames[o]
	}
	return fmt.Sprintf("ListenerOp(%d)", uint8(o))
}

// ListenerAction is one thing that the driver of a listener has to do.
type ListenerAction struct {
	Op  ListenerOp
	Err syscall.Errno
}

func (a ListenerAction) String() string {
	if a.Err != 0 {
		return a.Op.String() + "(" + ErrnoName(a.Err) + ")"
	}
	return a.Op.String()
}

func act(op ListenerOp) ListenerAction { return ListenerAction{Op: op} }

func actErr(op ListenerOp, err syscall.Errno) ListenerAction {
	return ListenerAction{Op: op, Err: err}
}

// Step takes an event and returns the next state and what is to be done, in order.
func (l Listener) Step(ev ListenerEvent) (Listener, []ListenerAction) {
	switch l.State {
	case Listening:
		return l.stepListening(ev)
	case ListenerFailed:
		return l.stepFailed(ev)
	default:
		return l.stepClosed(ev)
	}
}

// Full says whether another request would be refused.
func (l Listener) Full() bool { return l.Underway+l.Ready >= l.Backlog+l.Waiting }

func (l Listener) stepListening(ev ListenerEvent) (Listener, []ListenerAction) {
	switch ev {
	case ListenRequest:
		if l.Full() {
			return l, []ListenerAction{actErr(Refuse, syscall.ECONNREFUSED)}
		}
		l.Underway++
		return l, []ListenerAction{act(Admit)}
	case ListenPressing:
		l.Underway++
		if l.Underway+l.Ready > l.Backlog+l.Waiting { // no room but that of the one that is late
			return l, []ListenerAction{act(Evict), act(Admit)}
		}
		return l, []ListenerAction{act(Admit)}
	case ListenBadRequest:
		return l, []ListenerAction{actErr(Refuse, syscall.EPROTO)}
	case ListenChildReady:
		l.Underway--
		l.Ready++
		return l.match(nil)
	case ListenChildGone:
		l.Underway--
		return l, nil
	case ListenAccept:
		l.Waiting++
		return l.match([]ListenerAction{act(KeepAccept)})
	case ListenClose:
		return l.close(syscall.ECANCELED)
	case ListenDeviceGone:
		l.State, l.Waiting, l.Ready = ListenerFailed, 0, 0
		return l, []ListenerAction{actErr(FailWaiting, syscall.ENODEV), act(AbortReady), act(AbortUnderway), act(DestroyListenID)}
	default:
		return l, []ListenerAction{act(LogStray)}
	}
}

// match pairs accepts with connections, oldest first.
func (l Listener) match(out []ListenerAction) (Listener, []ListenerAction) {
	if l.Ready > 0 && l.Waiting > 0 {
		l.Ready--
		l.Waiting--
		out = append(out, act(Match))
	}
	return l, out
}

func (l Listener) close(err syscall.Errno) (Listener, []ListenerAction) {
	l.State, l.Waiting, l.Ready = ListenerClosed, 0, 0
	return l, []ListenerAction{
		actErr(FailWaiting, err), act(AbortReady), act(AbortUnderway), act(DestroyListenID), act(CompleteListenClose),
	}
}

func (l Listener) stepFailed(ev ListenerEvent) (Listener, []ListenerAction) {
	switch ev {
	case ListenAccept:
		return l, []ListenerAction{actErr(FailAccept, syscall.ENODEV)}
	case ListenClose:
		l.State = ListenerClosed
		return l, []ListenerAction{act(CompleteListenClose)}
	default:
		return l.ended(ev)
	}
}

func (l Listener) stepClosed(ev ListenerEvent) (Listener, []ListenerAction) {
	if ev == ListenAccept {
		return l, []ListenerAction{actErr(FailAccept, syscall.EBADF)}
	}
	return l.ended(ev)
}

// ended is what a listener that no longer listens does with what still comes.
func (l Listener) ended(ev ListenerEvent) (Listener, []ListenerAction) {
	switch ev {
	case ListenRequest, ListenPressing, ListenBadRequest:
		return l, []ListenerAction{actErr(Refuse, syscall.ECONNABORTED)}
	case ListenChildReady:
		l.Underway--
		return l, []ListenerAction{act(AbortChild)}
	case ListenChildGone:
		l.Underway--
		return l, nil
	default:
		return l, []ListenerAction{act(LogStray)}
	}
}
