/*
 * Sending: pushes in order, control frames as flow.h says.
 *
 * A frame that fits the queue pair's inline limit is copied by the post, and a push in it
 * completes there and then. Otherwise the header lies in the connection's header block and
 * the payload is sent from where it is; the push completes with the send. Inline sends ask
 * for a completion only now and then; an entry of the send queue is free again once a
 * completion at or after it has been seen. Entries are an account of their own: a credit
 * from the peer frees none. RDMA READs (rendezvous.c) take entries, too.
 *
 * Bursts. The first three pushes on a connection since somebody last waited on its engine are
 * posted at once, always. More of them, while the send queue is busy, are held back and
 * posted in lists: at the eighth and the sixteenth, then sixteen at once; or when somebody
 * waits, polls, pops from the connection or closes it. The queue is busy while a signalled
 * send's completion has not been taken: so pushes are held only if a completion is to come,
 * whose event wakes whoever keeps watch for an application that does nothing more; that poll
 * sends them.
 */
#include "internal.h"

/* A post list being made. */
struct batch {
    int n;
    struct ibv_send_wr wr[DP_TX_BATCH];
    struct ibv_sge sge[DP_TX_BATCH][2];
    uint8_t header[DP_TX_BATCH][DP_HEADER_ROOM];
    struct qt_slot *push[DP_TX_BATCH];
};

static uint32_t entries_used(const struct dp_conn *c) {
    return c->tx_head - c->tx_tail;
}

/* Where a push keeps what it needs until it is posted. */
static struct arena_block *push_block(const struct qt_slot *s) {
    return (struct arena_block *)(uintptr_t)s->scratch[0];
}

static bool fits_inline(const struct dp_conn *c, uint32_t len) {
    return (uint64_t)FRAME_HEADER_SIZE + len <= c->max_inline;
}

/* Appends a frame to b and takes the next entry of the send queue for it. */
static void add(struct dp_conn *c, struct batch *b, const struct frame *h, struct qt_slot *push,
                bool signal) {
    dp_send_no_room(c);
    uint32_t slot = c->tx_head++ & c->send_mask;
    struct ibv_send_wr *wr = &b->wr[b->n];
    struct ibv_sge *sge = b->sge[b->n];
    bool in_line = fits_inline(c, h->length);
    uint8_t *header =
        in_line ? b->header[b->n] : (uint8_t *)arena_block_data(c->headers) + slot * DP_HEADER_ROOM;
    bool payload = h->length != 0;

    frame_encode(h, header);
    sge[0] = (struct ibv_sge){
        .addr = (uintptr_t)header, .length = FRAME_HEADER_SIZE, .lkey = c->headers_lkey};
    if (DP_UNLIKELY(h->type == FRAME_RTS)) {
        dp_source_rts(push, header + FRAME_HEADER_SIZE);
        sge[0].length += FRAME_RTS_SIZE;
        push->u32 = h->arg;
        payload = false;
    }
    if (payload)
        sge[1] = (struct ibv_sge){.addr = (uintptr_t)push->value.sga.sga_segs[0].sgaseg_buf,
                                  .length = h->length,
                                  .lkey = push->u32};
    signal = signal || !in_line || ++c->tx_quiet >= c->tx_signal;
    if (signal)
        c->tx_quiet = 0;
    memset(wr, 0, sizeof(*wr));
    wr->wr_id = dp_wr_id(DP_WR_SEND, c->gen, c->index, slot);
    wr->sg_list = sge;
    wr->num_sge = payload ? 2 : 1;
    wr->opcode = IBV_WR_SEND;
    wr->send_flags = (in_line ? IBV_SEND_INLINE : 0u) | (signal ? IBV_SEND_SIGNALED : 0u);
    if (b->n)
        b->wr[b->n - 1].next = wr;
    b->push[b->n++] = push;
    c->tx[slot] = (struct dp_tx){.signaled = signal};
    c->tx_laden++;
    c->tx_signaled += signal;
}

