/* Blocks and their owners, and the caches in front of the pool: see arena.h. */
#include "arena_internal.h"

#include <errno.h>
#include <string.h>

/* A byte of arena memory, looked up: only valid while the incarnation is. */
struct hit {
    struct arena_block *block;
    uintptr_t start; /* of the block */
    uint64_t inc;
};

static bool resolve(uintptr_t a, struct hit *h) {
    const struct arena_chunk *c = arena_find(a);
    if (!c)
        return false;
    const struct arena_span *sp = &c->spans[(a >> ARENA_SPAN_SHIFT) % ARENA_SPANS];
    uint32_t inc = __atomic_load_n(&sp->inc, __ATOMIC_ACQUIRE);
    if (!inc)
        return false;
    uintptr_t base = (uintptr_t)__atomic_load_n(&sp->base, __ATOMIC_ACQUIRE);
    uint64_t block_size = __atomic_load_n(&sp->block_size, __ATOMIC_ACQUIRE);
    uint64_t recip = __atomic_load_n(&sp->recip, __ATOMIC_ACQUIRE);
    uint64_t blocks = __atomic_load_n(&sp->blocks, __ATOMIC_ACQUIRE);
    uint32_t first = __atomic_load_n(&sp->first, __ATOMIC_ACQUIRE);
    if (__atomic_load_n(&sp->inc, __ATOMIC_ACQUIRE) != inc)
        return false;
    uint64_t off = a - base; /* wraps if a is below base */
    if (off >= blocks * block_size)
        return false;
    uint64_t index = ((off >> 6) * recip) >> 31;
    h->block = arena_chunk_blocks(c) + first * ARENA_SPAN_BLOCKS + index;
    h->start = base + index * block_size;
    h->inc = inc;
    return true;
}

/* ---- Caches ------------------------------------------------------------------------- */

void arena_cache_init(struct arena_cache *cache) {
    memset(cache, 0, sizeof(*cache));
    for (uint32_t i = 0; i < ARENA_CLASSES; i++) {
        uint32_t fit = ARENA_MAX_CLASS / arena_class_size(i);
        cache->classes[i].cap = fit > ARENA_CACHE_BLOCKS ? ARENA_CACHE_BLOCKS : fit < 2 ? 2 : fit;
    }
    arena_pool_add_cache(cache);
}

static void set_held(struct arena_cache *cache, uint64_t n) {
    __atomic_store_n(&cache->held, n, __ATOMIC_RELAXED);
}

void arena_cache_flush(struct arena_cache *cache) {
    for (uint32_t i = 0; i < ARENA_CLASSES; i++) {
        struct arena_cache_class *cc = &cache->classes[i];
        arena_pool_put(cc->blocks, cc->n);
        cc->n = 0;
    }
    set_held(cache, 0);
}

void arena_cache_destroy(struct arena_cache *cache) {
    arena_cache_flush(cache);
    arena_pool_remove_cache(cache);
}

/* A cache ran empty: fills half of it, and returns one block more. */
static __attribute__((noinline)) struct arena_block *refill(struct arena_cache *cache,
                                                            uint32_t class) {
    struct arena_block *b;
    if (!cache)
        return arena_pool_take(class, &b, 1) ? b : NULL;
    struct arena_cache_class *cc = &cache->classes[class];
    cc->n = arena_pool_take(class, cc->blocks, cc->cap / 2);
    if (!cc->n)
        return NULL;
    set_held(cache, cache->held + cc->n - 1);
    return cc->blocks[--cc->n];
}

/* A cache is full: returns the older half of it. */
static __attribute__((noinline)) void spill(struct arena_cache *cache,
                                            struct arena_cache_class *cc) {
    uint32_t n = cc->cap / 2;
    arena_pool_put(cc->blocks, n);
    memmove(cc->blocks, cc->blocks + n, (cc->n - n) * sizeof(cc->blocks[0]));
    cc->n -= n;
    set_held(cache, cache->held - n);
}

/* ---- Taking and releasing --------------------------------------------------------------- */

/* A block that nobody holds yet, with its tag advanced; *state is what stands in it. */
static struct arena_block *take(struct arena_cache *cache, size_t size, uint64_t *state) {
    struct arena_block *b;
    if (__builtin_expect(size - 1 < ARENA_MAX_CLASS, 1)) {
        uint32_t class = arena_class(size);
        struct arena_cache_class *cc = cache ? &cache->classes[class] : NULL;
        if (__builtin_expect(cc && cc->n, 1)) {
            b = cc->blocks[--cc->n];
            set_held(cache, cache->held - 1);
        } else {
            b = refill(cache, class);
        }
    } else if (size && size <= ARENA_MAX_BLOCK) {
        b = arena_pool_take_large(size);
    } else {
        return NULL;
    }
    if (!b)
        return NULL;
    __atomic_store_n(&b->size, (uint32_t)size, __ATOMIC_RELAXED);
    uint64_t s = __atomic_load_n(&b->state, __ATOMIC_RELAXED);
    *state = (s & ~ARENA_TAG_MASK) | ((s + ARENA_TAG_ONE) & ARENA_TAG_MASK);
    return b;
}

