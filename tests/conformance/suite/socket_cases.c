/* Sockets, addresses and names: everything but connect that needs no connection to a peer. */
#include <netinet/tcp.h>

#include "every_call.h"
#include "suite.h"

/* 192.0.2.1 (TEST-NET-1) is nobody's address. */
static union address foreign_address(void) {
    union address a = {.v4 = {.sin_family = AF_INET, .sin_port = htons(7174)}};

    a.v4.sin_addr.s_addr = htonl(0xc0000201);
    return a;
}

/* ---- NULL ------------------------------------------------------------------------------------ */

/* The compiler must not see that these are NULL: the headers carry nonnull attributes. */
static void *volatile nothing;

static void null_pointers_are_einval(void) {
    struct sockaddr_in a = {.sin_family = AF_INET};
    struct linger l = {0, 0};
    socklen_t len = sizeof(a);
    demi_sgarray_t sga = {0};
    demi_qresult_t qr;
    demi_qtoken_t qt;
    int qd = new_socket(AF_INET), i, n;

    CHECK_ERRNO(demi_socket(nothing, AF_INET, SOCK_STREAM, 0), EINVAL);
    CHECK_ERRNO(demi_bind(qd, nothing, sizeof(a)), EINVAL);
    CHECK_ERRNO(demi_accept(nothing, qd), EINVAL);
    CHECK_ERRNO(demi_connect(nothing, qd, (struct sockaddr *)&a, sizeof(a)), EINVAL);
    CHECK_ERRNO(demi_connect(&qt, qd, nothing, sizeof(a)), EINVAL);
    CHECK_ERRNO(demi_push(nothing, qd, &sga), EINVAL);
    CHECK_ERRNO(demi_push(&qt, qd, nothing), EINVAL);
    CHECK_ERRNO(demi_pushto(nothing, qd, &sga, (struct sockaddr *)&a, sizeof(a)), EINVAL);
    CHECK_ERRNO(demi_pushto(&qt, qd, nothing, (struct sockaddr *)&a, sizeof(a)), EINVAL);
    CHECK_ERRNO(demi_pushto(&qt, qd, &sga, nothing, sizeof(a)), EINVAL);
    CHECK_ERRNO(demi_pop(nothing, qd), EINVAL);
    CHECK_ERRNO(demi_setsockopt(qd, SOL_SOCKET, SO_LINGER, nothing, sizeof(l)), EINVAL);
    CHECK_ERRNO(demi_getsockopt(qd, SOL_SOCKET, SO_LINGER, nothing, &len), EINVAL);
    CHECK_ERRNO(demi_getsockopt(qd, SOL_SOCKET, SO_LINGER, &l, nothing), EINVAL);
    CHECK_ERRNO(demi_getpeername(qd, nothing, &len), EINVAL);
    CHECK_ERRNO(demi_getpeername(qd, (struct sockaddr *)&a, nothing), EINVAL);
    CHECK_ERRNO(demi_getsockname(qd, nothing, &len), EINVAL);
    CHECK_ERRNO(demi_getsockname(qd, (struct sockaddr *)&a, nothing), EINVAL);
    CHECK_ERRNO(demi_sgafree(nothing), EINVAL);
    CHECK_ERRNO(demi_wait(nothing, 1, &no_time), EINVAL);
    qt = 1;
    CHECK_ERRNO(demi_wait_any(nothing, &i, &qt, 1, &no_time), EINVAL);
    CHECK_ERRNO(demi_wait_any(&qr, nothing, &qt, 1, &no_time), EINVAL);
    CHECK_ERRNO(demi_wait_any(&qr, &i, nothing, 1, &no_time), EINVAL);
    CHECK_ERRNO(demi_wait_next_n(nothing, 1, &n, &no_time), EINVAL);
    CHECK_ERRNO(demi_wait_next_n(&qr, 1, nothing, &no_time), EINVAL);
    CHECK_OK(demi_close(qd));
}

const struct test_case null_cases[] = {
    {"NULL where a pointer is required answers EINVAL", null_pointers_are_einval},
    {0},
};

/* ---- Descriptors and states --------------------------------------------------------------------
 */

