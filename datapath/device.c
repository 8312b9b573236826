/* Devices, completion queues, and the budget of each completion queue. */
#include "internal.h"

#include <stdlib.h>

/* post_send of a provider that enters the kernel. */
static int post_send_uncancelled(struct ibv_qp *qp, struct ibv_send_wr *wr,
                                 struct ibv_send_wr **bad) {
    int old = dp_cancel_off();
    int rc = qp->context->ops.post_send(qp, wr, bad);
    dp_cancel_back(old);
    return rc;
}

int dp_device_add(struct ibv_pd *pd, const struct rdma_slow_ops *ops,
                  const struct dp_device_attr *attr, struct dp_device **out) {
    if (!pd || !ops || !attr || !out)
        return EINVAL;
    struct dp_device *d = (struct dp_device *)calloc(1, sizeof(*d));
    if (!d)
        return ENOMEM;
    d->pd = pd;
    d->ops = ops;
    d->attr = *attr;
    if (attr->kernel_posts) {
        d->ops_uncancelled = pd->context->ops;
        d->ops_uncancelled.post_send = post_send_uncancelled;
    }
    int rc = arena_device_add(pd, ops, &d->slot);
    if (rc) {
        free(d);
        return rc;
    }
    dp_count(&dp_counts.devices, 1);
    *out = d;
    return 0;
}

int dp_device_remove(struct dp_device *d) {
    if (!d)
        return EINVAL;
    if (__atomic_load_n(&d->users, __ATOMIC_ACQUIRE))
        return EBUSY;
    int rc = arena_device_remove(d->slot);
    free(d);
    dp_count(&dp_counts.devices, -1);
    return rc;
}

/* Channels in use after one more CQ that reports to channel. */
static int count_channels(struct dp_engine *e, const struct ibv_comp_channel *channel) {
    const struct ibv_comp_channel *seen[DP_MAX_CHANNELS + 1] = {channel};
    int n = 1;
    struct dp_cq *q;

    TAILQ_FOREACH(q, &e->cqs, link) {
        int i = 0;
        while (i < n && seen[i] != q->channel)
            i++;
        if (i == n)
            seen[n++] = q->channel; /* never more than DP_MAX_CHANNELS before the new one */
    }
    return n;
}

int dp_cq_add(struct dp_engine *e, struct dp_device *d, struct ibv_cq *cq,
              struct ibv_comp_channel *channel, uint32_t depth, struct dp_cq **out) {
    if (!e || !d || !cq || !channel || !depth || !out)
        return EINVAL;
    struct dp_cq *q = (struct dp_cq *)calloc(1, sizeof(*q));
    if (!q)
        return ENOMEM;
    q->engine = e;
    q->device = d;
    q->cq = cq;
    q->channel = channel;
    q->depth = depth;
    dp_lock(e);
    if (!e->alive || count_channels(e, channel) > DP_MAX_CHANNELS) {
        int rc = e->alive ? ENOSPC : EINVAL;
        dp_unlock(e);
        free(q);
        return rc;
    }
    TAILQ_INSERT_TAIL(&e->cqs, q, link);
    __atomic_fetch_add(&d->users, 1, __ATOMIC_ACQ_REL);
    dp_leader_refresh(e);
    dp_unlock(e);
    dp_count(&dp_counts.cqs, 1);
    *out = q;
    return 0;
}

int dp_cq_remove(struct dp_cq *q) {
    if (!q)
        return EINVAL;
    struct dp_engine *e = q->engine;
    dp_lock(e);
    if (q->conns) {
        dp_unlock(e);
        return EBUSY;
    }
    dp_channel_drain(e);
    (void)dp_poll_drain(e, q);
    TAILQ_REMOVE(&e->cqs, q, link);
    if (e->turn == q)
        e->turn = NULL;
    __atomic_fetch_sub(&q->device->users, 1, __ATOMIC_ACQ_REL);
    dp_leader_refresh(e);
    dp_unlock(e);
    free(q);
    dp_count(&dp_counts.cqs, -1);
    return 0;
}

struct dp_cq *dp_cq_find(struct dp_engine *e, struct dp_device *d, uint32_t need, bool grown) {
    struct dp_cq *q;

    dp_lock(e);
    TAILQ_FOREACH(q, &e->cqs, link) {
        uint32_t taken = grown ? q->promised : q->used;
        if (q->device == d && q->depth >= taken && q->depth - taken >= need)
            break;
    }
    dp_unlock(e);
    return q;
}
