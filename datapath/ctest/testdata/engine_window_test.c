/* The receive window: when it grows, how far, and what it leaves alone when it cannot. */
#include "internal.h"
#include "stream.h"

#include "arena.h"

enum { MOST = 32 };

/* The program is linked with --wrap for these two: the nth call from now fails. */
static int alloc_fails;
static bool fails_now(void) {
    return alloc_fails && --alloc_fails == 0;
}
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size) {
    return fails_now() ? NULL : __real_calloc(n, size);
}
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size) {
    return fails_now() ? NULL : __real_aligned_alloc(alignment, size);
}

static struct setup growing(void) {
    struct setup u = world_defaults();
    u.max_window = MOST;
    return u;
}

/* No more receives are posted than the window has, nor more than the CQ has room for. */
static void check_bounds(struct side *s) {
    struct sim_qp_stats q;
    uint64_t window = side_stats(s).window;

    sim_qp_stats(s->qp, &q);
    CHECK(window <= s->world->setup.max_window);
    CHECK(q.recv_queued <= window + s->world->setup.ctrl_window);
    CHECK(q.recv_queued + s->world->setup.send_depth <= s->world->setup.cq_depth);
}

static void stream_one_way(struct world *w, uint64_t count, uint32_t ahead,
                           uint32_t (*len)(struct world *, uint64_t)) {
    struct stream s = {
        .from = &w->a, .to = &w->b, .id = 1, .count = count, .len = len, .ahead = ahead};
    run_streams(w, &s, 1);
}

static void a_window_grows_while_messages_wait_for_receives(void) {
    for (uint32_t largest = 0; largest < 2; largest++) {
        struct world w;
        world_open(&w, growing());
        stream_one_way(&w, 2000, 64, largest ? len_largest : len_small);
        struct dp_conn_stats b = side_stats(&w.b), a = side_stats(&w.a);
        CHECK_EQ(b.window, MOST);
        CHECK_EQ(b.window_grown, 3); /* 4, 8, 16, 32 */
        CHECK_EQ(b.window_no_budget + b.window_no_memory, 0);
        CHECK_EQ(a.window, 4); /* nothing came here */
        check_bounds(&w.b);
        world_close(&w);
    }
}

static void both_windows_grow_when_both_sides_send(void) {
    struct world w;
    world_open(&w, growing());
    struct stream s[2] = {
        {.from = &w.a, .to = &w.b, .id = 1, .count = 4000, .len = len_mixed, .ahead = 60},
        {.from = &w.b, .to = &w.a, .id = 2, .count = 4000, .len = len_mixed, .ahead = 60}};
    run_streams(&w, s, 2);
    CHECK_EQ(side_stats(&w.a).window, MOST);
    CHECK_EQ(side_stats(&w.b).window, MOST);
    check_bounds(&w.a);
    check_bounds(&w.b);
    world_close(&w);
}

enum { BUSY = 32 }; /* the window of a busy connection */

/* 2,000 messages there and back; slept: somebody sleeps now and then. */
static void ping_pong(struct world *w, bool slept) {
    for (uint64_t i = 0; i < 2000; i++) {
        one_message(&w->a, &w->b, i);
        one_message(&w->b, &w->a, i);
        if (slept && i % 64 == 0) {
            (void)dp_engine_arm(w->a.engine);
            (void)dp_engine_arm(w->b.engine);
        }
    }
}

static void a_busy_connection_grows_without_a_credit_as_far_as_that_pays(void) {
    for (uint32_t window = 4; window <= MOST; window *= 2) {
        struct setup u = growing();
        struct world w;
        u.data_window = window;
        world_open(&w, u);
        ping_pong(&w, false);
        struct dp_conn_stats a = side_stats(&w.a), b = side_stats(&w.b);
        uint32_t want = window < BUSY ? BUSY : window;
        CHECK_EQ(a.window, want);
        CHECK_EQ(b.window, want);
        CHECK_EQ(a.credits_out + b.credits_out, 0);
        /* Each knows of all that the other has. */
        CHECK_EQ(w.a.conn->flow.peer_data_window, want);
        CHECK_EQ(w.b.conn->flow.peer_data_window, want);
        /* In lists of a quarter; shorter ones before it has grown. */
        CHECK(a.post_recvs < 2000 / (want / 4) + 400);
        check_bounds(&w.a);
        world_close(&w);
    }
}

