/* Large messages: RTS, RDMA READ, DONE and RESET, in fair weather and foul. */
#include "arena_internal.h"
#include "world.h"

#define EAGER (1024u - FRAME_HEADER_SIZE)

static struct setup large_defaults(void) {
    struct setup u = world_defaults();
    u.max_message = UINT64_C(64) << 20;
    return u;
}

/* Nothing is shared with the peer any more: what is registered are chunks, for local use. */
static uint64_t reads_of(struct side *s) {
    struct dp_conn_stats st;
    CHECK_EQ(dp_conn_stats(s->conn, &st), 0);
    return st.reads;
}

static uint64_t regions(void) {
    struct dp_census c;
    dp_census(&c);
    return c.regions;
}

static void sizes_around_the_limits_arrive_whole(void) {
    const uint32_t sizes[] = {EAGER - 1,  EAGER,          EAGER + 1,         4096,
                              65535,      65536,          (512u << 10) - 1,  512u << 10,
                              513u << 10, (1u << 20) - 1, 1u << 20,          (1u << 20) + 1,
                              (4u << 20), (4u << 20) + 1, (5u << 20) + 12345};
    for (int seeded = 0; seeded < 2; seeded++) {
        for (uint32_t inl = 0; inl <= 128; inl += 32) { /* an RTS inline or not */
            struct world w;
            struct setup u = large_defaults();
            u.max_inline = inl;
            u.fabric.delivery = seeded ? SIM_DELIVER_SEEDED : SIM_DELIVER_NOW;
            u.fabric.seed = inl + 1;
            world_open(&w, u);
            for (uint32_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
                demi_qtoken_t out = must_push(&w.a, sizes[i], 1, i), in;
                if (i & 1)
                    world_run(&w); /* a pop that comes later, or waits */
                in = must_pop(&w.b);
                world_run(&w);
                must_get(&w.b, in, sizes[i], 1, i);
                world_run(&w);
                must_succeed(out, DEMI_OPC_PUSH);
            }
            CHECK_EQ(w.a.broken + w.b.broken, 0);
            world_close(&w);
        }
    }
}

static void a_push_completes_when_its_bytes_have_been_read(void) {
    struct world w;
    world_open(&w, large_defaults());
    uint64_t before = regions();
    demi_qtoken_t out = must_push(&w.a, 5u << 20, 1, 0); /* above the prefetch budget */
    world_run(&w);
    CHECK(!is_done(out));
    CHECK_EQ(reads_of(&w.b), 0);
    CHECK_EQ(regions(), before + 1); /* the message itself */
    demi_qtoken_t in = must_pop(&w.b);
    world_run(&w);
    must_get(&w.b, in, 5u << 20, 1, 0);
    must_succeed(out, DEMI_OPC_PUSH);
    CHECK_EQ(reads_of(&w.b), 5);
    struct sim_census sc;
    sim_fabric_census(w.fabric, &sc);
    CHECK_EQ(sc.mrs, regions()); /* and the message's is not among them */
    world_close(&w);
}

static void a_message_is_fetched_ahead_of_pops_within_a_budget(void) {
    struct world w;
    world_open(&w, large_defaults());
    demi_qtoken_t out[4];
    for (uint64_t i = 0; i < 4; i++)
        out[i] = must_push(&w.a, 1500u << 10, 1, i);
    world_run(&w);
    CHECK(is_done(out[0]) && is_done(out[1]));
    CHECK(!is_done(out[2]) && !is_done(out[3])); /* 4 MiB a connection */
    for (uint64_t i = 0; i < 4; i++) {
        demi_qtoken_t in = must_pop(&w.b);
        world_run(&w);
        must_get(&w.b, in, 1500u << 10, 1, i);
    }
    for (int i = 0; i < 4; i++)
        must_succeed(out[i], DEMI_OPC_PUSH);
    world_close(&w);
}

