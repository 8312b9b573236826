/*
 * The fast paths of push, pop, wait and free: what happens to nearly every message, in one
 * unit, so that the compiler sees all of it. Each call looks whether its case is a plain
 * one; if not, nothing has changed, and the general function (dp_push_slow, ...) decides.
 *
 * Plain means: an open connection on which nothing but messages goes on (flow_is_plain), a
 * push that fits inline and may be posted at once, a pop for which nothing has arrived, a
 * message that finds its pop waiting. Such a push has completed when demi_push returns, and
 * the receive of such a message is posted again, with another block, before the pop's
 * result is taken.
 */
#define DEMI_IMPLEMENTATION /* no nonnull attributes: the checks for NULL must stay */

#include "../include/demi/libos.h"
#include "../include/demi/sga.h"
#include "../include/demi/wait.h"

#include "arena_fast.h"
#include "internal.h"
#include "process.h"

#define HOT static inline __attribute__((always_inline))
#define COLD static __attribute__((noinline, cold))

/* ---- Descriptors ----------------------------------------------------------------------- */

/* Locks the engine of a descriptor whose connection takes pushes and pops; NULL: not one. */
HOT struct dp_conn *lock_conn(int32_t qd, struct dp_engine **out) {
    struct dp_qd *q = dp_qd_entry(qd);
    if (DP_UNLIKELY(!q))
        return NULL;
    struct dp_engine *e = __atomic_load_n(&q->engine, __ATOMIC_ACQUIRE);
    if (DP_UNLIKELY(!e))
        return NULL;
    dp_lock(e);
    /* It may have been freed, and even given to another engine, before we had the lock. */
    struct dp_conn *c = q->conn;
    if (DP_UNLIKELY(__atomic_load_n(&q->engine, __ATOMIC_RELAXED) != e ||
                    q->state != DP_QD_CONNECTED || !c)) {
        dp_unlock(e);
        return NULL;
    }
    *out = e;
    return c;
}

/* ---- Push ------------------------------------------------------------------------------ */

/* The queue pair refused a push's frame: the connection breaks, and the push with it. */
COLD int push_refused(struct dp_conn *c, int32_t qd, const demi_sgarray_t *sga,
                      demi_qtoken_t *qt_out, int rc) {
    struct qt_slot *s;
    int err = qt_alloc(&c->engine->tokens, qd, DEMI_OPC_PUSH, &s);

    if (err)
        return err;
    *qt_out = qt_token(&c->engine->tokens, s);
    c->stats.pushes++;
    c->stats.post_sends++;
    s->value.sga.sga_segs[0] = sga->sga_segs[0];
    qt_list_push_back(&c->pending, s);
    dp_conn_break(c, rc > 0 ? rc : EIO, true);
    dp_conn_settle(c);
    return 0;
}

HOT int push_locked(struct dp_engine *e, struct dp_conn *c, int32_t qd, const demi_sgarray_t *sga,
                    demi_qtoken_t *qt_out) {
    uint32_t len = sga->sga_segs[0].sgaseg_len;

    if (DP_UNLIKELY(len - 1 >= c->fast.most || c->phase != DP_CONN_OPEN || c->pending.head ||
                    !flow_is_plain(&c->flow) || flow_data_credit(&c->flow) == 0 ||
                    c->tx_head - c->tx_tail + c->tx_reserve >= c->send_depth || !e->tokens.free))
        return dp_push_slow(c, qd, sga, qt_out);
    if (DP_UNLIKELY(!arena_check_fast(&e->cache, sga))) {
        int rc = arena_check_cached(&e->cache, sga);
        if (rc)
            return rc;
    }
    struct ibv_send_wr *wr = &c->fast.send, *bad = NULL;
    uint32_t slot = c->tx_head & c->send_mask;
    bool signal = c->tx_quiet + 1 >= c->tx_signal;

    flow_encode_data(&c->flow, len, c->fast.header);
    c->fast.send_sge[1].addr = (uintptr_t)sga->sga_segs[0].sgaseg_buf;
    c->fast.send_sge[1].length = len;
    wr->wr_id = dp_wr_id(DP_WR_SEND, c->gen, c->index, slot);
    wr->send_flags = IBV_SEND_INLINE | (signal ? (unsigned)IBV_SEND_SIGNALED : 0u);
    int rc = c->ops->post_send(c->qp, wr, &bad);
    if (DP_UNLIKELY(rc))
        return push_refused(c, qd, sga, qt_out, rc);
    flow_sent_data(&c->flow);
    c->tx_head++;
    c->tx_quiet = signal ? 0 : c->tx_quiet + 1;
    c->tx_signaled += signal;
    c->tx[slot].signaled = signal;
    c->tx[slot].bare = true;
    c->fast.pushes++;
    c->stats.bytes_out += len;
    struct qt_slot *s = qt_alloc_done(&e->tokens, qd, DEMI_OPC_PUSH);
    *qt_out = qt_token(&e->tokens, s);
    e->done_seq++;
    dp_ring(e);
    return 0;
}

