/*
 * Notices from the engine to Go. None is ever dropped, whatever Go does: a connection has
 * one bit for each kind, and a watched token has had its place in the ring reserved when
 * it was watched.
 */
#include "internal.h"

#include <stdlib.h>

/* Makes notice_fd readable, once until Go has drained it. */
static void ring_go(struct dp_engine *e) {
    if (e->notice_rung)
        return;
    e->notice_rung = true;
    dp_event_write(e->notice_fd);
}

void dp_notice_conn(struct dp_conn *c, uint32_t bit) {
    if (c->notices == 0)
        TAILQ_INSERT_TAIL(&c->engine->noticed, c, notice_link);
    c->notices |= bit;
    ring_go(c->engine);
}

void dp_notice_forget(struct dp_conn *c) {
    if (c->notices)
        TAILQ_REMOVE(&c->engine->noticed, c, notice_link);
    c->notices = 0;
}

void dp_notice_housekeeper(struct dp_engine *e) {
    e->notice_housekeeper = true;
    ring_go(e);
}

int dp_notice_reserve(struct dp_engine *e) {
    if (e->watch_reserved == e->watch_cap) {
        uint32_t cap = e->watch_cap ? e->watch_cap * 2 : 64;
        demi_qtoken_t *ring = (demi_qtoken_t *)malloc(cap * sizeof(*ring));
        if (!ring)
            return ENOMEM;
        uint32_t n = 0;
        while (e->watch_head != e->watch_tail)
            ring[n++] = e->watch_ring[e->watch_head++ & (e->watch_cap - 1)];
        free(e->watch_ring);
        e->watch_ring = ring;
        e->watch_cap = cap;
        e->watch_head = 0;
        e->watch_tail = n;
    }
    e->watch_reserved++;
    return 0;
}

void dp_notice_token(struct dp_engine *e, demi_qtoken_t qt) {
    e->watch_ring[e->watch_tail++ & (e->watch_cap - 1)] = qt;
    ring_go(e);
}

/* The next notice of a connection: one bit, in the order in which they make sense. */
static void take_conn(struct dp_conn *c, struct dp_notice *out) {
    uint32_t bit = c->notices & -c->notices;

    if (c->notices & DP_BIT_FIN_HALF)
        bit = DP_BIT_FIN_HALF;
    else if (c->notices & DP_BIT_FIN_FULL)
        bit = DP_BIT_FIN_FULL;
    *out = (struct dp_notice){.cookie = c->cookie};
    switch (bit) {
    case DP_BIT_BROKEN:
        out->kind = DP_NOTICE_BROKEN;
        out->arg = c->broken_err;
        break;
    case DP_BIT_DRAINED:
        out->kind = DP_NOTICE_DRAINED;
        break;
    case DP_BIT_FLUSHED:
        out->kind = DP_NOTICE_FLUSHED;
        break;
    default:
        out->kind = DP_NOTICE_PEER_FIN;
        out->arg = bit == DP_BIT_FIN_FULL;
        break;
    }
    c->notices &= ~bit;
    if (c->notices == 0)
        TAILQ_REMOVE(&c->engine->noticed, c, notice_link);
}

int dp_engine_notice_fd(struct dp_engine *e) {
    return e->notice_fd;
}

int dp_engine_notices(struct dp_engine *e, struct dp_notice *out, int n) {
    int k = 0;

    if (!e || !out || n <= 0)
        return 0;
    dp_lock(e);
    while (k < n && !TAILQ_EMPTY(&e->noticed))
        take_conn(TAILQ_FIRST(&e->noticed), &out[k++]);
    while (k < n && e->watch_head != e->watch_tail) {
        demi_qtoken_t qt = e->watch_ring[e->watch_head++ & (e->watch_cap - 1)];
        e->watch_reserved--;
        out[k++] = (struct dp_notice){.kind = DP_NOTICE_TOKEN, .cookie = qt};
    }
    if (k < n && e->notice_housekeeper) {
        e->notice_housekeeper = false;
        out[k++] = (struct dp_notice){.kind = DP_NOTICE_HOUSEKEEPER};
    }
    if (k < n && e->notice_rung) {
        e->notice_rung = false;
        dp_event_read(e->notice_fd); /* Go may have drained it through its dup */
    }
    dp_unlock(e);
    return k;
}
