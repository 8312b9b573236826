//go:build rdma2

package libos

import (
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"catmint/rdma"
	"catmint/rdma/rdmatest"
	hosts "catmint/soft-roce/pair"
)

// Host a keeps its network device and loses its RDMA device, so it answers ARP and no connection
// request: the address resolves, and then there is silence.
func TestSoftRoCEHostThatResolvesAndDoesNotAnswerTimesOut(t *testing.T) {
	deadlines := map[string]time.Duration{"3000": 3 * time.Second}
	if !testing.Short() {
		deadlines[""] = 20 * time.Second
	}
	p := hosts.Join(t)
	if p.Host == "a" {
		withoutRDMADevice(t, func() {
			p.Barrier("silent")
			p.Barrier("tried")
		})
		p.Barrier("back")
		return
	}
	before, regions := rdmatest.KernelObjects(t)
	p.Barrier("silent")
	for value, deadline := range deadlines {
		t.Run("within "+deadline.String(), func(t *testing.T) { connectIntoSilence(t, p.Peer, value, deadline) })
	}
	after, regionsAfter := rdmatest.KernelObjects(t)
	assert.Equal(t, before, after, "as `rdma resource` counts")
	assert.Equal(t, regions, regionsAfter, "memory regions")
	p.Barrier("tried")
	p.Barrier("back")
}

// connectIntoSilence connects to a host that says nothing, with DEMI_CONNECT_TIMEOUT_MS set to
// value.
func connectIntoSilence(t *testing.T, peer, value string, deadline time.Duration) {
	t.Helper()
	cfg, err := ConfigFromEnv(func(name string) string {
		return map[string]string{"DEMI_CONNECT_TIMEOUT_MS": value}[name]
	})
	require.NoError(t, err)
	require.Equal(t, deadline, cfg.ConnectTimeout)
	f := rdma.NewHardware()
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	n := newNode(t, cfg, f, "", "")
	begin := time.Now()
	got, ce := n.mustFail(t, netip.AddrPortFrom(netip.MustParseAddr(peer), 7174))
	took := time.Since(begin)
	t.Logf("after %v: %v", took, ce)
	require.Equal(t, syscall.ETIMEDOUT, got, "%v", ce)
	require.Equal(t, "waiting for the peer's answer", ce.Phase)
	require.Equal(t, env(t, "SOFT_ROCE_DEVICE"), ce.Device)
	require.Contains(t, ce.Hint, "4791")
	require.GreaterOrEqual(t, took, deadline)
	// The kernel alone gives up after a minute and more.
	require.Less(t, took, deadline+patience/2)
	n.quiesce(t)
}

// withoutRDMADevice runs f while this host has no RDMA device. Nothing in this process may have
// used it, or it cannot be removed: librdmacm keeps what it has opened.
func withoutRDMADevice(t *testing.T, f func()) {
	t.Helper()
	device, netdev := env(t, "SOFT_ROCE_DEVICE"), env(t, "SOFT_ROCE_NETDEV")
	before := gids(t, device)
	require.NotEmpty(t, before)
	require.NoError(t, netlink.RdmaLinkDel(device))
	defer func() {
		require.NoError(t, netlink.RdmaLinkAdd(device, "rxe", netdev))
		require.Eventually(t, func() bool { return maps.Equal(before, gids(t, device)) },
			patience, 10*time.Millisecond, "the device is as it was")
	}()
	f()
}

// gids are the entries of a device's GID table.
func gids(t *testing.T, device string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("/sys/class/infiniband", device, "ports/1/gids/*"))
	require.NoError(t, err)
	out := map[string]bool{}
	for _, file := range files {
		if gid, err := os.ReadFile(file); err == nil { // EINVAL: no entry there
			out[string(gid)] = true
		}
	}
	return out
}
