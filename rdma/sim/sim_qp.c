/* Queue pairs: making them, and moving them through their states. */
#include <stdlib.h>
#include <string.h>

#include "sim_internal.h"

static int ring_init(struct sim_ring *r, uint32_t capacity, size_t header, size_t payload) {
    uint32_t slots = sim_roundup_slots(capacity);

    r->mask = slots - 1;
    r->stride = (uint32_t)((header + payload + 63) & ~(size_t)63);
    r->mem = aligned_alloc(64, (size_t)slots * r->stride);
    if (!r->mem)
        return ENOMEM;
    memset(r->mem, 0, (size_t)slots * r->stride);
    return 0;
}

static void ring_reset(struct sim_ring *r) {
    r->head = r->exec = r->done = r->tail = 0;
}

static size_t max_size(size_t a, size_t b) {
    return a > b ? a : b;
}

static bool valid_init(const struct sim_device *d, const struct ibv_pd *pd,
                       const struct ibv_qp_init_attr *attr) {
    const struct ibv_qp_cap *cap = &attr->cap;

    return attr->qp_type == IBV_QPT_RC && !attr->srq && attr->send_cq && attr->recv_cq &&
           attr->send_cq->context == pd->context && attr->recv_cq->context == pd->context &&
           cap->max_send_wr <= d->attr.max_qp_wr && cap->max_recv_wr <= d->attr.max_qp_wr &&
           cap->max_send_sge <= d->attr.max_sge && cap->max_recv_sge <= d->attr.max_sge &&
           cap->max_inline_data <= d->attr.max_inline;
}

static int alloc_rings(struct sim_qp *qp, struct ibv_qp_cap *cap) {
    const size_t sge = sizeof(struct ibv_sge);
    size_t send_payload;
    int err;

    if (!cap->max_send_sge)
        cap->max_send_sge = 1;
    if (!cap->max_recv_sge)
        cap->max_recv_sge = 1;
    send_payload = max_size(cap->max_send_sge * sge, cap->max_inline_data);
    err = ring_init(&qp->sq, cap->max_send_wr, offsetof(struct sim_swqe, u), send_payload);
    if (!err)
        err = ring_init(&qp->rq, cap->max_recv_wr, offsetof(struct sim_rwqe, sge),
                        cap->max_recv_sge * sge);
    cap->max_send_wr = qp->sq.mask;
    cap->max_recv_wr = qp->rq.mask;
    return err;
}

static void free_qp(struct sim_qp *qp) {
    free(qp->sq.mem);
    free(qp->rq.mem);
    free(qp);
}

static int insert(struct sim_qp *qp) {
    struct sim_device *d = qp->dev;
    struct sim_fabric *f = qp->f;
    int err = sim_call_fault(d, SIM_CALL_QP_CREATE);

    if (err)
        return err;
    if (d->num_qps >= d->attr.max_qp || f->next_qpn > 0xffffff)
        return ENOMEM;
    qp->ibv.qp_num = f->next_qpn++;
    qp->ibv.handle = qp->ibv.qp_num;
    d->num_qps++;
    f->num_qps++;
    f->stats.qps++;
    ((struct sim_pd *)qp->ibv.pd)->users++;
    qp->scq->users++;
    qp->rcq->users++;
    qp->next = f->qps;
    if (f->qps)
        f->qps->prev = qp;
    f->qps = qp;
    return 0;
}

