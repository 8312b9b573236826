/*
 * Large messages: RTS, RDMA READ, DONE or RESET (docs/protocol.md, section 6).
 *
 * The sender. A push above the peer's receive size keeps a reference to its block. When its
 * turn comes, exactly the bytes pushed are registered for remote read, and an RTS names
 * them. The region belongs to this one message of this one connection: it goes with the
 * DONE or RESET, or once the queue pair answers nobody any more, so its key never serves
 * another peer, nor other bytes. The push completes then, too.
 *
 * The receiver. Each RTS has a struct dp_fetch, numbered as the RTS, and an entry without a
 * block among the inbound messages, so that order is kept. READs go out in the order of
 * the RTS, in pieces, all signalled, when a pop waits, when the peer has sent FIN, or
 * within a budget. The block belongs to the fetch until it is popped; one that nobody wants
 * any more is released when its last READ has come back, never before: a READ on its way
 * writes into it.
 *
 * On iWARP the block is registered by itself, for the peer to write, while READs go into it.
 *
 *   fetch_head <= fetch_answer, fetch_pop, fetch_read <= fetch_tail
 */
#include "internal.h"

#include <stdlib.h>

#define DP_READ_BYTES (UINT32_C(1) << 20) /* of one READ at most */
/*
 * Under way at once, however many READs may be: what is sent behind them, such as the PING that
 * tells how they get on, arrives after their answers.
 */
#define DP_READ_WINDOW (UINT64_C(4) << 20)
#define DP_PREFETCH_CONN (UINT64_C(4) << 20)    /* fetched ahead of pops, a connection */
#define DP_PREFETCH_ENGINE (UINT64_C(64) << 20) /* and an engine */

/* ---- The sender ------------------------------------------------------------------------- */

static struct dp_source *source_of(struct dp_conn *c, uint32_t number) {
    return &c->sources[number & (DP_SOURCES - 1)];
}

int dp_source_init(struct dp_conn *c) {
    if (!c->sources)
        c->sources = (struct dp_source *)calloc(DP_SOURCES, sizeof(*c->sources));
    return c->sources ? 0 : ENOMEM;
}

static void dereg(struct dp_conn *c, struct ibv_mr *mr) {
    if (!mr)
        return;
    /* A failure means that there is no device any more: the region is forgotten either way. */
    int cancel = dp_cancel_off();
    (void)c->device->ops->dereg_mr(mr);
    dp_cancel_back(cancel);
    dp_count(&dp_counts.regions, -1);
}

/* Registers the bytes of one message for the peer. */
static int reg(struct dp_conn *c, void *addr, uint32_t len, int access, struct ibv_mr **out) {
    const struct dp_device *d = c->device;
    int cancel = dp_cancel_off();

    int rc = d->ops->reg_mr(d->pd, addr, len, access, out);
    if (rc == ENOMEM) {
        /* Empty chunks are locked memory, too. */
        arena_trim(0);
        rc = d->ops->reg_mr(d->pd, addr, len, access, out);
    }
    dp_cancel_back(cancel);
    if (!rc)
        dp_count(&dp_counts.regions, 1);
    return rc;
}

/* Registers the bytes of a push for the peer to read. */
static int share(struct dp_conn *c, struct qt_slot *s) {
    const demi_sgaseg_t *seg = &s->value.sga.sga_segs[0];
    struct ibv_mr *mr = NULL;
    int rc = reg(c, seg->sgaseg_buf, seg->sgaseg_len, IBV_ACCESS_REMOTE_READ, &mr);

    if (!rc)
        s->scratch[1] = (uintptr_t)mr;
    return rc;
}

int dp_source_prepare(struct dp_conn *c, struct qt_slot *s) {
    if (c->flow.rts_sent - c->src_tail >= DP_SOURCES)
        return EAGAIN;
    int rc = share(c, s);
    /* What was announced before lets go of its memory sooner or later. */
    return rc == ENOMEM && c->src_tail != c->flow.rts_sent ? EAGAIN : rc;
}

void dp_source_rts(const struct qt_slot *s, uint8_t *body) {
    const struct ibv_mr *mr = (const struct ibv_mr *)(uintptr_t)s->scratch[1];
    const struct frame_rts rts = {.addr = (uintptr_t)s->value.sga.sga_segs[0].sgaseg_buf,
                                  .length = s->value.sga.sga_segs[0].sgaseg_len,
                                  .rkey = mr->rkey};
    frame_encode_rts(&rts, body);
}

void dp_source_posted(struct dp_conn *c, struct qt_slot *s) {
    *source_of(c, s->u32) = (struct dp_source){
        .push = s,
        .block = (struct arena_block *)(uintptr_t)s->scratch[0],
        .mr = (struct ibv_mr *)(uintptr_t)s->scratch[1],
    };
    c->stats.large_out++;
}

