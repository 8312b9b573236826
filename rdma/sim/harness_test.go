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

const patience = 10 * time.Second // how long a test waits for what must come

func prefixes(s ...string) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(s))
	for _, p := range s {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func addr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

// world is a network of two hosts that must be empty at the end of the test.
type world struct {
	t      *testing.T
	net    *sim.Network
	server *sim.Host
	client *sim.Host
}

func newWorld(t *testing.T, cfg sim.Config) *world {
	t.Helper()
	n := sim.New(cfg)
	w := &world{
		t: t, net: n,
		server: n.AddHost("server", sim.DeviceConfig{
			Name: "sim0", Netdev: "eth0",
			Addrs: prefixes("10.0.0.1/24", "fd00::1/64", "fe80::1/64"),
		}),
		client: n.AddHost("client", sim.DeviceConfig{
			Name: "sim0", Netdev: "eth7",
			Addrs: prefixes("10.0.0.2/24", "fd00::2/64", "fe80::2/64"),
		}),
	}
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	return w
}

// loop is an event channel with what a test's application has made on it.
type loop struct {
	t  *testing.T
	ch rdma.EventChannel
}

func (w *world) loop(h *sim.Host) *loop {
	w.t.Helper()
	ch, err := h.NewEventChannel()
	require.NoError(w.t, err)
	w.t.Cleanup(func() { require.NoError(w.t, ch.Close()) })
	return &loop{t: w.t, ch: ch}
}

func (l *loop) id() rdma.ID {
	l.t.Helper()
	id, err := l.ch.CreateID()
	require.NoError(l.t, err)
	l.t.Cleanup(func() { require.NoError(l.t, id.Close()) })
	return id
}

// next waits for an event.
func (l *loop) next() rdma.Event {
	l.t.Helper()
	return l.nextWithin(patience)
}

func (l *loop) nextWithin(limit time.Duration) rdma.Event {
	l.t.Helper()
	deadline := time.After(limit)
	for {
		ev, ok, err := l.ch.GetEvent()
		require.NoError(l.t, err)
		if ok {
			return ev
		}
		select {
		case <-l.ch.Readable():
		case <-deadline:
			require.FailNow(l.t, "no event came")
		}
	}
}

// expect waits for an event of a type.
func (l *loop) expect(typ rdma.CMEvent) rdma.Event {
	l.t.Helper()
	ev := l.next()
	require.Equal(l.t, typ, ev.Type, "status %d", ev.Status)
	return ev
}

// silent says that nothing has been reported.
func (l *loop) silent() {
	l.t.Helper()
	ev, ok, err := l.ch.GetEvent()
	require.NoError(l.t, err)
	require.False(l.t, ok, "unexpected %v", ev.Type)
}

// resources are what a queue pair needs.
type resources struct {
	pd rdma.PD
	ch rdma.CompletionChannel
	cq rdma.CQ
}

func newResources(t *testing.T, dev rdma.Device) *resources {
	t.Helper()
	r := &resources{}
	var err error
	r.pd, err = dev.AllocPD()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.pd.Close()) })
	r.ch, err = dev.NewCompletionChannel()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.ch.Close()) })
	r.cq, err = dev.CreateCQ(255, r.ch)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.cq.Close()) })
	return r
}

func (r *resources) attr() rdma.QPInitAttr {
	return rdma.QPInitAttr{
		SendCQ: r.cq, RecvCQ: r.cq,
		Caps: rdma.QPCaps{MaxSendWR: 31, MaxRecvWR: 31, MaxSendSGE: 2, MaxRecvSGE: 1, MaxInlineData: 64},
	}
}

// side is one end of a connection.
type side struct {
	*loop
	*resources
	id rdma.ID
	qp rdma.QP
}

func (l *loop) side(id rdma.ID) *side {
	l.t.Helper()
	s := &side{loop: l, id: id, resources: newResources(l.t, id.Device())}
	var err error
	s.qp, err = id.CreateQP(s.pd, s.attr())
	require.NoError(l.t, err)
	l.t.Cleanup(func() { require.NoError(l.t, s.qp.Close()) })
	return s
}

func (l *loop) listen(at string, backlog int) rdma.ID {
	l.t.Helper()
	id := l.id()
	require.NoError(l.t, id.BindAddr(addr(at)))
	require.NoError(l.t, id.Listen(backlog))
	return id
}

// resolved takes a new id through address and route resolution and makes its queue pair.
func (l *loop) resolved(to netip.AddrPort) *side {
	l.t.Helper()
	id := l.id()
	require.NoError(l.t, id.ResolveAddr(netip.AddrPort{}, to, time.Second))
	require.Same(l.t, id, l.expect(rdma.AddrResolved).ID)
	require.NoError(l.t, id.ResolveRoute(time.Second))
	l.expect(rdma.RouteResolved)
	return l.side(id)
}

func param(data string) rdma.ConnParam {
	return rdma.ConnParam{
		PrivateData: []byte(data), ResponderResources: 4, InitiatorDepth: 3,
		RetryCount: 6, RNRRetryCount: 7,
	}
}

// request takes the next connection request and makes its queue pair.
func (l *loop) request() (*side, rdma.Event) {
	l.t.Helper()
	ev := l.expect(rdma.ConnectRequest)
	id := ev.ID
	l.t.Cleanup(func() { require.NoError(l.t, id.Close()) })
	return l.side(id), ev
}

// connected makes a connection between two loops.
func connected(server, client *loop) (passive, active *side) {
	server.t.Helper()
	l := server.listen("10.0.0.1:1", 16)
	active = client.resolved(l.LocalAddr())
	require.NoError(client.t, active.id.Connect(param("hello")))
	passive, _ = server.request()
	require.NoError(server.t, passive.id.Accept(param("welcome")))
	client.expect(rdma.Established)
	server.expect(rdma.Established)
	return passive, active
}

// dialing is a client that has sent its request to a server that listens.
func dialing(t *testing.T, w *world) (server, client *loop, a *side) {
	t.Helper()
	server, client = w.loop(w.server), w.loop(w.client)
	server.listen("10.0.0.1:1", 16)
	a = client.resolved(addr("10.0.0.1:1"))
	require.NoError(t, a.id.Connect(param("hello")))
	return server, client, a
}

func state(t *testing.T, qp rdma.QP) rdma.QPState {
	t.Helper()
	s, err := qp.State()
	require.NoError(t, err)
	return s
}

func errnoOf(err error) syscall.Errno { return rdma.Errno(err) }
