/*
 * What the Go half needs of the C half beyond sim.h: attribute structures filled in C, and
 * the moves that the connection manager makes with a queue pair.
 */
#ifndef CATMINT_RDMA_SIM_SHIM_H
#define CATMINT_RDMA_SIM_SHIM_H

#include "sim.h"

struct sim_shim_caps {
    uint32_t max_send_wr, max_recv_wr, max_send_sge, max_recv_sge, max_inline;
};

/* Makes a queue pair in INIT, as rdma_create_qp does; caps is updated. */
int sim_shim_create_qp(struct ibv_pd *pd, struct ibv_cq *send_cq, struct ibv_cq *recv_cq,
                       int signal_all, struct sim_shim_caps *caps, struct ibv_qp **out);

/* What a CM exchange has settled for one side. */
struct sim_shim_path {
    uint32_t dest_qpn;
    uint8_t responder_resources, initiator_depth;
    uint8_t retry_count, rnr_retry_count;
    uint8_t ack_timeout, min_rnr_timer;
};

/* INIT to RTR to RTS with the attributes that rdma_cm uses. */
int sim_shim_connect_qp(struct ibv_qp *qp, const struct sim_shim_path *path);
int sim_shim_set_min_rnr_timer(struct ibv_qp *qp, uint8_t code);
int sim_shim_qp_state(struct ibv_qp *qp);

#endif
