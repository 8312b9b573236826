package connfsm

// rule is what an event does in a state.
type rule func(*step)

// table has an entry for every event in every state. Two entries do nothing: `late` is an
// event that may well come after the fact, `odd` one that should be impossible (it is
// logged). All other rules are in rules.go.
var table = [numStates][numEvents]rule{
	Idle: {
		Connect: startConnect, Request: startAccept, Close: closeIdle, Abort: closeIdle,
		DeviceRemoval: dropID,

		AddrResolved: odd, AddrError: odd, RouteResolved: odd, RouteError: odd,
		ConnectRequest: odd, ConnectResponse: odd, ConnectError: odd, Unreachable: odd, Rejected: odd,
		EstablishedCM: odd, Disconnected: odd, MulticastJoin: odd, MulticastError: odd,
		AddrChange: late, TimewaitExit: odd,
		QPReady: odd, QPFailed: odd, Attached: odd, CallFailed: odd,
		DeadlineTimer: odd, RetryTimer: odd, LingerTimer: odd, FlushTimer: odd,
		Broken: odd, Drained: odd, Flushed: odd, PeerFin: odd,
	},

	ResolvingAddr: {
		AddrResolved: to(ResolvingRoute, CreateQP, ResolveRoute), AddrError: addrError, CallFailed: addrCallFailed,
		DeadlineTimer: addrDeadline, DeviceRemoval: deviceGone, Close: cancel, Abort: cancel,

		RouteResolved: odd, RouteError: odd,
		ConnectRequest: odd, ConnectResponse: odd, ConnectError: odd, Unreachable: odd, Rejected: odd,
		EstablishedCM: odd, Disconnected: odd, MulticastJoin: odd, MulticastError: odd,
		AddrChange: late, TimewaitExit: late,
		Connect: odd, Request: odd, QPReady: odd, QPFailed: odd, Attached: odd,
		RetryTimer: late, LingerTimer: odd, FlushTimer: late,
		Broken: late, Drained: odd, Flushed: late, PeerFin: odd,
	},

	RetryingAddr: {
		RetryTimer: to(ResolvingAddr, ResolveAddr), CallFailed: addrCallFailed,
		DeadlineTimer: addrDeadline, DeviceRemoval: deviceGone, Close: cancel, Abort: cancel,

		AddrResolved: odd, AddrError: late, RouteResolved: odd, RouteError: odd,
		ConnectRequest: odd, ConnectResponse: odd, ConnectError: odd, Unreachable: odd, Rejected: odd,
		EstablishedCM: odd, Disconnected: odd, MulticastJoin: odd, MulticastError: odd,
		AddrChange: late, TimewaitExit: late,
		Connect: odd, Request: odd, QPReady: odd, QPFailed: odd, Attached: odd,
		LingerTimer: odd, FlushTimer: late,
		Broken: late, Drained: odd, Flushed: late, PeerFin: odd,
	},

	ResolvingRoute: {
		RouteResolved: routeResolved, RouteError: routeError, CallFailed: routeCallFailed,
		QPReady: qpFirst, QPFailed: qpFailed,
		DeadlineTimer: timedOut, DeviceRemoval: deviceGone, Close: cancel, Abort: cancel,

		AddrResolved: odd, AddrError: odd,
		ConnectRequest: odd, ConnectResponse: odd, ConnectError: odd, Unreachable: odd, Rejected: odd,
		EstablishedCM: odd, Disconnected: odd, MulticastJoin: odd, MulticastError: odd,
		AddrChange: late, TimewaitExit: late,
		Connect: odd, Request: odd, Attached: odd,
		RetryTimer: late, LingerTimer: odd, FlushTimer: late,
		Broken: late, Drained: odd, Flushed: late, PeerFin: odd,
	},

	RetryingRoute: {
		RetryTimer: to(ResolvingRoute, ResolveRoute), CallFailed: routeCallFailed,
		QPReady: qpFirst, QPFailed: qpFailed,
		DeadlineTimer: routeDeadline, DeviceRemoval: deviceGone, Close: cancel, Abort: cancel,

		AddrResolved: odd, AddrError: odd, RouteResolved: odd, RouteError: late,
		ConnectRequest: odd, ConnectResponse: odd, ConnectError: odd, Unreachable: odd, Rejected: odd,
		EstablishedCM: odd, Disconnected: odd, MulticastJoin: odd, MulticastError: odd,
		AddrChange: late, TimewaitExit: late,
		Connect: odd, Request: odd, Attached: odd,
		LingerTimer: odd, FlushTimer: late,
		Broken: late, Drained: odd, Flushed: late, PeerFin: odd,
	},

	// The queue pair may be its maker's on this very id: nothing is destroyed before QPReady or QPFailed.
	CreatingQP: {
		QPReady: qpReady, QPFailed: qpFailed,
		DeadlineTimer: giveUpTimeout, DeviceRemoval: giveUpDevice, Close: giveUpClosed, Abort: giveUpClosed,
		Disconnected: peerLeft, Rejected: peerLeft, Unreachable: peerLeft, ConnectError: peerLeft,

		AddrResolved: odd, AddrError: odd, RouteResolved: odd, RouteError: odd,
		ConnectRequest: odd, ConnectResponse: odd, EstablishedCM: odd, MulticastJoin: odd, MulticastError: odd,
		AddrChange: late, TimewaitExit: late,
		Connect: odd, Request: odd, Attached: odd, CallFailed: odd,
		RetryTimer: late, LingerTimer: odd, FlushTimer: late,
		Broken: late, Drained: odd, Flushed: late, PeerFin: odd,
	},

	Connecting: {
		EstablishedCM: established, Rejected: rejected, Unreachable: peerFailed, ConnectError: peerFailed,
		Disconnected: lostBeforeEstablished, CallFailed: callFailed,
		DeadlineTimer: timedOut, DeviceRemoval: deviceGone, Close: cancel, Abort: cancel,

		AddrResolved: odd, AddrError: odd, RouteResolved: odd, RouteError: odd,
		ConnectRequest: odd, ConnectResponse: odd, MulticastJoin: odd, MulticastError: odd,
		AddrChange: late, TimewaitExit: lostBeforeEstablished,
		Connect: odd, Request: odd, QPReady: odd, QPFailed: odd, Attached: odd,
		RetryTimer: late, LingerTimer: odd, FlushTimer: late,
		Broken: brokenEarly, Drained: odd, Flushed: late, PeerFin: late,
	},

	Accepting: {
		EstablishedCM: established, Rejected: peerLeft, Unreachable: peerLeft, ConnectError: peerLeft,
		Disconnected: lostBeforeEstablished, CallFailed: callFailed,
		DeadlineTimer: timedOut, DeviceRemoval: deviceGone, Close: cancelAccept, Abort: cancelAccept,

		AddrResolved: odd, AddrError: odd, RouteResolved: odd, RouteError: odd,
		ConnectRequest: odd, ConnectResponse: odd, MulticastJoin: odd, MulticastError: odd,
		AddrChange: late, TimewaitExit: lostBeforeEstablished,
		Connect: odd, Request: odd, QPReady: odd, QPFailed: odd, Attached: odd,
		RetryTimer: late, LingerTimer: odd, FlushTimer: late,
		Broken: brokenEarly, Drained: odd, Flushed: late, PeerFin: late,
	},

	Attaching: {
		Attached: attached, CallFailed: attachFailed,
		Disconnected: lostBeforeEstablished, DeviceRemoval: deviceGone, Close: cancelAccept, Abort: cancelAccept,
		DeadlineTimer: late, TimewaitExit: lostBeforeEstablished,

		AddrResolved: odd, AddrError: odd, RouteResolved: odd, RouteError: odd,
		ConnectRequest: odd, ConnectResponse: odd, ConnectError: lostBeforeEstablished,
		Unreachable: lostBeforeEstablished, Rejected: lostBeforeEstablished,
		EstablishedCM: odd, MulticastJoin: odd, MulticastError: odd, AddrChange: late,
		Connect: odd, Request: odd, QPReady: odd, QPFailed: odd,
		RetryTimer: late, LingerTimer: odd, FlushTimer: late,
		Broken: brokenEarly, Drained: odd, Flushed: late, PeerFin: late,
	},

	Established: {
		Close: startClose, Abort: cut,
		Disconnected: peerDisconnected, TimewaitExit: peerDisconnected, Broken: broken, DeviceRemoval: deviceLost,
		ConnectError: broken, Unreachable: broken, Rejected: broken,

		AddrResolved: odd, AddrError: odd, RouteResolved: odd, RouteError: odd,
		ConnectRequest: odd, ConnectResponse: odd, EstablishedCM: odd, MulticastJoin: odd, MulticastError: odd,
		AddrChange: late,
		Connect:    odd, Request: odd, QPReady: odd, QPFailed: odd, Attached: odd, CallFailed: odd,
		DeadlineTimer: late, RetryTimer: late, LingerTimer: odd, FlushTimer: late,
		Drained: odd, Flushed: late, PeerFin: late,
	},

	Closing: {
		Drained: drained, LingerTimer: cut, Abort: cut,
		Disconnected: peerDisconnected, TimewaitExit: peerDisconnected, Broken: broken, DeviceRemoval: deviceLost,
		ConnectError: broken, Unreachable: broken, Rejected: broken, CallFailed: broken,

		AddrResolved: odd, AddrError: odd, RouteResolved: odd, RouteError: odd,
		ConnectRequest: odd, ConnectResponse: odd, EstablishedCM: odd, MulticastJoin: odd, MulticastError: odd,
		AddrChange: late,
		Connect:    odd, Request: odd, Close: odd, QPReady: odd, QPFailed: odd, Attached: odd,
		DeadlineTimer: late, RetryTimer: late, FlushTimer: late,
		Flushed: late, PeerFin: late,
	},

	AbortingFailed: {
		QPReady: flushUnused, QPFailed: dropUnused, Close: closeAborting, Abort: closeAborting,

		AddrResolved: odd, AddrError: odd, RouteResolved: late, RouteError: late,
		ConnectRequest: odd, ConnectResponse: odd, ConnectError: late, Unreachable: late, Rejected: late,
		EstablishedCM: odd, Disconnected: late, DeviceRemoval: late, MulticastJoin: odd, MulticastError: odd,
		AddrChange: late, TimewaitExit: late,
		Connect: odd, Request: odd, Attached: odd, CallFailed: odd,
		DeadlineTimer: late, RetryTimer: late, LingerTimer: odd, FlushTimer: late,
		Broken: late, Drained: odd, Flushed: late, PeerFin: odd,
	},

	AbortingClosed: {
		QPReady: flushUnused, QPFailed: dropUnused,

		AddrResolved: odd, AddrError: odd, RouteResolved: late, RouteError: late,
		ConnectRequest: odd, ConnectResponse: odd, ConnectError: late, Unreachable: late, Rejected: late,
		EstablishedCM: odd, Disconnected: late, DeviceRemoval: late, MulticastJoin: odd, MulticastError: odd,
		AddrChange: late, TimewaitExit: late,
		Connect: odd, Request: odd, Close: odd, Abort: late, Attached: odd, CallFailed: odd,
		DeadlineTimer: late, RetryTimer: late, LingerTimer: odd, FlushTimer: late,
		Broken: late, Drained: odd, Flushed: late, PeerFin: odd,
	},

	FlushingRetry: {
		Flushed: flushed, FlushTimer: flushTimedOut,
		DeadlineTimer: giveUpRetry, DeviceRemoval: giveUpRetryDevice, Close: closeFlushing, Abort: closeFlushing,

		AddrResolved: odd, AddrError: odd, RouteResolved: odd, RouteError: odd,
		ConnectRequest: odd, ConnectResponse: odd, ConnectError: late, Unreachable: late, Rejected: late,
		EstablishedCM: late, Disconnected: late, MulticastJoin: odd, MulticastError: odd,
		AddrChange: late, TimewaitExit: late,
		Connect: odd, Request: odd, QPReady: odd, QPFailed: odd, Attached: odd, CallFailed: odd,
		RetryTimer: late, LingerTimer: odd,
		Broken: late, Drained: odd, PeerFin: late,
	},

	FlushingFailed: {
		Flushed: flushed, FlushTimer: flushTimedOut, Disconnected: disconnectSeen, TimewaitExit: disconnectSeen,
		DeviceRemoval: disconnectSeen, Close: closeFlushing, Abort: closeFlushing,

		AddrResolved: odd, AddrError: odd, RouteResolved: late, RouteError: late,
		ConnectRequest: odd, ConnectResponse: late, ConnectError: late, Unreachable: late, Rejected: late,
		EstablishedCM: late, MulticastJoin: odd, MulticastError: odd, AddrChange: late,
		Connect: odd, Request: odd, QPReady: odd, QPFailed: odd, Attached: odd, CallFailed: odd,
		DeadlineTimer: late, RetryTimer: late, LingerTimer: odd,
		Broken: late, Drained: odd, PeerFin: late,
	},

	FlushingBroken: {
		Flushed: flushed, FlushTimer: flushTimedOut, Disconnected: disconnectSeen, TimewaitExit: disconnectSeen,
		DeviceRemoval: disconnectSeen, Close: closeFlushing, Abort: closeFlushing,

		AddrResolved: odd, AddrError: odd, RouteResolved: odd, RouteError: odd,
		ConnectRequest: odd, ConnectResponse: odd, ConnectError: late, Unreachable: late, Rejected: late,
		EstablishedCM: late, MulticastJoin: odd, MulticastError: odd, AddrChange: late,
		Connect: odd, Request: odd, QPReady: odd, QPFailed: odd, Attached: odd, CallFailed: odd,
		DeadlineTimer: late, RetryTimer: late, LingerTimer: odd,
		Broken: late, Drained: late, PeerFin: late,
	},

	FlushingClosed: {
		Flushed: flushed, FlushTimer: flushTimedOut, Disconnected: disconnectSeen, TimewaitExit: disconnectSeen,
		DeviceRemoval: disconnectSeen, Abort: late,

		AddrResolved: odd, AddrError: odd, RouteResolved: late, RouteError: late,
		ConnectRequest: odd, ConnectResponse: late, ConnectError: late, Unreachable: late, Rejected: late,
		EstablishedCM: late, MulticastJoin: odd, MulticastError: odd, AddrChange: late,
		Connect: odd, Request: odd, Close: odd, QPReady: odd, QPFailed: odd, Attached: odd, CallFailed: odd,
		DeadlineTimer: late, RetryTimer: late, LingerTimer: late,
		Broken: late, Drained: late, PeerFin: late,
	},

	Detached: {
		Close: closeDetached, Abort: closeDetached,

		AddrResolved: odd, AddrError: odd, RouteResolved: odd, RouteError: odd,
		ConnectRequest: odd, ConnectResponse: odd, ConnectError: late, Unreachable: late, Rejected: late,
		EstablishedCM: late, Disconnected: late, DeviceRemoval: late, MulticastJoin: odd, MulticastError: odd,
		AddrChange: late, TimewaitExit: late,
		Connect: odd, Request: odd, QPReady: odd, QPFailed: odd, Attached: odd, CallFailed: odd,
		DeadlineTimer: late, RetryTimer: late, LingerTimer: odd, FlushTimer: late,
		Broken: late, Drained: late, Flushed: late, PeerFin: late,
	},

	Failed: {
		Close: closeFailed, Abort: closeFailed,

		AddrResolved: late, AddrError: late, RouteResolved: late, RouteError: late,
		ConnectRequest: odd, ConnectResponse: late, ConnectError: late, Unreachable: late, Rejected: late,
		EstablishedCM: late, Disconnected: late, DeviceRemoval: late, MulticastJoin: odd, MulticastError: odd,
		AddrChange: late, TimewaitExit: late,
		Connect: odd, Request: odd, QPReady: odd, QPFailed: odd, Attached: odd, CallFailed: odd,
		DeadlineTimer: late, RetryTimer: late, LingerTimer: odd, FlushTimer: late,
		Broken: late, Drained: odd, Flushed: late, PeerFin: late,
	},

	Released: {
		AddrResolved: late, AddrError: late, RouteResolved: late, RouteError: late,
		ConnectRequest: odd, ConnectResponse: late, ConnectError: late, Unreachable: late, Rejected: late,
		EstablishedCM: late, Disconnected: late, DeviceRemoval: late, MulticastJoin: odd, MulticastError: odd,
		AddrChange: late, TimewaitExit: late,
		Connect: odd, Request: odd, Close: odd, Abort: late, QPReady: odd, QPFailed: odd, Attached: odd, CallFailed: odd,
		DeadlineTimer: late, RetryTimer: late, LingerTimer: late, FlushTimer: late,
		Broken: late, Drained: late, Flushed: late, PeerFin: late,
	},
}