static void a_connection_that_sleeps_is_not_busy(void) {
    struct world w;
    world_open(&w, growing());
    ping_pong(&w, true);
    CHECK_EQ(side_stats(&w.a).window_grown + side_stats(&w.b).window_grown, 0);
    CHECK_EQ(side_stats(&w.a).credits_out + side_stats(&w.b).credits_out, 0);
    world_close(&w);
}

/* Within its ceiling, and only if it can double: or a CREDIT would have to say so. */
static void a_busy_connection_stays_within_its_bounds(void) {
    for (uint32_t most = 4; most <= 40; most += 3) {
        struct setup u = growing();
        struct world w;
        u.max_window = most;
        world_open(&w, u);
        ping_pong(&w, false);
        CHECK_EQ(side_stats(&w.a).window, most < 8 ? 4 : most < 16 ? 8 : most < BUSY ? 16 : BUSY);
        CHECK_EQ(side_stats(&w.a).credits_out + side_stats(&w.b).credits_out, 0);
        world_close(&w);
    }
}

/* The window has doubled, and there is no message that could say so when the peer needs it. */
static void a_peer_that_waits_hears_of_a_doubled_window_by_a_credit(void) {
    struct setup u = growing();
    struct world w;
    u.max_window = 8;
    world_open(&w, u);
    w.b.conn->fast.look = 0; /* taken for busy at the next look */
    w.b.conn->window_max = 8;
    one_message(&w.a, &w.b, 0);
    dp_lock(w.b.engine);
    dp_conn_settle(w.b.conn);
    CHECK_EQ(w.b.conn->flow.data_window, 8);
    CHECK_EQ(w.b.conn->flow.granted, 4);
    dp_unlock(w.b.engine);
    CHECK_EQ(w.a.conn->flow.peer_data_window, 4);
    struct stream s = {
        .from = &w.a, .to = &w.b, .id = 1, .count = 100, .len = len_mixed, .ahead = 20};
    run_streams(&w, &s, 1);
    CHECK_EQ(w.a.conn->flow.peer_data_window, 8);
    CHECK_EQ(side_stats(&w.b).window_grown, 1);
    world_close(&w);
}

static void a_window_grows_when_credits_are_what_messages_cost(void) {
    struct world w;
    world_open(&w, growing());
    for (uint64_t i = 0; i < 200; i++) {
        one_message(&w.a, &w.b, i);
        (void)dp_engine_poll(w.a.engine);
    }
    struct dp_conn_stats before = side_stats(&w.b);
    CHECK_EQ(before.window, MOST);
    /* From here on there is one CREDIT for half of it, and receives are posted in lists. */
    for (uint64_t i = 0; i < 10 * MOST; i++) {
        one_message(&w.a, &w.b, 200 + i);
        (void)dp_engine_poll(w.a.engine);
    }
    struct dp_conn_stats after = side_stats(&w.b);
    CHECK_EQ(after.credits_out - before.credits_out, 20);
    CHECK(after.post_recvs - before.post_recvs <= 10 * MOST / (MOST / 4) + 1);
    CHECK_EQ(side_stats(&w.a).credits_out, 0);
    check_bounds(&w.b);
    world_close(&w);
}

/* Who sleeps between messages has nothing to gain from fewer CREDITs. */
static void a_trickle_of_messages_does_not_make_a_window_grow(void) {
    struct world w;
    world_open(&w, growing());
    for (uint64_t i = 0; i < 200; i++) {
        one_message(&w.a, &w.b, i);
        (void)dp_engine_poll(w.a.engine);
        (void)dp_engine_arm(w.b.engine); /* the housekeeper goes to sleep */
    }
    CHECK_EQ(side_stats(&w.b).window_grown, 0);
    world_close(&w);
}

