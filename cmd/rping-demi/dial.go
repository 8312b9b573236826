package main

import (
	"context"
	"errors"

	"catmint/libos"
)

// conn is a connection to a server, in either protocol.
type conn interface {
	peer
	Info() libos.Info
	// Close disconnects, and waits until that is done.
	Close() error
}

// dialer makes connections in one protocol.
type dialer interface {
	protocol() protocol
	dial(ctx context.Context) (conn, error)
	// Close ends it, after its connections.
	Close() error
}

// connectFirst makes the first connection in the protocol that is asked for, or that the
// server speaks; the dialer makes more of them.
func (t *task) connectFirst(stop context.Context) (dialer, conn, error) {
	if t.opts.protocol != protocolDemi && (t.opts.protocol == protocolRping || t.opts.suitsRping()) {
		d, c, err := open(stop, t.newRpingDialer)
		if !errors.Is(err, errSpeaksDemi) || t.opts.protocol == protocolRping {
			return d, c, err
		}
	}
	return open(stop, t.newDemiDialer)
}

func open[D dialer](stop context.Context, begin func() (D, error)) (dialer, conn, error) {
	d, err := begin()
	if err != nil {
		return nil, nil, err
	}
	c, err := d.dial(stop)
	if err != nil {
		return nil, nil, errors.Join(err, d.Close())
	}
	return d, c, nil
}
