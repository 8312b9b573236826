/*
 * The short ways through the arenas, inline in the engine's fast paths and in arena.c: a
 * cached block taken or released, and an array judged by its handle. Each either does what the
 * function of arena.h does, or says no and has changed nothing; then that function decides.
 * Called with the lock of the cache's engine held.
 */
#ifndef CATMINT_ARENA_FAST_H
#define CATMINT_ARENA_FAST_H

#include "arena_internal.h"

#define ARENA_HOT static inline __attribute__((always_inline))

/* Only the engine writes the count; the census may read it at any time. */
ARENA_HOT void arena_set_count(struct arena_cache_class *cc, uint64_t n) {
    __atomic_store_n(&cc->n, n, __ATOMIC_RELAXED);
}

/*
 * The block that an array's handle would name. False: there is none, or this cache has not seen it.
 */
ARENA_HOT bool arena_named_fast(const struct arena_cache *cache, const demi_sgarray_t *sga,
                                struct arena_block **b) {
    uint32_t index = (uint32_t)(uintptr_t)sga->sga_buf;
    if (index >= cache->made)
        return false;
    *b = cache->blocks + index;
    return true;
}

/*
 * Whether arena_check would say 0, of an array of len bytes, more than 0, that begins where the
 * allocation does, and that nobody else holds. Then its lead may be written.
 */
ARENA_HOT bool arena_check_fast(const struct arena_cache *cache, const demi_sgarray_t *sga,
                                uint32_t len, uint8_t **lead) {
    struct arena_block *b;
    if (!arena_named_fast(cache, sga, &b) || sga->sga_numsegs != 1 ||
        __atomic_load_n(&b->state, __ATOMIC_ACQUIRE) != (uintptr_t)sga->sga_buf)
        return false;
    /* While that is its state the rest stays as it is. */
    *lead = (uint8_t *)sga->sga_segs[0].sgaseg_buf - ARENA_LEAD;
    return b->lead == cache->lead && (uintptr_t)*lead == b->addr && len <= b->size;
}

/*
 * A free block of a class, with one reference. False: none in the cache. Its size counts only once
 * the application holds it, and is set then.
 */
ARENA_HOT bool arena_take_warmest(struct arena_cache_class *cc, struct arena_block **b) {
    uint64_t n;
    if (__builtin_expect(__builtin_sub_overflow(cc->n, 1, &n), 0))
        return false;
    *b = cc->blocks[n];
    arena_set_count(cc, n);
    return true;
}

/* The same by the number of the class, or NULL. */
ARENA_HOT struct arena_block *arena_take_fast(struct arena_cache *cache, uint32_t class) {
    struct arena_block *b;
    return arena_take_warmest(&cache->classes[class], &b) ? b : NULL;
}

/*
 * As arena_give behind the lead, of a block of a cache's with one reference. Nobody else can know
 * such a block, so that its state needs no atomic change.
 */
ARENA_HOT void arena_give_fast(struct arena_block *b, uint32_t len, const struct sockaddr_in *addr,
                               demi_sgarray_t *sga) {
    __atomic_store_n(&b->size, len, __ATOMIC_RELAXED);
    uint64_t s = __atomic_load_n(&b->state, __ATOMIC_RELAXED) | ARENA_APP;
    __atomic_store_n(&b->state, s, __ATOMIC_RELEASE);
    sga->sga_buf = (void *)(uintptr_t)s;
    sga->sga_numsegs = 1;
    sga->sga_segs[0].sgaseg_buf = (void *)(b->addr + ARENA_LEAD);
    sga->sga_segs[0].sgaseg_len = len;
    sga->sga_addr = *addr;
}

/* As arena_sgafree. */
ARENA_HOT bool arena_sgafree_fast(struct arena_cache *cache, const demi_sgarray_t *sga) {
    struct arena_block *b;
    if (__builtin_expect(!arena_named_fast(cache, sga, &b) || sga->sga_numsegs != 1, 0))
        return false;
    struct arena_cache_class *cc = arena_home_of(cache, b);
    uint64_t n = cc->n;
    if (__builtin_expect(n == cc->cap, 0)) /* full, or for large blocks */
        return false;
    uint64_t s = (uintptr_t)sga->sga_buf;
    uint64_t free = s - ARENA_APP + ARENA_GEN;
    if (__builtin_expect(!__atomic_compare_exchange_n(&b->state, &s, free, false, __ATOMIC_ACQ_REL,
                                                      __ATOMIC_RELAXED),
                         0))
        return false;
    __atomic_store_n(&b->lead, cache->lead, __ATOMIC_RELAXED);
    cc->blocks[n] = b;
    arena_set_count(cc, n + 1);
    return true;
}

/* Whether two addresses of blocks are of one chunk, and so have one key; false also if in doubt. */
ARENA_HOT bool arena_same_chunk(uintptr_t a, uintptr_t b) {
    return (a ^ b) < ARENA_CHUNK;
}

/* The local key of a block on a device; 0: ask arena_lkey. */
ARENA_HOT uint64_t arena_key_fast(const struct arena_block *b, uint32_t slot) {
    return __atomic_load_n(&arena_block_chunk(b)->keys[slot], __ATOMIC_ACQUIRE);
}

#endif
