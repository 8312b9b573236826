package libos

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"catmint/datapath"
)

// outside waits for qt as a thread of a C program does, with the watch, and says how often it had
// something to do.
func (n *node) outside(t *testing.T, qt datapath.Token) (turns int) {
	t.Helper()
	events, interrupt, err := n.e.TakeWatch()
	require.NoError(t, err)
	defer n.e.LeaveWatch()
	_, _, err = n.e.TakeWatch()
	require.ErrorIs(t, err, syscall.EBUSY)
	var r datapath.Result
	for {
		if err := datapath.RedeemToken(qt, &r); !errors.Is(err, syscall.ETIMEDOUT) {
			require.NoError(t, err)
			require.NoError(t, r.Err())
			return turns
		}
		p := []unix.PollFd{{Fd: int32(events), Events: unix.POLLIN}, {Fd: int32(interrupt), Events: unix.POLLIN}}
		ready, err := unix.Poll(p, int(patience.Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		require.NoError(t, err)
		require.NotZero(t, ready, "no event")
		if p[1].Revents != 0 {
			_, _ = unix.Read(interrupt, make([]byte, 8))
		}
		if p[0].Revents != 0 {
			turns++
			require.NoError(t, n.e.Turn())
		}
	}
}

// watchedFromOutside connects with a thread outside Go at one end, and then without.
func watchedFromOutside(t *testing.T, a, b *node) {
	l, at := b.listen(t, b.addr, 4)
	for _, watched := range []bool{true, false, true} {
		acc := accepting(t, l)
		s, qt := a.connecting(t, at)
		if watched {
			require.NotZero(t, a.outside(t, qt), "somebody else has taken the events")
		} else {
			a.wait(t, qt)
		}
		b.wait(t, acc)
		require.NoError(t, s.Close())
	}
	b.visited(t, a, l, at) // with leaders of Go's
}

func TestAThreadOutsideGoTakesTheEventsOfItsConnection(t *testing.T) {
	p := newPlace(t, testConfig())
	watchedFromOutside(t, p.a, p.b)
}

func TestAThreadOutsideGoHearsOfAnInterrupt(t *testing.T) {
	p := newPlace(t, testConfig())
	_, interrupt, err := p.a.e.TakeWatch()
	require.NoError(t, err)
	p.a.e.loop.interrupt()
	ready, err := unix.Poll([]unix.PollFd{{Fd: int32(interrupt), Events: unix.POLLIN}}, int(patience.Milliseconds()))
	require.NoError(t, err)
	require.Equal(t, 1, ready)
	p.a.e.LeaveWatch()
	_, at := p.b.listen(t, p.b.addr, 1)
	p.a.connect(t, netip.AddrPort{}, at) // somebody watches
}

func TestNoTurnIsTakenOnceTheProcessIsAborted(t *testing.T) {
	p := newPlace(t, testConfig())
	l := p.a.e.loop
	own := l.dead
	defer func() { l.dead = own }()
	dead := make(chan struct{})
	l.dead = dead
	l.turn <- struct{}{} // which nobody gives back
	defer func() { <-l.turn }()
	close(dead)
	require.ErrorIs(t, p.a.e.Turn(), syscall.EIO)
}
