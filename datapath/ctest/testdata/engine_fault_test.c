/* What breaks connections: the fabric at every point, memory, and peers that lie. */
#include "flow.h"
#include "world.h"

/* What must hold of everything that was under way on a side when its connection broke. */
struct record {
    demi_qtoken_t pushes[40], pops[40];
    int npushes, npops, got, got_end, failed;
};

static void start(struct record *r, struct side *s, int n, uint32_t len, uint64_t stream) {
    memset(r, 0, sizeof(*r));
    for (int i = 0; i < n; i++) {
        r->pushes[r->npushes++] = must_push(s, len, stream, (uint64_t)i);
        r->pops[r->npops++] = must_pop(s);
    }
}

/* Every token has completed; pops in order, whole, then the end or one and the same errno. */
static void finish(struct record *r, struct side *s, uint32_t len, uint64_t stream) {
    int err = 0;
    bool cut = false;
    for (int i = 0; i < r->npushes; i++) {
        demi_qresult_t qr = redeem(r->pushes[i]);
        CHECK(qr.qr_opcode == DEMI_OPC_PUSH || qr.qr_opcode == DEMI_OPC_FAILED);
        CHECK(!cut || qr.qr_opcode == DEMI_OPC_FAILED); /* none after a failed one */
        cut = qr.qr_opcode == DEMI_OPC_FAILED;
    }
    for (int i = 0; i < r->npops; i++) {
        demi_qresult_t qr = redeem(r->pops[i]);
        if (qr.qr_opcode == DEMI_OPC_FAILED) {
            CHECK(qr.qr_ret > 0);
            CHECK(err == 0 || err == qr.qr_ret);
            err = (int)qr.qr_ret;
            r->failed++;
            continue;
        }
        CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
        CHECK_EQ(err, 0);
        demi_sgarray_t sga = qr.qr_value.sga;
        if (sga.sga_segs[0].sgaseg_len == 0) {
            r->got_end++;
        } else {
            CHECK_EQ(r->got_end, 0);
            check_bytes(&sga, len, stream, (uint64_t)r->got++);
        }
        CHECK_EQ(dp_sgafree(s->engine, &sga), 0);
    }
}

/* libos: a notice that it is broken makes it tear the connection down. */
static void attend(struct side *s) {
    side_notices(s);
    if (s->broken == 1) {
        s->broken = 2;
        CHECK_EQ(dp_conn_disconnected(s->conn, 0), 0);
    }
}

static void run_and_attend(struct world *w) {
    for (int i = 0; i < 30; i++) {
        dp_engine_poll(w->a.engine);
        dp_engine_poll(w->b.engine);
        attend(&w->a);
        attend(&w->b);
    }
    world_run(w);
}

/* Both sides push 20 and pop 20; what is fails after n work requests. */
static void break_at(struct setup u, uint32_t n, bool a_side, uint32_t len) {
    struct world w;
    struct record ra, rb;
    world_open(&w, u);
    sim_fault_error_after(a_side ? w.a.qp : w.b.qp, n);
    start(&ra, &w.a, 20, len, 1);
    start(&rb, &w.b, 20, len, 2);
    run_and_attend(&w);
    if (w.a.broken || w.b.broken) {
        /* The CM tells the other side. */
        CHECK_EQ(dp_conn_disconnected(w.a.conn, 0), 0);
        CHECK_EQ(dp_conn_disconnected(w.b.conn, 0), 0);
        world_run(&w);
        if (!u.fabric.no_late_recv_flush)
            CHECK(w.a.flushed == 1 && w.b.flushed == 1);
    }
    for (int i = 0; i < 2; i++) {
        struct side *s = i ? &w.b : &w.a;
        CHECK_EQ(dp_conn_disconnected(s->conn, 0), 0);
        CHECK_EQ(sim_qp_destroy(s->qp), 0);
        s->qp = NULL;
        CHECK_EQ(dp_conn_qp_destroyed(s->conn), 0);
    }
    finish(&ra, &w.a, len, 2);
    finish(&rb, &w.b, len, 1);
    if (!w.a.broken && !w.b.broken)
        CHECK(ra.got == 20 && rb.got == 20);
    world_close(&w);
}

