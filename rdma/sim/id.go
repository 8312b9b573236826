package sim

import (
	"net/netip"
	"slices"
	"syscall"
	"time"

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
	firstEphemeralPort = 32768
	lastEphemeralPort  = 60999
	maxBacklog         = 1024 // of ucma.c
	maxResources       = 0xff // RDMA_MAX_RESP_RES: as many as the device has
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

// BindAddr implements [rdma.ID]. EINVAL: bound already, or a link-local address without
// zone; EADDRNOTAVAIL: not an address of this host, or the wildcard meets another id's port;
// EADDRINUSE. To rdma_cm a loopback address is a wildcard, on which nobody can be reached.
func (i *id) BindAddr(addr netip.AddrPort) error {
	const op = "bind address"
	defer i.lock()()
	if err := i.begin(CallBindAddr, op); err != nil {
		return err
	}
	return i.fail(op, i.bind(addr))
}

func (i *id) bind(addr netip.AddrPort) syscall.Errno {
	if i.state != idle || !addr.IsValid() {
		return syscall.EINVAL
	}
	a := addr.Addr().Unmap()
	var dev *device
	if !anyAddr(a) {
		if a.Is6() && a.IsLinkLocalUnicast() && a.Zone() == "" {
			return syscall.EINVAL
		}
		if dev = i.host().deviceOf(a); dev == nil {
			return syscall.EADDRNOTAVAIL
		}
	}
	port, errno := i.host().takePort(i, a, addr.Port())
	if errno != 0 {
		return errno
	}
	i.local = netip.AddrPortFrom(a, port)
	i.dev = dev
	i.state = addrBound
	return 0
}

// anyAddr is cma_any_addr of cma.c.
func anyAddr(a netip.Addr) bool { return a.IsUnspecified() || a.IsLoopback() }

// conflict checks port sharing as cma.c does.
func (i *id) conflict(a netip.Addr, other *id, reuse bool) syscall.Errno {
	if other == i || (reuse && other.reuse) {
		return 0
	}
	b := other.local.Addr()
	if i.afOnly && other.afOnly && a.Is4() != b.Is4() {
		return 0
	}
	if anyAddr(a) || anyAddr(b) {
		return syscall.EADDRNOTAVAIL
	}
	if a == b {
		return syscall.EADDRINUSE
	}
	return 0
}

// takePort gives i a port number, any with 0.
func (h *Host) takePort(i *id, a netip.Addr, port uint16) (uint16, syscall.Errno) {
	if port == 0 {
		for range lastEphemeralPort - firstEphemeralPort + 1 {
			p := h.nextPort
			if h.nextPort++; h.nextPort > lastEphemeralPort {
				h.nextPort = firstEphemeralPort
			}
			if len(h.ports[p]) == 0 {
				h.ports[p] = []*id{i}
				return p, 0
			}
		}
		return 0, syscall.EADDRNOTAVAIL
	}
	for _, other := range h.ports[port] {
		if errno := i.conflict(a, other, i.reuse); errno != 0 {
			return 0, errno
		}
	}
	h.ports[port] = append(h.ports[port], i)
	return port, 0
}

// holdsPort: a new connection shares its listener's.
func (i *id) holdsPort() bool { return i.state != idle && (i.ep == nil || !i.ep.passive) }

func (h *Host) freePort(i *id) {
	p := i.local.Port()
	ids := slices.DeleteFunc(h.ports[p], func(other *id) bool { return other == i })
	if len(ids) == 0 {
		delete(h.ports, p)
	} else {
		h.ports[p] = ids
	}
}

// ResolveAddr implements [rdma.ID]. ENETUNREACH: no device reaches dst; EINVAL: the id is
// past this step, or the families differ; errors of BindAddr for src. An address that nobody
// has ends in ADDR_ERROR -ETIMEDOUT. The loopback address is resolved; its route is not.
func (i *id) ResolveAddr(src, dst netip.AddrPort, _ time.Duration) error {
	const op = "resolve address"
	defer i.lock()()
	if err := i.begin(CallResolveAddr, op); err != nil {
		return err
	}
	if !dst.IsValid() {
		return i.fail(op, syscall.EINVAL)
	}
	d := dst.Addr().Unmap()
	if i.state == idle {
		if !src.IsValid() {
			src = netip.AddrPortFrom(wildcard(d), 0)
		}
		if errno := i.bind(src); errno != 0 {
			return i.fail(op, errno)
		}
	}
	if i.state != addrBound || i.local.Addr().Is4() != d.Is4() {
		return i.fail(op, syscall.EINVAL)
	}
	return i.fail(op, i.resolve(netip.AddrPortFrom(d, dst.Port())))
}

func wildcard(like netip.Addr) netip.Addr {
	if like.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

func (i *id) resolve(dst netip.AddrPort) syscall.Errno {
	n := i.host().net
	if anyAddr(dst.Addr()) {
		return i.resolveLoopback(dst)
	}
	from := i.local.Addr()
	if anyAddr(from) {
		from = netip.Addr{}
	}
	local, dev, ok := i.host().route(from, dst.Addr())
	if !ok {
		return syscall.ENETUNREACH
	}
	if peer := n.hostOf(dst.Addr()); peer == nil || !n.reach(i.host(), peer) {
		i.post(rdma.Event{Type: rdma.AddrError, Status: -int(syscall.ETIMEDOUT)}, nil)
		return 0
	}
	i.resolved(local, dst, dev)
	return 0
}

// resolveLoopback takes the host's first device, as cma_bind_loopback does.
func (i *id) resolveLoopback(dst netip.AddrPort) syscall.Errno {
	dev := i.dev
	if dev == nil {
		if len(i.host().devices) == 0 {
			return syscall.ENODEV
		}
		dev = i.host().devices[0]
	}
	i.loopback = true
	local, remote := dst.Addr(), dst
	if local.IsUnspecified() {
		remote = netip.AddrPort{}
		if local.Is4() {
			local = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		} else {
			local = netip.IPv6Loopback()
		}
	}
	i.resolved(local, remote, dev)
	return 0
}

// resolved reports ADDR_RESOLVED; what it tells is known when the event is taken.
func (i *id) resolved(local netip.Addr, remote netip.AddrPort, dev *device) {
	i.state = addrResolved
	i.post(rdma.Event{Type: rdma.AddrResolved}, func(*rdma.Event) bool {
		i.local = netip.AddrPortFrom(local, i.local.Port())
		i.remote, i.dev = remote, dev
		return true
	})
}

// ResolveRoute implements [rdma.ID]. EINVAL: the address has not been resolved; ENODEV: it
// is a loopback address.
func (i *id) ResolveRoute(time.Duration) error {
	const op = "resolve route"
	defer i.lock()()
	if err := i.begin(CallResolveRoute, op); err != nil {
		return err
	}
	if i.state != addrResolved || i.dev == nil {
		return i.fail(op, syscall.EINVAL)
	}
	if i.loopback {
		return i.fail(op, syscall.ENODEV)
	}
	i.state = routeResolved
	i.post(rdma.Event{Type: rdma.RouteResolved}, nil)
	return nil
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
	qp.id, i.qp = i, qp
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
		ok := timeout <= 31
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
