/*
 * What a queue pair does once per message, for the Go files of package rawqp. It is written
 * against the public verbs interface and the table of slow operations, so it works with any
 * fabric. Every function returns 0 or a positive errno unless it says otherwise.
 */
#ifndef CATMINT_RAWQP_VERBS_H
#define CATMINT_RAWQP_VERBS_H

#include <stddef.h>
#include <stdint.h>

#include "../../../../rdma/slowops.h"

/* A registered piece of memory, and for READ and WRITE the peer's. */
struct rawqp_span {
    void *addr;
    uint32_t length; /* bytes */
    uint32_t lkey;
    uint64_t remote_addr;
    uint32_t rkey;
};

int rawqp_post_recv(struct ibv_qp *qp, uint64_t id, const struct rawqp_span *span);
/* A signalled work request; opcode is one of IBV_WR_SEND, _RDMA_READ and _RDMA_WRITE. */
int rawqp_post(struct ibv_qp *qp, uint64_t id, int opcode, const struct rawqp_span *span);

/*
 * Takes one completion, spinning for up to spin_ns nanoseconds; EAGAIN when there is none,
 * EIO when the queue cannot be polled.
 */
int rawqp_poll(struct ibv_cq *cq, int64_t spin_ns, struct ibv_wc *wc);
/* Asks for an event at the next completion. */
int rawqp_arm(struct ibv_cq *cq);
/* Takes and acknowledges one completion event; EAGAIN when there is none. */
int rawqp_take_event(const struct rdma_slow_ops *ops, struct ibv_comp_channel *channel);

int rawqp_reg_mr(const struct rdma_slow_ops *ops, struct ibv_pd *pd, void *addr, size_t length,
                 struct ibv_mr **mr);
int rawqp_dereg_mr(const struct rdma_slow_ops *ops, struct ibv_mr *mr);

#endif
