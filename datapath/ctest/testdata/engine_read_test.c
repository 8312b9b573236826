/* How large messages are fetched: READs, keys, memory and budgets. */
#include "world.h"

static struct setup large_defaults(void) {
    struct setup u = world_defaults();
    u.max_message = UINT64_C(64) << 20;
    return u;
}

/* ---- READs, as they pass from the engine to the provider ---------------------------------------
 */

static int (*real_post_send)(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad);
static struct ibv_qp *reader;
static uint32_t reads_posted, reads_back, most_reads;
static uint64_t read_addr, read_to;
static uint32_t read_rkey, read_lkey;

static int counting_post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad) {
    for (struct ibv_send_wr *x = wr; qp == reader && x; x = x->next) {
        if (x->opcode != IBV_WR_RDMA_READ)
            continue;
        read_addr = x->wr.rdma.remote_addr;
        read_rkey = x->wr.rdma.rkey;
        read_to = x->sg_list[0].addr;
        read_lkey = x->sg_list[0].lkey;
        reads_posted++;
    }
    if (reads_posted - reads_back > most_reads)
        most_reads = reads_posted - reads_back;
    return real_post_send(qp, wr, bad);
}

static int (*real_poll)(struct ibv_cq *cq, int n, struct ibv_wc *wc);

static int counting_poll(struct ibv_cq *cq, int n, struct ibv_wc *wc) {
    int got = real_poll(cq, n, wc);
    for (int i = 0; i < got; i++)
        if (reader && wc[i].qp_num == reader->qp_num && wc[i].opcode == IBV_WC_RDMA_READ)
            reads_back++;
    return got;
}

static void spy_on(struct side *s) {
    real_post_send = s->ctx->ops.post_send;
    real_poll = s->ctx->ops.poll_cq;
    s->ctx->ops.post_send = counting_post_send;
    s->ctx->ops.poll_cq = counting_poll;
    reader = s->qp;
    reads_posted = reads_back = most_reads = 0;
}

static void reads_are_no_longer_than_the_port_takes(void) {
    const uint32_t limits[] = {1024, 4096, 65536, 100000};
    for (uint32_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        struct world w;
        struct setup u = large_defaults();
        const uint32_t len = (2u << 20) + 77;
        u.device.max_msg_sz = limits[i];
        u.reads = 3;
        world_open(&w, u);
        spy_on(&w.b);
        demi_qtoken_t out = must_push(&w.a, len, 1, 0), in = must_pop(&w.b);
        world_run(&w);
        must_get(&w.b, in, len, 1, 0);
        must_succeed(out, DEMI_OPC_PUSH);
        CHECK_EQ(reads_posted, (len + limits[i] - 1) / limits[i]);
        CHECK_EQ(w.a.broken + w.b.broken, 0);
        reader = NULL;
        world_close(&w);
    }
}

static void no_more_reads_are_under_way_than_was_agreed_on(void) {
    for (uint32_t depth = 1; depth <= 4; depth++) {
        struct world w;
        struct setup u = large_defaults();
        u.reads = depth;
        u.fabric.delivery = SIM_DELIVER_SEEDED;
        u.fabric.seed = depth;
        world_open(&w, u);
        spy_on(&w.b);
        demi_qtoken_t out[3], in[3];
        for (uint64_t i = 0; i < 3; i++) {
            out[i] = must_push(&w.a, 3u << 20, 1, i);
            in[i] = must_pop(&w.b);
        }
        world_run(&w);
        for (uint64_t i = 0; i < 3; i++) {
            must_get(&w.b, in[i], 3u << 20, 1, i);
            must_succeed(out[i], DEMI_OPC_PUSH);
        }
        CHECK_EQ(reads_posted, 9);
        CHECK_EQ(most_reads, depth);
        reader = NULL;
        world_close(&w);
    }
}

