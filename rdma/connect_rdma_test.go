//go:build rdma

package rdma_test

import (
	"net/netip"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/rdma"
	"catmint/rdma/rdmatest"
)

// linkLocal is the IPv6 link-local address of the bed's network device, with its zone.
func linkLocal(t *testing.T) netip.Addr {
	t.Helper()
	l := newBed(t)
	infos, err := l.f.Devices()
	require.NoError(t, err)
	require.NotEmpty(t, infos)
	id := l.listen(bedAddr(t))
	gids, err := id.Device().GIDs(1)
	require.NoError(t, err)
	for _, g := range gids {
		if a := g.Addr(); a.Is6() && a.IsLinkLocalUnicast() && g.Netdev == env(t, "SOFT_ROCE_NETDEV") {
			return a.WithZone(g.Netdev)
		}
	}
	require.FailNow(t, "no link-local address")
	return netip.Addr{}
}

func TestConnectionIsEstablishedOverEachKindOfAddress(t *testing.T) {
	for name, addr := range map[string]func(*testing.T) netip.Addr{
		"IPv4":            bedAddr,
		"IPv6":            bedAddr6,
		"IPv6 link-local": linkLocal,
	} {
		t.Run(name, func(t *testing.T) {
			a := addr(t)
			c := newBed(t).establish(a)
			client, server := c.client.id, c.server.id
			assert.Equal(t, a, client.LocalAddr().Addr())
			assert.Equal(t, c.listener.LocalAddr(), client.RemoteAddr())
			assert.Equal(t, client.LocalAddr(), server.RemoteAddr())
			assert.Equal(t, client.RemoteAddr(), server.LocalAddr())
			assert.Equal(t, env(t, "SOFT_ROCE_DEVICE"), client.Device().Name())
			assert.Same(t, client.Device(), server.Device())
			assert.Equal(t, 1, client.Port())
			for _, e := range []*end{c.client, c.server} {
				assert.Equal(t, rdma.QPRTS, e.state())
			}
			c.disconnect()
		})
	}
}

func TestPrivateDataAndOfferReachThePeer(t *testing.T) {
	f := newFabric(t)
	cl, sl := newLoop(t, f), newLoop(t, f)
	listener := sl.listen(bedAddr(t))
	client := cl.newEnd(cl.resolve(listener.LocalAddr()))

	request := params(strings.Repeat("q", rdma.MaxRequestPrivateData))
	request.InitiatorDepth, request.ResponderResources = 3, 2
	require.NoError(t, client.id.Connect(request))
	req := sl.request(listener)
	assert.Equal(t, rdma.ConnectRequest, req.Type)
	require.GreaterOrEqual(t, len(req.PrivateData), len(request.PrivateData))
	assert.Equal(t, request.PrivateData, req.PrivateData[:len(request.PrivateData)])
	// What the peer has under way, we answer, and the other way round.
	assert.EqualValues(t, 3, req.ResponderResources)
	assert.EqualValues(t, 2, req.InitiatorDepth)

	server := sl.newEnd(req.ID)
	reply := params(strings.Repeat("r", rdma.MaxReplyPrivateData))
	require.NoError(t, server.id.Accept(reply))
	est := cl.on(client.id, rdma.Established)
	require.GreaterOrEqual(t, len(est.PrivateData), len(reply.PrivateData))
	assert.Equal(t, reply.PrivateData, est.PrivateData[:len(reply.PrivateData)])
	sl.on(server.id, rdma.Established)
	connection{client: client, server: server}.disconnect()
}

