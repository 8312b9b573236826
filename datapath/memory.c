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
