/* Registration of chunks with devices: see arena.h. */
#include "arena_internal.h"

#include "lock.h"

#include <errno.h>
#include <string.h>

pthread_mutex_t arena_reg_lock = PTHREAD_MUTEX_INITIALIZER;

/* Under arena_reg_lock. */
static struct {
    struct ibv_pd *pd; /* NULL: the slot is free */
    const struct rdma_slow_ops *ops;
} devices[ARENA_MAX_DEVICES];

static uint64_t regions; /* atomic */

int arena_device_add(struct ibv_pd *pd, const struct rdma_slow_ops *ops, int *slot) {
    int rc = ENOSPC;
    pthread_mutex_lock(&arena_reg_lock);
    for (int i = 0; i < ARENA_MAX_DEVICES; i++) {
        if (devices[i].pd)
            continue;
        devices[i].pd = pd;
        devices[i].ops = ops;
        *slot = i;
        rc = 0;
        break;
    }
    pthread_mutex_unlock(&arena_reg_lock);
    return rc;
}

static int deregister(struct arena_chunk *c, int slot) {
    struct ibv_mr *mr = c->mrs[slot];
    if (!mr)
        return 0;
    __atomic_store_n(&c->keys[slot], 0, __ATOMIC_RELEASE);
    c->mrs[slot] = NULL;
    __atomic_fetch_sub(&regions, 1, __ATOMIC_RELAXED);
    int cancel = dp_cancel_off();
    int rc = devices[slot].ops->dereg_mr(mr);
    dp_cancel_back(cancel);
    return rc;
}

void arena_chunk_deregister(struct arena_chunk *c) {
    for (int i = 0; i < ARENA_MAX_DEVICES; i++)
        (void)deregister(c, i); /* nobody to tell: the region is forgotten either way */
}

int arena_device_remove(int slot) {
    int rc = EINVAL;
    pthread_mutex_lock(&arena_reg_lock);
    if (slot >= 0 && slot < ARENA_MAX_DEVICES && devices[slot].pd) {
        rc = 0;
        pthread_mutex_lock(&arena_pool_lock);
        for (struct arena_chunk *c = arena_pool_chunks(); c; c = c->next) {
            int err = deregister(c, slot);
            if (err && !rc)
                rc = err;
        }
        pthread_mutex_unlock(&arena_pool_lock);
        devices[slot].pd = NULL;
        devices[slot].ops = NULL;
    }
    pthread_mutex_unlock(&arena_reg_lock);
    return rc;
}

static int reg(struct arena_chunk *c, int slot, uint32_t *lkey) {
    if (slot < 0 || slot >= ARENA_MAX_DEVICES)
        return EINVAL;
    int rc = 0;
    int cancel = dp_cancel_off();
    pthread_mutex_lock(&arena_reg_lock);
    if (!devices[slot].pd) {
        rc = EINVAL;
    } else if (!c->mrs[slot]) {
        struct ibv_mr *mr = NULL;
        rc = devices[slot].ops->reg_mr(devices[slot].pd, c->base, c->len, IBV_ACCESS_LOCAL_WRITE,
                                       &mr);
        if (!rc) {
            c->mrs[slot] = mr;
            __atomic_fetch_add(&regions, 1, __ATOMIC_RELAXED);
            __atomic_store_n(&c->keys[slot], UINT64_C(1) << 32 | mr->lkey, __ATOMIC_RELEASE);
        }
    }
    if (!rc)
        *lkey = c->mrs[slot]->lkey;
    pthread_mutex_unlock(&arena_reg_lock);
    dp_cancel_back(cancel);
    return rc;
}

/* Empty chunks are locked memory, too: without them there may be enough. */
static __attribute__((noinline)) int reg_or_trim(struct arena_chunk *c, int slot, uint32_t *lkey) {
    int rc = reg(c, slot, lkey);
    if (rc == ENOMEM) {
        arena_trim(0);
        rc = reg(c, slot, lkey);
    }
    return rc;
}

int arena_lkey(const struct arena_block *b, int slot, uint32_t *lkey) {
    struct arena_chunk *c = arena_block_chunk(b);
    if (__builtin_expect((unsigned)slot < ARENA_MAX_DEVICES, 1)) {
        uint64_t key = __atomic_load_n(&c->keys[slot], __ATOMIC_ACQUIRE);
        if (__builtin_expect(key != 0, 1)) {
            *lkey = (uint32_t)key;
            return 0;
        }
    }
    return reg_or_trim(c, slot, lkey);
}

uint64_t arena_regions(void) {
    return __atomic_load_n(&regions, __ATOMIC_RELAXED);
}

uint32_t arena_devices(void) {
    uint32_t n = 0;
    for (int i = 0; i < ARENA_MAX_DEVICES; i++)
        n += devices[i].pd != NULL;
    return n;
}
