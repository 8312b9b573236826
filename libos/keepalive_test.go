package libos

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"catmint/datapath"
	"catmint/rdma/sim"
)

// watchful is a configuration whose peers count as dead after d of silence.
func watchful(d time.Duration) Config {
	cfg := testConfig()
	cfg.KeepAlive = d
	return cfg
}

func connStats(t *testing.T, s *Socket) datapath.ConnStats {
	t.Helper()
	st, err := s.Stats()
	require.NoError(t, err)
	return st
}

func TestADeadPeerFailsEverythingWithoutTheApplicationsHelp(t *testing.T) {
	p := newPair(t, watchful(300*time.Millisecond), sim.Config{})
	c, s, _ := p.connected(t)
	p.net.Cut(p.hosts[0], p.hosts[1], true)
	var tokens []datapath.Token
	for range 3 {
		qt, err := c.Pop()
		require.NoError(t, err)
		tokens = append(tokens, qt)
	}
	for range 10 {
		qt, err := c.Push(make([]byte, 4000))
		require.NoError(t, err)
		tokens = append(tokens, qt)
	}
	// Nobody waits and nobody polls: looking at a token does neither.
	deadline := time.Now().Add(patience)
	for _, qt := range tokens {
		var r datapath.Result
		err := datapath.RedeemToken(qt, &r)
		for ; datapath.IsTimeout(err); err = datapath.RedeemToken(qt, &r) {
			require.True(t, time.Now().Before(deadline), "a token of a dead peer is still pending")
			<-time.After(time.Millisecond)
		}
		require.NoError(t, err)
		require.Equal(t, syscall.ETIMEDOUT, errno(r.Err()))
	}
	qt, err := c.Pop()
	require.NoError(t, err)
	require.Equal(t, syscall.ETIMEDOUT, p.a.waitErrno(t, qt))
	require.NoError(t, c.Close())
	qt, err = s.Pop() // the other side sees the same
	require.NoError(t, err)
	require.Equal(t, syscall.ETIMEDOUT, p.b.waitErrno(t, qt))
	require.NoError(t, s.Close())
}

func TestAnIdleConnectionLives(t *testing.T) {
	p := newPlace(t, watchful(200*time.Millisecond))
	c, s, _ := p.connected(t)
	require.Eventually(t, func() bool {
		return connStats(t, c).PingsOut+connStats(t, s).PingsOut >= 10
	}, patience, 10*time.Millisecond)
	p.a.send(t, c, "still there")
	require.Equal(t, "still there", p.b.recv(t, s))
}

func TestTheTimerRestsWhileNobodyNeedsIt(t *testing.T) {
	p := newPlace(t, watchful(100*time.Millisecond))
	resting := func() bool {
		p.a.e.keeper.mu.Lock()
		defer p.a.e.keeper.mu.Unlock()
		return p.a.e.keeper.every == 0
	}
	require.True(t, resting(), "no connection")
	c, s, _ := p.connected(t)
	require.Eventually(t, func() bool { return !resting() }, patience, time.Millisecond)
	require.NoError(t, c.SetKeepAlive(0, 0))
	require.Eventually(t, resting, patience, time.Millisecond, "no connection with a limit")
	require.NoError(t, c.SetOption(unix.SOL_SOCKET, unix.SO_KEEPALIVE, nativeBytes(1)))
	require.Eventually(t, func() bool { return !resting() }, patience, time.Millisecond)
	require.NoError(t, c.Close())
	require.NoError(t, s.Close())
	p.a.quiesce(t)
	require.Eventually(t, resting, patience, time.Millisecond, "no connection any more")
}

