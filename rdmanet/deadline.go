package rdmanet

import (
	"context"
	"net"
	"os"
	"sync"
	"time"

	"catmint/internal/background"
)

// deadline ends the waits of one direction: at a time that may be moved while somebody waits,
// or for good.
type deadline struct {
	mu     sync.Mutex
	done   chan struct{} // closed when the time has come
	timer  *time.Timer   // nil: there is no time
	closed bool
}

func newDeadline() *deadline { return &deadline{done: make(chan struct{})} }

// set moves the time; the zero time is never, a time that has passed ends waits at once.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return
	}
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if over(d.done) {
		d.done = make(chan struct{})
	}
	if t.IsZero() {
		return
	}
	left := time.Until(t)
	if left <= 0 {
		close(d.done)
		return
	}
	var timer *time.Timer
	timer = background.After(left, "deadline", func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.timer == timer { // neither moved nor closed meanwhile
			d.timer = nil
			close(d.done)
		}
	})
	d.timer = timer
}

// close ends all waits, those to come included, with net.ErrClosed.
func (d *deadline) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if !over(d.done) {
		close(d.done)
	}
}

// wait is a context for one wait.
func (d *deadline) wait() context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	return until{d, d.done}
}

// err is why a wait that begins now would end at once, or nil.
func (d *deadline) err() error { return d.wait().Err() }

// until is a context that a deadline ends.
type until struct {
	d    *deadline
	done <-chan struct{}
}

func (until) Deadline() (time.Time, bool) { return time.Time{}, false } // it may be moved
func (until) Value(any) any               { return nil }
func (u until) Done() <-chan struct{}     { return u.done }

func (u until) Err() error {
	if !over(u.done) {
		return nil
	}
	u.d.mu.Lock()
	defer u.d.mu.Unlock()
	if u.d.closed {
		return net.ErrClosed
	}
	return os.ErrDeadlineExceeded
}

func over(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}
