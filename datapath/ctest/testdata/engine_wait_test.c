/* Waiting: results, order, timeouts, and no lost wake-up among many threads. */
#include <pthread.h>
#include <poll.h>
#include <sched.h>

#include "internal.h"
#include "pingpong.h"

static struct timespec ms(long n) {
    return (struct timespec){.tv_sec = n / 1000, .tv_nsec = n % 1000 * 1000000};
}

static demi_qtoken_t control_token(struct side *s) {
    demi_qtoken_t qt;
    CHECK_EQ(dp_token_alloc(s->engine, s->qd, DEMI_OPC_CONNECT, &qt), 0);
    return qt;
}

static struct setup threaded(enum dp_wait_mode mode) {
    struct setup u = world_defaults();
    u.fabric.threads = true;
    u.engine.wait_mode = mode;
    return u;
}

/* ---- One thread -------------------------------------------------------------------------------
 */

static void a_token_is_redeemed_once(void) {
    struct world w;
    demi_qresult_t qr;
    world_open(&w, world_defaults());
    demi_qtoken_t qt = control_token(&w.a);
    CHECK_EQ(dp_wait(qt, &qr, &no_time), ETIMEDOUT);
    CHECK_EQ(dp_token_redeem(qt, &qr), ETIMEDOUT);
    CHECK_EQ(dp_token_complete(qt, DEMI_OPC_ACCEPT, 0, NULL), EINVAL); /* not its opcode */
    CHECK_EQ(dp_token_complete(qt, DEMI_OPC_CONNECT, 1, NULL), EINVAL);
    CHECK_EQ(dp_token_complete(qt, DEMI_OPC_FAILED, 0, NULL), EINVAL);
    CHECK_EQ(dp_token_complete(qt, DEMI_OPC_CONNECT, 0, NULL), 0);
    CHECK_EQ(dp_token_complete(qt, DEMI_OPC_CONNECT, 0, NULL), EINVAL);
    CHECK_EQ(dp_token_abandon(qt), EINVAL);
    CHECK_EQ(dp_wait(qt, &qr, NULL), 0);
    CHECK_EQ(qr.qr_opcode, DEMI_OPC_CONNECT);
    CHECK_EQ(qr.qr_qd, w.a.qd);
    CHECK_EQ(qr.qr_qt, qt);
    CHECK_EQ(dp_wait(qt, &qr, NULL), EINVAL);
    CHECK_EQ(dp_token_redeem(qt, &qr), EINVAL);
    CHECK_EQ(dp_wait(0, &qr, NULL), EINVAL);
    CHECK_EQ(dp_wait(UINT64_MAX, &qr, NULL), EINVAL);
    CHECK_EQ(dp_wait(qt ^ ((uint64_t)500 << 54), &qr, NULL), EINVAL); /* no such engine */
    qt = control_token(&w.a);
    CHECK_EQ(dp_token_complete(qt, DEMI_OPC_FAILED, ECONNREFUSED, NULL), 0);
    CHECK_EQ(dp_wait(qt, &qr, NULL), 0);
    CHECK_EQ(qr.qr_opcode, DEMI_OPC_FAILED);
    CHECK_EQ(qr.qr_ret, ECONNREFUSED);
    qt = control_token(&w.a);
    CHECK_EQ(dp_token_abandon(qt), 0);
    CHECK_EQ(dp_wait(qt, &qr, NULL), EINVAL);
    /* Those of the data plane are not the control plane's to complete. */
    qt = must_pop(&w.a);
    CHECK_EQ(dp_token_complete(qt, DEMI_OPC_POP, 0, NULL), EINVAL);
    CHECK_EQ(dp_token_complete(qt, DEMI_OPC_FAILED, EIO, NULL), EINVAL);
    CHECK_EQ(dp_token_abandon(qt), EINVAL);
    CHECK_EQ(dp_token_alloc(w.a.engine, w.a.qd, DEMI_OPC_PUSH, &qt), EINVAL);
    world_close(&w);
}

static void an_accept_result_comes_through(void) {
    struct world w;
    demi_qresult_t qr;
    demi_qtoken_t qt;
    world_open(&w, world_defaults());
    demi_accept_result_t ares = {.qd = 777, .addr = {.sin_family = AF_INET, .sin_port = 99}};
    CHECK_EQ(dp_token_alloc(w.a.engine, w.a.qd, DEMI_OPC_ACCEPT, &qt), 0);
    CHECK_EQ(dp_token_complete(qt, DEMI_OPC_ACCEPT, 0, &ares), 0);
    CHECK_EQ(dp_wait(qt, &qr, NULL), 0);
    CHECK(memcmp(&qr.qr_value.ares, &ares, sizeof(ares)) == 0);
    world_close(&w);
}

