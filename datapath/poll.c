/* Polling completion queues, and what the housekeeper does with their channels. */
#include "internal.h"

/* One completion. Trusts only wr_id, status and, on success, byte_len. */
void dp_poll_dispatch(struct dp_engine *e, const struct ibv_wc *wc) {
    struct dp_conn *c = dp_conn_find(e, dp_wr_conn(wc->wr_id), dp_wr_gen(wc->wr_id));
    if (DP_UNLIKELY(!c))
        return; /* its connection has gone */
    if (dp_wr_kind(wc->wr_id) == DP_WR_RECV)
        dp_recv_done(c, dp_wr_slot(wc->wr_id), wc->status, wc->byte_len);
    else
        dp_send_done(c, dp_wr_slot(wc->wr_id), wc->status);
    dp_conn_dirty(c);
}

static int poll_once(struct dp_engine *e, struct dp_cq *q) {
    int n = ibv_poll_cq(q->cq, DP_POLL_BATCH, e->wc);
    for (int i = 0; i < n; i++)
        dp_poll_dispatch(e, &e->wc[i]);
    return n > 0 ? n : 0;
}

void dp_poll_settle(struct dp_engine *e) {
    struct dp_conn *last = TAILQ_LAST(&e->dirty, dp_conn_list);
    struct dp_conn *c;

    while (last && (c = TAILQ_FIRST(&e->dirty))) {
        TAILQ_REMOVE(&e->dirty, c, dirty_link);
        c->dirty = false;
        dp_conn_settle(c);
        if (c == last)
            return;
    }
}

int dp_poll_drain(struct dp_engine *e, struct dp_cq *q) {
    int total = 0, n;

    /* What is in the CQ now is gone after depth completions, whatever comes meanwhile. */
    do {
        n = poll_once(e, q);
        total += n;
        dp_poll_settle(e);
    } while (n > 0 && (uint32_t)total < q->depth);
    return total;
}

int dp_poll_locked(struct dp_engine *e) {
    struct dp_cq *q;
    int total = 0;

    if (DP_UNLIKELY(!TAILQ_EMPTY(&e->held)))
        dp_send_release_all(e); /* they go with what is settled below */
    TAILQ_FOREACH(q, &e->cqs, link) {
        int n;
        /* A full batch says that more may wait; a bound keeps the lock's holder short. */
        int rounds = 8;
        do {
            n = poll_once(e, q);
            total += n;
        } while (n == DP_POLL_BATCH && --rounds);
    }
    if (!TAILQ_EMPTY(&e->dirty))
        dp_poll_settle(e);
    return total;
}

void dp_arm_locked(struct dp_engine *e) {
    struct dp_cq *q;
    e->naps++;
    TAILQ_FOREACH(q, &e->cqs, link) {
        (void)ibv_req_notify_cq(q->cq, 0);
    }
}

void dp_channel_drain(struct dp_engine *e) {
    struct dp_cq *q, *p;

    TAILQ_FOREACH(q, &e->cqs, link) {
        struct ibv_cq *cq;
        void *ctx;
        /* CQs that share the channel: the first one drains it for all. */
        for (p = TAILQ_FIRST(&e->cqs); p != q && p->channel != q->channel;)
            p = TAILQ_NEXT(p, link);
        if (p != q)
            continue;
        while (q->device->ops->get_cq_event(q->channel, &cq, &ctx) == 0)
            (void)q->device->ops->ack_cq_events(cq, 1);
    }
}

int dp_engine_poll(struct dp_engine *e) {
    dp_lock(e);
    int n = dp_poll_locked(e);
    dp_unlock(e);
    return n;
}

uint64_t dp_engine_activity(struct dp_engine *e) {
    dp_mutex_lock(&e->lock); /* which changes nothing, unlike dp_lock */
    uint64_t n = e->activity;
    dp_mutex_unlock(&e->lock);
    return n;
}

int dp_engine_arm(struct dp_engine *e) {
    int rc = 0;

    dp_lock(e);
    if (e->leader) {
        e->parked = true;
        rc = EBUSY;
    } else if (dp_poll_locked(e) > 0) {
        rc = EAGAIN;
    } else {
        dp_arm_locked(e);
        if (dp_poll_locked(e) > 0)
            rc = EAGAIN;
    }
    e->watched_over = rc == 0;
    dp_unlock(e);
    return rc;
}

int dp_engine_channel_event(struct dp_engine *e) {
    dp_lock(e);
    e->watched_over = false;
    dp_channel_drain(e);
    int total = dp_poll_locked(e);
    if (e->leader) {
        /* We took the event that the leader sleeps for: arm again on its behalf. */
        int n;
        do {
            dp_arm_locked(e);
            n = dp_poll_locked(e);
            total += n;
        } while (n > 0);
    }
    dp_unlock(e);
    return total;
}
