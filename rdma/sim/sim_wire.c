/*
 * What happens on the wire: work requests take effect at the peer, are acknowledged, wait
 * for a receive or for a peer, fail, and are flushed.
 */
#include <stdlib.h>
#include <string.h>

#include "sim_internal.h"

static bool seeded(const struct sim_fabric *f) {
    return f->cfg.delivery != SIM_DELIVER_NOW;
}

/* ---- Completions -------------------------------------------------------------------- */

static const uint8_t wc_opcode[] = {
    [IBV_WR_RDMA_WRITE] = IBV_WC_RDMA_WRITE,
    [IBV_WR_RDMA_WRITE_WITH_IMM] = IBV_WC_RDMA_WRITE,
    [IBV_WR_SEND] = IBV_WC_SEND,
    [IBV_WR_SEND_WITH_IMM] = IBV_WC_SEND,
    [IBV_WR_RDMA_READ] = IBV_WC_RDMA_READ,
};

static inline void complete_send(struct sim_qp *qp, const struct sim_swqe *e,
                                 enum ibv_wc_status status) {
    struct sim_cqe *c = sim_cq_reserve(qp->scq);

    if (SIM_UNLIKELY(!c))
        return;
    c->wc = (struct ibv_wc){.wr_id = e->wr_id, .status = status, .qp_num = qp->ibv.qp_num};
    if (status == IBV_WC_SUCCESS) {
        c->wc.opcode = (enum ibv_wc_opcode)wc_opcode[e->opcode];
        c->wc.byte_len = e->length;
    } /* else, as on rxe, only wr_id, status and qp_num say something */
    c->qp = qp;
    c->tail = qp->sq.done;
    c->is_recv = false;
    sim_cq_commit(qp->scq, status != IBV_WC_SUCCESS);
}

/* The oldest request that has taken effect completes well. */
static inline void ack_one(struct sim_qp *qp) {
    const struct sim_swqe *e = sim_swqe_at(&qp->sq, qp->sq.done++);

    if (qp->sig_all || (e->flags & IBV_SEND_SIGNALED))
        complete_send(qp, e, IBV_WC_SUCCESS);
}

/* The next request completes with an error, signalled or not. */
static void fail_send(struct sim_qp *qp, enum ibv_wc_status status) {
    const struct sim_swqe *e = sim_swqe_at(&qp->sq, qp->sq.done++);

    if ((int32_t)(qp->sq.exec - qp->sq.done) < 0)
        qp->sq.exec = qp->sq.done;
    complete_send(qp, e, status);
}

static inline void complete_recv(struct sim_qp *qp, enum ibv_wc_status status,
                                 const struct sim_swqe *from) {
    const struct sim_rwqe *e = sim_rwqe_at(&qp->rq, qp->rq.exec++);
    struct sim_cqe *c = sim_cq_reserve(qp->rcq);
    bool important = true;

    qp->rq.done = qp->rq.exec;
    if (SIM_UNLIKELY(!c))
        return;
    c->wc = (struct ibv_wc){.wr_id = e->wr_id, .status = status, .qp_num = qp->ibv.qp_num};
    c->qp = qp;
    c->tail = qp->rq.exec;
    c->is_recv = true;
    if (status == IBV_WC_SUCCESS) {
        c->wc.opcode = IBV_WC_RECV;
        c->wc.byte_len = from->length;
        c->wc.src_qp = qp->attr.dest_qp_num;
        if (from->opcode != IBV_WR_SEND) {
            c->wc.wc_flags = IBV_WC_WITH_IMM;
            c->wc.imm_data = from->imm_data;
            if (from->opcode == IBV_WR_RDMA_WRITE_WITH_IMM)
                c->wc.opcode = IBV_WC_RECV_RDMA_WITH_IMM;
        }
        important = (from->flags & IBV_SEND_SOLICITED) != 0;
    }
    sim_cq_commit(qp->rcq, important);
}

