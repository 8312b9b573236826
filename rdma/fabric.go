package rdma

import (
	"net/netip"
	"time"
	"unsafe"
)

// Fabric is what libos needs of RDMA: a source of event channels and of devices. The
// hardware fabric (NICs and Soft-RoCE, through librdmacm) and package rdma/sim
// implement it. Its methods may be called from any goroutine.
type Fabric interface {
	// Devices lists the RDMA devices that the process can open, in a stable order.
	Devices() ([]DeviceInfo, error)

	// NewEventChannel makes a CM event channel. The caller owns it and closes it.
	NewEventChannel() (EventChannel, error)

	// SlowOps returns the C table (struct rdma_slow_ops *, rdma/slowops.h) that goes
	// with this fabric's verbs objects. It lives as long as the process.
	SlowOps() unsafe.Pointer
}

// EventChannel is a CM event channel. One goroutine at a time, its loop, makes every call on
// the channel and on the ids that belong to it; only Readable's channel may be watched by
// others too, and anybody may call Wake and Interrupt. A loop waits either on Readable or in
// Wait.
type EventChannel interface {
	// CreateID makes an id in port space RDMA_PS_TCP whose events come on this channel.
	CreateID() (ID, error)

	// Readable delivers a value when events may be waiting. The loop then calls
	// GetEvent until ok is false, which arms Readable again.
	Readable() <-chan struct{}

	// Wait parks the loop until events may be waiting, which events says, or until Wake.
	// It saves the way over another goroutine that Readable takes. The loop may take as
	// many events as it likes before it waits again.
	Wait() (events bool)
	// Wake ends the Wait that is under way, or the next one. It may be called by anybody, at
	// any time before Close.
	Wake()

	// TakeWatch makes Wait blind for events, until LeaveWatch: its caller waits for them by
	// Await, in its own thread, so that nobody else is woken by one. false: that cannot be.
	TakeWatch() bool
	// Await blocks the calling thread until events may be waiting, which events says, or until
	// Interrupt. Only who has taken the watch calls it, and need not be the loop.
	Await() (events bool)
	// Interrupt ends the Await that is under way, or the next one. It may be called by
	// anybody, at any time before Close.
	Interrupt()
	// LeaveWatch gives the watch back to Wait, and to one that is under way. Who has taken it
	// calls it.
	LeaveWatch()

	// GetEvent takes the next event without blocking. The event is a copy: it has been
	// acknowledged. ok is false when there is none.
	GetEvent() (ev Event, ok bool, err error)

	// Close releases the channel; every id must have been closed (EBUSY otherwise).
	Close() error
}

// Event is a copy of an rdma_cm_event.
type Event struct {
	Type CMEvent
	// Status is a negative errno, or for Rejected the reject reason of the transport
	// (IBTA, RejectReason), or 0.
	Status int
	// ID is the id that the event concerns; for ConnectRequest, the new id, which the
	// loop owns from now on.
	ID ID
	// Listener is the listening id of a ConnectRequest, nil otherwise.
	Listener ID
	// PrivateData is the peer's private data, possibly padded with zeros by the
	// provider up to the transport's maximum.
	PrivateData []byte
	// The peer's offer, for ConnectRequest, ConnectResponse and Established.
	ResponderResources uint8
	InitiatorDepth     uint8
}

// ConnParam is what Connect and Accept tell the peer and the queue pair. See
// rdma_connect(3).
type ConnParam struct {
	PrivateData        []byte // at most 56 bytes in a request, 196 in a reply
	ResponderResources uint8  // READs that we answer at once
	InitiatorDepth     uint8  // READs that we have under way at once
	RetryCount         uint8  // 0..7; use 6 or less (Soft-RoCE takes 7 as for ever)
	RNRRetryCount      uint8  // 0..7; 7 is for ever
	// Timers of our end, for a queue pair that the id has taken; others, and devices of
	// iWARP, ignore them. Codes up to 31 (EINVAL).
	AckTimeout  uint8 // 4.096 us * 2^AckTimeout; 0 is CM's own
	MinRNRTimer uint8 // 12 is 0.64 ms; 0 is CM's own, which is 655 ms
}

