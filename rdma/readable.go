package rdma

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"catmint/internal/background"
)

// readable waits for a file descriptor of a C library in Go's netpoller, so that no
// goroutine is blocked inside C. It only looks whether something can be read; reading
// is left to the owner of the descriptor. The owner either calls wait or takes values
// from watch; who owns a wait can also take the descriptor and wait in a thread of his own.
//
// The netpoller reports edges. Whoever waits therefore looks with poll(2), which reports
// levels, before it parks, so that nothing that arrived since the owner's last read is
// missed.
type readable struct {
	name string
	fd   int             // what is watched
	file *os.File        // an epoll instance with fd in it
	ep   int             // file's descriptor
	edge unix.EpollEvent // how fd is watched
	conn syscall.RawConn
	intr int // eventfd: ends await

	woken atomic.Bool // wake has been called, and no wait has ended since

	blind     atomic.Bool // leave has failed, and fd is still out of the netpoller's sight
	blindness sync.Mutex  // of who changes that

	epollCtl func(ep, op, fd int, ev *unix.EpollEvent) error

	start sync.Once
	ready chan struct{} // capacity 1
	armed chan struct{} // capacity 1
	quit  chan struct{}
	done  <-chan struct{} // closed when the watcher has ended; nil: there is none
}

// watchReadable makes fd non-blocking. The caller keeps fd.
func watchReadable(fd int, name string) (*readable, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	// The netpoller watches an epoll instance with fd in it, because os.File closes what it is
	// given, and because fd can be taken out again.
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	edge := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(fd)}
	if err := errors.Join(unix.SetNonblock(ep, true), unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, fd, &edge)); err != nil {
		return nil, errors.Join(err, unix.Close(ep))
	}
	file := os.NewFile(uintptr(ep), name)
	intr, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	conn, err := file.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, file.Close(), unix.Close(intr))
	}
	return &readable{
		name: name, fd: fd, file: file, ep: ep, edge: edge, conn: conn, intr: intr, epollCtl: unix.EpollCtl,
		ready: make(chan struct{}, 1), armed: make(chan struct{}, 1), quit: make(chan struct{}),
	}, nil
}

// take takes fd out of the netpoller's sight, until leave. A thread that waits for it in await
// is then the only one that it wakes.
func (r *readable) take() error { return r.epollCtl(r.ep, unix.EPOLL_CTL_DEL, r.fd, nil) }

// leave undoes take. A wait that is under way, in the netpoller, sees what is there already, and
// what comes.
//
// The kernel may have no room for it (ENOSPC: max_user_watches, ENOMEM). Waits then take place
// in await, and each tries again first.
func (r *readable) leave() {
	if !r.unblind() {
		r.wake()
	}
}

// unblind has the netpoller see fd again, if it can.
func (r *readable) unblind() bool {
	r.blindness.Lock()
	defer r.blindness.Unlock()
	r.blind.Store(r.epollCtl(r.ep, unix.EPOLL_CTL_ADD, r.fd, &r.edge) != nil)
	return !r.blind.Load()
}

// await blocks the thread until fd can be read, or until interrupt.
func (r *readable) await() (events bool) {
	p := [2]unix.PollFd{{Fd: int32(r.fd), Events: unix.POLLIN}, {Fd: int32(r.intr), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(p[:], -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n > 0 && p[1].Revents != 0 {
			var b [8]byte
			_, _ = unix.Read(r.intr, b[:])
		}
		return err != nil || p[0].Revents != 0
	}
}

// interrupt ends the await that is under way, or the next one.
func (r *readable) interrupt() {
	_, _ = unix.Write(r.intr, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

// wait parks the caller until something can be read, until wake, or until close.
func (r *readable) wait() (events bool) {
	if r.blind.Load() && !r.unblind() {
		return r.waitBlind()
	}
	looked := false
	err := r.conn.Read(func(fd uintptr) bool {
		if looked { // the netpoller says so
			events = true
			return true
		}
		looked = true
		events = canRead(fd)
		return events || r.woken.Load()
	})
	r.woken.Store(false)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		// A wake that this undoes has been preceded by whatever its caller wants seen.
		_ = r.file.SetReadDeadline(time.Time{})
		// However often it is woken, the owner hears of events.
		_ = r.conn.Control(func(fd uintptr) { events = canRead(fd) })
	}
	return events
}

// waitBlind is wait without the netpoller. A wake that comes before it has seen blind leaves
// woken for us to see.
func (r *readable) waitBlind() (events bool) {
	if r.woken.Load() {
		r.interrupt()
	}
	events = r.await()
	r.woken.Store(false)
	return events
}

// wake ends the wait that is under way, or the next one.
func (r *readable) wake() {
	r.woken.Store(true)
	_ = r.file.SetReadDeadline(time.Unix(1, 0)) // long ago
	if r.blind.Load() {
		r.interrupt()
	}
}

// watch has a goroutine wait, armed to begin with, and returns where it tells.
func (r *readable) watch() <-chan struct{} {
	r.start.Do(func() {
		r.arm()
		r.done = background.Go(r.name, func() {
			for {
				select {
				case <-r.armed:
				case <-r.quit:
					return
				}
				if r.conn.Read(canRead) != nil { // closed
					return
				}
				select {
				case r.ready <- struct{}{}:
				default:
				}
			}
		})
	})
	return r.ready
}

// canRead is for syscall.RawConn.Read: true ends the wait.
func canRead(fd uintptr) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(p, 0)
		if !errors.Is(err, unix.EINTR) {
			return n != 0 || err != nil
		}
	}
}

// arm asks for one more value from watch once something can be read. It never blocks.
func (r *readable) arm() {
	select {
	case r.armed <- struct{}{}:
	default:
	}
}

// close ends the watch and waits until it has ended. Call it once.
func (r *readable) close() {
	close(r.quit)
	_ = r.file.Close()
	_ = unix.Close(r.intr)
	r.start.Do(func() {}) // none begins any more
	if r.done != nil {
		<-r.done
	}
}
