//go:build rdma

package libos

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"catmint/rdma/rdmatest"
)

// Connections come and go beside a pool on either side: none of them leaves anything, and the end
// of the libOSes leaves nothing of the pools.
func TestSoftRoCEPoolServesManyConnectionsAndLeavesNothing(t *testing.T) {
	cycles := 200
	if testing.Short() {
		cycles = 40
	}
	const size = 3
	before, regionsBefore := rdmatest.KernelObjects(t)
	t.Run("cycles", func(t *testing.T) {
		a, b := newBed(t, poolConfig(size))
		l, at := b.listen(t, b.addr, 4)
		b.awaitPool(t, size)
		pooledCycle(t, a, b, l, at) // opens the devices
		full := func() string {
			a.quiesce(t)
			b.quiesce(t)
			a.awaitPool(t, size)
			b.awaitPool(t, size)
			objects, _ := rdmatest.KernelObjects(t)
			return objects
		}
		// A replacement is made while its predecessor is still being torn down or after; either
		// way there are as many as before once both pools are full.
		warm := full()
		ahead := 0
		for range cycles {
			if pooledCycle(t, a, b, l, at) {
				ahead++
			}
		}
		require.Equal(t, warm, full(), "after %d connections", cycles)
		require.Greater(t, ahead, cycles/2, "of %d connects used the pool", cycles)
		require.NoError(t, l.Close())
		require.Zero(t, a.p.Stats().Unexpected+b.p.Stats().Unexpected)
		require.Zero(t, a.p.Stats().Leaks+b.p.Stats().Leaks)
	})
	after, regionsAfter := rdmatest.KernelObjects(t)
	require.Equal(t, before, after, "as `rdma resource` counts")
	require.Equal(t, regionsBefore, regionsAfter, "memory regions")
}

// pooledCycle connects, pings and closes; it says whether the connect's queue pair was made ahead.
func pooledCycle(t *testing.T, a, b *node, l *Socket, at netip.AddrPort) (ahead bool) {
	t.Helper()
	c := a.connect(t, netip.AddrPort{}, at)
	s := b.accept(t, l)
	a.send(t, c, "ping")
	require.Equal(t, "ping", b.recv(t, s))
	b.send(t, s, "pong")
	require.Equal(t, "pong", a.recv(t, c))
	ahead = fromPool(c)
	require.NoError(t, c.Close())
	require.Empty(t, b.recv(t, s))
	require.NoError(t, s.Close())
	return ahead
}
