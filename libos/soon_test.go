package libos

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
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

func TestSoonIsNotPutOffByWhoGoesOnAsking(t *testing.T) {
	var ran atomic.Bool
	s, err := newSoon("test", func() { ran.Store(true) })
	require.NoError(t, err)
	for !ran.Load() {
		s.start()
	}
	require.NoError(t, s.stop())
}
