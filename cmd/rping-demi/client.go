package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"syscall"
	"time"

	"catmint/libos"
)

// runClient connects, pings and prints the summary.
func runClient(stop context.Context, e *libos.Engine, o options, addr, local netip.AddrPort, out io.Writer) (err error) {
	s, err := newSocket(e, addr)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := s.Close(); cerr != nil && err == nil {
			err = fmt.Errorf("close: %w", cerr)
		}
	}()
	if local.IsValid() {
		if err := bind(s, local); err != nil {
			return err
		}
	}
	if err := connect(stop, s, addr); err != nil {
		return err
	}
	printConnection(out, "connected to", s.Info())

	p := &pinger{link: s, opts: o, out: out, now: time.Now}
	err = p.run(stop)
	p.summary.print(out)
	if errors.Is(err, syscall.EMSGSIZE) {
		return fmt.Errorf("a message of %d bytes is larger than this connection takes; use a smaller -S: %w",
			o.size, syscall.EMSGSIZE)
	}
	return err
}

// connect waits until s is connected to addr.
func connect(stop context.Context, s *socket, addr netip.AddrPort) error {
	qt, err := s.Connect(addr)
	if err != nil {
		return fmt.Errorf("connect %s: %w", addr, err)
	}
	if _, err := s.wait(stop, qt); err != nil {
		if stop.Err() != nil {
			return fmt.Errorf("%w while connecting to %s", errInterrupted, addr)
		}
		if why := s.Err(); why != nil {
			return why
		}
		return fmt.Errorf("connect %s: %w", addr, err)
	}
	return nil
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
