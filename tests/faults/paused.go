package main

import (
	"context"
	"errors"
	"time"

	"catmint/tests/faults/report"
)

// pausedShortly stops host a's processors for less than the retries last: nothing is lost.
func pausedShortly(ctx context.Context, l *lab, o *outcome) error {
	d, err := l.duo(ctx, false)
	if err != nil {
		return err
	}
	err = d.strike(func() error {
		if err := l.bed.A().Pause(); err != nil {
			return err
		}
		<-time.After(3 * time.Second) // the fault itself
		return l.bed.A().Resume()
	})
	if err != nil {
		return err
	}
	return o.survived(ctx, l, d, 100, 2*keepAlive)
}

// paused stops host a's processors, and its clock with them, until everything of b has ended. Then
// a goes on where it was, with connections that its peer has given up.
func paused(ctx context.Context, l *lab, o *outcome) error {
	d, err := l.duo(ctx, true)
	if err != nil {
		return err
	}
	if err := d.strike(l.bed.A().Pause); err != nil {
		return err
	}
	rules := func() map[string]allowed {
		return with(data(keepAlive, "ETIMEDOUT", "ECONNRESET"), report.KindConnect, connectTimeout, "ETIMEDOUT")
	}
	err = o.judge(ctx, d.b, d.faultB, d.at, connections, []string{toMute}, rules())
	// The host goes on whatever has been seen: the next fault needs it.
	if err = errors.Join(err, l.bed.A().Resume()); err != nil {
		return err
	}
	resumed := time.Now()
	if err := o.judge(ctx, d.a, d.faultA, resumed, connections, []string{toMute}, rules()); err != nil {
		return err
	}
	acked, unacked := acknowledged(d.b, d.faultB)
	n, m := acknowledged(d.a, d.faultA)
	o.sayLost(acked+n, unacked+m)
	if err := errors.Join(d.a.released(ctx, d.warm[0]), d.b.released(ctx, d.warm[1])); err != nil {
		return err
	}
	if err := both(ctx, d.a, d.b); err != nil {
		return err
	}
	return o.finish(ctx, l, d.start, d.a.node, d.b.node)
}
