#include "suite.h"

#include <arpa/inet.h>
#include <stdlib.h>

const struct timespec no_time = {0, 0};

socklen_t address_size(const union address *a) {
    return a->sa.sa_family == AF_INET6 ? sizeof(a->v6) : sizeof(a->v4);
}

union address with_port(const union address *a, uint16_t port) {
    union address b = *a;

    if (a->sa.sa_family == AF_INET6)
        b.v6.sin6_port = htons(port);
    else
        b.v4.sin_port = htons(port);
    return b;
}

uint16_t port_of(const union address *a) {
    return ntohs(a->sa.sa_family == AF_INET6 ? a->v6.sin6_port : a->v4.sin_port);
}

struct timespec milliseconds(long ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};

    return t;
}

struct timespec now(void) {
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return t;
}

long elapsed_ms(const struct timespec *since) {
    struct timespec t = now();

    return (t.tv_sec - since->tv_sec) * 1000 + (t.tv_nsec - since->tv_nsec) / 1000000;
}

int new_socket(int family) {
    int qd = -1;

    CHECK_OK(demi_socket(&qd, family, SOCK_STREAM, 0));
    return qd;
}

int new_listener(const union address *where, int backlog, union address *at) {
    socklen_t len = sizeof(*at);
    int qd = new_socket(where->sa.sa_family);

    if (!CHECK_OK(demi_bind(qd, &where->sa, address_size(where))) ||
        !CHECK_OK(demi_listen(qd, backlog)) || !CHECK_OK(demi_getsockname(qd, &at->sa, &len))) {
        (void)demi_close(qd);
        return -1;
    }
    return qd;
}

bool new_pair(const union address *where, struct pair *p) {
    demi_qtoken_t accepting = 0, connecting = 0;
    demi_qresult_t qr;

    memset(p, 0, sizeof(*p));
    p->client = p->server = -1;
    p->listener = new_listener(where, 8, &p->at);
    if (p->listener < 0)
        return false;
    p->client = new_socket(where->sa.sa_family);
    if (!CHECK_OK(demi_accept(&accepting, p->listener)) ||
        !CHECK_OK(demi_connect(&connecting, p->client, &p->at.sa, address_size(&p->at))) ||
        !finish(connecting, DEMI_OPC_CONNECT))
        return false;
    qr = result_of(accepting);
    if (!CHECK_INT(qr.qr_opcode, DEMI_OPC_ACCEPT))
        return false;
    p->server = qr.qr_value.ares.qd;
    return true;
}

void close_pair(struct pair *p) {
    if (p->client >= 0)
        CHECK_OK(demi_close(p->client));
    if (p->server >= 0)
        CHECK_OK(demi_close(p->server));
    if (p->listener >= 0)
        CHECK_OK(demi_close(p->listener));
}

demi_qresult_t result_of(demi_qtoken_t qt) {
    const struct timespec limit = {30, 0};
    demi_qresult_t qr;

    memset(&qr, 0, sizeof(qr));
    if (!CHECK_OK(demi_wait(&qr, qt, &limit)))
        qr.qr_opcode = DEMI_OPC_INVALID;
    else
        CHECK(qr.qr_qt == qt);
    return qr;
}

bool finish(demi_qtoken_t qt, enum demi_opcode op) {
    demi_qresult_t qr = result_of(qt);
    bool ok = CHECK_INT(qr.qr_opcode, op) && CHECK_ERRNO((int)qr.qr_ret, 0);

    if (qr.qr_opcode == DEMI_OPC_FAILED)
        printf("#   the operation failed: %s\n", strerror((int)qr.qr_ret));
    return ok;
}

bool finish_failed(demi_qtoken_t qt, int err) {
    demi_qresult_t qr = result_of(qt);

    return CHECK_INT(qr.qr_opcode, DEMI_OPC_FAILED) && CHECK_ERRNO((int)qr.qr_ret, err);
}

bool is_pending(demi_qtoken_t qt) {
    demi_qresult_t qr;

    return CHECK_ERRNO(demi_wait(&qr, qt, &no_time), ETIMEDOUT);
}

demi_sgarray_t message(size_t size, int fill) {
    demi_sgarray_t sga = demi_sgaalloc(size);

    if (CHECK_INT(sga.sga_numsegs, 1))
        memset(sga.sga_segs[0].sgaseg_buf, fill, size);
    return sga;
}

demi_qtoken_t push_message(int qd, size_t size, int fill) {
    demi_sgarray_t sga = message(size, fill);
    demi_qtoken_t qt = 0;

    CHECK_OK(demi_push(&qt, qd, &sga));
    CHECK_OK(demi_sgafree(&sga));
    return qt;
}

bool pop_message(int qd, size_t size, int fill) {
    demi_qtoken_t qt = 0;
    demi_qresult_t qr;
    const unsigned char *bytes;
    size_t i = 0;
    bool ok;

    if (!CHECK_OK(demi_pop(&qt, qd)))
        return false;
    qr = result_of(qt);
    if (!CHECK_INT(qr.qr_opcode, DEMI_OPC_POP) || !CHECK_INT(qr.qr_value.sga.sga_numsegs, 1))
        return false;
    ok = CHECK_INT(qr.qr_value.sga.sga_segs[0].sgaseg_len, size);
    bytes = qr.qr_value.sga.sga_segs[0].sgaseg_buf;
    while (ok && i < size && bytes[i] == (unsigned char)fill)
        i++;
    ok = ok && CHECK_INT(i, size);
    return CHECK_OK(demi_sgafree(&qr.qr_value.sga)) && ok;
}
