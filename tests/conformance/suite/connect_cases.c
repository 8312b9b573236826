/* demi_connect and demi_accept between two sockets of this process. */
#include "suite.h"

#define MANY 100

static void connects_with_or_without_bind(void) {
    struct pair p;
    union address at;
    demi_qtoken_t accepting = 0, connecting = 0;
    demi_qresult_t qr;
    int listener, qd;

    (void)new_pair(&local4, &p); /* not bound */
    close_pair(&p);

    listener = new_listener(&local4, 1, &at);
    qd = new_socket(AF_INET);
    CHECK_OK(demi_bind(qd, &local4.sa, sizeof(local4.v4)));
    CHECK_OK(demi_accept(&accepting, listener));
    if (CHECK_OK(demi_connect(&connecting, qd, &at.sa, sizeof(at.v4))))
        finish(connecting, DEMI_OPC_CONNECT);
    qr = result_of(accepting);
    if (CHECK_INT(qr.qr_opcode, DEMI_OPC_ACCEPT))
        CHECK_OK(demi_close(qr.qr_value.ares.qd));
    CHECK_OK(demi_close(qd));
    CHECK_OK(demi_close(listener));
}

static void the_results_name_descriptor_token_and_peer(void) {
    union address at, a;
    demi_qtoken_t accepting = 0, connecting = 0;
    demi_qresult_t qr;
    socklen_t len = sizeof(a);
    char zero[sizeof(qr.qr_value)] = {0};
    int listener = new_listener(&local4, 1, &at), qd = new_socket(AF_INET);

    CHECK_OK(demi_accept(&accepting, listener));
    CHECK_OK(demi_connect(&connecting, qd, &at.sa, sizeof(at.v4)));
    CHECK(accepting != connecting && accepting != 0 && connecting != 0);
    CHECK(accepting != UINT64_MAX && connecting != UINT64_MAX);
    qr = result_of(connecting);
    CHECK_INT(qr.qr_opcode, DEMI_OPC_CONNECT);
    CHECK_INT(qr.qr_qd, qd);
    CHECK_INT(qr.qr_ret, 0);
    CHECK(memcmp(&qr.qr_value, zero, sizeof(zero)) == 0);

    qr = result_of(accepting);
    CHECK_INT(qr.qr_opcode, DEMI_OPC_ACCEPT);
    CHECK_INT(qr.qr_qd, listener);
    CHECK_INT(qr.qr_ret, 0);
    CHECK(qr.qr_value.ares.qd >= 500 && qr.qr_value.ares.qd != qd);
    CHECK_OK(demi_getsockname(qd, &a.sa, &len));
    CHECK_INT(qr.qr_value.ares.addr.sin_family, AF_INET);
    CHECK(qr.qr_value.ares.addr.sin_addr.s_addr == a.v4.sin_addr.s_addr);
    CHECK_INT(qr.qr_value.ares.addr.sin_port, a.v4.sin_port);
    CHECK_OK(demi_close(qr.qr_value.ares.qd));
    CHECK_OK(demi_close(qd));
    CHECK_OK(demi_close(listener));
}

static void a_connected_socket_stays_what_it_is(void) {
    demi_qtoken_t qt = 77;
    struct pair p;

    if (new_pair(&local4, &p)) {
        CHECK_ERRNO(demi_connect(&qt, p.client, &p.at.sa, sizeof(p.at.v4)), EISCONN);
        CHECK_ERRNO(demi_connect(&qt, p.server, &p.at.sa, sizeof(p.at.v4)), EISCONN);
        CHECK_ERRNO(demi_bind(p.client, &local4.sa, sizeof(local4.v4)), EISCONN);
        CHECK_ERRNO(demi_listen(p.client, 1), EISCONN);
        CHECK_ERRNO(demi_accept(&qt, p.client), EINVAL);
        CHECK(qt == 77);
    }
    close_pair(&p);
}

/* A port that nobody listens on: it was a listener's just now. */
static union address deserted(void) {
    union address at = local4;
    int listener = new_listener(&local4, 1, &at);

    CHECK_OK(demi_close(listener));
    return at;
}

static void nobody_listening_is_econnrefused(void) {
    union address at = deserted();
    demi_qtoken_t qt = 0;
    int qd = new_socket(AF_INET);

    if (CHECK_OK(demi_connect(&qt, qd, &at.sa, sizeof(at.v4))))
        finish_failed(qt, ECONNREFUSED);
    CHECK_OK(demi_close(qd));
}

