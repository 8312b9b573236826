package rdma

// #include "cm_shim.h"
// #cgo noescape catmint_set_option
// #cgo nocallback catmint_set_option
import "C"

import "unsafe"

// SetReuseAddr implements [ID] with RDMA_OPTION_ID_REUSEADDR. Listening drops it.
func (id *cmID) SetReuseAddr(on bool) error {
	return id.setBool("set REUSEADDR", C.RDMA_OPTION_ID_REUSEADDR, on)
}

// SetAFOnly implements [ID] with RDMA_OPTION_ID_AFONLY.
func (id *cmID) SetAFOnly(on bool) error {
	return id.setBool("set AFONLY", C.RDMA_OPTION_ID_AFONLY, on)
}

// SetTOS implements [ID] with RDMA_OPTION_ID_TOS.
func (id *cmID) SetTOS(tos uint8) error {
	return id.setByte("set TOS", C.RDMA_OPTION_ID_TOS, tos)
}

// SetAckTimeout implements [ID] with RDMA_OPTION_ID_ACK_TIMEOUT.
func (id *cmID) SetAckTimeout(timeout uint8) error {
	return id.setByte("set ACK_TIMEOUT", C.RDMA_OPTION_ID_ACK_TIMEOUT, timeout)
}

func (id *cmID) setBool(name string, option C.int, on bool) error {
	var value C.int
	if on {
		value = 1
	}
	return id.op(name, func() C.int {
		return C.catmint_set_option(id.c, option, unsafe.Pointer(&value), C.sizeof_int)
	})
}

func (id *cmID) setByte(name string, option C.int, value uint8) error {
	v := C.uint8_t(value)
	return id.op(name, func() C.int {
		return C.catmint_set_option(id.c, option, unsafe.Pointer(&v), 1)
	})
}
