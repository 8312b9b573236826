/* Every way in which a connection ends; one thread. */
#include "world.h"

static void a_half_close_ends_one_direction(void) {
    struct world w;
    world_open(&w, world_defaults());
    demi_qtoken_t waiting = must_pop(&w.b);
    CHECK_EQ(dp_conn_close(w.a.conn, false), 0);
    world_run(&w);
    must_get_end(&w.b, waiting);
    for (int i = 0; i < 3; i++) /* repeated for later pops */
        must_get_end(&w.b, must_pop(&w.b));
    CHECK_EQ(w.b.fin, 1);
    CHECK_EQ(w.b.fin_arg, 0);
    CHECK_EQ(w.a.drained, 1);
    must_fail(must_push(&w.a, 64, 1, 0), EPIPE);
    /* The other direction goes on. */
    demi_qtoken_t pop = must_pop(&w.a);
    must_succeed(must_push(&w.b, 64, 2, 0), DEMI_OPC_PUSH);
    world_run(&w);
    must_get(&w.a, pop, 64, 2, 0);
    CHECK_EQ(dp_conn_close(w.b.conn, false), 0);
    world_run(&w);
    CHECK_EQ(w.b.drained, 1);
    must_get_end(&w.a, must_pop(&w.a));
    world_close(&w);
}

static void a_full_close_after_a_half_close_is_acknowledged_too(void) {
    struct world w;
    world_open(&w, world_defaults());
    CHECK_EQ(dp_conn_close(w.a.conn, false), 0);
    world_run(&w);
    CHECK_EQ(dp_conn_close(w.a.conn, true), 0);
    world_run(&w);
    CHECK_EQ(w.a.drained, 2);
    CHECK_EQ(w.b.fin, 2);
    CHECK_EQ(w.b.fin_arg, 1);
    must_fail(must_push(&w.b, 64, 1, 0), EPIPE);
    world_close(&w);
}

static void pushes_in_flight_arrive_before_the_close(void) {
    struct world w;
    world_open(&w, world_defaults());
    demi_qtoken_t pushes[30];
    for (uint64_t i = 0; i < 30; i++)
        pushes[i] = must_push(&w.a, i % 2 ? 64 : 500, 1, i);
    CHECK_EQ(dp_conn_close(w.a.conn, true), 0);
    must_fail(must_push(&w.a, 64, 1, 30), EPIPE);
    world_run(&w);
    CHECK_EQ(w.a.drained, 0);
    for (uint64_t i = 0; i < 30; i++) {
        demi_qtoken_t pop = must_pop(&w.b);
        world_run(&w);
        must_get(&w.b, pop, i % 2 ? 64 : 500, 1, i);
    }
    must_get_end(&w.b, must_pop(&w.b));
    CHECK_EQ(w.a.drained, 1);
    for (int i = 0; i < 30; i++)
        must_succeed(pushes[i], DEMI_OPC_PUSH);
    world_close(&w);
}

static void both_sides_may_close_at_once(void) {
    for (int full_a = 0; full_a < 2; full_a++) {
        for (int full_b = 0; full_b < 2; full_b++) {
            for (uint64_t seed = 0; seed < 8; seed++) {
                struct world w;
                struct setup u = world_defaults();
                u.fabric.delivery = seed ? SIM_DELIVER_SEEDED : SIM_DELIVER_NOW;
                u.fabric.seed = seed;
                world_open(&w, u);
                (void)must_push(&w.a, 500, 1, 0);
                (void)must_push(&w.b, 500, 2, 0);
                CHECK_EQ(dp_conn_close(w.a.conn, full_a), 0);
                CHECK_EQ(dp_conn_close(w.b.conn, full_b), 0);
                world_run(&w);
                CHECK_EQ(w.a.drained, 1);
                CHECK_EQ(w.b.drained, 1);
                CHECK_EQ(w.a.broken + w.b.broken, 0);
                world_close(&w);
            }
        }
    }
}

static void a_peer_that_reads_no_more_ends_pending_pushes(void) {
    struct world w;
    world_open(&w, world_defaults());
    demi_qtoken_t pushes[10];
    for (uint64_t i = 0; i < 10; i++)
        pushes[i] = must_push(&w.a, 64, 1, i);
    CHECK_EQ(dp_conn_close(w.b.conn, true), 0);
    world_run(&w);
    for (int i = 0; i < 10; i++) {
        demi_qresult_t qr = redeem(pushes[i]);
        if (i < 4)
            CHECK_EQ(qr.qr_opcode, DEMI_OPC_PUSH);
        else
            CHECK(qr.qr_opcode == DEMI_OPC_FAILED ? qr.qr_ret == EPIPE : i < 8);
    }
    must_fail(must_push(&w.a, 64, 1, 10), EPIPE);
    CHECK_EQ(w.b.drained, 1);
    /* Our own close has nothing left to say. */
    CHECK_EQ(dp_conn_close(w.a.conn, true), 0);
    world_run(&w);
    CHECK_EQ(w.a.drained, 1);
    world_close(&w);
}

