/*
 * Private to arena.c, arena_pool.c, arena_chunk.c and arena_mr.c: what the arenas know
 * about their memory.
 *
 *   address --radix--> chunk --span--> slab --index--> block
 *
 * A chunk's payload is cut into 32 spans of 64 KiB. A slab is a run of spans holding
 * blocks of one size class. The metadata of a chunk is an arena_chunk with an arena_block
 * for every block that fits, in a region of its own with guard pages on both sides. Such
 * regions are reused for other chunks but stay mapped until arena_shutdown: so an address
 * may be looked up without a lock, even a stale one, while its chunk goes away.
 *
 * What makes that safe is the incarnation: a number given to a slab when it is made and
 * never again. It stands in the span (0 while there is no slab) and in the state of every
 * block handed out from the slab, and the compare-and-swap that changes a state on behalf
 * of the application insists on it. Who looks up an address reads incarnation, fields,
 * incarnation (a sequence lock).
 *
 * Locks, in this order: arena_reg_lock (registration, devices, chunks going away), then
 * arena_pool_lock (chunks, slabs and free lists, the list of caches).
 */
#ifndef CATMINT_ARENA_INTERNAL_H
#define CATMINT_ARENA_INTERNAL_H

#include <pthread.h>

#include "arena.h"

#define ARENA_SPAN_SHIFT 16
#define ARENA_SPANS 32
#define ARENA_SPAN_BLOCKS 1024    /* blocks of the smallest class in a span */
#define ARENA_LARGE ARENA_CLASSES /* "class" of a block with a chunk of its own */

/*
 * State of a block: incarnation (32 bits) | application holds it (1) | references of the
 * data plane (25) | tag (6).
 */
#define ARENA_INC_SHIFT 32
#define ARENA_APP (UINT64_C(1) << 31)
#define ARENA_REF UINT64_C(64)
#define ARENA_REFS (ARENA_APP - ARENA_REF)
#define ARENA_TAG UINT64_C(63)
_Static_assert(ARENA_REF == ARENA_TAG + 1, "a tag that overflows carries into the references");
/*
 * A block in a cache has one reference already, that of whoever will take it, and a tag of its own:
 * the tag grows by 1 when the block comes in, and goes from its end back to 0, carrying into the
 * reference, which is set anyway.
 */

struct arena_block {
    uint64_t state; /* atomic */
    uintptr_t addr; /* these stay as they are while the slab exists */
    uint32_t block_size;
    uint8_t class;
    uint8_t lead;   /* bytes before those that the application may use (atomic); see below */
    uint16_t owner; /* id of the cache that it came from last, 0: none (atomic) */
    uint32_t size;  /* bytes that were asked for, lead included (atomic) */
    uint32_t next;  /* in the slab's free list: index + 1, 0 at the end */
};
_Static_assert(sizeof(struct arena_block) == 32, "two blocks' metadata in a cache line");
/*
 * In a cache lead is ARENA_LEAD, and owner the cache's id. The bytes of lead of an array that the
 * application holds belong to the engine of that cache, and its lock guards them: it writes the
 * header of a frame there, which goes out with what lies behind.
 */

/* What a look-up needs to know of a span; all fields atomic. */
struct arena_span {
    uint64_t base;       /* address of the slab's first block */
    uint32_t inc;        /* incarnation, 0: no slab here */
    uint32_t block_size; /* bytes */
    uint32_t recip;      /* ceil(2^31 / (block_size / 64)); 0 for a large block */
    uint16_t blocks;
    uint8_t first; /* the slab's first span */
    uint8_t class;
};
_Static_assert(sizeof(struct arena_span) == 24, "spans are packed for look-ups");

struct arena_slab {
    struct arena_slab *next, *prev; /* slabs of its class with a free block */
    struct arena_chunk *chunk;
    uint32_t free;   /* list of freed blocks: index + 1 */
    uint16_t blocks; /* in all */
    uint16_t fresh;  /* blocks never handed out are those from here */
    uint16_t used;   /* handed out: to caches, application or data plane */
    uint8_t first, spans, class;
    bool listed;
};

struct arena_chunk {
    uint64_t keys[ARENA_MAX_DEVICES];      /* 1 << 32 | lkey, 0: not registered (atomic) */
    struct ibv_mr *mrs[ARENA_MAX_DEVICES]; /* under arena_reg_lock */
    void *base;
    size_t len;          /* bytes of payload mapped */
    uint32_t free_spans; /* bit set: the span belongs to no slab */
    bool large;          /* one block */
    bool roomy;          /* on the list of chunks with a free span (or of free large ones) */
    struct arena_chunk *next, *prev; /* all chunks */
    struct arena_chunk *roomy_next, *roomy_prev;
    struct arena_span spans[ARENA_SPANS];
    struct arena_slab slabs[ARENA_SPANS]; /* indexed by first span */
};

/* The metadata region: aligned to its size; guard, arena_chunk, blocks, guard. */
#define ARENA_META (UINT32_C(2) << 20)
#define ARENA_META_GUARD 4096
#define ARENA_META_BLOCKS 16384
#define ARENA_META_END                                                                             \
    (ARENA_META_BLOCKS + ARENA_SPANS * ARENA_SPAN_BLOCKS * sizeof(struct arena_block))