static void wait_any_takes_the_lowest_index(void) {
    struct world w;
    demi_qresult_t qr;
    int offset = -7;
    world_open(&w, world_defaults());
    demi_qtoken_t qts[5];
    for (int i = 0; i < 5; i++)
        qts[i] = control_token(&w.a);
    CHECK_EQ(dp_wait_any(qts, 5, &qr, &offset, &no_time), ETIMEDOUT);
    CHECK_EQ(offset, -7);
    CHECK_EQ(dp_token_complete(qts[3], DEMI_OPC_CONNECT, 0, NULL), 0);
    CHECK_EQ(dp_token_complete(qts[1], DEMI_OPC_CONNECT, 0, NULL), 0);
    CHECK_EQ(dp_wait_any(qts, 5, &qr, &offset, NULL), 0);
    CHECK_EQ(offset, 1);
    CHECK_EQ(qr.qr_qt, qts[1]);
    /* One that is none spoils the list, and nothing is taken. */
    CHECK_EQ(dp_wait_any(qts, 5, &qr, &offset, NULL), EINVAL);
    qts[1] = qts[0];
    CHECK_EQ(dp_wait_any(qts, 5, &qr, &offset, NULL), 0);
    CHECK_EQ(offset, 3);
    CHECK_EQ(dp_token_abandon(qts[0]), 0);
    CHECK_EQ(dp_token_abandon(qts[2]), 0);
    CHECK_EQ(dp_token_abandon(qts[4]), 0);
    world_close(&w);
}

static void tokens_of_two_engines_do_not_mix(void) {
    struct world w;
    demi_qresult_t qr;
    int offset;
    world_open(&w, world_defaults());
    demi_qtoken_t qts[2] = {control_token(&w.a), control_token(&w.b)};
    CHECK_EQ(dp_token_complete(qts[0], DEMI_OPC_CONNECT, 0, NULL), 0);
    CHECK_EQ(dp_wait_any(qts, 2, &qr, &offset, NULL), EINVAL);
    CHECK_EQ(dp_wait_any(qts, 1, &qr, &offset, NULL), 0);
    CHECK_EQ(dp_token_abandon(qts[1]), 0);
    world_close(&w);
}

static void wait_next_n_waits_for_all_or_gives_what_there_is(void) {
    struct world w;
    demi_qresult_t qrs[4];
    int n = 9;
    world_open(&w, world_defaults());
    demi_qtoken_t qts[6];
    for (int i = 0; i < 6; i++)
        qts[i] = control_token(&w.a);
    CHECK_EQ(dp_wait_next_n(w.a.engine, qrs, 4, &n, &no_time), ETIMEDOUT);
    CHECK_EQ(n, 0);
    for (int i = 5; i >= 0; i--)
        CHECK_EQ(dp_token_complete(qts[i], DEMI_OPC_CONNECT, 0, NULL), 0);
    CHECK_EQ(dp_wait_next_n(w.a.engine, qrs, 4, &n, NULL), 0);
    CHECK_EQ(n, 4);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(qrs[i].qr_qt, qts[5 - i]);
    struct timespec t = ms(5);
    CHECK_EQ(dp_wait_next_n(w.a.engine, qrs, 4, &n, &t), ETIMEDOUT);
    CHECK_EQ(n, 2);
    CHECK_EQ(dp_wait(qts[0], &qrs[0], NULL), EINVAL); /* consumed all the same */
    CHECK_EQ(dp_wait_next_n(NULL, qrs, 1, &n, NULL), EINVAL);
    world_close(&w);
}

