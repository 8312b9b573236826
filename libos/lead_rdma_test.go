//go:build rdma

package libos

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"catmint/datapath"
)

// noMoreWatches has epoll_ctl(2) answer ENOSPC to everybody, until more is called.
func noMoreWatches(t *testing.T) (more func()) {
	t.Helper()
	const limit = "/proc/sys/fs/epoll/max_user_watches"
	before, err := os.ReadFile(limit)
	require.NoError(t, err)
	more = func() { require.NoError(t, os.WriteFile(limit, before, 0)) }
	require.NoError(t, os.WriteFile(limit, []byte("0\n"), 0))
	t.Cleanup(more)
	return more
}

func TestSoftRoCEEventsAreHeardOfThoughEpollHasNoRoomForTheChannel(t *testing.T) {
	a, b := newBed(t, testConfig())
	l, at := b.listen(t, b.addr, 4)
	connect := func() { b.visited(t, a, l, at) }
	canLead := func() bool {
		if !a.e.loop.lead() {
			return false
		}
		a.e.loop.unlead()
		return true
	}
	connect() // opens the devices
	a.quiesce(t)
	more := noMoreWatches(t)
	connect()
	require.Eventually(t, func() bool { return !canLead() }, patience, time.Millisecond,
		"the channel is out of the netpoller's sight")
	for range 3 {
		connect()
	}
	// A wait that does not enter Go leaves all events to the loop.
	acc := accepting(t, l)
	_, qt := a.connecting(t, at)
	var r datapath.Result
	_, err := datapath.WaitAny([]datapath.Token{qt}, &r, patience)
	require.NoError(t, err)
	require.NoError(t, r.Err())
	b.wait(t, acc)

	more()
	connect()
	require.Eventually(t, canLead, patience, time.Millisecond, "the channel is watched again")
	connect()
}
