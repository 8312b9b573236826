package libos

import (
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"catmint/rdma"
	"catmint/rdma/sim"
)

// spareID is the id that has been made ahead.
func (n *node) spareID(t *testing.T) rdma.ID {
	t.Helper()
	var id rdma.ID
	require.NoError(t, n.e.loop.call(func() error {
		id = n.e.loop.spare
		return nil
	}))
	return id
}

func TestAConnectTakesTheIDThatHasBeenMadeAhead(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	l, at := p.b.listen(t, p.b.addr, 4)
	require.Nil(t, p.a.spareID(t))
	p.a.connect(t, netip.AddrPort{}, at)
	p.b.accept(t, l)
	require.Eventually(t, func() bool { return p.a.spareID(t) != nil }, patience, time.Millisecond)
	require.Nil(t, p.b.spareID(t), "it accepts only")
	ahead := p.a.spareID(t)

	// Bound or not, and even when no further one can be had; then the next connect says so.
	none := p.net.When(sim.Call(sim.CallCreateID)).Always().Fail(syscall.EMFILE)
	s := p.a.connect(t, netip.AddrPortFrom(p.a.addr, 0), at)
	p.b.accept(t, l)
	require.Same(t, ahead, s.conn.id)
	require.NoError(t, s.Close())
	p.a.quiesce(t)
	require.Nil(t, p.a.spareID(t))
	got, ce := p.a.mustFail(t, at)
	require.Equal(t, syscall.EAGAIN, got)
	require.Contains(t, ce.Detail, "create id")
	none.Lift()
	p.a.connect(t, netip.AddrPort{}, at)
	p.b.accept(t, l)
}