static void a_connection_may_break_at_every_point(void) {
    for (uint32_t n = 0; n < 60; n++) {
        for (int seed = 0; seed < 4; seed++) {
            struct setup u = world_defaults();
            u.fabric.delivery = seed ? SIM_DELIVER_SEEDED : SIM_DELIVER_NOW;
            u.fabric.seed = (uint64_t)seed * 100 + n;
            u.fabric.retry_polls = 10;
            u.fabric.no_late_recv_flush = seed == 2;
            u.fabric.purge_cq_on_destroy = seed == 3;
            break_at(u, n, seed & 1, seed < 2 ? 64 : 700);
        }
    }
}

/* A push after the peer's close, when libos has given the end of the connection a reason. */
static int64_t push_after_the_end(uint64_t seed, int err) {
    struct setup u = world_defaults();
    struct ibv_qp_attr dead = {.qp_state = IBV_QPS_ERR};
    struct world w;

    u.fabric.delivery = SIM_DELIVER_SEEDED;
    u.fabric.seed = seed;
    world_open(&w, u);
    CHECK_EQ(dp_conn_close(w.b.conn, true), 0);
    while (w.a.fin == 0) { /* not to rest: what answers the FIN is under way */
        dp_engine_poll(w.b.engine);
        dp_engine_poll(w.a.engine);
        side_notices(&w.a);
    }
    must_fail(must_push(&w.a, 64, 1, 0), EPIPE);
    CHECK_EQ(sim_slow_ops()->modify_qp(w.a.qp, &dead, IBV_QP_STATE), 0);
    while (w.a.broken == 0) {
        dp_engine_poll(w.a.engine);
        side_notices(&w.a);
    }
    CHECK_EQ(w.a.broken_err, ECONNRESET);
    CHECK_EQ(dp_conn_disconnected(w.a.conn, err), 0);
    world_run(&w);
    demi_qresult_t qr = redeem(must_push(&w.a, 64, 1, 1));
    CHECK_EQ(qr.qr_opcode, DEMI_OPC_FAILED);
    world_close(&w);
    return qr.qr_ret;
}

/* libos repeats what it was told when the queue pair failed, or knows more than the engine. */
static void an_orderly_end_stays_one_unless_libos_knows_more(void) {
    int gone = 0;

    for (uint64_t seed = 0; seed < 20; seed++) {
        CHECK_EQ(push_after_the_end(seed, ECONNRESET), EPIPE);
        gone += push_after_the_end(seed, ENODEV) == ENODEV; /* unless it had ended before */
    }
    CHECK(gone > 0);
}

static void a_dead_peer_fails_everything_with_etimedout(void) {
    struct world w;
    struct record ra;
    world_open(&w, world_defaults());
    sim_fault_cut(w.b.qp, true);
    start(&ra, &w.a, 6, 700, 1);
    world_run(&w);
    CHECK_EQ(w.a.broken, 0);
    sim_fault_retry_exceeded(w.a.qp);
    run_and_attend(&w);
    CHECK_EQ(w.a.broken, 2);
    CHECK_EQ(w.a.broken_err, ETIMEDOUT);
    CHECK_EQ(w.a.flushed, 1);
    for (int i = 0; i < 6; i++) {
        must_fail(ra.pushes[i], ETIMEDOUT);
        must_fail(ra.pops[i], ETIMEDOUT);
    }
    must_fail(must_push(&w.a, 64, 1, 9), ETIMEDOUT);
    must_fail(must_pop(&w.a), ETIMEDOUT);
    world_close(&w);
}