/* Nobody holds the block any more. */
static void release(struct arena_cache *cache, struct arena_block *b) {
    uint32_t class = arena_block_span(b)->class;
    if (__builtin_expect(class == ARENA_LARGE, 0)) {
        arena_pool_put_large(b);
        return;
    }
    if (!cache) {
        arena_pool_put(&b, 1);
        return;
    }
    struct arena_cache_class *cc = &cache->classes[class];
    if (__builtin_expect(cc->n == cc->cap, 0))
        spill(cache, cc);
    cc->blocks[cc->n++] = b;
    set_held(cache, cache->held + 1);
}

struct arena_block *arena_alloc(struct arena_cache *cache, size_t size) {
    uint64_t s;
    struct arena_block *b = take(cache, size, &s);
    if (b)
        __atomic_store_n(&b->state, s + 1, __ATOMIC_RELEASE);
    return b;
}

void *arena_block_data(const struct arena_block *b) {
    return (void *)arena_block_addr(b);
}

size_t arena_block_size(const struct arena_block *b) {
    return arena_block_span(b)->block_size;
}

void arena_ref(struct arena_block *b) {
    __atomic_fetch_add(&b->state, 1, __ATOMIC_RELAXED);
}

void arena_unref(struct arena_cache *cache, struct arena_block *b) {
    uint64_t s = __atomic_sub_fetch(&b->state, 1, __ATOMIC_ACQ_REL);
    if (!(s & (ARENA_APP | ARENA_REFS)))
        release(cache, b);
}

/* ---- What the application holds ----------------------------------------------------------- */

static void fill(demi_sgarray_t *sga, uintptr_t start, uint64_t state, uint32_t offset,
                 uint32_t len) {
    memset(sga, 0, sizeof(*sga));
    sga->sga_buf = (void *)(start | ((state & ARENA_TAG_MASK) >> ARENA_TAG_SHIFT));
    sga->sga_numsegs = 1;
    sga->sga_segs[0].sgaseg_buf = (void *)(start + offset);
    sga->sga_segs[0].sgaseg_len = len;
}

void arena_give(struct arena_block *b, uint32_t offset, uint32_t len, demi_sgarray_t *sga) {
    __atomic_store_n(&b->size, offset + len, __ATOMIC_RELAXED);
    uint64_t s = __atomic_add_fetch(&b->state, ARENA_APP - 1, __ATOMIC_ACQ_REL);
    fill(sga, arena_block_addr(b), s, offset, len);
}

int arena_sgaalloc(struct arena_cache *cache, size_t size, demi_sgarray_t *sga) {
    uint64_t s;
    struct arena_block *b = take(cache, size, &s);
    if (!b) {
        memset(sga, 0, sizeof(*sga));
        return ENOMEM;
    }
    __atomic_store_n(&b->state, s | ARENA_APP, __ATOMIC_RELEASE);
    fill(sga, arena_block_addr(b), s, 0, (uint32_t)size);
    return 0;
}

/*
 * The block that an array names. *want and *mask say what its state must look like while
 * the application holds it.
 */
static bool named(const demi_sgarray_t *sga, struct hit *h, uint64_t *want, uint64_t *mask) {
    if (!sga || sga->sga_numsegs != 1)
        return false;
    uintptr_t buf = (uintptr_t)sga->sga_buf;
    uintptr_t start = buf & ~(uintptr_t)(ARENA_ALIGN - 1);
    if (!resolve(buf ? start : (uintptr_t)sga->sga_segs[0].sgaseg_buf, h))
        return false;
    *want = h->inc << ARENA_INC_SHIFT | ARENA_APP;
    *mask = ~(ARENA_TAG_MASK | ARENA_REFS);
    if (!buf)
        return true;
    *want |= (uint64_t)(buf - start) << ARENA_TAG_SHIFT;
    *mask |= ARENA_TAG_MASK;
    return h->start == start;
}

/* Whether the segment lies inside what was allocated. */
static bool inside(const demi_sgarray_t *sga, const struct hit *h) {
    uint64_t off = (uintptr_t)sga->sga_segs[0].sgaseg_buf - h->start; /* wraps below start */
    uint64_t size = __atomic_load_n(&h->block->size, __ATOMIC_RELAXED);
    return off <= size && sga->sga_segs[0].sgaseg_len <= size - off;
}

int arena_check(const demi_sgarray_t *sga) {
    struct hit h;
    uint64_t want, mask;
    if (!named(sga, &h, &want, &mask) || !inside(sga, &h))
        return EINVAL;
    uint64_t s = __atomic_load_n(&h.block->state, __ATOMIC_ACQUIRE);
    return (s & mask) == want ? 0 : EINVAL;
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
    } while (!__atomic_compare_exchange_n(&h.block->state, &s, s + 1, true, __ATOMIC_ACQ_REL,
                                          __ATOMIC_ACQUIRE));
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
    if (!(s & ARENA_REFS))
        release(cache, h.block);
    return 0;
}
