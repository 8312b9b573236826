/*
 * Two sides with an engine each, connected through the simulated fabric: what tests of the
 * engine stand on. No threads and no Go; a test that starts threads asks for cfg.threads.
 */
#ifndef CATMINT_WORLD_H
#define CATMINT_WORLD_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#include <unistd.h>

#include "arena.h"
#include "datapath.h"
#include "frame.h"
#include "sim/sim.h"
#include "test.h"

/* true: queue pairs without ibv_wr_start(3), as of providers that do not have it. */
#ifndef WORLD_NO_QP_EX
#define WORLD_NO_QP_EX false
#endif

/* true: devices on which a READ needs memory that the peer may write. */
#ifndef WORLD_IWARP
#define WORLD_IWARP false
#endif

struct setup {
    struct sim_config fabric;
    struct sim_device_attr device;
    struct dp_config engine;
    uint32_t send_depth, data_window, ctrl_window, recv_size, max_inline, cq_depth;
    uint32_t max_window;  /* to what the data window may grow; 0: not at all */
    uint64_t max_message; /* 0: no large ones */
    uint32_t reads;       /* READs in flight each way */
    bool loose;           /* no dp_conn_establish yet */
    bool may_leak_rnr;    /* a test that provokes RNR or overruns on purpose */
};

struct side {
    struct world *world;
    struct ibv_context *ctx;
    struct ibv_pd *pd;
    struct ibv_comp_channel *channel;
    struct ibv_cq *cq;
    struct ibv_qp *qp;
    struct dp_engine *engine;
    struct dp_device *device;
    struct dp_cq *dpcq;
    struct dp_conn *conn;
    int32_t qd;
    struct dp_conn_limits limits;
    /* Notices seen so far, by kind. */
    int broken, drained, flushed, fin, tokens, housekeeper;
    int broken_err, fin_arg;
    uint64_t last_token;
};

struct world {
    struct setup setup;
    struct sim_fabric *fabric;
    struct side a, b;
};

static inline struct setup world_defaults(void) {
    return (struct setup){.fabric = {.no_qp_ex = WORLD_NO_QP_EX},
                          .device = {.iwarp = WORLD_IWARP},
                          .engine = {.wait_mode = DP_WAIT_BLOCK},
                          .send_depth = 32,
                          .data_window = 4,
                          .ctrl_window = 4,
                          .recv_size = 1024,
                          .max_inline = 128,
                          .cq_depth = 255,
                          .reads = 4};
}

static inline uint32_t world_payload(const struct world *w) {
    return w->setup.recv_size - FRAME_HEADER_SIZE;
}

/* A queue pair and its connection, in INIT, with receives posted. */
static inline void side_make_conn(struct side *s) {
    const struct setup *u = &s->world->setup;
    uint32_t window = u->max_window > u->data_window ? u->max_window : u->data_window;
    struct ibv_qp_init_attr attr = {.send_cq = s->cq,
                                    .recv_cq = s->cq,
                                    .qp_type = IBV_QPT_RC,
                                    .cap = {.max_send_wr = u->send_depth,
                                            .max_recv_wr = window + u->ctrl_window,
                                            .max_send_sge = 2,
                                            .max_recv_sge = 1,
                                            .max_inline_data = u->max_inline}};
    CHECK_EQ(sim_qp_create(s->pd, &attr, &s->qp), 0);
    CHECK_EQ(sim_qp_init(s->qp), 0);
    s->limits = (struct dp_conn_limits){
        .recv_size = u->recv_size,
        .data_window = u->data_window,
        .ctrl_window = u->ctrl_window,
        .max_message = u->max_message ? u->max_message : u->recv_size - FRAME_HEADER_SIZE,
        .reads = u->reads};
    struct dp_conn_params p = {.engine = s->engine,
                               .device = s->device,
                               .cq = s->dpcq,
                               .qp = s->qp,
                               .qpx = sim_qp_ex(s->qp),
                               .send_depth = u->send_depth,
                               .recv_depth = window + u->ctrl_window,
                               .max_inline = u->max_inline,
                               .local = s->limits,
                               .max_data_window = u->max_window,
                               .cookie = 42};
    CHECK_EQ(dp_conn_create(&p, &s->conn), 0);
    CHECK_EQ(dp_qd_alloc(s->engine, &s->qd), 0);
}

