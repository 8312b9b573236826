package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"catmint/cmd/rping-demi/internal/rping"
	"catmint/libos"
)

// demiDialer connects sockets of one engine.
type demiDialer struct {
	t       *task
	process *libos.Process
	engine  *libos.Engine
}

func (t *task) newDemiDialer() (*demiDialer, error) {
	process, err := libos.New(t.cfg, t.fabric)
	if err != nil {
		return nil, err
	}
	engine, err := process.NewEngine()
	if err != nil {
		return nil, errors.Join(err, process.Close())
	}
	t.record.add(process)
	return &demiDialer{t, process, engine}, nil
}

func (d *demiDialer) protocol() protocol { return protocolDemi }

// Close implements dialer.
func (d *demiDialer) Close() error {
	err := d.process.Close()
	d.t.record.remove(d.process)
	if err != nil {
		return fmt.Errorf("shut down: %w", err)
	}
	return nil
}

// demiConn is a socket whose server echoes.
type demiConn struct{ *socket }

// Ping implements peer.
func (c demiConn) Ping(ctx context.Context, p []byte) ([]byte, error) {
	return echoPeer{c.socket}.Ping(ctx, p)
}

// Close implements conn.
func (c demiConn) Close() error {
	if err := c.socket.Close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}

func (d *demiDialer) dial(ctx context.Context) (conn, error) {
	s, err := newSocket(d.engine, d.t.addr)
	if err != nil {
		return nil, err
	}
	if d.t.local.IsValid() {
		err = bind(s, d.t.local)
	}
	if err == nil {
		err = d.t.connect(ctx, s)
	}
	if err != nil {
		return nil, errors.Join(err, d.t.drawFailed(err), s.Close())
	}
	return demiConn{s}, nil
}

// connect waits until s is connected.
func (t *task) connect(stop context.Context, s *socket) error {
	qt, err := s.Connect(t.addr)
	if err != nil {
		return fmt.Errorf("connect %s: %w", t.addr, err)
	}
	_, err = s.wait(stop, qt)
	switch why := s.Err(); {
	case err == nil:
		return nil
	case stop.Err() != nil:
		return t.stoppedConnecting()
	case errors.Is(err, syscall.EPROTO):
		return fmt.Errorf("connect %s: the server does not speak the Demikernel protocol; if it is an rping "+
			"server, use --protocol rping and a size of %d to %d: %w", t.addr, rping.MinSize, rping.MaxSize, syscall.EPROTO)
	case why != nil:
		return why
	}
	return fmt.Errorf("connect %s: %w", t.addr, err)
}

func (t *task) stoppedConnecting() error {
	return fmt.Errorf("%w while connecting to %s", errInterrupted, t.addr)
}
