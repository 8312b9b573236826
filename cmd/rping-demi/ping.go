package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"catmint/cmd/rping-demi/internal/rping"
)

// pinger sends pings, which the server sends back as they came.
type pinger struct {
	peer    peer
	opts    options
	out     io.Writer
	now     func() time.Time
	meter   *meter
	summary *summary
	first   pingTimes
}

// run sends the pings that the options ask for. It returns nil when all of them came back
// intact, or when stop ended a run without end between two pings; the summary is valid
// either way.
func (p *pinger) run(stop context.Context) error {
	p.summary = newSummary(p.opts.size)
	want, err := p.peer.Buffer(p.opts.size)
	if err != nil {
		return err
	}
	ctx, end := newWatchdog(stop, p.opts.patience())
	defer end()
	start := p.now()
	defer func() { p.summary.elapsed = p.now().Sub(start) }()

	for seq := 0; p.opts.count == 0 || seq < p.opts.count; seq++ {
		if stop.Err() != nil {
			return p.interrupted(stop, seq)
		}
		fillPayload(want, seq)
		if err := p.one(stop, ctx, want); err != nil {
			if errors.Is(err, errCutOff) {
				p.summary.sent-- // not lost
				return p.interrupted(stop, seq)
			}
			return fmt.Errorf("ping %d: %w", seq, err)
		}
	}
	return nil
}

// errInterrupted is a counted run that the user ended early.
var errInterrupted = errors.New("interrupted")

// errCutOff is a ping that was under way when the run was to end.
var errCutOff = errors.New("cut off")

// interrupted is the end of a run before its count: a failure, unless it is the time that
// was asked for, or no count was.
func (p *pinger) interrupted(stop context.Context, seq int) error {
	if p.opts.count == 0 || errors.Is(context.Cause(stop), errDuration) {
		return nil
	}
	return fmt.Errorf("%w after %d of %d pings", errInterrupted, seq, p.opts.count)
}

func (p *pinger) one(stop context.Context, ctx *watchdog, want []byte) error {
	p.summary.sent++
	ctx.pat()
	begin := p.now()
	got, err := p.peer.Ping(ctx, want)
	back := p.now()
	if err != nil && stop.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return errCutOff
	}
	if err != nil {
		return p.lost(ctx.explain(err))
	}
	rtt := back.Sub(begin)
	if p.first.sent.IsZero() {
		p.first = pingTimes{begin, back}
	}
	if p.opts.verbose {
		fmt.Fprintf(p.out, "ping data: %s\n", shown(got))
	}
	if p.opts.validate {
		if err := comparePayload(want, got); err != nil {
			return err
		}
	} else if len(got) != len(want) {
		return comparePayload(want, got)
	}
	p.summary.add(rtt)
	p.meter.add(rtt)
	return nil
}

// lost says in words why a ping did not come back.
func (p *pinger) lost(err error) error {
	var step *rping.StepError
	switch {
	case errors.Is(err, context.DeadlineExceeded) && errors.As(err, &step):
		return fmt.Errorf("no answer within %v, %s", p.opts.patience(), step.Step)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer within %v", p.opts.patience())
	case errors.Is(err, io.EOF):
		return errors.New("the server closed the connection")
	case errors.Is(err, rping.ErrDisconnected): // says enough
		return err
	}
	return gone("server", err)
}

// gone says in words what became of a peer of the Demikernel protocol.
func gone(who string, err error) error {
	switch {
	case errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("the %s went away without closing the connection: was it killed? (%w)", who, err)
	case errors.Is(err, syscall.ETIMEDOUT):
		return fmt.Errorf("the %s's host answers no more: is it up, and the network in between? (%w)", who, err)
	}
	return err
}

// echo sends back every message until the client closes, and counts them.
func echo(ctx context.Context, l link, verbose bool, out io.Writer) (int, error) {
	for n := 0; ; n++ {
		p, err := l.Pop(ctx)
		if errors.Is(err, io.EOF) {
			return n, nil
		}
		if err != nil {
			return n, gone("client", fmt.Errorf("pop: %w", err))
		}
		err = l.Push(ctx, p)
		if verbose { // after the answer, so that it does not count in the client's round trip
			fmt.Fprintf(out, "server ping data: %s\n", shown(p))
		}
		if errors.Is(err, syscall.EPIPE) { // the client closed and wants no answer
			return n, nil
		}
		if err != nil {
			return n, gone("client", fmt.Errorf("push: %w", err))
		}
	}
}