static void a_watched_token_gives_one_notice_and_is_kept_for_its_watcher(void) {
    struct world w;
    demi_qresult_t qr;
    bool done;
    int n;
    world_open(&w, world_defaults());
    demi_qtoken_t qts[200];
    for (int i = 0; i < 200; i++) {
        qts[i] = control_token(&w.a);
        CHECK_EQ(dp_token_watch(qts[i], &done, NULL), 0);
        CHECK(!done);
        CHECK_EQ(dp_token_watch(qts[i], &done, NULL), 0); /* twice is once */
    }
    struct pollfd p = {.fd = dp_engine_notice_fd(w.a.engine), .events = POLLIN};
    CHECK_EQ(poll(&p, 1, 0), 0);
    CHECK_EQ(dp_token_unwatch(qts[199]), 0);
    for (int i = 0; i < 200; i++)
        CHECK_EQ(i == 7 ? dp_token_abandon(qts[i])
                        : dp_token_complete(qts[i], DEMI_OPC_CONNECT, 0, NULL),
                 0);
    CHECK_EQ(poll(&p, 1, 0), 1);
    CHECK_EQ(dp_wait_next_n(w.a.engine, &qr, 1, &n, &no_time), 0);
    CHECK_EQ(qr.qr_qt, qts[199]); /* the only one that nobody watches */
    CHECK_EQ(dp_wait_next_n(w.a.engine, &qr, 1, &n, &no_time), ETIMEDOUT);
    side_notices(&w.a);
    CHECK_EQ(w.a.tokens, 199);
    CHECK_EQ(w.a.last_token, qts[198]);
    CHECK_EQ(poll(&p, 1, 0), 0);
    CHECK_EQ(dp_token_watch(qts[0], &done, NULL), 0);
    CHECK(done);
    CHECK_EQ(dp_token_watch(qts[7], &done, NULL), EINVAL);
    for (int i = 0; i < 199; i++)
        CHECK_EQ(dp_token_redeem(qts[i], &qr), i == 7 ? EINVAL : 0);
    side_notices(&w.a);
    CHECK_EQ(w.a.tokens, 199);
    world_close(&w);
}

static void a_timeout_is_waited_out(void) {
    struct world w;
    demi_qresult_t qr;
    for (int mode = 0; mode < 3; mode++) {
        world_open(&w, threaded((enum dp_wait_mode)mode));
        demi_qtoken_t qt = control_token(&w.a);
        struct timespec t = ms(30), before, after, bad = {-1, 0};
        clock_gettime(CLOCK_MONOTONIC, &before);
        CHECK_EQ(dp_wait(qt, &qr, &t), ETIMEDOUT);
        clock_gettime(CLOCK_MONOTONIC, &after);
        int64_t ns = (after.tv_sec - before.tv_sec) * 1000000000LL + after.tv_nsec - before.tv_nsec;
        CHECK(ns >= 30000000);
        CHECK_EQ(dp_wait(qt, &qr, &bad), EINVAL);
        t = (struct timespec){INT64_MAX, 999999999}; /* for practical purposes, for ever */
        CHECK_EQ(dp_token_complete(qt, DEMI_OPC_CONNECT, 0, NULL), 0);
        CHECK_EQ(dp_wait(qt, &qr, &t), 0);
        world_close(&w);
    }
}

static void *waits_for(void *arg) {
    demi_qtoken_t qt = *(demi_qtoken_t *)arg;
    demi_qresult_t qr = wait_ok(qt);
    if (qr.qr_opcode == DEMI_OPC_POP) {
        demi_sgarray_t sga = qr.qr_value.sga;
        CHECK_EQ(dp_sgafree(dp_engine_of_token(qt), &sga), 0);
    }
    return NULL;
}

