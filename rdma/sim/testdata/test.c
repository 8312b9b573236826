#include "test.h"

int test_main(int argc, char **argv, const struct test *tests, size_t n) {
    if (argc != 2)
        return 2;
    for (size_t i = 0; i < n; i++) {
        if (strcmp(argv[1], "-list") == 0) {
            puts(tests[i].name);
        } else if (strcmp(argv[1], tests[i].name) == 0) {
            tests[i].run();
            return 0;
        }
    }
    return strcmp(argv[1], "-list") == 0 ? 0 : 2;
}

void end_init(struct pair *p, struct end *e) {
    struct ibv_qp_init_attr attr;

    CHECK_EQ(sim_channel_create(p->dev, &e->ch), 0);
    CHECK_EQ(sim_cq_create(p->dev, CQ_DEPTH, e, e->ch, &e->cq), 0);
    attr = (struct ibv_qp_init_attr){
        .send_cq = e->cq,
        .recv_cq = e->cq,
        .cap = {.max_send_wr = DEPTH,
                .max_recv_wr = DEPTH,
                .max_send_sge = 4,
                .max_recv_sge = 4,
                .max_inline_data = 128},
        .qp_type = IBV_QPT_RC,
    };
    CHECK_EQ(sim_qp_create(p->pd, &attr, &e->qp), 0);
    CHECK_EQ(attr.cap.max_send_wr, DEPTH);
    e->buf = calloc(1, BUF);
    CHECK(e->buf);
    CHECK_EQ(sim_mr_create(
                 p->pd, e->buf, BUF,
                 IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE, &e->mr),
             0);
}

void end_free(struct end *e) {
    if (e->qp)
        CHECK_EQ(sim_qp_destroy(e->qp), 0);
    CHECK_EQ(sim_cq_destroy(e->cq), 0);
    CHECK_EQ(sim_channel_destroy(e->ch), 0);
    CHECK_EQ(sim_mr_destroy(e->mr), 0);
    free(e->buf);
}

struct pair *pair_new(const struct sim_config *cfg) {
    return pair_new_on(cfg, NULL);
}

struct pair *pair_new_on(const struct sim_config *cfg, const struct sim_device_attr *attr) {
    struct pair *p = calloc(1, sizeof(*p));

    CHECK(p);
    CHECK_EQ(sim_fabric_create(cfg, &p->f), 0);
    CHECK_EQ(sim_device_create(p->f, "sim0", attr, &p->dev), 0);
    CHECK_EQ(sim_pd_create(p->dev, &p->pd), 0);
    end_init(p, &p->a);
    end_init(p, &p->b);
    CHECK_EQ(sim_qp_connect(p->a.qp, p->b.qp), 0);
    return p;
}

void pair_free(struct pair *p) {
    struct sim_census c;

    end_free(&p->a);
    end_free(&p->b);
    CHECK_EQ(sim_pd_destroy(p->pd), 0);
    sim_fabric_census(p->f, &c);
    CHECK(!c.channels && !c.pds && !c.mrs && !c.mr_bytes && !c.cqs && !c.qps && !c.unacked_events);
    CHECK_EQ(sim_fabric_destroy(p->f), EBUSY);
    CHECK_EQ(sim_device_destroy(p->dev), 0);
    CHECK_EQ(sim_fabric_destroy(p->f), 0);
    free(p);
}

static struct ibv_sge segment(struct end *e, size_t off, uint32_t len) {
    return (struct ibv_sge){(uint64_t)(uintptr_t)(e->buf + off), len, e->mr->lkey};
}

int post_recv(struct end *e, uint64_t wr_id, size_t off, uint32_t len) {
    struct ibv_sge sge = segment(e, off, len);
    struct ibv_recv_wr wr = {.wr_id = wr_id, .sg_list = &sge, .num_sge = 1}, *bad = NULL;
    int err = ibv_post_recv(e->qp, &wr, &bad);

    CHECK(err == 0 || bad == &wr);
    return err;
}

int post_send(struct end *e, uint64_t wr_id, size_t off, uint32_t len, unsigned int flags) {
    struct ibv_sge sge = segment(e, off, len);
    struct ibv_send_wr wr = {.wr_id = wr_id,
                             .sg_list = &sge,
                             .num_sge = 1,
                             .opcode = IBV_WR_SEND,
                             .send_flags = flags},
                       *bad = NULL;
    int err = ibv_post_send(e->qp, &wr, &bad);

    CHECK(err == 0 || bad == &wr);
    return err;
}

int post_rdma(struct end *e, uint64_t wr_id, enum ibv_wr_opcode op, size_t off, uint32_t len,
              uint64_t remote, uint32_t rkey) {
    struct ibv_sge sge = segment(e, off, len);
    struct ibv_send_wr wr = {.wr_id = wr_id,
                             .sg_list = &sge,
                             .num_sge = 1,
                             .opcode = op,
                             .send_flags = IBV_SEND_SIGNALED,
                             .wr.rdma = {.remote_addr = remote, .rkey = rkey}},
                       *bad = NULL;

    return ibv_post_send(e->qp, &wr, &bad);
}

struct ibv_wc poll_one(struct end *e) {
    struct ibv_wc wc;

    CHECK_EQ(ibv_poll_cq(e->cq, 1, &wc), 1);
    CHECK_EQ(wc.qp_num, e->qp->qp_num);
    return wc;
}

void expect(struct end *e, uint64_t wr_id, enum ibv_wc_status status) {
    struct ibv_wc wc = poll_one(e);

    CHECK_EQ(wc.wr_id, wr_id);
    CHECK_EQ(wc.status, status);
}

void expect_nothing(struct end *e) {
    CHECK_EQ(sim_cq_pending(e->cq), 0);
}

enum ibv_qp_state state(struct end *e) {
    struct ibv_qp_attr attr;

    CHECK_EQ(sim_qp_query(e->qp, &attr, NULL), 0);
    return attr.qp_state;
}

void set_rnr_retry(struct end *e, struct end *peer, uint8_t n) {
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
