/*
 * Liveness: who is silent is asked, who answers lives, who does not is given up within the
 * limit; and who reads a large message says so.
 */
#include "internal.h"
#include "world.h"

#define MS UINT64_C(1000000)
#define IDLE (40 * MS)
#define LIMIT (120 * MS)
#define TICK (10 * MS) /* a quarter of the idle time */

static struct dp_conn_stats stats_of(const struct side *s) {
    struct dp_conn_stats st;
    CHECK_EQ(dp_conn_stats(s->conn, &st), 0);
    return st;
}

static void watch(struct side *s) {
    uint64_t tick = 0;
    CHECK_EQ(dp_conn_keepalive(s->conn, IDLE, LIMIT, &tick), 0);
    CHECK_EQ(tick, TICK);
}

/* A tick of s alone, its peer's engine not moving. */
static void tick(struct side *s) {
    (void)dp_engine_tick(s->engine, TICK);
    side_notices(s);
}

/* Ticks of s until its connection has broken; the silence that it took, in ticks. */
static int ticks_until_broken(struct side *s) {
    int n = 0;
    while (!s->broken) {
        tick(s);
        CHECK(++n < 1000);
    }
    return n;
}

/* Sends a frame to the engine of a through the bare queue pair of b, whose engine is idle. */
static void raw_frame(struct world *w, struct frame h) {
    uint8_t bytes[FRAME_HEADER_SIZE];
    frame_encode(&h, bytes);
    struct ibv_sge sge = {.addr = (uintptr_t)bytes, .length = sizeof(bytes)};
    struct ibv_send_wr *bad, wr = {.wr_id = 7,
                                   .sg_list = &sge,
                                   .num_sge = 1,
                                   .opcode = IBV_WR_SEND,
                                   .send_flags = IBV_SEND_INLINE};
    CHECK_EQ(ibv_post_send(w->b.qp, &wr, &bad), 0);
}

/* What libos does about a broken connection: everything outstanding ends. */
static void end(struct world *w) {
    CHECK_EQ(dp_conn_disconnected(w->a.conn, w->a.broken_err), 0);
    world_run(w);
}

static void an_idle_peer_that_answers_lives_for_ever(void) {
    struct world w;
    world_open(&w, world_defaults());
    watch(&w.a);
    watch(&w.b);
    for (int i = 0; i < 10000; i++) {
        tick(&w.a);
        tick(&w.b);
    }
    CHECK_EQ(w.a.broken + w.b.broken, 0);
    /*
     * One PING for each idle time, up to a tick more: that of either side is a sign of life
     * to the other.
     */
    uint64_t pings = stats_of(&w.a).pings_out + stats_of(&w.b).pings_out;
    CHECK(pings >= 10000 / 6 && pings <= 10000 / 4);
    CHECK_EQ(stats_of(&w.a).credits_out + stats_of(&w.b).credits_out, 0);
    CHECK_EQ(stats_of(&w.a).pings_in, stats_of(&w.b).pings_out);
    world_close(&w);
}

static void a_silent_peer_fails_everything_within_the_limit(void) {
    /* Its process hangs: the queue pair takes what comes, and nobody answers. */
    struct world w;
    demi_qtoken_t pops[3], pushes[10];
    world_open(&w, world_defaults());
    for (int i = 0; i < 3; i++)
        pops[i] = must_pop(&w.a);
    for (int i = 0; i < 10; i++)
        pushes[i] = must_push(&w.a, 700, 1, (uint64_t)i); /* more than the window */
    watch(&w.a);
    int n = ticks_until_broken(&w.a);
    CHECK((uint64_t)n * TICK <= LIMIT);
    CHECK((uint64_t)n * TICK > LIMIT - 2 * TICK);
    CHECK_EQ(w.a.broken_err, ETIMEDOUT);
    CHECK_EQ(stats_of(&w.a).pings_out, 1);
    end(&w);
    CHECK_EQ(w.a.flushed, 1);
    for (int i = 0; i < 3; i++)
        must_fail(pops[i], ETIMEDOUT);
    for (int i = 0; i < 10; i++) {
        demi_qresult_t qr = redeem(pushes[i]);
        CHECK(i < 4 || (qr.qr_opcode == DEMI_OPC_FAILED && qr.qr_ret == ETIMEDOUT));
    }
    must_fail(must_pop(&w.a), ETIMEDOUT);
    CHECK_EQ(dp_engine_tick(w.a.engine, TICK), 0); /* nobody is left to be looked after */
    world_close(&w);
}

