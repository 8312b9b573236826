package rdma

// #include "verbs_shim.h"
import "C"

import (
	"syscall"
	"unsafe"

	"catmint/rdma/internal/track"
)

// AccessFlags say who may do what with a memory region: enum ibv_access_flags of
// <infiniband/verbs.h>; ibv_reg_mr(3). Local read access is always there.
type AccessFlags uint32

// Access flags.
const (
	AccessLocalWrite      AccessFlags = 1 << 0
	AccessRemoteWrite     AccessFlags = 1 << 1
	AccessRemoteRead      AccessFlags = 1 << 2
	AccessRemoteAtomic    AccessFlags = 1 << 3
	AccessMWBind          AccessFlags = 1 << 4
	AccessZeroBased       AccessFlags = 1 << 5
	AccessOnDemand        AccessFlags = 1 << 6
	AccessHugeTLB         AccessFlags = 1 << 7
	AccessRelaxedOrdering AccessFlags = 1 << 20
)

// MR is a memory region of a hardware protection domain. The data plane registers its
// arenas by itself, through the table of slow operations; MR is for other memory.
type MR struct {
	use
	pd *protectionDomain
	c  *C.struct_ibv_mr
}

// RegMR registers length bytes at addr with a protection domain of [Hardware]:
// ibv_reg_mr(3). The memory must not be Go's, unless it is pinned until Close.
//
// Errors: EINVAL for a length of zero or a PD of another fabric, ENOMEM for lack of
// locked memory (RLIMIT_MEMLOCK), EFAULT for memory that is not there, EBADF for a closed
// PD.
func RegMR(pd PD, addr unsafe.Pointer, length uintptr, access AccessFlags) (*MR, error) {
	const op = opRegMR
	hw, ok := pd.(*protectionDomain)
	if !ok || length == 0 {
		return nil, errnoError(op, "", int(syscall.EINVAL))
	}
	if err := hw.depend(op, hw.dev.name); err != nil {
		return nil, err
	}
	mr := &MR{pd: hw}
	errno := C.catmint_reg_mr(hw.c, addr, C.size_t(length), C.int(access), &mr.c)
	if errno != 0 {
		hw.release()
		return nil, errnoError(op, hw.dev.name, int(errno))
	}
	mr.rec = track.Open("MR")
	return mr, nil
}

// Handle returns the struct ibv_mr *.
func (mr *MR) Handle() unsafe.Pointer { return unsafe.Pointer(mr.c) }

// LKey is the key for scatter/gather elements of the local side.
func (mr *MR) LKey() uint32 { return uint32(mr.c.lkey) }

// RKey is the key that a peer needs for remote access.
func (mr *MR) RKey() uint32 { return uint32(mr.c.rkey) }

// Close deregisters the memory: ibv_dereg_mr(3). No work request may use it any more.
func (mr *MR) Close() error {
	return mr.close("deregister memory", mr.pd.dev.name,
		func() int { return int(C.catmint_dereg_mr(mr.c)) }, mr.pd.release)
}
