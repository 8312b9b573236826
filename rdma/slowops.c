#include "slowops.h"

#include <errno.h>

#include "verbs_shim.h"

static int failed(void) {
    return errno > 0 ? errno : EIO;
}

static int hw_reg_mr(struct ibv_pd *pd, void *addr, size_t len, int access, struct ibv_mr **out) {
    errno = 0;
    *out = ibv_reg_mr(pd, addr, len, access);
    return *out != NULL ? 0 : failed();
}

static int hw_dereg_mr(struct ibv_mr *mr) {
    int rc = ibv_dereg_mr(mr);

    return rc >= 0 ? rc : failed();
}

static int hw_get_cq_event(struct ibv_comp_channel *channel, struct ibv_cq **cq,
                           void **cq_context) {
    errno = 0;
    return ibv_get_cq_event(channel, cq, cq_context) == 0 ? 0 : failed();
}

static int hw_ack_cq_events(struct ibv_cq *cq, unsigned int n) {
    ibv_ack_cq_events(cq, n);
    return 0;
}

static int hw_modify_qp(struct ibv_qp *qp, struct ibv_qp_attr *attr, int attr_mask) {
    int rc = ibv_modify_qp(qp, attr, attr_mask);

    return rc >= 0 ? rc : failed();
}

const struct rdma_slow_ops catmint_hw_slow_ops = {
    .reg_mr = hw_reg_mr,
    .dereg_mr = hw_dereg_mr,
    .get_cq_event = hw_get_cq_event,
    .ack_cq_events = hw_ack_cq_events,
    .modify_qp = hw_modify_qp,
};
