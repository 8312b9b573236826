/* RC semantics, one rule a test, in immediate delivery. */
#include <errno.h>
#include <poll.h>

#include "test.h"

static uint64_t at(struct end *e, size_t off) {
    return (uint64_t)(uintptr_t)(e->buf + off);
}

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
static void set_rnr_retry(struct end *e, struct end *peer, uint8_t n) {
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RESET};

    CHECK_EQ(sim_qp_modify(e->qp, &attr, IBV_QP_STATE), 0);
    CHECK_EQ(sim_qp_init(e->qp), 0);
    attr = (struct ibv_qp_attr){.qp_state = IBV_QPS_RTR, .dest_qp_num = peer->qp->qp_num};
    CHECK_EQ(sim_qp_modify(e->qp, &attr,
                           IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
                               IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER),
             0);
    attr = (struct ibv_qp_attr){.qp_state = IBV_QPS_RTS, .rnr_retry = n};
    CHECK_EQ(sim_qp_modify(e->qp, &attr,
                           IBV_QP_STATE | IBV_QP_SQ_PSN | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
                               IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC),
             0);
}

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

static void a_long_message_breaks_both_sides(void) {
    struct pair *p = pair_new(NULL);

    CHECK_EQ(post_recv(&p->b, 1, 0, 7), 0);
    CHECK_EQ(post_recv(&p->b, 2, 0, 7), 0);
    CHECK_EQ(post_send(&p->a, 3, 0, 8, 0), 0);
    expect(&p->a, 3, IBV_WC_REM_INV_REQ_ERR);
    expect(&p->b, 1, IBV_WC_LOC_LEN_ERR);
    expect(&p->b, 2, IBV_WC_WR_FLUSH_ERR);
    CHECK_EQ(state(&p->a), IBV_QPS_ERR);
    CHECK_EQ(state(&p->b), IBV_QPS_ERR);
    pair_free(p);
}

static void a_message_above_the_ports_limit_is_refused_at_home(void) {
    struct sim_fabric *f;
    struct ibv_context *dev;
    struct ibv_pd *pd;
    struct ibv_cq *cq;
    struct ibv_qp *qp;
    struct ibv_mr *mr;
    struct ibv_wc wc[2];
    char buf[101];
    struct ibv_sge sge = {(uint64_t)(uintptr_t)buf, 101, 0};
    struct ibv_send_wr wr = {.sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_SEND}, *bad;
    struct ibv_qp_init_attr attr = {.cap = {4, 4, 1, 1, 0}, .qp_type = IBV_QPT_RC};

    CHECK_EQ(sim_fabric_create(NULL, &f), 0);
    CHECK_EQ(sim_device_create(f, "d", &(struct sim_device_attr){.max_msg_sz = 100}, &dev), 0);
    CHECK_EQ(sim_pd_create(dev, &pd), 0);
    CHECK_EQ(sim_cq_create(dev, 10, NULL, NULL, &cq), 0);
    attr.send_cq = attr.recv_cq = cq;
    CHECK_EQ(sim_qp_create(pd, &attr, &qp), 0);
    CHECK_EQ(sim_qp_connect(qp, qp), 0);
    CHECK_EQ(sim_mr_create(pd, buf, sizeof(buf), 0, &mr), 0);
    sge.lkey = mr->lkey;
    CHECK_EQ(ibv_post_send(qp, &wr, &bad), 0);
    CHECK_EQ(ibv_poll_cq(cq, 2, wc), 1);
    CHECK_EQ(wc[0].status, IBV_WC_LOC_LEN_ERR);
    CHECK_EQ(sim_qp_destroy(qp), 0);
    CHECK_EQ(sim_mr_destroy(mr), 0);
    CHECK_EQ(sim_cq_destroy(cq), 0);
    CHECK_EQ(sim_pd_destroy(pd), 0);
    CHECK_EQ(sim_device_destroy(dev), 0);
    CHECK_EQ(sim_fabric_destroy(f), 0);
}

static void local_protection_errors(void) {
    struct pair *p = pair_new(NULL);
    struct ibv_sge sge = {at(&p->a, 0), 8, p->a.mr->rkey}; /* a remote key is no local key */
    struct ibv_send_wr wr = {.wr_id = 1, .sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_SEND};
    struct ibv_send_wr *bad;

    CHECK_EQ(post_recv(&p->b, 1, 0, 64), 0);
    CHECK_EQ(ibv_post_send(p->a.qp, &wr, &bad), 0);
    expect(&p->a, 1, IBV_WC_LOC_PROT_ERR);
    expect_nothing(&p->b);
    pair_free(p);

    p = pair_new(NULL);
    CHECK_EQ(post_send(&p->a, 1, BUF - 7, 8, 0), 0); /* one byte beyond the region */
    expect(&p->a, 1, IBV_WC_LOC_PROT_ERR);
    pair_free(p);

    p = pair_new(NULL);
    CHECK_EQ(post_recv(&p->b, 1, BUF - 7, 8), 0);
    CHECK_EQ(post_send(&p->a, 1, 0, 8, 0), 0);
    expect(&p->b, 1, IBV_WC_LOC_PROT_ERR);
    expect(&p->a, 1, IBV_WC_REM_OP_ERR);
    pair_free(p);
}

