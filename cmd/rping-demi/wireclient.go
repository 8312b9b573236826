package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"catmint/cmd/rping-demi/internal/rawqp"
	"catmint/cmd/rping-demi/internal/rping"
	"catmint/datapath"
	"catmint/libos"
	"catmint/libos/hello"
)

// errSpeaksDemi is a server that wants to be spoken to through sockets.
var errSpeaksDemi = errors.New("the server speaks the Demikernel protocol; use --protocol demi")

// releaseLimit bounds the tear-down of a connection, beyond libos's own limits.
const releaseLimit = 30 * time.Second

// farewell is what a ping gets that is under way when its run is to end.
const farewell = time.Second

// rpingConfig is what both halves of rping's protocol need.
func (t *task) rpingConfig() rping.Config {
	c := rping.Config{Fabric: t.fabric, Spin: t.cfg.Spin, Timeout: t.opts.timeout}
	switch t.cfg.WaitMode {
	case datapath.WaitSpin:
		c.Spin = rawqp.Forever
	case datapath.WaitBlock:
		c.Spin = 0
	default: // adaptive: as long as sockets do
	}
	return c
}

// rpingDialer connects to servers of rping's protocol. In auto mode a connection begins with
// a probe: a stock server takes it for any client, ours refuses it if it prefers sockets,
// and nothing is used up.
type rpingDialer struct {
	t         *task
	connector *libos.Connector
	failed    []*rping.Client // of dials that failed, whose tear-down may go on
}

func (t *task) newRpingDialer() (*rpingDialer, error) {
	connector, err := libos.NewConnector(t.cfg, t.fabric)
	if err != nil {
		return nil, err
	}
	t.record.add(connector)
	return &rpingDialer{t: t, connector: connector}, nil
}

func (d *rpingDialer) protocol() protocol { return protocolRping }

// Close implements dialer.
func (d *rpingDialer) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), releaseLimit)
	defer cancel()
	err := d.connector.Close(ctx)
	d.t.record.remove(d.connector)
	if err == nil {
		for _, c := range d.failed {
			err = errors.Join(err, c.Close())
		}
	}
	if err != nil {
		return fmt.Errorf("shut down: %w", err)
	}
	return nil
}

func (d *rpingDialer) dial(ctx context.Context) (conn, error) {
	client := rping.NewClient(d.t.rpingConfig(), d.t.opts.largest())
	var private []byte
	if d.t.opts.protocol == protocolAuto {
		private = hello.MarshalProbe()
	}
	raw, err := d.connector.Dial(ctx, d.t.local, d.t.addr, client.Hooks(private))
	if err != nil {
		d.failed = append(d.failed, client)
		why := d.dialError(ctx, err)
		if errors.Is(why, errSpeaksDemi) && d.t.opts.protocol == protocolAuto {
			return nil, why // it was a probe, and another connection follows
		}
		return nil, errors.Join(why, d.t.drawFailed(err))
	}
	c := &rpingConn{Client: client, raw: raw, addr: d.t.addr.String()}
	if err := client.Established(); err != nil {
		return nil, errors.Join(fmt.Errorf("connect %s: %w", d.t.addr, err), c.Close())
	}
	return c, nil
}

func (d *rpingDialer) dialError(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return d.t.stoppedConnecting()
	case errors.Is(err, syscall.EPROTOTYPE), errors.Is(err, syscall.EPROTO):
		return fmt.Errorf("connect %s: %w", d.t.addr, errSpeaksDemi)
	case errors.Is(err, syscall.EADDRNOTAVAIL) && d.t.local.IsValid():
		return bindError(d.t.local, err)
	}
	return err
}

// rpingConn is a connection in rping's protocol.
type rpingConn struct {
	*rping.Client
	raw  *libos.RawConn
	addr string

	answered bool // a ping has come back

	of  context.Context //nolint:containedctx // of the last ping; many have the same
	run context.Context //nolint:containedctx // ends a moment after of
	end func()          // run's
}

// Info implements conn.
func (c *rpingConn) Info() libos.Info { return c.raw.Info() }

// Buffer implements peer.
func (c *rpingConn) Buffer(n int) ([]byte, error) { return make([]byte, n), nil }

// Ping implements peer. A ping that is under way when ctx ends is given a moment more, so
// that the server does not see its client go in the middle of one.
func (c *rpingConn) Ping(ctx context.Context, p []byte) ([]byte, error) {
	if c.of != ctx {
		c.follow(ctx)
	}
	got, err := c.Client.Ping(c.run, p)
	if errors.Is(err, rping.ErrDisconnected) {
		speaks := ""
		if !c.answered {
			speaks = ", or does it not speak rping's protocol"
		}
		err = fmt.Errorf("%w; was the server stopped, or started with a smaller -S than %d%s?", err, len(p), speaks)
	}
	c.answered = c.answered || err == nil
	return got, err
}

// follow makes run end a moment after ctx.
func (c *rpingConn) follow(ctx context.Context) {
	if c.end != nil {
		c.end()
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		t := time.AfterFunc(farewell, cancel)
		context.AfterFunc(run, func() { t.Stop() })
	})
	c.of, c.run, c.end = ctx, run, func() {
		stop()
		cancel()
	}
}

// Close implements conn.
func (c *rpingConn) Close() error {
	if c.end != nil {
		c.end()
	}
	_ = c.raw.Close() // EBADF is the only error
	select {
	case <-c.raw.Released():
	case <-time.After(releaseLimit):
		return fmt.Errorf("close: the connection to %s is still being torn down", c.addr)
	}
	if err := c.Client.Close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}
