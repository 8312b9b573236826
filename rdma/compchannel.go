package rdma

// #include "verbs_shim.h"
import "C"

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"catmint/rdma/internal/track"
)

// completionChannel implements [CompletionChannel] with an ibv_comp_channel.
type completionChannel struct {
	use
	dev *device
	c   *C.struct_ibv_comp_channel
}

// NewCompletionChannel implements [Device] with ibv_create_comp_channel(3).
func (d *device) NewCompletionChannel() (CompletionChannel, error) {
	const op = opCreateChannel
	if err := devices.hold(d, op); err != nil {
		return nil, err
	}
	var c *C.struct_ibv_comp_channel
	if errno := C.catmint_create_comp_channel(d.ctx, &c); errno != 0 {
		devices.unhold(d)
		return nil, errnoError(op, d.name, int(errno))
	}
	if err := unix.SetNonblock(int(c.fd), true); err != nil {
		C.ibv_destroy_comp_channel(c)
		devices.unhold(d)
		return nil, &OpError{Op: op, Device: d.name, Err: err}
	}
	return &completionChannel{use: use{rec: track.Open("completion channel")}, dev: d, c: c}, nil
}

// Handle implements [CompletionChannel].
func (ch *completionChannel) Handle() unsafe.Pointer { return unsafe.Pointer(ch.c) }

// Fd implements [CompletionChannel].
func (ch *completionChannel) Fd() int { return int(ch.c.fd) }

// Close implements [CompletionChannel] with ibv_destroy_comp_channel(3). EBUSY: a
// completion queue reports to it.
func (ch *completionChannel) Close() error {
	return ch.close("destroy completion channel", ch.dev.name,
		func() int { return int(C.ibv_destroy_comp_channel(ch.c)) },
		func() { devices.unhold(ch.dev) })
}
