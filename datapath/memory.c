/* Scatter-gather arrays of the application. */
#include "internal.h"

demi_sgarray_t dp_sgaalloc(struct dp_engine *e, size_t size) {
    demi_sgarray_t sga;

    memset(&sga, 0, sizeof(sga));
    if (!e)
        return sga;
    dp_lock(e);
    if (!e->alive || arena_sgaalloc(&e->cache, size, &sga))
        memset(&sga, 0, sizeof(sga));
    dp_unlock(e);
    return sga;
}

int dp_sgafree(struct dp_engine *e, demi_sgarray_t *sga) {
    if (!sga)
        return EINVAL;
    int rc;
    if (e) {
        dp_lock(e);
        rc = arena_sgafree(e->alive ? &e->cache : NULL, sga);
        dp_unlock(e);
    } else {
        rc = arena_sgafree(NULL, sga);
    }
    if (DP_UNLIKELY(__atomic_load_n(&dp_starving, __ATOMIC_RELAXED)) && rc == 0)
        dp_feed_starving();
    return rc;
}
