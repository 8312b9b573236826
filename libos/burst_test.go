package libos

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"catmint/datapath"
	"catmint/rdma/sim"
)

// largeWindow is a configuration whose connections begin with the receives that they may grow to.
func largeWindow() Config {
	cfg := testConfig()
	cfg.DataWindow = cfg.MaxDataWindow
	return cfg
}

// burstsInFewCalls pushes 32 messages and waits, some times over: they arrive in order, each
// push succeeds, and while no completion is seen there are at most 8 calls of post_send. A poll of
// the housekeeper's in between has what is held back sent, and after one that finds everything
// complete the next push goes at once: that is two calls more. lag, if there is one, keeps what is
// sent from completing, or lets it complete.
func burstsInFewCalls(t *testing.T, a, b *node, size int, lag func(bool)) {
	t.Helper()
	const n, few = 32, 8
	l, at := b.listen(t, b.addr, 1)
	c := a.connect(t, netip.AddrPort{}, at)
	s := b.accept(t, l)
	message := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, size) }
	// A poll may come at any time. Enough bursts are to be without one.
	const enough, rounds = 6, 500
	for undisturbed, round := 0, 0; undisturbed < enough; round++ {
		require.Less(t, round, rounds, "only %d bursts were undisturbed", undisturbed)
		if lag != nil {
			lag(true)
		}
		before, polls := connStats(t, c), a.e.house.polls.Load()
		var pushes [n]datapath.Token
		for i := range n {
			qt, err := c.Push(message(i))
			require.NoError(t, err)
			pushes[i] = qt
		}
		polls = a.e.house.polls.Load() - polls
		var r datapath.Result
		last := datapath.Wait(pushes[n-1], &r, 0)
		calls := connStats(t, c).PostSends - before.PostSends
		t.Logf("%d messages of %d bytes in %d calls of post_send, %d polls", n, size, calls, polls)
		if lag != nil {
			lag(false)
			polls = 0 // which find nothing complete, and nothing new
		}
		require.LessOrEqual(t, calls, few+2*polls)
		if polls == 0 {
			undisturbed++
		}
		for i, qt := range pushes {
			if i == n-1 && last == nil {
				require.NoError(t, r.Err())
				continue
			}
			_, err := redeem(qt)
			require.NoError(t, err)
		}
		for i := range n {
			require.Equal(t, string(message(i)), b.recv(t, s))
		}
	}
	require.NoError(t, c.Close())
	require.Empty(t, b.recv(t, s))
	require.NoError(t, s.Close())
	require.NoError(t, l.Close())
}

func TestABurstTakesFewCalls(t *testing.T) {
	p := newPair(t, largeWindow(), sim.Config{})
	// Without it the fabric is never busy.
	lag := func(on bool) {
		for _, qp := range p.hosts[0].QPs() {
			qp.Cut(on)
		}
	}
	burstsInFewCalls(t, p.a, p.b, 64, lag)
	burstsInFewCalls(t, p.a, p.b, largestEager(p.a), lag)
}

// pushesWithoutWaiting pushes n messages, and from then on this side of the application makes no
// call until the other side has them all.
func pushesWithoutWaiting(t *testing.T, a, b *node) {
	t.Helper()
	l, at := b.listen(t, b.addr, 1)
	c := a.connect(t, netip.AddrPort{}, at)
	s := b.accept(t, l)
	for n := 1; n <= 40; n += 3 {
		var pushes []datapath.Token
		for i := range n {
			qt, err := c.Push([]byte{byte(i), byte(n)})
			require.NoError(t, err)
			pushes = append(pushes, qt)
		}
		for i := range n {
			require.Equal(t, string([]byte{byte(i), byte(n)}), b.recv(t, s))
		}
		for _, qt := range pushes {
			_, err := redeem(qt)
			require.NoError(t, err)
		}
	}
	require.NoError(t, c.Close())
	require.NoError(t, s.Close())
	require.NoError(t, l.Close())
}

func TestWhatASilentApplicationPushedIsSent(t *testing.T) {
	for name, cfg := range map[string]Config{"first window": testConfig(), "large window": largeWindow()} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t, cfg)
			pushesWithoutWaiting(t, p.a, p.b)
		})
	}
}
