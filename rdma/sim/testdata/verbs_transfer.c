/* RC semantics, one rule a test, in immediate delivery: sends, receives, RDMA and their order. */
#include <errno.h>

#include "verbs.h"

static void send_reaches_receive(void) {
    struct pair *p = pair_new(NULL);
    struct ibv_wc wc;

    memcpy(p->a.buf, "cat", 4);
    CHECK_EQ(post_recv(&p->b, 1, 100, 64), 0);
    CHECK_EQ(post_send(&p->a, 2, 0, 4, IBV_SEND_SIGNALED), 0);
    wc = poll_one(&p->b);
    CHECK_EQ(wc.wr_id, 1);
    CHECK_EQ(wc.opcode, IBV_WC_RECV);
    CHECK_EQ(wc.byte_len, 4);
    CHECK_EQ(wc.src_qp, p->a.qp->qp_num);
    CHECK(memcmp(p->b.buf + 100, "cat", 4) == 0);
    wc = poll_one(&p->a);
    CHECK_EQ(wc.opcode, IBV_WC_SEND);
    pair_free(p);
}

static void inline_data_may_change_after_post(void) {
    struct pair *p = pair_new(NULL);
    unsigned char text[] = "gone"; /* not registered */
    struct ibv_sge sge = {(uint64_t)(uintptr_t)text, 5, 0};
    struct ibv_send_wr wr = {.sg_list = &sge,
                             .num_sge = 1,
                             .opcode = IBV_WR_SEND,
                             .send_flags = IBV_SEND_INLINE | IBV_SEND_SIGNALED},
                       *bad;

    CHECK_EQ(ibv_post_send(p->a.qp, &wr, &bad), 0);
    memset(text, 'x', sizeof(text));
    CHECK_EQ(post_recv(&p->b, 1, 0, 64), 0);
    expect(&p->b, 1, IBV_WC_SUCCESS);
    CHECK(memcmp(p->b.buf, "gone", 5) == 0);
    sge.length = 129;
    CHECK_EQ(ibv_post_send(p->a.qp, &wr, &bad), EINVAL);
    pair_free(p);
}

static void gather_and_scatter(void) {
    struct pair *p = pair_new(NULL);
    struct ibv_sge from[4], to[4];
    struct ibv_send_wr wr = {.sg_list = from, .num_sge = 4, .opcode = IBV_WR_SEND}, *bad;
    struct ibv_recv_wr rr = {.wr_id = 5, .sg_list = to, .num_sge = 3}, *bad_rr;
    static const uint32_t from_len[] = {3, 0, 5, 2}, to_len[] = {4, 1, 20};

    for (int i = 0; i < 4; i++)
        from[i] = (struct ibv_sge){at(&p->a, (size_t)i * 10), from_len[i], p->a.mr->lkey};
    for (int i = 0; i < 3; i++)
        to[i] = (struct ibv_sge){at(&p->b, (size_t)i * 100), to_len[i], p->b.mr->lkey};
    memcpy(p->a.buf, "abc", 3);
    memcpy(p->a.buf + 20, "defgh", 5);
    memcpy(p->a.buf + 30, "ij", 2);
    CHECK_EQ(ibv_post_recv(p->b.qp, &rr, &bad_rr), 0);
    CHECK_EQ(ibv_post_send(p->a.qp, &wr, &bad), 0);
    CHECK_EQ(poll_one(&p->b).byte_len, 10);
    CHECK(memcmp(p->b.buf, "abcd", 4) == 0);
    CHECK(memcmp(p->b.buf + 100, "e", 1) == 0);
    CHECK(memcmp(p->b.buf + 200, "fghij", 5) == 0);
    pair_free(p);
}

static void immediate_data_arrives(void) {
    struct pair *p = pair_new(NULL);
    struct ibv_sge sge = {at(&p->a, 0), 8, p->a.mr->lkey};
    struct ibv_send_wr wr = {.sg_list = &sge,
                             .num_sge = 1,
                             .opcode = IBV_WR_SEND_WITH_IMM,
                             .imm_data = 0x01020304},
                       *bad;
    struct ibv_wc wc;

    CHECK_EQ(post_recv(&p->b, 1, 0, 64), 0);
    CHECK_EQ(post_recv(&p->b, 2, 0, 64), 0);
    CHECK_EQ(ibv_post_send(p->a.qp, &wr, &bad), 0);
    wc = poll_one(&p->b);
    CHECK_EQ(wc.wc_flags, IBV_WC_WITH_IMM);
    CHECK_EQ(wc.imm_data, 0x01020304);
    wr.opcode = IBV_WR_RDMA_WRITE_WITH_IMM;
    wr.wr.rdma.remote_addr = at(&p->b, 512);
    wr.wr.rdma.rkey = p->b.mr->rkey;
    memcpy(p->a.buf, "12345678", 8);
    CHECK_EQ(ibv_post_send(p->a.qp, &wr, &bad), 0);
    wc = poll_one(&p->b);
    CHECK_EQ(wc.wr_id, 2);
    CHECK_EQ(wc.opcode, IBV_WC_RECV_RDMA_WITH_IMM);
    CHECK_EQ(wc.byte_len, 8);
    CHECK(memcmp(p->b.buf + 512, "12345678", 8) == 0);
    pair_free(p);
}