static inline void side_open(struct world *w, struct side *s, const char *name) {
    s->world = w;
    s->qd = -1;
    CHECK_EQ(sim_device_create(w->fabric, name, &w->setup.device, &s->ctx), 0);
    CHECK_EQ(sim_pd_create(s->ctx, &s->pd), 0);
    CHECK_EQ(sim_channel_create(s->ctx, &s->channel), 0);
    CHECK_EQ(sim_cq_create(s->ctx, (int)w->setup.cq_depth, NULL, s->channel, &s->cq), 0);
    CHECK_EQ(dp_engine_create(&w->setup.engine, &s->engine), 0);
    struct dp_device_attr attr = {
        .max_inline = w->setup.max_inline,
        .max_sge = 2,
        .max_msg_sz = w->setup.device.max_msg_sz ? w->setup.device.max_msg_sz : UINT64_C(1) << 31,
        .iwarp = w->setup.device.iwarp};
    CHECK_EQ(dp_device_add(s->pd, sim_slow_ops(), &attr, &s->device), 0);
    CHECK_EQ(dp_cq_add(s->engine, s->device, s->cq, s->channel, w->setup.cq_depth, &s->dpcq), 0);
}

static inline void side_destroy_conn(struct side *s) {
    if (!s->conn)
        return;
    if (s->qp) {
        CHECK_EQ(dp_conn_disconnected(s->conn, 0), 0);
        CHECK_EQ(sim_qp_destroy(s->qp), 0);
        s->qp = NULL;
    }
    CHECK_EQ(dp_conn_destroy(s->conn), 0);
    s->conn = NULL;
    if (s->qd >= 0)
        CHECK_EQ(dp_qd_free(s->qd), 0);
    s->qd = -1;
}

/* Takes every result that is left, freeing what came with it. */
static inline void side_sweep(struct side *s) {
    demi_qresult_t qr;
    struct timespec zero = {0, 0};
    int n;

    while (dp_wait_next_n(s->engine, &qr, 1, &n, &zero) == 0) {
        if (qr.qr_opcode == DEMI_OPC_POP) {
            demi_sgarray_t sga = qr.qr_value.sga;
            CHECK_EQ(dp_sgafree(s->engine, &sga), 0);
        }
    }
}

static inline void side_close(struct side *s) {
    side_destroy_conn(s);
    side_sweep(s);
    CHECK_EQ(dp_cq_remove(s->dpcq), 0);
    CHECK_EQ(dp_device_remove(s->device), 0);
    CHECK_EQ(dp_engine_destroy(s->engine), 0);
    CHECK_EQ(sim_cq_destroy(s->cq), 0);
    CHECK_EQ(sim_channel_destroy(s->channel), 0);
    CHECK_EQ(sim_pd_destroy(s->pd), 0);
    CHECK_EQ(sim_device_destroy(s->ctx), 0);
}

static inline void world_connect(struct world *w) {
    CHECK_EQ(sim_qp_connect(w->a.qp, w->b.qp), 0);
    if (!w->setup.loose) {
        CHECK_EQ(dp_conn_establish(w->a.conn, w->a.qd, &w->b.limits), 0);
        CHECK_EQ(dp_conn_establish(w->b.conn, w->b.qd, &w->a.limits), 0);
    }
}

static inline void world_open(struct world *w, struct setup u) {
    memset(w, 0, sizeof(*w));
    w->setup = u;
    if (u.device.max_inline == 0)
        w->setup.device.max_inline = 512;
    CHECK_EQ(sim_fabric_create(&u.fabric, &w->fabric), 0);
    side_open(w, &w->a, "sim0");
    side_open(w, &w->b, "sim1");
    side_make_conn(&w->a);
    side_make_conn(&w->b);
    world_connect(w);
}

/* Ends everything; nothing may be left, and no receive may ever have been missing. */
static inline void world_close(struct world *w) {
    struct sim_census sc;
    struct dp_census c;

    side_close(&w->a);
    side_close(&w->b);
    sim_fabric_census(w->fabric, &sc);
    CHECK_EQ(sc.devices + sc.channels + sc.pds + sc.mrs + sc.cqs + sc.qps, 0);
    CHECK_EQ(sc.unacked_events, 0);
    if (!w->setup.may_leak_rnr)
        CHECK_EQ(sc.rnr_naks + sc.cq_overruns, 0);
    CHECK_EQ(sim_fabric_destroy(w->fabric), 0);
    dp_census(&c);
    CHECK_EQ(c.engines + c.devices + c.cqs + c.conns + c.descriptors + c.tokens, 0);
    CHECK_EQ(c.blocks, 0);
    CHECK_EQ(c.regions, 0);
}

/* ---- Short names for what a test does ------------------------------------------------------- */

static inline void side_notices(struct side *s) {
    struct dp_notice n[8];
    int k;

    while ((k = dp_engine_notices(s->engine, n, 8)) > 0) {
        for (int i = 0; i < k; i++) {
            switch (n[i].kind) {
            case DP_NOTICE_BROKEN:
                CHECK_EQ(n[i].cookie, 42);
                s->broken++;
                s->broken_err = n[i].arg;
                break;
            case DP_NOTICE_DRAINED:
                s->drained++;
                break;
            case DP_NOTICE_FLUSHED:
                s->flushed++;
                break;
            case DP_NOTICE_PEER_FIN:
                s->fin++;
                s->fin_arg = n[i].arg;
                break;
            case DP_NOTICE_TOKEN:
                s->tokens++;
                s->last_token = n[i].cookie;
                break;
            default:
                s->housekeeper++;
                break;
            }
        }
    }
}

