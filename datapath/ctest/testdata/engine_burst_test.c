/* Bursts of pushes: in how many calls of post_send they go, and that none waits for ever. */
#include "world.h"

#include <poll.h>

enum { WINDOW = 64, BURST = 32, AT_ONCE = 3 };

static struct setup wide(void) {
    struct setup u = world_defaults();
    u.data_window = WINDOW;
    u.send_depth = 64;
    u.cq_depth = 1023;
    return u;
}

static uint64_t posts(const struct side *s) {
    return side_stats(s).post_sends;
}

static uint64_t frames(const struct side *s) {
    return side_stats(s).frames_out;
}

/* Somebody waits on this engine. */
static void take_turn(struct side *s) {
    demi_qtoken_t qt;
    demi_qresult_t qr;
    CHECK_EQ(dp_token_alloc(s->engine, s->qd, DEMI_OPC_CONNECT, &qt), 0);
    CHECK_EQ(dp_wait(qt, &qr, &no_time), ETIMEDOUT);
    CHECK_EQ(dp_token_abandon(qt), 0);
}

static void push_many(struct side *s, demi_qtoken_t *qts, uint64_t from, uint64_t to,
                      uint32_t len) {
    for (uint64_t n = from; n < to; n++)
        qts[n] = must_push(s, len, 1, n);
}

/* Messages from to to arrive in order, and no more. */
static void arrive(struct world *w, uint64_t from, uint64_t to, uint32_t len) {
    for (uint64_t n = from; n < to; n++) {
        demi_qtoken_t pop = must_pop(&w->b);
        world_run(w);
        must_get(&w->b, pop, len, 1, n);
    }
    demi_qtoken_t none = must_pop(&w->b);
    world_run(w);
    CHECK(!is_done(none));
    CHECK_EQ(dp_conn_cancel_pops(w->b.conn), 0);
    must_fail(none, ECANCELED);
}

static void burst_of(struct setup u, uint32_t len, uint64_t most) {
    struct world w;
    demi_qtoken_t qts[BURST];
    demi_qresult_t qr;

    world_open(&w, u);
    for (int round = 0; round < 3; round++) {
        uint64_t before = posts(&w.a);
        push_many(&w.a, qts, 0, BURST, len);
        CHECK_EQ(dp_wait(qts[BURST - 1], &qr, NULL), 0);
        CHECK_EQ(qr.qr_opcode, DEMI_OPC_PUSH);
        CHECK(posts(&w.a) - before <= most);
        arrive(&w, 0, BURST, len);
        for (int i = 0; i < BURST - 1; i++)
            must_succeed(qts[i], DEMI_OPC_PUSH);
        take_turn(&w.a);
    }
    world_close(&w);
}

static void a_burst_of_32_goes_in_few_calls(void) {
    burst_of(wide(), 64, 6);
    burst_of(wide(), 1000, 6); /* not inline */
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct setup u = wide();
        u.fabric.delivery = SIM_DELIVER_SEEDED; /* completions lag */
        u.fabric.seed = seed;
        burst_of(u, 64, 8);
        burst_of(u, 1000, 8);
    }
}

/* What does not fit the peer's window goes as it gives receives back: a call for each time. */
static void a_burst_through_a_small_window_goes_as_it_opens(void) {
    for (uint32_t max = 0; max <= WINDOW; max += WINDOW) {
        struct world w;
        struct setup u = wide();
        demi_qtoken_t qts[BURST], pops[BURST];
        demi_qresult_t qr;
        u.data_window = 4;
        u.max_window = max;
        world_open(&w, u);
        for (int i = 0; i < BURST; i++)
            pops[i] = must_pop(&w.b);
        push_many(&w.a, qts, 0, BURST, 64);
        CHECK_EQ(posts(&w.a), 4);
        while (dp_wait(qts[BURST - 1], &qr, &no_time) == ETIMEDOUT)
            dp_engine_poll(w.b.engine);
        CHECK(posts(&w.a) <= 4 + side_stats(&w.a).credits_in);
        if (max)
            CHECK(posts(&w.a) <= 8);
        world_run(&w);
        for (uint64_t i = 0; i < BURST; i++) {
            if (i < BURST - 1)
                must_succeed(qts[i], DEMI_OPC_PUSH);
            must_get(&w.b, pops[i], 64, 1, i);
        }
        world_close(&w);
    }
}

