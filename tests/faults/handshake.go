package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"catmint/soft-roce/testbed"
	"catmint/tests/faults/report"
)

// accepting is in the log (DEMI_LOG=debug) of a side that has called rdma_accept.
const accepting = "to=Accepting"

// slow is for how long netem holds a's packets back, so that a handshake is under way meanwhile.
const slow = "delay 1500ms"

// scene is a side on a that listens, and one on b.
type scene struct {
	a, b  *side
	start [2]resources
	warm  [2]resources
}

func (l *lab) scene(ctx context.Context, backlog, accepts int, env ...string) (*scene, error) {
	s := &scene{}
	var err error
	for i, h := range l.bed.Hosts() {
		if s.start[i], err = count(ctx, h); err != nil {
			return nil, err
		}
	}
	if s.a, err = l.side(ctx, l.bed.A(), backlog, accepts, env...); err != nil {
		return nil, err
	}
	if s.b, err = l.side(ctx, l.bed.B(), 16, 2); err != nil {
		return nil, err
	}
	// What a libOS opens at its first connection stays: both have had one.
	if err := exchange(ctx, s.a.node, s.b, "first"); err != nil {
		return nil, err
	}
	for i, h := range l.bed.Hosts() {
		if s.warm[i], err = steady(ctx, h); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// release sees that both sides have released what the fault left, and ends them.
func (s *scene) release(ctx context.Context, l *lab, o *outcome) error {
	if err := errors.Join(s.a.released(ctx, s.warm[0]), s.b.released(ctx, s.warm[1])); err != nil {
		return err
	}
	return o.finish(ctx, l, s.start, s.a.node, s.b.node)
}

// listenerClosed closes a listener while a connection request is with it: when the request has come,
// or when it has logged something.
func listenerClosed(moment string) func(context.Context, *lab, *outcome) error {
	return func(ctx context.Context, l *lab, o *outcome) error {
		s, err := l.scene(ctx, 16, 2, "DEMI_LOG=debug")
		if err != nil {
			return err
		}
		if err := netem(ctx, l.bed.A(), slow); err != nil {
			return err
		}
		fromA, fromB := s.a.mark(), s.b.mark()
		if err := s.b.tell(report.Command{Do: report.Connect, Name: "late", Addr: s.a.listens, Mode: report.Idle}); err != nil {
			return err
		}
		if _, err := s.a.await(ctx, "a request has come", fromA, is(report.Request)); err != nil {
			return err
		}
		if moment != "" {
			if err := s.a.awaitLog(ctx, moment); err != nil {
				return err
			}
		}
		at := time.Now()
		if err := s.a.tell(report.Command{Do: report.Unlisten}); err != nil {
			return err
		}
		if _, err := s.a.await(ctx, "the listener is closed", fromA, ended(report.KindClose, "listener")); err != nil {
			return err
		}
		end, err := s.b.await(ctx, "connect has ended", fromB, ended(report.KindConnect, "late"))
		if err != nil {
			return err
		}
		rules := only(report.KindConnect, connectTimeout, "ECONNREFUSED", "ECONNRESET")
		if end.Errno == "" { // a's answer was under way: as with TCP, a connection that is then reset
			rules = with(perhaps(data(keepAlive, "ECONNRESET")), report.KindConnect, connectTimeout, "")
			if _, err := s.b.await(ctx, "it is reset", fromB, of(report.Ended, "late")); err != nil {
				return err
			}
		}
		if _, err := s.b.await(ctx, "it is closed", fromB, of(report.Closed, "late")); err != nil {
			return err
		}
		if err := o.add(s.a.node, s.a.since(fromA), at, only(report.KindAccept, cmRetry, "ECANCELED")); err != nil {
			return err
		}
		if err := o.add(s.b.node, s.b.since(fromB), at, rules); err != nil {
			return err
		}
		if err := netem(ctx, l.bed.A(), nothing); err != nil {
			return err
		}
		// The process listens again.
		s.a.listens = l.addr(l.bed.A())
		fromA = s.a.mark()
		for _, c := range []report.Command{{Do: report.Listen, Addr: s.a.listens, N: 4}, {Do: report.Accept, N: 2}} {
			if err := s.a.tell(c); err != nil {
				return err
			}
		}
		if _, err := s.a.await(ctx, "it listens again", fromA, is(report.Listening)); err != nil {
			return err
		}
		if err := both(ctx, s.a, s.b); err != nil {
			return err
		}
		return s.release(ctx, l, o)
	}
}

// overflow: of 12 that connect at once to a backlog of 4 from which nobody accepts, 4 are
// established and 8 refused, and the 4 are served later.
func overflow(ctx context.Context, l *lab, o *outcome) error {
	const clients, backlog = 12, 4
	s, err := l.scene(ctx, backlog, 0)
	if err != nil {
		return err
	}
	fromA, fromB := s.a.mark(), s.b.mark()
	at := time.Now()
	name := func(i int) string { return fmt.Sprint("client ", i) }
	for i := range clients {
		if err := s.b.tell(report.Command{Do: report.Connect, Name: name(i), Addr: s.a.listens, Mode: report.Traffic, N: 20}); err != nil {
			return err
		}
	}
	var served []string
	for i := range clients {
		ev, err := s.b.await(ctx, "connect has ended", fromB, ended(report.KindConnect, name(i)))
		if err != nil {
			return err
		}
		if ev.Errno == "" {
			served = append(served, name(i))
		}
	}
	if err := o.add(s.b.node, s.b.since(fromB), at, only(report.KindConnect, cmRetry, "", "ECONNREFUSED")); err != nil {
		return err
	}
	if len(served) != backlog {
		return s.b.fail(fmt.Errorf("%d were established, and the backlog is %d", len(served), backlog))
	}
	if err := s.a.tell(report.Command{Do: report.Accept, N: 2}); err != nil {
		return err
	}
	for _, name := range served {
		if _, err := s.a.await(ctx, name+" is accepted", fromA, of(report.Session, name)); err != nil {
			return err
		}
	}
	acked, err := complete(ctx, s.b.node, s.a.node, served...)
	if err != nil {
		return err
	}
	o.sayLost(acked, 0)
	if err := both(ctx, s.a, s.b); err != nil {
		return err
	}
	return s.release(ctx, l, o)
}

// clientKilled kills a process whose connect is being answered: a's answer is still on its way.
func clientKilled(ctx context.Context, l *lab, o *outcome) error {
	s, err := l.scene(ctx, 16, 2, "DEMI_LOG=debug")
	if err != nil {
		return err
	}
	victim, err := l.start(ctx, l.bed.B())
	if err != nil {
		return err
	}
	if err := netem(ctx, l.bed.A(), slow); err != nil {
		return err
	}
	from := s.a.mark()
	if err := victim.tell(report.Command{Do: report.Connect, Name: "late", Addr: s.a.listens, Mode: report.Idle}); err != nil {
		return err
	}
	if _, err := s.a.await(ctx, "a request has come", from, is(report.Request)); err != nil {
		return err
	}
	if err := s.a.awaitLog(ctx, accepting); err != nil {
		return err
	}
	if err := victim.kill(); err != nil {
		return err
	}
	if err := netem(ctx, l.bed.A(), nothing); err != nil {
		return err
	}
	// The listener serves others meanwhile, from the same accepts, none of which has ended.
	if err := both(ctx, s.a, s.b); err != nil {
		return err
	}
	if err := s.a.accepts(from); err != nil {
		return err
	}
	return s.release(ctx, l, o)
}

// accepts sees that no accept has ended without a connection.
func (s *side) accepts(from int) error {
	for _, ev := range s.since(from) {
		if ev.Ev == report.Token && ev.Kind == report.KindAccept {
			return s.fail(fmt.Errorf("an accept ended with %s", ev.Errno))
		}
	}
	return nil
}

// stockServer: rping accepts the connection and says nothing of what a libOS says.
func stockServer(ctx context.Context, l *lab, o *outcome) error {
	s, err := l.scene(ctx, 16, 2)
	if err != nil {
		return err
	}
	to := l.addr(l.bed.A())
	host, port, _ := strings.Cut(to, ":")
	out := &node{news: make(chan struct{}), host: l.bed.A()}
	proc, err := l.bed.A().Start(testbed.Command{
		Args: []string{"stdbuf", "-oL", "rping", "-s", "-d", "-a", host, "-p", port}, Stdout: errWriter{out}, Stderr: errWriter{out},
	})
	if err != nil {
		return err
	}
	out.proc = proc
	if err := out.awaitLog(ctx, "rdma_listen"); err != nil {
		return err
	}
	from := s.b.mark()
	at := time.Now()
	if err := s.b.tell(report.Command{Do: report.Connect, Name: "stranger", Addr: to, Mode: report.Idle}); err != nil {
		return err
	}
	if _, err := s.b.await(ctx, "it is closed", from, of(report.Closed, "stranger")); err != nil {
		return err
	}
	if err := o.add(s.b.node, s.b.since(from), at, only(report.KindConnect, cmRetry, "EPROTO")); err != nil {
		return err
	}
	select { // it learns of the end as well
	case <-out.proc.Done():
	case <-time.After(keepAlive + slack):
		return out.fail(fmt.Errorf("rping goes on %v after it was left", keepAlive+slack))
	}
	if err := both(ctx, s.a, s.b); err != nil {
		return err
	}
	return s.release(ctx, l, o)
}

// stockClient: the listener refuses what is no libOS, and serves on.
func stockClient(ctx context.Context, l *lab, o *outcome) error {
	s, err := l.scene(ctx, 16, 2)
	if err != nil {
		return err
	}
	host, port, _ := strings.Cut(s.a.listens, ":")
	from := s.a.mark()
	var out bytes.Buffer
	began := time.Now()
	status, err := l.bed.B().Run(ctx, testbed.Command{Args: []string{"rping", "-c", "-a", host, "-p", port, "-C", "1"}, Stdout: &out, Stderr: &out})
	if err != nil {
		return err
	}
	if status == 0 || !strings.Contains(out.String(), "REJECTED") || time.Since(began) > cmRetry+slack {
		return s.a.fail(fmt.Errorf("rping was not refused: status %d after %v: %s", status, time.Since(began), out.String()))
	}
	ev, err := s.a.await(ctx, "a request has come", from, is(report.Request))
	if err != nil {
		return err
	}
	if ev.Why == "" {
		return s.a.fail(errors.New("it took rping for a libOS"))
	}
	o.tokens = []tally{{host: "b", kind: "rping", errno: "REJECTED", n: 1, last: time.Since(began), bound: cmRetry}}
	if err := both(ctx, s.a, s.b); err != nil {
		return err
	}
	if err := s.a.accepts(from); err != nil {
		return err
	}
	return s.release(ctx, l, o)
}

// halfOpen: requests that are answered and never confirmed take the places of a backlog, but not for
// long.
func halfOpen(ctx context.Context, l *lab, o *outcome) error {
	const requests, others = 300, 5
	s, err := l.scene(ctx, 16, 2)
	if err != nil {
		return err
	}
	scanner, err := l.start(ctx, l.bed.B())
	if err != nil {
		return err
	}
	from := scanner.mark()
	fromA, fromB := s.a.mark(), s.b.mark()
	if err := scanner.tell(report.Command{Do: report.HalfOpen, Addr: s.a.listens, N: requests}); err != nil {
		return err
	}
	if _, err := scanner.await(ctx, "requests are on their way", from, is(report.Half)); err != nil {
		return err
	}
	// All of them come before those who mean it.
	seen := 0
	last, err := s.a.await(ctx, "they have come", fromA, func(e event) bool {
		if e.Ev == report.Request {
			seen++
		}
		return seen == requests
	})
	if err != nil {
		return err
	}
	// The first may be refused, until the oldest of the requests has had its time. It tries again.
	for try := 0; ; try++ {
		name := fmt.Sprint("try ", try)
		if err := s.b.tell(report.Command{Do: report.Connect, Name: name, Addr: s.a.listens, Mode: report.Traffic, N: 20}); err != nil {
			return err
		}
		ev, err := s.b.await(ctx, "connect has ended", fromB, ended(report.KindConnect, name))
		if err != nil {
			return err
		}
		if ev.Errno == "" {
			if _, err := s.a.await(ctx, name+" is accepted", fromA, of(report.Session, name)); err != nil {
				return err
			}
			if _, err := complete(ctx, s.b.node, s.a.node, name); err != nil {
				return err
			}
			break
		}
	}
	err = o.add(s.b.node, connects(s.b.since(fromB)), last.at, only(report.KindConnect, confirm, "", "ECONNREFUSED"))
	if err != nil {
		return err
	}
	if err := s.a.accepts(fromA); err != nil {
		return err
	}
	for i := range others {
		if err := exchange(ctx, s.b.node, s.a, fmt.Sprint("honest ", i)); err != nil {
			return fmt.Errorf("%v after the requests: %w", time.Since(last.at), err)
		}
	}
	if err := scanner.kill(); err != nil {
		return err
	}
	if err := both(ctx, s.a, s.b); err != nil {
		return err
	}
	return s.release(ctx, l, o)
}

// connects are the ends of connects among events.
func connects(events []event) []event {
	return slices.DeleteFunc(events, func(e event) bool { return e.Kind != report.KindConnect })
}

// unconfirmed has a new agent on b send requests to a side, which answers them and waits in vain for
// a confirmation.
func (l *lab) unconfirmed(ctx context.Context, to *side, requests int) (*node, error) {
	scanner, err := l.start(ctx, l.bed.B())
	if err != nil {
		return nil, err
	}
	from, there := scanner.mark(), to.mark()
	if err := scanner.tell(report.Command{Do: report.HalfOpen, Addr: to.listens, N: requests}); err != nil {
		return nil, err
	}
	if _, err := scanner.await(ctx, "requests are on their way", from, is(report.Half)); err != nil {
		return nil, err
	}
	seen := 0
	_, err = to.await(ctx, "requests have come", there, func(e event) bool {
		if e.Ev == report.Request {
			seen++
		}
		return seen == requests
	})
	return scanner, err
}