static void a_large_message_is_copied_on_neither_side(void) {
    struct world w;
    world_open(&w, large_defaults());
    spy_on(&w.b);
    demi_sgarray_t sga = dp_sgaalloc(w.a.engine, 500000);
    CHECK(sga.sga_buf != NULL);
    memset(sga.sga_segs[0].sgaseg_buf, 7, 500000);
    demi_qtoken_t out;
    CHECK_EQ(dp_push(w.a.qd, &sga, &out), 0);
    demi_qtoken_t in = must_pop(&w.b);
    world_run(&w);
    demi_qresult_t qr = redeem(in);
    CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
    demi_sgarray_t got = qr.qr_value.sga;
    CHECK_EQ(reads_posted, 1);
    CHECK_EQ(read_addr, (uintptr_t)sga.sga_segs[0].sgaseg_buf); /* from where it was pushed, */
    CHECK_EQ(read_to, (uintptr_t)got.sga_segs[0].sgaseg_buf);   /* to where it is popped */
    CHECK_EQ(dp_sgafree(w.b.engine, &got), 0);
    CHECK_EQ(dp_sgafree(w.a.engine, &sga), 0);
    must_succeed(out, DEMI_OPC_PUSH);
    reader = NULL;
    world_close(&w);
}

/*
 * What becomes of a READ or WRITE of 16 bytes that s's engine knows nothing of. The buffer may be
 * written by the peer, as iWARP wants it.
 */
static enum ibv_wc_status behind_its_back(struct side *s, enum ibv_wr_opcode op, uint64_t addr,
                                          uint32_t rkey) {
    static uint8_t buffer[16];
    struct ibv_mr *mr;
    CHECK_EQ(sim_slow_ops()->reg_mr(s->pd, buffer, sizeof(buffer),
                                    IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE, &mr),
             0);
    struct ibv_sge sge = {.addr = (uintptr_t)buffer, .length = sizeof(buffer), .lkey = mr->lkey};
    struct ibv_send_wr *bad, wr = {.wr_id = UINT64_MAX,
                                   .sg_list = &sge,
                                   .num_sge = 1,
                                   .opcode = op,
                                   .send_flags = IBV_SEND_SIGNALED,
                                   .wr.rdma = {addr, rkey}};
    CHECK_EQ(ibv_post_send(s->qp, &wr, &bad), 0);
    struct ibv_wc wc;
    do
        CHECK_EQ(ibv_poll_cq(s->cq, 1, &wc), 1);
    while (wc.wr_id != UINT64_MAX);
    CHECK_EQ(sim_slow_ops()->dereg_mr(mr), 0);
    return wc.status;
}

static void a_key_is_good_for_one_message_only(void) {
    struct world w;
    world_open(&w, large_defaults());
    spy_on(&w.b);
    uint32_t keys[50];
    for (uint64_t i = 0; i < 50; i++) {
        demi_qtoken_t out = must_push(&w.a, 300000, 1, i), in = must_pop(&w.b);
        world_run(&w);
        must_get(&w.b, in, 300000, 1, i);
        must_succeed(out, DEMI_OPC_PUSH);
        keys[i] = read_rkey;
        for (uint64_t k = 0; k < i; k++)
            CHECK(keys[k] != keys[i]);
    }
    /* Its receiver cannot read the same bytes once more. */
    CHECK_EQ(behind_its_back(&w.b, IBV_WR_RDMA_READ, read_addr, read_rkey), IBV_WC_REM_ACCESS_ERR);
    reader = NULL;
    world_close(&w);
}