static void a_slow_application_never_makes_a_window_grow(void) {
    for (uint32_t window = 4; window <= 16; window *= 2) {
        struct world w;
        struct setup u = growing();
        demi_qtoken_t pushes[200];
        u.data_window = window;
        world_open(&w, u);
        for (uint64_t i = 0; i < 200; i++)
            pushes[i] = must_push(&w.a, 64, 1, i);
        world_run(&w);
        for (uint64_t i = 0; i < 200; i++) {
            must_get(&w.b, must_pop(&w.b), 64, 1, i);
            world_run(&w); /* the next ones arrive before it takes one more */
        }
        for (int i = 0; i < 200; i++)
            must_succeed(pushes[i], DEMI_OPC_PUSH);
        CHECK_EQ(side_stats(&w.b).window_grown, 0);
        world_close(&w);
    }
}

static void a_window_stops_where_the_budget_of_the_cq_ends(void) {
    struct world w;
    struct setup u = growing();
    u.cq_depth = u.send_depth + u.data_window + u.ctrl_window + 6;
    world_open(&w, u);
    stream_one_way(&w, 2000, 64, len_small);
    struct dp_conn_stats b = side_stats(&w.b);
    CHECK_EQ(b.window, 4 + 6);
    CHECK(b.window_no_budget > 0);
    CHECK_EQ(b.window_no_memory, 0);
    CHECK(dp_cq_find(w.b.engine, w.b.device, 1, false) == NULL);
    check_bounds(&w.b);
    CHECK(dp_cq_find(w.b.engine, w.b.device, 1, true) == NULL);
    /* What it took comes back with its end. */
    side_destroy_conn(&w.b);
    CHECK(dp_cq_find(w.b.engine, w.b.device, u.cq_depth, false) == w.b.dpcq);
    world_close(&w);
}

/* A CQ with room for all windows at their ceilings is told from one with room for now. */
static void a_cq_is_found_for_windows_that_will_grow(void) {
    struct world w;
    struct setup u = growing();
    uint32_t now = u.send_depth + u.data_window + u.ctrl_window;
    uint32_t then = u.send_depth + u.max_window + u.ctrl_window;
    world_open(&w, u);
    for (int round = 0; round < 2; round++) {
        uint32_t used = round ? then : now;
        CHECK(dp_cq_find(w.b.engine, w.b.device, u.cq_depth - then, true) == w.b.dpcq);
        CHECK(dp_cq_find(w.b.engine, w.b.device, u.cq_depth - then + 1, true) == NULL);
        CHECK(dp_cq_find(w.b.engine, w.b.device, u.cq_depth - used, false) == w.b.dpcq);
        CHECK(dp_cq_find(w.b.engine, w.b.device, u.cq_depth - used + 1, false) == NULL);
        stream_one_way(&w, 2000, 64, len_small);
    }
    side_destroy_conn(&w.b);
    CHECK(dp_cq_find(w.b.engine, w.b.device, u.cq_depth, true) == w.b.dpcq);
    world_close(&w);
}

static void without_memory_for_its_tables_a_window_stays_as_it_is(void) {
    for (int n = 1; n <= 4; n++) {
        struct world w;
        world_open(&w, growing());
        stream_one_way(&w, 3, 3, len_small);
        alloc_fails = n;
        stream_one_way(&w, 30, 30, len_small);
        CHECK_EQ(alloc_fails, 0); /* it came to pass */
        CHECK_EQ(side_stats(&w.b).window_no_memory, 1);
        check_bounds(&w.b);
        stream_one_way(&w, 2000, 64, len_small);
        CHECK_EQ(side_stats(&w.b).window, MOST); /* tried again */
        world_close(&w);
    }
}

