#include "taken_shim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Bits that rdma_ucm of old kernels sets for Ethernet, on InfiniBand too, where they are refused.
 */
#define ETHERNET_BITS 0x1e00000

/* The result of functions that return 0, an errno, or -1 and set errno. */
static int result(int rc) {
    if (rc >= 0)
        return rc;
    return errno > 0 ? errno : EIO;
}

int catmint_take_qp(struct rdma_cm_id *id, struct ibv_qp *qp, int init_again) {
    struct catmint_taken_qp *t = id->context;

    if (id->verbs->device->transport_type != IBV_TRANSPORT_IB) {
        id->pd = qp->pd; /* as rdma_create_qp leaves them */
        id->qp = qp;
        return 0;
    }
    if (t == NULL)
        t = calloc(1, sizeof(*t));
    if (t == NULL)
        return ENOMEM;
    t->qp = qp;
    t->init_again = init_again != 0;
    id->context = t;
    return 0;
}

void catmint_untake_qp(struct rdma_cm_id *id) {
    struct catmint_taken_qp *t = id->context;

    if (t != NULL)
        t->qp = NULL;
}

struct catmint_taken_qp *catmint_taken(struct rdma_cm_id *id) {
    struct catmint_taken_qp *t = id->context;

    return t != NULL && t->qp != NULL ? t : NULL;
}

/* CM's attributes for a state. */
static int cm_attr(struct rdma_cm_id *id, enum ibv_qp_state state, struct ibv_qp_attr *attr,
                   int *mask) {
    memset(attr, 0, sizeof(*attr));
    attr->qp_state = state;
    *mask = 0;
    errno = 0;
    return result(rdma_init_qp_attr(id, attr, mask));
}

static int to_error(struct catmint_taken_qp *t) {
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};

    return result(ibv_modify_qp(t->qp, &attr, IBV_QP_STATE));
}

static int to_init(struct rdma_cm_id *id, struct catmint_taken_qp *t) {
    struct ibv_qp_attr attr;
    int mask;
    int rc = cm_attr(id, IBV_QPS_INIT, &attr, &mask);

    return rc != 0 ? rc : result(ibv_modify_qp(t->qp, &attr, mask));
}

/* reads: that we answer at once, RDMA_MAX_RESP_RES for CM's own. */
static int to_rtr(struct rdma_cm_id *id, struct catmint_taken_qp *t, uint8_t reads) {
    struct ibv_qp_attr attr;
    int mask;
    int rc = cm_attr(id, IBV_QPS_RTR, &attr, &mask);

    if (rc != 0)
        return rc;
    if (reads != RDMA_MAX_RESP_RES)
        attr.max_dest_rd_atomic = reads;
    if (t->min_rnr_timer != 0)
        attr.min_rnr_timer = t->min_rnr_timer;
    if (t->init_again) {
        mask &= ~ETHERNET_BITS;
    } else { /* what CM's INIT allows the peer, ours allows nothing */
        mask |= IBV_QP_ACCESS_FLAGS;
        attr.qp_access_flags = IBV_ACCESS_REMOTE_WRITE;
        if (attr.max_dest_rd_atomic != 0)
            attr.qp_access_flags |= IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC;
    }
    return result(ibv_modify_qp(t->qp, &attr, mask));
}

/* reads: that we have under way at once, RDMA_MAX_INIT_DEPTH for CM's own. */
static int to_rts(struct rdma_cm_id *id, struct catmint_taken_qp *t, uint8_t reads) {
    struct ibv_qp_attr attr;
    int mask;
    int rc = cm_attr(id, IBV_QPS_RTS, &attr, &mask);

    if (rc != 0)
        return rc;
    if (reads != RDMA_MAX_INIT_DEPTH)
        attr.max_rd_atomic = reads;
    if (t->ack_timeout != 0)
        attr.timeout = t->ack_timeout;
    return result(ibv_modify_qp(t->qp, &attr, mask));
}

static int ready(struct rdma_cm_id *id, struct catmint_taken_qp *t, uint8_t reads_in,
                 uint8_t reads_out) {
    int rc = t->init_again ? to_init(id, t) : 0;

    if (rc == 0)
        rc = to_rtr(id, t, reads_in);
    if (rc == 0)
        rc = to_rts(id, t, reads_out);
    return rc;
}

int catmint_taken_accept(struct rdma_cm_id *id, struct catmint_taken_qp *t,
                         struct rdma_conn_param *param) {
    int rc = ready(id, t, param->responder_resources, param->initiator_depth);

    if (rc != 0)
        return rc;
    param->qp_num = t->qp->qp_num;
    errno = 0;
    rc = result(rdma_accept(id, param));
    if (rc != 0)
        (void)to_error(t);
    return rc;
}

int catmint_taken_disconnect(struct rdma_cm_id *id, struct catmint_taken_qp *t) {
    int rc = to_error(t);

    errno = 0;
    return rc != 0 ? rc : result(rdma_disconnect(id));
}

/* The peer's answer: our end is ready before the peer is told so. */
static int established(struct rdma_cm_id *id, struct catmint_taken_qp *t) {
    int rc = ready(id, t, RDMA_MAX_RESP_RES, RDMA_MAX_INIT_DEPTH);

    errno = 0;
    return rc != 0 ? rc : result(rdma_establish(id));
}

bool catmint_taken_event(struct rdma_cm_id *id, int *type, int *status) {
    struct catmint_taken_qp *t = id->context;
    bool ends = *type == RDMA_CM_EVENT_REJECTED;
    int rc;

    if (t == NULL)
        return true;
    if (t->failed && (ends || *type == RDMA_CM_EVENT_DISCONNECTED))
        return false;
    if (t->qp == NULL)
        return true;
    if (*type == RDMA_CM_EVENT_CONNECT_RESPONSE) {
        rc = established(id, t);
        ends = t->failed = rc != 0; /* the peer hears of it when the id is destroyed */
        *type = ends ? RDMA_CM_EVENT_CONNECT_ERROR : RDMA_CM_EVENT_ESTABLISHED;
        *status = -rc;
    }
    if (ends)
        (void)to_error(t);
    return true;
}
