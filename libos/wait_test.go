package libos

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"catmint/datapath"
	"catmint/rdma/sim"
)

func TestWaitingForNothingIsInvalid(t *testing.T) {
	p := newPlace(t, testConfig())
	for _, qts := range [][]datapath.Token{nil, {0}, {^datapath.Token(0)}, {12345}} {
		_, _, err := p.a.e.WaitAny(within(t), qts)
		require.ErrorIs(t, err, syscall.EINVAL)
	}
	c, _, _ := p.connected(t)
	qt, err := c.Push([]byte("x"))
	require.NoError(t, err)
	p.a.wait(t, qt)
	_, err = p.a.e.Wait(within(t), qt)
	require.ErrorIs(t, err, syscall.EINVAL, "a token is redeemed once")
}

func TestAWaitThatIsCancelledLeavesTheTokenAlone(t *testing.T) {
	p := newPlace(t, testConfig())
	c, s, _ := p.connected(t)
	qt, err := s.Pop()
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = p.b.e.Wait(ctx, qt)
	require.ErrorIs(t, err, context.Canceled)
	p.a.send(t, c, "later")
	r := p.b.wait(t, qt)
	require.Equal(t, "later", string(TakeBytes(&r)))
}

func TestTheFirstOfSeveralTokensWakes(t *testing.T) {
	p := newPlace(t, testConfig())
	c1, s1, _ := p.connected(t)
	c2, s2, _ := p.connected(t)
	q1, err := s1.Pop()
	require.NoError(t, err)
	q2, err := s2.Pop()
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		qt, err := c2.Push([]byte("two"))
		if err == nil {
			_, _ = p.a.e.Wait(within(t), qt)
		}
	})
	i, r, err := p.b.e.WaitAny(within(t), []datapath.Token{q1, q2})
	require.NoError(t, err)
	require.Equal(t, 1, i)
	require.Equal(t, "two", string(TakeBytes(&r)))
	wg.Wait()
	p.a.send(t, c1, "one")
	r = p.b.wait(t, q1)
	require.Equal(t, "one", string(TakeBytes(&r)))
}

func TestTokensOfTwoEnginesDoNotMix(t *testing.T) {
	p := newPlace(t, testConfig())
	_, s, _ := p.connected(t)
	e2, err := p.b.p.NewEngine()
	require.NoError(t, err)
	other, err := e2.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	require.NoError(t, other.Bind(netip.AddrPortFrom(p.b.addr, 0)))
	require.NoError(t, other.Listen(1))
	q1, err := s.Pop()
	require.NoError(t, err)
	q2 := accepting(t, other)
	_, _, err = p.b.e.WaitAny(within(t), []datapath.Token{q1, q2})
	require.ErrorIs(t, err, syscall.EINVAL)
	require.NoError(t, other.Close())
	require.Equal(t, syscall.ECANCELED, (&node{p: p.b.p, e: e2}).waitErrno(t, q2))
	require.NoError(t, s.Close())
	require.Equal(t, syscall.ECANCELED, p.b.waitErrno(t, q1))
}

func TestOfTwoWhoWaitForATokenOneGetsIt(t *testing.T) {
	p := newPlace(t, testConfig())
	c, s, _ := p.connected(t)
	qt, err := s.Pop()
	require.NoError(t, err)
	var wg sync.WaitGroup
	got := make(chan error, 2)
	for range 2 {
		wg.Go(func() {
			r, err := p.b.e.Wait(within(t), qt)
			if err == nil {
				TakeBytes(&r)
			}
			got <- err
		})
	}
	p.a.send(t, c, "once")
	wg.Wait()
	errs := []error{<-got, <-got}
	if errs[0] != nil {
		errs[0], errs[1] = errs[1], errs[0]
	}
	require.NoError(t, errs[0])
	require.ErrorIs(t, errs[1], syscall.EINVAL)
}

func TestNoWakeUpIsLostAmongManyGoroutinesAndThreads(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	rounds := 300
	if testing.Short() {
		rounds = 50
	}
	noLostWakeUp(t, p.a, p.b, rounds)
}

