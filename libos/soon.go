package libos

import (
	"errors"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"catmint/internal/background"
)

// soon runs what is not urgent a little later. To start it wakes no thread, as a timer of the
// runtime does: a goroutine is parked on a timerfd.
type soon struct {
	file    *os.File
	conn    syscall.RawConn
	started atomic.Bool // and the goroutine has not heard of it
	done    <-chan struct{}
}

// soonDelay is long enough for what must not be disturbed, the caller of a connect that has just
// got his connection, and short beside what waits for it: keepalive and timers.
const soonDelay = time.Millisecond

func newSoon(name string, f func()) (*soon, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	s := &soon{file: os.NewFile(uintptr(fd), name)}
	if s.conn, err = s.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, s.file.Close())
	}
	s.done = background.Go(name, func() {
		var expirations [8]byte
		for {
			if _, err := s.file.Read(expirations[:]); err != nil { // closed
				return
			}
			s.started.Store(false)
			f()
		}
	})
	return s, nil
}

// start has f run once after the delay, however often it is called meanwhile.
func (s *soon) start() {
	if s.started.Swap(true) {
		return
	}
	_ = s.conn.Control(func(fd uintptr) { // an error: stopped
		_ = unix.TimerfdSettime(int(fd), 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(soonDelay))}, nil)
	})
}

// stop waits until f does not run and will not any more.
func (s *soon) stop() error {
	err := s.file.Close()
	<-s.done
	return err
}