/* ---- Errors and flushing ------------------------------------------------------------- */

static bool flush_one(struct sim_qp *qp) {
    uint32_t limit = qp->f->cfg.no_late_recv_flush ? qp->flush_to : qp->rq.head;

    if (qp->sq.done != qp->sq.head) {
        fail_send(qp, IBV_WC_WR_FLUSH_ERR);
        return true;
    }
    if (qp->rq.done != limit) {
        complete_recv(qp, IBV_WC_WR_FLUSH_ERR, NULL);
        return true;
    }
    return false;
}

static void activate(struct sim_qp *qp) {
    struct sim_fabric *f = qp->f;

    if (qp->active_pos >= 0)
        return;
    if (f->num_active == f->cap_active) {
        uint32_t cap = f->cap_active ? 2 * f->cap_active : 64;
        struct sim_qp **p = realloc(f->active, cap * sizeof(struct sim_qp *));

        if (!p)
            abort(); /* a test's fabric without memory for a pointer: nothing to go on with */
        f->active = p;
        f->cap_active = cap;
    }
    qp->active_pos = (int)f->num_active;
    f->active[f->num_active++] = qp;
}

void sim_wire_deactivate(struct sim_qp *qp) {
    struct sim_fabric *f = qp->f;
    struct sim_qp *last;

    if (qp->active_pos < 0)
        return;
    last = f->active[--f->num_active];
    f->active[qp->active_pos] = last;
    last->active_pos = qp->active_pos;
    qp->active_pos = -1;
}

void sim_wire_unstall(struct sim_qp *qp) {
    qp->stall = SIM_STALL_NONE;
    if (qp->retrying) {
        qp->retrying = false;
        qp->f->retrying--;
    }
}

void sim_wire_error(struct sim_qp *qp) {
    struct sim_qp *peer = qp->peer;

    if (qp->ibv.state == IBV_QPS_ERR)
        return;
    qp->ibv.state = IBV_QPS_ERR;
    qp->flush_to = qp->rq.head;
    sim_wire_unstall(qp);
    sim_wire_kick(qp);
    if (peer && peer->peer == qp && peer->stall != SIM_STALL_NONE)
        sim_wire_kick(peer); /* from now on it waits for a peer that does not answer */
}

void sim_wire_fail_next(struct sim_qp *qp, enum ibv_wc_status status) {
    while (qp->sq.done != qp->sq.exec)
        ack_one(qp); /* the answer to a later request acknowledges earlier ones */
    fail_send(qp, status);
    sim_wire_error(qp);
}

/* ---- Requests taking effect ------------------------------------------------------------ */

enum effect { EFFECT_DONE, EFFECT_RNR, EFFECT_FAILED };

/* Copies len bytes from one list of segments to another that is long enough. */
static void copy_segments(const struct ibv_sge *to, const struct ibv_sge *from, uint32_t len) {
    uint32_t to_off = 0, from_off = 0;

    while (len) {
        uint32_t n = len;

        if (n > to->length - to_off)
            n = to->length - to_off;
        if (n > from->length - from_off)
            n = from->length - from_off;
        if (n)
            memmove((void *)(uintptr_t)(to->addr + to_off),
                    (const void *)(uintptr_t)(from->addr + from_off), n);
        len -= n;
        to_off += n;
        from_off += n;
        if (to_off == to->length) {
            to++;
            to_off = 0;
        }
        if (from_off == from->length) {
            from++;
            from_off = 0;
        }
    }
}

static inline void copy_out(const struct sim_swqe *e, const struct ibv_sge *to) {
    struct ibv_sge data;
    const struct ibv_sge *from = e->u.sge;

    if (e->flags & IBV_SEND_INLINE) {
        data = (struct ibv_sge){.addr = (uint64_t)(uintptr_t)e->u.data, .length = e->length};
        from = &data;
    }
    if (from->length >= e->length && to->length >= e->length)
        memmove((void *)(uintptr_t)to->addr, (const void *)(uintptr_t)from->addr, e->length);
    else
        copy_segments(to, from, e->length);
}

