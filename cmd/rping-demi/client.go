package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"catmint/libos"
)

// runClient connects, measures what the mode asks for and reports it.
func (t *task) runClient(stop context.Context) (err error) {
	d, first, err := t.connectFirst(stop)
	if err != nil {
		return t.reportFailure(err)
	}
	defer func() {
		if cerr := d.Close(); cerr != nil && err == nil {
			err = cerr
		}
	}()
	t.printf("%s", t.connectionText(first.Info()))
	err = t.runMode(stop, d, first)
	if errors.Is(err, syscall.EMSGSIZE) {
		return fmt.Errorf("a message of %d bytes is larger than this connection takes; use a smaller -S: %w",
			t.opts.largest(), syscall.EMSGSIZE)
	}
	return err
}

// printf prints for people: nothing with --json.
func (t *task) printf(format string, args ...any) {
	if !t.opts.json {
		fmt.Fprintf(t.out, format, args...)
	}
}

// connectionText says over what a connection runs and how long each phase took, unless a
// timeline is to say that.
func (t *task) connectionText(i libos.Info) string {
	s := fmt.Sprintf("connected to %s from %s%s\n", i.Remote, i.Local, path(i))
	if t.opts.timeline {
		return s
	}
	for _, p := range phases(i.Phases) {
		s += fmt.Sprintf("  %-16s at %10s  (+%s)\n", p.name, micros(p.at), micros(p.took))
	}
	return s
}

// path is over what a connection runs, a GID that stands for an IPv4 address as people read it.
func path(i libos.Info) string {
	s := fmt.Sprintf(", device %s port %d", i.Device, i.Port)
	if gid, err := netip.ParseAddr(i.GID); err == nil {
		return s + ", GID " + gid.String()
	}
	return s
}

// phaseTime is a phase that was reached: when since the start, and since the one before. The
// queue pair and the route are awaited side by side.
type phaseTime struct {
	name     string
	at, took time.Duration
}

// phases lists those that were reached, in their order in time.
func phases(p libos.Phases) []phaseTime {
	var out []phaseTime
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
		out = append(out, phaseTime{name: m.name, at: m.t.Sub(p.Started)})
	}
	slices.SortStableFunc(out, func(a, b phaseTime) int { return cmp.Compare(a.at, b.at) })
	last := time.Duration(0)
	for i := range out {
		out[i].took = out[i].at - last
		last = out[i].at
	}
	return out
}
