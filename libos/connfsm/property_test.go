package connfsm

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// world is what a driver would hold: it carries actions out on counters and complains
// about any that cannot be carried out.
type world struct {
	id, qp, conn  bool // they exist
	making        bool // the queue pair's maker is at work
	attaching     bool
	flushing      bool
	outcomes      int // of the connect token, or Ready / Gone
	closes        int
	released      bool
	timers        [NumTimers]bool
	wantsOutcome  bool
	wantsClose    bool
	unexpectedOps int
}

func (w *world) apply(c Conn, acts []Action) error {
	for _, a := range acts {
		if w.released && a.Op != Unexpected {
			return fmt.Errorf("%s after release", a)
		}
		switch a.Op {
		case CreateID:
			if w.id {
				return fmt.Errorf("a second id")
			}
			w.id = true
		case ResolveAddr, ResolveRoute, ConnectPeer, AcceptPeer, RejectPeer, Disconnect:
			if !w.id || w.making && a.Op != RejectPeer && a.Op != ResolveRoute {
				return fmt.Errorf("%s without an id of ours", a)
			}
		case CreateQP:
			if !w.id || w.qp || w.making {
				return fmt.Errorf("create-qp out of place")
			}
			w.making = true
		case Attach, SendFIN, CancelPushes, Flush:
			if !w.qp {
				return fmt.Errorf("%s without a queue pair", a)
			}
			w.attaching = a.Op == Attach
			if a.Op == Flush {
				w.flushing = true
			}
		case CompleteToken, FailToken, Ready, Gone:
			w.outcomes++
			if a.Op == FailToken && a.Err == 0 {
				return fmt.Errorf("a failure without errno")
			}
		case DestroyQP:
			if !w.qp {
				return fmt.Errorf("no queue pair to destroy")
			}
			w.qp, w.flushing = false, false
		case DestroyConn:
			if !w.conn || w.qp {
				return fmt.Errorf("destroy-conn out of place")
			}
			w.conn = false
		case DestroyID:
			if !w.id || w.qp || w.making {
				return fmt.Errorf("destroy-id out of place")
			}
			w.id = false
		case CompleteClose:
			w.closes++
		case StartTimer:
			w.timers[a.Timer] = true
		case StopTimer:
			w.timers[a.Timer] = false
		case Release:
			w.released = true
			if w.id || w.qp || w.conn || w.making {
				return fmt.Errorf("released with id=%t qp=%t conn=%t making=%t", w.id, w.qp, w.conn, w.making)
			}
			for k, on := range w.timers {
				if on {
					return fmt.Errorf("released with timer %s running", Timer(k))
				}
			}
		case Unexpected:
			w.unexpectedOps++
		default:
			return fmt.Errorf("unknown action %s", a)
		}
	}
	if c.Making != w.making || c.HasQP != w.qp {
		return fmt.Errorf("making=%t qp=%t, the machine thinks %t and %t", w.making, w.qp, c.Making, c.HasQP)
	}
	if c.State == Failed && (w.id || w.qp || w.conn) {
		return fmt.Errorf("failed and still holding something")
	}
	return nil
}

