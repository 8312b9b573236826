package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"

	"catmint/datapath"
	"catmint/libos"
)

// socket is a libos socket whose waits can be given up: closing it redeems the tokens that
// were left behind.
type socket struct {
	*libos.Socket
	engine *libos.Engine
	left   []datapath.Token
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
	return err
}

// Push implements link.
func (s *socket) Push(ctx context.Context, p []byte) error {
	qt, err := s.Socket.Push(p)
	if err != nil {
		return err
	}
	_, err = s.wait(ctx, qt)
	return err
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
	p := libos.TakeBytes(&r)
	if len(p) == 0 {
		return nil, io.EOF
	}
	return p, nil
}

// bind binds s and says what to do when it cannot.
func bind(s *socket, addr netip.AddrPort) error {
	err := s.Bind(addr)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("bind %s: not an address of an RDMA network device of this machine; \"rdma link\" and "+
			"\"ip address\" show which are", addr)
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("bind %s: another program listens there; choose another port with -p", addr)
	}
	return fmt.Errorf("bind %s: %w", addr, err)
}
