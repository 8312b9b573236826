/* Threads that wait for connections to be set up, and take the control plane's events themselves.
 */
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>

#include "internal.h"
#include "pingpong.h"

/* ---- A control plane --------------------------------------------------------------------------
 */

/* The test's; the counts are atomic. */
static struct control {
    int events, interrupt;
    int refuses, dead; /* errnos that take and turn answer */
    int taken, turns, left;
    demi_qtoken_t completes; /* what a turn completes, if not 0 */
} control;

static int count(const int *n) {
    return __atomic_load_n(n, __ATOMIC_ACQUIRE);
}

static int take(struct dp_engine *e, int *events, int *interrupt) {
    CHECK(e != NULL);
    __atomic_fetch_add(&control.taken, 1, __ATOMIC_ACQ_REL);
    *events = control.events;
    *interrupt = control.interrupt;
    return control.refuses;
}

static int turn(struct dp_engine *e) {
    demi_qtoken_t qt = __atomic_exchange_n(&control.completes, 0, __ATOMIC_ACQ_REL);
    CHECK(e != NULL);
    dp_event_read(control.events);
    if (qt)
        CHECK_EQ(dp_token_complete(qt, DEMI_OPC_CONNECT, 0, NULL), 0);
    __atomic_fetch_add(&control.turns, 1, __ATOMIC_ACQ_REL);
    return control.dead;
}

static void leave_watch(struct dp_engine *e) {
    CHECK(e != NULL);
    __atomic_fetch_add(&control.left, 1, __ATOMIC_ACQ_REL);
}

static void control_open(void) {
    static const struct dp_lead_ops ops = {.take = take, .turn = turn, .leave = leave_watch};
    control =
        (struct control){.events = eventfd(0, EFD_NONBLOCK), .interrupt = eventfd(0, EFD_NONBLOCK)};
    CHECK(control.events >= 0 && control.interrupt >= 0);
    dp_lead_provide(&ops);
}

/* Each watch that was taken has been left. */
static void control_close(void) {
    CHECK_EQ(control.left, control.refuses ? 0 : control.taken);
    close(control.events);
    close(control.interrupt);
}

/* ---- A thread that waits ----------------------------------------------------------------------
 */

struct waiter {
    struct side *side;
    demi_qtoken_t qt;
    pthread_t thread;
};

static demi_qtoken_t control_token(struct side *s) {
    demi_qtoken_t qt;
    CHECK_EQ(dp_token_alloc(s->engine, s->qd, DEMI_OPC_CONNECT, &qt), 0);
    return qt;
}

static void *waits(void *arg) {
    struct waiter *w = arg;
    demi_qresult_t qr;
    CHECK_EQ(dp_wait(w->qt, &qr, NULL), 0);
    CHECK_EQ(qr.qr_qt, w->qt);
    if (qr.qr_opcode == DEMI_OPC_POP) {
        demi_sgarray_t sga = qr.qr_value.sga;
        CHECK_EQ(dp_sgafree(w->side->engine, &sga), 0);
    }
    return NULL;
}

static void begin(struct waiter *w, struct side *s, demi_qtoken_t qt) {
    *w = (struct waiter){.side = s, .qt = qt};
    CHECK_EQ(pthread_create(&w->thread, NULL, waits, w), 0);
}

static void ended(struct waiter *w) {
    CHECK_EQ(pthread_join(w->thread, NULL), 0);
}

/* So many threads sleep on an engine, with one that leads among them or without. */
static void asleep(struct dp_engine *e, uint32_t sleepers, bool led) {
    for (bool so = false; !so; sched_yield()) {
        dp_mutex_lock(&e->lock);
        so = e->sleepers == sleepers && (e->lead_fd >= 0) == led;
        dp_mutex_unlock(&e->lock);
    }
}

static struct setup blocking(void) {
    struct setup u = world_defaults();
    u.fabric.threads = true;
    u.engine.wait_mode = DP_WAIT_BLOCK;
    return u;
}

/* ---- Tests ------------------------------------------------------------------------------------
 */