/* What follows from a frame having been posted. */
static void posted(struct dp_conn *c, uint32_t slot, const struct ibv_send_wr *wr,
                   struct qt_slot *push) {
    c->stats.frames_out++;
    if (!push)
        return;
    struct arena_block *block = push_block(push);
    qt_list_remove(&c->pending, push);
    c->stats.bytes_out += push->value.sga.sga_segs[0].sgaseg_len;
    if (DP_UNLIKELY(push->u64 == DP_PUSH_LARGE)) {
        dp_source_posted(c, push);
        return;
    }
    if (wr->send_flags & IBV_SEND_INLINE) {
        c->stats.inline_sends++;
        if (block)
            arena_unref(&c->engine->cache, block);
        dp_complete(c->engine, push, DEMI_OPC_PUSH, 0);
    } else {
        c->tx[slot].push = push;
        c->tx[slot].block = block;
    }
}

static void post(struct dp_conn *c, struct batch *b) {
    struct ibv_send_wr *bad = NULL;
    uint32_t first = c->tx_head - (uint32_t)b->n;
    int ok = b->n;

    c->stats.post_sends++;
    int rc = c->ops->post_send(c->qp, b->wr, &bad);
    if (DP_UNLIKELY(rc)) {
        ok = 0;
        while (ok < b->n && &b->wr[ok] != bad)
            ok++;
        if (!bad)
            ok = 0;
    }
    for (int i = 0; i < ok; i++)
        posted(c, (first + (uint32_t)i) & c->send_mask, &b->wr[i], b->push[i]);
    if (DP_LIKELY(!rc))
        return;
    /* What was refused has no entry; its pushes are still the first pending ones. */
    for (int i = ok; i < b->n; i++)
        c->tx_signaled -= c->tx[(first + (uint32_t)i) & c->send_mask].signaled;
    c->tx_laden -= (uint32_t)(b->n - ok);
    c->tx_head = first + (uint32_t)ok;
    dp_conn_break(c, rc > 0 ? rc : EIO, true);
}

/* Ends a pending push that cannot go. */
static void fail_pending(struct dp_conn *c, struct qt_slot *s, int err) {
    qt_list_remove(&c->pending, s);
    dp_source_drop(c, s);
    if (push_block(s))
        arena_unref(&c->engine->cache, push_block(s));
    dp_fail(c->engine, s, err);
}

/* Adds the next message, if it may go. */
static bool add_message(struct dp_conn *c, struct batch *b, struct qt_slot **next) {
    struct flow *f = &c->flow;
    struct qt_slot *s;
    struct frame h;

    while ((s = *next) && flow_may_send_data(f) &&
           entries_used(c) + c->tx_reserve < c->send_depth) {
        if (DP_LIKELY(s->u64 != DP_PUSH_LARGE)) {
            flow_send(f, FRAME_DATA, s->value.sga.sga_segs[0].sgaseg_len, 0, &h);
            *next = s->next;
            add(c, b, &h, s, false);
            return true;
        }
        int rc = dp_source_prepare(c, s);
        if (rc == EAGAIN)
            return false;
        *next = s->next;
        if (rc) {
            fail_pending(c, s, rc);
            continue;
        }
        flow_send(f, FRAME_RTS, FRAME_RTS_SIZE, 0, &h);
        add(c, b, &h, s, false);
        return true;
    }
    if (*next && f->data_credit == 0)
        flow_wait(f);
    return false;
}

/* Adds the answer to a large message of the peer's, if one is due. */
static bool add_answer(struct dp_conn *c, struct batch *b) {
    uint8_t type = flow_may_send_ctrl(&c->flow) ? dp_fetch_answer(c) : 0;
    struct frame h;

    if (type == 0)
        return false;
    uint32_t number = c->fetch_answer;
    dp_fetch_answered(c);
    /* The receives of messages that have been popped go back with this frame. */
    if ((c->rx_owed_data || dp_recv_chained(c)) && dp_recv_post(c, true))
        return false; /* that broke the connection */
    flow_send(&c->flow, (enum frame_type)type, 0, number, &h);
    add(c, b, &h, NULL, true);
    return true;
}

