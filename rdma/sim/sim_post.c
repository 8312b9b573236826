/* ibv_post_send and ibv_post_recv: checks, and the work queues' entries. */
#include <string.h>

#include "sim_internal.h"

static inline uint64_t total_length(const struct ibv_sge *sge, int n) {
    uint64_t len = 0;

    for (int i = 0; i < n; i++)
        len += sge[i].length;
    return len;
}

static inline bool supported(enum ibv_wr_opcode op) {
    const uint32_t ops = 1u << IBV_WR_SEND | 1u << IBV_WR_SEND_WITH_IMM | 1u << IBV_WR_RDMA_WRITE |
                         1u << IBV_WR_RDMA_WRITE_WITH_IMM | 1u << IBV_WR_RDMA_READ;

    return (unsigned int)op < 32 && (ops >> op & 1);
}

static inline int check_send(const struct sim_qp *qp, const struct ibv_send_wr *wr,
                             uint32_t *len_out) {
    uint64_t len;

    if (SIM_UNLIKELY(!supported(wr->opcode)))
        return EOPNOTSUPP;
    if (wr->num_sge < 0 || (uint32_t)wr->num_sge > qp->init.cap.max_send_sge)
        return EINVAL;
    len = total_length(wr->sg_list, wr->num_sge);
    if (len > UINT32_MAX)
        return EINVAL;
    if (wr->send_flags & IBV_SEND_INLINE) {
        if (wr->opcode == IBV_WR_RDMA_READ || len > qp->init.cap.max_inline_data)
            return EINVAL;
    }
    *len_out = (uint32_t)len;
    if (qp->sq.head - qp->sq.tail >= qp->sq.mask)
        return ENOMEM;
    return 0;
}

static inline void put_send(struct sim_qp *qp, const struct ibv_send_wr *wr, uint32_t len) {
    struct sim_swqe *e = sim_swqe_at(&qp->sq, qp->sq.head);

    e->wr_id = wr->wr_id;
    e->opcode = (uint8_t)wr->opcode;
    e->flags = (uint8_t)wr->send_flags;
    e->length = len;
    e->imm_data = wr->imm_data;
    e->remote_addr = wr->wr.rdma.remote_addr;
    e->rkey = wr->wr.rdma.rkey;
    if (wr->send_flags & IBV_SEND_INLINE) {
        unsigned char *to = e->u.data;

        for (int i = 0; i < wr->num_sge; i++) {
            memcpy(to, (const void *)(uintptr_t)wr->sg_list[i].addr, wr->sg_list[i].length);
            to += wr->sg_list[i].length;
        }
        e->num_sge = 0;
    } else {
        e->num_sge = (uint16_t)wr->num_sge;
        for (int i = 0; i < wr->num_sge; i++)
            e->u.sge[i] = wr->sg_list[i];
    }
    qp->sq.head++;
}

int sim_post_send(struct ibv_qp *ibqp, struct ibv_send_wr *wr, struct ibv_send_wr **bad_wr) {
    struct sim_qp *qp = (struct sim_qp *)ibqp;
    struct sim_fabric *f = qp->f;
    int err = 0;

    sim_lock(f);
    f->stats.post_sends++;
    if (SIM_UNLIKELY(qp->dev->has_rules || qp->dev->removed))
        err = sim_call_fault(qp->dev, SIM_CALL_POST_SEND);
    if (qp->ibv.state != IBV_QPS_RTS && qp->ibv.state != IBV_QPS_ERR && !err)
        err = EINVAL;
    for (; wr && !err; wr = wr->next) {
        uint32_t len;

        err = check_send(qp, wr, &len);
        if (err)
            break;
        put_send(qp, wr, len);
        f->stats.send_wrs++;
    }
    if (qp->stall == SIM_STALL_NONE)
        sim_wire_kick(qp);
    sim_unlock(f);
    if (err)
        *bad_wr = wr;
    return err;
}

static inline int check_recv(const struct sim_qp *qp, const struct ibv_recv_wr *wr) {
    if (wr->num_sge < 0 || (uint32_t)wr->num_sge > qp->init.cap.max_recv_sge ||
        total_length(wr->sg_list, wr->num_sge) > UINT32_MAX)
        return EINVAL;
    if (qp->rq.head - qp->rq.tail >= qp->rq.mask)
        return ENOMEM;
    return 0;
}

static inline void put_recv(struct sim_qp *qp, const struct ibv_recv_wr *wr) {
    struct sim_rwqe *e = sim_rwqe_at(&qp->rq, qp->rq.head);

    e->wr_id = wr->wr_id;
    e->num_sge = (uint32_t)wr->num_sge;
    e->length = (uint32_t)total_length(wr->sg_list, wr->num_sge);
    for (int i = 0; i < wr->num_sge; i++)
        e->sge[i] = wr->sg_list[i];
    qp->rq.head++;
}

int sim_post_recv(struct ibv_qp *ibqp, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad_wr) {
    struct sim_qp *qp = (struct sim_qp *)ibqp;
    struct sim_fabric *f = qp->f;
    int err = 0;

    sim_lock(f);
    f->stats.post_recvs++;
    if (SIM_UNLIKELY(qp->dev->has_rules || qp->dev->removed))
        err = sim_call_fault(qp->dev, SIM_CALL_POST_RECV);
    if (qp->ibv.state == IBV_QPS_RESET && !err)
        err = EINVAL;
    for (; wr && !err; wr = wr->next) {
        err = check_recv(qp, wr);
        if (err)
            break;
        put_recv(qp, wr);
        f->stats.recv_wrs++;
    }
    if (SIM_UNLIKELY(qp->ibv.state == IBV_QPS_ERR))
        sim_wire_kick(qp);
    else if (qp->peer && qp->peer->stall == SIM_STALL_RNR)
        sim_wire_kick(qp->peer);
    sim_unlock(f);
    if (err)
        *bad_wr = wr;
    return err;
}
