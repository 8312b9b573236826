/*
 * The extended interface of a queue pair for sends, ibv_wr_*(3): SEND with inline data or one
 * segment. What is built between start and complete is in the send queue beyond its head.
 */
#include <string.h>

#include "sim_internal.h"

static inline struct sim_qp *qp_of(struct ibv_qp_ex *ex) {
    return (struct sim_qp *)ex;
}

static inline void begin(struct sim_qp *qp) {
    qp->wr.err = 0;
    qp->wr.head = qp->sq.head;
    qp->wr.entry = NULL;
}

static __attribute__((noinline)) void begin_locked(struct sim_qp *qp) {
    sim_lock(qp->f);
    begin(qp);
}

static void wr_start(struct ibv_qp_ex *ex) {
    struct sim_qp *qp = qp_of(ex);

    if (SIM_UNLIKELY(qp->f->cfg.threads))
        begin_locked(qp);
    else
        begin(qp);
}

/* The first mistake is what complete answers. */
static __attribute__((noinline)) void mistake(struct sim_qp *qp, int err) {
    if (!qp->wr.err)
        qp->wr.err = err;
    qp->wr.entry = NULL;
}

static void wr_send(struct ibv_qp_ex *ex) {
    struct sim_qp *qp = qp_of(ex);

    if (SIM_UNLIKELY(qp->wr.head - qp->sq.tail >= qp->sq.mask)) {
        mistake(qp, ENOMEM);
        return;
    }
    struct sim_swqe *e = sim_swqe_at(&qp->sq, qp->wr.head++);
    e->wr_id = ex->wr_id;
    e->opcode = IBV_WR_SEND;
    e->flags = (uint8_t)(ex->wr_flags & ~(unsigned int)IBV_SEND_INLINE);
    e->length = 0;
    e->num_sge = 0;
    qp->wr.entry = e;
}

static void wr_set_inline_data(struct ibv_qp_ex *ex, void *addr, size_t length) {
    struct sim_qp *qp = qp_of(ex);
    struct sim_swqe *e = qp->wr.entry;

    if (SIM_UNLIKELY(!e || length > qp->init.cap.max_inline_data)) {
        mistake(qp, EINVAL);
        return;
    }
    e->flags |= IBV_SEND_INLINE;
    e->length = (uint32_t)length;
    memcpy(e->u.data, addr, length);
}

static void wr_set_sge(struct ibv_qp_ex *ex, uint32_t lkey, uint64_t addr, uint32_t length) {
    struct sim_qp *qp = qp_of(ex);
    struct sim_swqe *e = qp->wr.entry;

    if (!e) {
        mistake(qp, EINVAL);
        return;
    }
    e->u.sge[0] = (struct ibv_sge){.addr = addr, .length = length, .lkey = lkey};
    e->length = length;
    e->num_sge = 1;
}

static inline void post_built(struct sim_qp *qp) {
    qp->f->stats.send_wrs += qp->wr.head - qp->sq.head;
    qp->sq.head = qp->wr.head;
    if (qp->stall == SIM_STALL_NONE)
        sim_wire_kick(qp);
}

/* The same unless it is not in order, or not to be. */
static __attribute__((noinline)) int post_checked(struct sim_qp *qp) {
    int err = qp->wr.err;

    if (!err)
        err = sim_call_fault(qp->dev, SIM_CALL_POST_SEND);
    if (!err && qp->ibv.state != IBV_QPS_RTS && qp->ibv.state != IBV_QPS_ERR)
        err = EINVAL;
    if (!err)
        post_built(qp);
    return err;
}

static inline int complete(struct sim_qp *qp) {
    qp->f->stats.post_sends++;
    if (SIM_UNLIKELY(qp->wr.err || qp->dev->has_rules || qp->dev->removed ||
                     qp->ibv.state != IBV_QPS_RTS))
        return post_checked(qp);
    post_built(qp);
    return 0;
}

static __attribute__((noinline)) int complete_and_unlock(struct sim_qp *qp) {
    int err = complete(qp);

    sim_unlock(qp->f);
    return err;
}

static int wr_complete(struct ibv_qp_ex *ex) {
    struct sim_qp *qp = qp_of(ex);

    return SIM_UNLIKELY(qp->f->cfg.threads) ? complete_and_unlock(qp) : complete(qp);
}

static void wr_abort(struct ibv_qp_ex *ex) {
    sim_unlock(qp_of(ex)->f);
}

void sim_wr_init(struct sim_qp *qp) {
    struct ibv_qp_ex *ex = &qp->ex;

    ex->wr_start = wr_start;
    ex->wr_send = wr_send;
    ex->wr_set_inline_data = wr_set_inline_data;
    ex->wr_set_sge = wr_set_sge;
    ex->wr_complete = wr_complete;
    ex->wr_abort = wr_abort;
}

struct ibv_qp_ex *sim_qp_ex(struct ibv_qp *ibqp) {
    struct sim_qp *qp = (struct sim_qp *)ibqp;

    return qp->ex.wr_start ? &qp->ex : NULL;
}
