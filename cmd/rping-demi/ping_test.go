package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// mirror is a link whose other end sends back what change makes of each message.
type mirror struct {
	change func(n int, p []byte) ([]byte, error)
	sent   [][]byte
	queue  [][]byte
	err    error
}

func (m *mirror) Buffer(n int) ([]byte, error) { return make([]byte, n), nil }

func (m *mirror) Push(_ context.Context, p []byte) error {
	n := len(m.sent)
	m.sent = append(m.sent, bytes.Clone(p))
	back, popErr := m.change(n, bytes.Clone(p))
	if m.err = popErr; m.err == nil {
		m.queue = append(m.queue, back)
	}
	return nil
}

func (m *mirror) Pop(ctx context.Context) ([]byte, error) {
	if len(m.queue) == 0 {
		if m.err != nil {
			return nil, m.err
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}
	p := m.queue[0]
	m.queue = m.queue[1:]
	return p, nil
}

func faithful(_ int, p []byte) ([]byte, error) { return p, nil }

// newPinger makes a pinger whose clock advances a microsecond with each look.
func newPinger(m *mirror, o options, out io.Writer) *pinger {
	t := time.Unix(0, 0)
	if o.timeout == 0 {
		o.timeout = time.Minute
	}
	return &pinger{peer: echoPeer{m}, opts: o, out: out, now: func() time.Time {
		t = t.Add(time.Microsecond)
		return t
	}}
}

func TestEveryPingThatComesBackIsIntact(t *testing.T) {
	m := &mirror{change: faithful}
	var out bytes.Buffer
	p := newPinger(m, options{count: 3, size: 16, verbose: true, validate: true}, &out)
	require.NoError(t, p.run(t.Context()))
	assert.Equal(t, "ping data: rdma-ping-0: AB\nping data: rdma-ping-1: BC\nping data: rdma-ping-2: CD\n", out.String())
	assert.Equal(t, 3, p.summary.intact)
	assert.Equal(t, time.Microsecond, p.summary.max)
	assert.NotZero(t, p.summary.elapsed)
}

func TestAChangedByteFailsAValidatedRun(t *testing.T) {
	m := &mirror{change: func(n int, p []byte) ([]byte, error) {
		if n == 1 {
			p[3] ^= 1
		}
		return p, nil
	}}
	p := newPinger(m, options{count: 5, size: 20, validate: true}, io.Discard)
	require.ErrorContains(t, p.run(t.Context()), "ping 1: data mismatch: byte 3")
	assert.Equal(t, 1, p.summary.intact)
	assert.Equal(t, 2, p.summary.sent)
}

func TestAShortAnswerFailsEvenAnUnvalidatedRun(t *testing.T) {
	m := &mirror{change: func(_ int, p []byte) ([]byte, error) { return p[1:], nil }}
	p := newPinger(m, options{count: 1, size: 20}, io.Discard)
	require.ErrorContains(t, p.run(t.Context()), "20 bytes were sent and 19 came back")
}

func TestAServerThatGoesAwayIsSaidPlainly(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		want string
	}{
		{"closed", io.EOF, "ping 2: the server closed the connection"},
		{"broken", errors.New("out of order"), "ping 2: pop: out of order"},
		{
			"killed", syscall.ECONNRESET,
			"ping 2: the server went away without closing the connection: was it killed? (pop: connection reset by peer)",
		},
		{
			"off", syscall.ETIMEDOUT,
			"ping 2: the server's host answers no more: is it up, and the network in between? (pop: connection timed out)",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m := &mirror{change: func(n int, p []byte) ([]byte, error) {
				if n == 2 {
					return nil, tc.err
				}
				return p, nil
			}}
			p := newPinger(m, options{count: 5, size: 1}, io.Discard)
			require.EqualError(t, p.run(t.Context()), tc.want)
			assert.Equal(t, 2, p.summary.intact)
			assert.Equal(t, 3, p.summary.sent)
		})
	}
}

