package rdma

import (
	"sync"
	"syscall"

	"catmint/rdma/internal/track"
)

// use is the part of a verbs object that keeps the order of closing: an object counts
// the objects that depend on it, and is closed once, after them.
type use struct {
	mu         sync.Mutex
	dependents int
	closed     bool
	rec        *track.Record
}

// depend counts a dependent. EBADF: the object is closed.
func (u *use) depend(op, device string) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return errnoError(op, device, int(syscall.EBADF))
	}
	u.dependents++
	return nil
}

func (u *use) release() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.dependents--
}

// close runs destroy, which answers with a positive errno, once; after it, the release
// functions. EBUSY: something depends on the object. A failed close may be tried again.
func (u *use) close(op, device string, destroy func() int, release ...func()) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return nil
	}
	if u.dependents != 0 {
		return errnoError(op, device, int(syscall.EBUSY))
	}
	if err := errnoError(op, device, destroy()); err != nil {
		return err
	}
	u.closed = true
	u.rec.Close()
	for _, f := range release {
		f()
	}
	return nil
}
