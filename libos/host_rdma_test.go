//go:build rdma || rdma2

package libos

import (
	"fmt"
	"os"
	"sort"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
)

// env returns a variable that the test bed sets.
func env(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	require.NotEmpty(t, value, "%s is not set: run with soft-roce test", name)
	return value
}

// resources is what the kernel counts, as `rdma resource` shows it, memory regions apart.
func resources(t *testing.T) (others string, regions int) {
	t.Helper()
	list, err := netlink.RdmaResourceList()
	require.NoError(t, err)
	var out []string
	for _, dev := range list {
		for kind, n := range dev.RdmaResourceSummaryEntries {
			switch kind {
			case "mr":
				regions += int(n)
				continue
			case "ctx": // librdmacm keeps its contexts until the process ends
				continue
			}
			out = append(out, fmt.Sprintf("%s/%s=%d", dev.Name, kind, n))
		}
	}
	sort.Strings(out)
	return fmt.Sprint(out), regions
}