/* Adds the next frame, if there is one that may go. */
static bool add_next(struct dp_conn *c, struct batch *b, struct qt_slot **next) {
    struct flow *f = &c->flow;
    struct frame h;

    if (add_message(c, b, next))
        return true;
    if (entries_used(c) >= c->send_depth)
        return false;
    if (DP_UNLIKELY(c->fetch_answer != c->fetch_tail) && add_answer(c, b))
        return true;
    const struct qt_slot *s = *next;
    uint8_t type = flow_next_ctrl(f, s != NULL);
    uint32_t arg = 0;
    if ((type == 0 || type == FRAME_CREDIT) && DP_UNLIKELY(dp_ping_due(c))) {
        type = FRAME_PING;
        arg = dp_ping_sent(c);
    }
    if (type == 0)
        return false;
    flow_send(f, (enum frame_type)type, 0, arg, &h);
    c->stats.credits_out += type == FRAME_CREDIT;
    /* Close waits for these two to be with the peer. */
    add(c, b, &h, NULL, type == FRAME_FIN || type == FRAME_FIN_ACK);
    return true;
}

void dp_send_release(struct dp_conn *c) {
    if (c->held)
        TAILQ_REMOVE(&c->engine->held, c, held_link);
    c->held = false;
}

void dp_send_release_all(struct dp_engine *e) {
    struct dp_conn *c;

    while ((c = TAILQ_FIRST(&e->held))) {
        dp_send_release(c);
        dp_conn_dirty(c);
    }
}

/* Pushes on c since somebody last waited. */
static uint32_t burst(const struct dp_conn *c) {
    uint64_t now = c->engine->activity;
    return c->fast.turn != now ? 0 : c->fast.again != now ? 1 : c->fast.pushed + 1;
}

/* Counts a push that is being made. */
static void count_push(struct dp_conn *c) {
    c->fast.pushed = burst(c);
    c->fast.turn = c->engine->activity;
    if (c->fast.pushed)
        c->fast.again = c->fast.turn;
}

/* Whether the push that has been counted last, and is not pending yet, shall wait for others. */
static bool holds_back(const struct dp_conn *c) {
    uint32_t n = burst(c), list = (uint32_t)c->pending.len + 1;

    return n > DP_TX_AT_ONCE && n != DP_TX_BATCH / 2 && n != DP_TX_BATCH && list < DP_TX_BATCH &&
           c->tx_signaled && c->phase == DP_CONN_OPEN && flow_may_send_data(&c->flow) &&
           list < (uint32_t)c->flow.data_credit &&
           entries_used(c) + c->tx_reserve + list < c->send_depth;
}

/* The last send of a burst's list is signalled: the clock for the next one. */
static void signal_last(struct dp_conn *c, struct batch *b) {
    struct dp_tx *tx = &c->tx[(c->tx_head - 1) & c->send_mask];

    if (tx->signaled)
        return;
    tx->signaled = true;
    b->wr[b->n - 1].send_flags |= IBV_SEND_SIGNALED;
    c->tx_signaled++;
    c->tx_quiet = 0;
}

void dp_send_pump(struct dp_conn *c) {
    struct batch b;

    if (DP_UNLIKELY(c->held) && c->tx_signaled)
        return;
    dp_send_release(c);
    do {
        struct qt_slot *next = c->pending.head;
        b.n = 0;
        while (b.n < DP_TX_BATCH && add_next(c, &b, &next))
            continue;
        if (b.n == 0)
            return;
        if (DP_UNLIKELY(burst(c) >= DP_TX_AT_ONCE))
            signal_last(c, &b);
        post(c, &b);
    } while (b.n == DP_TX_BATCH && c->phase == DP_CONN_OPEN);
}

/* Frees the oldest entry; err says whether its frame failed. */
static void retire(struct dp_conn *c, bool failed) {
    struct dp_tx *tx = &c->tx[c->tx_tail++ & c->send_mask];

    c->tx_signaled -= tx->signaled;
    c->tx_laden -= !tx->bare;
    if (DP_UNLIKELY(tx->read))
        dp_fetch_read_done(c, tx, failed);
    if (tx->block)
        arena_unref(&c->engine->cache, tx->block);
    if (tx->push && failed)
        qt_list_push_back(&c->doomed, tx->push);
    else if (tx->push)
        dp_complete(c->engine, tx->push, DEMI_OPC_PUSH, 0);
    *tx = (struct dp_tx){.bare = true};
}

