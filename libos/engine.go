package libos

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"

	"catmint/datapath"
	"catmint/rdma"
)

// Engine is one set of completion queues, tokens and waiters, with its own event loop.
// Programs with several busy threads give each its own.
type Engine struct {
	p     *Process
	cfg   *Config
	log   *slog.Logger
	debug bool
	dp    *datapath.Engine

	loop    *loop
	notices *noticeReader
	house   *housekeeper
	workers workers
	waiters waiters

	quit     chan struct{} // closed when the engine stops
	watchers sync.WaitGroup

	cookies    sync.Map // uint64 -> *conn
	lastCookie atomic.Uint64

	devMu   sync.Mutex
	devices map[rdma.Device]*device

	// Loop only.
	conns map[*conn]struct{}
	idle  []chan struct{} // waiting for conns to be only those that are in use
}

// NewEngine makes an engine and starts its goroutines. ENODEV: RDMA is not available
// here; EAGAIN: too many engines; ENOSYS: the process has been shut down.
func (p *Process) NewEngine() (*Engine, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, syscall.ENOSYS
	}
	dp, err := datapath.NewEngine(datapath.Config{
		WaitMode: p.cfg.WaitMode, Spin: p.cfg.Spin, MaxTokens: p.cfg.MaxTokens, MaxArenaMem: p.cfg.MaxArenaMem,
	})
	if err != nil {
		return nil, fmt.Errorf("new engine: %w", err)
	}
	ch, err := p.fabric.NewEventChannel()
	if err != nil {
		return nil, errors.Join(err, dp.Destroy())
	}
	e := &Engine{
		p: p, cfg: &p.cfg, dp: dp, log: p.log.With("engine", dp.Index()),
		quit: make(chan struct{}), devices: map[rdma.Device]*device{}, conns: map[*conn]struct{}{},
		waiters: waiters{m: map[datapath.Token][]chan<- struct{}{}},
		workers: workers{slots: make(chan struct{}, 4)},
	}
	e.debug = p.log.Enabled(context.Background(), slog.LevelDebug)
	if e.notices, err = newNoticeReader(e); err != nil {
		return nil, errors.Join(err, ch.Close(), dp.Destroy())
	}
	if e.house, err = newHousekeeper(dp, e.notices.take, e.waiters.any); err != nil {
		return nil, errors.Join(err, e.notices.file.Close(), ch.Close(), dp.Destroy())
	}
	e.loop = newLoop(ch, func(err error) { e.log.Error("event channel", "err", err) })
	if err = e.notices.start(); err != nil {
		return nil, errors.Join(err, e.stop())
	}
	p.engines[dp.Index()] = e
	return e, nil
}

// Datapath is the engine of the data plane.
func (e *Engine) Datapath() *datapath.Engine { return e.dp }

// Process is the engine's process.
func (e *Engine) Process() *Process { return e.p }

func (e *Engine) nextCookie() uint64 { return e.lastCookie.Add(1) }

// Quiesce waits until everything that has been closed is released. Open sockets stay.
func (e *Engine) Quiesce(ctx context.Context) error {
	ch := make(chan struct{})
	if !e.loop.post(func() {
		e.idle = append(e.idle, ch)
		e.connReleased()
	}) {
		return nil
	}
	select {
	case <-ch:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("connections are still being torn down: %w", ctx.Err())
	}
}

// connReleased tells those who wait that nothing is being torn down any more. Loop only.
func (e *Engine) connReleased() {
	if len(e.idle) == 0 {
		return
	}
	for c := range e.conns {
		if !c.out.open() {
			return
		}
	}
	for _, ch := range e.idle {
		close(ch)
	}
	e.idle = nil
}

// stop ends the engine, whose connections have all been released.
func (e *Engine) stop() error {
	e.p.mu.Lock()
	delete(e.p.engines, e.dp.Index())
	e.p.mu.Unlock()
	close(e.quit)
	e.watchers.Wait()
	e.workers.wait()
	errs := []error{e.loop.stop(), e.house.stop(), e.notices.stop()}
	e.devMu.Lock()
	for _, d := range e.devices {
		errs = append(errs, d.close())
	}
	clear(e.devices)
	e.devMu.Unlock()
	if err := e.dp.Destroy(); err != nil {
		errs = append(errs, fmt.Errorf("destroy engine: %w", err))
	}
	return errors.Join(errs...)
}

// workers run what may block, a few at a time.
type workers struct {
	slots chan struct{}
	wg    sync.WaitGroup
}

func (w *workers) run(f func()) {
	w.wg.Go(func() {
		w.slots <- struct{}{}
		defer func() { <-w.slots }()
		f()
	})
}

func (w *workers) wait() { w.wg.Wait() }
