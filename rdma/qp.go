package rdma

// #include "taken_shim.h"
// #include "verbs_shim.h"
import "C"

import (
	"syscall"
	"unsafe"

	"catmint/rdma/internal/track"
)

// queuePair implements [QP] with an ibv_qp. An rdma_cm_id owns it from CreateQP or TakeQP of
// the id on.
type queuePair struct {
	use
	id             *cmID // nil: no id owns it
	dev            *device
	port           int // that it is in INIT for; 0: the id knows
	pd             *protectionDomain
	sendCQ, recvCQ *completionQueue
	c              *C.struct_ibv_qp
	ex             *C.struct_ibv_qp_ex // nil: none
	num            uint32
	caps           QPCaps
}

// CreateQP implements [ID] with rdma_create_qp(3), which leaves the queue pair in INIT:
// receives can be posted.
//
// Errors: EINVAL without a device, with a second queue pair, or with a PD or CQ that is
// not of the id's device; EBADF if one of them is closed; ENOMEM for lack of memory,
// locked memory included.
func (id *cmID) CreateQP(pd PD, attr QPInitAttr) (QP, error) {
	id.mu.Lock()
	dev := id.dev
	id.mu.Unlock()
	if id.c == nil {
		return nil, errnoError(opCreateQP, id.deviceName(), int(syscall.EBADF))
	}
	if dev == nil || id.qp != nil {
		return nil, errnoError(opCreateQP, id.deviceName(), int(syscall.EINVAL))
	}
	qp, err := newQueuePair(dev, pd, attr, func(qp *queuePair, init *C.struct_catmint_qp_init, caps *C.struct_ibv_qp_cap) C.int {
		return C.catmint_create_qp(id.c, qp.pd.c, init, caps, &qp.c, &qp.ex)
	})
	if err != nil {
		return nil, err
	}
	qp.id, id.qp = id, qp
	return qp, nil
}

// CreateQP implements [Device] with ibv_create_qp(3) and ibv_modify_qp(3). Its P_Key index
// is 0 until CM connects it.
//
// Errors: EINVAL without such a port, or with a PD or CQ that is not of this device; the
// others are those of CreateQP of an id.
func (d *device) CreateQP(pd PD, port int, attr QPInitAttr) (QP, error) {
	if port < 1 || port > d.attr.NumPorts {
		return nil, errnoError(opCreateQP, d.name, int(syscall.EINVAL))
	}
	qp, err := newQueuePair(d, pd, attr, func(qp *queuePair, init *C.struct_catmint_qp_init, caps *C.struct_ibv_qp_cap) C.int {
		return C.catmint_create_free_qp(qp.pd.c, C.uint8_t(port), init, caps, &qp.c, &qp.ex)
	})
	if err != nil {
		return nil, err
	}
	qp.port = port
	return qp, nil
}

// newQueuePair has create make a queue pair with what it depends on, all of which must be
// of dev.
func newQueuePair(dev *device, pd PD, attr QPInitAttr,
	create func(qp *queuePair, init *C.struct_catmint_qp_init, caps *C.struct_ibv_qp_cap) C.int,
) (*queuePair, error) {
	const op = opCreateQP
	qp := &queuePair{dev: dev}
	var ok [3]bool
	qp.pd, ok[0] = pd.(*protectionDomain)
	qp.sendCQ, ok[1] = attr.SendCQ.(*completionQueue)
	qp.recvCQ, ok[2] = attr.RecvCQ.(*completionQueue)
	if ok != [3]bool{true, true, true} || qp.pd.dev != dev || qp.sendCQ.dev != dev || qp.recvCQ.dev != dev {
		return nil, errnoError(op, dev.name, int(syscall.EINVAL))
	}
	uses := []*use{&qp.pd.use, &qp.sendCQ.use, &qp.recvCQ.use}
	for i, u := range uses {
		if err := u.depend(op, dev.name); err != nil {
			for _, held := range uses[:i] {
				held.release()
			}
			return nil, err
		}
	}
	caps := C.struct_ibv_qp_cap{
		max_send_wr:     C.uint32_t(attr.Caps.MaxSendWR),
		max_recv_wr:     C.uint32_t(attr.Caps.MaxRecvWR),
		max_send_sge:    C.uint32_t(attr.Caps.MaxSendSGE),
		max_recv_sge:    C.uint32_t(attr.Caps.MaxRecvSGE),
		max_inline_data: C.uint32_t(attr.Caps.MaxInlineData),
	}
	init := C.struct_catmint_qp_init{
		send_cq: qp.sendCQ.c, recv_cq: qp.recvCQ.c,
		signal_all: cBool(attr.SignalAll), send_ops: cBool(attr.SendOps && dev.attr.sendOps()),
	}
	if errno := create(qp, &init, &caps); errno != 0 {
		qp.releaseAll()
		return nil, errnoError(op, dev.name, int(errno))
	}
	qp.num = uint32(qp.c.qp_num)
	qp.caps = QPCaps{
		MaxSendWR:     uint32(caps.max_send_wr),
		MaxRecvWR:     uint32(caps.max_recv_wr),
		MaxSendSGE:    uint32(caps.max_send_sge),
		MaxRecvSGE:    uint32(caps.max_recv_sge),
		MaxInlineData: uint32(caps.max_inline_data),
	}
	qp.rec = track.Open("QP")
	return qp, nil
}

