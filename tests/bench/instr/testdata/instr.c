/*
 * What a 64 B message costs in instructions: with the engine (push, wait, pop, wait, free)
 * and with raw verbs (post_send, poll_cq, post_recv), on the same simulated fabric, in one
 * thread. Runs under callgrind, which counts only inside the measured blocks and writes
 * one dump for each.
 *
 *   instr KIND [NUMBER]
 *
 * Without callgrind it runs the same traffic and judges what can be judged without it.
 */
#include <valgrind/callgrind.h>

#include "demi/libos.h"
#include "demi/sga.h"
#include "demi/wait.h"

#include "calls.h"
#include "fabric.h"

enum { BLOCKS = 11, BLOCK = 1024, WARM_UP = 4096, SIGNAL = (SEND_DEPTH + 1) / 4, BUSY_WINDOW = 32 };

/* ---- Raw verbs ---------------------------------------------------------------------------- */

struct raw {
    struct bench bench;
    struct pair pair;
    struct ibv_mr *mr;
    unsigned char *memory;
    unsigned unsignalled[2];
    struct ibv_wc wc[32];
};

static void raw_post_recv(struct raw *r, struct end *e, uint64_t slot) {
    struct ibv_sge sge = {.addr = (uintptr_t)(r->memory + slot * RECV_SIZE),
                          .length = RECV_SIZE,
                          .lkey = r->mr->lkey};
    struct ibv_recv_wr wr = {.wr_id = slot, .sg_list = &sge, .num_sge = 1}, *bad;
    MUST(ibv_post_recv(e->qp, &wr, &bad) == 0);
}

/* The same message as raw_message's, sent by ibv_wr_start(3) and others. */
static void raw_wr_send(struct raw *r, struct end *from, unsigned int flags) {
    struct ibv_qp_ex *x = from->qpx;

    x->wr_id = UINT64_MAX;
    x->wr_flags = flags;
    ibv_wr_start(x);
    ibv_wr_send(x);
    ibv_wr_set_inline_data(x, r->memory, MESSAGE);
    MUST(ibv_wr_complete(x) == 0);
}

static void raw_open(struct raw *r, bool qp_ex) {
    const size_t slots = 2 * (DATA_WINDOW + CTRL_WINDOW), bytes = (slots + 1) * RECV_SIZE;

    memset(r, 0, sizeof(*r));
    bench_open(&r->bench, false, qp_ex);
    pair_open(&r->bench, &r->pair);
    r->memory = calloc(1, bytes);
    MUST(r->memory);
    MUST(sim_mr_create(r->bench.pd, r->memory, bytes, IBV_ACCESS_LOCAL_WRITE, &r->mr) == 0);
    for (size_t i = 0; i < slots; i++)
        raw_post_recv(r, i < slots / 2 ? &r->pair.a : &r->pair.b, i);
}

/*
 * One message: sent inline, received, its receive posted again. wr_calls is a constant of the
 * caller's, so that either way costs what it would alone.
 */
static inline __attribute__((always_inline)) void raw_message(struct raw *r, struct end *from,
                                                              struct end *to, bool wr_calls) {
    struct ibv_sge sge = {.addr = (uintptr_t)r->memory, .length = MESSAGE};
    struct ibv_send_wr wr = {.wr_id = UINT64_MAX,
                             .sg_list = &sge,
                             .num_sge = 1,
                             .opcode = IBV_WR_SEND,
                             .send_flags = IBV_SEND_INLINE},
                       *bad;
    bool received = false;

    unsigned *unsignalled = &r->unsignalled[from == &r->pair.b];
    if (++*unsignalled == SIGNAL) {
        *unsignalled = 0;
        wr.send_flags |= IBV_SEND_SIGNALED;
    }
    if (wr_calls)
        raw_wr_send(r, from, wr.send_flags);
    else
        MUST(ibv_post_send(from->qp, &wr, &bad) == 0);
    while (!received) {
        int n = ibv_poll_cq(r->bench.cq, 32, r->wc);
        for (int i = 0; i < n; i++) {
            MUST(r->wc[i].status == IBV_WC_SUCCESS);
            if (r->wc[i].wr_id == UINT64_MAX)
                continue;
            raw_post_recv(r, to, r->wc[i].wr_id);
            received = true;
        }
    }
}

/* ---- The engine --------------------------------------------------------------------------- */

struct engine {
    struct bench bench;
    struct pair pair;
    demi_sgarray_t sga;
};

static void engine_open(struct engine *e, bool qp_ex) {
    bench_open(&e->bench, true, qp_ex);
    pair_open(&e->bench, &e->pair);
    e->sga = demi_sgaalloc(MESSAGE);
    MUST(e->sga.sga_numsegs == 1);
    memset(e->sga.sga_segs[0].sgaseg_buf, 'x', MESSAGE);
}

static void engine_message(struct engine *e, struct end *from, struct end *to) {
    demi_qtoken_t qt;
    demi_qresult_t qr;

    MUST(demi_push(&qt, from->qd, &e->sga) == 0);
    MUST(demi_wait(&qr, qt, NULL) == 0 && qr.qr_opcode == DEMI_OPC_PUSH);
    MUST(demi_pop(&qt, to->qd) == 0);
    MUST(demi_wait(&qr, qt, NULL) == 0 && qr.qr_opcode == DEMI_OPC_POP);
    MUST(demi_sgafree(&qr.qr_value.sga) == 0);
}

