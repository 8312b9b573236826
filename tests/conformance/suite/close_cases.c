/* demi_close with and without operations under way, and what the peer sees of it. */
#include "suite.h"

#include <pthread.h>

/* Pops the end of the stream: one empty segment. */
static void pop_the_end(int qd) {
    demi_qtoken_t qt = 0;
    demi_qresult_t qr;

    if (!CHECK_OK(demi_pop(&qt, qd)))
        return;
    qr = result_of(qt);
    if (CHECK_INT(qr.qr_opcode, DEMI_OPC_POP)) {
        CHECK_INT(qr.qr_ret, 0);
        CHECK_INT(qr.qr_value.sga.sga_numsegs, 1);
        CHECK_INT(qr.qr_value.sga.sga_segs[0].sgaseg_len, 0);
        CHECK_OK(demi_sgafree(&qr.qr_value.sga));
    }
}

enum { PUSHED = 200 };

static void *pop_until_the_end(void *arg) {
    const int *qd = arg;

    for (int i = 0; i < PUSHED; i++)
        if (!CHECK(pop_message(*qd, 100, i)))
            break;
    pop_the_end(*qd);
    pop_the_end(*qd); /* and again */
    return NULL;
}

static void the_peer_pops_what_was_pushed_and_then_the_end(void) {
    struct pair p;
    pthread_t t;

    if (new_pair(&local4, &p) && CHECK_OK(pthread_create(&t, NULL, pop_until_the_end, &p.server))) {
        for (int i = 0; i < PUSHED; i++)
            (void)push_message(p.client, 100, i); /* not waited for */
        CHECK_OK(demi_close(p.client));
        p.client = -1;
        (void)pthread_join(t, NULL);
    }
    close_pair(&p);
}

/* As many as a fresh connection takes in while its application sleeps. */
static void what_arrived_before_the_close_can_be_popped_later(void) {
    struct pair p;

    if (new_pair(&local4, &p)) {
        for (int i = 0; i < 4; i++)
            (void)push_message(p.client, 100, i);
        CHECK_OK(demi_close(p.client));
        p.client = -1;
        for (int i = 0; i < 4; i++)
            CHECK(pop_message(p.server, 100, i));
        pop_the_end(p.server);
    }
    close_pair(&p);
}

static void a_waiting_pop_gets_the_end(void) {
    demi_qtoken_t qt = 0;
    demi_qresult_t qr;
    struct pair p;

    if (new_pair(&local4, &p)) {
        CHECK_OK(demi_pop(&qt, p.server));
        CHECK_OK(demi_close(p.client));
        p.client = -1;
        qr = result_of(qt);
        if (CHECK_INT(qr.qr_opcode, DEMI_OPC_POP)) {
            CHECK_INT(qr.qr_value.sga.sga_segs[0].sgaseg_len, 0);
            CHECK_OK(demi_sgafree(&qr.qr_value.sga));
        }
    }
    close_pair(&p);
}

static void pending_pops_end_with_ecanceled(void) {
    demi_qtoken_t qts[3] = {0};
    struct pair p;

    if (new_pair(&local4, &p)) {
        for (int i = 0; i < 3; i++)
            CHECK_OK(demi_pop(&qts[i], p.client));
        CHECK_OK(demi_close(p.client));
        CHECK_ERRNO(demi_close(p.client), EBADF);
        p.client = -1;
        for (int i = 0; i < 3; i++)
            finish_failed(qts[i], ECANCELED); /* the tokens outlive the descriptor */
    }
    close_pair(&p);
}

static void pushes_to_a_closed_peer_are_epipe(void) {
    demi_sgarray_t sga = message(64, 'e');
    demi_qtoken_t qt = 0;
    demi_qresult_t qr;
    struct pair p;
    int err;

    if (new_pair(&local4, &p)) {
        CHECK_OK(demi_close(p.client));
        p.client = -1;
        pop_the_end(p.server); /* now the close is known here */
        err = demi_push(&qt, p.server, &sga);
        if (err == 0) {
            qr = result_of(qt);
            CHECK_INT(qr.qr_opcode, DEMI_OPC_FAILED);
            err = (int)qr.qr_ret;
        }
        CHECK_ERRNO(err, EPIPE);
    }
    CHECK_OK(demi_sgafree(&sga));
    close_pair(&p);
}

static void completed_pushes_stay_waitable_after_close(void) {
    demi_qtoken_t qts[4];
    struct pair p;

    if (new_pair(&local4, &p)) {
        for (int i = 0; i < 4; i++)
            qts[i] = push_message(p.client, 64, 'w');
        CHECK_OK(demi_close(p.client));
        p.client = -1;
        for (int i = 0; i < 4; i++) {
            finish(qts[i], DEMI_OPC_PUSH);
            CHECK(pop_message(p.server, 64, 'w'));
        }
    }
    close_pair(&p);
}

static void the_linger_time_cuts_pushes_off(void) {
    enum { NUM = 4000 };
    static demi_qtoken_t qts[NUM];
    const struct linger one = {1, 1};
    struct timespec start;
    int sent = 0, cut = 0;
    struct pair p;

    if (new_pair(&local4, &p)) {
        CHECK_OK(demi_setsockopt(p.client, SOL_SOCKET, SO_LINGER, &one, sizeof(one)));
        for (int i = 0; i < NUM; i++)
            qts[i] = push_message(p.client, 1000, i); /* nobody pops */
        start = now();
        CHECK_OK(demi_close(p.client));
        CHECK(elapsed_ms(&start) >= 900 && elapsed_ms(&start) < 20000);
        p.client = -1;
        for (int i = 0; i < NUM; i++) {
            demi_qresult_t qr = result_of(qts[i]);

            if (qr.qr_opcode == DEMI_OPC_PUSH)
                sent++;
            else if (CHECK_INT(qr.qr_opcode, DEMI_OPC_FAILED) && CHECK_INT(qr.qr_ret, ECANCELED))
                cut++;
            else
                break;
        }
        CHECK_INT(sent + cut, NUM);
        CHECK(cut > 0);
    }
    close_pair(&p);
}

