package rdma

// #include "verbs_shim.h"
import "C"

import (
	"net/netip"
	"sync"
	"syscall"

	"catmint/internal/background"
)

// devices are the devices that ids of this process have been bound to.
var devices deviceRegistry

// deviceRegistry knows the Go value of each ibv_context that librdmacm opened.
//
// librdmacm announces the removal of a device only to ids that are bound to it, so the
// registry holds one bound id per device, on an event channel of its own. That id also
// keeps librdmacm from closing the context while the device is registered. A removed
// device is dropped as soon as nothing made from it is open; any device when the last
// Hardware is closed.
type deviceRegistry struct {
	mu    sync.Mutex
	refs  int // open Hardware
	byCtx map[*C.struct_ibv_context]*device
	watch *removalWatch // nil while there is no Hardware
}

// removalWatch waits for the removal of devices from the first Hardware to the last. Its
// fields and the calls on its channel are guarded by the registry's lock.
type removalWatch struct {
	ch   *eventChannel // nil until there is a device
	ids  map[*cmID]*device
	quit chan struct{}
	work sync.WaitGroup // the loop, and drops under way
}

func (r *deviceRegistry) retain() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refs == 0 {
		r.byCtx = make(map[*C.struct_ibv_context]*device)
		r.watch = &removalWatch{ids: make(map[*cmID]*device), quit: make(chan struct{})}
	}
	r.refs++
}

// release undoes a retain; the last one drops every device. EBUSY: something is open.
func (r *deviceRegistry) release() error {
	w, err := r.releaseLocked()
	if err != nil || w == nil {
		return err
	}
	close(w.quit)
	w.work.Wait()
	if w.ch == nil {
		return nil
	}
	return w.ch.Close()
}

// releaseLocked returns the watch to end, nil if there is other Hardware.
func (r *deviceRegistry) releaseLocked() (*removalWatch, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refs > 1 {
		r.refs--
		return nil, nil
	}
	for _, d := range r.byCtx {
		if d.users != 0 {
			return nil, errnoError("close fabric", d.name, int(syscall.EBUSY))
		}
	}
	r.refs--
	for _, d := range r.byCtx {
		r.dropLocked(d)
	}
	w := r.watch
	r.watch = nil
	return w, nil
}

// get returns the Go value of ctx; local is an address of the device to watch it by.
func (r *deviceRegistry) get(ctx *C.struct_ibv_context, local netip.Addr) (*device, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.byCtx[ctx]
	if d == nil {
		attr, err := queryDevice(ctx)
		if err != nil {
			return nil, err
		}
		d = &device{
			name:     deviceName(ctx.device),
			ctx:      ctx,
			attr:     attr,
			links:    queryLinks(ctx, attr.NumPorts),
			removed:  make(chan struct{}),
			handlers: make(map[int]func(AsyncEvent)),
		}
		if d.async, err = startAsyncReader(d); err != nil {
			return nil, err
		}
		d.home = r.watch
		r.byCtx[ctx] = d
	}
	if d.watch == nil {
		r.watchLocked(d, local) // tried again with the next id's address if it fails
	}
	return d, nil
}

// watchLocked binds an id of the registry's own to the device.
func (r *deviceRegistry) watchLocked(d *device, local netip.Addr) {
	w := r.watch
	if w.ch == nil {
		ch, err := newEventChannel()
		if err != nil {
			return
		}
		w.ch = ch
		background.Join(&w.work, "device removal", func() { r.loop(w) })
	}
	id, err := w.ch.createID()
	if err != nil {
		return
	}
	if id.BindAddr(netip.AddrPortFrom(local, 0)) != nil || id.c.verbs != d.ctx {
		_ = id.Close()
		return
	}
	d.watch = id
	w.ids[id] = d
}

// loop waits for removals.
func (r *deviceRegistry) loop(w *removalWatch) {
	for {
		select {
		case <-w.ch.Readable():
		case <-w.quit:
			return
		}
		r.mu.Lock()
		for {
			ev, ok, err := w.ch.GetEvent()
			if err != nil || !ok {
				break
			}
			d := w.ids[ev.ID.(*cmID)]
			if ev.Type == DeviceRemoval && d != nil {
				d.markRemoved()
				r.dropIfUnusedLocked(d)
			}
		}
		r.mu.Unlock()
	}
}

// hold counts an object made from d, or a query under way. ENODEV: d has been dropped.
func (r *deviceRegistry) hold(d *device, op string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d.gone {
		return errnoError(op, d.name, int(syscall.ENODEV))
	}
	d.users++
	return nil
}

// unhold undoes a hold.
func (r *deviceRegistry) unhold(d *device) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d.users--
	r.dropIfUnusedLocked(d)
}

func (r *deviceRegistry) dropIfUnusedLocked(d *device) {
	select {
	case <-d.removed:
		if d.users == 0 && !d.gone {
			r.dropLocked(d)
		}
	default:
	}
}

// dropLocked forgets d. The reader may be inside the caller's own handler, so waiting for
// it is left to a goroutine; the watching id outlives it, and with it the context.
func (r *deviceRegistry) dropLocked(d *device) {
	d.gone = true
	delete(r.byCtx, d.ctx)
	w := d.home
	background.Join(&w.work, "device release", func() {
		d.async.stop()
		r.mu.Lock()
		defer r.mu.Unlock()
		if d.watch != nil {
			delete(w.ids, d.watch)
			_ = d.watch.Close()
			d.watch = nil
		}
	})
}
