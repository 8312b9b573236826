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
// push succeeds, and there are at most 8 calls of post_send. lag, if there is one, keeps what is
// sent from completing, or lets it complete. Without it a send may complete, and be seen to, during
// a burst, which takes a call more: then most rounds count.
func burstsInFewCalls(t *testing.T, a, b *node, size int, lag func(bool)) {
	t.Helper()
	const n = 32
	l, at := b.listen(t, b.addr, 1)
	c := a.connect(t, netip.AddrPort{}, at)
	s := b.accept(t, l)
	message := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, size) }
	var more int
	const rounds = 10
	for range rounds {
		if lag != nil {
			lag(true)
		}
		before := connStats(t, c)
		var pushes [n]datapath.Token
		for i := range n {
			qt, err := c.Push(message(i))
			require.NoError(t, err)
			pushes[i] = qt
		}
		var r datapath.Result
		last := datapath.Wait(pushes[n-1], &r, 0)
		calls := connStats(t, c).PostSends - before.PostSends
		t.Logf("%d messages of %d bytes in %d calls of post_send", n, size, calls)
		if calls > 8 {
			more++
		}
		if lag != nil {
			lag(false)
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
	if lag != nil {
		require.Zero(t, more)
	}
	require.Less(t, more, rounds/2)
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
