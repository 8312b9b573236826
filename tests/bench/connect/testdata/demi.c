/*
 * Connections of a C program through libdemikernel, one after the other: demi_connect or
 * demi_accept, and demi_wait.
 *
 *   demi serve ADDR     accepts; prints "port N"
 *   demi connect ADDR   makes a connection for each line "c PORT" of standard input
 *
 * The lines are those of bare.c. A server cannot tell when a request came in: it gives no times.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <demi/libos.h>
#include <demi/wait.h>

static void must(int err, const char *what) {
    if (err == 0)
        return;
    fprintf(stderr, "demi: %s: %s\n", what, strerror(err));
    exit(1);
}

static int64_t now(void) {
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Lets whoever gave the command come to rest: what that takes is no part of a connection. */
static void settle(void) {
    const struct timespec some = {.tv_nsec = 2000000};

    (void)nanosleep(&some, NULL);
}

/* Waits for the operation, which must not fail. */
static demi_qresult_t await(demi_qtoken_t qt, const char *what) {
    demi_qresult_t qr;

    must(demi_wait(&qr, qt, NULL), "demi_wait");
    must(qr.qr_opcode == DEMI_OPC_FAILED ? (int)qr.qr_ret : 0, what);
    return qr;
}

static void connect_once(const struct sockaddr_in *to) {
    const struct linger none = {.l_onoff = 1, .l_linger = 0};
    demi_qtoken_t qt;
    char line[16];
    int qd;
    int64_t start = now();

    must(demi_socket(&qd, AF_INET, SOCK_STREAM, 0), "demi_socket");
    must(demi_connect(&qt, qd, (const struct sockaddr *)to, sizeof(*to)), "demi_connect");
    (void)await(qt, "connect");
    printf("up total %" PRId64 "\n", now() - start);
    /* The peer shall have heard of it first, see bare.c. */
    must(fgets(line, sizeof(line), stdin) == NULL ? EPIPE : 0, "stdin");
    int64_t told = now();
    must(demi_setsockopt(qd, SOL_SOCKET, SO_LINGER, &none, sizeof(none)), "demi_setsockopt");
    must(demi_close(qd), "demi_close");
    printf("down release %" PRId64 "\n", now() - told);
}

/* A server ends with its standard input, at once: exit would first end what it waits for. */
static void *until_end(void *unused) {
    char c;

    (void)unused;
    while (read(0, &c, 1) > 0)
        ;
    _exit(0);
}

static void serve(struct sockaddr_in at) {
    socklen_t size = sizeof(at);
    pthread_t waiter;
    int listener;

    must(pthread_create(&waiter, NULL, until_end, NULL), "pthread_create");
    must(demi_socket(&listener, AF_INET, SOCK_STREAM, 0), "demi_socket");
    must(demi_bind(listener, (const struct sockaddr *)&at, size), "demi_bind");
    must(demi_listen(listener, 16), "demi_listen");
    must(demi_getsockname(listener, (struct sockaddr *)&at, &size), "demi_getsockname");
    printf("port %d\n", ntohs(at.sin_port));
    for (;;) {
        demi_qtoken_t qt;
        demi_qresult_t qr;
        int qd;

        must(demi_accept(&qt, listener), "demi_accept");
        qd = await(qt, "accept").qr_value.ares.qd;
        printf("up\n");
        must(demi_pop(&qt, qd), "demi_pop");
        must(demi_wait(&qr, qt, NULL), "demi_wait"); /* until the peer leaves */
        must(demi_close(qd), "demi_close");
        printf("down\n");
    }
}

int main(int argc, char **argv) {
    struct sockaddr_in addr = {.sin_family = AF_INET};
    char line[16];

    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc != 3 || inet_pton(AF_INET, argv[2], &addr.sin_addr) != 1)
        must(EINVAL, "usage: demi serve ADDR | demi connect ADDR");
    must(demi_init(NULL), "demi_init");
    if (strcmp(argv[1], "serve") == 0)
        serve(addr);
    while (fgets(line, sizeof(line), stdin) != NULL && line[0] == 'c') {
        addr.sin_port = htons((uint16_t)strtoul(line + 1, NULL, 10));
        settle();
        connect_once(&addr);
    }
    return 0;
}
