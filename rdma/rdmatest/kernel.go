package rdmatest

import (
	"fmt"
	"sort"
	"testing"

	"github.com/vishvananda/netlink"
)

// KernelObjects is what the kernel counts on this machine's devices, as `rdma resource` shows
// it: everything but contexts, which librdmacm keeps until the process ends, in one line that
// can be compared; and memory regions apart.
func KernelObjects(tb testing.TB) (others string, regions int) {
	tb.Helper()
	list, err := netlink.RdmaResourceList()
	if err != nil {
		tb.Fatal(err)
	}
	var out []string
	for _, dev := range list {
		for kind, n := range dev.RdmaResourceSummaryEntries {
			switch kind {
			case "mr":
				regions += int(n)
			case "ctx":
			default:
				out = append(out, fmt.Sprintf("%s/%s=%d", dev.Name, kind, n))
			}
		}
	}
	sort.Strings(out)
	return fmt.Sprint(out), regions
}
