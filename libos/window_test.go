package libos

import (
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"catmint/datapath"
	"catmint/rdma/sim"
)

// The simulation's rings have a power of two of entries, one of which stays free, as those of rxe do:
// one more asked for would take twice the memory.
func TestTheRingsOfDefaultDepthJustFit(t *testing.T) {
	cfg := DefaultConfig()
	p := newPair(t, testConfig(), sim.Config{})
	l, at := p.b.listen(t, p.b.addr, 1)
	p.a.connect(t, netip.AddrPort{}, at)
	p.b.accept(t, l)
	h, err := p.a.e.newHalf(p.a.e.stats.used()[0], 1, nil)
	require.NoError(t, err)
	defer h.destroy()
	require.Equal(t, cfg.SendDepth, h.qp.Caps().MaxSendWR, "granted")
	require.Len(t, h.dev.cqs, 1)
	require.Equal(t, cfg.CQDepth, h.dev.cqs[0].cq.Depth(), "granted")
}

// Each connection gets a completion queue in which its window can grow, as long as there are any.
func TestEveryWindowCanGrowHoweverManyConnectionsThereAre(t *testing.T) {
	cfg := testConfig()
	cfg.CQDepth = 256 // room for a few connections
	p := newPair(t, cfg, sim.Config{})
	l, at := p.b.listen(t, p.b.addr, 1)
	for range 9 {
		c := p.a.connect(t, netip.AddrPort{}, at)
		s := p.b.accept(t, l)
		require.EqualValues(t, cfg.MaxDataWindow, grownWindow(t, p, c, s))
	}
	require.GreaterOrEqual(t, p.net.Census().CQs, 6, "on two hosts")
	require.Zero(t, p.net.Census().CQOverruns)
}

func TestWithoutAFurtherCompletionQueueConnectionsShareOne(t *testing.T) {
	cfg := testConfig()
	cfg.CQDepth = 256 // 511 are granted: for three connections that grow, or seven that do not
	p := newPair(t, cfg, sim.Config{})
	l, at := p.b.listen(t, p.b.addr, 1)
	var conns, peers []*Socket
	for i := range 7 {
		if i == 1 {
			p.net.When(sim.Call(sim.CallCreateCQ)).At(p.hosts[1]).Always().Fail(syscall.ENOMEM)
		}
		conns = append(conns, p.a.connect(t, netip.AddrPort{}, at))
		peers = append(peers, p.b.accept(t, l))
	}
	_, ce := p.a.mustFail(t, at)
	require.Contains(t, ce.Error(), "refused", "no room for one more")
	grown := 0
	for i := range conns {
		window := int(grownWindow(t, p, conns[i], peers[i]))
		require.GreaterOrEqual(t, window, int(cfg.DataWindow))
		grown += window - int(cfg.DataWindow)
	}
	require.LessOrEqual(t, grown, 511-7*int(cfg.SendDepth+cfg.DataWindow+cfg.CtrlWindow))
	require.Positive(t, grown)
	require.Zero(t, p.net.Census().CQOverruns)
	require.Zero(t, p.net.Census().RNRNaks)
}

// grownWindow sends from c to s, whose application keeps up, until a window would have grown as
// far as it can.
func grownWindow(t *testing.T, p *pair, c, s *Socket) uint64 {
	t.Helper()
	for range 12 {
		// All pops wait before the first message goes out, so that none lies unpopped.
		const n = 100
		pops, pushes := make([]datapath.Token, n), make([]datapath.Token, n)
		for i := range n {
			qt, err := s.Pop()
			require.NoError(t, err)
			pops[i] = qt
		}
		for i := range n {
			qt, err := c.Push([]byte("x"))
			require.NoError(t, err)
			pushes[i] = qt
		}
		for i := range n {
			p.a.wait(t, pushes[i])
			r := p.b.wait(t, pops[i])
			require.Equal(t, "x", string(TakeBytes(&r)))
		}
	}
	got, err := s.Stats()
	require.NoError(t, err)
	return got.Window
}
