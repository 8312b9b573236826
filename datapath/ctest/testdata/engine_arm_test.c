/*
 * The moments around sleep: a message between the last poll and the arming of the CQ, a leader
 * that leaves while others sleep, and what sleep costs. "rounds=N" is how often each thread of
 * the races goes round.
 */
#include <pthread.h>

#include "internal.h"
#include "pingpong.h"

static int rounds = 300;

static struct setup threaded(enum dp_wait_mode mode) {
    struct setup u = world_defaults();
    u.fabric.threads = true;
    u.engine.wait_mode = mode;
    return u;
}

/* ---- The arm race, at will ------------------------------------------------------------------- */

static struct world race;
static int (*real_notify)(struct ibv_cq *cq, int solicited);
static int race_at; /* how many calls from now a message comes, before arming or after; 0: none */
static bool race_after;
static uint64_t race_sent;

/* ibv_req_notify_cq of side a, during which b sends. */
static int racing_notify(struct ibv_cq *cq, int solicited) {
    bool now = cq == race.a.cq && race_at && --race_at == 0;
    if (now && !race_after)
        (void)must_push(&race.b, 64, 2, race_sent++);
    int rc = real_notify(cq, solicited);
    if (now && race_after)
        (void)must_push(&race.b, 64, 2, race_sent++);
    return rc;
}

static void race_open(void) {
    world_open(&race, world_defaults());
    real_notify = race.a.ctx->ops.req_notify_cq;
    race.a.ctx->ops.req_notify_cq = racing_notify;
    race_sent = 0;
}

static void a_message_that_comes_while_a_waiter_arms_wakes_it(void) {
    race_open();
    for (uint64_t n = 0; n < 100; n++) {
        struct timespec minute = {60, 0};
        demi_qresult_t qr;
        demi_qtoken_t pop = must_pop(&race.a);
        race_at = 1;
        race_after = n & 1;
        CHECK_EQ(dp_wait(pop, &qr, &minute), 0);
        CHECK_EQ(race_sent, n + 1);
        demi_sgarray_t sga = qr.qr_value.sga;
        check_bytes(&sga, 64, 2, n);
        CHECK_EQ(dp_sgafree(race.a.engine, &sga), 0);
        (void)dp_engine_poll(race.b.engine);
    }
    side_sweep(&race.b);
    world_close(&race);
}

static void a_message_that_comes_while_the_housekeeper_arms_is_told(void) {
    race_open();
    for (uint64_t n = 0; n < 100; n++) {
        demi_qtoken_t pop = must_pop(&race.a);
        race_at = 1;
        race_after = n & 1;
        int rc = 0;
        while (race_at) /* a CREDIT may be there before */
            rc = dp_engine_arm(race.a.engine);
        CHECK_EQ(rc, EAGAIN);
        must_get(&race.a, pop, 64, 2, n);
        (void)dp_engine_poll(race.b.engine);
    }
    side_sweep(&race.b);
    world_close(&race);
}

/* ---- Leaders that leave ------------------------------------------------------------------------
 */

struct restless {
    struct side *side;
    unsigned long long x;
    int *stop; /* atomic */
};

/* Becomes the leader whenever it can, and leaves it again soon, in vain. */
static void *waits_now_and_then(void *arg) {
    struct restless *me = arg;
    demi_qtoken_t qt;
    demi_qresult_t qr;
    CHECK_EQ(dp_token_alloc(me->side->engine, me->side->qd, DEMI_OPC_CONNECT, &qt), 0);
    while (!__atomic_load_n(me->stop, __ATOMIC_ACQUIRE)) {
        struct timespec t = {0, (long)(test_random(&me->x) % 200000)};
        CHECK_EQ(dp_wait(qt, &qr, &t), ETIMEDOUT);
    }
    CHECK_EQ(dp_token_abandon(qt), 0);
    return NULL;
}

static void a_leader_that_leaves_hands_over(void) {
    for (int mode = 0; mode < 3; mode += 2) {
        struct world w;
        struct pair p[2];
        struct restless r[4];
        pthread_t t[4], rt[4];
        int stop = 0;
        world_open(&w, threaded((enum dp_wait_mode)mode));
        for (int i = 0; i < 4; i++) {
            r[i] = (struct restless){
                .side = i & 1 ? &w.b : &w.a, .x = (unsigned long long)i + 1, .stop = &stop};
            CHECK_EQ(pthread_create(&rt[i], NULL, waits_now_and_then, &r[i]), 0);
        }
        for (int i = 0; i < 2; i++) {
            pair_open(&p[i], &w, rounds);
            CHECK_EQ(pthread_create(&t[2 * i], NULL, pings, &p[i]), 0);
            CHECK_EQ(pthread_create(&t[2 * i + 1], NULL, pongs, &p[i]), 0);
        }
        for (int i = 0; i < 4; i++)
            CHECK_EQ(pthread_join(t[i], NULL), 0);
        __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
        for (int i = 0; i < 4; i++)
            CHECK_EQ(pthread_join(rt[i], NULL), 0);
        for (int i = 0; i < 2; i++)
            pair_close(&p[i]);
        world_close(&w);
    }
}

/* ---- What sleep costs
 * ---------------------------------------------------------------------------- */

static double seconds(struct timespec t) {
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

struct measured {
    struct side *side;
    double share; /* of a core */
};

/* What a thread uses of a core that waits for a second. */
static void *measures_a_wait(void *arg) {
    struct measured *me = arg;
    struct timespec second = {1, 0}, cpu[2], wall[2];
    demi_qresult_t qr;
    demi_qtoken_t pop = must_pop(me->side);
    clock_gettime(CLOCK_MONOTONIC, &wall[0]);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu[0]);
    CHECK_EQ(dp_wait(pop, &qr, &second), ETIMEDOUT);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &cpu[1]);
    clock_gettime(CLOCK_MONOTONIC, &wall[1]);
    me->share = (seconds(cpu[1]) - seconds(cpu[0])) / (seconds(wall[1]) - seconds(wall[0]));
    return NULL;
}

static void an_idle_waiter_uses_less_than_a_hundredth_of_a_core(void) {
    struct world w;
    struct measured m[4];
    pthread_t t[4];
    world_open(&w, threaded(DP_WAIT_ADAPTIVE));
    /* A leader and one that follows it, on either engine. */
    for (int i = 0; i < 4; i++) {
        m[i] = (struct measured){.side = i & 1 ? &w.b : &w.a};
        CHECK_EQ(pthread_create(&t[i], NULL, measures_a_wait, &m[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(pthread_join(t[i], NULL), 0);
        fprintf(stderr, "share of a core: %.4f\n", m[i].share);
        CHECK(m[i].share < 0.01);
    }
    world_close(&w);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(a_message_that_comes_while_a_waiter_arms_wakes_it),
        TEST(a_message_that_comes_while_the_housekeeper_arms_is_told),
        TEST(a_leader_that_leaves_hands_over),
        TEST(an_idle_waiter_uses_less_than_a_hundredth_of_a_core),
    };
    if (argc > 1 && strncmp(argv[1], "rounds=", 7) == 0) {
        rounds = atoi(argv[1] + 7);
        argc--;
        argv++;
    }
    return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
