/*
 * Arenas: the memory that messages live in, registered with every device that sends or
 * receives from it.
 *
 * A process has one set of arenas. Memory comes in 2 MiB-aligned chunks (huge pages when
 * there are any), each registered as one memory region per device, with
 * IBV_ACCESS_LOCAL_WRITE only, when a block of it is first used there. A chunk is shared
 * by blocks of all size classes up to ARENA_MAX_CLASS bytes; a larger block has a chunk of
 * its own. What the library knows about a block is kept apart from the block, so that a
 * program that writes outside its memory cannot corrupt it.
 *
 * Owners. A block is held by the data plane (a count of references), by the application
 * (at most once), or by both; it is free again when neither holds it. The application
 * holds a block as a scatter-gather array:
 * - sga_buf is no address but a handle: it names the block and which of its lives this is, so
 *   that an array freed twice is recognised even if its memory has been given out again
 *   meanwhile (except every 1024th time).
 * - the segment may be narrowed at will inside the bytes that were allocated.
 * In front of them there is room for a frame's header (ARENA_LEAD), unless they are many.
 *
 * Threads: every function may be called from any thread. An arena_cache belongs to one
 * engine and is passed with that engine's lock held, or NULL is passed, which is slower.
 * Locks are taken inside when a cache runs empty or full and on slow paths only; no
 * function calls back.
 *
 * Cost: allocating and freeing a cached block takes no lock, no system call and no
 * clock: some 120 instructions for both (BenchmarkArena in datapath/ctest).
 */
#ifndef CATMINT_ARENA_H
#define CATMINT_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <infiniband/verbs.h>

#include "../include/demi/types.h"
#include "../rdma/slowops.h"

#define ARENA_ALIGN 64                  /* of every block, bytes */
#define ARENA_LEAD 16                   /* bytes in front of an array's, if its block has a class */
#define ARENA_CHUNK (UINT32_C(2) << 20) /* alignment and usual size of a chunk */
#define ARENA_MAX_CLASS (UINT32_C(512) << 10) /* larger blocks have a chunk of their own */
#define ARENA_MAX_BLOCK (UINT32_C(1) << 30)
#define ARENA_CLASSES 48
#define ARENA_MAX_DEVICES 128
#define ARENA_CACHE_BLOCKS 63 /* blocks of one class in a cache at most */

/* ---- Process ------------------------------------------------------------------------ */

/*
 * max_bytes: mapped by arenas at most, 0 for no limit. keep_bytes: mapped by chunks that
 * hold no block; more is given back to the system. Both may change at any time.
 */
void arena_configure(uint64_t max_bytes, uint64_t keep_bytes);
#define ARENA_DEFAULT_KEEP (UINT64_C(64) << 20)

/* Gives empty chunks back until at most keep_bytes of them are left. */
void arena_trim(uint64_t keep_bytes);

/*
 * Gives everything back; the next allocation starts afresh. EBUSY, and nothing changed:
 * a block, a cache or a device is still there. Nobody else may be inside an arena
 * function meanwhile. For the end of a process and for tests.
 */
int arena_shutdown(void);

/* ---- Caches ------------------------------------------------------------------------- */

/*
 * Free blocks in front of the process-wide pool. The fields are private.
 */
struct arena_cache {
    struct arena_block *blocks; /* of arena_meta, */
    uint32_t made;              /* and of its count: as many as the cache has seen */
    uint32_t lead;              /* of a block that is in the cache, or came from it last */
    struct arena_cache_class {
        uint64_t n; /* written by its engine, read by the census: atomic */
        uint64_t cap;
        struct arena_block *blocks[ARENA_CACHE_BLOCKS]; /* the warmest last */
    } classes[ARENA_CLASSES + 1]; /* the last one, for large blocks, is always empty and full */
    struct arena_cache *next, *prev;
};

