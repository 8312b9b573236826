package sim_test

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"catmint/rdma"
	"catmint/rdma/sim"
)

// A story is what a fabric answers to a fixed course of calls on one host, line by line.
// The simulated network is true if hardware tells the same story.
type story struct {
	t              *testing.T
	f              rdma.Fabric
	own, nobody    netip.Addr // the host's address, and one in its network that nobody has
	server, client *loop
	lines          []string
}

func tell(t *testing.T, f rdma.Fabric, own, nobody netip.Addr) []string {
	t.Helper()
	w := &world{t: t}
	s := &story{t: t, f: f, own: own, nobody: nobody}
	s.server, s.client = w.storyLoop(f), w.storyLoop(f)
	for _, act := range []struct {
		name string
		play func()
	}{
		{"bind", s.bind},
		{"resolve", s.resolve},
		{"steps out of order", s.order},
		{"nobody listens", s.refused},
		{"rejected by the application", s.rejected},
		{"established and disconnected by the client", s.established},
		{"disconnected by the server", s.disconnectedByServer},
		{"a connected id destroyed", s.destroyed},
		{"a listener destroyed", s.listenerDestroyed},
		{"the id is busy", s.busy},
		{"places that cannot be reached", s.unreachable},
		{"options", s.options},
		{"offers", s.offers},
		{"the client gives up", s.givenUp},
	} {
		s.lines = append(s.lines, "# "+act.name)
		act.play()
	}
	return s.lines
}

func (w *world) storyLoop(f rdma.Fabric) *loop {
	w.t.Helper()
	ch, err := f.NewEventChannel()
	require.NoError(w.t, err)
	w.t.Cleanup(func() { require.NoError(w.t, ch.Close()) })
	return &loop{t: w.t, ch: ch}
}