/* Milliseconds until a thread that waits for qt has gone to sleep. */
static int64_t ms_until_asleep(struct side *s, demi_qtoken_t *qt, pthread_t *t) {
    struct timespec before, after;
    uint32_t sleepers;
    clock_gettime(CLOCK_MONOTONIC, &before);
    CHECK_EQ(pthread_create(t, NULL, waits_for, qt), 0);
    do {
        sched_yield();
        dp_mutex_lock(&s->engine->lock);
        sleepers = s->engine->sleepers;
        dp_mutex_unlock(&s->engine->lock);
    } while (sleepers == 0);
    clock_gettime(CLOCK_MONOTONIC, &after);
    return (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
}

static void who_waits_for_connections_alone_does_not_spin(void) {
    const uint32_t spin_ms = 2000;
    struct setup u = threaded(DP_WAIT_ADAPTIVE);
    struct world w;
    pthread_t t;
    demi_qtoken_t qt;
    u.engine.spin_ns = spin_ms * 1000000;
    world_open(&w, u);
    qt = control_token(&w.a);
    CHECK(ms_until_asleep(&w.a, &qt, &t) < spin_ms);
    CHECK_EQ(dp_token_complete(qt, DEMI_OPC_CONNECT, 0, NULL), 0);
    CHECK_EQ(pthread_join(t, NULL), 0);
    /* A message may come at any time. */
    qt = must_pop(&w.a);
    CHECK(ms_until_asleep(&w.a, &qt, &t) >= spin_ms);
    must_succeed(must_push(&w.b, 64, 1, 0), DEMI_OPC_PUSH);
    CHECK_EQ(pthread_join(t, NULL), 0);
    world_close(&w);
}

static void the_housekeeper_arms_only_when_there_is_nothing_to_do(void) {
    struct world w;
    struct setup u = world_defaults();
    world_open(&w, u);
    world_run(&w);
    CHECK_EQ(dp_engine_arm(w.b.engine), 0);
    struct pollfd p = {.fd = w.b.channel->fd, .events = POLLIN};
    CHECK_EQ(poll(&p, 1, 0), 0);
    uint64_t activity = dp_engine_activity(w.b.engine);
    must_succeed(must_push(&w.a, 64, 1, 0), DEMI_OPC_PUSH);
    CHECK_EQ(poll(&p, 1, 0), 1);
    CHECK_EQ(dp_engine_channel_event(w.b.engine), 1);
    CHECK_EQ(poll(&p, 1, 0), 0);
    CHECK_EQ(dp_engine_activity(w.b.engine), activity);
    must_succeed(must_push(&w.a, 64, 1, 1), DEMI_OPC_PUSH);
    CHECK_EQ(dp_engine_arm(w.b.engine), EAGAIN); /* came before */
    CHECK_EQ(dp_engine_arm(w.b.engine), 0);
    demi_qresult_t qr;
    demi_qtoken_t pop = must_pop(&w.b);
    CHECK_EQ(dp_wait(pop, &qr, &no_time), 0);
    CHECK(dp_engine_activity(w.b.engine) != activity);
    demi_sgarray_t sga = qr.qr_value.sga;
    CHECK_EQ(dp_sgafree(w.b.engine, &sga), 0);
    world_close(&w);
}

/* ---- Many threads ------------------------------------------------------------------------------
 */

#define THREADS 6
#define ROUNDS 3000

struct crew {
    struct world w;
    demi_qtoken_t qts[THREADS]; /* atomic: the token that thread i waits for, 0: none */
    int rounds;
};
struct worker {
    struct crew *crew;
    int i;
};

static void *completes_tokens(void *arg) {
    struct crew *c = arg;
    unsigned long long x = 99;
    for (int left = THREADS * c->rounds; left;) {
        int i = (int)(test_random(&x) % THREADS);
        demi_qtoken_t qt = __atomic_exchange_n(&c->qts[i], 0, __ATOMIC_ACQ_REL);
        if (!qt) {
            if ((test_random(&x) & 63) == 0)
                sched_yield();
            continue;
        }
        /* Sometimes at once, sometimes when its waiter has gone to sleep. */
        for (int spin = (int)(test_random(&x) % 2000); spin > 0; spin--)
            __atomic_load_n(&c->qts[0], __ATOMIC_RELAXED);
        CHECK_EQ(dp_token_complete(qt, DEMI_OPC_CONNECT, 0, NULL), 0);
        left--;
    }
    return NULL;
}

static void *waits_for_tokens(void *arg) {
    struct worker *me = arg;
    struct crew *c = me->crew;
    for (int n = 0; n < c->rounds; n++) {
        demi_qresult_t qr;
        demi_qtoken_t qt = control_token(&c->w.a);
        __atomic_store_n(&c->qts[me->i], qt, __ATOMIC_RELEASE);
        CHECK_EQ(dp_wait(qt, &qr, NULL), 0);
        CHECK_EQ(qr.qr_qt, qt);
    }
    return NULL;
}

/* A connect token that completes while its waiter sleeps, over and over; one engine. */
static void no_wake_up_is_lost_among_many_waiters(void) {
    for (int mode = 0; mode < 3; mode++) {
        struct crew c = {.rounds = ROUNDS};
        struct worker me[THREADS];
        pthread_t t[THREADS + 1];
        world_open(&c.w, threaded((enum dp_wait_mode)mode));
        CHECK_EQ(pthread_create(&t[THREADS], NULL, completes_tokens, &c), 0);
        for (int i = 0; i < THREADS; i++) {
            me[i] = (struct worker){.crew = &c, .i = i};
            CHECK_EQ(pthread_create(&t[i], NULL, waits_for_tokens, &me[i]), 0);
        }
        for (int i = 0; i <= THREADS; i++)
            CHECK_EQ(pthread_join(t[i], NULL), 0);
        world_close(&c.w);
    }
}

static void waiters_on_one_engine_share_its_completions(void) {
    for (int mode = 0; mode < 3; mode++) {
        struct world w;
        struct pair p[3];
        pthread_t t[6];
        world_open(&w, threaded((enum dp_wait_mode)mode));
        for (int i = 0; i < 3; i++) {
            pair_open(&p[i], &w, 1500);
            CHECK_EQ(pthread_create(&t[2 * i], NULL, pings, &p[i]), 0);
            CHECK_EQ(pthread_create(&t[2 * i + 1], NULL, pongs, &p[i]), 0);
        }
        for (int i = 0; i < 6; i++)
            CHECK_EQ(pthread_join(t[i], NULL), 0);
        for (int i = 0; i < 3; i++) {
            pair_close(&p[i]);
        }
        world_close(&w);
    }
}

/* Processor time of a ping-pong between two threads, in nanoseconds. */
static int64_t played(enum dp_wait_mode mode) {
    struct timespec before, after;
    struct world w;
    struct pair p;
    pthread_t t[2];
    world_open(&w, threaded(mode));
    pair_open(&p, &w, 300);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    CHECK_EQ(pthread_create(&t[0], NULL, pings, &p), 0);
    CHECK_EQ(pthread_create(&t[1], NULL, pongs, &p), 0);
    CHECK_EQ(pthread_join(t[0], NULL), 0);
    CHECK_EQ(pthread_join(t[1], NULL), 0);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    pair_close(&p);
    world_close(&w);
    return (after.tv_sec - before.tv_sec) * 1000000000LL + after.tv_nsec - before.tv_nsec;
}

/*
 * On one processor a thread that spins keeps it from the one that it waits for, if it does not give
 * way: for a time slice of the kernel's, milliseconds, for each message.
 */
static void who_spins_gives_way(void) {
    cpu_set_t before, one;
    int cpu = 0;
    CHECK_EQ(sched_getaffinity(0, sizeof(before), &before), 0);
    while (!CPU_ISSET(cpu, &before))
        cpu++;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    CHECK_EQ(sched_setaffinity(0, sizeof(one), &one), 0);
    int64_t block = played(DP_WAIT_BLOCK), spin = played(DP_WAIT_SPIN);
    CHECK_EQ(sched_setaffinity(0, sizeof(before), &before), 0);
    if (spin > 15 * block)
        printf("spinning took %lld ns, sleeping %lld ns\n", (long long)spin, (long long)block);
    CHECK(spin <= 15 * block);
}

/* What the housekeeper goroutine does, as a thread: the leader when no C thread sleeps. */
struct housekeeper {
    struct side *side;
    int stop; /* atomic */
    int wake; /* eventfd-like pipe end */
};

static void *keeps_house(void *arg) {
    struct housekeeper *h = arg;
    struct side *s = h->side;
    while (!__atomic_load_n(&h->stop, __ATOMIC_ACQUIRE)) {
        int rc = dp_engine_arm(s->engine);
        if (rc == EAGAIN)
            continue;
        CHECK(rc == 0 || rc == EBUSY);
        struct pollfd p[3] = {{.fd = dp_engine_notice_fd(s->engine), .events = POLLIN},
                              {.fd = h->wake, .events = POLLIN},
                              {.fd = rc == 0 ? s->channel->fd : -1, .events = POLLIN}};
        CHECK(poll(p, 3, -1) > 0);
        side_notices(s);
        if (p[2].revents)
            (void)dp_engine_channel_event(s->engine);
    }
    return NULL;
}

static void the_housekeeper_and_sleeping_threads_hand_over(void) {
    struct world w;
    struct pair p;
    struct housekeeper h = {0};
    pthread_t t[3];
    int fds[2];
    CHECK_EQ(pipe(fds), 0);
    world_open(&w, threaded(DP_WAIT_BLOCK));
    p = (struct pair){.a = w.a, .b = w.b, .rounds = 3000};
    h.side = &w.b;
    h.wake = fds[0];
    CHECK_EQ(pthread_create(&t[2], NULL, keeps_house, &h), 0);
    CHECK_EQ(pthread_create(&t[0], NULL, pings, &p), 0);
    CHECK_EQ(pthread_create(&t[1], NULL, pongs, &p), 0);
    CHECK_EQ(pthread_join(t[0], NULL), 0);
    CHECK_EQ(pthread_join(t[1], NULL), 0);
    /* Nobody waits on b any more: credits move all the same, by the housekeeper. */
    demi_qtoken_t pops[3];
    for (int i = 0; i < 3; i++)
        pops[i] = must_pop(&w.b);
    for (uint64_t i = 0; i < 3; i++)
        CHECK_EQ(wait_ok(must_push(&w.a, 700, 5, i)).qr_opcode, DEMI_OPC_PUSH);
    struct timespec t0, now;
    clock_gettime(CLOCK_MONOTONIC, &t0);
    while (!is_done(pops[2])) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        CHECK(now.tv_sec - t0.tv_sec < 300);
        sched_yield();
    }
    for (uint64_t i = 0; i < 3; i++)
        must_get(&w.b, pops[i], 700, 5, i);
    __atomic_store_n(&h.stop, 1, __ATOMIC_RELEASE);
    CHECK_EQ(write(fds[1], "x", 1), 1);
    CHECK_EQ(pthread_join(t[2], NULL), 0);
    close(fds[0]);
    close(fds[1]);
    world_close(&w);
}