static void another_domains_key_is_refused(void) {
    struct pair *p = pair_new(NULL);
    struct ibv_pd *other;
    struct ibv_mr *mr;
    struct ibv_sge sge = {at(&p->a, 0), 8, 0};
    struct ibv_send_wr wr = {.sg_list = &sge, .num_sge = 1, .opcode = IBV_WR_SEND}, *bad;

    CHECK_EQ(sim_pd_create(p->dev, &other), 0);
    CHECK_EQ(sim_mr_create(other, p->a.buf, BUF, IBV_ACCESS_LOCAL_WRITE, &mr), 0);
    sge.lkey = mr->lkey;
    CHECK_EQ(ibv_post_send(p->a.qp, &wr, &bad), 0);
    expect(&p->a, 0, IBV_WC_LOC_PROT_ERR);
    CHECK_EQ(sim_pd_destroy(other), EBUSY);
    CHECK_EQ(sim_mr_destroy(mr), 0);
    CHECK_EQ(sim_pd_destroy(other), 0);
    pair_free(p);
}

static void a_stale_key_is_refused(void) {
    struct pair *p = pair_new(NULL);
    struct ibv_mr *mr;
    uint32_t rkey;

    CHECK_EQ(sim_mr_create(p->pd, p->b.buf, 64, IBV_ACCESS_REMOTE_READ, &mr), 0);
    rkey = mr->rkey;
    CHECK_EQ(sim_mr_destroy(mr), 0);
    CHECK_EQ(sim_mr_create(p->pd, p->b.buf, 64, IBV_ACCESS_REMOTE_READ, &mr), 0);
    CHECK(mr->rkey != rkey);
    CHECK_EQ(post_rdma(&p->a, 1, IBV_WR_RDMA_READ, 0, 8, at(&p->b, 0), rkey), 0);
    expect(&p->a, 1, IBV_WC_REM_ACCESS_ERR);
    CHECK_EQ(state(&p->b), IBV_QPS_ERR);
    CHECK_EQ(sim_mr_destroy(mr), 0);
    pair_free(p);
}

/* One access that must be refused, on a fresh pair whose target region grants access. */
static void refused(enum ibv_wr_opcode op, int access, size_t off, uint32_t len) {
    struct pair *p = pair_new(NULL);
    struct ibv_async_event ev;
    struct ibv_mr *mr;

    CHECK_EQ(sim_mr_create(p->pd, p->b.buf + 128, 64, access, &mr), 0);
    CHECK_EQ(post_rdma(&p->a, 1, op, 0, len, at(&p->b, off), mr->rkey), 0);
    expect(&p->a, 1, IBV_WC_REM_ACCESS_ERR);
    CHECK_EQ(state(&p->a), IBV_QPS_ERR);
    CHECK_EQ(state(&p->b), IBV_QPS_ERR);
    CHECK_EQ(sim_device_get_async_event(p->dev, &ev), 0);
    CHECK_EQ(ev.event_type, IBV_EVENT_QP_ACCESS_ERR);
    CHECK(ev.element.qp == p->b.qp);
    CHECK_EQ(sim_mr_destroy(mr), 0);
    pair_free(p);
}

static void remote_access_is_checked(void) {
    const int all = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE;

    refused(IBV_WR_RDMA_READ, IBV_ACCESS_LOCAL_WRITE, 128, 8);
    refused(IBV_WR_RDMA_WRITE, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ, 128, 8);
    refused(IBV_WR_RDMA_READ, all, 127, 8);
    refused(IBV_WR_RDMA_READ, all, 128, 65);
    refused(IBV_WR_RDMA_READ, all, (size_t)-64, 8);
}

static void reads_need_resources_on_both_sides(void) {
    struct pair *p = pair_new(NULL);

    set_rnr_retry(&p->a, &p->b, 7); /* max_rd_atomic and max_dest_rd_atomic are 0 */
    CHECK_EQ(post_rdma(&p->b, 1, IBV_WR_RDMA_READ, 0, 8, at(&p->a, 0), p->a.mr->rkey), 0);
    expect(&p->b, 1, IBV_WC_REM_INV_REQ_ERR);
    pair_free(p);
    p = pair_new(NULL);
    set_rnr_retry(&p->a, &p->b, 7);
    CHECK_EQ(post_rdma(&p->a, 1, IBV_WR_RDMA_READ, 0, 8, at(&p->b, 0), p->b.mr->rkey), 0);
    expect(&p->a, 1, IBV_WC_LOC_QP_OP_ERR);
    pair_free(p);
}

