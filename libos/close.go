package libos

import (
	"context"
	"syscall"

	"catmint/datapath"
	"catmint/internal/background"
	"catmint/libos/connfsm"
)

// Close closes the socket. An established connection first drains: Close returns when the
// peer's libOS has everything (FIN and FIN_ACK exchanged) or the linger time is over, with
// no error either way. Pending pops, accepts and connects end with ECANCELED. EBADF: closed
// already.
func (s *Socket) Close() error { return s.CloseContext(context.Background()) }

// CloseContext is Close, cut short when ctx ends.
func (s *Socket) CloseContext(ctx context.Context) error {
	if err := s.startClose(); err != nil {
		return err
	}
	select {
	case <-s.done:
	case <-ctx.Done():
		s.e.loop.post(func() {
			if s.conn != nil {
				s.conn.step(connfsm.Event{Kind: connfsm.Abort})
			}
		})
		select {
		case <-s.done:
		case <-s.e.quit:
		case <-s.e.p.dead:
			return syscall.EIO
		}
	case <-s.e.quit:
	case <-s.e.p.dead:
		return syscall.EIO
	}
	return nil
}

// CloseAsync closes the socket; the token completes (OpClose) when Close would return.
// EBADF: closed already; EAGAIN: tokens are used up.
func (s *Socket) CloseAsync() (datapath.Token, error) {
	s.mu.Lock()
	closing := s.state == sockClosing
	s.mu.Unlock()
	if closing {
		return 0, syscall.EBADF
	}
	qt, err := datapath.AllocToken(s.e.dp, s.qd, datapath.OpClose)
	if err != nil {
		return 0, err
	}
	if err := s.startClose(); err != nil {
		_ = datapath.AbandonToken(qt)
		return 0, err
	}
	background.Join(&s.e.workers.wg, "close", func() {
		select {
		case <-s.done:
		case <-s.e.p.dead: // the token has failed
			return
		}
		if err := datapath.CompleteToken(qt, datapath.OpClose); err != nil {
			s.e.log.Error("complete close token", "err", err)
		}
		s.e.wake(qt)
	})
	return qt, nil
}

func (s *Socket) startClose() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == sockClosing {
		return syscall.EBADF
	}
	s.state = sockClosing
	s.setQDState(datapath.QDClosing)
	linger, strict := s.opts.lingerTime(s.e.cfg.Linger)
	s.e.loop.post(func() {
		switch {
		case s.lis != nil:
			s.lis.step(connfsm.ListenClose, request{})
			s.e.connReleased()
		case s.conn == nil: // nothing was ever begun
			s.closed()
			s.released()
		case linger == 0:
			s.conn.step(connfsm.Event{Kind: connfsm.Abort})
		default:
			s.conn.linger, s.conn.strict = linger, strict
			s.conn.step(connfsm.Event{Kind: connfsm.Close})
		}
	})
	return nil
}

// CloseWrite says that we send no more and still read: the peer's pops end with a message
// of length 0. ENOTCONN.
func (s *Socket) CloseWrite() error {
	if err := s.needConnected(); err != nil {
		return err
	}
	return s.e.loop.call(func() error {
		ep, ok := s.conn.ep.(*dataEndpoint)
		if !ok || ep.dp == nil {
			return syscall.ENOTCONN
		}
		defer s.e.house.kick()
		return ep.dp.Close(false)
	})
}
