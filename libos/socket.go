package libos

import (
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"catmint/datapath"
	"catmint/libos/connfsm"
)

// Socket is a queue descriptor of a stream socket. Its calls may be made from any
// goroutine; those that return a token never wait. Accept, Connect, and a wait for their tokens
// may do the engine's work meanwhile, so the caller holds no lock that a hook takes ([Gate],
// [Hooks]).
type Socket struct {
	e      *Engine
	qd     int32
	domain int // AF_INET or AF_INET6
	typ    int // SOCK_STREAM
	done   chan struct{}

	mu    sync.Mutex
	state sockState
	opts  options
	local netip.AddrPort // bound to
	err   *ConnectError  // of a failed connect
	info  *connInfo      // of the connection, nil while there is none
	token datapath.Token // of connect

	gate Gate // of a listening socket, nil for none; set before it listens

	// Loop only.
	conn *conn
	lis  *listener // listening socket: its own
	of   *listener // connection that has not been accepted: whose
}

type sockState int

const (
	sockFresh sockState = iota
	sockBound
	sockListening
	sockConnecting
	sockConnected
	sockFailed
	sockClosing
)

// Socket makes a socket: domain AF_INET or AF_INET6, typ SOCK_STREAM, proto 0 or
// IPPROTO_TCP. ENOTSUP for others; EMFILE: descriptors are used up.
func (e *Engine) Socket(domain, typ, proto int) (*Socket, error) {
	switch {
	case domain != unix.AF_INET && domain != unix.AF_INET6:
		return nil, syscall.ENOTSUP
	case typ != unix.SOCK_STREAM:
		return nil, syscall.ENOTSUP
	case proto != 0 && proto != unix.IPPROTO_TCP:
		return nil, syscall.ENOTSUP
	}
	return e.newSocket(domain, typ, true)
}

// newSocket makes a socket that the application knows of, or is to know later.
func (e *Engine) newSocket(domain, typ int, known bool) (*Socket, error) {
	qd, err := datapath.AllocQD(e.dp)
	if err != nil {
		return nil, err
	}
	s := &Socket{e: e, qd: qd, domain: domain, typ: typ, done: make(chan struct{}), opts: e.defaultOptions()}
	if known {
		e.p.addSocket(s)
	}
	return s, nil
}

// QD is the socket's descriptor.
func (s *Socket) QD() int32 { return s.qd }

// Engine is the socket's engine; an accepted socket has its listener's.
func (s *Socket) Engine() *Engine { return s.e }

// Bind binds the socket to a local address; the wildcard address and port 0 are allowed,
// GetSockName tells what they became. EINVAL: bound, listening or connecting, or not an
// address of the socket's family; EISCONN. A failure of the address is a *ConnectError:
// EADDRINUSE, or EADDRNOTAVAIL: not an address of an RDMA network device here.
func (s *Socket) Bind(addr netip.AddrPort) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.state {
	case sockFailed, sockClosing:
		return syscall.EBADF
	case sockConnected:
		return syscall.EISCONN
	case sockFresh:
	default:
		return syscall.EINVAL
	}
	if err := checkFamily(s.domain, addr); err != nil {
		return err
	}
	reuse := s.opts.reuseAddr
	err := s.e.loop.call(func() error {
		c := s.newConn()
		c.bound, c.reuse = addr, reuse
		if err := c.createID(); err != nil {
			s.dropConn()
			return err
		}
		c.fsm = connfsm.Bound()
		s.local = c.id.LocalAddr()
		c.bound = s.local // an id made anew, after a stale connection, takes the same
		return nil
	})
	if err != nil {
		s.e.log.Info("bind failed", "addr", addr.String(), "err", err)
		ce := &ConnectError{Op: "bind", Peer: addr.String(), Err: errno(err), Detail: strings.TrimPrefix(err.Error(), "rdma: ")}
		if ce.Err == syscall.ENODEV || ce.Err == syscall.ENETUNREACH {
			ce.Err = syscall.EADDRNOTAVAIL
		}
		ce.Hint = hint(ce.Err, err, addr.Addr().IsLoopback())
		return ce
	}
	if addr.Addr().IsLoopback() {
		s.e.log.Warn("bound to the loopback address", "hint", hint(0, nil, true))
	}
	s.state = sockBound
	return nil
}

// newConn makes the socket's connection object. Loop only.
func (s *Socket) newConn() *conn {
	s.conn, _ = s.newDataConn()
	return s.conn
}

