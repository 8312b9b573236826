/* Each call in each state of a socket: one table, every cell on a socket of its own. */
#include "suite.h"

enum state { FRESH, BOUND, LISTENING, CONNECTING, CONNECTED, FAILED, CLOSED, NUM_STATES };

static const char *const state_names[NUM_STATES] = {
    "a fresh",  "a bound", "a listening", "a connecting", "a connected", "a failed connect's",
    "a closed",
};

/* A socket in a state, and what has to be closed with it. */
struct subject {
    int qd;
    struct pair pair;          /* CONNECTED: qd is pair.client */
    demi_qtoken_t connecting;  /* CONNECTING */
    union address listener_at; /* where somebody listens while the call is made */
};

/* ---- The calls; each answers what the API answers and leaves nothing behind ------------------ */

static int call_bind(struct subject *s) {
    return demi_bind(s->qd, &local4.sa, sizeof(local4.v4));
}

static int call_listen(struct subject *s) {
    return demi_listen(s->qd, 1);
}

static int call_accept(struct subject *s) {
    demi_qtoken_t qt;

    return demi_accept(&qt, s->qd); /* ends with the socket */
}

static int call_connect(struct subject *s) {
    demi_qtoken_t qt = 0;
    int rc = demi_connect(&qt, s->qd, &s->listener_at.sa, sizeof(s->listener_at.v4));

    if (rc == 0)
        finish(qt, DEMI_OPC_CONNECT);
    return rc;
}

static int call_push(struct subject *s) {
    demi_sgarray_t sga = message(16, 's');
    demi_qtoken_t qt = 0;
    int rc = demi_push(&qt, s->qd, &sga);

    if (rc == 0)
        finish(qt, DEMI_OPC_PUSH);
    CHECK_OK(demi_sgafree(&sga));
    return rc;
}

static int call_pushto(struct subject *s) {
    demi_sgarray_t sga = message(16, 's');
    demi_qtoken_t qt = 0;
    int rc = demi_pushto(&qt, s->qd, &sga, &s->pair.at.sa, sizeof(s->pair.at.v4));

    if (rc == 0)
        finish(qt, DEMI_OPC_PUSH);
    CHECK_OK(demi_sgafree(&sga));
    return rc;
}

static int call_pop(struct subject *s) {
    demi_qtoken_t qt;

    return demi_pop(&qt, s->qd); /* ends with the socket */
}

static int call_getpeername(struct subject *s) {
    union address a;
    socklen_t len = sizeof(a);

    return demi_getpeername(s->qd, &a.sa, &len);
}

static int call_getsockname(struct subject *s) {
    union address a;
    socklen_t len = sizeof(a);

    return demi_getsockname(s->qd, &a.sa, &len);
}

static int call_setsockopt(struct subject *s) {
    struct linger l = {1, 1};

    return demi_setsockopt(s->qd, SOL_SOCKET, SO_LINGER, &l, sizeof(l));
}

static int call_getsockopt(struct subject *s) {
    struct linger l;
    socklen_t len = sizeof(l);

    return demi_getsockopt(s->qd, SOL_SOCKET, SO_LINGER, &l, &len);
}

static int call_close(struct subject *s) {
    return demi_close(s->qd);
}

/*
 * getsockname of a connecting socket has no row of its own: its address is chosen when its
 * own address is resolved, so it has none to tell.
 */
static const struct {
    const char *name;
    int (*make)(struct subject *s);
    int want[NUM_STATES];
} calls[] = {
    /* FRESH, BOUND, LISTENING, CONNECTING, CONNECTED, FAILED, CLOSED */
    {"demi_bind", call_bind, {0, EINVAL, EINVAL, EINVAL, EISCONN, EBADF, EBADF}},
    {"demi_listen", call_listen, {EDESTADDRREQ, 0, EADDRINUSE, EADDRINUSE, EISCONN, EBADF, EBADF}},
    {"demi_accept", call_accept, {EINVAL, EINVAL, 0, EINVAL, EINVAL, EBADF, EBADF}},
    {"demi_connect", call_connect, {0, 0, EOPNOTSUPP, EINPROGRESS, EISCONN, EBADF, EBADF}},
    {"demi_push", call_push, {ENOTCONN, ENOTCONN, ENOTCONN, ENOTCONN, 0, EBADF, EBADF}},
    {"demi_pushto", call_pushto, {ENOTCONN, ENOTCONN, ENOTCONN, ENOTCONN, 0, EBADF, EBADF}},
    {"demi_pop", call_pop, {ENOTCONN, ENOTCONN, ENOTCONN, ENOTCONN, 0, EBADF, EBADF}},
    {"demi_getpeername",
     call_getpeername,
     {ENOTCONN, ENOTCONN, ENOTCONN, ENOTCONN, 0, EBADF, EBADF}},
    {"demi_getsockname", call_getsockname, {ENOTCONN, 0, 0, ENOTCONN, 0, EBADF, EBADF}},
    {"demi_setsockopt", call_setsockopt, {0, 0, 0, 0, 0, EBADF, EBADF}},
    {"demi_getsockopt", call_getsockopt, {0, 0, 0, 0, 0, EBADF, EBADF}},
    {"demi_close", call_close, {0, 0, 0, 0, 0, 0, EBADF}},
};