static void it_takes_the_events_until_its_token_is_complete(void) {
    for (int mode = 0; mode < 3; mode++) {
        struct setup u = blocking();
        struct world w;
        struct waiter waiter;
        u.engine.wait_mode = (enum dp_wait_mode)mode;
        world_open(&w, u);
        control_open();
        demi_qtoken_t qt = control_token(&w.a);
        begin(&waiter, &w.a, qt);
        if (mode == DP_WAIT_SPIN) { /* never sleeps, and so leaves the events to others */
            CHECK_EQ(dp_token_complete(qt, DEMI_OPC_CONNECT, 0, NULL), 0);
        } else {
            asleep(w.a.engine, 1, true);
            uint64_t naps = w.a.engine->naps;
            dp_event_write(control.events); /* something of another connection */
            while (count(&control.turns) != 1)
                sched_yield();
            asleep(w.a.engine, 1, true);
            __atomic_store_n(&control.completes, qt, __ATOMIC_RELEASE);
            dp_event_write(control.events);
            CHECK_EQ(w.a.engine->naps, naps); /* the CQs are none of its concern */
        }
        ended(&waiter);
        CHECK_EQ(control.taken, mode != DP_WAIT_SPIN);
        CHECK_EQ(control.turns, mode == DP_WAIT_SPIN ? 0 : 2);
        control_close();
        world_close(&w);
    }
}

static void it_is_rung_for_a_token_that_somebody_else_completes(void) {
    struct world w;
    struct waiter waiter;
    world_open(&w, blocking());
    control_open();
    begin(&waiter, &w.a, control_token(&w.a));
    asleep(w.a.engine, 1, true);
    /* First one of others, which it only looks for. */
    demi_qtoken_t other = control_token(&w.a);
    CHECK_EQ(dp_token_complete(other, DEMI_OPC_CONNECT, 0, NULL), 0);
    CHECK_EQ(dp_token_complete(waiter.qt, DEMI_OPC_CONNECT, 0, NULL), 0);
    ended(&waiter);
    must_succeed(other, DEMI_OPC_CONNECT);
    CHECK_EQ(control.taken, 1);
    CHECK_EQ(control.turns, 0);
    control_close();
    world_close(&w);
}

static void its_time_is_limited(void) {
    struct world w;
    demi_qresult_t qr;
    const struct timespec some = {.tv_nsec = 20000000};
    struct timespec before, after;
    world_open(&w, blocking());
    control_open();
    demi_qtoken_t qt = control_token(&w.a);
    CHECK_EQ(dp_wait(qt, &qr, &no_time), ETIMEDOUT);
    CHECK_EQ(control.taken, 0);
    clock_gettime(CLOCK_MONOTONIC, &before);
    CHECK_EQ(dp_wait(qt, &qr, &some), ETIMEDOUT);
    clock_gettime(CLOCK_MONOTONIC, &after);
    CHECK((after.tv_sec - before.tv_sec) * 1000000000LL + after.tv_nsec - before.tv_nsec >=
          20000000);
    CHECK_EQ(control.taken, 1);
    CHECK_EQ(dp_token_abandon(qt), 0);
    control_close();
    world_close(&w);
}

static void who_may_not_sleeps_as_anybody(void) {
    struct world w;
    struct waiter waiter;
    world_open(&w, blocking());
    control_open();
    control.refuses = EBUSY;
    begin(&waiter, &w.a, control_token(&w.a));
    asleep(w.a.engine, 1, false);
    CHECK_EQ(dp_token_complete(waiter.qt, DEMI_OPC_CONNECT, 0, NULL), 0);
    ended(&waiter);
    CHECK_EQ(control.taken, 1); /* it has been asked once */
    control_close();
    world_close(&w);
}

static void who_cannot_go_on_sleeps_as_anybody(void) {
    struct world w;
    struct waiter waiter;
    world_open(&w, blocking());
    control_open();
    control.dead = EIO;
    begin(&waiter, &w.a, control_token(&w.a));
    asleep(w.a.engine, 1, true);
    dp_event_write(control.events);
    asleep(w.a.engine, 1, false);
    CHECK_EQ(count(&control.left), 1);
    CHECK_EQ(dp_token_complete(waiter.qt, DEMI_OPC_CONNECT, 0, NULL), 0);
    ended(&waiter);
    control_close();
    world_close(&w);
}

static void who_waits_for_something_else_does_not_lead(void) {
    struct world w;
    demi_qresult_t qr;
    int at = -1, n;
    const struct timespec some = {.tv_nsec = 1000000};
    world_open(&w, blocking());
    control_open();
    demi_qtoken_t qts[] = {control_token(&w.a), must_pop(&w.a)};
    CHECK_EQ(dp_wait_any(qts, 2, &qr, &at, &some), ETIMEDOUT);
    CHECK_EQ(dp_wait_next_n(w.a.engine, &qr, 1, &n, &some), ETIMEDOUT);
    CHECK_EQ(control.taken, 0);
    CHECK_EQ(dp_wait_any(qts, 1, &qr, &at, &some), ETIMEDOUT);
    CHECK_EQ(control.taken, 1);
    CHECK_EQ(dp_token_abandon(qts[0]), 0);
    CHECK_EQ(dp_conn_cancel_pops(w.a.conn), 0);
    must_fail(qts[1], ECANCELED);
    control_close();
    world_close(&w);
}

