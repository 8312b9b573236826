/* Messages between two engines: order, integrity, credits, memory; one thread. */
#include "stream.h"

static void a_message_arrives_as_it_was_pushed(void) {
    struct world w;
    world_open(&w, world_defaults());
    demi_qtoken_t pop = must_pop(&w.b);
    demi_qtoken_t qt = must_push(&w.a, 64, 1, 0);
    demi_qresult_t qr = redeem(qt); /* inline: complete at once */
    CHECK_EQ(qr.qr_opcode, DEMI_OPC_PUSH);
    CHECK_EQ(qr.qr_qd, w.a.qd);
    static const uint8_t zero[sizeof(qr.qr_value)];
    CHECK(memcmp(&qr.qr_value, zero, sizeof(zero)) == 0);
    world_run(&w);
    must_get(&w.b, pop, 64, 1, 0);
    world_close(&w);
}

static void a_push_that_is_not_inline_completes_when_its_bytes_may_change(void) {
    struct world w;
    struct setup u = world_defaults();
    u.fabric.delivery = SIM_DELIVER_SEEDED;
    u.fabric.seed = 7;
    world_open(&w, u);
    demi_qtoken_t qt = must_push(&w.a, world_payload(&w), 1, 0);
    CHECK(!is_done(qt));
    world_run(&w);
    must_succeed(qt, DEMI_OPC_PUSH);
    demi_qtoken_t pop = must_pop(&w.b);
    CHECK(is_done(pop));
    must_get(&w.b, pop, world_payload(&w), 1, 0);
    world_close(&w);
}

static void small_messages_arrive_in_order_both_ways(void) {
    many_messages(world_defaults(), 20000, len_small, 16, true);
}
static void the_largest_eager_messages_arrive_in_order_both_ways(void) {
    many_messages(world_defaults(), 2000, len_largest, 16, true);
}
static void one_way_traffic_never_stalls(void) {
    many_messages(world_defaults(), 20000, len_mixed, 64, false);
}
static void one_message_at_a_time_never_stalls(void) {
    many_messages(world_defaults(), 2000, len_mixed, 1, true);
}
static void windows_of_any_size_work_under_any_interleaving(void) {
    for (uint32_t data = 1; data <= 9; data += 2) {
        for (uint32_t ctrl = 4; ctrl <= 6; ctrl++) {
            for (uint64_t seed = 1; seed <= 4; seed++) {
                struct setup u = world_defaults();
                u.data_window = data;
                u.ctrl_window = ctrl;
                u.send_depth = 8;
                u.fabric.delivery = SIM_DELIVER_SEEDED;
                u.fabric.seed = seed * 1000 + data * 10 + ctrl;
                many_messages(u, 300, len_mixed, 5, true);
                many_messages(u, 300, len_small, 64, false);
            }
        }
    }
}
static void a_device_without_inline_sends_works(void) {
    struct setup u = world_defaults();
    u.max_inline = 0;
    many_messages(u, 500, len_mixed, 8, true);
}
static void no_frame_goes_inline_that_does_not_fit(void) {
    struct setup u = world_defaults();
    u.max_inline = 64 + FRAME_HEADER_SIZE - 1;
    many_messages(u, 500, len_small, 8, true);
}

static void a_slow_popper_holds_the_sender_back(void) {
    struct world w;
    struct setup u = world_defaults();
    world_open(&w, u);
    demi_qtoken_t pushes[20];
    for (int i = 0; i < 20; i++)
        pushes[i] = must_push(&w.a, 64, 1, (uint64_t)i);
    world_run(&w);
    for (int i = 0; i < 20; i++)
        CHECK_EQ(is_done(pushes[i]), i < (int)u.data_window);
    for (int i = 0; i < 20; i++) {
        demi_qtoken_t pop = must_pop(&w.b);
        world_run(&w);
        must_get(&w.b, pop, 64, 1, (uint64_t)i);
    }
    for (int i = 0; i < 20; i++)
        must_succeed(pushes[i], DEMI_OPC_PUSH);
    world_close(&w);
}

