package libos

import (
	"context"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"catmint/datapath"
	"catmint/rdma"
	"catmint/rdma/sim"
)

func (p *pair) connected(t *testing.T) (c, s, l *Socket) {
	t.Helper()
	l, at := p.b.listen(t, p.b.addr, 4)
	c = p.a.connect(t, netip.AddrPort{}, at)
	return c, p.b.accept(t, l), l
}

func TestEveryCallAnswersAsItsStateDemands(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	here := netip.AddrPortFrom(p.a.addr, 0)
	there := netip.AddrPortFrom(p.b.addr, 9)

	t.Run("a socket that cannot be made", func(t *testing.T) {
		for _, args := range [][3]int{
			{unix.AF_UNIX, unix.SOCK_STREAM, 0},
			{unix.AF_INET, unix.SOCK_DGRAM, 0},
			{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_UDP},
		} {
			_, err := p.a.e.Socket(args[0], args[1], args[2])
			require.ErrorIs(t, err, syscall.ENOTSUP)
		}
	})
	t.Run("a fresh socket", func(t *testing.T) {
		s := p.a.socket(t, unix.AF_INET)
		require.GreaterOrEqual(t, s.QD(), datapath.QDFirst)
		require.ErrorIs(t, s.Listen(0), syscall.EINVAL)
		require.ErrorIs(t, s.Listen(1), syscall.EDESTADDRREQ)
		_, err := s.Accept()
		require.ErrorIs(t, err, syscall.EINVAL)
		notConnected(t, s)
		_, err = s.GetSockName()
		require.ErrorIs(t, err, syscall.ENOTCONN)
		require.ErrorIs(t, s.Bind(netip.AddrPort{}), syscall.EINVAL)
		require.ErrorIs(t, s.Bind(netip.AddrPortFrom(p.a.ip6, 0)), syscall.EINVAL)
		err = s.Bind(netip.MustParseAddrPort("192.0.2.99:0"))
		require.ErrorIs(t, err, syscall.EADDRNOTAVAIL)
		var ce *ConnectError
		require.ErrorAs(t, err, &ce)
		require.NotEmpty(t, ce.Hint)
		require.Contains(t, ce.Error(), "bind 192.0.2.99:0: cannot assign requested address: ")
		_, err = s.Connect(netip.AddrPort{})
		require.ErrorIs(t, err, syscall.EINVAL)
		_, err = s.Connect(netip.AddrPortFrom(p.b.ip6, 1))
		require.ErrorIs(t, err, syscall.EINVAL)
		require.Equal(t, Info{}, s.Info())
		require.NoError(t, s.Err())
		require.NoError(t, s.Close())
		require.ErrorIs(t, s.Close(), syscall.EBADF)
		_, err = p.a.p.Socket(s.QD())
		require.ErrorIs(t, err, syscall.EBADF)
	})
	t.Run("an IPv6 socket", func(t *testing.T) {
		s := p.a.socket(t, unix.AF_INET6)
		require.ErrorIs(t, s.Bind(here), syscall.EINVAL)
		require.NoError(t, s.Close())
	})
	t.Run("a bound socket", func(t *testing.T) {
		s := p.a.socket(t, unix.AF_INET)
		require.NoError(t, s.Bind(here))
		require.ErrorIs(t, s.Bind(here), syscall.EINVAL)
		at, err := s.GetSockName()
		require.NoError(t, err)
		require.Equal(t, at, s.Info().Local)
		notConnected(t, s)
		other := p.a.socket(t, unix.AF_INET)
		require.ErrorIs(t, other.Bind(at), syscall.EADDRINUSE)
		require.NoError(t, other.Bind(here), "and may try again")
		require.NoError(t, other.Close())
		require.ErrorIs(t, s.Listen(-1), syscall.EINVAL)
		require.NoError(t, s.Close())
	})
	t.Run("a listening socket", func(t *testing.T) {
		s, at := p.a.listen(t, p.a.addr, 1<<20)
		require.ErrorIs(t, s.Bind(here), syscall.EINVAL)
		require.ErrorIs(t, s.Listen(1), syscall.EADDRINUSE)
		_, err := s.Connect(there)
		require.ErrorIs(t, err, syscall.EOPNOTSUPP)
		notConnected(t, s)
		require.NotZero(t, at.Port())
		require.NoError(t, s.Close())
	})
	t.Run("a connecting socket", func(t *testing.T) {
		f := p.net.When(sim.Event(rdma.AddrResolved)).Hold()
		s, qt := p.a.connecting(t, there)
		require.ErrorIs(t, s.Bind(here), syscall.EINVAL)
		require.ErrorIs(t, s.Listen(1), syscall.EADDRINUSE)
		_, err := s.Accept()
		require.ErrorIs(t, err, syscall.EINVAL)
		_, err = s.Connect(there)
		require.ErrorIs(t, err, syscall.EINPROGRESS)
		notConnected(t, s)
		<-f.Strikes()
		f.Release()
		require.Equal(t, syscall.ECONNREFUSED, p.a.waitErrno(t, qt))
		expectAllEBADF(t, s)
		require.NoError(t, s.Close())
	})
	t.Run("a connected socket", func(t *testing.T) {
		c, s, l := p.connected(t)
		for n, x := range map[*node]*Socket{p.a: c, p.b: s} {
			require.ErrorIs(t, x.Bind(netip.AddrPortFrom(n.addr, 0)), syscall.EISCONN)
			require.ErrorIs(t, x.Listen(1), syscall.EISCONN)
			_, err := x.Accept()
			require.ErrorIs(t, err, syscall.EINVAL)
			_, err = x.Connect(there)
			require.ErrorIs(t, err, syscall.EISCONN)
			_, err = x.Push(nil)
			require.ErrorIs(t, err, syscall.EINVAL)
			require.Same(t, n.e, x.Engine())
			st, err := x.Stats()
			require.NoError(t, err)
			require.Zero(t, st.Pushes)
		}
		require.NoError(t, c.Close())
		require.NoError(t, s.Close())
		require.NoError(t, l.Close())
		expectAllEBADF(t, c)
		_, err := c.CloseAsync()
		require.ErrorIs(t, err, syscall.EBADF)
	})
	require.Zero(t, p.a.p.Stats().Unexpected)
}

