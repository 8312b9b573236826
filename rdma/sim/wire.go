package sim

import (
	"net/netip"
	"syscall"

	"catmint/rdma"
)

// request is a REQ.
type request struct {
	from          *endpoint
	local, remote netip.AddrPort // as the sender sees them
	param         rdma.ConnParam
}

// listener finds who listens on an address of the host.
func (h *Host) listener(to netip.AddrPort) *id {
	a := to.Addr().Unmap().WithZone("")
	var found *id
	for _, i := range h.ports[to.Port()] {
		if i.state != listening {
			continue
		}
		l := i.local.Addr().WithZone("")
		if l == a {
			return i
		}
		if l.IsUnspecified() && (l.Is4() == a.Is4() || (l.Is6() && !i.afOnly)) {
			found = i
		}
	}
	return found
}

// request is the arrival of a REQ at the passive side.
func (h *Host) request(r *request) {
	if r.from.peer != nil || r.from.state != cmReqSent {
		return // a retransmission of one that we have, or given up
	}
	dev := h.deviceOf(r.remote.Addr().WithZone(""))
	if dev == nil {
		return // the device has gone: nobody answers
	}
	l := h.listener(r.remote)
	if l == nil {
		ep := &endpoint{host: h, peer: r.from, passive: true}
		ep.sendRej(rdma.RejectInvalidServiceID, nil)
		return
	}
	if l.waiting >= l.backlog {
		return // overflow: the peer will try again
	}
	child := newID(l.ch)
	child.state = connecting
	child.dev = dev
	child.local = zoned(r.remote, dev)
	child.remote = zoned(r.local, dev)
	ep := &endpoint{host: h, id: child, peer: r.from, passive: true, state: cmReqRcvd}
	ep.path = path{
		destQPN:       r.from.qpn,
		retryCount:    r.param.RetryCount,
		rnrRetryCount: r.param.RNRRetryCount,
	}
	child.ep = ep
	r.from.peer = ep
	l.waiting++
	l.post(rdma.Event{
		Type: rdma.ConnectRequest, ID: child, Listener: l,
		PrivateData:        padded(r.param.PrivateData, rdma.MaxRequestPrivateData),
		ResponderResources: r.param.InitiatorDepth,
		InitiatorDepth:     r.param.ResponderResources,
	}, func(*rdma.Event) bool {
		l.waiting--
		l.ch.adopt(child)
		return true
	})
}

// zoned gives a link-local address the zone that it has on dev's host.
func zoned(a netip.AddrPort, dev *device) netip.AddrPort {
	addr := a.Addr().WithZone("")
	if addr.Is6() && addr.IsLinkLocalUnicast() {
		addr = addr.WithZone(dev.cfg.Netdev)
	}
	return netip.AddrPortFrom(addr, a.Port())
}

// reply is the arrival of a REP at the active side. Who takes the event connects the queue pair,
// and only then answers with RTU.
func (ep *endpoint) reply(from *endpoint, p rdma.ConnParam) {
	switch ep.state {
	case cmReqSent:
	case cmEstablished:
		ep.sendRtu() // the first one was lost
		return
	default:
		return
	}
	ep.enter(cmRepRcvd)
	ep.path = path{
		destQPN: from.qpn,
		// The reply's offer, seen from here.
		responderResources: p.InitiatorDepth,
		initDepth:          p.ResponderResources,
		retryCount:         ep.retryCount,
		rnrRetryCount:      p.RNRRetryCount,
	}
	ep.report(rdma.Event{
		Type:               rdma.ConnectResponse,
		PrivateData:        padded(p.PrivateData, rdma.MaxReplyPrivateData),
		ResponderResources: p.InitiatorDepth,
		InitiatorDepth:     p.ResponderResources,
	}, ep.takeResponse)
}

// takeResponse is the part of librdmacm when a CONNECT_RESPONSE is fetched, or of package rdma if
// the id has taken its queue pair.
func (ep *endpoint) takeResponse(ev *rdma.Event) bool {
	i := ep.id
	if i == nil {
		return false
	}
	if i.qp == nil {
		return true // left to the application, which has a queue pair elsewhere
	}
	if ep.state != cmRepRcvd {
		return false // rejected meanwhile: REJECTED follows
	}
	ep.setTimers()
	if errno := i.qp.connect(ep.path); errno != 0 {
		_ = i.qp.SetError()
		i.connectError = true
		*ev = rdma.Event{Type: rdma.ConnectError, Status: -int(errno), ID: i}
		ep.enter(cmIdle)
		ep.sendRej(rdma.RejectConsumerDefined, nil)
		return true
	}
	i.applyCut()
	ev.Type = rdma.Established
	ep.enter(cmEstablished)
	ep.sendRtu()
	return true
}

