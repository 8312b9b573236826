package libos

import (
	"context"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"catmint/datapath"
)

// sleeping waits until somebody sleeps as the leader of an engine's event channel.
func (n *node) sleeping(t *testing.T) {
	t.Helper()
	require.Eventually(t, n.e.loop.watch.asleep.Load, patience, time.Millisecond, "nobody leads")
}

// waiting waits for qt on a goroutine of its own, and says how that ended.
func (n *node) waiting(ctx context.Context, qt datapath.Token) <-chan error {
	ended := make(chan error, 1)
	go func() {
		_, err := n.e.Wait(ctx, qt)
		ended <- err
	}()
	return ended
}

func outcomeOf(t *testing.T, ended <-chan error) error {
	t.Helper()
	select {
	case err := <-ended:
		return err
	case <-time.After(patience):
		require.FailNow(t, "still waiting")
		return nil
	}
}

// accepter is a goroutine that waits, as the leader, for an accept.
type accepter struct {
	l     *Socket
	at    netip.AddrPort
	qt    datapath.Token
	ended <-chan error
}

func (n *node) leading(ctx context.Context, t *testing.T) accepter {
	t.Helper()
	l, at := n.listen(t, n.addr, 1)
	qt := accepting(t, l)
	w := accepter{l, at, qt, n.waiting(ctx, qt)}
	n.sleeping(t)
	return w
}

// visited has another node connect to l and go away; a goroutine waits for the accept.
func (n *node) visited(t *testing.T, by *node, l *Socket, at netip.AddrPort) {
	t.Helper()
	ended := n.waiting(within(t), accepting(t, l))
	c := by.connect(t, netip.AddrPort{}, at)
	require.NoError(t, outcomeOf(t, ended))
	require.NoError(t, c.SetLinger(0))
	require.NoError(t, c.Close())
}

func TestALeaderIsSentAwayByItsContextAndLeavesTheTokenAlone(t *testing.T) {
	p := newPlace(t, testConfig())
	ctx, cancel := context.WithCancel(context.Background())
	leader := p.b.leading(ctx, t)
	cancel()
	require.ErrorIs(t, outcomeOf(t, leader.ended), context.Canceled)
	p.a.connect(t, netip.AddrPort{}, leader.at) // the loop watches by itself
	p.b.wait(t, leader.qt)
}

func TestALeaderHearsOfTheTokenThatAnotherEnds(t *testing.T) {
	p := newPlace(t, testConfig())
	leader := p.b.leading(within(t), t)
	require.NoError(t, leader.l.Close())
	require.ErrorIs(t, outcomeOf(t, leader.ended), syscall.ECANCELED)
}

func TestALeaderDoesForOthersWhatComesMeanwhile(t *testing.T) {
	p := newPlace(t, testConfig())
	ctx, cancel := context.WithCancel(context.Background())
	leader := p.b.leading(ctx, t)
	// Accepts and connects of others, and the end of a connection, while it leads.
	l, at := p.b.listen(t, p.b.addr, 4)
	for range 3 {
		p.b.visited(t, p.a, l, at)
	}
	l2, at2 := p.a.listen(t, p.a.addr, 4)
	s := p.b.connect(t, netip.AddrPort{}, at2)
	c := p.a.accept(t, l2)
	p.b.send(t, s, "of others")
	require.Equal(t, "of others", p.a.recv(t, c))
	require.Empty(t, leader.ended)
	cancel()
	require.ErrorIs(t, outcomeOf(t, leader.ended), context.Canceled)
}

func TestAcceptsAreAllServedWhoeverLeads(t *testing.T) {
	const each, waiters = 8, 4
	p := newPlace(t, testConfig())
	l, at := p.b.listen(t, p.b.addr, each*waiters)
	var work sync.WaitGroup
	for range waiters {
		work.Go(func() {
			for range each {
				acc, err := l.Accept()
				if err == nil {
					_, err = p.b.e.Wait(within(t), acc)
				}
				if err != nil {
					t.Error("accept:", err)
					return
				}
			}
		})
		work.Go(func() {
			for range each {
				s, err := p.a.e.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
				var qt datapath.Token
				if err == nil {
					qt, err = s.Connect(at)
				}
				if err == nil {
					_, err = p.a.e.Wait(within(t), qt)
				}
				if err != nil {
					t.Error("connect:", err)
					return
				}
			}
		})
	}
	work.Wait()
}

func TestAShutdownEndsALeader(t *testing.T) {
	p := newPlace(t, testConfig())
	leader := p.b.leading(context.Background(), t)
	require.NoError(t, p.b.p.Shutdown(within(t)))
	require.ErrorIs(t, outcomeOf(t, leader.ended), syscall.ECANCELED)
}

func TestALeaderIsSentAwayWhenNothingWillComeAnyMore(t *testing.T) {
	p := newPlace(t, testConfig())
	qt, err := datapath.AllocToken(p.a.e.dp, 500, datapath.OpConnect) // which nobody completes
	require.NoError(t, err)
	for name, c := range map[string]struct {
		closed *chan struct{}
		errno  syscall.Errno
	}{"the engine stops": {&p.a.e.quit, syscall.ENOSYS}, "the process is aborted": {&p.a.p.dead, syscall.EIO}} {
		t.Run(name, func(t *testing.T) {
			own := *c.closed
			defer func() { *c.closed = own }()
			*c.closed = make(chan struct{})
			ended := p.a.waiting(context.Background(), qt)
			p.a.sleeping(t)
			require.False(t, p.a.e.loop.lead(), "there is a leader")
			close(*c.closed)
			p.a.e.loop.interrupt()
			require.ErrorIs(t, outcomeOf(t, ended), c.errno)
		})
	}
	require.NoError(t, datapath.AbandonToken(qt))
}