/* What libos does when the CM says DISCONNECTED. */
static void disconnect(struct side *s) {
    CHECK_EQ(dp_conn_disconnected(s->conn, 0), 0);
}
static void destroy_qp(struct side *s) {
    CHECK_EQ(sim_qp_destroy(s->qp), 0);
    s->qp = NULL;
    CHECK_EQ(dp_conn_qp_destroyed(s->conn), 0);
}

static void what_arrived_can_be_popped_after_an_orderly_disconnection(void) {
    struct world w;
    world_open(&w, world_defaults());
    for (uint64_t i = 0; i < 3; i++)
        must_succeed(must_push(&w.a, 64, 1, i), DEMI_OPC_PUSH);
    CHECK_EQ(dp_conn_close(w.a.conn, true), 0);
    world_run(&w);
    CHECK_EQ(w.a.drained, 1);
    side_destroy_conn(&w.a);
    disconnect(&w.b);
    world_run(&w);
    CHECK_EQ(w.b.flushed, 1);
    CHECK_EQ(w.b.broken, 0);
    destroy_qp(&w.b);
    for (uint64_t i = 0; i < 3; i++)
        must_get(&w.b, must_pop(&w.b), 64, 1, i);
    must_get_end(&w.b, must_pop(&w.b));
    must_get_end(&w.b, must_pop(&w.b));
    must_fail(must_push(&w.b, 64, 2, 0), EPIPE);
    must_fail(must_push(&w.b, 800, 2, 0), EPIPE);
    /* Closing it now is done at once. */
    CHECK_EQ(dp_conn_close(w.b.conn, true), 0);
    side_notices(&w.b);
    CHECK_EQ(w.b.drained, 1);
    world_close(&w);
}

static void a_disconnection_without_fin_is_a_reset_after_what_arrived(void) {
    struct world w;
    world_open(&w, world_defaults());
    for (uint64_t i = 0; i < 2; i++)
        must_succeed(must_push(&w.a, 64, 1, i), DEMI_OPC_PUSH);
    demi_qtoken_t pushes[6], pops[3];
    for (uint64_t i = 0; i < 6; i++)
        pushes[i] = must_push(&w.b, 64, 2, i);
    side_destroy_conn(&w.a); /* a process that died */
    for (int i = 0; i < 3; i++)
        pops[i] = must_pop(&w.b);
    disconnect(&w.b);
    world_run(&w);
    must_get(&w.b, pops[0], 64, 1, 0);
    must_get(&w.b, pops[1], 64, 1, 1);
    must_fail(pops[2], ECONNRESET);
    for (int i = 0; i < 4; i++)
        must_succeed(pushes[i], DEMI_OPC_PUSH);
    must_fail(pushes[4], ECONNRESET);
    must_fail(pushes[5], ECONNRESET);
    must_fail(must_pop(&w.b), ECONNRESET);
    must_fail(must_push(&w.b, 64, 2, 6), ECONNRESET);
    CHECK_EQ(w.b.flushed, 1);
    world_close(&w);
}

static void a_failure_ends_everything_with_its_errno(void) {
    struct world w;
    world_open(&w, world_defaults());
    demi_qtoken_t pop = must_pop(&w.a), pushes[7];
    for (uint64_t i = 0; i < 7; i++)
        pushes[i] = must_push(&w.a, 600, 1, i);
    CHECK_EQ(dp_conn_fail(w.a.conn, 0), EINVAL);
    CHECK_EQ(dp_conn_fail(w.a.conn, ENODEV), 0);
    world_run(&w);
    must_fail(pop, ENODEV);
    for (int i = 0; i < 7; i++) {
        demi_qresult_t qr = redeem(pushes[i]);
        CHECK(i < 4 ? qr.qr_opcode == DEMI_OPC_PUSH
                    : qr.qr_opcode == DEMI_OPC_FAILED && qr.qr_ret == ENODEV);
    }
    CHECK_EQ(w.a.flushed, 1);
    CHECK_EQ(w.a.broken, 0); /* who gave the command needs no telling */
    must_fail(must_pop(&w.a), ENODEV);
    world_close(&w);
}

/* A device that is being removed flushes first and tells then, perhaps after what has been polled.
 */
