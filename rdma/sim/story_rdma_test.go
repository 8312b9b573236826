//go:build rdma

package sim_test

import (
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"catmint/rdma"
)

// What the simulated network answers is what a real kernel answers.
func TestHardwareTellsTheSameStory(t *testing.T) {
	own := netip.MustParseAddr(os.Getenv("SOFT_ROCE_ADDR"))
	f := rdma.NewHardware()
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	nobody := own.As4()
	nobody[3] = 231
	lines := tell(t, f, own, netip.AddrFrom4(nobody))
	require.Equal(t, golden(t), strings.Join(lines, "\n")+"\n")
}