void dp_send_done(struct dp_conn *c, uint32_t slot, enum ibv_wc_status status) {
    uint32_t n = ((slot - c->tx_tail) & c->send_mask) + 1;

    if (DP_UNLIKELY(slot == DP_SLOT_QUIET)) {
        /* An inline send that nobody waits for has failed: which one makes no difference. */
        c->stats.rnr_events += status == IBV_WC_RNR_RETRY_EXC_ERR;
        dp_conn_break(c, dp_wc_errno(status), false);
        return;
    }
    if (DP_UNLIKELY(n > entries_used(c)))
        return; /* retired before */
    bool read = c->tx[slot].read != 0;
    while (--n)
        retire(c, false);
    retire(c, status != IBV_WC_SUCCESS);
    if (DP_UNLIKELY(status != IBV_WC_SUCCESS)) {
        c->stats.rnr_events += status == IBV_WC_RNR_RETRY_EXC_ERR;
        /* A message that its sender does not let be read: it has lied to us. */
        if (read && (status == IBV_WC_REM_ACCESS_ERR || status == IBV_WC_REM_INV_REQ_ERR))
            dp_conn_break(c, EPROTO, true);
        else
            dp_conn_break(c, dp_wc_errno(status), false);
    }
}

void dp_send_purge(struct dp_conn *c) {
    while (entries_used(c))
        retire(c, true);
}

void dp_send_fail_pending(struct dp_conn *c, int err) {
    struct qt_slot *s;

    dp_send_release(c);
    while ((s = qt_list_pop_front(&c->doomed)))
        dp_fail(c->engine, s, err);
    while ((s = c->pending.head))
        fail_pending(c, s, err);
}

int dp_conn_cancel_pushes(struct dp_conn *c) {
    if (!c)
        return EINVAL;
    dp_lock(c->engine);
    /* Those posted keep their memory until the send queue lets go of it. */
    for (uint32_t i = c->tx_tail; i != c->tx_head; i++) {
        struct dp_tx *tx = &c->tx[i & c->send_mask];
        if (tx->push)
            dp_fail(c->engine, tx->push, ECANCELED);
        tx->push = NULL;
    }
    dp_sources_fail(c, ECANCELED);
    dp_send_fail_pending(c, ECANCELED);
    dp_conn_settle(c);
    dp_unlock(c->engine);
    return 0;
}

/* What a push made now answers through its token, or 0. */
static int push_error(const struct dp_conn *c) {
    if (c->phase == DP_CONN_ENDED) {
        int err = dp_conn_final_err(c);
        return err ? err : EPIPE;
    }
    return flow_push_error(&c->flow);
}

/*
 * Takes hold of the bytes of a push, for as long as they are needed. now: it is not to wait for
 * others. Locked.
 */
static int hold(struct dp_conn *c, const demi_sgarray_t *sga, bool now, struct arena_block **block,
                uint32_t *lkey) {
    uint32_t len = sga->sga_segs[0].sgaseg_len;
    bool in_line = fits_inline(c, len);

    *block = NULL;
    *lkey = 0;
    if (in_line && now && !c->pending.head && c->phase == DP_CONN_OPEN &&
        flow_may_send_data(&c->flow) && entries_used(c) + c->tx_reserve < c->send_depth)
        return arena_check(&c->engine->cache, sga); /* copied before this call returns */
    int rc = arena_hold(sga, block);
    if (rc || in_line)
        return rc;
    rc = arena_lkey(*block, c->device->slot, lkey);
    if (rc)
        arena_unref(&c->engine->cache, *block);
    return rc;
}

/* As hold, of a message that goes by rendezvous: it is registered when its turn comes. */
static int hold_large(struct dp_conn *c, const demi_sgarray_t *sga, struct arena_block **block,
                      uint32_t *lkey) {
    int rc = arena_check(&c->engine->cache, sga);
    if (rc)
        return rc;
    if (sga->sga_segs[0].sgaseg_len > c->peer.max_message)
        return EMSGSIZE;
    rc = dp_source_init(c);
    if (rc)
        return rc;
    *lkey = 0;
    return arena_hold(sga, block);
}