func (s *story) say(format string, args ...any) {
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

// did tells the outcome of a call.
func (s *story) did(what string, err error) {
	if err == nil {
		s.say("%s: ok", what)
		return
	}
	s.say("%s: %v", what, errnoName(rdma.Errno(err)))
}

func errnoName(e syscall.Errno) string {
	names := map[syscall.Errno]string{
		syscall.EINVAL: "EINVAL", syscall.EBUSY: "EBUSY", syscall.ENODEV: "ENODEV",
		syscall.EADDRINUSE: "EADDRINUSE", syscall.EADDRNOTAVAIL: "EADDRNOTAVAIL",
		syscall.ENETUNREACH: "ENETUNREACH", syscall.ETIMEDOUT: "ETIMEDOUT",
	}
	if n := names[e]; n != "" {
		return n
	}
	return e.Error()
}

// heard waits for the next event of a loop and tells it.
func (s *story) heard(who string, l *loop) rdma.Event {
	s.t.Helper()
	ev := l.nextWithin(storyPatience)
	status := fmt.Sprint(ev.Status)
	if ev.Status < 0 {
		status = errnoName(syscall.Errno(-ev.Status))
	}
	data := strings.TrimRight(string(ev.PrivateData), "\x00")
	s.say("%s hears %v, status %s, %d bytes %q, resources %d, depth %d", who, ev.Type, status,
		len(ev.PrivateData), data, ev.ResponderResources, ev.InitiatorDepth)
	return ev
}

const storyPatience = 20 * time.Second // emulated machines are slow

// arm says that a loop has nothing to take, which makes it Readable when something comes.
func (s *story) arm(l *loop) {
	s.t.Helper()
	select {
	case <-l.ch.Readable(): // of what has been taken
	default:
	}
	l.silent()
}

// ready waits until something has come to an armed loop, and leaves it there.
func (s *story) ready(l *loop) {
	s.t.Helper()
	select {
	case <-l.ch.Readable():
	case <-time.After(storyPatience):
		require.FailNow(s.t, "no event came")
	}
}

func (s *story) state(who string, qp rdma.QP) {
	s.t.Helper()
	s.say("%s's queue pair is in %v", who, state(s.t, qp))
}

func (s *story) at(port uint16) netip.AddrPort { return netip.AddrPortFrom(s.own, port) }

func (s *story) closed(ids ...interface{ Close() error }) {
	s.t.Helper()
	for _, id := range ids {
		require.NoError(s.t, id.Close())
	}
}

func (s *story) newID() rdma.ID {
	s.t.Helper()
	id, err := s.client.ch.CreateID()
	require.NoError(s.t, err)
	return id
}

func (s *story) bind() {
	first := s.newID()
	s.did("bind", first.BindAddr(s.at(7300)))
	s.did("bind again", first.BindAddr(s.at(7301)))
	s.say("it has a device: %v, port %d", first.Device() != nil, first.Port())
	for _, c := range []struct{ what, addr string }{
		{"a taken port", s.at(7300).String()},
		{"a taken port on the wildcard", "0.0.0.0:7300"},
		{"an address of others", netip.AddrPortFrom(s.nobody, 7302).String()},
		{"a link-local address without zone", "[fe80::1]:7302"},
		{"the wildcard", "0.0.0.0:7303"},
		{"the IPv6 wildcard", "[::]:7304"},
	} {
		id := s.newID()
		s.did("bind "+c.what, id.BindAddr(addr(c.addr)))
		s.closed(id)
	}
	any1 := s.newID()
	s.did("bind any port", any1.BindAddr(s.at(0)))
	s.say("it got one: %v", any1.LocalAddr().Port() != 0)
	wild := s.newID()
	s.did("bind the wildcard and any port", wild.BindAddr(addr("0.0.0.0:0")))
	s.say("it has a device: %v, port %d", wild.Device() != nil, wild.Port())
	s.closed(first, any1, wild)
}

func (s *story) resolve() {
	id := s.newID()
	s.did("resolve an address that nobody has",
		id.ResolveAddr(netip.AddrPort{}, netip.AddrPortFrom(s.nobody, 1), 2*time.Second))
	s.heard("client", s.client)
	s.did("resolve again", id.ResolveAddr(netip.AddrPort{}, s.at(1), 2*time.Second))
	s.heard("client", s.client)
	s.say("it knows the peer: %v, has a device: %v", id.RemoteAddr() == s.at(1), id.Device() != nil)
	s.did("resolve once more", id.ResolveAddr(netip.AddrPort{}, s.at(1), 2*time.Second))
	s.closed(id)
	other := s.newID()
	s.did("resolve from an address of others",
		other.ResolveAddr(netip.AddrPortFrom(s.nobody, 0), s.at(1), 2*time.Second))
	s.closed(other)
	mixed := s.newID()
	s.did("resolve from another family",
		mixed.ResolveAddr(addr("[::]:0"), s.at(1), 2*time.Second))
	s.closed(mixed)
}

func (s *story) order() {
	id := s.newID()
	s.did("resolve the route of a new id", id.ResolveRoute(time.Second))
	s.did("connect a new id", id.Connect(param("")))
	s.did("accept a new id", id.Accept(param("")))
	s.did("disconnect a new id", id.Disconnect())
	s.did("bind", id.BindAddr(s.at(7310)))
	s.did("listen", id.Listen(4))
	s.did("listen twice", id.Listen(4))
	s.did("resolve from a listener", id.ResolveAddr(netip.AddrPort{}, s.at(1), time.Second))
	s.closed(id)
	unbound := s.newID()
	s.did("listen unbound", unbound.Listen(4))
	s.say("it got a port: %v", unbound.LocalAddr().Port() != 0)
	s.closed(unbound)
}

// dialed resolves to a port and makes the queue pair. The returned side closes itself when
// release is called.
func (s *story) dialed(port uint16) (side *side, release func()) {
	s.t.Helper()
	id := s.newID()
	require.NoError(s.t, id.ResolveAddr(netip.AddrPort{}, s.at(port), 5*time.Second))
	require.Equal(s.t, rdma.AddrResolved, s.client.nextWithin(storyPatience).Type)
	require.NoError(s.t, id.ResolveRoute(5*time.Second))
	require.Equal(s.t, rdma.RouteResolved, s.client.nextWithin(storyPatience).Type)
	return s.sideOf(s.client, id)
}

func (s *story) sideOf(l *loop, id rdma.ID) (*side, func()) {
	s.t.Helper()
	dev := id.Device()
	pd, err := dev.AllocPD()
	require.NoError(s.t, err)
	cq, err := dev.CreateCQ(255, nil)
	require.NoError(s.t, err)
	r := &resources{pd: pd, cq: cq}
	qp, err := id.CreateQP(pd, r.attr())
	require.NoError(s.t, err)
	return &side{loop: l, resources: r, id: id, qp: qp}, func() { s.closed(qp, id, cq, pd) }
}

func (s *story) refused() {
	a, release := s.dialed(7320)
	s.did("connect with too much private data", a.id.Connect(param(strings.Repeat("x", 57))))
	s.did("connect", a.id.Connect(param("hello")))
	s.heard("client", s.client)
	s.state("client", a.qp)
	s.did("disconnect", a.id.Disconnect())
	release()
}

func (s *story) listening(port uint16) rdma.ID {
	s.t.Helper()
	l, err := s.server.ch.CreateID()
	require.NoError(s.t, err)
	require.NoError(s.t, l.BindAddr(s.at(port)))
	require.NoError(s.t, l.Listen(4))
	return l
}

func (s *story) rejected() {
	l := s.listening(7330)
	a, release := s.dialed(7330)
	s.did("connect", a.id.Connect(param("hello")))
	req := s.heard("server", s.server)
	s.did("reject with too much private data", req.ID.Reject(make([]byte, 149)))
	s.did("reject", req.ID.Reject([]byte("full")))
	s.did("accept what was rejected", req.ID.Accept(param("")))
	s.heard("client", s.client)
	s.state("client", a.qp)
	release()
	s.closed(req.ID, l)
}

// connect makes a connection without telling.
func (s *story) connect(port uint16) (p, a *side, release func()) {
	s.t.Helper()
	l := s.listening(port)
	a, releaseA := s.dialed(port)
	require.NoError(s.t, a.id.Connect(param("hello")))
	p, releaseP := s.sideOf(s.server, s.server.nextWithin(storyPatience).ID)
	require.NoError(s.t, p.id.Accept(param("")))
	require.Equal(s.t, rdma.Established, s.client.nextWithin(storyPatience).Type)
	require.Equal(s.t, rdma.Established, s.server.nextWithin(storyPatience).Type)
	return p, a, func() {
		releaseA()
		releaseP()
		s.closed(l)
	}
}

func (s *story) established() {
	l := s.listening(7340)
	a, releaseA := s.dialed(7340)
	s.state("client", a.qp)
	s.did("connect", a.id.Connect(param("hello")))
	req := s.heard("server", s.server)
	s.say("it is the listener's: %v", req.Listener == l)
	p, releaseP := s.sideOf(s.server, req.ID)
	s.state("server", p.qp)
	s.say("the addresses agree: %v %v", p.id.LocalAddr() == s.at(7340),
		p.id.RemoteAddr() == a.id.LocalAddr())
	reply := param("welcome")
	reply.ResponderResources, reply.InitiatorDepth = 2, 1
	s.arm(s.client)
	s.did("accept", p.id.Accept(reply))
	s.state("server", p.qp)
	s.ready(s.client)
	s.state("client", a.qp)
	s.heard("client", s.client)
	s.state("client", a.qp)
	s.heard("server", s.server)
	s.did("accept twice", p.id.Accept(param("")))
	s.did("disconnect", a.id.Disconnect())
	s.state("client", a.qp)
	s.heard("server", s.server)
	s.state("server", p.qp)
	s.did("disconnect the other side", p.id.Disconnect())
	s.state("server", p.qp)
	s.heard("client", s.client)
	s.did("disconnect again", a.id.Disconnect())
	releaseA()
	releaseP()
	s.closed(l)
}

func (s *story) disconnectedByServer() {
	p, a, release := s.connect(7350)
	s.did("disconnect", p.id.Disconnect())
	s.heard("client", s.client)
	s.state("client", a.qp)
	s.did("disconnect the other side", a.id.Disconnect())
	s.heard("server", s.server)
	release()
}

func (s *story) destroyed() {
	p, a, release := s.connect(7360)
	s.closed(a.qp, a.id)
	s.heard("server", s.server)
	s.state("server", p.qp)
	s.did("disconnect", p.id.Disconnect())
	release()
}

func (s *story) listenerDestroyed() {
	l := s.listening(7370)
	a, release := s.dialed(7370)
	s.arm(s.server)
	s.did("connect", a.id.Connect(param("hello")))
	s.ready(s.server)
	s.closed(l)
	s.heard("client", s.client)
	release()
	_, ok, err := s.server.ch.GetEvent()
	s.say("the server hears something: %v %v", ok, err)
}

func (s *story) busy() {
	a, release := s.dialed(7380)
	s.did("destroy the id", a.id.Close())
	s.did("close the PD", a.pd.Close())
	s.did("close the CQ", a.cq.Close())
	s.did("close the channel", s.client.ch.Close())
	release()
}

func (s *story) unreachable() {
	for _, a := range []string{"127.0.0.1:7390", "[::1]:7390"} {
		id := s.newID()
		s.did("bind "+a, id.BindAddr(addr(a)))
		s.say("it has a device: %v, port %d", id.Device() != nil, id.Port())
		twin := s.newID()
		s.did("bind the port beside it", twin.BindAddr(s.at(7390)))
		s.closed(id, twin)
	}
	for _, a := range []string{"127.0.0.1:7390", "[::1]:7390", "0.0.0.0:7390"} {
		id := s.newID()
		s.did("resolve "+a, id.ResolveAddr(netip.AddrPort{}, addr(a), 2*time.Second))
		if s.heard("client", s.client).Type == rdma.AddrResolved {
			s.say("it has a device: %v, port %d", id.Device() != nil, id.Port())
			s.say("the addresses: %v %v", s.masked(id.LocalAddr()), s.masked(id.RemoteAddr()))
			err := id.ResolveRoute(2 * time.Second)
			s.did("resolve its route", err)
			if err == nil {
				s.heard("client", s.client)
			}
		}
		s.closed(id)
	}
	for _, a := range []string{"198.51.100.1:7390", "[2001:db8::1]:7390"} {
		id := s.newID()
		s.did("resolve "+a, id.ResolveAddr(netip.AddrPort{}, addr(a), 2*time.Second))
		s.closed(id)
	}
}

// masked tells an address without saying what the host's own is.
func (s *story) masked(a netip.AddrPort) string {
	switch {
	case !a.IsValid():
		return "none"
	case a.Addr() == s.own:
		return "own"
	default:
		return a.Addr().String()
	}
}

func (s *story) options() {
	id := s.newID()
	s.did("reuse address", id.SetReuseAddr(true))
	s.did("one family only", id.SetAFOnly(true))
	s.did("type of service", id.SetTOS(8))
	s.did("ACK timeout", id.SetAckTimeout(14))
	s.did("bind", id.BindAddr(s.at(7400)))
	s.did("one family only, when bound", id.SetAFOnly(false))
	s.did("do not reuse address, when bound", id.SetReuseAddr(false))
	twin := s.newID()
	s.did("reuse address", twin.SetReuseAddr(true))
	s.did("bind the same", twin.BindAddr(s.at(7400)))
	s.did("listen beside another", id.Listen(1))
	s.closed(twin)
	s.did("listen", id.Listen(1))
	s.did("reuse address, when listening", id.SetReuseAddr(true))
	s.did("one family only, when listening", id.SetAFOnly(true))
	s.closed(id)
}

func (s *story) offers() {
	l := s.listening(7410)
	a, release := s.dialed(7410)
	most := a.id.Device().Attr().MaxQPRdAtom
	s.say("the device answers READs: %v", most > 0)
	for _, n := range []int{most + 1, 254} {
		p := param("")
		p.InitiatorDepth = uint8(n)
		s.did("connect with too much depth", a.id.Connect(p))
		p = param("")
		p.ResponderResources = uint8(n)
		s.did("connect with too many resources", a.id.Connect(p))
	}
	all := param("")
	all.InitiatorDepth, all.ResponderResources = 0xff, 0xff
	s.did("connect with all there is", a.id.Connect(all))
	ev := s.server.nextWithin(storyPatience)
	s.say("the server is offered all: %v %v", int(ev.ResponderResources) == most, int(ev.InitiatorDepth) == most)
	p, releaseP := s.sideOf(s.server, ev.ID)
	none := param("")
	none.InitiatorDepth, none.ResponderResources = 0, 0
	s.did("accept with none", p.id.Accept(none))
	s.heard("client", s.client)
	s.heard("server", s.server)
	release()
	s.heard("server", s.server)
	releaseP()
	s.closed(l)
}

func (s *story) givenUp() {
	l := s.listening(7420)
	a, release := s.dialed(7420)
	s.did("connect", a.id.Connect(param("hello")))
	req := s.server.nextWithin(storyPatience)
	p, releaseP := s.sideOf(s.server, req.ID)
	s.arm(s.client)
	s.did("accept", p.id.Accept(param("")))
	s.ready(s.client) // the reply is there, but nobody takes it
	release()
	s.heard("server", s.server)
	s.state("server", p.qp)
	releaseP()
	s.closed(l)
}

// golden is what Soft-RoCE of Linux 6.12 has told, word for word.
func golden(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("testdata/story.txt")
	require.NoError(t, err)
	return string(b)
}

func TestTheSimulatedStory(t *testing.T) {
	n := sim.New(sim.Config{})
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	h := n.AddHost("h", sim.DeviceConfig{Name: "sim0", Addrs: prefixes("10.0.0.1/24")})
	lines := tell(t, h, netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.99"))
	require.Equal(t, golden(t), strings.Join(lines, "\n")+"\n")
}
