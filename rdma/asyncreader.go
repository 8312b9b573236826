package rdma

// #include "verbs_shim.h"
import "C"

import (
	"syscall"
	"unsafe"

	"catmint/internal/background"
)

// asyncReader takes a device's asynchronous events off its context, each copied and
// acknowledged at once, and hands them to the device's handlers.
type asyncReader struct {
	read *readable
	quit chan struct{}
	done <-chan struct{}
}

func startAsyncReader(d *device) (*asyncReader, error) {
	read, err := watchReadable(int(d.ctx.async_fd), "ibv_async")
	if err != nil {
		return nil, &OpError{Op: "watch asynchronous events", Device: d.name, Err: err}
	}
	a := &asyncReader{read: read, quit: make(chan struct{})}
	a.done = background.Go("asynchronous events", func() {
		for {
			select {
			case <-read.watch():
			case <-a.quit:
				return
			}
			if !drainAsyncEvents(d) {
				d.markRemoved()
				return
			}
			read.arm()
		}
	})
	return a, nil
}

// drainAsyncEvents is false when the device will never report anything again.
func drainAsyncEvents(d *device) bool {
	for {
		var c C.struct_catmint_async_event
		switch errno := syscall.Errno(C.catmint_get_async_event(d.ctx, &c)); errno {
		case 0:
			d.dispatch(AsyncEvent{
				Type:  AsyncEventType(c._type),
				QP:    unsafe.Pointer(c.qp),
				CQ:    unsafe.Pointer(c.cq),
				QPNum: uint32(c.qp_num),
				Port:  int(c.port),
			})
		case syscall.EAGAIN:
			return true
		case syscall.EINTR:
		default: // EIO: the device has been removed
			return false
		}
	}
}

// stop ends the reader and waits until it has ended. Call it once.
func (a *asyncReader) stop() {
	close(a.quit)
	a.read.close()
	<-a.done
}

// OnAsyncEvent implements [Device].
func (d *device) OnAsyncEvent(f func(AsyncEvent)) (cancel func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := d.nextKey
	d.nextKey++
	d.handlers[key] = f
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.handlers, key)
	}
}

func (d *device) dispatch(ev AsyncEvent) {
	d.mu.Lock()
	handlers := make([]func(AsyncEvent), 0, len(d.handlers))
	for _, f := range d.handlers {
		handlers = append(handlers, f)
	}
	d.mu.Unlock()
	for _, f := range handlers {
		f(ev)
	}
}