func notConnected(t *testing.T, s *Socket) {
	t.Helper()
	_, err := s.Push([]byte("x"))
	require.ErrorIs(t, err, syscall.ENOTCONN)
	_, err = s.Pop()
	require.ErrorIs(t, err, syscall.ENOTCONN)
	_, err = s.GetPeerName()
	require.ErrorIs(t, err, syscall.ENOTCONN)
	require.ErrorIs(t, s.CloseWrite(), syscall.ENOTCONN)
	_, err = s.Stats()
	require.ErrorIs(t, err, syscall.ENOTCONN)
}

func TestAWildcardListenerTakesConnectionsOnEveryAddress(t *testing.T) {
	p := newPlace(t, testConfig())
	l, at := p.b.listen(t, netip.IPv4Unspecified(), 4)
	c := p.a.connect(t, netip.AddrPort{}, netip.AddrPortFrom(p.b.addr, at.Port()))
	s := p.b.accept(t, l)
	p.a.send(t, c, "x")
	require.Equal(t, "x", p.b.recv(t, s))
}

func TestClosedDescriptorsAreUsedAgain(t *testing.T) {
	p := newPlace(t, testConfig())
	s := p.a.socket(t, unix.AF_INET)
	qd := s.QD()
	require.NoError(t, s.Close())
	p.a.quiesce(t)
	require.Equal(t, qd, p.a.socket(t, unix.AF_INET).QD())
}

