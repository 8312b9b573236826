package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"catmint/tests/faults/report"
)

// What the agents are told, and what the bounds follow from.
const (
	// keepAlive is the limit of a peer's silence (docs/protocol.md, section 7). A connection that
	// sends ends earlier, when the queue pair's retries are used up: after 7.5 s.
	keepAlive = 9 * time.Second
	// connectTimeout is the deadline of a whole connect, Catmint's default.
	connectTimeout = 20 * time.Second
	// cmRetry is after what time CM repeats a message that is not answered.
	cmRetry = 4300 * time.Millisecond
	// confirm is how long a request that is never confirmed has its place in a full backlog.
	confirm = time.Second
	// removal is in what time everything on a device that goes away must have ended.
	removal = 2 * time.Second
	// slack is what emulated processors, of which others make use too, may add to any time.
	slack = 8 * time.Second
	// flushed is in what time what has ended is released: Catmint's flush time-out, and slack.
	flushed = 5*time.Second + slack
)

// faults lists everything, or with short what takes little time.
func faults(short bool) []fault {
	all := []fault{
		{"peer killed (SIGKILL)", true, killed},
		{"network dead for 3 s", false, flap},
		{"network dead for good", false, linkDown},
		{"peer paused for 3 s", false, pausedShortly},
		{"peer paused until all has ended", false, paused},
		{"1 % of packets lost", false, loss(1, 300)},
		{"10 % of packets lost", false, loss(10, 60)},
		{"listener closed before it answers", false, listenerClosed("")},
		{"listener closed after it answered", true, listenerClosed(accepting)},
		{"backlog overflows", true, overflow},
		{"client killed in the handshake", false, clientKilled},
		{"stock rping -s on the port", false, stockServer},
		{"stock rping -c at our listener", false, stockClient},
		{"300 half-open requests", false, halfOpen},
		{"carrier of a lost for 3 s", false, carrierLost},
		{"RDMA device deleted", false, deviceGone},
		{"peer powered off", false, poweredOff}, // the last: there is no host a afterwards
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
	r := allowed{errnos: errnos, bound: bound}
	return map[string]allowed{report.KindPop: r, report.KindPushSmall: r, report.KindPushLarge: r}
}

func with(rules map[string]allowed, kind string, bound time.Duration, errnos ...string) map[string]allowed {
	rules[kind] = allowed{errnos: errnos, bound: bound}
	return rules
}

// only is a rule for one kind.
func only(kind string, bound time.Duration, errnos ...string) map[string]allowed {
	return with(map[string]allowed{}, kind, bound, errnos...)
}

// perhaps is for rules of tokens that need not have been outstanding.
func perhaps(rules map[string]allowed) map[string]allowed {
	for kind, r := range rules {
		r.optional = true
		rules[kind] = r
	}
	return rules
}

// finish ends the agents that live; the hosts that live must then count as before.
func (o *outcome) finish(ctx context.Context, l *lab, start [2]resources, alive ...*node) error {
	for _, n := range alive {
		if err := n.exit(ctx); err != nil {
			return err
		}
	}
	for i, h := range l.bed.Hosts() {
		select {
		case <-h.Down():
			continue
		default:
		}
		if err := settle(ctx, h, start[i], flushed); err != nil {
			return err
		}
	}
	o.left = "as before"
	return nil
}

// sayLost says that nothing is lost: of what was acknowledged, the checksums that came with the
// acknowledgements have proved it.
func (o *outcome) sayLost(acked, unacked uint64) {
	o.lost = fmt.Sprintf("0 of %d", acked)
	if unacked != 0 {
		o.lost += fmt.Sprintf(" (+%d)", unacked)
	}
}