static void small_messages_wait_behind_a_large_one(void) {
    struct world w;
    world_open(&w, large_defaults());
    demi_qtoken_t out = must_push(&w.a, 6u << 20, 1, 0), small = must_push(&w.a, 10, 1, 1);
    world_run(&w);
    CHECK(is_done(small) && !is_done(out));
    demi_qtoken_t in[2] = {must_pop(&w.b), must_pop(&w.b)};
    world_run(&w);
    must_get(&w.b, in[0], 6u << 20, 1, 0);
    must_get(&w.b, in[1], 10, 1, 1);
    must_succeed(out, DEMI_OPC_PUSH);
    must_succeed(small, DEMI_OPC_PUSH);
    world_close(&w);
}

static void a_longer_message_than_the_peer_takes_is_refused_at_once(void) {
    struct world w;
    struct setup u = large_defaults();
    u.max_message = 100000;
    world_open(&w, u);
    demi_qtoken_t qt = 77;
    CHECK_EQ(push(&w.a, 100001, 1, 0, &qt), EMSGSIZE);
    CHECK_EQ(qt, 77);
    demi_qtoken_t out = must_push(&w.a, 100000, 1, 0), in = must_pop(&w.b);
    world_run(&w);
    must_get(&w.b, in, 100000, 1, 0);
    must_succeed(out, DEMI_OPC_PUSH);
    demi_sgarray_t sga = dp_sgaalloc(w.a.engine, 5000);
    sga.sga_segs[0].sgaseg_len = 5001;
    CHECK_EQ(dp_push(w.a.qd, &sga, &qt), EINVAL);
    sga.sga_segs[0].sgaseg_len = 5000;
    CHECK_EQ(dp_sgafree(w.a.engine, &sga), 0);
    CHECK_EQ(dp_push(w.a.qd, &sga, &qt), EINVAL);
    CHECK_EQ(qt, 77);
    world_close(&w);
}

/* n messages each way at once; every third one is small. slow: a pop only now and then. */
static void both_ways(struct setup u, uint32_t n, uint32_t len, bool slow) {
    struct world w;
    world_open(&w, u);
    struct side *sides[2] = {&w.a, &w.b};
    demi_qtoken_t *out[2];
    uint64_t pushed[2] = {0}, popped[2] = {0};
    demi_qtoken_t in[2] = {0};
    unsigned long long x = u.fabric.seed + 99;
    bool waits = u.fabric.seed & 2; /* by the short ways, which dp_engine_poll has not */
    for (int k = 0; k < 2; k++)
        out[k] = calloc(n, sizeof(**out));
    for (uint64_t turns = 0; popped[0] < n || popped[1] < n; turns++) {
        CHECK(turns < 1000000);
        for (int k = 0; k < 2; k++) {
            struct side *s = sides[k];
            uint64_t m = popped[k];
            if (pushed[k] < n && pushed[k] < popped[1 - k] + 16) {
                out[k][pushed[k]] = must_push(s, pushed[k] % 3 ? len : 50, k, pushed[k]);
                pushed[k]++;
            }
            if (!in[k] && m < n && (!slow || test_random(&x) % 32 == 0))
                in[k] = must_pop(s);
            demi_qresult_t qr;
            if (in[k] && waits && dp_wait(in[k], &qr, &no_time) == 0) {
                CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
                check_bytes(&qr.qr_value.sga, m % 3 ? len : 50, (uint64_t)(1 - k), m);
                CHECK_EQ(dp_sgafree(s->engine, &qr.qr_value.sga), 0);
                popped[k]++;
                in[k] = 0;
                continue;
            }
            dp_engine_poll(s->engine);
            if (in[k] && is_done(in[k])) {
                must_get(s, in[k], m % 3 ? len : 50, 1 - k, m);
                popped[k]++;
                in[k] = 0;
            }
        }
    }
    world_run(&w);
    for (int k = 0; k < 2; k++) {
        for (uint32_t i = 0; i < n; i++)
            must_succeed(out[k][i], DEMI_OPC_PUSH);
        free(out[k]);
    }
    CHECK_EQ(w.a.broken + w.b.broken, 0);
    world_close(&w);
}