static void an_error_completion_names_its_errno(void) {
    const struct {
        enum ibv_wc_status status;
        int err;
    } rows[] = {{IBV_WC_LOC_PROT_ERR, EIO},
                {IBV_WC_RETRY_EXC_ERR, ETIMEDOUT},
                {IBV_WC_RNR_RETRY_EXC_ERR, ETIMEDOUT},
                {IBV_WC_REM_ACCESS_ERR, ECONNRESET},
                {IBV_WC_REM_OP_ERR, ECONNRESET},
                {IBV_WC_FATAL_ERR, EIO}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct world w;
        world_open(&w, world_defaults());
        sim_fault_completion(w.a.qp, 1, rows[i].status);
        demi_qtoken_t qt = must_push(&w.a, 700, 1, 0);
        run_and_attend(&w);
        CHECK_EQ(w.a.broken_err, rows[i].err);
        must_fail(qt, rows[i].err);
        world_close(&w);
    }
}

static void a_refused_post_breaks_one_connection_only(void) {
    for (int call = SIM_CALL_POST_SEND; call <= SIM_CALL_POST_RECV; call++) {
        for (uint32_t nth = 1; nth < 6; nth++) {
            struct world w;
            struct record ra, rb;
            world_open(&w, world_defaults());
            sim_fault_call(w.a.ctx, (enum sim_call)call, nth, 1, ENOMEM);
            start(&ra, &w.a, 20, 64, 1);
            start(&rb, &w.b, 20, 64, 2);
            run_and_attend(&w);
            if (w.a.broken)
                CHECK_EQ(w.a.broken_err, ENOMEM);
            CHECK_EQ(dp_conn_disconnected(w.b.conn, 0), 0);
            CHECK_EQ(dp_conn_disconnected(w.a.conn, 0), 0);
            world_run(&w);
            finish(&ra, &w.a, 64, 2);
            finish(&rb, &w.b, 64, 1);
            world_close(&w);
        }
    }
}

static void a_connection_that_cannot_be_made_leaves_nothing(void) {
    struct world w;
    world_open(&w, world_defaults());
    struct dp_conn_params p = {.engine = w.a.engine,
                               .device = w.a.device,
                               .cq = w.a.dpcq,
                               .send_depth = 32,
                               .recv_depth = 8,
                               .max_inline = 128,
                               .local = w.a.limits};
    struct ibv_qp_init_attr attr = {
        .send_cq = w.a.cq,
        .recv_cq = w.a.cq,
        .qp_type = IBV_QPT_RC,
        .cap = {.max_send_wr = 32, .max_recv_wr = 8, .max_send_sge = 2, .max_recv_sge = 1}};
    struct dp_census before, after;
    struct dp_conn *c;
    CHECK_EQ(sim_qp_create(w.a.pd, &attr, &p.qp), 0);
    CHECK_EQ(sim_qp_init(p.qp), 0);
    dp_census(&before);
    sim_fault_call(w.a.ctx, SIM_CALL_POST_RECV, 1, 1, ENOMEM);
    CHECK_EQ(dp_conn_create(&p, &c), ENOMEM);
    dp_census(&after);
    CHECK_EQ(after.blocks, before.blocks);
    CHECK_EQ(after.conns, before.conns);
    CHECK(dp_cq_find(w.a.engine, w.a.device, 255 - 40, false) == w.a.dpcq);
    CHECK_EQ(dp_conn_create(&p, &c), 0);
    CHECK_EQ(dp_conn_fail(c, ECONNREFUSED), 0);
    CHECK_EQ(sim_qp_destroy(p.qp), 0);
    CHECK_EQ(dp_conn_destroy(c), 0);
    /* No memory may be locked: a second chunk would have to be registered. */
    world_close(&w);
}

