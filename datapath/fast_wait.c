/* The fast path of wait; see fast.h. */
#define DEMI_IMPLEMENTATION /* no nonnull attributes: the checks for NULL must stay */

#include "../include/demi/wait.h"

#include "fast_message.h"

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
 * One poll of a CQ that nobody waits for, the CQs taking turns. Everything beside the table has
 * been entered; its completions are settled by the caller.
 */
static __attribute__((noinline)) void poll_turn(struct dp_engine *e, const struct dp_cq *own) {
    struct awaited nobody = {.slot = NULL};

    e->turn_in = DP_TURN;
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
 * many connections, and CQs for them, there are. After DP_TURN calls, or more that took messages,
 * another CQ has its turn; a caller that goes on waiting polls all.
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
    if (DP_UNLIKELY(--e->turn_in <= 0))
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
    struct awaited a = {.slot = qt_slot_of(&e->tokens, qt), .qt = qt, .out = qr_out};
    if (n > 0)
        take_batch(e, q, n, &a);
    if (DP_UNLIKELY(--e->turn_in <= 0))
        poll_turn(e, q);
    if (DP_UNLIKELY(!TAILQ_EMPTY(&e->dirty)))
        dp_poll_settle(e);
    return a.slot ? polled(e, a.slot, qt, qr_out, timeout) : unlock(e);
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

/* The same, and its receive has not been chained. */
COLD int owe_and_unlock(struct dp_conn *c, struct dp_rx *rx, const struct arena_block *handed_on) {
    not_chained(c, rx, handed_on);
    return settle_and_unlock(c);
}

/* The same, and the receives that were chained have not been posted, or not all. */
COLD int refuse_and_unlock(struct dp_conn *c, int rc) {
    dp_recv_refused(c, rc);
    return settle_and_unlock(c);
}

/* It may be time for another CQ than the awaited one. False: there is none. */
static __attribute__((noinline)) bool another_turn(struct dp_engine *e) {
    bool more = TAILQ_NEXT(TAILQ_FIRST(&e->cqs), link) != NULL;

    e->turn_in = DP_TURN;
    return more;
}

/* The same; another CQ has its turn. */
COLD int turn_and_unlock(struct dp_conn *c, bool settle) {
    struct dp_engine *e = c->engine;

    enter(e);
    if (settle)
        dp_conn_dirty(c);
    poll_turn(e, c->cq);
    dp_poll_settle(e);
    return unlock(e);
}

/* The same, with as many receives chained as are posted at once. */
static __attribute__((noinline)) int post_and_leave(struct dp_conn *c) {
    int rc = post_chain(c);
    if (DP_UNLIKELY(rc))
        return refuse_and_unlock(c, rc);
    struct dp_engine *e = c->engine;
    bool settle = chain_posted(c);
    e->turn_in -= (int32_t)c->fast.list;
    if (DP_UNLIKELY(e->turn_in <= 0 && another_turn(e)))
        return turn_and_unlock(c, settle);
    return DP_LIKELY(!settle) ? leave_done(e) : settle_and_unlock(c);
}

/*
 * The pop beside the table, whose token is not the last one of its slot, gets a message of len
 * bytes, which came by the receive rx. Locked at entry.
 */
HOT int take_quick(struct dp_engine *e, struct dp_conn *c, struct dp_rx *rx, uint32_t len,
                   demi_qresult_t *qr_out) {
    demi_qtoken_t qt = e->quick.pop.live;
    struct arena_block *b = rx->block;
    struct arena_cache_class *cc = c->fast.recv_class;

    count_pop(c, len);
    qt_quick_next(&e->quick.pop, qt);
    give(c, b, len, qt, qr_out);
    if (DP_UNLIKELY(!chain_again(c, cc, rx)))
        return owe_and_unlock(c, rx, b);
    if (--c->fast.left == 0)
        return post_and_leave(c);
    return leave_done(e);
}

/* The message that rx brings returns receives, or something else is the matter. */
static __attribute__((noinline)) int take_returning(struct dp_conn *c, struct dp_rx *rx,
                                                    demi_qresult_t *qr_out,
                                                    const struct timespec *timeout) {
    struct dp_engine *e = c->engine;
    uint32_t bytes = e->wc[0].byte_len;

    if (DP_UNLIKELY(!flow_receive_data(&c->flow, (const uint8_t *)rx->block->addr, bytes)))
        return poll_rest(e, qr_out, timeout, 1);
    return take_quick(e, c, rx, bytes - FRAME_HEADER_SIZE, qr_out);
}

/* One completion has been taken: it brings the message, or is for poll_rest. */
HOT int take_one(struct dp_conn *c, demi_qresult_t *qr_out, const struct timespec *timeout) {
    struct dp_engine *e = c->engine;
    const struct ibv_wc *wc = &e->wc[0];
    struct dp_rx *rx = dp_recv_head(c);
    if (DP_UNLIKELY(wc->wr_id != rx->wr.wr_id || wc->status != IBV_WC_SUCCESS))
        return poll_rest(e, qr_out, timeout, 1);
    const struct arena_block *b = rx->block;
    uint32_t bytes = wc->byte_len;
    if (DP_UNLIKELY(!flow_receive_plain(&c->flow, (const uint8_t *)b->addr, bytes)))
        return take_returning(c, rx, qr_out, timeout);
    return take_quick(e, c, rx, bytes - FRAME_HEADER_SIZE, qr_out);
}

/* The same, if none has been taken or more than one. */
static __attribute__((noinline)) int take_several(struct dp_conn *c, demi_qresult_t *qr_out,
                                                  const struct timespec *timeout, int n) {
    if (n < 1 || n == DP_POLL_BATCH || (n = take_sends(c->engine, n)) != 1)
        return poll_rest(c->engine, qr_out, timeout, n);
    return take_one(c, qr_out, timeout);
}

/* As poll_for, for the pop beside the table. Locked at entry. */
HOT int poll_beside(struct dp_engine *e, demi_qresult_t *qr_out, const struct timespec *timeout) {
    struct dp_conn *c = e->quick.pop_conn;

    /* What closes a connection's ways enters its pop first. */
    e->quick.out = qr_out;
    int n = c->ops->poll_cq(c->fast.cq, DP_POLL_BATCH, e->wc);
    qr_out = c->engine->quick.out; /* one register fewer to be saved */
    if (DP_UNLIKELY(n != 1))
        return take_several(c, qr_out, timeout, n);
    return take_one(c, qr_out, timeout);
}

static __attribute__((noinline)) int poll_quick(struct dp_engine *e, demi_qresult_t *qr_out) {
    return poll_beside(e, qr_out, NULL);
}

/* The same with a timeout, or NULL. */
static __attribute__((noinline)) int poll_timed(struct dp_engine *e, demi_qresult_t *qr_out,
                                                const struct timespec *timeout) {
    return poll_beside(e, qr_out, timeout);
}

/* Takes the result of the push beside the table, whose token is not its slot's last. Locked. */
HOT void take_push(struct dp_engine *e, demi_qtoken_t qt, demi_qresult_t *out) {
    memcpy(out, &e->quick.pushed, sizeof(e->quick.pushed));
    out->qr_qt = qt;
    memset((char *)out + offsetof(demi_qresult_t, qr_ret), 0,
           sizeof(*out) - offsetof(demi_qresult_t, qr_ret));
    qt_quick_next(&e->quick.push, qt);
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
    if (DP_UNLIKELY(qt > e->tokens.token_late))
        enter(e); /* the table knows what comes after a slot's last token */
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
    if (DP_UNLIKELY(!dp_mutex_try(&e->lock)))
        return wait_elsewhere(NULL, qt, qr_out, NULL);
    /* QT_NONE is greater, too, and would look like a token that is not there. */
    if (DP_UNLIKELY(qt > e->tokens.token_late))
        return wait_elsewhere(e, qt, qr_out, NULL);
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