static void large_messages_both_ways_at_once_arrive_in_order(void) {
    for (uint32_t i = 0; i < 8; i++) {
        struct setup u = large_defaults();
        u.fabric.delivery = i & 1 ? SIM_DELIVER_SEEDED : SIM_DELIVER_NOW;
        u.fabric.seed = i + 1;
        u.data_window = 1 + i % 5;
        u.send_depth = i & 2 ? 8 : 32;
        u.reads = 1 + i % 3;
        u.max_inline = i & 4 ? 0 : 128;
        both_ways(u, 150, 64u << 10, i >= 4);
    }
    struct setup u = large_defaults();
    both_ways(u, 60, 1u << 20, false);
    u.fabric.delivery = SIM_DELIVER_SEEDED;
    both_ways(u, 30, 1u << 20, true);
}

static void more_pushes_than_may_be_announced_wait(void) {
    struct world w;
    struct setup u = large_defaults();
    u.data_window = 100;
    u.send_depth = 128;
    world_open(&w, u);
    demi_qtoken_t out[200];
    for (uint64_t i = 0; i < 200; i++)
        out[i] = must_push(&w.a, 200u << 10, 1, i);
    world_run(&w);
    for (uint64_t i = 0; i < 200; i++) {
        demi_qtoken_t in = must_pop(&w.b);
        world_run(&w);
        must_get(&w.b, in, 200u << 10, 1, i);
    }
    for (int i = 0; i < 200; i++)
        must_succeed(out[i], DEMI_OPC_PUSH);
    world_close(&w);
}

/* ---- Close -------------------------------------------------------------------------------- */

static void close_waits_for_what_was_pushed_before(bool full, bool seeded) {
    struct world w;
    struct setup u = large_defaults();
    u.fabric.delivery = seeded ? SIM_DELIVER_SEEDED : SIM_DELIVER_NOW;
    world_open(&w, u);
    demi_qtoken_t out[8];
    for (uint64_t i = 0; i < 8; i++)
        out[i] = must_push(&w.a, 5u << 20, 1, i);
    CHECK_EQ(dp_conn_close(w.a.conn, full), 0);
    world_run(&w);
    CHECK_EQ(w.a.drained, 0); /* beyond the window, and nobody pops */
    for (uint64_t i = 0; i < 8; i++) {
        demi_qtoken_t in = must_pop(&w.b);
        world_run(&w);
        must_get(&w.b, in, 5u << 20, 1, i);
    }
    demi_qtoken_t end = must_pop(&w.b);
    world_run(&w);
    must_get_end(&w.b, end);
    CHECK_EQ(w.a.drained, 1);
    for (int i = 0; i < 8; i++)
        must_succeed(out[i], DEMI_OPC_PUSH);
    world_close(&w);
}

static void nothing_pushed_before_close_is_lost(void) {
    for (int i = 0; i < 4; i++)
        close_waits_for_what_was_pushed_before(i & 1, i & 2);
}

static void a_fin_fetches_without_a_pop(void) {
    struct world w;
    world_open(&w, large_defaults());
    demi_qtoken_t out = must_push(&w.a, 6u << 20, 1, 0);
    CHECK_EQ(dp_conn_close(w.a.conn, true), 0);
    world_run(&w);
    must_succeed(out, DEMI_OPC_PUSH);
    CHECK_EQ(w.a.drained, 1);
    CHECK_EQ(dp_conn_disconnected(w.a.conn, 0), 0);
    CHECK_EQ(dp_conn_disconnected(w.b.conn, 0), 0);
    world_run(&w);
    must_get(&w.b, must_pop(&w.b), 6u << 20, 1, 0);
    must_get_end(&w.b, must_pop(&w.b));
    world_close(&w);
}

static void a_full_close_refuses_what_it_has_not_read(void) {
    struct world w;
    struct setup u = large_defaults();
    world_open(&w, u);
    demi_qtoken_t out[6];
    for (uint64_t i = 0; i < 6; i++)
        out[i] = must_push(&w.a, 5u << 20, 1, i);
    world_run(&w);
    CHECK_EQ(dp_conn_close(w.b.conn, true), 0);
    world_run(&w);
    for (int i = 0; i < 6; i++)
        must_fail(out[i], EPIPE);
    CHECK_EQ(w.b.drained, 1);
    CHECK_EQ(w.a.broken + w.b.broken, 0);
    CHECK_EQ(reads_of(&w.b), 0);
    must_fail(must_push(&w.a, 5u << 20, 1, 0), EPIPE);
    world_close(&w);
}

