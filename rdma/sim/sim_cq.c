/* Completion queues and the channels that they report to. */
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "sim_internal.h"

int sim_channel_create(struct ibv_context *ctx, struct ibv_comp_channel **out) {
    struct sim_device *d = sim_dev_of(ctx);
    struct sim_channel *ch;
    int err;

    ch = calloc(1, sizeof(*ch));
    if (!ch)
        return ENOMEM;
    ch->ibv.context = ctx;
    ch->ibv.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (ch->ibv.fd < 0) {
        err = errno;
        free(ch);
        return err;
    }
    sim_lock(d->f);
    err = sim_call_fault(d, SIM_CALL_CHANNEL_CREATE);
    if (!err) {
        d->num_channels++;
        d->f->stats.channels++;
    }
    sim_unlock(d->f);
    if (err) {
        (void)close(ch->ibv.fd);
        free(ch);
        return err;
    }
    *out = &ch->ibv;
    return 0;
}

int sim_channel_destroy(struct ibv_comp_channel *ibch) {
    struct sim_channel *ch = (struct sim_channel *)ibch;
    struct sim_device *d = sim_dev_of(ibch->context);
    bool busy;

    sim_lock(d->f);
    busy = ch->users != 0;
    if (!busy) {
        d->num_channels--;
        d->f->stats.channels--;
    }
    sim_unlock(d->f);
    if (busy)
        return EBUSY;
    (void)close(ibch->fd);
    free(ch);
    return 0;
}

int sim_cq_create(struct ibv_context *ctx, int cqe, void *cq_context,
                  struct ibv_comp_channel *channel, struct ibv_cq **out) {
    struct sim_device *d = sim_dev_of(ctx);
    struct sim_cq *cq;
    uint32_t slots;
    int err;

    if (cqe < 1 || (uint32_t)cqe > d->attr.max_cqe || (channel && channel->context != ctx))
        return EINVAL;
    slots = sim_roundup_slots((uint32_t)cqe);
    cq = calloc(1, sizeof(*cq));
    if (!cq)
        return ENOMEM;
    cq->ring = calloc(slots, sizeof(*cq->ring));
    if (!cq->ring) {
        free(cq);
        return ENOMEM;
    }
    cq->f = d->f;
    cq->mask = slots - 1;
    cq->ibv.context = ctx;
    cq->ibv.channel = channel;
    cq->ibv.cq_context = cq_context;
    cq->ibv.cqe = (int)(slots - 1);
    sim_lock(d->f);
    err = sim_call_fault(d, SIM_CALL_CQ_CREATE);
    if (!err && d->num_cqs >= d->attr.max_cq)
        err = ENOMEM;
    if (!err) {
        cq->ibv.handle = d->num_cqs++;
        d->f->stats.cqs++;
        if (channel) {
            ((struct sim_channel *)channel)->users++;
            channel->refcnt++;
        }
    }
    sim_unlock(d->f);
    if (err) {
        free(cq->ring);
        free(cq);
        return err;
    }
    *out = &cq->ibv;
    return 0;
}

static void event_append(struct sim_channel *ch, struct sim_cq *cq) {
    cq->next_event = NULL;
    if (ch->last)
        ch->last->next_event = cq;
    else
        ch->first = cq;
    ch->last = cq;
}

static void event_remove(struct sim_channel *ch, struct sim_cq *cq) {
    struct sim_cq *prev = NULL;

    for (struct sim_cq *c = ch->first; c; prev = c, c = c->next_event) {
        if (c != cq)
            continue;
        if (prev)
            prev->next_event = c->next_event;
        else
            ch->first = c->next_event;
        if (ch->last == c)
            ch->last = prev;
        return;
    }
}

/* The fd is readable exactly while the list is not empty. */
static void event_clear_fd(struct sim_channel *ch) {
    uint64_t count;

    if (!ch->first && sim_fd_read(ch->ibv.fd, &count) < 0)
        return; /* EAGAIN: it was not readable */
}

int sim_cq_destroy(struct ibv_cq *ibcq) {
    struct sim_cq *cq = (struct sim_cq *)ibcq;
    struct sim_device *d = sim_dev_of(ibcq->context);
    bool busy;

    sim_lock(d->f);
    busy = cq->users || cq->unacked;
    if (!busy) {
        if (ibcq->channel) {
            struct sim_channel *ch = (struct sim_channel *)ibcq->channel;

            if (cq->events) {
                event_remove(ch, cq);
                event_clear_fd(ch);
            }
            ch->users--;
            ibcq->channel->refcnt--;
        }
        sim_async_forget(d, cq);
        d->num_cqs--;
        d->f->stats.cqs--;
    }
    sim_unlock(d->f);
    if (busy)
        return EBUSY;
    free(cq->ring);
    free(cq);
    return 0;
}