/* Pushes more than the peer, which pops nothing, takes in; how long demi_close then takes. */
static long close_with_pushes_stuck(const struct linger *l) {
    enum { NUM = 2000 };
    static demi_qtoken_t qts[NUM];
    struct timespec start;
    struct pair p;
    long took = -1;

    if (new_pair(&local4, &p)) {
        if (l != NULL)
            CHECK_OK(demi_setsockopt(p.client, SOL_SOCKET, SO_LINGER, l, sizeof(*l)));
        for (int i = 0; i < NUM; i++)
            qts[i] = push_message(p.client, 1000, i);
        start = now();
        CHECK_OK(demi_close(p.client)); /* 0, although pushes were cut off */
        took = elapsed_ms(&start);
        p.client = -1;
        finish_failed(qts[NUM - 1], ECANCELED);
        for (int i = 0; i < NUM - 1; i++)
            (void)result_of(qts[i]);
    }
    close_pair(&p);
    return took;
}

static void without_linger_close_waits_2_s(void) {
    long took = close_with_pushes_stuck(NULL);

    CHECK(took >= 1900 && took < 20000);
    took = close_with_pushes_stuck(&(struct linger){0, 0});
    CHECK(took >= 1900 && took < 20000);
}

static void a_linger_time_of_0_cuts_at_once(void) {
    long took = close_with_pushes_stuck(&(struct linger){1, 0});

    CHECK(took >= 0 && took < 1500);
}

/* DEMI_OPC_CLOSE exists, and no C function makes a token for it. */
static void close_makes_no_token(void) {
    demi_qresult_t qr;
    struct pair p;
    int n = -1;

    while (demi_wait_next_n(&qr, 1, &n, &no_time) == 0) /* of earlier cases */
        if (qr.qr_opcode == DEMI_OPC_POP)
            (void)demi_sgafree(&qr.qr_value.sga);
    (void)new_pair(&local4, &p);
    close_pair(&p);
    CHECK_ERRNO(demi_wait_next_n(&qr, 1, &n, &no_time), ETIMEDOUT);
    CHECK_INT(n, 0);
}

struct closer {
    int qd, err;
};

static void *close_it(void *arg) {
    struct closer *c = arg;

    c->err = demi_close(c->qd);
    return NULL;
}

static void both_sides_may_close_at_once(void) {
    for (int round = 0; round < 10; round++) {
        struct closer c;
        struct pair p;
        pthread_t t;

        if (!new_pair(&local4, &p))
            return;
        c.qd = p.server;
        (void)push_message(p.client, 64, round);
        if (!CHECK_OK(pthread_create(&t, NULL, close_it, &c)))
            return;
        CHECK_OK(demi_close(p.client));
        (void)pthread_join(t, NULL);
        CHECK_OK(c.err);
        p.client = p.server = -1;
        close_pair(&p);
    }
}

static void close_waits_for_no_application(void) {
    struct timespec start;
    struct pair p;

    if (new_pair(&local4, &p)) {
        (void)push_message(p.client, 64, 'q');
        start = now();
        CHECK_OK(demi_close(p.client)); /* the server never pops; its libOS acknowledges */
        CHECK(elapsed_ms(&start) < 1500);
        p.client = -1;
    }
    close_pair(&p);
}

static void a_port_can_be_used_again(void) {
    union address at;
    int listener = new_listener(&local4, 1, &at);

    for (int i = 0; i < 20 && listener >= 0; i++) {
        CHECK_OK(demi_close(listener));
        listener = new_listener(&at, 1, &at);
    }
    CHECK_OK(demi_close(listener));
}

const struct test_case close_cases[] = {
    {"the peer pops all that was pushed before the close, and then the end",
     the_peer_pops_what_was_pushed_and_then_the_end},
    {"what arrived before the peer's close can be popped after it",
     what_arrived_before_the_close_can_be_popped_later},
    {"a pop that waits gets the end", a_waiting_pop_gets_the_end},
    {"closing ends pending pops with ECANCELED; their tokens stay valid",
     pending_pops_end_with_ecanceled},
    {"pushes to a peer that has closed fail with EPIPE", pushes_to_a_closed_peer_are_epipe},
    {"the tokens of pushes stay valid after the close", completed_pushes_stay_waitable_after_close},
    {"pushes that the linger time cuts off end with ECANCELED", the_linger_time_cuts_pushes_off},
    {"without SO_LINGER demi_close gives up when the peer takes nothing for 2 s",
     without_linger_close_waits_2_s},
    {"a linger time of 0 cuts pushes off at once", a_linger_time_of_0_cuts_at_once},
    {"demi_close makes no token", close_makes_no_token},
    {"both sides may close at once", both_sides_may_close_at_once},
    {"demi_close does not wait for the peer's application", close_waits_for_no_application},
    {"a listener's port can be used again at once", a_port_can_be_used_again},
    {0},
};