static void after_a_failed_connect_only_close_works(void) {
    union address at = deserted(), a;
    socklen_t len = sizeof(a), linger_len = sizeof(struct linger);
    struct linger l = {0, 0};
    demi_sgarray_t sga = message(8, 'x');
    demi_qtoken_t qt = 0;
    int qd = new_socket(AF_INET), other;

    if (CHECK_OK(demi_connect(&qt, qd, &at.sa, sizeof(at.v4))))
        finish_failed(qt, ECONNREFUSED);
    CHECK_ERRNO(demi_bind(qd, &local4.sa, sizeof(local4.v4)), EBADF);
    CHECK_ERRNO(demi_listen(qd, 1), EBADF);
    CHECK_ERRNO(demi_accept(&qt, qd), EBADF);
    CHECK_ERRNO(demi_connect(&qt, qd, &at.sa, sizeof(at.v4)), EBADF);
    CHECK_ERRNO(demi_push(&qt, qd, &sga), EBADF);
    CHECK_ERRNO(demi_pushto(&qt, qd, &sga, &at.sa, sizeof(at.v4)), EBADF);
    CHECK_ERRNO(demi_pop(&qt, qd), EBADF);
    CHECK_ERRNO(demi_getpeername(qd, &a.sa, &len), EBADF);
    CHECK_ERRNO(demi_getsockname(qd, &a.sa, &len), EBADF);
    CHECK_ERRNO(demi_setsockopt(qd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)), EBADF);
    CHECK_ERRNO(demi_getsockopt(qd, SOL_SOCKET, SO_LINGER, &l, &linger_len), EBADF);
    other = new_socket(AF_INET);
    CHECK(other != qd); /* it stays allocated */
    CHECK_OK(demi_close(other));
    CHECK_OK(demi_close(qd));
    CHECK_ERRNO(demi_close(qd), EBADF);
    CHECK_OK(demi_sgafree(&sga));
}

static void up_to_backlog_are_established_before_accept(void) {
    union address at;
    demi_qtoken_t connecting = 0, refused = 0, accepting = 0;
    demi_qresult_t qr;
    int listener = new_listener(&local4, 1, &at);
    int first = new_socket(AF_INET), second = new_socket(AF_INET);

    CHECK_OK(demi_connect(&connecting, first, &at.sa, sizeof(at.v4)));
    finish(connecting, DEMI_OPC_CONNECT); /* nobody has called demi_accept */
    CHECK_OK(demi_connect(&refused, second, &at.sa, sizeof(at.v4)));
    finish_failed(refused, ECONNREFUSED);
    CHECK_OK(demi_close(second));

    CHECK(finish(push_message(first, 16, 'e'), DEMI_OPC_PUSH)); /* sent before accept */
    CHECK_OK(demi_accept(&accepting, listener));
    qr = result_of(accepting);
    if (CHECK_INT(qr.qr_opcode, DEMI_OPC_ACCEPT)) {
        CHECK(pop_message(qr.qr_value.ares.qd, 16, 'e'));
        CHECK_OK(demi_close(qr.qr_value.ares.qd));
    }

    second = new_socket(AF_INET); /* there is room again */
    CHECK_OK(demi_connect(&connecting, second, &at.sa, sizeof(at.v4)));
    finish(connecting, DEMI_OPC_CONNECT);
    CHECK_OK(demi_close(second));
    CHECK_OK(demi_close(first));
    CHECK_OK(demi_close(listener));
}

static void closing_a_listener_ends_its_accepts_and_refuses_its_backlog(void) {
    union address at;
    demi_qtoken_t accepting[2] = {0, 0};
    int listener = new_listener(&local4, 4, &at);

    CHECK_OK(demi_accept(&accepting[0], listener));
    CHECK_OK(demi_accept(&accepting[1], listener));
    CHECK(is_pending(accepting[0]));
    CHECK_OK(demi_close(listener));
    finish_failed(accepting[0], ECANCELED);
    finish_failed(accepting[1], ECANCELED);
}

static void a_connection_outlives_its_listener(void) {
    struct pair p;

    if (new_pair(&local4, &p)) {
        CHECK_OK(demi_close(p.listener));
        p.listener = -1;
        CHECK(finish(push_message(p.client, 64, 'o'), DEMI_OPC_PUSH));
        CHECK(pop_message(p.server, 64, 'o'));
    }
    close_pair(&p);
}