static void a_full_cq_drops_in_silence(void) {
    struct pair *p = pair_new(NULL);
    struct ibv_cq *small;
    struct ibv_qp_init_attr attr;
    struct ibv_qp *qp;
    struct ibv_wc wc[8];
    struct ibv_sge sge = {at(&p->a, 0), 8, p->a.mr->lkey};
    struct ibv_recv_wr rr = {.sg_list = &sge, .num_sge = 1}, *bad;
    struct sim_census c;
    struct ibv_async_event ev;

    CHECK_EQ(sim_cq_create(p->dev, 2, NULL, NULL, &small), 0);
    CHECK_EQ(small->cqe, 3);
    attr = (struct ibv_qp_init_attr){
        .send_cq = small, .recv_cq = small, .cap = {4, 7, 1, 1, 0}, .qp_type = IBV_QPT_RC};
    CHECK_EQ(sim_qp_create(p->pd, &attr, &qp), 0);
    CHECK_EQ(sim_qp_init(qp), 0);
    for (rr.wr_id = 0; rr.wr_id < 5; rr.wr_id++)
        CHECK_EQ(ibv_post_recv(qp, &rr, &bad), 0);
    CHECK_EQ(sim_qp_error(qp), 0);
    CHECK_EQ(ibv_poll_cq(small, 8, wc), 3);
    CHECK_EQ(wc[2].wr_id, 2);
    CHECK_EQ(sim_cq_overruns(small), 2);
    sim_fabric_census(p->f, &c);
    CHECK_EQ(c.cq_overruns, 2);
    CHECK_EQ(sim_device_get_async_event(p->dev, &ev), 0);
    CHECK_EQ(ev.event_type, IBV_EVENT_CQ_ERR);
    CHECK(ev.element.cq == small); /* the second one goes with the CQ */
    CHECK_EQ(sim_cq_destroy(small), EBUSY);
    CHECK_EQ(sim_qp_destroy(qp), 0);
    CHECK_EQ(sim_cq_destroy(small), 0);
    CHECK_EQ(sim_device_get_async_event(p->dev, &ev), EAGAIN);
    pair_free(p);
}

static bool readable(struct end *e) {
    struct pollfd fd = {.fd = e->ch->fd, .events = POLLIN};

    return poll(&fd, 1, 0) == 1;
}

static void an_armed_cq_reports_the_next_completion_once(void) {
    struct pair *p = pair_new(NULL);
    const struct rdma_slow_ops *ops = sim_slow_ops();
    struct ibv_cq *cq;
    void *context;

    for (uint64_t i = 0; i < 4; i++)
        CHECK_EQ(post_recv(&p->b, i, 0, 64), 0);
    CHECK_EQ(post_send(&p->a, 0, 0, 8, 0), 0);
    CHECK_EQ(ibv_req_notify_cq(p->b.cq, 0), 0);
    CHECK(!readable(&p->b)); /* what is there already is not reported */
    CHECK_EQ(ops->get_cq_event(p->b.ch, &cq, &context), EAGAIN);
    CHECK_EQ(post_send(&p->a, 0, 0, 8, 0), 0);
    CHECK_EQ(post_send(&p->a, 0, 0, 8, 0), 0);
    CHECK(readable(&p->b));
    CHECK_EQ(ops->get_cq_event(p->b.ch, &cq, &context), 0);
    CHECK(cq == p->b.cq && context == &p->b);
    CHECK(!readable(&p->b));
    CHECK_EQ(ops->get_cq_event(p->b.ch, &cq, &context), EAGAIN);
    CHECK_EQ(ops->ack_cq_events(cq, 2), EINVAL);
    CHECK_EQ(sim_qp_destroy(p->b.qp), 0);
    p->b.qp = NULL;
    CHECK_EQ(sim_cq_destroy(cq), EBUSY);
    CHECK_EQ(ops->ack_cq_events(cq, 1), 0);
    pair_free(p);
}