/* id is a number, not 0, that no other cache has meanwhile. */
void arena_cache_init(struct arena_cache *cache, uint16_t id);
/* Returns what the cache holds to the pool and takes the cache out of the census. */
void arena_cache_destroy(struct arena_cache *cache);
/* Returns what the cache holds to the pool. */
void arena_cache_flush(struct arena_cache *cache);

/* ---- Blocks, as the data plane holds them --------------------------------------------- */

struct arena_block;

/*
 * A block of at least size bytes with one reference, the caller's. Its contents are
 * undefined. NULL: size is 0 or above ARENA_MAX_BLOCK, the maximum of arena bytes is
 * reached, or the system has no memory.
 */
struct arena_block *arena_alloc(struct arena_cache *cache, size_t size);
/* The first byte, aligned to ARENA_ALIGN. */
void *arena_block_data(const struct arena_block *b);
/* Usable bytes, at least what was asked for. */
size_t arena_block_size(const struct arena_block *b);

/* One more reference. The caller has one already. */
void arena_ref(struct arena_block *b);
/* One reference fewer; the block is free when the application does not hold it either. */
void arena_unref(struct arena_cache *cache, struct arena_block *b);

/*
 * Gives the block to the application: the caller's reference becomes the application's
 * ownership, and *sga an array of one segment, len bytes from offset, with a zeroed
 * address. The application may not hold the block yet, and offset + len lies inside it.
 */
void arena_give(struct arena_block *b, uint8_t offset, uint32_t len, demi_sgarray_t *sga);

/*
 * Looks at an array that the application hands over, to an engine with this cache or to none
 * (NULL). 0: it is one segment inside an
 * allocation that the application holds; the length may be 0. EINVAL: it is anything else.
 */
int arena_check(struct arena_cache *cache, const demi_sgarray_t *sga);
/*
 * As arena_check, and takes a reference to the block in the same step, so that the
 * application may free the array at once. EAGAIN: there are a million references already.
 */
int arena_hold(const demi_sgarray_t *sga, struct arena_block **out);

/* ---- Blocks, as the application holds them ---------------------------------------------- */

/*
 * An array of one segment of size bytes that the application holds; contents undefined.
 * ENOMEM: as NULL of arena_alloc, and *sga is a null array (zero segments).
 */
int arena_sgaalloc(struct arena_cache *cache, size_t size, demi_sgarray_t *sga);
/*
 * Ends the application's ownership. The memory lives on while the data plane has
 * references. sga_buf says which block; the segment does not matter.
 * EINVAL, and nothing changed: NULL, a null array, memory that is not from here, that the
 * application does not hold or has freed before.
 */
int arena_sgafree(struct arena_cache *cache, const demi_sgarray_t *sga);

/* ---- Registration ------------------------------------------------------------------------ */

/*
 * Adds a device; *slot, below ARENA_MAX_DEVICES, names it from now on. pd and ops must
 * live until arena_device_remove. ENOSPC: too many devices.
 */
int arena_device_add(struct ibv_pd *pd, const struct rdma_slow_ops *ops, int *slot);
/*
 * Deregisters every memory region on the device; no work request that uses one may be
 * outstanding. EINVAL: no such device. An error of dereg_mr is returned, after the others
 * have been deregistered.
 */
int arena_device_remove(int slot);

/*
 * The local key for the block on a device. The first call for a chunk registers it, which
 * takes microseconds to milliseconds; after that it is one load. ENOMEM: usually the limit
 * of locked memory (RLIMIT_MEMLOCK), after empty chunks have been given back; EINVAL: no such
 * device; else what reg_mr says.
 */
int arena_lkey(const struct arena_block *b, int slot, uint32_t *lkey);

/* ---- What is alive ------------------------------------------------------------------------- */

struct arena_census {
    uint64_t blocks;  /* held by the application or the data plane */
    uint64_t cached;  /* free, in caches */
    uint64_t regions; /* memory regions registered */
    uint64_t chunks;
    uint64_t bytes; /* mapped by chunks */
};
/* Exact when nobody allocates or frees meanwhile. */
void arena_census(struct arena_census *out);

#endif
