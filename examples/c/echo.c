/*
 * An echo server and its client, in one program.
 *
 *     echo server ADDRESS PORT [CLIENTS]
 *     echo client ADDRESS PORT [MESSAGES [SIZE]]
 *
 * The server sends back whatever comes, to many clients at once, and ends after CLIENTS of
 * them have left (default 0: never). The client sends MESSAGES messages (default 10) of SIZE
 * bytes (default 64) one after the other and compares what comes back.
 *
 *     cc -Iinclude examples/c/echo.c -Lbuild -ldemikernel -o build/echo
 *
 * ADDRESS is an IPv4 or IPv6 address of an RDMA device; 127.0.0.1 is not.
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

#define MAX_CLIENTS 64

static void die(const char *what, int err) {
    fprintf(stderr, "echo: %s: %s\n", what, strerror(err));
    exit(EXIT_FAILURE);
}

static long number(const char *text, long min, long max, const char *name) {
    char *end;
    long n = strtol(text, &end, 10);

    if (*text == '\0' || *end != '\0' || n < min || n > max) {
        fprintf(stderr, "echo: %s must be a number from %ld to %ld, not '%s'\n", name, min, max,
                text);
        exit(EXIT_FAILURE);
    }
    return n;
}

/* Fills *out and returns its size. */
static socklen_t address(const char *text, const char *port, struct sockaddr_storage *out) {
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
    in_port_t p = htons((uint16_t)number(port, 1, 65535, "PORT"));

    memset(out, 0, sizeof(*out));
    if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = p;
        return sizeof(*v4);
    }
    if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = p;
        return sizeof(*v6);
    }
    fprintf(stderr, "echo: '%s' is not an IPv4 or IPv6 address\n", text);
    exit(EXIT_FAILURE);
}

/* ---- Server --------------------------------------------------------------------------- */

/* The one operation that each client has under way; tokens[0] is the accept. */
static demi_qtoken_t tokens[1 + MAX_CLIENTS];
static int qds[1 + MAX_CLIENTS];
static int num_tokens = 1;

static void add_client(int qd) {
    int err;

    if (num_tokens > MAX_CLIENTS) {
        fprintf(stderr, "echo: more than %d clients: one turned away\n", MAX_CLIENTS);
        demi_close(qd);
        return;
    }
    err = demi_pop(&tokens[num_tokens], qd);
    if (err != 0) {
        fprintf(stderr, "echo: demi_pop: %s\n", strerror(err));
        demi_close(qd);
        return;
    }
    qds[num_tokens++] = qd;
}

static void remove_client(int i) {
    demi_close(qds[i]);
    num_tokens--;
    qds[i] = qds[num_tokens];
    tokens[i] = tokens[num_tokens];
}

/* Starts client i's next operation; returns 0 when the client is gone. */
static int next_step(int i, demi_qresult_t *qr) {
    int err = 0;

    switch (qr->qr_opcode) {
    case DEMI_OPC_POP:
        if (qr->qr_value.sga.sga_segs[0].sgaseg_len == 0) {
            demi_sgafree(&qr->qr_value.sga);
            return 0; /* the client has closed */
        }
        err = demi_push(&tokens[i], qds[i], &qr->qr_value.sga);
        demi_sgafree(&qr->qr_value.sga); /* the library keeps the bytes until they are sent */
        break;
    case DEMI_OPC_PUSH:
        err = demi_pop(&tokens[i], qds[i]);
        break;
    default:
        err = (int)qr->qr_ret;
        break;
    }
    if (err != 0)
        fprintf(stderr, "echo: a client was lost: %s\n", strerror(err));
    return err == 0;
}

static int server(const struct sockaddr *addr, socklen_t size, long clients) {
    demi_qresult_t qr;
    long left = 0;
    int listener, i, err;

    if ((err = demi_socket(&listener, addr->sa_family, SOCK_STREAM, 0)) != 0)
        die("demi_socket", err);
    if ((err = demi_bind(listener, addr, size)) != 0)
        die("demi_bind", err);
    if ((err = demi_listen(listener, 16)) != 0)
        die("demi_listen", err);
    if ((err = demi_accept(&tokens[0], listener)) != 0)
        die("demi_accept", err);
    printf("echo: listening\n");
    fflush(stdout);

    while (clients == 0 || left < clients) {
        if ((err = demi_wait_any(&qr, &i, tokens, num_tokens, NULL)) != 0)
            die("demi_wait_any", err);
        if (i == 0) {
            if (qr.qr_opcode == DEMI_OPC_ACCEPT)
                add_client(qr.qr_value.ares.qd);
            else
                fprintf(stderr, "echo: accept: %s\n", strerror((int)qr.qr_ret));
            if ((err = demi_accept(&tokens[0], listener)) != 0)
                die("demi_accept", err);
        } else if (!next_step(i, &qr)) {
            remove_client(i);
            left++;
        }
    }
    demi_close(listener);
    return EXIT_SUCCESS;
}