static void raise_event(struct sim_qp *qp, enum ibv_event_type type) {
    sim_async_raise(qp->dev, &(struct ibv_async_event){.element.qp = &qp->ibv, .event_type = type});
}

/* The responder finds fault with a request: both queue pairs end in the error state. */
static enum effect refuse(struct sim_qp *qp, struct sim_qp *p, enum ibv_wc_status status) {
    raise_event(p,
                status == IBV_WC_REM_ACCESS_ERR ? IBV_EVENT_QP_ACCESS_ERR : IBV_EVENT_QP_REQ_ERR);
    sim_wire_error(p);
    sim_wire_fail_next(qp, status);
    return EFFECT_FAILED;
}

static inline bool no_receive(struct sim_qp *p) {
    if (SIM_UNLIKELY(p->has_faults) && p->fault_rnr) {
        p->fault_rnr--;
        return true;
    }
    return p->rq.exec == p->rq.head;
}

static inline enum effect do_send(struct sim_qp *qp, struct sim_qp *p, const struct sim_swqe *e) {
    const struct sim_rwqe *r;

    if (SIM_UNLIKELY(no_receive(p)))
        return EFFECT_RNR;
    r = sim_rwqe_at(&p->rq, p->rq.exec);
    if (SIM_UNLIKELY(e->length > r->length)) {
        complete_recv(p, IBV_WC_LOC_LEN_ERR, NULL);
        return refuse(qp, p, IBV_WC_REM_INV_REQ_ERR);
    }
    if (SIM_UNLIKELY(
            !sim_mr_check_local(p->dev, p->ibv.pd, r->sge, r->num_sge, IBV_ACCESS_LOCAL_WRITE))) {
        complete_recv(p, IBV_WC_LOC_PROT_ERR, NULL);
        return refuse(qp, p, IBV_WC_REM_OP_ERR);
    }
    if (e->length)
        copy_out(e, r->sge);
    complete_recv(p, IBV_WC_SUCCESS, e);
    return EFFECT_DONE;
}

static bool remote_ok(const struct sim_qp *p, const struct sim_swqe *e, int access) {
    return (p->attr.qp_access_flags & (unsigned int)access) &&
           sim_mr_check_remote(p->dev, p->ibv.pd, e->remote_addr, e->length, e->rkey, access);
}

static enum effect do_write(struct sim_qp *qp, struct sim_qp *p, const struct sim_swqe *e) {
    const struct ibv_sge to = {.addr = e->remote_addr, .length = e->length};

    if (!remote_ok(p, e, IBV_ACCESS_REMOTE_WRITE))
        return refuse(qp, p, IBV_WC_REM_ACCESS_ERR);
    if (e->opcode == IBV_WR_RDMA_WRITE_WITH_IMM && no_receive(p))
        return EFFECT_RNR;
    if (e->length)
        copy_out(e, &to);
    if (e->opcode == IBV_WR_RDMA_WRITE_WITH_IMM)
        complete_recv(p, IBV_WC_SUCCESS, e);
    return EFFECT_DONE;
}

static enum effect do_read(struct sim_qp *qp, struct sim_qp *p, const struct sim_swqe *e) {
    const struct ibv_sge from = {.addr = e->remote_addr, .length = e->length};

    if (!p->attr.max_dest_rd_atomic)
        return refuse(qp, p, IBV_WC_REM_INV_REQ_ERR);
    if (!remote_ok(p, e, IBV_ACCESS_REMOTE_READ))
        return refuse(qp, p, IBV_WC_REM_ACCESS_ERR);
    if (e->length)
        copy_segments(e->u.sge, &from, e->length);
    return EFFECT_DONE;
}