// ID is an rdma_cm_id. All methods but LocalAddr, RemoteAddr, Device and Port belong to
// the loop of its event channel. Methods that start something (ResolveAddr,
// ResolveRoute, Connect, Accept, Disconnect) return at once; the outcome is an event.
type ID interface {
	// BindAddr binds to a local address; the wildcard address and port 0 are allowed.
	// A zone in an IPv6 address is its scope.
	BindAddr(addr netip.AddrPort) error
	// ResolveAddr resolves dst, from src when it is valid, to a device; the outcome is
	// AddrResolved or AddrError.
	ResolveAddr(src, dst netip.AddrPort, timeout time.Duration) error
	// ResolveRoute resolves the route; the outcome is RouteResolved or RouteError.
	ResolveRoute(timeout time.Duration) error
	// CreateQP makes an RC queue pair that the id owns: CM moves it through its states.
	// Another goroutine may call it while the loop does nothing with the id but resolve
	// its route.
	CreateQP(pd PD, attr QPInitAttr) (QP, error)
	// TakeQP makes a queue pair of Device.CreateQP the id's own, as if CreateQP had made
	// it, without a system call; ConnParam may set timers of it besides. It must be of the
	// id's device and port, in INIT, and no other id's (EINVAL). From now on its Close
	// belongs to the loop.
	TakeQP(qp QP) error
	Connect(ConnParam) error
	Listen(backlog int) error
	Accept(ConnParam) error
	// Reject refuses a ConnectRequest; private data at most 148 bytes.
	Reject(privateData []byte) error
	Disconnect() error

	// LocalAddr and RemoteAddr are the zero AddrPort while unknown.
	LocalAddr() netip.AddrPort
	RemoteAddr() netip.AddrPort
	// Device is the device that the id is bound to, nil while there is none. It is the
	// same value for every id on that device.
	Device() Device
	// Port is the device's port number, from 1; 0 while unknown.
	Port() int

	// Options of rdma_set_option(3).
	SetReuseAddr(bool) error
	SetAFOnly(bool) error              // before Listen
	SetTOS(uint8) error                // before ResolveRoute
	SetAckTimeout(timeout uint8) error // 4.096 us * 2^timeout; before ResolveRoute or Accept

	// Close destroys the id; the queue pair made on it must have been closed (EBUSY
	// otherwise). A second Close does nothing.
	Close() error
}

// Device is an open RDMA device. Safe for use by any goroutine.
type Device interface {
	Name() string
	Attr() DeviceAttr
	AllocPD() (PD, error)
	NewCompletionChannel() (CompletionChannel, error)
	// CreateCQ makes a completion queue with room for at least depth completions that
	// reports to channel (nil for none).
	CreateCQ(depth int, channel CompletionChannel) (CQ, error)
	// CreateQP makes an RC queue pair that no id owns yet, in INIT for a port counted
	// from 1: receives can be posted, and ID.TakeQP gives it to an id later. Its caller
	// closes it, from any goroutine until an id has taken it.
	CreateQP(pd PD, port int, attr QPInitAttr) (QP, error)
	// Port queries a port, counted from 1.
	Port(n int) (PortAttr, error)
	// GIDs returns the valid entries of a port's GID table.
	GIDs(port int) ([]GID, error)
	// Removed is closed when the device has been removed from the system. From then on
	// everything made from it fails; its owner closes it all the same.
	Removed() <-chan struct{}
	// OnAsyncEvent has f called for each asynchronous event of the device, from a
	// goroutine that must not be held up, until cancel is called. A call of f may be
	// under way when cancel returns, none begins afterwards.
	OnAsyncEvent(f func(AsyncEvent)) (cancel func())
}

// PD is a protection domain. Close fails with EBUSY while something uses it.
type PD interface {
	Device() Device
	Handle() unsafe.Pointer // struct ibv_pd *
	Close() error
}

// CompletionChannel is non-blocking; its Fd is polled by the data plane and, as a dup,
// by Go's netpoller.
type CompletionChannel interface {
	Handle() unsafe.Pointer // struct ibv_comp_channel *
	Fd() int
	Close() error
}

// CQ is a completion queue.
type CQ interface {
	Handle() unsafe.Pointer // struct ibv_cq *
	Depth() int             // as granted, at least what was asked for
	Close() error
}

// QP is an RC queue pair. Its methods may be called from any goroutine, but Close belongs
// to the loop of the id that owns it, if one does.
type QP interface {
	Handle() unsafe.Pointer // struct ibv_qp *
	// Extended is a struct ibv_qp_ex * for SENDs by ibv_wr_start(3) and others, or nil: it
	// was not asked for, or there is none.
	Extended() unsafe.Pointer
	Num() uint32
	// Caps are as granted, at least what was asked for.
	Caps() QPCaps
	State() (QPState, error)
	// SetMinRNRTimer sets the RNR NAK timer code (12 is 0.64 ms) of a QP in RTS.
	SetMinRNRTimer(code uint8) error
	// SetError moves the queue pair to the error state, which flushes its work.
	SetError() error
	Close() error
}

// QPInitAttr asks for an RC queue pair.
type QPInitAttr struct {
	SendCQ, RecvCQ CQ
	Caps           QPCaps
	SignalAll      bool
	SendOps        bool // QP.Extended, if the provider is known to do it well: mlx5, hns, rxe
}

// QPCaps are the capacities of a queue pair; see ibv_create_qp(3).
type QPCaps struct {
	MaxSendWR, MaxRecvWR   uint32
	MaxSendSGE, MaxRecvSGE uint32
	MaxInlineData          uint32 // bytes
}
