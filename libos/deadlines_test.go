package libos

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestOneTimerDoesForAllDeadlinesAndRestsInTheEnd(t *testing.T) {
	cfg := testConfig()
	cfg.ConnectTimeout = 300 * time.Millisecond
	p := newPlace(t, cfg)
	state := func() (running bool, queued int) {
		require.NoError(t, p.a.e.loop.call(func() error {
			running, queued = p.a.e.deadlines.timer != nil, p.a.e.deadlines.queue.Len()
			return nil
		}))
		return running, queued
	}
	running, _ := state()
	require.False(t, running, "nothing has been begun")
	_, at := p.b.listen(t, p.b.addr, 4)
	for range 3 {
		p.a.connect(t, netip.AddrPort{}, at)
	}
	_, queued := state()
	require.Zero(t, queued, "nobody has one any more")
	require.Eventually(t, func() bool {
		running, _ := state()
		return !running
	}, patience, 10*time.Millisecond, "it ends once, and is not started again")
}
