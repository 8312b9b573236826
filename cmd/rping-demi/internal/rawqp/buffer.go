package rawqp

// #include <stdlib.h>
// #include "verbs.h"
import "C"

import (
	"fmt"
	"syscall"
	"unsafe"
)

// Buffer is memory outside of Go's heap, registered for local use and for a peer's READs
// and WRITEs. It belongs to its Queue.
type Buffer struct {
	Bytes []byte
	mr    *C.struct_ibv_mr
}

// Addr is the address that a peer uses.
func (b *Buffer) Addr() uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b.Bytes)))) }

// RKey is the key that a peer needs.
func (b *Buffer) RKey() uint32 { return uint32(b.mr.rkey) }

// NewBuffer allocates and registers n bytes, which are zero. ENOMEM: no memory, or no
// locked memory (RLIMIT_MEMLOCK); EBADF: the queue has been freed.
func (q *Queue) NewBuffer(n int) (*Buffer, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.newBuffer(n)
}

func (q *Queue) newBuffer(n int) (*Buffer, error) {
	if n < 1 || uint64(n) > 1<<31 {
		return nil, syscall.EINVAL
	}
	if q.pd == nil {
		return nil, syscall.EBADF
	}
	p := C.calloc(1, C.size_t(n))
	if p == nil {
		return nil, syscall.ENOMEM
	}
	b := &Buffer{Bytes: unsafe.Slice((*byte)(p), n)}
	if errno := C.rawqp_reg_mr(q.ops, (*C.struct_ibv_pd)(q.pd.Handle()), p, C.size_t(n), &b.mr); errno != 0 {
		C.free(p)
		return nil, fmt.Errorf("register %d bytes: %w", n, syscall.Errno(errno))
	}
	q.buffers[b] = struct{}{}
	return b, nil
}

// FreeBuffer deregisters and frees a buffer that no work request uses any more.
func (q *Queue) FreeBuffer(b *Buffer) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.freeBuffer(b)
}

func (q *Queue) freeBuffer(b *Buffer) error {
	if _, ok := q.buffers[b]; !ok {
		return syscall.EINVAL
	}
	if errno := C.rawqp_dereg_mr(q.ops, b.mr); errno != 0 {
		return fmt.Errorf("deregister: %w", syscall.Errno(errno))
	}
	delete(q.buffers, b)
	C.free(unsafe.Pointer(unsafe.SliceData(b.Bytes)))
	b.Bytes, b.mr = nil, nil
	return nil
}
