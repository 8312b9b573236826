#define _POSIX_C_SOURCE 200809L

#include "verbs.h"

#include <errno.h>
#include <time.h>

static struct ibv_sge sge_of(const struct rawqp_span *span) {
    return (struct ibv_sge){
        .addr = (uintptr_t)span->addr, .length = span->length, .lkey = span->lkey};
}

int rawqp_post_recv(struct ibv_qp *qp, uint64_t id, const struct rawqp_span *span) {
    struct ibv_sge sge = sge_of(span);
    struct ibv_recv_wr wr = {.wr_id = id, .sg_list = &sge, .num_sge = 1};
    struct ibv_recv_wr *bad;

    return ibv_post_recv(qp, &wr, &bad);
}

int rawqp_post(struct ibv_qp *qp, uint64_t id, int opcode, const struct rawqp_span *span) {
    struct ibv_sge sge = sge_of(span);
    struct ibv_send_wr wr = {
        .wr_id = id,
        .sg_list = &sge,
        .num_sge = 1,
        .opcode = (enum ibv_wr_opcode)opcode,
        .send_flags = IBV_SEND_SIGNALED,
        .wr.rdma = {.remote_addr = span->remote_addr, .rkey = span->rkey},
    };
    struct ibv_send_wr *bad;

    return ibv_post_send(qp, &wr, &bad);
}

static int64_t now_ns(void) {
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int rawqp_poll(struct ibv_cq *cq, int64_t spin_ns, struct ibv_wc *wc) {
    int n = ibv_poll_cq(cq, 1, wc);

    if (n == 0 && spin_ns > 0) {
        int64_t end = now_ns() + spin_ns;

        do
            n = ibv_poll_cq(cq, 1, wc);
        while (n == 0 && now_ns() < end);
    }
    if (n < 0)
        return EIO;
    return n == 0 ? EAGAIN : 0;
}

int rawqp_arm(struct ibv_cq *cq) {
    return ibv_req_notify_cq(cq, 0);
}

int rawqp_take_event(const struct rdma_slow_ops *ops, struct ibv_comp_channel *channel) {
    struct ibv_cq *cq;
    void *context;
    int err = ops->get_cq_event(channel, &cq, &context);

    return err != 0 ? err : ops->ack_cq_events(cq, 1);
}

int rawqp_reg_mr(const struct rdma_slow_ops *ops, struct ibv_pd *pd, void *addr, size_t length,
                 struct ibv_mr **mr) {
    int access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE;

    return ops->reg_mr(pd, addr, length, access, mr);
}

int rawqp_dereg_mr(const struct rdma_slow_ops *ops, struct ibv_mr *mr) {
    return ops->dereg_mr(mr);
}
