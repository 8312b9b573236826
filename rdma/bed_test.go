//go:build rdma

package rdma_test

import (
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"catmint/rdma"
	"catmint/rdma/rdmatest"
	"catmint/rdma/verbstest"
)

// limit is how long an event that must come is waited for: emulated machines are slow.
const limit = 60 * time.Second

const (
	resolveTimeout = 5 * time.Second
	recvSize       = 4096
)

// env returns a variable that the test bed sets.
func env(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	require.NotEmpty(t, value, "%s is not set: run with soft-roce test", name)
	return value
}

func bedAddr(t *testing.T) netip.Addr {
	t.Helper()
	return netip.MustParseAddr(env(t, "SOFT_ROCE_ADDR"))
}

func bedAddr6(t *testing.T) netip.Addr {
	t.Helper()
	return netip.MustParseAddr(env(t, "SOFT_ROCE_ADDR6"))
}

// newFabric opens the hardware and fails the test if anything made from it is left open.
func newFabric(t *testing.T) *rdma.Hardware {
	t.Helper()
	rdmatest.Check(t)
	f := rdma.NewHardware()
	t.Cleanup(func() { require.NoError(t, f.Close()) })
	return f
}

// loop takes the events of a channel and keeps those that the test does not ask for yet:
// on one host, both ends of a connection may share a channel.
type loop struct {
	t       *testing.T
	f       *rdma.Hardware
	ch      rdma.EventChannel
	pending []rdma.Event
	// Of the queue pairs made from now on.
	sendOps bool
	inline  uint32
}

func newLoop(t *testing.T, f *rdma.Hardware) *loop {
	t.Helper()
	ch, err := f.NewEventChannel()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ch.Close()) })
	return &loop{t: t, f: f, ch: ch}
}

// newBed is a loop with a fabric of its own.
func newBed(t *testing.T) *loop {
	t.Helper()
	return newLoop(t, newFabric(t))
}

func (l *loop) newID() rdma.ID {
	l.t.Helper()
	id, err := l.ch.CreateID()
	require.NoError(l.t, err)
	return id
}

// next waits for the next event that matches.
func (l *loop) next(what string, match func(rdma.Event) bool) rdma.Event {
	l.t.Helper()
	timeout := time.After(limit)
	for {
		for i, ev := range l.pending {
			if match(ev) {
				l.pending = append(l.pending[:i:i], l.pending[i+1:]...)
				return ev
			}
		}
		select {
		case <-l.ch.Readable():
		case <-timeout:
			require.FailNow(l.t, "no "+what, "events that came: %v", l.pending)
		}
		for {
			ev, ok, err := l.ch.GetEvent()
			require.NoError(l.t, err)
			if !ok {
				break
			}
			l.pending = append(l.pending, ev)
		}
	}
}

// on waits for the next event of id, which must be of type want.
func (l *loop) on(id rdma.ID, want rdma.CMEvent) rdma.Event {
	l.t.Helper()
	ev := l.next(want.String(), func(ev rdma.Event) bool { return ev.ID == id })
	require.Equal(l.t, want, ev.Type, "status %d", ev.Status)
	return ev
}

// request waits for a connection request to listener.
func (l *loop) request(listener rdma.ID) rdma.Event {
	l.t.Helper()
	return l.next("CONNECT_REQUEST", func(ev rdma.Event) bool { return ev.Listener == listener })
}

// listen makes a listening id on addr and a port that the system chooses.
func (l *loop) listen(addr netip.Addr) rdma.ID {
	l.t.Helper()
	id := l.newID()
	l.t.Cleanup(func() { require.NoError(l.t, id.Close()) })
	require.NoError(l.t, id.BindAddr(netip.AddrPortFrom(addr, 0)))
	require.NoError(l.t, id.Listen(8))
	require.NotZero(l.t, id.LocalAddr().Port())
	return id
}

// resolve makes an id and takes it to ROUTE_RESOLVED.
func (l *loop) resolve(dst netip.AddrPort) rdma.ID {
	l.t.Helper()
	id := l.newID()
	require.NoError(l.t, id.ResolveAddr(netip.AddrPort{}, dst, resolveTimeout))
	l.on(id, rdma.AddrResolved)
	require.NoError(l.t, id.ResolveRoute(resolveTimeout))
	l.on(id, rdma.RouteResolved)
	return id
}

// resolveOwn is resolve to a new listener of the loop's own.
func (l *loop) resolveOwn() rdma.ID {
	l.t.Helper()
	return l.resolve(l.listen(bedAddr(l.t)).LocalAddr())
}

// bedDevice is the bed's device; a listener holds it until the test ends.
func bedDevice(t *testing.T) rdma.Device {
	t.Helper()
	return newBed(t).listen(bedAddr(t)).Device()
}

