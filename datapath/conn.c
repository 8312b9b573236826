/* Connections: from creation to establishment, and the end of their memory. */
#include "arena_internal.h"
#include "internal.h"

#include <stdlib.h>

/* Gives c a place in its engine's table. EAGAIN: too many connections; ENOMEM. */
static int table_add(struct dp_engine *e, struct dp_conn *c) {
    uint32_t i;

    if (e->conns_free) {
        i = e->conns_free - 1;
        e->conns_free = e->conns[i].next_free;
    } else {
        if (e->nconns == e->conns_cap) {
            uint32_t cap = e->conns_cap ? e->conns_cap * 2 : 64;
            if (cap > UINT32_C(1) << DP_CONN_BITS)
                return EAGAIN;
            struct dp_conn_entry *t = (struct dp_conn_entry *)realloc(e->conns, cap * sizeof(*t));
            if (!t)
                return ENOMEM;
            e->conns = t;
            e->conns_cap = cap;
        }
        i = e->nconns++;
        e->conns[i] = (struct dp_conn_entry){.gen = 1};
    }
    e->conns[i].conn = c;
    c->index = i;
    c->gen = e->conns[i].gen;
    e->conns_alive++;
    return 0;
}

static void table_remove(struct dp_engine *e, struct dp_conn *c) {
    struct dp_conn_entry *t = &e->conns[c->index];
    t->conn = NULL;
    t->gen = (uint32_t)((t->gen + 1) & DP_MASK(DP_GEN_BITS));
    t->next_free = e->conns_free;
    e->conns_free = c->index + 1;
    e->conns_alive--;
}

static int check_params(const struct dp_conn_params *p) {
    const struct dp_conn_limits *l = &p->local;

    if (!p->engine || !p->device || !p->cq || !p->qp || p->cq->engine != p->engine ||
        p->cq->device != p->device)
        return EINVAL;
    if (p->send_depth < DP_MIN_SEND_DEPTH || p->send_depth > UINT32_C(1) << 19)
        return EINVAL;
    if (l->recv_size <= FRAME_HEADER_SIZE || l->recv_size > ARENA_MAX_BLOCK ||
        l->data_window < FLOW_DATA_WINDOW_MIN || l->data_window > FLOW_WINDOW_MAX ||
        l->ctrl_window < FLOW_CTRL_WINDOW_MIN || l->ctrl_window > FLOW_WINDOW_MAX ||
        l->data_window + l->ctrl_window > p->recv_depth)
        return EINVAL;
    return 0;
}

static void free_memory(struct dp_conn *c) {
    if (c->headers)
        arena_unref(&c->engine->cache, c->headers);
    free(c->tx);
    dp_window_free(c);
    free(c->sources);
    free(c);
}

static struct dp_conn *alloc_memory(const struct dp_conn_params *p) {
    struct dp_conn *c = (struct dp_conn *)calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    uint32_t tx = 1; /* a power of two */
    while (tx < p->send_depth)
        tx <<= 1;
    c->engine = p->engine;
    c->local = p->local;
    c->tx = (struct dp_tx *)malloc(tx * sizeof(*c->tx));
    c->headers = arena_alloc(&p->engine->cache, (size_t)tx * DP_HEADER_ROOM);
    if (!c->tx || !c->headers || dp_window_tables(c, p->local.data_window)) {
        free_memory(c);
        return NULL;
    }
    c->send_mask = tx - 1;
    for (uint32_t i = 0; i < tx; i++)
        c->tx[i] = (struct dp_tx){.bare = true};
    return c;
}

/* To where the window may grow: within what was asked for, the queue and the protocol. */
static uint32_t window_max(const struct dp_conn_params *p) {
    uint32_t most = p->recv_depth - p->local.ctrl_window;
    if (most > p->max_data_window)
        most = p->max_data_window;
    return most < FLOW_WINDOW_MAX ? most : FLOW_WINDOW_MAX;
}

static void init_fields(struct dp_conn *c, const struct dp_conn_params *p) {
    c->device = p->device;
    c->cq = p->cq;
    c->qp = p->qp;
    if (p->device->attr.kernel_posts) {
        c->ops = &p->device->ops_uncancelled;
    } else {
        c->ops = &p->qp->context->ops;
        c->fast.qpx = p->qpx;
    }
    c->qd = -1;
    c->send_depth = p->send_depth;
    c->max_inline = p->max_inline;
    /* Of the ring: 63 entries, which just fit into some rings, are signalled as 64 are. */
    uint32_t quarter = (p->send_depth + 1) / 4;
    c->tx_signal = quarter < 64 ? quarter : 64;
    c->tx_reserve = p->send_depth / 4 < 8 ? p->send_depth / 4 : 8;
    c->rx_owed_data = p->local.data_window;
    c->rx_owed_ctrl = p->local.ctrl_window;
    c->window_max = window_max(p);
    c->fast.look = c->busy_lists = DP_BUSY_LISTS;
    c->frame_limits =
        (struct frame_limits){.recv_size = p->local.recv_size, .max_message = p->local.max_message};
    c->cookie = p->cookie;
    c->budget = p->send_depth + p->local.data_window + p->local.ctrl_window;
    c->budget_max = c->budget;
    if (c->window_max > p->local.data_window)
        c->budget_max += c->window_max - p->local.data_window;
}

