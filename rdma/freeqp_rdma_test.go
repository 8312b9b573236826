//go:build rdma

package rdma_test

import (
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/rdma"
)

// freeEnd has a queue pair for an id to take, with one receive posted.
func (l *loop) freeEnd(dev rdma.Device, port int) *end {
	l.t.Helper()
	e := l.endWith(dev, func(pd rdma.PD, attr rdma.QPInitAttr) (rdma.QP, error) { return dev.CreateQP(pd, port, attr) })
	require.Equal(l.t, rdma.QPInit, e.state())
	return e
}

func (e *end) take(id rdma.ID) {
	e.t.Helper()
	require.NoError(e.t, id.TakeQP(e.qp))
	e.id = id
}

// establishAhead connects two queue pairs that were made before their ids.
func (l *loop) establishAhead() connection {
	l.t.Helper()
	t := l.t
	first := l.resolveOwn()
	dev, port := first.Device(), first.Port()
	require.NoError(t, first.Close())

	c := connection{listener: l.listen(bedAddr(t))}
	c.client, c.server = l.freeEnd(dev, port), l.freeEnd(dev, port)
	id := l.newID()
	require.NoError(t, id.ResolveAddr(netip.AddrPort{}, c.listener.LocalAddr(), resolveTimeout))
	l.on(id, rdma.AddrResolved)
	c.client.take(id) // before the route is known
	require.NoError(t, id.ResolveRoute(resolveTimeout))
	l.on(id, rdma.RouteResolved)
	require.NoError(t, id.Connect(params("hello")))
	c.server.take(l.request(c.listener).ID)
	require.NoError(t, c.server.id.Accept(params("welcome")))
	l.on(id, rdma.Established)
	l.on(c.server.id, rdma.Established)
	return c
}

func TestQueuePairsMadeAheadConnect(t *testing.T) {
	c := newBed(t).establishAhead()
	for _, e := range []*end{c.client, c.server} {
		assert.Equal(t, rdma.QPRTS, e.state())
		require.ErrorIs(t, e.id.Close(), syscall.EBUSY, "the id owns it")
		require.ErrorIs(t, e.id.TakeQP(e.qp), syscall.EINVAL)
	}
	c.disconnect()
}

func TestAQueuePairMadeAheadThatIsNotUsedIsDestroyed(t *testing.T) {
	l := newBed(t)
	id := l.resolveOwn()
	dev, port := id.Device(), id.Port()
	for _, bad := range []int{0, -1, dev.Attr().NumPorts + 1} {
		_, err := dev.CreateQP(nil, bad, rdma.QPInitAttr{})
		require.ErrorIs(t, err, syscall.EINVAL)
	}
	_, err := dev.CreateQP(nil, port, rdma.QPInitAttr{})
	require.ErrorIs(t, err, syscall.EINVAL)

	e := l.freeEnd(dev, port)
	require.ErrorIs(t, e.cq.Close(), syscall.EBUSY)
	require.ErrorIs(t, l.newIDOf(t).TakeQP(e.qp), syscall.EINVAL, "an id without a device")
	require.NoError(t, e.qp.Close())
	require.NoError(t, e.qp.Close())
	require.ErrorIs(t, id.TakeQP(e.qp), syscall.EBADF)
	e.id = id
	e.close()
	require.ErrorIs(t, id.TakeQP(e.qp), syscall.EBADF, "the id is closed")
}

// newIDOf makes an id that the test closes.
func (l *loop) newIDOf(t *testing.T) rdma.ID {
	t.Helper()
	id := l.newID()
	t.Cleanup(func() { require.NoError(t, id.Close()) })
	return id
}