void dp_source_drop(struct dp_conn *c, struct qt_slot *s) {
    if (s->u64 == DP_PUSH_LARGE)
        dereg(c, (struct ibv_mr *)(uintptr_t)s->scratch[1]);
}

/* The peer has no use for its bytes any more. */
static void source_release(struct dp_conn *c, struct dp_source *src) {
    dereg(c, src->mr);
    if (src->block)
        arena_unref(&c->engine->cache, src->block);
    src->mr = NULL;
    src->block = NULL;
}

int dp_source_answered(struct dp_conn *c, uint32_t number, bool done) {
    if (number - c->src_tail >= c->flow.rts_sent - c->src_tail)
        return EPROTO;
    struct dp_source *src = source_of(c, number);
    if (!src->mr)
        return EPROTO; /* answered before */
    source_release(c, src);
    if (src->push && done)
        dp_complete(c->engine, src->push, DEMI_OPC_PUSH, 0);
    else if (src->push)
        dp_fail(c->engine, src->push, EPIPE);
    src->push = NULL;
    while (c->src_tail != c->flow.rts_sent && !source_of(c, c->src_tail)->mr)
        c->src_tail++;
    return 0;
}

void dp_sources_fail(struct dp_conn *c, int err) {
    for (uint32_t i = c->src_tail; i != c->flow.rts_sent; i++) {
        struct dp_source *src = source_of(c, i);
        if (src->push)
            dp_fail(c->engine, src->push, err);
        src->push = NULL;
    }
}

void dp_sources_release(struct dp_conn *c) {
    for (uint32_t i = c->src_tail; i != c->flow.rts_sent; i++)
        source_release(c, source_of(c, i));
}

/* ---- The receiver: what is to be fetched ------------------------------------------------- */

static struct dp_fetch *fetch_of(const struct dp_conn *c, uint32_t number) {
    return &c->fetches[number & c->fetch_mask];
}

int dp_fetch_add(struct dp_conn *c, const uint8_t *body) {
    struct frame_rts rts;

    /* A peer that answers no READs has no business to send one. */
    if (frame_parse_rts(body, &c->frame_limits, &rts) || c->read_depth == 0)
        return EPROTO;
    c->flow.unread = 1;
    struct dp_fetch *f = fetch_of(c, c->fetch_tail++);
    *f = (struct dp_fetch){.addr = rts.addr, .length = (uint32_t)rts.length, .rkey = rts.rkey};
    if (flow_drops(&c->flow)) {
        f->state = DP_FETCH_REFUSED;
        f->taken = true;
        c->fetch_pop = c->fetch_tail;
    } else {
        f->at = c->in_tail;
        c->inbound[c->in_tail++ & c->in_mask] = (struct dp_inbound){.block = NULL};
    }
    return 0;
}

/* Bytes held ahead of pops. */
static void charge(struct dp_conn *c, struct dp_fetch *f) {
    f->charged = true;
    c->prefetched += f->length;
    c->engine->prefetched += f->length;
}

static void discharge(struct dp_conn *c, struct dp_fetch *f) {
    if (!f->charged)
        return;
    f->charged = false;
    c->prefetched -= f->length;
    c->engine->prefetched -= f->length;
    /* Who had no room for it in the engine's budget looks again. */
    struct dp_conn *other;
    while (DP_UNLIKELY((other = TAILQ_FIRST(&c->engine->crowded)) != NULL)) {
        dp_fetch_crowd(other, false);
        dp_conn_dirty(other);
    }
}

void dp_fetch_crowd(struct dp_conn *c, bool crowded) {
    if (c->crowded == crowded)
        return;
    c->crowded = crowded;
    if (crowded)
        TAILQ_INSERT_TAIL(&c->engine->crowded, c, crowded_link);
    else
        TAILQ_REMOVE(&c->engine->crowded, c, crowded_link);
}

/* No READ goes into its block any more: nor shall the peer write there. */
static void close_sink(struct dp_conn *c, struct dp_fetch *f) {
    if (!c->device->attr.iwarp)
        return;
    dereg(c, f->sink.mr);
    f->sink.mr = NULL;
}

static void release_block(struct dp_conn *c, struct dp_fetch *f) {
    close_sink(c, f);
    discharge(c, f);
    if (f->block)
        arena_unref(&c->engine->cache, f->block);
    f->block = NULL;
}

/* Forgets the oldest that are over and done with. */
static void advance(struct dp_conn *c) {
    while (c->fetch_head != c->fetch_tail) {
        const struct dp_fetch *f = fetch_of(c, c->fetch_head);
        if (!f->taken || !f->answered)
            return;
        c->fetch_head++;
    }
    c->flow.unread = 0;
}