func TestPrivateDataThatDoesNotFitIsRefusedAtOnce(t *testing.T) {
	l := newBed(t)
	listener := l.listen(bedAddr(t))
	client := l.newEnd(l.resolve(listener.LocalAddr()))
	err := client.id.Connect(params(strings.Repeat("x", rdma.MaxRequestPrivateData+1)))
	require.ErrorIs(t, err, syscall.EINVAL)
	require.NoError(t, client.id.Connect(params("")), "the id is still good")

	req := l.request(listener)
	server := l.newEnd(req.ID)
	err = server.id.Accept(params(strings.Repeat("x", rdma.MaxReplyPrivateData+1)))
	require.ErrorIs(t, err, syscall.EINVAL)
	err = server.id.Reject(make([]byte, rdma.MaxRejectPrivateData+1))
	require.ErrorIs(t, err, syscall.EINVAL)
	require.NoError(t, server.id.Accept(params("")), "the id is still good")
	l.on(client.id, rdma.Established)
	l.on(server.id, rdma.Established)
	connection{client: client, server: server}.disconnect()
}

func TestPrivateDataMayLieInsideAnObjectWithPointers(t *testing.T) {
	type hello struct {
		owner *testing.T
		data  [4]byte
	}
	h := &hello{owner: t, data: [4]byte{1, 2, 3, 4}}
	l := newBed(t)
	listener := l.listen(bedAddr(t))
	client := l.newEnd(l.resolve(listener.LocalAddr()))
	p := params("")
	p.PrivateData = h.data[:]
	require.NoError(t, client.id.Connect(p))
	req := l.request(listener)
	assert.Equal(t, h.data[:], req.PrivateData[:len(h.data)])
	require.NoError(t, req.ID.Reject(h.data[:]))
	require.NoError(t, req.ID.Close())
	assert.Equal(t, h.data[:], l.on(client.id, rdma.Rejected).PrivateData[:len(h.data)])
	client.close()
}

func TestRejectionCarriesReasonAndPrivateData(t *testing.T) {
	l := newBed(t)
	listener := l.listen(bedAddr(t))
	client := l.newEnd(l.resolve(listener.LocalAddr()))
	require.NoError(t, client.id.Connect(params("hello")))
	req := l.request(listener)
	require.NoError(t, req.ID.Reject([]byte("busy")))
	require.NoError(t, req.ID.Close())
	ev := l.on(client.id, rdma.Rejected)
	assert.Equal(t, rdma.RejectConsumerDefined, rdma.RejectReason(ev.Status))
	require.GreaterOrEqual(t, len(ev.PrivateData), 4)
	assert.Equal(t, "busy", string(ev.PrivateData[:4]))
	client.close()
}

func TestConnectWithNobodyListeningIsRejectedAsInvalidServiceID(t *testing.T) {
	l := newBed(t)
	client := l.newEnd(l.resolve(netip.AddrPortFrom(bedAddr(t), 9)))
	require.NoError(t, client.id.Connect(params("")))
	ev := l.on(client.id, rdma.Rejected)
	assert.Equal(t, rdma.RejectInvalidServiceID, rdma.RejectReason(ev.Status))
	client.close()
}

func TestAddressThatNobodyAnswersForIsAnAddressError(t *testing.T) {
	l := newBed(t)
	// The highest host address of the bed's /24, which nobody has.
	ip := bedAddr(t).As4()
	ip[3] = 254
	id := l.newID()
	require.NoError(t, id.ResolveAddr(netip.AddrPort{}, netip.AddrPortFrom(netip.AddrFrom4(ip), 7174), resolveTimeout))
	ev := l.on(id, rdma.AddrError)
	assert.Contains(t, []syscall.Errno{syscall.ETIMEDOUT, syscall.EHOSTUNREACH}, syscall.Errno(-ev.Status))
	require.NoError(t, id.Close())
}

func TestLoopbackAddressHasNoRoute(t *testing.T) {
	l := newBed(t)
	id := l.newID()
	dst := netip.MustParseAddrPort("127.0.0.1:7174")
	require.NoError(t, id.ResolveAddr(netip.AddrPort{}, dst, resolveTimeout))
	l.on(id, rdma.AddrResolved)
	err := id.ResolveRoute(resolveTimeout)
	require.ErrorIs(t, err, syscall.ENODEV)
	assert.Contains(t, rdma.Hint(err), "loopback")
	require.NoError(t, id.Close())
}

