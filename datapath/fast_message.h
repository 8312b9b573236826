/*
 * Private to fast_wait.c: what a completion of a plain message, or of an inline send, makes of its
 * connection, and of the pop that waits for it; see fast.h.
 */
#ifndef CATMINT_FAST_MESSAGE_H
#define CATMINT_FAST_MESSAGE_H

#include "fast.h"

/*
 * Gives the receive that heads the circle, and whose message has been handed on, another block:
 * that chains it. The key is the same if the chunk is, which the message keeps alive. False: there
 * is no block, or it has no key.
 */
HOT bool chain_again(struct dp_conn *c, struct arena_cache_class *cc, struct dp_rx *rx) {
    struct arena_block *b;
    if (DP_UNLIKELY(!arena_take_warmest(cc, &b)))
        return false;
    rx->block = b;
    if (DP_UNLIKELY(!arena_same_chunk(b->addr, rx->sge.addr))) {
        uint64_t key = arena_key_fast(b, c->fast.slot);
        if (DP_UNLIKELY(!key))
            return false;
        rx->sge.lkey = (uint32_t)key;
    }
    rx->sge.addr = b->addr;
    c->fast.tail = rx;
    return true;
}

/* The same has failed: the general functions see to it. Its block has been handed on, or has no
 * key. */
COLD void not_chained(struct dp_conn *c, struct dp_rx *rx, const struct arena_block *handed_on) {
    if (rx->block != handed_on)
        arena_unref(&c->engine->cache, rx->block);
    rx->block = NULL;
    dp_recv_free(c, rx);
    c->rx_owed_data++;
    dp_conn_dirty(c);
}

/* The chain is as long as it should be: posts it. Not 0: for dp_recv_refused. */
HOT int post_chain(struct dp_conn *c) {
    struct dp_rx *first = c->fast.chain, *last = c->fast.tail;

    c->fast.chain = dp_recv_head(c); /* none is chained, if all goes well */
    last->wr.next = NULL;
    int rc = c->ops->post_recv(c->qp, &first->wr, &c->engine->bad_recv);
    last->wr.next = &c->fast.chain->wr;
    return rc;
}

/* The chain has been posted. Whether a CREDIT is due, or the window to be looked at. */
HOT bool chain_posted(struct dp_conn *c) {
    uint32_t n = c->fast.list;

    c->fast.left = n;
    c->fast.chains++;
    flow_return(&c->flow, n, 0);
    return flow_data_credit_due(&c->flow) || c->fast.chains == c->fast.look;
}

/* The pop that a caller of demi_wait waits for, and where its result goes. */
struct awaited {
    struct qt_slot *slot; /* NULL: it has been taken */
    demi_qtoken_t qt;
    demi_qresult_t *out;
};

/* Writes the result of a pop of c that gets a message of len bytes. */
HOT void give(struct dp_conn *c, struct arena_block *b, uint32_t len, demi_qtoken_t qt,
              demi_qresult_t *out) {
    memcpy(out, &c->fast.result, sizeof(c->fast.result));
    out->qr_qt = qt;
    out->qr_ret = 0;
    arena_give_fast(b, len, &c->sga_addr, &out->qr_value.sga);
}

/* Hands a message to whoever waits in this very call. */
HOT void give_now(struct dp_engine *e, struct dp_conn *c, struct arena_block *b, uint32_t len,
                  struct awaited *a) {
    give(c, b, len, a->qt, a->out);
    qt_release(&e->tokens, a->slot);
    a->slot = NULL;
    /* Another thread may sleep for the same token, which has gone now. */
    dp_ring(e);
}

/* Completes a pop with a message, for whoever will wait for it. */
HOT void give_later(struct dp_engine *e, struct dp_conn *c, struct arena_block *b, uint32_t len,
                    struct qt_slot *s) {
    arena_give_fast(b, len, &c->sga_addr, &s->value.sga);
    (void)qt_finish(&e->tokens, s, DEMI_OPC_POP, 0);
    dp_announce(e, s);
}

/* A message of len bytes has been handed on. */
HOT void count_pop(struct dp_conn *c, uint32_t len) {
    c->fast.pops++;
    c->fast.bytes_in += len;
}

/* A receive in which b came, which has been handed on, goes back. Whether to settle. */
HOT bool give_back(struct dp_conn *c, struct dp_rx *rx, const struct arena_block *b) {
    if (DP_UNLIKELY(!chain_again(c, c->fast.recv_class, rx))) {
        not_chained(c, rx, b);
        return true;
    }
    if (--c->fast.left)
        return false;
    int rc = post_chain(c);
    if (DP_UNLIKELY(rc)) {
        dp_recv_refused(c, rc);
        return true;
    }
    return chain_posted(c);
}

/* A message for the oldest pending pop. False: not that plain; nothing has changed. */
HOT bool received(struct dp_engine *e, struct dp_conn *c, const struct ibv_wc *wc,
                  struct awaited *a) {
    struct dp_rx *rx = dp_recv_head(c);
    uint32_t bytes = wc->byte_len;
    struct qt_slot *s = c->pops.head;

    if (DP_UNLIKELY(!s || wc->wr_id != rx->wr.wr_id))
        return false;
    struct arena_block *b = rx->block;
    if (DP_UNLIKELY(!flow_receive_data(&c->flow, (const uint8_t *)b->addr, bytes)))
        return false;
    (void)qt_list_pop_front(&c->pops);
    if (!c->pops.head)
        c->fast.no &= ~(uint32_t)DP_NO_POP; /* nothing is inbound while a pop waits */
    if (DP_LIKELY(s == a->slot && !s->watched))
        give_now(e, c, b, bytes - FRAME_HEADER_SIZE, a);
    else
        give_later(e, c, b, bytes - FRAME_HEADER_SIZE, s);
    count_pop(c, bytes - FRAME_HEADER_SIZE);
    if (give_back(c, rx, b))
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

#endif
