/* The fast path of push; see fast.h. */
#define DEMI_IMPLEMENTATION /* no nonnull attributes: the checks for NULL must stay */

#include "../include/demi/libos.h"

#include "fast.h"

/* As dp_push, whatever has to be done; of_demi: as demi_push. */
static __attribute__((noinline)) int push_any(demi_qtoken_t *qt_out, int32_t qd,
                                              const demi_sgarray_t *sga, bool of_demi) {
    struct dp_conn *c;

    if (of_demi && !dp_process_ready())
        return ENOSYS;
    if (!sga || !qt_out)
        return EINVAL;
    int rc = dp_qd_lock_conn(qd, &c);
    if (rc)
        return rc;
    struct dp_engine *e = c->engine;
    rc = dp_push_slow(c, qd, sga, qt_out);
    dp_unlock(e);
    return rc;
}

/* The same; locked, if not NULL, is to be unlocked. */
COLD int push_unlocked(demi_qtoken_t *qt_out, int32_t qd, const demi_sgarray_t *sga,
                       struct dp_engine *locked, bool of_demi) {
    if (locked)
        (void)unlock(locked);
    return push_any(qt_out, qd, sga, of_demi);
}

/* As push_any, locked at entry. */
static __attribute__((noinline)) int push_locked(demi_qtoken_t *qt_out, int32_t qd,
                                                 const demi_sgarray_t *sga, struct dp_conn *c) {
    struct dp_engine *e = c->engine;

    if (c == &dp_no_conn) /* the entry stays as it is while its engine is locked */
        return push_unlocked(qt_out, qd, sga, dp_qd_owner(qd), false);
    enter(e);
    int rc = dp_push_slow(c, qd, sga, qt_out);
    dp_unlock(e);
    return rc;
}

/*
 * The queue pair has refused the frame of the push whose token was given out last: the
 * connection breaks, and the push with it.
 */
COLD int push_refused(struct dp_conn *c, uint32_t len, int rc) {
    struct dp_engine *e = c->engine;
    int32_t qd = e->quick.pushed.qd;
    struct qt_slot *s = qt_quick_enter(&e->tokens, &e->quick.push, qd, DEMI_OPC_PUSH);

    enter(e);
    struct dp_tx *tx = &c->tx[--c->tx_head & c->send_mask];
    c->tx_signaled -= tx->signaled;
    tx->signaled = false;
    c->fast.bytes_out -= len;
    c->fast.pushes--;
    c->stats.pushes++;
    c->stats.post_sends++;
    s->scratch[0] = 0; /* it holds no block */
    qt_list_push_back(&c->doomed, s);
    dp_conn_break(c, rc > 0 ? rc : EIO, true);
    dp_conn_settle(c);
    dp_unlock(e);
    return 0;
}

/*
 * There is no next token, or the last push's is there: makes room. False: no slot at hand, or
 * pushes are held back, which the next wait looks after.
 */
static __attribute__((noinline)) bool next_push(struct dp_engine *e) {
    struct qt_quick *q = &e->quick.push;
    struct qt_slot *s = qt_quick_enter(&e->tokens, q, e->quick.pushed.qd, DEMI_OPC_PUSH);

    if (s)
        (void)qt_complete(&e->tokens, s, DEMI_OPC_PUSH, 0);
    if (!TAILQ_EMPTY(&e->held) || !qt_quick_reserve(&e->tokens, q))
        return false;
    e->quick.used = true;
    return true;
}

/*
 * Sends have used up their room. Sees how many may go before one is to be signalled, and
 * signals this one if it is time to. False: the send queue is full.
 */
static __attribute__((noinline)) bool make_room(struct dp_conn *c) {
    uint32_t slot = c->tx_head & c->send_mask, used = c->tx_head - c->tx_tail + c->tx_reserve;

    if (used >= c->send_depth)
        return false;
    uint32_t free = c->send_depth - used, more;
    if (c->tx_quiet + 1 >= c->tx_signal) {
        dp_send_next(c, slot, IBV_SEND_SIGNALED);
        c->tx[slot].signaled = true;
        c->tx_signaled++;
        c->tx_quiet = 0;
        free--;
        more = c->tx_signal - 1;
        c->fast.room = 1; /* this one */
    } else {
        more = c->tx_signal - 1 - c->tx_quiet;
        c->fast.room = 0;
    }
    more = more < free ? more : free;
    c->fast.room += (int32_t)more;
    c->tx_quiet += more;
    return true;
}

