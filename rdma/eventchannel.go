package rdma

// #include <stdlib.h>
// #include "cm_shim.h"
// #cgo noescape catmint_create_id
// #cgo nocallback catmint_create_id
import "C"

import (
	"syscall"
	"unsafe"

	"catmint/rdma/internal/track"
)

// eventChannel implements [EventChannel] with an rdma_event_channel.
//
// Events are matched to ids by the address of the rdma_cm_id, so that no Go pointer is
// ever given to C.
type eventChannel struct {
	fabric *Hardware // nil for the device registry's own channel
	c      *C.struct_rdma_event_channel
	event  *C.struct_catmint_cm_event // scratch memory of GetEvent
	ids    map[*C.struct_rdma_cm_id]*cmID
	read   *readable
	rec    *track.Record
}

// NewEventChannel implements [Fabric].
//
// Errors: ENODEV without an RDMA device, ENOENT without /dev/infiniband/rdma_cm (module
// rdma_ucm), EACCES, EMFILE.
func (h *Hardware) NewEventChannel() (EventChannel, error) {
	if err := h.addChannel(); err != nil {
		return nil, err
	}
	ch, err := newEventChannel()
	if err != nil {
		h.dropChannel()
		return nil, err
	}
	ch.fabric = h
	ch.rec = track.Open("event channel")
	return ch, nil
}

func newEventChannel() (*eventChannel, error) {
	const op = opEventChannel
	if err := checkNode("rdma_cm"); err != nil {
		return nil, &OpError{Op: op, Err: err}
	}
	var c *C.struct_rdma_event_channel
	if errno := C.catmint_create_event_channel(&c); errno != 0 {
		return nil, errnoError(op, "", int(whyNoDevice(syscall.Errno(errno))))
	}
	read, err := watchReadable(int(c.fd), "rdma_cm")
	if err != nil {
		C.rdma_destroy_event_channel(c)
		return nil, &OpError{Op: op, Err: err}
	}
	return &eventChannel{
		c:     c,
		event: (*C.struct_catmint_cm_event)(C.calloc(1, C.sizeof_struct_catmint_cm_event)),
		ids:   make(map[*C.struct_rdma_cm_id]*cmID),
		read:  read,
	}, nil
}

// Readable implements [EventChannel].
func (ch *eventChannel) Readable() <-chan struct{} { return ch.read.watch() }

// Wait implements [EventChannel].
func (ch *eventChannel) Wait() (events bool) { return ch.read.wait() }

// Wake implements [EventChannel].
func (ch *eventChannel) Wake() { ch.read.wake() }

// TakeWatch implements [EventChannel].
func (ch *eventChannel) TakeWatch() bool { return ch.read.take() == nil }

// Await implements [EventChannel].
func (ch *eventChannel) Await() (events bool) { return ch.read.await() }

// Interrupt implements [EventChannel].
func (ch *eventChannel) Interrupt() { ch.read.interrupt() }

// LeaveWatch implements [EventChannel].
func (ch *eventChannel) LeaveWatch() { ch.read.leave() }

// GetEvent implements [EventChannel].
//
// An event that reports success but cannot be told to the caller, because the id's device
// cannot be used, becomes the error event of its step; a connection request of that kind
// is rejected and never seen.
func (ch *eventChannel) GetEvent() (Event, bool, error) {
	const op = "get CM event"
	if ch.c == nil {
		return Event{}, false, errnoError(op, "", int(syscall.EBADF))
	}
	for {
		errno := syscall.Errno(C.catmint_get_cm_event(ch.c, ch.event))
		if errno == syscall.EAGAIN {
			ch.read.arm()
			return Event{}, false, nil
		}
		if errno != 0 {
			// Whatever is wrong, the loop must be woken again for what comes next.
			ch.read.arm()
			return Event{}, false, errnoError(op, "", int(errno))
		}
		if ev, ok := ch.decode(ch.event); ok {
			return ev, true, nil
		}
	}
}

// decode turns the C copy of an event into Go's; false drops the event.
func (ch *eventChannel) decode(c *C.struct_catmint_cm_event) (Event, bool) {
	ev := Event{
		Type:               CMEvent(c._type),
		Status:             int(c.status),
		ResponderResources: uint8(c.responder_resources),
		InitiatorDepth:     uint8(c.initiator_depth),
	}
	if n := int(c.private_data_len); n != 0 {
		ev.PrivateData = C.GoBytes(unsafe.Pointer(&c.private_data[0]), C.int(n))
	}
	if ev.Type == ConnectRequest {
		listener := ch.ids[c.listen_id]
		id := ch.adopt(c.id)
		if err := id.learn(); err != nil || listener == nil {
			_ = id.Reject(nil)
			_ = id.Close()
			return Event{}, false
		}
		ev.ID, ev.Listener = id, listener
		return ev, true
	}
	id := ch.ids[c.id]
	if id == nil {
		return Event{}, false // destroyed; the kernel drops its events, so this is a guard
	}
	ev.ID = id
	if ev.Type == AddrError && ev.Status < 0 {
		ev.Status = -int(whyNoDevice(syscall.Errno(-ev.Status)))
	}
	if ev.Type == AddrResolved {
		if err := id.learn(); err != nil {
			ev.Type, ev.Status = AddrError, -int(Errno(err))
		}
	}
	return ev, true
}

// CreateID implements [EventChannel].
func (ch *eventChannel) CreateID() (ID, error) {
	id, err := ch.createID()
	if err != nil {
		return nil, err
	}
	return id, nil
}

func (ch *eventChannel) createID() (*cmID, error) {
	const op = "create id"
	if ch.c == nil {
		return nil, errnoError(op, "", int(syscall.EBADF))
	}
	var c *C.struct_rdma_cm_id
	if errno := C.catmint_create_id(ch.c, &c); errno != 0 {
		return nil, errnoError(op, "", int(errno))
	}
	return ch.adopt(c), nil
}

// adopt makes the Go object of an rdma_cm_id.
func (ch *eventChannel) adopt(c *C.struct_rdma_cm_id) *cmID {
	id := &cmID{ch: ch, c: c}
	if ch.fabric != nil {
		id.rec = track.Open("cm_id")
	}
	ch.ids[c] = id
	return id
}

// Close implements [EventChannel].
func (ch *eventChannel) Close() error {
	if ch.c == nil {
		return nil
	}
	if len(ch.ids) != 0 {
		return errnoError("close event channel", "", int(syscall.EBUSY))
	}
	ch.read.close()
	C.rdma_destroy_event_channel(ch.c)
	C.free(unsafe.Pointer(ch.event))
	ch.c, ch.event = nil, nil
	if ch.fabric != nil {
		ch.fabric.dropChannel()
		ch.rec.Close()
	}
	return nil
}