static void memory_may_be_freed_right_after_the_push(void) {
    struct world w;
    struct setup u = world_defaults();
    u.fabric.delivery = SIM_DELIVER_SEEDED;
    world_open(&w, u);
    /* Held back by credits: freed, and its memory wanted by somebody else meanwhile. */
    demi_qtoken_t pushes[12];
    for (int i = 0; i < 12; i++)
        pushes[i] = must_push(&w.a, 200, 1, (uint64_t)i);
    for (int i = 0; i < 200; i++) {
        demi_sgarray_t other = dp_sgaalloc(w.a.engine, 200);
        memset(other.sga_segs[0].sgaseg_buf, 0xee, 200);
        CHECK_EQ(dp_sgafree(w.a.engine, &other), 0);
    }
    for (int i = 0; i < 12; i++) {
        demi_qtoken_t pop = must_pop(&w.b);
        world_run(&w);
        must_get(&w.b, pop, 200, 1, (uint64_t)i);
    }
    for (int i = 0; i < 12; i++)
        must_succeed(pushes[i], DEMI_OPC_PUSH);
    world_close(&w);
}

static void a_double_free_and_foreign_memory_are_refused(void) {
    struct world w;
    world_open(&w, world_defaults());
    demi_sgarray_t sga = dp_sgaalloc(w.a.engine, 100), copy = sga, null;
    demi_qtoken_t qt = 77;
    char stack[100];
    memset(&null, 0, sizeof(null));
    CHECK_EQ(dp_sgafree(w.a.engine, &sga), 0);
    CHECK_EQ(dp_sgafree(w.a.engine, &copy), EINVAL);
    CHECK_EQ(dp_push(w.a.qd, &copy, &qt), EINVAL);
    CHECK_EQ(dp_sgafree(NULL, &copy), EINVAL);
    CHECK_EQ(dp_sgafree(w.a.engine, &null), EINVAL);
    CHECK_EQ(dp_sgafree(w.a.engine, NULL), EINVAL);
    null.sga_numsegs = 1;
    null.sga_segs[0].sgaseg_buf = stack;
    null.sga_segs[0].sgaseg_len = sizeof(stack);
    CHECK_EQ(dp_sgafree(w.a.engine, &null), EINVAL);
    CHECK_EQ(dp_push(w.a.qd, &null, &qt), EINVAL);
    CHECK_EQ(qt, 77);
    CHECK_EQ(dp_sgaalloc(w.a.engine, 0).sga_numsegs, 0);
    CHECK_EQ(dp_sgaalloc(NULL, 10).sga_numsegs, 0);
    CHECK_EQ(dp_sgaalloc(w.a.engine, (size_t)2 << 30).sga_numsegs, 0);
    world_close(&w);
}

static void a_push_is_judged_before_it_is_started(void) {
    struct world w;
    world_open(&w, world_defaults());
    demi_qtoken_t qt = 77;
    demi_sgarray_t sga = dp_sgaalloc(w.a.engine, 4096), bad = sga;
    CHECK_EQ(dp_push(w.a.qd, &sga, &qt), EMSGSIZE);
    bad.sga_segs[0].sgaseg_len = 4097; /* outside the allocation comes first */
    CHECK_EQ(dp_push(w.a.qd, &bad, &qt), EINVAL);
    bad = sga;
    bad.sga_segs[0].sgaseg_len = 0;
    CHECK_EQ(dp_push(w.a.qd, &bad, &qt), EINVAL);
    bad.sga_segs[0].sgaseg_len = 10;
    bad.sga_numsegs = 0;
    CHECK_EQ(dp_push(w.a.qd, &bad, &qt), EINVAL);
    bad.sga_numsegs = 2;
    CHECK_EQ(dp_push(w.a.qd, &bad, &qt), EINVAL);
    CHECK_EQ(dp_push(w.a.qd, NULL, &qt), EINVAL);
    CHECK_EQ(dp_push(w.a.qd, &sga, NULL), EINVAL);
    CHECK_EQ(dp_push(-1, &sga, &qt), EBADF);
    CHECK_EQ(dp_push(DP_QD_FIRST + 60000, &sga, &qt), EBADF);
    CHECK_EQ(dp_push(INT32_MAX, &sga, &qt), EBADF);
    CHECK_EQ(dp_pop(INT32_MIN, &qt), EBADF);
    CHECK_EQ(dp_pop(w.a.qd, NULL), EINVAL);
    CHECK_EQ(qt, 77);
    /* Narrowed inside its allocation: allowed. */
    fill((uint8_t *)sga.sga_segs[0].sgaseg_buf + 100, 50, 3, 0);
    bad = sga;
    bad.sga_segs[0].sgaseg_buf = (uint8_t *)sga.sga_segs[0].sgaseg_buf + 100;
    bad.sga_segs[0].sgaseg_len = 50;
    CHECK_EQ(dp_push(w.a.qd, &bad, &qt), 0);
    CHECK_EQ(dp_sgafree(w.a.engine, &bad), 0);
    must_succeed(qt, DEMI_OPC_PUSH);
    demi_qtoken_t pop = must_pop(&w.b);
    world_run(&w);
    must_get(&w.b, pop, 50, 3, 0);
    world_close(&w);
}

