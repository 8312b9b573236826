/*
 * Many threads: on one engine, with an engine each, and using one another's descriptors, tokens
 * and memory. No thread owns anything here but its stack.
 */
#include <pthread.h>

#include "pingpong.h"

#define PAIRS 4
#define ENGINES 3
#define THREADS 6
#define SLOTS 16

static struct setup threaded(enum dp_wait_mode mode) {
    struct setup u = world_defaults();
    u.fabric.threads = true;
    u.engine.wait_mode = mode;
    return u;
}

/* A pair with engines, devices and CQs of its own, on the fabric of w. */
static void pair_open_alone(struct pair *p, struct world *w, int rounds) {
    side_open(w, &p->a, "own0");
    side_open(w, &p->b, "own1");
    side_make_conn(&p->a);
    side_make_conn(&p->b);
    CHECK_EQ(sim_qp_connect(p->a.qp, p->b.qp), 0);
    CHECK_EQ(dp_conn_establish(p->a.conn, p->a.qd, &p->b.limits), 0);
    CHECK_EQ(dp_conn_establish(p->b.conn, p->b.qd, &p->a.limits), 0);
    p->rounds = rounds;
}

static void play(struct pair *p) {
    pthread_t t[2 * PAIRS];
    for (int i = 0; i < PAIRS; i++) {
        CHECK_EQ(pthread_create(&t[2 * i], NULL, pings, &p[i]), 0);
        CHECK_EQ(pthread_create(&t[2 * i + 1], NULL, pongs, &p[i]), 0);
    }
    for (int i = 0; i < 2 * PAIRS; i++)
        CHECK_EQ(pthread_join(t[i], NULL), 0);
}

static void many_threads_share_two_engines(void) {
    struct world w;
    struct pair p[PAIRS] = {{.rounds = 0}};
    world_open(&w, threaded(DP_WAIT_ADAPTIVE));
    for (int i = 0; i < PAIRS; i++)
        pair_open(&p[i], &w, 500);
    play(p);
    for (int i = 0; i < PAIRS; i++)
        pair_close(&p[i]);
    world_close(&w);
}

static void threads_have_an_engine_each(void) {
    struct world w;
    struct pair p[PAIRS] = {{.rounds = 0}};
    world_open(&w, threaded(DP_WAIT_ADAPTIVE));
    for (int i = 0; i < PAIRS; i++)
        pair_open_alone(&p[i], &w, 1000);
    play(p);
    for (int i = 0; i < PAIRS; i++) {
        side_close(&p[i].a);
        side_close(&p[i].b);
    }
    world_close(&w);
}

/* ---- Everything is everybody's ------------------------------------------------------------------
 */

struct commune {
    struct world w;
    struct pair p[ENGINES];
    uint64_t slots[SLOTS]; /* atomic: tokens to be waited for by whoever takes them, or 0 */
    uint64_t messages;     /* atomic */
    int working;           /* atomic: threads */
};

struct member {
    struct commune *all;
    unsigned long long x;
};

static struct side *any_side(struct member *me, struct side **peer) {
    struct pair *p = &me->all->p[test_random(&me->x) % ENGINES];
    bool b = test_random(&me->x) & 1;
    *peer = b ? &p->a : &p->b;
    return b ? &p->b : &p->a;
}

/* Waits for a token that another thread may wait for, too: one of them has the result. */
static void finish(struct commune *all, demi_qtoken_t qt, struct dp_engine *frees) {
    struct timespec minute = {60, 0};
    demi_qresult_t qr;
    int rc = dp_wait(qt, &qr, &minute);
    if (rc == EINVAL)
        return;
    CHECK_EQ(rc, 0);
    CHECK(qr.qr_opcode == DEMI_OPC_PUSH || qr.qr_opcode == DEMI_OPC_POP);
    if (qr.qr_opcode != DEMI_OPC_POP)
        return;
    demi_sgarray_t sga = qr.qr_value.sga;
    const uint8_t *bytes = sga.sga_segs[0].sgaseg_buf;
    for (uint32_t i = 1; i < sga.sga_segs[0].sgaseg_len; i++)
        CHECK_EQ(bytes[i], bytes[0]);
    CHECK_EQ(dp_sgafree(frees, &sga), 0);
    __atomic_fetch_add(&all->messages, 1, __ATOMIC_RELAXED);
}

