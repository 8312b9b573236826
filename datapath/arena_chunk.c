/* Chunks: mapping payload and metadata, and the radix that finds them by address. */
#define _GNU_SOURCE 1 /* MAP_HUGETLB, MADV_HUGEPAGE */
#include "arena_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct arena_chunk **arena_radix[1 << ARENA_RADIX_BITS];
int64_t arena_test_mappings_left = -1;

/* Metadata regions without a chunk, through next; under arena_pool_lock. */
static struct arena_chunk *spare_meta;

static bool may_map(void) {
    int64_t left = __atomic_load_n(&arena_test_mappings_left, __ATOMIC_RELAXED);
    if (left == 0)
        return false;
    if (left > 0)
        __atomic_store_n(&arena_test_mappings_left, left - 1, __ATOMIC_RELAXED);
    return true;
}

void *arena_map_aligned(size_t n, size_t align, int prot) {
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
    if ((uintptr_t)end >> 47) { /* above what the radix covers; not given out on Linux unasked */
        munmap(start, n);
        return NULL;
    }
    return start;
}

int arena_radix_set(const void *base, size_t len, struct arena_chunk *c) {
    uintptr_t end = (uintptr_t)base + len;
    if (c) { /* first every leaf, so that nothing is entered when one is missing */
        for (uintptr_t a = (uintptr_t)base; a < end; a += ARENA_CHUNK) {
            if (arena_radix[a >> 34])
                continue;
            struct arena_chunk **leaf = calloc(1 << ARENA_RADIX_BITS, sizeof(struct arena_chunk *));
            if (!leaf)
                return ENOMEM;
            __atomic_store_n(&arena_radix[a >> 34], leaf, __ATOMIC_RELEASE);
        }
    }
    for (uintptr_t a = (uintptr_t)base; a < end; a += ARENA_CHUNK)
        __atomic_store_n(&arena_radix[a >> 34][(a >> 21) & ((1 << ARENA_RADIX_BITS) - 1)], c,
                         __ATOMIC_RELEASE);
    return 0;
}

static struct arena_chunk *meta_get(void) {
    struct arena_chunk *c = spare_meta;
    if (c) {
        spare_meta = c->next;
        return c;
    }
    uint8_t *p = arena_map_aligned(ARENA_META, ARENA_META, PROT_NONE);
    if (!p)
        return NULL;
    if (mprotect(p + ARENA_META_GUARD, ARENA_META_END - ARENA_META_GUARD, PROT_READ | PROT_WRITE)) {
        munmap(p, ARENA_META);
        return NULL;
    }
    return (struct arena_chunk *)(p + ARENA_META_GUARD);
}

void arena_meta_put(struct arena_chunk *c) {
    c->next = spare_meta;
    spare_meta = c;
}

void arena_meta_release(void) {
    while (spare_meta) {
        struct arena_chunk *c = spare_meta;
        spare_meta = c->next;
        munmap((uint8_t *)c - ARENA_META_GUARD, ARENA_META);
    }
    for (size_t i = 0; i < sizeof(arena_radix) / sizeof(arena_radix[0]); i++) {
        free(arena_radix[i]);
        arena_radix[i] = NULL;
    }
}

/* Payload of at least size and at most room bytes: *len says how many. */
static void *payload_map(size_t size, uint64_t room, size_t *len) {
    size_t huge = (size + ARENA_CHUNK - 1) & ~(size_t)(ARENA_CHUNK - 1);
    if (huge - size <= huge / 4 && huge <= room && may_map()) {
        void *p = mmap(NULL, huge, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
        if (p != MAP_FAILED) {
            if (!((uintptr_t)p & (ARENA_CHUNK - 1)) && !(((uintptr_t)p + huge) >> 47)) {
                *len = huge;
                return p;
            }
            munmap(p, huge); /* the system's huge pages are smaller than ours */
        }
    }
    *len = (size + 4095) & ~(size_t)4095;
    if (*len > room)
        return NULL;
    void *p = arena_map_aligned(*len, ARENA_CHUNK, PROT_READ | PROT_WRITE);
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
    /* Stale look-ups may be reading the spans, whose incarnations are 0: they stay as they are. */
    c->base = base;
    c->len = len;
    c->large = large;
    c->roomy = false;
    c->free_spans = large ? 0 : UINT32_MAX;
    if (arena_radix_set(base, len, c)) {
        munmap(base, len);
        arena_meta_put(c);
        return NULL;
    }
    return c;
}

void arena_chunk_unmap(struct arena_chunk *c) {
    munmap(c->base, c->len);
}
