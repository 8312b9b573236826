/*
 * Memory for messages.
 *
 * Scatter-gather arrays come from memory that is registered with the RDMA devices. Both
 * calls may be made from any thread, on arrays of any thread.
 */
#ifndef DEMI_SGA_H_IS_INCLUDED
#define DEMI_SGA_H_IS_INCLUDED

#include <stddef.h>

#include "cc.h"
#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Allocates a message buffer of size bytes, 1 to 1 GiB: one segment, whose content is
 * undefined. The application owns it until demi_sgafree. Answers a null array (sga_buf
 * NULL, sga_numsegs 0) when there is no memory, the size is out of range, or demi_init
 * has not been called.
 */
ATTR_NODISCARD
extern demi_sgarray_t demi_sgaalloc(_In_ size_t size);

/*
 * Gives back an array from demi_sgaalloc or from a pop, whether or not its segment has
 * been narrowed. Right after a push is fine: the library keeps the bytes until the push
 * has completed.
 *
 * Returns 0. EINVAL: sga is NULL or a null array, its memory was freed before, or never
 * came from this library. ENOSYS: before demi_init, or in a forked child.
 */
extern int demi_sgafree(_In_ demi_sgarray_t *sga);

#ifdef __cplusplus
}
#endif

#endif /* DEMI_SGA_H_IS_INCLUDED */
