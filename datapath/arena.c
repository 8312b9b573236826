/* Blocks and their owners, and the caches in front of the pool: see arena.h. */
#include "arena_fast.h"

#include <errno.h>
#include <string.h>

#define HOT static inline __attribute__((always_inline))
#define SLOW static __attribute__((noinline))

/* ---- Caches ------------------------------------------------------------------------- */

/* Blocks may have been mapped since the cache looked. */
static void see(struct arena_cache *cache) {
    cache->made = __atomic_load_n(&arena_meta.made, __ATOMIC_ACQUIRE);
    cache->blocks = arena_meta.blocks;
}

void arena_cache_init(struct arena_cache *cache, uint16_t id) {
    memset(cache, 0, sizeof(*cache));
    cache->lead = arena_lead_of(id);
    for (uint32_t i = 0; i < ARENA_CLASSES; i++) {
        uint32_t fit = ARENA_MAX_CLASS / arena_class_size(i);
        cache->classes[i].cap = fit > ARENA_CACHE_BLOCKS ? ARENA_CACHE_BLOCKS : fit < 2 ? 2 : fit;
    }
    arena_pool_add_cache(cache);
}

void arena_cache_flush(struct arena_cache *cache) {
    for (uint32_t i = 0; i < ARENA_CLASSES; i++) {
        struct arena_cache_class *cc = &cache->classes[i];
        arena_pool_put(cc->blocks, (uint32_t)cc->n);
        arena_set_count(cc, 0);
    }
}

void arena_cache_destroy(struct arena_cache *cache) {
    arena_cache_flush(cache);
    arena_pool_remove_cache(cache);
}

/* A free block becomes the cache's, and ready to be taken. */
HOT struct arena_block *own(const struct arena_cache *cache, struct arena_block *b) {
    uint64_t s = __atomic_load_n(&b->state, __ATOMIC_RELAXED) & ~ARENA_REFS;
    __atomic_store_n(&b->state, s | ARENA_REF, __ATOMIC_RELAXED);
    __atomic_store_n(&b->lead, cache ? cache->lead : arena_lead_of(0), __ATOMIC_RELAXED);
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
    uint32_t n = arena_pool_take(class, cc->blocks, (uint32_t)(cc->cap + 1) / 2);
    if (!n)
        return NULL;
    see(cache);
    for (uint32_t i = 0; i < n; i++)
        (void)own(cache, cc->blocks[i]);
    arena_set_count(cc, n - 1);
    return cc->blocks[n - 1];
}

/* What a cache cannot keep. If it is full, it returns its colder half. */
SLOW void release_slowly(struct arena_cache *cache, struct arena_block *b) {
    if (b->home == arena_home(ARENA_LARGE)) {
        arena_pool_put_large(b);
        return;
    }
    if (!cache) {
        arena_pool_put(&b, 1);
        return;
    }
    (void)own(cache, b);
    struct arena_cache_class *cc = arena_home_of(cache, b);
    uint32_t n = (uint32_t)cc->cap / 2;
    arena_pool_put(cc->blocks, n);
    memmove(cc->blocks, cc->blocks + n, (cc->n - n) * sizeof(cc->blocks[0]));
    cc->blocks[cc->n - n] = b;
    arena_set_count(cc, cc->n - n + 1);
}

/* ---- Taking and releasing --------------------------------------------------------------- */

/* A block with one reference. */
HOT struct arena_block *take(struct arena_cache *cache, size_t size) {
    if (__builtin_expect(size - 1 < ARENA_MAX_CLASS && cache, 1)) {
        struct arena_block *b = arena_take_fast(cache, arena_class(size));
        if (__builtin_expect(b != NULL, 1))
            return b;
    }
    return take_slowly(cache, size);
}

/* Nobody holds the block any more. */
HOT void release(struct arena_cache *cache, struct arena_block *b) {
    if (__builtin_expect(cache != NULL, 1)) {
        struct arena_cache_class *cc = arena_home_of(cache, b);
        uint64_t n = cc->n;
        if (__builtin_expect(n != cc->cap, 1)) {
            cc->blocks[n] = own(cache, b);
            arena_set_count(cc, n + 1);
            return;
        }
    }
    release_slowly(cache, b);
}

struct arena_block *arena_alloc(struct arena_cache *cache, size_t size) {
    return take(cache, size);
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
    if (!(s & ARENA_REFS))
        release(cache, b);
}

/* ---- What the application holds ----------------------------------------------------------- */

/* The array of a block whose state has become state. */
HOT void fill(struct arena_block *b, uint64_t state, uint32_t offset, uint32_t len,
              demi_sgarray_t *sga) {
    memset(sga, 0, sizeof(*sga));
    sga->sga_buf = (void *)(uintptr_t)((state & ~ARENA_REFS) | ARENA_REF);
    sga->sga_numsegs = 1;
    sga->sga_segs[0].sgaseg_buf = (void *)(b->addr + offset);
    sga->sga_segs[0].sgaseg_len = len;
}

