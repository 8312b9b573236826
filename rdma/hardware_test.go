package rdma_test

import (
	"net/netip"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/rdma"
)

// These tests run on any machine, with RDMA devices and without.

func hasDevices(t *testing.T) bool {
	t.Helper()
	entries, err := os.ReadDir("/sys/class/infiniband")
	return err == nil && len(entries) != 0
}

func TestWithoutADeviceTheErrorSaysWhatToDo(t *testing.T) {
	f := rdma.NewHardware()
	infos, err := f.Devices()
	ch, chErr := f.NewEventChannel()
	if hasDevices(t) {
		require.NoError(t, err)
		require.NoError(t, chErr)
		assert.NotEmpty(t, infos)
		require.NoError(t, ch.Close())
	} else {
		require.NoError(t, err)
		assert.Empty(t, infos)
		require.ErrorIs(t, chErr, syscall.ENODEV)
		assert.Contains(t, rdma.Hint(chErr), "rdma link add")
	}
	require.NoError(t, f.Close())
}

func TestClosedFabricMakesNothing(t *testing.T) {
	f := rdma.NewHardware()
	require.NoError(t, f.Close())
	require.NoError(t, f.Close())
	_, err := f.Devices()
	require.ErrorIs(t, err, syscall.EBADF)
	_, err = f.NewEventChannel()
	require.ErrorIs(t, err, syscall.EBADF)
}

func TestFabricHasSlowOperationsForAsLongAsTheProcessLives(t *testing.T) {
	f := rdma.NewHardware()
	ops := f.SlowOps()
	assert.NotNil(t, ops)
	require.NoError(t, f.Close())
	assert.Equal(t, ops, f.SlowOps())
}

func TestNetworkDevicesWithoutRDMAHaveNoDevice(t *testing.T) {
	_, err := rdma.NetdevDevice("nosuchdev")
	require.ErrorIs(t, err, syscall.ENXIO)
	_, err = rdma.NetdevDevice("lo")
	require.ErrorIs(t, err, syscall.ENODEV)

	_, netdev, err := rdma.AddrDevice(netip.MustParseAddr("127.0.0.1"))
	require.ErrorIs(t, err, syscall.ENODEV)
	assert.Equal(t, "lo", netdev)
	for _, addr := range []string{"192.0.2.99", "2001:db8::99", "fe80::1%nosuchdev"} {
		_, _, err := rdma.AddrDevice(netip.MustParseAddr(addr))
		require.ErrorIs(t, err, syscall.EADDRNOTAVAIL, addr)
	}
}

func TestCountersOfADeviceThatIsNotThereAreAnError(t *testing.T) {
	for _, name := range []string{"", ".", "..", "../../../etc", "nosuchdev", "a\x00b"} {
		_, err := rdma.HWCounters(name, 1)
		require.ErrorIs(t, err, syscall.ENODEV, "%q", name)
	}
}

func TestSlowOpsHeaderIsEmbedded(t *testing.T) {
	assert.Contains(t, rdma.SlowOpsHeader, "struct rdma_slow_ops")
}
