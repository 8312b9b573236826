package libos

import (
	"log/slog"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"catmint/rdma/sim"
)

func TestWhatIsForSoonRunsOnceForAllThatAskMeanwhile(t *testing.T) {
	ran := make(chan struct{}, 8)
	s, err := newSoon("test", func() { ran <- struct{}{} })
	require.NoError(t, err)
	for range 3 {
		s.start()
		s.start() // before it has run, as a rule: then it is the same
		<-ran
	}
	require.NoError(t, s.stop())
	require.LessOrEqual(t, len(ran), 3)
	s.start() // is nothing any more
}

func TestADriverForWhoseTimerThereIsNoDescriptorIsAnError(t *testing.T) {
	h := sim.New(sim.Config{RealTime: true}).AddHost("a", sim.DeviceConfig{Name: "sima", Addrs: prefixes("10.0.0.1/24")})
	var files unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &files))
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 0, Max: files.Max}))
	d, err := newDriver(h, &Config{}, slog.New(slog.DiscardHandler), nil)
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &files))
	require.Nil(t, d)
	require.ErrorIs(t, err, syscall.EMFILE)
	require.ErrorContains(t, err, "timerfd_create")
}

func TestSoonIsNotPutOffByWhoGoesOnAsking(t *testing.T) {
	var ran atomic.Bool
	s, err := newSoon("test", func() { ran.Store(true) })
	require.NoError(t, err)
	for !ran.Load() {
		s.start()
	}
	require.NoError(t, s.stop())
}
