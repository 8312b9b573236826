package libos

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"syscall"

	"catmint/internal/background"
	"catmint/libos/connfsm"
	"catmint/rdma"
)

// driver carries out what the state machines ask for, on one event channel. It knows
// nothing of the data plane: an Engine adds that, a Connector does without.
type driver struct {
	cfg     *Config
	log     *slog.Logger
	debug   bool // somebody reads such lines
	verbose bool // and of level Info
	stats   *stats
	loop    *loop
	workers workers

	// Loop only: whoever has the turn.
	conns     map[*conn]struct{}
	deadlines deadlines
	rooms     []*connfsm.Room // that no step is in
	pending   int             // how many of them are being set up
	idle      []chan struct{} // of those who wait for the end of all tear-down
}

// newDriver starts a driver; dead is closed when the process is aborted, nil for never.
func newDriver(fabric rdma.Fabric, cfg *Config, log *slog.Logger, dead <-chan struct{}) (*driver, error) {
	ch, err := fabric.NewEventChannel()
	if err != nil {
		return nil, err
	}
	loop, err := newLoop(ch, dead, func(err error) { log.Error("event channel", "err", err) })
	if err != nil {
		return nil, errors.Join(err, ch.Close())
	}
	return &driver{
		cfg: cfg, log: log, debug: log.Enabled(context.Background(), slog.LevelDebug),
		verbose: log.Enabled(context.Background(), slog.LevelInfo), stats: newStats(),
		loop:    loop,
		workers: workers{slots: make(chan struct{}, 4)},
		conns:   map[*conn]struct{}{}, deadlines: deadlines{limit: cfg.ConnectTimeout},
	}, nil
}

// stop ends the driver, whose connections have all been released.
func (d *driver) stop() error {
	d.workers.wait()
	if err := d.loop.call(func() error {
		d.deadlines.end()
		return nil
	}); err != nil {
		return err
	}
	return d.loop.stop()
}

// Quiesce waits until everything that has been closed is released. Open sockets stay.
func (d *driver) Quiesce(ctx context.Context) error {
	ch := make(chan struct{})
	if !d.loop.post(func() {
		d.idle = append(d.idle, ch)
		d.connReleased()
	}) {
		return nil
	}
	select {
	case <-ch:
		return nil
	case <-d.loop.dead:
		return syscall.EIO
	case <-ctx.Done():
		return fmt.Errorf("connections are still being torn down: %w", ctx.Err())
	}
}

// room is where a step may take place; its actions are over when it is given back. Loop only.
func (d *driver) room() *connfsm.Room {
	if last := len(d.rooms) - 1; last >= 0 {
		r := d.rooms[last]
		d.rooms = d.rooms[:last]
		return r
	}
	return new(connfsm.Room)
}

func (d *driver) giveBack(r *connfsm.Room) { d.rooms = append(d.rooms, r) }

// connReleased tells those who wait that nothing is being torn down any more. Loop only.
func (d *driver) connReleased() {
	if len(d.idle) == 0 {
		return
	}
	for c := range d.conns {
		if !c.out.open() {
			return
		}
	}
	for _, ch := range d.idle {
		close(ch)
	}
	d.idle = nil
}

// work has f run off the turn: by who takes the events, if this connection is all there is to set
// up, so that nobody need be woken; otherwise by a worker, beside the others. Turn only.
func (d *driver) work(f func()) {
	if d.pending > 1 || !d.loop.takeJob(f) {
		d.workers.run(f)
	}
}

// workers run what may block, a few at a time.
type workers struct {
	slots chan struct{}
	wg    sync.WaitGroup
}

func (w *workers) run(f func()) {
	background.Join(&w.wg, "worker", func() {
		w.slots <- struct{}{}
		defer func() { <-w.slots }()
		background.Checkpoint("worker")
		f()
	})
}

func (w *workers) wait() { w.wg.Wait() }
