/*
 * The data plane's demi_* functions, as C programs call them, but for those that are in
 * fast_*.c: they never enter Go. Before the first demi_init and in a forked child
 * every call answers ENOSYS (demi_sgaalloc: a null array).
 */
#define DEMI_IMPLEMENTATION /* no nonnull attributes: the checks for NULL must stay */

#include "../include/demi/libos.h"
#include "../include/demi/sga.h"
#include "../include/demi/wait.h"

#include "datapath.h"
#include "process.h"

#include <errno.h>
#include <string.h>

int demi_pushto(demi_qtoken_t *qt_out, int sockqd, const demi_sgarray_t *sga,
                const struct sockaddr *dest_addr, socklen_t size) {
    if (!dp_process_ready())
        return ENOSYS;
    return dp_pushto(sockqd, sga, dest_addr, size, qt_out);
}

int demi_wait_next_n(demi_qresult_t *qr_out, int num_qrs, int *num_qrs_out,
                     const struct timespec *timeout) {
    if (!dp_process_ready())
        return ENOSYS;
    return dp_wait_next_n(dp_process_engine(), qr_out, num_qrs, num_qrs_out, timeout);
}

demi_sgarray_t demi_sgaalloc(size_t size) {
    if (!dp_process_ready()) {
        demi_sgarray_t none;
        memset(&none, 0, sizeof(none));
        return none;
    }
    return dp_sgaalloc(dp_process_engine(), size);
}