static void a_descriptor_answers_by_its_state(void) {
    struct world w;
    world_open(&w, world_defaults());
    demi_qtoken_t qt;
    int32_t qd;
    demi_sgarray_t sga = dp_sgaalloc(w.a.engine, 10);
    CHECK_EQ(dp_qd_alloc(w.a.engine, &qd), 0);
    CHECK_EQ(dp_qd_get_state(qd), DP_QD_SOCKET);
    const struct {
        enum dp_qd_state state;
        int err;
    } rows[] = {{DP_QD_SOCKET, ENOTCONN},     {DP_QD_LISTENING, ENOTCONN},
                {DP_QD_CONNECTING, ENOTCONN}, {DP_QD_CONNECTED, ENOTCONN},
                {DP_QD_FAILED, EBADF},        {DP_QD_CLOSING, EBADF}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CHECK_EQ(dp_qd_set_state(qd, rows[i].state), 0);
        CHECK_EQ(dp_push(qd, &sga, &qt), rows[i].err);
        CHECK_EQ(dp_pop(qd, &qt), rows[i].err);
    }
    CHECK_EQ(dp_qd_set_state(qd, DP_QD_FREE), EINVAL);
    CHECK_EQ(dp_qd_free(qd), 0);
    CHECK_EQ(dp_qd_free(qd), EBADF);
    CHECK_EQ(dp_qd_set_state(qd, DP_QD_SOCKET), EBADF);
    CHECK_EQ(dp_qd_get_state(qd), DP_QD_FREE);
    CHECK_EQ(dp_pop(qd, &qt), EBADF);
    CHECK(dp_qd_engine(qd) == NULL);
    CHECK(dp_qd_engine(w.a.qd) == w.a.engine);
    int32_t again;
    CHECK_EQ(dp_qd_alloc(w.a.engine, &again), 0);
    CHECK_EQ(again, qd); /* the lowest free one */
    CHECK_EQ(dp_qd_free(again), 0);
    CHECK_EQ(dp_sgafree(w.a.engine, &sga), 0);
    world_close(&w);
}

static void descriptors_start_at_500_and_run_out_with_emfile(void) {
    struct world w;
    world_open(&w, world_defaults());
    int32_t qd, last = 0;
    int n = 0, rc;
    CHECK_EQ(w.a.qd, DP_QD_FIRST);
    while ((rc = dp_qd_alloc(w.a.engine, &qd)) == 0) {
        last = qd;
        n++;
    }
    CHECK_EQ(rc, EMFILE);
    CHECK_EQ(last, DP_QD_FIRST + 65535);
    CHECK_EQ(n, 65534);
    for (qd = last; n--; qd--)
        CHECK_EQ(dp_qd_free(qd), 0);
    world_close(&w);
}

static void tokens_run_out_with_eagain_and_nothing_is_lost(void) {
    struct world w;
    struct setup u = world_defaults();
    u.engine.max_tokens = 8;
    world_open(&w, u);
    demi_qtoken_t qts[8], qt;
    for (int i = 0; i < 8; i++)
        qts[i] = must_pop(&w.a);
    CHECK_EQ(dp_pop(w.a.qd, &qt), EAGAIN);
    CHECK_EQ(push(&w.a, 64, 1, 0, &qt), EAGAIN);
    CHECK_EQ(push(&w.a, 500, 1, 0, &qt), EAGAIN);
    CHECK_EQ(dp_token_alloc(w.a.engine, w.a.qd, DEMI_OPC_CONNECT, &qt), EAGAIN);
    for (int i = 0; i < 8; i++)
        must_succeed(must_push(&w.b, 64, 2, (uint64_t)i), DEMI_OPC_PUSH), world_run(&w);
    for (int i = 0; i < 8; i++)
        must_get(&w.a, qts[i], 64, 2, (uint64_t)i);
    must_succeed(must_push(&w.a, 64, 1, 0), DEMI_OPC_PUSH);
    world_close(&w);
}