// end is one end of a connection with everything that it owns.
type end struct {
	*loop
	id      rdma.ID
	pd      rdma.PD
	channel rdma.CompletionChannel
	cq      rdma.CQ
	qp      rdma.QP
	buf     *verbstest.Buffer   // posted as a receive
	bufs    []*verbstest.Buffer // all of them
}

// newEnd gives id, which has a device, a queue pair with one receive posted.
func (l *loop) newEnd(id rdma.ID) *end {
	l.t.Helper()
	e := l.endWith(id.Device(), id.CreateQP)
	e.id = id
	return e
}

// endWith makes what an end owns, its queue pair by create.
func (l *loop) endWith(dev rdma.Device, create func(rdma.PD, rdma.QPInitAttr) (rdma.QP, error)) *end {
	l.t.Helper()
	e := &end{loop: l}
	require.NotNil(l.t, dev)
	var err error
	e.pd, err = dev.AllocPD()
	require.NoError(l.t, err)
	e.channel, err = dev.NewCompletionChannel()
	require.NoError(l.t, err)
	e.cq, err = dev.CreateCQ(16, e.channel)
	require.NoError(l.t, err)
	e.qp, err = create(e.pd, rdma.QPInitAttr{
		SendCQ: e.cq, RecvCQ: e.cq,
		Caps:    rdma.QPCaps{MaxSendWR: 4, MaxRecvWR: 4, MaxSendSGE: 1, MaxRecvSGE: 1, MaxInlineData: l.inline},
		SendOps: l.sendOps,
	})
	require.NoError(l.t, err)
	e.buf = e.buffer(recvSize)
	require.NoError(l.t, e.buf.PostRecv(e.qp, 1))
	return e
}

// buffer makes a buffer that lives as long as the end.
func (e *end) buffer(size int) *verbstest.Buffer {
	e.t.Helper()
	buf, err := verbstest.NewBuffer(e.f, e.pd, size)
	require.NoError(e.t, err)
	e.bufs = append(e.bufs, buf)
	return buf
}

func (e *end) close() {
	e.t.Helper()
	require.NoError(e.t, e.qp.Close())
	for _, buf := range e.bufs {
		require.NoError(e.t, buf.Free())
	}
	require.NoError(e.t, e.cq.Close())
	require.NoError(e.t, e.channel.Close())
	require.NoError(e.t, e.pd.Close())
	require.NoError(e.t, e.id.Close())
}

// state is that of the queue pair.
func (e *end) state() rdma.QPState {
	e.t.Helper()
	state, err := e.qp.State()
	require.NoError(e.t, err)
	return state
}

// completion polls for the next completion.
func (e *end) completion() verbstest.Completion {
	e.t.Helper()
	deadline := time.Now().Add(limit)
	for time.Now().Before(deadline) {
		wc, ok, err := verbstest.Poll(e.cq)
		require.NoError(e.t, err)
		if ok {
			return wc
		}
	}
	require.FailNow(e.t, "no completion")
	return verbstest.Completion{}
}

func params(privateData string) rdma.ConnParam {
	return rdma.ConnParam{
		PrivateData:        []byte(privateData),
		ResponderResources: 1, InitiatorDepth: 1,
		RetryCount: 6, RNRRetryCount: 7,
	}
}

// connection is an established connection within one host.
type connection struct {
	listener       rdma.ID
	client, server *end
}

// establish connects a client to a new listener.
func (l *loop) establish(addr netip.Addr) connection {
	l.t.Helper()
	c := connection{listener: l.listen(addr)}
	c.client = l.newEnd(l.resolve(c.listener.LocalAddr()))
	require.NoError(l.t, c.client.id.Connect(params("hello")))
	c.server = l.newEnd(l.request(c.listener).ID)
	require.NoError(l.t, c.server.id.Accept(params("welcome")))
	l.on(c.client.id, rdma.Established)
	l.on(c.server.id, rdma.Established)
	return c
}

// established is a connection on a bed of its own.
func established(t *testing.T) connection {
	t.Helper()
	return newBed(t).establish(bedAddr(t))
}

// disconnect ends the connection from the client's side and closes both ends.
func (c connection) disconnect() {
	c.client.t.Helper()
	require.NoError(c.client.t, c.client.id.Disconnect())
	c.server.on(c.server.id, rdma.Disconnected)
	require.NoError(c.server.t, c.server.id.Disconnect())
	c.client.on(c.client.id, rdma.Disconnected)
	c.close()
}

func (c connection) close() {
	c.client.t.Helper()
	c.client.close()
	c.server.close()
}

// receive waits for a value that must come.
func receive[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(limit):
		require.FailNow(t, "nothing came")
		panic("unreachable")
	}
}