int sim_qp_create(struct ibv_pd *pd, struct ibv_qp_init_attr *attr, struct ibv_qp **out) {
    struct sim_device *d = sim_dev_of(pd->context);
    struct sim_qp *qp;
    int err;

    if (!valid_init(d, pd, attr))
        return EINVAL;
    qp = calloc(1, sizeof(*qp));
    if (!qp)
        return ENOMEM;
    qp->f = d->f;
    qp->dev = d;
    qp->scq = (struct sim_cq *)attr->send_cq;
    qp->rcq = (struct sim_cq *)attr->recv_cq;
    qp->sig_all = attr->sq_sig_all != 0;
    qp->active_pos = -1;
    qp->init = *attr;
    if (!d->f->cfg.no_qp_ex)
        sim_wr_init(qp);
    qp->ibv.context = pd->context;
    qp->ibv.qp_context = attr->qp_context;
    qp->ibv.pd = pd;
    qp->ibv.send_cq = attr->send_cq;
    qp->ibv.recv_cq = attr->recv_cq;
    qp->ibv.state = IBV_QPS_RESET;
    qp->ibv.qp_type = IBV_QPT_RC;
    err = alloc_rings(qp, &qp->init.cap);
    if (!err) {
        sim_lock(d->f);
        err = insert(qp);
        sim_unlock(d->f);
    }
    if (err) {
        free_qp(qp);
        return err;
    }
    attr->cap = qp->init.cap;
    *out = &qp->ibv;
    return 0;
}

static void forget_completions(struct sim_qp *qp) {
    bool purge = qp->f->cfg.purge_cq_on_destroy;

    sim_cq_forget(qp->scq, qp, purge);
    if (qp->rcq != qp->scq)
        sim_cq_forget(qp->rcq, qp, purge);
}

/* Whoever has qp for a peer now has one that does not answer, or none. */
static void orphan_peers(const struct sim_qp *qp, bool gone) {
    for (struct sim_qp *other = qp->f->qps; other; other = other->next) {
        if (other->peer != qp || other == qp)
            continue;
        if (gone)
            other->peer = NULL;
        if (other->stall != SIM_STALL_NONE)
            sim_wire_kick(other);
    }
}

int sim_qp_destroy(struct ibv_qp *ibqp) {
    struct sim_qp *qp = (struct sim_qp *)ibqp;
    struct sim_fabric *f = qp->f;

    sim_lock(f);
    if (qp->prev)
        qp->prev->next = qp->next;
    else
        f->qps = qp->next;
    if (qp->next)
        qp->next->prev = qp->prev;
    orphan_peers(qp, true);
    sim_wire_unstall(qp);
    sim_wire_deactivate(qp);
    forget_completions(qp);
    sim_async_forget(qp->dev, qp);
    qp->scq->users--;
    qp->rcq->users--;
    ((struct sim_pd *)ibqp->pd)->users--;
    qp->dev->num_qps--;
    f->num_qps--;
    f->stats.qps--;
    sim_unlock(f);
    free_qp(qp);
    return 0;
}

/*
 * Transitions by IBTA volume 1, section 11.2.5.2 (Modify Queue Pair), for RC: what must and
 * what may be given besides IBV_QP_STATE.
 */
struct transition {
    enum ibv_qp_state from, to;
    int required, optional;
};

static const struct transition transitions[] = {
    {IBV_QPS_RESET, IBV_QPS_INIT, IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS, 0},
    {IBV_QPS_INIT, IBV_QPS_INIT, 0, IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS},
    {IBV_QPS_INIT, IBV_QPS_RTR,
     IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
         IBV_QP_MIN_RNR_TIMER,
     IBV_QP_ALT_PATH | IBV_QP_ACCESS_FLAGS | IBV_QP_PKEY_INDEX},
    {IBV_QPS_RTR, IBV_QPS_RTS,
     IBV_QP_SQ_PSN | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC,
     IBV_QP_ALT_PATH | IBV_QP_ACCESS_FLAGS | IBV_QP_MIN_RNR_TIMER | IBV_QP_PATH_MIG_STATE},
    {IBV_QPS_RTS, IBV_QPS_RTS, 0,
     IBV_QP_ALT_PATH | IBV_QP_ACCESS_FLAGS | IBV_QP_MIN_RNR_TIMER | IBV_QP_PATH_MIG_STATE},
};

