package sim

import (
	"net/netip"
	"syscall"

	"catmint/rdma"
	"catmint/rdma/internal/track"
)

// idState is the state of an id: enum rdma_cm_state of the kernel's rdma_cm_ib.h.
type idState int

const (
	idle idState = iota
	addrBound
	addrResolved
	routeResolved
	connecting // the kernel's CONNECT: from rdma_connect or a request until disconnected
	disconnected
	listening
)

const (
	maxBacklog   = 1024 // of ucma.c
	maxResources = 0xff // RDMA_MAX_RESP_RES: as many as the device has
)

// id implements [rdma.ID]. Everything is guarded by the network's mu.
type id struct {
	ch     *channel
	seq    int
	rec    *track.Record
	closed bool
	// known says that the application has taken the id over; events of a new connection
	// before that are lost, as in ucma.c.
	known bool
	state idState

	local, remote netip.AddrPort
	dev           *device
	loopback      bool // resolved to the loopback address

	reuse, afOnly bool
	ackTimeout    uint8
	qp            *queuePair
	ep            *endpoint
	connectError  bool
	swapped       []queued

	backlog, waiting int // of a listener: requests that have not been fetched
}

func newID(ch *channel) *id {
	ch.host.net.idSeq++
	return &id{ch: ch, seq: ch.host.net.idSeq, ackTimeout: 18}
}

func (i *id) lock() func() {
	i.ch.host.net.mu.Lock()
	return i.ch.host.net.mu.Unlock
}

func (i *id) host() *Host { return i.ch.host }

func (i *id) deviceName() string {
	if i.dev == nil {
		return ""
	}
	return i.dev.cfg.Name
}

// begin checks what every operation begins with.
func (i *id) begin(c CallType, op string) error {
	if i.closed {
		return opError(op, "", syscall.EBADF)
	}
	return i.host().callLocked(c, op, i.deviceName())
}

func (i *id) fail(op string, errno syscall.Errno) error { return opError(op, i.deviceName(), errno) }

// post reports an event to the id, unless a fault has other plans.
func (i *id) post(ev rdma.Event, take func(*rdma.Event) bool) {
	n := i.host().net
	if !i.known {
		return
	}
	if ev.ID == nil {
		ev.ID = i
	}
	q := queued{id: i, ev: ev, take: take}
	t := ev.Type
	if t == rdma.ConnectResponse && i.qp != nil {
		t = rdma.Established // what librdmacm will make of it
	}
	f := n.strike(Event(t), i.host())
	if f == nil {
		i.enqueue(q)
		return
	}
	later := func() {
		i.enqueue(q)
	}
	switch f.action {
	case actDrop:
		i.lose(q)
	case actDelay:
		n.clock.after(f.delay, func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			later()
		})
	case actSwap:
		i.swapped = append(i.swapped, q)
	case actHold:
		f.held = append(f.held, later)
	case actBecome:
		i.enqueue(i.transform(q, f.become, f.status))
	default:
		i.enqueue(q)
	}
}

// transform turns a waiting event into another and takes the id back to where that other
// leaves it.
func (i *id) transform(q queued, t rdma.CMEvent, status int) queued {
	switch t {
	case rdma.AddrError:
		i.state = addrBound
	case rdma.RouteError:
		i.state = addrResolved
	default:
	}
	q.ev.Type, q.ev.Status = t, status
	q.take = nil
	return q
}

// lose drops an event; with a connection request the new id goes as well.
func (i *id) lose(q queued) {
	if q.ev.Type != rdma.ConnectRequest {
		return
	}
	i.waiting--
	if child, ok := q.ev.ID.(*id); ok && child.ep != nil {
		child.ep.vanish()
	}
}

func (i *id) enqueue(q queued) {
	if i.closed {
		if child, ok := q.ev.ID.(*id); ok && q.ev.Type == rdma.ConnectRequest {
			child.destroy()
		}
		return
	}
	i.ch.push(q)
	swapped := i.swapped
	i.swapped = nil
	for _, s := range swapped {
		i.ch.push(s)
	}
}

// CreateQP implements [rdma.ID]. EINVAL: no device, a second queue pair, or a PD or CQ of
// another device; ENOMEM: none left.
func (i *id) CreateQP(pd rdma.PD, attr rdma.QPInitAttr) (rdma.QP, error) {
	defer i.lock()()
	if err := i.begin(CallCreateQP, opCreateQP); err != nil {
		return nil, err
	}
	if i.dev == nil || i.qp != nil {
		return nil, i.fail(opCreateQP, syscall.EINVAL)
	}
	qp, errno := newQueuePair(i.dev, pd, attr)
	if errno != 0 {
		return nil, i.fail(opCreateQP, errno)
	}
	qp.id, i.qp = i, qp
	return qp, nil
}

