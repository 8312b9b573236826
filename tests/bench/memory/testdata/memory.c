/*
 * What a connection costs in memory, in bytes, as a line of JSON:
 *
 *   memory idle      each of 1,000 connections that have carried nothing
 *   memory grown     what each of 50 such connections takes besides once so many messages have
 *                    come that its window, at libos's default ceiling, grows no further
 *
 * Queue pairs are made first, so that the heap of the simulated provider is not counted.
 */
#include <malloc.h>

#include "arena.h"
#include "fabric.h"

enum { IDLE = 1000, GROWN = 51, MESSAGES = 4 * MAX_DATA_WINDOW };

struct figures {
    uint64_t heap, registered;
};

static struct figures now(void) {
    struct dp_census c;
    dp_census(&c);
    return (struct figures){.heap = mallinfo2().uordblks, .registered = c.arena_bytes};
}

/* Bytes of the receives that one connection has posted. */
static uint64_t receives(const struct end *e) {
    struct sim_qp_stats s;
    sim_qp_stats(e->qp, &s);
    return (uint64_t)s.recv_queued * RECV_SIZE;
}

static void send_many(struct bench *b, const struct pair *p) {
    demi_qtoken_t qts[MESSAGES];
    demi_qresult_t qr;
    demi_sgarray_t sga = dp_sgaalloc(b->engine, MESSAGE);

    for (int i = 0; i < MESSAGES; i++)
        MUST(dp_push(p->a.qd, &sga, &qts[i]) == 0);
    MUST(dp_sgafree(b->engine, &sga) == 0);
    for (int i = 0; i < MESSAGES; i++) {
        demi_qtoken_t pop;
        MUST(dp_pop(p->b.qd, &pop) == 0);
        MUST(dp_wait(pop, &qr, NULL) == 0 && qr.qr_opcode == DEMI_OPC_POP);
        MUST(dp_sgafree(b->engine, &qr.qr_value.sga) == 0);
    }
    for (int i = 0; i < MESSAGES; i++)
        MUST(dp_wait(qts[i], &qr, NULL) == 0 && qr.qr_opcode == DEMI_OPC_PUSH);
}

static void print(struct figures a, struct figures b, uint64_t posted, unsigned n) {
    printf("{\"Heap\": %llu, \"Receives\": %llu, \"Registered\": %llu}\n",
           (unsigned long long)(b.heap - a.heap) / n, (unsigned long long)posted / n,
           (unsigned long long)(b.registered - a.registered) / n);
}

static void idle(struct bench *b) {
    static struct pair pairs[IDLE / 2];
    uint64_t posted = 0;

    for (int i = 0; i < IDLE / 2; i++)
        pair_make_qps(b, &pairs[i]);
    struct figures before = now();
    for (int i = 0; i < IDLE / 2; i++)
        pair_make_conns(b, &pairs[i]);
    struct figures after = now();
    for (int i = 0; i < IDLE / 2; i++)
        posted += receives(&pairs[i].a) + receives(&pairs[i].b);
    print(before, after, posted, IDLE);
}

static void grown(struct bench *b) {
    static struct pair pairs[GROWN];
    uint64_t posted = 0;

    b->share = SEND_DEPTH + MAX_DATA_WINDOW + CTRL_WINDOW;
    for (int i = 0; i < GROWN; i++)
        pair_open(b, &pairs[i]);
    send_many(b, &pairs[0]); /* tokens and caches, which are the engine's */
    struct figures before = now();
    for (int i = 1; i < GROWN; i++)
        posted -= receives(&pairs[i].b);
    for (int i = 1; i < GROWN; i++)
        send_many(b, &pairs[i]);
    struct figures after = now();
    for (int i = 1; i < GROWN; i++) {
        struct dp_conn_stats s;
        MUST(dp_conn_stats(pairs[i].b.conn, &s) == 0 && s.window == MAX_DATA_WINDOW);
        posted += receives(&pairs[i].b);
    }
    print(before, after, posted, GROWN - 1);
}

int main(int argc, char **argv) {
    static struct bench b;

    bench_open(&b, true, true);
    if (argc == 2 && strcmp(argv[1], "idle") == 0)
        idle(&b);
    else if (argc == 2 && strcmp(argv[1], "grown") == 0)
        grown(&b);
    else
        return 2;
    return 0;
}
