package sim_test

import (
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"catmint/rdma"
	"catmint/rdma/sim"
)

func TestBindSaysWhyNot(t *testing.T) {
	for _, c := range []struct {
		name, addr string
		want       syscall.Errno
	}{
		{"local IPv4", "10.0.0.1:1", 0},
		{"local IPv6", "[fd00::1]:1", 0},
		{"IPv4 wildcard", "0.0.0.0:1", 0},
		{"IPv6 wildcard", "[::]:1", 0},
		{"link-local with its zone", "[fe80::1%eth0]:1", 0},
		{"link-local with another zone", "[fe80::1%eth9]:1", syscall.EADDRNOTAVAIL},
		{"link-local without zone", "[fe80::1]:1", syscall.EINVAL},
		{"another host's address", "10.0.0.2:1", syscall.EADDRNOTAVAIL},
		{"IPv4 loopback, which is a wildcard to rdma_cm", "127.0.0.1:1", 0},
		{"IPv6 loopback", "[::1]:1", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, sim.Config{})
			id := w.loop(w.server).id()
			require.Equal(t, c.want, errnoOf(id.BindAddr(addr(c.addr))))
			if c.want != 0 {
				require.NoError(t, id.BindAddr(addr("0.0.0.0:0")), "the id is as before")
				return
			}
			require.Equal(t, addr(c.addr), id.LocalAddr())
			require.Equal(t, syscall.EINVAL, errnoOf(id.BindAddr(addr(c.addr))), "once only")
			wild := id.LocalAddr().Addr().IsUnspecified() || id.LocalAddr().Addr().IsLoopback()
			require.Equal(t, wild, id.Device() == nil)
			require.Equal(t, wild, id.Port() == 0)
		})
	}
	t.Run("no address", func(t *testing.T) {
		w := newWorld(t, sim.Config{})
		require.Equal(t, syscall.EINVAL, errnoOf(w.loop(w.server).id().BindAddr(netip.AddrPort{})))
	})
}

func TestPortsBelongToOneIDAtATime(t *testing.T) {
	w := newWorld(t, sim.Config{})
	l := w.loop(w.server)
	first := l.id()
	require.NoError(t, first.BindAddr(addr("10.0.0.1:5")))
	require.Equal(t, syscall.EADDRINUSE, errnoOf(l.id().BindAddr(addr("10.0.0.1:5"))))
	require.Equal(t, syscall.EADDRNOTAVAIL, errnoOf(l.id().BindAddr(addr("0.0.0.0:5"))),
		"which is what rdma_cm says of a wildcard")
	require.NoError(t, l.id().BindAddr(addr("[fd00::1]:5")))
	require.NoError(t, w.loop(w.client).id().BindAddr(addr("10.0.0.2:5")), "ports are per host")
	require.NoError(t, first.Close())
	require.NoError(t, l.id().BindAddr(addr("10.0.0.1:5")))
}

func TestReuseAddressSharesAPortUntilListen(t *testing.T) {
	w := newWorld(t, sim.Config{})
	l := w.loop(w.server)
	a, b := l.id(), l.id()
	require.NoError(t, a.SetReuseAddr(true))
	require.NoError(t, b.SetReuseAddr(true))
	require.NoError(t, a.BindAddr(addr("10.0.0.1:5")))
	require.NoError(t, b.BindAddr(addr("10.0.0.1:5")))
	require.Equal(t, syscall.EADDRINUSE, errnoOf(a.Listen(1)))
	require.NoError(t, b.Close())
	require.NoError(t, a.Listen(1))
	require.Equal(t, syscall.EINVAL, errnoOf(a.SetReuseAddr(true)))
	require.Equal(t, syscall.EINVAL, errnoOf(a.SetAFOnly(true)))
}

func TestAFOnlyKeepsFamiliesApart(t *testing.T) {
	w := newWorld(t, sim.Config{})
	l, client := w.loop(w.server), w.loop(w.client)
	six, four := l.id(), l.id()
	require.NoError(t, six.SetAFOnly(true))
	require.NoError(t, four.SetAFOnly(true))
	require.NoError(t, six.BindAddr(addr("[::]:5")))
	require.NoError(t, four.BindAddr(addr("0.0.0.0:5")))
	require.NoError(t, six.Listen(1))
	s := client.resolved(addr("10.0.0.1:5"))
	require.NoError(t, s.id.Connect(param("")))
	require.Equal(t, int(rdma.RejectInvalidServiceID), client.expect(rdma.Rejected).Status)
}