HOT int push(int32_t qd, const demi_sgarray_t *sga, demi_qtoken_t *qt_out) {
    struct dp_engine *e;
    struct dp_conn *c;

    if (DP_UNLIKELY(!sga || !qt_out))
        return EINVAL;
    c = lock_conn(qd, &e);
    if (DP_UNLIKELY(!c)) {
        int rc = dp_qd_lock_conn(qd, &c);
        if (rc)
            return rc;
        e = c->engine;
    }
    int rc = push_locked(e, c, qd, sga, qt_out);
    dp_unlock(e);
    return rc;
}

int dp_push(int32_t qd, const demi_sgarray_t *sga, demi_qtoken_t *qt_out) {
    return push(qd, sga, qt_out);
}

int demi_push(demi_qtoken_t *qt_out, int qd, const demi_sgarray_t *sga) {
    if (DP_UNLIKELY(!dp_process_ready()))
        return ENOSYS;
    return push(qd, sga, qt_out);
}

/* ---- Pop ------------------------------------------------------------------------------- */

HOT int pop(int32_t qd, demi_qtoken_t *qt_out) {
    struct dp_engine *e;
    struct qt_slot *s;
    int rc;

    if (DP_UNLIKELY(!qt_out))
        return EINVAL;
    struct dp_conn *c = lock_conn(qd, &e);
    if (DP_UNLIKELY(!c)) {
        rc = dp_qd_lock_conn(qd, &c);
        if (rc)
            return rc;
        e = c->engine;
    }
    if (DP_UNLIKELY(c->in_head != c->in_tail || !flow_is_plain(&c->flow) ||
                    c->phase != DP_CONN_OPEN)) {
        rc = dp_pop_slow(c, qd, qt_out);
    } else {
        rc = qt_alloc(&e->tokens, qd, DEMI_OPC_POP, &s);
        if (DP_LIKELY(rc == 0)) {
            *qt_out = qt_token(&e->tokens, s);
            qt_list_push_back(&c->pops, s);
        }
    }
    dp_unlock(e);
    return rc;
}

int dp_pop(int32_t qd, demi_qtoken_t *qt_out) {
    return pop(qd, qt_out);
}

int demi_pop(demi_qtoken_t *qt_out, int qd) {
    if (DP_UNLIKELY(!dp_process_ready()))
        return ENOSYS;
    return pop(qd, qt_out);
}

/* ---- Completions ----------------------------------------------------------------------- */

/* The receive in slot is used and not posted again: the general functions see to it. */
COLD void owe_receive(struct dp_conn *c, uint32_t slot) {
    c->rx[slot].block = NULL;
    c->rx_free[c->rx_nfree++] = slot;
    c->rx_posted--;
    c->rx_owed_data++;
    dp_conn_dirty(c);
}

COLD void receive_refused(struct dp_conn *c, uint32_t slot, struct arena_block *b, int rc) {
    c->stats.post_recvs++;
    arena_unref(&c->engine->cache, b);
    owe_receive(c, slot);
    dp_conn_break(c, rc > 0 ? rc : EIO, true);
}

