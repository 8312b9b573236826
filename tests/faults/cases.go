package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"catmint/tests/faults/report"
)

// What the agents are told, and what the bounds follow from.
const (
	// keepAlive is the limit of a peer's silence (docs/protocol.md, section 7). Without it a
	// connection that sends ends when the queue pair's retries are used up, some 20 s.
	keepAlive = 9 * time.Second
	// connectTimeout is the deadline of a whole connect, Catmint's default.
	connectTimeout = 20 * time.Second
	// slack is what emulated processors, of which others make use too, may add to any time.
	slack = 8 * time.Second
)

// faults lists everything, or with short what takes little time.
func faults(short bool) []fault {
	all := []fault{
		{"peer killed (SIGKILL)", true, killed},
	}
	if !short {
		return all
	}
	var few []fault
	for _, f := range all {
		if f.short {
			few = append(few, f)
		}
	}
	return few
}

func agentPath(p string) (string, error) {
	abs, err := filepath.Abs(p)
	if err == nil {
		_, err = os.Stat(abs)
	}
	if err != nil {
		return "", fmt.Errorf("%w (make test-faults builds it)", err)
	}
	return abs, nil
}

// data are the kinds of tokens of an established connection.
func data(bound time.Duration, errnos ...string) map[string]allowed {
	r := allowed{errnos, bound}
	return map[string]allowed{report.KindPop: r, report.KindPushSmall: r, report.KindPushLarge: r}
}

func with(rules map[string]allowed, kind string, bound time.Duration, errnos ...string) map[string]allowed {
	rules[kind] = allowed{errnos, bound}
	return rules
}

// killed: the kernel closes what the dead process had, so both CM and the peer learn of it at once.
func killed(ctx context.Context, l *lab, o *outcome) error {
	d, err := l.duo(ctx, true)
	if err != nil {
		return err
	}
	if err := d.strike(d.a.kill); err != nil {
		return err
	}
	err = o.judge(ctx, d.b, d.faultB, d.at, connections,
		with(data(keepAlive, "ECONNRESET"), report.KindConnect, connectTimeout, "ECONNREFUSED"))
	if err != nil {
		return err
	}
	acked, sent := acknowledged(d.b, d.faultB, connections...)
	o.lost = fmt.Sprintf("0 of %d, %d unacked", acked, sent-acked)
	if err := d.b.released(ctx, d.warm[1]); err != nil {
		return err
	}
	// The survivor serves and is served.
	fresh, err := l.side(ctx, l.bed.A(), 16, 2)
	if err != nil {
		return err
	}
	if err := errors.Join(exchange(ctx, fresh.node, d.b, "served"), exchange(ctx, d.b.node, fresh, "serves")); err != nil {
		return err
	}
	return o.finish(ctx, l, d, fresh.node, d.b.node)
}

// flushed is the time in which what has ended is released: the flush time-out, and some slack.
const flushed = 5*time.Second + slack

// finish ends the agents that live; both hosts must then count as before.
func (o *outcome) finish(ctx context.Context, l *lab, d *duo, alive ...*node) error {
	for _, n := range alive {
		if err := n.exit(ctx); err != nil {
			return err
		}
	}
	for i, h := range l.bed.Hosts() {
		if err := settle(ctx, h, d.start[i], flushed); err != nil {
			return err
		}
	}
	o.left = "as before"
	return nil
}
