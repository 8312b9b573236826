package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"catmint/soft-roce/testbed"
	"catmint/tests/faults/report"
)

// lab is two hosts.
type lab struct {
	agent string    // the program
	log   io.Writer // of what the agents say; may be nil
	bed   *testbed.Bed
	nodes []*node // of the fault under way
	port  int     // the last one used
}

// sh runs a shell command on a host and returns what it prints.
func sh(ctx context.Context, h *testbed.Host, script string) (string, error) {
	var out bytes.Buffer
	status, err := h.Run(ctx, testbed.Command{Args: []string{"sh", "-c", script}, Stdout: &out, Stderr: &out})
	if err == nil && status != 0 {
		err = fmt.Errorf("%s on %s: exit status %d: %s", script, h.Name, status, out.String())
	}
	return strings.TrimSpace(out.String()), err
}

// addr is an address of a host, with a port that was never used.
func (l *lab) addr(h *testbed.Host) string {
	if l.port == 0 {
		l.port = 20000
	}
	l.port++
	return netip.MustParseAddr(h.Env()["SOFT_ROCE_ADDR"]).String() + ":" + strconv.Itoa(l.port)
}

// resources are what `rdma resource` counts on a host, contexts apart, which librdmacm keeps for as
// long as its process lives.
type resources map[string]int

func (r resources) String() string {
	var out []string
	for _, kind := range slices.Sorted(maps.Keys(r)) {
		out = append(out, fmt.Sprint(kind, " ", r[kind]))
	}
	return strings.Join(out, ", ")
}

func count(ctx context.Context, h *testbed.Host) (resources, error) {
	out, err := sh(ctx, h, "rdma -j resource show")
	if err != nil {
		return nil, err
	}
	var devices []map[string]any
	if err := json.Unmarshal([]byte(out), &devices); err != nil {
		return nil, fmt.Errorf("rdma -j resource show prints %q: %w", out, err)
	}
	r := resources{}
	for _, d := range devices {
		for _, kind := range []string{"pd", "cq", "qp", "cm_id", "mr", "srq"} {
			if n, ok := d[kind].(float64); ok {
				r[kind] += int(n)
			}
		}
	}
	return r, nil
}

