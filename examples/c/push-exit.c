/*
 * A client that pushes and returns from main at once: it neither waits for its pushes nor
 * closes its socket, and still the server gets every byte, as it would over TCP.
 *
 *     push-exit server ADDRESS PORT MESSAGES SIZE
 *     push-exit client ADDRESS PORT MESSAGES SIZE
 *
 * The server takes one client, checks each byte, and succeeds if MESSAGES messages of SIZE
 * bytes have come when the client is gone.
 *
 *     cc -Iinclude examples/c/push-exit.c -Lbuild -ldemikernel -o build/push-exit
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <demi/libos.h>
#include <demi/sga.h>
#include <demi/wait.h>

static void die(const char *what, int err) {
    fprintf(stderr, "push-exit: %s: %s\n", what, strerror(err));
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

/* What byte i of message nr is. */
static unsigned char pattern(long nr, size_t i) {
    return (unsigned char)((unsigned long)nr * 31 + i);
}

static int server(const struct sockaddr_in *addr, long messages, size_t size) {
    demi_qresult_t qr;
    demi_qtoken_t qt;
    long got = 0;
    int listener, qd, err;

    if ((err = demi_socket(&listener, AF_INET, SOCK_STREAM, 0)) != 0)
        die("demi_socket", err);
    if ((err = demi_bind(listener, (const struct sockaddr *)addr, sizeof(*addr))) != 0)
        die("demi_bind", err);
    if ((err = demi_listen(listener, 1)) != 0)
        die("demi_listen", err);
    if ((err = demi_accept(&qt, listener)) != 0)
        die("demi_accept", err);
    printf("push-exit: listening\n");
    fflush(stdout);
    qr = finish("accept", qt);
    qd = qr.qr_value.ares.qd;

    for (;; got++) {
        const unsigned char *bytes;
        size_t len, i;

        if ((err = demi_pop(&qt, qd)) != 0)
            die("demi_pop", err);
        qr = finish("pop", qt);
        bytes = qr.qr_value.sga.sga_segs[0].sgaseg_buf;
        len = qr.qr_value.sga.sga_segs[0].sgaseg_len;
        for (i = 0; i < len && bytes[i] == pattern(got, i); i++)
            ;
        demi_sgafree(&qr.qr_value.sga);
        if (len == 0)
            break; /* the client is gone */
        if (len != size || i != len) {
            fprintf(stderr, "push-exit: message %ld: %zu bytes, good up to %zu\n", got, len, i);
            return EXIT_FAILURE;
        }
    }
    demi_close(qd);
    demi_close(listener);
    printf("push-exit: %ld of %ld messages of %zu bytes came, intact\n", got, messages, size);
    return got == messages ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int client(const struct sockaddr_in *addr, long messages, size_t size) {
    demi_qtoken_t qt;
    int qd, err;

    if ((err = demi_socket(&qd, AF_INET, SOCK_STREAM, 0)) != 0)
        die("demi_socket", err);
    if ((err = demi_connect(&qt, qd, (const struct sockaddr *)addr, sizeof(*addr))) != 0)
        die("demi_connect", err);
    finish("connect", qt);

    for (long nr = 0; nr < messages; nr++) {
        demi_sgarray_t sga = demi_sgaalloc(size);

        if (sga.sga_numsegs == 0)
            die("demi_sgaalloc", ENOMEM);
        for (size_t i = 0; i < size; i++)
            ((unsigned char *)sga.sga_segs[0].sgaseg_buf)[i] = pattern(nr, i);
        if ((err = demi_push(&qt, qd, &sga)) != 0)
            die("demi_push", err);
        demi_sgafree(&sga);
    }
    return EXIT_SUCCESS; /* no wait and no close: the library delivers what was pushed */
}

int main(int argc, char *argv[]) {
    struct demi_args args = {.argc = argc, .argv = argv, .callback = NULL};
    struct sockaddr_in addr = {.sin_family = AF_INET};
    long messages, size;
    int err;

    if (argc != 6 || (strcmp(argv[1], "server") != 0 && strcmp(argv[1], "client") != 0)) {
        fprintf(stderr, "usage: push-exit server|client ADDRESS PORT MESSAGES SIZE\n");
        return 2;
    }
    addr.sin_port = htons((uint16_t)atoi(argv[3]));
    messages = atol(argv[4]);
    size = atol(argv[5]);
    if (inet_pton(AF_INET, argv[2], &addr.sin_addr) != 1 || addr.sin_port == 0 || messages < 1 ||
        size < 1) {
        fprintf(stderr, "push-exit: ADDRESS is an IPv4 address; PORT, MESSAGES and SIZE are "
                        "numbers from 1\n");
        return 2;
    }
    if ((err = demi_init(&args)) != 0)
        die("demi_init", err);
    if (strcmp(argv[1], "server") == 0)
        return server(&addr, messages, (size_t)size);
    return client(&addr, messages, (size_t)size);
}
