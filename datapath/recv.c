/*
 * Receiving: completions in the order of arrival, judged by frame.h and flow.h; messages
 * wait for pops, pops wait for messages.
 *
 * A message is handed to the application in the block that it arrived in. Its receive is
 * posted again, with another block, once a pop has taken it; that of a control frame at
 * once. Only a receive that has been posted is counted as returned.
 */
#include "internal.h"

static bool owes(const struct dp_conn *c) {
    return c->rx_owed_data || c->rx_owed_ctrl;
}

void dp_recv_starve(struct dp_conn *c, bool starved) {
    if (c->starved == starved)
        return;
    c->starved = starved;
    c->engine->starved += starved ? 1u : -1u;
    __atomic_fetch_add(&dp_starving, starved ? 1u : -1u, __ATOMIC_RELAXED);
}

/* A block for slot and a work request for it. ENOMEM: none. */
static int prepare(struct dp_conn *c, uint32_t slot, struct ibv_recv_wr *wr, struct ibv_sge *sge) {
    struct arena_block *b = arena_alloc(&c->engine->cache, c->local.recv_size);
    if (!b)
        return ENOMEM;
    int rc = arena_lkey(b, c->device->slot, &sge->lkey);
    if (rc) {
        arena_unref(&c->engine->cache, b);
        return rc;
    }
    c->rx[slot].block = b;
    sge->addr = (uintptr_t)arena_block_data(b);
    sge->length = c->local.recv_size;
    *wr = (struct ibv_recv_wr){
        .wr_id = dp_wr_id(DP_WR_RECV, c->gen, c->index, slot), .sg_list = sge, .num_sge = 1};
    return 0;
}

/* Undoes prepare. */
static void unprepare(struct dp_conn *c, uint32_t slot) {
    arena_unref(&c->engine->cache, c->rx[slot].block);
    c->rx[slot].block = NULL;
    c->rx_free[c->rx_nfree++] = slot;
}

/* A receive is posted: the account that it belongs to. Control first: the scarcer one. */
static void account(struct dp_conn *c) {
    c->rx_posted++;
    if (c->rx_owed_ctrl) {
        c->rx_owed_ctrl--;
        if (c->established)
            flow_return_ctrl(&c->flow);
    } else {
        c->rx_owed_data--;
        if (c->established)
            flow_return_data(&c->flow);
    }
}

int dp_recv_post(struct dp_conn *c) {
    int rc = 0;

    while (rc == 0 && owes(c)) {
        struct ibv_recv_wr wr[DP_TX_BATCH], *bad = NULL;
        struct ibv_sge sge[DP_TX_BATCH];
        uint32_t slots[DP_TX_BATCH], owed = c->rx_owed_data + c->rx_owed_ctrl;
        uint32_t n = 0, ok;

        while (n < DP_TX_BATCH && n < owed) {
            slots[n] = c->rx_free[c->rx_nfree - 1];
            rc = prepare(c, slots[n], &wr[n], &sge[n]);
            if (rc)
                break;
            c->rx_nfree--;
            if (n)
                wr[n - 1].next = &wr[n];
            n++;
        }
        dp_recv_starve(c, rc != 0);
        if (n == 0)
            break;
        c->stats.post_recvs++;
        int err = c->ops->post_recv(c->qp, wr, &bad);
        ok = n;
        if (DP_UNLIKELY(err)) {
            ok = 0;
            while (bad && ok < n && &wr[ok] != bad)
                ok++;
        }
        for (uint32_t i = 0; i < ok; i++)
            account(c);
        for (uint32_t i = ok; i < n; i++)
            unprepare(c, slots[i]);
        if (DP_UNLIKELY(err)) {
            dp_conn_break(c, err > 0 ? err : EIO, true);
            return err > 0 ? err : EIO;
        }
    }
    if (DP_UNLIKELY(c->starved)) {
        /* Not an error of the connection: the next poll tries again. */
        dp_conn_dirty(c);
        return c->established ? 0 : rc;
    }
    return 0;
}

void dp_recv_done(struct dp_conn *c, uint32_t slot, enum ibv_wc_status status, uint32_t bytes) {
    if (DP_UNLIKELY(slot >= c->rx_count || !c->rx[slot].block))
        return; /* never posted, or counted as flushed */
    struct arena_block *b = c->rx[slot].block;
    c->rx[slot].block = NULL;
    c->rx_free[c->rx_nfree++] = slot;
    c->rx_posted--;
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
        if (c->rx[i].block)
            arena_unref(&c->engine->cache, c->rx[i].block);
        c->rx[i].block = NULL;
    }
    c->rx_posted = 0;
}

int dp_conn_cancel_pops(struct dp_conn *c) {
    struct qt_slot *s;

    if (!c)
        return EINVAL;
    dp_lock(c->engine);
    while ((s = qt_list_pop_front(&c->pops)))
        dp_fail(c->engine, s, ECANCELED);
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
    if (c->pops.head || !answer(c, s)) {
        qt_list_push_back(&c->pops, s);
        if (DP_UNLIKELY(c->fetch_read != c->fetch_tail) && c->phase == DP_CONN_OPEN)
            dp_conn_settle(c); /* a large message that was left where it is */
    } else if (c->phase == DP_CONN_OPEN) {
        dp_conn_settle(c); /* a receive is free: credits move with pops, too */
    }
    return 0;
}
