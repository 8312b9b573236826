//go:build rdma

package libos

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// pingPong sends messages of size bytes there and back, one at a time, and says how long a round
// trip took.
func pingPong(t *testing.T, c, s *Socket, count, size int) time.Duration {
	t.Helper()
	there, back := make([]byte, size), make([]byte, size)
	start := time.Now()
	for range count {
		for _, way := range []struct {
			from, to *Socket
			message  []byte
		}{{c, s, there}, {s, c, back}} {
			in, err := way.to.Pop()
			require.NoError(t, err)
			out, err := way.from.Push(way.message)
			require.NoError(t, err)
			r, err := redeem(in)
			require.NoError(t, err)
			require.Len(t, TakeBytes(&r), size)
			_, err = redeem(out)
			require.NoError(t, err)
		}
	}
	return time.Since(start) / time.Duration(count)
}

// What messages cost that go eagerly, and those that are fetched, by their size and that of a
// receive: docs/benchmarks.md.
func TestSoftRoCEReceiveSize(t *testing.T) {
	n := 2000
	recvSizes := []uint32{2048, 4096, 8192, 16384, 32768}
	if testing.Short() {
		n, recvSizes = 50, []uint32{2048, 8192}
	}
	type cost struct{ oneWay, roundTrip time.Duration }
	costs := map[[2]int]cost{}
	for _, recvSize := range recvSizes {
		cfg := testConfig()
		cfg.RecvSize = recvSize
		a, b := newBed(t, cfg)
		l, at := b.listen(t, b.addr, 1)
		c := a.connect(t, netip.AddrPort{}, at)
		s := b.accept(t, l)
		for _, of := range recvSizes {
			size := int(of) - frameHeader
			t.Run(fmt.Sprintf("receives of %d, messages of %d", recvSize, size), func(t *testing.T) {
				stream(t, c, s, n/10, size) // the window grows
				before, err := s.Stats()
				require.NoError(t, err)
				x := cost{stream(t, c, s, n, size), pingPong(t, c, s, n/10, size)}
				after, err := s.Stats()
				require.NoError(t, err)
				fetched := after.LargeIn - before.LargeIn
				if of > recvSize {
					require.EqualValues(t, n+n/10, fetched)
				} else {
					require.Zero(t, fetched)
				}
				costs[[2]int{int(recvSize), size}] = x
				t.Logf("one way %v each, there and back %v, %d fetched", x.oneWay, x.roundTrip, fetched)
			})
		}
		require.NoError(t, c.Close())
		require.NoError(t, s.Close())
		require.NoError(t, l.Close())
	}
	if testing.Short() {
		return
	}
	// The default is worth it: what just fits into a receive would cost more if it were fetched.
	size := int(DefaultConfig().RecvSize) - frameHeader
	eager, fetched := costs[[2]int{int(DefaultConfig().RecvSize), size}], costs[[2]int{4096, size}]
	require.Less(t, eager.oneWay, fetched.oneWay)
	require.Less(t, eager.roundTrip, fetched.roundTrip)
}