static bool allowed(enum ibv_qp_state from, enum ibv_qp_state to, int mask) {
    mask &= ~(IBV_QP_STATE | IBV_QP_CUR_STATE);
    if (to == IBV_QPS_RESET || to == IBV_QPS_ERR)
        return mask == 0;
    for (size_t i = 0; i < sizeof(transitions) / sizeof(transitions[0]); i++) {
        const struct transition *t = &transitions[i];

        if (t->from == from && t->to == to)
            return (mask & t->required) == t->required && !(mask & ~(t->required | t->optional));
    }
    return false;
}

static void take_attr(struct sim_qp *qp, const struct ibv_qp_attr *attr, int mask) {
    struct ibv_qp_attr *to = &qp->attr;

    if (mask & IBV_QP_PKEY_INDEX)
        to->pkey_index = attr->pkey_index;
    if (mask & IBV_QP_PORT)
        to->port_num = attr->port_num;
    if (mask & IBV_QP_ACCESS_FLAGS)
        to->qp_access_flags = attr->qp_access_flags;
    if (mask & IBV_QP_AV)
        to->ah_attr = attr->ah_attr;
    if (mask & IBV_QP_PATH_MTU)
        to->path_mtu = attr->path_mtu;
    if (mask & IBV_QP_DEST_QPN)
        to->dest_qp_num = attr->dest_qp_num;
    if (mask & IBV_QP_RQ_PSN)
        to->rq_psn = attr->rq_psn;
    if (mask & IBV_QP_MAX_DEST_RD_ATOMIC)
        to->max_dest_rd_atomic = attr->max_dest_rd_atomic;
    if (mask & IBV_QP_MIN_RNR_TIMER)
        to->min_rnr_timer = attr->min_rnr_timer;
    if (mask & IBV_QP_SQ_PSN)
        to->sq_psn = attr->sq_psn;
    if (mask & IBV_QP_TIMEOUT)
        to->timeout = attr->timeout;
    if (mask & IBV_QP_RETRY_CNT)
        to->retry_cnt = attr->retry_cnt;
    if (mask & IBV_QP_RNR_RETRY)
        to->rnr_retry = attr->rnr_retry;
    if (mask & IBV_QP_MAX_QP_RD_ATOMIC)
        to->max_rd_atomic = attr->max_rd_atomic;
}

static void reset(struct sim_qp *qp) {
    sim_wire_unstall(qp);
    sim_wire_deactivate(qp);
    sim_cq_forget(qp->scq, qp, true);
    if (qp->rcq != qp->scq)
        sim_cq_forget(qp->rcq, qp, true);
    ring_reset(&qp->sq);
    ring_reset(&qp->rq);
    memset(&qp->attr, 0, sizeof(qp->attr));
    qp->peer = NULL;
    qp->ibv.state = IBV_QPS_RESET;
    orphan_peers(qp, false);
}

static struct sim_qp *find_qp(struct sim_fabric *f, uint32_t qpn) {
    struct sim_qp *qp = f->qps;

    while (qp && qp->ibv.qp_num != qpn)
        qp = qp->next;
    return qp;
}

static int modify(struct sim_qp *qp, const struct ibv_qp_attr *attr, int mask) {
    enum ibv_qp_state from = qp->ibv.state;
    enum ibv_qp_state to = mask & IBV_QP_STATE ? attr->qp_state : from;

    if (!allowed(from, to, mask) || ((mask & IBV_QP_PORT) && attr->port_num != 1) ||
        ((mask & IBV_QP_MAX_QP_RD_ATOMIC) && attr->max_rd_atomic > qp->dev->attr.max_qp_rd_atom) ||
        ((mask & IBV_QP_MAX_DEST_RD_ATOMIC) &&
         attr->max_dest_rd_atomic > qp->dev->attr.max_qp_rd_atom))
        return EINVAL;
    if (to == IBV_QPS_RESET) {
        reset(qp);
        return 0;
    }
    if (to == IBV_QPS_ERR) {
        sim_wire_error(qp);
        return 0;
    }
    take_attr(qp, attr, mask);
    qp->ibv.state = to;
    qp->established = to == IBV_QPS_RTS;
    if (to == IBV_QPS_RTR) {
        qp->peer = find_qp(qp->f, qp->attr.dest_qp_num);
        if (qp->peer)
            sim_wire_kick(qp->peer); /* it may have been waiting for this */
    }
    return 0;
}

