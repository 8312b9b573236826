/*
 * A program as Demikernel's own examples are written: C99, its headers in their order, results
 * asserted, no close. It is compiled with the flags that they are compiled with, and must run
 * unchanged: what one side pushes the other pops.
 *
 *     oneway --server|--client IPV4 PORT [SIZE [COUNT]]
 */
#define _POSIX_C_SOURCE 200809L

#include <assert.h>
#include <demi/libos.h>
#include <demi/sga.h>
#include <demi/wait.h>

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static void on_signal(int signo) {
    const char *text = strsignal(signo);

    fprintf(stderr, "\nReceived signal %s\n", text);
    exit(EXIT_SUCCESS);
}

static int serve(const struct sockaddr_in *addr) {
    demi_qresult_t res = {0};
    demi_qtoken_t tok = -1;
    int listener = -1;

    assert(demi_socket(&listener, AF_INET, SOCK_STREAM, 0) == 0);
    assert(demi_bind(listener, (const struct sockaddr *)addr, sizeof(*addr)) == 0);
    assert(demi_listen(listener, 16) == 0);
    fprintf(stdout, "listening\n");
    fflush(stdout);
    assert(demi_accept(&tok, listener) == 0);
    assert(demi_wait(&res, tok, NULL) == 0);
    assert(res.qr_opcode == DEMI_OPC_ACCEPT);
    return res.qr_value.ares.qd;
}

static size_t pop(int qd) {
    demi_qresult_t res = {0};
    demi_qtoken_t tok = -1;
    size_t bytes;

    assert(demi_pop(&tok, qd) == 0);
    assert(demi_wait(&res, tok, NULL) == 0);
    assert(res.qr_opcode == DEMI_OPC_POP);
    assert(res.qr_value.sga.sga_segs != 0);
    bytes = res.qr_value.sga.sga_segs[0].sgaseg_len;
    assert(demi_sgafree(&res.qr_value.sga) == 0);
    return bytes;
}

static int dial(const struct sockaddr_in *addr) {
    demi_qresult_t res = {0};
    demi_qtoken_t tok = -1;
    int qd = -1;

    assert(demi_socket(&qd, AF_INET, SOCK_STREAM, 0) == 0);
    assert(demi_connect(&tok, qd, (const struct sockaddr *)addr, sizeof(*addr)) == 0);
    assert(demi_wait(&res, tok, NULL) == 0);
    assert(res.qr_opcode == DEMI_OPC_CONNECT);
    return qd;
}

static size_t push(int qd, size_t size) {
    demi_sgarray_t sga = demi_sgaalloc(size);
    demi_qresult_t res = {0};
    demi_qtoken_t tok = -1;
    int ready = -1;

    assert(sga.sga_segs != 0);
    memset(sga.sga_segs[0].sgaseg_buf, 1, size);
    assert(demi_push(&tok, qd, &sga) == 0);
    assert(demi_wait_any(&res, &ready, &tok, 1, NULL) == 0);
    assert(ready == 0 && res.qr_opcode == DEMI_OPC_PUSH);
    assert(demi_sgafree(&sga) == 0);
    return size;
}

int main(int argc, char *const argv[]) {
    size_t size = argc >= 5 ? (size_t)atol(argv[4]) : 64, done = 0, all;
    struct sockaddr_in addr = {0};

    if (argc < 4) {
        fprintf(stderr, "usage: %s --server|--client IPV4 PORT [SIZE [COUNT]]\n", argv[0]);
        return EXIT_FAILURE;
    }
    assert(signal(SIGINT, on_signal) != SIG_ERR);
    addr.sin_family = AF_INET;
    addr.sin_port = htons((uint16_t)atoi(argv[3]));
    assert(inet_pton(AF_INET, argv[2], &addr.sin_addr) == 1);
    all = size * (argc >= 6 ? (size_t)atol(argv[5]) : 100);

    const struct demi_args args = {
        .argc = argc,
        .argv = argv,
        .callback = NULL,
    };
    assert(demi_init(&args) == 0);
    if (strcmp(argv[1], "--server") == 0) {
        int qd = serve(&addr);

        while (done < all)
            done += pop(qd);
    } else {
        int qd = dial(&addr);

        while (done < all)
            done += push(qd, size);
    }
    fprintf(stdout, "%zu bytes\n", done);
    return EXIT_SUCCESS;
}
