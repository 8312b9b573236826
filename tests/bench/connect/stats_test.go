package connect

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestARatioIsJudgedByItsQuartiles(t *testing.T) {
	s := spreadOf([]float64{5, 1, 4, 2, 3})
	assert.Equal(t, spread{2, 3, 4}, s)
	assert.Equal(t, "3.00 (2.00 to 4.00)", s.String())
	assert.Equal(t, "at most 4.00", s.verdict(4))
	assert.Equal(t, "above 1.90", s.verdict(1.9))
	assert.Equal(t, "not resolved", s.verdict(3))
	assert.Equal(t, spread{1.25, 1.5, 1.75}, spreadOf([]float64{1, 2}))
	assert.Equal(t, spread{}, spreadOf(nil))
}

func TestRatiosAreThoseOfTheSameRound(t *testing.T) {
	assert.Equal(t, []float64{2, 0.5}, ratios([]float64{4, 2, 9}, []float64{2, 4}))
}

const trace = `
10 read(0</dev/pts/1>, "c 1\n", 4096) = 4
10 write(5</dev/infiniband/rdma_cm>, "\0\0", 32) = 32
11 epoll_pwait(4<anon_inode:[eventpoll]>, <unfinished ...>
10 ioctl(6</dev/infiniband/uverbs0>, RDMA_VERBS_IOCTL, 0x7f) = 0
10 mmap(NULL, 4096, PROT_READ, MAP_SHARED, 6</dev/infiniband/uverbs0>, 0) = 0x7f
11 <... epoll_pwait resumed>[], 128, 0, NULL, 0) = 0
11 read(7<anon_inode:[eventfd]>, "\1", 8) = 8
11 futex(0xc0, FUTEX_WAKE_PRIVATE, 1) = 1
11 --- SIGURG {si_signo=SIGURG} ---
11 rt_sigreturn({mask=[]}) = 1
10 write(1<pipe:[1]>, "up total 1\n", 11) = 11
10 read(0</dev/pts/1>, 0xc0, 4096) = -1 EAGAIN (Resource temporarily unavailable)
10 epoll_pwait(4<anon_inode:[eventpoll]>, [], 128, 0, NULL, 0) = 0
10 read(0</dev/pts/1>, "d\n", 4096) = 2
10 write(5</dev/infiniband/rdma_cm>, "\0\0", 32) = 32
10 write(1<pipe:[1]>, "down\n", 5) = 5
10 futex(0xc0, FUTEX_WAKE_PRIVATE, 1) = 1
10 read(0</dev/pts/1>, "c 1\n", 4096) = 4
10 write(1<pipe:[1]>, "up total 1\n", 11) = 11
10 write(1<pipe:[1]>, "down\n", 5) = 5
`

func TestATraceIsCountedConnectionByConnection(t *testing.T) {
	cycles, err := readTrace(strings.NewReader(trace))
	require.NoError(t, err)
	require.Len(t, cycles, 2)
	assert.Equal(t, calls{callCM: 1, callVerbs: 1, callMemory: 1, callEvents: 2, callFutex: 1, callOther: 1}, cycles[0].setUp)
	assert.Equal(t, calls{callCM: 1}, cycles[0].tearDown)
	assert.Equal(t, 7, cycles[0].setUp.total())
	assert.Equal(t, 8, cycles[0].all().total())
	assert.Empty(t, cycles[1].setUp, "what comes between two connections belongs to neither")
	one := medianCalls(cycles[:1], func(c cycle) calls { return c.setUp })
	assert.Equal(t, 7, one.total())
}

func TestTheQuieterCyclesAreThoseThatWereDisturbedLittle(t *testing.T) {
	var cycles []cycle
	for _, n := range []int{40, 41, 60, 42, 90} {
		cycles = append(cycles, cycle{setUp: calls{callFutex: n, callCM: 15}})
	}
	assert.Equal(t, 42, medianCalls(cycles, cycle.all)[callFutex])
	assert.Equal(t, 41, quietCalls(cycles, cycle.all)[callFutex])
	assert.Equal(t, 15, quietCalls(cycles, cycle.all)[callCM])
	for i := range cycles { // what all of them have more is seen
		cycles[i].tearDown = calls{callFutex: 10}
	}
	assert.Equal(t, 51, quietCalls(cycles, cycle.all)[callFutex])
}
