package libos

import (
	"context"
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"catmint/rdma"
	"catmint/rdma/sim"
)

// rawQP is a queue pair that a test owns.
type rawQP struct {
	t  *testing.T
	pd rdma.PD
	cq rdma.CQ
	qp rdma.QP
}

func newRawQP(t *testing.T) *rawQP {
	t.Helper()
	return &rawQP{t: t}
}

func (r *rawQP) create(id rdma.ID) error {
	var err error
	if r.pd, err = id.Device().AllocPD(); err != nil {
		return err
	}
	if r.cq, err = id.Device().CreateCQ(16, nil); err != nil {
		return err
	}
	r.qp, err = id.CreateQP(r.pd, rdma.QPInitAttr{
		SendCQ: r.cq, RecvCQ: r.cq, Caps: rdma.QPCaps{MaxSendWR: 1, MaxRecvWR: 1, MaxSendSGE: 1, MaxRecvSGE: 1},
	})
	return err
}

func (r *rawQP) destroy() error { return r.qp.Close() }

func (r *rawQP) release() {
	require.NoError(r.t, r.cq.Close())
	require.NoError(r.t, r.pd.Close())
}

func TestARawConnectionIsMadeAndReleasedByTheSameMachine(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	at := foreignServer(t, p.hosts[1], netip.AddrPortFrom(p.b.addr, 7174), func(ev rdma.Event) {
		acceptForeign(t, ev.ID, nil)
	})
	con, err := NewConnector(testConfig(), p.hosts[0])
	require.NoError(t, err)
	raw := newRawQP(t)
	var ended error
	told := false
	c, err := con.Dial(within(t), netip.AddrPort{}, at, Hooks{
		Create: raw.create, Destroy: raw.destroy,
		Param:       func(rdma.ID) rdma.ConnParam { return rdma.ConnParam{RetryCount: 6, RNRRetryCount: 7} },
		Established: func(rdma.Event) error { return nil },
		Ended:       func(err error) { ended, told = err, true },
	})
	require.NoError(t, err)
	require.Equal(t, "sima", c.Info().Device)
	state, err := raw.qp.State()
	require.NoError(t, err)
	require.Equal(t, rdma.QPRTS, state)
	require.NoError(t, c.Close())
	require.ErrorIs(t, c.Close(), syscall.EBADF)
	<-c.Released()
	require.True(t, told)
	require.NoError(t, ended)
	require.EqualValues(t, 1, con.Stats().Connects)
	require.NoError(t, con.Close(within(t)))
	raw.release()
}

func TestARawDialEndsWithItsContext(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	f := p.net.When(sim.Message(sim.REQ)).Always().Drop()
	_, at := p.b.listen(t, p.b.addr, 1)
	con, err := NewConnector(testConfig(), p.hosts[0])
	require.NoError(t, err)
	raw := newRawQP(t)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-f.Strikes()
		cancel()
	}()
	_, err = con.Dial(ctx, netip.AddrPort{}, at, Hooks{
		Create: raw.create, Destroy: raw.destroy, Param: func(rdma.ID) rdma.ConnParam { return rdma.ConnParam{} },
	})
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, con.Close(within(t)))
	raw.release()
}

func TestARawDialNeedsItsHooks(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	con, err := NewConnector(testConfig(), p.hosts[0])
	require.NoError(t, err)
	_, err = con.Dial(within(t), netip.AddrPort{}, netip.MustParseAddrPort("10.0.0.2:1"), Hooks{})
	require.ErrorIs(t, err, syscall.EINVAL)
	require.NoError(t, con.Close(within(t)))
}

func TestTheOwnersVerdictOnTheAnswerEndsARawConnection(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	at := foreignServer(t, p.hosts[1], netip.AddrPortFrom(p.b.addr, 7175), func(ev rdma.Event) {
		acceptForeign(t, ev.ID, nil)
	})
	con, err := NewConnector(testConfig(), p.hosts[0])
	require.NoError(t, err)
	raw := newRawQP(t)
	var ended error
	_, err = con.Dial(within(t), netip.AddrPort{}, at, Hooks{
		Create: raw.create, Destroy: raw.destroy, Param: func(rdma.ID) rdma.ConnParam { return rdma.ConnParam{} },
		Established: func(rdma.Event) error { return context.Canceled },
		Ended:       func(err error) { ended = err },
	})
	require.ErrorIs(t, err, syscall.EPROTO)
	require.NoError(t, con.Close(within(t)))
	require.ErrorIs(t, ended, syscall.EPROTO)
	raw.release()
}