func TestClosingCancelsPendingPopsAndLetsPushesDrain(t *testing.T) {
	p := newPlace(t, testConfig())
	c, s, _ := p.connected(t)
	pop, err := c.Pop()
	require.NoError(t, err)
	var pushes []datapath.Token
	for range 3 {
		qt, err := c.Push([]byte("before the end"))
		require.NoError(t, err)
		pushes = append(pushes, qt)
	}
	require.NoError(t, c.Close())
	require.Equal(t, syscall.ECANCELED, p.a.waitErrno(t, pop))
	for _, qt := range pushes {
		require.Equal(t, datapath.OpPush, p.a.wait(t, qt).Opcode)
	}
	for range pushes {
		require.Equal(t, "before the end", p.b.recv(t, s))
	}
	require.Empty(t, p.b.recv(t, s))
}

func TestACloseThatIsNotAnsweredEndsWithTheLingerTime(t *testing.T) {
	cfg := testConfig()
	cfg.Linger, cfg.FlushTimeout = 50*time.Millisecond, 50*time.Millisecond
	p := newPair(t, cfg, sim.Config{RetryPolls: 0})
	c, s, l := p.connected(t)
	p.net.Cut(p.hosts[0], p.hosts[1], true)
	push, err := c.Push(make([]byte, 4000)) // too long to be sent inline, which completes at once
	require.NoError(t, err)
	start := time.Now()
	require.NoError(t, c.Close())
	require.Less(t, time.Since(start), 5*time.Second)
	_, err = p.a.e.Wait(within(t), push)
	require.ErrorIs(t, err, syscall.ECANCELED)
	p.a.quiesce(t)
	require.NoError(t, s.SetLinger(0))
	require.NoError(t, s.Close())
	require.NoError(t, l.Close())
}

func TestLingerZeroCutsTheConnection(t *testing.T) {
	p := newPlace(t, testConfig())
	c, s, _ := p.connected(t)
	pop, err := s.Pop()
	require.NoError(t, err)
	require.NoError(t, c.SetLinger(0))
	require.NoError(t, c.Close())
	require.Equal(t, syscall.ECONNRESET, p.b.waitErrno(t, pop))
}

func TestAsynchronousCloseCompletesItsToken(t *testing.T) {
	p := newPlace(t, testConfig())
	c, s, _ := p.connected(t)
	qt, err := c.CloseAsync()
	require.NoError(t, err)
	require.Equal(t, datapath.OpClose, p.a.wait(t, qt).Opcode)
	require.Empty(t, p.b.recv(t, s))
}

func TestHalfACloseLeavesTheOtherHalf(t *testing.T) {
	p := newPlace(t, testConfig())
	c, s, _ := p.connected(t)
	p.a.send(t, c, "question")
	require.NoError(t, c.CloseWrite())
	require.Equal(t, "question", p.b.recv(t, s))
	require.Empty(t, p.b.recv(t, s))
	p.b.send(t, s, "answer")
	require.Equal(t, "answer", p.a.recv(t, c))
}

func TestBothSidesMayCloseAtTheSameTime(t *testing.T) {
	p := newPlace(t, testConfig())
	for range 50 {
		c, s, l := p.connected(t)
		var wg sync.WaitGroup
		wg.Go(func() { _ = c.Close() })
		wg.Go(func() { _ = s.Close() })
		wg.Wait()
		require.NoError(t, l.Close())
	}
	p.a.quiesce(t)
	p.b.quiesce(t)
}

func TestAPeerWhoseHostIsPoweredOffFailsEveryToken(t *testing.T) {
	cfg := testConfig()
	cfg.FlushTimeout = 50 * time.Millisecond
	p := newPair(t, cfg, sim.Config{RetryPolls: 50})
	c, s, _ := p.connected(t)
	pop, err := c.Pop()
	require.NoError(t, err)
	p.hosts[1].PowerOff()
	push, err := c.Push(make([]byte, 4000))
	require.NoError(t, err)
	// The simulated device counts its retries in polls.
	polling := make(chan struct{})
	defer close(polling)
	go func() {
		for {
			select {
			case <-polling:
				return
			default:
				p.a.e.Datapath().Poll()
			}
		}
	}()
	require.NotZero(t, p.a.waitErrno(t, push))
	require.NotZero(t, p.a.waitErrno(t, pop))
	require.NoError(t, c.Close())
	require.NoError(t, s.SetLinger(0))
	require.NoError(t, s.Close())
}

