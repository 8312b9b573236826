package rdma

// #cgo LDFLAGS: -libverbs -lrdmacm
// #include "verbs_shim.h"
import "C"

import (
	"sync"
	"syscall"
	"unsafe"
)

// Hardware is the fabric of the RDMA devices that this machine has, NICs and Soft-RoCE.
// Make it with NewHardware.
type Hardware struct {
	mu       sync.Mutex
	closed   bool
	channels int // open event channels
}

var _ Fabric = (*Hardware)(nil)

// NewHardware makes the fabric of the RDMA devices that this machine has. It needs no
// device yet: one may be added later. The caller owns it and closes it.
//
// All open Hardware of a process share its devices: an id's Device is the same value
// whichever of them made the id.
func NewHardware() *Hardware {
	devices.retain()
	return &Hardware{}
}

// Devices implements [Fabric]. A device that cannot be opened is left out, unless none
// can: then the error of the first is returned. No device at all is an empty list.
func (h *Hardware) Devices() ([]DeviceInfo, error) {
	if err := h.check(opListDevices); err != nil {
		return nil, err
	}
	return listDevices()
}

// SlowOps implements [Fabric].
func (h *Hardware) SlowOps() unsafe.Pointer {
	return unsafe.Pointer(&C.catmint_hw_slow_ops)
}

// Close releases the fabric and stops watching the devices once the last Hardware of the
// process is closed. EBUSY: an event channel, or an object of a device, is still open.
func (h *Hardware) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil
	}
	if h.channels != 0 {
		return errnoError("close fabric", "", int(syscall.EBUSY))
	}
	if err := devices.release(); err != nil {
		return err
	}
	h.closed = true
	return nil
}

func (h *Hardware) check(op string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return errnoError(op, "", int(syscall.EBADF))
	}
	return nil
}

// addChannel counts an open event channel; it fails once the fabric is closed.
func (h *Hardware) addChannel() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return errnoError(opEventChannel, "", int(syscall.EBADF))
	}
	h.channels++
	return nil
}

func (h *Hardware) dropChannel() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.channels--
}
