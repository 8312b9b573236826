/* The process-wide pool: slabs of blocks in chunks, and when chunks come and go. */
#include "arena_internal.h"

#include <errno.h>
#include <string.h>

pthread_mutex_t arena_pool_lock = PTHREAD_MUTEX_INITIALIZER;

/* Under arena_pool_lock. */
static struct {
    struct arena_slab *slabs[ARENA_CLASSES]; /* with a free block */
    struct arena_chunk *chunks;              /* all */
    struct arena_chunk *roomy;               /* with a free span */
    struct arena_chunk *idle;                /* large, without a block */
    struct arena_cache *caches;
    uint64_t out; /* blocks handed out, those in caches included */
    uint64_t chunk_count;
    uint64_t bytes;       /* mapped */
    uint64_t empty_bytes; /* of these, in chunks without a slab or block */
    uint64_t max_bytes;
    uint64_t keep_bytes;
} pool = {.max_bytes = UINT64_MAX, .keep_bytes = ARENA_DEFAULT_KEEP};

/* ---- Chunks ------------------------------------------------------------------------- */

static void list_add(struct arena_chunk **head, struct arena_chunk *c) {
    c->roomy = true;
    c->roomy_prev = NULL;
    c->roomy_next = *head;
    if (*head)
        (*head)->roomy_prev = c;
    *head = c;
}

static void list_del(struct arena_chunk **head, struct arena_chunk *c) {
    if (c->roomy_prev)
        c->roomy_prev->roomy_next = c->roomy_next;
    else
        *head = c->roomy_next;
    if (c->roomy_next)
        c->roomy_next->roomy_prev = c->roomy_prev;
    c->roomy = false;
}

static struct arena_chunk *chunk_make(size_t size, bool large) {
    uint64_t room = pool.max_bytes > pool.bytes ? pool.max_bytes - pool.bytes : 0;
    struct arena_chunk *c = arena_chunk_map(size, large, room);
    if (!c)
        return NULL;
    c->prev = NULL;
    c->next = pool.chunks;
    if (pool.chunks)
        pool.chunks->prev = c;
    pool.chunks = c;
    pool.chunk_count++;
    pool.bytes += c->len;
    pool.empty_bytes += c->len;
    if (!large)
        list_add(&pool.roomy, c);
    return c;
}

/* Takes an empty chunk out of everything that could find it. */
static void chunk_forget(struct arena_chunk *c) {
    list_del(c->large ? &pool.idle : &pool.roomy, c);
    if (c->prev)
        c->prev->next = c->next;
    else
        pool.chunks = c->next;
    if (c->next)
        c->next->prev = c->prev;
    pool.empty_bytes -= c->len;
}

struct arena_chunk *arena_pool_chunks(void) {
    return pool.chunks;
}

/* ---- Slabs ------------------------------------------------------------------------------ */

static uint32_t span_mask(uint32_t first, uint32_t n) {
    return (uint32_t)(((UINT64_C(1) << n) - 1) << first);
}

/* Spans of a slab of a class: as few as waste at most an eighth behind the last block. */
static uint32_t slab_spans(uint32_t block_size) {
    for (uint32_t n = 1;; n++) {
        uint32_t size = n << ARENA_SPAN_SHIFT;
        if (size >= block_size && size % block_size <= size / 8)
            return n;
    }
}

static void slab_list(struct arena_slab *s) {
    struct arena_slab **head = &pool.slabs[s->class];
    s->listed = true;
    s->prev = NULL;
    s->next = *head;
    if (*head)
        (*head)->prev = s;
    *head = s;
}

static void slab_unlist(struct arena_slab *s) {
    if (s->prev)
        s->prev->next = s->next;
    else
        pool.slabs[s->class] = s->next;
    if (s->next)
        s->next->prev = s->prev;
    s->listed = false;
}

