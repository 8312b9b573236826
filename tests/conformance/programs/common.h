/*
 * What the programs of this folder share: a connection of the program with itself, and waits
 * that end the program with a line if they take too long.
 */
#ifndef CATMINT_PROGRAMS_COMMON_H
#define CATMINT_PROGRAMS_COMMON_H

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <demi/libos.h>
#include <demi/sga.h>
#include <demi/wait.h>

/* Ends the program at once, with a line: nothing else may run. */
#define FAIL(...)                                                                                  \
    do {                                                                                           \
        printf("line %d: ", __LINE__);                                                             \
        printf(__VA_ARGS__);                                                                       \
        printf("\n");                                                                              \
        (void)fflush(stdout);                                                                      \
        _exit(99);                                                                                 \
    } while (0)
#define MUST(what, got, want)                                                                      \
    do {                                                                                           \
        int got_ = (got);                                                                          \
        if (got_ != (want))                                                                        \
            FAIL("%s answers %s, want %s", what, strerror(got_), strerror(want));                  \
    } while (0)

static const struct timespec limit = {60, 0};

static inline demi_qresult_t result(demi_qtoken_t qt) {
    demi_qresult_t qr = {0};

    MUST("demi_wait", demi_wait(&qr, qt, &limit), 0);
    return qr;
}

static inline demi_qresult_t success(demi_qtoken_t qt) {
    demi_qresult_t qr = result(qt);

    if (qr.qr_opcode == DEMI_OPC_FAILED)
        FAIL("an operation failed: %s", strerror((int)qr.qr_ret));
    return qr;
}

struct pair {
    struct sockaddr_in at;
    int listener, client, server;
};

static inline struct pair new_pair(const char *addr) {
    struct pair p = {.at = {.sin_family = AF_INET}};
    socklen_t len = sizeof(p.at);
    demi_qtoken_t accepting = 0, connecting = 0;

    if (inet_pton(AF_INET, addr, &p.at.sin_addr) != 1)
        FAIL("'%s' is not an address", addr);
    MUST("demi_socket", demi_socket(&p.listener, AF_INET, SOCK_STREAM, 0), 0);
    MUST("demi_bind", demi_bind(p.listener, (struct sockaddr *)&p.at, sizeof(p.at)), 0);
    MUST("demi_listen", demi_listen(p.listener, 8), 0);
    MUST("demi_getsockname", demi_getsockname(p.listener, (struct sockaddr *)&p.at, &len), 0);
    MUST("demi_accept", demi_accept(&accepting, p.listener), 0);
    MUST("demi_socket", demi_socket(&p.client, AF_INET, SOCK_STREAM, 0), 0);
    MUST("demi_connect",
         demi_connect(&connecting, p.client, (struct sockaddr *)&p.at, sizeof(p.at)), 0);
    (void)success(connecting);
    p.server = success(accepting).qr_value.ares.qd;
    return p;
}

/* Pushes a byte; 0, or the errno of the call. */
static inline int push_byte(int qd, demi_qtoken_t *qt) {
    demi_sgarray_t sga = demi_sgaalloc(1);
    int err;

    if (sga.sga_numsegs != 1)
        FAIL("no memory");
    memset(sga.sga_segs[0].sgaseg_buf, 'x', 1);
    err = demi_push(qt, qd, &sga);
    (void)demi_sgafree(&sga);
    return err;
}

static inline void pop_byte(int qd) {
    demi_qtoken_t qt;
    demi_qresult_t qr;

    MUST("demi_pop", demi_pop(&qt, qd), 0);
    qr = success(qt);
    if (qr.qr_value.sga.sga_segs[0].sgaseg_len != 1)
        FAIL("%u bytes", qr.qr_value.sga.sga_segs[0].sgaseg_len);
    (void)demi_sgafree(&qr.qr_value.sga);
}

/* A message each way. */
static inline void ping(const struct pair *p) {
    demi_qtoken_t qt;

    MUST("demi_push", push_byte(p->client, &qt), 0);
    (void)success(qt);
    pop_byte(p->server);
    MUST("demi_push", push_byte(p->server, &qt), 0);
    (void)success(qt);
    pop_byte(p->client);
}

#endif
