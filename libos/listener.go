package libos

import (
	"errors"
	"syscall"
	"time"

	"catmint/datapath"
	"catmint/libos/connfsm"
	"catmint/libos/hello"
	"catmint/rdma"
)

// cmBacklog is what the kernel may queue of requests that we have not fetched. They are
// fetched at once; our own backlog counts those that we have answered.
const cmBacklog = 1024

// listener drives the state machine of a listening socket. Loop only.
type listener struct {
	s        *Socket
	id       rdma.ID
	fsm      connfsm.Listener
	waiting  []datapath.Token // accepts, oldest first
	ready    []*Socket        // established and not accepted, oldest first
	underway map[*Socket]struct{}
}

// request is what an event of the listener's state machine is about.
type request struct {
	ev    rdma.Event     // of ListenRequest and ListenBadRequest
	offer hello.Hello    // of ListenRequest
	err   error          // of ListenBadRequest
	child *Socket        // of ListenChildReady and ListenChildGone
	token datapath.Token // of ListenAccept
}

func (l *listener) step(ev connfsm.ListenerEvent, r request) {
	next, acts := l.fsm.Step(ev)
	l.fsm = next
	switch ev {
	case connfsm.ListenChildReady:
		delete(l.underway, r.child)
		l.ready = append(l.ready, r.child)
	case connfsm.ListenChildGone:
		delete(l.underway, r.child)
	default: // concerns no connection
	}
	for _, a := range acts {
		l.do(a, ev, r)
	}
}

func (l *listener) do(a connfsm.ListenerAction, ev connfsm.ListenerEvent, r request) {
	e := l.s.e
	switch a.Op {
	case connfsm.Admit:
		l.admit(r)
	case connfsm.Refuse:
		l.refuse(a.Err, r)
	case connfsm.Match:
		qt, child := l.waiting[0], l.ready[0]
		l.waiting, l.ready = l.waiting[1:], l.ready[1:]
		child.accepted(qt)
	case connfsm.KeepAccept:
		l.waiting = append(l.waiting, r.token)
	case connfsm.FailAccept:
		e.failToken(r.token, a.Err)
	case connfsm.FailWaiting:
		for _, qt := range l.waiting {
			e.failToken(qt, a.Err)
		}
		l.waiting = nil
	case connfsm.AbortReady:
		ready := l.ready
		l.ready = nil
		for _, child := range ready {
			child.abandon(ousted(ev))
		}
	case connfsm.AbortUnderway:
		for child := range l.underway {
			child.abandon(ousted(ev))
		}
	case connfsm.Evict:
		child := l.overdue()
		e.log.Info("connection evicted: the peer has not confirmed it, and the backlog is full", "peer", child.conn.dst.String(),
			"backlog", l.fsm.Backlog)
		child.abandon("evicted: the peer has not confirmed it, and the backlog was full")
	case connfsm.AbortChild:
		l.ready = nil
		r.child.abandon(ousted(ev))
	case connfsm.DestroyListenID:
		if err := e.loop.closeID(l.id); err != nil {
			e.stats.leaks.Add(1)
			e.log.Error("destroy listening id", "err", err)
		}
		l.id = nil
	case connfsm.CompleteListenClose:
		l.s.closed()
		l.s.released()
	case connfsm.LogStray:
		e.log.Debug("stray event of a listener", "event", ev.String(), "cm", r.ev.Type.String(), "status", r.ev.Status)
	}
}

// ousted says why a connection that nobody has accepted ends with its listener, "" if the
// application has closed that.
func ousted(ev connfsm.ListenerEvent) string {
	if ev == connfsm.ListenDeviceGone {
		return "the listener's device was removed"
	}
	return ""
}

// cmEvent implements cmOwner.
func (l *listener) cmEvent(ev rdma.Event) {
	switch ev.Type {
	case rdma.ConnectRequest:
		l.s.e.stats.requests.Add(1)
		offer, err := hello.Parse(ev.PrivateData, hello.Offer)
		if l.gated(ev, err) {
			return
		}
		if err != nil {
			l.step(connfsm.ListenBadRequest, request{ev: ev, err: err})
			return
		}
		what := connfsm.ListenRequest
		if l.fsm.Full() && l.overdue() != nil {
			what = connfsm.ListenPressing
		}
		l.step(what, request{ev: ev, offer: offer})
	case rdma.DeviceRemoval:
		l.s.e.log.Warn("listener's device removed", "local", l.s.localAddr().String())
		l.step(connfsm.ListenDeviceGone, request{ev: ev})
	default:
		l.step(connfsm.ListenStray, request{ev: ev})
	}
}

// overdue is the connection that has been waiting for the peer's confirmation longest, if that is
// too long; nil if none has.
func (l *listener) overdue() (child *Socket) {
	sent := time.Now().Add(-l.s.e.cfg.ConfirmTime)
	for s := range l.underway {
		if s.conn.fsm.State != connfsm.Accepting {
			continue // nobody but us is late
		}
		if at := s.conn.info.sent(); at.Before(sent) {
			child, sent = s, at
		}
	}
	return child
}

// admit begins a passive connection. Its descriptor is taken now, so that there is no
// connection that could not be accepted for want of one.
func (l *listener) admit(r request) {
	e := l.s.e
	child, err := e.newSocket(l.s.domain, l.s.typ, false)
	if err != nil {
		e.log.Warn("request refused", "peer", r.ev.ID.RemoteAddr().String(), "err", err)
		l.reject(r.ev.ID, hello.RejectError{Reason: hello.ReasonResources})
		l.step(connfsm.ListenChildGone, request{})
		return
	}
	child.opts = l.s.inherited()
	c, ep := child.newDataConn()
	ep.offer, ep.peer, ep.ask = r.offer, r.offer, r.ev
	c.id, c.dst = r.ev.ID, r.ev.ID.RemoteAddr()
	e.loop.owners[c.id] = c
	child.become(c, l)
	l.underway[child] = struct{}{}
	c.info.mark(phaseStarted)
	c.step(connfsm.Event{Kind: connfsm.Request})
}

func (l *listener) refuse(err syscall.Errno, r request) {
	e := l.s.e
	var rej hello.RejectError
	switch {
	case err == syscall.EPROTO && errors.Is(r.err, hello.ErrProbe):
		rej = hello.RejectFor(r.err)
		e.log.Info("probe answered", "peer", r.ev.ID.RemoteAddr().String())
	case err == syscall.EPROTO:
		e.stats.badHellos.Add(1)
		rej = hello.RejectFor(r.err)
		e.log.Info("request refused", "peer", r.ev.ID.RemoteAddr().String(), "err", r.err)
	case err == syscall.ECONNREFUSED:
		e.stats.refused.Add(1)
		rej = hello.RejectError{Reason: hello.ReasonFull, Detail: uint32(l.fsm.Backlog)}
		e.log.Info("request refused: backlog full", "peer", r.ev.ID.RemoteAddr().String(), "backlog", l.fsm.Backlog)
	default:
		rej = hello.RejectError{Reason: hello.ReasonShuttingDown}
	}
	l.reject(r.ev.ID, rej)
}

func (l *listener) reject(id rdma.ID, r hello.RejectError) {
	l.s.e.stats.refuse(r.Reason)
	if err := id.Reject(r.Marshal()); err != nil {
		l.s.e.log.Debug("reject", "err", err) // the peer gave up meanwhile
	}
	if err := id.Close(); err != nil {
		l.s.e.stats.leaks.Add(1)
		l.s.e.log.Error("destroy refused id", "err", err)
	}
}