/* ---- Measuring ------------------------------------------------------------------------------ */

static __attribute__((noinline)) void raw_post_message(struct raw *r, struct end *from,
                                                       struct end *to) {
    raw_message(r, from, to, false);
}

static __attribute__((noinline)) void raw_wr_message(struct raw *r, struct end *from,
                                                     struct end *to) {
    raw_message(r, from, to, true);
}

static void raw_block(struct raw *r, bool both_ways, int messages) {
    struct pair *p = &r->pair;

    for (int i = 0; i < messages; i += 2) {
        raw_post_message(r, &p->a, &p->b);
        raw_post_message(r, both_ways ? &p->b : &p->a, both_ways ? &p->a : &p->b);
    }
}

static void raw_wr_block(struct raw *r, int messages) {
    struct pair *p = &r->pair;

    for (int i = 0; i < messages; i += 2) {
        raw_wr_message(r, &p->a, &p->b);
        raw_wr_message(r, &p->b, &p->a);
    }
}

static void engine_block(struct engine *e, bool both_ways, int messages) {
    struct pair *p = &e->pair;

    for (int i = 0; i < messages; i += 2) {
        engine_message(e, &p->a, &p->b);
        engine_message(e, both_ways ? &p->b : &p->a, both_ways ? &p->a : &p->b);
    }
}

/* Runs the block BLOCKS times, each counted apart; the name says what the dump is. */
#define MEASURE(block)                                                                             \
    do {                                                                                           \
        CALLGRIND_ZERO_STATS;                                                                      \
        for (int measured = 0; measured < BLOCKS; measured++) {                                    \
            CALLGRIND_TOGGLE_COLLECT;                                                              \
            block;                                                                                 \
            CALLGRIND_TOGGLE_COLLECT;                                                              \
            CALLGRIND_DUMP_STATS;                                                                  \
        }                                                                                          \
    } while (0)

static void measure_raw(bool both_ways, bool wr_calls) {
    static struct raw r;

    raw_open(&r, wr_calls);
    if (wr_calls) {
        raw_wr_block(&r, WARM_UP);
        MEASURE(raw_wr_block(&r, BLOCK));
    } else {
        raw_block(&r, both_ways, WARM_UP);
        MEASURE(raw_block(&r, both_ways, BLOCK));
    }
}

/* tokens: pops pending on a connection that nobody sends to. */
static void measure_engine(bool both_ways, int tokens, bool qp_ex) {
    static struct engine e;
    struct dp_conn_stats a, b, before;
    struct pair idle;
    demi_qtoken_t qt;

    engine_open(&e, qp_ex);
    if (tokens)
        pair_open(&e.bench, &idle);
    for (int i = 0; i < tokens; i++)
        MUST(demi_pop(&qt, idle.a.qd) == 0);
    engine_block(&e, both_ways, WARM_UP);
    MUST(dp_conn_stats(e.pair.b.conn, &before) == 0);
    calls_start();
    MEASURE(engine_block(&e, both_ways, BLOCK));
    calls_must_be_none();
    MUST(dp_conn_stats(e.pair.a.conn, &a) == 0 && dp_conn_stats(e.pair.b.conn, &b) == 0);
    MUST(a.frames_in + b.frames_in > 0);
    /*
     * At most one bare CREDIT for each half of the window, one way, and the window has grown;
     * none in ping-pong, in which both have grown to what a busy connection gets.
     */
    MUST(a.window == (both_ways ? BUSY_WINDOW : DATA_WINDOW));
    MUST(b.window == (both_ways ? BUSY_WINDOW : MAX_DATA_WINDOW));
    MUST(a.credits_out == 0);
    if (both_ways)
        MUST(b.credits_out == 0);
    else
        MUST((b.credits_out - before.credits_out) * (b.window / 2) <= BLOCKS * BLOCK);
}

/* A poll that finds nothing, with so many connections that have nothing to say. */
static void measure_poll(int connections) {
    static struct bench b;
    struct timespec zero = {0, 0};
    struct pair p, *last = &p;
    demi_qtoken_t qt;
    demi_qresult_t qr;

    bench_open(&b, true, true);
    for (int i = 0; i < connections; i += 2)
        pair_open(&b, last); /* the last one is polled for */
    MUST(demi_pop(&qt, p.a.qd) == 0);
    for (int i = 0; i < BLOCK; i++)
        MUST(demi_wait(&qr, qt, &zero) == ETIMEDOUT);
    MEASURE(for (int i = 0; i < BLOCK; i++) MUST(demi_wait(&qr, qt, &zero) == ETIMEDOUT));
}

int main(int argc, char **argv) {
    const char *kind = argc > 1 ? argv[1] : "";
    int number = argc > 2 ? atoi(argv[2]) : 0;

    if (strcmp(kind, "raw-one-way") == 0)
        measure_raw(false, false);
    else if (strcmp(kind, "raw-ping-pong") == 0)
        measure_raw(true, false);
    else if (strcmp(kind, "raw-wr-ping-pong") == 0)
        measure_raw(true, true);
    else if (strcmp(kind, "engine-one-way") == 0)
        measure_engine(false, number, true);
    else if (strcmp(kind, "engine-ping-pong") == 0)
        measure_engine(true, number, true);
    else if (strcmp(kind, "engine-post-ping-pong") == 0)
        measure_engine(true, number, false);
    else if (strcmp(kind, "poll") == 0)
        measure_poll(number);
    else
        return 2;
    return 0;
}