/* Takes c off everything of its engine's that knows it. */
static void unlink_conn(struct dp_engine *e, struct dp_conn *c) {
    if (c->dirty)
        TAILQ_REMOVE(&e->dirty, c, dirty_link);
    dp_recv_starve(c, false);
    dp_fetch_starve(c, false);
    dp_fetch_crowd(c, false);
    dp_notice_forget(c);
    dp_keepalive_forget(c);
    table_remove(e, c);
}

int dp_conn_create(const struct dp_conn_params *p, struct dp_conn **out) {
    int rc;

    if (!p || !out)
        return EINVAL;
    rc = check_params(p);
    if (rc)
        return rc;
    struct dp_engine *e = p->engine;
    dp_lock(e);
    struct dp_conn *c = alloc_memory(p);
    if (!c) {
        rc = ENOMEM;
        goto unlock;
    }
    init_fields(c, p);
    rc = c->budget > p->cq->depth - p->cq->used ? EAGAIN : 0;
    if (rc == 0)
        rc = arena_lkey(c->headers, p->device->slot, &c->headers_lkey);
    if (rc == 0)
        rc = table_add(e, c);
    if (rc)
        goto no_entry;
    p->cq->used += c->budget;
    p->cq->promised += c->budget_max;
    p->cq->conns++;
    __atomic_fetch_add(&p->device->users, 1, __ATOMIC_ACQ_REL);
    rc = dp_recv_post(c, true);
    if (rc == 0 && c->starved)
        rc = ENOMEM;
    if (rc)
        goto no_recv;
    dp_count(&dp_counts.conns, 1);
    *out = c;
    dp_unlock(e);
    return 0;
no_recv:
    /*
     * Some receives may be posted: the caller destroys the queue pair, which it made for
     * this connection, before anything can arrive. Completions name a generation that has
     * gone.
     */
    dp_conn_detach(c);
    unlink_conn(e, c);
no_entry:
    free_memory(c);
unlock:
    dp_unlock(e);
    return rc;
}

int dp_conn_set_peer(struct dp_conn *c, const struct sockaddr *addr, socklen_t len) {
    struct sockaddr_storage ss;

    if (!c || !addr)
        return EINVAL;
    memset(&ss, 0, sizeof(ss));
    if (addr->sa_family == AF_INET && len >= sizeof(struct sockaddr_in))
        len = sizeof(struct sockaddr_in);
    else if (addr->sa_family == AF_INET6 && len >= sizeof(struct sockaddr_in6))
        len = sizeof(struct sockaddr_in6);
    else
        return EINVAL;
    memcpy(&ss, addr, len);
    dp_lock(c->engine);
    c->peer_addr = ss;
    c->peer_addr_len = len;
    memset(&c->sga_addr, 0, sizeof(c->sga_addr));
    if (ss.ss_family == AF_INET) {
        memcpy(&c->sga_addr, &ss, sizeof(c->sga_addr));
    } else {
        c->sga_addr.sin_family = AF_INET6;
        c->sga_addr.sin_port = ((struct sockaddr_in6 *)&ss)->sin6_port;
    }
    dp_unlock(c->engine);
    return 0;
}

/* Fills in what fast_*.c has ready. */
static void init_fast(struct dp_conn *c) {
    uint32_t in_line = c->max_inline > FRAME_HEADER_SIZE ? c->max_inline - FRAME_HEADER_SIZE : 0;

    c->fast.result.opcode = DEMI_OPC_POP;
    c->fast.turn = UINT64_MAX; /* nothing has been pushed yet */
    c->fast.cq = c->cq->cq;
    c->fast.slot = (uint32_t)c->device->slot;
    c->fast.again = UINT64_MAX;
    c->fast.send_id = dp_wr_id(DP_WR_SEND, c->gen, c->index, 0);
    c->fast.send =
        (struct ibv_send_wr){.sg_list = c->fast.send_sge, .num_sge = 1, .opcode = IBV_WR_SEND};
    if (c->phase != DP_CONN_OPEN)
        c->fast.qpx = NULL; /* the queue pair may be gone */
    dp_send_next(c, DP_SLOT_QUIET, 0);
    if (c->local.recv_size <= ARENA_MAX_CLASS) {
        c->fast.recv_class = &c->engine->cache.classes[arena_class(c->local.recv_size)];
        c->fast.most = in_line < c->max_payload ? in_line : c->max_payload;
    }
}

/* Ties c to qd, or says why not. */
static int tie(struct dp_conn *c, int32_t qd) {
    if (dp_qd_owner(qd) != c->engine)
        return EBADF;
    if (dp_qds.conn[qd] || dp_qds.state[qd] == DP_QD_CLOSING || dp_qds.state[qd] == DP_QD_FAILED)
        return EINVAL;
    dp_qd_set(qd, DP_QD_CONNECTED, c);
    c->qd = qd;
    c->fast.result.qd = qd;
    return 0;
}