static void a_peer_that_is_cut_off_fails_everything_within_the_limit(void) {
    /* Its power is gone: not even the queue pair answers, and its retries never end. */
    struct world w;
    world_open(&w, world_defaults());
    sim_fault_cut(w.b.qp, true);
    demi_qtoken_t pop = must_pop(&w.a), push = must_push(&w.a, 700, 1, 0);
    watch(&w.a);
    CHECK((uint64_t)ticks_until_broken(&w.a) * TICK <= LIMIT);
    end(&w);
    must_fail(pop, ETIMEDOUT);
    must_fail(push, ETIMEDOUT);
    world_close(&w);
}

static void a_late_answer_is_one(void) {
    struct world w;
    world_open(&w, world_defaults());
    watch(&w.a);
    /* As late as it can be, many times over: whenever one more tick would be the end. */
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 10; i++)
            tick(&w.a);
        CHECK_EQ(stats_of(&w.a).pings_out, round + 1);
        dp_engine_poll(w.b.engine); /* it wakes up, and answers */
        tick(&w.a);
        CHECK_EQ(w.a.broken, 0);
    }
    world_close(&w);
}

static void any_frame_is_a_sign_of_life(void) {
    struct world w;
    world_open(&w, world_defaults());
    watch(&w.a);
    for (uint64_t n = 0; n < 60; n++) {
        demi_qtoken_t pop = must_pop(&w.a);
        must_succeed(must_push(&w.b, 64, 2, n), DEMI_OPC_PUSH);
        tick(&w.a);
        must_get(&w.a, pop, 64, 2, n);
        tick(&w.a);
        tick(&w.a);
        dp_engine_poll(w.b.engine);
    }
    CHECK_EQ(stats_of(&w.a).pings_out, 0); /* never silent for so long */
    CHECK_EQ(w.a.broken, 0);
    world_close(&w);
}

static void a_process_that_was_stopped_blames_nobody(void) {
    /* The answer came while nobody was there to read it: one tick, whatever the time. */
    struct world w;
    world_open(&w, world_defaults());
    watch(&w.a);
    for (int i = 0; i < 10; i++)
        tick(&w.a);
    CHECK_EQ(stats_of(&w.a).pings_out, 1);
    dp_engine_poll(w.b.engine); /* the PONG lies in a's CQ */
    (void)dp_engine_tick(w.a.engine, 1000 * LIMIT);
    side_notices(&w.a);
    CHECK_EQ(w.a.broken, 0);
    world_close(&w);
}

