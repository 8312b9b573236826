/* RC semantics, one rule a test, in immediate delivery: completion queues, their events, and when
 * completions come. */
#include <errno.h>
#include <poll.h>

#include "verbs.h"

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

const struct test verbs_cq[] = {
    TEST(a_full_cq_drops_in_silence),
    TEST(an_armed_cq_reports_the_next_completion_once),
    TEST(events_of_a_shared_channel_come_in_order),
    TEST(a_late_failure_acknowledges_what_came_before),
    TEST(solicited_only_waits_for_solicited_or_error),
    TEST(the_receiver_may_be_ready_before_the_sender),
    {0},
};
