package rdma

// #include "cm_shim.h"
// #include "verbs_shim.h"
// #cgo noescape catmint_addrs
// #cgo nocallback catmint_addrs
// #cgo noescape catmint_bind_addr
// #cgo nocallback catmint_bind_addr
// #cgo noescape catmint_resolve_addr
// #cgo nocallback catmint_resolve_addr
import "C"

import (
	"bytes"
	"net/netip"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"catmint/rdma/internal/track"
)

// Limits of private data with port space RDMA_PS_TCP over InfiniBand and RoCE, in bytes:
// rdma_connect(3), rdma_accept(3), rdma_reject(3).
const (
	MaxRequestPrivateData = 56
	MaxReplyPrivateData   = 196
	MaxRejectPrivateData  = 148
)

// maxTimerCode is the largest code of an ACK timeout and of an RNR timer: both have five bits.
const maxTimerCode = 31

// cmID implements [ID] with an rdma_cm_id.
type cmID struct {
	ch  *eventChannel
	c   *C.struct_rdma_cm_id // nil once closed
	qp  *queuePair           // open queue pair made on it
	rec *track.Record

	// What any goroutine may ask for; the loop refreshes it with learn.
	mu            sync.Mutex
	local, remote netip.AddrPort
	dev           *device
	port          int
}

// learn copies what the library knows about the id by now: addresses, device, port.
func (id *cmID) learn() error {
	var local, remote C.struct_sockaddr_storage
	C.catmint_addrs(id.c, &local, &remote)
	l, r := decodeSockaddr(storageBytes(&local)), decodeSockaddr(storageBytes(&remote))
	if r.Addr().IsUnspecified() {
		r = netip.AddrPort{}
	}
	if id.c.verbs != nil {
		l, r = id.addZone(l, r)
	}
	id.mu.Lock()
	id.local, id.remote, id.port = l, r, int(id.c.port_num)
	dev := id.dev
	id.mu.Unlock()
	if id.c.verbs == nil || dev != nil {
		return nil
	}
	var err error
	if id.ch.fabric != nil { // the registry's own ids watch a device that it knows
		if dev, err = devices.get(id.c.verbs, l.Addr()); err != nil {
			return err
		}
	}
	id.mu.Lock()
	id.dev = dev
	id.mu.Unlock()
	return nil
}

// addZone completes link-local addresses of a passive id: the addresses in a connection
// request carry no scope, but the network device that owns the local one is known.
func (id *cmID) addZone(local, remote netip.AddrPort) (netip.AddrPort, netip.AddrPort) {
	a := local.Addr()
	if !a.IsLinkLocalUnicast() || !a.Is6() || a.Zone() != "" {
		return local, remote
	}
	gids, err := queryGIDs(id.c.verbs, "", gidTableSize(id.c.verbs, int(id.c.port_num)))
	if err != nil {
		return local, remote
	}
	for _, g := range gids {
		if g.Addr() != a || g.port != int(id.c.port_num) || g.Netdev == "" {
			continue
		}
		local = netip.AddrPortFrom(a.WithZone(g.Netdev), local.Port())
		if r := remote.Addr(); r.Is6() && r.IsLinkLocalUnicast() {
			remote = netip.AddrPortFrom(r.WithZone(g.Netdev), remote.Port())
		}
		break
	}
	return local, remote
}

func storageBytes(s *C.struct_sockaddr_storage) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(s)), unsafe.Sizeof(*s))
}

// op runs one operation on the open id and types its error.
func (id *cmID) op(name string, f func() C.int) error {
	if id.c == nil {
		return errnoError(name, "", int(syscall.EBADF))
	}
	return errnoError(name, id.deviceName(), int(whyNoDevice(syscall.Errno(f()))))
}

func (id *cmID) deviceName() string {
	id.mu.Lock()
	defer id.mu.Unlock()
	if id.dev == nil {
		return ""
	}
	return id.dev.name
}

// bytesPtr is the address of b's bytes for a C call that only reads them, nil for none.
// b must be an allocation of its own: cgo refuses bytes inside an object with pointers.
func bytesPtr(b []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b)) }

// milliseconds rounds up; the library takes an int.
func milliseconds(d time.Duration) C.int {
	const most = 1<<31 - 1
	ms := (d + time.Millisecond - 1) / time.Millisecond
	return C.int(min(max(ms, 0), most))
}

// BindAddr implements [ID].
func (id *cmID) BindAddr(addr netip.AddrPort) error {
	const name = opBindAddr
	sa, err := encodeSockaddr(addr)
	if err != nil {
		return &OpError{Op: name, Err: err}
	}
	err = id.op(name, func() C.int {
		return C.catmint_bind_addr(id.c, bytesPtr(sa), C.size_t(len(sa)))
	})
	if err != nil {
		return err
	}
	return id.learn()
}