static void *waits_next(void *arg) {
    struct side *s = arg;
    demi_qresult_t qrs[16];
    int n;
    CHECK_EQ(dp_wait_next_n(s->engine, qrs, 16, &n, NULL), 0);
    CHECK_EQ(n, 16);
    return NULL;
}

static void *takes_a_message(void *arg) {
    struct side *s = arg;
    demi_qresult_t r = wait_ok(must_pop(s));
    demi_sgarray_t sga = r.qr_value.sga;
    CHECK_EQ(dp_sgafree(s->engine, &sga), 0);
    return NULL;
}

/* A thread that slept as the leader takes the event for which the housekeeper had armed the CQs. */
static void a_leader_that_leaves_tells_the_housekeeper_of_the_event_it_took(void) {
    struct world w;
    world_open(&w, threaded(DP_WAIT_BLOCK));
    for (uint64_t i = 0; i < 200; i++) {
        pthread_t t;
        side_notices(&w.b);
        while (dp_engine_arm(w.b.engine) == EAGAIN)
            continue;
        uint64_t activity = dp_engine_activity(w.b.engine);
        CHECK_EQ(pthread_create(&t, NULL, takes_a_message, &w.b), 0);
        while (dp_engine_activity(w.b.engine) == activity)
            sched_yield(); /* it waits, and sleeps soon, if not now */
        CHECK_EQ(wait_ok(must_push(&w.a, 64, 1, 2 * i)).qr_opcode, DEMI_OPC_PUSH);
        CHECK_EQ(pthread_join(t, NULL), 0);
        /* Nobody waits: what comes now is the housekeeper's, who must hear of it. */
        CHECK_EQ(wait_ok(must_push(&w.a, 64, 1, 2 * i + 1)).qr_opcode, DEMI_OPC_PUSH);
        struct pollfd p[2] = {{.fd = w.b.channel->fd, .events = POLLIN},
                              {.fd = dp_engine_notice_fd(w.b.engine), .events = POLLIN}};
        CHECK(poll(p, 2, 60000) > 0);
        (void)takes_a_message(&w.b);
    }
    world_close(&w);
}

