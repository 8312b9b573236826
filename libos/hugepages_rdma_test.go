//go:build rdma

package libos

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// freeHugePages says how many huge pages of the system's pool are free.
func freeHugePages(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/meminfo")
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		var n int
		if _, err := fmt.Sscanf(line, "HugePages_Free: %d", &n); err == nil {
			return n
		}
	}
	require.Fail(t, "the kernel counts no huge pages")
	return 0
}

// Memory of messages comes from the system's pool of huge pages while there are any, is registered
// and carries messages as other memory does.
func TestSoftRoCEMemoryComesFromHugePages(t *testing.T) {
	const pool = "/proc/sys/vm/nr_hugepages"
	before, err := os.ReadFile(pool)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(pool, []byte("16"), 0o644))
	t.Cleanup(func() { require.NoError(t, os.WriteFile(pool, before, 0o644)) })
	free := freeHugePages(t)
	require.GreaterOrEqual(t, free, 8, "the kernel has found too little memory in one piece")
	t.Run("while there are any", func(t *testing.T) {
		a, b := newBed(t, testConfig())
		l, at := b.listen(t, b.addr, 1)
		c := a.connect(t, netip.AddrPort{}, at)
		s := b.accept(t, l)
		for i := range 3 { // the last one finds too few huge pages, and does with others
			size := 7 << 20 << i
			require.NoError(t, carry(c, s, i, size))
			t.Logf("%d bytes: %d of %d huge pages are free", size, freeHugePages(t), free)
			if i == 0 {
				require.LessOrEqual(t, freeHugePages(t), free-8, "each side has its 7 MiB in huge pages")
			}
		}
		require.NoError(t, c.Close())
		require.NoError(t, s.Close())
		require.NoError(t, l.Close())
	})
}
