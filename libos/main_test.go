package libos

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"catmint/datapath"
	"catmint/rdma"
	"catmint/rdma/rdmatest"
	"catmint/rdma/sim"
)

func TestMain(m *testing.M) { rdmatest.Main(m) }

// patience is a generous limit for what should take milliseconds.
const patience = 30 * time.Second

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// testConfig is the default with logs on when CATMINT_TEST_LOG is set.
func testConfig() Config {
	cfg := DefaultConfig()
	if os.Getenv("CATMINT_TEST_LOG") != "" {
		cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return cfg
}

// node is a libOS with one engine.
type node struct {
	p    *Process
	e    *Engine
	addr netip.Addr
	ip6  netip.Addr
}

func newNode(t *testing.T, cfg Config, f rdma.Fabric, addr, ip6 string) *node {
	t.Helper()
	p, err := New(cfg, f)
	require.NoError(t, err)
	e, err := p.NewEngine()
	require.NoError(t, err)
	n := &node{p: p, e: e}
	if addr != "" {
		n.addr = netip.MustParseAddr(addr)
	}
	if ip6 != "" {
		n.ip6 = netip.MustParseAddr(ip6)
	}
	t.Cleanup(func() {
		require.NoError(t, p.Shutdown(within(t)))
		require.Zero(t, p.Stats().Leaks, "objects could not be destroyed")
	})
	return n
}

// pair is two libOSes, mostly on two simulated hosts.
type pair struct {
	net   *sim.Network
	hosts [2]*sim.Host
	a, b  *node
}

func prefixes(ss ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range ss {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func newPair(t *testing.T, cfg Config, net sim.Config) *pair {
	t.Helper()
	return newPairOn(t, cfg, net, sim.DeviceConfig{})
}

// newPairOn is newPair on devices like one.
func newPairOn(t *testing.T, cfg Config, net sim.Config, one sim.DeviceConfig) *pair {
	t.Helper()
	net.RealTime = true
	n := sim.New(net)
	nothingLeft(t, n)
	p := &pair{net: n}
	one.Name, one.Addrs = "sima", prefixes("10.0.0.1/24", "fd00::1/64")
	p.hosts[0] = n.AddHost("a", one)
	one.Name, one.Addrs = "simb", prefixes("10.0.0.2/24", "fd00::2/64")
	p.hosts[1] = n.AddHost("b", one)
	p.a = newNode(t, cfg, p.hosts[0], "10.0.0.1", "fd00::1")
	p.b = newNode(t, cfg, p.hosts[1], "10.0.0.2", "fd00::2")
	return p
}

// newPlace is a pair for tests that do not care what they run on: two simulated hosts, or where
// anywhere says so.
func newPlace(t *testing.T, cfg Config) *pair {
	t.Helper()
	if anywhere != nil {
		return anywhere(t, cfg)
	}
	return newPair(t, cfg, sim.Config{})
}

// anywhere makes pairs without a simulated network and hosts, while tests run on a device.
var anywhere func(t *testing.T, cfg Config) *pair

// nothingLeft closes the fabric when the test is over, and looks what has been left behind.
func nothingLeft(t *testing.T, fabric interface{ Close() error }) {
	t.Helper()
	before := datapath.TakeCensus()
	t.Cleanup(func() {
		require.NoError(t, fabric.Close())
		after := datapath.TakeCensus()
		require.Equal(t, before.Engines, after.Engines, "engines left behind")
		require.Equal(t, before.Conns, after.Conns, "connections left behind")
		require.Equal(t, before.Descriptors, after.Descriptors, "descriptors left behind")
		require.Equal(t, before.Tokens, after.Tokens, "tokens left behind")
		require.Equal(t, before.Blocks, after.Blocks, "blocks left behind")
	})
}

func (n *node) socket(t *testing.T, domain int) *Socket {
	t.Helper()
	s, err := n.e.Socket(domain, unix.SOCK_STREAM, 0)
	require.NoError(t, err)
	return s
}

func domainOf(addr netip.Addr) int {
	if addr.Is6() {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// listen makes a socket that listens on addr, port 0, and says where that is.
func (n *node) listen(t *testing.T, addr netip.Addr, backlog int) (*Socket, netip.AddrPort) {
	t.Helper()
	s := n.socket(t, domainOf(addr))
	require.NoError(t, s.Bind(netip.AddrPortFrom(addr, 0)))
	require.NoError(t, s.Listen(backlog))
	at, err := s.GetSockName()
	require.NoError(t, err)
	require.NotZero(t, at.Port())
	return s, at
}

func (n *node) wait(t *testing.T, qt datapath.Token) datapath.Result {
	t.Helper()
	r, err := n.e.Wait(within(t), qt)
	require.NoError(t, err)
	return r
}

// waitErrno waits for a token that must fail and returns its errno.
func (n *node) waitErrno(t *testing.T, qt datapath.Token) syscall.Errno {
	t.Helper()
	r, err := n.e.Wait(within(t), qt)
	require.Error(t, err)
	require.Equal(t, datapath.OpFailed, r.Opcode, "%v", err)
	return errno(err)
}

// accepting asks for the next connection of l.
func accepting(t *testing.T, l *Socket) datapath.Token {
	t.Helper()
	qt, err := l.Accept()
	require.NoError(t, err)
	return qt
}

func (n *node) accept(t *testing.T, l *Socket) *Socket {
	t.Helper()
	return n.accepted(t, accepting(t, l))
}

// accepted is the connection that an accept ends with.
func (n *node) accepted(t *testing.T, qt datapath.Token) *Socket {
	t.Helper()
	r := n.wait(t, qt)
	require.Equal(t, datapath.OpAccept, r.Opcode)
	s, err := n.p.Socket(r.Accept().QD)
	require.NoError(t, err)
	return s
}

// connect connects a fresh socket to at, bound first if from is valid.
func (n *node) connect(t *testing.T, from netip.AddrPort, at netip.AddrPort) *Socket {
	t.Helper()
	s := n.socket(t, domainOf(at.Addr()))
	if from.IsValid() {
		require.NoError(t, s.Bind(from))
	}
	r := n.wait(t, beginConnect(t, s, at))
	require.Equal(t, datapath.OpConnect, r.Opcode)
	require.Equal(t, s.QD(), r.QD)
	return s
}

// connecting has a fresh socket begin to connect to at.
func (n *node) connecting(t *testing.T, at netip.AddrPort) (*Socket, datapath.Token) {
	t.Helper()
	s := n.socket(t, domainOf(at.Addr()))
	return s, beginConnect(t, s, at)
}

func beginConnect(t *testing.T, s *Socket, at netip.AddrPort) datapath.Token {
	t.Helper()
	qt, err := s.Connect(at)
	require.NoError(t, err)
	return qt
}

// send pushes b and waits until that is done.
func (n *node) send(t *testing.T, s *Socket, b string) {
	t.Helper()
	qt, err := s.Push([]byte(b))
	require.NoError(t, err)
	r := n.wait(t, qt)
	require.Equal(t, datapath.OpPush, r.Opcode)
}

// recv pops one message; "" is the end.
func (n *node) recv(t *testing.T, s *Socket) string {
	t.Helper()
	qt, err := s.Pop()
	require.NoError(t, err)
	r := n.wait(t, qt)
	require.Equal(t, datapath.OpPop, r.Opcode)
	return string(TakeBytes(&r))
}

func (n *node) quiesce(t *testing.T) {
	t.Helper()
	require.NoError(t, n.p.Quiesce(within(t)))
}