static void a_hundred_connects_at_once_complete(void) {
    static int clients[MANY], servers[MANY];
    static demi_qtoken_t tokens[2 * MANY];
    const struct timespec limit = {60, 0};
    union address at;
    int listener = new_listener(&local4, MANY, &at), n = 0, accepted = 0;

    for (int i = 0; i < MANY; i++) {
        clients[i] = new_socket(AF_INET);
        if (!CHECK_OK(demi_accept(&tokens[n++], listener)) ||
            !CHECK_OK(demi_connect(&tokens[n++], clients[i], &at.sa, sizeof(at.v4))))
            return;
    }
    while (n > 0) {
        demi_qresult_t qr;
        int i;

        if (!CHECK_OK(demi_wait_any(&qr, &i, tokens, n, &limit)))
            break;
        tokens[i] = tokens[--n];
        if (qr.qr_opcode == DEMI_OPC_ACCEPT) {
            servers[accepted++] = qr.qr_value.ares.qd;
        } else if (!CHECK_INT(qr.qr_opcode, DEMI_OPC_CONNECT)) {
            printf("#   errno %s\n", strerror((int)qr.qr_ret));
            break; /* its accept would never come */
        }
    }
    CHECK_INT(accepted, MANY);
    for (int i = 0; i < MANY; i++)
        CHECK_OK(demi_close(clients[i]));
    for (int i = 0; i < accepted; i++)
        CHECK_OK(demi_close(servers[i]));
    CHECK_OK(demi_close(listener));
}

static void connections_come_and_go(void) {
    int first = new_socket(AF_INET);

    CHECK_OK(demi_close(first));
    for (int i = 0; i < 50; i++) {
        struct pair p;
        bool ok = new_pair(&local4, &p);

        CHECK(p.client < first + 100); /* descriptors are given back */
        close_pair(&p);
        if (!ok)
            return;
    }
}

/* 192.0.2.0/24 (TEST-NET-1) is routed nowhere, or not over an RDMA device. */
static void no_route_is_enetunreach_or_ehostunreach(void) {
    union address at = {.v4 = {.sin_family = AF_INET, .sin_port = htons(7174)}};
    demi_qtoken_t qt = 0;
    demi_qresult_t qr;
    int qd = new_socket(AF_INET);

    at.v4.sin_addr.s_addr = htonl(0xc0000201);
    CHECK_OK(demi_connect(&qt, qd, &at.sa, sizeof(at.v4)));
    qr = result_of(qt);
    CHECK_INT(qr.qr_opcode, DEMI_OPC_FAILED);
    if (!CHECK(qr.qr_ret == ENETUNREACH || qr.qr_ret == EHOSTUNREACH))
        printf("#   %s\n", strerror((int)qr.qr_ret));
    CHECK_INT(qr.qr_qd, qd);
    CHECK_OK(demi_close(qd));
}

const struct test_case connect_cases[] = {
    {"a socket connects whether or not it is bound", connects_with_or_without_bind},
    {"the results of connect and accept name descriptor, token and peer",
     the_results_name_descriptor_token_and_peer},
    {"a connected socket can be neither connected nor bound nor made a listener",
     a_connected_socket_stays_what_it_is},
    {"connecting where nobody listens fails with ECONNREFUSED", nobody_listening_is_econnrefused},
    {"connecting where no route leads fails with ENETUNREACH or EHOSTUNREACH",
     no_route_is_enetunreach_or_ehostunreach},
    {"after a failed connect every call but demi_close answers EBADF",
     after_a_failed_connect_only_close_works},
    {"up to backlog connections are established before demi_accept, more are refused",
     up_to_backlog_are_established_before_accept},
    {"closing a listener ends its accepts with ECANCELED",
     closing_a_listener_ends_its_accepts_and_refuses_its_backlog},
    {"a connection outlives its listener", a_connection_outlives_its_listener},
    {"connections come and go, and their descriptors with them", connections_come_and_go},
    {"a hundred connects at once complete", a_hundred_connects_at_once_complete},
    {0},
};

/* ---- Where nobody answers ------------------------------------------------------------------- */

