package libos

import (
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"syscall"

	"catmint/libos/connfsm"
	"catmint/libos/metrics"
	"catmint/rdma"
)

// Connector makes connections with the same state machine, timers, retries and errors as
// sockets have, for callers that own the queue pair and speak a protocol of their own on
// it. There is no data plane.
type Connector struct {
	cfg     Config
	d       *driver
	metrics *metrics.Server // nil if none is asked for
}

// Hooks is what the owner of a raw connection provides. Create runs on a worker; the
// others run on the connector's loop and must not block.
type Hooks struct {
	// Create makes the queue pair on id (CreateQP) and posts what must be posted before
	// the peer may send; it does nothing else with id, whose route is being resolved
	// meanwhile. On an error nothing may be left behind.
	Create func(id rdma.ID) error
	// Param is what rdma_connect or rdma_accept says.
	Param func(id rdma.ID) rdma.ConnParam
	// Established judges the peer's answer; an error ends the connection with its errno
	// (EPROTO if it has none). nil accepts any.
	Established func(ev rdma.Event) error
	// Ended says that the connection is over, before Destroy; err is nil after Close.
	// The owner fails what it has under way. nil for nothing.
	Ended func(err error)
	// Destroy destroys the queue pair. Its work has been flushed or never will be.
	Destroy func() error
}

// NewConnector opens an event channel on a fabric. Close it after use.
func NewConnector(cfg Config, fabric rdma.Fabric) (*Connector, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c := &Connector{cfg: cfg}
	var err error
	c.d, err = newDriver(fabric, &c.cfg, log, nil)
	if err != nil {
		return nil, err
	}
	c.metrics = serveMetrics(cfg, c)
	return c, nil
}

// Stats returns the counters.
func (c *Connector) Stats() Stats { return c.d.stats.snapshot() }

// Close waits until every connection is released, or ctx ends, and closes the channel.
func (c *Connector) Close(ctx context.Context) error {
	if err := c.d.Quiesce(ctx); err != nil {
		return err
	}
	return errors.Join(c.metrics.Close(), c.d.stop())
}

// RawConn is a connection whose queue pair belongs to the caller of Dial, or to the owner
// of a [Gate].
type RawConn struct {
	d    *driver
	c    *conn
	h    Hooks
	up   chan error    // the outcome of the dial
	done chan struct{} // closed when close is done
	free chan struct{} // closed when everything is released

	accepted func(*RawConn, error) // told the outcome, when it is the peer who connects

	mu      sync.Mutex
	closing bool
}

// Dial connects to dst, from src if that is valid. It returns when the connection is
// established or has failed: a *ConnectError, or ctx.Err after ctx has ended it.
func (c *Connector) Dial(ctx context.Context, src, dst netip.AddrPort, h Hooks) (*RawConn, error) {
	if h.Create == nil || h.Param == nil || h.Destroy == nil || !dst.IsValid() {
		return nil, syscall.EINVAL
	}
	r := &RawConn{d: c.d, h: h, up: make(chan error, 1), done: make(chan struct{}), free: make(chan struct{})}
	if !c.d.loop.post(func() {
		r.c = c.d.newConn(rawEndpoint{r}, r)
		r.c.bound, r.c.dst = src, dst
		r.c.info.mark(phaseStarted)
		r.c.info.setRemote(dst)
		c.d.stats.started.Add(1)
		r.c.step(connfsm.Event{Kind: connfsm.Connect})
	}) {
		return nil, syscall.ENOSYS
	}
	select {
	case err := <-r.up:
		if err != nil {
			_ = r.Close()
			return nil, err
		}
		return r, nil
	case <-ctx.Done():
		_ = r.Close()
		return nil, ctx.Err()
	}
}

// Info describes the connection.
func (r *RawConn) Info() Info { return r.c.info.get() }

// Released is closed when queue pair and id are gone.
func (r *RawConn) Released() <-chan struct{} { return r.free }

// Close disconnects. Tear-down goes on behind; Released says when it is over. EBADF:
// closed already.
func (r *RawConn) Close() error {
	r.mu.Lock()
	if r.closing {
		r.mu.Unlock()
		return syscall.EBADF
	}
	r.closing = true
	r.mu.Unlock()
	if r.d.loop.post(func() { r.c.step(connfsm.Event{Kind: connfsm.Close}) }) {
		<-r.done
	}
	return nil
}

// RawConn is the outcome of its own connection.

func (r *RawConn) connected()               { r.up <- nil }
func (r *RawConn) failed(err *ConnectError) { r.up <- err }
func (r *RawConn) ready()                   { r.accepted(r, nil) }
func (r *RawConn) released()                { close(r.free) }

// closed ends the wait of Close. Loop only.
func (r *RawConn) closed() {
	select {
	case <-r.done:
	default:
		close(r.done)
	}
}

func (r *RawConn) gone(err *ConnectError) {
	r.mu.Lock()
	r.closing = true // there is nothing to close, it is torn down by itself
	r.mu.Unlock()
	r.accepted(r, err)
}

func (r *RawConn) open() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.closing
}

// rawEndpoint is the endpoint of a RawConn.
type rawEndpoint struct{ r *RawConn }

func (p rawEndpoint) pooled(rdma.ID) bool               { return false }
func (p rawEndpoint) create(id rdma.ID) error           { return p.r.h.Create(id) }
func (p rawEndpoint) adopt(rdma.ID) error               { return nil }
func (p rawEndpoint) request(id rdma.ID) rdma.ConnParam { return p.r.h.Param(id) }
func (p rawEndpoint) reply(id rdma.ID) rdma.ConnParam   { return p.r.h.Param(id) }
func (p rawEndpoint) sent(rdma.ID)                      {}
func (p rawEndpoint) attach(rdma.ID) error              { return nil }
func (p rawEndpoint) cancelPushes()                     {}
func (p rawEndpoint) progress() uint64                  { return 0 }
func (p rawEndpoint) destroyQP() error                  { return p.r.h.Destroy() }
func (p rawEndpoint) destroyConn() error                { return nil }

func (p rawEndpoint) answer(ev rdma.Event) error {
	if p.r.h.Established == nil {
		return nil
	}
	err := p.r.h.Established(ev)
	if err != nil && rdma.Errno(err) == 0 {
		return errors.Join(err, syscall.EPROTO)
	}
	return err
}

// sendFIN: the owner's protocol has said all it has to say before Close.
func (p rawEndpoint) sendFIN() error {
	p.r.d.loop.post(func() { p.r.c.step(connfsm.Event{Kind: connfsm.Drained}) })
	return nil
}

// flush: the owner's work is the owner's to account for; destroying the queue pair ends it.
func (p rawEndpoint) flush(err syscall.Errno) {
	if p.r.h.Ended != nil {
		if err == 0 {
			p.r.h.Ended(nil)
		} else {
			p.r.h.Ended(err)
		}
	}
	p.r.d.loop.post(func() { p.r.c.step(connfsm.Event{Kind: connfsm.Flushed}) })
}
