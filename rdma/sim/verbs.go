package sim

// #include "shim.h"
import "C"

import (
	"sync"
	"syscall"
	"unsafe"

	"catmint/rdma"
	"catmint/rdma/internal/track"
)

// object is the part of a verbs object that makes its Close idempotent.
type object struct {
	mu     sync.Mutex
	closed bool
	rec    *track.Record
}

// close runs destroy once; a failed close may be tried again.
func (o *object) close(op, device string, destroy func() C.int) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil
	}
	if err := opError(op, device, syscall.Errno(destroy())); err != nil {
		return err
	}
	o.closed = true
	o.rec.Close()
	return nil
}

// use runs one operation on the open object and types its error.
func (o *object) use(op, device string, f func() C.int) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return opError(op, device, syscall.EBADF)
	}
	return opError(op, device, syscall.Errno(f()))
}

func (o *object) isOpen() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.closed
}

// protectionDomain implements [rdma.PD].
type protectionDomain struct {
	object
	dev *device
	c   *C.struct_ibv_pd
}

// AllocPD implements [rdma.Device].
func (d *device) AllocPD() (rdma.PD, error) {
	const op = "allocate protection domain"
	if err := d.host.call(CallAllocPD, op, d.cfg.Name); err != nil {
		return nil, err
	}
	pd := &protectionDomain{dev: d}
	if errno := C.sim_pd_create(d.ctx, &pd.c); errno != 0 {
		return nil, opError(op, d.cfg.Name, syscall.Errno(errno))
	}
	pd.rec = track.Open("PD")
	return pd, nil
}

// Device implements [rdma.PD].
func (pd *protectionDomain) Device() rdma.Device { return pd.dev }

// Handle implements [rdma.PD].
func (pd *protectionDomain) Handle() unsafe.Pointer { return unsafe.Pointer(pd.c) }

// Close implements [rdma.PD]. EBUSY: a queue pair or memory region uses it.
func (pd *protectionDomain) Close() error {
	return pd.close("deallocate protection domain", pd.dev.cfg.Name,
		func() C.int { return C.sim_pd_destroy(pd.c) })
}

// completionChannel implements [rdma.CompletionChannel].
type completionChannel struct {
	object
	dev *device
	c   *C.struct_ibv_comp_channel
	fd  int
}

// NewCompletionChannel implements [rdma.Device].
func (d *device) NewCompletionChannel() (rdma.CompletionChannel, error) {
	const op = "create completion channel"
	if err := d.host.call(CallNewCompletionChannel, op, d.cfg.Name); err != nil {
		return nil, err
	}
	ch := &completionChannel{dev: d}
	if errno := C.sim_channel_create(d.ctx, &ch.c); errno != 0 {
		return nil, opError(op, d.cfg.Name, syscall.Errno(errno))
	}
	ch.fd = int(ch.c.fd)
	ch.rec = track.Open("completion channel")
	return ch, nil
}

// Handle implements [rdma.CompletionChannel].
func (ch *completionChannel) Handle() unsafe.Pointer { return unsafe.Pointer(ch.c) }

// Fd implements [rdma.CompletionChannel].
func (ch *completionChannel) Fd() int { return ch.fd }

// Close implements [rdma.CompletionChannel]. EBUSY: a CQ reports to it.
func (ch *completionChannel) Close() error {
	return ch.close("destroy completion channel", ch.dev.cfg.Name,
		func() C.int { return C.sim_channel_destroy(ch.c) })
}

// completionQueue implements [rdma.CQ].
type completionQueue struct {
	object
	dev   *device
	c     *C.struct_ibv_cq
	depth int
}

