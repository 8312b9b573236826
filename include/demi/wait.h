/*
 * Waiting for operations to complete.
 *
 * Each call takes results out: a token whose result has been returned is used up. All may
 * be called from any thread, on tokens of any thread.
 *
 * timeout is a length of time, in seconds and nanoseconds (0 to 999,999,999). NULL waits
 * for ever; zero polls once. How a thread waits (spinning, sleeping or both) is chosen
 * with the environment variable DEMI_WAIT: adaptive (default), spin or block.
 *
 * A thread that sleeps in one may be cancelled (pthread_cancel), deferred as by default; its
 * tokens stay valid, but results that wait_next_n had taken are lost with it.
 *
 * Each returns 0 or a positive errno. A failed *operation* is a result like any other: the
 * call returns 0, qr_opcode is DEMI_OPC_FAILED and qr_ret says why (a positive errno).
 * ENOSYS: before the first demi_init, or in a forked child.
 */
#ifndef DEMI_WAIT_H_IS_INCLUDED
#define DEMI_WAIT_H_IS_INCLUDED

#include <time.h>

#include "cc.h"
#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

struct timespec; /* strict C99 hides it in <time.h> */

/*
 * Waits for the operation that qt names and stores its result in *qr_out.
 *
 * Returns 0. ETIMEDOUT: it has not completed within the time; qt stays valid. EINVAL:
 * qr_out is NULL, timeout is malformed, qt is not a token or its result has been returned.
 */
ATTR_NONNULL(1)
extern int demi_wait(_Out_ demi_qresult_t *qr_out, _In_ demi_qtoken_t qt,
                     _In_opt_ const struct timespec *timeout);

/*
 * Waits for the first of several operations. If more than one has completed, the one with
 * the lowest index is taken and the others keep. Its result goes to *qr_out, its index to
 * *ready_offset. The tokens must belong to descriptors of one thread.
 *
 * Returns 0. ETIMEDOUT: none has completed within the time; all stay valid. EINVAL: a
 * pointer is NULL, num_qts is negative, timeout is malformed, or any of the tokens is
 * not valid.
 */
ATTR_NONNULL(1, 2, 3)
extern int demi_wait_any(_Out_ demi_qresult_t *qr_out, _Out_ int *ready_offset,
                         _In_reads_(num_qts) const demi_qtoken_t qts[], _In_ int num_qts,
                         _In_opt_ const struct timespec *timeout);

/*
 * Waits until num_qrs operations of the calling thread's descriptors have completed and
 * stores their results, in no particular order, in qr_out[0] to qr_out[num_qrs - 1]; the
 * tokens need not be named. *num_qrs_out is always set.
 *
 * Returns 0 when all num_qrs results have been written. ETIMEDOUT: fewer have; the first
 * *num_qrs_out (0 to num_qrs - 1) are valid and used up all the same. EINVAL: a pointer is
 * NULL, num_qrs is not positive, or timeout is malformed. To take what is there without
 * waiting, pass a zero timeout.
 */
ATTR_NONNULL(1, 3)
extern int demi_wait_next_n(_Out_writes_to_(num_qrs, *num_qrs_out) demi_qresult_t *qr_out,
                            _In_ int num_qrs, _Out_ int *num_qrs_out,
                            _In_opt_ const struct timespec *timeout);

#ifdef __cplusplus
}
#endif

#endif /* DEMI_WAIT_H_IS_INCLUDED */
