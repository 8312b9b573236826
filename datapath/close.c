/*
 * The ends of a connection: FIN and FIN_ACK (by flow.h), the first error, a disconnection,
 * and the account of what is still posted.
 *
 * From the first error on nothing is posted. The connection has ended (DP_CONN_ENDED) when
 * nothing can arrive and no send is outstanding any more: every signalled send has come
 * back, and either every receive has, or one of them came back flushed, because receives
 * complete in order and none succeeds after that. (Receives posted about when the queue
 * pair failed may never be flushed, as by rxe of Linux 6.1, so they are not waited for; an
 * unsignalled inline send holds nothing.) If even that does not come, libos destroys the
 * queue pair and says so, which ends it too.
 */
#include "internal.h"

int dp_wc_errno(enum ibv_wc_status status) {
    switch (status) {
    case IBV_WC_SUCCESS:
        return 0;
    case IBV_WC_RETRY_EXC_ERR:
    case IBV_WC_RNR_RETRY_EXC_ERR:
    case IBV_WC_RESP_TIMEOUT_ERR:
        return ETIMEDOUT;
    case IBV_WC_WR_FLUSH_ERR:
    case IBV_WC_REM_ABORT_ERR:
    case IBV_WC_REM_OP_ERR:
    case IBV_WC_REM_INV_REQ_ERR:
    case IBV_WC_REM_ACCESS_ERR:
        return ECONNRESET;
    default:
        return EIO;
    }
}

int dp_conn_final_err(const struct dp_conn *c) {
    if (c->err_hard)
        return c->err;
    if (c->established && flow_orderly(&c->flow) && !c->lost)
        return 0;
    return c->err ? c->err : ECONNRESET;
}

void dp_conn_flush(struct dp_conn *c) {
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};
    /* A failure means that there is nothing to flush, or no device: libos will tell. */
    if (c->qp) {
        int cancel = dp_cancel_off();
        (void)c->device->ops->modify_qp(c->qp, &attr, IBV_QP_STATE);
        dp_cancel_back(cancel);
    }
}

void dp_conn_break(struct dp_conn *c, int err, bool hard) {
    if (c->phase != DP_CONN_OPEN) {
        /* A protocol error in what had arrived before outweighs a mere disconnection. */
        if (hard && !c->err_hard) {
            c->err = err;
            c->err_hard = true;
        }
        return;
    }
    c->phase = DP_CONN_FLUSHING;
    c->err = err;
    c->err_hard = hard;
    c->broken_err = err;
    if (hard)
        dp_conn_flush(c);
    if (!c->commanded)
        dp_notice_conn(c, DP_BIT_BROKEN);
    dp_conn_dirty(c);
}

static void end_if_quiet(struct dp_conn *c) {
    if (c->phase != DP_CONN_FLUSHING)
        return;
    dp_recv_unchain(c);
    /*
     * Work that is merely flushed has been so because of something that CM tells next: the device
     * is being removed, the peer has disconnected. libos says so, or waits for it no longer.
     */
    if (c->err == ECONNRESET && !c->err_hard && !c->commanded)
        return;
    if (c->tx_signaled == 0 && (c->rx_posted == 0 || c->recv_flushed))
        c->phase = DP_CONN_ENDED;
}

void dp_close_settle(struct dp_conn *c) {
    end_if_quiet(c);
    if (c->phase == DP_CONN_ENDED) {
        if (c->established) {
            dp_fetch_end(c);
            dp_sources_release(c);
            int err = dp_conn_final_err(c);
            dp_sources_fail(c, err ? err : EPIPE);
            dp_send_fail_pending(c, err ? err : EPIPE);
            dp_recv_settle(c);
        }
        if (!c->told_flushed) {
            c->told_flushed = true;
            dp_notice_conn(c, DP_BIT_FLUSHED);
        }
    }
    uint8_t want = c->flow.fin_want;
    /* After a full close every large message has had its answer, either way. */
    bool answered = want != FLOW_FULL || (c->flow.rts_owed == 0 && c->flow.rts_open == 0);
    if (want > c->told_drained &&
        (c->phase == DP_CONN_ENDED || (c->phase == DP_CONN_OPEN && flow_drained(&c->flow) &&
                                       c->tx_signaled == 0 && !c->pending.head && answered))) {
        c->told_drained = want;
        dp_notice_conn(c, DP_BIT_DRAINED);
    }
}

