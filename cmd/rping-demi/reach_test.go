package main

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/rdma/sim"
)

func TestAServerOnEveryAddressSaysHowToReachIt(t *testing.T) {
	n := sim.New(sim.Config{RealTime: true})
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	host := n.AddHost("two", sim.DeviceConfig{Name: "one"}, sim.DeviceConfig{Name: "other"}, sim.DeviceConfig{Name: "bare"})
	devices, err := host.Devices()
	require.NoError(t, err)
	require.Len(t, devices, 3)
	require.NotEmpty(t, devices[0].Netdevs)
	of := map[string][]netip.Addr{
		devices[0].Netdevs[0]: {netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fe80::1"), netip.MustParseAddr("fd00::1")},
		devices[1].Netdevs[0]: {netip.MustParseAddr("10.0.1.1")},
	}
	addrs := func(netdev string) []netip.Addr { return of[netdev] }
	assert.Equal(t, "-a 10.0.0.1 (one) or -a 10.0.1.1 (other)", reachedAt(host, netip.IPv4Unspecified(), addrs))
	assert.Equal(t, "-a fd00::1 (one)", reachedAt(host, netip.IPv6Unspecified(), addrs))
	assert.Empty(t, reachedAt(host, netip.IPv4Unspecified(), func(string) []netip.Addr { return nil }))
}

func TestTheAddressesOfANetworkDevice(t *testing.T) {
	assert.Contains(t, interfaceAddrs("lo"), netip.MustParseAddr("127.0.0.1"))
	assert.Empty(t, interfaceAddrs("none-such"))
}
