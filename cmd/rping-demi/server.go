package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"

	"catmint/libos"
)

// backlog is how many clients may wait until they are accepted.
const backlog = 128

// server echoes the pings of one client, or with -P of any number at the same time.
type server struct {
	engine *libos.Engine
	opts   options
	addr   netip.AddrPort
	out    io.Writer
	errOut io.Writer

	mu sync.Mutex // of out and errOut, when clients are served at the same time
}

// run serves until its client, if it serves one only, has closed, or until stop ends.
func (s *server) run(stop context.Context) (err error) {
	lis, err := newSocket(s.engine, s.addr)
	if err != nil {
		return err
	}
	closeListener := sync.OnceValue(lis.Close)
	defer func() {
		if cerr := closeListener(); cerr != nil && err == nil {
			err = fmt.Errorf("close: %w", cerr)
		}
	}()
	if err := bind(lis, s.addr); err != nil {
		return err
	}
	if err := lis.Listen(backlog); err != nil {
		return fmt.Errorf("listen on %s: %w", s.addr, err)
	}
	local, err := lis.GetSockName()
	if err != nil {
		return fmt.Errorf("listen on %s: %w", s.addr, err)
	}
	s.printf(s.out, "listening on %s\n", local)

	var clients sync.WaitGroup
	defer clients.Wait()
	for {
		conn, err := s.accept(stop, lis)
		if err != nil {
			if stop.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept: %w", err)
		}
		if !s.opts.persistent {
			// Who comes now is refused at once, rather than left to wait for nobody.
			if err := closeListener(); err != nil {
				return errors.Join(err, conn.Close())
			}
			return s.serve(stop, conn)
		}
		clients.Go(func() {
			if err := s.serve(stop, conn); err != nil {
				s.printf(s.errOut, "rping-demi: client %s: %s\n", conn.Info().Remote, describe(err))
			}
		})
	}
}

func (s *server) accept(stop context.Context, lis *socket) (*socket, error) {
	qt, err := lis.Accept()
	if err != nil {
		return nil, err
	}
	r, err := lis.wait(stop, qt)
	if err != nil {
		return nil, err
	}
	conn, err := s.engine.Process().Socket(r.Accept().QD)
	if err != nil {
		return nil, err
	}
	return &socket{Socket: conn, engine: s.engine}, nil
}

// serve echoes one client's pings until it closes.
func (s *server) serve(stop context.Context, conn *socket) (err error) {
	info := conn.Info()
	defer func() {
		if cerr := conn.Close(); cerr != nil && err == nil {
			err = fmt.Errorf("close: %w", cerr)
		}
	}()
	s.mu.Lock()
	printConnection(s.out, "connection from", info)
	s.mu.Unlock()
	n, err := echo(stop, conn, s.opts.verbose, lockedWriter{s})
	if stop.Err() != nil {
		err = nil
	}
	s.printf(s.out, "%d %s from %s echoed\n", n, plural(n, "ping", "pings"), info.Remote)
	return err
}

func (s *server) printf(w io.Writer, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(w, format, args...)
}

// lockedWriter is a server's standard output for one of several clients.
type lockedWriter struct{ s *server }

func (w lockedWriter) Write(p []byte) (int, error) {
	w.s.mu.Lock()
	defer w.s.mu.Unlock()
	return w.s.out.Write(p)
}
