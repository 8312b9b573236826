package rdmanet

import (
	"context"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"catmint/libos"
	"catmint/rdma"
	"catmint/rdma/sim"
)

func TestDialSaysWhyItFails(t *testing.T) {
	_, a, _ := simulated(t, libos.DefaultConfig())
	for _, c := range []struct {
		network, address string
		want             error
		says             string
	}{
		{"unix", "10.0.0.2:1", net.UnknownNetworkError("unix"), "unknown network unix"},
		{"rdma", "10.0.0.2", nil, "missing port"},
		{"rdma", "10.0.0.2:none", nil, "none"},
		{"rdma6", "10.0.0.2:1", nil, "10.0.0.2"},
		{"rdma", "10.0.0.2:1", syscall.ECONNREFUSED, "is the server running"},
		{"rdma", "192.0.2.7:1", syscall.ENETUNREACH, "no RDMA device reaches that address"},
	} {
		_, err := a.Dial(c.network, c.address)
		require.ErrorContains(t, err, c.says)
		if c.want != nil {
			require.ErrorIs(t, err, c.want)
		}
		var oe *net.OpError
		require.ErrorAs(t, err, &oe)
		require.Equal(t, "dial", oe.Op)
	}
}

func TestADialThatIsCutShortLeavesNothingBehind(t *testing.T) {
	network, a, b := simulated(t, libos.DefaultConfig())
	l, err := b.Listen("rdma", "10.0.0.2:0")
	require.NoError(t, err)
	held := network.When(sim.Event(rdma.RouteResolved)).Hold()
	ctx, cancel := context.WithCancel(within(t))
	ended := make(chan error, 1)
	go func() {
		_, err := a.DialContext(ctx, "rdma", l.Addr().String())
		ended <- err
	}()
	<-held.Strikes()
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	held.Release()
	require.NoError(t, l.Close())
}

func TestADialWhoseTimeIsOverIsATimeout(t *testing.T) {
	network, a, _ := simulated(t, libos.DefaultConfig())
	held := network.When(sim.Event(rdma.AddrResolved)).Hold()
	ctx, cancel := context.WithTimeout(within(t), time.Millisecond)
	defer cancel()
	_, err := a.DialContext(ctx, "rdma", "10.0.0.2:1")
	var ne net.Error
	require.ErrorAs(t, err, &ne)
	require.True(t, ne.Timeout(), "%v", err)
	held.Release()
}

func TestListenSaysWhyItFails(t *testing.T) {
	_, a, _ := simulated(t, libos.DefaultConfig())
	taken, err := a.Listen("rdma", "10.0.0.1:0")
	require.NoError(t, err)
	for _, c := range []struct {
		network, address string
		want             error
	}{
		{"udp", "10.0.0.1:1", net.UnknownNetworkError("udp")},
		{"rdma", "10.0.0.9:1", syscall.EADDRNOTAVAIL},
		{"rdma", taken.Addr().String(), syscall.EADDRINUSE},
	} {
		_, err := a.Listen(c.network, c.address)
		require.ErrorIs(t, err, c.want)
		var oe *net.OpError
		require.ErrorAs(t, err, &oe)
		require.Equal(t, "listen", oe.Op)
	}
	require.NoError(t, taken.Close())
}

func TestAListenerWithoutAHostListensOnEveryAddress(t *testing.T) {
	_, a, b := simulated(t, libos.DefaultConfig())
	for network, at := range map[string]string{"rdma": "10.0.0.2", "rdma6": "fd00::2"} {
		l, err := b.Listen(network, ":0")
		require.NoError(t, err)
		_, port, err := net.SplitHostPort(l.Addr().String())
		require.NoError(t, err)
		c, err := a.Dial(network, net.JoinHostPort(at, port))
		require.NoError(t, err)
		s, err := l.Accept()
		require.NoError(t, err)
		require.NoError(t, l.Close())
		require.NoError(t, c.Close())
		require.NoError(t, s.Close())
	}
}

func TestAnAcceptWhoseTimeIsOverLosesNoConnection(t *testing.T) {
	_, a, b := simulated(t, libos.DefaultConfig())
	l, err := b.Listen("rdma", "10.0.0.2:0")
	require.NoError(t, err)
	for range 3 {
		require.NoError(t, l.SetDeadline(time.Now()))
		_, err = l.Accept()
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.NoError(t, l.SetDeadline(time.Now().Add(time.Millisecond)))
		_, err = l.Accept()
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	}
	require.NoError(t, l.SetDeadline(time.Time{}))
	c, err := a.Dial("rdma", l.Addr().String())
	require.NoError(t, err)
	s, err := l.Accept()
	require.NoError(t, err)
	require.Equal(t, c.LocalAddr(), s.RemoteAddr())
	require.NoError(t, c.Close())
	require.NoError(t, s.Close())
	require.NoError(t, l.Close())
}

func TestClosingAListenerEndsItsAcceptsAndWhatNobodyAccepted(t *testing.T) {
	_, a, b := simulated(t, libos.DefaultConfig())
	l, err := b.Listen("rdma", "10.0.0.2:0")
	require.NoError(t, err)
	// An accept that nobody waits for takes the connection.
	require.NoError(t, l.SetDeadline(time.Now().Add(time.Millisecond)))
	_, err = l.Accept()
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	c, err := a.Dial("rdma", l.Addr().String())
	require.NoError(t, err)
	require.NoError(t, l.Close())
	_, err = c.Read(make([]byte, 1))
	require.Error(t, err)
	require.NoError(t, c.Close())

	for name, err := range map[string]error{"close": l.Close(), "deadline": l.SetDeadline(time.Time{}), "accept": accept(l)} {
		require.ErrorIs(t, err, net.ErrClosed, name)
	}
}

func accept(l *Listener) error { _, err := l.Accept(); return err }

func TestAcceptsUnderWayEndWithErrClosed(t *testing.T) {
	_, _, b := simulated(t, libos.DefaultConfig())
	l, err := b.Listen("rdma", "10.0.0.2:0")
	require.NoError(t, err)
	ended := make(chan error, 4)
	var started sync.WaitGroup
	for range cap(ended) {
		started.Add(1)
		go func() {
			started.Done()
			ended <- accept(l)
		}()
	}
	started.Wait()
	require.NoError(t, l.Close())
	for range cap(ended) {
		require.ErrorIs(t, <-ended, net.ErrClosed)
	}
}

func TestTheDefaultHostSaysWhatIsWrongWithTheMachine(t *testing.T) {
	t.Setenv("DEMI_RECV_SIZE", "many")
	_, err := Dial("rdma", "192.0.2.1:7174")
	var ce *libos.ConfigError
	require.ErrorAs(t, err, &ce)
	_, err = Listen("rdma", "192.0.2.1:7174")
	require.ErrorAs(t, err, &ce)
	require.ErrorIs(t, err, syscall.EINVAL)
}