static void descriptors_start_at_500_and_are_reused(void) {
    int first = new_socket(AF_INET), second = new_socket(AF_INET);

    CHECK(first >= 500);
    CHECK(second > first);
    CHECK_OK(demi_close(first));
    CHECK_OK(demi_close(second));
    for (int i = 0; i < 500; i++) {
        int qd = new_socket(AF_INET);

        CHECK(qd < first + 100); /* a few may still be on their way out */
        CHECK_OK(demi_close(qd));
    }
}

static void what_is_not_supported_is_enotsup(void) {
    int qd = -7;

    CHECK_ERRNO(demi_socket(&qd, AF_UNIX, SOCK_STREAM, 0), ENOTSUP);
    CHECK_ERRNO(demi_socket(&qd, -1, SOCK_STREAM, 0), ENOTSUP);
    CHECK_ERRNO(demi_socket(&qd, AF_INET, SOCK_RAW, 0), ENOTSUP);
    CHECK_ERRNO(demi_socket(&qd, AF_INET, SOCK_DGRAM, 0), ENOTSUP);
    CHECK_ERRNO(demi_socket(&qd, AF_INET6, 0, 0), ENOTSUP);
    CHECK_ERRNO(demi_socket(&qd, AF_INET, SOCK_STREAM, IPPROTO_UDP), ENOTSUP);
    CHECK_ERRNO(demi_socket(&qd, AF_INET, SOCK_STREAM, -1), ENOTSUP);
    CHECK_INT(qd, -7);
    CHECK_OK(demi_socket(&qd, AF_INET6, SOCK_STREAM, IPPROTO_TCP));
    CHECK_OK(demi_close(qd));
}

static bool needs_a_descriptor(const char *name) {
    static const char *const without[] = {"demi_socket", "demi_sgaalloc", "demi_sgafree",
                                          "demi_wait",   "demi_wait_any", "demi_wait_next_n"};

    for (size_t i = 0; i < sizeof(without) / sizeof(without[0]); i++)
        if (strcmp(name, without[i]) == 0)
            return false;
    return true;
}

static void a_bad_descriptor_is_ebadf(void) {
    int closed = new_socket(AF_INET);
    const int bad[] = {-1, 0, 1, 499, 1 << 30, INT32_MAX, INT32_MIN, closed};

    CHECK_OK(demi_close(closed));
    for (const struct call *c = every_call; c->name != NULL; c++)
        for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
            if (needs_a_descriptor(c->name) && !CHECK_ERRNO(c->make(bad[i]), EBADF))
                printf("#   %s on descriptor %d\n", c->name, bad[i]);
}

static void bind_takes_a_socket_once(void) {
    union address at;
    int qd = new_socket(AF_INET), listener;

    CHECK_OK(demi_bind(qd, &local4.sa, sizeof(local4.v4)));
    CHECK_ERRNO(demi_bind(qd, &local4.sa, sizeof(local4.v4)), EINVAL);
    CHECK_OK(demi_close(qd));

    listener = new_listener(&local4, 1, &at);
    CHECK_ERRNO(demi_bind(listener, &local4.sa, sizeof(local4.v4)), EINVAL);
    CHECK_OK(demi_close(listener));
}

static void bind_to_a_taken_address_is_eaddrinuse(void) {
    union address at;
    int listener = new_listener(&local4, 1, &at), qd = new_socket(AF_INET);

    CHECK_ERRNO(demi_bind(qd, &at.sa, sizeof(at.v4)), EADDRINUSE);
    CHECK_OK(demi_close(listener));
    CHECK_OK(demi_bind(qd, &at.sa, sizeof(at.v4))); /* free again, and qd unharmed */
    CHECK_OK(demi_close(qd));
}

static void bind_to_a_foreign_address_is_eaddrnotavail(void) {
    union address foreign = foreign_address();
    int qd = new_socket(AF_INET);

    CHECK_ERRNO(demi_bind(qd, &foreign.sa, sizeof(foreign.v4)), EADDRNOTAVAIL);
    CHECK_OK(demi_bind(qd, &local4.sa, sizeof(local4.v4)));
    CHECK_OK(demi_close(qd));
}