// ResolveAddr implements [ID].
func (id *cmID) ResolveAddr(src, dst netip.AddrPort, timeout time.Duration) error {
	const name = opResolveAddr
	var srcSA []byte
	if src.IsValid() {
		var err error
		if srcSA, err = encodeSockaddr(src); err != nil {
			return &OpError{Op: name, Err: err}
		}
	}
	dstSA, err := encodeSockaddr(dst)
	if err != nil {
		return &OpError{Op: name, Err: err}
	}
	return id.op(name, func() C.int {
		return C.catmint_resolve_addr(id.c, bytesPtr(srcSA), C.size_t(len(srcSA)),
			bytesPtr(dstSA), C.size_t(len(dstSA)), milliseconds(timeout))
	})
}

// ResolveRoute implements [ID].
func (id *cmID) ResolveRoute(timeout time.Duration) error {
	return id.op(opResolveRoute, func() C.int {
		return C.catmint_resolve_route(id.c, milliseconds(timeout))
	})
}

// Listen implements [ID].
func (id *cmID) Listen(backlog int) error {
	const most = 1<<31 - 1
	err := id.op("listen", func() C.int {
		return C.catmint_listen(id.c, C.int(min(max(backlog, 0), most)))
	})
	if err != nil {
		return err
	}
	return id.learn()
}

// Connect implements [ID]. EINVAL: no queue pair, too much private data, a timer code above 31,
// or more responder resources or initiator depth than the device has.
func (id *cmID) Connect(p ConnParam) error {
	return id.exchange("connect", p, MaxRequestPrivateData,
		func(cp *C.struct_catmint_conn_param, pd unsafe.Pointer, n C.uint8_t) C.int {
			return C.catmint_connect(id.c, cp, pd, n)
		})
}

// Accept implements [ID]. EINVAL as for Connect, or the peer has given up meanwhile.
func (id *cmID) Accept(p ConnParam) error {
	return id.exchange("accept", p, MaxReplyPrivateData,
		func(cp *C.struct_catmint_conn_param, pd unsafe.Pointer, n C.uint8_t) C.int {
			return C.catmint_accept(id.c, cp, pd, n)
		})
}

func (id *cmID) exchange(name string, p ConnParam, room int,
	f func(*C.struct_catmint_conn_param, unsafe.Pointer, C.uint8_t) C.int,
) error {
	if len(p.PrivateData) > room || p.AckTimeout > maxTimerCode || p.MinRNRTimer > maxTimerCode {
		return errnoError(name, id.deviceName(), int(syscall.EINVAL))
	}
	cp := C.struct_catmint_conn_param{
		responder_resources: C.uint8_t(p.ResponderResources),
		initiator_depth:     C.uint8_t(p.InitiatorDepth),
		retry_count:         C.uint8_t(p.RetryCount),
		rnr_retry_count:     C.uint8_t(p.RNRRetryCount),
		ack_timeout:         C.uint8_t(p.AckTimeout),
		min_rnr_timer:       C.uint8_t(p.MinRNRTimer),
	}
	data := bytes.Clone(p.PrivateData)
	return id.op(name, func() C.int {
		return f(&cp, bytesPtr(data), C.uint8_t(len(data)))
	})
}

// Reject implements [ID].
func (id *cmID) Reject(privateData []byte) error {
	const name = "reject"
	if len(privateData) > MaxRejectPrivateData {
		return errnoError(name, id.deviceName(), int(syscall.EINVAL))
	}
	data := bytes.Clone(privateData)
	return id.op(name, func() C.int {
		return C.catmint_reject(id.c, bytesPtr(data), C.uint8_t(len(data)))
	})
}

// Disconnect implements [ID]. EINVAL is normal when the peer was first.
func (id *cmID) Disconnect() error {
	return id.op("disconnect", func() C.int { return C.catmint_disconnect(id.c) })
}

// LocalAddr implements [ID].
func (id *cmID) LocalAddr() netip.AddrPort {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.local
}

// RemoteAddr implements [ID].
func (id *cmID) RemoteAddr() netip.AddrPort {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.remote
}

// Device implements [ID].
func (id *cmID) Device() Device {
	id.mu.Lock()
	defer id.mu.Unlock()
	if id.dev == nil {
		return nil
	}
	return id.dev
}

// Port implements [ID].
func (id *cmID) Port() int {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.port
}

// Close implements [ID].
func (id *cmID) Close() error {
	if id.c == nil {
		return nil
	}
	const name = "destroy id"
	if id.qp != nil {
		return errnoError(name, id.deviceName(), int(syscall.EBUSY))
	}
	if errno := C.catmint_destroy_id(id.c); errno != 0 {
		return errnoError(name, id.deviceName(), int(errno))
	}
	delete(id.ch.ids, id.c)
	id.c = nil
	if id.rec != nil {
		id.rec.Close()
	}
	return nil
}