static void both_close_with_large_messages_on_their_way(void) {
    for (uint64_t seed = 1; seed < 120; seed++) {
        struct world w;
        struct setup u = large_defaults();
        unsigned long long x = seed;
        u.fabric.delivery = SIM_DELIVER_SEEDED;
        u.fabric.seed = seed;
        world_open(&w, u);
        struct side *sides[2] = {&w.a, &w.b};
        uint32_t len = seed & 1 ? 2000 : 3u << 20;
        for (uint64_t i = 0; i < 5; i++) {
            (void)must_push(&w.a, len, 1, i);
            (void)must_push(&w.b, len, 2, i);
        }
        for (uint32_t i = (uint32_t)(test_random(&x) % 40); i; i--)
            dp_engine_poll(sides[test_random(&x) & 1]->engine);
        CHECK_EQ(dp_conn_close(w.a.conn, true), 0);
        for (uint32_t i = (uint32_t)(test_random(&x) % 20); i; i--)
            dp_engine_poll(sides[test_random(&x) & 1]->engine);
        CHECK_EQ(dp_conn_close(w.b.conn, test_random(&x) & 1), 0);
        world_run(&w);
        CHECK_EQ(dp_conn_close(w.b.conn, true), 0);
        world_run(&w);
        CHECK(w.a.drained >= 1 && w.b.drained >= 1);
        CHECK_EQ(w.a.broken + w.b.broken, 0);
        world_close(&w);
    }
}

static void a_cancelled_push_keeps_its_memory_while_the_peer_may_read(void) {
    struct world w;
    world_open(&w, large_defaults());
    demi_qtoken_t out = must_push(&w.a, 5u << 20, 1, 0);
    world_run(&w);
    CHECK_EQ(dp_conn_close(w.a.conn, true), 0);
    CHECK_EQ(dp_conn_cancel_pushes(w.a.conn), 0);
    must_fail(out, ECANCELED);
    demi_qtoken_t in = must_pop(&w.b);
    world_run(&w);
    must_get(&w.b, in, 5u << 20, 1, 0);
    CHECK_EQ(w.b.broken, 0);
    world_close(&w);
}

/* ---- What breaks ---------------------------------------------------------------------------- */

static void attend(struct side *s) {
    side_notices(s);
    if (s->broken == 1) {
        s->broken = 2;
        CHECK_EQ(dp_conn_disconnected(s->conn, 0), 0);
    }
}

/* What is left of n pops: messages in order, then nothing but one and the same end. */
static uint32_t finish_pops(struct side *s, const demi_qtoken_t *in, uint32_t n, uint32_t len,
                            uint64_t stream) {
    uint32_t got = 0;
    int64_t err = -1;
    for (uint32_t i = 0; i < n; i++) {
        demi_qresult_t qr = redeem(in[i]);
        if (qr.qr_opcode == DEMI_OPC_FAILED) {
            CHECK(err == -1 || err == qr.qr_ret);
            err = qr.qr_ret;
            CHECK(err > 0);
            continue;
        }
        demi_sgarray_t sga = qr.qr_value.sga;
        if (sga.sga_segs[0].sgaseg_len == 0) {
            err = 0;
        } else {
            CHECK_EQ(err, -1);
            check_bytes(&sga, len, stream, got++);
        }
        CHECK_EQ(dp_sgafree(s->engine, &sga), 0);
    }
    return got;
}

