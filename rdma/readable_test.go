package rdma

import (
	"encoding/binary"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

const patience = 30 * time.Second

// eventfd stands for the descriptor of a C library.
type eventfd struct {
	t  *testing.T
	fd int
}

func newEventfd(t *testing.T) eventfd {
	t.Helper()
	fd, err := unix.Eventfd(0, unix.EFD_SEMAPHORE)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, unix.Close(fd)) })
	return eventfd{t, fd}
}

func (e eventfd) post() {
	_, err := unix.Write(e.fd, binary.NativeEndian.AppendUint64(nil, 1))
	assert.NoError(e.t, err)
}

// take is false when there is nothing to take.
func (e eventfd) take() bool {
	_, err := unix.Read(e.fd, make([]byte, 8))
	if errors.Is(err, unix.EAGAIN) {
		return false
	}
	assert.NoError(e.t, err)
	return true
}

func (e eventfd) watch() *readable {
	e.t.Helper()
	r, err := watchReadable(e.fd, "test")
	require.NoError(e.t, err)
	r.watch()
	return r
}

func waitReady(t *testing.T, r *readable) {
	t.Helper()
	select {
	case <-r.ready:
	case <-time.After(patience):
		require.FailNow(t, "not woken")
	}
}

func TestWatchWakesForWhatWasThereBefore(t *testing.T) {
	e := newEventfd(t)
	e.post()
	r := e.watch()
	defer r.close()
	waitReady(t, r)
}

func TestWatchWakesForWhatComesLater(t *testing.T) {
	e := newEventfd(t)
	r := e.watch()
	defer r.close()
	for range 3 {
		e.post()
		waitReady(t, r)
		require.True(t, e.take())
		require.False(t, e.take(), "the descriptor is non-blocking")
		r.arm()
	}
}

func TestWatchWakesAgainForWhatWasLeft(t *testing.T) {
	e := newEventfd(t)
	r := e.watch()
	defer r.close()
	e.post()
	e.post()
	waitReady(t, r)
	require.True(t, e.take())
	r.arm() // one is left, and no further edge comes
	waitReady(t, r)
}

func TestWatchLosesNoWakeUpUnderLoad(t *testing.T) {
	const n = 20000
	e := newEventfd(t)
	r := e.watch()
	defer r.close()
	var writers sync.WaitGroup
	for range 2 {
		writers.Go(func() {
			for range n / 2 {
				e.post()
			}
		})
	}
	for taken := 0; taken < n; {
		waitReady(t, r)
		for e.take() {
			taken++
		}
		r.arm()
	}
	writers.Wait()
}

func TestAWaitEndsWithAnEventOrAWake(t *testing.T) {
	e := newEventfd(t)
	r, err := watchReadable(e.fd, "test")
	require.NoError(t, err)
	defer r.close()
	e.post()
	require.True(t, r.wait(), "was there before")
	require.True(t, r.wait(), "and still is")
	require.True(t, e.take())
	r.wake()
	require.False(t, r.wait(), "woken before")
	r.wake()
	e.post()
	require.True(t, r.wait(), "a wake hides no event")
	require.True(t, e.take())
	waitsEndByWakesAndEvents(t, e, r)
}

// waitsEndByWakesAndEvents has many waits, each of which ends by one that may come before it.
func waitsEndByWakesAndEvents(t *testing.T, e eventfd, r *readable) {
	t.Helper()
	for range 1000 { // whichever comes first
		ended := make(chan bool)
		go func() { ended <- r.wait() }()
		r.wake()
		require.False(t, receive(t, ended))
		go func() { ended <- r.wait() }()
		e.post()
		for !receive(t, ended) { // what is left of the wake
			go func() { ended <- r.wait() }()
		}
		require.True(t, e.take())
	}
}

func receive(t *testing.T, ch <-chan bool) bool {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		require.FailNow(t, "still waiting")
		return false
	}
}

func TestWaitsLoseNothingUnderLoad(t *testing.T) {
	const n = 20000
	e := newEventfd(t)
	r, err := watchReadable(e.fd, "test")
	require.NoError(t, err)
	defer r.close()
	var mu sync.Mutex
	queued := 0
	var writers sync.WaitGroup
	writers.Go(func() {
		for range n {
			e.post()
		}
	})
	writers.Go(func() {
		for range n {
			mu.Lock()
			queued++
			mu.Unlock()
			r.wake()
		}
	})
	for events, commands := 0, 0; events < n || commands < n; {
		mu.Lock()
		commands += queued
		queued = 0
		mu.Unlock()
		if events == n && commands == n {
			break
		}
		if r.wait() && e.take() {
			events++
		}
	}
	writers.Wait()
}

func TestWhoHasTakenTheDescriptorAloneHearsOfIt(t *testing.T) {
	e := newEventfd(t)
	r, err := watchReadable(e.fd, "test")
	require.NoError(t, err)
	defer r.close()
	for range 100 {
		require.NoError(t, r.take())
		ended := make(chan bool)
		go func() { ended <- r.await() }()
		waiting := make(chan bool)
		go func() { waiting <- r.wait() }()
		e.post()
		require.True(t, receive(t, ended))
		r.wake()
		if receive(t, waiting) { // an edge of before that was late, and which cannot come again
			go func() { waiting <- r.wait() }()
			r.wake()
			require.False(t, receive(t, waiting), "the netpoller does not see it")
		}
		require.True(t, r.await(), "it is still there")
		r.leave()
		require.True(t, r.wait(), "and is seen again")
		require.True(t, e.take())
	}
}