/* Nobody will pop it. Its memory goes now, or with the last READ on its way. */
static void abandon(struct dp_conn *c, struct dp_fetch *f) {
    f->taken = true;
    discharge(c, f);
    if (f->returned != f->issued)
        return;
    release_block(c, f);
    if (f->state != DP_FETCH_DONE)
        f->state = DP_FETCH_REFUSED;
    else if (f->answered)
        c->rx_owed_data++;
}

void dp_fetch_drop(struct dp_conn *c) {
    for (; c->fetch_pop != c->fetch_tail; c->fetch_pop++)
        abandon(c, fetch_of(c, c->fetch_pop));
    advance(c);
}

/* ---- Answers ------------------------------------------------------------------------------- */

uint8_t dp_fetch_answer(const struct dp_conn *c) {
    switch (fetch_of(c, c->fetch_answer)->state) {
    case DP_FETCH_DONE:
        return FRAME_DONE;
    case DP_FETCH_REFUSED:
        return FRAME_RESET;
    default:
        return 0;
    }
}

void dp_fetch_answered(struct dp_conn *c) {
    struct dp_fetch *f = fetch_of(c, c->fetch_answer++);
    f->answered = true;
    if (f->taken)
        c->rx_owed_data++;
    advance(c);
}

/* ---- Pops ------------------------------------------------------------------------------------ */

bool dp_fetch_ready(const struct dp_conn *c) {
    return fetch_of(c, c->fetch_pop)->state == DP_FETCH_DONE;
}

void dp_fetch_deliver(struct dp_conn *c, demi_sgarray_t *sga) {
    struct dp_fetch *f = fetch_of(c, c->fetch_pop++);
    arena_give(f->block, 0, f->length, sga);
    f->block = NULL;
    f->taken = true;
    discharge(c, f);
    c->stats.bytes_in += f->length;
    c->stats.large_in++;
    if (f->answered)
        c->rx_owed_data++;
    advance(c);
}

void dp_fetch_end(struct dp_conn *c) {
    dp_fetch_starve(c, false);
    dp_fetch_crowd(c, false);
    uint32_t k = c->fetch_pop;
    while (k != c->fetch_tail && fetch_of(c, k)->state == DP_FETCH_DONE)
        k++;
    if (k == c->fetch_tail)
        return;
    /* It will never be whole, and what came behind it cannot be had without it. */
    c->lost = true;
    for (uint32_t i = fetch_of(c, k)->at; i != c->in_tail; i++) {
        struct dp_inbound *in = &c->inbound[i & c->in_mask];
        if (in->block)
            arena_unref(&c->engine->cache, in->block);
    }
    c->in_tail = fetch_of(c, k)->at;
    for (uint32_t i = k; i != c->fetch_tail; i++)
        release_block(c, fetch_of(c, i));
    c->fetch_tail = c->fetch_read = k;
}

/* ---- READs -------------------------------------------------------------------------------------
 */

void dp_fetch_starve(struct dp_conn *c, bool starved) {
    if (c->fetch_starved == starved)
        return;
    c->fetch_starved = starved;
    c->engine->starved += starved ? 1u : -1u;
    __atomic_fetch_add(&dp_starving, starved ? 1u : -1u, __ATOMIC_RELAXED);
}

/*
 * Lets READs go into b. On iWARP the answers to READs are tagged writes of the
 * peer's, so that it must be allowed to write there: into this message alone, and only as long as
 * it is being read.
 */
static int open_sink(struct dp_conn *c, struct dp_fetch *f, struct arena_block *b) {
    if (!c->device->attr.iwarp)
        return arena_lkey(b, c->device->slot, &f->sink.lkey);
    return reg(c, arena_block_data(b), f->length, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE,
               &f->sink.mr);
}

/* Gives f a block to be read into, if it is its time. */
static bool start(struct dp_conn *c, struct dp_fetch *f) {
    struct dp_engine *e = c->engine;
    bool wanted = f->at - c->in_head < c->pops.len || c->flow.peer_fin != FLOW_OPEN;

    if (!wanted && c->prefetched + f->length > DP_PREFETCH_CONN)
        return false;
    if (!wanted && e->prefetched + f->length > DP_PREFETCH_ENGINE) {
        dp_fetch_crowd(c, true);
        return false;
    }
    struct arena_block *b = arena_alloc(&e->cache, f->length);
    if (b && open_sink(c, f, b)) {
        arena_unref(&e->cache, b);
        b = NULL;
    }
    if (!b && wanted) {
        /* Not an error of the connection: the next poll tries again. */
        dp_fetch_starve(c, true);
        dp_conn_dirty(c);
    }
    if (!b)
        return false;
    f->block = b;
    f->state = DP_FETCH_READING;
    charge(c, f);
    return true;
}