static void events_of_a_shared_channel_come_in_order(void) {
    struct pair *p = pair_new(NULL);
    const struct rdma_slow_ops *ops = sim_slow_ops();
    struct ibv_cq *cq[3], *got;
    struct ibv_qp *qp[3];
    struct ibv_wc wc;
    void *context;

    for (int i = 0; i < 3; i++) {
        struct ibv_qp_init_attr attr = {.cap = {4, 4, 1, 1, 0}, .qp_type = IBV_QPT_RC};
        struct ibv_recv_wr wr = {.wr_id = 0}, *bad;

        CHECK_EQ(sim_cq_create(p->dev, 10, NULL, p->a.ch, &cq[i]), 0);
        attr.send_cq = attr.recv_cq = cq[i];
        CHECK_EQ(sim_qp_create(p->pd, &attr, &qp[i]), 0);
        CHECK_EQ(sim_qp_init(qp[i]), 0);
        CHECK_EQ(ibv_post_recv(qp[i], &wr, &bad), 0);
        CHECK_EQ(ibv_req_notify_cq(cq[i], 0), 0);
    }
    CHECK_EQ(sim_channel_destroy(p->a.ch), EBUSY);
    for (int i = 2; i >= 0; i--)
        CHECK_EQ(sim_qp_error(qp[i]), 0);
    CHECK_EQ(ops->get_cq_event(p->a.ch, &got, &context), 0);
    CHECK(got == cq[2]);
    CHECK_EQ(ops->ack_cq_events(got, 1), 0);
    CHECK_EQ(sim_qp_destroy(qp[0]), 0); /* the last in the queue goes */
    CHECK_EQ(ibv_poll_cq(cq[0], 1, &wc), 1);
    CHECK_EQ(sim_cq_destroy(cq[0]), 0);
    CHECK(readable(&p->a));
    CHECK_EQ(ops->get_cq_event(p->a.ch, &got, &context), 0);
    CHECK(got == cq[1]);
    CHECK_EQ(ops->ack_cq_events(got, 1), 0);
    CHECK_EQ(ops->get_cq_event(p->a.ch, &got, &context), EAGAIN);
    for (int i = 1; i < 3; i++) {
        CHECK_EQ(sim_qp_destroy(qp[i]), 0);
        CHECK_EQ(sim_cq_destroy(cq[i]), 0);
    }
    pair_free(p);
}

static void a_late_failure_acknowledges_what_came_before(void) {
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct pair *p = pair_new(&(struct sim_config){
            .delivery = SIM_DELIVER_SEEDED, .seed = seed, .purge_cq_on_destroy = true});
        struct ibv_wc wc;
        uint64_t next = 1;

        for (uint64_t i = 0; i < 4; i++)
            CHECK_EQ(post_recv(&p->b, i, 0, i < 3 ? 64 : 1), 0);
        for (uint64_t i = 1; i <= 5; i++)
            CHECK_EQ(post_send(&p->a, i, 0, 8, IBV_SEND_SIGNALED), 0);
        while (next <= 5) {
            if (ibv_poll_cq(p->a.cq, 1, &wc) == 0)
                continue;
            CHECK_EQ(wc.wr_id, next);
            CHECK_EQ(wc.status, next < 4    ? IBV_WC_SUCCESS
                                : next == 4 ? IBV_WC_REM_INV_REQ_ERR
                                            : IBV_WC_WR_FLUSH_ERR);
            next++;
        }
        pair_free(p);
    }
}

static void solicited_only_waits_for_solicited_or_error(void) {
    struct pair *p = pair_new(NULL);
    struct ibv_cq *cq;
    void *context;

    for (uint64_t i = 0; i < 4; i++)
        CHECK_EQ(post_recv(&p->b, i, 0, 64), 0);
    CHECK_EQ(ibv_req_notify_cq(p->b.cq, 1), 0);
    CHECK_EQ(post_send(&p->a, 0, 0, 8, 0), 0);
    CHECK(!readable(&p->b));
    CHECK_EQ(post_send(&p->a, 0, 0, 8, IBV_SEND_SOLICITED), 0);
    CHECK(readable(&p->b));
    CHECK_EQ(sim_slow_ops()->get_cq_event(p->b.ch, &cq, &context), 0);
    CHECK_EQ(sim_slow_ops()->ack_cq_events(cq, 1), 0);
    CHECK_EQ(ibv_req_notify_cq(p->b.cq, 1), 0);
    CHECK_EQ(sim_qp_error(p->b.qp), 0);
    CHECK(readable(&p->b));
    pair_free(p); /* an event that nobody took does not keep the CQ */
}

