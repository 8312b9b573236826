package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"catmint/cmd/rping-demi/internal/rping"
	"catmint/libos"
	"catmint/libos/hello"
)

// wireServer serves the clients of a server's port that speak rping's protocol, each on a
// connection and a goroutine of its own.
type wireServer struct {
	s       *server
	clients sync.WaitGroup

	mu     sync.Mutex
	closed bool
	taken  bool   // a server of one client has it, or is about to have it
	up     func() // told once that server's client speaks rping's protocol
	result error  // what became of that client
}

// gate tells the clients of the two protocols apart: stock rping says nothing in private
// data. Everything else is the socket's affair, which refuses what it does not know.
func (w *wireServer) gate(r libos.GateRequest) libos.Verdict {
	w.mu.Lock()
	defer w.mu.Unlock()
	silent := r.Foreign() && len(bytes.Trim(r.PrivateData, "\x00")) == 0
	only := w.s.opts.protocol == protocolRping
	switch {
	case w.closed:
		return libos.Verdict{Refuse: hello.ReasonShuttingDown}
	case w.taken:
		return libos.Verdict{Refuse: hello.ReasonFull}
	case silent, only && errors.Is(r.Hello, hello.ErrProbe):
		return w.admit(r)
	case only:
		return libos.Verdict{Refuse: hello.ReasonForeign}
	}
	return libos.Verdict{}
}

// admit accepts a client. Locked.
func (w *wireServer) admit(r libos.GateRequest) libos.Verdict {
	w.taken = !w.s.opts.persistent
	session := rping.NewServer(w.s.rpingConfig(), r, max(w.s.opts.size, rping.MaxSize))
	hooks := session.Hooks()
	w.clients.Add(1)
	return libos.Verdict{Raw: &hooks, Up: func(c *libos.RawConn, err error) {
		go w.client(c, session, err)
	}}
}

// take claims a server of one client for one that came through the socket.
func (w *wireServer) take() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	free := !w.taken
	w.taken = true
	return free
}

// client is the life of a connection that is established, or has failed before.
func (w *wireServer) client(c *libos.RawConn, session *rping.Server, err error) {
	defer w.clients.Done()
	single, established := !w.s.opts.persistent, err == nil
	if established {
		if single {
			w.up()
		}
		err = w.serve(c, session)
		_ = c.Close() // EBADF is the only error
	}
	<-c.Released()
	if cerr := session.Close(); cerr != nil && err == nil {
		err = fmt.Errorf("close: %w", cerr)
	}
	switch {
	case err == nil:
	case !single:
		w.s.printf(w.s.errOut, "rping-demi: client %s: %s\n", c.Info().Remote, describe(err))
	case !established:
		w.s.printf(w.s.errOut, "rping-demi: client %s: %s\n", c.Info().Remote, describe(err))
		w.mu.Lock()
		w.taken = false // and goes on waiting for its one client
		w.mu.Unlock()
	default:
		w.mu.Lock()
		w.result = err
		w.mu.Unlock()
	}
}

// serve echoes the pings of one client.
func (w *wireServer) serve(c *libos.RawConn, session *rping.Server) error {
	if err := session.Established(); err != nil {
		return err
	}
	s, info := w.s, c.Info()
	s.greet(info)
	n := 0
	// rping's clients ping at once. Others may be waiting for us to begin. Among many clients
	// it may be one of ours that has yet to make more connections; it is in nobody's way.
	run, giveUp := context.WithCancelCause(s.stop)
	defer giveUp(nil)
	silent := time.AfterFunc(s.opts.timeout, func() {
		if !s.opts.persistent {
			giveUp(errMute)
			return
		}
		s.printf(s.errOut, "rping-demi: client %s: %v\n", info.Remote, s.mute())
	})
	defer silent.Stop()
	for {
		err := session.Next(run, func(p []byte) {
			silent.Stop()
			if s.opts.verbose {
				s.printf(s.out, "server ping data: %s\n", shown(p))
			}
		})
		if err == nil {
			n++
			continue
		}
		switch {
		case s.stop.Err() != nil:
			err = nil
		case errors.Is(err, io.EOF):
			err = s.left(n)
		case errors.Is(context.Cause(run), errMute):
			err = s.mute()
		default:
			err = fmt.Errorf("ping %d: %w", n, err)
		}
		s.served(protocolRping, info, n, err)
		return err
	}
}

// errMute ends the wait for a client's first ping.
var errMute = errors.New("it says nothing")

// mute is errMute in words.
func (s *server) mute() error {
	return fmt.Errorf("the client has connected and sent nothing for %v: does it speak rping's protocol?", s.opts.timeout)
}

// finish waits for the clients that are left, after the listener has been closed, and says
// what became of the only one.
func (w *wireServer) finish() error {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.clients.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.result
}

// isWire says whether the only client speaks rping's protocol, which up has told.
func isWire(accepting context.Context) bool {
	return errors.Is(context.Cause(accepting), errWire)
}

// errWire ends the wait for a client on the socket.
var errWire = errors.New("the client speaks rping's protocol")
