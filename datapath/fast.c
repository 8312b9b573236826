/* The fast paths of pop, wait and free, and of a message's completion; see fast.h. */
#define DEMI_IMPLEMENTATION /* no nonnull attributes: the checks for NULL must stay */

#include "../include/demi/libos.h"
#include "../include/demi/sga.h"
#include "../include/demi/wait.h"

#include "fast.h"

/* ---- Pop ------------------------------------------------------------------------------- */

/* As dp_pop, whatever has to be done; of_demi: as demi_pop. */
static __attribute__((noinline)) int pop_any(int32_t qd, demi_qtoken_t *qt_out, bool of_demi) {
    struct dp_conn *c;

    if (of_demi && !dp_process_ready())
        return ENOSYS;
    if (!qt_out)
        return EINVAL;
    int rc = dp_qd_lock_conn(qd, &c);
    if (rc)
        return rc;
    struct dp_engine *e = c->engine;
    rc = dp_pop_slow(c, qd, qt_out);
    dp_unlock(e);
    return rc;
}

/* The same; locked, if not NULL, is to be unlocked. */
COLD int pop_unlocked(struct dp_engine *locked, int32_t qd, demi_qtoken_t *qt_out, bool of_demi) {
    if (locked)
        (void)unlock(locked);
    return pop_any(qd, qt_out, of_demi);
}

/* As pop_any, locked at entry. */
static __attribute__((noinline)) int pop_locked(struct dp_conn *c, int32_t qd,
                                                demi_qtoken_t *qt_out) {
    struct dp_engine *e = c->engine;

    if (c == &dp_no_conn) /* the entry stays as it is while its engine is locked */
        return pop_unlocked(dp_qd_entry(qd)->engine, qd, qt_out, false);
    enter(e);
    int rc = dp_pop_slow(c, qd, qt_out);
    dp_unlock(e);
    return rc;
}

/* The same, if there is no next token or another pop has it: makes room. */
static __attribute__((noinline)) int next_pop(struct dp_conn *c, int32_t qd,
                                              demi_qtoken_t *qt_out) {
    struct dp_engine *e = c->engine;

    enter(e); /* another pop of c, perhaps */
    if (c->fast.no || !TAILQ_EMPTY(&e->held) || !qt_quick_reserve(&e->tokens, &e->quick.pop))
        return pop_locked(c, qd, qt_out);
    e->quick.used = true;
    e->quick.pop_conn = c;
    *qt_out = qt_quick_give(&e->quick.pop);
    return unlock(e);
}

/* A pop of c, whose engine is locked. */
HOT int pop_on(struct dp_conn *c, struct dp_engine *e, int32_t qd, demi_qtoken_t *qt_out) {
    if (DP_UNLIKELY(c->fast.no))
        return pop_locked(c, qd, qt_out);
    if (DP_UNLIKELY(!e->quick.pop.next))
        return next_pop(c, qd, qt_out);
    e->quick.pop_conn = c;
    *qt_out = qt_quick_give(&e->quick.pop);
    return leave(e);
}

HOT int pop(int32_t qd, demi_qtoken_t *qt_out, bool of_demi) {
    struct dp_engine *e;

    if (DP_UNLIKELY(!qt_out))
        return pop_any(qd, qt_out, of_demi);
    struct dp_conn *c;

    if (DP_UNLIKELY(!lock_conn(qd, &e, &c)))
        return pop_unlocked(e, qd, qt_out, of_demi);
    return pop_on(c, e, qd, qt_out);
}

int dp_pop(int32_t qd, demi_qtoken_t *qt_out) {
    return pop(qd, qt_out, false);
}

/* As demi_pop, if it is not one on the thread's engine. */
static __attribute__((noinline)) int pop_elsewhere(struct dp_engine *locked, int32_t qd,
                                                   demi_qtoken_t *qt_out) {
    if (locked)
        (void)unlock(locked);
    return pop(qd, qt_out, true);
}