static void the_receiver_may_be_ready_before_the_sender(void) {
    struct pair *p = pair_new(NULL);
    struct end c = {0}, d = {0};
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RTR};
    const int rtr = IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
                    IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER;
    const int rts = IBV_QP_STATE | IBV_QP_SQ_PSN | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
                    IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC;
    struct sim_qp_stats s;
    struct ibv_async_event ev;

    end_init(p, &c);
    end_init(p, &d);
    CHECK_EQ(post_recv(&c, 1, 0, 64), EINVAL); /* RESET */
    CHECK_EQ(sim_qp_init(c.qp), 0);
    CHECK_EQ(sim_qp_init(d.qp), 0);
    CHECK_EQ(post_recv(&c, 1, 0, 64), 0);
    CHECK_EQ(post_send(&c, 1, 0, 8, 0), EINVAL);
    CHECK_EQ(sim_qp_modify(d.qp, &attr, IBV_QP_STATE), EINVAL); /* no destination */
    attr.dest_qp_num = c.qp->qp_num;
    CHECK_EQ(sim_qp_modify(d.qp, &attr, rtr), 0);
    CHECK_EQ(post_send(&d, 1, 0, 8, 0), EINVAL);
    attr = (struct ibv_qp_attr){.qp_state = IBV_QPS_RTS, .rnr_retry = 7};
    CHECK_EQ(sim_qp_modify(d.qp, &attr, rts), 0);
    CHECK_EQ(post_send(&d, 2, 0, 8, IBV_SEND_SIGNALED), 0);
    sim_qp_stats(d.qp, &s);
    CHECK(s.waiting_peer); /* the peer is in INIT: no answer, no RNR */
    attr = (struct ibv_qp_attr){.qp_state = IBV_QPS_RTR, .dest_qp_num = d.qp->qp_num};
    CHECK_EQ(sim_qp_modify(c.qp, &attr, rtr), 0);
    CHECK_EQ(sim_device_get_async_event(p->dev, &ev), 0);
    CHECK_EQ(ev.event_type, IBV_EVENT_COMM_EST);
    CHECK(ev.element.qp == c.qp);
    expect(&c, 1, IBV_WC_SUCCESS);
    expect(&d, 2, IBV_WC_SUCCESS);
    end_free(&c);
    end_free(&d);
    pair_free(p);
}

static void a_dead_peer_is_waited_for(void) {
    struct pair *p = pair_new(NULL);
    struct sim_qp_stats s;

    CHECK_EQ(sim_qp_destroy(p->b.qp), 0);
    p->b.qp = NULL;
    CHECK_EQ(post_send(&p->a, 1, 0, 8, 0), 0);
    CHECK_EQ(post_send(&p->a, 2, 0, 8, 0), 0);
    sim_qp_stats(p->a.qp, &s);
    CHECK(s.waiting_peer);
    CHECK_EQ(s.send_waiting, 2);
    sim_fault_retry_exceeded(p->a.qp);
    expect(&p->a, 1, IBV_WC_RETRY_EXC_ERR);
    expect(&p->a, 2, IBV_WC_WR_FLUSH_ERR);
    pair_free(p);
}

static void a_dead_peer_fails_the_send_after_its_polls(void) {
    struct pair *p = pair_new(&(struct sim_config){.retry_polls = 3});
    struct ibv_wc wc;

    CHECK_EQ(post_send(&p->a, 1, 0, 8, 0), 0); /* waits for a receive ... */
    CHECK_EQ(sim_qp_error(p->b.qp), 0);        /* ... that will never come */
    CHECK_EQ(ibv_poll_cq(p->b.cq, 1, &wc), 0); /* other CQs do not count */
    CHECK_EQ(ibv_poll_cq(p->a.cq, 1, &wc), 0);
    CHECK_EQ(ibv_poll_cq(p->a.cq, 1, &wc), 0);
    expect(&p->a, 1, IBV_WC_RETRY_EXC_ERR);
    pair_free(p);
}

static void a_cut_line_heals(void) {
    struct pair *p = pair_new(NULL);

    CHECK_EQ(post_recv(&p->b, 1, 0, 64), 0);
    sim_fault_cut(p->b.qp, true);
    CHECK_EQ(post_send(&p->a, 2, 0, 8, IBV_SEND_SIGNALED), 0);
    expect_nothing(&p->b);
    sim_fault_cut(p->b.qp, false);
    expect(&p->b, 1, IBV_WC_SUCCESS);
    expect(&p->a, 2, IBV_WC_SUCCESS);
    pair_free(p);
}

static void chosen_completions_fail(void) {
    struct pair *p = pair_new(NULL);

    for (uint64_t i = 0; i < 4; i++)
        CHECK_EQ(post_recv(&p->b, i, 0, 64), 0);
    sim_fault_completion(p->a.qp, 3, IBV_WC_REM_OP_ERR);
    for (uint64_t i = 1; i <= 4; i++)
        CHECK_EQ(post_send(&p->a, i, 0, 8, IBV_SEND_SIGNALED), 0);
    expect(&p->a, 1, IBV_WC_SUCCESS);
    expect(&p->a, 2, IBV_WC_SUCCESS);
    expect(&p->a, 3, IBV_WC_REM_OP_ERR);
    expect(&p->a, 4, IBV_WC_WR_FLUSH_ERR);
    expect(&p->b, 0, IBV_WC_SUCCESS);
    expect(&p->b, 1, IBV_WC_SUCCESS);
    expect_nothing(&p->b);
    pair_free(p);
}

