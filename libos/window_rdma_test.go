//go:build rdma

package libos

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"catmint/datapath"
)

// stream sends count messages of size bytes from c to s, with up to 64 under way, and says how
// long each took.
func stream(t *testing.T, c, s *Socket, count, size int) time.Duration {
	t.Helper()
	start := time.Now()
	message := make([]byte, size)
	errs := make(chan error, 2)
	var wg sync.WaitGroup
	wg.Go(func() { errs <- sendEach(c, count, func(int) []byte { return message }) })
	wg.Go(func() { errs <- recvEach(s, count, func(_ int, got []byte) bool { return len(got) == size }) })
	wg.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	return time.Since(start) / time.Duration(count)
}

// How fast messages flow one way, by the ceiling of the window: docs/benchmarks.md.
func TestSoftRoCEWindowGrowsToItsCeilingWithTraffic(t *testing.T) {
	n := 20_000
	ceilings := []uint32{4, 16, 32, 64, 128}
	if testing.Short() {
		n, ceilings = 1000, []uint32{4, DefaultConfig().MaxDataWindow}
	}
	for _, ceiling := range ceilings {
		cfg := testConfig()
		cfg.MaxDataWindow = ceiling
		a, b := newBed(t, cfg)
		for _, size := range []int{64, largestEager(a)} {
			t.Run(fmt.Sprintf("ceiling %d, %d bytes", ceiling, size), func(t *testing.T) {
				l, at := b.listen(t, b.addr, 1)
				c := a.connect(t, netip.AddrPort{}, at)
				s := b.accept(t, l)
				each := stream(t, c, s, n, size)
				got, err := s.Stats()
				require.NoError(t, err)
				t.Logf("one way: %v each, window %d, %d CREDITs, %d receives posted in %d calls",
					each, got.Window, got.CreditsOut, got.Pops, got.PostRecvs)
				// Where the receiver was the slower side there was no reason to grow: yet.
				for try := 0; got.Window < uint64(ceiling) && try < 20; try++ {
					stream(t, c, s, 500, size)
					got, err = s.Stats()
					require.NoError(t, err)
				}
				require.EqualValues(t, ceiling, got.Window)
				stream(t, c, s, 500, size)
				after, err := s.Stats()
				require.NoError(t, err)
				require.LessOrEqual(t, (after.CreditsOut-got.CreditsOut)*uint64(ceiling/2), uint64(500+ceiling),
					"at most one bare CREDIT for half a window")
				require.Zero(t, after.RNREvents)
				// Nothing came the other way.
				back, err := c.Stats()
				require.NoError(t, err)
				require.EqualValues(t, cfg.DataWindow, back.Window)
				require.NoError(t, c.Close())
				require.NoError(t, s.Close())
				require.NoError(t, l.Close())
			})
		}
	}
}

// deviceMappings is how many bytes of the process are mapped from RDMA devices: the rings of
// queue pairs and completion queues.
func deviceMappings(t *testing.T) int {
	t.Helper()
	f, err := os.Open("/proc/self/maps")
	require.NoError(t, err)
	defer f.Close()
	total := 0
	scan := bufio.NewScanner(f)
	for scan.Scan() {
		var from, to int
		if strings.Contains(scan.Text(), "/dev/infiniband/uverbs") {
			_, err := fmt.Sscanf(scan.Text(), "%x-%x", &from, &to)
			require.NoError(t, err)
			total += to - from
		}
	}
	require.NoError(t, scan.Err())
	return total
}

// What idle connections take from the system: docs/benchmarks.md.
func TestSoftRoCEIdleConnectionsTakeLittleMemory(t *testing.T) {
	n := 500
	if testing.Short() {
		n = 40
	}
	a, b := newBed(t, testConfig())
	l, at := b.listen(t, b.addr, 64)
	// The first one brings what all share.
	none := deviceMappings(t)
	a.connect(t, netip.AddrPort{}, at)
	b.accept(t, l)
	rings, arenas := deviceMappings(t), datapath.TakeCensus().ArenaBytes
	t.Logf("the first connection of two engines, with a completion queue each: %d bytes of rings", rings-none)
	for range n {
		a.connect(t, netip.AddrPort{}, at)
		b.accept(t, l)
	}
	ends := 2 * n
	each := (deviceMappings(t) - rings) / ends
	registered := int(datapath.TakeCensus().ArenaBytes-arenas) / ends
	t.Logf("%d idle connections: %d bytes of rings each, completion queues included, %d bytes registered",
		ends, each, registered)
	require.Positive(t, each)
	require.LessOrEqual(t, each, 72<<10, "rings that just fit")
	require.LessOrEqual(t, registered, 128<<10)
}