/* Sizes and families that are no address, for bind, connect and pushto alike. */
static void a_malformed_address_is_einval(void) {
    union address four = local4, none = {0}, unknown = {0}, six = {0};
    demi_qtoken_t qt;
    int qd = new_socket(AF_INET);
    const struct {
        const union address *addr;
        socklen_t size;
    } bad[] = {
        {&four, 0},
        {&four, 1},
        {&four, 2},
        {&four, sizeof(four.v4) - 1},
        {&four, sizeof(four.v4) + 1},
        {&four, UINT32_MAX},
        {&none, sizeof(none.v4)},
        {&unknown, sizeof(unknown.v4)},
        {&six, sizeof(six.v4)},
        {&six, sizeof(six.v6) - 1},
        {&six, sizeof(six.storage)},
    };

    four = with_port(&four, 7174);
    unknown.sa.sa_family = AF_UNIX;
    six.v6.sin6_family = AF_INET6;
    six.v6.sin6_port = htons(7174);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        bool ok = CHECK_ERRNO(demi_bind(qd, &bad[i].addr->sa, bad[i].size), EINVAL);

        ok = CHECK_ERRNO(demi_connect(&qt, qd, &bad[i].addr->sa, bad[i].size), EINVAL) && ok;
        if (!ok)
            printf("#   with address %zu of the table\n", i);
    }
    CHECK_OK(demi_bind(qd, &local4.sa, sizeof(local4.v4)));
    CHECK_OK(demi_close(qd));
}

static void listen_wants_a_bound_socket(void) {
    union address at;
    int qd = new_socket(AF_INET);

    CHECK_ERRNO(demi_listen(qd, 1), EDESTADDRREQ);
    CHECK_OK(demi_bind(qd, &local4.sa, sizeof(local4.v4)));
    CHECK_ERRNO(demi_listen(qd, 0), EINVAL);
    CHECK_ERRNO(demi_listen(qd, -1), EINVAL);
    CHECK_OK(demi_listen(qd, 1));
    CHECK_ERRNO(demi_listen(qd, 1), EADDRINUSE);
    CHECK_OK(demi_close(qd));

    for (int i = 0; i < 2; i++) { /* clamped */
        qd = new_listener(&local4, i ? INT32_MAX : SOMAXCONN + 1, &at);
        CHECK(qd >= 0);
        CHECK_OK(demi_close(qd));
    }
}

static void accept_wants_a_listener(void) {
    demi_qtoken_t qt = 77;
    int qd = new_socket(AF_INET);

    CHECK_ERRNO(demi_accept(&qt, qd), EINVAL);
    CHECK_OK(demi_bind(qd, &local4.sa, sizeof(local4.v4)));
    CHECK_ERRNO(demi_accept(&qt, qd), EINVAL);
    CHECK(qt == 77);
    CHECK_OK(demi_close(qd));
}

static void a_listener_does_not_connect(void) {
    union address at, other = with_port(&local4, 9);
    demi_qtoken_t qt = 77;
    int qd = new_listener(&local4, 1, &at);

    CHECK_ERRNO(demi_connect(&qt, qd, &other.sa, sizeof(other.v4)), EOPNOTSUPP);
    CHECK(qt == 77);
    CHECK_OK(demi_close(qd));
}

static void no_push_or_pop_without_a_connection(void) {
    demi_sgarray_t sga = message(8, 'x');
    union address at;
    demi_qtoken_t qt = 77;
    int fresh = new_socket(AF_INET), listener = new_listener(&local4, 1, &at);

    CHECK_ERRNO(demi_push(&qt, fresh, &sga), ENOTCONN);
    CHECK_ERRNO(demi_pop(&qt, fresh), ENOTCONN);
    CHECK_ERRNO(demi_push(&qt, listener, &sga), ENOTCONN);
    CHECK_ERRNO(demi_pop(&qt, listener), ENOTCONN);
    CHECK_ERRNO(demi_pushto(&qt, fresh, &sga, &at.sa, sizeof(at.v4)), ENOTCONN);
    CHECK(qt == 77);
    CHECK_OK(demi_sgafree(&sga));
    CHECK_OK(demi_close(fresh));
    CHECK_OK(demi_close(listener));
}

static void closing_twice_is_ebadf(void) {
    int qd = new_socket(AF_INET);

    CHECK_OK(demi_close(qd));
    CHECK_ERRNO(demi_close(qd), EBADF);
}