/* Whether nothing has broken: the transfer has fewer points. */
static bool break_at(struct setup u, uint32_t n, bool a_side, uint32_t len, bool late) {
    enum { MOST = 6 };
    const uint32_t N = len > 1u << 20 ? 2 : MOST;
    struct world w;
    demi_qtoken_t out[2][MOST], in[2][MOST];
    world_open(&w, u);
    struct side *sides[2] = {&w.a, &w.b};
    sim_fault_error_after(sides[!a_side]->qp, n);
    for (uint64_t i = 0; i < N; i++)
        for (int k = 0; k < 2; k++) {
            out[k][i] = must_push(sides[k], len, (uint64_t)k, i);
            in[k][i] = must_pop(sides[k]);
        }
    for (int i = 0; i < 60; i++) {
        for (int k = 0; k < 2; k++) {
            dp_engine_poll(sides[k]->engine);
            if (!late)
                attend(sides[k]);
        }
    }
    world_run(&w);
    bool whole = w.a.broken + w.b.broken == 0;
    uint32_t got = 0;
    for (int k = 0; k < 2; k++) {
        CHECK_EQ(dp_conn_disconnected(sides[k]->conn, 0), 0);
        CHECK_EQ(sim_qp_destroy(sides[k]->qp), 0);
        sides[k]->qp = NULL;
        CHECK_EQ(dp_conn_qp_destroyed(sides[k]->conn), 0);
    }
    for (int k = 0; k < 2; k++) {
        got += finish_pops(sides[k], in[k], N, len, (uint64_t)!k);
        for (uint32_t i = 0; i < N; i++)
            (void)redeem(out[k][i]); /* all have completed */
    }
    if (whole)
        CHECK_EQ(got, 2 * N);
    world_close(&w);
    return whole;
}

static void a_connection_may_break_at_every_point_of_a_transfer(void) {
    for (uint32_t seed = 0; seed < 6; seed++) {
        uint32_t n = 0, whole = 0; /* deliveries differ: the next transfer may have a point more */
        for (; whole < 5; n++) {
            struct setup u = large_defaults();
            u.fabric.delivery = seed ? SIM_DELIVER_SEEDED : SIM_DELIVER_NOW;
            u.fabric.seed = seed * 100 + n;
            u.fabric.retry_polls = 10;
            u.fabric.no_late_recv_flush = seed == 2;
            u.fabric.purge_cq_on_destroy = seed == 3;
            whole += break_at(u, n, seed & 1, seed < 4 ? 3000 : (2u << 20) + 5, seed == 5);
        }
        CHECK(n > 10);
    }
}

static void a_source_that_cannot_be_registered_fails_its_push_only(void) {
    struct world w;
    world_open(&w, large_defaults());
    demi_qtoken_t first = must_push(&w.a, 64, 1, 0);
    sim_fault_call(w.a.ctx, SIM_CALL_MR_CREATE, 1, 2, ENOMEM); /* the second after a trim */
    demi_qtoken_t bad = must_push(&w.a, 100000, 1, 9);
    must_fail(bad, ENOMEM);
    demi_qtoken_t out = must_push(&w.a, 100000, 1, 1);
    demi_qtoken_t in[2] = {must_pop(&w.b), must_pop(&w.b)};
    world_run(&w);
    must_get(&w.b, in[0], 64, 1, 0);
    must_get(&w.b, in[1], 100000, 1, 1);
    must_succeed(first, DEMI_OPC_PUSH);
    must_succeed(out, DEMI_OPC_PUSH);
    sim_fault_call(w.a.ctx, SIM_CALL_MR_CREATE, 1, 1, EFAULT);
    must_fail(must_push(&w.a, 100000, 1, 2), EFAULT);
    /* While another message holds memory, one that finds none waits for it. */
    out = must_push(&w.a, 5u << 20, 1, 2);
    sim_fault_call(w.a.ctx, SIM_CALL_MR_CREATE, 1, 2, ENOMEM);
    demi_qtoken_t next = must_push(&w.a, 100000, 1, 3);
    world_run(&w);
    CHECK(!is_done(next));
    in[0] = must_pop(&w.b);
    in[1] = must_pop(&w.b);
    world_run(&w);
    must_get(&w.b, in[0], 5u << 20, 1, 2);
    must_get(&w.b, in[1], 100000, 1, 3);
    must_succeed(out, DEMI_OPC_PUSH);
    must_succeed(next, DEMI_OPC_PUSH);
    CHECK_EQ(w.a.broken + w.b.broken, 0);
    world_close(&w);
}

