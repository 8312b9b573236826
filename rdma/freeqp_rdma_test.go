//go:build rdma

package rdma_test

import (
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"catmint/rdma"
	"catmint/rdma/verbstest"
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
	return l.establishAheadWith(params("hello"), params("welcome"))
}

// establishAheadWith is establishAhead; request and reply are what either end asks for.
func (l *loop) establishAheadWith(request, reply rdma.ConnParam) connection {
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
	require.NoError(t, id.Connect(request))
	c.server.take(l.request(c.listener).ID)
	require.NoError(t, c.server.id.Accept(reply))
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

// attrs are the attributes of both ends' queue pairs, the client's first.
func (c connection) attrs() [2]verbstest.Attr {
	c.client.t.Helper()
	var attrs [2]verbstest.Attr
	for i, e := range []*end{c.client, c.server} {
		var err error
		attrs[i], err = verbstest.QueryQP(e.qp)
		require.NoError(e.t, err)
	}
	return attrs
}

func TestQueuePairsMadeAheadAreWhatLibrdmacmMakesOfOthers(t *testing.T) {
	others := established(t)
	want := others.attrs()
	others.disconnect()
	c := newBed(t).establishAhead()
	const flush = 1<<8 | 1<<9 // of enum ibv_access_flags: not in older headers, and not allowed
	for i := range want {
		want[i].Access &^= flush
	}
	assert.Equal(t, want, c.attrs())
	for i, a := range want {
		assert.NotZero(t, a.Access, i)
		assert.NotEqualValues(t, ackTimeout, a.Timeout, i)
		assert.Zero(t, a.MinRNRTimer, i)
	}
	c.disconnect()
}

const (
	ackTimeout  = 18
	minRNRTimer = 12
)

func TestEachEndSetsTimersOfItsQueuePair(t *testing.T) {
	request, reply := params("hello"), params("welcome")
	request.AckTimeout, request.MinRNRTimer = ackTimeout, minRNRTimer
	reply.AckTimeout, reply.MinRNRTimer = ackTimeout+1, minRNRTimer+1
	c := newBed(t).establishAheadWith(request, reply)
	for i, a := range c.attrs() {
		assert.EqualValues(t, ackTimeout+i, a.Timeout)
		assert.EqualValues(t, minRNRTimer+i, a.MinRNRTimer)
	}
	c.disconnect()
}

func TestTimersOfAQueuePairThatTheIDHasMadeAreLibrdmacms(t *testing.T) {
	l := newBed(t)
	request := params("hello")
	request.AckTimeout, request.MinRNRTimer = ackTimeout, minRNRTimer
	c := connection{listener: l.listen(bedAddr(t))}
	c.client = l.newEnd(l.resolve(c.listener.LocalAddr()))
	for _, bad := range []rdma.ConnParam{{AckTimeout: 32}, {MinRNRTimer: 32}} {
		require.ErrorIs(t, c.client.id.Connect(bad), syscall.EINVAL)
	}
	require.NoError(t, c.client.id.Connect(request))
	c.server = l.newEnd(l.request(c.listener).ID)
	require.NoError(t, c.server.id.Accept(request))
	l.on(c.client.id, rdma.Established)
	l.on(c.server.id, rdma.Established)
	for _, a := range c.attrs() {
		assert.NotEqualValues(t, ackTimeout, a.Timeout)
		assert.Zero(t, a.MinRNRTimer)
	}
	c.disconnect()
}

func TestARejectedQueuePairMadeAheadIsInTheErrorState(t *testing.T) {
	l := newBed(t)
	id := l.resolve(netip.AddrPortFrom(bedAddr(t), 9)) // where nobody listens
	e := l.freeEnd(id.Device(), id.Port())
	e.take(id)
	require.NoError(t, id.Connect(params("")))
	l.on(id, rdma.Rejected)
	assert.Equal(t, rdma.QPErr, e.state())
	e.close()
}

// A queue pair that has been moved away cannot go to RTR: that is where a modify fails for real.
func TestAQueuePairMadeAheadThatCannotBeMovedIsAConnectError(t *testing.T) {
	l := newBed(t)
	listener := l.listen(bedAddr(t))
	id := l.resolve(listener.LocalAddr())
	e := l.freeEnd(id.Device(), id.Port())
	e.take(id)
	require.NoError(t, id.Connect(params("")))
	server := l.newEnd(l.request(listener).ID)
	require.NoError(t, e.qp.SetError())
	require.NoError(t, server.id.Accept(params("")))
	ev := l.on(id, rdma.ConnectError)
	assert.Equal(t, -int(syscall.EINVAL), ev.Status)
	assert.Equal(t, rdma.QPErr, e.state())
	e.close() // with the id the peer hears of it
	l.on(server.id, rdma.Rejected)
	server.close()
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