/* Posts the receive in slot, whose message has been handed on, with another block. */
HOT void post_again(struct dp_engine *e, struct dp_conn *c, uint32_t slot, uint64_t wr_id) {
    struct ibv_recv_wr *bad = NULL;
    struct arena_block *b = arena_take_fast(&e->cache, c->fast.recv_class, c->local.recv_size);

    if (DP_UNLIKELY(!b)) {
        owe_receive(c, slot);
        return;
    }
    uint64_t key = arena_key_fast(b, c->device->slot);
    if (DP_UNLIKELY(!key)) {
        arena_unref(&e->cache, b);
        owe_receive(c, slot);
        return;
    }
    c->rx[slot].block = b;
    c->fast.recv_sge.addr = b->addr;
    c->fast.recv_sge.lkey = (uint32_t)key;
    c->fast.recv.wr_id = wr_id;
    int rc = c->ops->post_recv(c->qp, &c->fast.recv, &bad);
    if (DP_UNLIKELY(rc)) {
        receive_refused(c, slot, b, rc);
        return;
    }
    flow_return_data(&c->flow);
}

/* A message for the oldest pending pop. False: not that plain; nothing has changed. */
HOT bool received(struct dp_engine *e, struct dp_conn *c, const struct ibv_wc *wc) {
    uint32_t slot = dp_wr_slot(wc->wr_id), bytes = wc->byte_len;
    struct qt_slot *s = c->pops.head;

    if (DP_UNLIKELY(!s || !c->fast.most || slot >= c->rx_count))
        return false;
    struct arena_block *b = c->rx[slot].block;
    if (DP_UNLIKELY(!b || !flow_receive_data(&c->flow, (const uint8_t *)b->addr, bytes,
                                             c->local.recv_size)))
        return false;
    qt_list_remove(&c->pops, s);
    arena_give_fast(&e->cache, b, FRAME_HEADER_SIZE, bytes - FRAME_HEADER_SIZE, &c->sga_addr,
                    &s->value.sga);
    (void)qt_finish(&e->tokens, s, DEMI_OPC_POP, 0);
    if (DP_UNLIKELY(s->watched))
        dp_notice_token(e, qt_token(&e->tokens, s));
    e->done_seq++;
    dp_ring(e);
    c->fast.pops++;
    c->stats.bytes_in += bytes - FRAME_HEADER_SIZE;
    post_again(e, c, slot, wc->wr_id);
    /* Credit has come, or is due to the peer. */
    if (DP_UNLIKELY(c->pending.head || flow_credit_due(&c->flow)))
        dp_conn_dirty(c);
    return true;
}

/* Inline sends that nobody waits for. False: there are others. */
HOT bool sent(struct dp_conn *c, const struct ibv_wc *wc) {
    uint32_t n = ((dp_wr_slot(wc->wr_id) - c->tx_tail) & c->send_mask) + 1;

    if (DP_UNLIKELY(c->tx_laden || n > c->tx_head - c->tx_tail))
        return false;
    c->tx_tail += n;
    c->tx_signaled--; /* signalled ones come one by one */
    if (DP_UNLIKELY(c->pending.head || !flow_is_plain(&c->flow)))
        dp_conn_dirty(c);
    return true;
}

HOT void completion(struct dp_engine *e, const struct ibv_wc *wc) {
    struct dp_conn *c = dp_conn_find(e, dp_wr_conn(wc->wr_id), dp_wr_gen(wc->wr_id));

    if (DP_LIKELY(c && wc->status == IBV_WC_SUCCESS && c->phase == DP_CONN_OPEN && !c->dirty)) {
        if (DP_LIKELY(dp_wr_kind(wc->wr_id) == DP_WR_RECV)) {
            if (received(e, c, wc))
                return;
        } else if (sent(c, wc)) {
            return;
        }
    }
    dp_poll_dispatch(e, wc);
}

/* As dp_poll_locked. */
HOT void poll_cqs(struct dp_engine *e) {
    struct dp_cq *q;

    TAILQ_FOREACH(q, &e->cqs, link) {
        int n, rounds = 8;
        do {
            n = ibv_poll_cq(q->cq, DP_POLL_BATCH, e->wc);
            for (int i = 0; i < n; i++)
                completion(e, &e->wc[i]);
        } while (DP_UNLIKELY(n == DP_POLL_BATCH) && --rounds);
    }
    if (DP_UNLIKELY(!TAILQ_EMPTY(&e->dirty)))
        dp_poll_settle(e);
}

/* ---- Wait ------------------------------------------------------------------------------ */