static void a_lack_of_memory_for_a_fetch_is_only_a_pause(void) {
    struct world w;
    world_open(&w, large_defaults());
    demi_qtoken_t out = must_push(&w.a, 3u << 20, 1, 0), in;
    /* Neither ahead of pops nor for one: the other side's chunk cannot be registered. */
    sim_fault_call(w.b.ctx, SIM_CALL_MR_CREATE, 1, 0, ENOMEM);
    world_run(&w);
    in = must_pop(&w.b);
    for (int i = 0; i < 10; i++)
        dp_engine_poll(w.b.engine);
    CHECK(!is_done(in) && !is_done(out));
    CHECK_EQ(w.b.broken, 0);
    sim_fault_call(w.b.ctx, SIM_CALL_MR_CREATE, 0, 0, 0);
    world_run(&w);
    must_get(&w.b, in, 3u << 20, 1, 0);
    must_succeed(out, DEMI_OPC_PUSH);
    /* The same when there is no memory to map. */
    arena_trim(0);
    out = must_push(&w.a, 9u << 20, 1, 1);
    in = must_pop(&w.b);
    __atomic_store_n(&arena_test_mappings_left, 0, __ATOMIC_RELAXED);
    for (int i = 0; i < 10; i++)
        dp_engine_poll(w.b.engine);
    CHECK(!is_done(in));
    __atomic_store_n(&arena_test_mappings_left, -1, __ATOMIC_RELAXED);
    world_run(&w);
    must_get(&w.b, in, 9u << 20, 1, 1);
    must_succeed(out, DEMI_OPC_PUSH);
    world_close(&w);
}

static void a_refused_read_breaks_one_connection_only(void) {
    for (uint32_t nth = 1; nth <= 3; nth++) {
        struct world w;
        world_open(&w, large_defaults());
        demi_qtoken_t out = must_push(&w.a, 6u << 20, 1, 0);
        world_run(&w);
        sim_fault_call(w.b.ctx, SIM_CALL_POST_SEND, nth, 1, EIO);
        demi_qtoken_t in = must_pop(&w.b);
        for (int i = 0; i < 20; i++) {
            dp_engine_poll(w.a.engine);
            dp_engine_poll(w.b.engine);
            attend(&w.b);
        }
        CHECK_EQ(w.b.broken, 2);
        CHECK_EQ(w.b.broken_err, EIO);
        if (nth <= 2) /* the third post is the DONE: the message is here */
            must_fail(in, EIO);
        else
            must_get(&w.b, in, 6u << 20, 1, 0);
        CHECK_EQ(dp_conn_fail(w.a.conn, ECONNRESET), 0);
        world_run(&w);
        must_fail(out, ECONNRESET);
        world_close(&w);
    }
}

/* ---- Peers that lie ---------------------------------------------------------------------------
 */

static void raw(struct world *w, struct frame h, const struct frame_rts *rts) {
    uint8_t bytes[64];
    frame_encode(&h, bytes);
    if (rts)
        frame_encode_rts(rts, bytes + FRAME_HEADER_SIZE);
    struct ibv_sge sge = {.addr = (uintptr_t)bytes, .length = FRAME_HEADER_SIZE + h.length};
    struct ibv_send_wr *bad, wr = {.wr_id = 7,
                                   .sg_list = &sge,
                                   .num_sge = 1,
                                   .opcode = IBV_WR_SEND,
                                   .send_flags = IBV_SEND_INLINE};
    CHECK_EQ(ibv_post_send(w->b.qp, &wr, &bad), 0);
}

