package libos

import (
	"syscall"

	"catmint/datapath"
	"catmint/libos/connfsm"
)

// What becomes of a socket's connection; on the loop.

func (s *Socket) connected() {
	s.mu.Lock()
	qt := s.token
	if s.state == sockConnecting {
		s.state = sockConnected
	}
	s.mu.Unlock()
	if err := datapath.CompleteToken(qt, datapath.OpConnect); err != nil {
		s.e.log.Error("complete connect token", "err", err)
	}
	s.e.wake(qt)
}

func (s *Socket) failed(err *ConnectError) {
	s.mu.Lock()
	qt := s.token
	s.err = err
	if s.state == sockConnecting {
		s.state = sockFailed
		s.setQDState(datapath.QDFailed)
	}
	s.mu.Unlock()
	s.e.failToken(qt, err.Err)
}

func (s *Socket) ready() {
	s.mu.Lock()
	s.state = sockConnected
	s.mu.Unlock()
	s.of.step(connfsm.ListenChildReady, request{child: s})
}

func (s *Socket) gone(err *ConnectError) {
	s.mu.Lock()
	s.state, s.err = sockClosing, err
	s.mu.Unlock()
	s.of.step(connfsm.ListenChildGone, request{child: s})
}

// closed ends the wait of Close.
func (s *Socket) closed() {
	select {
	case <-s.done:
	default:
		close(s.done)
	}
}

func (s *Socket) released() {
	s.e.p.removeSocket(s)
	if err := datapath.FreeQD(s.qd); err != nil {
		s.e.log.Error("free descriptor", "qd", s.qd, "err", err)
	}
}

// open says that nobody has closed the socket.
func (s *Socket) open() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state != sockClosing
}

// become makes a fresh socket the owner of a connection that came in.
func (s *Socket) become(c *conn, of *listener) {
	s.conn, s.of = c, of
	s.mu.Lock()
	s.state, s.info = sockConnecting, &c.info
	s.mu.Unlock()
	s.setQDState(datapath.QDConnecting)
}

// accepted hands the connection to the application.
func (s *Socket) accepted(qt datapath.Token) {
	s.of = nil
	s.e.p.addSocket(s)
	_, remote := s.conn.info.addrs()
	err := datapath.CompleteAccept(qt, datapath.AcceptResult{QD: s.qd, Addr: rawSockaddrIn(remote)})
	if err != nil {
		s.e.log.Error("complete accept token", "err", err)
	}
	s.e.wake(qt)
}

// abandon cuts a connection that nobody will accept, because of why; "": the application closed it.
func (s *Socket) abandon(why string) {
	s.conn.ousted = why
	s.mu.Lock()
	s.state = sockClosing
	s.mu.Unlock()
	s.setQDState(datapath.QDClosing)
	s.conn.step(connfsm.Event{Kind: connfsm.Abort})
}

func (e *Engine) failToken(qt datapath.Token, err syscall.Errno) {
	if ferr := datapath.FailToken(qt, err); ferr != nil {
		e.log.Error("fail token", "err", ferr)
	}
	e.wake(qt)
}