/* One token: takes its result if it is there now, or after one poll. */
HOT int wait_one(demi_qtoken_t qt, demi_qresult_t *qr_out, const struct timespec *timeout) {
    struct dp_engine *e = dp_engine_of_token(qt);
    int offset;

    if (DP_UNLIKELY(timeout && (timeout->tv_sec < 0 || timeout->tv_nsec < 0 ||
                                timeout->tv_nsec >= 1000000000)))
        return EINVAL;
    if (DP_UNLIKELY(!e || !qr_out))
        return EINVAL;
    dp_lock(e);
    __atomic_store_n(&e->activity, e->activity + 1, __ATOMIC_RELAXED);
    struct qt_slot *s = qt_find(&e->tokens, qt, QT_DONE);
    if (!s && qt_find(&e->tokens, qt, QT_PENDING)) {
        poll_cqs(e);
        s = qt_find(&e->tokens, qt, QT_DONE);
    }
    if (DP_UNLIKELY(!s)) {
        dp_unlock(e);
        return dp_wait_any_slow(&qt, 1, qr_out, &offset, timeout);
    }
    qt_take(&e->tokens, s, qt, qr_out);
    /* This thread has not slept and has been nobody's leader: there is nothing to hand over. */
    dp_unlock(e);
    return 0;
}

int dp_wait(demi_qtoken_t qt, demi_qresult_t *qr_out, const struct timespec *timeout) {
    return wait_one(qt, qr_out, timeout);
}

int demi_wait(demi_qresult_t *qr_out, demi_qtoken_t qt, const struct timespec *timeout) {
    if (DP_UNLIKELY(!dp_process_ready()))
        return ENOSYS;
    return wait_one(qt, qr_out, timeout);
}

HOT int wait_any(const demi_qtoken_t *qts, int num_qts, demi_qresult_t *qr_out, int *ready_offset,
                 const struct timespec *timeout) {
    if (num_qts != 1 || !qts || !ready_offset)
        return dp_wait_any_slow(qts, num_qts, qr_out, ready_offset, timeout);
    int rc = wait_one(qts[0], qr_out, timeout);
    if (rc == 0)
        *ready_offset = 0;
    return rc;
}

int dp_wait_any(const demi_qtoken_t *qts, int num_qts, demi_qresult_t *qr_out, int *ready_offset,
                const struct timespec *timeout) {
    return wait_any(qts, num_qts, qr_out, ready_offset, timeout);
}

int demi_wait_any(demi_qresult_t *qr_out, int *ready_offset, const demi_qtoken_t qts[], int num_qts,
                  const struct timespec *timeout) {
    if (DP_UNLIKELY(!dp_process_ready()))
        return ENOSYS;
    return wait_any(qts, num_qts, qr_out, ready_offset, timeout);
}

/* ---- Free ------------------------------------------------------------------------------ */

/* As dp_sgafree, whatever has to be done. */
COLD int sgafree_slow(struct dp_engine *e, const demi_sgarray_t *sga) {
    int rc;

    if (e) {
        dp_lock(e);
        rc = arena_sgafree(e->alive ? &e->cache : NULL, sga);
        dp_unlock(e);
    } else {
        rc = arena_sgafree(NULL, sga);
    }
    if (DP_UNLIKELY(__atomic_load_n(&dp_starving, __ATOMIC_RELAXED)) && rc == 0)
        dp_feed_starving();
    return rc;
}

HOT int sgafree(struct dp_engine *e, demi_sgarray_t *sga) {
    if (DP_UNLIKELY(!sga))
        return EINVAL;
    if (DP_LIKELY(e && !__atomic_load_n(&dp_starving, __ATOMIC_RELAXED))) {
        dp_lock(e);
        bool freed = arena_sgafree_fast(&e->cache, sga);
        dp_unlock(e);
        if (DP_LIKELY(freed))
            return 0;
    }
    return sgafree_slow(e, sga);
}

int dp_sgafree(struct dp_engine *e, demi_sgarray_t *sga) {
    return sgafree(e, sga);
}

int demi_sgafree(demi_sgarray_t *sga) {
    if (DP_UNLIKELY(!dp_process_ready()))
        return ENOSYS;
    struct dp_engine *own = dp_process_own;
    return sgafree(DP_LIKELY(own) ? own : dp_process_engine(), sga);
}