// CreateCQ implements [rdma.Device]. EINVAL: depth is not in 1 to the device's MaxCQE, or
// the channel is of another device.
func (d *device) CreateCQ(depth int, channel rdma.CompletionChannel) (rdma.CQ, error) {
	const op = "create completion queue"
	if err := d.host.call(CallCreateCQ, op, d.cfg.Name); err != nil {
		return nil, err
	}
	var cChannel *C.struct_ibv_comp_channel
	if channel != nil {
		ch, ok := channel.(*completionChannel)
		if !ok || ch.dev != d {
			return nil, opError(op, d.cfg.Name, syscall.EINVAL)
		}
		cChannel = ch.c
	}
	if depth < 1 || depth > d.attr.MaxCQE {
		return nil, opError(op, d.cfg.Name, syscall.EINVAL)
	}
	cq := &completionQueue{dev: d}
	if errno := C.sim_cq_create(d.ctx, C.int(depth), nil, cChannel, &cq.c); errno != 0 {
		return nil, opError(op, d.cfg.Name, syscall.Errno(errno))
	}
	cq.depth = int(cq.c.cqe)
	cq.rec = track.Open("CQ")
	return cq, nil
}

// Handle implements [rdma.CQ].
func (cq *completionQueue) Handle() unsafe.Pointer { return unsafe.Pointer(cq.c) }

// Depth implements [rdma.CQ].
func (cq *completionQueue) Depth() int { return cq.depth }

// Close implements [rdma.CQ]. EBUSY: a queue pair uses it, or an event that was taken from
// the channel has not been acknowledged (where hardware would wait for that for ever).
func (cq *completionQueue) Close() error {
	return cq.close("destroy completion queue", cq.dev.cfg.Name,
		func() C.int { return C.sim_cq_destroy(cq.c) })
}

// queuePair implements [rdma.QP].
type queuePair struct {
	object
	id    *id  // that owns it, nil while none does; guarded by the network's mu
	taken bool // by that id, which has not made it; likewise
	dev   *device
	c     *C.struct_ibv_qp
	ex    *C.struct_ibv_qp_ex // nil: none
	num   uint32
	caps  rdma.QPCaps
}

// CreateQP implements [rdma.Device]. EINVAL: no such port, or a PD or CQ of another device;
// ENOMEM: none left.
func (d *device) CreateQP(pd rdma.PD, port int, attr rdma.QPInitAttr) (rdma.QP, error) {
	if err := d.host.call(CallCreateQP, opCreateQP, d.cfg.Name); err != nil {
		return nil, err
	}
	if port != 1 {
		return nil, opError(opCreateQP, d.cfg.Name, syscall.EINVAL)
	}
	qp, errno := newQueuePair(d, pd, attr)
	if errno != 0 {
		return nil, opError(opCreateQP, d.cfg.Name, errno)
	}
	return qp, nil
}

const opCreateQP = "create queue pair"

// newQueuePair makes a queue pair in INIT. EINVAL: something is not of dev.
func newQueuePair(dev *device, domain rdma.PD, attr rdma.QPInitAttr) (*queuePair, syscall.Errno) {
	pd, ok1 := domain.(*protectionDomain)
	send, ok2 := attr.SendCQ.(*completionQueue)
	recv, ok3 := attr.RecvCQ.(*completionQueue)
	if !ok1 || !ok2 || !ok3 || pd.dev != dev || send.dev != dev || recv.dev != dev {
		return nil, syscall.EINVAL
	}
	caps := C.struct_sim_shim_caps{
		max_send_wr:  C.uint32_t(attr.Caps.MaxSendWR),
		max_recv_wr:  C.uint32_t(attr.Caps.MaxRecvWR),
		max_send_sge: C.uint32_t(attr.Caps.MaxSendSGE),
		max_recv_sge: C.uint32_t(attr.Caps.MaxRecvSGE),
		max_inline:   C.uint32_t(attr.Caps.MaxInlineData),
	}
	var all C.int
	if attr.SignalAll {
		all = 1
	}
	qp := &queuePair{dev: dev}
	errno := C.sim_shim_create_qp(pd.c, send.c, recv.c, all, &caps, &qp.c)
	if errno != 0 {
		return nil, syscall.Errno(errno)
	}
	if attr.SendOps {
		qp.ex = C.sim_qp_ex(qp.c)
	}
	qp.num = uint32(qp.c.qp_num)
	qp.caps = rdma.QPCaps{
		MaxSendWR:     uint32(caps.max_send_wr),
		MaxRecvWR:     uint32(caps.max_recv_wr),
		MaxSendSGE:    uint32(caps.max_send_sge),
		MaxRecvSGE:    uint32(caps.max_recv_sge),
		MaxInlineData: uint32(caps.max_inline),
	}
	qp.rec = track.Open("QP")
	return qp, 0
}

