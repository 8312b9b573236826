package sim

import (
	"slices"
	"syscall"
	"time"

	"catmint/rdma"
)

// The connection manager's patience: the kernel's CMA_CM_RESPONSE_TIMEOUT of 20 (4.096 us *
// 2^20) and CMA_MAX_CM_RETRIES of 15.
const (
	// ResponseTimeout is when an unanswered CM message is sent again.
	ResponseTimeout = 4096 * time.Nanosecond << 20
	// MaxRetries is how many times it is.
	MaxRetries = 15
	// TimewaitPeriod is how long a connection stays in timewait.
	TimewaitPeriod = 2 * ResponseTimeout
)

// maxTimerCode is the largest code of an ACK timeout and of an RNR timer.
const maxTimerCode = 31

// cmState is the state of one side of a connection: IBTA volume 1, section 12.9.7.
type cmState int

const (
	cmIdle cmState = iota
	cmReqSent
	cmReqRcvd
	cmRepSent
	cmRepRcvd
	cmEstablished
	cmDreqSent
	cmDreqRcvd
	cmTimewait
)

// endpoint is one side of a connection. It lives on when its id is destroyed, to answer
// the peer.
type endpoint struct {
	host    *Host
	id      *id       // nil once destroyed
	peer    *endpoint // nil until the other side has heard of it
	passive bool
	state   cmState
	retry   *timer
	wait    *timer

	qpn                       uint32
	path                      path
	retryCount, rnrRetryCount uint8 // as we tell the peer
	ackTimeout, minRNRTimer   uint8 // that we want at our end, 0 for CM's own
}

func (ep *endpoint) net() *Network { return ep.host.net }

// enter changes the state, which ends retransmission.
func (ep *endpoint) enter(s cmState) {
	ep.state = s
	ep.net().clock.stop(ep.retry)
	ep.retry = nil
	if s != cmTimewait {
		return
	}
	ep.wait = ep.net().clock.after(TimewaitPeriod, func() {
		ep.net().mu.Lock()
		defer ep.net().mu.Unlock()
		if ep.state == cmTimewait {
			ep.state = cmIdle
			ep.report(rdma.Event{Type: rdma.TimewaitExit}, nil)
		}
	})
}

// report posts an event to the id, if there still is one.
func (ep *endpoint) report(ev rdma.Event, take func(*rdma.Event) bool) {
	if ep.id != nil {
		ep.id.post(ev, take)
	}
}

// message is one transmission.
type message struct {
	kind    MessageType
	to      *Host
	arrive  func()                         // at the peer
	expire  func()                         // no answer after all retries; may be nil
	refused func(reason rdma.RejectReason) // by a fault; may be nil
}

// transmit sends a message once.
func (ep *endpoint) transmit(m message) {
	n := ep.net()
	if m.to == nil || !n.reach(ep.host, m.to) {
		return
	}
	f := n.strike(Message(m.kind), ep.host)
	if f == nil {
		m.arrive()
		return
	}
	switch f.action {
	case actDrop:
	case actDelay:
		n.clock.after(f.delay, func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			m.arrive()
		})
	case actHold:
		f.held = append(f.held, m.arrive)
	case actTimeOut:
		if m.expire != nil {
			m.expire()
		}
	case actReject:
		if m.refused != nil {
			m.refused(rdma.RejectReason(f.status))
		}
	default:
		m.arrive()
	}
}

// transmitReliably sends a message again and again for as long as the endpoint stays in the
// state that it is in.
func (ep *endpoint) transmitReliably(m message) {
	n := ep.net()
	state := ep.state
	left := MaxRetries + 1
	var try func()
	try = func() {
		if ep.state != state {
			return
		}
		if left == 0 {
			m.expire()
			return
		}
		left--
		ep.retry = n.clock.after(ResponseTimeout, func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			try()
		})
		ep.transmit(m)
	}
	try()
}

// padded returns private data as providers hand it over: with the transport's length.
func padded(data []byte, n int) []byte {
	out := make([]byte, n)
	copy(out, data)
	return out
}

// check validates what Connect and Accept are told; RDMA_MAX_RESP_RES means all there is.
func (i *id) check(p rdma.ConnParam, room int) (rdma.ConnParam, bool) {
	most := uint8(min(i.dev.attr.MaxQPRdAtom, maxResources-1)) //nolint:gosec // bounded
	if p.ResponderResources == maxResources {
		p.ResponderResources = most
	}
	if p.InitiatorDepth == maxResources {
		p.InitiatorDepth = most
	}
	p.PrivateData = slices.Clone(p.PrivateData)
	return p, len(p.PrivateData) <= room && p.ResponderResources <= most &&
		p.InitiatorDepth <= most && p.RetryCount <= 7 && p.RNRRetryCount <= 7 &&
		p.AckTimeout <= maxTimerCode && p.MinRNRTimer <= maxTimerCode
}