static void what_is_flushed_ends_with_the_reason_that_libos_gives(void) {
    for (int polled = 0; polled < 2; polled++) {
        struct world w;
        world_open(&w, world_defaults());
        demi_qtoken_t pop = must_pop(&w.a), pushes[8];
        for (uint64_t i = 0; i < 8; i++) /* more than the peer has receives for */
            pushes[i] = must_push(&w.a, 600, 1, i);
        CHECK_EQ(sim_qp_error(w.a.qp), 0);
        if (polled) {
            world_run(&w);
            CHECK_EQ(w.a.broken, 1);
            CHECK_EQ(w.a.broken_err, ECONNRESET);
            CHECK(!is_done(pop) && !is_done(pushes[7]));
        }
        CHECK_EQ(dp_conn_fail(w.a.conn, ENODEV), 0);
        world_run(&w);
        must_fail(pop, ENODEV);
        must_fail(pushes[7], ENODEV);
        CHECK_EQ(w.a.flushed, 1);
        CHECK_EQ(dp_conn_disconnected(w.b.conn, 0), 0);
        world_run(&w);
        world_close(&w);
    }
}

static void cancelled_operations_end_with_ecanceled(void) {
    struct world w;
    struct setup u = world_defaults();
    u.fabric.delivery = SIM_DELIVER_SEEDED;
    world_open(&w, u);
    demi_qtoken_t pops[2] = {must_pop(&w.a), must_pop(&w.a)}, pushes[7];
    for (uint64_t i = 0; i < 7; i++)
        pushes[i] = must_push(&w.a, 600, 1, i);
    CHECK_EQ(dp_conn_cancel_pops(w.a.conn), 0);
    must_fail(pops[0], ECANCELED);
    must_fail(pops[1], ECANCELED);
    CHECK_EQ(dp_conn_close(w.a.conn, true), 0);
    CHECK(!is_done(pushes[6]));
    CHECK_EQ(dp_conn_cancel_pushes(w.a.conn), 0);
    for (int i = 0; i < 7; i++)
        must_fail(pushes[i], ECANCELED);
    /* What was posted may still arrive, whole, then the end. */
    world_run(&w);
    for (uint64_t i = 0; i < 4; i++)
        must_get(&w.b, must_pop(&w.b), 600, 1, i);
    must_get_end(&w.b, must_pop(&w.b));
    CHECK_EQ(w.a.drained, 1);
    world_close(&w);
}

static void destroying_a_connection_ends_its_tokens(void) {
    struct world w;
    world_open(&w, world_defaults());
    demi_qtoken_t pop = must_pop(&w.a), qt;
    demi_qtoken_t pushes[6];
    for (uint64_t i = 0; i < 6; i++)
        pushes[i] = must_push(&w.a, 64, 1, i);
    int32_t qd = w.a.qd;
    CHECK_EQ(dp_cq_remove(w.a.dpcq), EBUSY);
    CHECK_EQ(dp_device_remove(w.a.device), EBUSY);
    CHECK_EQ(dp_engine_destroy(w.a.engine), EBUSY);
    CHECK_EQ(dp_conn_fail(w.a.conn, ECONNABORTED), 0);
    CHECK_EQ(sim_qp_destroy(w.a.qp), 0);
    w.a.qp = NULL;
    CHECK_EQ(dp_conn_destroy(w.a.conn), 0);
    w.a.conn = NULL;
    must_fail(pop, ECONNABORTED);
    must_fail(pushes[5], ECONNABORTED);
    CHECK_EQ(dp_pop(qd, &qt), ENOTCONN); /* the descriptor is still there */
    CHECK_EQ(dp_qd_free(qd), 0);
    w.a.qd = -1;
    world_close(&w);
}

static void late_completions_of_a_destroyed_connection_do_no_harm(void) {
    struct world w;
    world_open(&w, world_defaults());
    for (int round = 0; round < 20; round++) {
        (void)must_push(&w.a, 600, 1, 0);
        (void)must_pop(&w.b);
        /* Destroyed without a look at what is in the CQ. */
        side_destroy_conn(&w.a);
        side_destroy_conn(&w.b);
        side_make_conn(&w.a);
        side_make_conn(&w.b);
        world_connect(&w);
        demi_qtoken_t pop = must_pop(&w.b);
        must_succeed(must_push(&w.a, 64, 3, 0), DEMI_OPC_PUSH);
        world_run(&w);
        must_get(&w.b, pop, 64, 3, 0);
        side_sweep(&w.a);
        side_sweep(&w.b);
    }
    world_close(&w);
}

