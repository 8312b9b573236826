/* RC semantics, one rule a test, in immediate delivery: lengths, keys and access rights. */
#include <errno.h>

#include "verbs.h"

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

/* A READ on a device into memory that the peer may not write. */
static void read_into_private_memory(const struct sim_device_attr *attr, enum ibv_wc_status want) {
    struct pair *p = pair_new_on(NULL, attr);
    struct ibv_mr *mr;
    struct ibv_wc wc;

    CHECK_EQ(sim_mr_create(p->pd, p->a.buf, BUF, IBV_ACCESS_LOCAL_WRITE, &mr), 0);
    struct ibv_sge sge = {at(&p->a, 0), 8, mr->lkey};
    struct ibv_send_wr wr = {.sg_list = &sge,
                             .num_sge = 1,
                             .opcode = IBV_WR_RDMA_READ,
                             .send_flags = IBV_SEND_SIGNALED,
                             .wr.rdma = {at(&p->b, 0), p->b.mr->rkey}},
                       *bad;
    CHECK_EQ(ibv_post_send(p->a.qp, &wr, &bad), 0);
    wc = poll_one(&p->a);
    CHECK_EQ(wc.status, want);
    CHECK_EQ(sim_mr_destroy(mr), 0);
    pair_free(p);
}

static void on_iwarp_a_read_needs_memory_that_the_peer_may_write(void) {
    const struct sim_device_attr iwarp = {.iwarp = true};
    struct pair *p = pair_new_on(NULL, &iwarp);

    read_into_private_memory(NULL, IBV_WC_SUCCESS);
    read_into_private_memory(&iwarp, IBV_WC_LOC_PROT_ERR);
    /* The buffers of a pair may be written by the other side. Their two keys are one. */
    CHECK_EQ(p->b.mr->rkey, p->b.mr->lkey);
    CHECK_EQ(post_rdma(&p->a, 1, IBV_WR_RDMA_READ, 0, 8, at(&p->b, 0), p->b.mr->rkey), 0);
    expect(&p->a, 1, IBV_WC_SUCCESS);
    pair_free(p);
}

const struct test verbs_access[] = {
    TEST(a_long_message_breaks_both_sides),
    TEST(a_message_above_the_ports_limit_is_refused_at_home),
    TEST(local_protection_errors),
    TEST(another_domains_key_is_refused),
    TEST(a_stale_key_is_refused),
    TEST(remote_access_is_checked),
    TEST(on_iwarp_a_read_needs_memory_that_the_peer_may_write),
    TEST(reads_need_resources_on_both_sides),
    {0},
};