/* ---- The states ------------------------------------------------------------------------------ */

/* A socket whose connect to somebody who has stopped to listen has failed. */
static int failed_socket(void) {
    union address at;
    demi_qtoken_t qt = 0;
    int listener = new_listener(&local4, 1, &at), qd = new_socket(AF_INET);

    CHECK_OK(demi_close(listener));
    CHECK_OK(demi_connect(&qt, qd, &at.sa, sizeof(at.v4)));
    finish_failed(qt, ECONNREFUSED);
    return qd;
}

/* Brings a socket into a state. */
static bool enter(enum state state, struct subject *s) {
    if (state == CONNECTED) {
        if (!new_pair(&local4, &s->pair))
            return false;
        s->qd = s->pair.client;
        return true;
    }
    if (state == FAILED) {
        s->qd = failed_socket();
        return true;
    }
    s->qd = new_socket(AF_INET);
    switch (state) {
    case BOUND:
        return CHECK_OK(demi_bind(s->qd, &local4.sa, sizeof(local4.v4)));
    case LISTENING:
        return CHECK_OK(demi_bind(s->qd, &local4.sa, sizeof(local4.v4))) &&
               CHECK_OK(demi_listen(s->qd, 1));
    case CONNECTING:
        return CHECK_OK(demi_connect(&s->connecting, s->qd, &nobody4.sa, sizeof(nobody4.v4)));
    case CLOSED:
        return CHECK_OK(demi_close(s->qd));
    default:
        return true;
    }
}

/* Closes what is left; the tokens that a call made end with the socket. */
static void leave(enum state state, struct subject *s, bool closed) {
    if (!closed && state != CLOSED)
        CHECK_OK(demi_close(s->qd));
    if (state == CONNECTED) {
        CHECK_OK(demi_close(s->pair.server));
        CHECK_OK(demi_close(s->pair.listener));
    }
    if (state == CONNECTING)
        finish_failed(s->connecting, ECANCELED);
}

static void every_call_in(enum state state) {
    union address at;
    int listener = new_listener(&local4, 4, &at);

    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        struct subject s = {.listener_at = at};

        if (!enter(state, &s))
            break;
        int got = calls[i].make(&s);
        if (!CHECK_ERRNO(got, calls[i].want[state]))
            printf("#   %s on %s socket\n", calls[i].name, state_names[state]);
        leave(state, &s, calls[i].make == call_close);
    }
    CHECK_OK(demi_close(listener));
}

static void in_fresh(void) {
    every_call_in(FRESH);
}

static void in_bound(void) {
    every_call_in(BOUND);
}

static void in_listening(void) {
    every_call_in(LISTENING);
}

static void in_connecting(void) {
    if (nobody4.sa.sa_family != 0)
        every_call_in(CONNECTING);
}

static void in_connected(void) {
    every_call_in(CONNECTED);
}

static void in_failed(void) {
    every_call_in(FAILED);
}

static void in_closed(void) {
    every_call_in(CLOSED);
}

const struct test_case state_cases[] = {
    {"every call on a fresh socket answers as the table says", in_fresh},
    {"every call on a bound socket", in_bound},
    {"every call on a listening socket", in_listening},
    {"every call on a connecting socket", in_connecting},
    {"every call on a connected socket", in_connected},
    {"every call on a socket whose connect has failed", in_failed},
    {"every call on a closed descriptor", in_closed},
    {0},
};