static void a_lack_of_memory_for_receives_is_only_a_pause(void) {
    struct world w;
    struct setup u = world_defaults();
    u.recv_size = 300 << 10; /* few fit in a chunk */
    u.engine.max_arena_mem = 0;
    world_open(&w, u);
    arena_configure(8 << 20, 0);
    demi_sgarray_t hoard[200];
    int n = 0;
    while (n < 200 && (hoard[n] = dp_sgaalloc(w.b.engine, 300 << 10)).sga_numsegs)
        n++;
    CHECK(n > 0 && n < 200);
    demi_sgarray_t held[40];
    uint64_t got = 0;
    /* b keeps what it pops, too: its receives find no memory. */
    for (uint64_t i = 0; i < 12; i++) {
        demi_sgarray_t small = dp_sgaalloc(w.a.engine, 64);
        CHECK_EQ(small.sga_numsegs, 1);
        fill(small.sga_segs[0].sgaseg_buf, 64, 1, i);
        demi_qtoken_t qt;
        CHECK_EQ(dp_push(w.a.qd, &small, &qt), 0);
        CHECK_EQ(dp_sgafree(w.a.engine, &small), 0);
    }
    demi_qtoken_t pops[12];
    for (int i = 0; i < 12; i++)
        pops[i] = must_pop(&w.b);
    world_run(&w);
    for (int i = 0; i < 12 && is_done(pops[i]); i++) {
        held[got] = redeem(pops[i]).qr_value.sga;
        check_bytes(&held[got], 64, 1, got);
        got++;
    }
    CHECK(got < 12);
    CHECK_EQ(w.b.broken, 0);
    CHECK_EQ(w.b.housekeeper, 0);
    while (n)
        CHECK_EQ(dp_sgafree(w.b.engine, &hoard[--n]), 0);
    side_notices(&w.b); /* it shall look again, though nothing completes */
    CHECK_EQ(w.b.housekeeper, 1);
    CHECK_EQ(dp_engine_arm(w.b.engine), 0);
    for (uint64_t i = 0; i < got; i++)
        CHECK_EQ(dp_sgafree(w.b.engine, &held[i]), 0);
    world_run(&w);
    for (; got < 12; got++)
        must_get(&w.b, pops[got], 64, 1, got);
    arena_configure(0, ARENA_DEFAULT_KEEP);
    world_close(&w);
}

/* ---- A peer that does not keep to the protocol ------------------------------------------------
 */

/* Sends bytes to the engine of a through the bare queue pair of b, whose engine is idle. */
static void raw_send(struct world *w, const void *bytes, uint32_t len) {
    struct ibv_sge sge = {.addr = (uintptr_t)bytes, .length = len};
    struct ibv_send_wr *bad, wr = {.wr_id = 7,
                                   .sg_list = &sge,
                                   .num_sge = 1,
                                   .opcode = IBV_WR_SEND,
                                   .send_flags = IBV_SEND_INLINE};
    CHECK_EQ(ibv_post_send(w->b.qp, &wr, &bad), 0);
}

static void raw_frame(struct world *w, struct frame h, uint32_t payload) {
    uint8_t bytes[512];
    frame_encode(&h, bytes);
    memset(bytes + FRAME_HEADER_SIZE, 'x', payload);
    raw_send(w, bytes, FRAME_HEADER_SIZE + payload);
}