static void write_and_read_move_bytes(void) {
    struct pair *p = pair_new(NULL);

    memcpy(p->a.buf, "write", 5);
    memcpy(p->b.buf + 1000, "read", 4);
    CHECK_EQ(post_rdma(&p->a, 1, IBV_WR_RDMA_WRITE, 0, 5, at(&p->b, 0), p->b.mr->rkey), 0);
    CHECK_EQ(post_rdma(&p->a, 2, IBV_WR_RDMA_READ, 50, 4, at(&p->b, 1000), p->b.mr->rkey), 0);
    CHECK_EQ(poll_one(&p->a).opcode, IBV_WC_RDMA_WRITE);
    CHECK_EQ(poll_one(&p->a).opcode, IBV_WC_RDMA_READ);
    CHECK(memcmp(p->b.buf, "write", 5) == 0);
    CHECK(memcmp(p->a.buf + 50, "read", 4) == 0);
    expect_nothing(&p->b);
    pair_free(p);
}

static void unsignalled_sends_hold_their_entries(void) {
    struct pair *p = pair_new(NULL);
    struct sim_qp_stats s;

    for (uint64_t i = 0; i < DEPTH; i++)
        CHECK_EQ(post_recv(&p->b, i, 0, 64), 0);
    CHECK_EQ(post_recv(&p->b, 99, 0, 64), ENOMEM);
    for (uint64_t i = 0; i < DEPTH - 1; i++)
        CHECK_EQ(post_send(&p->a, i, 0, 8, 0), 0);
    CHECK_EQ(post_send(&p->a, 77, 0, 8, IBV_SEND_SIGNALED), 0);
    expect(&p->b, 0, IBV_WC_SUCCESS);
    CHECK_EQ(post_send(&p->a, 99, 0, 8, 0), ENOMEM);
    sim_qp_stats(p->a.qp, &s);
    CHECK_EQ(s.send_queued, DEPTH);
    CHECK_EQ(s.send_waiting, 0);
    expect(&p->a, 77, IBV_WC_SUCCESS);
    expect_nothing(&p->a);
    sim_qp_stats(p->a.qp, &s);
    CHECK_EQ(s.send_queued, 0);
    CHECK_EQ(post_recv(&p->b, 99, 0, 64), 0); /* one was polled */
    CHECK_EQ(post_recv(&p->b, 99, 0, 64), ENOMEM);
    pair_free(p);
}

static void a_post_list_stops_at_the_bad_one(void) {
    struct pair *p = pair_new(NULL);
    struct ibv_sge sge = {at(&p->a, 0), 8, p->a.mr->lkey};
    struct ibv_send_wr wr[3], *bad = NULL;

    for (int i = 0; i < 3; i++)
        wr[i] = (struct ibv_send_wr){.wr_id = (uint64_t)i,
                                     .next = i < 2 ? &wr[i + 1] : NULL,
                                     .sg_list = &sge,
                                     .num_sge = 1,
                                     .opcode = IBV_WR_SEND,
                                     .send_flags = IBV_SEND_SIGNALED};
    wr[1].opcode = IBV_WR_ATOMIC_FETCH_AND_ADD;
    CHECK_EQ(post_recv(&p->b, 1, 0, 64), 0);
    CHECK_EQ(ibv_post_send(p->a.qp, wr, &bad), EOPNOTSUPP);
    CHECK(bad == &wr[1]);
    expect(&p->b, 1, IBV_WC_SUCCESS);
    expect(&p->a, 0, IBV_WC_SUCCESS);
    expect_nothing(&p->a);
    wr[0].num_sge = 5;
    CHECK_EQ(ibv_post_send(p->a.qp, wr, &bad), EINVAL);
    pair_free(p);
}

