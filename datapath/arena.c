/* Blocks and their owners, and the caches in front of the pool: see arena.h. */
#include "arena_fast.h"

#include <errno.h>
#include <string.h>

#define HOT static inline __attribute__((always_inline))
#define SLOW static __attribute__((noinline))

/* What an empty memo leads to: a block that is in no state that a memo can want. */
struct arena_block arena_no_block;

/* A byte of arena memory, looked up: only valid while the incarnation is. */
struct hit {
    struct arena_block *block;
    uintptr_t start; /* of the block */
    uint64_t inc;
};

HOT bool resolve(uintptr_t a, struct hit *h) {
    const struct arena_chunk *c = arena_find(a);
    if (!c)
        return false;
    const struct arena_span *sp = &c->spans[(a >> ARENA_SPAN_SHIFT) % ARENA_SPANS];
    uint32_t inc = __atomic_load_n(&sp->inc, __ATOMIC_ACQUIRE);
    uintptr_t base = (uintptr_t)__atomic_load_n(&sp->base, __ATOMIC_ACQUIRE);
    uint64_t block_size = __atomic_load_n(&sp->block_size, __ATOMIC_ACQUIRE);
    uint64_t recip = __atomic_load_n(&sp->recip, __ATOMIC_ACQUIRE);
    uint64_t blocks = __atomic_load_n(&sp->blocks, __ATOMIC_ACQUIRE);
    uint32_t first = __atomic_load_n(&sp->first, __ATOMIC_ACQUIRE);
    if (!inc || __atomic_load_n(&sp->inc, __ATOMIC_ACQUIRE) != inc)
        return false;
    uint64_t off = a - base; /* wraps if a is below base */
    if (off >= blocks * block_size)
        return false;
    uint64_t index = ((off / ARENA_ALIGN) * recip) >> 31;
    h->block = arena_chunk_blocks(c) + (size_t)first * ARENA_SPAN_BLOCKS + index;
    h->start = base + index * block_size;
    h->inc = inc;
    return true;
}

/* ---- Caches ------------------------------------------------------------------------- */

static void forget(struct arena_cache *cache) {
    for (uint32_t i = 0; i < ARENA_MEMO; i++)
        cache->memo[i] = (struct arena_memo){
            .block = &arena_no_block, .want = UINT64_MAX, .home = &cache->classes[0]};
}

void arena_cache_init(struct arena_cache *cache) {
    memset(cache, 0, sizeof(*cache));
    for (uint32_t i = 0; i < ARENA_CLASSES; i++) {
        uint32_t fit = ARENA_MAX_CLASS / arena_class_size(i);
        cache->classes[i].cap = fit > ARENA_CACHE_BLOCKS ? ARENA_CACHE_BLOCKS : fit < 2 ? 2 : fit;
    }
    forget(cache);
    arena_pool_add_cache(cache);
}

void arena_cache_flush(struct arena_cache *cache) {
    for (uint32_t i = 0; i < ARENA_CLASSES; i++) {
        struct arena_cache_class *cc = &cache->classes[i];
        arena_pool_put(cc->blocks, cc->n);
        arena_set_count(cc, 0);
    }
}

void arena_cache_destroy(struct arena_cache *cache) {
    arena_cache_flush(cache);
    forget(cache);
    arena_pool_remove_cache(cache);
}

/* A free block becomes the cache's, and ready to be taken. */
HOT struct arena_block *own(const struct arena_cache *cache, struct arena_block *b) {
    uint64_t s = __atomic_load_n(&b->state, __ATOMIC_RELAXED) & ~ARENA_REFS;
    __atomic_store_n(&b->state, (s + 1) | ARENA_REF, __ATOMIC_RELAXED);
    __atomic_store_n(&b->owner, cache ? cache->id : 0, __ATOMIC_RELAXED);
    __atomic_store_n(&b->lead, ARENA_LEAD, __ATOMIC_RELAXED);
    return b;
}

/* What a cache does not have: a large block, or one of the pool's with more for the cache. */
SLOW struct arena_block *take_slowly(struct arena_cache *cache, size_t size) {
    if (size == 0 || size > ARENA_MAX_BLOCK)
        return NULL;
    if (size > ARENA_MAX_CLASS)
        return arena_pool_take_large(size);
    uint32_t class = arena_class(size);
    struct arena_block *b;
    if (!cache)
        return arena_pool_take(class, &b, 1) ? own(NULL, b) : NULL;
    struct arena_cache_class *cc = &cache->classes[class];
    uint32_t n = arena_pool_take(class, cc->blocks, (cc->cap + 1) / 2);
    if (!n)
        return NULL;
    for (uint32_t i = 0; i < n; i++)
        (void)own(cache, cc->blocks[i]);
    arena_set_count(cc, n - 1);
    return cc->blocks[n - 1];
}

