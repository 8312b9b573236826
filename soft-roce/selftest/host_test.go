//go:build rdma

package selftest

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func env(t *testing.T, key string) string {
	t.Helper()
	value := os.Getenv("SOFT_ROCE_" + key)
	require.NotEmpty(t, value, "SOFT_ROCE_%s is set on a Soft-RoCE host", key)
	return value
}

func TestHostHasTheAddressesThatItsEnvironmentNames(t *testing.T) {
	card, err := net.InterfaceByName(env(t, "NETDEV"))
	require.NoError(t, err)
	assert.NotZero(t, card.Flags&net.FlagUp, "%s is up", card.Name)
	addrs, err := card.Addrs()
	require.NoError(t, err)
	var have []string
	for _, addr := range addrs {
		ip, _, err := net.ParseCIDR(addr.String())
		require.NoError(t, err)
		have = append(have, ip.String())
	}
	assert.Contains(t, have, env(t, "ADDR"))
	assert.Contains(t, have, env(t, "ADDR6"))
}

func TestPortHasAGIDForEachAddress(t *testing.T) {
	port := filepath.Join("/sys/class/infiniband", env(t, "DEVICE"), "ports/1")
	state, err := os.ReadFile(filepath.Join(port, "state"))
	require.NoError(t, err)
	assert.Contains(t, string(state), "ACTIVE")
	files, err := filepath.Glob(filepath.Join(port, "gids/*"))
	require.NoError(t, err)
	gids := make(map[string]bool)
	for _, file := range files {
		gid, err := os.ReadFile(file)
		require.NoError(t, err)
		gids[net.ParseIP(strings.TrimSpace(string(gid))).String()] = true
	}
	assert.True(t, gids[net.ParseIP(env(t, "ADDR")).String()], "a GID of the IPv4 address among %v", gids)
	assert.True(t, gids[net.ParseIP(env(t, "ADDR6")).String()], "a GID of the IPv6 address among %v", gids)
}

func TestDeviceNodesAreOpenToAll(t *testing.T) {
	nodes, err := filepath.Glob("/dev/infiniband/uverbs*")
	require.NoError(t, err)
	require.NotEmpty(t, nodes)
	for _, node := range append(nodes, "/dev/infiniband/rdma_cm") {
		info, err := os.Stat(node)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o666), info.Mode().Perm(), node)
		assert.NotZero(t, info.Mode()&os.ModeCharDevice, node)
	}
}

func TestLockedMemoryIsUnlimited(t *testing.T) {
	var limit unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_MEMLOCK, &limit))
	assert.Equal(t, uint64(unix.RLIM_INFINITY), limit.Cur)
}

func TestLoopbackWorks(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		l, err := net.Listen("tcp", addr)
		require.NoError(t, err)
		c, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		require.NoError(t, c.Close())
		require.NoError(t, l.Close())
	}
}

func TestWritesStayInside(t *testing.T) {
	// On this machine's own files a test leaves nothing behind; here it need not care.
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("x"), 0o644))
	assert.FileExists(t, file)
}

func TestStockToolsSeeTheDevice(t *testing.T) {
	out, err := exec.Command("ibv_devices").CombinedOutput()
	require.NoError(t, err, string(out))
	assert.Contains(t, string(out), env(t, "DEVICE"))
	out, err = exec.Command("rdma", "resource").CombinedOutput()
	require.NoError(t, err, string(out))
	assert.Contains(t, string(out), env(t, "DEVICE"))
}

func TestQueueingDisciplineForLossIsThere(t *testing.T) {
	dev := env(t, "NETDEV")
	out, err := exec.Command("tc", "qdisc", "add", "dev", dev, "root", "netem", "loss", "1%").CombinedOutput()
	require.NoError(t, err, string(out))
	out, err = exec.Command("tc", "qdisc", "del", "dev", dev, "root").CombinedOutput()
	require.NoError(t, err, string(out))
}
