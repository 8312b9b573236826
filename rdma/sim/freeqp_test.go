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

func TestQueuePairsMadeAheadConnect(t *testing.T) {
	w := newWorld(t, sim.Config{})
	server, client := w.loop(w.server), w.loop(w.client)
	l := server.listen("10.0.0.1:1", 16)
	id := client.id()
	require.NoError(t, id.ResolveAddr(netip.AddrPort{}, l.LocalAddr(), time.Second))
	client.expect(rdma.AddrResolved)

	make1 := func(dev rdma.Device) rdma.QP {
		r := newResources(t, dev)
		qp, err := dev.CreateQP(r.pd, 1, r.attr())
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, qp.Close()) })
		require.Equal(t, rdma.QPInit, state(t, qp))
		return qp
	}
	active := make1(id.Device())
	require.NoError(t, id.TakeQP(active))
	require.Equal(t, syscall.EINVAL, errnoOf(id.TakeQP(active)), "an id has one queue pair")
	require.NoError(t, id.ResolveRoute(time.Second))
	client.expect(rdma.RouteResolved)
	request, reply := param("hello"), param("welcome")
	request.AckTimeout, request.MinRNRTimer = 14, 12
	require.NoError(t, id.Connect(request))
	ev := server.expect(rdma.ConnectRequest)
	t.Cleanup(func() { require.NoError(t, ev.ID.Close()) })
	require.Equal(t, syscall.EINVAL, errnoOf(ev.ID.TakeQP(active)), "a queue pair has one id")
	passive := make1(ev.ID.Device())
	require.NoError(t, ev.ID.TakeQP(passive))
	require.NoError(t, ev.ID.Accept(reply))
	client.expect(rdma.Established)
	server.expect(rdma.Established)
	require.Equal(t, rdma.QPRTS, state(t, active))
	require.Equal(t, rdma.QPRTS, state(t, passive))
	require.Equal(t, syscall.EBUSY, errnoOf(id.Close()))
	ours, theirs := w.client.QPs()[0].Stats(), w.server.QPs()[0].Stats()
	require.Equal(t, []uint8{14, 12}, []uint8{ours.AckTimeout, ours.MinRNRTimer})
	require.Equal(t, []uint8{18, 0}, []uint8{theirs.AckTimeout, theirs.MinRNRTimer}, "it has not asked")
}

func TestTimersOfAQueuePairThatTheIDHasMadeAreCMs(t *testing.T) {
	w := newWorld(t, sim.Config{})
	server, client := w.loop(w.server), w.loop(w.client)
	l := server.listen("10.0.0.1:1", 16)
	p := param("")
	p.AckTimeout, p.MinRNRTimer = 14, 12
	require.NoError(t, client.resolved(l.LocalAddr()).id.Connect(p))
	s, _ := server.request()
	require.NoError(t, s.id.Accept(p))
	client.expect(rdma.Established)
	for _, h := range []*sim.Host{w.client, w.server} {
		got := h.QPs()[0].Stats()
		require.Equal(t, []uint8{18, 0}, []uint8{got.AckTimeout, got.MinRNRTimer})
	}
}

func TestAQueuePairOfAnotherDeviceIsNotTaken(t *testing.T) {
	w := newWorld(t, sim.Config{})
	a, b := w.loop(w.server).id(), w.loop(w.client).id()
	unbound := w.loop(w.client).id()
	require.NoError(t, a.BindAddr(addr("10.0.0.1:0")))
	require.NoError(t, b.BindAddr(addr("10.0.0.2:0")))
	ra, rb := newResources(t, a.Device()), newResources(t, b.Device())
	_, err := a.Device().CreateQP(rb.pd, 1, ra.attr())
	require.Equal(t, syscall.EINVAL, errnoOf(err))
	_, err = a.Device().CreateQP(ra.pd, 2, ra.attr())
	require.Equal(t, syscall.EINVAL, errnoOf(err), "it has one port")
	qp, err := a.Device().CreateQP(ra.pd, 1, ra.attr())
	require.NoError(t, err)
	require.Equal(t, syscall.EINVAL, errnoOf(b.TakeQP(qp)))
	require.Equal(t, syscall.EINVAL, errnoOf(unbound.TakeQP(qp)))
	require.Equal(t, syscall.EINVAL, errnoOf(a.TakeQP(nil)))
	require.Equal(t, syscall.EBUSY, errnoOf(ra.cq.Close()))
	require.NoError(t, qp.Close())
	require.Equal(t, syscall.EBADF, errnoOf(a.TakeQP(qp)))
}