// TakeQP implements [rdma.ID]. EINVAL: no device, a second queue pair, one of another device
// or one that an id has taken; EBADF: it is closed.
func (i *id) TakeQP(q rdma.QP) error {
	const op = "take queue pair"
	defer i.lock()()
	if err := i.begin(CallTakeQP, op); err != nil {
		return err
	}
	qp, ok := q.(*queuePair)
	if !ok || i.dev == nil || i.qp != nil || qp.dev != i.dev || qp.id != nil {
		return i.fail(op, syscall.EINVAL)
	}
	if !qp.isOpen() {
		return i.fail(op, syscall.EBADF)
	}
	qp.id, i.qp, qp.taken = i, qp, true
	return nil
}

// Listen implements [rdma.ID]. A backlog below 1 or above 1024 is 1024, as in ucma.c; it
// bounds the requests that have not been fetched by GetEvent: more are lost in silence.
func (i *id) Listen(backlog int) error {
	const op = "listen"
	defer i.lock()()
	if err := i.begin(CallListen, op); err != nil {
		return err
	}
	if i.state == idle {
		if errno := i.bind(netip.AddrPortFrom(netip.IPv4Unspecified(), 0)); errno != 0 {
			return i.fail(op, errno)
		}
	}
	if i.state != addrBound {
		return i.fail(op, syscall.EINVAL)
	}
	if i.reuse {
		for _, other := range i.host().ports[i.local.Port()] {
			if errno := i.conflict(i.local.Addr(), other, false); errno != 0 {
				return i.fail(op, errno)
			}
		}
		i.reuse = false
	}
	if backlog < 1 || backlog > maxBacklog {
		backlog = maxBacklog
	}
	i.backlog = backlog
	i.state = listening
	return nil
}

// LocalAddr implements [rdma.ID].
func (i *id) LocalAddr() netip.AddrPort {
	defer i.lock()()
	return i.local
}

// RemoteAddr implements [rdma.ID].
func (i *id) RemoteAddr() netip.AddrPort {
	defer i.lock()()
	return i.remote
}

// Device implements [rdma.ID].
func (i *id) Device() rdma.Device {
	defer i.lock()()
	if i.dev == nil {
		return nil
	}
	return i.dev
}

// Port implements [rdma.ID].
func (i *id) Port() int {
	defer i.lock()()
	if i.dev == nil {
		return 0
	}
	return 1
}

// SetReuseAddr implements [rdma.ID].
func (i *id) SetReuseAddr(on bool) error {
	return i.setOption(func() bool {
		ok := i.state == idle || (on && i.state != listening)
		if ok {
			i.reuse = on
		}
		return ok
	})
}

// SetAFOnly implements [rdma.ID].
func (i *id) SetAFOnly(on bool) error {
	return i.setOption(func() bool {
		ok := i.state == idle || i.state == addrBound
		if ok {
			i.afOnly = on
		}
		return ok
	})
}

// SetTOS implements [rdma.ID]; a simulated network treats all services alike.
func (i *id) SetTOS(uint8) error { return i.setOption(func() bool { return true }) }

// SetAckTimeout implements [rdma.ID]. EINVAL: above 31.
func (i *id) SetAckTimeout(timeout uint8) error {
	return i.setOption(func() bool {
		ok := timeout <= maxTimerCode
		if ok {
			i.ackTimeout = timeout
		}
		return ok
	})
}

func (i *id) setOption(set func() bool) error {
	const op = "set option"
	defer i.lock()()
	if i.closed {
		return opError(op, "", syscall.EBADF)
	}
	if !set() {
		return i.fail(op, syscall.EINVAL)
	}
	return nil
}

// Close implements [rdma.ID].
func (i *id) Close() error {
	defer i.lock()()
	if i.closed {
		return nil
	}
	if i.qp != nil {
		return i.fail("destroy id", syscall.EBUSY)
	}
	delete(i.ch.ids, i)
	i.host().net.ids--
	i.rec.Close()
	i.destroy()
	return nil
}

// destroy is Close for the id's part in the network; new ids that were never fetched are
// destroyed without having been the application's.
func (i *id) destroy() {
	i.closed = true
	i.swapped = nil
	if i.holdsPort() {
		i.host().freePort(i)
	}
	for _, child := range i.ch.discard(i) {
		child.destroy()
	}
	if i.ep != nil {
		i.ep.destroy()
	}
}
