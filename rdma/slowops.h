/*
 * The slow operations that the data plane needs on verbs objects.
 *
 * The data plane calls post_send, post_recv, poll_cq and req_notify_cq through the
 * public ctx->ops of an ibv_context, and ibv_wr_start(3) and others through a struct
 * ibv_qp_ex, which works on a provider and on a simulated device alike. The operations below go
 * through private parts of libibverbs and would crash on an ibv_context that libibverbs did not
 * make, so whoever made the objects hands the data plane this table with them: package rdma for
 * hardware and Soft-RoCE, package rdma/sim for the in-process fabric.
 *
 * Every function returns 0 or a positive errno, may be called from any thread, and
 * never keeps a pointer that it was given beyond the life of the object it belongs to.
 */
#ifndef CATMINT_RDMA_SLOWOPS_H
#define CATMINT_RDMA_SLOWOPS_H

#include <stddef.h>
#include <infiniband/verbs.h>

struct rdma_slow_ops {
    /* Registers [addr, addr+len); access is a set of IBV_ACCESS_* flags. */
    int (*reg_mr)(struct ibv_pd *pd, void *addr, size_t len, int access, struct ibv_mr **out);
    int (*dereg_mr)(struct ibv_mr *mr);
    /* Takes one event off a non-blocking completion channel; EAGAIN when there is none. */
    int (*get_cq_event)(struct ibv_comp_channel *channel, struct ibv_cq **cq, void **cq_context);
    /* Acknowledges n events of cq; all must be acknowledged before the CQ is destroyed. */
    int (*ack_cq_events)(struct ibv_cq *cq, unsigned int n);
    int (*modify_qp)(struct ibv_qp *qp, struct ibv_qp_attr *attr, int attr_mask);
};

#endif
