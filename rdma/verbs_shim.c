#include "verbs_shim.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <rdma/rdma_cma.h>

#include "taken_shim.h"

/* errno after a call that answered with NULL or -1. */
static int failed(void) {
    return errno > 0 ? errno : EIO;
}

/* The result of verbs that return an errno; some return -1 and set it. */
static int result(int rc) {
    return rc >= 0 ? rc : failed();
}

int catmint_get_device_list(struct ibv_device ***out, int *n) {
    errno = 0;
    *out = ibv_get_device_list(n);
    return *out != NULL ? 0 : failed();
}

int catmint_open_device(struct ibv_device *dev, struct ibv_context **out) {
    errno = 0;
    *out = ibv_open_device(dev);
    return *out != NULL ? 0 : failed();
}

int catmint_query_port(struct ibv_context *ctx, uint8_t port, struct ibv_port_attr *out) {
    return result(ibv_query_port(ctx, port, out));
}

int catmint_query_gid_table(struct ibv_context *ctx, struct ibv_gid_entry *out, size_t max,
                            size_t *n) {
    ssize_t got = ibv_query_gid_table(ctx, out, max, 0);

    *n = got > 0 ? (size_t)got : 0;
    return got >= 0 ? 0 : (int)-got;
}

int catmint_alloc_pd(struct ibv_context *ctx, struct ibv_pd **out) {
    errno = 0;
    *out = ibv_alloc_pd(ctx);
    return *out != NULL ? 0 : failed();
}

int catmint_reg_mr(struct ibv_pd *pd, void *addr, size_t len, int access, struct ibv_mr **out) {
    return catmint_hw_slow_ops.reg_mr(pd, addr, len, access, out);
}

int catmint_dereg_mr(struct ibv_mr *mr) {
    return catmint_hw_slow_ops.dereg_mr(mr);
}

int catmint_create_comp_channel(struct ibv_context *ctx, struct ibv_comp_channel **out) {
    errno = 0;
    *out = ibv_create_comp_channel(ctx);
    return *out != NULL ? 0 : failed();
}

int catmint_create_cq(struct ibv_context *ctx, int cqe, struct ibv_comp_channel *channel,
                      struct ibv_cq **out) {
    errno = 0;
    *out = ibv_create_cq(ctx, cqe, NULL, channel, 0);
    return *out != NULL ? 0 : failed();
}

/* Makes a queue pair as ask says, which is what is granted then; id's own unless id is NULL. */
static int create_qp(struct rdma_cm_id *id, struct ibv_qp_init_attr_ex *ask, struct ibv_qp **out) {
    errno = 0;
    if (id == NULL) {
        *out = ibv_create_qp_ex(ask->pd->context, ask);
        return *out != NULL ? 0 : failed();
    }
    if (rdma_create_qp_ex(id, ask) != 0)
        return failed();
    *out = id->qp;
    return 0;
}

/* What a provider answers that does not know of send operations, or not of these. */
static bool lacks_send_ops(int rc) {
    return rc == EOPNOTSUPP || rc == ENOSYS || rc == EINVAL;
}

/* Makes an RC queue pair; with send operations if ex is not NULL and the provider has them. */
static int create_rc_qp(struct rdma_cm_id *id, struct ibv_pd *pd,
                        const struct catmint_qp_init *init, struct ibv_qp_cap *cap,
                        struct ibv_qp **out, struct ibv_qp_ex **ex) {
    const struct ibv_qp_init_attr_ex plain = {
        .send_cq = init->send_cq,
        .recv_cq = init->recv_cq,
        .cap = *cap,
        .qp_type = IBV_QPT_RC,
        .sq_sig_all = init->signal_all,
        .comp_mask = IBV_QP_INIT_ATTR_PD,
        .pd = pd,
    };
    struct ibv_qp_init_attr_ex ask = plain;
    int rc = EOPNOTSUPP;

    *ex = NULL;
    if (init->send_ops) {
        ask.comp_mask |= IBV_QP_INIT_ATTR_SEND_OPS_FLAGS;
        ask.send_ops_flags = IBV_QP_EX_WITH_SEND;
        rc = create_qp(id, &ask, out);
        if (rc == 0)
            *ex = ibv_qp_to_qp_ex(*out);
    }
    if (lacks_send_ops(rc)) {
        ask = plain;
        rc = create_qp(id, &ask, out);
    }
    if (rc == 0)
        *cap = ask.cap;
    return rc;
}