int demi_pop(demi_qtoken_t *qt_out, int qd) {
    struct dp_engine *e;

    if (DP_UNLIKELY(!qt_out))
        return pop_any(qd, qt_out, true);
    struct dp_conn *c;

    if (DP_UNLIKELY(!lock_own(qd, &e, &c)))
        return pop_elsewhere(e, qd, qt_out);
    return pop_on(c, e, qd, qt_out);
}

/* ---- Completions ----------------------------------------------------------------------- */

/* The receive in slot is used and not posted again: the general functions see to it. */
COLD void owe_receive(struct dp_conn *c, uint32_t slot) {
    c->fast.rx[slot].block = NULL;
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

/* What post_again says of a receive that has not been posted, beside a positive errno. */
enum { NO_BLOCK = -1, NO_KEY = -2 };

/*
 * Posts the receive in slot, whose message has been handed on, with another block. What is not 0
 * is for not_posted.
 */
HOT int post_again(struct dp_engine *e, struct dp_conn *c, uint32_t slot) {
    struct arena_cache_class *cc = c->fast.recv_class;
    c->fast.recv.wr_id = c->fast.recv_id | slot;
    if (DP_UNLIKELY(cc->n == 0))
        return NO_BLOCK;
    struct arena_block *b = arena_take_warmest(cc);
    c->fast.rx[slot].block = b;
    uint64_t key = arena_key_fast(b, c->fast.slot);
    if (DP_UNLIKELY(!key))
        return NO_KEY;
    c->fast.recv_sge.addr = b->addr;
    c->fast.recv_sge.lkey = (uint32_t)key;
    return c->ops->post_recv(c->qp, &c->fast.recv, &e->bad_recv);
}

COLD void not_posted(struct dp_conn *c, int rc) {
    uint32_t slot = dp_wr_slot(c->fast.recv.wr_id);

    if (rc != NO_BLOCK && rc != NO_KEY) {
        receive_refused(c, slot, c->fast.rx[slot].block, rc);
        return;
    }
    if (rc == NO_KEY)
        arena_unref(&c->engine->cache, c->fast.rx[slot].block);
    owe_receive(c, slot);
}

/* The receives of a list are posted. */
static __attribute__((noinline)) bool post_list(struct dp_conn *c) {
    (void)dp_recv_post(c); /* a failure has broken the connection */
    return c->dirty || flow_data_credit_due(&c->flow);
}

/* The receive in slot will be posted again with others, to make a list of them. */
HOT bool post_later(struct dp_conn *c, uint32_t slot) {
    c->fast.rx[slot].block = NULL;
    c->rx_free[c->rx_nfree++] = slot;
    c->rx_posted--;
    c->fast.listed++;
    return ++c->rx_owed_data >= c->rx_list && post_list(c);
}

/* The pop that a caller of demi_wait waits for, and where its result goes. */
struct awaited {
    struct qt_slot *slot; /* NULL: it has been taken */
    demi_qtoken_t qt;
    demi_qresult_t *out;
};

/* Writes the result of a pop of c that gets a message. */
HOT void give(struct dp_engine *e, struct dp_conn *c, struct arena_block *b, uint32_t bytes,
              demi_qtoken_t qt, demi_qresult_t *out) {
    memcpy(out, &c->fast.result, sizeof(c->fast.result));
    out->qr_qt = qt;
    out->qr_ret = 0;
    arena_give_fast(&e->cache, c->fast.recv_class, b, bytes - FRAME_HEADER_SIZE, &c->sga_addr,
                    &out->qr_value.sga);
}

/* Hands a message to whoever waits in this very call. */
HOT void give_now(struct dp_engine *e, struct dp_conn *c, struct arena_block *b, uint32_t bytes,
                  struct awaited *a) {
    give(e, c, b, bytes, a->qt, a->out);
    qt_release(&e->tokens, a->slot);
    a->slot = NULL;
    /* Another thread may sleep for the same token, which has gone now. */
    e->done_seq++;
    dp_ring(e);
}

/* Completes a pop with a message, for whoever will wait for it. */
HOT void give_later(struct dp_engine *e, struct dp_conn *c, struct arena_block *b, uint32_t bytes,
                    struct qt_slot *s) {
    arena_give_fast(&e->cache, c->fast.recv_class, b, bytes - FRAME_HEADER_SIZE, &c->sga_addr,
                    &s->value.sga);
    (void)qt_finish(&e->tokens, s, DEMI_OPC_POP, 0);
    dp_announce(e, s);
}

/* A message of so many bytes has been handed on. */
HOT void count_pop(struct dp_conn *c, uint32_t bytes) {
    c->fast.pops++;
    c->fast.bytes_in += bytes - FRAME_HEADER_SIZE;
}

/* A receive has been posted again; whether a CREDIT is due. */
HOT bool posted(struct dp_conn *c) {
    flow_return_data(&c->flow);
    return flow_data_credit_due(&c->flow);
}

/* The receive in slot, whose message has been handed on, goes back. Whether to settle. */
HOT bool give_back(struct dp_engine *e, struct dp_conn *c, uint32_t slot) {
    if (c->rx_list != 1)
        return post_later(c, slot);
    int rc = post_again(e, c, slot);
    if (DP_UNLIKELY(rc)) {
        not_posted(c, rc);
        return true;
    }
    return posted(c);
}

/* A message for the oldest pending pop. False: not that plain; nothing has changed. */
HOT bool received(struct dp_engine *e, struct dp_conn *c, const struct ibv_wc *wc,
                  struct awaited *a) {
    uint32_t slot = dp_wr_slot(wc->wr_id), bytes = wc->byte_len;
    struct qt_slot *s = c->pops.head;

    if (DP_UNLIKELY(!s || slot >= c->rx_count))
        return false;
    struct arena_block *b = c->fast.rx[slot].block;
    if (DP_UNLIKELY(!b || !flow_receive_data(&c->flow, (const uint8_t *)b->addr, bytes)))
        return false;
    (void)qt_list_pop_front(&c->pops);
    if (!c->pops.head)
        c->fast.no &= ~(uint32_t)DP_NO_POP; /* nothing is inbound while a pop waits */
    if (DP_LIKELY(s == a->slot && !s->watched))
        give_now(e, c, b, bytes, a);
    else
        give_later(e, c, b, bytes, s);
    count_pop(c, bytes);
    if (give_back(e, c, slot))
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
    return true;
}

/* Everything beside the table has been entered. */
HOT void completion(struct dp_engine *e, const struct ibv_wc *wc, struct awaited *a) {
    struct dp_conn *c = dp_conn_find(e, dp_wr_conn(wc->wr_id), dp_wr_gen(wc->wr_id));

    if (DP_LIKELY(c && wc->status == IBV_WC_SUCCESS && !(c->fast.no & DP_NO_WAY))) {
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

/* Whatever has to be done to wait for one token; of_demi: as demi_wait. */
static __attribute__((noinline)) int wait_any_one(demi_qtoken_t qt, demi_qresult_t *qr_out,
                                                  const struct timespec *timeout, bool of_demi) {
    int offset;

    if (of_demi && !dp_process_ready())
        return ENOSYS;
    return dp_wait_any_slow(&qt, 1, qr_out, &offset, timeout);
}

/* The same, locked at entry. */
COLD int wait_unlocked(struct dp_engine *e, demi_qtoken_t qt, demi_qresult_t *qr_out,
                       const struct timespec *timeout) {
    dp_unlock(e);
    return wait_any_one(qt, qr_out, timeout, false);
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
    return wait_any_one(qt, qr_out, timeout, false);
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
static __attribute__((noinline)) int poll_for(struct dp_engine *e, demi_qtoken_t qt,
                                              demi_qresult_t *qr_out,
                                              const struct timespec *timeout) {
    enter(e);
    struct qt_slot *s = qt_slot_of(&e->tokens, qt);
    struct awaited a = {.slot = s, .qt = qt, .out = qr_out};

    if (DP_UNLIKELY(!qt_holds(s, qt, QT_PENDING)))
        return polled(e, s, qt, qr_out, timeout);
    struct dp_conn *c = (struct dp_conn *)s->owner; /* of a pop */
    struct dp_cq *q = c ? c->cq : NULL;
    if (DP_UNLIKELY(!q)) {
        (void)dp_poll_locked(e);
        return polled(e, s, qt, qr_out, timeout);
    }
    if (DP_UNLIKELY((e->activity & 15) == 0))
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

/* The same of a pop beside the table, when n completions have been taken from its CQ. */
static __attribute__((noinline)) int poll_rest(struct dp_engine *e, demi_qresult_t *qr_out,
                                               const struct timespec *timeout, int n) {
    demi_qtoken_t qt = e->quick.pop.live;
    struct dp_cq *q = e->quick.pop_conn->cq;

    enter(e);
    struct qt_slot *s = qt_slot_of(&e->tokens, qt);
    if (n > 0)
        return polled_many(e, s, qt, qr_out, timeout, q, n);
    return polled(e, s, qt, qr_out, timeout);
}

/*
 * n completions have been taken at once: does what the second and later ones say as long as they
 * are inline sends that nobody waits for. Returns how many are left, the first included.
 */
static __attribute__((noinline)) int take_sends(struct dp_engine *e, int n) {
    int i = 1, left = 1;

    for (; i < n; i++) {
        const struct ibv_wc *wc = &e->wc[i];
        struct dp_conn *c = dp_conn_find(e, dp_wr_conn(wc->wr_id), dp_wr_gen(wc->wr_id));
        if (!c || wc->status != IBV_WC_SUCCESS || c->fast.no & DP_NO_WAY ||
            dp_wr_kind(wc->wr_id) != DP_WR_SEND || !sent(c, wc))
            break;
    }
    while (i < n)
        e->wc[left++] = e->wc[i++];
    return left;
}

/* A pop that has been taken has left something to settle. */
static __attribute__((noinline)) int settle_and_unlock(struct dp_conn *c) {
    struct dp_engine *e = c->engine;

    enter(e);
    dp_conn_dirty(c);
    dp_poll_settle(e);
    return unlock(e);
}

/* The same, and its receive is to be posted later. */
static __attribute__((noinline)) int list_and_unlock(struct dp_conn *c, uint32_t slot) {
    if (post_later(c, slot))
        return settle_and_unlock(c);
    return c->engine->sleepers ? ring_and_unlock(c->engine) : unlock(c->engine);
}

/* The same, and its receive has not been posted. */
COLD int refuse_and_unlock(struct dp_conn *c, int rc) {
    not_posted(c, rc);
    return settle_and_unlock(c);
}

/*
 * The pop beside the table gets a message of so many bytes, which came in b by the receive in slot.
 * Locked at entry.
 */
HOT int take_quick(struct dp_engine *e, struct dp_conn *c, struct arena_block *b, uint32_t bytes,
                   uint32_t slot, demi_qresult_t *qr_out) {
    demi_qtoken_t qt = e->quick.pop.live;

    give(e, c, b, bytes, qt, qr_out);
    qt_quick_redeem(&e->tokens, &e->quick.pop, qt);
    e->done_seq++;
    count_pop(c, bytes);
    if (DP_UNLIKELY(c->rx_list != 1))
        return list_and_unlock(c, slot);
    int rc = post_again(e, c, slot);
    if (DP_UNLIKELY(rc))
        return refuse_and_unlock(c, rc);
    if (DP_UNLIKELY(posted(c)))
        return settle_and_unlock(c);
    return DP_LIKELY(!e->sleepers) ? leave(e) : ring_and_unlock(e);
}

/* As poll_for, for the pop beside the table. Locked at entry. */
HOT int poll_beside(struct dp_engine *e, demi_qresult_t *qr_out, const struct timespec *timeout) {
    struct dp_conn *c = e->quick.pop_conn;

    if (DP_UNLIKELY(c->fast.no & DP_NO_WAY ||
                    ((e->activity & 15) == 0 && TAILQ_NEXT(TAILQ_FIRST(&e->cqs), link))))
        return poll_for(e, e->quick.pop.live, qr_out, timeout);
    int n = c->ops->poll_cq(c->fast.cq, DP_POLL_BATCH, e->wc);
    e = c->engine;
    if (DP_UNLIKELY(n != 1) && (n < 1 || (n == DP_POLL_BATCH) || (n = take_sends(e, n)) != 1))
        return poll_rest(e, qr_out, timeout, n);
    const struct ibv_wc *wc = &e->wc[0];
    uint64_t slot = wc->wr_id ^ c->fast.recv_id; /* small only if all else is the same */
    if (DP_UNLIKELY(slot >= c->rx_count || wc->status != IBV_WC_SUCCESS))
        return poll_rest(e, qr_out, timeout, n);
    struct arena_block *b = c->fast.rx[slot].block;
    uint32_t bytes = wc->byte_len;
    if (DP_UNLIKELY(!b || !flow_receive_plain(&c->flow, (const uint8_t *)b->addr, bytes)))
        return poll_rest(e, qr_out, timeout, n);
    return take_quick(e, c, b, bytes, (uint32_t)slot, qr_out);
}

static __attribute__((noinline)) int poll_quick(struct dp_engine *e, demi_qresult_t *qr_out) {
    return poll_beside(e, qr_out, NULL);
}

/* The same with a timeout, or NULL. */
static __attribute__((noinline)) int poll_timed(struct dp_engine *e, demi_qresult_t *qr_out,
                                                const struct timespec *timeout) {
    return poll_beside(e, qr_out, timeout);
}

/* Takes the result of the push beside the table. Locked. */
HOT void take_push(struct dp_engine *e, demi_qtoken_t qt, demi_qresult_t *out) {
    out->qr_opcode = DEMI_OPC_PUSH;
    out->qr_qd = e->quick.push_qd;
    out->qr_qt = qt;
    out->qr_ret = 0;
    memset(&out->qr_value, 0, sizeof(out->qr_value));
    qt_quick_redeem(&e->tokens, &e->quick.push, qt);
}

/* One token: takes its result if it is there now, or after one poll. */
HOT int wait_one(demi_qtoken_t qt, demi_qresult_t *qr_out, const struct timespec *timeout,
                 bool of_demi) {
    struct dp_engine *e = dp_engine_of_token(qt);

    if (DP_UNLIKELY(timeout) &&
        (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= 1000000000))
        return wait_any_one(qt, qr_out, timeout, of_demi);
    if (DP_UNLIKELY(!e || !qr_out || !dp_mutex_try(&e->lock)))
        return wait_any_one(qt, qr_out, timeout, of_demi);
    e->activity++;
    if (qt == e->quick.push.live) {
        take_push(e, qt, qr_out);
        return leave(e);
    }
    if (DP_LIKELY(qt == e->quick.pop.live))
        return poll_timed(e, qr_out, timeout);
    if (DP_UNLIKELY(!TAILQ_EMPTY(&e->held)))
        return wait_unlocked(e, qt, qr_out, timeout); /* sends them first */
    struct qt_slot *s = qt_slot_of(&e->tokens, qt);
    if (DP_UNLIKELY(!s))
        return unlock_invalid(e);
    if (!qt_holds(s, qt, QT_DONE))
        return poll_for(e, qt, qr_out, timeout);
    qt_take(&e->tokens, s, qt, qr_out);
    /* This thread has been nobody's leader: there is nothing to hand over. */
    return leave(e);
}

int dp_wait(demi_qtoken_t qt, demi_qresult_t *qr_out, const struct timespec *timeout) {
    return wait_one(qt, qr_out, timeout, false);
}

/* As demi_wait, if its case is not that of most calls. */
static __attribute__((noinline)) int wait_elsewhere(struct dp_engine *locked, demi_qtoken_t qt,
                                                    demi_qresult_t *qr_out,
                                                    const struct timespec *timeout) {
    if (locked)
        (void)unlock(locked);
    return wait_one(qt, qr_out, timeout, true);
}

int demi_wait(demi_qresult_t *qr_out, demi_qtoken_t qt, const struct timespec *timeout) {
    struct dp_engine *e = dp_process_mine;

    if (DP_UNLIKELY(timeout || !qr_out))
        return wait_elsewhere(NULL, qt, qr_out, timeout);
    /* QT_NONE is no token, and would look like one that is not there. */
    if (DP_UNLIKELY(qt == QT_NONE))
        return wait_elsewhere(NULL, qt, qr_out, NULL);
    if (DP_UNLIKELY(!dp_mutex_try(&e->lock)))
        return wait_elsewhere(NULL, qt, qr_out, NULL);
    if (qt == e->quick.push.live) {
        e->activity++;
        take_push(e, qt, qr_out);
        return leave(e);
    }
    if (DP_UNLIKELY(qt != e->quick.pop.live))
        return wait_elsewhere(e, qt, qr_out, timeout);
    e->activity++;
    return poll_quick(e, qr_out);
}

HOT int wait_any(const demi_qtoken_t *qts, int num_qts, demi_qresult_t *qr_out, int *ready_offset,
                 const struct timespec *timeout, bool of_demi) {
    if (num_qts != 1 || !qts || !ready_offset) {
        if (of_demi && !dp_process_ready())
            return ENOSYS;
        return dp_wait_any_slow(qts, num_qts, qr_out, ready_offset, timeout);
    }
    int rc = wait_one(qts[0], qr_out, timeout, of_demi);
    if (rc == 0)
        *ready_offset = 0;
    return rc;
}

int dp_wait_any(const demi_qtoken_t *qts, int num_qts, demi_qresult_t *qr_out, int *ready_offset,
                const struct timespec *timeout) {
    return wait_any(qts, num_qts, qr_out, ready_offset, timeout, false);
}

int demi_wait_any(demi_qresult_t *qr_out, int *ready_offset, const demi_qtoken_t qts[], int num_qts,
                  const struct timespec *timeout) {
    return wait_any(qts, num_qts, qr_out, ready_offset, timeout, true);
}

/* ---- Free ------------------------------------------------------------------------------ */

/* As dp_sgafree, whatever has to be done. */
COLD int sgafree_slow(struct dp_engine *e, const demi_sgarray_t *sga) {
    int rc;

    if (!sga)
        return EINVAL;
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

/* As demi_sgafree, whatever has to be done. */
COLD int sgafree_any(const demi_sgarray_t *sga) {
    return dp_process_ready() ? sgafree_slow(dp_process_engine(), sga) : ENOSYS;
}

/* The same, locked at entry. */
COLD int sgafree_unlock(struct dp_engine *e, const demi_sgarray_t *sga) {
    dp_unlock(e);
    return sgafree_slow(e, sga);
}

/* e may be NULL if it is not of_demi. */
HOT int sgafree(struct dp_engine *e, demi_sgarray_t *sga, bool of_demi) {
    if (DP_UNLIKELY(!sga || (!of_demi && !e) || __atomic_load_n(&dp_starving, __ATOMIC_RELAXED) ||
                    !dp_mutex_try(&e->lock)))
        return of_demi ? sgafree_any(sga) : sgafree_slow(e, sga);
    if (DP_UNLIKELY(!arena_sgafree_fast(&e->cache, sga)))
        return sgafree_unlock(e, sga);
    return leave(e);
}

int dp_sgafree(struct dp_engine *e, demi_sgarray_t *sga) {
    return sgafree(e, sga, false);
}

int demi_sgafree(demi_sgarray_t *sga) {
    return sgafree(dp_process_mine, sga, true);
}