// processorTime is what this process has used of its processors.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u unix.Rusage
	require.NoError(t, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// With a connection to watch over, a thread that waits in C and its engine's goroutines; the best of
// some seconds, since what other tests have left may still be swept up.
func TestAnIdleProcessUsesLessThanAHundredthOfACore(t *testing.T) {
	p := newPlace(t, testConfig())
	c, s, _ := p.connected(t)
	best := 1.0
	for try := 0; try < 10 && best >= 0.01; try++ {
		qt, err := c.Pop()
		require.NoError(t, err)
		var r datapath.Result
		wall, cpu := time.Now(), processorTime(t)
		require.ErrorIs(t, datapath.Wait(qt, &r, time.Second), syscall.ETIMEDOUT)
		used := processorTime(t) - cpu
		best = min(best, used.Seconds()/time.Since(wall).Seconds())
		p.b.send(t, s, "x")
		r = p.a.wait(t, qt)
		require.Equal(t, "x", string(TakeBytes(&r)))
	}
	t.Logf("%.2f %% of a core", 100*best)
	require.Less(t, best, 0.01)
}

func TestAnOptionWorksOnAConnectionThatIsThere(t *testing.T) {
	p := newPair(t, watchful(0), sim.Config{})
	c, s, _ := p.connected(t)
	p.net.Cut(p.hosts[0], p.hosts[1], true)
	qt, err := c.Pop()
	require.NoError(t, err)
	require.NoError(t, c.SetKeepAlive(50*time.Millisecond, 150*time.Millisecond))
	require.Equal(t, syscall.ETIMEDOUT, p.a.waitErrno(t, qt))
	// TCP_USER_TIMEOUT is the whole time, however long the others are.
	qt, err = s.Pop()
	require.NoError(t, err)
	require.NoError(t, s.SetOption(unix.SOL_SOCKET, unix.SO_KEEPALIVE, nativeBytes(1)))
	require.NoError(t, s.SetOption(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, nativeBytes(7200)))
	require.NoError(t, s.SetOption(unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, nativeBytes(100)))
	require.Equal(t, syscall.ETIMEDOUT, p.b.waitErrno(t, qt))
	for _, x := range []*Socket{c, s} {
		require.NoError(t, x.SetLinger(0))
		require.NoError(t, x.Close())
	}
}

func TestTimesOfKeepAliveFollowTheOptions(t *testing.T) {
	p := newPlace(t, testConfig())
	s := p.a.socket(t, unix.AF_INET)
	check := func(idle, limit time.Duration) {
		t.Helper()
		i, l := s.keepAliveTimes()
		require.Equal(t, idle, i)
		require.Equal(t, limit, l)
	}
	set := func(level, name int, v int32) {
		t.Helper()
		require.NoError(t, s.SetOption(level, name, nativeBytes(v)))
	}
	check(10*time.Second, 30*time.Second)
	set(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 5)
	set(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 2)
	set(unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 3)
	check(5*time.Second, 11*time.Second)
	set(unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 8000)
	check(4*time.Second, 8*time.Second)
	set(unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 1)
	check(minKeepAlive/2, minKeepAlive)
	set(unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0)
	check(0, 0)
	require.NoError(t, s.SetKeepAlive(time.Second, 1100*time.Millisecond))
	check(time.Second, 1100*time.Millisecond)
	require.NoError(t, s.SetKeepAlive(0, 0))
	check(0, 0)
	for _, bad := range [][2]time.Duration{{0, time.Second}, {-1, time.Second}, {time.Second, time.Second}, {1, 2}} {
		require.ErrorIs(t, s.SetKeepAlive(bad[0], bad[1]), syscall.EINVAL)
	}
	for key, values := range map[optKey][]int32{
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE}:     {0, -1, 32768},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL}:    {0, 32768},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT}:      {0, 128},
		{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT}: {-1},
	} {
		for _, v := range values {
			require.ErrorIs(t, s.SetOption(key.level, key.name, nativeBytes(v)), syscall.EINVAL)
		}
	}
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.SetKeepAlive(1, time.Second), syscall.EBADF)
	require.Equal(t, keepAlive{idle: 10 * time.Second, interval: 5 * time.Second, count: 4}, newKeepAlive(0))
}

func TestACloseWaitsForTheReaderOfOneLargeMessage(t *testing.T) {
	// All told far longer than the linger time, but each READ is well within it.
	const reads, tick, linger = 48, 60 * time.Millisecond, 2 * time.Second
	cfg := testConfig()
	cfg.Linger = linger
	p := newPair(t, cfg, sim.Config{})
	c, s, _ := p.connected(t)
	reader := p.hosts[1].QPs()[0]
	reader.SlowReads(0)
	big := make([]byte, reads<<20)
	for i := range big {
		big[i] = byte(i >> 12)
	}
	qt, err := c.Push(big)
	require.NoError(t, err)
	closed := make(chan time.Time, 1)
	go func() {
		_ = c.Close()
		closed <- time.Now()
	}()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for range reads - 1 {
		<-ticker.C
		reader.SlowReads(1)
	}
	last := time.Now() // the last READ is still held back, and the close with it
	reader.SlowReads(-1)
	require.Equal(t, datapath.OpPush, p.a.wait(t, qt).Opcode)
	require.True(t, (<-closed).After(last), "close gave up")
	require.Equal(t, string(big), p.b.recv(t, s))
	require.Empty(t, p.b.recv(t, s))
	require.NoError(t, s.Close())
}

func TestACloseGivesUpOnAReaderThatStands(t *testing.T) {
	cfg := testConfig()
	cfg.Linger = 300 * time.Millisecond
	p := newPair(t, cfg, sim.Config{})
	c, s, _ := p.connected(t)
	p.hosts[1].QPs()[0].SlowReads(2)
	qt, err := c.Push(make([]byte, 8<<20))
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.Equal(t, syscall.ECANCELED, p.a.waitErrno(t, qt))
	qt, err = s.Pop()
	require.NoError(t, err)
	require.Equal(t, syscall.ECONNRESET, p.b.waitErrno(t, qt))
	require.NoError(t, s.Close())
}