// dropConn forgets a connection object that never began, with its id. Loop only.
func (s *Socket) dropConn() {
	if s.conn.id != nil {
		s.conn.complain("destroy id", s.e.loop.closeID(s.conn.id))
	}
	delete(s.e.conns, s.conn)
	s.e.stats.conns.Add(-1)
	s.conn = nil
}

// Listen makes a bound socket listen. Up to backlog connections are established before
// they are accepted; beyond that they are refused. EINVAL: backlog below 1 (above
// SOMAXCONN it is clamped); EDESTADDRREQ: not bound; EADDRINUSE: listening or connecting,
// or the port is taken; EISCONN.
func (s *Socket) Listen(backlog int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.state {
	case sockFailed, sockClosing:
		return syscall.EBADF
	case sockConnected:
		return syscall.EISCONN
	case sockListening, sockConnecting:
		return syscall.EADDRINUSE
	default:
	}
	if backlog < 1 {
		return syscall.EINVAL
	}
	if s.state != sockBound {
		return syscall.EDESTADDRREQ
	}
	backlog = min(backlog, unix.SOMAXCONN)
	err := s.e.loop.call(func() error {
		c := s.conn
		if c.id == nil { // its device went away
			if err := c.createID(); err != nil {
				return err
			}
		}
		if err := c.id.Listen(cmBacklog); err != nil {
			return err
		}
		s.lis = &listener{
			s: s, id: c.id, fsm: connfsm.Listener{Backlog: backlog}, underway: map[*Socket]struct{}{},
		}
		s.e.loop.owners[c.id] = s.lis
		delete(s.e.conns, c)
		s.e.stats.conns.Add(-1)
		s.conn = nil
		s.local = s.lis.id.LocalAddr()
		s.e.pool.refill(s.lis.id.Device(), s.lis.id.Port())
		return nil
	})
	if err != nil {
		return errno(err)
	}
	s.state = sockListening
	s.setQDState(datapath.QDListening)
	s.e.log.Info("listening", "local", s.local.String(), "backlog", backlog)
	return nil
}

// Accept asks for the next connection; the token's result is an AcceptResult (OpAccept).
// EINVAL: not listening; EAGAIN: tokens are used up. The token fails with ECANCELED when
// the socket is closed, ENODEV when its device has gone.
func (s *Socket) Accept() (datapath.Token, error) {
	qt, err := s.startAccept()
	if err == nil {
		s.e.loop.help()
	}
	return qt, err
}

// startAccept leaves to its caller to help the loop, without our lock.
func (s *Socket) startAccept() (datapath.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.state {
	case sockFailed, sockClosing:
		return 0, syscall.EBADF
	case sockListening:
	default:
		return 0, syscall.EINVAL
	}
	qt, err := datapath.AllocToken(s.e.dp, s.qd, datapath.OpAccept)
	if err != nil {
		return 0, err
	}
	s.e.loop.enqueue(func() { s.lis.step(connfsm.ListenAccept, request{token: qt}) })
	return qt, nil
}

// Connect begins to connect; the token completes (OpConnect) when the connection is
// established, and fails with the errno of the table in the package's design: EHOSTUNREACH,
// ENETUNREACH, EADDRNOTAVAIL, ECONNREFUSED, ECONNRESET, ETIMEDOUT, EPROTO, ENODEV, EAGAIN,
// ENOMEM, ECANCELED. After a failure only Close is left; Err says more.
//
// EINVAL: not an address of the socket's family; EOPNOTSUPP: listening; EINPROGRESS;
// EISCONN; EAGAIN: tokens are used up.
func (s *Socket) Connect(addr netip.AddrPort) (datapath.Token, error) {
	qt, err := s.startConnect(addr)
	if err == nil {
		s.e.loop.help()
	}
	return qt, err
}

// startConnect leaves to its caller to help the loop, without our lock.
func (s *Socket) startConnect(addr netip.AddrPort) (datapath.Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.state {
	case sockFailed, sockClosing:
		return 0, syscall.EBADF
	case sockListening:
		return 0, syscall.EOPNOTSUPP
	case sockConnecting:
		return 0, syscall.EINPROGRESS
	case sockConnected:
		return 0, syscall.EISCONN
	default:
	}
	if err := checkFamily(s.domain, addr); err != nil {
		return 0, err
	}
	qt, err := datapath.AllocToken(s.e.dp, s.qd, datapath.OpConnect)
	if err != nil {
		return 0, err
	}
	s.state, s.token = sockConnecting, qt
	s.setQDState(datapath.QDConnecting)
	started := time.Now()
	reuse := s.opts.reuseAddr
	s.e.loop.enqueue(func() {
		c := s.conn
		if c == nil {
			c = s.newConn()
		}
		c.dst, c.reuse = addr, reuse
		c.info.cur.Phases.Started = started
		c.info.cur.Remote = addr
		s.publish(c)
		s.e.stats.started.Add(1)
		c.step(connfsm.Event{Kind: connfsm.Connect})
	})
	return qt, nil
}

