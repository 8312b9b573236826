package libos

import (
	"errors"
	"sync"
	"syscall"

	"catmint/internal/background"
	"catmint/rdma"
)

// cmOwner is who an id belongs to: a connection or a listener.
type cmOwner interface {
	cmEvent(ev rdma.Event)
}

// loop is the order in which things happen on an event channel. Every call on the channel and
// its ids, and every change to a connection or listener on them, is made by whoever has the
// turn: one goroutine at a time. What has been posted runs in its order, on the turn that is
// under way or the next.
//
// A goroutine of the loop's own waits for events and takes what is posted. Others take turns for
// themselves: who posts and has nothing else to do (help), and who waits for a connection to be
// set up, which watches the channel in its place (lead.go). So a connection that somebody waits
// for needs nobody to be woken.
type loop struct {
	ch   rdma.EventChannel
	done <-chan struct{} // it has ended
	dead <-chan struct{} // closed when nothing here may be relied on any more; see Process.Abort
	turn chan struct{}   // capacity 1: full while somebody has the turn

	mu     sync.Mutex
	queue  []func()
	spent  []func() // a queue that has been run, for the next one to lie in
	later  []func() // when those who wait have been served
	busy   bool     // who has the turn will look into the queue before the turn ends
	closed bool
	watch  watch
	soon   *soon // takes a turn for what is for later

	owners map[rdma.ID]cmOwner // turn only
	onErr  func(error)         // turn only; an error of the channel itself
	jobs   jobs                // turn only
}

func newLoop(ch rdma.EventChannel, dead <-chan struct{}, onErr func(error)) (*loop, error) {
	l := &loop{
		ch: ch, dead: dead, turn: make(chan struct{}, 1),
		owners: map[rdma.ID]cmOwner{}, onErr: onErr,
	}
	var err error
	if l.soon, err = newSoon("event loop, later", l.takeLater); err != nil {
		return nil, err
	}
	l.done = background.Go("event loop", l.run)
	return l, nil
}

// enqueue has f run on the turn that is under way or the next, after everything before it. It
// reports false when the loop has ended; f is dropped then. wake: nobody is coming by himself.
func (l *loop) enqueue(f func()) (ok, wake bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false, false
	}
	l.queue = append(l.queue, f)
	return true, !l.busy && len(l.queue) == 1
}

// takeQueue takes what has been posted until now; spend follows. Locked.
func (l *loop) takeQueue() []func() {
	q := l.queue
	l.queue, l.spent = l.spent, nil
	return q
}

// spend gives back a queue that has been run. Locked.
func (l *loop) spend(q []func()) {
	const most = 64
	clear(q)
	if cap(q) > cap(l.spent) && cap(q) <= most {
		l.spent = q[:0]
	}
}

// post has f run on a turn, after everything posted before. It never blocks. It reports
// false when the loop has ended; f is dropped then.
func (l *loop) post(f func()) bool {
	ok, wake := l.enqueue(f)
	if wake {
		l.ch.Wake()
	}
	return ok
}

// postLater has f run on a turn of its own, when those who wait have been served: whoever did it at
// once would compete with them. Turn only.
func (l *loop) postLater(f func()) {
	l.mu.Lock()
	l.later = append(l.later, f)
	l.mu.Unlock()
}

// do is post, and does it at once if nobody has the turn. The caller holds no lock that what is
// posted may take, and has no turn.
func (l *loop) do(f func()) bool {
	ok, _ := l.enqueue(f)
	if ok {
		l.help()
	}
	return ok
}

// help takes a turn for what has been enqueued, if nobody has it: who has it will see to that.
func (l *loop) help() {
	select {
	case l.turn <- struct{}{}:
		l.begin()
		l.end(false)
	default:
	}
}

// call runs f on the loop and waits for it. ENOSYS: the loop has ended; EIO: it is dead. It
// must not be used on a turn.
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

// enter takes the turn. false: the loop is dead, and may never be free again.
func (l *loop) enter() bool {
	select { // costs less than both at once
	case l.turn <- struct{}{}:
		l.begin()
		return true
	default:
	}
	select {
	case l.turn <- struct{}{}:
		l.begin()
		return true
	case <-l.dead:
		return false
	}
}

func (l *loop) begin() {
	l.mu.Lock()
	l.busy = true
	l.mu.Unlock()
}

// end runs what has been posted and gives the turn back. late: what is for later runs now, too.
func (l *loop) end(late bool) {
	var q []func()
	for {
		l.mu.Lock()
		l.spend(q)
		q = l.takeQueue()
		if late && len(q) == 0 {
			q, l.later = l.later, q
		}
		if len(q) == 0 {
			l.spend(q)
			l.busy = false
			<-l.turn
			later := len(l.later) != 0
			l.mu.Unlock()
			if later {
				l.soon.start()
			}
			return
		}
		l.mu.Unlock()
		for _, f := range q {
			f()
		}
	}
}

// takeLater takes a turn for what is for later.
func (l *loop) takeLater() {
	background.Checkpoint("event loop, later")
	if l.enter() {
		l.end(true)
	}
}

// run takes turns: what has been posted, then an event, so that neither waits behind a long
// queue of the other.
func (l *loop) run() {
	for events := false; ; events = l.ch.Wait() {
		background.Checkpoint("event loop")
		l.mu.Lock()
		last := l.closed
		l.mu.Unlock()
		if !l.enter() {
			return
		}
		if events {
			l.takeCommands()
		}
		l.takeOne(events, last)
		if last {
			return
		}
	}
}

// takeCommands runs what has been posted until now.
func (l *loop) takeCommands() {
	l.mu.Lock()
	q := l.takeQueue()
	l.mu.Unlock()
	for _, f := range q {
		f()
	}
	l.mu.Lock()
	l.spend(q)
	l.mu.Unlock()
}

// takeOne takes an event, if there is one, gives the turn back, and does what the event has left
// to do without it. worked: there was such a job.
func (l *loop) takeOne(events, late bool) (worked bool) {
	if events {
		l.jobs.wanted = true
		l.takeEvent()
	}
	job := l.jobs.job
	l.jobs = jobs{}
	l.end(late)
	if job != nil {
		job()
	}
	return job != nil
}

// jobs is what may take a while and need not be done on the turn.
type jobs struct {
	wanted bool // who has the turn takes one
	job    func()
}

// takeJob leaves a job to whoever has the turn, if that is who waits for events: a worker for it
// would have to be woken. Turn only.
func (l *loop) takeJob(f func()) bool {
	if !l.jobs.wanted || l.jobs.job != nil {
		return false
	}
	l.jobs.job = f
	return true
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
	err := l.soon.stop()
	l.mu.Lock() // nobody interrupts any more
	defer l.mu.Unlock()
	return errors.Join(err, l.ch.Close())
}
