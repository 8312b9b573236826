//go:build rdma

package libos

import (
	"context"
	"fmt"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"catmint/rdma/verbstest"
	"golang.org/x/sys/unix"

	"catmint/datapath"
	"catmint/rdma"
	"catmint/rdma/rdmatest"
)

// newBed is two libOSes on the one Soft-RoCE host.
func newBed(t *testing.T, cfg Config) (a, b *node) {
	t.Helper()
	f := rdma.NewHardware()
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	addr, ip6 := env(t, "SOFT_ROCE_ADDR"), env(t, "SOFT_ROCE_ADDR6")
	return newNode(t, cfg, f, addr, ip6), newNode(t, cfg, f, addr, ip6)
}

func TestSoftRoCEConnectsOverIPv4AndIPv6BoundOrNot(t *testing.T) {
	a, b := newBed(t, testConfig())
	for _, v6 := range []bool{false, true} {
		for _, bound := range []bool{false, true} {
			t.Run(fmt.Sprintf("v6=%t bound=%t", v6, bound), func(t *testing.T) {
				addr := a.addr
				if v6 {
					addr = a.ip6
				}
				l, at := b.listen(t, addr, 1)
				var from netip.AddrPort
				if bound {
					from = netip.AddrPortFrom(addr, 0)
				}
				c := a.connect(t, from, at)
				s := b.accept(t, l)
				a.send(t, c, "ping")
				require.Equal(t, "ping", b.recv(t, s))
				b.send(t, s, "pong")
				require.Equal(t, "pong", a.recv(t, c))
				peer, err := c.GetPeerName()
				require.NoError(t, err)
				require.Equal(t, at, peer)
				info := c.Info()
				require.Equal(t, env(t, "SOFT_ROCE_DEVICE"), info.Device)
				require.NotEmpty(t, info.GID)
				p := info.Phases
				t.Logf("address %v, queue pair %v, route %v, established %v, ready %v; gid %s",
					p.AddrResolved.Sub(p.Started), p.QPReady.Sub(p.AddrResolved), p.RouteResolved.Sub(p.QPReady),
					p.Established.Sub(p.RouteResolved), p.Ready.Sub(p.Established), info.GID)
				require.NoError(t, c.Close())
				require.Empty(t, b.recv(t, s))
				require.NoError(t, s.Close())
				require.NoError(t, l.Close())
			})
		}
	}
	require.Zero(t, a.p.Stats().Unexpected+b.p.Stats().Unexpected)
}

func TestSoftRoCEQueuePairsHaveOurTimersAtBothEnds(t *testing.T) {
	for _, pool := range []int{0, 1} {
		t.Run(fmt.Sprintf("pool=%d", pool), func(t *testing.T) {
			a, b := newBed(t, poolConfig(pool))
			l, at := b.listen(t, b.addr, 1)
			c := a.connect(t, netip.AddrPort{}, at)
			s := b.accept(t, l)
			for _, end := range []struct {
				n *node
				s *Socket
			}{{a, c}, {b, s}} {
				require.NoError(t, end.n.e.loop.call(func() error {
					d, ok := end.s.conn.ep.(*dataEndpoint)
					require.True(t, ok)
					got, err := verbstest.QueryQP(d.qp)
					require.Equal(t, []uint8{ackTimeout, minRNRTimer}, []uint8{got.Timeout, got.MinRNRTimer})
					return err
				}))
			}
			require.NoError(t, l.Close())
		})
	}
}

func TestSoftRoCEWildcardListenerTakesConnections(t *testing.T) {
	a, b := newBed(t, testConfig())
	l, at := b.listen(t, netip.IPv4Unspecified(), 1)
	c := a.connect(t, netip.AddrPort{}, netip.AddrPortFrom(b.addr, at.Port()))
	s := b.accept(t, l)
	a.send(t, c, "x")
	require.Equal(t, "x", b.recv(t, s))
}

func TestSoftRoCERefusesWhereNobodyListens(t *testing.T) {
	a, _ := newBed(t, testConfig())
	for _, addr := range []netip.Addr{a.addr, a.ip6} {
		got, ce := a.mustFail(t, netip.AddrPortFrom(addr, 4711))
		require.Equal(t, syscall.ECONNREFUSED, got, "%v", ce)
		t.Log(ce)
	}
}

func TestSoftRoCEHostThatDoesNotAnswerIsUnreachable(t *testing.T) {
	cfg := testConfig()
	cfg.ResolveTimeout = time.Second
	a, _ := newBed(t, cfg)
	// An address of the bed's network that nobody has.
	b := a.addr.As4()
	b[3] ^= 0x55
	got, ce := a.mustFail(t, netip.AddrPortFrom(netip.AddrFrom4(b), 7174))
	require.Contains(t, []syscall.Errno{syscall.EHOSTUNREACH, syscall.ETIMEDOUT}, got, "%v", ce)
	t.Log(ce)
}

func TestSoftRoCENetworkWithoutRouteIsUnreachable(t *testing.T) {
	a, _ := newBed(t, testConfig())
	got, ce := a.mustFail(t, netip.MustParseAddrPort("203.0.113.1:7174"))
	require.Contains(t, []syscall.Errno{syscall.ENETUNREACH, syscall.EHOSTUNREACH}, got, "%v", ce)
	t.Log(ce)
}

func TestSoftRoCELoopbackFailsWithAHint(t *testing.T) {
	a, _ := newBed(t, testConfig())
	got, ce := a.mustFail(t, netip.MustParseAddrPort("127.0.0.1:7174"))
	require.NotZero(t, got)
	require.Contains(t, ce.Hint, "loopback")
	t.Log(ce)
}

