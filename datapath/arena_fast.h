/*
 * The short ways through the arenas, inline in the engine's fast paths and in arena.c: a
 * cached block taken or released, and an array judged by what the engine's cache remembers
 * of it. Each either does what the function of arena.h does, or says no and has changed
 * nothing; then that function decides. Called with the lock of the cache's engine held.
 *
 * A memo can be out of date but not wrong: it counts only while the block's state is still
 * the one that the array was given out with, incarnation and tag included, the cache is still the
 * one that it came from, and the block's metadata stays mapped as long as there are caches.
 */
#ifndef CATMINT_ARENA_FAST_H
#define CATMINT_ARENA_FAST_H

#include "arena_internal.h"

#define ARENA_HOT static inline __attribute__((always_inline))

extern struct arena_block arena_no_block;

/* Only the engine writes the count; the census may read it at any time. */
ARENA_HOT void arena_set_count(struct arena_cache_class *cc, uint32_t n) {
    __atomic_store_n(&cc->n, n, __ATOMIC_RELAXED);
}

/* Multiplicative hashing; the tag in the low bits takes part. */
ARENA_HOT struct arena_memo *arena_memo(struct arena_cache *cache, uintptr_t buf) {
    _Static_assert(ARENA_MEMO == 64 && sizeof(struct arena_memo) == 32, "6 bits, times 32");
    uint32_t at = ((uint32_t)buf * UINT32_C(0x9E3779B1)) >> 21 & (63u << 5);
    return (struct arena_memo *)((uintptr_t)cache->memo + at);
}

/*
 * The application, and nobody else, holds b as the array that begins at buf; state is the block's,
 * home its class's. Only arrays with a lead of this cache's are remembered.
 */
ARENA_HOT void arena_remember(struct arena_cache *cache, uintptr_t buf, struct arena_block *b,
                              uint64_t state, struct arena_cache_class *home) {
    struct arena_memo *m = arena_memo(cache, buf);
    m->buf = buf;
    m->block = b;
    m->want = state;
    m->home = home;
}

/*
 * Whether arena_check would say 0, of an array of len bytes, more than 0, that begins where the
 * allocation does, and that nobody else holds. Then its lead may be written.
 */
ARENA_HOT bool arena_check_fast(struct arena_cache *cache, const demi_sgarray_t *sga,
                                uint32_t len) {
    uintptr_t buf = (uintptr_t)sga->sga_buf;
    const struct arena_memo *m = arena_memo(cache, buf);
    const struct arena_block *b = m->block;
    return m->buf == buf && sga->sga_numsegs == 1 &&
           (uintptr_t)sga->sga_segs[0].sgaseg_buf == (buf & ~(uintptr_t)ARENA_TAG) + ARENA_LEAD &&
           __atomic_load_n(&b->state, __ATOMIC_ACQUIRE) == m->want &&
           __atomic_load_n(&b->owner, __ATOMIC_RELAXED) == cache->id &&
           len + ARENA_LEAD <= __atomic_load_n(&b->size, __ATOMIC_RELAXED);
}

/*
 * A free block with one reference, of a class that has one. Its size counts only once the
 * application holds it, and is set then.
 */
ARENA_HOT struct arena_block *arena_take_warmest(struct arena_cache_class *cc) {
    uint32_t n = cc->n - 1;
    struct arena_block *b = cc->blocks[n];
    arena_set_count(cc, n);
    return b;
}

/* The same, or NULL: none in the cache. */
ARENA_HOT struct arena_block *arena_take_fast(struct arena_cache *cache, uint32_t class) {
    struct arena_cache_class *cc = &cache->classes[class];
    return __builtin_expect(cc->n != 0, 1) ? arena_take_warmest(cc) : NULL;
}

/*
 * As arena_give behind the lead, of a block of home, a class of this cache, with one reference, and
 * for an engine that remembers it. Nobody else can know such a block, so that its state needs no
 * atomic change, and it has no other reference.
 */
ARENA_HOT void arena_give_fast(struct arena_cache *cache, struct arena_cache_class *home,
                               struct arena_block *b, uint32_t len, const struct sockaddr_in *addr,
                               demi_sgarray_t *sga) {
    __atomic_store_n(&b->size, ARENA_LEAD + len, __ATOMIC_RELAXED);
    uint64_t s = __atomic_load_n(&b->state, __ATOMIC_RELAXED) + (ARENA_APP - ARENA_REF);
    __atomic_store_n(&b->state, s, __ATOMIC_RELEASE);
    uintptr_t buf = b->addr | (s & ARENA_TAG);
    arena_remember(cache, buf, b, s, home);
    sga->sga_buf = (void *)buf;
    sga->sga_numsegs = 1;
    sga->sga_segs[0].sgaseg_buf = (void *)(b->addr + ARENA_LEAD);
    sga->sga_segs[0].sgaseg_len = len;
    sga->sga_addr = *addr;
}

/* As arena_sgafree. */
ARENA_HOT bool arena_sgafree_fast(struct arena_cache *cache, const demi_sgarray_t *sga) {
    uintptr_t buf = (uintptr_t)sga->sga_buf;
    const struct arena_memo *m = arena_memo(cache, buf);
    struct arena_block *b = m->block;
    uint64_t s = m->want;
    if (__builtin_expect(m->buf != buf || sga->sga_numsegs != 1 ||
                             __atomic_load_n(&b->owner, __ATOMIC_RELAXED) != cache->id,
                         0))
        return false;
    /* The block's class stays while it is held; a full cache and references are for the other. */
    struct arena_cache_class *cc = m->home;
    uint32_t n = cc->n;
    if (__builtin_expect(n == cc->cap, 0))
        return false;
    uint64_t free = (s - ARENA_APP + 1) | ARENA_REF; /* as any block in a cache */
    if (__builtin_expect(!__atomic_compare_exchange_n(&b->state, &s, free, false, __ATOMIC_ACQ_REL,
                                                      __ATOMIC_RELAXED),
                         0))
        return false;
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