func TestResolveFromABoundAddressKeepsIt(t *testing.T) {
	l := newBed(t)
	listener := l.listen(bedAddr(t))
	id := l.newID()
	require.NoError(t, id.BindAddr(netip.AddrPortFrom(bedAddr(t), 0)))
	local := id.LocalAddr()
	require.NotZero(t, local.Port())
	require.NoError(t, id.ResolveAddr(netip.AddrPort{}, listener.LocalAddr(), resolveTimeout))
	l.on(id, rdma.AddrResolved)
	assert.Equal(t, local, id.LocalAddr())
	require.NoError(t, id.Close())

	id = l.newID()
	src := netip.AddrPortFrom(bedAddr(t), 0)
	require.NoError(t, id.ResolveAddr(src, listener.LocalAddr(), resolveTimeout))
	l.on(id, rdma.AddrResolved)
	assert.Equal(t, src.Addr(), id.LocalAddr().Addr())
	require.NoError(t, id.Close())
}

func TestWildcardListenerIsReachedAndLearnsItsPort(t *testing.T) {
	for name, c := range map[string]struct {
		wildcard netip.Addr
		addr     func(*testing.T) netip.Addr
	}{
		"IPv4": {netip.IPv4Unspecified(), bedAddr},
		"IPv6": {netip.IPv6Unspecified(), bedAddr6},
	} {
		t.Run(name, func(t *testing.T) {
			l := newBed(t)
			listener := l.listen(c.wildcard)
			assert.Nil(t, listener.Device())
			assert.True(t, listener.LocalAddr().Addr().IsUnspecified())
			assert.Equal(t, netip.AddrPort{}, listener.RemoteAddr())
			dst := netip.AddrPortFrom(c.addr(t), listener.LocalAddr().Port())
			client := l.newEnd(l.resolve(dst))
			require.NoError(t, client.id.Connect(params("")))
			req := l.request(listener)
			require.NotNil(t, req.ID.Device())
			assert.Equal(t, dst, req.ID.LocalAddr())
			require.NoError(t, req.ID.Reject(nil))
			require.NoError(t, req.ID.Close())
			l.on(client.id, rdma.Rejected)
			client.close()
		})
	}
}

func TestBindErrorsNameTheReason(t *testing.T) {
	l := newBed(t)
	listener := l.listen(bedAddr(t))

	id := l.newID()
	defer func() { require.NoError(t, id.Close()) }()
	err := id.BindAddr(listener.LocalAddr())
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	err = id.BindAddr(netip.MustParseAddrPort("192.0.2.1:0"))
	require.Error(t, err)
	assert.Contains(t, []syscall.Errno{syscall.EADDRNOTAVAIL, syscall.ENODEV}, rdma.Errno(err), "%v", err)
	err = id.BindAddr(netip.MustParseAddrPort("[fe80::1%nosuchdev]:0"))
	require.ErrorIs(t, err, syscall.EADDRNOTAVAIL)
	err = id.BindAddr(netip.AddrPort{})
	require.ErrorIs(t, err, syscall.EAFNOSUPPORT)
}

func TestCallsOnAnIDWithoutADeviceAreInvalid(t *testing.T) {
	l := newBed(t)
	id := l.newID()
	require.ErrorIs(t, id.ResolveRoute(resolveTimeout), syscall.EINVAL)
	require.ErrorIs(t, id.Connect(params("")), syscall.EINVAL)
	require.ErrorIs(t, id.Accept(params("")), syscall.EINVAL)
	require.ErrorIs(t, id.Disconnect(), syscall.EINVAL)
	_, err := id.CreateQP(nil, rdma.QPInitAttr{})
	require.ErrorIs(t, err, syscall.EINVAL)
	assert.Nil(t, id.Device())
	assert.Zero(t, id.Port())
	assert.Equal(t, netip.AddrPort{}, id.LocalAddr())
	require.NoError(t, id.Close())

	require.ErrorIs(t, id.Listen(1), syscall.EBADF)
	require.ErrorIs(t, id.BindAddr(netip.AddrPortFrom(bedAddr(t), 0)), syscall.EBADF)
	_, err = id.CreateQP(nil, rdma.QPInitAttr{})
	require.ErrorIs(t, err, syscall.EBADF)
	require.NoError(t, id.Close())
}

