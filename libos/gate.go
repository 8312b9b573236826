package libos

import (
	"errors"
	"net/netip"
	"syscall"

	"catmint/libos/connfsm"
	"catmint/libos/hello"
	"catmint/rdma"
)

// Gate looks at every connection request of a listening socket before the socket does, so
// that one port can serve peers of another protocol, too. It runs on the engine's loop:
// it must not block, nor call the socket.
type Gate func(GateRequest) Verdict

// GateRequest is a connection request at a gate.
type GateRequest struct {
	Peer        netip.AddrPort
	PrivateData []byte // as it came, padding included; valid during the call
	Hello       error  // why the private data is no hello of ours, nil if it is one
	// The peer's offer.
	ResponderResources, InitiatorDepth uint8
}

// Foreign says that the peer does not speak this libOS's protocol.
func (r GateRequest) Foreign() bool { return errors.Is(r.Hello, hello.ErrForeign) }

// Verdict is what becomes of a request. The zero value leaves it to the socket.
type Verdict struct {
	// Refuse answers with a typed reason, if not 0.
	Refuse hello.Reason
	// Raw accepts the connection outside of the socket and its backlog, if not nil, on a
	// queue pair that is the caller's, as [Connector.Dial] does.
	Raw *Hooks
	// Up is told the outcome of Raw, once, on the loop: the connection with a nil error
	// when it is established, which its owner closes; or the error for which it never
	// will be, when there is nothing to close. Released is closed later in both cases.
	Up func(*RawConn, error)
}

// SetGate has g look at the requests of a socket that is going to listen. EINVAL: it
// listens, connects or is closed; the requests that came before would have passed.
func (s *Socket) SetGate(g Gate) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != sockFresh && s.state != sockBound {
		return syscall.EINVAL
	}
	s.gate = g
	return nil
}

// gated asks the gate about a request; true: it has been dealt with.
func (l *listener) gated(ev rdma.Event, parse error) bool {
	if l.s.gate == nil || l.fsm.State != connfsm.Listening {
		return false
	}
	v := l.s.gate(GateRequest{
		Peer: ev.ID.RemoteAddr(), PrivateData: ev.PrivateData, Hello: parse,
		ResponderResources: ev.ResponderResources, InitiatorDepth: ev.InitiatorDepth,
	})
	switch {
	case v.Refuse != 0:
		l.s.e.stats.refused.Add(1)
		l.reject(ev.ID, hello.RejectError{Reason: v.Refuse})
	case v.Raw != nil:
		l.s.e.acceptRaw(ev, *v.Raw, v.Up)
	default:
		return false
	}
	return true
}

// acceptRaw begins a passive connection whose queue pair belongs to the hooks' owner. Loop
// only.
func (d *driver) acceptRaw(ev rdma.Event, h Hooks, up func(*RawConn, error)) {
	r := &RawConn{d: d, h: h, done: make(chan struct{}), free: make(chan struct{}), accepted: up}
	r.c = d.newConn(rawEndpoint{r}, r)
	r.c.id, r.c.dst = ev.ID, ev.ID.RemoteAddr()
	d.loop.owners[ev.ID] = r.c
	r.c.info.mark(phaseStarted)
	r.c.step(connfsm.Event{Kind: connfsm.Request})
}