int dp_conn_close(struct dp_conn *c, bool full) {
    if (!c)
        return EINVAL;
    dp_lock(c->engine);
    if (!c->established) {
        dp_unlock(c->engine);
        return ENOTCONN;
    }
    flow_close(&c->flow, full ? FLOW_FULL : FLOW_HALF);
    if (full)
        dp_recv_drop(c);
    dp_send_release(c);
    dp_conn_settle(c);
    dp_unlock(c->engine);
    return 0;
}

/* libos says that it is over. Locked. */
static void command(struct dp_conn *c, int err, bool hard) {
    struct dp_engine *e = c->engine;

    /*
     * First what has come already: it may be the FIN that makes the end an orderly one. Work that
     * has been flushed does not end it: err may say why.
     */
    if (c->qp)
        (void)dp_poll_locked(e);
    c->commanded = true;
    if (c->phase == DP_CONN_OPEN) {
        c->phase = DP_CONN_FLUSHING;
        c->err = err;
        c->err_hard = hard;
    } else if (hard && c->phase == DP_CONN_FLUSHING && !c->err_hard && err != c->err) {
        /* Another error than that of which libos was told, which may be that of an orderly end. */
        c->err = err;
        c->err_hard = true;
    }
    if (c->phase != DP_CONN_ENDED)
        dp_conn_flush(c);
    (void)dp_poll_locked(e);
    dp_conn_settle(c);
}

static int lock_and_command(struct dp_conn *c, int err, bool hard) {
    struct dp_engine *e = c->engine;

    dp_lock(e);
    command(c, err, hard);
    dp_unlock(e);
    return 0;
}

int dp_conn_fail(struct dp_conn *c, int err) {
    if (!c || err <= 0)
        return EINVAL;
    return lock_and_command(c, err, true);
}

int dp_conn_disconnected(struct dp_conn *c, int err) {
    if (!c || err < 0)
        return EINVAL;
    return lock_and_command(c, err, err != 0);
}

/* Ends a connection of an engine whose control plane is no more. Locked. */
static void give_up(struct dp_conn *c, int err) {
    struct qt_slot *s;

    command(c, err, true);
    /* Should work not be accounted for, there is nobody left who destroys the queue pair. */
    while ((s = qt_list_pop_front(&c->pops)))
        dp_fail(c->engine, s, err);
    dp_send_fail_pending(c, err);
}

void dp_engine_abort(struct dp_engine *e, int err) {
    dp_lock(e);
    if (e->alive && !e->aborted) {
        e->aborted = err;
        dp_tokens_fail(e, err);
        for (uint32_t i = 0; i < e->nconns; i++)
            if (e->conns[i].conn)
                give_up(e->conns[i].conn, err);
        dp_leader_refresh(e); /* what comes back now must be seen */
    }
    dp_unlock(e);
}

void dp_conn_detach(struct dp_conn *c) {
    if (!c->qp)
        return;
    if (c->phase == DP_CONN_OPEN)
        c->phase = DP_CONN_FLUSHING;
    /* The queue pair adds nothing to the CQ any more: what it left is taken now. */
    (void)dp_poll_drain(c->engine, c->cq);
    c->qp = NULL;
    dp_send_purge(c);
    dp_recv_purge(c);
    dp_sources_release(c);
    c->phase = DP_CONN_ENDED;
    c->told_flushed = true;
    c->cq->used -= c->budget;
    c->cq->promised -= c->budget_max;
    c->cq->conns--;
    c->cq = NULL;
    __atomic_fetch_sub(&c->device->users, 1, __ATOMIC_ACQ_REL);
    dp_conn_settle(c);
}

int dp_conn_qp_destroyed(struct dp_conn *c) {
    if (!c)
        return EINVAL;
    dp_lock(c->engine);
    c->commanded = true;
    dp_conn_detach(c);
    dp_unlock(c->engine);
    return 0;
}
