package libos

import (
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/datapath"
	"catmint/rdma/rdmatest"
	"catmint/rdma/sim"
)

func poolConfig(size int) Config {
	cfg := testConfig()
	cfg.QPPool = size
	return cfg
}

// pooled is how many queue pairs an engine has ready.
func (n *node) pooled() (count int) {
	p := &n.e.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.places {
		count += len(s.ready)
	}
	return count
}

// awaitPool waits until so many are ready.
func (n *node) awaitPool(t *testing.T, want int) {
	t.Helper()
	require.Eventually(t, func() bool { return n.pooled() == want }, patience, time.Millisecond,
		"queue pairs ready")
}

// fromPool says where the queue pair of a connection comes from.
func fromPool(s *Socket) bool {
	p := s.Info().Phases
	return p.QPCreated.IsZero() && !p.QPReady.IsZero()
}

func TestQueuePairsMadeAheadServeBothSides(t *testing.T) {
	p := newPair(t, poolConfig(2), sim.Config{})
	l, at := p.b.listen(t, p.b.addr, 4)
	p.b.awaitPool(t, 2) // a listener that is bound to a device needs no first connection
	seen := map[uint32]bool{}
	for n := range 5 {
		c := p.a.connect(t, netip.AddrPort{}, at)
		s := p.b.accept(t, l)
		require.Equal(t, n > 0, fromPool(c), "connect %d", n)
		require.True(t, fromPool(s), "accept %d", n)
		p.a.send(t, c, "ping")
		require.Equal(t, "ping", p.b.recv(t, s))
		require.False(t, seen[c.Info().QPNum], "a queue pair is used once")
		seen[c.Info().QPNum] = true
		p.a.awaitPool(t, 2)
		p.b.awaitPool(t, 2)
		require.NoError(t, c.Close())
		require.Empty(t, p.b.recv(t, s))
		require.NoError(t, s.Close())
	}
	require.NoError(t, l.Close())
	p.a.quiesce(t)
	require.Equal(t, 2, p.a.pooled(), "the pool outlives its connections")
}

func TestWithoutAPoolNothingIsMadeAhead(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	c, s, l := p.connected(t)
	require.False(t, fromPool(c) || fromPool(s))
	require.NoError(t, c.Close())
	require.Empty(t, p.b.recv(t, s))
	require.NoError(t, s.Close())
	require.NoError(t, l.Close())
	p.a.quiesce(t)
	p.b.quiesce(t)
	require.Zero(t, rdmatest.Counts()["QP"])
}

func TestAPoolThatIsEmptyHoldsNobodyUp(t *testing.T) {
	p := newPair(t, poolConfig(1), sim.Config{})
	hundredConnects(t, p.a, p.b, p.b.addr)
	p.a.awaitPool(t, 1)
	p.b.awaitPool(t, 1)
}

func TestAPoolThatCannotBeFilledIsTriedAgain(t *testing.T) {
	p := newPair(t, poolConfig(1), sim.Config{})
	l, at := p.b.listen(t, p.b.addr, 4)
	p.a.connect(t, netip.AddrPort{}, at)
	p.a.awaitPool(t, 1)

	f := p.net.When(sim.Call(sim.CallCreateQP)).At(p.hosts[0]).Always().Fail(syscall.ENOMEM)
	require.True(t, fromPool(p.a.connect(t, netip.AddrPort{}, at)), "what is there serves")
	p.a.awaitPool(t, 0)
	got, ce := p.a.mustFail(t, at)
	require.Equal(t, syscall.EAGAIN, got)
	require.Equal(t, "creating the queue pair", ce.Phase)

	f.Lift()
	require.False(t, fromPool(p.a.connect(t, netip.AddrPort{}, at)))
	p.a.awaitPool(t, 1)
	require.True(t, fromPool(p.a.connect(t, netip.AddrPort{}, at)))
	require.NoError(t, l.Close())
}

func TestAQueuePairThatTheIDRefusesIsReplaced(t *testing.T) {
	p := newPair(t, poolConfig(1), sim.Config{})
	l, at := p.b.listen(t, p.b.addr, 4)
	p.a.connect(t, netip.AddrPort{}, at)
	p.a.awaitPool(t, 1)

	p.net.When(sim.Call(sim.CallTakeQP)).At(p.hosts[0]).Fail(syscall.EINVAL)
	require.False(t, fromPool(p.a.connect(t, netip.AddrPort{}, at)), "one is made")
	f := p.net.When(sim.Call(sim.CallTakeQP)).At(p.hosts[0]).Always().Fail(syscall.EINVAL)
	got, ce := p.a.mustFail(t, at)
	require.Equal(t, syscall.EINVAL, got)
	require.Contains(t, ce.Error(), "take queue pair")
	f.Lift()
	require.NoError(t, l.Close())
}

func TestAStaleConnectionTakesTheNextOfThePool(t *testing.T) {
	p := newPair(t, poolConfig(2), sim.Config{})
	l, at := p.b.listen(t, p.b.addr, 4)
	p.a.connect(t, netip.AddrPort{}, at)
	p.a.awaitPool(t, 2)
	p.net.When(sim.Message(sim.REQ)).Reject(10) // stale connection
	c := p.a.connect(t, netip.AddrPort{}, at)
	require.True(t, fromPool(c))
	require.Len(t, c.Info().Retries, 1)
	require.NoError(t, l.Close())
}