// noLostWakeUp has goroutines and threads inside C connect and exchange messages, all on
// two engines, and sleep for everything.
func noLostWakeUp(t *testing.T, a, b *node, rounds int) {
	t.Helper()
	l, at := b.listen(t, b.addr, 16)
	var wg sync.WaitGroup
	fail := make(chan error, 16)
	// Half of the waiters are goroutines, half are threads inside C, all on one engine.
	wait := func(e *Engine, inC bool, qt datapath.Token) (datapath.Result, error) {
		if !inC {
			return e.Wait(within(t), qt)
		}
		var r datapath.Result
		if err := datapath.Wait(qt, &r, patience); err != nil {
			return r, err
		}
		return r, r.Err()
	}
	for w := range 4 {
		inC := w%2 == 1
		wg.Go(func() {
			c, err := a.e.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
			if err == nil {
				var qt datapath.Token
				if qt, err = c.Connect(at); err == nil {
					_, err = wait(a.e, inC, qt) // completes while its waiter sleeps
				}
			}
			for i := 0; err == nil && i < rounds; i++ {
				var qt datapath.Token
				if qt, err = c.Push(fmt.Append(nil, i)); err != nil {
					break
				}
				if _, err = wait(a.e, inC, qt); err != nil {
					break
				}
				if qt, err = c.Pop(); err != nil {
					break
				}
				var r datapath.Result
				if r, err = wait(a.e, inC, qt); err == nil {
					if got := string(TakeBytes(&r)); got != fmt.Sprint(i) {
						err = fmt.Errorf("%q instead of %d", got, i)
					}
				}
			}
			if err == nil {
				err = c.Close()
			}
			if err != nil {
				fail <- fmt.Errorf("client %d: %w", w, err)
			}
		})
		wg.Go(func() {
			qt, err := l.Accept()
			var r datapath.Result
			if err == nil {
				r, err = wait(b.e, inC, qt)
			}
			var s *Socket
			if err == nil {
				s, err = b.p.Socket(r.Accept().QD)
			}
			for err == nil {
				if qt, err = s.Pop(); err != nil {
					break
				}
				if r, err = wait(b.e, inC, qt); err != nil {
					break
				}
				msg := TakeBytes(&r)
				if len(msg) == 0 {
					err = s.Close()
					break
				}
				if qt, err = s.Push(msg); err != nil {
					break
				}
				_, err = wait(b.e, inC, qt)
			}
			if err != nil {
				fail <- fmt.Errorf("server %d: %w", w, err)
			}
		})
	}
	wg.Wait()
	close(fail)
	for err := range fail {
		require.NoError(t, err)
	}
	require.NoError(t, l.Close())
}

func TestProgressNeedsNoCallOfTheApplication(t *testing.T) {
	p := newPlace(t, testConfig())
	c, s, _ := p.connected(t)
	// b's application polls for a while, then falls silent.
	qt, err := s.Pop()
	require.NoError(t, err)
	var r datapath.Result
	for range 100 {
		require.ErrorIs(t, datapath.Wait(qt, &r, 0), syscall.ETIMEDOUT)
	}
	p.a.send(t, c, "now")
	start := time.Now()
	require.NoError(t, c.Close(), "b's libOS acknowledges FIN by itself")
	require.Less(t, time.Since(start), time.Second)
	r = p.b.wait(t, qt)
	require.Equal(t, "now", string(TakeBytes(&r)))
	require.Empty(t, p.b.recv(t, s))
}

func TestAShutdownTellsThoseWhoWaitHowTheirOperationsEnded(t *testing.T) {
	net := sim.New(sim.Config{RealTime: true})
	t.Cleanup(func() { require.NoError(t, net.Close()) })
	host := net.AddHost("a", sim.DeviceConfig{Name: "sima", Addrs: prefixes("10.0.0.1/24")})
	for range 200 {
		p, err := New(testConfig(), host)
		require.NoError(t, err)
		e, err := p.NewEngine()
		require.NoError(t, err)
		n := &node{p: p, e: e}
		l, _ := n.listen(t, netip.MustParseAddr("10.0.0.1"), 1)
		const waiters = 4
		var ended [waiters]<-chan error
		for i := range ended {
			ended[i] = n.waiting(within(t), accepting(t, l))
		}
		require.Eventually(t, func() bool {
			e.waiters.mu.Lock()
			defer e.waiters.mu.Unlock()
			return e.waiters.inside == waiters
		}, patience, time.Millisecond)
		require.NoError(t, p.Shutdown(within(t)))
		for _, e := range ended {
			require.ErrorIs(t, outcomeOf(t, e), syscall.ECANCELED)
		}
	}
}