static void wrong_answers_break_the_connection(void) {
    for (int wrong = 0; wrong < 4; wrong++) {
        struct world w;
        world_open(&w, world_defaults());
        watch(&w.a);
        demi_qtoken_t pop = must_pop(&w.a);
        for (int i = 0; i < 5; i++)
            tick(&w.a);
        CHECK_EQ(stats_of(&w.a).pings_out, 1);
        switch (wrong) {
        case 0: /* to another question */
            raw_frame(&w, (struct frame){.type = FRAME_PONG, .arg = 99});
            break;
        case 1: /* twice */
            raw_frame(&w, (struct frame){.type = FRAME_PONG});
            raw_frame(&w, (struct frame){.type = FRAME_PONG, .seq = 1});
            break;
        case 2: /* with a payload that is not there */
            raw_frame(&w, (struct frame){.type = FRAME_PONG, .length = 8});
            break;
        default: { /* two questions at once: not even a PONG of ours may be on its way */
            uint8_t bytes[2][FRAME_HEADER_SIZE];
            struct ibv_sge sge[2];
            struct ibv_send_wr *bad, wr[2];
            for (int i = 0; i < 2; i++) {
                struct frame h = {.type = FRAME_PING, .seq = (uint16_t)i};
                frame_encode(&h, bytes[i]);
                sge[i] = (struct ibv_sge){.addr = (uintptr_t)bytes[i], .length = FRAME_HEADER_SIZE};
                wr[i] = (struct ibv_send_wr){.wr_id = 7,
                                             .next = i ? NULL : &wr[1],
                                             .sg_list = &sge[i],
                                             .num_sge = 1,
                                             .opcode = IBV_WR_SEND,
                                             .send_flags = IBV_SEND_INLINE};
            }
            CHECK_EQ(ibv_post_send(w.b.qp, wr, &bad), 0);
            break;
        }
        }
        dp_engine_poll(w.a.engine);
        side_notices(&w.a);
        CHECK_EQ(w.a.broken, 1);
        CHECK_EQ(w.a.broken_err, EPROTO);
        end(&w);
        must_fail(pop, EPROTO);
        world_close(&w);
    }
}

static void a_shut_window_does_not_keep_a_ping_out(void) {
    struct world w;
    demi_qtoken_t pushes[30];
    world_open(&w, world_defaults());
    for (int i = 0; i < 30; i++)
        pushes[i] = must_push(&w.a, 64, 1, (uint64_t)i);
    watch(&w.a);
    /* b's application never pops; its engine lives. */
    for (int i = 0; i < 100; i++) {
        tick(&w.a);
        dp_engine_poll(w.b.engine);
    }
    CHECK_EQ(w.a.broken, 0);
    CHECK(stats_of(&w.a).pings_out > 10);
    CHECK(!is_done(pushes[29]));
    /* And none is lost for it. */
    for (int i = 0; i < 30; i++) {
        demi_qtoken_t pop = must_pop(&w.b);
        world_run(&w);
        must_get(&w.b, pop, 64, 1, (uint64_t)i);
        must_succeed(pushes[i], DEMI_OPC_PUSH);
    }
    world_close(&w);
}

static void a_close_that_waits_sees_a_dead_peer(void) {
    struct world w;
    world_open(&w, world_defaults());
    demi_qtoken_t push = 0;
    for (int i = 0; i < 6; i++)
        push = must_push(&w.a, 700, 1, (uint64_t)i);
    watch(&w.a);
    CHECK_EQ(dp_conn_close(w.a.conn, true), 0);
    CHECK((uint64_t)ticks_until_broken(&w.a) * TICK <= LIMIT);
    end(&w);
    must_fail(push, ETIMEDOUT);
    world_close(&w);
}

static void keepalive_goes_on_through_half_and_full_closes(void) {
    struct world w;
    world_open(&w, world_defaults());
    watch(&w.a);
    watch(&w.b);
    CHECK_EQ(dp_conn_close(w.a.conn, false), 0);
    for (int i = 0; i < 100; i++) {
        tick(&w.a);
        tick(&w.b);
    }
    demi_qtoken_t pop = must_pop(&w.a);
    must_succeed(must_push(&w.b, 64, 2, 0), DEMI_OPC_PUSH);
    for (int i = 0; i < 100; i++) {
        tick(&w.a);
        tick(&w.b);
    }
    must_get(&w.a, pop, 64, 2, 0);
    CHECK_EQ(dp_conn_close(w.b.conn, true), 0);
    for (int i = 0; i < 100; i++) {
        tick(&w.a);
        tick(&w.b);
    }
    CHECK_EQ(w.a.broken + w.b.broken, 0);
    CHECK_EQ(w.b.drained, 1);
    world_close(&w);
}