func TestALostDisconnectIsMadeUpForByTime(t *testing.T) {
	cfg := testConfig()
	cfg.FlushTimeout = 20 * time.Millisecond
	p := newPair(t, cfg, sim.Config{})
	p.net.When(sim.Event(rdma.Disconnected)).Always().Drop()
	c, s, _ := p.connected(t)
	require.NoError(t, c.Close())
	require.Empty(t, p.b.recv(t, s))
	require.NoError(t, s.Close())
	p.a.quiesce(t)
	p.b.quiesce(t)
}

func TestDisconnectedBeforeEstablishedIsAReset(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	_, at := p.b.listen(t, p.b.addr, 1)
	p.net.When(sim.Event(rdma.Established)).At(p.hosts[0]).Become(rdma.Disconnected, 0)
	got, _ := p.a.mustFail(t, at)
	require.Equal(t, syscall.ECONNRESET, got)
}

func TestARemovedDeviceFailsEverythingOnIt(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	c, s, l := p.connected(t)
	pop, err := c.Pop()
	require.NoError(t, err)
	l2, _ := p.a.listen(t, p.a.addr, 1)
	acc := accepting(t, l2)
	bound := p.a.socket(t, unix.AF_INET)
	require.NoError(t, bound.Bind(netip.AddrPortFrom(p.a.addr, 0)))
	require.True(t, p.hosts[0].RemoveDevice("sima"))
	// The data plane sees its work flushed before CM says why, and waits for that.
	require.Equal(t, syscall.ENODEV, p.a.waitErrno(t, pop))
	require.Equal(t, syscall.ENODEV, p.a.waitErrno(t, acc))
	late := accepting(t, l2)
	require.Equal(t, syscall.ENODEV, p.a.waitErrno(t, late))
	require.Eventually(t, func() bool { // its own event may be the last
		gone := false
		require.NoError(t, p.a.e.loop.call(func() error {
			gone = bound.conn.id == nil
			return nil
		}))
		return gone
	}, patience, time.Millisecond)
	require.ErrorIs(t, bound.Listen(1), syscall.EADDRNOTAVAIL)
	for _, x := range []*Socket{c, l2, bound} {
		require.NoError(t, x.Close())
	}
	require.NoError(t, s.SetLinger(0))
	require.NoError(t, s.Close())
	require.NoError(t, l.Close())
}

func TestTheEndOfTheProgramClosesWhatIsOpen(t *testing.T) {
	p := newPlace(t, testConfig())
	c, s, _ := p.connected(t)
	c2, s2, _ := p.connected(t)
	p.a.send(t, c, "one")
	p.a.send(t, c2, "two")
	p.a.p.CloseAll(within(t))
	require.Equal(t, "one", p.b.recv(t, s))
	require.Empty(t, p.b.recv(t, s))
	require.Equal(t, "two", p.b.recv(t, s2))
	require.Empty(t, p.b.recv(t, s2))
}

func TestTheEndOfTheProgramIsCutShortByItsContext(t *testing.T) {
	cfg := testConfig()
	cfg.Linger, cfg.FlushTimeout = time.Hour, 50*time.Millisecond
	p := newPair(t, cfg, sim.Config{})
	_, s, _ := p.connected(t)
	p.net.Cut(p.hosts[0], p.hosts[1], true)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	p.a.p.CloseAll(ctx)
	require.Less(t, time.Since(start), 10*time.Second)
	require.NoError(t, s.SetLinger(0))
	require.NoError(t, s.Close())
}