int sim_qp_modify(struct ibv_qp *ibqp, const struct ibv_qp_attr *attr, int attr_mask) {
    struct sim_qp *qp = (struct sim_qp *)ibqp;
    int err;

    sim_lock(qp->f);
    err = sim_call_fault(qp->dev, SIM_CALL_QP_MODIFY);
    if (!err)
        err = modify(qp, attr, attr_mask);
    sim_unlock(qp->f);
    return err;
}

int sim_qp_query(struct ibv_qp *ibqp, struct ibv_qp_attr *attr, struct ibv_qp_init_attr *init) {
    struct sim_qp *qp = (struct sim_qp *)ibqp;

    sim_lock(qp->f);
    if (attr) {
        *attr = qp->attr;
        attr->qp_state = qp->ibv.state;
        attr->cur_qp_state = qp->ibv.state;
        attr->cap = qp->init.cap;
    }
    if (init)
        *init = qp->init;
    sim_unlock(qp->f);
    return 0;
}

int sim_qp_init(struct ibv_qp *qp) {
    const struct ibv_qp_attr attr = {
        .qp_state = IBV_QPS_INIT,
        .port_num = 1,
        .qp_access_flags = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE,
    };

    return sim_qp_modify(qp, &attr,
                         IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
}

static uint8_t min_u8(uint32_t a, uint8_t b) {
    return a < b ? (uint8_t)a : b;
}

static int to_rtr(struct ibv_qp *qp, uint32_t dest_qpn) {
    const struct ibv_qp_attr attr = {
        .qp_state = IBV_QPS_RTR,
        .path_mtu = IBV_MTU_1024,
        .dest_qp_num = dest_qpn,
        .max_dest_rd_atomic = min_u8(sim_dev_of(qp->context)->attr.max_qp_rd_atom, 16),
        .min_rnr_timer = 12,
    };

    return sim_qp_modify(qp, &attr,
                         IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
                             IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
}

static int to_rts(struct ibv_qp *qp) {
    const struct ibv_qp_attr attr = {
        .qp_state = IBV_QPS_RTS,
        .timeout = 14,
        .retry_cnt = 6,
        .rnr_retry = 7,
        .max_rd_atomic = min_u8(sim_dev_of(qp->context)->attr.max_qp_rd_atom, 16),
    };

    return sim_qp_modify(qp, &attr,
                         IBV_QP_STATE | IBV_QP_SQ_PSN | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
                             IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC);
}

int sim_qp_connect(struct ibv_qp *a, struct ibv_qp *b) {
    int err = 0;

    if (a->state == IBV_QPS_RESET)
        err = sim_qp_init(a);
    if (!err && b->state == IBV_QPS_RESET)
        err = sim_qp_init(b);
    if (!err)
        err = to_rtr(a, b->qp_num);
    if (!err && a != b)
        err = to_rtr(b, a->qp_num);
    if (!err)
        err = to_rts(a);
    if (!err && a != b)
        err = to_rts(b);
    return err;
}

int sim_qp_error(struct ibv_qp *qp) {
    const struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};

    return sim_qp_modify(qp, &attr, IBV_QP_STATE);
}

void sim_qp_stats(struct ibv_qp *ibqp, struct sim_qp_stats *out) {
    struct sim_qp *qp = (struct sim_qp *)ibqp;

    sim_lock(qp->f);
    *out = (struct sim_qp_stats){
        .send_queued = qp->sq.head - qp->sq.tail,
        .recv_queued = qp->rq.head - qp->rq.tail,
        .send_waiting = qp->sq.head - qp->sq.exec,
        .rnr_naks = qp->rnr_naks,
        .waiting_rnr = qp->stall == SIM_STALL_RNR,
        .waiting_peer = qp->stall == SIM_STALL_PEER,
    };
    sim_unlock(qp->f);
}
