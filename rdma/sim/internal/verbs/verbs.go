// Package verbs lets Go tests post and poll on queue pairs of the simulated fabric: test
// files cannot call C. Nothing else belongs here, and nothing but tests may import it.
package verbs

// #cgo CFLAGS: -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror
// #include <stdlib.h>
// #include "../../sim.h"
//
// static int post_recv(struct ibv_qp *qp, uint64_t id, struct ibv_mr *mr, uint32_t off, uint32_t len) {
//     struct ibv_sge sge = {(uintptr_t)mr->addr + off, len, mr->lkey};
//     struct ibv_recv_wr wr = {.wr_id = id, .sg_list = &sge, .num_sge = 1}, *bad;
//     return ibv_post_recv(qp, &wr, &bad);
// }
//
// static int post_send(struct ibv_qp *qp, uint64_t id, struct ibv_mr *mr, uint32_t off, uint32_t len,
//                      int opcode, uint64_t remote, uint32_t rkey) {
//     struct ibv_sge sge = {(uintptr_t)mr->addr + off, len, mr->lkey};
//     struct ibv_send_wr wr = {.wr_id = id, .sg_list = &sge, .num_sge = 1,
//         .opcode = (enum ibv_wr_opcode)opcode, .send_flags = IBV_SEND_SIGNALED}, *bad;
//     wr.wr.rdma.remote_addr = remote;
//     wr.wr.rdma.rkey = rkey;
//     return ibv_post_send(qp, &wr, &bad);
// }
//
// static int poll(struct ibv_cq *cq, int n, struct ibv_wc *wc) { return ibv_poll_cq(cq, n, wc); }
// static int notify(struct ibv_cq *cq) { return ibv_req_notify_cq(cq, 0); }
// static int take_event(struct ibv_comp_channel *ch) {
//     struct ibv_cq *cq; void *context;
//     int err = sim_slow_ops()->get_cq_event(ch, &cq, &context);
//     return err ? err : sim_slow_ops()->ack_cq_events(cq, 1);
// }
import "C"

import (
	"syscall"
	"unsafe"

	"catmint/rdma"
	"catmint/rdma/sim"
)

var _ = sim.Header

// Memory is a registered buffer.
type Memory struct {
	mr  *C.struct_ibv_mr
	buf unsafe.Pointer
	n   int
}

func errno(rc C.int) error {
	if rc == 0 {
		return nil
	}
	return syscall.Errno(rc)
}

// Register allocates n bytes and registers them for everything.
func Register(pd rdma.PD, n int) (*Memory, error) {
	m := &Memory{buf: C.calloc(1, C.size_t(n)), n: n}
	access := C.int(C.IBV_ACCESS_LOCAL_WRITE | C.IBV_ACCESS_REMOTE_READ | C.IBV_ACCESS_REMOTE_WRITE)
	rc := C.sim_mr_create((*C.struct_ibv_pd)(pd.Handle()), m.buf, C.size_t(n), access, &m.mr)
	if rc != 0 {
		C.free(m.buf)
		return nil, errno(rc)
	}
	return m, nil
}

// Bytes is the buffer.
func (m *Memory) Bytes() []byte { return unsafe.Slice((*byte)(m.buf), m.n) }

// Remote is what a peer needs for READ and WRITE.
func (m *Memory) Remote() (addr uint64, rkey uint32) {
	return uint64(uintptr(m.buf)), uint32(m.mr.rkey)
}

// Close deregisters and frees.
func (m *Memory) Close() error {
	if err := errno(C.sim_mr_destroy(m.mr)); err != nil {
		return err
	}
	C.free(m.buf)
	return nil
}

// PostRecv posts a receive of n bytes at off.
func PostRecv(qp rdma.QP, wrID uint64, m *Memory, off, n int) error {
	return errno(C.post_recv((*C.struct_ibv_qp)(qp.Handle()), C.uint64_t(wrID), m.mr,
		C.uint32_t(off), C.uint32_t(n)))
}

// PostSend posts a signalled send of n bytes at off.
func PostSend(qp rdma.QP, wrID uint64, m *Memory, off, n int) error {
	return errno(C.post_send((*C.struct_ibv_qp)(qp.Handle()), C.uint64_t(wrID), m.mr,
		C.uint32_t(off), C.uint32_t(n), C.IBV_WR_SEND, 0, 0))
}

// PostRead posts a signalled READ of n bytes into off.
func PostRead(qp rdma.QP, wrID uint64, m *Memory, off, n int, addr uint64, rkey uint32) error {
	return errno(C.post_send((*C.struct_ibv_qp)(qp.Handle()), C.uint64_t(wrID), m.mr,
		C.uint32_t(off), C.uint32_t(n), C.IBV_WR_RDMA_READ, C.uint64_t(addr), C.uint32_t(rkey)))
}

// Completion is a work completion.
type Completion struct {
	WRID   uint64
	Status rdma.WCStatus
	Bytes  int
	QPNum  uint32
}

// Poll takes up to 16 completions.
func Poll(cq rdma.CQ) []Completion {
	var wc [16]C.struct_ibv_wc
	n := int(C.poll((*C.struct_ibv_cq)(cq.Handle()), 16, &wc[0]))
	out := make([]Completion, 0, n)
	for _, w := range wc[:n] {
		out = append(out, Completion{
			WRID: uint64(w.wr_id), Status: rdma.WCStatus(w.status),
			Bytes: int(w.byte_len), QPNum: uint32(w.qp_num),
		})
	}
	return out
}

// Notify arms the CQ.
func Notify(cq rdma.CQ) error { return errno(C.notify((*C.struct_ibv_cq)(cq.Handle()))) }

// TakeEvent takes and acknowledges one event of a completion channel.
func TakeEvent(ch rdma.CompletionChannel) error {
	return errno(C.take_event((*C.struct_ibv_comp_channel)(ch.Handle())))
}