/* ---- Client --------------------------------------------------------------------------- */

/* Waits for one operation, which must succeed. */
static demi_qresult_t finish(const char *what, demi_qtoken_t qt) {
    demi_qresult_t qr;
    int err = demi_wait(&qr, qt, NULL);

    if (err != 0)
        die("demi_wait", err);
    if (qr.qr_opcode == DEMI_OPC_FAILED)
        die(what, (int)qr.qr_ret);
    return qr;
}

static void one_message(int qd, long nr, size_t size) {
    demi_sgarray_t out = demi_sgaalloc(size);
    demi_qresult_t in;
    demi_qtoken_t qt;
    int err, same;

    if (out.sga_numsegs == 0)
        die("demi_sgaalloc", ENOMEM);
    memset(out.sga_segs[0].sgaseg_buf, (int)('a' + nr % 26), size);
    if ((err = demi_push(&qt, qd, &out)) != 0)
        die("demi_push", err);
    finish("push", qt);

    if ((err = demi_pop(&qt, qd)) != 0)
        die("demi_pop", err);
    in = finish("pop", qt);
    same = in.qr_value.sga.sga_segs[0].sgaseg_len == size &&
           memcmp(in.qr_value.sga.sga_segs[0].sgaseg_buf, out.sga_segs[0].sgaseg_buf, size) == 0;
    demi_sgafree(&in.qr_value.sga);
    demi_sgafree(&out);
    if (!same) {
        fprintf(stderr, "echo: message %ld came back changed\n", nr);
        exit(EXIT_FAILURE);
    }
}

static int client(const struct sockaddr *addr, socklen_t size, long messages, size_t bytes) {
    struct timespec start, end;
    demi_qtoken_t qt;
    double us;
    int qd, err;

    if ((err = demi_socket(&qd, addr->sa_family, SOCK_STREAM, 0)) != 0)
        die("demi_socket", err);
    if ((err = demi_connect(&qt, qd, addr, size)) != 0)
        die("demi_connect", err);
    finish("connect", qt);

    clock_gettime(CLOCK_MONOTONIC, &start);
    for (long nr = 0; nr < messages; nr++)
        one_message(qd, nr, bytes);
    clock_gettime(CLOCK_MONOTONIC, &end);
    us = (double)(end.tv_sec - start.tv_sec) * 1e6 + (double)(end.tv_nsec - start.tv_nsec) / 1e3;
    printf("echo: %ld messages of %zu bytes came back intact, %.1f us each\n", messages, bytes,
           us / (double)messages);
    demi_close(qd);
    return EXIT_SUCCESS;
}

int main(int argc, char *argv[]) {
    struct demi_args args = {.argc = argc, .argv = argv, .callback = NULL};
    struct sockaddr_storage addr;
    socklen_t size;
    int is_server, err;

    is_server = argc >= 4 && argc <= 5 && strcmp(argv[1], "server") == 0;
    if (!is_server && !(argc >= 4 && argc <= 6 && strcmp(argv[1], "client") == 0)) {
        fprintf(stderr, "usage: echo server ADDRESS PORT [CLIENTS]\n"
                        "       echo client ADDRESS PORT [MESSAGES [SIZE]]\n");
        return 2;
    }
    size = address(argv[2], argv[3], &addr);
    if ((err = demi_init(&args)) != 0)
        die("demi_init", err);
    if (is_server)
        return server((struct sockaddr *)&addr, size,
                      argc > 4 ? number(argv[4], 0, 1000000, "CLIENTS") : 0);
    return client((struct sockaddr *)&addr, size,
                  argc > 4 ? number(argv[4], 1, 1000000000, "MESSAGES") : 10,
                  argc > 5 ? (size_t)number(argv[5], 1, 1L << 30, "SIZE") : 64);
}
