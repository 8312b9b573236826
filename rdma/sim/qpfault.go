package sim

// #include "shim.h"
import "C"

import (
	"cmp"
	"math"
	"slices"
	"syscall"

	"catmint/rdma"
)

// VerbsCall is a call that the data plane makes on verbs objects.
type VerbsCall int

// Calls of the data plane that can be made to fail.
const (
	CallRegMR    VerbsCall = C.SIM_CALL_MR_CREATE
	CallModifyQP VerbsCall = C.SIM_CALL_QP_MODIFY // the connection manager's moves as well
	CallPostSend VerbsCall = C.SIM_CALL_POST_SEND
	CallPostRecv VerbsCall = C.SIM_CALL_POST_RECV
)

// FailVerbs makes the nth call from now (1 is the next) on a device fail, and so many times
// in a row; times 0 is for ever, nth 0 lifts the fault. It reports whether the host has the
// device.
func (h *Host) FailVerbs(device string, call VerbsCall, nth, times int, errno syscall.Errno) bool {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	for _, d := range h.devices {
		if d.cfg.Name == device {
			C.sim_fault_call(d.ctx, C.enum_sim_call(call), C.uint32_t(nth), C.uint32_t(times),
				C.int(errno))
			return true
		}
	}
	return false
}

// QPs returns the host's open queue pairs in the order in which they were made.
func (h *Host) QPs() []*QP { //nolint:staticcheck // the plural of QP
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	var qps []*QP
	for _, ch := range h.channels {
		for i := range ch.ids {
			if i.qp != nil {
				qps = append(qps, &QP{i.qp})
			}
		}
	}
	slices.SortFunc(qps, func(a, b *QP) int { return cmp.Compare(a.num, b.num) })
	return qps
}

// QP is a queue pair with the faults that can be made on it. On a closed one they do
// nothing.
type QP struct{ *queuePair }

func (qp *QP) do(f func()) {
	_ = qp.use("fault", qp.dev.cfg.Name, func() C.int {
		f()
		return 0
	})
}

// FailCompletion lets the nth work request of the send queue to take effect from now fail
// with status instead.
func (qp *QP) FailCompletion(nth int, status rdma.WCStatus) {
	qp.do(func() {
		C.sim_fault_completion(qp.c, C.uint32_t(nth), C.enum_ibv_wc_status(status))
	})
}

// ForceRNR lets the next n arrivals find no receive, whatever is posted.
func (qp *QP) ForceRNR(n int) { qp.do(func() { C.sim_fault_rnr(qp.c, C.uint32_t(n)) }) }

// ErrorAfter moves the queue pair to the error state when n more of its work requests have
// taken effect.
func (qp *QP) ErrorAfter(n int) { qp.do(func() { C.sim_fault_error_after(qp.c, C.uint32_t(n)) }) }

// Cut cuts the queue pair off from its peer, or lets it reach it again.
func (qp *QP) Cut(cut bool) { qp.cut(cut) }

// SlowReads lets n RDMA READs of the queue pair take effect; the next ones, and what is behind
// them, wait for the next call. A negative n lets all of them go.
func (qp *QP) SlowReads(n int) {
	left := C.uint32_t(math.MaxUint32)
	if n >= 0 {
		left = C.uint32_t(n)
	}
	qp.do(func() { C.sim_fault_reads(qp.c, left) })
}

// ExceedRetries ends the retries of work that waits for a peer: it fails with
// RETRY_EXC_ERR. It reports whether there was any.
func (qp *QP) ExceedRetries() bool {
	var waiting bool
	qp.do(func() {
		var s C.struct_sim_qp_stats
		C.sim_qp_stats(qp.c, &s)
		waiting = bool(s.waiting_peer)
		C.sim_fault_retry_exceeded(qp.c)
	})
	return waiting
}

// QPStats says what a queue pair has before it.
type QPStats struct {
	SendQueued, RecvQueued   int // entries in use
	SendWaiting              int // work requests that have not taken effect
	RNRNaks                  uint64
	WaitingRNR, WaitingPeer  bool
	MinRNRTimer, AckTimeout  uint8 // their codes
	RetryCount, RNRRetry     uint8
	MaxRdAtomic, MaxDestRead uint8
}

// Stats asks.
func (qp *QP) Stats() QPStats {
	var s C.struct_sim_qp_stats
	var a C.struct_ibv_qp_attr
	qp.do(func() {
		C.sim_qp_stats(qp.c, &s)
		C.sim_qp_query(qp.c, &a, nil)
	})
	return QPStats{
		SendQueued: int(s.send_queued), RecvQueued: int(s.recv_queued),
		SendWaiting: int(s.send_waiting), RNRNaks: uint64(s.rnr_naks),
		WaitingRNR: bool(s.waiting_rnr), WaitingPeer: bool(s.waiting_peer),
		MinRNRTimer: uint8(a.min_rnr_timer), AckTimeout: uint8(a.timeout), RetryCount: uint8(a.retry_cnt),
		RNRRetry: uint8(a.rnr_retry), MaxRdAtomic: uint8(a.max_rd_atomic),
		MaxDestRead: uint8(a.max_dest_rd_atomic),
	}
}
