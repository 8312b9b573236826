package sim

import (
	"container/heap"
	"sync"
	"time"
)

// clock runs functions at set times, either of a time that stands still until it is
// advanced or of the system's. It has its own lock; functions run without it.
type clock struct {
	realTime bool

	mu      sync.Mutex
	now     time.Duration
	timers  timerHeap
	seq     uint64
	shutOff bool
	sys     map[*timer]struct{} // pending by the system's time
	running sync.WaitGroup      // pending or running by the system's time
}

type timer struct {
	at    time.Duration
	seq   uint64
	f     func()
	index int         // in the heap, -1 outside
	sys   *time.Timer // with realTime
	dead  bool
}

// after has f called once d has passed.
func (c *clock) after(d time.Duration, f func()) *timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq++
	t := &timer{at: c.now + d, seq: c.seq, f: f, index: -1}
	if !c.realTime {
		heap.Push(&c.timers, t)
		return t
	}
	if c.shutOff {
		return t
	}
	if c.sys == nil {
		c.sys = make(map[*timer]struct{})
	}
	c.sys[t] = struct{}{}
	c.running.Add(1)
	t.sys = time.AfterFunc(d, func() {
		defer c.running.Done()
		c.mu.Lock()
		dead := t.dead
		delete(c.sys, t)
		c.mu.Unlock()
		if !dead {
			f()
		}
	})
	return t
}

// stop cancels t; its function may be running already. t may be nil.
func (c *clock) stop(t *timer) {
	if t == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopLocked(t)
}

func (c *clock) stopLocked(t *timer) {
	t.dead = true
	if t.index >= 0 {
		heap.Remove(&c.timers, t.index)
	}
	if t.sys != nil && t.sys.Stop() {
		delete(c.sys, t)
		c.running.Done()
	}
}

// advance moves the time on and runs what falls due, in order of time.
func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	end := c.now + d
	for len(c.timers) > 0 && c.timers[0].at <= end {
		t, _ := heap.Pop(&c.timers).(*timer)
		c.now = t.at
		c.mu.Unlock()
		t.f()
		c.mu.Lock()
	}
	c.now = end
	c.mu.Unlock()
}

// next says how long it is until something falls due.
func (c *clock) next() (time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.timers) == 0 {
		return 0, false
	}
	return c.timers[0].at - c.now, true
}

// shut cancels everything and waits for what is running; nothing can be set afterwards.
func (c *clock) shut() {
	c.mu.Lock()
	c.shutOff = true
	c.timers = nil
	for t := range c.sys {
		c.stopLocked(t)
	}
	c.mu.Unlock()
	c.running.Wait()
}

type timerHeap []*timer

func (h timerHeap) Len() int { return len(h) }

func (h timerHeap) Less(i, j int) bool {
	if h[i].at != h[j].at {
		return h[i].at < h[j].at
	}
	return h[i].seq < h[j].seq
}

func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

func (h *timerHeap) Push(x any) {
	t, _ := x.(*timer)
	t.index = len(*h)
	*h = append(*h, t)
}

func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	t.index = -1
	*h = old[:len(old)-1]
	return t
}