// Connect implements [rdma.ID]. EINVAL: the route is not resolved, there is no queue pair,
// too much private data, a timer code above 31, or more READs than the device has room for.
func (i *id) Connect(param rdma.ConnParam) error {
	const op = "connect"
	defer i.lock()()
	if err := i.begin(CallConnect, op); err != nil {
		return err
	}
	if i.state != routeResolved || i.qp == nil {
		return i.fail(op, syscall.EINVAL)
	}
	p, ok := i.check(param, rdma.MaxRequestPrivateData)
	if !ok {
		return i.fail(op, syscall.EINVAL)
	}
	ep := &endpoint{
		host: i.host(), id: i, state: cmReqSent, qpn: i.qp.num,
		retryCount: p.RetryCount, rnrRetryCount: p.RNRRetryCount,
		ackTimeout: p.AckTimeout, minRNRTimer: p.MinRNRTimer,
	}
	i.ep = ep
	i.state = connecting
	to := i.host().net.hostOf(i.remote.Addr())
	r := &request{from: ep, local: i.local, remote: i.remote, param: p}
	ep.transmitReliably(message{
		kind:   REQ,
		to:     to,
		arrive: func() { to.request(r) },
		expire: func() {
			ep.enter(cmIdle)
			ep.report(rdma.Event{Type: rdma.Unreachable, Status: -int(syscall.ETIMEDOUT)}, nil)
		},
		refused: func(reason rdma.RejectReason) { ep.rejected(reason, nil) },
	})
	return nil
}

// Accept implements [rdma.ID]. EINVAL: not a pending request (the peer may have given up),
// and as for Connect.
func (i *id) Accept(param rdma.ConnParam) error {
	const op = "accept"
	defer i.lock()()
	if err := i.begin(CallAccept, op); err != nil {
		return err
	}
	ep := i.ep
	if ep == nil || ep.state != cmReqRcvd || i.qp == nil {
		return i.fail(op, syscall.EINVAL)
	}
	p, ok := i.check(param, rdma.MaxReplyPrivateData)
	if !ok {
		return i.fail(op, syscall.EINVAL)
	}
	ep.path.responderResources, ep.path.initDepth = p.ResponderResources, p.InitiatorDepth
	ep.ackTimeout, ep.minRNRTimer = p.AckTimeout, p.MinRNRTimer
	ep.setTimers()
	ep.qpn, ep.rnrRetryCount = i.qp.num, p.RNRRetryCount
	if errno := i.qp.connect(ep.path); errno != 0 {
		_ = i.qp.SetError()
		return i.fail(op, errno)
	}
	i.applyCut()
	i.known = true
	ep.enter(cmRepSent)
	peer := ep.peer
	ep.transmitReliably(message{
		kind:   REP,
		to:     peer.host,
		arrive: func() { peer.reply(ep, p) },
		expire: func() {
			ep.enter(cmIdle)
			ep.report(rdma.Event{Type: rdma.Unreachable, Status: -int(syscall.ETIMEDOUT)}, nil)
		},
	})
	return nil
}

// setTimers chooses the timers of our end. CM's own RNR timer is 0, and all there is for a queue
// pair that the id has made.
func (ep *endpoint) setTimers() {
	ep.path.ackTimeout, ep.path.minRNRTimer = ep.id.ackTimeout, 0
	if !ep.id.qp.taken {
		return
	}
	if ep.ackTimeout != 0 {
		ep.path.ackTimeout = ep.ackTimeout
	}
	ep.path.minRNRTimer = ep.minRNRTimer
}

// Reject implements [rdma.ID]. EINVAL: not a pending request.
func (i *id) Reject(privateData []byte) error {
	const op = "reject"
	defer i.lock()()
	if err := i.begin(CallReject, op); err != nil {
		return err
	}
	ep := i.ep
	if ep == nil || (ep.state != cmReqRcvd && ep.state != cmRepSent) ||
		len(privateData) > rdma.MaxRejectPrivateData {
		return i.fail(op, syscall.EINVAL)
	}
	ep.enter(cmIdle)
	ep.sendRej(rdma.RejectConsumerDefined, slices.Clone(privateData))
	return nil
}

// Disconnect implements [rdma.ID]: the queue pair enters the error state, and a DREQ is
// sent, or a DREP if the peer was first. EINVAL: never connected.
func (i *id) Disconnect() error {
	const op = "disconnect"
	defer i.lock()()
	if err := i.begin(CallDisconnect, op); err != nil {
		return err
	}
	if i.ep == nil {
		return i.fail(op, syscall.EINVAL)
	}
	if i.qp != nil {
		_ = i.qp.SetError()
	}
	switch i.ep.state {
	case cmEstablished:
		i.ep.enter(cmDreqSent)
		i.ep.sendDreq()
	case cmDreqRcvd:
		i.ep.enter(cmTimewait)
		i.ep.sendDrep(i.ep.peer)
	default: // nothing to say, which is no error
	}
	return nil
}

// applyCut tells the queue pair whether its peer can be reached.
func (i *id) applyCut() {
	if i.qp == nil || i.ep == nil || i.ep.peer == nil {
		return
	}
	i.qp.cut(!i.host().net.reach(i.host(), i.ep.peer.host))
}

// deviceRemoved is the removal of the id's device: the kernel destroys its part of the id
// and reports the event.
func (i *id) deviceRemoved() {
	if i.holdsPort() {
		i.host().freePort(i)
	}
	if i.ep != nil {
		i.ep.destroy()
		i.ep = nil
	}
	i.state = idle
	i.post(rdma.Event{Type: rdma.DeviceRemoval}, nil)
}
