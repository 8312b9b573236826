/*
 * Receives in lists: those that messages have left are chained with other blocks, and posted by one
 * call, two of a window of four. What becomes of a chain when that call is refused, when the
 * connection ends before it, and of receives that complete out of their order.
 */
#include "stream.h"

#include "arena.h"
#include "internal.h"

/* ---- A provider that posts the first few receives only -------------------------------------- */

static int (*real_post_recv)(struct ibv_qp *qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad);
static uint32_t most; /* receives of a list that are posted, if refusing */
static bool refusing;

static int post_some(struct ibv_qp *qp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad) {
    if (!refusing)
        return real_post_recv(qp, wr, bad);
    refusing = false;
    for (uint32_t i = 0; i < most; i++) {
        struct ibv_recv_wr one = *wr;
        one.next = NULL;
        CHECK_EQ(real_post_recv(qp, &one, bad), 0);
        wr = wr->next;
        CHECK(wr != NULL);
    }
    *bad = wr;
    return ENOSPC;
}

static void spy(struct side *s) {
    real_post_recv = s->ctx->ops.post_recv;
    s->ctx->ops.post_recv = post_some;
}

static uint64_t blocks(void) {
    struct dp_census c;
    dp_census(&c);
    return c.blocks;
}

static uint32_t posted(const struct side *s) {
    struct sim_qp_stats q;
    sim_qp_stats(s->qp, &q);
    return q.recv_queued;
}

/* ---- Tests ------------------------------------------------------------------------------------
 */

static void two_receives_take_one_call(void) {
    struct world w;
    world_open(&w, world_defaults());
    struct dp_conn_stats before = side_stats(&w.b);
    for (uint64_t i = 0; i < 100; i++) {
        one_message(&w.a, &w.b, i);
        one_message(&w.b, &w.a, i);
    }
    struct dp_conn_stats after = side_stats(&w.b);
    CHECK_EQ(after.post_recvs - before.post_recvs, 50);
    CHECK_EQ(after.credits_out, 0);
    world_close(&w);
}

/* A window of three is too small for it: each receive goes back by itself. */
static void a_smaller_window_waits_for_none(void) {
    struct world w;
    struct setup u = world_defaults();
    u.data_window = 3;
    world_open(&w, u);
    struct dp_conn_stats before = side_stats(&w.b);
    for (uint64_t i = 0; i < 100; i++) {
        one_message(&w.a, &w.b, i);
        CHECK_EQ(posted(&w.b), 3 + 4);
        one_message(&w.b, &w.a, i);
    }
    CHECK_EQ(side_stats(&w.b).post_recvs - before.post_recvs, 100);
    world_close(&w);
}

/* Whichever way the message came: nobody else can take the memory of a receive in between. */
static void a_receive_that_waits_for_another_has_its_memory(void) {
    struct world w;
    world_open(&w, world_defaults());
    uint64_t idle = blocks();
    one_message(&w.a, &w.b, 0); /* finds its pop waiting */
    CHECK_EQ(posted(&w.b), 3 + 4);
    CHECK_EQ(blocks(), idle);
    one_message(&w.a, &w.b, 1);
    CHECK_EQ(posted(&w.b), 4 + 4);
    demi_qtoken_t push = must_push(&w.a, 64, 1, 2); /* comes before its pop */
    world_run(&w);
    must_get(&w.b, must_pop(&w.b), 64, 1, 2);
    must_succeed(push, DEMI_OPC_PUSH);
    CHECK_EQ(posted(&w.b), 3 + 4);
    CHECK_EQ(blocks(), idle);
    world_close(&w);
}

static void the_end_of_a_connection_frees_a_chain(void) {
    for (int how = 0; how < 3; how++) {
        struct world w;
        world_open(&w, world_defaults());
        one_message(&w.a, &w.b, 0);
        CHECK_EQ(posted(&w.b), 3 + 4);
        if (how == 1) {
            CHECK_EQ(dp_conn_disconnected(w.b.conn, 0), 0);
            world_run(&w);
        } else if (how == 2) {
            CHECK_EQ(dp_conn_close(w.b.conn, true), 0);
            CHECK_EQ(dp_conn_close(w.a.conn, true), 0);
            world_run(&w);
            CHECK(w.a.drained && w.b.drained);
        }
        world_close(&w); /* counts what is left */
    }
}

