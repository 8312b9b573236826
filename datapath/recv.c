/*
 * Receiving: completions in the order of arrival, judged by frame.h and flow.h; messages
 * wait for pops, pops wait for messages.
 *
 * A message is handed to the application in the block that it arrived in. Its receive is
 * posted again, with another block, once a pop has taken it; that of a control frame at
 * once. Only a receive that has been posted is counted as returned.
 */
#include "arena_fast.h"
#include "internal.h"

void dp_recv_starve(struct dp_conn *c, bool starved) {
    if (c->starved == starved)
        return;
    c->starved = starved;
    c->engine->starved += starved ? 1u : -1u;
    __atomic_fetch_add(&dp_starving, starved ? 1u : -1u, __ATOMIC_RELAXED);
}

/* A block for a receive on a device, and its key. NULL: *err says why. */
static __attribute__((noinline)) struct arena_block *
receive_block(struct arena_cache *cache, uint32_t size, int device, uint32_t *key, int *err) {
    struct arena_block *b = arena_alloc(cache, size);

    *err = b ? arena_lkey(b, device, key) : ENOMEM;
    if (b && *err) {
        arena_unref(cache, b);
        b = NULL;
    }
    return b;
}

/* The same out of the cache, which is where they are nearly always; NULL: not there. */
static inline struct arena_block *cached_block(struct arena_cache *cache, uint32_t class,
                                               int device, uint32_t *key) {
    struct arena_block *b = class < ARENA_LARGE ? arena_take_fast(cache, class) : NULL;
    uint64_t k = b ? arena_key_fast(b, device) : 0;

    if (DP_UNLIKELY(b && !k)) {
        arena_unref(cache, b);
        b = NULL;
    }
    *key = (uint32_t)k;
    return b;
}

struct dp_rx dp_no_rx = {.wr = {.next = &dp_no_rx.wr}};

/* Chains a receive that has got a block: the last of the circle from now on. */
static void chain(struct dp_conn *c, struct dp_rx *rx) {
    struct dp_rx *last = c->fast.tail;

    rx->wr.next = last == &dp_no_rx ? &rx->wr : last->wr.next;
    if (last != &dp_no_rx)
        last->wr.next = &rx->wr;
    c->fast.tail = rx;
    if (dp_recv_chained(c) == 0)
        c->fast.chain = rx;
    c->fast.left--;
}

/* What was chained is posted, or not in the circle any more. */
static void no_chain(struct dp_conn *c) {
    c->fast.chain = dp_recv_head(c);
    c->fast.left = c->fast.list;
}

void dp_recv_free(struct dp_conn *c, struct dp_rx *rx) {
    struct dp_rx *before = c->fast.tail;

    while (DP_UNLIKELY(dp_rx_next(before) != rx)) /* no provider should take one before its turn */
        before = dp_rx_next(before);
    before->wr.next = rx->wr.next;
    if (c->fast.tail == rx)
        c->fast.tail = before == rx ? &dp_no_rx : before;
    if (dp_recv_chained(c) == 0)
        c->fast.chain = dp_recv_head(c);
    c->rx_free[c->rx_nfree++] = (uint32_t)(rx - c->fast.rx);
    c->rx_posted--;
}

/*
 * Receives that are chained will not be posted: those from bad on, or all if that is none of them.
 * Takes their blocks back; returns how many. Nothing is chained any more: the others are posted.
 */
static uint32_t unpost(struct dp_conn *c, const struct ibv_recv_wr *bad) {
    uint32_t n = dp_recv_chained(c), posted = c->rx_posted - n, kept = 0;

    if (n == 0)
        return 0;
    struct dp_rx *head = dp_recv_head(c), *last = c->fast.tail, *rx = head;
    for (uint32_t i = 0; i < posted; i++) {
        last = rx;
        rx = dp_rx_next(rx);
    }
    for (const struct dp_rx *r = rx; kept < n && &r->wr != bad; r = dp_rx_next(r))
        kept++;
    if (kept == n)
        kept = 0;
    for (uint32_t i = 0; i < n; i++) {
        struct dp_rx *next = dp_rx_next(rx);
        if (i < kept) {
            last = rx;
        } else {
            arena_unref(&c->engine->cache, rx->block);
            rx->block = NULL;
            c->rx_free[c->rx_nfree++] = (uint32_t)(rx - c->fast.rx);
        }
        rx = next;
    }
    c->rx_posted -= n - kept;
    c->fast.tail = c->rx_posted ? last : &dp_no_rx;
    if (c->rx_posted)
        last->wr.next = &head->wr;
    no_chain(c);
    return n - kept;
}