int catmint_create_qp(struct rdma_cm_id *id, struct ibv_pd *pd, const struct catmint_qp_init *init,
                      struct ibv_qp_cap *cap, struct ibv_qp **out, struct ibv_qp_ex **ex) {
    if (id->verbs == NULL)
        return EINVAL;
    return create_rc_qp(id, pd, init, cap, out, ex);
}

int catmint_destroy_qp(struct rdma_cm_id *id, struct ibv_qp *qp) {
    int rc = result(ibv_destroy_qp(qp));

    if (rc != 0 || id == NULL)
        return rc;
    if (id->qp == qp)
        id->qp = NULL;
    else
        catmint_untake_qp(id);
    return 0;
}

int catmint_create_free_qp(struct ibv_pd *pd, uint8_t port, const struct catmint_qp_init *init,
                           struct ibv_qp_cap *cap, struct ibv_qp **out, struct ibv_qp_ex **ex) {
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_INIT, .port_num = port};
    int rc = create_rc_qp(NULL, pd, init, cap, out, ex);

    if (rc != 0)
        return rc;
    rc = result(ibv_modify_qp(
        *out, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS));
    if (rc != 0)
        (void)ibv_destroy_qp(*out);
    return rc;
}

int catmint_query_qp_state(struct ibv_qp *qp, int *state) {
    struct ibv_qp_attr attr;
    struct ibv_qp_init_attr init;
    int rc = result(ibv_query_qp(qp, &attr, IBV_QP_STATE, &init));

    if (rc == 0)
        *state = (int)attr.qp_state;
    return rc;
}

int catmint_set_min_rnr_timer(struct ibv_qp *qp, uint8_t code) {
    struct ibv_qp_attr attr = {.min_rnr_timer = code};

    return result(ibv_modify_qp(qp, &attr, IBV_QP_MIN_RNR_TIMER));
}

int catmint_set_qp_error(struct ibv_qp *qp) {
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};

    return result(ibv_modify_qp(qp, &attr, IBV_QP_STATE));
}

int catmint_get_async_event(struct ibv_context *ctx, struct catmint_async_event *out) {
    struct ibv_async_event ev;

    errno = 0;
    if (ibv_get_async_event(ctx, &ev) != 0)
        return failed();
    memset(out, 0, sizeof(*out));
    out->type = (int)ev.event_type;
    switch (ev.event_type) {
    case IBV_EVENT_CQ_ERR:
        out->cq = ev.element.cq;
        break;
    case IBV_EVENT_QP_FATAL:
    case IBV_EVENT_QP_REQ_ERR:
    case IBV_EVENT_QP_ACCESS_ERR:
    case IBV_EVENT_COMM_EST:
    case IBV_EVENT_SQ_DRAINED:
    case IBV_EVENT_PATH_MIG:
    case IBV_EVENT_PATH_MIG_ERR:
    case IBV_EVENT_QP_LAST_WQE_REACHED:
        /* Destroying the queue pair waits for our acknowledgement: it is alive here. */
        out->qp = ev.element.qp;
        out->qp_num = ev.element.qp->qp_num;
        break;
    case IBV_EVENT_PORT_ACTIVE:
    case IBV_EVENT_PORT_ERR:
    case IBV_EVENT_LID_CHANGE:
    case IBV_EVENT_PKEY_CHANGE:
    case IBV_EVENT_SM_CHANGE:
    case IBV_EVENT_CLIENT_REREGISTER:
    case IBV_EVENT_GID_CHANGE:
        out->port = ev.element.port_num;
        break;
    default:
        break;
    }
    ibv_ack_async_event(&ev);
    return 0;
}
