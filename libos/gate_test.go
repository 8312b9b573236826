package libos

import (
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"catmint/libos/hello"
	"catmint/rdma"
	"catmint/rdma/sim"
)

// gatedListener is a listening socket of b that asks g.
func gatedListener(t *testing.T, p *pair, g Gate) (*Socket, netip.AddrPort) {
	t.Helper()
	s := p.b.socket(t, 2)
	require.NoError(t, s.SetGate(g))
	require.NoError(t, s.Bind(netip.AddrPortFrom(p.b.addr, 0)))
	require.NoError(t, s.Listen(4))
	require.ErrorIs(t, s.SetGate(nil), syscall.EINVAL)
	at, err := s.GetSockName()
	require.NoError(t, err)
	return s, at
}

func (r *rawQP) hooks(private []byte) Hooks {
	return Hooks{
		Create: r.create, Destroy: r.destroy,
		Param: func(rdma.ID) rdma.ConnParam {
			return rdma.ConnParam{PrivateData: private, RetryCount: 6, RNRRetryCount: 7}
		},
	}
}

func TestAGateTakesForeignPeersAndLeavesOursToTheSocket(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	served := newRawQP(t)
	up := make(chan *RawConn, 1)
	l, at := gatedListener(t, p, func(r GateRequest) Verdict {
		if !r.Foreign() {
			return Verdict{}
		}
		h := served.hooks(nil)
		return Verdict{Raw: &h, Up: func(c *RawConn, err error) {
			if err == nil {
				up <- c
			}
		}}
	})
	con, err := NewConnector(testConfig(), p.hosts[0])
	require.NoError(t, err)
	mine := newRawQP(t)
	c, err := con.Dial(within(t), netip.AddrPort{}, at, mine.hooks(nil))
	require.NoError(t, err)
	s := <-up
	require.Equal(t, c.Info().Local, s.Info().Remote)
	state, err := served.qp.State()
	require.NoError(t, err)
	require.Equal(t, rdma.QPRTS, state)

	sock := p.a.connect(t, netip.AddrPort{}, at)
	accepted := p.b.accept(t, l)
	require.NoError(t, sock.Close())
	require.NoError(t, accepted.Close())

	require.NoError(t, s.Close())
	require.NoError(t, c.Close())
	<-s.Released()
	<-c.Released()
	require.NoError(t, con.Close(within(t)))
	mine.release()
	served.release()
}

func TestAGateRefusesWithItsReason(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	_, at := gatedListener(t, p, func(GateRequest) Verdict { return Verdict{Refuse: hello.ReasonFull} })
	got, ce := p.a.mustFail(t, at)
	require.Equal(t, syscall.ECONNREFUSED, got)
	require.Contains(t, ce.Detail, "backlog full")
}

func TestARawAcceptThatCannotMakeItsQueuePairIsRefusedAndTold(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	up := make(chan error, 1)
	released := make(chan (<-chan struct{}), 1)
	_, at := gatedListener(t, p, func(GateRequest) Verdict {
		h := newRawQP(t).hooks(nil)
		h.Create = func(rdma.ID) error { return syscall.ENOMEM }
		return Verdict{Raw: &h, Up: func(c *RawConn, err error) {
			released <- c.Released()
			up <- err
		}}
	})
	got, _ := p.a.mustFail(t, at)
	require.Equal(t, syscall.ECONNREFUSED, got)
	require.Error(t, <-up)
	<-<-released
}

func TestAProbeFindsALibOSWithoutUsingAConnectionUp(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	_, at := p.b.listen(t, p.b.addr, 1)
	con, err := NewConnector(testConfig(), p.hosts[0])
	require.NoError(t, err)
	mine := newRawQP(t)
	_, err = con.Dial(within(t), netip.AddrPort{}, at, mine.hooks(hello.MarshalProbe()))
	require.ErrorIs(t, err, syscall.EPROTOTYPE)
	require.NoError(t, con.Close(within(t)))
	asked, told := con.Stats(), p.b.p.Stats()
	require.EqualValues(t, 1, asked.Probes)
	require.Empty(t, asked.Failures, "a probe that is answered is no failure")
	require.EqualValues(t, 1, told.Probed)
	require.EqualValues(t, 1, told.Requests)
	require.Empty(t, told.Refusals)
	require.Zero(t, told.BadHellos)
	mine.release()
}