int dp_conn_establish(struct dp_conn *c, int32_t qd, const struct dp_conn_limits *peer) {
    struct flow f;

    if (!c || !peer)
        return EINVAL;
    if (peer->recv_size <= FRAME_HEADER_SIZE ||
        flow_init(&f, c->local.data_window, c->local.ctrl_window, peer->data_window,
                  peer->ctrl_window))
        return EPROTO;
    dp_lock(c->engine);
    int rc = c->established ? EISCONN : tie(c, qd);
    if (rc) {
        dp_unlock(c->engine);
        return rc;
    }
    c->flow = f;
    c->peer = *peer;
    c->max_payload = peer->recv_size - FRAME_HEADER_SIZE;
    if (c->device->attr.max_msg_sz && peer->recv_size > c->device->attr.max_msg_sz)
        c->max_payload = (uint32_t)c->device->attr.max_msg_sz - FRAME_HEADER_SIZE;
    c->read_depth = peer->reads < c->send_depth / 2 ? peer->reads : c->send_depth / 2;
    c->established = true;
    init_fast(c);
    /* What came early, in order of arrival; messages go to the ring's other end. */
    uint32_t n = c->in_tail - c->in_head;
    while (n-- && c->in_head != c->in_tail) {
        struct dp_inbound in = c->inbound[c->in_head++ & c->in_mask];
        dp_recv_frame(c, in.block, in.bytes);
    }
    dp_conn_settle(c);
    dp_unlock(c->engine);
    return 0;
}

void dp_conn_settle(struct dp_conn *c) {
    if (c->established)
        dp_recv_settle(c);
    while (c->phase == DP_CONN_OPEN && c->established) {
        if (dp_recv_due(c))
            (void)dp_recv_post(c, false); /* a failure has broken the connection */
        if (c->phase == DP_CONN_OPEN && (c->window_short || c->flow.data_owed >= c->flow.data_due ||
                                         c->fast.chains >= c->fast.look))
            dp_window_settle(c);
        if (DP_UNLIKELY(c->fetch_read != c->fetch_tail) && c->phase == DP_CONN_OPEN)
            dp_fetch_pump(c);
        if (c->phase == DP_CONN_OPEN)
            dp_send_pump(c);
        /* A DONE or RESET may have given a receive back. */
        if (DP_LIKELY(!dp_recv_due(c)) || c->starved)
            break;
    }
    /* What is owed now is less than a list, unless memory is short. */
    if (c->rx_owed_data && !c->starved && c->phase == DP_CONN_OPEN && c->established)
        dp_recv_reserve(c);
    dp_close_settle(c);
    dp_conn_ways(c);
}

int dp_conn_destroy(struct dp_conn *c) {
    struct qt_slot *s;

    if (!c)
        return EINVAL;
    struct dp_engine *e = c->engine;
    dp_lock(e);
    dp_conn_detach(c);
    int err = c->err_hard ? c->err : ECANCELED;
    while ((s = qt_list_pop_front(&c->pops)))
        dp_fail(e, s, err);
    dp_send_fail_pending(c, err);
    dp_recv_drop(c);
    if (dp_qd_owner(c->qd) == e && dp_qds.conn[c->qd] == c)
        dp_qd_set(c->qd, (enum dp_qd_state)dp_qds.state[c->qd], NULL);
    unlink_conn(e, c);
    free_memory(c);
    dp_unlock(e);
    dp_count(&dp_counts.conns, -1);
    return 0;
}

uint64_t dp_conn_progress(struct dp_conn *c) {
    if (!c)
        return 0;
    dp_lock(c->engine);
    uint64_t n = c->stats.bytes_out + c->fast.bytes_out + c->flow.data_acked + c->src_tail +
                 c->alive.progress;
    dp_unlock(c->engine);
    return n;
}

int dp_conn_stats(struct dp_conn *c, struct dp_conn_stats *out) {
    if (!c || !out)
        return EINVAL;
    dp_lock(c->engine);
    *out = c->stats;
    out->window = c->established ? c->flow.data_window : c->local.data_window;
    out->bytes_out += c->fast.bytes_out;
    out->bytes_in += c->fast.bytes_in;
    out->pushes += c->fast.pushes;
    out->frames_out += c->fast.pushes;
    out->post_sends += c->fast.pushes;
    out->inline_sends += c->fast.pushes;
    out->wr_sends = c->fast.qpx ? c->fast.pushes - c->fast.listed : 0;
    out->pops += c->fast.pops;
    out->frames_in += c->fast.pops;
    out->post_recvs += c->fast.chains;
    out->waiting = c->established ? c->in_tail - c->in_head : 0; /* before, frames are kept there */
    out->credit = c->established && c->phase == DP_CONN_OPEN ? (uint16_t)c->flow.data_credit : 0;
    dp_unlock(c->engine);
    return 0;
}
