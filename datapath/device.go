package datapath

// #include "datapath.h"
import "C"

import "unsafe"

// DeviceAttr are the properties of a device that matter to the data plane.
type DeviceAttr struct {
	MaxInline  uint32 // bytes, as granted to queue pairs
	MaxSGE     uint32
	MaxMsgSize uint64 // bytes, of the port
	// KernelPosts says that posting sends enters the kernel, as Soft-RoCE's does: a thread must
	// not be cancelled meanwhile.
	KernelPosts bool
	// IWARP says that a READ goes only into memory that the peer may write (RFC 5040).
	IWARP bool
}

// Device is an RDMA device with the data plane: a PD and its memory regions.
type Device struct {
	c *C.struct_dp_device
}

// AddDevice registers a device: pd is a struct ibv_pd *, slowOps a struct rdma_slow_ops *
// that lives as long as the process. Arenas are registered on pd as they are used.
func AddDevice(pd, slowOps unsafe.Pointer, attr DeviceAttr) (*Device, error) {
	cattr := C.struct_dp_device_attr{
		max_inline: C.uint32_t(attr.MaxInline),
		max_sge:    C.uint32_t(attr.MaxSGE),
		max_msg_sz: C.uint64_t(attr.MaxMsgSize),

		kernel_posts: C.bool(attr.KernelPosts),
		iwarp:        C.bool(attr.IWARP),
	}
	var d *C.struct_dp_device
	rc := C.dp_device_add((*C.struct_ibv_pd)(pd), (*C.struct_rdma_slow_ops)(slowOps), &cattr, &d)
	if err := errnoErr(rc); err != nil {
		return nil, err
	}
	return &Device{c: d}, nil
}

// Remove deregisters every memory region on the device and forgets it. EBUSY while a
// connection or CQ uses it.
func (d *Device) Remove() error { return errnoErr(C.dp_device_remove(d.c)) }

// CQ is a completion queue of one engine, with its budget: posted receives and outstanding
// sends never exceed its depth.
type CQ struct {
	c *C.struct_dp_cq
}

// AddCQ hands a completion queue (struct ibv_cq *) and the non-blocking channel that it
// reports to (struct ibv_comp_channel *) to the engine. Both stay the caller's to destroy,
// after Remove. depth is as granted.
func (e *Engine) AddCQ(d *Device, cq, channel unsafe.Pointer, depth int) (*CQ, error) {
	var out *C.struct_dp_cq
	rc := C.dp_cq_add(e.c, d.c, (*C.struct_ibv_cq)(cq), (*C.struct_ibv_comp_channel)(channel),
		C.uint32_t(depth), &out)
	if err := errnoErr(rc); err != nil {
		return nil, err
	}
	return &CQ{c: out}, nil
}

// Is reports whether both name the same completion queue.
func (q *CQ) Is(o *CQ) bool { return q != nil && o != nil && q.c == o.c }

// Remove acknowledges outstanding events and forgets the CQ. EBUSY while a connection uses
// it.
func (q *CQ) Remove() error { return errnoErr(C.dp_cq_remove(q.c)) }

// FindCQ returns a CQ of the engine on d with room for need more completions, with grown even
// when the windows of all its connections have grown to their ceilings, or nil: make
// another one.
func (e *Engine) FindCQ(d *Device, need int, grown bool) *CQ {
	c := C.dp_cq_find(e.c, d.c, C.uint32_t(need), C.bool(grown))
	if c == nil {
		return nil
	}
	return &CQ{c: c}
}