/* Which bytes of a block the application may use, before it holds it. */
HOT void limit(struct arena_block *b, uint32_t offset, uint32_t len) {
    uint32_t owner = __atomic_load_n(&b->lead, __ATOMIC_RELAXED) & ~ARENA_LEAD_BYTES;
    __atomic_store_n(&b->lead, owner | offset, __ATOMIC_RELAXED);
    __atomic_store_n(&b->size, len, __ATOMIC_RELAXED);
}

void arena_give(struct arena_block *b, uint8_t offset, uint32_t len, demi_sgarray_t *sga) {
    limit(b, offset, len);
    fill(b, __atomic_or_fetch(&b->state, ARENA_APP, __ATOMIC_ACQ_REL), offset, len, sga);
}

int arena_sgaalloc(struct arena_cache *cache, size_t size, demi_sgarray_t *sga) {
    uint8_t lead = size <= ARENA_MAX_CLASS - ARENA_LEAD ? ARENA_LEAD : 0;
    struct arena_block *b = size ? take(cache, size + lead) : NULL;
    if (__builtin_expect(!b, 0)) {
        memset(sga, 0, sizeof(*sga));
        return ENOMEM;
    }
    limit(b, lead, (uint32_t)size);
    /* Nobody else can know the block: its state needs no atomic change. */
    uint64_t s = __atomic_load_n(&b->state, __ATOMIC_RELAXED) | ARENA_APP;
    __atomic_store_n(&b->state, s, __ATOMIC_RELEASE);
    fill(b, s, lead, (uint32_t)size, sga);
    return 0;
}

/* The block that an array names; its state is sga_buf, but for the data plane's references. */
HOT bool named(const demi_sgarray_t *sga, struct arena_block **b) {
    if (!sga || sga->sga_numsegs != 1)
        return false;
    uint32_t index = (uint32_t)(uintptr_t)sga->sga_buf;
    uint64_t held = ARENA_APP | ARENA_MARK | ARENA_REF;
    if (((uintptr_t)sga->sga_buf & (held | ARENA_REFS)) != held ||
        index >= __atomic_load_n(&arena_meta.made, __ATOMIC_ACQUIRE))
        return false;
    *b = arena_meta.blocks + index;
    return true;
}

/* Whether a state is of the life that an array was made in. */
HOT bool same_life(uint64_t state, const demi_sgarray_t *sga) {
    return !((state ^ (uintptr_t)sga->sga_buf) & ~ARENA_REFS);
}

/* Whether the segment lies inside what was allocated. */
HOT bool inside(const demi_sgarray_t *sga, const struct arena_block *b) {
    uint32_t lead = __atomic_load_n(&b->lead, __ATOMIC_RELAXED) & ARENA_LEAD_BYTES;
    uint32_t size = __atomic_load_n(&b->size, __ATOMIC_RELAXED);
    uintptr_t first = __atomic_load_n(&b->addr, __ATOMIC_RELAXED) + lead;
    uint64_t off = (uintptr_t)sga->sga_segs[0].sgaseg_buf - first; /* wraps below first */
    return off <= size && sga->sga_segs[0].sgaseg_len <= size - off;
}

int arena_check(struct arena_cache *cache, const demi_sgarray_t *sga) {
    struct arena_block *b;
    if (!named(sga, &b) || !same_life(__atomic_load_n(&b->state, __ATOMIC_ACQUIRE), sga) ||
        !inside(sga, b))
        return EINVAL;
    if (cache)
        see(cache);
    return 0;
}

int arena_hold(const demi_sgarray_t *sga, struct arena_block **out) {
    struct arena_block *b;
    if (!named(sga, &b))
        return EINVAL;
    uint64_t s = __atomic_load_n(&b->state, __ATOMIC_ACQUIRE);
    do {
        if (!same_life(s, sga) || !inside(sga, b))
            return EINVAL;
        if ((s & ARENA_REFS) == ARENA_REFS)
            return EAGAIN;
    } while (!__atomic_compare_exchange_n(&b->state, &s, s + ARENA_REF, true, __ATOMIC_ACQ_REL,
                                          __ATOMIC_ACQUIRE));
    *out = b;
    return 0;
}

int arena_sgafree(struct arena_cache *cache, const demi_sgarray_t *sga) {
    struct arena_block *b;
    if (!named(sga, &b))
        return EINVAL;
    uint64_t s = __atomic_load_n(&b->state, __ATOMIC_ACQUIRE);
    do {
        if (!same_life(s, sga))
            return EINVAL;
    } while (!__atomic_compare_exchange_n(&b->state, &s, s - ARENA_APP + ARENA_GEN - ARENA_REF,
                                          true, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE));
    if (cache)
        see(cache);
    if (__builtin_expect((s & ARENA_REFS) == ARENA_REF, 1))
        release(cache, b);
    return 0;
}