static void two_threads_may_take_the_next_results(void) {
    struct world w;
    pthread_t t[2];
    world_open(&w, threaded(DP_WAIT_ADAPTIVE));
    for (int round = 0; round < 50; round++) {
        demi_qtoken_t qts[32];
        for (int i = 0; i < 2; i++)
            CHECK_EQ(pthread_create(&t[i], NULL, waits_next, &w.a), 0);
        for (int i = 0; i < 32; i++)
            qts[i] = control_token(&w.a);
        for (int i = 0; i < 32; i++)
            CHECK_EQ(dp_token_complete(qts[i], DEMI_OPC_CONNECT, 0, NULL), 0);
        for (int i = 0; i < 2; i++)
            CHECK_EQ(pthread_join(t[i], NULL), 0);
    }
    world_close(&w);
}

static void *waits_in_vain(void *arg) {
    demi_qresult_t qr;
    demi_qtoken_t *qt = arg;
    CHECK_EQ(dp_wait(*qt, &qr, NULL), EINVAL);
    return NULL;
}

static void a_token_that_goes_away_wakes_its_waiter(void) {
    struct world w;
    pthread_t t[2];
    world_open(&w, threaded(DP_WAIT_BLOCK));
    for (int round = 0; round < 200; round++) {
        demi_qtoken_t qt = control_token(&w.a);
        for (int i = 0; i < 2; i++)
            CHECK_EQ(pthread_create(&t[i], NULL, waits_in_vain, &qt), 0);
        CHECK_EQ(dp_token_abandon(qt), 0);
        for (int i = 0; i < 2; i++)
            CHECK_EQ(pthread_join(t[i], NULL), 0);
    }
    world_close(&w);
}

