package datapath

/*
#include "datapath.h"
#cgo noescape dp_sgafree
*/
import "C"

import (
	"encoding/binary"
	"syscall"
	"unsafe"
)

// SGArray is a demi_sgarray_t, byte for byte: a message in registered memory. The zero
// value is the null array. Its memory is the caller's until SGAFree.
type SGArray struct {
	raw [40]byte
}

// Offsets in the packed C structure.
const (
	sgaNumSegs = 8
	sgaSegBuf  = 12
	sgaSegLen  = 20
	sgaAddr    = 24
)

// IsNull reports whether the array has no segment.
func (s *SGArray) IsNull() bool { return binary.NativeEndian.Uint32(s.raw[sgaNumSegs:]) == 0 }

// Len is the length of the segment in bytes, 0 for the null array.
func (s *SGArray) Len() int {
	if s.IsNull() {
		return 0
	}
	return int(binary.NativeEndian.Uint32(s.raw[sgaSegLen:]))
}

// Bytes is the segment's memory, which is C's: it must not be used after SGAFree.
func (s *SGArray) Bytes() []byte {
	n := s.Len()
	if n == 0 {
		return nil
	}
	addr := uintptr(binary.NativeEndian.Uint64(s.raw[sgaSegBuf:]))
	return unsafe.Slice((*byte)(*(*unsafe.Pointer)(unsafe.Pointer(&addr))), n)
}

// Slice narrows the segment to [from, to), as an application may before a push. EINVAL:
// outside the segment.
func (s *SGArray) Slice(from, to int) error {
	if from < 0 || to < from || to > s.Len() {
		return syscall.EINVAL
	}
	addr := binary.NativeEndian.Uint64(s.raw[sgaSegBuf:])
	binary.NativeEndian.PutUint64(s.raw[sgaSegBuf:], addr+uint64(from))
	binary.NativeEndian.PutUint32(s.raw[sgaSegLen:], uint32(to-from))
	return nil
}

// Addr is the peer's sockaddr_in of a popped message, as the kernel lays it out.
func (s *SGArray) Addr() (a [16]byte) {
	copy(a[:], s.raw[sgaAddr:])
	return a
}

func (s *SGArray) c() *C.demi_sgarray_t { return (*C.demi_sgarray_t)(unsafe.Pointer(s)) }

// SGAAlloc allocates registered memory. ENOMEM: none left; EINVAL: size is 0 or negative or
// above 1 GiB.
func SGAAlloc(e *Engine, size int) (SGArray, error) {
	if size <= 0 || size > 1<<30 {
		return SGArray{}, syscall.EINVAL
	}
	c := C.dp_sgaalloc(e.c, C.size_t(size))
	s := *(*SGArray)(unsafe.Pointer(&c))
	if s.IsNull() {
		return s, syscall.ENOMEM
	}
	return s, nil
}

// SGAFree frees a message. EINVAL: null, freed already, or not ours.
func SGAFree(s *SGArray) error {
	m := *s // as in Push
	return errnoErr(C.dp_sgafree(nil, m.c()))
}