func TestAParkedWaitSeesAgainWhenTheDescriptorIsLeftToIt(t *testing.T) {
	e := newEventfd(t)
	r, err := watchReadable(e.fd, "test")
	require.NoError(t, err)
	defer r.close()
	for i := range 1000 {
		require.NoError(t, r.take())
		waiting := make(chan bool)
		go func() { waiting <- r.wait() }()
		for _, early := range []bool{i%2 == 0, i%2 != 0} { // what is there before, or comes after
			if early {
				e.post()
			} else {
				r.leave()
			}
		}
		require.True(t, receive(t, waiting))
		require.True(t, e.take())
	}
}

func TestLeadersWhoComeAndGoLoseNothing(t *testing.T) {
	for name, refuse := range map[string]func(turn int64) bool{
		"room": func(int64) bool { return false }, "now and then no room": func(turn int64) bool { return turn%3 != 0 },
	} {
		t.Run(name, func(t *testing.T) {
			const n = 20000
			e := newEventfd(t)
			r, err := watchReadable(e.fd, "test")
			require.NoError(t, err)
			defer r.close()
			var turn, taken, led atomic.Int64
			noRoomIf(r, func() bool { return refuse(turn.Add(1)) })
			event := func() {
				if e.take() && taken.Add(1) == n {
					r.wake()
					r.interrupt()
				}
			}
			var who sync.WaitGroup
			who.Go(func() { // the loop
				for taken.Load() < n {
					if r.wait() {
						event()
					}
				}
			})
			who.Go(func() { // leaders
				for taken.Load() < n {
					if r.take() != nil {
						runtime.Gosched()
						continue
					}
					for i := 0; i < 3 && taken.Load() < n; i++ {
						if r.await() {
							event()
							led.Add(1)
						}
					}
					r.leave()
				}
			})
			who.Go(func() { // each event comes when all before have been taken
				for i := range int64(n) {
					for taken.Load() < i {
						runtime.Gosched()
					}
					e.post()
				}
			})
			who.Wait()
			require.NotZero(t, led.Load())
		})
	}
}

func TestAnInterruptEndsOneWaitOfTheThread(t *testing.T) {
	e := newEventfd(t)
	r, err := watchReadable(e.fd, "test")
	require.NoError(t, err)
	defer r.close()
	require.NoError(t, r.take())
	r.interrupt()
	r.interrupt()
	require.False(t, r.await(), "interrupted before")
	for range 1000 { // whichever comes first
		ended := make(chan bool)
		go func() { ended <- r.await() }()
		r.interrupt()
		require.False(t, receive(t, ended))
	}
	r.interrupt()
	e.post()
	require.True(t, r.await(), "an interrupt hides no event")
	require.Error(t, r.take(), "it is taken already")
	r.leave()
}

// noRoomIf has the kernel refuse to watch a descriptor whenever full says so.
func noRoomIf(r *readable, full func() bool) {
	r.epollCtl = func(ep, op, fd int, ev *unix.EpollEvent) error {
		if op == unix.EPOLL_CTL_ADD && full() {
			return unix.ENOSPC
		}
		return unix.EpollCtl(ep, op, fd, ev)
	}
}

func TestWhoCannotWatchAgainWaitsInAThread(t *testing.T) {
	e := newEventfd(t)
	r, err := watchReadable(e.fd, "test")
	require.NoError(t, err)
	defer r.close()
	var full atomic.Bool
	full.Store(true)
	noRoomIf(r, full.Load)
	require.NoError(t, r.take())
	r.wake()
	r.leave()
	require.False(t, r.wait(), "woken before")
	require.Error(t, r.take(), "nobody else can watch meanwhile")
	waitsEndByWakesAndEvents(t, e, r)
	e.post()
	r.wake()
	require.True(t, r.wait(), "a wake hides no event")
	require.True(t, e.take())

	full.Store(false)
	ended := make(chan bool)
	go func() { ended <- r.wait() }()
	require.Eventually(t, func() bool { return r.take() == nil }, patience, time.Millisecond, "it is watched again")
	r.wake()
	require.False(t, receive(t, ended))
	r.leave()
	e.post()
	require.True(t, r.wait())
	require.True(t, e.take())
}

func TestWaitsThatComeAndGoWithoutRoomLoseNothing(t *testing.T) {
	const n = 20000
	e := newEventfd(t)
	r, err := watchReadable(e.fd, "test")
	require.NoError(t, err)
	defer r.close()
	turn := 0
	noRoomIf(r, func() bool { turn++; return turn%3 != 0 })
	var queued atomic.Int64
	var writers sync.WaitGroup
	writers.Go(func() {
		for range n {
			e.post()
		}
	})
	writers.Go(func() {
		for range n {
			queued.Add(1)
			r.wake()
		}
	})
	for events, commands := 0, 0; ; {
		commands += int(queued.Swap(0))
		if events == n && commands == n {
			break
		}
		if r.take() == nil {
			r.leave()
		}
		if r.wait() && e.take() {
			events++
		}
	}
	writers.Wait()
}

func TestClosingTheWatchLeavesTheDescriptorAlone(t *testing.T) {
	e := newEventfd(t)
	e.watch().close() // parked
	r := e.watch()
	e.post()
	waitReady(t, r)
	r.close() // not armed
	require.True(t, e.take())
}

func TestWatchingABadDescriptorIsAnError(t *testing.T) {
	_, err := watchReadable(-1, "test")
	require.ErrorIs(t, err, unix.EBADF)
}
