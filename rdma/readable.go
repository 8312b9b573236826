package rdma

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"catmint/internal/background"
)

// readable watches a file descriptor of a C library in Go's netpoller, so that no
// goroutine is blocked inside C. It only looks whether something can be read; reading
// is left to the owner of the descriptor.
//
// The netpoller reports edges. The watcher therefore looks with poll(2), which reports
// levels, each time it is armed and before it parks, so that nothing that arrived
// between the owner's last read and arm is missed.
type readable struct {
	file  *os.File
	ready chan struct{} // capacity 1
	armed chan struct{} // capacity 1
	quit  chan struct{}
	done  chan struct{}
}

// watchReadable makes fd non-blocking and starts to watch it, armed. The caller keeps fd.
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
	r := &readable{
		file:  file,
		ready: make(chan struct{}, 1),
		armed: make(chan struct{}, 1),
		quit:  make(chan struct{}),
		done:  make(chan struct{}),
	}
	r.arm()
	background.Go(name, func() {
		defer close(r.done)
		for {
			select {
			case <-r.armed:
			case <-r.quit:
				return
			}
			if conn.Read(canRead) != nil { // closed
				return
			}
			select {
			case r.ready <- struct{}{}:
			default:
			}
		}
	})
	return r, nil
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

// arm asks for one more value on ready once something can be read. It never blocks.
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
	<-r.done
}
