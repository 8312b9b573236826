// Package verbstest lets Go tests drive a queue pair and a completion queue: post, poll,
// arm, take completion events. It is written against the public verbs interface and the
// table of slow operations, as the data plane is, so it works with any fabric.
//
// It is no _test.go file because those cannot import "C". What must not live here:
// anything that the product uses.
package verbstest

// #include <errno.h>
// #include <stdlib.h>
// #include "../slowops.h"
//
// static int post_recv(struct ibv_qp *qp, uint64_t id, void *buf, uint32_t len, uint32_t lkey)
// {
//     struct ibv_sge sge = {.addr = (uintptr_t)buf, .length = len, .lkey = lkey};
//     struct ibv_recv_wr wr = {.wr_id = id, .sg_list = &sge, .num_sge = 1}, *bad;
//     return ibv_post_recv(qp, &wr, &bad);
// }
//
// static int post_send(struct ibv_qp *qp, uint64_t id, void *buf, uint32_t len, uint32_t lkey)
// {
//     struct ibv_sge sge = {.addr = (uintptr_t)buf, .length = len, .lkey = lkey};
//     struct ibv_send_wr wr = {.wr_id = id, .sg_list = &sge, .num_sge = 1,
//                              .opcode = IBV_WR_SEND, .send_flags = IBV_SEND_SIGNALED}, *bad;
//     return ibv_post_send(qp, &wr, &bad);
// }
//
// static int post_inline(struct ibv_qp_ex *qp, uint64_t id, void *buf, size_t len)
// {
//     qp->wr_id = id;
//     qp->wr_flags = IBV_SEND_SIGNALED | IBV_SEND_INLINE; // rxe wants to be told of the latter here
//     ibv_wr_start(qp);
//     ibv_wr_send(qp);
//     ibv_wr_set_inline_data(qp, buf, len);
//     return ibv_wr_complete(qp);
// }
//
// static int post_write(struct ibv_qp *qp, uint64_t id, void *buf, uint32_t len, uint32_t lkey,
//                       uint64_t to, uint32_t rkey)
// {
//     struct ibv_sge sge = {.addr = (uintptr_t)buf, .length = len, .lkey = lkey};
//     struct ibv_send_wr wr = {.wr_id = id, .sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_RDMA_WRITE,
//                              .send_flags = IBV_SEND_SIGNALED, .wr.rdma = {to, rkey}}, *bad;
//     return ibv_post_send(qp, &wr, &bad);
// }
//
// static int poll_cq(struct ibv_cq *cq, struct ibv_wc *wc) { return ibv_poll_cq(cq, 1, wc); }
// static int arm_cq(struct ibv_cq *cq) { return ibv_req_notify_cq(cq, 0); }
//
// static int reg_mr(struct rdma_slow_ops *ops, struct ibv_pd *pd, void *p, size_t n, struct ibv_mr **mr)
// {
//     return ops->reg_mr(pd, p, n, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ, mr);
// }
// static int dereg_mr(struct rdma_slow_ops *ops, struct ibv_mr *mr) { return ops->dereg_mr(mr); }
// static int take_event(struct rdma_slow_ops *ops, struct ibv_comp_channel *ch, struct ibv_cq **cq)
// {
//     void *context;
//     int rc = ops->get_cq_event(ch, cq, &context);
//     if (rc == 0)
//         rc = ops->ack_cq_events(*cq, 1);
//     return rc;
// }
// static int set_error(struct rdma_slow_ops *ops, struct ibv_qp *qp)
// {
//     struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};
//     return ops->modify_qp(qp, &attr, IBV_QP_STATE);
// }
// static int drain(struct rdma_slow_ops *ops, struct ibv_qp *qp)
// {
//     struct ibv_qp_attr attr = {.qp_state = IBV_QPS_SQD, .en_sqd_async_notify = 1};
//     return ops->modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_EN_SQD_ASYNC_NOTIFY);
// }
// static int query(struct ibv_qp *qp, struct ibv_qp_attr *attr)
// {
//     struct ibv_qp_init_attr init;
//     return ibv_query_qp(qp, attr, (1 << 21) - 1, &init);
// }
import "C"

import (
	"syscall"
	"unsafe"

	"catmint/rdma"
)

var _ = rdma.SlowOpsHeader // an edit of slowops.h rebuilds this package

// Completion is a work completion.
type Completion struct {
	ID     uint64
	Status rdma.WCStatus
	Opcode rdma.WCOpcode
	Len    int
	QPNum  uint32
}

// Buffer is registered C memory.
type Buffer struct {
	Bytes []byte
	ops   *C.struct_rdma_slow_ops
	mr    *C.struct_ibv_mr
}

// NewBuffer allocates n bytes and registers them on pd for local access and the peer's READs.
func NewBuffer(f rdma.Fabric, pd rdma.PD, n int) (*Buffer, error) {
	b := &Buffer{ops: (*C.struct_rdma_slow_ops)(f.SlowOps())}
	p := C.calloc(1, C.size_t(n))
	if errno := C.reg_mr(b.ops, (*C.struct_ibv_pd)(pd.Handle()), p, C.size_t(n), &b.mr); errno != 0 {
		C.free(p)
		return nil, syscall.Errno(errno)
	}
	b.Bytes = unsafe.Slice((*byte)(p), n)
	return b, nil
}

// Free deregisters and frees the memory.
func (b *Buffer) Free() error {
	if errno := C.dereg_mr(b.ops, b.mr); errno != 0 {
		return syscall.Errno(errno)
	}
	C.free(unsafe.Pointer(unsafe.SliceData(b.Bytes)))
	return nil
}