/* n receives are posted: the accounts that they belong to. Control first: the scarcer one. */
static void account(struct dp_conn *c, uint32_t n) {
    uint32_t ctrl = n < c->rx_owed_ctrl ? n : c->rx_owed_ctrl;

    c->rx_owed_ctrl -= ctrl;
    c->rx_owed_data -= n - ctrl;
    if (c->established)
        flow_return(&c->flow, n - ctrl, ctrl);
}

/* Chains up to n receives; returns how many. *memory: as of post_list. */
static uint32_t prepare(struct dp_conn *c, uint32_t n, int *memory) {
    struct arena_cache *cache = &c->engine->cache;
    const uint32_t size = c->local.recv_size;
    const uint32_t class = size <= ARENA_MAX_CLASS ? arena_class(size) : ARENA_LARGE;
    const uint64_t wr_id = dp_wr_id(DP_WR_RECV, c->gen, c->index, 0);
    const int device = c->device->slot;
    uint32_t ready;

    *memory = 0;
    for (ready = 0; ready < n; ready++) {
        uint32_t slot = c->rx_free[c->rx_nfree - 1], key;
        struct arena_block *b = cached_block(cache, class, device, &key);
        if (DP_UNLIKELY(!b)) {
            b = receive_block(cache, size, device, &key, memory);
            if (!b)
                break;
        }
        c->rx_nfree--;
        struct dp_rx *rx = &c->fast.rx[slot];
        rx->block = b;
        rx->wr.wr_id = wr_id | slot;
        rx->sge.addr = b->addr;
        rx->sge.lkey = key;
        chain(c, rx);
    }
    c->rx_posted += ready;
    return ready;
}

/*
 * Posts up to n receives as one list, those that are chained, which n includes, and others;
 * DP_RECV_LIST at most, of which the caller accounts for as many as it returns. *memory: errno, if
 * there is none for the next one. *refused: of the post.
 */
static uint32_t post_list(struct dp_conn *c, uint32_t n, int *memory, int *refused) {
    struct ibv_recv_wr *bad = NULL, *head;
    uint32_t ready = dp_recv_chained(c), most = n < DP_RECV_LIST ? n : DP_RECV_LIST;

    ready += prepare(c, most - ready, memory);
    *refused = 0;
    if (ready == 0)
        return 0;
    c->stats.post_recvs++;
    head = c->fast.tail->wr.next;
    c->fast.tail->wr.next = NULL;
    int err = c->ops->post_recv(c->qp, &c->fast.chain->wr, &bad);
    c->fast.tail->wr.next = head;
    if (DP_UNLIKELY(err)) {
        *refused = err > 0 ? err : EIO;
        ready -= unpost(c, bad);
    }
    no_chain(c);
    return ready;
}

void dp_recv_refused(struct dp_conn *c, int rc) {
    uint32_t n = dp_recv_chained(c);

    c->rx_owed_data += n;
    account(c, n - unpost(c, c->engine->bad_recv));
    c->stats.post_recvs++;
    dp_conn_break(c, rc > 0 ? rc : EIO, true);
}

void dp_recv_unchain(struct dp_conn *c) {
    c->rx_owed_data += unpost(c, NULL);
}

int dp_recv_post(struct dp_conn *c, bool all) {
    int memory = 0, refused;
    uint32_t owed;

    c->rx_owed_data += dp_recv_chained(c);
    /* What does not make a list waits for more. */
    uint32_t keep = all || c->rx_owed_ctrl || c->starved ? 0 : c->rx_owed_data % c->fast.list;
    while (memory == 0 && (owed = c->rx_owed_data + c->rx_owed_ctrl) > keep) {
        uint32_t n = post_list(c, owed - keep, &memory, &refused);
        dp_recv_starve(c, memory != 0);
        account(c, n);
        if (DP_UNLIKELY(refused)) {
            dp_conn_break(c, refused, true);
            return refused;
        }
    }
    if (DP_UNLIKELY(c->starved)) {
        /* Not an error of the connection: the next poll tries again. */
        dp_conn_dirty(c);
        return c->established ? 0 : memory;
    }
    return 0;
}

