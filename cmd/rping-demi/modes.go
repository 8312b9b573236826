package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"
)

// mode is what a client measures.
type mode string

const (
	modeLatency   mode = "latency"   // one ping after the other
	modeRate      mode = "rate"      // many small pings in flight
	modeBandwidth mode = "bandwidth" // many large pings in flight
	modeConnect   mode = "connect"   // connections made and closed
	modeServer    mode = "server"    // in reports: the other side
)

// runMode measures on connections of d, the first of which is there already. It closes
// them.
func (t *task) runMode(stop context.Context, d dialer, first conn) error {
	run, cancel := stop, context.CancelFunc(func() {})
	if t.opts.duration > 0 {
		run, cancel = context.WithTimeoutCause(stop, t.opts.duration, errDuration)
	}
	defer cancel()
	if t.opts.mode == modeConnect {
		return t.runConnect(stop, run, d, first)
	}
	if t.opts.mode != modeLatency && d.protocol() == protocolRping {
		return errors.Join(usagef("--mode %s has many pings in flight, and rping's protocol one: "+
			"it needs an rping-demi server", t.opts.mode), first.Close())
	}
	conns, err := t.connectAll(run, d, first)
	if err == nil && len(t.opts.sweep) > 0 {
		err = t.runSweep(run, d, conns)
	} else if err == nil {
		err = t.runSize(run, d, conns, t.opts.size)
	}
	for _, c := range conns {
		if cerr := c.Close(); cerr != nil && err == nil {
			err = cerr
		}
	}
	return err
}

// errDuration ends a run whose time is over, which is no failure.
var errDuration = errors.New("the time is over")

// connectAll makes as many connections as asked for.
func (t *task) connectAll(ctx context.Context, d dialer, first conn) ([]conn, error) {
	conns := []conn{first}
	for len(conns) < t.opts.connections {
		c, err := d.dial(ctx)
		if err != nil {
			return conns, fmt.Errorf("connection %d of %d: %w", len(conns)+1, t.opts.connections, err)
		}
		conns = append(conns, c)
	}
	return conns, nil
}

// runSize pings with messages of one size over all connections at once and reports it.
func (t *task) runSize(ctx context.Context, d dialer, conns []conn, size int) error {
	s, err := t.pingAll(ctx, conns, size)
	return t.report(s, d, conns[0], err)
}

// pingAll pings over all connections at once; the summary is of all of them.
func (t *task) pingAll(ctx context.Context, conns []conn, size int) (*summary, error) {
	o := t.opts
	o.size = size
	var wg sync.WaitGroup
	summaries, errs := make([]*summary, len(conns)), make([]error, len(conns))
	firsts := make([]pingTimes, len(conns))
	meter := newMeter(t.terminal, unitPing, size)
	begin := time.Now()
	for i, c := range conns {
		wg.Go(func() {
			p := &pinger{peer: c, opts: o, out: &lineWriter{w: t.out, mu: t.outMu}, now: time.Now, meter: meter}
			if dc, ok := c.(demiConn); ok && o.mode != modeLatency {
				f := flood{pinger: p, socket: dc.socket}
				errs[i] = f.run(ctx)
			} else {
				errs[i] = p.run(ctx)
			}
			summaries[i], firsts[i] = p.summary, p.first
		})
	}
	wg.Wait()
	meter.clear()
	var timeline []drawn
	if !t.drawn { // not again for the next size of a sweep
		for i, c := range conns {
			timeline = append(timeline, drawn{info: c.Info(), ping: firsts[i]})
		}
		t.drawn = true
	}
	drawErr := t.drawTimeline(timeline...)
	all := summaries[0]
	for _, s := range summaries[1:] {
		all.merge(s)
	}
	all.elapsed, all.checked = time.Since(begin), o.validate
	return all, errors.Join(errors.Join(errs...), drawErr)
}

// runSweep pings with each size in turn, one row a size.
func (t *task) runSweep(ctx context.Context, d dialer, conns []conn) error {
	t.printf("%10s %7s %9s %9s %9s %10s %9s %8s\n",
		"bytes", "pings", "min us", "median us", "p99 us", "max us", "pings/s", "MB/s")
	for _, size := range t.opts.sweep {
		s, err := t.pingAll(ctx, conns, size)
		if t.opts.json || err != nil {
			if err = t.report(s, d, conns[0], err); err != nil {
				return fmt.Errorf("size %d: %w", size, err)
			}
		} else if s.intact > 0 {
			r := s.ranked()
			t.printf("%10d %7d %9.1f %9.1f %9.1f %10.1f %9s %8s\n", size, s.intact, us(s.min), us(r.median),
				us(r.p99), us(s.max), perSecond(s.rate()), megabytes(s.bandwidth()))
		}
		if over(ctx) {
			break
		}
	}
	return nil
}

// over says that a run has been interrupted, or that its time has passed.
func over(ctx context.Context) bool { return ctx.Err() != nil }

// runConnect makes and closes one connection after the other until run ends. One that is
// under way then is finished, unless stop has ended, so that the server sees no stump.
func (t *task) runConnect(stop, run context.Context, d dialer, first conn) error {
	info := first.Info()
	if err := first.Close(); err != nil {
		return err
	}
	s := newSummary(0)
	s.unit = unitConnection
	begin := time.Now()
	meter := newMeter(t.terminal, s.unit, 0)
	var err error
	for err == nil && run.Err() == nil && (t.opts.count == 0 || s.sent < t.opts.count) {
		err = t.connectOnce(stop, d, s, meter)
	}
	meter.clear()
	s.elapsed = time.Since(begin)
	if errors.Is(err, syscall.ECONNREFUSED) || err != nil && s.intact == 0 {
		err = fmt.Errorf("%w (--mode connect needs a server that serves many: -P)", err)
	}
	return t.reportInfo(s, d.protocol(), info, err)
}

func (t *task) connectOnce(stop context.Context, d dialer, s *summary, m *meter) error {
	s.sent++
	start := time.Now()
	c, err := d.dial(stop)
	if err != nil && over(stop) {
		s.sent-- // it was cut off, not lost
		return nil
	}
	if err != nil {
		return err
	}
	took := time.Since(start)
	if err := c.Close(); err != nil {
		return err
	}
	s.add(took)
	m.add(took)
	return nil
}
