package libos

import (
	"container/list"
	"time"

	"catmint/internal/background"
	"catmint/libos/connfsm"
)

// deadlines end connects and accepts that take too long. All have the same time, so the oldest is
// the first to be over, and one timer does for all. It is left to run when the connection that it
// was started for is established: to start a timer may wake a thread that looks after timers, and
// the next connection comes before it ends, or it ends once for nothing. All of it belongs to
// whoever has the turn.
type deadlines struct {
	limit time.Duration
	queue list.List // of *conn, oldest first
	timer *time.Timer
}

var loaded = time.Now()

// uptime is a time by the monotonic clock alone, which costs half of what time.Now does.
func uptime() time.Duration { return time.Since(loaded) }

// start begins the time of c.
func (d *deadlines) start(c *conn) {
	d.stop(c)
	c.deadline = uptime() + d.limit
	c.queued = d.queue.PushBack(c)
	if d.timer == nil {
		d.arm(c.d.loop, d.limit)
	}
}

// stop is for a connection that is over with it, or never began.
func (d *deadlines) stop(c *conn) {
	if c.queued != nil {
		d.queue.Remove(c.queued)
		c.queued = nil
	}
}

func (d *deadlines) arm(l *loop, after time.Duration) {
	d.timer = background.After(after, "deadline", func() {
		background.Checkpoint("timer")
		l.post(func() { d.expire(l) })
	})
}

// expire ends those whose time is over, and waits for the next.
func (d *deadlines) expire(l *loop) {
	d.timer = nil
	for e := d.queue.Front(); e != nil; e = d.queue.Front() {
		c := e.Value.(*conn)
		if left := c.deadline - uptime(); left > 0 {
			d.arm(l, left)
			return
		}
		d.stop(c)
		c.expired(connfsm.Deadline)
	}
}

// end lets nothing run on when the driver stops.
func (d *deadlines) end() {
	if d.timer != nil {
		d.timer.Stop()
	}
}
