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

/*
 * Nothing here calls a function that it does not also end with, but for the provider's:
 * what is not plain is left to one that does the rest and returns in its place. So the
 * compiler saves no registers on the way.
 */

/* ---- The engine's lock ------------------------------------------------------------------- */

HOT bool try_lock(struct dp_engine *e) {
    uint32_t free = 0;
    return DP_LIKELY(__atomic_compare_exchange_n(&e->lock.word, &free, 1, 0, __ATOMIC_ACQUIRE,
                                                 __ATOMIC_RELAXED));
}

COLD int unlock_and_ring(struct dp_engine *e) {
    dp_unlock_ring(e);
    return 0;
}

COLD int wake(struct dp_engine *e) {
    dp_futex_wake(&e->lock.word, 1);
    return 0;
}

/* As dp_unlock; 0. */
HOT int unlock(struct dp_engine *e) {
    if (DP_UNLIKELY(e->rings))
        return unlock_and_ring(e);
    if (DP_UNLIKELY(__atomic_exchange_n(&e->lock.word, 0, __ATOMIC_RELEASE) == 2))
        return wake(e);
    return 0;
}

/* ---- Descriptors ----------------------------------------------------------------------- */

/*
 * Locks the engine of a descriptor whose connection takes pushes and pops. NULL: it is not
 * one, or somebody else has the lock.
 */
HOT struct dp_conn *lock_conn(int32_t qd, struct dp_engine **out) {
    struct dp_qd *q = dp_qd_entry(qd);
    if (DP_UNLIKELY(!q))
        return NULL;
    struct dp_engine *e = __atomic_load_n(&q->engine, __ATOMIC_ACQUIRE);
    if (DP_UNLIKELY(!e) || !try_lock(e))
        return NULL;
    /* It may have been freed, and even given to another engine, before we had the lock. */
    struct dp_conn *c = q->conn;
    if (DP_UNLIKELY(__atomic_load_n(&q->engine, __ATOMIC_RELAXED) != e ||
                    q->state != DP_QD_CONNECTED || !c)) {
        (void)unlock(e);
        return NULL;
    }
    *out = e;
    return c;
}

/* ---- Push ------------------------------------------------------------------------------ */

/* As dp_push, whatever has to be done. */
static __attribute__((noinline)) int push_any(int32_t qd, const demi_sgarray_t *sga,
                                              demi_qtoken_t *qt_out) {
    struct dp_conn *c;
    int rc = dp_qd_lock_conn(qd, &c);

    if (rc)
        return rc;
    struct dp_engine *e = c->engine;
    rc = dp_push_slow(c, qd, sga, qt_out);
    dp_unlock(e);
    return rc;
}

/* The same, locked at entry. */
static __attribute__((noinline)) int push_locked(struct dp_conn *c, int32_t qd,
                                                 const demi_sgarray_t *sga, demi_qtoken_t *qt_out) {
    struct dp_engine *e = c->engine;
    int rc = dp_push_slow(c, qd, sga, qt_out);

    dp_unlock(e);
    return rc;
}

/* arena_check_fast does not know the array: whether it is good. Locked. */
COLD bool check_array(struct dp_engine *e, const demi_sgarray_t *sga) {
    return arena_check_cached(&e->cache, sga) == 0;
}

COLD int unlock_invalid(struct dp_engine *e) {
    dp_unlock(e);
    return EINVAL;
}

/* The queue pair refused a push's frame: the connection breaks, and the push with it. */
COLD int push_refused(struct dp_conn *c, int32_t qd, const demi_sgarray_t *sga,
                      demi_qtoken_t *qt_out, int rc) {
    struct qt_slot *s;
    struct dp_engine *e = c->engine;

    int err = qt_alloc(&e->tokens, qd, DEMI_OPC_PUSH, &s);
    if (err) { /* cannot be: push has seen a free one */
        dp_unlock(e);
        return err;
    }
    *qt_out = qt_token(&e->tokens, s);
    c->stats.pushes++;
    c->stats.post_sends++;
    c->fast.send.send_flags = IBV_SEND_INLINE;
    s->value.sga.sga_segs[0] = sga->sga_segs[0];
    qt_list_push_back(&c->pending, s);
    dp_conn_break(c, rc > 0 ? rc : EIO, true);
    dp_conn_settle(c);
    dp_unlock(e);
    return 0;
}

