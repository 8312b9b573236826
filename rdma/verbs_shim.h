/*
 * Thin C functions over libibverbs for the Go files of package rdma: each returns 0 or a
 * positive errno taken in the same call. Several verbs are macros or inline functions,
 * which cgo cannot call.
 */
#ifndef CATMINT_RDMA_VERBS_SHIM_H
#define CATMINT_RDMA_VERBS_SHIM_H

#include <stddef.h>
#include <stdint.h>

#include <infiniband/verbs.h>

#include "slowops.h"

/* The slow operations of hardware and Soft-RoCE: libibverbs' own. */
extern const struct rdma_slow_ops catmint_hw_slow_ops;

int catmint_get_device_list(struct ibv_device ***out, int *n);
int catmint_open_device(struct ibv_device *dev, struct ibv_context **out);
int catmint_query_port(struct ibv_context *ctx, uint8_t port, struct ibv_port_attr *out);
/* Up to max valid entries of the GID tables of all ports; *n is how many were written. */
int catmint_query_gid_table(struct ibv_context *ctx, struct ibv_gid_entry *out, size_t max,
                            size_t *n);

int catmint_alloc_pd(struct ibv_context *ctx, struct ibv_pd **out);
int catmint_reg_mr(struct ibv_pd *pd, void *addr, size_t len, int access, struct ibv_mr **out);
int catmint_dereg_mr(struct ibv_mr *mr);
int catmint_create_comp_channel(struct ibv_context *ctx, struct ibv_comp_channel **out);
int catmint_create_cq(struct ibv_context *ctx, int cqe, struct ibv_comp_channel *channel,
                      struct ibv_cq **out);

struct rdma_cm_id;
struct catmint_qp_init {
    struct ibv_cq *send_cq, *recv_cq;
    int signal_all;
    int send_ops; /* ibv_wr_*(3) for SEND, if the provider has it */
};
/*
 * Makes an RC queue pair on id; cap is in and out. *ex: its extended interface, NULL if that was
 * not asked for or there is none.
 */
int catmint_create_qp(struct rdma_cm_id *id, struct ibv_pd *pd, const struct catmint_qp_init *init,
                      struct ibv_qp_cap *cap, struct ibv_qp **out, struct ibv_qp_ex **ex);
/* The same without an id: makes one that is in INIT for a port. */
int catmint_create_free_qp(struct ibv_pd *pd, uint8_t port, const struct catmint_qp_init *init,
                           struct ibv_qp_cap *cap, struct ibv_qp **out, struct ibv_qp_ex **ex);
/* Destroys a queue pair and takes it off the id that owns it; id is NULL if none does. */
int catmint_destroy_qp(struct rdma_cm_id *id, struct ibv_qp *qp);
int catmint_query_qp_state(struct ibv_qp *qp, int *state);
int catmint_set_min_rnr_timer(struct ibv_qp *qp, uint8_t code);
int catmint_set_qp_error(struct ibv_qp *qp);

/* A copy of an ibv_async_event, which has been acknowledged. */
struct catmint_async_event {
    int type;
    struct ibv_qp *qp; /* to compare, not to follow */
    struct ibv_cq *cq; /* to compare, not to follow */
    uint32_t qp_num;
    int port;
};
int catmint_get_async_event(struct ibv_context *ctx, struct catmint_async_event *out);

#endif
