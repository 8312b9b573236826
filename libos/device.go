package libos

import (
	"errors"
	"fmt"
	"sync"
	"syscall"

	"catmint/datapath"
	"catmint/internal/background"
	"catmint/rdma"
)

// sharedDevice is an RDMA device as the process uses it: one protection domain, one set
// of memory regions. Engines hold it; the last one releases it.
type sharedDevice struct {
	rdev    rdma.Device
	pd      rdma.PD
	dp      *datapath.Device
	sendOps bool // its queue pairs are to have an extended interface, if the provider knows one
	engines int
}

// kernelPosts tells whether posting a send enters the kernel. A variable for tests that have
// Soft-RoCE used as hardware is.
var kernelPosts = rdma.DeviceAttr.Software

// retainDevice opens a device for an engine.
func (p *Process) retainDevice(rdev rdma.Device) (*sharedDevice, error) {
	p.devMu.Lock()
	defer p.devMu.Unlock()
	if d := p.devices[rdev]; d != nil {
		d.engines++
		return d, nil
	}
	pd, err := rdev.AllocPD()
	if err != nil {
		return nil, err
	}
	attr := rdev.Attr()
	msg := uint64(1 << 30)
	if port, perr := rdev.Port(1); perr == nil && port.MaxMsgSize != 0 {
		msg = uint64(port.MaxMsgSize)
	}
	dp, err := datapath.AddDevice(pd.Handle(), p.fabric.SlowOps(), datapath.DeviceAttr{
		MaxInline: p.cfg.MaxInline, MaxSGE: uint32(attr.MaxSGE), MaxMsgSize: msg,
		KernelPosts: kernelPosts(attr), IWARP: attr.Transport == rdma.TransportIWARP,
	})
	if errors.Is(err, syscall.ENOSPC) {
		err = fmt.Errorf("the process uses too many RDMA devices, counted once per libOS (libos.New): %w", syscall.EAGAIN)
	}
	if err != nil {
		return nil, errors.Join(err, pd.Close())
	}
	d := &sharedDevice{rdev: rdev, pd: pd, dp: dp, sendOps: !kernelPosts(attr), engines: 1}
	p.devices[rdev] = d
	return d, nil
}

func (p *Process) releaseDevice(d *sharedDevice) error {
	p.devMu.Lock()
	defer p.devMu.Unlock()
	if d.engines--; d.engines > 0 {
		return nil
	}
	delete(p.devices, d.rdev)
	return errors.Join(d.dp.Remove(), d.pd.Close())
}

// device is a device as one engine uses it: completion queues, all on one channel.
type device struct {
	*sharedDevice
	e *Engine

	mu      sync.Mutex // held while a queue pair is made, so that a CQ's room is not taken twice
	channel rdma.CompletionChannel
	cqs     []engineCQ

	conns   int  // connections that use it; guarded by Engine.devMu
	removed bool // announced as removed; guarded by Engine.devMu
}

type engineCQ struct {
	cq rdma.CQ
	dp *datapath.CQ
}

// device returns what the engine has of a device, opening it at its first use. Each call
// is paired with a put.
func (e *Engine) device(rdev rdma.Device) (*device, error) {
	e.devMu.Lock()
	defer e.devMu.Unlock()
	if d := e.devices[rdev]; d != nil {
		if d.removed {
			return nil, syscall.ENODEV
		}
		d.conns++
		return d, nil
	}
	shared, err := e.p.retainDevice(rdev)
	if err != nil {
		return nil, err
	}
	channel, err := rdev.NewCompletionChannel()
	if err == nil {
		err = e.house.watch(channel.Fd())
		if err != nil {
			err = errors.Join(err, channel.Close())
		}
	}
	if err != nil {
		return nil, errors.Join(err, e.p.releaseDevice(shared))
	}
	d := &device{sharedDevice: shared, e: e, channel: channel, conns: 1}
	e.devices[rdev] = d
	background.Join(&e.watchers, "device watcher", func() {
		select {
		case <-rdev.Removed():
			background.Checkpoint("device watcher")
			e.deviceRemoved(d)
		case <-e.quit:
		}
	})
	return d, nil
}

// put ends a use of the device. One that was removed goes with its last user: rdma link
// delete waits for that.
func (e *Engine) put(d *device) {
	e.devMu.Lock()
	d.conns--
	last := d.conns == 0 && d.removed
	if last {
		delete(e.devices, d.rdev)
	}
	e.devMu.Unlock()
	if last {
		e.closeDevice(d)
	}
}

func (e *Engine) deviceRemoved(d *device) {
	e.log.Warn("device removed", "device", d.rdev.Name())
	e.devMu.Lock()
	d.removed = true
	idle := d.conns == 0
	if idle {
		delete(e.devices, d.rdev)
	}
	e.devMu.Unlock()
	if idle {
		e.closeDevice(d)
		return
	}
	e.pool.drop(d.rdev) // these are users, too, and perhaps the last
}

func (e *Engine) closeDevice(d *device) {
	if err := d.close(); err != nil {
		e.stats.leaks.Add(1)
		e.log.Error("release device", "device", d.rdev.Name(), "err", err)
	}
}

// close releases everything that the engine has on the device, in order.
func (d *device) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for _, q := range d.cqs {
		errs = append(errs, q.dp.Remove(), q.cq.Close())
	}
	d.cqs = nil
	d.e.house.unwatch(d.channel.Fd())
	errs = append(errs, d.channel.Close(), d.e.p.releaseDevice(d.sharedDevice))
	return errors.Join(errs...)
}

// cqLease is a completion queue with enough room, which stays so until release.
type cqLease struct {
	engineCQ
	dev *device
}

func (l cqLease) release() { l.dev.mu.Unlock() }

// findCQ finds a completion queue of d for one more connection, or makes one: with room for
// grown completions, which is what it takes once its window has grown, as those of its
// neighbours. If none can be made, one with room for need must do; there windows grow as long
// as there is room.
func (e *Engine) findCQ(d *device, need, grown int) (cqLease, error) {
	d.mu.Lock()
	found := e.dp.FindCQ(d.dp, grown, true)
	if found == nil {
		q, err := e.newCQ(d, grown)
		if err == nil {
			d.cqs = append(d.cqs, q)
			return cqLease{q, d}, nil
		}
		if found = e.dp.FindCQ(d.dp, need, false); found == nil {
			d.mu.Unlock()
			return cqLease{}, err
		}
		e.log.Warn("no further completion queue: windows may not grow", "device", d.rdev.Name(), "err", err)
	}
	for _, q := range d.cqs {
		if q.dp.Is(found) {
			return cqLease{q, d}, nil
		}
	}
	d.mu.Unlock()
	return cqLease{}, fmt.Errorf("a completion queue that is not ours: %w", syscall.EINVAL)
}

func (e *Engine) newCQ(d *device, need int) (engineCQ, error) {
	depth := max(e.cfg.CQDepth, need)
	if most := d.rdev.Attr().MaxCQE; most > 0 {
		depth = min(depth, most)
	}
	cq, err := d.rdev.CreateCQ(depth, d.channel)
	if err != nil {
		return engineCQ{}, err // ENOMEM is locked memory, more often than not
	}
	dp, err := e.dp.AddCQ(d.dp, cq.Handle(), d.channel.Handle(), cq.Depth())
	if err != nil {
		return engineCQ{}, errors.Join(err, cq.Close())
	}
	e.house.kick() // there is one more to arm
	return engineCQ{cq, dp}, nil
}