HOT int push(int32_t qd, const demi_sgarray_t *sga, demi_qtoken_t *qt_out) {
    struct dp_engine *e;

    if (DP_UNLIKELY(!sga))
        return EINVAL;
    if (DP_UNLIKELY(!qt_out))
        return EINVAL;
    struct dp_conn *c = lock_conn(qd, &e);
    if (DP_UNLIKELY(!c))
        return push_any(qd, sga, qt_out);
    uint32_t len = sga->sga_segs[0].sgaseg_len;
    if (DP_UNLIKELY(len - 1 >= c->fast.most || c->phase != DP_CONN_OPEN || c->pending.head ||
                    !flow_is_plain(&c->flow) || flow_data_credit(&c->flow) == 0 ||
                    c->tx_head - c->tx_tail + c->tx_reserve >= c->send_depth || !e->tokens.free))
        return push_locked(c, qd, sga, qt_out);
    /* The first two pushes since somebody waited go this way; more are a burst. */
    uint64_t since = c->fast.turn ^ e->activity;
    if (DP_UNLIKELY(since - 1 < DP_TURN - 1))
        return push_locked(c, qd, sga, qt_out);
    if (DP_UNLIKELY(!arena_check_fast(&e->cache, sga)) && !check_array(e, sga))
        return unlock_invalid(e);
    c->fast.turn = e->activity + (since == 0);
    struct ibv_send_wr *wr = &c->fast.send, *bad;
    uint32_t slot = c->tx_head & c->send_mask;
    bool signal = ++c->tx_quiet >= c->tx_signal;

    if (DP_UNLIKELY(signal))
        wr->send_flags = IBV_SEND_INLINE | IBV_SEND_SIGNALED;
    flow_encode_data(&c->flow, len, c->fast.header);
    c->fast.send_sge[1].addr = (uintptr_t)sga->sga_segs[0].sgaseg_buf;
    c->fast.send_sge[1].length = len;
    wr->wr_id = c->fast.send_id | slot;
    int rc = c->ops->post_send(c->qp, wr, &bad);
    if (DP_UNLIKELY(rc))
        return push_refused(c, qd, sga, qt_out, rc);
    flow_sent_data(&c->flow);
    c->tx_head++;
    if (DP_UNLIKELY(signal)) {
        wr->send_flags = IBV_SEND_INLINE;
        c->tx_quiet = 0;
        c->tx_signaled++;
        c->tx[slot].signaled = true;
    }
    c->fast.pushes++;
    c->stats.bytes_out += len;
    struct qt_slot *s = qt_alloc_done(&e->tokens, qd, DEMI_OPC_PUSH);
    *qt_out = qt_token(&e->tokens, s);
    e->done_seq++;
    dp_ring(e);
    return unlock(e);
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

/* As dp_pop, whatever has to be done. */
static __attribute__((noinline)) int pop_any(int32_t qd, demi_qtoken_t *qt_out) {
    struct dp_conn *c;
    int rc = dp_qd_lock_conn(qd, &c);

    if (rc)
        return rc;
    struct dp_engine *e = c->engine;
    rc = dp_pop_slow(c, qd, qt_out);
    dp_unlock(e);
    return rc;
}

/* The same, locked at entry. */
static __attribute__((noinline)) int pop_locked(struct dp_conn *c, int32_t qd,
                                                demi_qtoken_t *qt_out) {
    struct dp_engine *e = c->engine;
    int rc = dp_pop_slow(c, qd, qt_out);

    dp_unlock(e);
    return rc;
}

HOT int pop(int32_t qd, demi_qtoken_t *qt_out) {
    struct dp_engine *e;
    struct qt_slot *s;

    if (DP_UNLIKELY(!qt_out))
        return EINVAL;
    struct dp_conn *c = lock_conn(qd, &e);
    if (DP_UNLIKELY(!c))
        return pop_any(qd, qt_out);
    if (DP_UNLIKELY(c->in_head != c->in_tail || c->held || !flow_is_plain(&c->flow) ||
                    c->phase != DP_CONN_OPEN || !e->tokens.free ||
                    qt_alloc(&e->tokens, qd, DEMI_OPC_POP, &s)))
        return pop_locked(c, qd, qt_out);
    *qt_out = qt_token(&e->tokens, s);
    s->owner = c;
    qt_list_push_back(&c->pops, s);
    return unlock(e);
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
    struct ibv_recv_wr *bad;
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

/* The receives of a list are posted. */
static __attribute__((noinline)) void post_list(struct dp_conn *c) {
    (void)dp_recv_post(c); /* a failure has broken the connection */
}

/* The receive in slot will be posted again with others, to make a list of them. */
HOT void post_later(struct dp_conn *c, uint32_t slot) {
    c->rx[slot].block = NULL;
    c->rx_free[c->rx_nfree++] = slot;
    c->rx_posted--;
    c->fast.listed++;
    if (++c->rx_owed_data >= c->rx_list)
        post_list(c);
}

/* The pop that a caller of demi_wait waits for, and where its result goes. */
struct awaited {
    struct qt_slot *slot; /* NULL: it has been taken */
    demi_qtoken_t qt;
    demi_qresult_t *out;
};

/* Hands a message to whoever waits in this very call. */
HOT void give_now(struct dp_engine *e, struct dp_conn *c, struct arena_block *b, uint32_t bytes,
                  struct awaited *a) {
    a->out->qr_opcode = DEMI_OPC_POP;
    a->out->qr_qd = a->slot->qd;
    a->out->qr_qt = a->qt;
    a->out->qr_ret = 0;
    arena_give_fast(&e->cache, b, FRAME_HEADER_SIZE, bytes - FRAME_HEADER_SIZE, &c->sga_addr,
                    &a->out->qr_value.sga);
    qt_release(&e->tokens, a->slot);
    a->slot = NULL;
    /* Another thread may sleep for the same token, which has gone now. */
    e->done_seq++;
    dp_ring(e);
}

/* Completes a pop with a message, for whoever will wait for it. */
HOT void give_later(struct dp_engine *e, struct dp_conn *c, struct arena_block *b, uint32_t bytes,
                    struct qt_slot *s) {
    arena_give_fast(&e->cache, b, FRAME_HEADER_SIZE, bytes - FRAME_HEADER_SIZE, &c->sga_addr,
                    &s->value.sga);
    (void)qt_finish(&e->tokens, s, DEMI_OPC_POP, 0);
    dp_announce(e, s);
}

/* A message for the oldest pending pop. False: not that plain; nothing has changed. */
HOT bool received(struct dp_engine *e, struct dp_conn *c, const struct ibv_wc *wc,
                  struct awaited *a) {
    uint32_t slot = dp_wr_slot(wc->wr_id), bytes = wc->byte_len;
    struct qt_slot *s = c->pops.head;

    if (DP_UNLIKELY(!s || !c->fast.most || slot >= c->rx_count))
        return false;
    struct arena_block *b = c->rx[slot].block;
    if (DP_UNLIKELY(!b || !flow_receive_data(&c->flow, (const uint8_t *)b->addr, bytes,
                                             c->local.recv_size)))
        return false;
    (void)qt_list_pop_front(&c->pops);
    if (DP_LIKELY(s == a->slot && !s->watched))
        give_now(e, c, b, bytes, a);
    else
        give_later(e, c, b, bytes, s);
    c->fast.pops++;
    c->stats.bytes_in += bytes - FRAME_HEADER_SIZE;
    if (DP_LIKELY(c->rx_list == 1))
        post_again(e, c, slot, wc->wr_id);
    else
        post_later(c, slot);
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
    c->tx[(c->tx_tail - 1) & c->send_mask].signaled = false;
    if (DP_UNLIKELY(c->pending.head || !flow_is_plain(&c->flow)))
        dp_conn_dirty(c);
    return true;
}

HOT void completion(struct dp_engine *e, const struct ibv_wc *wc, struct awaited *a) {
    struct dp_conn *c = dp_conn_find(e, dp_wr_conn(wc->wr_id), dp_wr_gen(wc->wr_id));

    if (DP_LIKELY(c && wc->status == IBV_WC_SUCCESS && c->phase == DP_CONN_OPEN && !c->dirty)) {
        if (DP_LIKELY(dp_wr_kind(wc->wr_id) == DP_WR_RECV)) {
            if (DP_LIKELY(received(e, c, wc, a)))
                return;
        } else if (sent(c, wc)) {
            return;
        }
    }
    dp_poll_dispatch(e, wc);
}

/* What n completions say that have been taken from q, and those that come after. */
static __attribute__((noinline)) void take_batch(struct dp_engine *e, struct dp_cq *q, int n,
                                                 struct awaited *a) {
    for (int rounds = 8;;) {
        for (int i = 0; i < n; i++)
            completion(e, &e->wc[i], a);
        if (n < DP_POLL_BATCH || --rounds == 0)
            return;
        n = ibv_poll_cq(q->cq, DP_POLL_BATCH, e->wc);
    }
}

/* ---- Wait ------------------------------------------------------------------------------ */

/* Whatever has to be done to wait for one token. */
static __attribute__((noinline)) int wait_any_one(demi_qtoken_t qt, demi_qresult_t *qr_out,
                                                  const struct timespec *timeout) {
    int offset;
    return dp_wait_any_slow(&qt, 1, qr_out, &offset, timeout);
}

/* The same, locked at entry. */
COLD int wait_unlocked(struct dp_engine *e, demi_qtoken_t qt, demi_qresult_t *qr_out,
                       const struct timespec *timeout) {
    dp_unlock(e);
    return wait_any_one(qt, qr_out, timeout);
}

/* The rest of poll_for, which has polled once. Locked at entry. */
static __attribute__((noinline)) int polled(struct dp_engine *e, struct qt_slot *s,
                                            demi_qtoken_t qt, demi_qresult_t *qr_out,
                                            const struct timespec *timeout) {
    if (DP_UNLIKELY(!TAILQ_EMPTY(&e->dirty)))
        dp_poll_settle(e);
    if (qt_holds(s, qt, QT_DONE)) {
        qt_take(&e->tokens, s, qt, qr_out);
        return unlock(e);
    }
    bool pending = qt_holds(s, qt, QT_PENDING);
    (void)unlock(e);
    if (pending && timeout && timeout->tv_sec == 0 && timeout->tv_nsec == 0)
        return ETIMEDOUT;
    return wait_any_one(qt, qr_out, timeout);
}

/* The same, with n completions in e->wc that have been taken from q. */
static __attribute__((noinline)) int polled_many(struct dp_engine *e, struct qt_slot *s,
                                                 demi_qtoken_t qt, demi_qresult_t *qr_out,
                                                 const struct timespec *timeout, struct dp_cq *q,
                                                 int n) {
    struct awaited a = {.slot = s, .qt = qt, .out = qr_out};

    take_batch(e, q, n, &a);
    if (DP_UNLIKELY(!TAILQ_EMPTY(&e->dirty)))
        dp_poll_settle(e);
    return a.slot ? polled(e, s, qt, qr_out, timeout) : unlock(e);
}

/*
 * One poll of a CQ that nobody waits for, the CQs taking turns. Its completions are settled
 * by the caller.
 */
static __attribute__((noinline)) void poll_turn(struct dp_engine *e, const struct dp_cq *own) {
    struct awaited nobody = {.slot = NULL};

    e->turn = e->turn ? TAILQ_NEXT(e->turn, link) : NULL;
    if (!e->turn)
        e->turn = TAILQ_FIRST(&e->cqs);
    if (e->turn == own)
        return;
    int n = ibv_poll_cq(e->turn->cq, DP_POLL_BATCH, e->wc);
    if (n > 0)
        take_batch(e, e->turn, n, &nobody);
}

/*
 * The token is not done: its result after one poll, or what is slower. Locked at entry.
 *
 * The poll is of the CQ that the operation completes in, so that it costs the same however
 * many connections, and CQs for them, there are. At every 16th call another CQ has its turn;
 * a caller that goes on waiting polls all.
 */
static __attribute__((noinline)) int poll_for(struct dp_engine *e, struct qt_slot *s,
                                              demi_qtoken_t qt, demi_qresult_t *qr_out,
                                              const struct timespec *timeout) {
    struct awaited a = {.slot = s, .qt = qt, .out = qr_out};

    if (DP_UNLIKELY(!qt_holds(s, qt, QT_PENDING)))
        return polled(e, s, qt, qr_out, timeout);
    struct dp_conn *c = (struct dp_conn *)s->owner; /* of a pop */
    struct dp_cq *q = c ? c->cq : NULL;
    if (DP_UNLIKELY(!q)) {
        (void)dp_poll_locked(e);
        return polled(e, s, qt, qr_out, timeout);
    }
    if (DP_UNLIKELY((e->activity & 15 * DP_TURN) == 0))
        poll_turn(e, q);
    int n = ibv_poll_cq(q->cq, DP_POLL_BATCH, e->wc);
    if (DP_UNLIKELY(n > 1))
        return polled_many(e, s, qt, qr_out, timeout, q, n);
    if (DP_UNLIKELY(n < 1))
        return polled(e, s, qt, qr_out, timeout);
    completion(e, &e->wc[0], &a);
    if (DP_UNLIKELY(!TAILQ_EMPTY(&e->dirty)))
        dp_poll_settle(e);
    return DP_LIKELY(!a.slot) ? unlock(e) : polled(e, s, qt, qr_out, timeout);
}

/* One token: takes its result if it is there now, or after one poll. */
HOT int wait_one(demi_qtoken_t qt, demi_qresult_t *qr_out, const struct timespec *timeout) {
    struct dp_engine *e = dp_engine_of_token(qt);

    if (DP_UNLIKELY(timeout) &&
        (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= 1000000000))
        return EINVAL;
    if (DP_UNLIKELY(!e))
        return EINVAL;
    if (DP_UNLIKELY(!qr_out))
        return EINVAL;
    if (!try_lock(e))
        return wait_any_one(qt, qr_out, timeout);
    __atomic_store_n(&e->activity, e->activity + DP_TURN, __ATOMIC_RELAXED);
    if (DP_UNLIKELY(!TAILQ_EMPTY(&e->held)))
        return wait_unlocked(e, qt, qr_out, timeout); /* sends them first */
    struct qt_slot *s = qt_slot_of(&e->tokens, qt);
    if (DP_UNLIKELY(!s))
        return unlock_invalid(e);
    if (!qt_holds(s, qt, QT_DONE))
        return poll_for(e, s, qt, qr_out, timeout);
    qt_take(&e->tokens, s, qt, qr_out);
    /* This thread has been nobody's leader: there is nothing to hand over. */
    return unlock(e);
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

/* The same, locked at entry. */
COLD int sgafree_unlock(struct dp_engine *e, const demi_sgarray_t *sga) {
    dp_unlock(e);
    return sgafree_slow(e, sga);
}

HOT int sgafree(struct dp_engine *e, demi_sgarray_t *sga) {
    if (DP_UNLIKELY(!sga))
        return EINVAL;
    if (DP_UNLIKELY(!e || __atomic_load_n(&dp_starving, __ATOMIC_RELAXED)) || !try_lock(e))
        return sgafree_slow(e, sga);
    if (DP_UNLIKELY(!arena_sgafree_fast(&e->cache, sga)))
        return sgafree_unlock(e, sga);
    return unlock(e);
}

int dp_sgafree(struct dp_engine *e, demi_sgarray_t *sga) {
    return sgafree(e, sga);
}

int demi_sgafree(demi_sgarray_t *sga) {
    if (DP_UNLIKELY(!dp_process_ready()))
        return ENOSYS;
    if (DP_UNLIKELY(!dp_process_own))
        return sgafree_slow(dp_process_engine(), sga);
    return sgafree(dp_process_own, sga);
}