static void the_end_of_a_peer_that_had_closed_is_still_orderly(void) {
    struct world w;
    world_open(&w, world_defaults());
    must_succeed(must_push(&w.b, 64, 2, 0), DEMI_OPC_PUSH);
    CHECK_EQ(dp_conn_close(w.b.conn, true), 0);
    world_run(&w);
    watch(&w.a);
    CHECK((uint64_t)ticks_until_broken(&w.a) * TICK <= LIMIT); /* the disconnection is lost */
    CHECK_EQ(dp_conn_disconnected(w.a.conn, 0), 0);
    must_get(&w.a, must_pop(&w.a), 64, 2, 0);
    must_get_end(&w.a, must_pop(&w.a));
    world_close(&w);
}

static void the_limit_can_be_changed_and_taken_away(void) {
    struct world w;
    uint64_t every;
    world_open(&w, world_defaults());
    CHECK_EQ(dp_engine_tick(w.a.engine, TICK), 0);
    CHECK_EQ(dp_conn_keepalive(w.a.conn, 0, LIMIT, &every), EINVAL);
    CHECK_EQ(dp_conn_keepalive(w.a.conn, LIMIT, LIMIT, &every), EINVAL);
    CHECK_EQ(dp_conn_keepalive(NULL, IDLE, LIMIT, &every), EINVAL);
    CHECK_EQ(dp_conn_keepalive(w.a.conn, IDLE, LIMIT, NULL), EINVAL);
    CHECK_EQ(dp_conn_keepalive(w.a.conn, 1, 2, &every), 0);
    CHECK_EQ(every, MS); /* coarse, whatever is asked for */
    CHECK_EQ(dp_conn_keepalive(w.a.conn, 4 * IDLE, 16 * LIMIT, &every), 0);
    CHECK_EQ(every, 4 * TICK);
    for (int i = 0; i < 100; i++)
        tick(&w.a);
    CHECK_EQ(w.a.broken, 0);
    CHECK_EQ(dp_conn_keepalive(w.a.conn, 0, 0, &every), 0);
    CHECK_EQ(every, 0);
    CHECK_EQ(dp_engine_tick(w.a.engine, 1000 * LIMIT), 0);
    side_notices(&w.a);
    CHECK_EQ(w.a.broken, 0);
    watch(&w.a); /* the silence so far does not count */
    for (int i = 0; i < 10; i++)
        tick(&w.a);
    CHECK_EQ(w.a.broken, 0);
    world_close(&w);
}

static void nobody_is_given_up_unasked(void) {
    struct world w;
    uint64_t every;
    world_open(&w, world_defaults());
    CHECK_EQ(dp_conn_keepalive(w.a.conn, 1, 2, &every), 0); /* less than a tick */
    for (int i = 0; i < 100; i++) {
        tick(&w.a);
        dp_engine_poll(w.b.engine);
        CHECK_EQ(stats_of(&w.a).pings_out, (i + 2) / 2);
    }
    CHECK_EQ(w.a.broken, 0);
    world_close(&w);
}

static void a_connection_is_looked_after_from_its_establishment_on(void) {
    struct world w;
    struct setup u = world_defaults();
    u.loose = true;
    world_open(&w, u);
    watch(&w.a);
    for (int i = 0; i < 100; i++)
        tick(&w.a);
    CHECK_EQ(w.a.broken, 0);
    CHECK_EQ(dp_conn_establish(w.a.conn, w.a.qd, &w.b.limits), 0);
    CHECK((uint64_t)ticks_until_broken(&w.a) * TICK <= LIMIT);
    world_close(&w);
}

/* ---- Large messages ---------------------------------------------------------------------------
 */

#define LARGE (24u << 20)

static struct setup large_setup(void) {
    struct setup u = world_defaults();
    u.max_message = LARGE;
    u.reads = 2;
    return u;
}