func TestShutdownDropsTokensThatNobodyRedeemed(t *testing.T) {
	p := newPlace(t, testConfig())
	c, s, l := p.connected(t)
	for range 100 { // pushes, pops that found a message, pops that did not, accepts
		_, err := c.Push([]byte("x"))
		require.NoError(t, err)
		_, err = s.Pop()
		require.NoError(t, err)
		_, err = c.Pop()
		require.NoError(t, err)
		accepting(t, l)
	}
} // newPair shuts down and counts what is left

func TestAFailedConnectIsLoggedWithPhaseDeviceAndHint(t *testing.T) {
	var log lockedBuffer
	cfg := testConfig()
	cfg.Logger = slog.New(slog.NewTextHandler(&log, nil))
	p := newPair(t, cfg, sim.Config{})
	got, ce := p.a.mustFail(t, netip.AddrPortFrom(p.b.addr, 9))
	require.Equal(t, syscall.ECONNREFUSED, got)
	line := log.line(t, "connect failed")
	for _, want := range []string{
		"peer=10.0.0.2:9", "phase=" + strconv.Quote(ce.Phase), "device=sima", "errno=ECONNREFUSED",
		"hint=" + strconv.Quote(ce.Hint), "reason 8",
	} {
		require.Contains(t, line, want)
	}
}

// lockedBuffer collects a log.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// line is the one line that contains what.
func (l *lockedBuffer) line(t *testing.T, what string) string {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []string
	for line := range strings.Lines(l.b.String()) {
		if strings.Contains(line, what) {
			found = append(found, line)
		}
	}
	require.Len(t, found, 1)
	return found[0]
}

func TestAfterShutdownThereIsNothingToUse(t *testing.T) {
	n := sim.New(sim.Config{RealTime: true})
	h := n.AddHost("a", sim.DeviceConfig{Name: "sima", Addrs: prefixes("10.0.0.1/24")})
	p, err := New(testConfig(), h)
	require.NoError(t, err)
	e, err := p.NewEngine()
	require.NoError(t, err)
	require.Same(t, e, p.EngineOf(e.Datapath()))
	require.Same(t, p, e.Process())
	require.Equal(t, h, p.Fabric())
	require.Equal(t, testConfig().RecvSize, p.Config().RecvSize)
	require.NoError(t, p.Close())
	_, err = p.NewEngine()
	require.ErrorIs(t, err, syscall.ENOSYS)
	require.Nil(t, p.EngineOf(nil))
	require.NoError(t, n.Close())
}

// rdma_cm itself says EADDRNOTAVAIL where either address is the wildcard.
func TestAPortInUseIsToldFromAnAddressOfAnotherHost(t *testing.T) {
	p := newPlace(t, testConfig())
	l, at := p.b.listen(t, p.b.addr, 1)
	every := netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	s := p.b.socket(t, unix.AF_INET)
	require.ErrorIs(t, s.Bind(netip.AddrPortFrom(every.Addr(), at.Port())), syscall.EADDRINUSE)
	require.ErrorIs(t, s.Bind(at), syscall.EADDRINUSE)
	require.NoError(t, l.Close())

	all := p.b.socket(t, unix.AF_INET)
	require.NoError(t, all.Bind(every))
	taken, err := all.GetSockName()
	require.NoError(t, err)
	require.ErrorIs(t, s.Bind(netip.AddrPortFrom(p.b.addr, taken.Port())), syscall.EADDRINUSE)
	require.ErrorIs(t, s.Bind(netip.AddrPortFrom(every.Addr(), taken.Port())), syscall.EADDRINUSE)
	require.ErrorIs(t, s.Bind(netip.AddrPortFrom(netip.MustParseAddr("192.0.2.99"), taken.Port())), syscall.EADDRNOTAVAIL)
	require.NoError(t, all.Close())
	require.NoError(t, s.Bind(taken), "it is free again")
	require.NoError(t, s.Close())
}
