/* Threads that push, pop and wait while another one makes, closes and destroys connections. */
#include <pthread.h>

#include "world.h"

#define APPS 3

struct stage {
    struct world w;
    int32_t qd[2];  /* atomic: descriptors in use now, -1: none */
    int stop;       /* atomic */
    uint64_t moved; /* atomic: messages popped */
};

struct app {
    struct stage *stage;
    unsigned long long x;
};

/* Redeems a token, whatever became of it; nothing may hang for ever. */
static void finish(struct stage *st, demi_qtoken_t qt) {
    demi_qresult_t qr;
    struct timespec minute = {60, 0};
    CHECK_EQ(dp_wait(qt, &qr, &minute), 0);
    if (qr.qr_opcode == DEMI_OPC_FAILED) {
        CHECK(qr.qr_ret > 0);
    } else if (qr.qr_opcode == DEMI_OPC_POP) {
        demi_sgarray_t sga = qr.qr_value.sga;
        if (sga.sga_segs[0].sgaseg_len)
            __atomic_fetch_add(&st->moved, 1, __ATOMIC_RELAXED);
        CHECK_EQ(dp_sgafree(NULL, &sga), 0);
    }
}

static void *uses_connections(void *arg) {
    struct app *me = arg;
    struct stage *st = me->stage;
    while (!__atomic_load_n(&st->stop, __ATOMIC_ACQUIRE)) {
        int i = (int)(test_random(&me->x) & 1);
        struct dp_engine *e = i ? st->w.b.engine : st->w.a.engine;
        int32_t qd = __atomic_load_n(&st->qd[i], __ATOMIC_ACQUIRE);
        demi_sgarray_t sga = dp_sgaalloc(e, 700);
        demi_qtoken_t push_qt = 0, pop_qt = 0;
        CHECK_EQ(sga.sga_numsegs, 1);
        sga.sga_segs[0].sgaseg_len = test_random(&me->x) & 1 ? 40 : 700;
        int rc = dp_push(qd, &sga, &push_qt);
        CHECK(rc == 0 || rc == EBADF || rc == ENOTCONN);
        CHECK_EQ(dp_sgafree(e, &sga), 0);
        int rc2 = dp_pop(qd, &pop_qt);
        CHECK(rc2 == 0 || rc2 == EBADF || rc2 == ENOTCONN);
        if (rc == 0)
            finish(st, push_qt);
        if (rc2 == 0)
            finish(st, pop_qt);
        if (rc || rc2)
            sched_yield();
    }
    return NULL;
}

/* What libos does at demi_close, with a linger time of nothing. */
static void tear_down(struct side *s, unsigned long long *x) {
    CHECK_EQ(dp_qd_set_state(s->qd, DP_QD_CLOSING), 0);
    switch (test_random(x) % 3) {
    case 0:
        CHECK_EQ(dp_conn_cancel_pops(s->conn), 0);
        CHECK_EQ(dp_conn_close(s->conn, true), 0);
        CHECK_EQ(dp_conn_cancel_pushes(s->conn), 0);
        break;
    case 1:
        CHECK_EQ(dp_conn_fail(s->conn, ECONNABORTED), 0);
        break;
    default:
        break;
    }
    CHECK_EQ(dp_conn_cancel_pops(s->conn), 0);
    side_destroy_conn(s);
}

static void connections_come_and_go_under_the_feet_of_threads(void) {
    struct stage st = {.qd = {-1, -1}};
    struct app me[APPS];
    pthread_t t[APPS];
    struct setup u = world_defaults();
    unsigned long long x = 4711;
    u.fabric.threads = true;
    u.engine.wait_mode = DP_WAIT_ADAPTIVE;
    world_open(&st.w, u);
    side_destroy_conn(&st.w.a);
    side_destroy_conn(&st.w.b);
    for (int i = 0; i < APPS; i++) {
        me[i] = (struct app){.stage = &st, .x = (unsigned long long)i + 1};
        CHECK_EQ(pthread_create(&t[i], NULL, uses_connections, &me[i]), 0);
    }
    for (int round = 0; round < 300; round++) {
        side_make_conn(&st.w.a);
        side_make_conn(&st.w.b);
        world_connect(&st.w);
        __atomic_store_n(&st.qd[0], st.w.a.qd, __ATOMIC_RELEASE);
        __atomic_store_n(&st.qd[1], st.w.b.qd, __ATOMIC_RELEASE);
        /*
         * Long enough for some traffic, cut off anywhere in it; not for ever, because all
         * threads may wait for messages of the same side.
         */
        int turns = 500;
        uint64_t until = __atomic_load_n(&st.moved, __ATOMIC_RELAXED) + test_random(&x) % 8;
        while (__atomic_load_n(&st.moved, __ATOMIC_RELAXED) < until && turns--) {
            sched_yield();
            (void)dp_engine_poll(st.w.a.engine);
            (void)dp_engine_poll(st.w.b.engine);
            struct dp_conn_stats stats;
            CHECK_EQ(dp_conn_stats(st.w.a.conn, &stats), 0);
        }
        side_notices(&st.w.a);
        side_notices(&st.w.b);
        tear_down(&st.w.a, &x);
        tear_down(&st.w.b, &x);
    }
    __atomic_store_n(&st.stop, 1, __ATOMIC_RELEASE);
    for (int i = 0; i < APPS; i++)
        CHECK_EQ(pthread_join(t[i], NULL), 0);
    CHECK(st.moved > 0);
    world_close(&st.w);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {TEST(connections_come_and_go_under_the_feet_of_threads)};
    return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
