package sim

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// watchFDs are the eventfds of a channel that is watched from C. All methods are called with
// the network's mu held, and do nothing for nil: nobody has asked for them.
type watchFDs [2]int

const (
	eventsFD = iota // can be read while there are events, and perhaps a little longer
	interruptFD
)

// WatchFDs implements [rdma.EventChannel].
func (ch *channel) WatchFDs() (events, interrupt int, err error) {
	n := ch.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if ch.closed {
		return -1, -1, opError("watch event channel", "", syscall.EBADF)
	}
	if ch.fds == nil {
		if ch.fds, err = newWatchFDs(); err != nil {
			return -1, -1, err
		}
		if len(ch.queue) != 0 {
			ch.fds.ring(eventsFD)
		}
	}
	return ch.fds[eventsFD], ch.fds[interruptFD], nil
}

func newWatchFDs() (*watchFDs, error) {
	var w watchFDs
	for i := range w {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		if err != nil {
			for _, open := range w[:i] {
				err = errors.Join(err, unix.Close(open))
			}
			return nil, err
		}
		w[i] = fd
	}
	return &w, nil
}

// ring makes one of them readable. What can fail is an overflow of its count.
func (w *watchFDs) ring(which int) {
	if w != nil {
		_, _ = unix.Write(w[which], []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
}

// drain says that there are no more events.
func (w *watchFDs) drain() {
	if w != nil {
		_, _ = unix.Read(w[eventsFD], make([]byte, 8))
	}
}

func (w *watchFDs) close() {
	if w != nil {
		_, _ = unix.Close(w[eventsFD]), unix.Close(w[interruptFD])
	}
}