static void a_connection_breaks_between_two_messages(void) {
    struct pair *p = pair_new(NULL);

    for (uint64_t i = 0; i < 4; i++)
        CHECK_EQ(post_recv(&p->b, i, 0, 64), 0);
    sim_fault_error_after(p->a.qp, 2);
    for (uint64_t i = 1; i <= 3; i++)
        CHECK_EQ(post_send(&p->a, i, 0, 8, IBV_SEND_SIGNALED), 0);
    expect(&p->b, 0, IBV_WC_SUCCESS);
    expect(&p->b, 1, IBV_WC_SUCCESS); /* it arrived although its sender cannot know */
    expect_nothing(&p->b);
    expect(&p->a, 1, IBV_WC_SUCCESS);
    expect(&p->a, 2, IBV_WC_WR_FLUSH_ERR);
    expect(&p->a, 3, IBV_WC_WR_FLUSH_ERR);
    pair_free(p);
}

static void rnr_can_be_forced(void) {
    struct pair *p = pair_new(NULL);
    struct ibv_wc wc;
    struct sim_census c;

    CHECK_EQ(post_recv(&p->b, 1, 0, 64), 0);
    sim_fault_rnr(p->b.qp, 2);
    CHECK_EQ(post_send(&p->a, 2, 0, 8, IBV_SEND_SIGNALED), 0);
    CHECK_EQ(ibv_poll_cq(p->a.cq, 1, &wc), 0);
    expect(&p->a, 2, IBV_WC_SUCCESS); /* the poll tried again */
    expect(&p->b, 1, IBV_WC_SUCCESS);
    sim_fabric_census(p->f, &c);
    CHECK_EQ(c.rnr_naks, 1);
    pair_free(p);
}

static void arming_settles_forced_rnr(void) {
    struct pair *p = pair_new(NULL);

    CHECK_EQ(post_recv(&p->b, 1, 0, 64), 0);
    sim_fault_rnr(p->b.qp, 3);
    CHECK_EQ(post_send(&p->a, 2, 0, 8, 0), 0);
    CHECK_EQ(ibv_req_notify_cq(p->b.cq, 0), 0);
    expect(&p->b, 1, IBV_WC_SUCCESS);
    pair_free(p);
}

static void chosen_calls_fail(void) {
    struct pair *p = pair_new(NULL);
    struct ibv_mr *mr[3];
    struct ibv_pd *pd;
    struct ibv_cq *cq;
    struct ibv_comp_channel *ch;
    struct ibv_qp_init_attr attr = {.send_cq = p->a.cq, .recv_cq = p->a.cq, .qp_type = IBV_QPT_RC};
    struct ibv_qp *qp;

    sim_fault_call(p->dev, SIM_CALL_MR_CREATE, 2, 1, ENOMEM);
    CHECK_EQ(sim_slow_ops()->reg_mr(p->pd, p->a.buf, 64, 0, &mr[0]), 0);
    CHECK_EQ(sim_slow_ops()->reg_mr(p->pd, p->a.buf, 64, 0, &mr[1]), ENOMEM);
    CHECK_EQ(sim_slow_ops()->reg_mr(p->pd, p->a.buf, 64, 0, &mr[2]), 0);
    CHECK_EQ(sim_slow_ops()->dereg_mr(mr[0]), 0);
    CHECK_EQ(sim_slow_ops()->dereg_mr(mr[2]), 0);
    sim_fault_call(p->dev, SIM_CALL_PD_CREATE, 1, 1, ENOMEM);
    CHECK_EQ(sim_pd_create(p->dev, &pd), ENOMEM);
    sim_fault_call(p->dev, SIM_CALL_CQ_CREATE, 1, 1, ENOMEM);
    CHECK_EQ(sim_cq_create(p->dev, 1, NULL, NULL, &cq), ENOMEM);
    sim_fault_call(p->dev, SIM_CALL_CHANNEL_CREATE, 1, 1, EMFILE);
    CHECK_EQ(sim_channel_create(p->dev, &ch), EMFILE);
    sim_fault_call(p->dev, SIM_CALL_QP_CREATE, 1, 0, ENOMEM);
    CHECK_EQ(sim_qp_create(p->pd, &attr, &qp), ENOMEM);
    CHECK_EQ(sim_qp_create(p->pd, &attr, &qp), ENOMEM);
    sim_fault_call(p->dev, SIM_CALL_QP_CREATE, 0, 0, 0);
    CHECK_EQ(sim_qp_create(p->pd, &attr, &qp), 0);
    sim_fault_call(p->dev, SIM_CALL_QP_MODIFY, 1, 1, EINVAL);
    CHECK_EQ(sim_qp_init(qp), EINVAL);
    CHECK_EQ(sim_qp_destroy(qp), 0);
    sim_fault_call(p->dev, SIM_CALL_POST_SEND, 2, 1, EIO);
    CHECK_EQ(post_send(&p->a, 1, 0, 8, 0), 0);
    CHECK_EQ(post_send(&p->a, 1, 0, 8, 0), EIO);
    sim_fault_call(p->dev, SIM_CALL_POST_RECV, 1, 1, ENOMEM);
    CHECK_EQ(post_recv(&p->b, 1, 0, 8), ENOMEM);
    pair_free(p);
}