const struct test_case socket_cases[] = {
    {"descriptors start at 500 and are reused", descriptors_start_at_500_and_are_reused},
    {"a domain, type or protocol that is not supported answers ENOTSUP",
     what_is_not_supported_is_enotsup},
    {"every call on a bad or closed descriptor answers EBADF", a_bad_descriptor_is_ebadf},
    {"a bound or listening socket cannot be bound: EINVAL", bind_takes_a_socket_once},
    {"binding to an address in use answers EADDRINUSE and harms nothing",
     bind_to_a_taken_address_is_eaddrinuse},
    {"binding to an address of another host answers EADDRNOTAVAIL",
     bind_to_a_foreign_address_is_eaddrnotavail},
    {"an address of unknown family or wrong size answers EINVAL", a_malformed_address_is_einval},
    {"demi_listen wants a bound socket and a backlog from 1", listen_wants_a_bound_socket},
    {"demi_accept wants a listening socket: EINVAL", accept_wants_a_listener},
    {"demi_connect on a listening socket answers EOPNOTSUPP", a_listener_does_not_connect},
    {"push and pop without a connection answer ENOTCONN", no_push_or_pop_without_a_connection},
    {"closing twice answers EBADF", closing_twice_is_ebadf},
    {0},
};

/* ---- Names
 * ---------------------------------------------------------------------------------------- */

static void an_unconnected_socket_has_no_peer(void) {
    union address at, a;
    socklen_t len = sizeof(a);
    int fresh = new_socket(AF_INET), listener = new_listener(&local4, 1, &at);

    CHECK_ERRNO(demi_getpeername(fresh, &a.sa, &len), ENOTCONN);
    CHECK_ERRNO(demi_getsockname(fresh, &a.sa, &len), ENOTCONN);
    CHECK_ERRNO(demi_getpeername(listener, &a.sa, &len), ENOTCONN);
    CHECK_INT(len, sizeof(a));
    CHECK_OK(demi_close(fresh));
    CHECK_OK(demi_close(listener));
}

static void a_port_is_chosen_for_port_0(void) {
    union address at;
    int qd = new_listener(&local4, 1, &at);
    socklen_t len = sizeof(at);

    CHECK_INT(at.sa.sa_family, AF_INET);
    CHECK(at.v4.sin_addr.s_addr == local4.v4.sin_addr.s_addr);
    CHECK(port_of(&at) != 0);
    CHECK_OK(demi_close(qd));

    qd = new_socket(AF_INET); /* as soon as it is bound */
    CHECK_OK(demi_bind(qd, &local4.sa, sizeof(local4.v4)));
    memset(&at, 0, sizeof(at));
    CHECK_OK(demi_getsockname(qd, &at.sa, &len));
    CHECK_INT(len, sizeof(at.v4));
    CHECK(port_of(&at) != 0);
    CHECK_OK(demi_close(qd));
}

static void a_connection_has_names_on_both_sides(void) {
    union address client, server, a;
    socklen_t len;
    struct pair p;

    if (new_pair(&local4, &p)) {
        len = sizeof(client);
        CHECK_OK(demi_getsockname(p.client, &client.sa, &len));
        CHECK_INT(len, sizeof(client.v4));
        CHECK(client.v4.sin_addr.s_addr == local4.v4.sin_addr.s_addr && port_of(&client) != 0);
        len = sizeof(server);
        CHECK_OK(demi_getsockname(p.server, &server.sa, &len));
        CHECK(server.v4.sin_addr.s_addr == p.at.v4.sin_addr.s_addr);
        CHECK_INT(port_of(&server), port_of(&p.at));

        len = sizeof(a.v4); /* exactly enough room */
        CHECK_OK(demi_getpeername(p.client, &a.sa, &len));
        CHECK(a.sa.sa_family == AF_INET && a.v4.sin_addr.s_addr == server.v4.sin_addr.s_addr);
        CHECK_INT(port_of(&a), port_of(&server));
        len = sizeof(a);
        CHECK_OK(demi_getpeername(p.server, &a.sa, &len));
        CHECK_INT(len, sizeof(a.v4));
        CHECK_INT(port_of(&a), port_of(&client));
    }
    close_pair(&p);
}

