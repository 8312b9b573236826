/*
 * How long does a message take? Two programs throw one message to and fro.
 *
 *     ping-pong server ADDRESS PORT
 *     ping-pong client ADDRESS PORT [ROUNDS [SIZE]]
 *
 * The client prints the shortest, the median and the 99th percentile of ROUNDS (default
 * 1000) round trips of SIZE bytes (default 64). DEMI_WAIT=spin in the environment of both
 * gives the best times, at the price of a busy processor each.
 *
 *     cc -Iinclude examples/c/ping-pong.c -Lbuild -ldemikernel -o build/ping-pong
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <demi/libos.h>
#include <demi/sga.h>
#include <demi/wait.h>

#define WARM_UP 20

static void die(const char *what, int err) {
    fprintf(stderr, "ping-pong: %s: %s\n", what, strerror(err));
    exit(EXIT_FAILURE);
}

static demi_qresult_t finish(const char *what, demi_qtoken_t qt) {
    demi_qresult_t qr;
    int err = demi_wait(&qr, qt, NULL);

    if (err != 0)
        die("demi_wait", err);
    if (qr.qr_opcode == DEMI_OPC_FAILED)
        die(what, (int)qr.qr_ret);
    return qr;
}

static void push(int qd, const demi_sgarray_t *sga) {
    demi_qtoken_t qt;
    int err = demi_push(&qt, qd, sga);

    if (err != 0)
        die("demi_push", err);
    finish("push", qt);
}

static demi_sgarray_t pop(int qd) {
    demi_qtoken_t qt;
    int err = demi_pop(&qt, qd);

    if (err != 0)
        die("demi_pop", err);
    return finish("pop", qt).qr_value.sga;
}

static int server(const struct sockaddr_in *addr) {
    demi_qtoken_t qt;
    int listener, qd, err;

    if ((err = demi_socket(&listener, AF_INET, SOCK_STREAM, 0)) != 0)
        die("demi_socket", err);
    if ((err = demi_bind(listener, (const struct sockaddr *)addr, sizeof(*addr))) != 0)
        die("demi_bind", err);
    if ((err = demi_listen(listener, 1)) != 0)
        die("demi_listen", err);
    if ((err = demi_accept(&qt, listener)) != 0)
        die("demi_accept", err);
    printf("ping-pong: listening\n");
    fflush(stdout);
    qd = finish("accept", qt).qr_value.ares.qd;

    for (;;) {
        demi_sgarray_t sga = pop(qd);

        if (sga.sga_segs[0].sgaseg_len == 0) {
            demi_sgafree(&sga);
            break;
        }
        push(qd, &sga);
        demi_sgafree(&sga);
    }
    demi_close(qd);
    demi_close(listener);
    return EXIT_SUCCESS;
}

static double now_us(void) {
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static int client(const struct sockaddr_in *addr, long rounds, size_t size) {
    double *us = calloc((size_t)rounds, sizeof(*us));
    demi_sgarray_t ping;
    demi_qtoken_t qt;
    int qd, err;

    if (us == NULL)
        die("calloc", ENOMEM);
    if ((err = demi_socket(&qd, AF_INET, SOCK_STREAM, 0)) != 0)
        die("demi_socket", err);
    if ((err = demi_connect(&qt, qd, (const struct sockaddr *)addr, sizeof(*addr))) != 0)
        die("demi_connect", err);
    finish("connect", qt);
    ping = demi_sgaalloc(size);
    if (ping.sga_numsegs == 0)
        die("demi_sgaalloc", ENOMEM);
    memset(ping.sga_segs[0].sgaseg_buf, '.', size);

    for (long i = -WARM_UP; i < rounds; i++) {
        double start = now_us();
        demi_sgarray_t pong;

        push(qd, &ping);
        pong = pop(qd);
        if (pong.sga_segs[0].sgaseg_len != size)
            die("pop", EPROTO);
        demi_sgafree(&pong);
        if (i >= 0)
            us[i] = now_us() - start;
    }
    qsort(us, (size_t)rounds, sizeof(*us), ascending);
    printf("ping-pong: %ld round trips of %zu bytes: shortest %.1f us, median %.1f us, 99%% "
           "within %.1f us\n",
           rounds, size, us[0], us[rounds / 2], us[rounds * 99 / 100]);
    demi_sgafree(&ping);
    free(us);
    demi_close(qd);
    return EXIT_SUCCESS;
}

int main(int argc, char *argv[]) {
    struct demi_args args = {.argc = argc, .argv = argv, .callback = NULL};
    struct sockaddr_in addr = {.sin_family = AF_INET};
    long rounds = argc > 4 ? atol(argv[4]) : 1000;
    long size = argc > 5 ? atol(argv[5]) : 64;
    int is_server = argc == 4 && strcmp(argv[1], "server") == 0;
    int err;

    if (!is_server && !(argc >= 4 && argc <= 6 && strcmp(argv[1], "client") == 0)) {
        fprintf(stderr, "usage: ping-pong server ADDRESS PORT\n"
                        "       ping-pong client ADDRESS PORT [ROUNDS [SIZE]]\n");
        return 2;
    }
    addr.sin_port = htons((uint16_t)atoi(argv[3]));
    if (inet_pton(AF_INET, argv[2], &addr.sin_addr) != 1 || addr.sin_port == 0 || rounds < 1 ||
        size < 1) {
        fprintf(stderr, "ping-pong: ADDRESS is an IPv4 address; PORT, ROUNDS and SIZE are "
                        "numbers from 1\n");
        return 2;
    }
    if ((err = demi_init(&args)) != 0)
        die("demi_init", err);
    return is_server ? server(&addr) : client(&addr, rounds, (size_t)size);
}
