package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"catmint/datapath"
	"catmint/libos"
)

// link is a connection that keeps message boundaries.
type link interface {
	// Buffer is memory for a message of n bytes to push again and again, in place of the
	// last such.
	Buffer(n int) ([]byte, error)
	// Push sends one message, without a copy if it is what Buffer or Pop has returned; it
	// returns when p may be used again.
	Push(ctx context.Context, p []byte) error
	// Pop receives one message, valid until the next Pop; io.EOF when the peer closed.
	Pop(ctx context.Context) ([]byte, error)
}

// peer is a server as a client sees it.
type peer interface {
	// Buffer is memory for a ping of n bytes, for many in turn.
	Buffer(n int) ([]byte, error)
	// Ping has the server send p back and returns what came, valid until the next Ping.
	// context.DeadlineExceeded: nothing came in time; io.EOF: the server closed.
	Ping(ctx context.Context, p []byte) ([]byte, error)
}

// echoPeer is a server that sends each message back.
type echoPeer struct{ link }

// Ping implements peer.
func (e echoPeer) Ping(ctx context.Context, p []byte) ([]byte, error) {
	if err := e.Push(ctx, p); err != nil {
		return nil, fmt.Errorf("push: %w", err)
	}
	got, err := e.Pop(ctx)
	if err != nil {
		return nil, fmt.Errorf("pop: %w", err)
	}
	return got, nil
}

// socket is a libos socket whose waits can be given up: closing it redeems the tokens that
// were left behind.
type socket struct {
	*libos.Socket
	engine  *libos.Engine
	left    []datapath.Token
	out, in datapath.SGArray // of Buffer and of Pop
}

// newSocket makes a stream socket for addresses of addr's family.
func newSocket(e *libos.Engine, addr netip.AddrPort) (*socket, error) {
	domain := unix.AF_INET
	if addr.Addr().Is6() {
		domain = unix.AF_INET6
	}
	s, err := e.Socket(domain, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	return &socket{Socket: s, engine: e}, nil
}

// wait waits for a token of this socket.
func (s *socket) wait(ctx context.Context, qt datapath.Token) (datapath.Result, error) {
	r, err := s.engine.Wait(ctx, qt)
	if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		s.left = append(s.left, qt)
	}
	return r, err
}

// Close closes the socket, after which every token of it has ended.
func (s *socket) Close() error {
	err := s.Socket.Close()
	for _, qt := range s.left {
		r, werr := s.engine.Wait(context.Background(), qt)
		if werr == nil && r.Opcode == datapath.OpPop {
			libos.TakeBytes(&r)
		}
	}
	s.left = nil
	return errors.Join(err, release(&s.out), release(&s.in))
}

// release frees a message, if there is one.
func release(m *datapath.SGArray) error {
	if m.IsNull() {
		return nil
	}
	err := datapath.SGAFree(m)
	*m = datapath.SGArray{}
	return err
}

// Buffer implements link.
func (s *socket) Buffer(n int) (_ []byte, err error) {
	if err := release(&s.out); err != nil {
		return nil, err
	}
	if s.out, err = datapath.SGAAlloc(s.engine.Datapath(), n); err != nil {
		return nil, fmt.Errorf("allocate %d bytes: %w", n, err)
	}
	return s.out.Bytes(), nil
}

// Push implements link.
func (s *socket) Push(ctx context.Context, p []byte) error {
	qt, err := s.push(p)
	if err != nil {
		return err
	}
	_, err = s.wait(ctx, qt)
	return err
}

// push begins to send p.
func (s *socket) push(p []byte) (datapath.Token, error) {
	for _, m := range []*datapath.SGArray{&s.out, &s.in} {
		if is(m.Bytes(), p) {
			return s.PushSGA(m)
		}
	}
	return s.Socket.Push(p)
}

// is says whether p is m itself, which is more than equal.
func is(m, p []byte) bool {
	return len(p) > 0 && len(m) == len(p) && unsafe.SliceData(m) == unsafe.SliceData(p)
}

// Pop implements link.
func (s *socket) Pop(ctx context.Context) ([]byte, error) {
	qt, err := s.Socket.Pop()
	if err != nil {
		return nil, err
	}
	r, err := s.wait(ctx, qt)
	if err != nil {
		return nil, err
	}
	if err := release(&s.in); err != nil {
		return nil, err
	}
	if s.in = r.SGA(); s.in.Len() == 0 {
		return nil, io.EOF
	}
	return s.in.Bytes(), nil
}

// bind binds s and says what to do when it cannot.
func bind(s *socket, addr netip.AddrPort) error {
	if err := s.Bind(addr); err != nil {
		return bindError(addr, err)
	}
	return nil
}

// bindError is a failed bind that says what to do.
func bindError(addr netip.AddrPort, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("bind %s: not an address of an RDMA network device of this machine; \"rdma link\" and "+
			"\"ip address\" show which are", addr)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("bind %s: another program listens there; choose another port with -p", addr)
	}
	return fmt.Errorf("bind %s: %w", addr, err)
}
