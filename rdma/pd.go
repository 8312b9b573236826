package rdma

// #include "verbs_shim.h"
import "C"

import (
	"unsafe"

	"catmint/rdma/internal/track"
)

// protectionDomain implements [PD] with an ibv_pd.
type protectionDomain struct {
	use
	dev *device
	c   *C.struct_ibv_pd
}

// AllocPD implements [Device] with ibv_alloc_pd(3).
func (d *device) AllocPD() (PD, error) {
	const op = opAllocPD
	if err := devices.hold(d, op); err != nil {
		return nil, err
	}
	var c *C.struct_ibv_pd
	if errno := C.catmint_alloc_pd(d.ctx, &c); errno != 0 {
		devices.unhold(d)
		return nil, errnoError(op, d.name, int(errno))
	}
	return &protectionDomain{use: use{rec: track.Open("PD")}, dev: d, c: c}, nil
}

// Device implements [PD].
func (pd *protectionDomain) Device() Device { return pd.dev }

// Handle implements [PD].
func (pd *protectionDomain) Handle() unsafe.Pointer { return unsafe.Pointer(pd.c) }

// Close implements [PD] with ibv_dealloc_pd(3). Memory regions that the data plane
// registered are known to the kernel only, which answers EBUSY too.
func (pd *protectionDomain) Close() error {
	return pd.close("deallocate protection domain", pd.dev.name,
		func() int { return int(C.ibv_dealloc_pd(pd.c)) },
		func() { devices.unhold(pd.dev) })
}
