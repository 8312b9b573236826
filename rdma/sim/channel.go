package sim

import (
	"cmp"
	"slices"
	"syscall"

	"catmint/rdma"
	"catmint/rdma/internal/track"
)

// channel implements [rdma.EventChannel].
type channel struct {
	host  *Host
	ready chan struct{}
	woken chan struct{} // capacity 1
	intr  chan struct{} // capacity 1
	rec   *track.Record

	// Guarded by the network's mu.
	ids    map[*id]struct{}
	queue  []queued
	taken  bool // see TakeWatch
	closed bool
}

// queued is an event that waits to be taken.
type queued struct {
	id *id // that it is reported to: for a connection request, the listener
	ev rdma.Event
	// take does what librdmacm does in rdma_get_cm_event, and may change the event; false
	// suppresses it. It may be nil.
	take func(*rdma.Event) bool
}

// Readable implements [rdma.EventChannel].
func (ch *channel) Readable() <-chan struct{} { return ch.ready }

// Wait implements [rdma.EventChannel].
func (ch *channel) Wait() (events bool) {
	n := ch.host.net
	n.mu.Lock()
	events, taken := len(ch.queue) != 0, ch.taken
	n.mu.Unlock()
	if taken {
		<-ch.woken
		return false
	}
	return events || ch.next(ch.woken)
}

// next waits for an event or for who ends that.
func (ch *channel) next(ended <-chan struct{}) (events bool) {
	select {
	case <-ch.ready:
		return true
	case <-ended:
		return false
	}
}

// TakeWatch implements [rdma.EventChannel]. A Wait that is under way may see one event more.
func (ch *channel) TakeWatch() bool {
	ch.setTaken(true)
	return true
}

// LeaveWatch implements [rdma.EventChannel]. A blind Wait begins anew.
func (ch *channel) LeaveWatch() {
	ch.setTaken(false)
	ch.Wake()
}

func (ch *channel) setTaken(taken bool) {
	n := ch.host.net
	n.mu.Lock()
	ch.taken = taken
	n.mu.Unlock()
}

// Await implements [rdma.EventChannel].
func (ch *channel) Await() (events bool) {
	n := ch.host.net
	n.mu.Lock()
	events = len(ch.queue) != 0
	n.mu.Unlock()
	return events || ch.next(ch.intr)
}

// Interrupt implements [rdma.EventChannel].
func (ch *channel) Interrupt() {
	select {
	case ch.intr <- struct{}{}:
	default:
	}
}

// Wake implements [rdma.EventChannel].
func (ch *channel) Wake() {
	select {
	case ch.woken <- struct{}{}:
	default:
	}
}

// GetEvent implements [rdma.EventChannel].
func (ch *channel) GetEvent() (rdma.Event, bool, error) {
	n := ch.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if ch.closed {
		return rdma.Event{}, false, opError("get CM event", "", syscall.EBADF)
	}
	for len(ch.queue) > 0 {
		q := ch.queue[0]
		ch.queue = ch.queue[1:]
		if q.take == nil || q.take(&q.ev) {
			return q.ev, true, nil
		}
	}
	ch.queue = nil
	return rdma.Event{}, false, nil
}

// CreateID implements [rdma.EventChannel].
func (ch *channel) CreateID() (rdma.ID, error) {
	const op = "create id"
	n := ch.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if ch.closed {
		return nil, opError(op, "", syscall.EBADF)
	}
	if err := ch.host.callLocked(CallCreateID, op, ""); err != nil {
		return nil, err
	}
	i := newID(ch)
	i.known = true
	ch.adopt(i)
	return i, nil
}

// adopt makes i one of the channel's ids, for the caller to close.
func (ch *channel) adopt(i *id) {
	i.rec = track.Open("cm_id")
	ch.ids[i] = struct{}{}
	ch.host.net.ids++
}

// Close implements [rdma.EventChannel].
func (ch *channel) Close() error {
	n := ch.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if ch.closed {
		return nil
	}
	if len(ch.ids) != 0 {
		return opError("close event channel", "", syscall.EBUSY)
	}
	ch.closed = true
	ch.queue = nil
	ch.host.channels = slices.DeleteFunc(ch.host.channels, func(c *channel) bool { return c == ch })
	n.chans--
	ch.rec.Close()
	return nil
}

// push appends an event and wakes the loop.
func (ch *channel) push(q queued) {
	ch.queue = append(ch.queue, q)
	select {
	case ch.ready <- struct{}{}:
	default:
	}
}

// discard drops the waiting events of an id and returns the connection requests among them.
func (ch *channel) discard(i *id) []*id {
	var requests []*id
	ch.queue = slices.DeleteFunc(ch.queue, func(q queued) bool {
		if q.id != i {
			return false
		}
		if child, ok := q.ev.ID.(*id); ok && q.ev.Type == rdma.ConnectRequest {
			requests = append(requests, child)
		}
		return true
	})
	return requests
}

// ordered returns the ids in the order in which they were made.
func (ch *channel) ordered() []*id {
	ids := make([]*id, 0, len(ch.ids))
	for i := range ch.ids {
		ids = append(ids, i)
	}
	slices.SortFunc(ids, func(a, b *id) int { return cmp.Compare(a.seq, b.seq) })
	return ids
}