static void a_connecting_socket_stays_what_it_is(void) {
    demi_sgarray_t sga = message(8, 'x');
    demi_qtoken_t connecting = 0, qt = 77;
    union address a;
    socklen_t len = sizeof(a);
    struct timespec start;
    int qd = new_socket(AF_INET);

    if (nobody4.sa.sa_family == 0)
        return;
    CHECK_OK(demi_connect(&connecting, qd, &nobody4.sa, sizeof(nobody4.v4)));
    CHECK(is_pending(connecting));
    CHECK_ERRNO(demi_connect(&qt, qd, &nobody4.sa, sizeof(nobody4.v4)), EINPROGRESS);
    CHECK_ERRNO(demi_bind(qd, &local4.sa, sizeof(local4.v4)), EINVAL);
    CHECK_ERRNO(demi_listen(qd, 1), EADDRINUSE);
    CHECK_ERRNO(demi_accept(&qt, qd), EINVAL);
    CHECK_ERRNO(demi_push(&qt, qd, &sga), ENOTCONN);
    CHECK_ERRNO(demi_pop(&qt, qd), ENOTCONN);
    CHECK_ERRNO(demi_getpeername(qd, &a.sa, &len), ENOTCONN);
    CHECK(qt == 77);
    start = now();
    CHECK_OK(demi_close(qd));
    CHECK(elapsed_ms(&start) < 1500); /* it does not wait for the connect */
    finish_failed(connecting, ECANCELED);
    CHECK_OK(demi_sgafree(&sga));
}

static void no_answer_is_ehostunreach_or_etimedout(void) {
    demi_qtoken_t qt = 0;
    demi_qresult_t qr;
    int qd = new_socket(AF_INET);

    if (nobody4.sa.sa_family == 0)
        return;
    CHECK_OK(demi_connect(&qt, qd, &nobody4.sa, sizeof(nobody4.v4)));
    qr = result_of(qt);
    CHECK_INT(qr.qr_opcode, DEMI_OPC_FAILED);
    CHECK(qr.qr_ret == EHOSTUNREACH || qr.qr_ret == ETIMEDOUT);
    CHECK_OK(demi_close(qd));
}

const struct test_case unreachable_cases[] = {
    {"a connecting socket takes no other call, and demi_close ends it with ECANCELED",
     a_connecting_socket_stays_what_it_is},
    {"connecting where nobody answers fails with EHOSTUNREACH or ETIMEDOUT",
     no_answer_is_ehostunreach_or_etimedout},
    {0},
};

/* ---- IPv6 -------------------------------------------------------------------------------------
 */

static void ipv6_connects_and_carries_messages(void) {
    union address a;
    socklen_t len = sizeof(a);
    struct pair p;

    if (local6.sa.sa_family == 0)
        return;
    if (new_pair(&local6, &p)) {
        CHECK_OK(demi_getpeername(p.client, &a.sa, &len));
        CHECK_INT(len, sizeof(a.v6));
        CHECK_INT(a.sa.sa_family, AF_INET6);
        CHECK(memcmp(&a.v6.sin6_addr, &local6.v6.sin6_addr, sizeof(a.v6.sin6_addr)) == 0);
        CHECK_INT(port_of(&a), port_of(&p.at));
        len = sizeof(a.v4);
        CHECK_ERRNO(demi_getpeername(p.client, &a.sa, &len), EINVAL);
        CHECK(finish(push_message(p.client, 100, '6'), DEMI_OPC_PUSH));
        CHECK(pop_message(p.server, 100, '6'));
    }
    close_pair(&p);
}

static void ipv6_results_have_a_port_and_no_address(void) {
    union address at, a;
    demi_qtoken_t accepting = 0, connecting = 0, popping = 0;
    demi_qresult_t qr;
    socklen_t len = sizeof(a);
    int listener, qd, server;

    if (local6.sa.sa_family == 0)
        return;
    listener = new_listener(&local6, 1, &at);
    qd = new_socket(AF_INET6);
    CHECK_OK(demi_accept(&accepting, listener));
    CHECK_OK(demi_connect(&connecting, qd, &at.sa, sizeof(at.v6)));
    finish(connecting, DEMI_OPC_CONNECT);
    qr = result_of(accepting);
    if (!CHECK_INT(qr.qr_opcode, DEMI_OPC_ACCEPT))
        return;
    server = qr.qr_value.ares.qd;
    CHECK_OK(demi_getsockname(qd, &a.sa, &len));
    CHECK_INT(qr.qr_value.ares.addr.sin_family, AF_INET6);
    CHECK_INT(qr.qr_value.ares.addr.sin_port, a.v6.sin6_port);
    CHECK(qr.qr_value.ares.addr.sin_addr.s_addr == 0);

    CHECK(finish(push_message(qd, 8, '6'), DEMI_OPC_PUSH));
    CHECK_OK(demi_pop(&popping, server));
    qr = result_of(popping);
    if (CHECK_INT(qr.qr_opcode, DEMI_OPC_POP)) {
        CHECK_INT(qr.qr_value.sga.sga_addr.sin_family, AF_INET6);
        CHECK_INT(qr.qr_value.sga.sga_addr.sin_port, a.v6.sin6_port);
        CHECK(qr.qr_value.sga.sga_addr.sin_addr.s_addr == 0);
        CHECK_OK(demi_sgafree(&qr.qr_value.sga));
    }
    CHECK_OK(demi_close(qd));
    CHECK_OK(demi_close(server));
    CHECK_OK(demi_close(listener));
}