/* Lets both sides work until neither has anything to do. */
static inline void world_run(struct world *w) {
    int quiet = 0;
    while (quiet < 3) {
        int n = dp_engine_poll(w->a.engine) + dp_engine_poll(w->b.engine);
        if (w->setup.fabric.delivery == SIM_DELIVER_SEEDED)
            sim_fabric_drain(w->fabric);
        quiet = n ? 0 : quiet + 1;
    }
    side_notices(&w->a);
    side_notices(&w->b);
}

/* The n-th message of a stream: its bytes depend on stream and n. */
static inline void fill(uint8_t *p, uint32_t len, uint64_t stream, uint64_t n) {
    unsigned long long x = (stream + 1) * 0x9E3779B97F4A7C15ULL ^ (n + 1) * 0xD1B54A32D192ED03ULL;
    for (uint32_t i = 0; i < len; i++) {
        if ((i & 7) == 0)
            (void)test_random(&x);
        p[i] = (uint8_t)(x >> (8 * (i & 7)));
    }
}

static inline void check_bytes(const demi_sgarray_t *sga, uint32_t len, uint64_t stream,
                               uint64_t n) {
    uint8_t *want = malloc(len ? len : 1);
    CHECK_EQ(sga->sga_numsegs, 1);
    CHECK_EQ(sga->sga_segs[0].sgaseg_len, len);
    fill(want, len, stream, n);
    CHECK(memcmp(want, sga->sga_segs[0].sgaseg_buf, len) == 0);
    free(want);
}

/* Pushes message n of a stream and frees its memory at once. Returns the call's result. */
static inline int push(struct side *s, uint32_t len, uint64_t stream, uint64_t n,
                       demi_qtoken_t *qt) {
    demi_sgarray_t sga = dp_sgaalloc(s->engine, len);
    CHECK_EQ(sga.sga_numsegs, 1);
    fill(sga.sga_segs[0].sgaseg_buf, len, stream, n);
    int rc = dp_push(s->qd, &sga, qt);
    CHECK_EQ(dp_sgafree(s->engine, &sga), 0);
    return rc;
}

static inline demi_qtoken_t must_push(struct side *s, uint32_t len, uint64_t stream, uint64_t n) {
    demi_qtoken_t qt = 0;
    CHECK_EQ(push(s, len, stream, n, &qt), 0);
    return qt;
}

static inline demi_qtoken_t must_pop(struct side *s) {
    demi_qtoken_t qt = 0;
    CHECK_EQ(dp_pop(s->qd, &qt), 0);
    return qt;
}

static const struct timespec no_time = {0, 0};

static inline struct dp_conn_stats side_stats(const struct side *s) {
    struct dp_conn_stats st;
    CHECK_EQ(dp_conn_stats(s->conn, &st), 0);
    return st;
}

/* Whether a token has completed, without moving anything. */
static inline bool is_done(demi_qtoken_t qt) {
    bool done = false;
    CHECK_EQ(dp_token_watch(qt, &done, NULL), 0);
    CHECK_EQ(dp_token_unwatch(qt), 0);
    return done;
}

/* Redeems a token that has completed. */
static inline demi_qresult_t redeem(demi_qtoken_t qt) {
    demi_qresult_t qr;
    CHECK_EQ(dp_token_redeem(qt, &qr), 0);
    CHECK_EQ(qr.qr_qt, qt);
    return qr;
}

static inline void must_succeed(demi_qtoken_t qt, enum demi_opcode op) {
    demi_qresult_t qr = redeem(qt);
    CHECK_EQ(qr.qr_opcode, op);
    CHECK_EQ(qr.qr_ret, 0);
}

static inline void must_fail(demi_qtoken_t qt, int err) {
    demi_qresult_t qr = redeem(qt);
    CHECK_EQ(qr.qr_opcode, DEMI_OPC_FAILED);
    CHECK_EQ(qr.qr_ret, err);
}

/* Redeems a pop that has completed with message n of a stream. */
static inline void must_get(struct side *s, demi_qtoken_t qt, uint32_t len, uint64_t stream,
                            uint64_t n) {
    demi_qresult_t qr = redeem(qt);
    CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
    CHECK_EQ(qr.qr_ret, 0);
    demi_sgarray_t sga = qr.qr_value.sga;
    check_bytes(&sga, len, stream, n);
    CHECK_EQ(dp_sgafree(s->engine, &sga), 0);
}

/* Redeems a pop that has completed because the peer sends no more. */
static inline void must_get_end(struct side *s, demi_qtoken_t qt) {
    must_get(s, qt, 0, 0, 0);
}

#endif
