package sim

// #include "shim.h"
import "C"

import (
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"catmint/rdma"
)

// asyncReader hands the asynchronous events of a device to its handlers, for as long as
// there are any. It waits in Go's netpoller.
type asyncReader struct {
	f *os.File // a dup of the device's async_fd
}

// OnAsyncEvent implements [rdma.Device].
func (d *device) OnAsyncEvent(f func(rdma.AsyncEvent)) (cancel func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	key := d.nextKey
	d.nextKey++
	d.handlers[key] = f
	if d.reader == nil {
		d.reader = d.startReader()
	}
	return func() { d.cancelHandler(key) }
}

func (d *device) cancelHandler(key int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.handlers, key)
	if len(d.handlers) > 0 || d.reader == nil {
		return
	}
	d.reader.stop()
	d.reader = nil
}

// stop ends the reader soon. Close would wait for a handler that is running, which may be
// the caller.
func (r *asyncReader) stop() { _ = r.f.SetReadDeadline(time.Unix(1, 0)) }

// stopReader ends the reader, if handlers were left, and waits for every one that ran.
func (d *device) stopReader() {
	d.mu.Lock()
	if d.reader != nil {
		d.reader.stop()
		d.reader = nil
	}
	d.mu.Unlock()
	d.readers.Wait()
}

// startReader panics without a file descriptor: the interface has no error to give.
func (d *device) startReader() *asyncReader {
	fd, err := unix.FcntlInt(uintptr(d.ctx.async_fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		panic("sim: cannot watch for asynchronous events: " + err.Error())
	}
	r := &asyncReader{f: os.NewFile(uintptr(fd), "sim async events")}
	d.readers.Add(1)
	go func() {
		defer d.readers.Done()
		defer r.f.Close()
		raw, err := r.f.SyscallConn()
		if err != nil {
			return
		}
		// The function is called again whenever the fd becomes readable, until stop.
		_ = raw.Read(func(uintptr) bool {
			for {
				ev, ok := d.takeAsync()
				if !ok {
					return false
				}
				d.dispatch(ev)
			}
		})
	}()
	return r
}

func (d *device) takeAsync() (rdma.AsyncEvent, bool) {
	var c C.struct_ibv_async_event
	if errno := C.sim_device_get_async_event(d.ctx, &c); errno != 0 {
		return rdma.AsyncEvent{}, false
	}
	ev := rdma.AsyncEvent{Type: rdma.AsyncEventType(c.event_type)}
	object := *(*unsafe.Pointer)(unsafe.Pointer(&c.element))
	switch ev.Type {
	case rdma.EventCQErr:
		ev.CQ = object
	case rdma.EventQPAccessErr, rdma.EventQPReqErr, rdma.EventCommEst:
		ev.QP = object
		ev.QPNum = d.host.qpNum(object)
	default:
	}
	return ev, true
}

// qpNum is the number of an open queue pair, 0 if it has been closed.
func (h *Host) qpNum(handle unsafe.Pointer) uint32 {
	for _, qp := range h.QPs() {
		if qp.Handle() == handle {
			return qp.Num()
		}
	}
	return 0
}

// dispatch hands an asynchronous event to whoever asked for them.
func (d *device) dispatch(ev rdma.AsyncEvent) {
	d.mu.Lock()
	last := d.nextKey
	d.mu.Unlock()
	for k := range last {
		d.mu.Lock()
		f := d.handlers[k]
		d.mu.Unlock()
		if f != nil {
			f(ev)
		}
	}
}
