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

// rpingConfig is what both halves of rping's protocol need.
func (p *task) rpingConfig() rping.Config {
	c := rping.Config{Fabric: p.fabric, Spin: p.cfg.Spin, Timeout: p.opts.timeout}
	switch p.cfg.WaitMode {
	case datapath.WaitSpin:
		c.Spin = rawqp.Forever
	case datapath.WaitBlock:
		c.Spin = 0
	default: // adaptive: as long as sockets do
	}
	return c
}

// runRping pings a server in rping's protocol. In auto mode the connection begins with a
// probe: a stock server takes it for any client, ours refuses it, and nothing is used up.
func (p *task) runRping(stop context.Context) (err error) {
	connector, err := libos.NewConnector(p.cfg, p.fabric)
	if err != nil {
		return err
	}
	client := rping.NewClient(p.rpingConfig(), p.opts.size)
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), releaseLimit)
		defer cancel()
		cerr := connector.Close(ctx)
		if cerr == nil {
			cerr = client.Close()
		}
		if cerr != nil && err == nil {
			err = fmt.Errorf("shut down: %w", cerr)
		}
	}()
	var private []byte
	if p.opts.protocol == protocolAuto {
		private = hello.MarshalProbe()
	}
	conn, err := connector.Dial(stop, p.local, p.addr, client.Hooks(private))
	if err != nil {
		return p.dialError(stop, err)
	}
	defer func() { _ = conn.Close() }() // EBADF is the only error
	if err := client.Established(); err != nil {
		return fmt.Errorf("connect %s: %w", p.addr, err)
	}
	printConnection(p.out, "connected to", conn.Info())
	err = p.ping(stop, client)
	if errors.Is(err, rping.ErrDisconnected) {
		err = fmt.Errorf("%w; was it stopped, or started with a smaller -S than %d?", err, p.opts.size)
	}
	return err
}

func (p *task) dialError(stop context.Context, err error) error {
	switch {
	case stop.Err() != nil:
		return p.stoppedConnecting()
	case errors.Is(err, syscall.EPROTOTYPE), errors.Is(err, syscall.EPROTO):
		return fmt.Errorf("connect %s: %w", p.addr, errSpeaksDemi)
	case errors.Is(err, syscall.EADDRNOTAVAIL) && p.local.IsValid():
		return bindError(p.local, err)
	}
	return err
}
