package rdma

// #include "verbs_shim.h"
import "C"

import (
	"syscall"
	"unsafe"

	"catmint/rdma/internal/track"
)

// queuePair implements [QP] with the ibv_qp of an rdma_cm_id.
type queuePair struct {
	use
	id             *cmID
	dev            string
	pd             *protectionDomain
	sendCQ, recvCQ *completionQueue
	c              *C.struct_ibv_qp
	num            uint32
	caps           QPCaps
}

// CreateQP implements [ID] with rdma_create_qp(3), which leaves the queue pair in INIT:
// receives can be posted. It belongs to the loop of the id, as does its Close.
//
// Errors: EINVAL without a device, with a second queue pair, or with a PD or CQ that is
// not of the id's device; EBADF if one of them is closed; ENOMEM for lack of memory,
// locked memory included.
func (id *cmID) CreateQP(pd PD, attr QPInitAttr) (QP, error) {
	const op = opCreateQP
	id.mu.Lock()
	dev := id.dev
	id.mu.Unlock()
	invalid := func() (QP, error) {
		return nil, errnoError(op, id.deviceName(), int(syscall.EINVAL))
	}
	if id.c == nil {
		return nil, errnoError(op, id.deviceName(), int(syscall.EBADF))
	}
	qp := &queuePair{id: id, dev: id.deviceName()}
	var ok [3]bool
	qp.pd, ok[0] = pd.(*protectionDomain)
	qp.sendCQ, ok[1] = attr.SendCQ.(*completionQueue)
	qp.recvCQ, ok[2] = attr.RecvCQ.(*completionQueue)
	if dev == nil || id.qp != nil || ok != [3]bool{true, true, true} ||
		qp.pd.dev != dev || qp.sendCQ.dev != dev || qp.recvCQ.dev != dev {
		return invalid()
	}

	uses := []*use{&qp.pd.use, &qp.sendCQ.use, &qp.recvCQ.use}
	for i, u := range uses {
		if err := u.depend(op, qp.dev); err != nil {
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
	var signalAll C.int
	if attr.SignalAll {
		signalAll = 1
	}
	errno := C.catmint_create_qp(id.c, qp.pd.c, qp.sendCQ.c, qp.recvCQ.c, signalAll, &caps)
	if errno != 0 {
		qp.releaseAll()
		return nil, errnoError(op, qp.dev, int(errno))
	}
	qp.c = id.c.qp
	qp.num = uint32(qp.c.qp_num)
	qp.caps = QPCaps{
		MaxSendWR:     uint32(caps.max_send_wr),
		MaxRecvWR:     uint32(caps.max_recv_wr),
		MaxSendSGE:    uint32(caps.max_send_sge),
		MaxRecvSGE:    uint32(caps.max_recv_sge),
		MaxInlineData: uint32(caps.max_inline_data),
	}
	qp.rec = track.Open("QP")
	id.qp = qp
	return qp, nil
}

// Handle implements [QP].
func (qp *queuePair) Handle() unsafe.Pointer { return unsafe.Pointer(qp.c) }

// Num implements [QP].
func (qp *queuePair) Num() uint32 { return qp.num }

// Caps implements [QP].
func (qp *queuePair) Caps() QPCaps { return qp.caps }

// op runs one operation on the open queue pair and types its error.
func (qp *queuePair) op(name string, f func() C.int) error {
	qp.mu.Lock()
	defer qp.mu.Unlock()
	if qp.closed {
		return errnoError(name, qp.dev, int(syscall.EBADF))
	}
	return errnoError(name, qp.dev, int(f()))
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
	return qp.close("destroy queue pair", qp.dev,
		func() int { return int(C.catmint_destroy_qp(qp.id.c)) },
		func() { qp.id.qp = nil }, qp.releaseAll)
}

func (qp *queuePair) releaseAll() {
	qp.pd.release()
	qp.sendCQ.release()
	qp.recvCQ.release()
}
