package rdmanet

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"catmint/datapath"
	"catmint/libos"
)

// Listener accepts connections; a net.Listener.
type Listener struct {
	s        *libos.Socket
	addr     Addr
	deadline *deadline

	mu     sync.Mutex
	spare  []datapath.Token // accepts that nobody waits for, because their time was over
	closed bool
}

var _ net.Listener = (*Listener)(nil)

// Accept waits for the next connection, a *Conn. The error is a *net.OpError around
// net.ErrClosed, os.ErrDeadlineExceeded or a syscall.Errno: ENODEV when the device has gone.
func (l *Listener) Accept() (net.Conn, error) {
	c, err := l.AcceptRDMA()
	if err != nil {
		return nil, err
	}
	return c, nil
}

// AcceptRDMA is Accept with the type that it returns.
func (l *Listener) AcceptRDMA() (*Conn, error) {
	c, err := l.accept()
	if err != nil {
		return nil, &net.OpError{Op: "accept", Net: l.addr.Network(), Addr: l.addr, Err: err}
	}
	return c, nil
}

func (l *Listener) accept() (*Conn, error) {
	wait := l.deadline.wait()
	if err := wait.Err(); err != nil {
		return nil, err
	}
	qt, err := l.take()
	if err != nil {
		return nil, err
	}
	r, err := l.s.Engine().Wait(wait, qt)
	if err == nil {
		return l.conn(&r)
	}
	if ended := wait.Err(); ended != nil && errors.Is(err, ended) {
		l.keep(qt)
	} else if l.isClosed() {
		err = net.ErrClosed // rather than ECANCELED
	}
	return nil, err
}

func (l *Listener) conn(r *datapath.Result) (*Conn, error) {
	s, err := l.s.Engine().Process().Socket(r.Accept().QD)
	if err != nil {
		return nil, err
	}
	return newConn(s), nil
}

// take returns an accept that is under way.
func (l *Listener) take() (datapath.Token, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, net.ErrClosed
	}
	if n := len(l.spare); n > 0 {
		qt := l.spare[0]
		l.spare = l.spare[1:]
		return qt, nil
	}
	return l.s.Accept()
}

// keep leaves an accept to whoever accepts next.
func (l *Listener) keep(qt datapath.Token) {
	l.mu.Lock()
	if !l.closed {
		l.spare = append(l.spare, qt)
		qt = 0
	}
	l.mu.Unlock()
	if qt != 0 {
		l.drop(qt)
	}
}

// drop ends an accept of a socket that is being closed, which completes it.
func (l *Listener) drop(qt datapath.Token) {
	r, err := l.s.Engine().Wait(context.Background(), qt)
	if err != nil {
		return
	}
	if c, err := l.conn(&r); err == nil {
		_ = c.Close()
	}
}

func (l *Listener) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// Close ends the listener and all its Accepts. Connections that were established and not
// accepted are cut. net.ErrClosed: closed already.
func (l *Listener) Close() error {
	if err := l.end(); err != nil {
		return &net.OpError{Op: "close", Net: l.addr.Network(), Addr: l.addr, Err: err}
	}
	return nil
}

func (l *Listener) end() error {
	l.mu.Lock()
	was, spare := l.closed, l.spare
	l.closed, l.spare = true, nil
	l.mu.Unlock()
	if was {
		return net.ErrClosed
	}
	l.deadline.close()
	err := l.s.Close()
	for _, qt := range spare {
		l.drop(qt)
	}
	return err
}

// Addr is the address that the listener is bound to, an Addr.
func (l *Listener) Addr() net.Addr { return l.addr }

// SetDeadline sets the time at which Accept fails with os.ErrDeadlineExceeded; the zero time
// is never.
func (l *Listener) SetDeadline(t time.Time) error {
	if l.isClosed() {
		return &net.OpError{Op: "set", Net: l.addr.Network(), Addr: l.addr, Err: net.ErrClosed}
	}
	l.deadline.set(t)
	return nil
}

// Socket is the listening socket, for its options.
func (l *Listener) Socket() *libos.Socket { return l.s }
