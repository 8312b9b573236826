/* Faults on one queue pair: what sim_wire.c meets between requests, and cuts. */
#include "sim_internal.h"

static void update_faults(struct sim_qp *qp) {
    qp->has_faults =
        qp->fault_completion_in || qp->fault_error_in || qp->fault_rnr || qp->slow_reads;
}

void sim_fault_completion(struct ibv_qp *ibqp, uint32_t nth, enum ibv_wc_status status) {
    struct sim_qp *qp = (struct sim_qp *)ibqp;

    sim_lock(qp->f);
    qp->fault_completion_in = nth;
    qp->fault_status = status;
    update_faults(qp);
    sim_unlock(qp->f);
}

void sim_fault_rnr(struct ibv_qp *ibqp, uint32_t n) {
    struct sim_qp *qp = (struct sim_qp *)ibqp;

    sim_lock(qp->f);
    qp->fault_rnr = n;
    update_faults(qp);
    sim_unlock(qp->f);
}

void sim_fault_error_after(struct ibv_qp *ibqp, uint32_t nth) {
    struct sim_qp *qp = (struct sim_qp *)ibqp;

    sim_lock(qp->f);
    qp->fault_error_in = nth;
    update_faults(qp);
    sim_unlock(qp->f);
}

void sim_fault_reads(struct ibv_qp *ibqp, uint32_t n) {
    struct sim_qp *qp = (struct sim_qp *)ibqp;

    sim_lock(qp->f);
    qp->slow_reads = n != UINT32_MAX;
    qp->reads_left = n;
    update_faults(qp);
    sim_wire_kick(qp);
    sim_unlock(qp->f);
}

void sim_fault_cut(struct ibv_qp *ibqp, bool cut) {
    struct sim_qp *qp = (struct sim_qp *)ibqp;

    sim_lock(qp->f);
    qp->cut = cut;
    sim_wire_kick(qp);
    if (qp->peer)
        sim_wire_kick(qp->peer);
    sim_unlock(qp->f);
}

void sim_fault_retry_exceeded(struct ibv_qp *ibqp) {
    struct sim_qp *qp = (struct sim_qp *)ibqp;

    sim_lock(qp->f);
    if (qp->stall == SIM_STALL_PEER)
        sim_wire_fail_next(qp, IBV_WC_RETRY_EXC_ERR);
    sim_unlock(qp->f);
}