static void a_cq_takes_no_more_than_its_budget(void) {
    struct world w;
    struct setup u = world_defaults();
    u.cq_depth = 63; /* one connection needs 32 + 8 */
    world_open(&w, u);
    struct dp_conn_params p = {.engine = w.a.engine,
                               .device = w.a.device,
                               .cq = w.a.dpcq,
                               .qp = w.a.qp,
                               .send_depth = 32,
                               .recv_depth = 8,
                               .max_inline = 128,
                               .local = w.a.limits};
    struct dp_conn *c;
    CHECK_EQ(dp_conn_create(&p, &c), EAGAIN);
    CHECK(dp_cq_find(w.a.engine, w.a.device, 23, false) == w.a.dpcq);
    CHECK(dp_cq_find(w.a.engine, w.a.device, 24, false) == NULL);
    CHECK(dp_cq_find(w.a.engine, w.b.device, 1, false) == NULL);
    side_destroy_conn(&w.a);
    CHECK(dp_cq_find(w.a.engine, w.a.device, 63, false) == w.a.dpcq);
    world_close(&w);
}

static void a_connection_may_be_established_after_its_queue_pair_has_gone(void) {
    struct world w;
    struct setup u = world_defaults();
    demi_qtoken_t qt;
    u.loose = true;
    world_open(&w, u);
    CHECK_EQ(dp_conn_disconnected(w.a.conn, ECONNRESET), 0);
    CHECK_EQ(sim_qp_destroy(w.a.qp), 0); /* what touches it now is found by the sanitizer */
    CHECK_EQ(dp_conn_establish(w.a.conn, w.a.qd, &w.b.limits), 0);
    CHECK_EQ(dp_pop(w.a.qd, &qt), 0);
    CHECK_EQ(dp_conn_qp_destroyed(w.a.conn), 0);
    w.a.qp = NULL;
    must_fail(qt, ECONNRESET);
    world_close(&w);
}

static void impossible_connections_are_refused(void) {
    struct world w;
    struct setup u = world_defaults();
    u.loose = true;
    world_open(&w, u);
    struct dp_conn *c;
    const struct dp_conn_params good = {.engine = w.a.engine,
                                        .device = w.a.device,
                                        .cq = w.a.dpcq,
                                        .qp = w.a.qp,
                                        .send_depth = 8,
                                        .recv_depth = 8,
                                        .local = w.a.limits};
    struct dp_conn_params p = good;
    p.send_depth = 7;
    CHECK_EQ(dp_conn_create(&p, &c), EINVAL);
    p = good;
    p.recv_depth = 7;
    CHECK_EQ(dp_conn_create(&p, &c), EINVAL);
    p = good;
    p.local.ctrl_window = 3;
    CHECK_EQ(dp_conn_create(&p, &c), EINVAL);
    p = good;
    p.local.recv_size = FRAME_HEADER_SIZE;
    CHECK_EQ(dp_conn_create(&p, &c), EINVAL);
    p = good;
    p.cq = w.b.dpcq;
    CHECK_EQ(dp_conn_create(&p, &c), EINVAL);
    p = good;
    p.qp = NULL;
    CHECK_EQ(dp_conn_create(&p, &c), EINVAL);
    CHECK_EQ(dp_conn_create(NULL, &c), EINVAL);
    CHECK_EQ(dp_conn_close(w.a.conn, true), ENOTCONN);
    struct dp_conn_limits l = w.b.limits;
    l.data_window = 0;
    CHECK_EQ(dp_conn_establish(w.a.conn, w.a.qd, &l), EPROTO);
    l = w.b.limits;
    l.recv_size = 16;
    CHECK_EQ(dp_conn_establish(w.a.conn, w.a.qd, &l), EPROTO);
    CHECK_EQ(dp_conn_establish(w.a.conn, 12, &w.b.limits), EBADF);
    CHECK_EQ(dp_conn_establish(w.a.conn, w.b.qd, &w.b.limits), EBADF);
    CHECK_EQ(dp_qd_set_state(w.a.qd, DP_QD_CLOSING), 0);
    CHECK_EQ(dp_conn_establish(w.a.conn, w.a.qd, &w.b.limits), EINVAL);
    world_close(&w);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(a_half_close_ends_one_direction),
        TEST(a_full_close_after_a_half_close_is_acknowledged_too),
        TEST(pushes_in_flight_arrive_before_the_close),
        TEST(both_sides_may_close_at_once),
        TEST(a_peer_that_reads_no_more_ends_pending_pushes),
        TEST(what_arrived_can_be_popped_after_an_orderly_disconnection),
        TEST(a_disconnection_without_fin_is_a_reset_after_what_arrived),
        TEST(a_failure_ends_everything_with_its_errno),
        TEST(what_is_flushed_ends_with_the_reason_that_libos_gives),
        TEST(cancelled_operations_end_with_ecanceled),
        TEST(destroying_a_connection_ends_its_tokens),
        TEST(late_completions_of_a_destroyed_connection_do_no_harm),
        TEST(a_cq_takes_no_more_than_its_budget),
        TEST(a_connection_may_be_established_after_its_queue_pair_has_gone),
        TEST(impossible_connections_are_refused),
    };
    return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