static void a_send_waits_for_a_receive(void) {
    struct pair *p = pair_new(NULL);
    struct sim_qp_stats s;
    struct sim_census c;

    CHECK_EQ(post_send(&p->a, 1, 0, 8, IBV_SEND_SIGNALED), 0);
    CHECK_EQ(post_send(&p->a, 2, 0, 8, IBV_SEND_SIGNALED), 0);
    expect_nothing(&p->a);
    sim_qp_stats(p->a.qp, &s);
    CHECK(s.waiting_rnr);
    CHECK_EQ(s.rnr_naks, 1);
    CHECK_EQ(post_recv(&p->b, 1, 0, 64), 0);
    expect(&p->a, 1, IBV_WC_SUCCESS);
    expect_nothing(&p->a);
    CHECK_EQ(post_recv(&p->b, 2, 0, 64), 0);
    expect(&p->a, 2, IBV_WC_SUCCESS);
    expect(&p->b, 1, IBV_WC_SUCCESS);
    expect(&p->b, 2, IBV_WC_SUCCESS);
    sim_fabric_census(p->f, &c);
    CHECK_EQ(c.rnr_naks, 2);
    pair_free(p);
}

/* Connects anew with an rnr_retry of n. */
static void rnr_retries_run_out(void) {
    struct pair *p = pair_new(NULL);
    struct ibv_wc wc;

    set_rnr_retry(&p->a, &p->b, 2);
    sim_qp_connect(p->b.qp, p->b.qp); /* refused: it is in RTS already, and stays there */
    CHECK_EQ(post_send(&p->a, 1, 0, 8, 0), 0);
    CHECK_EQ(ibv_poll_cq(p->a.cq, 1, &wc), 0);
    CHECK_EQ(ibv_poll_cq(p->a.cq, 1, &wc), 1);
    CHECK_EQ(wc.status, IBV_WC_RNR_RETRY_EXC_ERR);
    CHECK_EQ(state(&p->a), IBV_QPS_ERR);
    set_rnr_retry(&p->a, &p->b, 0);
    CHECK_EQ(post_send(&p->a, 2, 0, 8, 0), 0);
    expect(&p->a, 2, IBV_WC_RNR_RETRY_EXC_ERR);
    pair_free(p);
}

static void an_error_flushes_everything_in_order(void) {
    struct pair *p = pair_new(NULL);

    for (uint64_t i = 0; i < 3; i++) {
        CHECK_EQ(post_send(&p->a, i, 0, 8, 0), 0); /* no receive: they wait */
        CHECK_EQ(post_recv(&p->a, 10 + i, 0, 64), 0);
    }
    CHECK_EQ(sim_qp_error(p->a.qp), 0);
    for (uint64_t i = 0; i < 3; i++)
        expect(&p->a, i, IBV_WC_WR_FLUSH_ERR);
    for (uint64_t i = 0; i < 3; i++)
        expect(&p->a, 10 + i, IBV_WC_WR_FLUSH_ERR);
    CHECK_EQ(post_send(&p->a, 20, 0, 8, 0), 0);
    expect(&p->a, 20, IBV_WC_WR_FLUSH_ERR);
    CHECK_EQ(post_recv(&p->a, 21, 0, 8), 0);
    expect(&p->a, 21, IBV_WC_WR_FLUSH_ERR);
    CHECK_EQ(state(&p->b), IBV_QPS_RTS); /* nobody has told it */
    pair_free(p);
}

static void rxe_of_linux_6_1_never_flushes_late_receives(void) {
    struct pair *p = pair_new(&(struct sim_config){.no_late_recv_flush = true});

    CHECK_EQ(post_recv(&p->a, 1, 0, 64), 0);
    CHECK_EQ(sim_qp_error(p->a.qp), 0);
    expect(&p->a, 1, IBV_WC_WR_FLUSH_ERR);
    CHECK_EQ(post_recv(&p->a, 2, 0, 64), 0);
    CHECK_EQ(post_send(&p->a, 3, 0, 8, 0), 0);
    expect(&p->a, 3, IBV_WC_WR_FLUSH_ERR);
    expect_nothing(&p->a);
    pair_free(p);
}

const struct test verbs_transfer[] = {
    TEST(send_reaches_receive),
    TEST(inline_data_may_change_after_post),
    TEST(gather_and_scatter),
    TEST(immediate_data_arrives),
    TEST(write_and_read_move_bytes),
    TEST(unsignalled_sends_hold_their_entries),
    TEST(a_post_list_stops_at_the_bad_one),
    TEST(a_send_waits_for_a_receive),
    TEST(rnr_retries_run_out),
    TEST(an_error_flushes_everything_in_order),
    TEST(rxe_of_linux_6_1_never_flushes_late_receives),
    {0},
};