/* What a cache cannot keep. If it is full, it returns its colder half. */
SLOW void release_slowly(struct arena_cache *cache, struct arena_block *b) {
    if (b->class == ARENA_LARGE) {
        arena_pool_put_large(b);
        return;
    }
    if (!cache) {
        arena_pool_put(&b, 1);
        return;
    }
    (void)own(cache, b);
    struct arena_cache_class *cc = &cache->classes[b->class];
    uint32_t n = cc->cap / 2;
    arena_pool_put(cc->blocks, n);
    memmove(cc->blocks, cc->blocks + n, (cc->n - n) * sizeof(cc->blocks[0]));
    cc->blocks[cc->n - n] = b;
    arena_set_count(cc, cc->n - n + 1);
}

/* ---- Taking and releasing --------------------------------------------------------------- */

/* A block that nobody holds yet; *state is what its state would be then. */
HOT struct arena_block *take(struct arena_cache *cache, size_t size, uint64_t *state) {
    struct arena_block *b = NULL;
    if (__builtin_expect(size - 1 < ARENA_MAX_CLASS && cache, 1)) {
        struct arena_cache_class *cc = &cache->classes[arena_class(size)];
        uint32_t n = cc->n;
        if (__builtin_expect(n != 0, 1)) {
            b = cc->blocks[n - 1];
            arena_set_count(cc, n - 1);
        }
    }
    if (__builtin_expect(!b, 0)) {
        b = take_slowly(cache, size);
        if (!b)
            return NULL;
    }
    __atomic_store_n(&b->size, (uint32_t)size, __ATOMIC_RELAXED);
    uint64_t s = __atomic_load_n(&b->state, __ATOMIC_RELAXED);
    *state = s & ~ARENA_REFS;
    return b;
}

/* Nobody holds the block any more. */
HOT void release(struct arena_cache *cache, struct arena_block *b) {
    uint32_t class = b->class;
    if (__builtin_expect(class != ARENA_LARGE && cache, 1)) {
        struct arena_cache_class *cc = &cache->classes[class];
        uint32_t n = cc->n;
        if (__builtin_expect(n != cc->cap, 1)) {
            cc->blocks[n] = own(cache, b);
            arena_set_count(cc, n + 1);
            return;
        }
    }
    release_slowly(cache, b);
}

struct arena_block *arena_alloc(struct arena_cache *cache, size_t size) {
    uint64_t s;
    struct arena_block *b = take(cache, size, &s);
    if (b)
        __atomic_store_n(&b->state, s | ARENA_REF, __ATOMIC_RELEASE);
    return b;
}

void *arena_block_data(const struct arena_block *b) {
    return (void *)b->addr;
}

size_t arena_block_size(const struct arena_block *b) {
    return b->block_size;
}

void arena_ref(struct arena_block *b) {
    __atomic_fetch_add(&b->state, ARENA_REF, __ATOMIC_RELAXED);
}

void arena_unref(struct arena_cache *cache, struct arena_block *b) {
    uint64_t s = __atomic_sub_fetch(&b->state, ARENA_REF, __ATOMIC_ACQ_REL);
    if (!(s & (ARENA_APP | ARENA_REFS)))
        release(cache, b);
}

/* ---- What the application holds ----------------------------------------------------------- */

HOT void fill(demi_sgarray_t *sga, uintptr_t start, uint64_t state, uint32_t offset, uint32_t len) {
    memset(sga, 0, sizeof(*sga));
    sga->sga_buf = (void *)(start | (state & ARENA_TAG));
    sga->sga_numsegs = 1;
    sga->sga_segs[0].sgaseg_buf = (void *)(start + offset);
    sga->sga_segs[0].sgaseg_len = len;
}

void arena_give(struct arena_block *b, uint8_t offset, uint32_t len, demi_sgarray_t *sga) {
    __atomic_store_n(&b->lead, offset, __ATOMIC_RELAXED);
    __atomic_store_n(&b->size, offset + len, __ATOMIC_RELAXED);
    uint64_t s = __atomic_add_fetch(&b->state, ARENA_APP - ARENA_REF, __ATOMIC_ACQ_REL);
    fill(sga, b->addr, s, offset, len);
}

