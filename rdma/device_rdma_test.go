//go:build rdma

package rdma_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"catmint/rdma"
)

func TestDevicesAreListedWithTheirNetdevs(t *testing.T) {
	f := newFabric(t)
	infos, err := f.Devices()
	require.NoError(t, err)
	for _, info := range infos {
		if info.Name == env(t, "SOFT_ROCE_DEVICE") {
			assert.Equal(t, rdma.NodeCA, info.NodeType)
			assert.Equal(t, rdma.TransportIB, info.Transport)
			assert.NotZero(t, info.NodeGUID)
			assert.Equal(t, 1, info.NumPorts)
			assert.Equal(t, []string{env(t, "SOFT_ROCE_NETDEV")}, info.Netdevs)
			return
		}
	}
	require.Failf(t, "device not listed", "%+v", infos)
}

func TestDeviceSaysWhatItCanDo(t *testing.T) {
	dev := bedDevice(t)
	a := dev.Attr()
	t.Logf("%+v", a)
	for name, n := range map[string]int{
		"MaxQP": a.MaxQP, "MaxQPWR": a.MaxQPWR, "MaxSGE": a.MaxSGE, "MaxCQ": a.MaxCQ,
		"MaxMR": a.MaxMR, "MaxPD": a.MaxPD, "MaxQPRdAtom": a.MaxQPRdAtom,
		"MaxQPInitRdAtom": a.MaxQPInitRdAtom,
	} {
		assert.Positive(t, n, name)
	}
	assert.Equal(t, 32767, a.MaxCQE, "rxe's limit")
	assert.NotZero(t, a.MaxMRSize)
	assert.Equal(t, 1, a.NumPorts)

	p, err := dev.Port(1)
	require.NoError(t, err)
	t.Logf("%+v", p)
	assert.Equal(t, rdma.PortActive, p.State)
	assert.Equal(t, rdma.LinkLayerEthernet, p.LinkLayer)
	assert.GreaterOrEqual(t, p.ActiveMTU.Bytes(), 256)
	assert.Positive(t, p.GIDTableLen)
	assert.GreaterOrEqual(t, p.MaxMsgSize, uint32(8<<20))
}

func TestGIDTableHoldsTheAddressesOfTheNetdev(t *testing.T) {
	dev := bedDevice(t)
	gids, err := dev.GIDs(1)
	require.NoError(t, err)
	found := map[netip.Addr]bool{}
	for _, g := range gids {
		t.Logf("%d %v %v %s", g.Index, g, g.Type, g.Netdev)
		assert.Equal(t, rdma.GIDTypeRoCEv2, g.Type, "rxe speaks RoCE v2 only")
		assert.Equal(t, env(t, "SOFT_ROCE_NETDEV"), g.Netdev)
		found[g.Addr()] = true
	}
	assert.True(t, found[bedAddr(t)])
	assert.True(t, found[bedAddr6(t)])
}

func TestNetdevAndAddressLeadToTheDevice(t *testing.T) {
	device, netdev := env(t, "SOFT_ROCE_DEVICE"), env(t, "SOFT_ROCE_NETDEV")
	got, err := rdma.NetdevDevice(netdev)
	require.NoError(t, err)
	assert.Equal(t, device, got)
	for _, addr := range []netip.Addr{bedAddr(t), bedAddr6(t), linkLocal(t)} {
		gotDevice, gotNetdev, err := rdma.AddrDevice(addr)
		require.NoError(t, err, "%v", addr)
		assert.Equal(t, device, gotDevice)
		assert.Equal(t, netdev, gotNetdev)
	}
}

func counters(t *testing.T) map[string]uint64 {
	t.Helper()
	all, err := rdma.HWCounters(env(t, "SOFT_ROCE_DEVICE"), 1)
	require.NoError(t, err)
	return all
}

func TestHardwareCountersCountPackets(t *testing.T) {
	before := counters(t)
	c := established(t)
	c.disconnect()
	// The kernel reads the device at most every `lifespan` milliseconds.
	assert.Eventually(t, func() bool {
		after := counters(t)
		require.Contains(t, after, "sent_pkts")
		assert.NotContains(t, after, "lifespan")
		return after["sent_pkts"] > before["sent_pkts"]
	}, 30*time.Second, 10*time.Millisecond)
}

func TestHardwareCountersCountReceiversThatWereNotReady(t *testing.T) {
	before := counters(t)
	c := established(t)
	src := c.client.buffer(64)
	require.NoError(t, src.PostSend(c.client.qp, 2, 64))
	require.NoError(t, src.PostSend(c.client.qp, 3, 64)) // for which there is no receive
	require.Equal(t, rdma.WCSuccess, c.client.completion().Status)
	require.Equal(t, rdma.WCSuccess, c.server.completion().Status)
	// Both ends are on this device: it has sent an RNR NAK, and got it.
	assert.Eventually(t, func() bool {
		after := counters(t)
		return after["send_rnr_err"] > before["send_rnr_err"] && after["rcvd_rnr_err"] > before["rcvd_rnr_err"]
	}, 30*time.Second, 10*time.Millisecond)
	require.NoError(t, c.server.buf.PostRecv(c.server.qp, 4))
	assert.Equal(t, rdma.WCSuccess, c.client.completion().Status, "it is sent again")
	assert.EqualValues(t, 4, c.server.completion().ID)
	c.disconnect()
}

func TestAddressChangeIsAnAsynchronousEvent(t *testing.T) {
	dev := bedDevice(t)
	events := asyncEvents(t, dev)

	link, err := netlink.LinkByName(env(t, "SOFT_ROCE_NETDEV"))
	require.NoError(t, err)
	addr, err := netlink.ParseAddr("198.51.100.1/32")
	require.NoError(t, err)
	require.NoError(t, netlink.AddrAdd(link, addr))
	defer func() { require.NoError(t, netlink.AddrDel(link, addr)) }()
	ev := nextAsync(t, events, rdma.EventGIDChange)
	assert.Equal(t, 1, ev.Port)
	assert.Nil(t, ev.QP)
	assert.Nil(t, ev.CQ)
}