static void an_rts_that_lies_breaks_its_connection_only(void) {
    static uint8_t bytes[4096];
    const struct frame_rts rows[] = {
        {.addr = 0xdead000, .length = 100000, .rkey = 12345}, /* a wild address */
        {.addr = (uintptr_t)bytes, .length = sizeof(bytes), .rkey = 0},
        {.addr = (uintptr_t)bytes, .length = 0},
        {.addr = (uintptr_t)bytes, .length = (UINT64_C(64) << 20) + 1},
        {.addr = (uintptr_t)bytes, .length = UINT64_MAX},
        {.addr = UINT64_MAX - 50, .length = 100},
    };
    for (uint32_t i = 0; i < sizeof(rows) / sizeof(rows[0]) + 2; i++) {
        struct world w;
        struct setup u = large_defaults();
        bool number = i == sizeof(rows) / sizeof(rows[0]);
        if (i > sizeof(rows) / sizeof(rows[0]))
            u.reads = 0; /* a peer that answers no READ */
        world_open(&w, u);
        demi_qtoken_t pop = must_pop(&w.a);
        const struct frame_rts *rts = &rows[i < 6 ? i : 0];
        raw(&w, (struct frame){.type = FRAME_RTS, .length = 24, .arg = number ? 1 : 0}, rts);
        for (int k = 0; k < 5; k++)
            dp_engine_poll(w.a.engine);
        side_notices(&w.a);
        CHECK_EQ(w.a.broken, 1);
        CHECK_EQ(w.a.broken_err, EPROTO);
        CHECK_EQ(dp_conn_disconnected(w.a.conn, 0), 0);
        world_run(&w);
        CHECK_EQ(w.a.flushed, 1);
        must_fail(pop, EPROTO);
        world_close(&w);
    }
}

static void an_answer_to_no_open_rts_breaks_the_connection(void) {
    for (uint32_t i = 0; i < 4; i++) {
        struct world w;
        world_open(&w, large_defaults());
        demi_qtoken_t out[2] = {must_push(&w.a, 5000, 1, 0), must_push(&w.a, 5000, 1, 1)};
        const struct frame done = {.type = FRAME_DONE, .arg = 0};
        struct frame second = {.type = i & 1 ? FRAME_DONE : FRAME_RESET, .seq = 1};
        second.arg = i < 2 ? 0 : i == 2 ? 2 : UINT32_MAX; /* twice; never sent */
        raw(&w, done, NULL);
        raw(&w, second, NULL);
        dp_engine_poll(w.a.engine);
        side_notices(&w.a);
        CHECK_EQ(w.a.broken_err, EPROTO);
        CHECK_EQ(dp_conn_disconnected(w.a.conn, 0), 0);
        world_run(&w);
        must_succeed(out[0], DEMI_OPC_PUSH);
        must_fail(out[1], EPROTO);
        world_close(&w);
    }
}

static void answers_may_come_in_any_order(void) {
    struct world w;
    world_open(&w, large_defaults());
    demi_qtoken_t out[3];
    for (uint64_t i = 0; i < 3; i++)
        out[i] = must_push(&w.a, 5000, 1, i);
    raw(&w, (struct frame){.type = FRAME_RESET, .arg = 2}, NULL);
    raw(&w, (struct frame){.type = FRAME_DONE, .arg = 1, .seq = 1}, NULL);
    raw(&w, (struct frame){.type = FRAME_DONE, .arg = 0, .seq = 2}, NULL);
    dp_engine_poll(w.a.engine);
    must_succeed(out[0], DEMI_OPC_PUSH);
    must_succeed(out[1], DEMI_OPC_PUSH);
    must_fail(out[2], EPIPE);
    world_close(&w);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(sizes_around_the_limits_arrive_whole),
        TEST(a_push_completes_when_its_bytes_have_been_read),
        TEST(a_message_is_fetched_ahead_of_pops_within_a_budget),
        TEST(small_messages_wait_behind_a_large_one),
        TEST(a_longer_message_than_the_peer_takes_is_refused_at_once),
        TEST(large_messages_both_ways_at_once_arrive_in_order),
        TEST(more_pushes_than_may_be_announced_wait),
        TEST(nothing_pushed_before_close_is_lost),
        TEST(a_fin_fetches_without_a_pop),
        TEST(a_full_close_refuses_what_it_has_not_read),
        TEST(both_close_with_large_messages_on_their_way),
        TEST(a_cancelled_push_keeps_its_memory_while_the_peer_may_read),
        TEST(a_connection_may_break_at_every_point_of_a_transfer),
        TEST(a_source_that_cannot_be_registered_fails_its_push_only),
        TEST(a_lack_of_memory_for_a_fetch_is_only_a_pause),
        TEST(a_refused_read_breaks_one_connection_only),
        TEST(an_rts_that_lies_breaks_its_connection_only),
        TEST(an_answer_to_no_open_rts_breaks_the_connection),
        TEST(answers_may_come_in_any_order),
    };
    return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