/* A chunk with a run of n free spans, and where it starts. */
static struct arena_chunk *find_run(uint32_t n, uint32_t *first) {
    for (struct arena_chunk *c = pool.roomy; c; c = c->roomy_next) {
        uint32_t run = c->free_spans;
        for (uint32_t i = 1; i < n; i++)
            run &= run >> 1;
        if (run) {
            *first = (uint32_t)__builtin_ctz(run);
            return c;
        }
    }
    return NULL;
}

static struct arena_slab *slab_make(uint32_t class) {
    uint32_t block_size = arena_class_size(class);
    uint32_t n = slab_spans(block_size);
    uint32_t first = 0;
    struct arena_chunk *c = find_run(n, &first);
    if (!c)
        c = chunk_make(ARENA_CHUNK, false);
    if (!c)
        return NULL;
    if (c->free_spans == UINT32_MAX)
        pool.empty_bytes -= c->len;
    c->free_spans &= ~span_mask(first, n);
    if (!c->free_spans)
        list_del(&pool.roomy, c);
    uint32_t blocks = (n << ARENA_SPAN_SHIFT) / block_size;
    struct arena_slab *s = &c->slabs[first];
    *s = (struct arena_slab){.chunk = c,
                             .blocks = (uint16_t)blocks,
                             .first = (uint8_t)first,
                             .spans = (uint8_t)n,
                             .class = (uint8_t) class};
    slab_list(s);
    return s;
}

/* Returns the spans of a slab without a block in use. */
static void slab_retire(struct arena_slab *s) {
    struct arena_chunk *c = s->chunk;
    slab_unlist(s);
    if (!c->roomy)
        list_add(&pool.roomy, c);
    c->free_spans |= span_mask(s->first, s->spans);
    if (c->free_spans == UINT32_MAX)
        pool.empty_bytes += c->len;
}

/* ---- Taking and putting back ---------------------------------------------------------------- */

/* Makes b a block, with one reference. Stale look-ups may be reading it. */
static void block_stamp(struct arena_block *b, uintptr_t addr, uint32_t class, uint32_t size) {
    __atomic_store_n(&b->addr, addr, __ATOMIC_RELAXED);
    b->block_size = size;
    __atomic_store_n(&b->home, arena_home(class), __ATOMIC_RELAXED);
    __atomic_store_n(&b->lead, 0, __ATOMIC_RELAXED); /* nobody's, until a cache owns it */
    /* Another life than that of the block that was here before, if there was one. */
    uint64_t gen = (__atomic_load_n(&b->state, __ATOMIC_RELAXED) & ARENA_GENS) + ARENA_GEN;
    __atomic_store_n(&b->state, gen | ARENA_MARK | ARENA_REF | arena_block_index(b),
                     __ATOMIC_RELEASE);
}

static struct arena_block *slab_take(struct arena_slab *s) {
    struct arena_block *blocks =
        arena_chunk_blocks(s->chunk) + (size_t)s->first * ARENA_SPAN_BLOCKS;
    struct arena_block *b;
    if (s->free) {
        b = &blocks[s->free - 1];
        s->free = b->size;
    } else {
        uint32_t i = s->fresh++;
        b = &blocks[i];
        uint32_t size = arena_class_size(s->class);
        uintptr_t first = (uintptr_t)s->chunk->base + ((uintptr_t)s->first << ARENA_SPAN_SHIFT);
        block_stamp(b, first + (uintptr_t)i * size, s->class, size);
    }
    if (++s->used == s->blocks)
        slab_unlist(s);
    return b;
}

static uint32_t take_locked(uint32_t class, struct arena_block **out, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        struct arena_slab *s = pool.slabs[class];
        if (!s && i) /* enough to go on with: growth is for who has nothing */
            return i;
        if (!s)
            s = slab_make(class);
        if (!s)
            return 0;
        out[i] = slab_take(s);
        pool.out++;
    }
    return n;
}

