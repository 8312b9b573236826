package libos

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"catmint/datapath"
	"catmint/rdma/sim"
)

// sleeps is how often threads of this process have given up their processor to wait.
func sleeps(t *testing.T) int64 {
	t.Helper()
	var u unix.Rusage
	require.NoError(t, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return u.Nvcsw
}

// With connections, an application that has polled and has stopped, and a housekeeper that watches for
// it, nothing happens by the clock: whoever sleeps goes on sleeping. A tick of the housekeeper's own
// back-off would be 200 a second.
func TestTheHousekeeperDoesNotTick(t *testing.T) {
	p := newPair(t, testConfig(), sim.Config{})
	c, s, _ := p.connected(t)
	pop, err := s.Pop()
	require.NoError(t, err)
	quiet := int64(1 << 40)
	for try := 0; try < 10 && quiet >= 40; try++ {
		// The application polls, so that the housekeeper steps back, and then computes.
		var r datapath.Result
		for range 100 {
			require.ErrorIs(t, datapath.Wait(pop, &r, 0), syscall.ETIMEDOUT)
		}
		p.a.send(t, c, "progress")
		r = p.b.wait(t, pop)
		require.Equal(t, "progress", string(TakeBytes(&r)))
		pop, err = s.Pop()
		require.NoError(t, err)
		before, start := sleeps(t), time.Now()
		<-time.After(time.Second)
		quiet = min(quiet, int64(float64(sleeps(t)-before)/time.Since(start).Seconds()))
	}
	t.Logf("%d waits a second in the whole process", quiet)
	require.Less(t, quiet, int64(40))
	// And yet it is awake when it must be.
	p.a.send(t, c, "last")
	require.NoError(t, c.Close(), "FIN is answered without a call of the application")
	r := p.b.wait(t, pop)
	require.Equal(t, "last", string(TakeBytes(&r)))
}