_Static_assert(ARENA_META_GUARD + sizeof(struct arena_chunk) <= ARENA_META_BLOCKS,
               "a chunk's metadata fits in front of its blocks");
_Static_assert(ARENA_META_END < ARENA_META, "the rest is the upper guard");

static inline struct arena_chunk *arena_block_chunk(const struct arena_block *b) {
    return (struct arena_chunk *)(((uintptr_t)b & ~(uintptr_t)(ARENA_META - 1)) + ARENA_META_GUARD);
}

static inline struct arena_block *arena_chunk_blocks(const struct arena_chunk *c) {
    return (struct arena_block *)((uintptr_t)c - ARENA_META_GUARD + ARENA_META_BLOCKS);
}

/* Index among the blocks of its chunk: first span * ARENA_SPAN_BLOCKS + index in the slab. */
static inline uint32_t arena_block_index(const struct arena_block *b) {
    return (uint32_t)((((uintptr_t)b & (ARENA_META - 1)) - ARENA_META_BLOCKS) /
                      sizeof(struct arena_block));
}

/* ---- Size classes: multiples of 64 to 512, then four steps to each power of two -------- */

static inline uint32_t arena_class(size_t size) /* 1 to ARENA_MAX_CLASS */
{
    uint32_t n = (uint32_t)size - 1;
    if (n < 512)
        return n >> 6;
    uint32_t e = 31 - (uint32_t)__builtin_clz(n);
    return 8 + (e - 9) * 4 + ((n >> (e - 2)) & 3);
}

static inline uint32_t arena_class_size(uint32_t class) {
    if (class < 8)
        return (class + 1) * 64;
    uint32_t e = 9 + (class - 8) / 4;
    return (5 + (class - 8) % 4) << (e - 2);
}

/* ---- Radix: address >> 21 to chunk, 47-bit addresses -------------------------------------- */

#define ARENA_RADIX_BITS 13

extern struct arena_chunk **arena_radix[1 << ARENA_RADIX_BITS];

static inline struct arena_chunk *arena_find(uintptr_t a) {
    if (a >> 47)
        return NULL;
    struct arena_chunk **leaf = __atomic_load_n(&arena_radix[a >> 34], __ATOMIC_ACQUIRE);
    if (!leaf)
        return NULL;
    return __atomic_load_n(&leaf[(a >> 21) & ((1 << ARENA_RADIX_BITS) - 1)], __ATOMIC_ACQUIRE);
}

/* Enters (c) or removes (NULL) every 2 MiB of [base, base+len). ENOMEM: no leaf. */
int arena_radix_set(const void *base, size_t len, struct arena_chunk *c);

/* ---- Chunks (arena_chunk.c) ------------------------------------------------------------------ */

/*
 * Maps payload and metadata of a chunk for size bytes (at most ARENA_MAX_BLOCK) and enters
 * it in the radix. NULL: no memory, or it would take more than room bytes. Called with
 * arena_pool_lock held.
 */
struct arena_chunk *arena_chunk_map(size_t size, bool large, uint64_t room);
/* Unmaps the payload; the metadata stays. Its chunk must not be in the radix. */
void arena_chunk_unmap(struct arena_chunk *c);
/* Keeps metadata for another chunk; with arena_pool_lock held. */
void arena_meta_put(struct arena_chunk *c);
/* Unmaps all metadata kept, and the leaves of the radix. */
void arena_meta_release(void);

/* Makes n mapped bytes at an address that is a multiple of align, or NULL. */
void *arena_map_aligned(size_t n, size_t align, int prot);

/* ---- Pool (arena_pool.c) -----------------------------------------------------------------------
 */

extern pthread_mutex_t arena_pool_lock;

/* Takes up to n blocks of a class; returns how many. */
uint32_t arena_pool_take(uint32_t class, struct arena_block **out, uint32_t n);
/* Returns blocks of one class. */
void arena_pool_put(struct arena_block *const *blocks, uint32_t n);
/* Takes a block above ARENA_MAX_CLASS, or NULL. */
struct arena_block *arena_pool_take_large(size_t size);
void arena_pool_put_large(struct arena_block *b);

void arena_pool_add_cache(struct arena_cache *cache);
void arena_pool_remove_cache(struct arena_cache *cache);
/* The first of all chunks; with arena_pool_lock held. */
struct arena_chunk *arena_pool_chunks(void);

/* ---- Registration (arena_mr.c)
 * ------------------------------------------------------------------- */

extern pthread_mutex_t arena_reg_lock;

/* Deregisters c everywhere; with arena_reg_lock held. */
void arena_chunk_deregister(struct arena_chunk *c);
uint64_t arena_regions(void);
/* Devices added; with arena_reg_lock held. */
uint32_t arena_devices(void);

/* ---- For tests
 * --------------------------------------------------------------------------------------- */

/*
 * When set, the next countdown mappings succeed and all after that fail (negative: all
 * succeed): what a machine out of memory does.
 */
extern int64_t arena_test_mappings_left;

#endif
