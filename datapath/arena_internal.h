/*
 * Private to arena.c, arena_pool.c, arena_chunk.c and arena_mr.c: what the arenas know
 * about their memory.
 *
 * A chunk's payload is cut into 32 spans of 64 KiB. A slab is a run of spans holding
 * blocks of one size class. The metadata of a chunk is an arena_chunk with an arena_block
 * for every block that fits, in two tables apart from all payload, with guard pages around
 * them. A chunk's place there is used for other chunks later, but stays mapped until
 * arena_shutdown: so a block may be looked up by its index without a lock, even one whose
 * chunk goes away.
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
 * State of a block: generation (10 bits) | the application holds it (1) | 1 | references (20) |
 * index of the block (32). The references are those of the data plane, and one of the
 * application's.
 *
 * sga_buf is a handle: the state while the application holds the block and nobody else does. When
 * the application gives it up the generation grows, so that no earlier handle is good any more.
 * An address is no handle, because addresses of user space do not have ARENA_MARK.
 *
 * A block in a cache has one reference already, that of whoever will take it.
 */
#define ARENA_REF (UINT64_C(1) << 32)
#define ARENA_MARK (UINT64_C(1) << 52)
#define ARENA_REFS (ARENA_MARK - ARENA_REF)
#define ARENA_APP (UINT64_C(1) << 53)
#define ARENA_GEN (UINT64_C(1) << 54) /* goes from its end back to 0 */
#define ARENA_GENS (-ARENA_GEN)

struct arena_block {
    uint64_t state; /* atomic */
    uintptr_t addr; /* these stay as they are while the slab exists (atomic) */
    uint32_t block_size;
    uint32_t home; /* offset of its class in an arena_cache (atomic) */
    uint32_t lead; /* see below (atomic) */
    uint32_t size; /* bytes that the application may use (atomic); in the pool's lists the next
                      free block of the slab: index in it + 1, 0 at the end */
};
_Static_assert(sizeof(struct arena_block) == 32, "two blocks' metadata in a cache line");
/*
 * lead is owner << 8 | bytes, those before the bytes that the application may use. In a cache
 * they are ARENA_LEAD, and the owner is the cache's id (0: none). The bytes of lead of an array
 * that the application holds belong to the engine of that cache, and its lock guards them: it
 * writes the header of a frame there, which goes out with what lies behind.
 */
#define ARENA_LEAD_BYTES 0xffu

static inline uint32_t arena_lead_of(uint16_t owner) {
    return (uint32_t)owner << 8 | ARENA_LEAD;
}

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
    struct arena_slab slabs[ARENA_SPANS]; /* indexed by first span */
};

/* ---- Metadata --------------------------------------------------------------------------- */

/*
 * Reserved when the first chunk is mapped and given back by arena_shutdown: guard, chunks, guard,
 * blocks, guard. Constant in between, but for made. Whoever has a block may read it without a lock.
 */
#define ARENA_PAGE 65536u /* no kernel's pages are larger; most have 4 KiB */
#define ARENA_META_GUARD ARENA_PAGE
#define ARENA_META_CHUNK ARENA_PAGE /* for an arena_chunk; what it does not use takes no memory */
#define ARENA_CHUNK_BLOCKS (ARENA_SPANS * ARENA_SPAN_BLOCKS)
#define ARENA_META_BLOCKS (ARENA_CHUNK_BLOCKS * sizeof(struct arena_block))
#define ARENA_MAX_CHUNKS 65536u
_Static_assert(sizeof(struct arena_chunk) <= ARENA_META_CHUNK, "a chunk fits in its place");
_Static_assert(ARENA_META_BLOCKS % ARENA_PAGE == 0 && ARENA_CHUNK % ARENA_PAGE == 0, "whole pages");
_Static_assert((uint64_t)ARENA_MAX_CHUNKS *ARENA_CHUNK_BLOCKS <= ARENA_REF,
               "an index fits in a state");

struct arena_meta {
    uint8_t *chunks;            /* ARENA_META_CHUNK each */
    struct arena_block *blocks; /* ARENA_CHUNK_BLOCKS of each chunk */
    uint32_t made;              /* indices of blocks that are mapped: those below (atomic) */
    uint32_t room;              /* chunks that are reserved */
};
extern struct arena_meta arena_meta;

/* Index of a block among all. */
static inline uint32_t arena_block_index(const struct arena_block *b) {
    return (uint32_t)(b - arena_meta.blocks);
}

static inline struct arena_chunk *arena_block_chunk(const struct arena_block *b) {
    return (struct arena_chunk *)(arena_meta.chunks +
                                  (size_t)(arena_block_index(b) / ARENA_CHUNK_BLOCKS) *
                                      ARENA_META_CHUNK);
}

static inline struct arena_block *arena_chunk_blocks(const struct arena_chunk *c) {
    size_t i = (size_t)((const uint8_t *)c - arena_meta.chunks) / ARENA_META_CHUNK;
    return arena_meta.blocks + i * ARENA_CHUNK_BLOCKS;
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

/* A class of a cache, as struct arena_block.home names it. */
static inline uint32_t arena_home(uint32_t class) {
    return (uint32_t)(offsetof(struct arena_cache, classes) +
                      class * sizeof(struct arena_cache_class));
}
static inline struct arena_cache_class *arena_home_of(struct arena_cache *cache,
                                                      const struct arena_block *b) {
    uint32_t home = __atomic_load_n(&b->home, __ATOMIC_RELAXED);
    return (struct arena_cache_class *)((uintptr_t)cache + home);
}

/* ---- Chunks (arena_chunk.c) ------------------------------------------------------------------ */

/*
 * Maps payload and metadata of a chunk for size bytes (at most ARENA_MAX_BLOCK). NULL: no memory,
 * or it would take more than room bytes. Called with arena_pool_lock held.
 */
struct arena_chunk *arena_chunk_map(size_t size, bool large, uint64_t room);
/* Unmaps the payload; the metadata stays. */
void arena_chunk_unmap(struct arena_chunk *c);
/* Keeps metadata for another chunk; with arena_pool_lock held. */
void arena_meta_put(struct arena_chunk *c);
/* Unmaps all metadata. */
void arena_meta_release(void);

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
/* Chunks for whose metadata room is reserved at most; counts from the next arena_shutdown on. */
extern uint32_t arena_test_max_chunks;

#endif