/* Leaves a token to whoever comes by, and waits for the one that lay there. */
static void pass_on(struct member *me, demi_qtoken_t qt, struct dp_engine *frees) {
    uint64_t *slot = &me->all->slots[test_random(&me->x) % SLOTS];
    demi_qtoken_t old = __atomic_exchange_n(slot, qt, __ATOMIC_ACQ_REL);
    if (old)
        finish(me->all, old, frees);
    if (test_random(&me->x) % 8 == 0)
        finish(me->all, qt, frees); /* though it has been left there */
}

static void *shares_everything(void *arg) {
    struct member *me = arg;
    for (int n = 0; n < 400; n++) {
        struct side *to, *from = any_side(me, &to), *other, *third = any_side(me, &other);
        /* Memory of one engine, pushed through another, freed through a third. */
        demi_sgarray_t sga = dp_sgaalloc(third->engine, 900);
        demi_qtoken_t pop, push;
        CHECK_EQ(sga.sga_numsegs, 1);
        sga.sga_segs[0].sgaseg_len = 1 + (uint32_t)(test_random(&me->x) % 900);
        memset(sga.sga_segs[0].sgaseg_buf, n, sga.sga_segs[0].sgaseg_len);
        CHECK_EQ(dp_pop(to->qd, &pop), 0);
        CHECK_EQ(dp_push(from->qd, &sga, &push), 0);
        CHECK_EQ(dp_sgafree(other->engine, &sga), 0);
        pass_on(me, push, third->engine);
        pass_on(me, pop, third->engine);
    }
    __atomic_fetch_sub(&me->all->working, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void descriptors_tokens_and_memory_are_everybodys(void) {
    static struct commune c;
    struct member me[THREADS];
    pthread_t t[THREADS];
    memset(&c, 0, sizeof(c));
    c.working = THREADS;
    world_open(&c.w, threaded(DP_WAIT_ADAPTIVE));
    for (int i = 0; i < ENGINES; i++)
        pair_open_alone(&c.p[i], &c.w, 0);
    for (int i = 0; i < THREADS; i++) {
        me[i] = (struct member){.all = &c, .x = (unsigned long long)i + 1};
        CHECK_EQ(pthread_create(&t[i], NULL, shares_everything, &me[i]), 0);
    }
    /* All may wait on the same engine: the housekeepers of the others. */
    while (__atomic_load_n(&c.working, __ATOMIC_ACQUIRE)) {
        for (int i = 0; i < ENGINES; i++) {
            (void)dp_engine_poll(c.p[i].a.engine);
            (void)dp_engine_poll(c.p[i].b.engine);
        }
        sched_yield();
    }
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(t[i], NULL), 0);
    for (int round = 0; round < 10; round++) { /* what is left moves to its end */
        for (int i = 0; i < ENGINES; i++) {
            (void)dp_engine_poll(c.p[i].a.engine);
            (void)dp_engine_poll(c.p[i].b.engine);
        }
    }
    for (int i = 0; i < SLOTS; i++) {
        if (c.slots[i])
            finish(&c, c.slots[i], NULL);
    }
    CHECK_EQ(c.messages, THREADS * 400);
    for (int i = 0; i < ENGINES; i++) {
        side_close(&c.p[i].a);
        side_close(&c.p[i].b);
    }
    world_close(&c.w);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(many_threads_share_two_engines),
        TEST(threads_have_an_engine_each),
        TEST(descriptors_tokens_and_memory_are_everybodys),
    };
    return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
