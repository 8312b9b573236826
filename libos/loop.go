package libos

import (
	"sync"
	"syscall"

	"catmint/internal/background"
	"catmint/rdma"
)

// cmOwner is who an id belongs to: a connection or a listener.
type cmOwner interface {
	cmEvent(ev rdma.Event)
}

// loop is the one goroutine that makes every call on an event channel and its ids, and
// that owns the state of every connection and listener on them.
type loop struct {
	ch   rdma.EventChannel
	done chan struct{}
	dead <-chan struct{} // closed when nothing here may be relied on any more; see Process.Abort

	mu     sync.Mutex
	queue  []func()
	closed bool

	owners map[rdma.ID]cmOwner // loop only
	onErr  func(error)         // loop only; an error of the channel itself
}

func newLoop(ch rdma.EventChannel, dead <-chan struct{}, onErr func(error)) *loop {
	l := &loop{ch: ch, done: make(chan struct{}), dead: dead, owners: map[rdma.ID]cmOwner{}, onErr: onErr}
	background.Go("event loop", l.run)
	return l
}

// post has f run on the loop, after everything posted before. It never blocks. It reports
// false when the loop has ended; f is dropped then.
func (l *loop) post(f func()) bool {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return false
	}
	l.queue = append(l.queue, f)
	first := len(l.queue) == 1
	l.mu.Unlock()
	if first { // otherwise the loop has been woken and has not come yet
		l.ch.Wake()
	}
	return true
}

// call runs f on the loop and waits for it. ENOSYS: the loop has ended; EIO: it is dead. It
// must not be used on the loop.
func (l *loop) call(f func() error) error {
	result := make(chan error, 1)
	if !l.post(func() { result <- f() }) {
		return syscall.ENOSYS
	}
	select {
	case err := <-result:
		return err
	case <-l.dead:
		return syscall.EIO
	}
}

// run takes turns: what has been posted, then an event, so that neither waits behind a long
// queue of the other.
func (l *loop) run() {
	defer close(l.done)
	for {
		background.Checkpoint("event loop")
		if l.takeCommands() {
			return
		}
		if l.ch.Wait() {
			l.takeEvent()
		}
	}
}

// takeCommands runs what has been posted until now. last says that nothing will be any more.
func (l *loop) takeCommands() (last bool) {
	l.mu.Lock()
	q := l.queue
	l.queue = nil
	last = l.closed
	l.mu.Unlock()
	for _, f := range q {
		f()
	}
	return last
}

func (l *loop) takeEvent() {
	ev, ok, err := l.ch.GetEvent()
	if err != nil {
		l.onErr(err)
		return
	}
	if !ok {
		return
	}
	o := l.owners[ev.ID]
	if o == nil && ev.Type == rdma.ConnectRequest { // whose id is new
		o = l.owners[ev.Listener]
	}
	if o != nil {
		o.cmEvent(ev)
		return
	}
	if ev.Type == rdma.ConnectRequest { // its listener has just been closed
		_ = ev.ID.Reject(nil)
		_ = ev.ID.Close()
	}
}

// closeID destroys an id and forgets its owner.
func (l *loop) closeID(id rdma.ID) error {
	delete(l.owners, id)
	return id.Close()
}

// stop ends the loop after what has been posted, and closes the channel.
func (l *loop) stop() error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	l.ch.Wake()
	<-l.done
	return l.ch.Close()
}
