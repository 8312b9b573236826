/* The table of queue descriptors: process-wide, the lowest free one first. */
#include "internal.h"

struct dp_qds dp_qds;
struct dp_conn dp_no_conn = {.fast = {.no = DP_NO_WAY | DP_NO_POP}};
static uint64_t used[DP_QD_MAX / 64]; /* a bit for each descriptor, under table_lock */
static struct dp_mutex table_lock;

/* Locks the engine of a descriptor that is not free, and returns it, or NULL. */
static struct dp_engine *lock_owner(int32_t qd) {
    struct dp_engine *e = dp_qd_owner(qd);
    if (!e)
        return NULL;
    dp_lock(e);
    /* It may have been freed, and even given to another engine, before we had the lock. */
    if (DP_UNLIKELY(dp_qd_owner(qd) != e)) {
        dp_unlock(e);
        return NULL;
    }
    return e;
}

int dp_qd_lock_conn(int32_t qd, struct dp_conn **c) {
    struct dp_engine *e = lock_owner(qd);
    if (!e)
        return EBADF;
    int rc = 0;
    if (DP_UNLIKELY(dp_qds.state[qd] == DP_QD_FAILED || dp_qds.state[qd] == DP_QD_CLOSING))
        rc = EBADF;
    else if (DP_UNLIKELY(dp_qds.state[qd] != DP_QD_CONNECTED || !dp_qds.conn[qd]))
        rc = ENOTCONN;
    if (DP_UNLIKELY(rc))
        dp_unlock(e);
    else
        *c = dp_qds.conn[qd];
    return rc;
}

int dp_qd_alloc(struct dp_engine *e, int32_t *qd_out) {
    int rc = EMFILE;

    if (!e || !qd_out)
        return EINVAL;
    dp_mutex_lock(&table_lock);
    for (uint32_t w = 0; w < DP_QD_MAX / 64; w++) {
        if (used[w] == UINT64_MAX)
            continue;
        uint32_t i = w * 64 + (uint32_t)__builtin_ctzll(~used[w]);
        int32_t qd = (int32_t)(DP_QD_FIRST + i);
        dp_lock(e);
        if (e->alive) {
            used[w] |= UINT64_C(1) << (i & 63);
            dp_qd_set(qd, DP_QD_SOCKET, NULL);
            e->qds_alive++;
            __atomic_store_n(&dp_qds.engine[qd], e, __ATOMIC_RELEASE);
            rc = 0;
        } else {
            rc = EINVAL;
        }
        dp_unlock(e);
        *qd_out = qd;
        break;
    }
    dp_mutex_unlock(&table_lock);
    if (rc == 0)
        dp_count(&dp_counts.descriptors, 1);
    return rc;
}

int dp_qd_free(int32_t qd) {
    dp_mutex_lock(&table_lock);
    struct dp_engine *e = lock_owner(qd);
    if (!e) {
        dp_mutex_unlock(&table_lock);
        return EBADF;
    }
    if (dp_qds.conn[qd])
        dp_qds.conn[qd]->qd = -1;
    dp_qd_set(qd, DP_QD_FREE, NULL);
    e->qds_alive--;
    __atomic_store_n(&dp_qds.engine[qd], NULL, __ATOMIC_RELEASE);
    uint32_t i = (uint32_t)qd - DP_QD_FIRST;
    used[i / 64] &= ~(UINT64_C(1) << (i & 63));
    dp_unlock(e);
    dp_mutex_unlock(&table_lock);
    dp_count(&dp_counts.descriptors, -1);
    return 0;
}

int dp_qd_set_state(int32_t qd, enum dp_qd_state s) {
    if (s == DP_QD_FREE || (unsigned)s > DP_QD_CLOSING)
        return EINVAL;
    struct dp_engine *e = lock_owner(qd);
    if (!e)
        return EBADF;
    dp_qd_set(qd, s, dp_qds.conn[qd]);
    dp_unlock(e);
    return 0;
}

enum dp_qd_state dp_qd_get_state(int32_t qd) {
    struct dp_engine *e = lock_owner(qd);
    if (!e)
        return DP_QD_FREE;
    enum dp_qd_state s = (enum dp_qd_state)dp_qds.state[qd];
    dp_unlock(e);
    return s;
}

struct dp_engine *dp_qd_engine(int32_t qd) {
    return dp_qd_owner(qd);
}