func (s *Socket) publish(c *conn) {
	s.mu.Lock()
	s.info = &c.info
	s.mu.Unlock()
}

func (s *Socket) setQDState(st datapath.QDState) {
	if err := datapath.SetQDState(s.qd, st); err != nil {
		s.e.log.Error("set descriptor state", "qd", s.qd, "err", err)
	}
}

// ---- Names and data ------------------------------------------------------------------------

func (s *Socket) needConnected() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.state {
	case sockConnected:
		return nil
	case sockFailed, sockClosing:
		return syscall.EBADF
	default:
		return syscall.ENOTCONN
	}
}

// GetPeerName is the peer's address. ENOTCONN; EBADF after close or a failed connect.
func (s *Socket) GetPeerName() (netip.AddrPort, error) {
	if err := s.needConnected(); err != nil {
		return netip.AddrPort{}, err
	}
	_, remote := s.info.addrs()
	return remote, nil
}

// GetSockName is the local address of a bound, listening or connected socket. ENOTCONN
// for others; EBADF after close or a failed connect.
func (s *Socket) GetSockName() (netip.AddrPort, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.state {
	case sockFailed, sockClosing:
		return netip.AddrPort{}, syscall.EBADF
	case sockConnected:
		local, _ := s.info.addrs()
		return local, nil
	default:
	}
	if !s.local.IsValid() {
		return netip.AddrPort{}, syscall.ENOTCONN
	}
	return s.local, nil
}

func (s *Socket) localAddr() netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.local
}

// Info describes the connection, or the attempt at one, so far.
func (s *Socket) Info() Info {
	s.mu.Lock()
	info, local := s.info, s.local
	s.mu.Unlock()
	if info == nil {
		return Info{Local: local}
	}
	return info.get()
}

// Err is why connect failed, a *ConnectError, or nil.
func (s *Socket) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		return nil
	}
	return s.err
}

// Stats returns the counters of the connection's data plane. ENOTCONN.
func (s *Socket) Stats() (datapath.ConnStats, error) {
	if err := s.needConnected(); err != nil {
		return datapath.ConnStats{}, err
	}
	var out datapath.ConnStats
	err := s.e.loop.call(func() error {
		ep, ok := s.conn.ep.(*dataEndpoint)
		if !ok || ep.dp == nil {
			return syscall.ENOTCONN
		}
		var err error
		out, err = ep.dp.Stats()
		return err
	})
	return out, err
}

// Push copies b and sends it as one message; PushSGA does without the copy. Errors are
// those of datapath.Push, and ENOMEM.
func (s *Socket) Push(b []byte) (datapath.Token, error) {
	if len(b) == 0 {
		return 0, syscall.EINVAL
	}
	sga, err := datapath.SGAAlloc(s.e.dp, len(b))
	if err != nil {
		return 0, err
	}
	copy(sga.Bytes(), b)
	qt, err := datapath.Push(s.qd, &sga)
	if ferr := datapath.SGAFree(&sga); ferr != nil && err == nil {
		err = ferr
	}
	return qt, err
}

// PushSGA sends a message in place; it may be freed right afterwards.
func (s *Socket) PushSGA(sga *datapath.SGArray) (datapath.Token, error) {
	return datapath.Push(s.qd, sga)
}

// Pop asks for the next message; the token's result holds it (OpPop): length 0 once the
// peer has closed. The receiver frees it: TakeBytes, or datapath.SGAFree.
func (s *Socket) Pop() (datapath.Token, error) { return datapath.Pop(s.qd) }

// TakeBytes copies the message of a pop and frees it. The result is empty once the peer
// has closed.
func TakeBytes(r *datapath.Result) []byte {
	sga := r.SGA()
	b := append([]byte(nil), sga.Bytes()...)
	_ = datapath.SGAFree(&sga) // EINVAL only for what is not a message of ours
	return b
}