static void messages_that_come_before_establish_are_kept(void) {
    struct world w;
    struct setup u = world_defaults();
    u.loose = true;
    world_open(&w, u);
    CHECK_EQ(dp_conn_establish(w.a.conn, w.a.qd, &w.b.limits), 0);
    for (uint64_t i = 0; i < 6; i++)
        (void)must_push(&w.a, 64, 1, i);
    CHECK_EQ(dp_conn_close(w.a.conn, false), 0);
    world_run(&w);
    demi_qtoken_t qt;
    CHECK_EQ(dp_pop(w.b.qd, &qt), ENOTCONN);
    CHECK_EQ(dp_conn_establish(w.b.conn, w.b.qd, &w.a.limits), 0);
    CHECK_EQ(dp_conn_establish(w.b.conn, w.b.qd, &w.a.limits), EISCONN);
    for (uint64_t i = 0; i < 6; i++) {
        qt = must_pop(&w.b);
        world_run(&w);
        must_get(&w.b, qt, 64, 1, i);
    }
    qt = must_pop(&w.b);
    must_get_end(&w.b, qt);
    world_close(&w);
}

static void pops_say_who_the_peer_is_and_pushto_insists_on_it(void) {
    struct world w;
    world_open(&w, world_defaults());
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(7174)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(7174)};
    v4.sin_addr.s_addr = htonl(0x0a000001);
    v6.sin6_addr.s6_addr[15] = 9;
    demi_sgarray_t sga = dp_sgaalloc(w.b.engine, 16);
    demi_qtoken_t qt;
    for (int six = 0; six < 2; six++) {
        const struct sockaddr *addr = six ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4;
        socklen_t len = six ? sizeof(v6) : sizeof(v4);
        CHECK_EQ(dp_conn_set_peer(w.b.conn, addr, len - 1), EINVAL);
        CHECK_EQ(dp_conn_set_peer(w.b.conn, addr, len), 0);
        must_succeed(must_push(&w.a, 64, 1, 0), DEMI_OPC_PUSH);
        demi_qtoken_t pop = must_pop(&w.b);
        world_run(&w);
        demi_qresult_t qr = redeem(pop);
        struct sockaddr_in from = qr.qr_value.sga.sga_addr;
        CHECK_EQ(from.sin_family, six ? AF_INET6 : AF_INET);
        CHECK_EQ(from.sin_port, htons(7174));
        CHECK_EQ(from.sin_addr.s_addr, six ? 0 : htonl(0x0a000001));
        demi_sgarray_t got = qr.qr_value.sga;
        CHECK_EQ(dp_sgafree(w.b.engine, &got), 0);
        CHECK_EQ(dp_pushto(w.b.qd, &sga, addr, len, &qt), 0);
        must_succeed(qt, DEMI_OPC_PUSH);
        CHECK_EQ(dp_pushto(w.b.qd, &sga, addr, len - 1, &qt), EINVAL);
        const struct sockaddr *other = six ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6;
        CHECK_EQ(dp_pushto(w.b.qd, &sga, other, six ? sizeof(v4) : sizeof(v6), &qt), EISCONN);
    }
    v6.sin6_port = 1;
    CHECK_EQ(dp_pushto(w.b.qd, &sga, (struct sockaddr *)&v6, sizeof(v6), &qt), EISCONN);
    v6.sin6_family = AF_UNIX;
    CHECK_EQ(dp_pushto(w.b.qd, &sga, (struct sockaddr *)&v6, sizeof(v6), &qt), EINVAL);
    CHECK_EQ(dp_pushto(w.b.qd, &sga, NULL, sizeof(v6), &qt), EINVAL);
    CHECK_EQ(dp_sgafree(w.b.engine, &sga), 0);
    world_close(&w);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(a_message_arrives_as_it_was_pushed),
        TEST(a_push_that_is_not_inline_completes_when_its_bytes_may_change),
        TEST(small_messages_arrive_in_order_both_ways),
        TEST(the_largest_eager_messages_arrive_in_order_both_ways),
        TEST(one_way_traffic_never_stalls),
        TEST(one_message_at_a_time_never_stalls),
        TEST(windows_of_any_size_work_under_any_interleaving),
        TEST(a_device_without_inline_sends_works),
        TEST(no_frame_goes_inline_that_does_not_fit),
        TEST(a_slow_popper_holds_the_sender_back),
        TEST(memory_may_be_freed_right_after_the_push),
        TEST(a_double_free_and_foreign_memory_are_refused),
        TEST(a_push_is_judged_before_it_is_started),
        TEST(a_descriptor_answers_by_its_state),
        TEST(descriptors_start_at_500_and_run_out_with_emfile),
        TEST(tokens_run_out_with_eagain_and_nothing_is_lost),
        TEST(messages_that_come_before_establish_are_kept),
        TEST(pops_say_who_the_peer_is_and_pushto_insists_on_it),
    };
    return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
