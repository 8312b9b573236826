package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"catmint/libos"
)

// backlog is how many clients may wait until they are accepted.
const backlog = 128

// server echoes the pings of one client, or with -P of any number at the same time. A
// client speaks either protocol, unless one was asked for.
type server struct {
	task
	engine *libos.Engine
	stop   context.Context //nolint:containedctx // of the run; the gate has no other
	wire   wireServer

	mu sync.Mutex // of out and errOut, when clients are served at the same time
}

func newServer(p task, e *libos.Engine) *server {
	s := &server{task: p, engine: e}
	s.wire.s = s
	return s
}

// run serves until its client, if it serves one only, has closed, or until stop ends.
func (s *server) run(stop context.Context) (err error) {
	s.stop = stop
	lis, err := newSocket(s.engine, s.addr)
	if err != nil {
		return err
	}
	closeListener := sync.OnceValue(lis.Close)
	defer func() {
		if cerr := closeListener(); cerr != nil && err == nil {
			err = fmt.Errorf("close: %w", cerr)
		}
		if werr := s.wire.finish(); err == nil {
			err = werr
		}
	}()
	accepting, found := context.WithCancelCause(stop)
	defer found(nil)
	if err := s.listen(lis, func() { found(errWire) }); err != nil {
		return err
	}
	var clients sync.WaitGroup
	defer clients.Wait()
	for {
		conn, err := s.accept(accepting, lis)
		switch {
		case err != nil && (stop.Err() != nil || isWire(accepting)):
			return nil // finish says how it went
		case err != nil:
			return fmt.Errorf("accept: %w", err)
		case s.opts.persistent:
			clients.Go(func() {
				if err := s.serve(stop, conn); err != nil {
					s.printf(s.errOut, "rping-demi: client %s: %s\n", conn.Info().Remote, describe(err))
				}
			})
		case !s.wire.take():
			if err := conn.Close(); err != nil {
				return fmt.Errorf("close: %w", err)
			}
		default:
			// Who comes now is refused at once, rather than left to wait for nobody.
			if err := closeListener(); err != nil {
				return errors.Join(err, conn.Close())
			}
			return s.serve(stop, conn)
		}
	}
}

// listen makes lis listen, with the gate of rping's protocol if that is spoken, and says so.
func (s *server) listen(lis *socket, wire func()) error {
	if s.opts.protocol != protocolDemi {
		s.wire.up = wire
		if err := lis.SetGate(s.wire.gate); err != nil {
			return fmt.Errorf("listen on %s: %w", s.addr, err)
		}
	}
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
	text := fmt.Sprintf("listening on %s\n", local)
	if at := reachedAt(s.fabric, local.Addr(), interfaceAddrs); local.Addr().IsUnspecified() && at != "" {
		text += "clients reach this machine with " + at + "\n"
	}
	s.say("%s", text)
	return nil
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
	s.greet(info)
	n, err := echo(stop, conn, s.opts.verbose, lockedWriter{s})
	switch {
	case stop.Err() != nil:
		err = nil
	case err == nil:
		err = s.left(n)
	}
	s.served(protocolDemi, info, n, err)
	return err
}

// left judges a client that has left after n pings: with -C, the server knows how many to
// expect. Nothing else tells a client of rping's protocol that was killed between two pings
// from one that has finished.
func (s *server) left(n int) error {
	if n < s.opts.count {
		return fmt.Errorf("the client left after %d of the %d pings that -C says", n, s.opts.count)
	}
	return nil
}

// greet says who has come.
func (s *server) greet(i libos.Info) {
	took := ""
	if p := i.Phases; !s.opts.timeline && !p.Established.IsZero() {
		took = ", established in " + micros(p.Established.Sub(p.Started))
	}
	s.say("connection from %s to %s%s%s\n", i.Remote, i.Local, path(i), took)
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.drawTimeline(drawn{info: i}) // what is printed next says if there is nowhere to print
}

// say prints for people: nothing with --json.
func (s *server) say(format string, args ...any) {
	if !s.opts.json {
		s.printf(s.out, format, args...)
	}
}

// served reports a client that is gone.
func (s *server) served(p protocol, i libos.Info, n int, err error) {
	if !s.opts.json {
		s.printf(s.out, "%d %s from %s echoed\n", n, plural(n, "ping", "pings"), i.Remote)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.encode(report{
		Mode: modeServer, Protocol: p, Local: i.Local.String(), Remote: i.Remote.String(), Device: i.Device, Sent: n, Intact: n,
	}, err)
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