func TestAnIPv6WildcardTakesIPv4AsWell(t *testing.T) {
	w := newWorld(t, sim.Config{})
	server, client := w.loop(w.server), w.loop(w.client)
	server.listen("[::]:5", 1)
	s := client.resolved(addr("10.0.0.1:5"))
	require.NoError(t, s.id.Connect(param("")))
	p, _ := server.request()
	require.Equal(t, addr("10.0.0.1:5"), p.id.LocalAddr())
}

func TestPortZeroTakesAnyFreePort(t *testing.T) {
	w := newWorld(t, sim.Config{})
	l := w.loop(w.server)
	seen := map[uint16]bool{}
	for range 100 {
		id := l.id()
		require.NoError(t, id.BindAddr(addr("0.0.0.0:0")))
		port := id.LocalAddr().Port()
		require.NotZero(t, port)
		require.False(t, seen[port])
		seen[port] = true
	}
}

func TestResolveSaysWhyNot(t *testing.T) {
	w := newWorld(t, sim.Config{})
	l := w.loop(w.client)
	resolve := func(src, dst string) error {
		var s netip.AddrPort
		if src != "" {
			s = addr(src)
		}
		return l.id().ResolveAddr(s, addr(dst), time.Second)
	}
	require.Equal(t, syscall.ENETUNREACH, errnoOf(resolve("", "192.168.0.1:1")), "no route")
	require.Equal(t, syscall.EINVAL, errnoOf(resolve("10.0.0.2:0", "[fd00::1]:1")), "families differ")
	require.Equal(t, syscall.EADDRNOTAVAIL, errnoOf(resolve("10.0.0.1:0", "10.0.0.1:1")), "not our source")
	require.Equal(t, syscall.EINVAL, errnoOf(l.id().ResolveAddr(netip.AddrPort{}, netip.AddrPort{}, 0)))
	l.silent()

	loopback := l.id()
	require.NoError(t, loopback.ResolveAddr(netip.AddrPort{}, addr("127.0.0.1:1"), time.Second))
	l.expect(rdma.AddrResolved)
	require.Equal(t, syscall.ENODEV, errnoOf(loopback.ResolveRoute(time.Second)))
	id := l.id()
	require.NoError(t, id.ResolveAddr(netip.AddrPort{}, addr("10.0.0.77:1"), time.Second))
	require.Equal(t, -int(syscall.ETIMEDOUT), l.expect(rdma.AddrError).Status, "nobody answers ARP")
	require.NoError(t, id.ResolveAddr(netip.AddrPort{}, addr("10.0.0.1:1"), time.Second), "try again")
	l.expect(rdma.AddrResolved)
	require.Equal(t, syscall.EINVAL,
		errnoOf(id.ResolveAddr(netip.AddrPort{}, addr("10.0.0.1:1"), time.Second)), "resolved already")
}

func TestResolveTellsAddressesAndDevice(t *testing.T) {
	w := newWorld(t, sim.Config{})
	l := w.loop(w.client)
	id := l.id()
	require.Zero(t, id.RemoteAddr())
	require.Nil(t, id.Device())
	require.NoError(t, id.ResolveAddr(netip.AddrPort{}, addr("10.0.0.1:99"), time.Second))
	require.Nil(t, id.Device(), "until the event is taken")
	l.expect(rdma.AddrResolved)
	require.Equal(t, addr("10.0.0.1:99"), id.RemoteAddr())
	require.Equal(t, netip.MustParseAddr("10.0.0.2"), id.LocalAddr().Addr())
	require.NotZero(t, id.LocalAddr().Port())
	require.Equal(t, 1, id.Port())
	other := l.id()
	require.NoError(t, other.BindAddr(addr("10.0.0.2:0")))
	require.Same(t, id.Device(), other.Device(), "one value for each device")
}

func TestABoundIDConnectsFromItsAddress(t *testing.T) {
	w := newWorld(t, sim.Config{})
	server, client := w.loop(w.server), w.loop(w.client)
	server.listen("10.0.0.1:5", 1)
	id := client.id()
	require.NoError(t, id.BindAddr(addr("10.0.0.2:777")))
	require.NoError(t, id.ResolveAddr(netip.AddrPort{}, addr("10.0.0.1:5"), time.Second))
	client.expect(rdma.AddrResolved)
	require.NoError(t, id.ResolveRoute(time.Second))
	client.expect(rdma.RouteResolved)
	require.NoError(t, client.side(id).id.Connect(param("")))
	p, _ := server.request()
	require.Equal(t, addr("10.0.0.2:777"), p.id.RemoteAddr())
}

