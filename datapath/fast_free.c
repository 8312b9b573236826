/* The fast path of free; see fast.h. */
#define DEMI_IMPLEMENTATION /* no nonnull attributes: the checks for NULL must stay */

#include "../include/demi/sga.h"

#include "fast.h"

/* As dp_sgafree, whatever has to be done. */
COLD int sgafree_slow(const demi_sgarray_t *sga, struct dp_engine *e) {
    int rc;

    if (!sga)
        return EINVAL;
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

/* As demi_sgafree, whatever has to be done. */
COLD int sgafree_any(const demi_sgarray_t *sga) {
    return dp_process_ready() ? sgafree_slow(sga, dp_process_engine()) : ENOSYS;
}

/* The same, locked at entry. */
COLD int sgafree_unlock(const demi_sgarray_t *sga, struct dp_engine *e) {
    dp_unlock(e);
    return sgafree_slow(sga, e);
}

/* e may be NULL if it is not of_demi. */
HOT int sgafree(demi_sgarray_t *sga, struct dp_engine *e, bool of_demi) {
    if (DP_UNLIKELY(!sga || (!of_demi && !e) || __atomic_load_n(&dp_starving, __ATOMIC_RELAXED) ||
                    !dp_mutex_try(&e->lock)))
        return of_demi ? sgafree_any(sga) : sgafree_slow(sga, e);
    if (DP_UNLIKELY(!arena_sgafree_fast(&e->cache, sga)))
        return sgafree_unlock(sga, e);
    return leave(e);
}

int dp_sgafree(struct dp_engine *e, demi_sgarray_t *sga) {
    return sgafree(sga, e, false);
}

int demi_sgafree(demi_sgarray_t *sga) {
    return sgafree(sga, dp_process_mine, true);
}