func TestSoftRoCEAddressThatIsNotLocalCannotBeBound(t *testing.T) {
	a, b := newBed(t, testConfig())
	s := a.socket(t, unix.AF_INET)
	require.ErrorIs(t, s.Bind(netip.MustParseAddrPort("192.0.2.99:0")), syscall.EADDRNOTAVAIL)
	_, at := b.listen(t, b.addr, 1)
	require.ErrorIs(t, s.Bind(at), syscall.EADDRINUSE)
}

func TestSoftRoCEBacklogIsRefused(t *testing.T) {
	a, b := newBed(t, testConfig())
	l, at := b.listen(t, b.addr, 1)
	c := a.connect(t, netip.AddrPort{}, at)
	a.send(t, c, "first")
	got, ce := a.mustFail(t, at)
	require.Equal(t, syscall.ECONNREFUSED, got, "%v", ce)
	s := b.accept(t, l)
	require.Equal(t, "first", b.recv(t, s))
}

func TestSoftRoCEHundredConnectsAtTheSameTimeComplete(t *testing.T) {
	a, b := newBed(t, testConfig())
	start := time.Now()
	hundredConnects(t, a, b, b.addr)
	t.Logf("100 connects and closes: %v", time.Since(start))
}

func TestSoftRoCEClosingWhileConnectingCancels(t *testing.T) {
	a, b := newBed(t, testConfig())
	_, at := b.listen(t, b.addr, 64)
	for i := range 60 {
		s, qt := a.connecting(t, at)
		if i%2 == 0 { // at once, or some way into it
			ctx, cancel := context.WithTimeout(within(t), time.Duration(i)*50*time.Microsecond)
			<-ctx.Done()
			cancel()
		}
		require.NoError(t, s.Close())
		r, err := a.e.Wait(within(t), qt)
		if err == nil {
			require.Equal(t, datapath.OpConnect, r.Opcode)
		} else {
			require.Contains(t, []syscall.Errno{syscall.ECANCELED, syscall.ECONNREFUSED}, errno(err))
		}
	}
	a.quiesce(t)
}

func TestSoftRoCEThousandConnectionsLeaveNothingBehind(t *testing.T) {
	others0, regions0 := rdmatest.KernelObjects(t)
	t.Cleanup(func() { // after the shutdown of both libOSes
		others1, regions1 := rdmatest.KernelObjects(t)
		t.Log("at the end", others1, "memory regions", regions1)
		require.Equal(t, others0, others1)
		require.Equal(t, regions0, regions1)
	})
	a, b := newBed(t, testConfig())
	n := 1000
	if testing.Short() {
		n = 150
	}
	cycles(t, a, b, b.addr, n, func() (string, int) {
		others, regions := rdmatest.KernelObjects(t)
		t.Log(others, "memory regions", regions)
		return others, regions
	})
}

func TestSoftRoCEEndOfTheProgramLosesNothing(t *testing.T) {
	a, b := newBed(t, testConfig())
	l, at := b.listen(t, b.addr, 1)
	c := a.connect(t, netip.AddrPort{}, at)
	var pushes []datapath.Token
	for i := range 20 {
		qt, err := c.Push(fmt.Append(nil, i))
		require.NoError(t, err)
		pushes = append(pushes, qt)
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		a.p.CloseAll(within(t))
	}()
	s := b.accept(t, l)
	for i := range 20 {
		require.Equal(t, fmt.Sprint(i), b.recv(t, s))
	}
	require.Empty(t, b.recv(t, s))
	<-closed
	for _, qt := range pushes {
		a.wait(t, qt)
	}
}

func TestSoftRoCELosesNoWakeUp(t *testing.T) {
	a, b := newBed(t, testConfig())
	rounds := 300
	if testing.Short() {
		rounds = 30
	}
	noLostWakeUp(t, a, b, rounds)
}

func TestSoftRoCEMessagesArriveIntactAndInOrder(t *testing.T) {
	a, b := newBed(t, testConfig())
	n := 100_000
	if testing.Short() {
		n = 4_000
	}
	for _, bothWays := range []bool{true, false} {
		exchange(t, a, b, n, 64, bothWays)
		exchange(t, a, b, n/50, largestEager(a), bothWays)
	}
}

func TestSoftRoCEReceiverThatPopsSlowlyHoldsTheSenderBack(t *testing.T) {
	a, b := newBed(t, testConfig())
	slowReceiver(t, a, b, 300, largestEager(a))
}

func TestSoftRoCELargeMessagesArriveIntactBothWays(t *testing.T) {
	a, b := newBed(t, testConfig())
	counts := map[int]int{64 << 10: 2000, 1 << 20: 2000}
	if testing.Short() {
		counts = map[int]int{64 << 10: 60, 1 << 20: 8}
	}
	for size, n := range counts {
		exchange(t, a, b, n, size, true)
	}
	exchange(t, a, b, 20, largestEager(a)+1, true)
}

func TestSoftRoCEReceiverThatPopsSlowlyHoldsLargeMessagesBack(t *testing.T) {
	a, b := newBed(t, testConfig())
	slowReceiver(t, a, b, 16, 1<<20)
}

func TestSoftRoCECloseLosesNoLargeMessage(t *testing.T) {
	a, b := newBed(t, testConfig())
	closeBehindLarge(t, a, b, 6, 300_000)
}

func TestSoftRoCETheLargestMessageArrivesIntact(t *testing.T) {
	a, b := newBed(t, testConfig())
	size := 1 << 30
	if testing.Short() {
		size = 24 << 20
	}
	exchange(t, a, b, 1, size, false)
}

func TestSoftRoCEPeerThatBreaksTheRulesLosesItsConnectionAndHarmsNoOther(t *testing.T) {
	a, b := newBed(t, testConfig())
	hostile(t, b.p.Fabric(), a, b)
}
