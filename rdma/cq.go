package rdma

// #include "verbs_shim.h"
import "C"

import (
	"syscall"
	"unsafe"

	"catmint/rdma/internal/track"
)

// completionQueue implements [CQ] with an ibv_cq.
type completionQueue struct {
	use
	dev     *device
	channel *completionChannel // may be nil
	c       *C.struct_ibv_cq
}

// CreateCQ implements [Device] with ibv_create_cq(3). EINVAL: depth is not in 1 to the
// device's MaxCQE, or the channel is of another device.
func (d *device) CreateCQ(depth int, channel CompletionChannel) (CQ, error) {
	const op = opCreateCQ
	cq := &completionQueue{dev: d}
	var cChannel *C.struct_ibv_comp_channel
	if channel != nil {
		ch, ok := channel.(*completionChannel)
		if !ok || ch.dev != d {
			return nil, errnoError(op, d.name, int(syscall.EINVAL))
		}
		cq.channel, cChannel = ch, ch.c
	}
	if depth < 1 || depth > d.attr.MaxCQE {
		return nil, errnoError(op, d.name, int(syscall.EINVAL))
	}
	if err := devices.hold(d, op); err != nil {
		return nil, err
	}
	if cq.channel != nil {
		if err := cq.channel.depend(op, d.name); err != nil {
			devices.unhold(d)
			return nil, err
		}
	}
	if errno := C.catmint_create_cq(d.ctx, C.int(depth), cChannel, &cq.c); errno != 0 {
		cq.releaseAll()
		return nil, errnoError(op, d.name, int(errno))
	}
	cq.rec = track.Open("CQ")
	return cq, nil
}

// Handle implements [CQ].
func (cq *completionQueue) Handle() unsafe.Pointer { return unsafe.Pointer(cq.c) }

// Depth implements [CQ].
func (cq *completionQueue) Depth() int { return int(cq.c.cqe) }

// Close implements [CQ] with ibv_destroy_cq(3), which waits until every event taken from
// the completion channel has been acknowledged. EBUSY: a queue pair uses it.
func (cq *completionQueue) Close() error {
	return cq.close("destroy completion queue", cq.dev.name,
		func() int { return int(C.ibv_destroy_cq(cq.c)) }, cq.releaseAll)
}

func (cq *completionQueue) releaseAll() {
	if cq.channel != nil {
		cq.channel.release()
	}
	devices.unhold(cq.dev)
}