/* After a send that make_room may have signalled: the next one is not. */
HOT void signal_no_more(struct dp_conn *c) {
    dp_send_next(c, DP_SLOT_QUIET, 0);
}

/*
 * Accounts for a push that is posted next, whose token there is, and credit and room taken. The
 * frame's header is written to header.
 */
HOT void account(struct dp_engine *e, struct dp_conn *c, int32_t qd, uint32_t len, uint8_t *header,
                 demi_qtoken_t *qt_out) {
    c->tx_head++;
    c->fast.pushes++;
    c->fast.bytes_out += len;
    e->quick.pushed.qd = qd;
    *qt_out = qt_quick_give(&e->quick.push);
    flow_encode_data(&c->flow, len, header);
    flow_sent_data(&c->flow);
}

/* Posts the frame whose parts fast.send lists. */
HOT int post_list(struct dp_engine *e, struct dp_conn *c) {
    return c->ops->post_send(c->qp, &c->fast.send, &e->bad_send);
}

/*
 * Posts a frame in one piece, send_sge[0]: by ibv_wr_*(3), for which the provider takes fewer
 * steps, if the queue pair has it. Each call finds what it needs in c, so that one register is
 * saved, and not four.
 */
HOT int post_piece(struct dp_engine *e, struct dp_conn *c) {
    if (DP_UNLIKELY(!c->fast.qpx))
        return post_list(e, c);
    ibv_wr_start(c->fast.qpx);
    ibv_wr_send(c->fast.qpx);
    ibv_wr_set_inline_data(c->fast.qpx, (void *)(uintptr_t)c->fast.send_sge[0].addr,
                           c->fast.send_sge[0].length);
    return ibv_wr_complete(c->fast.qpx);
}

/*
 * Posts a push for which there is a token, and for which credit and room have been taken; the frame
 * lies at header in one piece.
 */
HOT int post_whole(struct dp_engine *e, struct dp_conn *c, int32_t qd, uint8_t *header,
                   uint32_t len, demi_qtoken_t *qt_out) {
    c->fast.turn = e->activity;
    c->fast.send_sge[0].addr = (uintptr_t)header;
    c->fast.send_sge[0].length = FRAME_HEADER_SIZE + len;
    account(e, c, qd, len, header, qt_out);
    return post_piece(e, c);
}

/* The same of a push whose bytes, at buf, have no room for a header before them. */
static __attribute__((noinline)) int post_in_two(struct dp_engine *e, struct dp_conn *c, int32_t qd,
                                                 const uint8_t *buf, uint32_t len,
                                                 demi_qtoken_t *qt_out) {
    c->fast.turn = e->activity;
    c->fast.send_sge[0] =
        (struct ibv_sge){.addr = (uintptr_t)c->fast.header, .length = FRAME_HEADER_SIZE};
    c->fast.send_sge[1] = (struct ibv_sge){.addr = (uintptr_t)buf, .length = len};
    c->fast.send.num_sge = 2;
    account(e, c, qd, len, c->fast.header, qt_out);
    int rc = post_list(e, c);
    c->fast.send.num_sge = 1;
    if (!rc)
        c->fast.listed++;
    return rc;
}

/*
 * As push, from where the connection's way is known to be open, if something is not as usual: it is
 * the second push since somebody waited; the array is not one that begins where its allocation
 * does, or is not known; a token is to be made, or it is time to signal a send.
 */
static __attribute__((noinline)) int push_second(demi_qtoken_t *qt_out, int32_t qd,
                                                 const demi_sgarray_t *sga, struct dp_conn *c) {
    struct dp_engine *e = c->engine;
    uint32_t len = sga->sga_segs[0].sgaseg_len;
    bool second = c->fast.turn == e->activity;

    /* More than two are a burst. */
    if ((second && c->fast.again == e->activity) || c->flow.data_credit == 0)
        return push_locked(qt_out, qd, sga, c);
    uint8_t *header;
    bool whole = arena_check_fast(&e->cache, sga, len, &header);
    if (!whole && arena_check(&e->cache, sga))
        return unlock_invalid(e);
    if ((!e->quick.push.next && !next_push(e)) || (c->fast.room == 0 && !make_room(c)))
        return push_locked(qt_out, qd, sga, c);
    c->flow.data_credit--;
    c->fast.room--;
    if (second) {
        c->fast.again = e->activity;
        c->fast.pushed = 1;
    }
    const uint8_t *buf = (const uint8_t *)sga->sga_segs[0].sgaseg_buf;
    int rc =
        whole ? post_whole(e, c, qd, header, len, qt_out) : post_in_two(e, c, qd, buf, len, qt_out);
    signal_no_more(c);
    if (DP_UNLIKELY(rc))
        return push_refused(c, len, rc);
    dp_ring(e);
    return unlock(e);
}