static void without_memory_for_its_receives_a_window_stays_as_it_is(void) {
    struct world w;
    struct setup u = growing();
    demi_sgarray_t hoard[200];
    int n = 0;
    u.recv_size = 300 << 10; /* few fit in a chunk */
    u.cq_depth = 255;
    world_open(&w, u);
    arena_configure(8 << 20, 0);
    while (n < 200 && (hoard[n] = dp_sgaalloc(w.b.engine, 300 << 10)).sga_numsegs)
        n++;
    CHECK(n > 4 && n < 200);
    for (int spare = 0; spare < 4; spare++) /* messages need some, and growth more */
        CHECK_EQ(dp_sgafree(w.b.engine, &hoard[--n]), 0);
    stream_one_way(&w, 500, 60, len_small);
    struct dp_conn_stats b = side_stats(&w.b);
    CHECK(b.window_no_memory > 0);
    CHECK(b.window < MOST);
    CHECK_EQ(w.b.broken, 0);
    check_bounds(&w.b);
    while (n)
        CHECK_EQ(dp_sgafree(w.b.engine, &hoard[--n]), 0);
    stream_one_way(&w, 2000, 60, len_small);
    arena_configure(0, ARENA_DEFAULT_KEEP);
    world_close(&w);
}

static void a_refused_receive_breaks_the_connection_while_its_window_grows(void) {
    for (uint32_t nth = 1; nth <= 12; nth++) {
        struct world w;
        demi_qtoken_t pushes[30], pops[30];
        world_open(&w, growing());
        sim_fault_call(w.b.ctx, SIM_CALL_POST_RECV, nth, 1, EIO);
        for (uint64_t i = 0; i < 30; i++) {
            pops[i] = must_pop(&w.b);
            pushes[i] = must_push(&w.a, 64, 1, i);
        }
        world_run(&w);
        CHECK(w.b.broken == 1 || side_stats(&w.b).window > 4);
        side_destroy_conn(&w.b);
        side_destroy_conn(&w.a);
        for (int i = 0; i < 30; i++)
            CHECK(is_done(pops[i]) && is_done(pushes[i]));
        w.setup.may_leak_rnr = true; /* the queue pair had fewer receives than were told */
        world_close(&w);
    }
}

static void a_device_without_inline_sends_lets_windows_grow(void) {
    struct world w;
    struct setup u = growing();
    u.max_inline = 0;
    world_open(&w, u);
    stream_one_way(&w, 2000, 64, len_small);
    CHECK_EQ(side_stats(&w.b).window, MOST);
    world_close(&w);
}

static uint32_t len_any(struct world *w, uint64_t n) {
    unsigned long long x = n * 3 + 1;
    (void)test_random(&x);
    return 1 + (uint32_t)(test_random(&x) % (n % 3 ? world_payload(w) : 5000));
}

static void windows_grow_under_any_interleaving(void) {
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct setup u = growing();
        u.data_window = 1 + (uint32_t)(seed % 9);
        u.max_window = u.data_window + (uint32_t)(seed % 37);
        u.send_depth = seed & 1 ? 8 : 32;
        u.fabric.delivery = SIM_DELIVER_SEEDED;
        u.fabric.seed = seed;
        many_messages(u, 400, len_small, 64, seed & 2);
        u.max_message = 5000; /* large ones, too: their table grows with messages in it */
        many_messages(u, 300, len_any, 40, seed & 4);
    }
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(a_window_grows_while_messages_wait_for_receives),
        TEST(both_windows_grow_when_both_sides_send),
        TEST(a_busy_connection_grows_without_a_credit_as_far_as_that_pays),
        TEST(a_connection_that_sleeps_is_not_busy),
        TEST(a_busy_connection_stays_within_its_bounds),
        TEST(a_peer_that_waits_hears_of_a_doubled_window_by_a_credit),
        TEST(a_window_grows_when_credits_are_what_messages_cost),
        TEST(a_trickle_of_messages_does_not_make_a_window_grow),
        TEST(a_slow_application_never_makes_a_window_grow),
        TEST(a_window_stops_where_the_budget_of_the_cq_ends),
        TEST(a_cq_is_found_for_windows_that_will_grow),
        TEST(without_memory_for_its_tables_a_window_stays_as_it_is),
        TEST(without_memory_for_its_receives_a_window_stays_as_it_is),
        TEST(a_refused_receive_breaks_the_connection_while_its_window_grows),
        TEST(a_device_without_inline_sends_lets_windows_grow),
        TEST(windows_grow_under_any_interleaving),
    };
    return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