static void the_first_three_pushes_after_a_wait_go_at_once(void) {
    struct world w;
    demi_qtoken_t qts[AT_ONCE];

    world_open(&w, wide());
    for (uint64_t round = 0; round < 10; round++) {
        take_turn(&w.a);
        for (uint64_t i = 0; i < AT_ONCE; i++) {
            push_many(&w.a, qts, i, i + 1, 64);
            CHECK_EQ(frames(&w.a), round * AT_ONCE + i + 1);
            must_succeed(qts[i], DEMI_OPC_PUSH);
        }
        dp_engine_poll(w.b.engine);
        arrive(&w, 0, AT_ONCE, 64);
    }
    world_close(&w);
}

/* ---- What sends what is held back ----------------------------------------------------------- */

static demi_qtoken_t some; /* a token that has completed */

static void by_wait(struct side *s) {
    (void)s;
    demi_qresult_t qr;
    CHECK_EQ(dp_wait(some, &qr, NULL), 0); /* done: no poll is needed for it */
}
static void by_wait_any(struct side *s) {
    demi_qtoken_t two[2] = {must_pop(s), some};
    demi_qresult_t qr;
    int which;
    CHECK_EQ(dp_wait_any(two, 2, &qr, &which, NULL), 0);
    CHECK_EQ(which, 1);
}
static void by_wait_next_n(struct side *s) {
    demi_qresult_t qr;
    int n;
    CHECK_EQ(dp_wait_next_n(s->engine, &qr, 1, &n, NULL), 0);
}
static void by_wait_that_is_refused(struct side *s) {
    demi_qresult_t qr;
    by_wait(s);
    CHECK_EQ(dp_wait(some, &qr, NULL), EINVAL);
}
static void by_pop(struct side *s) {
    (void)must_pop(s);
}
static void by_poll(struct side *s) {
    dp_engine_poll(s->engine);
}
static void by_arm(struct side *s) {
    CHECK_EQ(dp_engine_arm(s->engine), EAGAIN);
}
static void by_event(struct side *s) {
    dp_engine_channel_event(s->engine);
}
static void by_half_close(struct side *s) {
    CHECK_EQ(dp_conn_close(s->conn, false), 0);
}
static void by_full_close(struct side *s) {
    CHECK_EQ(dp_conn_close(s->conn, true), 0);
}

static void whoever_comes_next_sends_what_is_held(void) {
    void (*const by[])(struct side *) = {
        by_wait, by_wait_any, by_wait_next_n, by_wait_that_is_refused, by_pop,
        by_poll, by_arm,      by_event,       by_half_close,           by_full_close};
    for (size_t i = 0; i < sizeof(by) / sizeof(by[0]); i++) {
        for (uint64_t n = AT_ONCE + 1; n <= AT_ONCE + 4; n++) {
            struct world w;
            demi_qtoken_t qts[BURST];
            world_open(&w, wide());
            push_many(&w.a, qts, 0, n, 64);
            some = qts[0];
            CHECK_EQ(frames(&w.a), AT_ONCE);
            CHECK(!is_done(qts[n - 1]));
            by[i](&w.a);
            CHECK(frames(&w.a) >= n);
            CHECK(is_done(qts[n - 1]));
            for (uint64_t m = 0; m < n; m++) {
                demi_qtoken_t pop = must_pop(&w.b);
                dp_engine_poll(w.b.engine);
                must_get(&w.b, pop, 64, 1, m);
            }
            world_close(&w);
        }
    }
}

/* Whether the channel of s has an event within a second. */
static bool has_event(const struct side *s) {
    struct pollfd fd = {.fd = s->channel->fd, .events = POLLIN};
    return poll(&fd, 1, 1000) == 1;
}