func TestTheQueuePairsOfARemovedDeviceAreReleased(t *testing.T) {
	for _, connected := range []bool{false, true} {
		t.Run(fmt.Sprintf("connected=%t", connected), func(t *testing.T) {
			p := newPair(t, poolConfig(3), sim.Config{})
			l, at := p.b.listen(t, p.b.addr, 4)
			c := p.a.connect(t, netip.AddrPort{}, at)
			p.a.awaitPool(t, 3)
			var pop datapath.Token
			if connected {
				var err error
				pop, err = c.Pop()
				require.NoError(t, err)
			} else {
				require.NoError(t, c.SetLinger(0))
				require.NoError(t, c.Close())
				p.a.quiesce(t)
			}
			require.True(t, p.hosts[0].RemoveDevice("sima"))
			if connected {
				require.Equal(t, syscall.ENODEV, p.a.waitErrno(t, pop))
				require.NoError(t, c.Close())
			}
			require.Eventually(t, func() bool {
				p.a.e.devMu.Lock()
				defer p.a.e.devMu.Unlock()
				return len(p.a.e.devices) == 0
			}, patience, time.Millisecond)

			p.hosts[0].AddDevice(sim.DeviceConfig{Name: "sima", Addrs: prefixes("10.0.0.1/24")})
			require.False(t, fromPool(p.a.connect(t, netip.AddrPort{}, at)), "the device is another one")
			p.a.awaitPool(t, 3)
			require.NoError(t, l.Close())
		})
	}
}

func TestAShutdownDoesNotWaitForThePool(t *testing.T) {
	for n := range 20 { // it falls into every stage of filling
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			p := newPair(t, poolConfig(8), sim.Config{})
			l, at := p.b.listen(t, p.b.addr, 1)
			c := p.a.connect(t, netip.AddrPort{}, at)
			require.NoError(t, c.Close())
			require.NoError(t, l.Close())
			require.NoError(t, p.a.p.Shutdown(within(t)))
			require.Zero(t, p.a.p.Stats().Leaks)
			require.NoError(t, p.b.p.Shutdown(within(t)))
			require.Zero(t, rdmatest.Counts()["QP"])
		})
	}
}

func TestAWildcardListenerFillsItsPoolWithTheFirstConnection(t *testing.T) {
	p := newPair(t, poolConfig(1), sim.Config{})
	l, at := p.b.listen(t, netip.IPv4Unspecified(), 4)
	to := netip.AddrPortFrom(p.b.addr, at.Port())
	p.a.connect(t, netip.AddrPort{}, to)
	require.False(t, fromPool(p.b.accept(t, l)))
	p.b.awaitPool(t, 1)
	p.a.connect(t, netip.AddrPort{}, to)
	require.True(t, fromPool(p.b.accept(t, l)))
	require.NoError(t, l.Close())
}

func TestACloseWhileAQueuePairOfThePoolIsUsedReleasesIt(t *testing.T) {
	p := newPair(t, poolConfig(2), sim.Config{})
	_, at := p.b.listen(t, p.b.addr, 200)
	p.a.connect(t, netip.AddrPort{}, at)
	for range 100 {
		p.a.awaitPool(t, 2)
		s, qt := p.a.connecting(t, at)
		require.NoError(t, s.Close())
		if _, err := p.a.e.Wait(within(t), qt); err != nil {
			assert.ErrorIs(t, err, syscall.ECANCELED)
		}
	}
	p.a.quiesce(t)
}

// The steps are RTR and RTS, which are CM's, on the way to a connection.
func TestAQueuePairThatCannotBeMovedEndsTheConnect(t *testing.T) {
	for _, pool := range []int{0, 1} {
		for step := 1; step <= 2; step++ {
			t.Run(fmt.Sprintf("pool=%d step=%d", pool, step), func(t *testing.T) {
				p := newPair(t, poolConfig(pool), sim.Config{})
				l, at := p.b.listen(t, p.b.addr, 4)
				p.a.connect(t, netip.AddrPort{}, at)
				p.b.accept(t, l)
				p.a.awaitPool(t, pool)
				p.b.awaitPool(t, pool)

				nth := step
				if pool == 0 {
					nth++ // it is moved to INIT first
				}
				require.True(t, p.hosts[0].FailVerbs("sima", sim.CallModifyQP, nth, 1, syscall.ENOMEM))
				got, ce := p.a.mustFail(t, at)
				require.Equal(t, syscall.EAGAIN, got)
				require.Contains(t, ce.Detail, "CONNECT_ERROR -12")
				require.Eventually(t, func() bool { return p.b.p.Stats().Lost == 1 }, patience, time.Millisecond)

				// What ends moves queue pairs, and so does who fills a pool.
				p.a.quiesce(t)
				p.b.quiesce(t)
				p.a.awaitPool(t, pool)
				p.b.awaitPool(t, pool)
				require.True(t, p.hosts[1].FailVerbs("simb", sim.CallModifyQP, nth, 1, syscall.ENOMEM))
				got, _ = p.a.mustFail(t, at)
				require.Equal(t, syscall.ECONNREFUSED, got)
				require.EqualValues(t, 2, p.b.p.Stats().Lost)

				p.a.connect(t, netip.AddrPort{}, at)
				p.b.accept(t, l)
				require.NoError(t, l.Close())
			})
		}
	}
}

func TestBothEndsHaveOurTimers(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	p.connected(t)
	for _, h := range p.hosts {
		for _, qp := range h.QPs() {
			got := qp.Stats()
			require.Equal(t, []uint8{ackTimeout, minRNRTimer}, []uint8{got.AckTimeout, got.MinRNRTimer})
		}
	}
}
