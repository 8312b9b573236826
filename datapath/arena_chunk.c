/* Chunks: mapping payload and metadata. */
#define _GNU_SOURCE 1 /* MAP_HUGETLB, MADV_HUGEPAGE */
#include "arena_internal.h"

#include <sys/mman.h>

int64_t arena_test_mappings_left = -1;
uint32_t arena_test_max_chunks = ARENA_MAX_CHUNKS;

struct arena_meta arena_meta;
static uint8_t *meta_start; /* of what is reserved */
static size_t meta_size;

/* Metadata without a chunk, through next; under arena_pool_lock. */
static struct arena_chunk *spare_meta;

static bool may_map(void) {
    int64_t left = __atomic_load_n(&arena_test_mappings_left, __ATOMIC_RELAXED);
    if (left == 0)
        return false;
    if (left > 0)
        __atomic_store_n(&arena_test_mappings_left, left - 1, __ATOMIC_RELAXED);
    return true;
}

static void *map_aligned(size_t n, size_t align, int prot) {
    if (!may_map())
        return NULL;
    size_t whole = n + align;
    uint8_t *p = mmap(NULL, whole, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    uint8_t *start = (uint8_t *)(((uintptr_t)p + align - 1) & ~(uintptr_t)(align - 1));
    if (start > p)
        munmap(p, (size_t)(start - p));
    uint8_t *end = start + n;
    if (end < p + whole)
        munmap(end, (size_t)(p + whole - end));
    return start;
}

/*
 * Reserves addresses for metadata. It takes no memory, but counts where addresses are limited
 * (RLIMIT_AS): then for as few chunks as there is room.
 */
static bool meta_reserve(void) {
    for (uint32_t n = arena_test_max_chunks; n; n /= 2) {
        size_t chunks = (size_t)n * ARENA_META_CHUNK, blocks = (size_t)n * ARENA_META_BLOCKS;
        size_t size = chunks + blocks + 3 * ARENA_META_GUARD;
        void *p = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED)
            continue;
        /* Of a program with mlockall(MCL_FUTURE) it would count as locked memory. */
        (void)munlock(p, size);
        meta_start = p;
        meta_size = size;
        arena_meta.chunks = meta_start + ARENA_META_GUARD;
        arena_meta.blocks = (struct arena_block *)(arena_meta.chunks + chunks + ARENA_META_GUARD);
        arena_meta.room = n;
        return true;
    }
    return false;
}

static struct arena_chunk *meta_get(void) {
    struct arena_chunk *c = spare_meta;
    if (c) {
        spare_meta = c->next;
        return c;
    }
    if (!may_map() || (!meta_start && !meta_reserve()))
        return NULL;
    uint32_t n = arena_meta.made / ARENA_CHUNK_BLOCKS;
    if (n == arena_meta.room)
        return NULL;
    c = (struct arena_chunk *)(arena_meta.chunks + (size_t)n * ARENA_META_CHUNK);
    struct arena_block *blocks = arena_chunk_blocks(c);
    if (mprotect(c, ARENA_META_CHUNK, PROT_READ | PROT_WRITE) ||
        mprotect(blocks, ARENA_META_BLOCKS, PROT_READ | PROT_WRITE))
        return NULL;
    blocks->state = ARENA_MARK; /* the first of all could be taken for that of a NULL handle */
    __atomic_store_n(&arena_meta.made, arena_meta.made + ARENA_CHUNK_BLOCKS, __ATOMIC_RELEASE);
    return c;
}

void arena_meta_put(struct arena_chunk *c) {
    c->next = spare_meta;
    spare_meta = c;
}

void arena_meta_release(void) {
    if (meta_start)
        munmap(meta_start, meta_size);
    meta_start = NULL;
    arena_meta = (struct arena_meta){0};
    spare_meta = NULL;
}

/* Payload of at least size and at most room bytes: *len says how many. */
static void *payload_map(size_t size, uint64_t room, size_t *len) {
    size_t huge = (size + ARENA_CHUNK - 1) & ~(size_t)(ARENA_CHUNK - 1);
    if (huge - size <= huge / 4 && huge <= room && may_map()) {
        void *p = mmap(NULL, huge, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
        if (p != MAP_FAILED) {
            if (!((uintptr_t)p & (ARENA_CHUNK - 1))) {
                *len = huge;
                return p;
            }
            munmap(p, huge); /* the system's huge pages are smaller than ours */
        }
    }
    *len = (size + ARENA_PAGE - 1) & ~(size_t)(ARENA_PAGE - 1);
    if (*len > room)
        return NULL;
    void *p = map_aligned(*len, ARENA_CHUNK, PROT_READ | PROT_WRITE);
    if (p)
        (void)madvise(p, *len, MADV_HUGEPAGE); /* a wish: not every kernel has them */
    return p;
}

struct arena_chunk *arena_chunk_map(size_t size, bool large, uint64_t room) {
    struct arena_chunk *c = meta_get();
    if (!c)
        return NULL;
    size_t len;
    void *base = payload_map(size, room, &len);
    if (!base) {
        arena_meta_put(c);
        return NULL;
    }
    c->base = base;
    c->len = len;
    c->large = large;
    c->roomy = false;
    c->free_spans = large ? 0 : UINT32_MAX;
    return c;
}

void arena_chunk_unmap(struct arena_chunk *c) {
    munmap(c->base, c->len);
}