/* The messages that had come are the application's; the connection breaks, and all else ends. */
static void a_refused_list_breaks_the_connection(void) {
    for (most = 0; most < 2; most++) {
        for (int quick = 0; quick < 2; quick++) {
            struct world w;
            world_open(&w, world_defaults());
            spy(&w.b);
            one_message(&w.a, &w.b, 0);
            refusing = true;
            if (quick) {
                one_message(&w.a, &w.b, 1);
            } else {
                demi_qtoken_t push = must_push(&w.a, 64, 1, 1);
                world_run(&w);
                must_get(&w.b, must_pop(&w.b), 64, 1, 1);
                must_succeed(push, DEMI_OPC_PUSH);
            }
            CHECK(!refusing);
            world_run(&w);
            CHECK_EQ(w.b.broken, 1);
            CHECK_EQ(w.b.broken_err, ENOSPC);
            CHECK_EQ(dp_conn_disconnected(w.b.conn, 0), 0);
            CHECK_EQ(dp_conn_disconnected(w.a.conn, 0), 0);
            world_run(&w);
            CHECK(w.b.flushed && w.a.flushed);
            must_fail(must_pop(&w.b), ENOSPC);
            w.b.ctx->ops.post_recv = real_post_recv;
            world_close(&w);
        }
    }
}

/* A caller who always gets a message by his first poll polls no other CQ: lists of receives do. */
static void another_cq_has_its_turn_while_one_is_busy(void) {
    struct world w;
    world_open(&w, world_defaults());
    struct side a = w.a, b = w.b;
    uint32_t depth = w.setup.cq_depth;
    CHECK_EQ(sim_cq_create(b.ctx, (int)depth, NULL, b.channel, &b.cq), 0);
    CHECK_EQ(dp_cq_add(b.engine, b.device, b.cq, b.channel, depth, &b.dpcq), 0);
    side_make_conn(&a);
    side_make_conn(&b);
    CHECK_EQ(sim_qp_connect(a.qp, b.qp), 0);
    CHECK_EQ(dp_conn_establish(a.conn, a.qd, &b.limits), 0);
    CHECK_EQ(dp_conn_establish(b.conn, b.qd, &a.limits), 0);

    demi_qtoken_t pop = must_pop(&b), push = must_push(&a, 64, 7, 0);
    demi_qresult_t qr;
    CHECK_EQ(dp_wait(push, &qr, NULL), 0);
    for (uint64_t n = 0; n < 2 * DP_TURN; n++) {
        one_message(&w.a, &w.b, n);
        one_message(&w.b, &w.a, n);
    }
    must_get(&b, pop, 64, 7, 0);
    side_destroy_conn(&a);
    side_destroy_conn(&b);
    CHECK_EQ(dp_cq_remove(b.dpcq), 0);
    CHECK_EQ(sim_cq_destroy(b.cq), 0);
    world_close(&w);
}

/* ---- A provider that reports what it flushes last first ------------------------------------- */

static int (*real_poll_cq)(struct ibv_cq *cq, int n, struct ibv_wc *wc);
static int turned; /* completions that came otherwise than in order */

static int poll_backwards(struct ibv_cq *cq, int n, struct ibv_wc *wc) {
    int got = real_poll_cq(cq, n, wc);
    for (int i = 0, j = got - 1; i < j; i++, j--) {
        struct ibv_wc other = wc[i];
        wc[i] = wc[j];
        wc[j] = other;
        turned += 2;
    }
    return got;
}

/* No provider should; but nothing may be lost or freed twice. */
static void receives_may_be_flushed_in_any_order(void) {
    for (int chained = 0; chained < 2; chained++) {
        struct world w;
        world_open(&w, world_defaults());
        for (int i = 0; i < chained; i++)
            one_message(&w.a, &w.b, (uint64_t)i);
        real_poll_cq = w.b.ctx->ops.poll_cq;
        w.b.ctx->ops.poll_cq = poll_backwards;
        turned = 0;
        CHECK_EQ(dp_conn_disconnected(w.b.conn, 0), 0);
        world_run(&w);
        CHECK(turned >= 6);
        CHECK(w.b.flushed);
        w.b.ctx->ops.poll_cq = real_poll_cq;
        world_close(&w); /* counts what is left */
    }
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(two_receives_take_one_call),
        TEST(a_smaller_window_waits_for_none),
        TEST(a_receive_that_waits_for_another_has_its_memory),
        TEST(the_end_of_a_connection_frees_a_chain),
        TEST(a_refused_list_breaks_the_connection),
        TEST(another_cq_has_its_turn_while_one_is_busy),
        TEST(receives_may_be_flushed_in_any_order),
    };
    return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