static void limits_are_enforced(void) {
    struct sim_fabric *f;
    struct ibv_context *dev;
    const struct sim_device_attr limits = {.max_pd = 1,
                                           .max_cq = 1,
                                           .max_qp = 1,
                                           .max_mr = 2,
                                           .max_mr_bytes = 100,
                                           .max_cqe = 10,
                                           .max_inline = 64};
    struct sim_device_attr got;
    struct ibv_pd *pd, *pd2;
    struct ibv_cq *cq, *cq2;
    struct ibv_qp *qp, *qp2;
    struct ibv_mr *mr, *mr2, *mr3;
    struct ibv_qp_init_attr attr = {.qp_type = IBV_QPT_RC};
    char buf[100];

    CHECK_EQ(sim_fabric_create(NULL, &f), 0);
    CHECK_EQ(sim_device_create(f, "tiny", &limits, &dev), 0);
    sim_device_query(dev, &got);
    CHECK(got.max_pd == 1 && got.max_sge == 32 && got.max_msg_sz == 1ull << 31);
    CHECK(strcmp(dev->device->name, "tiny") == 0);
    CHECK_EQ(sim_pd_create(dev, &pd), 0);
    CHECK_EQ(sim_pd_create(dev, &pd2), ENOMEM);
    CHECK_EQ(sim_cq_create(dev, 11, NULL, NULL, &cq), EINVAL);
    CHECK_EQ(sim_cq_create(dev, 0, NULL, NULL, &cq), EINVAL);
    CHECK_EQ(sim_cq_create(dev, 10, NULL, NULL, &cq), 0);
    CHECK_EQ(sim_cq_create(dev, 10, NULL, NULL, &cq2), ENOMEM);
    CHECK_EQ(sim_qp_create(pd, &attr, &qp), EINVAL); /* no CQ */
    attr.send_cq = attr.recv_cq = cq;
    attr.cap.max_inline_data = 65;
    CHECK_EQ(sim_qp_create(pd, &attr, &qp), EINVAL);
    attr.cap.max_inline_data = 64;
    CHECK_EQ(sim_qp_create(pd, &attr, &qp), 0);
    CHECK_EQ(sim_qp_create(pd, &attr, &qp2), ENOMEM);
    CHECK_EQ(sim_pd_destroy(pd), EBUSY);
    CHECK_EQ(sim_mr_create(pd, buf, 0, 0, &mr), EINVAL);
    CHECK_EQ(sim_mr_create(pd, buf, 8, IBV_ACCESS_REMOTE_WRITE, &mr), EINVAL);
    CHECK_EQ(sim_mr_create(pd, buf, 60, 0, &mr), 0);
    CHECK_EQ(mr->rkey, 0);
    CHECK_EQ(sim_mr_create(pd, buf, 60, 0, &mr2), ENOMEM); /* locked memory */
    CHECK_EQ(sim_mr_create(pd, buf, 40, 0, &mr2), 0);
    CHECK_EQ(sim_mr_create(pd, buf, 1, 0, &mr3), ENOMEM);
    CHECK_EQ(sim_mr_destroy(mr), 0);
    CHECK_EQ(sim_mr_destroy(mr2), 0);
    CHECK_EQ(sim_qp_destroy(qp), 0);
    CHECK_EQ(sim_cq_destroy(cq), 0);
    CHECK_EQ(sim_device_destroy(dev), EBUSY);
    CHECK_EQ(sim_pd_destroy(pd), 0);
    CHECK_EQ(sim_device_destroy(dev), 0);
    CHECK_EQ(sim_fabric_destroy(f), 0);
}

static void a_removed_device_fails_and_can_be_released(void) {
    struct pair *p = pair_new(NULL);
    struct ibv_async_event ev;
    struct ibv_pd *pd;

    CHECK_EQ(post_recv(&p->a, 1, 0, 64), 0);
    sim_device_remove(p->dev);
    CHECK_EQ(sim_device_get_async_event(p->dev, &ev), 0);
    CHECK_EQ(ev.event_type, IBV_EVENT_DEVICE_FATAL);
    expect(&p->a, 1, IBV_WC_WR_FLUSH_ERR);
    CHECK_EQ(post_recv(&p->a, 1, 0, 64), EIO);
    CHECK_EQ(post_send(&p->a, 1, 0, 8, 0), EIO);
    CHECK_EQ(sim_pd_create(p->dev, &pd), EIO);
    pair_free(p);
}