/* The rest of push_on: credit has been taken, but there was no room, and none has been taken. */
static __attribute__((noinline)) int
push_without_room(demi_qtoken_t *qt_out, int32_t qd, const demi_sgarray_t *sga, struct dp_conn *c) {
    uint32_t len = sga->sga_segs[0].sgaseg_len;
    uint8_t *header = (uint8_t *)sga->sga_segs[0].sgaseg_buf - ARENA_LEAD;

    c->fast.room = 0;
    if (DP_UNLIKELY(!make_room(c))) {
        c->flow.data_credit++; /* not used */
        return push_locked(qt_out, qd, sga, c);
    }
    c->fast.room--;
    int rc = post_whole(c->engine, c, qd, header, len, qt_out);
    signal_no_more(c);
    return DP_LIKELY(rc == 0) ? leave_done(c->engine) : push_refused(c, len, rc);
}

/* A push on c, whose engine is locked. */
HOT int push_on(demi_qtoken_t *qt_out, int32_t qd, const demi_sgarray_t *sga, struct dp_conn *c,
                struct dp_engine *e) {
    uint32_t len = sga->sga_segs[0].sgaseg_len;
    uint8_t *header;
    if (DP_UNLIKELY(len - 1 >= c->fast.now))
        return push_locked(qt_out, qd, sga, c);
    /* If there is a next token, somebody has waited since the last push. */
    if (DP_UNLIKELY(!arena_check_fast(&e->cache, sga, len, &header) || !e->quick.push.next))
        return push_second(qt_out, qd, sga, c);
    if (DP_UNLIKELY(!flow_take_credit(&c->flow)))
        return push_locked(qt_out, qd, sga, c);
    if (DP_UNLIKELY(--c->fast.room < 0))
        return push_without_room(qt_out, qd, sga, c);
    int rc = post_whole(e, c, qd, header, len, qt_out);
    if (DP_UNLIKELY(rc))
        return push_refused(c, c->fast.send_sge[0].length - FRAME_HEADER_SIZE, rc);
    e = c->engine; /* one register fewer to be saved */
    return leave_done(e);
}

HOT int push(demi_qtoken_t *qt_out, int32_t qd, const demi_sgarray_t *sga, bool of_demi) {
    struct dp_engine *e;

    if (DP_UNLIKELY(!sga || !qt_out))
        return push_any(qt_out, qd, sga, of_demi);
    struct dp_conn *c;

    if (DP_UNLIKELY(!lock_conn(qd, &e, &c)))
        return push_unlocked(qt_out, qd, sga, e, of_demi);
    return push_on(qt_out, qd, sga, c, e);
}

/* As demi_push, if it is not one on the thread's engine. */
static __attribute__((noinline)) int push_elsewhere(demi_qtoken_t *qt_out, int32_t qd,
                                                    const demi_sgarray_t *sga,
                                                    struct dp_engine *locked) {
    if (locked)
        (void)unlock(locked);
    return push(qt_out, qd, sga, true);
}

int dp_push(int32_t qd, const demi_sgarray_t *sga, demi_qtoken_t *qt_out) {
    return push(qt_out, qd, sga, false);
}

int demi_push(demi_qtoken_t *qt_out, int qd, const demi_sgarray_t *sga) {
    struct dp_engine *e;

    if (DP_UNLIKELY(!sga || !qt_out))
        return push_any(qt_out, qd, sga, true);
    struct dp_conn *c;

    if (DP_UNLIKELY(!lock_own(qd, &e, &c)))
        return push_elsewhere(qt_out, qd, sga, e);
    return push_on(qt_out, qd, sga, c, e);
}
