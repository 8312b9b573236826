/* The table of queue descriptors: process-wide, the lowest free one first. */
#include "internal.h"

struct dp_qd dp_qds[DP_QD_MAX];
struct dp_conn dp_no_conn = {.fast = {.no = DP_NO_WAY | DP_NO_POP}};
static uint64_t used[DP_QD_MAX / 64]; /* a bit for each descriptor, under table_lock */
static struct dp_mutex table_lock;

/* Locks the engine of a descriptor that is not free: its entry, or NULL. */
static struct dp_qd *lock_entry(int32_t qd, struct dp_engine **out) {
    struct dp_qd *q = dp_qd_entry(qd);
    if (!q)
        return NULL;
    struct dp_engine *e = __atomic_load_n(&q->engine, __ATOMIC_ACQUIRE);
    if (!e)
        return NULL;
    dp_lock(e);
    /* It may have been freed, and even given to another engine, before we had the lock. */
    if (DP_UNLIKELY(__atomic_load_n(&q->engine, __ATOMIC_RELAXED) != e)) {
        dp_unlock(e);
        return NULL;
    }
    *out = e;
    return q;
}

struct dp_qd *dp_qd_of(struct dp_engine *e, int32_t qd) {
    struct dp_qd *q = dp_qd_entry(qd);
    return q && __atomic_load_n(&q->engine, __ATOMIC_RELAXED) == e ? q : NULL;
}

int dp_qd_lock(int32_t qd, struct dp_qd **out) {
    struct dp_engine *e;
    struct dp_qd *q = lock_entry(qd, &e);
    if (!q)
        return EBADF;
    if (DP_UNLIKELY(q->state == DP_QD_FAILED || q->state == DP_QD_CLOSING)) {
        dp_unlock(e);
        return EBADF;
    }
    *out = q;
    return 0;
}

int dp_qd_lock_conn(int32_t qd, struct dp_conn **c) {
    struct dp_qd *q;
    int rc = dp_qd_lock(qd, &q);
    if (DP_UNLIKELY(rc))
        return rc;
    if (DP_UNLIKELY(q->state != DP_QD_CONNECTED || !q->conn)) {
        dp_unlock(q->engine);
        return ENOTCONN;
    }
    *c = q->conn;
    return 0;
}

int dp_qd_alloc(struct dp_engine *e, int32_t *qd_out) {
    int rc = EMFILE;

    if (!e || !qd_out)
        return EINVAL;
    dp_mutex_lock(&table_lock);
    for (int w = 0; w < DP_QD_MAX / 64; w++) {
        if (used[w] == UINT64_MAX)
            continue;
        int i = w * 64 + __builtin_ctzll(~used[w]);
        struct dp_qd *q = &dp_qds[i];
        dp_lock(e);
        if (e->alive) {
            used[w] |= UINT64_C(1) << (i & 63);
            dp_qd_set(q, DP_QD_SOCKET, NULL);
            e->qds_alive++;
            __atomic_store_n(&q->engine, e, __ATOMIC_RELEASE);
            rc = 0;
        } else {
            rc = EINVAL;
        }
        dp_unlock(e);
        *qd_out = DP_QD_FIRST + i;
        break;
    }
    dp_mutex_unlock(&table_lock);
    if (rc == 0)
        dp_count(&dp_counts.descriptors, 1);
    return rc;
}

int dp_qd_free(int32_t qd) {
    struct dp_engine *e;
    int64_t i = (int64_t)qd - DP_QD_FIRST;

    dp_mutex_lock(&table_lock);
    struct dp_qd *q = lock_entry(qd, &e);
    if (!q) {
        dp_mutex_unlock(&table_lock);
        return EBADF;
    }
    if (q->conn)
        q->conn->qd = -1;
    dp_qd_set(q, DP_QD_FREE, NULL);
    e->qds_alive--;
    __atomic_store_n(&q->engine, NULL, __ATOMIC_RELEASE);
    used[i / 64] &= ~(UINT64_C(1) << (i & 63));
    dp_unlock(e);
    dp_mutex_unlock(&table_lock);
    dp_count(&dp_counts.descriptors, -1);
    return 0;
}

int dp_qd_set_state(int32_t qd, enum dp_qd_state s) {
    struct dp_engine *e;

    if (s == DP_QD_FREE || (unsigned)s > DP_QD_CLOSING)
        return EINVAL;
    struct dp_qd *q = lock_entry(qd, &e);
    if (!q)
        return EBADF;
    dp_qd_set(q, s, q->conn);
    dp_unlock(e);
    return 0;
}

enum dp_qd_state dp_qd_get_state(int32_t qd) {
    struct dp_engine *e;
    struct dp_qd *q = lock_entry(qd, &e);
    if (!q)
        return DP_QD_FREE;
    enum dp_qd_state s = (enum dp_qd_state)q->state;
    dp_unlock(e);
    return s;
}

struct dp_engine *dp_qd_engine(int32_t qd) {
    struct dp_qd *q = dp_qd_entry(qd);
    return q ? __atomic_load_n(&q->engine, __ATOMIC_ACQUIRE) : NULL;
}
