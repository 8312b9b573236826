package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"catmint/datapath"
)

// inFlight is how many pings a flood keeps under way.
const inFlight = 32

// flood sends pings without waiting for each; they come back in order.
type flood struct {
	*pinger
	socket *socket
	pushes []datapath.Token // under way, oldest first
}

// run is pinger.run with many pings in flight.
func (f *flood) run(stop context.Context) (err error) {
	f.summary = newSummary(f.opts.size)
	begin := f.now()
	want, sent := make([]byte, f.opts.size), make([]time.Time, inFlight)
	fillPayload(want, 0)
	payload := want // which is copied, as the next is different
	if !f.opts.validate {
		if payload, err = f.socket.Buffer(f.opts.size); err != nil {
			return err
		}
		copy(payload, want)
	}
	// The time of a stopped run is not theirs: what was sent is answered.
	ctx, end := newWatchdog(context.WithoutCancel(stop), f.opts.patience())
	defer end()
	defer func() {
		f.summary.elapsed = f.now().Sub(begin)
		if serr := f.settle(ctx, 0); serr != nil {
			f.socket.left = append(f.socket.left, f.pushes...) // Close ends them
			if err == nil {
				err = fmt.Errorf("push: %w", serr)
			}
		}
	}()
	for done := 0; ; done++ {
		more := stop.Err() == nil
		for more && f.summary.sent-done < inFlight && (f.opts.count == 0 || f.summary.sent < f.opts.count) {
			if f.opts.validate {
				fillPayload(payload, f.summary.sent)
			}
			sent[f.summary.sent%inFlight] = f.now()
			if err := f.push(ctx, payload); err != nil {
				return fmt.Errorf("ping %d: push: %w", f.summary.sent, err)
			}
			f.summary.sent++
		}
		if done == f.summary.sent {
			if !more {
				return f.interrupted(stop, done)
			}
			return nil
		}
		if f.opts.validate {
			fillPayload(want, done)
		}
		if err := f.pop(ctx, want); err != nil {
			return fmt.Errorf("ping %d: %w", done, f.lost(err))
		}
		back := f.now()
		if done == 0 {
			f.first = pingTimes{sent[0], back}
		}
		rtt := back.Sub(sent[done%inFlight])
		f.summary.add(rtt)
		f.meter.add(rtt)
	}
}

// push begins to send p.
func (f *flood) push(ctx *watchdog, p []byte) error {
	if err := f.settle(ctx, inFlight-1); err != nil {
		return err
	}
	qt, err := f.socket.push(p)
	if err == nil {
		f.pushes = append(f.pushes, qt)
	}
	return err
}

// settle waits until at most n pushes are under way.
func (f *flood) settle(ctx *watchdog, n int) error {
	for len(f.pushes) > n {
		ctx.pat()
		_, err := f.socket.wait(ctx, f.pushes[0])
		f.pushes = f.pushes[1:]
		if err != nil {
			return ctx.explain(err)
		}
	}
	return nil
}

func (f *flood) pop(ctx *watchdog, want []byte) error {
	ctx.pat()
	got, err := f.socket.Pop(ctx)
	if err != nil {
		return ctx.explain(err)
	}
	if f.opts.verbose {
		fmt.Fprintf(f.out, "ping data: %s\n", shown(got))
	}
	if len(got) != len(want) || f.opts.validate && !bytes.Equal(got, want) {
		return comparePayload(want, got)
	}
	return nil
}