uint32_t arena_pool_take(uint32_t class, struct arena_block **out, uint32_t n) {
    pthread_mutex_lock(&arena_pool_lock);
    uint32_t got = take_locked(class, out, n);
    pthread_mutex_unlock(&arena_pool_lock);
    if (got)
        return got;
    /* Perhaps empty slabs of other classes or idle large chunks stand in the way. */
    arena_trim(0);
    pthread_mutex_lock(&arena_pool_lock);
    got = take_locked(class, out, n);
    pthread_mutex_unlock(&arena_pool_lock);
    return got;
}

/* Whether more lies empty than should be kept. */
static bool too_much_empty(void) {
    return pool.empty_bytes > pool.keep_bytes;
}

void arena_pool_put(struct arena_block *const *blocks, uint32_t n) {
    if (!n)
        return;
    pthread_mutex_lock(&arena_pool_lock);
    for (uint32_t i = 0; i < n; i++) {
        struct arena_block *b = blocks[i];
        uint32_t index = arena_block_index(b) % ARENA_CHUNK_BLOCKS;
        struct arena_slab *s = &arena_block_chunk(b)->slabs[index / ARENA_SPAN_BLOCKS];
        __atomic_store_n(&b->size, s->free, __ATOMIC_RELAXED);
        s->free = index % ARENA_SPAN_BLOCKS + 1;
        s->used--;
        if (!s->listed)
            slab_list(s);
        /* One slab of a class may stay without a block in use, to be at hand. */
        if (!s->used && (s->next || s->prev))
            slab_retire(s);
    }
    pool.out -= n;
    bool trim = too_much_empty();
    uint64_t keep = pool.keep_bytes;
    pthread_mutex_unlock(&arena_pool_lock);
    if (trim)
        arena_trim(keep);
}

/* An idle chunk of which size bytes waste at most a quarter. */
static struct arena_chunk *find_idle(size_t size) {
    for (struct arena_chunk *c = pool.idle; c; c = c->roomy_next)
        if (c->len >= size && c->len - size <= c->len / 4)
            return c;
    return NULL;
}

static struct arena_block *take_large_locked(size_t size) {
    struct arena_chunk *c = find_idle(size);
    if (c)
        list_del(&pool.idle, c);
    else
        c = chunk_make(size, true);
    if (!c)
        return NULL;
    pool.empty_bytes -= c->len;
    pool.out++;
    struct arena_block *b = arena_chunk_blocks(c);
    block_stamp(b, (uintptr_t)c->base, ARENA_LARGE, (uint32_t)c->len);
    return b;
}

struct arena_block *arena_pool_take_large(size_t size) {
    pthread_mutex_lock(&arena_pool_lock);
    struct arena_block *b = take_large_locked(size);
    pthread_mutex_unlock(&arena_pool_lock);
    if (b)
        return b;
    arena_trim(0);
    pthread_mutex_lock(&arena_pool_lock);
    b = take_large_locked(size);
    pthread_mutex_unlock(&arena_pool_lock);
    return b;
}

void arena_pool_put_large(struct arena_block *b) {
    struct arena_chunk *c = arena_block_chunk(b);
    pthread_mutex_lock(&arena_pool_lock);
    list_add(&pool.idle, c);
    pool.empty_bytes += c->len;
    pool.out--;
    bool trim = too_much_empty();
    uint64_t keep = pool.keep_bytes;
    pthread_mutex_unlock(&arena_pool_lock);
    if (trim)
        arena_trim(keep);
}

/* ---- Giving back
 * --------------------------------------------------------------------------------
 */

static void retire_empty_slabs(void) {
    for (uint32_t class = 0; class < ARENA_CLASSES; class ++) {
        struct arena_slab *next;
        for (struct arena_slab *s = pool.slabs[class]; s; s = next) {
            next = s->next;
            if (!s->used)
                slab_retire(s);
        }
    }
}