/* As the housekeeper does it: an application that pushes and then computes for ever. */
static void an_event_comes_for_what_is_held(void) {
    struct world w;
    demi_qtoken_t qts[BURST];

    world_open(&w, wide());
    CHECK_EQ(dp_engine_arm(w.a.engine), 0);
    push_many(&w.a, qts, 0, 5, 64);
    CHECK_EQ(frames(&w.a), AT_ONCE);
    CHECK(has_event(&w.a));
    CHECK(dp_engine_channel_event(w.a.engine) > 0);
    CHECK_EQ(frames(&w.a), 5);
    /* Its completion is taken: the queue is idle, and the next one goes at once. */
    while (dp_engine_arm(w.a.engine) == EAGAIN)
        continue;
    for (uint64_t n = 5; n < 12; n++) {
        push_many(&w.a, qts, n, n + 1, n & 1 ? 64 : 1000);
        CHECK_EQ(frames(&w.a), n + 1);
        CHECK(has_event(&w.a)); /* and is a clock by itself */
        CHECK(dp_engine_channel_event(w.a.engine) > 0);
        while (dp_engine_arm(w.a.engine) == EAGAIN)
            continue;
    }
    world_close(&w);
}

static void memory_of_a_held_push_may_be_freed(void) {
    struct world w;
    demi_qtoken_t qts[BURST];

    world_open(&w, wide());
    push_many(&w.a, qts, 0, 7, 64); /* frees them */
    CHECK_EQ(frames(&w.a), AT_ONCE);
    for (int i = 0; i < 200; i++) {
        demi_sgarray_t other = dp_sgaalloc(w.a.engine, 64);
        memset(other.sga_segs[0].sgaseg_buf, 0xee, 64);
        CHECK_EQ(dp_sgafree(w.a.engine, &other), 0);
    }
    arrive(&w, 0, 7, 64);
    world_close(&w);
}

static void held_pushes_end_with_their_connection(void) {
    /* cancelled, its queue pair gone, refused by the provider */
    static const int errs[] = {ECANCELED, ECONNRESET, EIO};
    for (int how = 0; how < 3; how++) {
        struct world w;
        demi_qtoken_t qts[BURST];
        world_open(&w, wide());
        push_many(&w.a, qts, 0, 7, 64);
        CHECK_EQ(frames(&w.a), AT_ONCE);
        if (how == 0)
            CHECK_EQ(dp_conn_cancel_pushes(w.a.conn), 0);
        else if (how == 1)
            CHECK_EQ(dp_conn_destroy(w.a.conn), 0);
        else
            sim_fault_call(w.a.ctx, SIM_CALL_POST_SEND, 1, 0, EIO);
        if (how == 1)
            w.a.conn = NULL;
        world_run(&w);
        for (int i = 0; i < 7; i++) {
            if (i < AT_ONCE)
                must_succeed(qts[i], DEMI_OPC_PUSH);
            else
                must_fail(qts[i], errs[how]);
        }
        if (how == 1) {
            CHECK_EQ(sim_qp_destroy(w.a.qp), 0);
            CHECK_EQ(dp_qd_free(w.a.qd), 0);
        }
        sim_fault_call(w.a.ctx, SIM_CALL_POST_SEND, 0, 0, 0);
        world_close(&w);
    }
}

/* Two connections of one engine, each in a burst: one wait sends both. */
static void a_wait_sends_what_any_connection_holds(void) {
    struct world w;
    demi_qtoken_t qts[BURST], more[BURST];
    demi_qresult_t qr;

    world_open(&w, wide());
    struct side a = w.a, b = w.b;
    side_make_conn(&a);
    side_make_conn(&b);
    CHECK_EQ(sim_qp_connect(a.qp, b.qp), 0);
    CHECK_EQ(dp_conn_establish(a.conn, a.qd, &b.limits), 0);
    CHECK_EQ(dp_conn_establish(b.conn, b.qd, &a.limits), 0);
    push_many(&w.a, qts, 0, 6, 64);
    push_many(&a, more, 0, 6, 64);
    CHECK_EQ(frames(&w.a) + frames(&a), 2 * AT_ONCE);
    CHECK_EQ(dp_wait(qts[0], &qr, NULL), 0);
    CHECK_EQ(frames(&w.a) + frames(&a), 12);
    side_destroy_conn(&a);
    side_destroy_conn(&b);
    world_close(&w);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(a_burst_of_32_goes_in_few_calls),
        TEST(a_burst_through_a_small_window_goes_as_it_opens),
        TEST(the_first_three_pushes_after_a_wait_go_at_once),
        TEST(whoever_comes_next_sends_what_is_held),
        TEST(an_event_comes_for_what_is_held),
        TEST(memory_of_a_held_push_may_be_freed),
        TEST(held_pushes_end_with_their_connection),
        TEST(a_wait_sends_what_any_connection_holds),
    };
    return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