void dp_recv_reserve(struct dp_conn *c) {
    int memory;
    c->rx_owed_data -= prepare(c, c->rx_owed_data, &memory);
    dp_recv_starve(c, memory != 0);
    if (DP_UNLIKELY(c->starved))
        dp_conn_dirty(c); /* the next poll tries again */
}

uint32_t dp_recv_add(struct dp_conn *c, uint32_t n) {
    int memory = 0, refused = 0;
    uint32_t total = 0;

    dp_recv_unchain(c); /* those are no new ones */
    while (total < n && !memory && !refused) {
        uint32_t posted = post_list(c, n - total, &memory, &refused);
        (void)flow_add(&c->flow, posted); /* window_max is within its bounds */
        total += posted;
    }
    if (DP_UNLIKELY(refused))
        dp_conn_break(c, refused, true);
    return total;
}

void dp_recv_done(struct dp_conn *c, uint32_t slot, enum ibv_wc_status status, uint32_t bytes) {
    if (DP_UNLIKELY(slot >= c->rx_count || !c->fast.rx[slot].block))
        return; /* never posted, or counted as flushed */
    struct arena_block *b = c->fast.rx[slot].block;
    c->fast.rx[slot].block = NULL;
    dp_recv_free(c, &c->fast.rx[slot]);
    if (DP_UNLIKELY(status != IBV_WC_SUCCESS)) {
        arena_unref(&c->engine->cache, b);
        c->recv_flushed = true;
        dp_conn_break(c, dp_wc_errno(status), false);
        return;
    }
    if (DP_UNLIKELY(!c->established)) {
        c->inbound[c->in_tail++ & c->in_mask] = (struct dp_inbound){.block = b, .bytes = bytes};
        return;
    }
    dp_recv_frame(c, b, bytes);
}

/* Acts on a control frame that flow.h has taken in. */
static void control(struct dp_conn *c, const struct frame *h) {
    c->rx_owed_ctrl++;
    switch (h->type) {
    case FRAME_CREDIT:
        c->stats.credits_in++;
        break;
    case FRAME_FIN:
        dp_notice_conn(c, c->flow.peer_fin == FLOW_FULL ? DP_BIT_FIN_FULL : DP_BIT_FIN_HALF);
        /* The peer reads no more: what has not been posted goes nowhere. */
        if (c->flow.peer_fin == FLOW_FULL && c->pending.head)
            dp_send_fail_pending(c, EPIPE);
        break;
    case FRAME_DONE:
    case FRAME_RESET:
        if (dp_source_answered(c, h->arg, h->type == FRAME_DONE))
            dp_conn_break(c, EPROTO, true);
        break;
    case FRAME_PING:
        dp_ping_came(c, h->arg);
        break;
    default:
        break; /* FIN_ACK, PONG: flow.h remembers; and it answers PING */
    }
}

void dp_recv_frame(struct dp_conn *c, struct arena_block *b, uint32_t bytes) {
    struct frame h;
    int rc = 0;

    if (DP_UNLIKELY(c->err == EPROTO && c->err_hard)) {
        /* The peer cannot be understood any more. */
        arena_unref(&c->engine->cache, b);
        return;
    }
    rc = frame_parse((const uint8_t *)arena_block_data(b), bytes, &c->frame_limits, &h);
    if (rc == 0)
        rc = flow_receive(&c->flow, &h);
    if (rc == 0 && DP_UNLIKELY(h.type == FRAME_RTS))
        rc = dp_fetch_add(c, (const uint8_t *)arena_block_data(b) + FRAME_HEADER_SIZE);
    if (DP_UNLIKELY(rc)) {
        arena_unref(&c->engine->cache, b);
        dp_conn_break(c, rc, true);
        return;
    }
    c->stats.frames_in++;
    if (DP_UNLIKELY(frame_is_data(h.type) && (h.flags & FRAME_F_WAITED)))
        dp_window_waited(c);
    if (h.type != FRAME_DATA) {
        arena_unref(&c->engine->cache, b);
        if (h.type != FRAME_RTS)
            control(c, &h);
    } else if (flow_drops(&c->flow)) {
        arena_unref(&c->engine->cache, b);
        c->rx_owed_data++;
    } else {
        c->inbound[c->in_tail++ & c->in_mask] = (struct dp_inbound){.block = b, .bytes = bytes};
    }
}