static void too_little_room_for_a_name_is_einval(void) {
    union address a;
    socklen_t len;
    struct pair p;

    if (new_pair(&local4, &p)) {
        for (len = 0; len < sizeof(a.v4);) {
            socklen_t room = len;

            memset(&a, 0x5a, sizeof(a));
            CHECK_ERRNO(demi_getpeername(p.client, &a.sa, &len), EINVAL);
            CHECK_ERRNO(demi_getsockname(p.client, &a.sa, &len), EINVAL);
            CHECK(a.v4.sin_port == 0x5a5a); /* nothing written */
            CHECK_INT(len, room);
            len = room + 5;
        }
    }
    close_pair(&p);
}

static void the_wildcard_address_accepts_connections(void) {
    union address any = {.v4 = {.sin_family = AF_INET}}, at, target;
    demi_qtoken_t accepting = 0, connecting = 0;
    int listener = new_listener(&any, 1, &at), qd = new_socket(AF_INET);
    demi_qresult_t qr;

    CHECK(port_of(&at) != 0);
    target = with_port(&local4, port_of(&at));
    CHECK_OK(demi_accept(&accepting, listener));
    if (CHECK_OK(demi_connect(&connecting, qd, &target.sa, sizeof(target.v4))) &&
        finish(connecting, DEMI_OPC_CONNECT)) {
        qr = result_of(accepting);
        if (CHECK_INT(qr.qr_opcode, DEMI_OPC_ACCEPT)) {
            CHECK_INT(qr.qr_value.ares.addr.sin_family, AF_INET);
            CHECK(qr.qr_value.ares.addr.sin_addr.s_addr == local4.v4.sin_addr.s_addr);
            CHECK_OK(demi_close(qr.qr_value.ares.qd));
        }
    }
    CHECK_OK(demi_close(qd));
    CHECK_OK(demi_close(listener));
}

const struct test_case name_cases[] = {
    {"a socket without a connection has no peer: ENOTCONN", an_unconnected_socket_has_no_peer},
    {"demi_getsockname tells the port that was chosen for port 0", a_port_is_chosen_for_port_0},
    {"a connection has an address on both sides", a_connection_has_names_on_both_sides},
    {"too little room for an address answers EINVAL and writes nothing",
     too_little_room_for_a_name_is_einval},
    {"a listener on the wildcard address accepts", the_wildcard_address_accepts_connections},
    {0},
};

/* ---- Options
 * -------------------------------------------------------------------------------------- */

static void linger_can_be_set_and_read(void) {
    const struct linger three = {1, 3}, off = {0, 0};
    struct linger l;
    socklen_t len = sizeof(l);
    int qd = new_socket(AF_INET);

    CHECK_OK(demi_setsockopt(qd, SOL_SOCKET, SO_LINGER, &three, sizeof(three)));
    CHECK_OK(demi_getsockopt(qd, SOL_SOCKET, SO_LINGER, &l, &len));
    CHECK_INT(len, sizeof(l));
    CHECK_INT(l.l_onoff != 0, 1);
    CHECK_INT(l.l_linger, 3);
    CHECK_OK(demi_setsockopt(qd, SOL_SOCKET, SO_LINGER, &off, sizeof(off)));
    CHECK_OK(demi_getsockopt(qd, SOL_SOCKET, SO_LINGER, &l, &len));
    CHECK_INT(l.l_onoff, 0);
    CHECK_OK(demi_close(qd));
}

static void an_unknown_option_or_level_is_refused(void) {
    struct linger l = {1, 1};
    socklen_t len = sizeof(l);
    int qd = new_socket(AF_INET);

    CHECK_ERRNO(demi_setsockopt(qd, IPPROTO_IP, SO_LINGER, &l, sizeof(l)), ENOTSUP);
    CHECK_ERRNO(demi_getsockopt(qd, IPPROTO_IP, SO_LINGER, &l, &len), ENOTSUP);
    CHECK_ERRNO(demi_setsockopt(qd, -1, SO_LINGER, &l, sizeof(l)), ENOTSUP);
    CHECK_ERRNO(demi_setsockopt(qd, SOL_SOCKET, 0x7fff, &l, sizeof(l)), ENOPROTOOPT);
    CHECK_ERRNO(demi_getsockopt(qd, SOL_SOCKET, 0x7fff, &l, &len), ENOPROTOOPT);
    CHECK_ERRNO(demi_setsockopt(qd, IPPROTO_TCP, 0x7fff, &l, sizeof(l)), ENOPROTOOPT);
    CHECK_ERRNO(demi_getsockopt(qd, IPPROTO_TCP, 0x7fff, &l, &len), ENOPROTOOPT);
    CHECK_OK(demi_close(qd));
}

