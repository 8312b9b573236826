/* Protection domains and memory regions: keys, access rights and bounds. */
#include <stdlib.h>
#include <string.h>

#include "sim_internal.h"

/*
 * A key is slot << 8 | generation, as on hardware; the generation changes whenever a slot
 * is used again, so that a stale key is caught. Remote keys have bit 7 set, so that a local
 * key given to a peer is caught as well.
 */
#define REMOTE_BIT 0x80u
#define GENERATION_MASK 0x7fu
#define REMOTE_ACCESS (IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC)

int sim_pd_create(struct ibv_context *ctx, struct ibv_pd **out) {
    struct sim_device *d = sim_dev_of(ctx);
    struct sim_pd *pd;
    int err;

    pd = calloc(1, sizeof(*pd));
    if (!pd)
        return ENOMEM;
    pd->ibv.context = ctx;
    sim_lock(d->f);
    err = sim_call_fault(d, SIM_CALL_PD_CREATE);
    if (!err && d->num_pds >= d->attr.max_pd)
        err = ENOMEM;
    if (!err) {
        pd->ibv.handle = d->num_pds++;
        d->f->stats.pds++;
    }
    sim_unlock(d->f);
    if (err) {
        free(pd);
        return err;
    }
    *out = &pd->ibv;
    return 0;
}

int sim_pd_destroy(struct ibv_pd *ibpd) {
    struct sim_pd *pd = (struct sim_pd *)ibpd;
    struct sim_device *d = sim_dev_of(ibpd->context);
    bool busy;

    sim_lock(d->f);
    busy = pd->users != 0;
    if (!busy) {
        d->num_pds--;
        d->f->stats.pds--;
    }
    sim_unlock(d->f);
    if (busy)
        return EBUSY;
    free(pd);
    return 0;
}

/* Makes room for one more region; the slot, or 0 when there is no memory. */
static uint32_t free_slot(struct sim_device *d) {
    uint32_t n = d->num_mr_slots, cap = n ? 2 * n : 64;
    struct sim_mr **mrs;
    uint8_t *generations;

    for (uint32_t i = 1; i < n; i++) {
        if (!d->mrs[i])
            return i;
    }
    mrs = realloc(d->mrs, cap * sizeof(struct sim_mr *));
    if (!mrs)
        return 0;
    d->mrs = mrs;
    generations = realloc(d->generations, cap);
    if (!generations)
        return 0;
    d->generations = generations;
    memset(mrs + n, 0, (cap - n) * sizeof(struct sim_mr *));
    memset(generations + n, 0, cap - n);
    d->num_mr_slots = cap;
    return n ? n : 1;
}

static int insert(struct sim_device *d, struct sim_mr *mr) {
    uint64_t len = mr->ibv.length;
    uint32_t slot;
    int err = sim_call_fault(d, SIM_CALL_MR_CREATE);

    if (err)
        return err;
    if (d->num_mrs >= d->attr.max_mr || len > d->attr.max_mr_bytes ||
        d->mr_bytes > d->attr.max_mr_bytes - len)
        return ENOMEM;
    slot = free_slot(d);
    if (!slot)
        return ENOMEM;
    d->mrs[slot] = mr;
    mr->generation = d->generations[slot]++ & GENERATION_MASK;
    mr->ibv.handle = slot;
    mr->ibv.lkey = slot << 8 | mr->generation;
    mr->ibv.rkey = mr->access & REMOTE_ACCESS ? mr->ibv.lkey : 0;
    if (mr->ibv.rkey && !d->attr.iwarp) /* which has one key, the STag */
        mr->ibv.rkey |= REMOTE_BIT;
    d->num_mrs++;
    d->mr_bytes += len;
    ((struct sim_pd *)mr->ibv.pd)->users++;
    d->f->stats.mrs++;
    d->f->stats.mr_bytes += len;
    return 0;
}

int sim_mr_create(struct ibv_pd *pd, void *addr, size_t len, int access, struct ibv_mr **out) {
    struct sim_device *d = sim_dev_of(pd->context);
    struct sim_mr *mr;
    int err;

    if (!len || (uintptr_t)addr + len < (uintptr_t)addr || len > d->attr.max_mr_size)
        return EINVAL;
    if ((access & (IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_ATOMIC)) &&
        !(access & IBV_ACCESS_LOCAL_WRITE))
        return EINVAL;
    mr = calloc(1, sizeof(*mr));
    if (!mr)
        return ENOMEM;
    mr->ibv.context = pd->context;
    mr->ibv.pd = pd;
    mr->ibv.addr = addr;
    mr->ibv.length = len;
    mr->access = access;
    sim_lock(d->f);
    err = insert(d, mr);
    sim_unlock(d->f);
    if (err) {
        free(mr);
        return err;
    }
    *out = &mr->ibv;
    return 0;
}

int sim_mr_destroy(struct ibv_mr *ibmr) {
    struct sim_device *d = sim_dev_of(ibmr->context);

    sim_lock(d->f);
    d->mrs[ibmr->handle] = NULL;
    d->num_mrs--;
    d->mr_bytes -= ibmr->length;
    ((struct sim_pd *)ibmr->pd)->users--;
    d->f->stats.mrs--;
    d->f->stats.mr_bytes -= ibmr->length;
    sim_unlock(d->f);
    free(ibmr);
    return 0;
}

static const struct sim_mr *find(const struct sim_device *d, uint32_t key) {
    uint32_t slot = key >> 8;

    return slot < d->num_mr_slots ? d->mrs[slot] : NULL;
}

static bool covers(const struct sim_mr *mr, uint64_t addr, uint64_t len) {
    uint64_t start = (uint64_t)(uintptr_t)mr->ibv.addr;

    return addr >= start && len <= mr->ibv.length && addr - start <= mr->ibv.length - len;
}

/* Whether all of sge lies in regions of pd that grant access. Empty entries are not looked at. */
bool sim_mr_check_local(const struct sim_device *d, const struct ibv_pd *pd,
                        const struct ibv_sge *sge, uint32_t n, int access) {
    for (uint32_t i = 0; i < n; i++) {
        const struct sim_mr *mr;

        if (!sge[i].length)
            continue;
        mr = find(d, sge[i].lkey);
        if (!mr || mr->ibv.lkey != sge[i].lkey || mr->ibv.pd != pd ||
            (mr->access & access) != access || !covers(mr, sge[i].addr, sge[i].length))
            return false;
    }
    return true;
}

bool sim_mr_check_remote(const struct sim_device *d, const struct ibv_pd *pd, uint64_t addr,
                         uint32_t len, uint32_t rkey, int access) {
    const struct sim_mr *mr;

    if (!len)
        return true;
    mr = find(d, rkey);
    return mr && mr->ibv.rkey == rkey && mr->ibv.pd == pd && (mr->access & access) == access &&
           covers(mr, addr, len);
}
