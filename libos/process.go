package libos

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"syscall"
	"time"

	"catmint/datapath"
	"catmint/internal/background"
	"catmint/libos/metrics"
	"catmint/rdma"
)

// Process is a libOS: engines, devices and descriptors of one fabric. A program needs one.
type Process struct {
	cfg    Config
	fabric rdma.Fabric
	log    *slog.Logger

	metrics *metrics.Server // nil if none is asked for

	devMu   sync.Mutex
	devices map[rdma.Device]*sharedDevice

	mu      sync.RWMutex
	engines map[uint32]*Engine
	sockets map[int32]*Socket // those that the application knows
	ended   Stats             // of engines that are no more
	closed  bool

	abort sync.Once
	dead  chan struct{} // closed by Abort
}

// New makes a libOS on a fabric. Nothing is opened yet. EINVAL (a *ConfigError): cfg has
// a value that cannot work.
func New(cfg Config, fabric rdma.Fabric) (*Process, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	p := &Process{
		cfg: cfg, fabric: fabric, log: log,
		devices: map[rdma.Device]*sharedDevice{}, engines: map[uint32]*Engine{}, sockets: map[int32]*Socket{},
		dead: make(chan struct{}),
	}
	p.metrics = serveMetrics(cfg, p)
	return p, nil
}

// Config is what the process was made with.
func (p *Process) Config() Config { return p.cfg }

// Fabric is what the process was made on.
func (p *Process) Fabric() rdma.Fabric { return p.fabric }

// Engines returns the engines, in the order of their indices.
func (p *Process) Engines() []*Engine {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return slices.SortedFunc(maps.Values(p.engines), func(a, b *Engine) int { return int(a.dp.Index()) - int(b.dp.Index()) })
}

// Socket finds the socket of a descriptor. EBADF: there is none.
func (p *Process) Socket(qd int32) (*Socket, error) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if s := p.sockets[qd]; s != nil {
		return s, nil
	}
	return nil, syscall.EBADF
}

// EngineOf finds the engine of this process that is made around dp, nil if none is.
func (p *Process) EngineOf(dp *datapath.Engine) *Engine {
	if dp == nil {
		return nil
	}
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.engines[dp.Index()]
}

func (p *Process) addSocket(s *Socket) {
	p.mu.Lock()
	p.sockets[s.qd] = s
	p.mu.Unlock()
}

func (p *Process) removeSocket(s *Socket) {
	p.mu.Lock()
	if p.sockets[s.qd] == s {
		delete(p.sockets, s.qd)
	}
	p.mu.Unlock()
}

func (p *Process) openSockets() []*Socket {
	p.mu.RLock()
	defer p.mu.RUnlock()
	out := make([]*Socket, 0, len(p.sockets))
	for _, s := range p.sockets {
		out = append(out, s)
	}
	return out
}

// Progress is a number that changes as peers take messages of the open and closing
// sockets of this process; 0 if the event loops do not answer before ctx ends.
func (p *Process) Progress(ctx context.Context) uint64 {
	p.mu.RLock()
	engines := slices.Collect(maps.Values(p.engines))
	p.mu.RUnlock()
	var sum uint64
	for _, e := range engines {
		answer := make(chan uint64, 1)
		if !e.loop.post(func() {
			var n uint64
			for c := range e.conns {
				n += c.ep.progress()
			}
			answer <- n
		}) {
			continue
		}
		select {
		case n := <-answer:
			sum += n
		case <-ctx.Done():
			return 0
		}
	}
	return sum
}

// CloseAll closes every open socket as Close does, all at the same time, and cuts what is
// left when ctx ends: for the end of a program that did not close. Established
// connections get their FIN / FIN_ACK; nothing is lost that was pushed, within the linger
// time.
func (p *Process) CloseAll(ctx context.Context) {
	var wg sync.WaitGroup
	for _, s := range p.openSockets() {
		background.Join(&wg, "close", func() {
			background.Checkpoint("close")
			_ = s.CloseContext(ctx)
		})
	}
	wg.Wait()
}

// Shutdown closes everything, waits until all of it is released and stops the engines.
// Tokens that nobody has redeemed are dropped. It returns what could not be released, and
// ctx.Err when ctx ended first. The process is not usable afterwards.
func (p *Process) Shutdown(ctx context.Context) error {
	p.mu.Lock()
	p.closed = true
	engines := make([]*Engine, 0, len(p.engines))
	for _, e := range p.engines {
		engines = append(engines, e)
	}
	p.mu.Unlock()
	p.CloseAll(ctx)
	errs := []error{p.metrics.Close()}
	for _, e := range engines {
		if err := e.Quiesce(ctx); err != nil {
			errs = append(errs, err)
			continue // what still has connections cannot be torn down
		}
		errs = append(errs, e.stop())
	}
	return errors.Join(errs...)
}

// Quiesce waits until what has been closed is released, on every engine: queue pairs
// outlive their sockets for as long as their work is being accounted for.
func (p *Process) Quiesce(ctx context.Context) error {
	p.mu.RLock()
	engines := make([]*Engine, 0, len(p.engines))
	for _, e := range p.engines {
		engines = append(engines, e)
	}
	p.mu.RUnlock()
	var errs []error
	for _, e := range engines {
		errs = append(errs, e.Quiesce(ctx))
	}
	return errors.Join(errs...)
}

// Abort gives the process up, because code of the library has panicked and nothing in it may
// be relied on any more: every operation under way fails with err (as does what is pushed and
// popped from now on, once what had arrived is popped), and no call waits for the event loops
// any longer: it answers EIO. Nothing is released but by the end of the program.
func (p *Process) Abort(err syscall.Errno) {
	p.abort.Do(func() {
		close(p.dead)
		p.mu.RLock()
		engines := slices.Collect(maps.Values(p.engines))
		p.mu.RUnlock()
		for _, e := range engines {
			e.dp.Abort(err)
			e.loop.interrupt()
		}
	})
}

func (p *Process) aborted() bool {
	select {
	case <-p.dead:
		return true
	default:
		return false
	}
}

// shutdownGrace is for callers that have no context of their own.
const shutdownGrace = 10 * time.Second

// Close is Shutdown with ten seconds of patience.
func (p *Process) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownGrace)
	defer cancel()
	return p.Shutdown(ctx)
}