static void a_bad_option_length_is_einval(void) {
    struct linger l = {1, 1};
    union address at;
    socklen_t len;
    int qd = new_socket(AF_INET);

    CHECK_ERRNO(demi_setsockopt(qd, SOL_SOCKET, SO_LINGER, &l, 0), EINVAL);
    CHECK_ERRNO(demi_setsockopt(qd, SOL_SOCKET, SO_LINGER, &l, sizeof(l) - 1), EINVAL);
    CHECK_ERRNO(demi_setsockopt(qd, SOL_SOCKET, SO_LINGER, &l, sizeof(l) + 1), EINVAL);
    for (len = 0; len < sizeof(l); len += sizeof(l) - 1) {
        socklen_t room = len;

        CHECK_ERRNO(demi_getsockopt(qd, SOL_SOCKET, SO_LINGER, &l, &len), EINVAL);
        CHECK_INT(len, room);
    }
    len = sizeof(at); /* more room than that is fine, and its length is told */
    CHECK_OK(demi_getsockopt(qd, SOL_SOCKET, SO_LINGER, &at, &len));
    CHECK_INT(len, sizeof(l));
    CHECK_OK(demi_close(qd));
}

static void keepalive_can_be_set_and_read(void) {
    const struct {
        int level, name, low;
    } options[] = {{SOL_SOCKET, SO_KEEPALIVE, 0},
                   {IPPROTO_TCP, TCP_KEEPIDLE, 1},
                   {IPPROTO_TCP, TCP_KEEPINTVL, 1},
                   {IPPROTO_TCP, TCP_KEEPCNT, 1},
                   {IPPROTO_TCP, TCP_USER_TIMEOUT, 0}};
    int qd = new_socket(AF_INET);

    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
        int level = options[i].level, name = options[i].name, want = i ? 7 : 1, got = -1, bad = -1;
        socklen_t len = sizeof(got);

        CHECK_OK(demi_setsockopt(qd, level, name, &want, sizeof(want)));
        CHECK_OK(demi_getsockopt(qd, level, name, &got, &len));
        CHECK_INT(got, want);
        CHECK_INT(len, sizeof(got));
        if (i)
            CHECK_ERRNO(demi_setsockopt(qd, level, name, &bad, sizeof(bad)), EINVAL);
        bad = 0;
        CHECK_ERRNO(demi_setsockopt(qd, level, name, &bad, sizeof(bad)),
                    options[i].low ? EINVAL : 0);
    }
    CHECK_OK(demi_close(qd));
}

static void a_quiet_connection_lives(void) {
    const int two_seconds = 2000;
    struct timespec longer = milliseconds(2500);
    demi_qtoken_t pop = 0, accept = 0;
    demi_qresult_t qr;
    struct pair p;

    if (new_pair(&local4, &p)) {
        CHECK_OK(demi_accept(&accept, p.listener));
        for (int i = 0; i < 2; i++)
            CHECK_OK(demi_setsockopt(i ? p.client : p.server, IPPROTO_TCP, TCP_USER_TIMEOUT,
                                     &two_seconds, sizeof(two_seconds)));
        CHECK_OK(demi_pop(&pop, p.server));
        CHECK_ERRNO(demi_wait(&qr, pop, &longer), ETIMEDOUT); /* the call's; the pop is pending */
        finish(push_message(p.client, 64, 'q'), DEMI_OPC_PUSH);
        qr = result_of(pop);
        if (CHECK_INT(qr.qr_opcode, DEMI_OPC_POP))
            CHECK_OK(demi_sgafree(&qr.qr_value.sga));
        CHECK(is_pending(accept));
    }
    close_pair(&p);
}

const struct test_case option_cases[] = {
    {"SO_LINGER can be set and read back", linger_can_be_set_and_read},
    {"an unknown level answers ENOTSUP, an unknown name ENOPROTOOPT",
     an_unknown_option_or_level_is_refused},
    {"a bad option length answers EINVAL", a_bad_option_length_is_einval},
    {"keepalive's options can be set and read back", keepalive_can_be_set_and_read},
    {"a quiet connection lives, and its pops and accepts wait on: nothing times out",
     a_quiet_connection_lives},
    {0},
};
