package connfsm

// rule is what an event does in a state. The rules are in rules.go.
type rule func(*step)

// acts has the rule of each event that does something in a state.
var acts = [numStates][numEvents]rule{
	Idle: {
		Connect: startConnect, Request: startAccept, Close: closeIdle, Abort: closeIdle,
		DeviceRemoval: dropID,
	},

	ResolvingAddr: {
		AddrResolved: to(ResolvingRoute, CreateQP, ResolveRoute), AddrError: addrError, CallFailed: addrCallFailed,
		DeadlineTimer: addrDeadline, DeviceRemoval: deviceGone, Close: cancel, Abort: cancel,
	},

	RetryingAddr: {
		RetryTimer: to(ResolvingAddr, ResolveAddr), CallFailed: addrCallFailed,
		DeadlineTimer: addrDeadline, DeviceRemoval: deviceGone, Close: cancel, Abort: cancel,
	},

	ResolvingRoute: {
		RouteResolved: routeResolved, RouteError: routeError, CallFailed: routeCallFailed,
		QPReady: qpFirst, QPFailed: qpFailed,
		DeadlineTimer: timedOut, DeviceRemoval: deviceGone, Close: cancel, Abort: cancel,
	},

	RetryingRoute: {
		RetryTimer: to(ResolvingRoute, ResolveRoute), CallFailed: routeCallFailed,
		QPReady: qpFirst, QPFailed: qpFailed,
		DeadlineTimer: routeDeadline, DeviceRemoval: deviceGone, Close: cancel, Abort: cancel,
	},

	// The queue pair may be its maker's on this very id: nothing is destroyed before QPReady or QPFailed.
	CreatingQP: {
		QPReady: qpReady, QPFailed: qpFailed,
		DeadlineTimer: giveUpTimeout, DeviceRemoval: giveUpDevice, Close: giveUpClosed, Abort: giveUpClosed,
		Disconnected: peerLeft, Rejected: peerLeft, Unreachable: peerLeft, ConnectError: peerLeft,
	},

	Connecting: {
		EstablishedCM: established, Rejected: rejected, Unreachable: peerFailed, ConnectError: peerFailed,
		Disconnected: lostBeforeEstablished, TimewaitExit: lostBeforeEstablished, CallFailed: callFailed,
		DeadlineTimer: timedOut, DeviceRemoval: deviceGone, Broken: brokenEarly, Close: cancel, Abort: cancel,
	},

	Accepting: {
		EstablishedCM: established, Rejected: peerLeft, Unreachable: peerLeft, ConnectError: peerLeft,
		Disconnected: lostBeforeEstablished, TimewaitExit: lostBeforeEstablished, CallFailed: callFailed,
		DeadlineTimer: timedOut, DeviceRemoval: deviceGone, Broken: brokenEarly, Close: cancelAccept, Abort: cancelAccept,
	},

	Attaching: {
		Attached: attached, CallFailed: attachFailed,
		Disconnected: lostBeforeEstablished, TimewaitExit: lostBeforeEstablished, ConnectError: lostBeforeEstablished,
		Unreachable: lostBeforeEstablished, Rejected: lostBeforeEstablished,
		DeviceRemoval: deviceGone, Broken: brokenEarly, Close: cancelAccept, Abort: cancelAccept,
	},

	Established: {
		Close: startClose, Abort: cut,
		Disconnected: peerDisconnected, TimewaitExit: peerDisconnected, Broken: broken, DeviceRemoval: deviceLost,
		ConnectError: broken, Unreachable: broken, Rejected: broken,
	},

	Closing: {
		Drained: drained, LingerTimer: cut, Abort: cut,
		Disconnected: peerDisconnected, TimewaitExit: peerDisconnected, Broken: broken, DeviceRemoval: deviceLost,
		ConnectError: broken, Unreachable: broken, Rejected: broken, CallFailed: broken,
	},

	AbortingFailed: {QPReady: flushUnused, QPFailed: dropUnused, Close: closeAborting, Abort: closeAborting},
	AbortingClosed: {QPReady: flushUnused, QPFailed: dropUnused},

	FlushingRetry: {
		Flushed: flushed, FlushTimer: flushTimedOut,
		DeadlineTimer: giveUpRetry, DeviceRemoval: giveUpRetryDevice, Close: closeFlushing, Abort: closeFlushing,
	},

	FlushingFailed: {
		Flushed: flushed, FlushTimer: flushTimedOut, Disconnected: disconnectSeen, TimewaitExit: disconnectSeen,
		DeviceRemoval: disconnectSeen, Close: closeFlushing, Abort: closeFlushing,
	},

	FlushingBroken: {
		Flushed: flushed, FlushTimer: flushTimedOut, Disconnected: disconnectSeen, TimewaitExit: disconnectSeen,
		DeviceRemoval: disconnectSeen, Close: closeFlushing, Abort: closeFlushing,
	},

	FlushingClosed: {
		Flushed: flushed, FlushTimer: flushTimedOut, Disconnected: disconnectSeen, TimewaitExit: disconnectSeen,
		DeviceRemoval: disconnectSeen,
	},

	Detached: {Close: closeDetached, Abort: closeDetached},
	Failed:   {Close: closeFailed, Abort: closeFailed},
	Released: {},
}

// late says of each event in which states it may well come after the fact: where it does not act, it
// changes nothing there. Elsewhere it is odd: it should be impossible, and is logged.
var late = [numEvents]stateSet{
	AddrResolved:    since(Failed),
	AddrError:       in(RetryingAddr) | since(Failed),
	RouteResolved:   in(AbortingFailed, AbortingClosed, FlushingFailed, FlushingClosed) | since(Failed),
	RouteError:      in(RetryingRoute, AbortingFailed, AbortingClosed, FlushingFailed, FlushingClosed) | since(Failed),
	ConnectRequest:  never,
	ConnectResponse: in(FlushingFailed, FlushingClosed) | since(Failed),
	ConnectError:    since(AbortingFailed),
	Unreachable:     since(AbortingFailed),
	Rejected:        since(AbortingFailed),
	EstablishedCM:   since(FlushingRetry),
	Disconnected:    since(AbortingFailed),
	DeviceRemoval:   since(AbortingFailed),
	MulticastJoin:   never,
	MulticastError:  never,
	AddrChange:      since(Idle),
	TimewaitExit:    since(ResolvingAddr),

	Connect: never,
	Request: never,
	Close:   never,
	Abort:   in(AbortingClosed, FlushingClosed, Released),

	QPReady:    never,
	QPFailed:   never,
	Attached:   never,
	CallFailed: never,

	DeadlineTimer: since(Attaching),
	RetryTimer:    since(ResolvingAddr),
	LingerTimer:   in(FlushingClosed, Released),
	FlushTimer:    since(ResolvingAddr),

	Broken:  since(ResolvingAddr),
	Drained: in(FlushingBroken, FlushingClosed, Detached, Released),
	Flushed: since(ResolvingAddr),
	PeerFin: in(Connecting, Accepting, Attaching, Established, Closing) | since(FlushingRetry),
}

// stateSet has a bit for each state.
type stateSet uint32

// never is no state, said on purpose.
const never = stateSet(1) << numStates

func (set stateSet) has(s State) bool { return set>>s&1 != 0 }

func in(states ...State) (set stateSet) {
	for _, s := range states {
		set |= 1 << s
	}
	return set
}

// since is a state and all that are listed after it.
func since(s State) stateSet { return never - 1<<s }