/* Completes s with the oldest message. */
static void deliver(struct dp_conn *c, struct qt_slot *s) {
    struct dp_inbound *in = &c->inbound[c->in_head++ & c->in_mask];
    demi_sgarray_t sga;

    if (DP_LIKELY(in->block != NULL)) {
        arena_give(in->block, FRAME_HEADER_SIZE, in->bytes - FRAME_HEADER_SIZE, &sga);
        c->rx_owed_data++;
        c->stats.bytes_in += in->bytes - FRAME_HEADER_SIZE;
    } else {
        dp_fetch_deliver(c, &sga);
    }
    sga.sga_addr = c->sga_addr;
    c->stats.pops++;
    dp_complete_sga(c->engine, s, &sga);
}

/* Completes s with a message of length 0: the peer sends no more. */
static void deliver_end(struct dp_conn *c, struct qt_slot *s) {
    struct arena_block *b = arena_alloc(&c->engine->cache, 1);
    demi_sgarray_t sga;

    if (!b) {
        dp_fail(c->engine, s, ENOMEM);
        return;
    }
    arena_give(b, 0, 0, &sga);
    sga.sga_addr = c->sga_addr;
    c->stats.pops++;
    dp_complete_sga(c->engine, s, &sga);
}

/* Completes s if there is something to complete it with. */
static bool answer(struct dp_conn *c, struct qt_slot *s) {
    if (c->in_head != c->in_tail) {
        if (DP_UNLIKELY(!c->inbound[c->in_head & c->in_mask].block) && !dp_fetch_ready(c))
            return false;
        deliver(c, s);
        return true;
    }
    bool ended = c->phase == DP_CONN_ENDED;
    int err = ended ? dp_conn_final_err(c) : 0;
    if ((c->flow.peer_fin != FLOW_OPEN && !c->lost) || (ended && err == 0)) {
        deliver_end(c, s);
        return true;
    }
    if (ended)
        dp_fail(c->engine, s, err);
    return ended;
}

void dp_recv_settle(struct dp_conn *c) {
    struct qt_slot *s;

    while ((s = c->pops.head)) {
        qt_list_remove(&c->pops, s);
        if (!answer(c, s)) {
            /* Back to where it was: it is still the oldest. */
            s->next = c->pops.head;
            s->prev = NULL;
            if (s->next)
                s->next->prev = s;
            else
                c->pops.tail = s;
            c->pops.head = s;
            c->pops.len++;
            return;
        }
    }
}

void dp_recv_drop(struct dp_conn *c) {
    while (c->in_head != c->in_tail) {
        const struct dp_inbound *in = &c->inbound[c->in_head++ & c->in_mask];
        if (!in->block)
            continue;
        arena_unref(&c->engine->cache, in->block);
        c->rx_owed_data++;
    }
    dp_fetch_drop(c);
}

void dp_recv_purge(struct dp_conn *c) {
    for (uint32_t i = 0; i < c->rx_count; i++) {
        if (c->fast.rx[i].block)
            arena_unref(&c->engine->cache, c->fast.rx[i].block);
        c->fast.rx[i].block = NULL;
    }
    c->fast.tail = &dp_no_rx;
    no_chain(c);
    c->rx_posted = 0;
}

int dp_conn_cancel_pops(struct dp_conn *c) {
    struct qt_slot *s;

    if (!c)
        return EINVAL;
    dp_lock(c->engine);
    while ((s = qt_list_pop_front(&c->pops)))
        dp_fail(c->engine, s, ECANCELED);
    dp_conn_ways(c);
    dp_unlock(c->engine);
    return 0;
}

int dp_pop_slow(struct dp_conn *c, int32_t qd, demi_qtoken_t *qt_out) {
    struct dp_engine *e = c->engine;
    struct qt_slot *s;

    int rc = qt_alloc(&e->tokens, qd, DEMI_OPC_POP, &s);
    if (DP_UNLIKELY(rc))
        return rc;
    *qt_out = qt_token(&e->tokens, s);
    s->owner = c;
    bool held = c->held;
    if (DP_UNLIKELY(held))
        dp_send_release(c); /* and sends below */
    if (c->pops.head || !answer(c, s)) {
        qt_list_push_back(&c->pops, s);
        if (DP_UNLIKELY(c->fetch_read != c->fetch_tail || held) && c->phase == DP_CONN_OPEN)
            dp_conn_settle(c); /* a large message that was left where it is */
    } else if (c->phase == DP_CONN_OPEN) {
        dp_conn_settle(c); /* a receive is free: credits move with pops, too */
    }
    dp_conn_ways(c);
    return 0;
}