int dp_push_slow(struct dp_conn *c, int32_t qd, const demi_sgarray_t *sga, demi_qtoken_t *qt_out) {
    struct dp_engine *e = c->engine;
    struct arena_block *block;
    struct qt_slot *s;
    uint32_t lkey;

    if (sga->sga_numsegs != 1 || sga->sga_segs[0].sgaseg_len == 0)
        return EINVAL;
    bool large = sga->sga_segs[0].sgaseg_len > c->max_payload;
    count_push(c);
    bool later = holds_back(c);
    int rc =
        DP_LIKELY(!large) ? hold(c, sga, !later, &block, &lkey) : hold_large(c, sga, &block, &lkey);
    if (DP_UNLIKELY(rc))
        return rc;
    rc = qt_alloc(&e->tokens, qd, DEMI_OPC_PUSH, &s);
    if (DP_UNLIKELY(rc)) {
        if (block)
            arena_unref(&e->cache, block);
        return rc;
    }
    *qt_out = qt_token(&e->tokens, s);
    c->stats.pushes++;
    rc = push_error(c);
    if (DP_UNLIKELY(rc)) {
        if (block)
            arena_unref(&e->cache, block);
        dp_fail(e, s, rc);
        return 0;
    }
    s->value.sga.sga_segs[0] = sga->sga_segs[0];
    s->scratch[0] = (uintptr_t)block;
    s->scratch[1] = 0;
    s->u32 = lkey;
    s->u64 = large ? DP_PUSH_LARGE : 0;
    qt_list_push_back(&c->pending, s);
    if (later) {
        if (!c->held)
            TAILQ_INSERT_TAIL(&e->held, c, held_link);
        c->held = true;
    } else if (c->phase == DP_CONN_OPEN) {
        dp_send_release(c);
        dp_send_pump(c);
        if (DP_UNLIKELY(c->phase != DP_CONN_OPEN))
            dp_close_settle(c);
    }
    dp_conn_ways(c);
    return 0;
}

/* Whether addr names the connection's peer. EINVAL: it is no address. */
static int check_peer(const struct dp_conn *c, const struct sockaddr *addr, socklen_t len) {
    const struct sockaddr_storage *peer = &c->peer_addr;

    if (addr->sa_family == AF_INET && len >= sizeof(struct sockaddr_in)) {
        const struct sockaddr_in *a = (const struct sockaddr_in *)addr;
        const struct sockaddr_in *b = (const struct sockaddr_in *)peer;
        return peer->ss_family == AF_INET && a->sin_port == b->sin_port &&
                       a->sin_addr.s_addr == b->sin_addr.s_addr
                   ? 0
                   : EISCONN;
    }
    if (addr->sa_family == AF_INET6 && len >= sizeof(struct sockaddr_in6)) {
        const struct sockaddr_in6 *a = (const struct sockaddr_in6 *)addr;
        const struct sockaddr_in6 *b = (const struct sockaddr_in6 *)peer;
        return peer->ss_family == AF_INET6 && a->sin6_port == b->sin6_port &&
                       memcmp(&a->sin6_addr, &b->sin6_addr, sizeof(a->sin6_addr)) == 0
                   ? 0
                   : EISCONN;
    }
    return EINVAL;
}

int dp_pushto(int32_t qd, const demi_sgarray_t *sga, const struct sockaddr *addr, socklen_t len,
              demi_qtoken_t *qt_out) {
    struct dp_conn *c;

    if (!sga || !qt_out || !addr || len < sizeof(addr->sa_family))
        return EINVAL;
    int rc = dp_qd_lock_conn(qd, &c);
    if (rc)
        return rc;
    struct dp_engine *e = c->engine;
    rc = check_peer(c, addr, len);
    if (rc == 0)
        rc = dp_push_slow(c, qd, sga, qt_out);
    dp_unlock(e);
    return rc;
}