func (ep *endpoint) sendRtu() {
	peer := ep.peer
	ep.transmit(message{kind: RTU, to: peer.host, arrive: func() {
		if peer.state != cmRepSent {
			return
		}
		peer.enter(cmEstablished)
		peer.report(rdma.Event{Type: rdma.Established}, peer.unlessConnectError)
	}})
}

// unlessConnectError suppresses events after a CONNECT_ERROR, as librdmacm does.
func (ep *endpoint) unlessConnectError(*rdma.Event) bool {
	return ep.id != nil && !ep.id.connectError
}

func (ep *endpoint) sendRej(reason rdma.RejectReason, data []byte) {
	peer := ep.peer
	if peer == nil {
		return
	}
	ep.transmit(message{kind: REJ, to: peer.host, arrive: func() { peer.rejected(reason, data) }})
}

// rejected is the arrival of a REJ.
func (ep *endpoint) rejected(reason rdma.RejectReason, data []byte) {
	switch ep.state {
	case cmReqSent, cmRepRcvd, cmReqRcvd, cmRepSent:
	default:
		return
	}
	ep.enter(cmIdle)
	ep.report(rdma.Event{
		Type: rdma.Rejected, Status: int(reason),
		PrivateData: padded(data, rdma.MaxRejectPrivateData),
	}, func(*rdma.Event) bool {
		if !ep.unlessConnectError(nil) {
			return false
		}
		if ep.id.qp != nil {
			_ = ep.id.qp.SetError()
		}
		return true
	})
}

func (ep *endpoint) sendDreq() {
	peer := ep.peer
	ep.transmitReliably(message{
		kind:   DREQ,
		to:     peer.host,
		arrive: func() { peer.disconnectRequest(ep) },
		expire: func() {
			ep.enter(cmTimewait)
			ep.disconnected(-int(syscall.ETIMEDOUT))
		},
	})
}

// disconnectRequest is the arrival of a DREQ.
func (ep *endpoint) disconnectRequest(from *endpoint) {
	switch ep.state {
	case cmEstablished, cmRepSent, cmDreqSent:
		ep.enter(cmDreqRcvd)
		ep.disconnected(0)
	case cmDreqRcvd:
		// a retransmission; the answer waits for Disconnect
	default:
		ep.sendDrep(from)
	}
}

func (ep *endpoint) sendDrep(to *endpoint) {
	ep.transmit(message{kind: DREP, to: to.host, arrive: func() {
		if to.state == cmDreqSent || to.state == cmDreqRcvd {
			to.enter(cmTimewait)
			to.disconnected(0)
		}
	}})
}

// disconnected reports DISCONNECTED, once.
func (ep *endpoint) disconnected(status int) {
	if ep.id == nil || ep.id.state != connecting {
		return
	}
	ep.id.state = disconnected
	ep.report(rdma.Event{Type: rdma.Disconnected, Status: status}, ep.unlessConnectError)
}

// destroy is the end of the id: the peer is told once what it must know.
func (ep *endpoint) destroy() {
	ep.id = nil
	switch ep.state {
	case cmReqSent:
		ep.enter(cmIdle)
		ep.sendRej(rdma.RejectTimeout, nil)
	case cmReqRcvd, cmRepSent, cmRepRcvd:
		ep.enter(cmIdle)
		ep.sendRej(rdma.RejectConsumerDefined, nil)
	case cmEstablished:
		peer := ep.peer
		ep.enter(cmTimewait)
		ep.transmit(message{kind: DREQ, to: peer.host, arrive: func() { peer.disconnectRequest(ep) }})
	case cmDreqRcvd:
		ep.enter(cmTimewait)
		ep.sendDrep(ep.peer)
	case cmDreqSent:
		ep.enter(cmTimewait)
	default:
	}
	ep.net().clock.stop(ep.wait) // nobody is left to hear of TIMEWAIT_EXIT
	ep.wait = nil
}

// vanish forgets a request that was lost on its way to the application.
func (ep *endpoint) vanish() {
	ep.id = nil
	ep.enter(cmIdle)
}
