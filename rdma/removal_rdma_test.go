//go:build rdma

package rdma_test

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"catmint/rdma"
)

const (
	removalVar   = "RDMA_TEST_REMOVAL"
	removalReady = "ready for the removal"
	removalLink  = "rxegone"
	removalAddr  = "198.51.100.33"
)

// TestRemovalWatcher is the process that uses a device while it is removed: the kernel
// ends a removal only when the last process that has opened the device is gone, so this
// must not be the process that removes it.
func TestRemovalWatcher(t *testing.T) {
	with := os.Getenv(removalVar)
	if with == "" {
		return
	}
	l := newBed(t)
	id := l.newID()
	require.NoError(t, id.BindAddr(netip.AddrPortFrom(netip.MustParseAddr(removalAddr), 0)))
	dev := id.Device()
	require.Equal(t, removalLink, dev.Name())
	select {
	case <-dev.Removed():
		require.FailNow(t, "removed too early")
	default:
	}
	if with == "nothing open" {
		require.NoError(t, id.Close())
		fmt.Println(removalReady)
		receive(t, dev.Removed())
	} else {
		pd, err := dev.AllocPD()
		require.NoError(t, err)
		cq, err := dev.CreateCQ(4, nil)
		require.NoError(t, err)
		fmt.Println(removalReady)
		receive(t, dev.Removed())
		l.on(id, rdma.DeviceRemoval)
		require.NoError(t, cq.Close())
		require.NoError(t, pd.Close())
		require.NoError(t, id.Close())
	}
	// Now that nothing is open, the device is forgotten.
	_, err := dev.AllocPD()
	require.Error(t, err)
	_, err = dev.Port(1)
	require.Error(t, err)
	_, err = dev.GIDs(1)
	require.Error(t, err)
}

func TestRemovalOfADeviceIsAnnounced(t *testing.T) {
	for _, with := range []string{"objects open", "nothing open"} {
		t.Run("with "+with, func(t *testing.T) {
			veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "gone0"}, PeerName: "gone1"}
			require.NoError(t, netlink.LinkAdd(veth))
			defer func() { assert.NoError(t, netlink.LinkDel(veth)) }()
			addr, err := netlink.ParseAddr(removalAddr + "/24")
			require.NoError(t, err)
			require.NoError(t, netlink.AddrAdd(veth, addr))
			require.NoError(t, netlink.LinkSetUp(veth))
			peer, err := netlink.LinkByName(veth.PeerName)
			require.NoError(t, err)
			require.NoError(t, netlink.LinkSetUp(peer))
			require.NoError(t, netlink.RdmaLinkAdd(removalLink, "rxe", "gone0"))

			exe, err := os.Executable()
			require.NoError(t, err)
			cmd := exec.Command(exe, "-test.run=^TestRemovalWatcher$", "-test.v")
			cmd.Env = append(os.Environ(), removalVar+"="+with)
			cmd.Stderr = os.Stderr
			stdout, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())

			removed := make(chan error, 1)
			var ready bool
			lines := bufio.NewScanner(stdout)
			for lines.Scan() {
				t.Log(lines.Text())
				if lines.Text() == removalReady {
					ready = true
					go func() { removed <- netlink.RdmaLinkDel(removalLink) }()
				}
			}
			require.NoError(t, cmd.Wait())
			require.True(t, ready)
			require.NoError(t, receive(t, removed))
		})
	}
}
