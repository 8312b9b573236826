#include "every_call.h"

#include "suite.h"

#define SOME_TOKEN UINT64_C(12345)

static struct sockaddr_in some_address(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(7174)};

    a.sin_addr.s_addr = htonl(0x0a000001);
    return a;
}

static int call_socket(int qd) {
    return demi_socket(&qd, AF_INET, SOCK_STREAM, 0);
}

static int call_bind(int qd) {
    struct sockaddr_in a = some_address();

    return demi_bind(qd, (struct sockaddr *)&a, sizeof(a));
}

static int call_listen(int qd) {
    return demi_listen(qd, 1);
}

static int call_accept(int qd) {
    demi_qtoken_t qt;

    return demi_accept(&qt, qd);
}

static int call_connect(int qd) {
    struct sockaddr_in a = some_address();
    demi_qtoken_t qt;

    return demi_connect(&qt, qd, (struct sockaddr *)&a, sizeof(a));
}

static int call_close(int qd) {
    return demi_close(qd);
}

static int call_push(int qd) {
    demi_sgarray_t sga = {.sga_numsegs = 1};
    demi_qtoken_t qt;

    return demi_push(&qt, qd, &sga);
}

static int call_pushto(int qd) {
    struct sockaddr_in a = some_address();
    demi_sgarray_t sga = {.sga_numsegs = 1};
    demi_qtoken_t qt;

    return demi_pushto(&qt, qd, &sga, (struct sockaddr *)&a, sizeof(a));
}

static int call_pop(int qd) {
    demi_qtoken_t qt;

    return demi_pop(&qt, qd);
}

static int call_setsockopt(int qd) {
    struct linger l = {1, 1};

    return demi_setsockopt(qd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
}

static int call_getsockopt(int qd) {
    struct linger l;
    socklen_t len = sizeof(l);

    return demi_getsockopt(qd, SOL_SOCKET, SO_LINGER, &l, &len);
}

static int call_getpeername(int qd) {
    struct sockaddr_in a;
    socklen_t len = sizeof(a);

    return demi_getpeername(qd, (struct sockaddr *)&a, &len);
}

static int call_getsockname(int qd) {
    struct sockaddr_in a;
    socklen_t len = sizeof(a);

    return demi_getsockname(qd, (struct sockaddr *)&a, &len);
}

static int call_sgaalloc(int qd) {
    demi_sgarray_t sga = demi_sgaalloc(64);

    (void)qd;
    return sga.sga_numsegs == 0 && sga.sga_buf == NULL ? ENOSYS : 0;
}

static int call_sgafree(int qd) {
    demi_sgarray_t sga = {.sga_numsegs = 1};

    (void)qd;
    return demi_sgafree(&sga);
}

static int call_wait(int qd) {
    demi_qresult_t qr;

    (void)qd;
    return demi_wait(&qr, SOME_TOKEN, &no_time);
}

static int call_wait_any(int qd) {
    demi_qtoken_t qt = SOME_TOKEN;
    demi_qresult_t qr;
    int i;

    (void)qd;
    return demi_wait_any(&qr, &i, &qt, 1, &no_time);
}

static int call_wait_next_n(int qd) {
    demi_qresult_t qr;
    int n;

    (void)qd;
    return demi_wait_next_n(&qr, 1, &n, &no_time);
}

const struct call every_call[] = {
    {"demi_socket", call_socket},
    {"demi_bind", call_bind},
    {"demi_listen", call_listen},
    {"demi_accept", call_accept},
    {"demi_connect", call_connect},
    {"demi_close", call_close},
    {"demi_push", call_push},
    {"demi_pushto", call_pushto},
    {"demi_pop", call_pop},
    {"demi_setsockopt", call_setsockopt},
    {"demi_getsockopt", call_getsockopt},
    {"demi_getpeername", call_getpeername},
    {"demi_getsockname", call_getsockname},
    {"demi_sgaalloc", call_sgaalloc},
    {"demi_sgafree", call_sgafree},
    {"demi_wait", call_wait},
    {"demi_wait_any", call_wait_any},
    {"demi_wait_next_n", call_wait_next_n},
    {NULL, NULL},
};