static void completions_outlive_their_queue_pair(void) {
    struct pair *p = pair_new(NULL);
    struct ibv_wc wc[8];
    uint32_t qpn = p->a.qp->qp_num;

    CHECK_EQ(post_recv(&p->a, 1, 0, 64), 0);
    CHECK_EQ(post_send(&p->b, 2, 0, 8, 0), 0);
    CHECK_EQ(sim_qp_destroy(p->a.qp), 0);
    p->a.qp = NULL;
    CHECK_EQ(ibv_poll_cq(p->a.cq, 8, wc), 1);
    CHECK_EQ(wc[0].qp_num, qpn);
    pair_free(p);

    p = pair_new(&(struct sim_config){.purge_cq_on_destroy = true});
    CHECK_EQ(post_recv(&p->a, 1, 0, 64), 0);
    CHECK_EQ(post_send(&p->b, 2, 0, 8, 0), 0);
    CHECK_EQ(sim_qp_destroy(p->a.qp), 0);
    p->a.qp = NULL;
    CHECK_EQ(ibv_poll_cq(p->a.cq, 8, wc), 0);
    pair_free(p);
}

static void the_rnr_timer_can_be_set_in_rts(void) {
    struct pair *p = pair_new(NULL);
    struct ibv_qp_attr attr = {.min_rnr_timer = 13}, got;

    CHECK_EQ(sim_slow_ops()->modify_qp(p->a.qp, &attr, IBV_QP_MIN_RNR_TIMER), 0);
    CHECK_EQ(sim_qp_query(p->a.qp, &got, NULL), 0);
    CHECK_EQ(got.min_rnr_timer, 13);
    CHECK_EQ(sim_slow_ops()->modify_qp(p->a.qp, &attr, IBV_QP_DEST_QPN), EINVAL);
    CHECK_EQ(sim_qp_error(p->a.qp), 0);
    CHECK_EQ(sim_slow_ops()->modify_qp(p->a.qp, &attr, IBV_QP_MIN_RNR_TIMER), EINVAL);
    pair_free(p);
}

static void a_queue_pair_can_talk_to_itself(void) {
    struct pair *p = pair_new(NULL);
    struct end c = {0};

    end_init(p, &c);
    CHECK_EQ(sim_qp_connect(c.qp, c.qp), 0);
    memcpy(c.buf, "self", 4);
    CHECK_EQ(post_send(&c, 1, 0, 4, IBV_SEND_SIGNALED), 0);
    CHECK_EQ(post_recv(&c, 2, 100, 64), 0);
    expect(&c, 2, IBV_WC_SUCCESS);
    expect(&c, 1, IBV_WC_SUCCESS);
    CHECK(memcmp(c.buf + 100, "self", 4) == 0);
    end_free(&c);
    pair_free(p);
}

#define TEST(f)                                                                                    \
    { #f, f }

int main(int argc, char **argv) {
    static const struct test tests[] = {
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
        TEST(a_long_message_breaks_both_sides),
        TEST(a_message_above_the_ports_limit_is_refused_at_home),
        TEST(local_protection_errors),
        TEST(another_domains_key_is_refused),
        TEST(a_stale_key_is_refused),
        TEST(remote_access_is_checked),
        TEST(reads_need_resources_on_both_sides),
        TEST(a_full_cq_drops_in_silence),
        TEST(an_armed_cq_reports_the_next_completion_once),
        TEST(events_of_a_shared_channel_come_in_order),
        TEST(a_late_failure_acknowledges_what_came_before),
        TEST(solicited_only_waits_for_solicited_or_error),
        TEST(the_receiver_may_be_ready_before_the_sender),
        TEST(a_dead_peer_is_waited_for),
        TEST(a_dead_peer_fails_the_send_after_its_polls),
        TEST(a_cut_line_heals),
        TEST(chosen_completions_fail),
        TEST(a_connection_breaks_between_two_messages),
        TEST(rnr_can_be_forced),
        TEST(arming_settles_forced_rnr),
        TEST(chosen_calls_fail),
        TEST(limits_are_enforced),
        TEST(a_removed_device_fails_and_can_be_released),
        TEST(completions_outlive_their_queue_pair),
        TEST(the_rnr_timer_can_be_set_in_rts),
        TEST(a_queue_pair_can_talk_to_itself),
    };

    return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