static void garbage_breaks_its_connection_and_nothing_else(void) {
    const struct frame data = {.type = FRAME_DATA, .length = 8};
    struct frame frames[16];
    uint32_t payload[16], n = 0;
#define BAD(pay, ...)                                                                              \
    do {                                                                                           \
        frames[n] = (struct frame){__VA_ARGS__};                                                   \
        payload[n++] = pay;                                                                        \
    } while (0)
    BAD(0, .type = 0);
    BAD(0, .type = 200);
    BAD(8, .type = FRAME_DATA, .length = 9);
    BAD(0, .type = FRAME_DATA);
    BAD(8, .type = FRAME_DATA, .length = 8, .flags = 4);
    BAD(0, .type = FRAME_CREDIT, .arg = FLOW_WINDOW_MAX);
    BAD(0, .type = FRAME_CREDIT, .flags = FRAME_F_WAITED);
    BAD(8, .type = FRAME_DATA, .length = 8, .seq = 5);
    BAD(8, .type = FRAME_DATA, .length = 8, .data_returned = 1); /* we sent none */
    BAD(8, .type = FRAME_DATA, .length = 8, .ctrl_returned = 65535);
    BAD(0, .type = FRAME_FIN_ACK); /* we sent no FIN */
    BAD(0, .type = FRAME_PONG, .arg = 3);
    BAD(0, .type = FRAME_DONE);
    BAD(0, .type = FRAME_RESET);
    BAD(24, .type = FRAME_RTS, .length = 24);
    BAD(0, .type = FRAME_CREDIT, .arg = UINT32_MAX);
    for (uint32_t i = 0; i <= n; i++) {
        struct world w;
        world_open(&w, world_defaults());
        /* Another connection of the same engines and CQs. */
        struct side a2 = w.a, b2 = w.b;
        side_make_conn(&a2);
        side_make_conn(&b2);
        CHECK_EQ(sim_qp_connect(a2.qp, b2.qp), 0);
        CHECK_EQ(dp_conn_establish(a2.conn, a2.qd, &b2.limits), 0);
        CHECK_EQ(dp_conn_establish(b2.conn, b2.qd, &a2.limits), 0);
        demi_qtoken_t pops[2] = {must_pop(&w.a), must_pop(&w.a)};
        demi_qtoken_t other = must_pop(&a2);
        struct frame second = i < n ? frames[i] : data;
        raw_frame(&w, data, 8);
        second.seq = (uint16_t)(second.seq + 1);
        if (i < n)
            raw_frame(&w, second, payload[i]);
        else
            raw_send(&w, "short", 5);
        dp_engine_poll(w.a.engine);
        side_notices(&w.a);
        CHECK_EQ(w.a.broken, 1);
        CHECK_EQ(w.a.broken_err, EPROTO);
        CHECK_EQ(dp_conn_disconnected(w.a.conn, 0), 0);
        world_run(&w);
        CHECK_EQ(w.a.flushed, 1);
        demi_qresult_t qr = redeem(pops[0]); /* what came before was good */
        CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
        demi_sgarray_t sga = qr.qr_value.sga;
        CHECK_EQ(dp_sgafree(w.a.engine, &sga), 0);
        must_fail(pops[1], EPROTO);
        must_fail(must_push(&w.a, 64, 1, 0), EPROTO);
        must_succeed(must_push(&b2, 64, 2, 0), DEMI_OPC_PUSH);
        world_run(&w);
        must_get(&a2, other, 64, 2, 0);
        side_destroy_conn(&a2);
        side_destroy_conn(&b2);
        world_close(&w);
    }
}

static void more_messages_than_credits_break_the_connection(void) {
    struct world w;
    struct setup u = world_defaults();
    u.may_leak_rnr = true;
    world_open(&w, u);
    /* The window is 4; control receives are there to be stolen. */
    for (uint16_t i = 0; i < 5; i++)
        raw_frame(&w, (struct frame){.type = FRAME_DATA, .length = 8, .seq = i}, 8);
    dp_engine_poll(w.a.engine);
    side_notices(&w.a);
    CHECK_EQ(w.a.broken_err, EPROTO);
    world_close(&w);
}

