package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"catmint/cmd/rping-demi/internal/rping"
	"catmint/libos"
)

// runClient connects in the protocol that is asked for, or that the server speaks, and
// pings.
func (p *task) runClient(stop context.Context) error {
	demi := func() error {
		return p.withEngine(func(e *libos.Engine) error { return p.runDemi(stop, e) })
	}
	switch {
	case p.opts.protocol == protocolDemi:
		return demi()
	case p.opts.protocol == protocolAuto && !rpingSize(p.opts.size):
		return demi() // rping's protocol is out of the question
	}
	err := p.runRping(stop)
	if errors.Is(err, errSpeaksDemi) && p.opts.protocol == protocolAuto {
		return demi()
	}
	return err
}

// runDemi pings through a socket.
func (p *task) runDemi(stop context.Context, e *libos.Engine) (err error) {
	s, err := newSocket(e, p.addr)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := s.Close(); cerr != nil && err == nil {
			err = fmt.Errorf("close: %w", cerr)
		}
	}()
	if p.local.IsValid() {
		if err := bind(s, p.local); err != nil {
			return err
		}
	}
	if err := p.connect(stop, s); err != nil {
		return err
	}
	printConnection(p.out, "connected to", s.Info())
	err = p.ping(stop, echoPeer{s})
	if errors.Is(err, syscall.EMSGSIZE) {
		return fmt.Errorf("a message of %d bytes is larger than this connection takes; use a smaller -S: %w",
			p.opts.size, syscall.EMSGSIZE)
	}
	return err
}

// ping sends the pings and prints the summary.
func (p *task) ping(stop context.Context, to peer) error {
	pinger := &pinger{peer: to, opts: p.opts, out: p.out, now: time.Now}
	err := pinger.run(stop)
	pinger.summary.print(p.out)
	return err
}

// connect waits until s is connected.
func (p *task) connect(stop context.Context, s *socket) error {
	qt, err := s.Connect(p.addr)
	if err != nil {
		return fmt.Errorf("connect %s: %w", p.addr, err)
	}
	if _, err := s.wait(stop, qt); err != nil {
		if stop.Err() != nil {
			return p.stoppedConnecting()
		}
		if errors.Is(err, syscall.EPROTO) {
			return fmt.Errorf("connect %s: the server does not speak the Demikernel protocol; if it is an rping "+
				"server, use --protocol rping and a size of %d to %d: %w", p.addr, rping.MinSize, rping.MaxSize, syscall.EPROTO)
		}
		if why := s.Err(); why != nil {
			return why
		}
		return fmt.Errorf("connect %s: %w", p.addr, err)
	}
	return nil
}

func (p *task) stoppedConnecting() error {
	return fmt.Errorf("%w while connecting to %s", errInterrupted, p.addr)
}

// printConnection says over what a connection runs and how long each phase took.
func printConnection(out io.Writer, verb string, i libos.Info) {
	fmt.Fprintf(out, "%s %s from %s, device %s port %d", verb, i.Remote, i.Local, i.Device, i.Port)
	if i.GID != "" {
		fmt.Fprintf(out, ", GID %s", i.GID)
	}
	fmt.Fprintln(out)
	for _, p := range phases(i.Phases) {
		fmt.Fprintf(out, "  %-16s at %10s  (+%s)\n", p.name, micros(p.at), micros(p.took))
	}
}

// phaseTime is a phase that was reached: when since the start, and since the one before.
type phaseTime struct {
	name     string
	at, took time.Duration
}

// phases lists those that were reached, in their order in time.
func phases(p libos.Phases) []phaseTime {
	var out []phaseTime
	last := p.Started
	for _, m := range []struct {
		name string
		t    time.Time
	}{
		{"address resolved", p.AddrResolved},
		{"QP ready", p.QPReady},
		{"route resolved", p.RouteResolved},
		{"established", p.Established},
	} {
		if m.t.IsZero() {
			continue
		}
		out = append(out, phaseTime{m.name, m.t.Sub(p.Started), m.t.Sub(last)})
		last = m.t
	}
	return out
}