uint32_t sim_cq_pending(struct ibv_cq *ibcq) {
    struct sim_cq *cq = (struct sim_cq *)ibcq;
    uint32_t n;

    sim_lock(cq->f);
    n = cq->head - cq->tail;
    sim_unlock(cq->f);
    return n;
}

uint64_t sim_cq_overruns(struct ibv_cq *ibcq) {
    struct sim_cq *cq = (struct sim_cq *)ibcq;
    uint64_t n;

    sim_lock(cq->f);
    n = cq->overruns;
    sim_unlock(cq->f);
    return n;
}

void sim_cq_report(struct sim_cq *cq) {
    struct sim_channel *ch = (struct sim_channel *)cq->ibv.channel;

    cq->arm = SIM_ARM_NONE;
    if (!ch)
        return;
    if (cq->events++ == 0)
        event_append(ch, cq);
    if (sim_fd_write(ch->ibv.fd) < 0)
        abort(); /* an eventfd takes 2^64 - 2 of these */
}

void sim_cq_overrun(struct sim_cq *cq) {
    cq->overruns++;
    cq->f->stats.cq_overruns++;
    sim_async_raise(
        sim_dev_of(cq->ibv.context),
        &(struct ibv_async_event){.element.cq = &cq->ibv, .event_type = IBV_EVENT_CQ_ERR});
}

void sim_cq_forget(struct sim_cq *cq, const struct sim_qp *qp, bool purge) {
    uint32_t to = cq->tail;

    for (uint32_t i = cq->tail; i != cq->head; i++) {
        struct sim_cqe *e = &cq->ring[i & cq->mask];

        if (e->qp == qp) {
            if (purge)
                continue;
            e->qp = NULL;
        }
        if (to != i)
            cq->ring[to & cq->mask] = *e;
        to++;
    }
    cq->head = to;
}

int sim_poll_cq(struct ibv_cq *ibcq, int n, struct ibv_wc *wc) {
    struct sim_cq *cq = (struct sim_cq *)ibcq;
    struct sim_fabric *f = cq->f;
    int got = 0;

    sim_lock(f);
    if (SIM_UNLIKELY(f->retrying || f->cfg.delivery != SIM_DELIVER_NOW))
        sim_wire_poll(f, cq);
    while (got < n && cq->tail != cq->head) {
        const struct sim_cqe *e = &cq->ring[cq->tail++ & cq->mask];

        wc[got++] = e->wc;
        if (e->qp) {
            if (e->is_recv)
                e->qp->rq.tail = e->tail;
            else
                e->qp->sq.tail = e->tail;
        }
    }
    sim_unlock(f);
    return got;
}

int sim_req_notify_cq(struct ibv_cq *ibcq, int solicited_only) {
    struct sim_cq *cq = (struct sim_cq *)ibcq;
    struct sim_fabric *f = cq->f;

    sim_lock(f);
    if (f->retrying || f->cfg.delivery != SIM_DELIVER_NOW)
        sim_wire_drain(f);
    if (!solicited_only)
        cq->arm = SIM_ARM_ANY;
    else if (cq->arm == SIM_ARM_NONE)
        cq->arm = SIM_ARM_SOLICITED;
    sim_unlock(f);
    return 0;
}

static int get_cq_event(struct ibv_comp_channel *ibch, struct ibv_cq **cq_out, void **context) {
    struct sim_channel *ch = (struct sim_channel *)ibch;
    struct sim_fabric *f = sim_dev_of(ibch->context)->f;
    struct sim_cq *cq;

    sim_lock(f);
    cq = ch->first;
    if (!cq) {
        sim_unlock(f);
        return EAGAIN;
    }
    event_remove(ch, cq);
    if (--cq->events)
        event_append(ch, cq);
    event_clear_fd(ch);
    cq->unacked++;
    f->stats.unacked_events++;
    *cq_out = &cq->ibv;
    *context = cq->ibv.cq_context;
    sim_unlock(f);
    return 0;
}

static int ack_cq_events(struct ibv_cq *ibcq, unsigned int n) {
    struct sim_cq *cq = (struct sim_cq *)ibcq;
    int err = 0;

    sim_lock(cq->f);
    if (n > cq->unacked) {
        err = EINVAL;
    } else {
        cq->unacked -= n;
        cq->f->stats.unacked_events -= n;
    }
    sim_unlock(cq->f);
    return err;
}

static int modify_qp(struct ibv_qp *qp, struct ibv_qp_attr *attr, int attr_mask) {
    return sim_qp_modify(qp, attr, attr_mask);
}

const struct rdma_slow_ops *sim_slow_ops(void) {
    static const struct rdma_slow_ops ops = {
        .reg_mr = sim_mr_create,
        .dereg_mr = sim_mr_destroy,
        .get_cq_event = get_cq_event,
        .ack_cq_events = ack_cq_events,
        .modify_qp = modify_qp,
    };

    return &ops;
}