func cBool(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

// TakeQP implements [ID], see taken_shim.h. On Ethernet index 0, with which the queue pair was
// made, is that of the only P_Key.
//
// Errors: ENOMEM; EBADF if one of the two is closed; EINVAL without a device, with a second queue
// pair, or for a queue pair of another device or port, or one that an id has taken.
func (id *cmID) TakeQP(q QP) error {
	const op = "take queue pair"
	if id.c == nil {
		return errnoError(op, id.deviceName(), int(syscall.EBADF))
	}
	qp, ok := q.(*queuePair)
	if !ok || id.qp != nil {
		return errnoError(op, id.deviceName(), int(syscall.EINVAL))
	}
	id.mu.Lock()
	dev, port := id.dev, id.port
	id.mu.Unlock()
	qp.mu.Lock()
	defer qp.mu.Unlock()
	switch {
	case qp.closed:
		return errnoError(op, id.deviceName(), int(syscall.EBADF))
	case dev == nil || qp.dev != dev || qp.port != port || qp.id != nil:
		return errnoError(op, id.deviceName(), int(syscall.EINVAL))
	}
	if errno := C.catmint_take_qp(id.c, qp.c, cBool(!dev.ethernet(port))); errno != 0 {
		return errnoError(op, id.deviceName(), int(errno))
	}
	qp.id, id.qp = id, qp
	return nil
}

// Handle implements [QP].
func (qp *queuePair) Handle() unsafe.Pointer { return unsafe.Pointer(qp.c) }

// Extended implements [QP].
func (qp *queuePair) Extended() unsafe.Pointer { return unsafe.Pointer(qp.ex) }

// Num implements [QP].
func (qp *queuePair) Num() uint32 { return qp.num }

// Caps implements [QP].
func (qp *queuePair) Caps() QPCaps { return qp.caps }

// op runs one operation on the open queue pair and types its error.
func (qp *queuePair) op(name string, f func() C.int) error {
	qp.mu.Lock()
	defer qp.mu.Unlock()
	if qp.closed {
		return errnoError(name, qp.dev.name, int(syscall.EBADF))
	}
	return errnoError(name, qp.dev.name, int(f()))
}

// State implements [QP] with ibv_query_qp(3).
func (qp *queuePair) State() (QPState, error) {
	var state C.int
	err := qp.op("query queue pair", func() C.int {
		return C.catmint_query_qp_state(qp.c, &state)
	})
	if err != nil {
		return QPUnknown, err
	}
	return QPState(state), nil
}

// SetMinRNRTimer implements [QP] with ibv_modify_qp(3).
func (qp *queuePair) SetMinRNRTimer(code uint8) error {
	return qp.op("set RNR timer", func() C.int {
		return C.catmint_set_min_rnr_timer(qp.c, C.uint8_t(code))
	})
}

// SetError implements [QP] with ibv_modify_qp(3).
func (qp *queuePair) SetError() error {
	return qp.op("move queue pair to error state", func() C.int {
		return C.catmint_set_qp_error(qp.c)
	})
}

// Close implements [QP] with ibv_destroy_qp(3). Completions of its work must have been
// accounted for: they may still lie in the completion queue.
func (qp *queuePair) Close() error {
	return qp.close("destroy queue pair", qp.dev.name, func() int {
		var id *C.struct_rdma_cm_id
		if qp.id != nil {
			id = qp.id.c
		}
		return int(C.catmint_destroy_qp(id, qp.c))
	}, func() {
		if qp.id != nil {
			qp.id.qp = nil
		}
	}, qp.releaseAll)
}

func (qp *queuePair) releaseAll() {
	qp.pd.release()
	qp.sendCQ.release()
	qp.recvCQ.release()
}
