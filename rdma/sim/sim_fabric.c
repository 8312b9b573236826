/* The fabric and its devices: what is alive, failing calls, asynchronous events. */
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "sim_internal.h"

int sim_fabric_create(const struct sim_config *cfg, struct sim_fabric **out) {
    struct sim_fabric *f;

    if (!out)
        return EINVAL;
    f = calloc(1, sizeof(*f));
    if (!f)
        return ENOMEM;
    if (cfg)
        f->cfg = *cfg;
    (void)pthread_mutex_init(&f->lock, NULL);
    f->rng = f->cfg.seed;
    f->next_qpn = 17; /* 0 and 1 are special, rxe begins here */
    *out = f;
    return 0;
}

int sim_fabric_destroy(struct sim_fabric *f) {
    bool busy;

    if (!f)
        return EINVAL;
    sim_lock(f);
    busy = f->stats.devices != 0;
    sim_unlock(f);
    if (busy)
        return EBUSY;
    (void)pthread_mutex_destroy(&f->lock);
    free(f->active);
    free(f);
    return 0;
}

void sim_fabric_drain(struct sim_fabric *f) {
    sim_lock(f);
    sim_wire_drain(f);
    sim_unlock(f);
}

void sim_fabric_census(struct sim_fabric *f, struct sim_census *out) {
    sim_lock(f);
    *out = f->stats;
    sim_unlock(f);
}

/* splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014). */
uint32_t sim_random(struct sim_fabric *f, uint32_t n) {
    uint64_t z = (f->rng += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (uint32_t)(((z >> 32) * n) >> 32);
}

/* Slots of a ring that holds at least n entries: a power of two above n, as rxe does. */
uint32_t sim_roundup_slots(uint32_t n) {
    uint32_t slots = 2;

    while (slots <= n)
        slots *= 2;
    return slots;
}

/* ---- Asynchronous events ---- */

static int async_init(struct sim_device *d) {
    d->ibv.async_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return d->ibv.async_fd < 0 ? errno : 0;
}

static void async_fini(struct sim_device *d) {
    (void)close(d->ibv.async_fd);
}

void sim_async_raise(struct sim_device *d, const struct ibv_async_event *ev) {
    if (d->async_head - d->async_tail == SIM_ASYNC_SLOTS)
        return;
    d->async[d->async_head++ % SIM_ASYNC_SLOTS] = *ev;
    if (sim_fd_write(d->ibv.async_fd) < 0)
        return; /* cannot be: an eventfd takes 2^64 - 2 of these */
}

/* An object goes: nobody may be told of it any more. */
void sim_async_forget(struct sim_device *d, const void *object) {
    uint32_t to = d->async_tail;

    for (uint32_t i = d->async_tail; i != d->async_head; i++) {
        const struct ibv_async_event *ev = &d->async[i % SIM_ASYNC_SLOTS];

        /* The members that point to objects share their place. */
        if (ev->event_type != IBV_EVENT_DEVICE_FATAL && (const void *)ev->element.qp == object)
            continue;
        d->async[to++ % SIM_ASYNC_SLOTS] = *ev;
    }
    d->async_head = to;
}

int sim_device_get_async_event(struct ibv_context *ctx, struct ibv_async_event *out) {
    struct sim_device *d = sim_dev_of(ctx);
    uint64_t count;
    int err = 0;

    sim_lock(d->f);
    if (d->async_head != d->async_tail)
        *out = d->async[d->async_tail++ % SIM_ASYNC_SLOTS];
    else
        err = EAGAIN;
    if (d->async_head == d->async_tail && sim_fd_read(ctx->async_fd, &count) < 0)
        errno = 0; /* it was not readable */
    sim_unlock(d->f);
    return err;
}

/* ---- Devices ---- */

static uint32_t or32(uint32_t value, uint32_t otherwise) {
    return value ? value : otherwise;
}

static uint64_t or64(uint64_t value, uint64_t otherwise) {
    return value ? value : otherwise;
}

static void fill_attr(struct sim_device_attr *a) {
    a->max_mr_size = or64(a->max_mr_size, UINT64_MAX);
    a->max_msg_sz = or64(a->max_msg_sz, 1ull << 31);
    a->max_mr_bytes = or64(a->max_mr_bytes, UINT64_MAX);
    a->max_qp = or32(a->max_qp, 1048560);
    a->max_cq = or32(a->max_cq, 1048576);
    a->max_mr = or32(a->max_mr, 524287);
    a->max_pd = or32(a->max_pd, 1048576);
    a->max_cqe = or32(a->max_cqe, 32767);
    a->max_qp_wr = or32(a->max_qp_wr, 1048576);
    a->max_sge = or32(a->max_sge, 32);
    a->max_inline = or32(a->max_inline, 512);
    a->max_qp_rd_atom = or32(a->max_qp_rd_atom, 128);
}

int sim_device_create(struct sim_fabric *f, const char *name, const struct sim_device_attr *attr,
                      struct ibv_context **out) {
    struct sim_device *d;
    int err;

    if (!f || !name || !out)
        return EINVAL;
    d = calloc(1, sizeof(*d));
    if (!d)
        return ENOMEM;
    err = async_init(d);
    if (err) {
        free(d);
        return err;
    }
    d->f = f;
    if (attr)
        d->attr = *attr;
    fill_attr(&d->attr);
    strncpy(d->dev.name, name, sizeof(d->dev.name) - 1);
    d->dev.node_type = IBV_NODE_CA;
    d->dev.transport_type = IBV_TRANSPORT_IB;
    d->ibv.device = &d->dev;
    d->ibv.ops.poll_cq = sim_poll_cq;
    d->ibv.ops.req_notify_cq = sim_req_notify_cq;
    d->ibv.ops.post_send = sim_post_send;
    d->ibv.ops.post_recv = sim_post_recv;
    d->ibv.cmd_fd = -1;
    d->ibv.num_comp_vectors = 1;
    sim_lock(f);
    f->stats.devices++;
    sim_unlock(f);
    *out = &d->ibv;
    return 0;
}

int sim_device_destroy(struct ibv_context *ctx) {
    struct sim_device *d = sim_dev_of(ctx);
    struct sim_fabric *f = d->f;
    bool busy;

    sim_lock(f);
    busy = d->num_pds || d->num_cqs || d->num_channels;
    if (!busy)
        f->stats.devices--;
    sim_unlock(f);
    if (busy)
        return EBUSY;
    async_fini(d);
    free(d->mrs);
    free(d->generations);
    free(d);
    return 0;
}

void sim_device_query(struct ibv_context *ctx, struct sim_device_attr *out) {
    *out = sim_dev_of(ctx)->attr;
}

void sim_device_remove(struct ibv_context *ctx) {
    struct sim_device *d = sim_dev_of(ctx);

    sim_lock(d->f);
    d->removed = true;
    for (struct sim_qp *qp = d->f->qps; qp; qp = qp->next) {
        if (qp->dev == d)
            sim_wire_error(qp);
    }
    sim_async_raise(d, &(struct ibv_async_event){.event_type = IBV_EVENT_DEVICE_FATAL});
    sim_unlock(d->f);
}

void sim_fault_call(struct ibv_context *ctx, enum sim_call call, uint32_t nth, uint32_t times,
                    int err) {
    struct sim_device *d = sim_dev_of(ctx);

    if ((unsigned int)call >= SIM_CALL_COUNT)
        return;
    sim_lock(d->f);
    d->rules[call] = (struct sim_rule){.nth = nth, .times = times, .err = err};
    d->has_rules = false;
    for (int i = 0; i < SIM_CALL_COUNT; i++)
        d->has_rules = d->has_rules || d->rules[i].nth;
    sim_unlock(d->f);
}

/* The errno with which this call must fail, or 0. */
int sim_call_fault(struct sim_device *d, enum sim_call call) {
    struct sim_rule *r = &d->rules[call];
    int err;

    if (SIM_UNLIKELY(d->removed))
        return EIO;
    if (!d->has_rules || !r->nth)
        return 0;
    if (r->nth > 1) {
        r->nth--;
        return 0;
    }
    err = r->err;
    if (r->times && --r->times == 0)
        r->nth = 0;
    return err;
}
