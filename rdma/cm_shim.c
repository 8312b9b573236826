#include "cm_shim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "taken_shim.h"

/* The library's result, 0 or -1 with errno, as a positive errno. */
static int result(int rc) {
    if (rc == 0)
        return 0;
    return errno > 0 ? errno : EIO;
}

int catmint_create_event_channel(struct rdma_event_channel **out) {
    errno = 0;
    *out = rdma_create_event_channel();
    return *out != NULL ? 0 : result(-1);
}

/* Copies an event and does what it asks of a queue pair; false: nobody is to be told of it. */
static bool take_event(const struct rdma_cm_event *ev, int err, struct catmint_cm_event *out) {
    const struct rdma_conn_param *param = &ev->param.conn;
    bool request = ev->event == RDMA_CM_EVENT_CONNECT_REQUEST;

    out->id = ev->id;
    out->listen_id = request ? ev->listen_id : NULL;
    out->type = (int)ev->event;
    out->status = ev->status;
    /* A step that the library takes by itself reports -1 and leaves the reason in errno. */
    if (ev->status == -1 && err > 0)
        out->status = -err;
    out->responder_resources = param->responder_resources;
    out->initiator_depth = param->initiator_depth;
    out->private_data_len = 0;
    if (param->private_data != NULL && param->private_data_len > 0) {
        out->private_data_len = param->private_data_len;
        memcpy(out->private_data, param->private_data, param->private_data_len);
    }
    if (request)
        ev->id->context = NULL; /* the library copies the listener's */
    return catmint_taken_event(ev->id, &out->type, &out->status);
}

int catmint_get_cm_event(struct rdma_event_channel *channel, struct catmint_cm_event *out) {
    struct rdma_cm_event *ev;
    bool tell;

    do {
        errno = 0;
        if (rdma_get_cm_event(channel, &ev) != 0)
            return result(-1);
        tell = take_event(ev, errno, out);
        (void)rdma_ack_cm_event(ev);
    } while (!tell);
    return 0;
}

int catmint_create_id(struct rdma_event_channel *channel, struct rdma_cm_id **out) {
    return result(rdma_create_id(channel, out, NULL, RDMA_PS_TCP));
}

int catmint_destroy_id(struct rdma_cm_id *id) {
    struct catmint_taken_qp *t = id->context;
    int rc = result(rdma_destroy_id(id));

    if (rc == 0)
        free(t);
    return rc;
}

/* Copies an address into storage of ours; EINVAL if its length is out of bounds. */
static int copy_addr(struct sockaddr_storage *to, const void *from, size_t len) {
    memset(to, 0, sizeof(*to));
    if (len < sizeof(sa_family_t) || len > sizeof(*to))
        return EINVAL;
    memcpy(to, from, len);
    return 0;
}

int catmint_bind_addr(struct rdma_cm_id *id, const void *addr, size_t len) {
    struct sockaddr_storage local;

    if (copy_addr(&local, addr, len) != 0)
        return EINVAL;
    return result(rdma_bind_addr(id, (struct sockaddr *)&local));
}

int catmint_resolve_addr(struct rdma_cm_id *id, const void *src, size_t src_len, const void *dst,
                         size_t dst_len, int timeout_ms) {
    struct sockaddr_storage local, remote;

    if (copy_addr(&remote, dst, dst_len) != 0)
        return EINVAL;
    if (src_len != 0 && copy_addr(&local, src, src_len) != 0)
        return EINVAL;
    return result(rdma_resolve_addr(id, src_len != 0 ? (struct sockaddr *)&local : NULL,
                                    (struct sockaddr *)&remote, timeout_ms));
}

int catmint_resolve_route(struct rdma_cm_id *id, int timeout_ms) {
    if (id->verbs == NULL)
        return EINVAL;
    return result(rdma_resolve_route(id, timeout_ms));
}

int catmint_listen(struct rdma_cm_id *id, int backlog) {
    return result(rdma_listen(id, backlog));
}

static struct rdma_conn_param conn_param(const struct catmint_conn_param *param,
                                         const void *private_data, uint8_t private_data_len) {
    return (struct rdma_conn_param){
        .private_data = private_data,
        .private_data_len = private_data_len,
        .responder_resources = param->responder_resources,
        .initiator_depth = param->initiator_depth,
        .retry_count = param->retry_count,
        .rnr_retry_count = param->rnr_retry_count,
    };
}

/* Notes the timers that an end of ours wants, if we move its queue pair. */
static struct catmint_taken_qp *taken(struct rdma_cm_id *id,
                                      const struct catmint_conn_param *param) {
    struct catmint_taken_qp *t = catmint_taken(id);

    if (t != NULL) {
        t->ack_timeout = param->ack_timeout;
        t->min_rnr_timer = param->min_rnr_timer;
    }
    return t;
}

int catmint_connect(struct rdma_cm_id *id, const struct catmint_conn_param *param,
                    const void *private_data, uint8_t private_data_len) {
    struct rdma_conn_param p = conn_param(param, private_data, private_data_len);
    const struct catmint_taken_qp *t = taken(id, param);

    if (id->verbs == NULL || (id->qp == NULL && t == NULL))
        return EINVAL;
    if (t != NULL)
        p.qp_num = t->qp->qp_num;
    return result(rdma_connect(id, &p));
}

int catmint_accept(struct rdma_cm_id *id, const struct catmint_conn_param *param,
                   const void *private_data, uint8_t private_data_len) {
    struct rdma_conn_param p = conn_param(param, private_data, private_data_len);
    struct catmint_taken_qp *t = taken(id, param);

    if (id->verbs == NULL || (id->qp == NULL && t == NULL))
        return EINVAL;
    if (t != NULL)
        return catmint_taken_accept(id, t, &p);
    return result(rdma_accept(id, &p));
}

int catmint_reject(struct rdma_cm_id *id, const void *private_data, uint8_t private_data_len) {
    return result(rdma_reject(id, private_data, private_data_len));
}

int catmint_disconnect(struct rdma_cm_id *id) {
    struct catmint_taken_qp *t = catmint_taken(id);

    if (t != NULL)
        return catmint_taken_disconnect(id, t);
    return result(rdma_disconnect(id));
}

int catmint_set_option(struct rdma_cm_id *id, int name, void *value, size_t len) {
    return result(rdma_set_option(id, RDMA_OPTION_ID, name, value, len));
}

void catmint_addrs(struct rdma_cm_id *id, struct sockaddr_storage *local,
                   struct sockaddr_storage *remote) {
    memcpy(local, &id->route.addr.src_storage, sizeof(*local));
    memcpy(remote, &id->route.addr.dst_storage, sizeof(*remote));
}