static void a_reader_tells_how_it_gets_on(void) {
    struct world w;
    struct setup u = large_setup();
    u.fabric.delivery = SIM_DELIVER_SEEDED;
    u.fabric.seed = 7;
    world_open(&w, u);
    demi_qtoken_t pop = must_pop(&w.b), push = must_push(&w.a, LARGE, 1, 0);
    CHECK_EQ(dp_conn_close(w.a.conn, true), 0);
    uint64_t progress = dp_conn_progress(w.a.conn), changes = 0;
    for (int quiet = 0; quiet < 100; quiet++) {
        dp_engine_poll(w.a.engine);
        dp_engine_poll(w.b.engine);
        if (dp_conn_progress(w.a.conn) != progress) {
            progress = dp_conn_progress(w.a.conn);
            changes++;
            quiet = 0;
        }
    }
    /* 24 READs, two under way at once: some share an exchange of PING and PONG. */
    CHECK(changes >= 8);
    world_run(&w);
    must_get(&w.b, pop, LARGE, 1, 0);
    must_succeed(push, DEMI_OPC_PUSH);
    CHECK_EQ(w.a.drained, 1);
    CHECK_EQ(stats_of(&w.a).pings_out, 0);
    world_close(&w);
}

static void a_question_is_no_progress(void) {
    struct world w;
    world_open(&w, large_setup());
    watch(&w.b);
    uint64_t progress = dp_conn_progress(w.a.conn);
    for (int i = 0; i < 100; i++) {
        tick(&w.b);
        dp_engine_poll(w.a.engine);
    }
    CHECK(stats_of(&w.a).pings_in > 10);
    CHECK_EQ(dp_conn_progress(w.a.conn), progress);
    world_close(&w);
}

static void messages_of_one_read_need_no_telling(void) {
    struct world w;
    world_open(&w, large_setup());
    for (uint64_t n = 0; n < 50; n++) {
        demi_qtoken_t pop = must_pop(&w.b), push = must_push(&w.a, 1u << 20, 1, n);
        world_run(&w);
        must_get(&w.b, pop, 1u << 20, 1, n);
        must_succeed(push, DEMI_OPC_PUSH);
    }
    CHECK_EQ(stats_of(&w.b).pings_out, 0);
    world_close(&w);
}

static void a_read_that_comes_back_is_a_sign_of_life(void) {
    /* The peer's engine stands still while its queue pair answers READs. */
    struct world w;
    struct setup u = large_setup();
    u.reads = 1;
    world_open(&w, u);
    demi_qtoken_t pop = must_pop(&w.b), push = must_push(&w.a, LARGE, 1, 0);
    watch(&w.b);
    for (int i = 0; i < 20; i++) {
        tick(&w.b);
        CHECK_EQ(w.b.broken, 0);
        CHECK(!is_done(pop));
    }
    world_run(&w);
    must_get(&w.b, pop, LARGE, 1, 0);
    must_succeed(push, DEMI_OPC_PUSH);
    world_close(&w);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(an_idle_peer_that_answers_lives_for_ever),
        TEST(a_silent_peer_fails_everything_within_the_limit),
        TEST(a_peer_that_is_cut_off_fails_everything_within_the_limit),
        TEST(a_late_answer_is_one),
        TEST(any_frame_is_a_sign_of_life),
        TEST(a_process_that_was_stopped_blames_nobody),
        TEST(wrong_answers_break_the_connection),
        TEST(a_shut_window_does_not_keep_a_ping_out),
        TEST(a_close_that_waits_sees_a_dead_peer),
        TEST(keepalive_goes_on_through_half_and_full_closes),
        TEST(the_end_of_a_peer_that_had_closed_is_still_orderly),
        TEST(the_limit_can_be_changed_and_taken_away),
        TEST(nobody_is_given_up_unasked),
        TEST(a_connection_is_looked_after_from_its_establishment_on),
        TEST(a_reader_tells_how_it_gets_on),
        TEST(a_question_is_no_progress),
        TEST(messages_of_one_read_need_no_telling),
        TEST(a_read_that_comes_back_is_a_sign_of_life),
    };
    return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