/* Moves empty chunks from one list to *gone, until at most keep bytes are empty. */
static void forget_empty(struct arena_chunk *list, uint64_t keep, struct arena_chunk **gone) {
    struct arena_chunk *next;
    for (struct arena_chunk *c = list; c && pool.empty_bytes > keep; c = next) {
        next = c->roomy_next;
        if (!c->large && c->free_spans != UINT32_MAX)
            continue;
        chunk_forget(c);
        c->next = *gone;
        *gone = c;
    }
}

void arena_trim(uint64_t keep_bytes) {
    struct arena_chunk *gone = NULL;
    pthread_mutex_lock(&arena_reg_lock);
    pthread_mutex_lock(&arena_pool_lock);
    if (!keep_bytes)
        retire_empty_slabs();
    forget_empty(pool.idle, keep_bytes, &gone);
    forget_empty(pool.roomy, keep_bytes, &gone);
    pthread_mutex_unlock(&arena_pool_lock);
    for (struct arena_chunk *c = gone; c; c = c->next) {
        arena_chunk_deregister(c);
        arena_chunk_unmap(c);
    }
    pthread_mutex_lock(&arena_pool_lock);
    while (gone) {
        struct arena_chunk *c = gone;
        gone = c->next;
        pool.bytes -= c->len;
        pool.chunk_count--;
        arena_meta_put(c);
    }
    pthread_mutex_unlock(&arena_pool_lock);
    pthread_mutex_unlock(&arena_reg_lock);
}

void arena_configure(uint64_t max_bytes, uint64_t keep_bytes) {
    pthread_mutex_lock(&arena_pool_lock);
    pool.max_bytes = max_bytes ? max_bytes : UINT64_MAX;
    pool.keep_bytes = keep_bytes;
    bool trim = too_much_empty();
    pthread_mutex_unlock(&arena_pool_lock);
    if (trim)
        arena_trim(keep_bytes);
}

int arena_shutdown(void) {
    pthread_mutex_lock(&arena_reg_lock);
    pthread_mutex_lock(&arena_pool_lock);
    bool busy = pool.out || pool.caches || arena_devices();
    pthread_mutex_unlock(&arena_pool_lock);
    pthread_mutex_unlock(&arena_reg_lock);
    if (busy)
        return EBUSY;
    arena_trim(0);
    pthread_mutex_lock(&arena_pool_lock);
    arena_meta_release();
    pthread_mutex_unlock(&arena_pool_lock);
    return 0;
}

/* ---- Caches and census
 * ------------------------------------------------------------------------------ */

void arena_pool_add_cache(struct arena_cache *cache) {
    pthread_mutex_lock(&arena_pool_lock);
    cache->prev = NULL;
    cache->next = pool.caches;
    if (pool.caches)
        pool.caches->prev = cache;
    pool.caches = cache;
    pthread_mutex_unlock(&arena_pool_lock);
}

void arena_pool_remove_cache(struct arena_cache *cache) {
    pthread_mutex_lock(&arena_pool_lock);
    if (cache->prev)
        cache->prev->next = cache->next;
    else
        pool.caches = cache->next;
    if (cache->next)
        cache->next->prev = cache->prev;
    pthread_mutex_unlock(&arena_pool_lock);
}

void arena_census(struct arena_census *out) {
    memset(out, 0, sizeof(*out));
    pthread_mutex_lock(&arena_pool_lock);
    for (struct arena_cache *cache = pool.caches; cache; cache = cache->next)
        for (uint32_t i = 0; i < ARENA_CLASSES; i++)
            out->cached += __atomic_load_n(&cache->classes[i].n, __ATOMIC_RELAXED);
    out->blocks = pool.out > out->cached ? pool.out - out->cached : 0;
    out->chunks = pool.chunk_count;
    out->bytes = pool.bytes;
    pthread_mutex_unlock(&arena_pool_lock);
    out->regions = arena_regions();
}