/* The next READ of message number, in the next entry of the send queue. */
static void add_read(struct dp_conn *c, uint32_t number, uint32_t bytes, struct ibv_send_wr *wr,
                     struct ibv_sge *sge) {
    struct dp_fetch *f = fetch_of(c, number);
    dp_send_no_room(c);
    uint32_t slot = c->tx_head++ & c->send_mask;

    *sge = (struct ibv_sge){.addr = (uintptr_t)arena_block_data(f->block) + f->issued,
                            .length = bytes,
                            .lkey = c->device->attr.iwarp ? f->sink.mr->lkey : f->sink.lkey};
    memset(wr, 0, sizeof(*wr));
    wr->wr_id = dp_wr_id(DP_WR_SEND, c->gen, c->index, slot);
    wr->sg_list = sge;
    wr->num_sge = 1;
    wr->opcode = IBV_WR_RDMA_READ;
    wr->send_flags = IBV_SEND_SIGNALED;
    wr->wr.rdma.remote_addr = f->addr + f->issued;
    wr->wr.rdma.rkey = f->rkey;
    f->issued += bytes;
    c->reads++;
    c->reading += bytes;
    c->tx[slot] = (struct dp_tx){.signaled = true, .read = bytes, .number = number};
    c->tx_signaled++;
    c->tx_laden++;
    c->tx_quiet = 0;
}

/* Takes back the READs from the work request at which post_send stopped. */
static void take_back(struct dp_conn *c, struct dp_fetch *f, uint32_t n) {
    while (n--) {
        const struct dp_tx *tx = &c->tx[--c->tx_head & c->send_mask];
        f->issued -= tx->read;
        c->reads--;
        c->reading -= tx->read;
        c->tx_signaled--;
        c->tx_laden--;
    }
}

/* READs that may be posted now. */
static uint32_t read_room(const struct dp_conn *c) {
    uint32_t used = c->tx_head - c->tx_tail, most = c->send_depth - c->tx_reserve;
    uint32_t entries = used < most ? most - used : 0;
    uint32_t reads = c->reads < c->read_depth ? c->read_depth - c->reads : 0;
    return entries < reads ? entries : reads;
}

/* Posts READs of a message as far as there is room; whether all of it is on its way. */
static bool issue(struct dp_conn *c, uint32_t number) {
    struct dp_fetch *f = fetch_of(c, number);
    uint64_t most = c->device->attr.max_msg_sz;
    uint32_t piece = most && most < DP_READ_BYTES ? (uint32_t)most : DP_READ_BYTES;

    while (f->issued != f->length && c->phase == DP_CONN_OPEN) {
        struct ibv_send_wr wr[DP_TX_BATCH], *bad = NULL;
        struct ibv_sge sge[DP_TX_BATCH];
        uint32_t room = read_room(c), n = 0;

        while (n < room && n < DP_TX_BATCH && f->issued != f->length &&
               c->reading < DP_READ_WINDOW) {
            uint32_t left = f->length - f->issued;
            add_read(c, number, left < piece ? left : piece, &wr[n], &sge[n]);
            if (n)
                wr[n - 1].next = &wr[n];
            n++;
        }
        if (n == 0)
            return false;
        c->stats.post_sends++;
        c->stats.reads += n;
        int rc = c->ops->post_send(c->qp, wr, &bad);
        if (DP_UNLIKELY(rc)) {
            uint32_t ok = 0;
            while (bad && ok < n && &wr[ok] != bad)
                ok++;
            take_back(c, f, n - ok);
            dp_conn_break(c, rc > 0 ? rc : EIO, true);
            return false;
        }
    }
    return f->issued == f->length;
}

void dp_fetch_pump(struct dp_conn *c) {
    dp_fetch_starve(c, false);
    while (c->fetch_read != c->fetch_tail) {
        struct dp_fetch *f = fetch_of(c, c->fetch_read);
        if (!f->taken) {
            if (f->state == DP_FETCH_WAITING && !start(c, f))
                return;
            if (!issue(c, c->fetch_read))
                return;
        }
        c->fetch_read++;
    }
}

void dp_fetch_read_done(struct dp_conn *c, const struct dp_tx *tx, bool failed) {
    struct dp_fetch *f = fetch_of(c, tx->number);

    c->reads--;
    c->reading -= tx->read;
    f->returned += tx->read;
    if (!failed) {
        f->done += tx->read;
        c->reads_back++;
    }
    if (f->done == f->length) {
        f->state = DP_FETCH_DONE;
        close_sink(c, f);
    }
    /* Its sender sees nothing of this before the DONE, and may wait for a close. */
    c->alive.tell = f->done != f->length;
    if (f->taken && f->returned == f->issued) {
        release_block(c, f);
        if (f->state != DP_FETCH_DONE)
            f->state = DP_FETCH_REFUSED;
    }
}
