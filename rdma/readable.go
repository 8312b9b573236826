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
// from watch.
//
// The netpoller reports edges. Whoever waits therefore looks with poll(2), which reports
// levels, before it parks, so that nothing that arrived since the owner's last read is
// missed.
type readable struct {
	name string
	file *os.File
	conn syscall.RawConn

	woken atomic.Bool // wake has been called, and no wait has ended since

	start sync.Once
	ready chan struct{} // capacity 1
	armed chan struct{} // capacity 1
	quit  chan struct{}
	done  chan struct{} // closed when the watcher has ended; nil: there is none
}

// watchReadable makes fd non-blocking. The caller keeps fd.
func watchReadable(fd int, name string) (*readable, error) {
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, err
	}
	// A dup, because os.File closes what it is given.
	dup, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(dup), name)
	conn, err := file.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &readable{
		name: name, file: file, conn: conn,
		ready: make(chan struct{}, 1), armed: make(chan struct{}, 1), quit: make(chan struct{}),
	}, nil
}

// wait parks the caller until something can be read, until wake, or until close.
func (r *readable) wait() (events bool) {
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

// wake ends the wait that is under way, or the next one.
func (r *readable) wake() {
	r.woken.Store(true)
	_ = r.file.SetReadDeadline(time.Unix(1, 0)) // long ago
}

// watch has a goroutine wait, armed to begin with, and returns where it tells.
func (r *readable) watch() <-chan struct{} {
	r.start.Do(func() {
		r.arm()
		r.done = make(chan struct{})
		background.Go(r.name, func() {
			defer close(r.done)
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
	r.start.Do(func() {}) // none begins any more
	if r.done != nil {
		<-r.done
	}
}