/* On iWARP the answer to a READ is a tagged write, which the peer may be about to misuse. */
static void the_peer_may_write_into_a_message_only_while_it_is_read_on_iwarp(void) {
    enum { LENGTH = 300000 };
    static const struct {
        bool iwarp, reading;
        uint32_t offset;
        enum ibv_wc_status want;
    } cases[] = {
        {true, true, LENGTH - 16, IBV_WC_SUCCESS},
        {true, true, LENGTH - 15, IBV_WC_REM_ACCESS_ERR}, /* a byte beyond */
        {true, false, 0, IBV_WC_REM_ACCESS_ERR},
        {false, true, 0, IBV_WC_REM_ACCESS_ERR},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct world w;
        struct setup u = large_defaults();
        u.device.iwarp = cases[i].iwarp;
        world_open(&w, u);
        spy_on(&w.b);
        if (cases[i].reading)
            sim_fault_reads(w.b.qp, 0);
        demi_qtoken_t out = must_push(&w.a, LENGTH, 1, i), in = must_pop(&w.b);
        world_run(&w);
        CHECK(is_done(in) != cases[i].reading);
        CHECK_EQ(behind_its_back(&w.a, IBV_WR_RDMA_WRITE, read_to + cases[i].offset, read_lkey),
                 cases[i].want);
        if (!cases[i].reading) { /* of the message it has changed nothing */
            must_get(&w.b, in, LENGTH, 1, i);
            must_succeed(out, DEMI_OPC_PUSH);
        }
        reader = NULL;
        world_close(&w);
    }
}

/* ---- Budgets ------------------------------------------------------------------------------------
 */

/* Another connection of the same two engines. */
static void connect_more(struct world *w, struct side *a, struct side *b) {
    *a = w->a;
    *b = w->b;
    side_make_conn(a);
    side_make_conn(b);
    CHECK_EQ(sim_qp_connect(a->qp, b->qp), 0);
    CHECK_EQ(dp_conn_establish(a->conn, a->qd, &b->limits), 0);
    CHECK_EQ(dp_conn_establish(b->conn, b->qd, &a->limits), 0);
}

static void take(struct world *w, struct side *s, uint32_t len, uint64_t stream, uint64_t i) {
    demi_qtoken_t in = must_pop(s);
    world_run(w);
    must_get(s, in, len, stream, i);
}

static void all_connections_of_an_engine_share_a_budget(void) {
    enum { N = 17 }; /* of 4 MiB each, one more than 64 MiB hold */
    static struct side a[N], b[N];
    struct world w;
    struct setup u = large_defaults();
    u.cq_depth = 2000;
    world_open(&w, u);
    demi_qtoken_t out[N];
    int fetched = 0;
    for (uint64_t i = 0; i < N; i++) {
        connect_more(&w, &a[i], &b[i]);
        out[i] = must_push(&a[i], 4u << 20, i, 0);
    }
    world_run(&w);
    for (int i = 0; i < N; i++)
        fetched += is_done(out[i]);
    CHECK_EQ(fetched, N - 1);
    CHECK(!is_done(out[N - 1]));
    /* What is popped makes room for whoever waits for it, */
    take(&w, &b[3], 4u << 20, 3, 0);
    CHECK(is_done(out[N - 1]));
    demi_qtoken_t more = must_push(&a[3], 4u << 20, 3, 1);
    world_run(&w);
    CHECK(!is_done(more));
    /* and a pop needs none. */
    take(&w, &b[3], 4u << 20, 3, 1);
    must_succeed(more, DEMI_OPC_PUSH);
    for (uint64_t i = 0; i < N; i++) {
        if (i != 3)
            take(&w, &b[i], 4u << 20, i, 0);
        must_succeed(out[i], DEMI_OPC_PUSH);
        side_destroy_conn(&a[i]);
        side_destroy_conn(&b[i]);
    }
    world_close(&w);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(reads_are_no_longer_than_the_port_takes),
        TEST(no_more_reads_are_under_way_than_was_agreed_on),
        TEST(a_large_message_is_copied_on_neither_side),
        TEST(a_key_is_good_for_one_message_only),
        TEST(the_peer_may_write_into_a_message_only_while_it_is_read_on_iwarp),
        TEST(all_connections_of_an_engine_share_a_budget),
    };
    return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
