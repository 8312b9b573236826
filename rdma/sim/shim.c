#include "shim.h"

int sim_shim_create_qp(struct ibv_pd *pd, struct ibv_cq *send_cq, struct ibv_cq *recv_cq,
                       int signal_all, struct sim_shim_caps *caps, struct ibv_qp **out) {
    struct ibv_qp_init_attr init = {
        .send_cq = send_cq,
        .recv_cq = recv_cq,
        .cap = {.max_send_wr = caps->max_send_wr,
                .max_recv_wr = caps->max_recv_wr,
                .max_send_sge = caps->max_send_sge,
                .max_recv_sge = caps->max_recv_sge,
                .max_inline_data = caps->max_inline},
        .qp_type = IBV_QPT_RC,
        .sq_sig_all = signal_all,
    };
    const struct ibv_qp_attr attr = {.qp_state = IBV_QPS_INIT, .port_num = 1};
    int err;

    err = sim_qp_create(pd, &init, out);
    if (err)
        return err;
    err = sim_qp_modify(*out, &attr,
                        IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
    if (err) {
        (void)sim_qp_destroy(*out);
        return err;
    }
    caps->max_send_wr = init.cap.max_send_wr;
    caps->max_recv_wr = init.cap.max_recv_wr;
    caps->max_send_sge = init.cap.max_send_sge;
    caps->max_recv_sge = init.cap.max_recv_sge;
    caps->max_inline = init.cap.max_inline_data;
    return 0;
}

int sim_shim_connect_qp(struct ibv_qp *qp, const struct sim_shim_path *path) {
    struct ibv_qp_attr attr = {
        .qp_state = IBV_QPS_RTR,
        .path_mtu = IBV_MTU_1024,
        .dest_qp_num = path->dest_qpn,
        .max_dest_rd_atomic = path->responder_resources,
        .min_rnr_timer = path->min_rnr_timer,
        .qp_access_flags = IBV_ACCESS_REMOTE_WRITE,
    };
    int err;

    if (path->responder_resources)
        attr.qp_access_flags |= IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC;
    err =
        sim_qp_modify(qp, &attr,
                      IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
                          IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER | IBV_QP_ACCESS_FLAGS);
    if (err)
        return err;
    attr = (struct ibv_qp_attr){
        .qp_state = IBV_QPS_RTS,
        .timeout = path->ack_timeout,
        .retry_cnt = path->retry_count,
        .rnr_retry = path->rnr_retry_count,
        .max_rd_atomic = path->initiator_depth,
    };
    return sim_qp_modify(qp, &attr,
                         IBV_QP_STATE | IBV_QP_SQ_PSN | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT |
                             IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC);
}

int sim_shim_set_min_rnr_timer(struct ibv_qp *qp, uint8_t code) {
    const struct ibv_qp_attr attr = {.min_rnr_timer = code};

    return sim_qp_modify(qp, &attr, IBV_QP_MIN_RNR_TIMER);
}

int sim_shim_qp_state(struct ibv_qp *qp) {
    struct ibv_qp_attr attr;

    (void)sim_qp_query(qp, &attr, NULL);
    return (int)attr.qp_state;
}
