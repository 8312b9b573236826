/*
 * The receive window: the tables of a connection's receives, and their growth with traffic.
 *
 * A window is as small as the hello said until traffic shows that a larger one pays, in one
 * of three ways. The peer says that a message had to wait for a receive, while the application
 * here keeps up. Or a bare CREDIT is due for half a window of messages all of which found
 * their pop waiting, and nobody slept meanwhile: CREDITs are then what one-way traffic costs
 * beside its messages. Or the connection is busy: message after message finds its pop waiting, and
 * nobody has slept for a long time. It gets a window of BUSY_WINDOW, so that receives are posted in
 * longer lists, and tells the peer by its next message: no CREDIT goes in ping-pong. An application
 * that lets messages lie never makes a window grow.
 *
 * A window doubles, up to its ceiling and what the CQ has room for; that is tried at most once
 * for each window of messages. It never shrinks: the peer counts on what it has been told.
 */
#include "internal.h"

#include <stdlib.h>

#define BUSY_WINDOW 32u

/* Smallest power of two that is at least n. */
static uint32_t pow2(uint32_t n) {
    uint32_t p = 1;
    while (p < n)
        p <<= 1;
    return p;
}

int dp_window_tables(struct dp_conn *c, uint32_t data_window) {
    uint32_t slots = data_window + c->local.ctrl_window;
    uint32_t in = pow2(slots), fetches = pow2(data_window);

    if (slots <= c->rx_count)
        return 0;
    struct dp_rx *rx = (struct dp_rx *)aligned_alloc(64, slots * sizeof(*rx));
    uint32_t *rx_free = (uint32_t *)calloc(slots, sizeof(*rx_free));
    struct dp_inbound *inbound = (struct dp_inbound *)calloc(in, sizeof(*inbound));
    struct dp_fetch *fetch = (struct dp_fetch *)calloc(fetches, sizeof(*fetch));
    if (!rx || !rx_free || !inbound || !fetch) {
        free(rx);
        free(rx_free);
        free(inbound);
        free(fetch);
        return ENOMEM;
    }
    dp_recv_unchain(c); /* work requests move */
    if (!c->rx_count) {
        c->fast.list = c->fast.left = flow_data_list((uint16_t)data_window);
        c->fast.tail = c->fast.chain = &dp_no_rx;
    }
    /* Slots keep their numbers, which work requests name; the lowest free one is used next. */
    uint32_t n = 0;
    for (uint32_t i = slots; i-- > c->rx_count;)
        rx_free[n++] = i;
    for (uint32_t i = 0; i < c->rx_nfree; i++)
        rx_free[n++] = c->rx_free[i];
    for (uint32_t i = 0; i < slots; i++) {
        rx[i] = (struct dp_rx){.wr = {.sg_list = &rx[i].sge, .num_sge = 1},
                               .sge = {.length = c->local.recv_size}};
        const struct dp_rx *old = i < c->rx_count ? &c->fast.rx[i] : NULL;
        if (!old || !old->block)
            continue;
        rx[i].wr.wr_id = old->wr.wr_id;
        rx[i].wr.next = &rx[dp_rx_next(old) - c->fast.rx].wr;
        rx[i].block = old->block;
    }
    if (c->fast.tail != &dp_no_rx) {
        c->fast.tail = &rx[c->fast.tail - c->fast.rx];
        c->fast.chain = dp_recv_head(c);
    }
    /* Entries of the rings keep their numbers, too, and change their places only. */
    for (uint32_t i = c->in_head; i != c->in_tail; i++)
        inbound[i & (in - 1)] = c->inbound[i & c->in_mask];
    for (uint32_t i = c->fetch_head; i != c->fetch_tail; i++)
        fetch[i & (fetches - 1)] = c->fetches[i & c->fetch_mask];
    dp_window_free(c);
    c->fast.rx = rx;
    c->rx_free = rx_free;
    c->rx_nfree = n;
    c->rx_count = slots;
    c->inbound = inbound;
    c->in_mask = in - 1;
    c->fetches = fetch;
    c->fetch_mask = fetches - 1;
    return 0;
}

void dp_window_free(struct dp_conn *c) {
    free(c->fast.rx);
    free(c->rx_free);
    free(c->inbound);
    free(c->fetches);
}

void dp_window_list(struct dp_conn *c) {
    uint32_t list = flow_data_list(c->flow.granted);

    if (!c->established)
        return;
    c->fast.list_of = c->flow.granted;
    /* It never gets shorter. */
    c->fast.left += list - c->fast.list;
    c->fast.list = list;
}

void dp_window_waited(struct dp_conn *c) {
    uint32_t ahead = c->in_tail - c->in_head, window = c->flow.data_window;
    /* A small one is returned as a whole, so that a slow application has none ahead then, either.
     */
    uint32_t slack = window < 8 ? 0 : window / 4 + 1;

    c->window_short |= ahead < c->pops.len + slack;
    if (flow_told_later(&c->flow)) { /* but there may be no message soon */
        flow_tell_now(&c->flow);
        dp_conn_dirty(c);
    }
}

/* Posts up to n more receives, and has the peer told of as many. */
static void grow(struct dp_conn *c, uint32_t n) {
    uint32_t window = c->flow.data_window, room = c->cq->depth - c->cq->used;

    c->window_tried = true;
    c->window_mark = c->flow.seq_in;
    if (n > room) {
        c->stats.window_no_budget++;
        n = room;
    }
    if (n == 0)
        return;
    if (dp_window_tables(c, window + n)) {
        c->stats.window_no_memory++;
        return;
    }
    uint32_t posted = dp_recv_add(c, n);
    c->cq->used += posted;
    c->budget += posted;
    c->stats.window_no_memory += posted < n && c->phase == DP_CONN_OPEN;
    c->stats.window_grown += posted != 0;
}

/* It is time to look whether the connection is busy. */
static bool busy(struct dp_conn *c) {
    bool slept = c->busy_naps != c->engine->naps;

    c->fast.look = c->fast.chains + c->busy_lists;
    c->busy_naps = c->engine->naps;
    return !slept;
}

/* Whether a busy connection's window can double, of all of which the peer knows. */
static bool may_double(const struct dp_conn *c) {
    uint32_t window = c->flow.data_window, most = c->window_max;

    return 2 * window <= (most < BUSY_WINDOW ? most : BUSY_WINDOW) && c->flow.granted == window &&
           c->cq->depth - c->cq->used >= window;
}

void dp_window_settle(struct dp_conn *c) {
    const struct flow *f = &c->flow;
    bool pays = c->window_short, later = false;

    c->window_short = false;
    if (f->data_owed >= f->data_due && !c->pending.head) {
        /* A bare CREDIT is about to go. */
        pays |= c->fast.pops - c->window_pops >= f->data_due && c->window_naps == c->engine->naps;
        c->window_pops = c->fast.pops;
        c->window_naps = c->engine->naps;
    }
    uint32_t window = f->data_window;
    if (c->fast.chains >= c->fast.look && busy(c) && !pays)
        pays = later = may_double(c);
    if (!pays || window >= c->window_max || c->starved || flow_drops(f) || !flow_expects_data(f) ||
        (c->window_tried && (uint16_t)(f->seq_in - c->window_mark) < window))
        return;
    grow(c, window < c->window_max - window ? window : c->window_max - window);
    if (later)
        (void)flow_tell_later(&c->flow); /* unless it has grown by less */
}