// possible lists the events that the world could produce now. Anything CM says may come
// at any time; answers come only to questions, timers only while they run.
func (w *world) possible(c Conn) []Event {
	errs := []syscall.Errno{0, syscall.ETIMEDOUT, syscall.ENODEV, syscall.EINVAL}
	var evs []Event
	for k := AddrResolved; k <= TimewaitExit; k++ {
		switch k {
		case AddrError, RouteError, ConnectError, Unreachable:
			for _, e := range errs {
				evs = append(evs, Event{Kind: k, Err: e})
			}
		case Rejected:
			for _, r := range []int{RejectInvalidServiceID, RejectConsumer, RejectStaleConnection, 4} {
				evs = append(evs, Event{Kind: k, Reason: r})
			}
			evs = append(evs, Event{Kind: k, Reason: RejectConsumer, Err: syscall.EPROTO})
		case EstablishedCM:
			evs = append(evs, Event{Kind: k}, Event{Kind: k, Err: syscall.EPROTO})
		default:
			evs = append(evs, Event{Kind: k})
		}
	}
	if w.making {
		evs = append(evs, Event{Kind: QPReady}, Event{Kind: QPFailed, Err: syscall.ENOMEM})
	}
	if w.attaching {
		evs = []Event{{Kind: Attached}, {Kind: CallFailed, Err: syscall.EINVAL}} // answered at once
		return evs
	}
	if w.conn {
		evs = append(
			evs, Event{Kind: Broken, Err: syscall.ETIMEDOUT}, Event{Kind: Drained}, Event{Kind: PeerFin}, Event{Kind: Flushed},
		)
	}
	for k := Deadline; k < NumTimers; k++ {
		if w.timers[k] {
			evs = append(evs, k.Event())
		}
	}
	switch c.State {
	case ResolvingAddr, ResolvingRoute, Connecting, Accepting:
		evs = append(evs, Event{Kind: CallFailed, Err: syscall.ENODEV})
	default: // no call is under way
	}
	if !w.wantsClose && w.wantsOutcome && (c.Role == Active || !c.Pending) {
		evs = append(evs, Event{Kind: Close}, Event{Kind: Abort})
	}
	if !w.wantsOutcome {
		evs = append(evs, Event{Kind: Connect}, Event{Kind: Request})
	}
	return evs
}

func (w *world) happen(c Conn, ev Event) (Conn, error) {
	switch ev.Kind {
	case QPReady:
		w.making, w.qp, w.conn = false, true, true
	case QPFailed:
		w.making = false
	case Attached, CallFailed:
		w.attaching = false
	case Connect:
		w.wantsOutcome = true
	case Request:
		w.wantsOutcome, w.id = true, true
	case Close, Abort:
		w.wantsClose = true
	case DeadlineTimer:
		w.timers[Deadline] = false
	case RetryTimer:
		w.timers[Retry] = false
	case LingerTimer:
		w.timers[Linger] = false
	case FlushTimer:
		w.timers[FlushEnd] = false
	default: // comes by itself
	}
	before := c
	next, acts := c.Step(ev)
	// A room that another step has been in makes no difference.
	var used Room
	c.StepIn(&used, Event{Kind: Close})
	if again, same := c.StepIn(&used, ev); again != next || !slices.Equal(same, acts) {
		return next, fmt.Errorf("%s in %+v: actions %s, and %s in a used room", ev, before, joinActions(acts), joinActions(same))
	}
	if err := w.apply(next, acts); err != nil {
		return next, fmt.Errorf("%s in %+v: actions %s: %w", ev, before, joinActions(acts), err)
	}
	return next, nil
}

// settle lets only time pass and questions be answered: no peer, no CM, no application.
// It must reach rest.
func (w *world) settle(c Conn, rng *rand.Rand) (Conn, error) {
	for range 100 {
		var evs []Event
		for _, ev := range w.possible(c) {
			switch ev.Kind {
			case QPReady, QPFailed, Attached, DeadlineTimer, RetryTimer, LingerTimer, FlushTimer:
				evs = append(evs, ev)
			default: // is not an answer and not a timer
			}
		}
		if len(evs) == 0 {
			return c, nil
		}
		var err error
		if c, err = w.happen(c, evs[rng.IntN(len(evs))]); err != nil {
			return c, err
		}
	}
	return c, fmt.Errorf("no rest in %+v", c)
}

