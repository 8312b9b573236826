/*
 * The fabric that is measured on: one device of the simulated network with one completion
 * queue and pairs of queue pairs connected to each other. With raw verbs the queue pairs
 * are used directly; with the engine each one has a connection and a descriptor. Sizes are
 * those of libos's defaults.
 */
#ifndef CATMINT_BENCH_FABRIC_H
#define CATMINT_BENCH_FABRIC_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "datapath.h"
#include "process.h"
#include "sim/sim.h"

#define MUST(cond)                                                                                 \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #cond);                   \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

enum {
    RECV_SIZE = 8192,
    DATA_WINDOW = 4,
    CTRL_WINDOW = 4,
    MAX_DATA_WINDOW = 64,
    SEND_DEPTH = 63,
    MAX_INLINE = 256,
    CQ_DEPTH = 4095,
    MESSAGE = 64, /* bytes */
};

struct end {
    struct ibv_qp *qp;
    struct ibv_qp_ex *qpx; /* or NULL */
    struct dp_cq *dpcq;    /* NULL: raw verbs */
    struct dp_conn *conn;
    int32_t qd;
};

struct pair {
    struct end a, b;
};

struct bench {
    struct sim_fabric *fabric;
    struct ibv_context *ctx;
    struct ibv_pd *pd;
    struct ibv_comp_channel *channel;
    struct dp_engine *engine; /* NULL: raw verbs */
    struct dp_device *device;
    struct ibv_cq *cq; /* the newest one */
    struct dp_cq *dpcq;
    uint32_t room;  /* entries of it that are not promised to a pair */
    uint32_t share; /* entries that each end of a pair is promised */
};

static inline void bench_add_cq(struct bench *b) {
    MUST(sim_cq_create(b->ctx, CQ_DEPTH, NULL, b->channel, &b->cq) == 0);
    if (b->engine)
        MUST(dp_cq_add(b->engine, b->device, b->cq, b->channel, CQ_DEPTH, &b->dpcq) == 0);
    b->room = CQ_DEPTH;
}

/* qp_ex: queue pairs have the extended interface, ibv_wr_start(3). */
static inline void bench_open(struct bench *b, bool with_engine, bool qp_ex) {
    struct sim_config fabric = {.no_qp_ex = !qp_ex};
    struct dp_config cfg = {.wait_mode = DP_WAIT_ADAPTIVE};
    struct dp_device_attr attr = {
        .max_inline = MAX_INLINE, .max_sge = 2, .max_msg_sz = UINT64_C(1) << 31};

    memset(b, 0, sizeof(*b));
    b->share = SEND_DEPTH + DATA_WINDOW + CTRL_WINDOW;
    MUST(sim_fabric_create(&fabric, &b->fabric) == 0);
    MUST(sim_device_create(b->fabric, "sim0", NULL, &b->ctx) == 0);
    MUST(sim_pd_create(b->ctx, &b->pd) == 0);
    MUST(sim_channel_create(b->ctx, &b->channel) == 0);
    if (with_engine) {
        MUST(dp_engine_create(&cfg, &b->engine) == 0);
        MUST(dp_process_bind(b->engine) == 0);
        MUST(dp_device_add(b->pd, sim_slow_ops(), &attr, &b->device) == 0);
    }
    bench_add_cq(b);
}

static inline const struct dp_conn_limits *limits(void) {
    static const struct dp_conn_limits l = {.recv_size = RECV_SIZE,
                                            .data_window = DATA_WINDOW,
                                            .ctrl_window = CTRL_WINDOW,
                                            .max_message = RECV_SIZE - 16};
    return &l;
}

static inline void end_make_qp(struct bench *b, struct end *e) {
    struct ibv_qp_init_attr attr = {.send_cq = b->cq,
                                    .recv_cq = b->cq,
                                    .qp_type = IBV_QPT_RC,
                                    .cap = {.max_send_wr = SEND_DEPTH,
                                            .max_recv_wr = 128,
                                            .max_send_sge = 2,
                                            .max_recv_sge = 1,
                                            .max_inline_data = MAX_INLINE}};
    MUST(sim_qp_create(b->pd, &attr, &e->qp) == 0);
    MUST(sim_qp_init(e->qp) == 0);
    e->qpx = sim_qp_ex(e->qp);
    e->dpcq = b->dpcq;
}

static inline void end_make_conn(struct bench *b, struct end *e) {
    struct dp_conn_params p = {.engine = b->engine,
                               .device = b->device,
                               .cq = e->dpcq,
                               .qp = e->qp,
                               .qpx = e->qpx,
                               .send_depth = SEND_DEPTH,
                               .recv_depth = 128,
                               .max_inline = MAX_INLINE,
                               .local = *limits(),
                               .max_data_window = MAX_DATA_WINDOW};
    MUST(dp_conn_create(&p, &e->conn) == 0);
    MUST(dp_qd_alloc(b->engine, &e->qd) == 0);
}

/* Two connected queue pairs; with the engine, on another CQ if the newest has no room. */
static inline void pair_make_qps(struct bench *b, struct pair *p) {
    if (b->room < 2 * b->share)
        bench_add_cq(b);
    b->room -= 2 * b->share;
    end_make_qp(b, &p->a);
    end_make_qp(b, &p->b);
    MUST(sim_qp_connect(p->a.qp, p->b.qp) == 0);
}

/* Their connections and descriptors. */
static inline void pair_make_conns(struct bench *b, struct pair *p) {
    end_make_conn(b, &p->a);
    end_make_conn(b, &p->b);
    MUST(dp_conn_establish(p->a.conn, p->a.qd, limits()) == 0);
    MUST(dp_conn_establish(p->b.conn, p->b.qd, limits()) == 0);
}

static inline void pair_open(struct bench *b, struct pair *p) {
    pair_make_qps(b, p);
    if (b->engine)
        pair_make_conns(b, p);
}

#endif
