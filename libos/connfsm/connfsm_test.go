package connfsm

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"

	"catmint/libos/hello"
	"catmint/rdma"
)

// parseEvent reads "NAME [err=ERRNO] [reason=N]".
func parseEvent(t *testing.T, line string) Event {
	t.Helper()
	f := strings.Fields(line)
	var ev Event
	found := false
	for k := EventKind(0); k < numEvents; k++ {
		if k.String() == f[0] {
			ev.Kind, found = k, true
		}
	}
	require.True(t, found, "no event is called %q", f[0])
	for _, a := range f[1:] {
		switch {
		case strings.HasPrefix(a, "err="):
			ev.Err = errnoByName(t, a[4:])
		case strings.HasPrefix(a, "reason="):
			_, err := fmt.Sscanf(a, "reason=%d", &ev.Reason)
			require.NoError(t, err)
		default:
			t.Fatalf("unknown argument %q", a)
		}
	}
	return ev
}

func errnoByName(t *testing.T, name string) syscall.Errno {
	t.Helper()
	for e, n := range errnoNames {
		if n == name {
			return e
		}
	}
	t.Fatalf("no errno is called %q", name)
	return 0
}

func joinActions[A fmt.Stringer](acts []A) string {
	if len(acts) == 0 {
		return "-"
	}
	var s []string
	for _, a := range acts {
		s = append(s, a.String())
	}
	return strings.Join(s, " ")
}

// TestTranscripts replays the conversations under testdata. Commands:
//
//	conn [bound]       a fresh connection; each line of input is an event
//	more               goes on with the same connection
//	matrix STATE=… role=…   every event in a state, from a typical connection in it
//	rejects STATE=… role=…  REJECTED in a state, with every reason there is
//	listener backlog=N a fresh listener; each line of input is an event
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		t.Helper()
		var c Conn
		var l Listener
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			t.Helper()
			var out strings.Builder
			switch d.Cmd {
			case "conn", "more":
				if d.Cmd == "conn" {
					c = Conn{}
					if d.HasArg("bound") {
						c = Bound()
					}
				}
				for line := range strings.Lines(d.Input) {
					ev := parseEvent(t, line)
					var acts []Action
					c, acts = c.Step(ev)
					fmt.Fprintf(&out, "%-36s %-15s %s\n", ev, c.State, joinActions(acts))
				}
			case "matrix":
				var state, role string
				d.ScanArgs(t, "state", &state)
				d.ScanArgs(t, "role", &role)
				from := typical(t, state, role)
				for k := EventKind(0); k < numEvents; k++ {
					ev := typicalEvent(k)
					next, acts := from.Step(ev)
					to := next.State.String()
					if next.State == from.State {
						to = "."
					}
					fmt.Fprintf(&out, "%-24s %-15s %s\n", ev, to, joinActions(acts))
				}
			case "rejects":
				var state, role string
				d.ScanArgs(t, "state", &state)
				d.ScanArgs(t, "role", &role)
				for _, r := range everyReject() {
					next, acts := typical(t, state, role).Step(r.ev)
					fmt.Fprintf(&out, "%-4d %-30s %-15s %s\n", r.ev.Reason, r.says, next.State, joinActions(acts))
				}
			case "listener", "listener-more":
				if d.Cmd == "listener" {
					l = Listener{}
					d.ScanArgs(t, "backlog", &l.Backlog)
				}
				for line := range strings.Lines(d.Input) {
					name := strings.TrimSpace(line)
					ev := numListenerEvents
					for e := ListenerEvent(0); e < numListenerEvents; e++ {
						if e.String() == name {
							ev = e
						}
					}
					require.Less(t, ev, numListenerEvents, "no listener event is called %q", name)
					var acts []ListenerAction
					l, acts = l.Step(ev)
					fmt.Fprintf(&out, "%-12s %s underway=%d ready=%d waiting=%d  %s\n",
						ev, l.State, l.Underway, l.Ready, l.Waiting, joinActions(acts))
				}
			default:
				t.Fatalf("unknown command %q", d.Cmd)
			}
			return out.String()
		})
	})
}

// routes leads from a fresh connection to each state, per role.
var routes = map[Role]map[State][]Event{
	Active: func() map[State][]Event {
		e := func(k EventKind) Event { return Event{Kind: k} }
		fail := func(k EventKind, err syscall.Errno) Event { return Event{Kind: k, Err: err} }
		connect, addr, qp, route := e(Connect), e(AddrResolved), e(QPReady), e(RouteResolved)
		est, att := e(EstablishedCM), e(Attached)
		return map[State][]Event{
			Idle:           {},
			ResolvingAddr:  {connect},
			RetryingAddr:   {connect, fail(AddrError, syscall.ETIMEDOUT)},
			ResolvingRoute: {connect, addr},
			RetryingRoute:  {connect, addr, fail(RouteError, syscall.ETIMEDOUT)},
			CreatingQP:     {connect, addr, route},
			Connecting:     {connect, addr, qp, route},
			Attaching:      {connect, addr, qp, route, est},
			Established:    {connect, addr, qp, route, est, att},
			Closing:        {connect, addr, qp, route, est, att, e(Close)},
			AbortingFailed: {connect, addr, e(DeadlineTimer)},
			AbortingClosed: {connect, addr, e(Close)},
			FlushingRetry:  {connect, addr, qp, route, {Kind: Rejected, Reason: RejectStaleConnection}},
			FlushingFailed: {connect, addr, qp, route, {Kind: Rejected, Reason: RejectInvalidServiceID}},
			FlushingBroken: {connect, addr, qp, route, est, att, fail(Broken, syscall.ETIMEDOUT)},
			FlushingClosed: {connect, addr, qp, route, est, att, e(Close), e(Drained)},
			Detached:       {connect, addr, qp, route, est, att, e(Disconnected), e(Flushed)},
			Failed:         {connect, fail(AddrError, syscall.ENETUNREACH)},
			Released:       {connect, e(Close)},
		}
	}(),
	Passive: func() map[State][]Event {
		e := func(k EventKind) Event { return Event{Kind: k} }
		req, qp, est, att := e(Request), e(QPReady), e(EstablishedCM), e(Attached)
		return map[State][]Event{
			CreatingQP:     {req},
			Accepting:      {req, qp},
			Attaching:      {req, qp, est},
			Established:    {req, qp, est, att},
			Closing:        {req, qp, est, att, e(Close)},
			AbortingClosed: {req, e(DeadlineTimer)},
			FlushingBroken: {req, qp, est, att, {Kind: Broken, Err: syscall.ETIMEDOUT}},
			FlushingClosed: {req, qp, est, att, e(Close), e(Drained)},
			Detached:       {req, qp, est, att, e(Disconnected), e(Flushed)},
			Released:       {req, e(QPFailed)},
		}
	}(),
}