/* What the requester's side finds wrong before anything is sent. */
static inline enum ibv_wc_status check_local(const struct sim_qp *qp, const struct sim_swqe *e) {
    int access = 0;

    if (SIM_UNLIKELY(e->length > qp->dev->attr.max_msg_sz))
        return IBV_WC_LOC_LEN_ERR;
    if (e->opcode == IBV_WR_RDMA_READ) {
        if (!qp->attr.max_rd_atomic)
            return IBV_WC_LOC_QP_OP_ERR;
        access = IBV_ACCESS_LOCAL_WRITE;
        if (SIM_UNLIKELY(qp->dev->attr.iwarp))
            access |= IBV_ACCESS_REMOTE_WRITE;
    }
    if (!sim_mr_check_local(qp->dev, qp->ibv.pd, e->u.sge, e->num_sge, access))
        return IBV_WC_LOC_PROT_ERR;
    return IBV_WC_SUCCESS;
}

static inline bool reachable(const struct sim_qp *qp) {
    const struct sim_qp *p = qp->peer;

    return p && (p->ibv.state == IBV_QPS_RTS || p->ibv.state == IBV_QPS_RTR) &&
           p->attr.dest_qp_num == qp->ibv.qp_num && !p->cut && !qp->cut;
}

static void stall(struct sim_qp *qp, enum sim_stall why) {
    bool retry;

    if (why == SIM_STALL_RNR) {
        bool by_fault = qp->peer->rq.exec != qp->peer->rq.head;

        if (qp->tries_left == 0 && !qp->retrying) {
            qp->rnr_naks++;
            qp->f->stats.rnr_naks++;
        }
        if (qp->attr.rnr_retry == 0) {
            sim_wire_fail_next(qp, IBV_WC_RNR_RETRY_EXC_ERR);
            return;
        }
        retry = qp->attr.rnr_retry != 7 || by_fault;
        qp->tries_left = qp->attr.rnr_retry;
    } else {
        retry = qp->f->cfg.retry_polls != 0;
        qp->tries_left = qp->f->cfg.retry_polls;
    }
    qp->stall = why;
    if (retry && !qp->retrying) {
        qp->retrying = true;
        qp->f->retrying++;
    }
}

/* A fault that strikes before the next request, e; true if it was ended or put off by one. */
static bool fault_before(struct sim_qp *qp, const struct sim_swqe *e) {
    if (qp->slow_reads && e->opcode == IBV_WR_RDMA_READ && qp->reads_left-- == 0) {
        qp->reads_left = 0;
        qp->stall = SIM_STALL_PEER; /* until sim_fault_reads */
        return true;
    }
    if (qp->fault_completion_in && --qp->fault_completion_in == 0) {
        sim_wire_fail_next(qp, qp->fault_status);
        return true;
    }
    return false;
}

static void fault_after(struct sim_qp *qp) {
    if (qp->fault_error_in && --qp->fault_error_in == 0)
        sim_wire_error(qp);
}

/* Tries the next request; false if it stalls or fails. */
static inline bool try_next(struct sim_qp *qp) {
    const struct sim_swqe *e = sim_swqe_at(&qp->sq, qp->sq.exec);
    enum ibv_wc_status status;
    enum effect effect;
    struct sim_qp *p;

    status = check_local(qp, e);
    if (SIM_UNLIKELY(status != IBV_WC_SUCCESS)) {
        sim_wire_fail_next(qp, status);
        return false;
    }
    if (SIM_UNLIKELY(!reachable(qp))) {
        stall(qp, SIM_STALL_PEER);
        return false;
    }
    if (SIM_UNLIKELY(qp->has_faults) && fault_before(qp, e))
        return false;
    p = qp->peer;
    if (SIM_UNLIKELY(!p->established)) {
        p->established = true;
        raise_event(p, IBV_EVENT_COMM_EST);
    }
    if (e->opcode == IBV_WR_SEND || e->opcode == IBV_WR_SEND_WITH_IMM)
        effect = do_send(qp, p, e);
    else if (e->opcode == IBV_WR_RDMA_READ)
        effect = do_read(qp, p, e);
    else
        effect = do_write(qp, p, e);
    if (SIM_UNLIKELY(effect != EFFECT_DONE)) {
        if (effect == EFFECT_RNR)
            stall(qp, SIM_STALL_RNR);
        return false;
    }
    qp->f->stats.bytes += e->length;
    qp->tries_left = 0;
    qp->sq.exec++;
    if (SIM_UNLIKELY(qp->has_faults))
        fault_after(qp);
    return true;
}