struct rival {
    demi_qtoken_t qt;
    struct side *side;
    int won; /* atomic */
};

/* Waits for a token that others wait for, too: one of them has it. */
static void *waits_with_others(void *arg) {
    struct rival *r = arg;
    demi_qresult_t qr;
    int rc = dp_wait(r->qt, &qr, NULL);
    if (rc == 0) {
        demi_sgarray_t sga = qr.qr_value.sga;
        CHECK_EQ(dp_sgafree(r->side->engine, &sga), 0);
        __atomic_fetch_add(&r->won, 1, __ATOMIC_RELAXED);
    } else {
        CHECK_EQ(rc, EINVAL);
    }
    return NULL;
}

static void *waits_for_control(void *arg) {
    demi_qresult_t qr;
    CHECK_EQ(dp_wait(*(demi_qtoken_t *)arg, &qr, NULL), 0);
    return NULL;
}

static void until_asleep(struct dp_engine *e, uint32_t n) {
    for (;;) {
        dp_lock(e);
        uint32_t asleep = e->sleepers;
        dp_unlock(e);
        if (asleep == n)
            return;
        (void)sched_yield();
    }
}

static void a_poll_that_takes_a_token_wakes_those_who_sleep_for_it(void) {
    struct world w;
    pthread_t leader, t[2];
    world_open(&w, threaded(DP_WAIT_BLOCK));
    for (uint64_t round = 0; round < 200; round++) {
        demi_qtoken_t other = control_token(&w.b);
        struct rival r = {.qt = must_pop(&w.b), .side = &w.b};
        CHECK_EQ(pthread_create(&leader, NULL, waits_for_control, &other), 0);
        until_asleep(w.b.engine, 1);
        for (int i = 0; i < 2; i++)
            CHECK_EQ(pthread_create(&t[i], NULL, waits_with_others, &r), 0);
        until_asleep(w.b.engine, 3);
        demi_qresult_t qr;
        CHECK_EQ(dp_wait(must_push(&w.a, 64, 9, round), &qr, NULL), 0);
        (void)waits_with_others(&r); /* polls at once */
        for (int i = 0; i < 2; i++)
            CHECK_EQ(pthread_join(t[i], NULL), 0);
        CHECK_EQ(r.won, 1);
        CHECK_EQ(dp_token_complete(other, DEMI_OPC_CONNECT, 0, NULL), 0);
        CHECK_EQ(pthread_join(leader, NULL), 0);
    }
    world_close(&w);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(a_token_is_redeemed_once),
        TEST(an_accept_result_comes_through),
        TEST(wait_any_takes_the_lowest_index),
        TEST(tokens_of_two_engines_do_not_mix),
        TEST(wait_next_n_waits_for_all_or_gives_what_there_is),
        TEST(a_watched_token_gives_one_notice_and_is_kept_for_its_watcher),
        TEST(a_timeout_is_waited_out),
        TEST(who_waits_for_connections_alone_does_not_spin),
        TEST(the_housekeeper_arms_only_when_there_is_nothing_to_do),
        TEST(no_wake_up_is_lost_among_many_waiters),
        TEST(waiters_on_one_engine_share_its_completions),
        TEST(who_spins_gives_way),
        TEST(the_housekeeper_and_sleeping_threads_hand_over),
        TEST(a_leader_that_leaves_tells_the_housekeeper_of_the_event_it_took),
        TEST(two_threads_may_take_the_next_results),
        TEST(a_token_that_goes_away_wakes_its_waiter),
        TEST(a_poll_that_takes_a_token_wakes_those_who_sleep_for_it),
    };
    return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