// Handle implements [rdma.QP].
func (qp *queuePair) Handle() unsafe.Pointer { return unsafe.Pointer(qp.c) }

// Extended implements [rdma.QP].
func (qp *queuePair) Extended() unsafe.Pointer { return unsafe.Pointer(qp.ex) }

// Num implements [rdma.QP].
func (qp *queuePair) Num() uint32 { return qp.num }

// Caps implements [rdma.QP].
func (qp *queuePair) Caps() rdma.QPCaps { return qp.caps }

// State implements [rdma.QP].
func (qp *queuePair) State() (rdma.QPState, error) {
	state := rdma.QPUnknown
	err := qp.use("query queue pair", qp.dev.cfg.Name, func() C.int {
		state = rdma.QPState(C.sim_shim_qp_state(qp.c))
		return 0
	})
	return state, err
}

// SetMinRNRTimer implements [rdma.QP].
func (qp *queuePair) SetMinRNRTimer(code uint8) error {
	return qp.use("set RNR timer", qp.dev.cfg.Name, func() C.int {
		return C.sim_shim_set_min_rnr_timer(qp.c, C.uint8_t(code))
	})
}

// SetError implements [rdma.QP].
func (qp *queuePair) SetError() error {
	return qp.use("move queue pair to error state", qp.dev.cfg.Name, func() C.int {
		return C.sim_qp_error(qp.c)
	})
}

// Close implements [rdma.QP].
func (qp *queuePair) Close() error {
	err := qp.close("destroy queue pair", qp.dev.cfg.Name,
		func() C.int { return C.sim_qp_destroy(qp.c) })
	if err != nil {
		return err
	}
	n := qp.dev.host.net
	n.mu.Lock()
	defer n.mu.Unlock()
	if qp.id != nil && qp.id.qp == qp {
		qp.id.qp = nil
	}
	return nil
}

// path is what a CM exchange has settled for one side.
type path struct {
	destQPN                       uint32
	responderResources, initDepth uint8
	retryCount, rnrRetryCount     uint8
	ackTimeout, minRNRTimer       uint8
}

// connect moves the queue pair from INIT to RTS.
func (qp *queuePair) connect(p path) syscall.Errno {
	c := C.struct_sim_shim_path{
		dest_qpn:            C.uint32_t(p.destQPN),
		responder_resources: C.uint8_t(p.responderResources),
		initiator_depth:     C.uint8_t(p.initDepth),
		retry_count:         C.uint8_t(p.retryCount),
		rnr_retry_count:     C.uint8_t(p.rnrRetryCount),
		ack_timeout:         C.uint8_t(p.ackTimeout),
		min_rnr_timer:       C.uint8_t(p.minRNRTimer),
	}
	err := qp.use("connect queue pair", qp.dev.cfg.Name,
		func() C.int { return C.sim_shim_connect_qp(qp.c, &c) })
	return rdma.Errno(err)
}

// cut cuts the queue pair off, or lifts that.
func (qp *queuePair) cut(cut bool) {
	_ = qp.use("cut", qp.dev.cfg.Name, func() C.int {
		C.sim_fault_cut(qp.c, C.bool(cut))
		return 0
	})
}