// TestEveryPathEndsWithEverythingReleased walks at random through everything that could
// happen and then lets time alone pass: every path ends, the outcome is told exactly
// once, every resource is released exactly once, and a close is answered exactly once.
func TestEveryPathEndsWithEverythingReleased(t *testing.T) {
	walks := 20_000
	if testing.Short() {
		walks = 5_000
	}
	for seed := range walks {
		rng := rand.New(rand.NewPCG(uint64(seed), 7))
		w, c := &world{}, Conn{}
		var trail []Event
		var err error
		step := func(ev Event) {
			trail = append(trail, ev)
			c, err = w.happen(c, ev)
			require.NoError(t, err, "seed %d, after %v", seed, trail)
		}
		switch rng.IntN(3) {
		case 0:
			step(Event{Kind: Connect})
		case 1:
			step(Event{Kind: Request})
		}
		for range rng.IntN(25) {
			evs := w.possible(c)
			step(evs[rng.IntN(len(evs))])
		}
		c, err = w.settle(c, rng)
		require.NoError(t, err, "seed %d, after %v", seed, trail)
		if w.wantsOutcome && !w.wantsClose && c.State != Released {
			require.Contains(t, []State{Established, Detached, Failed}, c.State, "seed %d: rest after %v", seed, trail)
		}
		if !w.wantsClose && c.State != Released {
			step(Event{Kind: Close})
		}
		c, err = w.settle(c, rng)
		require.NoError(t, err, "seed %d, after %v", seed, trail)
		require.Equal(t, Released, c.State, "seed %d, after %v", seed, trail)
		require.True(t, w.released, "seed %d, after %v", seed, trail)
		if w.wantsOutcome {
			require.Equal(t, 1, w.outcomes, "seed %d: outcomes after %v", seed, trail)
		}
		if w.wantsClose && c.Role == Active {
			require.Equal(t, 1, w.closes, "seed %d: closes after %v", seed, trail)
		}
	}
}

// TestEveryReachableStateIsHeld explores all reachable connections breadth first, not at
// random, so that no corner of the table escapes the checks of world.
func TestEveryReachableStateIsHeld(t *testing.T) {
	type node struct {
		c Conn
		w world
	}
	start := node{}
	seen := map[node]bool{start: true}
	queue := []node{start}
	reached := map[State]bool{}
	for len(queue) > 0 {
		n := queue[0]
		queue = queue[1:]
		reached[n.c.State] = true
		for _, ev := range n.w.possible(n.c) {
			w := n.w
			next, err := w.happen(n.c, ev)
			require.NoError(t, err)
			w.unexpectedOps = 0
			m := node{next, w}
			require.LessOrEqual(t, w.outcomes, 1, "%s in %+v", ev, n.c)
			require.LessOrEqual(t, w.closes, 1, "%s in %+v", ev, n.c)
			if !seen[m] {
				seen[m] = true
				queue = append(queue, m)
			}
		}
	}
	for s := State(0); s < numStates; s++ {
		require.True(t, reached[s], "%s cannot be reached", s)
	}
	t.Logf("%d reachable nodes", len(seen))
}

// TestAListenerNeverLosesCount walks a listener at random.
func TestAListenerNeverLosesCount(t *testing.T) {
	for seed := range 2_000 {
		rng := rand.New(rand.NewPCG(uint64(seed), 11))
		l := Listener{Backlog: 1 + rng.IntN(4)}
		underway, matched, ready, accepts := 0, 0, 0, 0
		for range 60 {
			ev := ListenerEvent(rng.IntN(int(numListenerEvents)))
			if (ev == ListenChildReady || ev == ListenChildGone) && underway == 0 {
				continue
			}
			if (ev == ListenClose || ev == ListenDeviceGone) && rng.IntN(10) > 0 {
				continue
			}
			if ev == ListenPressing && underway == 0 { // none can be late
				continue
			}
			var acts []ListenerAction
			l, acts = l.Step(ev)
			switch ev {
			case ListenChildReady:
				underway--
				if l.State == Listening {
					ready++
				}
			case ListenChildGone:
				underway--
			default:
			}
			for _, a := range acts {
				switch a.Op {
				case Admit:
					underway++
				case Evict:
					require.Positive(t, underway)
					l, _ = l.Step(ListenChildGone)
					underway--
				case KeepAccept:
					accepts++
				case Match:
					matched++
					ready--
					accepts--
				case FailWaiting:
					accepts = 0
				case AbortReady:
					ready = 0
				default:
				}
			}
			require.Equal(t, underway, l.Underway)
			require.Equal(t, ready, l.Ready)
			require.Equal(t, accepts, l.Waiting)
			if ev == ListenRequest || ev == ListenPressing {
				require.True(t, l.State != Listening || underway+ready <= l.Backlog+accepts, "more are admitted than there is room for")
			}
			require.False(t, l.Ready > 0 && l.Waiting > 0, "an accept waits beside a ready connection")
			require.LessOrEqual(t, l.Ready, l.Backlog)
		}
	}
}