/* ThreadSanitizer does not follow a thread that is cancelled in a blocking call any further. */
#ifndef __SANITIZE_THREAD__
static void who_is_cancelled_leaves_the_watch(void) {
    struct world w;
    struct waiter waiter;
    void *result;
    world_open(&w, blocking());
    control_open();
    demi_qtoken_t qt = control_token(&w.a);
    begin(&waiter, &w.a, qt);
    asleep(w.a.engine, 1, true);
    CHECK_EQ(pthread_cancel(waiter.thread), 0);
    CHECK_EQ(pthread_join(waiter.thread, &result), 0);
    CHECK(result == PTHREAD_CANCELED);
    asleep(w.a.engine, 0, false);
    CHECK_EQ(control.left, 1);
    begin(&waiter, &w.a, qt); /* the token is there, and the next one leads */
    asleep(w.a.engine, 1, true);
    __atomic_store_n(&control.completes, qt, __ATOMIC_RELEASE);
    dp_event_write(control.events);
    ended(&waiter);
    CHECK_EQ(control.taken, 2);
    control_close();
    world_close(&w);
}
#endif

/* Who watches the completion queues and leaves wakes one that can take over, which it cannot. */
static void it_is_not_asked_to_watch_the_completion_queues(void) {
    for (int leads_last = 0; leads_last < 2; leads_last++) {
        struct world w;
        struct waiter lead, first, second;
        struct side *b = &w.b;
        world_open(&w, blocking());
        control_open();
        demi_qtoken_t qt = control_token(b);
        if (!leads_last) {
            begin(&lead, b, qt);
            asleep(b->engine, 1, true);
        }
        begin(&first, b, must_pop(b));
        asleep(b->engine, leads_last ? 1 : 2, !leads_last);
        begin(&second, b, must_pop(b));
        asleep(b->engine, leads_last ? 2 : 3, !leads_last);
        if (leads_last) {
            begin(&lead, b, qt);
            asleep(b->engine, 3, true);
        }
        (void)wait_ok(must_push(&w.a, 64, 1, 0));
        ended(&first);
        asleep(b->engine, 2, true);
        (void)wait_ok(must_push(&w.a, 64, 1, 1));
        ended(&second);
        asleep(b->engine, 1, true);
        CHECK_EQ(dp_engine_destroy(b->engine), EBUSY);
        CHECK_EQ(dp_token_complete(qt, DEMI_OPC_CONNECT, 0, NULL), 0);
        ended(&lead);
        CHECK_EQ(control.taken, 1);
        control_close();
        world_close(&w);
    }
}

/* Those who come while the housekeeper is parked, as a thread slept that watched for it, send it
 * back. */
static void the_housekeeper_watches_while_it_sleeps(void) {
    struct world w;
    struct waiter lead, other;
    world_open(&w, blocking());
    control_open();
    begin(&other, &w.b, must_pop(&w.b));
    asleep(w.b.engine, 1, false);
    CHECK_EQ(dp_engine_arm(w.b.engine), EBUSY); /* parked */
    begin(&lead, &w.b, control_token(&w.b));
    asleep(w.b.engine, 2, true);
    CHECK(!w.b.engine->notice_housekeeper);
    (void)wait_ok(must_push(&w.a, 64, 1, 0));
    ended(&other);
    asleep(w.b.engine, 1, true);
    CHECK(w.b.engine->notice_housekeeper);
    side_notices(&w.b);
    CHECK_EQ(dp_token_complete(lead.qt, DEMI_OPC_CONNECT, 0, NULL), 0);
    ended(&lead);
    control_close();
    world_close(&w);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(it_takes_the_events_until_its_token_is_complete),
        TEST(it_is_rung_for_a_token_that_somebody_else_completes),
        TEST(its_time_is_limited),
        TEST(who_may_not_sleeps_as_anybody),
        TEST(who_cannot_go_on_sleeps_as_anybody),
        TEST(who_waits_for_something_else_does_not_lead),
#ifndef __SANITIZE_THREAD__
        TEST(who_is_cancelled_leaves_the_watch),
#endif
        TEST(it_is_not_asked_to_watch_the_completion_queues),
        TEST(the_housekeeper_watches_while_it_sleeps),
    };
    return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