// settle waits until a host counts as before, or says what is too much. Kinds that are named are
// left out.
func settle(ctx context.Context, h *testbed.Host, before resources, within time.Duration, but ...string) error {
	deadline := time.Now().Add(within)
	for {
		now, err := count(ctx, h)
		if err != nil {
			return err
		}
		was := maps.Clone(before)
		for _, kind := range but {
			delete(now, kind)
			delete(was, kind)
		}
		if maps.Equal(was, now) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("`rdma resource` on host %s: %v after %v, was %v", h.Name, now, within, was)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// side is an agent that listens, and on another port takes requests without answering.
type side struct {
	*node
	listens, mute string
}

// side starts an agent on h with accepts outstanding.
func (l *lab) side(ctx context.Context, h *testbed.Host, backlog, accepts int, env ...string) (*side, error) {
	n, err := l.start(ctx, h, env...)
	if err != nil {
		return nil, err
	}
	s := &side{node: n, listens: l.addr(h), mute: l.addr(h)}
	from := n.mark()
	for _, c := range []report.Command{
		{Do: report.Listen, Addr: s.listens, N: backlog},
		{Do: report.Accept, N: accepts},
		{Do: report.Mute, Addr: s.mute},
	} {
		if err := n.tell(c); err != nil {
			return nil, err
		}
	}
	if _, err = n.await(ctx, "it listens", from, of(report.Listening, "")); err == nil {
		_, err = n.await(ctx, "it is mute", from, of(report.Listening, "mute"))
	}
	return s, err
}

// connect has n connect to another side and waits until both have the session.
func (n *node) connect(ctx context.Context, to *side, name, mode string, total int) error {
	from, there := n.mark(), to.mark()
	err := n.tell(report.Command{Do: report.Connect, Name: name, Addr: to.listens, Mode: mode, N: total})
	if err != nil {
		return err
	}
	ev, err := n.await(ctx, name+" is connected", from, ended(report.KindConnect, name))
	if err == nil && ev.Errno != "" {
		err = n.fail(fmt.Errorf("connect: %s (%s)", ev.Errno, ev.Why))
	}
	if err == nil {
		_, err = to.await(ctx, name+" is accepted", there, of(report.Session, name))
	}
	return err
}

// complete has both sides of connections acknowledge everything, closes them, and adds up what was
// acknowledged. Nothing may fail.
func complete(ctx context.Context, opener, acceptor *node, names ...string) (acked uint64, err error) {
	for _, name := range names {
		from, there := opener.mark(), acceptor.mark()
		if err := errors.Join(
			opener.tell(report.Command{Do: report.Finish, Name: name}),
			acceptor.tell(report.Command{Do: report.Finish, Name: name}),
		); err != nil {
			return 0, err
		}
		ours, err := opener.await(ctx, name+" is acknowledged", from, of(report.Finished, name))
		if err != nil {
			return 0, err
		}
		theirs, err := acceptor.await(ctx, name+" is acknowledged", there, of(report.Finished, name))
		if err != nil {
			return 0, err
		}
		if err := opener.tell(report.Command{Do: report.Close, Name: name}); err != nil {
			return 0, err
		}
		for n, mark := range map[*node]int{opener: from, acceptor: there} {
			end, err := n.await(ctx, name+" has ended", mark, of(report.Ended, name))
			if err == nil && end.Errno != "" {
				err = n.fail(fmt.Errorf("%s ended with %s", name, end.Errno))
			}
			if err == nil {
				_, err = n.await(ctx, name+" is closed", mark, of(report.Closed, name))
			}
			if err != nil {
				return 0, err
			}
		}
		acked += ours.Acked + theirs.Acked
	}
	return acked, nil
}

// exchange has n serve as a client of to: a connection, messages both ways, all acknowledged.
func exchange(ctx context.Context, n *node, to *side, name string) error {
	if err := n.connect(ctx, to, name, report.Traffic, 30); err != nil {
		return err
	}
	_, err := complete(ctx, n, to.node, name)
	return err
}

// released waits until a side that lives has nothing on its host but what it had before there were
// connections: listeners, and the device's protection domain, completion queues and memory, of which
// it may have more regions by now.
func (s *side) released(ctx context.Context, warm resources) error {
	if err := s.tell(report.Command{Do: report.Forget}); err != nil {
		return err
	}
	if err := settle(ctx, s.host, warm, flushed, "mr"); err != nil {
		return s.fail(err)
	}
	return nil
}

// duo is an agent on each host with connections between them, all opened by b, on which tokens of
// every kind are outstanding.
type duo struct {
	a, b   *side
	start  [2]resources // of the hosts, before
	warm   [2]resources // with both agents, but no connection
	faultA int          // where the news begins
	faultB int
	at     time.Time // of the fault
}

// The connections of a duo.
var connections = []string{report.Traffic, report.Stalled, report.Idle}

const toMute = "to the mute"

// duo starts both agents and everything between them; muted says whether connects that are never
// answered are to wait, too.
func (l *lab) duo(ctx context.Context, muted bool, env ...string) (*duo, error) {
	d := &duo{}
	var err error
	for i, h := range l.bed.Hosts() {
		if d.start[i], err = count(ctx, h); err != nil {
			return nil, err
		}
	}
	if d.a, err = l.side(ctx, l.bed.A(), 16, 2, env...); err != nil {
		return nil, err
	}
	if d.b, err = l.side(ctx, l.bed.B(), 16, 2, env...); err != nil {
		return nil, err
	}
	if err := exchange(ctx, d.b.node, d.a, "first"); err != nil {
		return nil, err
	}
	for i, h := range l.bed.Hosts() {
		// The last queue pair may still be on its way out.
		if d.warm[i], err = steady(ctx, h); err != nil {
			return nil, err
		}
	}
	for _, mode := range connections {
		if err := d.b.connect(ctx, d.a, mode, mode, 0); err != nil {
			return nil, err
		}
	}
	for _, s := range []*side{d.a, d.b} {
		_, err := s.await(ctx, "pushes wait", 0, func(e event) bool {
			return e.Ev == report.Waiting && e.Conn == report.Stalled && e.N > 0
		})
		if err != nil {
			return nil, err
		}
		_, err = s.await(ctx, "messages flow", 0, func(e event) bool {
			return e.Ev == report.Progress && e.Conn == report.Traffic && e.Acked > 20 && e.Received > 20
		})
		if err != nil {
			return nil, err
		}
	}
	if muted {
		if err := d.mute(ctx); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// mute has each side connect to the other one, and get no answer.
func (d *duo) mute(ctx context.Context) error {
	for from, to := range map[*side]*side{d.a: d.b, d.b: d.a} {
		if err := from.tell(report.Command{Do: report.Connect, Name: toMute, Addr: to.mute}); err != nil {
			return err
		}
		if _, err := to.await(ctx, "a request has come", 0, is(report.Muted)); err != nil {
			return err
		}
	}
	return nil
}

// steady counts until two counts in a row are the same, half a second apart.
func steady(ctx context.Context, h *testbed.Host) (resources, error) {
	var last resources
	for {
		now, err := count(ctx, h)
		if err != nil || maps.Equal(now, last) {
			return now, err
		}
		last = now
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// into has each side connect to the other one's listener while that cannot answer.
func (d *duo) into() error {
	return errors.Join(
		d.a.tell(report.Command{Do: report.Connect, Name: intoNothing, Addr: d.b.listens}),
		d.b.tell(report.Command{Do: report.Connect, Name: intoNothing, Addr: d.a.listens}),
	)
}

const intoNothing = "into nothing"

// strike commits the fault, and notes when that was done: what ends while it is, ends at once.
func (d *duo) strike(harm func() error) error {
	d.faultA, d.faultB = d.a.mark(), d.b.mark()
	err := harm()
	d.at = time.Now()
	return err
}