int arena_sgaalloc(struct arena_cache *cache, size_t size, demi_sgarray_t *sga) {
    uint64_t s;
    uint8_t lead = size <= ARENA_MAX_CLASS - ARENA_LEAD ? ARENA_LEAD : 0;
    struct arena_block *b = size ? take(cache, size + lead, &s) : NULL;
    if (__builtin_expect(!b, 0)) {
        memset(sga, 0, sizeof(*sga));
        return ENOMEM;
    }
    __atomic_store_n(&b->lead, lead, __ATOMIC_RELAXED);
    __atomic_store_n(&b->state, s | ARENA_APP, __ATOMIC_RELEASE);
    fill(sga, b->addr, s, lead, (uint32_t)size);
    if (cache && lead)
        arena_remember(cache, (uintptr_t)sga->sga_buf, b, s | ARENA_APP, &cache->classes[b->class]);
    return 0;
}

/*
 * The block that an array names. While the application holds it, its state is *want in the
 * bits of *mask.
 */
HOT bool named(const demi_sgarray_t *sga, struct hit *h, uint64_t *want, uint64_t *mask) {
    if (!sga || sga->sga_numsegs != 1)
        return false;
    uintptr_t buf = (uintptr_t)sga->sga_buf;
    *mask = ~ARENA_REFS;
    if (__builtin_expect(!buf, 0)) {
        buf = (uintptr_t)sga->sga_segs[0].sgaseg_buf;
        *mask = ~(ARENA_REFS | ARENA_TAG);
        if (!resolve(buf, h))
            return false;
    } else if (!resolve(buf, h) || h->start != (buf & ~(uintptr_t)ARENA_TAG)) {
        return false;
    }
    *want = (h->inc << ARENA_INC_SHIFT | ARENA_APP | (buf & ARENA_TAG)) & *mask;
    return true;
}

/* Whether the segment lies inside what was allocated. */
HOT bool inside(const demi_sgarray_t *sga, const struct hit *h) {
    uint64_t off = (uintptr_t)sga->sga_segs[0].sgaseg_buf - h->start; /* wraps below start */
    uint64_t size = __atomic_load_n(&h->block->size, __ATOMIC_RELAXED);
    return off >= __atomic_load_n(&h->block->lead, __ATOMIC_RELAXED) && off <= size &&
           sga->sga_segs[0].sgaseg_len <= size - off;
}

int arena_check(const demi_sgarray_t *sga) {
    struct hit h;
    uint64_t want, mask;
    if (!named(sga, &h, &want, &mask) || !inside(sga, &h))
        return EINVAL;
    uint64_t s = __atomic_load_n(&h.block->state, __ATOMIC_ACQUIRE);
    return (s & mask) == want ? 0 : EINVAL;
}

int arena_check_cached(struct arena_cache *cache, const demi_sgarray_t *sga) {
    struct hit h;
    uint64_t want, mask;
    if (!named(sga, &h, &want, &mask) || !inside(sga, &h))
        return EINVAL;
    uint64_t s = __atomic_load_n(&h.block->state, __ATOMIC_ACQUIRE);
    if ((s & mask) != want)
        return EINVAL;
    if (sga->sga_buf && __atomic_load_n(&h.block->owner, __ATOMIC_RELAXED) == cache->id &&
        __atomic_load_n(&h.block->lead, __ATOMIC_RELAXED) == ARENA_LEAD) {
        uint32_t class = __atomic_load_n(&h.block->class, __ATOMIC_RELAXED);
        if (class < ARENA_CLASSES) /* of a block that has become another one: any will do */
            arena_remember(cache, (uintptr_t)sga->sga_buf, h.block, want, &cache->classes[class]);
    }
    return 0;
}

int arena_hold(const demi_sgarray_t *sga, struct arena_block **out) {
    struct hit h;
    uint64_t want, mask;
    if (!named(sga, &h, &want, &mask) || !inside(sga, &h))
        return EINVAL;
    uint64_t s = __atomic_load_n(&h.block->state, __ATOMIC_ACQUIRE);
    do {
        if ((s & mask) != want)
            return EINVAL;
    } while (!__atomic_compare_exchange_n(&h.block->state, &s, s + ARENA_REF, true,
                                          __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
    *out = h.block;
    return 0;
}

int arena_sgafree(struct arena_cache *cache, const demi_sgarray_t *sga) {
    struct hit h;
    uint64_t want, mask;
    if (!named(sga, &h, &want, &mask))
        return EINVAL;
    uint64_t s = __atomic_load_n(&h.block->state, __ATOMIC_ACQUIRE);
    do {
        if ((s & mask) != want)
            return EINVAL;
    } while (!__atomic_compare_exchange_n(&h.block->state, &s, s & ~ARENA_APP, true,
                                          __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
    if (__builtin_expect(!(s & ARENA_REFS), 1))
        release(cache, h.block);
    return 0;
}
