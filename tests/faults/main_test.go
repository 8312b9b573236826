package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/soft-roce/testbed"
	"catmint/tests/faults/report"
)

// ended is a process that ends when it is told so.
type fakeProcess struct{ done chan struct{} }

func (p fakeProcess) Done() <-chan struct{}       { return p.done }
func (p fakeProcess) Wait() (int, error)          { return 1, nil }
func (p fakeProcess) Signal(syscall.Signal) error { return nil }

func newNode() (*node, fakeProcess) {
	p := fakeProcess{make(chan struct{})}
	return &node{host: &testbed.Host{Name: "b"}, proc: p, news: make(chan struct{})}, p
}

func (n *node) hears(t *testing.T, ev report.Event) {
	t.Helper()
	b, err := json.Marshal(ev)
	require.NoError(t, err)
	_, err = n.Write(append(b, '\n'))
	require.NoError(t, err)
}

// run runs faults without hosts.
func run(t *testing.T, all []fault, only string) (failed int, lines []string) {
	t.Helper()
	var out bytes.Buffer
	failed = runAll(t.Context(), &lab{bed: &testbed.Bed{}}, all, regexp.MustCompile(only), &out)
	return failed, strings.Split(strings.TrimSpace(out.String()), "\n")
}

func TestTheTableEndsWithTheCounts(t *testing.T) {
	good := func(_ context.Context, _ *lab, o *outcome) error {
		o.tokens = []tally{
			{host: "b", kind: "pop", errno: "ECONNRESET", n: 2, last: 100 * time.Millisecond, bound: 9 * time.Second},
			{host: "b", kind: "push small", errno: "ECONNRESET", n: 3, last: 200 * time.Millisecond, bound: 9 * time.Second},
			{host: "b", kind: "connect", n: 1, bound: 9 * time.Second},
		}
		o.sayLost(10, 2)
		o.left = "as before"
		return nil
	}
	bad := func(context.Context, *lab, *outcome) error { return errors.New("two\nlines") }
	failed, lines := run(t, []fault{{"plague", true, good}, {"famine", true, bad}}, "")
	assert.Equal(t, 1, failed)
	require.Len(t, lines, 7)
	assert.Regexp(t, `^plague +b +2 pop, 3 push small +ECONNRESET +0\.2 s +9 s +0 of 10 \(\+2\) +as before +ok in 0\.0 s$`, lines[1])
	assert.Regexp(t, `^ +b +1 connect +success +0\.0 s +9 s$`, lines[2])
	assert.Regexp(t, `^famine +FAILED in`, lines[3])
	assert.Equal(t, []string{"    two", "    lines", "1 passed, 1 failed"}, lines[4:])

	failed, lines = run(t, []fault{{"plague", true, good}, {"famine", true, bad}}, "^p")
	assert.Zero(t, failed)
	assert.Equal(t, "1 passed, 0 failed", lines[len(lines)-1])
}

func TestARunThatIsStoppedFails(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	assert.Equal(t, 1, runAll(ctx, &lab{}, faults(true), regexp.MustCompile(""), &out))
}

func TestTheShortFormIsAPartOfTheLong(t *testing.T) {
	short, all := faults(true), faults(false)
	assert.NotEmpty(t, short)
	assert.Less(t, len(short), len(all))
	assert.Equal(t, "peer powered off", all[len(all)-1].name, "there is no host a afterwards")
}

func TestTokensAreHeldToTheirErrnosAndTimes(t *testing.T) {
	at := time.Now()
	token := func(kind, errno string, after time.Duration) event {
		return event{report.Event{Ev: report.Token, Kind: kind, Errno: errno}, at.Add(after)}
	}
	rules := data(9*time.Second, "ECONNRESET")
	all := []event{
		token(report.KindPop, "ECONNRESET", time.Second), token(report.KindPop, "ECONNRESET", 2*time.Second),
		token(report.KindPushSmall, "ECONNRESET", 0), token(report.KindPushLarge, "ECONNRESET", 0),
		token(report.KindClose, "", time.Hour),
	}
	n, _ := newNode()
	var o outcome
	require.NoError(t, o.add(n, all, at, rules))
	require.Len(t, o.tokens, 3)
	assert.Equal(t, tally{"b", report.KindPop, "ECONNRESET", 2, 2 * time.Second, 9 * time.Second}, o.tokens[0])

	for what, bad := range map[string]event{
		"not with one of": token(report.KindPop, "EIO", 0),
		`"success"`:       token(report.KindPop, "success", 0),
		"not within":      token(report.KindPop, "ECONNRESET", 9*time.Second+slack+1),
		"connect of":      token(report.KindConnect, "ECONNRESET", 0), // no rule
		"close of":        token(report.KindClose, "EIO", 0),
	} {
		require.ErrorContains(t, o.add(n, append(all, bad), at, rules), what)
	}
	require.ErrorContains(t, o.add(n, all[:3], at, rules), "none was outstanding", "large pushes")
}

func TestWaitingEndsWithTheEventOrWithWhatForbidsIt(t *testing.T) {
	n, p := newNode()
	n.hears(t, report.Event{Ev: report.Ready})
	n.hears(t, report.Event{Ev: report.Ended, Conn: "idle"})
	_, err := n.await(t.Context(), "it ends", 0, of(report.Ended, "idle"))
	require.NoError(t, err)
	from := n.mark()
	n.hears(t, report.Event{Ev: report.Broken, Why: "message 3 came twice"})
	_, err = n.await(t.Context(), "it goes on", from, is(report.Ready))
	require.ErrorContains(t, err, "message 3 came twice")

	from = n.mark()
	_, err = n.Write([]byte("no JSON\n"))
	require.NoError(t, err)
	_, err = n.await(t.Context(), "it goes on", from, is(report.Ready))
	require.ErrorContains(t, err, "no JSON")

	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	_, err = n.await(ctx, "it goes on", n.mark(), is(report.Ready))
	require.ErrorContains(t, err, "enough")

	_, err = n.Write([]byte(`{"ev":"by`)) // a line in two parts
	require.NoError(t, err)
	from = n.mark()
	close(p.done)
	_, err = n.await(t.Context(), "it says goodbye", from, is(report.Bye))
	require.ErrorContains(t, err, "it has ended")
	_, err = n.Write([]byte("e\"}\n"))
	require.NoError(t, err)
	_, err = n.await(t.Context(), "it says goodbye", from, is(report.Bye))
	require.NoError(t, err, "what it said before its end counts")
}

func TestWhatWasAcknowledgedIsAddedUp(t *testing.T) {
	n, _ := newNode()
	n.hears(t, report.Event{Ev: report.Ended, Conn: "early", Sent: 100, Acked: 100})
	from := n.mark()
	n.hears(t, report.Event{Ev: report.Ended, Conn: "traffic", Sent: 10, Acked: 7})
	n.hears(t, report.Event{Ev: report.Ended, Conn: "stalled", Sent: 44})
	acked, unacked := acknowledged(&side{node: n}, from)
	assert.EqualValues(t, 7, acked)
	assert.EqualValues(t, 47, unacked)
}
