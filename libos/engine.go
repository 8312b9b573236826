package libos

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"

	"catmint/datapath"
	"catmint/rdma"
)

// Engine is one set of completion queues, tokens and waiters, with its own event loop.
// Programs with several busy threads give each its own.
type Engine struct {
	*driver
	p  *Process
	dp *datapath.Engine

	notices *noticeReader
	house   *housekeeper
	keeper  keeper
	waiters waiters

	quit     chan struct{} // closed when the engine stops
	watchers sync.WaitGroup

	cookies    map[uint64]*conn // loop only
	lastCookie atomic.Uint64

	devMu   sync.Mutex
	devices map[rdma.Device]*device

	pool qpPool
}

// NewEngine makes an engine and starts its goroutines. ENODEV: RDMA is not available
// here; EAGAIN: too many engines; ENOSYS: the process has been shut down; EIO: it was aborted.
func (p *Process) NewEngine() (*Engine, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, syscall.ENOSYS
	}
	if p.aborted() {
		return nil, syscall.EIO
	}
	dp, err := datapath.NewEngine(datapath.Config{
		WaitMode: p.cfg.WaitMode, Spin: p.cfg.Spin, MaxTokens: p.cfg.MaxTokens, MaxArenaMem: p.cfg.MaxArenaMem,
	})
	if err != nil {
		return nil, fmt.Errorf("new engine: %w", err)
	}
	drv, err := newDriver(p.fabric, &p.cfg, p.log.With("engine", dp.Index()), p.dead)
	if err != nil {
		return nil, errors.Join(err, dp.Destroy())
	}
	e := &Engine{
		driver: drv, p: p, dp: dp, quit: make(chan struct{}), cookies: map[uint64]*conn{}, devices: map[rdma.Device]*device{},
		waiters: waiters{m: map[datapath.Token][]chan<- struct{}{}},
	}
	e.keeper.dp = dp
	e.pool = qpPool{e: e, size: p.cfg.QPPool, places: map[poolPlace]*poolShelf{}}
	if e.notices, err = newNoticeReader(e); err != nil {
		return nil, errors.Join(err, drv.stop(), dp.Destroy())
	}
	if e.house, err = newHousekeeper(dp, e.notices.take, e.waiters.any); err != nil {
		return nil, errors.Join(err, e.notices.file.Close(), drv.stop(), dp.Destroy())
	}
	if err = e.notices.start(); err != nil {
		return nil, errors.Join(err, e.tearDown())
	}
	p.engines[dp.Index()] = e
	return e, nil
}

// Datapath is the engine of the data plane.
func (e *Engine) Datapath() *datapath.Engine { return e.dp }

// Process is the engine's process.
func (e *Engine) Process() *Process { return e.p }

func (e *Engine) nextCookie() uint64 { return e.lastCookie.Add(1) }

// dropTokens redeems what nobody has, all of which is complete by now, and frees the
// messages among it.
func (e *Engine) dropTokens() {
	var rs [64]datapath.Result
	for {
		n, err := datapath.WaitNextN(e.dp, rs[:], 0)
		for i := range rs[:n] {
			if rs[i].Opcode == datapath.OpPop {
				sga := rs[i].SGA()
				_ = datapath.SGAFree(&sga) // EINVAL only for what is not a message of ours
			}
		}
		if n > 0 {
			e.log.Debug("tokens were never redeemed", "count", n)
		}
		if err != nil || n < len(rs) {
			return
		}
	}
}

// stop ends the engine, whose connections have all been released.
func (e *Engine) stop() error {
	e.p.mu.Lock()
	delete(e.p.engines, e.dp.Index())
	e.p.ended.Add(e.Stats())
	e.p.mu.Unlock()
	return e.tearDown()
}

func (e *Engine) tearDown() error {
	close(e.quit)
	e.loop.interrupt()
	e.waiters.shut()
	e.watchers.Wait()
	e.pool.close()
	e.keeper.stop()
	errs := []error{e.driver.stop(), e.house.stop(), e.notices.stop()}
	e.devMu.Lock()
	for _, d := range e.devices {
		errs = append(errs, d.close())
	}
	clear(e.devices)
	e.devMu.Unlock()
	e.dropTokens()
	if err := e.dp.Destroy(); err != nil {
		errs = append(errs, fmt.Errorf("destroy engine: %w", err))
	}
	return errors.Join(errs...)
}
