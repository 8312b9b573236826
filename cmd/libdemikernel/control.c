/*
 * The control plane's demi_* functions: everything that happens once per connection or once
 * per process. Each checks what can be checked without Go and calls the export of the same
 * name; those of the data plane are in datapath/demi.c and never enter Go.
 *
 * Before the first demi_init, and in a forked child, every call answers ENOSYS from here:
 * in a child a call into Go would wait for ever for threads that it does not have.
 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "../../include/demi/libos.h"
#include "../../datapath/process.h"
#include "_cgo_export.h"

#ifndef DEMI_IMPLEMENTATION
#error "the NULL checks below need DEMI_IMPLEMENTATION, see demi/cc.h"
#endif

int demi_socket(int *sockqd_out, int domain, int type, int protocol) {
    int qd = -1;
    int rc;

    if (!dp_process_ready())
        return ENOSYS;
    if (sockqd_out == NULL)
        return EINVAL;
    rc = catmint_go_socket(dp_process_engine(), domain, type, protocol, &qd);
    if (rc == 0)
        *sockqd_out = qd;
    return rc;
}

int demi_bind(int sockqd, const struct sockaddr *addr, socklen_t size) {
    if (!dp_process_ready())
        return ENOSYS;
    if (addr == NULL)
        return EINVAL;
    return catmint_go_bind(sockqd, (void *)(uintptr_t)addr, size);
}

int demi_listen(int sockqd, int backlog) {
    if (!dp_process_ready())
        return ENOSYS;
    return catmint_go_listen(sockqd, backlog);
}

int demi_accept(demi_qtoken_t *qt_out, int sockqd) {
    demi_qtoken_t qt = 0;
    int rc;

    if (!dp_process_ready())
        return ENOSYS;
    if (qt_out == NULL)
        return EINVAL;
    rc = catmint_go_accept(sockqd, &qt);
    if (rc == 0)
        *qt_out = qt;
    return rc;
}

int demi_connect(demi_qtoken_t *qt_out, int sockqd, const struct sockaddr *addr, socklen_t size) {
    demi_qtoken_t qt = 0;
    int rc;

    if (!dp_process_ready())
        return ENOSYS;
    if (qt_out == NULL || addr == NULL)
        return EINVAL;
    rc = catmint_go_connect(sockqd, (void *)(uintptr_t)addr, size, &qt);
    if (rc == 0)
        *qt_out = qt;
    return rc;
}

int demi_close(int qd) {
    if (!dp_process_ready())
        return ENOSYS;
    return catmint_go_close(qd);
}

int demi_setsockopt(int qd, int level, int optname, const void *optval, socklen_t optlen) {
    if (!dp_process_ready())
        return ENOSYS;
    if (optval == NULL)
        return EINVAL;
    return catmint_go_setsockopt(qd, level, optname, (void *)(uintptr_t)optval, optlen);
}

int demi_getsockopt(int qd, int level, int optname, void *optval, socklen_t *optlen) {
    if (!dp_process_ready())
        return ENOSYS;
    if (optval == NULL || optlen == NULL)
        return EINVAL;
    return catmint_go_getsockopt(qd, level, optname, optval, optlen);
}

int demi_getpeername(int qd, struct sockaddr *addr, socklen_t *addrlen) {
    if (!dp_process_ready())
        return ENOSYS;
    if (addr == NULL || addrlen == NULL)
        return EINVAL;
    return catmint_go_getname(qd, 1, addr, addrlen);
}

int demi_getsockname(int qd, struct sockaddr *addr, socklen_t *addrlen) {
    if (!dp_process_ready())
        return ENOSYS;
    if (addr == NULL || addrlen == NULL)
        return EINVAL;
    return catmint_go_getname(qd, 0, addr, addrlen);
}
