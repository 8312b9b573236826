package libos

import (
	"fmt"
	"net/netip"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"catmint/datapath"
	"catmint/rdma/sim"
)

// slowly receives n messages of s, one each tick, and then the end.
func (p *pair) slowly(t *testing.T, s *Socket, n int, tick time.Duration) {
	t.Helper()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for i := range n {
		<-ticker.C
		require.Equal(t, strconv.Itoa(i), p.b.recv(t, s))
	}
	require.Empty(t, p.b.recv(t, s))
}

// lingering is a pair with a short linger time and a client that has pushed n messages, more
// than the windows hold.
func lingering(t *testing.T, n int, linger time.Duration) (p *pair, c, s *Socket, pushes []datapath.Token) {
	t.Helper()
	cfg := testConfig()
	cfg.Linger = linger
	p = newPlace(t, cfg)
	c, s, _ = p.connected(t)
	for i := range n {
		qt, err := c.Push([]byte(strconv.Itoa(i)))
		require.NoError(t, err)
		pushes = append(pushes, qt)
	}
	return p, c, s, pushes
}

func TestAPeerThatGoesOnTakingMessagesGetsAllOfThem(t *testing.T) {
	// Slow, all told, compared with the linger time, but never silent for so long.
	const n, tick, linger = 60, 50 * time.Millisecond, 2 * time.Second
	p, c, s, pushes := lingering(t, n, linger)
	closed := make(chan error, 1)
	go func() { closed <- c.Close() }()
	p.slowly(t, s, n, tick)
	require.NoError(t, <-closed)
	for _, qt := range pushes {
		require.Equal(t, datapath.OpPush, p.a.wait(t, qt).Opcode)
	}
	require.NoError(t, s.Close())
}

func TestSOLingerBoundsACloseWhateverThePeerDoes(t *testing.T) {
	p, c, s, pushes := lingering(t, 1000, time.Hour)
	require.NoError(t, c.SetLinger(100*time.Millisecond))
	begin := time.Now()
	require.NoError(t, c.Close())
	require.GreaterOrEqual(t, time.Since(begin), 100*time.Millisecond)
	_, err := p.a.e.Wait(within(t), pushes[len(pushes)-1])
	require.ErrorContains(t, err, "canceled")
	for _, qt := range pushes[:len(pushes)-1] {
		_, _ = p.a.e.Wait(within(t), qt)
	}
	require.NoError(t, s.SetLinger(0))
	require.NoError(t, s.Close())
}

// The close that the peer acknowledged is the end of the connection, however late the queue pair
// is flushed when DISCONNECTED has come: a push answers EPIPE, as it did before, and not
// ECONNRESET.
func TestAfterThePeersCloseAPushIsEPIPEHoweverLateItIsTornDown(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			p := newPair(t, testConfig(), sim.Config{Seed: seed, SeededDelivery: true})
			p.keepPolling(t)
			l, at := p.b.listen(t, p.b.addr, 1)
			c := p.a.connect(t, netip.AddrPort{}, at)
			s := p.b.accept(t, l)
			require.NoError(t, c.Close())
			for ended := false; !ended; {
				ended = p.net.Census().QPs == 0
				qt, err := s.Push([]byte("too late"))
				require.NoError(t, err)
				require.Equal(t, syscall.EPIPE, p.b.waitErrno(t, qt))
				require.Empty(t, p.b.recv(t, s))
			}
		})
	}
}