func TestAPingWithoutAnswerTimesOut(t *testing.T) {
	m := &mirror{change: func(int, []byte) ([]byte, error) { return nil, context.DeadlineExceeded }}
	p := newPinger(m, options{count: 1, size: 1, timeout: time.Hour}, io.Discard)
	require.EqualError(t, p.run(t.Context()), "ping 0: no answer within 1h0m0s")
}

func TestAnInterruptEndsAnEndlessRunWell(t *testing.T) {
	stop, cancel := context.WithCancel(t.Context())
	m := &mirror{change: func(n int, p []byte) ([]byte, error) {
		if n == 9 {
			cancel()
		}
		return p, nil
	}}
	p := newPinger(m, options{size: 8}, io.Discard)
	require.NoError(t, p.run(stop))
	assert.Equal(t, 10, p.summary.intact)
	assert.Equal(t, 10, p.summary.sent)
}

func TestAnInterruptInMidPingCountsItNeitherLostNorSent(t *testing.T) {
	stop, cancel := context.WithCancel(t.Context())
	m := &mirror{change: func(n int, p []byte) ([]byte, error) {
		if n == 4 {
			cancel()
			return nil, context.Canceled
		}
		return p, nil
	}}
	p := newPinger(m, options{count: 9, size: 8}, io.Discard)
	require.EqualError(t, p.run(stop), "interrupted after 4 of 9 pings")
	assert.Equal(t, 4, p.summary.intact)
	assert.Equal(t, 4, p.summary.sent)
}

func TestTheServerEchoesUntilTheClientCloses(t *testing.T) {
	m := &mirror{change: func(int, []byte) ([]byte, error) { return nil, io.EOF }}
	m.queue = [][]byte{[]byte("one\x00x"), []byte("two")}
	var out bytes.Buffer
	n, err := echo(t.Context(), m, true, &out)
	require.NoError(t, err)
	assert.Equal(t, 2, n)
	assert.Equal(t, [][]byte{[]byte("one\x00x"), []byte("two")}, m.sent)
	assert.Equal(t, "server ping data: one\nserver ping data: two\n", out.String())
}

func TestAClientThatClosesWithoutItsAnswerIsNoError(t *testing.T) {
	m := &mirror{change: faithful, queue: [][]byte{[]byte("last")}}
	n, err := echo(t.Context(), closedLink{m}, false, io.Discard)
	require.NoError(t, err)
	assert.Zero(t, n)
}

// closedLink is a link whose peer takes no more messages.
type closedLink struct{ *mirror }

func (closedLink) Push(context.Context, []byte) error { return syscall.EPIPE }

func TestTheServerReportsABrokenConnection(t *testing.T) {
	m := &mirror{change: faithful, err: errors.New("reset")}
	_, err := echo(t.Context(), m, false, io.Discard)
	require.EqualError(t, err, "pop: reset")
	m.err = syscall.ECONNRESET
	_, err = echo(t.Context(), m, false, io.Discard)
	require.EqualError(t, err, "the client went away without closing the connection: was it killed? (pop: connection reset by peer)")
}

// instant is a server without a network.
type instant struct{ p []byte }

func (i *instant) Buffer(n int) ([]byte, error) {
	i.p = make([]byte, n)
	return i.p, nil
}

func (i *instant) Ping(_ context.Context, p []byte) ([]byte, error) { return p, nil }

// What a ping costs beside the exchange itself, and how much of that counts as its round trip.
func BenchmarkMeasuring(b *testing.B) {
	p := &pinger{peer: &instant{}, opts: options{size: 64, count: b.N, timeout: time.Minute}, out: io.Discard, now: time.Now}
	b.ReportAllocs()
	b.ResetTimer()
	require.NoError(b, p.run(b.Context()))
	b.ReportMetric(float64(p.summary.ranked().median), "ns-counted/op")
}