static void the_ipv6_wildcard_accepts_and_tells_its_port(void) {
    union address any = {.v6 = {.sin6_family = AF_INET6}}, at, to, a;
    demi_qtoken_t accepting = 0, connecting = 0;
    demi_qresult_t qr;
    socklen_t len = sizeof(a);
    int listener, qd;

    if (local6.sa.sa_family == 0)
        return;
    listener = new_listener(&any, 1, &at);
    CHECK_INT(at.sa.sa_family, AF_INET6);
    CHECK(port_of(&at) != 0);
    to = with_port(&local6, port_of(&at));
    qd = new_socket(AF_INET6);
    CHECK_OK(demi_accept(&accepting, listener));
    CHECK_OK(demi_connect(&connecting, qd, &to.sa, sizeof(to.v6)));
    finish(connecting, DEMI_OPC_CONNECT);
    qr = result_of(accepting);
    if (CHECK_INT(qr.qr_opcode, DEMI_OPC_ACCEPT)) {
        CHECK_OK(demi_getsockname(qr.qr_value.ares.qd, &a.sa, &len));
        CHECK_INT(len, sizeof(a.v6));
        CHECK(memcmp(&a.v6.sin6_addr, &local6.v6.sin6_addr, sizeof(a.v6.sin6_addr)) == 0);
        CHECK_OK(demi_close(qr.qr_value.ares.qd));
    }
    CHECK_OK(demi_close(qd));
    CHECK_OK(demi_close(listener));
}

/* An address of one family on a socket of the other. */
static void families_do_not_mix(void) {
    union address six = with_port(&local6, 7174), four = with_port(&local4, 7174);
    demi_qtoken_t qt = 77;
    int qd6, qd4;

    if (local6.sa.sa_family == 0)
        return;
    qd6 = new_socket(AF_INET6);
    qd4 = new_socket(AF_INET);
    CHECK_ERRNO(demi_bind(qd6, &four.sa, sizeof(four.v4)), EINVAL);
    CHECK_ERRNO(demi_bind(qd4, &six.sa, sizeof(six.v6)), EINVAL);
    CHECK_ERRNO(demi_connect(&qt, qd6, &four.sa, sizeof(four.v4)), EINVAL);
    CHECK_ERRNO(demi_connect(&qt, qd4, &six.sa, sizeof(six.v6)), EINVAL);
    CHECK(qt == 77);
    CHECK_OK(demi_close(qd6));
    CHECK_OK(demi_close(qd4));
}

static void ipv6_nobody_listening_is_econnrefused(void) {
    union address at = local6;
    demi_qtoken_t qt = 0;
    int listener, qd;

    if (local6.sa.sa_family == 0)
        return;
    listener = new_listener(&local6, 1, &at);
    CHECK_OK(demi_close(listener));
    qd = new_socket(AF_INET6);
    if (CHECK_OK(demi_connect(&qt, qd, &at.sa, sizeof(at.v6))))
        finish_failed(qt, ECONNREFUSED);
    CHECK_OK(demi_close(qd));
}

const struct test_case ipv6_cases[] = {
    {"IPv6 sockets connect and carry messages", ipv6_connects_and_carries_messages},
    {"accept and pop results of IPv6 say AF_INET6 and the port",
     ipv6_results_have_a_port_and_no_address},
    {"a listener on the IPv6 wildcard address accepts, and its port is told",
     the_ipv6_wildcard_accepts_and_tells_its_port},
    {"an address of the other family answers EINVAL", families_do_not_mix},
    {"connecting over IPv6 where nobody listens fails with ECONNREFUSED",
     ipv6_nobody_listening_is_econnrefused},
    {0},
};