// PostRecv posts the whole buffer as a receive.
func (b *Buffer) PostRecv(qp rdma.QP, id uint64) error {
	return errno(C.post_recv((*C.struct_ibv_qp)(qp.Handle()), C.uint64_t(id),
		unsafe.Pointer(unsafe.SliceData(b.Bytes)), C.uint32_t(len(b.Bytes)), b.mr.lkey))
}

// PostSend posts a signalled send of the first n bytes.
func (b *Buffer) PostSend(qp rdma.QP, id uint64, n int) error {
	return errno(C.post_send((*C.struct_ibv_qp)(qp.Handle()), C.uint64_t(id),
		unsafe.Pointer(unsafe.SliceData(b.Bytes)), C.uint32_t(n), b.mr.lkey))
}

// PostInline posts a signalled send of the first n bytes, inline, by the queue pair's extended
// interface.
func (b *Buffer) PostInline(qp rdma.QP, id uint64, n int) error {
	return errno(C.post_inline((*C.struct_ibv_qp_ex)(qp.Extended()), C.uint64_t(id),
		unsafe.Pointer(unsafe.SliceData(b.Bytes)), C.size_t(n)))
}

// PostWrite posts a signalled RDMA WRITE of the first n bytes to an address of the peer's.
func (b *Buffer) PostWrite(qp rdma.QP, id uint64, n int, to uint64, rkey uint32) error {
	return errno(C.post_write((*C.struct_ibv_qp)(qp.Handle()), C.uint64_t(id),
		unsafe.Pointer(unsafe.SliceData(b.Bytes)), C.uint32_t(n), b.mr.lkey, C.uint64_t(to), C.uint32_t(rkey)))
}

// Addr is where the buffer lies, for a peer that reads it.
func (b *Buffer) Addr() uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(b.Bytes)))) }

// RKey is the key with which a peer may read it.
func (b *Buffer) RKey() uint32 { return uint32(b.mr.rkey) }

// Poll takes one completion; false when there is none.
func Poll(cq rdma.CQ) (Completion, bool, error) {
	var wc C.struct_ibv_wc
	n := C.poll_cq((*C.struct_ibv_cq)(cq.Handle()), &wc)
	if n < 0 {
		return Completion{}, false, syscall.EIO
	}
	return Completion{
		ID:     uint64(wc.wr_id),
		Status: rdma.WCStatus(wc.status),
		Opcode: rdma.WCOpcode(wc.opcode),
		Len:    int(wc.byte_len),
		QPNum:  uint32(wc.qp_num),
	}, n > 0, nil
}

// Arm asks for an event at the next completion.
func Arm(cq rdma.CQ) error { return errno(C.arm_cq((*C.struct_ibv_cq)(cq.Handle()))) }

// TakeEvent takes and acknowledges one completion event and returns the handle of its
// completion queue; EAGAIN when there is none.
func TakeEvent(f rdma.Fabric, ch rdma.CompletionChannel) (unsafe.Pointer, error) {
	var cq *C.struct_ibv_cq
	err := errno(C.take_event((*C.struct_rdma_slow_ops)(f.SlowOps()),
		(*C.struct_ibv_comp_channel)(ch.Handle()), &cq))
	return unsafe.Pointer(cq), err
}

// SetError moves qp to the error state through the slow operations.
func SetError(f rdma.Fabric, qp rdma.QP) error {
	return errno(C.set_error((*C.struct_rdma_slow_ops)(f.SlowOps()), (*C.struct_ibv_qp)(qp.Handle())))
}

// DrainSendQueue moves qp from RTS to SQD and asks for the event SQ_DRAINED.
func DrainSendQueue(f rdma.Fabric, qp rdma.QP) error {
	return errno(C.drain((*C.struct_rdma_slow_ops)(f.SlowOps()), (*C.struct_ibv_qp)(qp.Handle())))
}

// Attr is what a connected queue pair has been told, but for numbers that differ from one to the
// next. Values are codes of ibv_modify_qp(3).
type Attr struct {
	Access                     uint32
	PathMTU                    rdma.MTU
	PKeyIndex                  uint16
	Port                       uint8
	MaxDestRdAtomic            uint8
	MaxRdAtomic                uint8
	MinRNRTimer, Timeout       uint8
	RetryCount, RNRRetry       uint8
	Global, SGIDIndex          uint8
	SL, HopLimit, TrafficClass uint8
	DGID                       [16]byte
}

// QueryQP asks for the attributes of a queue pair of hardware or Soft-RoCE, with ibv_query_qp(3),
// which knows no other.
func QueryQP(qp rdma.QP) (Attr, error) {
	var a C.struct_ibv_qp_attr
	err := errno(C.query((*C.struct_ibv_qp)(qp.Handle()), &a))
	g := &a.ah_attr.grh
	return Attr{
		Access: uint32(a.qp_access_flags), PathMTU: rdma.MTU(a.path_mtu),
		PKeyIndex: uint16(a.pkey_index), Port: uint8(a.port_num),
		MaxDestRdAtomic: uint8(a.max_dest_rd_atomic), MaxRdAtomic: uint8(a.max_rd_atomic),
		MinRNRTimer: uint8(a.min_rnr_timer), Timeout: uint8(a.timeout),
		RetryCount: uint8(a.retry_cnt), RNRRetry: uint8(a.rnr_retry),
		Global: uint8(a.ah_attr.is_global), SGIDIndex: uint8(g.sgid_index),
		SL: uint8(a.ah_attr.sl), HopLimit: uint8(g.hop_limit), TrafficClass: uint8(g.traffic_class),
		DGID: [16]byte(C.GoBytes(unsafe.Pointer(&g.dgid), 16)),
	}, err
}

func errno(rc C.int) error {
	if rc != 0 {
		return syscall.Errno(rc)
	}
	return nil
}
