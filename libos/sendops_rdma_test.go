//go:build rdma

package libos

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"catmint/rdma"
)

// On Soft-RoCE sends go by ibv_post_send, because posting enters the kernel. Here it is used as
// hardware is, so that the engine's short way by ibv_wr_start(3) meets a provider.
func TestSoftRoCETakesSendsByTheExtendedInterface(t *testing.T) {
	before := kernelPosts
	t.Cleanup(func() { kernelPosts = before })
	kernelPosts = func(rdma.DeviceAttr) bool { return false }

	a, b := newBed(t, largeWindow())
	n := 20_000
	if testing.Short() {
		n = 2_000
	}
	exchange(t, a, b, n, 64, true)
	l, at := b.listen(t, b.addr, 1)
	c := a.connect(t, netip.AddrPort{}, at)
	s := b.accept(t, l)
	t.Logf("%v for a round trip", pingPong(t, c, s, n/10, 64))
	for _, end := range []*Socket{c, s} {
		got, err := end.Stats()
		require.NoError(t, err)
		require.EqualValues(t, n/10, got.Pushes)
		// One that finds no credit, or its connection being settled, goes the general way.
		require.LessOrEqual(t, got.WRSends, got.Pushes)
		require.Greater(t, got.WRSends, got.Pushes*9/10)
	}
	require.NoError(t, c.Close())
	require.Empty(t, b.recv(t, s))
	require.NoError(t, s.Close())
	require.NoError(t, l.Close())
}