func TestOptionsAreTakenAtTheirTime(t *testing.T) {
	l := newBed(t)
	listener := l.newID()
	require.NoError(t, listener.SetAFOnly(true))
	require.NoError(t, listener.SetReuseAddr(true))
	require.NoError(t, listener.BindAddr(netip.AddrPortFrom(netip.IPv6Unspecified(), 0)))
	require.NoError(t, listener.Listen(1))
	require.NoError(t, listener.Close())

	server := l.listen(bedAddr(t))
	id := l.newID()
	require.NoError(t, id.SetTOS(32))
	require.NoError(t, id.ResolveAddr(netip.AddrPort{}, server.LocalAddr(), resolveTimeout))
	l.on(id, rdma.AddrResolved)
	require.NoError(t, id.SetAckTimeout(18))
	require.NoError(t, id.ResolveRoute(resolveTimeout))
	l.on(id, rdma.RouteResolved)
	require.NoError(t, id.Close())
}

func TestDisconnectByBothSidesEndsBoth(t *testing.T) {
	c := established(t)
	require.NoError(t, c.client.id.Disconnect())
	err := c.server.id.Disconnect()
	if err != nil {
		require.ErrorIs(t, err, syscall.EINVAL, "normal when the peer was first")
	}
	c.client.on(c.client.id, rdma.Disconnected)
	c.server.on(c.server.id, rdma.Disconnected)
	c.close()
}

func TestDestroyingAnIDInTheMiddleOfAConnectLeavesNoEventBehind(t *testing.T) {
	l := newBed(t)
	listener := l.listen(bedAddr(t))
	for _, phase := range []string{"address", "route", "connect"} {
		id := l.newID()
		require.NoError(t, id.ResolveAddr(netip.AddrPort{}, listener.LocalAddr(), resolveTimeout))
		if phase == "address" {
			require.NoError(t, id.Close())
			continue
		}
		l.on(id, rdma.AddrResolved)
		require.NoError(t, id.ResolveRoute(resolveTimeout))
		if phase == "route" {
			require.NoError(t, id.Close())
			continue
		}
		l.on(id, rdma.RouteResolved)
		e := l.newEnd(id)
		require.NoError(t, id.Connect(params("")))
		req := l.request(listener)
		e.close()
		require.NoError(t, req.ID.Close())
	}
	assert.Empty(t, l.pending)
}

func TestManyConnectionsAtOnceOnOneChannelLoseNoEvent(t *testing.T) {
	const n = 100
	l := newBed(t)
	listener := l.newID()
	require.NoError(t, listener.BindAddr(netip.AddrPortFrom(bedAddr(t), 0)))
	require.NoError(t, listener.Listen(n))
	clients, servers := map[rdma.ID]*end{}, map[rdma.ID]*end{}
	var established int
	for range n {
		id := l.newID()
		clients[id] = nil
		require.NoError(t, id.ResolveAddr(netip.AddrPort{}, listener.LocalAddr(), resolveTimeout))
	}
	for established < 2*n {
		ev := l.next("event", func(rdma.Event) bool { return true })
		switch ev.Type {
		case rdma.AddrResolved:
			require.NoError(t, ev.ID.ResolveRoute(resolveTimeout))
		case rdma.RouteResolved:
			clients[ev.ID] = l.newEnd(ev.ID)
			require.NoError(t, ev.ID.Connect(params("")))
		case rdma.ConnectRequest:
			servers[ev.ID] = l.newEnd(ev.ID)
			require.NoError(t, ev.ID.Accept(params("")))
		case rdma.Established:
			established++
		default:
			require.Failf(t, "unexpected event", "%v, status %d", ev.Type, ev.Status)
		}
	}
	assert.Equal(t, n, rdmatest.Counts()["QP"]/2)
	for _, ends := range []map[rdma.ID]*end{clients, servers} {
		for _, e := range ends {
			e.close()
		}
	}
	require.NoError(t, listener.Close())
}
