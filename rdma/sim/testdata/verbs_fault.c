/* RC semantics, one rule a test, in immediate delivery: chosen faults, limits, and objects that go
 * away. */
#include <errno.h>

#include "verbs.h"

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

static void reads_wait_their_turn_with_all_that_is_behind_them(void) {
    struct pair *p = pair_new(NULL);
    uint64_t there = (uintptr_t)p->b.mr->addr;

    CHECK_EQ(post_recv(&p->b, 9, 0, 64), 0);
    sim_fault_reads(p->a.qp, 1);
    for (uint64_t i = 1; i <= 3; i++)
        CHECK_EQ(post_rdma(&p->a, i, IBV_WR_RDMA_READ, 0, 8, there, p->b.mr->rkey), 0);
    CHECK_EQ(post_send(&p->a, 4, 0, 8, IBV_SEND_SIGNALED), 0);
    expect(&p->a, 1, IBV_WC_SUCCESS);
    expect_nothing(&p->a);
    sim_fault_reads(p->a.qp, 1);
    expect(&p->a, 2, IBV_WC_SUCCESS);
    expect_nothing(&p->a);
    expect_nothing(&p->b);
    sim_fault_reads(p->a.qp, UINT32_MAX);
    expect(&p->a, 3, IBV_WC_SUCCESS);
    expect(&p->a, 4, IBV_WC_SUCCESS);
    expect(&p->b, 9, IBV_WC_SUCCESS);
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

const struct test verbs_fault[] = {
    TEST(a_dead_peer_is_waited_for),
    TEST(a_dead_peer_fails_the_send_after_its_polls),
    TEST(a_cut_line_heals),
    TEST(reads_wait_their_turn_with_all_that_is_behind_them),
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
    {0},
};
