package libos

import (
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"catmint/datapath"
	"catmint/internal/background"
)

// backoff is how long the housekeeper leaves an engine to an application that polls
// before it looks whether that has stopped.
const backoff = 5 * time.Millisecond

// housekeeper is the engine's leader while no C thread is: it arms the completion queues
// and parks in the netpoller, so that credits, FIN and FIN_ACK move while the application
// computes, and so that goroutines can wait.
//
//	ARMED    completion queues armed, parked on their channels. No ticking. An event is
//	         handled; if the application has polled meanwhile, go to BACKOFF.
//	BACKOFF  the application polls by itself. When it has not for a while: ARMED.
//	PARKED   a C thread sleeps as the leader. A notice says when it leaves.
//
// Completion channels are watched one-shot, through an epoll instance of our own, so that
// outside ARMED an event wakes nobody here.
type housekeeper struct {
	dp    *datapath.Engine
	epoll *os.File
	conn  syscall.RawConn

	events chan struct{} // a completion channel is readable
	kicks  chan struct{} // capacity 1: go to ARMED
	quit   chan struct{}
	done   <-chan struct{} // and the keeper itself
	seen   <-chan struct{} // the watcher has ended

	fds     atomic.Pointer[[]int] // watched
	handled atomic.Uint64         // completions handled, for statistics
	polls   atomic.Uint64         // of the completion queues, each counted before it is done
	after   func()                // called after progress: take notices
	needed  func() bool           // a goroutine waits: stay ARMED whatever the application does
}

func newHousekeeper(dp *datapath.Engine, after func(), needed func() bool) (*housekeeper, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil { // makes os.NewFile use the netpoller
		return nil, errors.Join(err, unix.Close(fd))
	}
	h := &housekeeper{
		dp: dp, epoll: os.NewFile(uintptr(fd), "completion channels"),
		events: make(chan struct{}), kicks: make(chan struct{}, 1),
		quit: make(chan struct{}), after: after, needed: needed,
	}
	h.fds.Store(&[]int{})
	if h.conn, err = h.epoll.SyscallConn(); err != nil {
		return nil, errors.Join(err, h.epoll.Close())
	}
	h.seen = background.Go("completion channels", h.watchEvents)
	h.done = background.Go("housekeeper", h.run)
	return h, nil
}

// watch adds a completion channel. One owner changes the set at a time (Engine.devMu, or
// the end of the engine).
func (h *housekeeper) watch(fd int) error {
	err := h.control(unix.EPOLL_CTL_ADD, fd, 0)
	if err != nil {
		return os.NewSyscallError("epoll_ctl", err)
	}
	fds := append(append([]int{}, *h.fds.Load()...), fd)
	h.fds.Store(&fds)
	return nil
}

func (h *housekeeper) unwatch(fd int) {
	for {
		old := h.fds.Load()
		var fds []int
		for _, f := range *old {
			if f != fd {
				fds = append(fds, f)
			}
		}
		if h.fds.CompareAndSwap(old, &fds) {
			break
		}
	}
	_ = h.control(unix.EPOLL_CTL_DEL, fd, 0)
}

func (h *housekeeper) control(op, fd int, events uint32) error {
	var result error
	err := h.conn.Control(func(ep uintptr) {
		result = unix.EpollCtl(int(ep), op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
	})
	return errors.Join(err, result)
}

// kick has the housekeeper become the leader at once: a goroutine is going to wait.
func (h *housekeeper) kick() {
	select {
	case h.kicks <- struct{}{}:
	default:
	}
}

// watchEvents turns readiness of the channels into values on events.
func (h *housekeeper) watchEvents() {
	var evs [8]unix.EpollEvent
	for {
		err := h.conn.Read(func(ep uintptr) bool {
			n, err := unix.EpollWait(int(ep), evs[:], 0)
			return n > 0 || err != nil && !errors.Is(err, unix.EINTR)
		})
		if err != nil { // closed
			return
		}
		background.Checkpoint("completion channels")
		select {
		case h.events <- struct{}{}:
		case <-h.quit:
			return
		}
	}
}

// arm becomes the leader if it can. leader is false while a C thread is.
func (h *housekeeper) arm() (leader bool) {
	for {
		h.polls.Add(2) // before and after
		err := h.dp.Arm()
		switch {
		case err == nil:
			for _, fd := range *h.fds.Load() {
				// An event that is there already is reported at once.
				_ = h.control(unix.EPOLL_CTL_MOD, fd, unix.EPOLLIN|unix.EPOLLONESHOT)
			}
			return true
		case errors.Is(err, syscall.EAGAIN):
			h.polls.Add(1)
			h.handled.Add(uint64(h.dp.Poll()))
			h.after()
			select {
			case <-h.quit:
				return true
			default:
			}
		default:
			return false
		}
	}
}

func (h *housekeeper) run() {
	timer := time.NewTimer(backoff)
	defer timer.Stop()
	timer.Stop()
	activity := h.dp.Activity()
	armed := h.arm()
	h.after()
	for {
		background.Checkpoint("housekeeper")
		select {
		case <-h.quit:
			return
		case <-h.kicks:
			activity = h.dp.Activity()
			armed = h.arm()
			h.after()
		case <-h.events:
			h.polls.Add(1)
			h.handled.Add(uint64(h.dp.ChannelEvent()))
			h.after()
			now := h.dp.Activity()
			if now != activity && !h.needed() { // the application polls by itself
				activity, armed = now, false
				timer.Reset(backoff)
				continue
			}
			activity, armed = now, h.arm()
			h.after()
		case <-timer.C:
			if armed {
				continue
			}
			now := h.dp.Activity()
			if now != activity {
				activity = now
				timer.Reset(backoff)
				continue
			}
			armed = h.arm() // if a C thread sleeps as the leader, its notice kicks us
			h.after()
		}
	}
}

func (h *housekeeper) stop() error {
	close(h.quit)
	<-h.done
	err := h.epoll.Close()
	<-h.seen
	return err
}