static void random_bytes_never_do_more_than_break_the_connection(void) {
    unsigned long long x = 12345;
    for (int round = 0; round < 300; round++) {
        struct world w;
        struct setup u = world_defaults();
        u.may_leak_rnr = true;
        world_open(&w, u);
        demi_qtoken_t pop = must_pop(&w.a), qt = must_push(&w.a, 700, 1, 0);
        (void)pop;
        (void)qt;
        uint16_t seq = 0;
        for (int i = 0; i < 8; i++) {
            uint8_t bytes[128];
            uint32_t len = (uint32_t)(test_random(&x) % 100);
            for (uint32_t k = 0; k < sizeof(bytes); k++)
                bytes[k] = (uint8_t)(test_random(&x) >> 30);
            /* Half of them look like frames. */
            if (test_random(&x) & 1 && len >= FRAME_HEADER_SIZE) {
                struct frame h = {.type = (uint8_t)(1 + test_random(&x) % 9),
                                  .flags = (uint8_t)(test_random(&x) % 4),
                                  .data_returned = (uint16_t)(test_random(&x) % 2),
                                  .seq = seq++,
                                  .length = len - FRAME_HEADER_SIZE};
                if (h.type != FRAME_DATA && test_random(&x) & 1)
                    h.length = 0, len = FRAME_HEADER_SIZE;
                frame_encode(&h, bytes);
            }
            raw_send(&w, bytes, len);
            dp_engine_poll(w.a.engine);
        }
        world_close(&w);
    }
}

static void an_aborted_engine_fails_everything_with_its_errno(void) {
    for (int broken = 0; broken < 2; broken++) {
        struct world w;
        struct setup u = world_defaults();
        demi_qtoken_t connecting, closing, refused, pushes[8], pops[2];
        world_open(&w, u);
        if (broken) /* nothing comes back any more */
            sim_fault_cut(w.b.qp, true);
        CHECK_EQ(dp_token_alloc(w.a.engine, w.a.qd, DEMI_OPC_CONNECT, &connecting), 0);
        CHECK_EQ(dp_token_alloc(w.a.engine, w.a.qd, DEMI_OPC_CLOSE, &closing), 0);
        for (int i = 0; i < 2; i++)
            pops[i] = must_pop(&w.a);
        for (int i = 0; i < 8; i++)
            pushes[i] = must_push(&w.a, 700, 1, (uint64_t)i);

        dp_engine_abort(w.a.engine, EIO);
        CHECK_EQ(redeem(connecting).qr_ret, EIO);
        CHECK_EQ(redeem(closing).qr_ret, EIO);
        for (int i = 0; i < 2; i++)
            CHECK_EQ(redeem(pops[i]).qr_ret, EIO);
        world_run(&w);
        for (int i = 0; i < 8; i++) {
            demi_qresult_t qr = redeem(pushes[i]);
            if (qr.qr_opcode == DEMI_OPC_FAILED)
                CHECK_EQ(qr.qr_ret, EIO);
            else
                CHECK(qr.qr_opcode == DEMI_OPC_PUSH && i < 4 && !broken); /* sent before */
        }
        CHECK_EQ(dp_token_alloc(w.a.engine, w.a.qd, DEMI_OPC_ACCEPT, &refused), EIO);
        CHECK_EQ(redeem(must_push(&w.a, 64, 1, 9)).qr_ret, EIO);
        CHECK_EQ(redeem(must_pop(&w.a)).qr_ret, EIO);
        dp_engine_abort(w.a.engine, EPROTO); /* once is for good */
        CHECK_EQ(dp_token_alloc(w.a.engine, w.a.qd, DEMI_OPC_ACCEPT, &refused), EIO);
        world_close(&w);
    }
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(a_connection_may_break_at_every_point),
        TEST(an_orderly_end_stays_one_unless_libos_knows_more),
        TEST(a_dead_peer_fails_everything_with_etimedout),
        TEST(an_error_completion_names_its_errno),
        TEST(a_refused_post_breaks_one_connection_only),
        TEST(a_connection_that_cannot_be_made_leaves_nothing),
        TEST(a_lack_of_memory_for_receives_is_only_a_pause),
        TEST(garbage_breaks_its_connection_and_nothing_else),
        TEST(more_messages_than_credits_break_the_connection),
        TEST(an_aborted_engine_fails_everything_with_its_errno),
        TEST(random_bytes_never_do_more_than_break_the_connection),
    };
    return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