func typical(t *testing.T, state, role string) Conn {
	t.Helper()
	r := Active
	if role == "passive" {
		r = Passive
	}
	for s, evs := range routes[r] {
		if s.String() != state {
			continue
		}
		c := Conn{}
		for _, ev := range evs {
			c, _ = c.Step(ev)
		}
		require.Equal(t, state, c.State.String(), "the route to %s leads elsewhere", state)
		return c
	}
	t.Fatalf("no route to state %q as %s", state, role)
	return Conn{}
}

// typicalEvent is an event with the errno or reason that it usually carries.
func typicalEvent(k EventKind) Event {
	switch k {
	case AddrError, RouteError, Unreachable, Broken:
		return Event{Kind: k, Err: syscall.ETIMEDOUT}
	case ConnectError, CallFailed:
		return Event{Kind: k, Err: syscall.EINVAL}
	case QPFailed:
		return Event{Kind: k, Err: syscall.ENOMEM}
	case Rejected:
		return Event{Kind: k, Reason: RejectInvalidServiceID}
	default:
		return Event{Kind: k}
	}
}

type reject struct {
	ev   Event
	says string
}

// everyReject is REJECTED with each reason of InfiniBand and RoCE, one that nobody has defined,
// those of iWARP, and each of our own.
func everyReject() []reject {
	var all []reject
	for n := range 38 {
		all = append(all, reject{Event{Kind: Rejected, Reason: n}, rdma.RejectReason(n).String()})
	}
	for _, err := range []syscall.Errno{syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.ETIMEDOUT} {
		all = append(all, reject{Event{Kind: Rejected, Reason: -int(err)}, "iWARP: " + ErrnoName(err)})
	}
	for r := hello.ReasonFull; r <= hello.ReasonProbed+1; r++ {
		all = append(all, reject{Event{Kind: Rejected, Reason: RejectConsumer, Err: r.Errno()}, "Catmint: " + r.String()})
	}
	return all
}

func TestTheTableSpeaksOfEveryStateAndEveryEvent(t *testing.T) {
	for s := State(0); s < numStates; s++ {
		some := slices.ContainsFunc(acts[s][:], func(r rule) bool { return r != nil })
		require.Equal(t, s != Released, some, "what acts in %s", s)
	}
	for k := EventKind(0); k < numEvents; k++ {
		require.NotZero(t, late[k], "nothing is said about %s where it does not act", k)
	}
}

func TestTheMatrixTranscriptsCoverEveryStateOfBothSides(t *testing.T) {
	covered := map[string]bool{}
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		t.Helper()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			t.Helper()
			if d.Cmd == "matrix" {
				var state, role string
				d.ScanArgs(t, "state", &state)
				d.ScanArgs(t, "role", &role)
				covered[state+"/"+role] = true
				require.Equal(t, int(numEvents), strings.Count(d.Expected, "\n"), "%s: rows", d.Pos)
			}
			return d.Expected
		})
	})
	for role, states := range routes {
		for s := range states {
			require.True(t, covered[s.String()+"/"+role.String()], "no matrix for %s as %s", s, role)
		}
	}
	for s := State(0); s < numStates; s++ {
		require.True(t, covered[s.String()+"/active"] || covered[s.String()+"/passive"], "no matrix for %s", s)
	}
}

func TestEveryNameIsDistinct(t *testing.T) {
	check := func(kind string, names []string) {
		seen := map[string]bool{}
		for _, n := range names {
			require.NotEmpty(t, n, "a %s has no name", kind)
			require.False(t, seen[n], "two %ss are called %q", kind, n)
			seen[n] = true
		}
	}
	check("state", stateNames[:])
	check("event", eventNames[:])
	check("action", opNames[:])
	check("timer", timerNames[:])
	check("listener event", listenerEventNames[:])
	check("listener action", listenerOpNames[:])
	require.Equal(t, "State(99)", State(99).String())
	require.Equal(t, "EventKind(99)", EventKind(99).String())
	require.Equal(t, "Op(99)", Op(99).String())
	require.Equal(t, "Timer(99)", Timer(99).String())
	require.Equal(t, "errno999", ErrnoName(999))
}

func TestAnUnknownEventChangesNothing(t *testing.T) {
	c := Conn{State: Established}
	next, acts := c.Step(Event{Kind: numEvents})
	require.Equal(t, c, next)
	require.Equal(t, []Action{{Op: Unexpected}}, acts)
	next, acts = Conn{State: numStates}.Step(Event{Kind: Close})
	require.Equal(t, numStates, next.State)
	require.Equal(t, []Action{{Op: Unexpected}}, acts)
}