func TestStepsOutOfOrderAreInvalid(t *testing.T) {
	w := newWorld(t, sim.Config{})
	l := w.loop(w.client)
	id := l.id()
	require.Equal(t, syscall.EINVAL, errnoOf(id.ResolveRoute(time.Second)))
	require.Equal(t, syscall.EINVAL, errnoOf(id.Connect(param(""))))
	require.Equal(t, syscall.EINVAL, errnoOf(id.Accept(param(""))))
	require.Equal(t, syscall.EINVAL, errnoOf(id.Reject(nil)))
	require.Equal(t, syscall.EINVAL, errnoOf(id.Disconnect()))
	require.Equal(t, syscall.EINVAL, errnoOf(id.SetAckTimeout(32)))
	require.NoError(t, id.SetAckTimeout(14))
	require.NoError(t, id.SetTOS(8))
	require.NoError(t, id.ResolveAddr(netip.AddrPort{}, addr("10.0.0.1:1"), time.Second))
	l.expect(rdma.AddrResolved)
	require.NoError(t, id.ResolveRoute(time.Second))
	l.expect(rdma.RouteResolved)
	require.Equal(t, syscall.EINVAL, errnoOf(id.Connect(param(""))), "no queue pair")
	require.Equal(t, syscall.EINVAL, errnoOf(id.Listen(1)))

	s := l.side(id)
	_, err := id.CreateQP(s.pd, s.attr())
	require.Equal(t, syscall.EINVAL, errnoOf(err), "a second queue pair")
	big := param("")
	big.PrivateData = make([]byte, 57)
	require.Equal(t, syscall.EINVAL, errnoOf(id.Connect(big)))
	for _, late := range []rdma.ConnParam{{AckTimeout: 32}, {MinRNRTimer: 32}} {
		require.Equal(t, syscall.EINVAL, errnoOf(id.Connect(late)))
	}
	deep := param("")
	deep.InitiatorDepth = 200
	require.Equal(t, syscall.EINVAL, errnoOf(id.Connect(deep)), "more than the device has")
	all := param("")
	all.InitiatorDepth, all.ResponderResources = 0xff, 0xff
	require.NoError(t, id.Connect(all), "255 is all there is")
	l.expect(rdma.Rejected)
}

func TestListeningUnboundTakesAPort(t *testing.T) {
	w := newWorld(t, sim.Config{})
	id := w.loop(w.server).id()
	require.NoError(t, id.Listen(0))
	require.NotZero(t, id.LocalAddr().Port())
	require.Equal(t, syscall.EINVAL, errnoOf(id.Listen(0)))
}

func TestDevicesTellWhatTheyAre(t *testing.T) {
	w := newWorld(t, sim.Config{})
	infos, err := w.server.Devices()
	require.NoError(t, err)
	require.Len(t, infos, 1)
	require.Equal(t, "sim0", infos[0].Name)
	require.Equal(t, []string{"eth0"}, infos[0].Netdevs)
	other, err := w.client.Devices()
	require.NoError(t, err)
	require.NotEqual(t, infos[0].NodeGUID, other[0].NodeGUID)

	id := w.loop(w.server).id()
	require.NoError(t, id.BindAddr(addr("10.0.0.1:0")))
	dev := id.Device()
	require.Equal(t, "sim0", dev.Name())
	require.Equal(t, 32767, dev.Attr().MaxCQE)
	port, err := dev.Port(1)
	require.NoError(t, err)
	require.Equal(t, rdma.LinkLayerEthernet, port.LinkLayer)
	require.Equal(t, uint32(1<<31), port.MaxMsgSize)
	_, err = dev.Port(2)
	require.Equal(t, syscall.EINVAL, errnoOf(err))
	gids, err := dev.GIDs(1)
	require.NoError(t, err)
	require.Equal(t, netip.MustParseAddr("10.0.0.1"), gids[0].Addr())
	_, err = dev.GIDs(0)
	require.Equal(t, syscall.EINVAL, errnoOf(err))
}