void sim_wire_kick(struct sim_qp *qp) {
    if (qp->stall != SIM_STALL_NONE)
        sim_wire_unstall(qp);
    if (seeded(qp->f)) {
        activate(qp);
        return;
    }
    while (qp->ibv.state == IBV_QPS_RTS && qp->sq.exec != qp->sq.head && try_next(qp)) {
        if (qp->ibv.state == IBV_QPS_RTS)
            ack_one(qp);
    }
    if (SIM_UNLIKELY(qp->ibv.state == IBV_QPS_ERR)) {
        while (flush_one(qp))
            continue;
    }
}

/* ---- Seeded delivery and retries ----------------------------------------------------------- */

/* One step of qp: a request takes effect, one is acknowledged, or one is flushed. */
static void step(struct sim_qp *qp) {
    bool can_exec, can_ack;

    if (qp->ibv.state == IBV_QPS_ERR) {
        if (!flush_one(qp))
            sim_wire_deactivate(qp);
        return;
    }
    can_exec =
        qp->ibv.state == IBV_QPS_RTS && qp->sq.exec != qp->sq.head && qp->stall == SIM_STALL_NONE;
    can_ack = qp->sq.done != qp->sq.exec && !qp->cut && !(qp->peer && qp->peer->cut);
    if (can_exec && (!can_ack || sim_random(qp->f, 2)))
        (void)try_next(qp);
    else if (can_ack)
        ack_one(qp);
    else
        sim_wire_deactivate(qp);
}

/* Tries a stalled request again, at the cost of one of its tries. */
static void retry(struct sim_qp *qp) {
    enum sim_stall why = qp->stall;
    uint32_t left = qp->tries_left - 1;
    bool limited = why == SIM_STALL_PEER || qp->attr.rnr_retry != 7;

    sim_wire_unstall(qp);
    if (try_next(qp) && !seeded(qp->f) && qp->ibv.state == IBV_QPS_RTS)
        ack_one(qp);
    if (qp->stall != why) {
        if (qp->stall == SIM_STALL_NONE)
            sim_wire_kick(qp);
        return;
    }
    if (!limited)
        return;
    qp->tries_left = left;
    if (!left)
        sim_wire_fail_next(qp,
                           why == SIM_STALL_PEER ? IBV_WC_RETRY_EXC_ERR : IBV_WC_RNR_RETRY_EXC_ERR);
}

void sim_wire_poll(struct sim_fabric *f, struct sim_cq *cq) {
    if (f->retrying) {
        for (struct sim_qp *qp = f->qps; qp; qp = qp->next) {
            if (qp->retrying && qp->scq == cq)
                retry(qp);
        }
    }
    if (seeded(f)) {
        for (uint32_t n = sim_random(f, 6); n && f->num_active; n--)
            step(f->active[sim_random(f, f->num_active)]);
    }
}

void sim_wire_drain(struct sim_fabric *f) {
    bool again = true;

    while (again) {
        again = false;
        while (f->num_active)
            step(f->active[f->num_active - 1]);
        for (struct sim_qp *qp = f->qps; qp; qp = qp->next) {
            while (qp->stall == SIM_STALL_RNR && qp->peer->rq.exec != qp->peer->rq.head) {
                retry(qp);
                again = true;
            }
        }
    }
}
