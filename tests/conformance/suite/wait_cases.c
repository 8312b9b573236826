/* demi_wait, demi_wait_any and demi_wait_next_n, and the life of tokens. */
#include "suite.h"

#include <pthread.h>
#include <stdlib.h>

static void what_is_no_token_is_einval(void) {
    const demi_qtoken_t bad[] = {0, UINT64_MAX, 1, 12345, UINT64_C(1) << 63, UINT64_MAX - 1};
    demi_qresult_t qr;
    int at = 77;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK_ERRNO(demi_wait(&qr, bad[i], &no_time), EINVAL);
        CHECK_ERRNO(demi_wait(&qr, bad[i], NULL), EINVAL);
        CHECK_ERRNO(demi_wait_any(&qr, &at, &bad[i], 1, NULL), EINVAL);
    }
    CHECK_INT(at, 77);
}

static void a_token_is_redeemed_once(void) {
    demi_qresult_t qr;
    demi_qtoken_t qt;
    struct pair p;
    int at;

    if (new_pair(&local4, &p)) {
        qt = push_message(p.client, 8, 'r');
        CHECK(finish(qt, DEMI_OPC_PUSH));
        CHECK_ERRNO(demi_wait(&qr, qt, NULL), EINVAL);
        CHECK_ERRNO(demi_wait_any(&qr, &at, &qt, 1, NULL), EINVAL);
        CHECK(pop_message(p.server, 8, 'r'));
    }
    close_pair(&p);
}

static void a_pending_token_survives_a_timeout(void) {
    const struct timespec bit = milliseconds(60);
    struct timespec start;
    demi_qresult_t qr;
    demi_qtoken_t qt = 0;
    struct pair p;

    if (new_pair(&local4, &p)) {
        CHECK_OK(demi_pop(&qt, p.server));
        for (int i = 0; i < 3; i++)
            CHECK(is_pending(qt));
        start = now();
        CHECK_ERRNO(demi_wait(&qr, qt, &bit), ETIMEDOUT);
        CHECK(elapsed_ms(&start) >= 59 && elapsed_ms(&start) < 5000);
        CHECK(finish(push_message(p.client, 8, 's'), DEMI_OPC_PUSH));
        qr = result_of(qt);
        if (CHECK_INT(qr.qr_opcode, DEMI_OPC_POP))
            CHECK_OK(demi_sgafree(&qr.qr_value.sga));
    }
    close_pair(&p);
}

static void a_zero_timeout_gives_the_queues_a_chance(void) {
    struct timespec start = now();
    demi_qtoken_t qt = 0;
    demi_qresult_t qr;
    struct pair p;
    int err = ETIMEDOUT;

    if (new_pair(&local4, &p)) {
        CHECK_OK(demi_pop(&qt, p.server));
        CHECK(finish(push_message(p.client, 8, 'z'), DEMI_OPC_PUSH));
        start = now();
        while (err == ETIMEDOUT && elapsed_ms(&start) < 20000)
            err = demi_wait(&qr, qt, &no_time); /* polling alone makes progress */
        if (CHECK_OK(err) && CHECK_INT(qr.qr_opcode, DEMI_OPC_POP))
            CHECK_OK(demi_sgafree(&qr.qr_value.sga));
    }
    close_pair(&p);
}

static void a_malformed_time_is_einval(void) {
    const struct timespec bad[] = {{-1, 0}, {0, -1}, {0, 1000000000}};
    demi_qtoken_t qt = 0;
    demi_qresult_t qr;
    union address at;
    int listener = new_listener(&local4, 1, &at), i, n;

    CHECK_OK(demi_accept(&qt, listener));
    for (size_t b = 0; b < sizeof(bad) / sizeof(bad[0]); b++) {
        CHECK_ERRNO(demi_wait(&qr, qt, &bad[b]), EINVAL);
        CHECK_ERRNO(demi_wait_any(&qr, &i, &qt, 1, &bad[b]), EINVAL);
        CHECK_ERRNO(demi_wait_next_n(&qr, 1, &n, &bad[b]), EINVAL);
    }
    CHECK(is_pending(qt));
    CHECK_OK(demi_close(listener));
    finish_failed(qt, ECANCELED);
}

struct sleeper {
    demi_qtoken_t qt;
    demi_qresult_t qr;
    int err;
};

static void *sleep_on_a_token(void *arg) {
    struct sleeper *s = arg;

    s->err = demi_wait(&s->qr, s->qt, NULL);
    return NULL;
}

static void null_waits_until_it_completes(void) {
    struct sleeper s = {0};
    struct timespec pause = milliseconds(200);
    struct pair p;
    pthread_t t;

    if (new_pair(&local4, &p) && CHECK_OK(demi_pop(&s.qt, p.server)) &&
        CHECK_OK(pthread_create(&t, NULL, sleep_on_a_token, &s))) {
        (void)nanosleep(&pause, NULL); /* long enough that the thread sleeps, not spins */
        CHECK(finish(push_message(p.client, 24, 'n'), DEMI_OPC_PUSH));
        (void)pthread_join(t, NULL);
        if (CHECK_OK(s.err) && CHECK_INT(s.qr.qr_opcode, DEMI_OPC_POP)) {
            CHECK_INT(s.qr.qr_value.sga.sga_segs[0].sgaseg_len, 24);
            CHECK_OK(demi_sgafree(&s.qr.qr_value.sga));
        }
    }
    close_pair(&p);
}

/* Unless the program has chosen to spin. */
static void a_waiting_thread_sleeps(void) {
    const struct timespec second = {1, 0};
    struct timespec before, after;
    const char *mode = getenv("DEMI_WAIT");
    demi_qtoken_t qt = 0;
    demi_qresult_t qr;
    union address at;
    int listener = new_listener(&local4, 1, &at);
    long used_ms;

    CHECK_OK(demi_accept(&qt, listener));
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
    CHECK_ERRNO(demi_wait(&qr, qt, &second), ETIMEDOUT);
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
    used_ms = (after.tv_sec - before.tv_sec) * 1000 + (after.tv_nsec - before.tv_nsec) / 1000000;
    if (mode == NULL || strcmp(mode, "spin") != 0)
        CHECK(used_ms < 200);
    CHECK_OK(demi_close(listener));
    finish_failed(qt, ECANCELED);
}

const struct test_case wait_cases[] = {
    {"0, UINT64_MAX and what never was a token answer EINVAL", what_is_no_token_is_einval},
    {"a token is redeemed once and is EINVAL from then on", a_token_is_redeemed_once},
    {"a pending token answers ETIMEDOUT after the time and stays valid",
     a_pending_token_survives_a_timeout},
    {"a zero timeout polls: repeated, it sees completions",
     a_zero_timeout_gives_the_queues_a_chance},
    {"a malformed timeout answers EINVAL and uses nothing up", a_malformed_time_is_einval},
    {"a NULL timeout waits until the operation completes", null_waits_until_it_completes},
    {"a thread that waits for long uses no processor time, unless DEMI_WAIT=spin",
     a_waiting_thread_sleeps},
    {0},
};

/* ---- Several ------------------------------------------------------------------------------ */

/* Three pushes of one connection that have completed, nothing redeemed. */
static bool three_complete(struct pair *p, demi_qtoken_t qts[3]) {
    if (!new_pair(&local4, p))
        return false;
    for (int i = 0; i < 3; i++)
        qts[i] = push_message(p->client, 8, 'a' + i);
    for (int i = 0; i < 3; i++)
        if (!CHECK(pop_message(p->server, 8, 'a' + i)))
            return false;
    /* the pushes completed no later than a fourth one */
    return CHECK(finish(push_message(p->client, 8, 'd'), DEMI_OPC_PUSH)) &&
           CHECK(pop_message(p->server, 8, 'd'));
}

static void the_lowest_complete_index_wins(void) {
    demi_qtoken_t qts[3], list[4], pending = 0;
    demi_qresult_t qr;
    struct pair p;
    int at = -1;

    if (three_complete(&p, qts) && CHECK_OK(demi_pop(&pending, p.server))) {
        list[0] = pending;
        list[1] = qts[2];
        list[2] = qts[0];
        list[3] = qts[1];
        for (int want = 1; want < 4; want++) {
            CHECK_OK(demi_wait_any(&qr, &at, list, 4, NULL));
            CHECK_INT(at, want);
            CHECK(qr.qr_qt == list[want]);
            CHECK_INT(qr.qr_opcode, DEMI_OPC_PUSH);
            list[want] = pending; /* the same token twice does no harm */
        }
        CHECK_ERRNO(demi_wait_any(&qr, &at, list, 4, &no_time), ETIMEDOUT);
        CHECK_OK(demi_close(p.server));
        p.server = -1;
        finish_failed(pending, ECANCELED);
    }
    close_pair(&p);
}

static void one_bad_token_spoils_the_list_and_uses_nothing_up(void) {
    demi_qtoken_t qts[3], list[3];
    demi_qresult_t qr;
    struct pair p;
    int at = 77;

    if (three_complete(&p, qts)) {
        list[0] = qts[0];
        list[1] = qts[1];
        list[2] = 0;
        CHECK_ERRNO(demi_wait_any(&qr, &at, list, 3, NULL), EINVAL);
        CHECK(finish(qts[2], DEMI_OPC_PUSH));
        list[2] = qts[2]; /* redeemed */
        CHECK_ERRNO(demi_wait_any(&qr, &at, list, 3, NULL), EINVAL);
        CHECK_ERRNO(demi_wait_any(&qr, &at, list, -1, NULL), EINVAL);
        CHECK_INT(at, 77);
        CHECK(finish(qts[0], DEMI_OPC_PUSH));
        CHECK(finish(qts[1], DEMI_OPC_PUSH));
    }
    close_pair(&p);
}

static void no_tokens_never_complete(void) {
    const struct timespec bit = milliseconds(20);
    demi_qtoken_t qts[1] = {0};
    demi_qresult_t qr;
    int at = 77;

    CHECK_ERRNO(demi_wait_any(&qr, &at, qts, 0, &no_time), ETIMEDOUT);
    CHECK_ERRNO(demi_wait_any(&qr, &at, qts, 0, &bit), ETIMEDOUT);
    CHECK_ERRNO(demi_wait_any(&qr, &at, qts, 0, NULL), EINVAL); /* would hang */
    CHECK_INT(at, 77);
}

struct other_engine {
    demi_qtoken_t qt; /* an accept of the other thread's engine */
    int err;
    pthread_barrier_t ready, done;
};

static void *own_an_engine(void *arg) {
    struct other_engine *o = arg;
    struct demi_args args = {0};
    union address at;
    int listener = -1;

    o->err = demi_init(&args);
    if (o->err == 0)
        listener = new_listener(&local4, 1, &at);
    if (listener >= 0)
        o->err = demi_accept(&o->qt, listener);
    (void)pthread_barrier_wait(&o->ready);
    (void)pthread_barrier_wait(&o->done);
    if (listener >= 0)
        CHECK_OK(demi_close(listener));
    return NULL;
}

static void tokens_of_two_engines_do_not_mix(void) {
    struct other_engine o = {0};
    demi_qtoken_t list[2] = {0, 0};
    demi_qresult_t qr;
    union address at;
    int listener = new_listener(&local4, 1, &at), i;
    pthread_t t;

    (void)pthread_barrier_init(&o.ready, NULL, 2);
    (void)pthread_barrier_init(&o.done, NULL, 2);
    if (!CHECK_OK(pthread_create(&t, NULL, own_an_engine, &o)))
        return;
    (void)pthread_barrier_wait(&o.ready);
    CHECK_OK(o.err);
    CHECK_OK(demi_accept(&list[0], listener));
    list[1] = o.qt;
    CHECK_ERRNO(demi_wait_any(&qr, &i, list, 2, &no_time), EINVAL);
    CHECK(is_pending(list[0]));
    CHECK(is_pending(list[1])); /* any thread may wait for it alone */
    (void)pthread_barrier_wait(&o.done);
    (void)pthread_join(t, NULL);
    CHECK_OK(demi_close(listener));
    finish_failed(list[0], ECANCELED);
    finish_failed(list[1], ECANCELED);
}

/* Redeems whatever earlier cases left, so that wait_next_n sees only what a case makes. */
static void drain(void) {
    demi_qresult_t qr;
    int n;

    while (demi_wait_next_n(&qr, 1, &n, &no_time) == 0 && n == 1)
        if (qr.qr_opcode == DEMI_OPC_POP)
            (void)demi_sgafree(&qr.qr_value.sga);
}

static void next_n_writes_n_and_uses_them_up(void) {
    demi_qtoken_t qts[3];
    demi_qresult_t qrs[3];
    struct pair p;
    int n = -1;

    drain();
    if (three_complete(&p, qts)) {
        CHECK_OK(demi_wait_next_n(qrs, 3, &n, NULL));
        CHECK_INT(n, 3);
        for (int i = 0; i < 3; i++) {
            CHECK_INT(qrs[i].qr_opcode, DEMI_OPC_PUSH);
            CHECK(qrs[i].qr_qt == qts[0] || qrs[i].qr_qt == qts[1] || qrs[i].qr_qt == qts[2]);
            CHECK_ERRNO(demi_wait(&qrs[0], qts[i], NULL), EINVAL);
        }
    }
    close_pair(&p);
}

static void next_n_with_too_few_times_out_and_counts(void) {
    const struct timespec bit = milliseconds(60);
    demi_qtoken_t qts[3];
    demi_qresult_t qrs[8];
    struct timespec start;
    struct pair p;
    int n = -1;

    drain();
    if (three_complete(&p, qts)) {
        start = now();
        CHECK_ERRNO(demi_wait_next_n(qrs, 8, &n, &bit), ETIMEDOUT);
        CHECK(elapsed_ms(&start) >= 59);
        CHECK_INT(n, 3);
        for (int i = 0; i < 3; i++)
            CHECK_ERRNO(demi_wait(&qrs[0], qts[i], NULL), EINVAL);
        n = -1;
        CHECK_ERRNO(demi_wait_next_n(qrs, 8, &n, &no_time), ETIMEDOUT);
        CHECK_INT(n, 0);
    }
    close_pair(&p);
}

static void next_n_with_a_zero_timeout_takes_what_is_there(void) {
    demi_qtoken_t qts[3];
    demi_qresult_t qrs[3];
    struct pair p;
    int n = -1;

    drain();
    if (three_complete(&p, qts)) {
        CHECK_OK(demi_wait_next_n(qrs, 2, &n, &no_time));
        CHECK_INT(n, 2);
        CHECK_ERRNO(demi_wait_next_n(qrs, 2, &n, &no_time), ETIMEDOUT);
        CHECK_INT(n, 1);
        CHECK_INT(qrs[0].qr_opcode, DEMI_OPC_PUSH);
    }
    close_pair(&p);
}

static void next_n_wants_a_positive_count(void) {
    demi_qresult_t qr;
    int n;

    CHECK_ERRNO(demi_wait_next_n(&qr, 0, &n, &no_time), EINVAL);
    CHECK_ERRNO(demi_wait_next_n(&qr, -1, &n, NULL), EINVAL);
}

const struct test_case wait_many_cases[] = {
    {"of several complete tokens demi_wait_any takes the lowest index",
     the_lowest_complete_index_wins},
    {"one invalid token or a negative count spoils demi_wait_any and uses nothing up",
     one_bad_token_spoils_the_list_and_uses_nothing_up},
    {"an empty list never completes", no_tokens_never_complete},
    {"tokens of two engines in one demi_wait_any answer EINVAL", tokens_of_two_engines_do_not_mix},
    {"demi_wait_next_n writes n results and uses their tokens up",
     next_n_writes_n_and_uses_them_up},
    {"demi_wait_next_n with too few waits out the time and counts what it wrote",
     next_n_with_too_few_times_out_and_counts},
    {"demi_wait_next_n with a zero timeout takes what is there",
     next_n_with_a_zero_timeout_takes_what_is_there},
    {"demi_wait_next_n wants a positive count", next_n_wants_a_positive_count},
    {0},
};

/* ---- With DEMI_MAX_TOKENS=8 ----------------------------------------------------------------- */

static void without_a_token_nothing_can_be_started(void) {
    enum { TOKENS = 8 };
    demi_qtoken_t qts[TOKENS] = {0}, more = 77;
    demi_sgarray_t sga = message(8, 'x');
    struct pair p;
    union address at;
    int listener, qd;

    if (!new_pair(&local4, &p))
        return;
    listener = new_listener(&local4, 1, &at);
    qd = new_socket(AF_INET);
    for (int i = 0; i < TOKENS; i++)
        CHECK_OK(demi_accept(&qts[i], listener));
    CHECK_ERRNO(demi_accept(&more, listener), EAGAIN);
    CHECK_ERRNO(demi_connect(&more, qd, &at.sa, sizeof(at.v4)), EAGAIN);
    CHECK_ERRNO(demi_push(&more, p.client, &sga), EAGAIN);
    CHECK_ERRNO(demi_pop(&more, p.client), EAGAIN);
    CHECK(more == 77);

    CHECK_OK(demi_close(listener));
    for (int i = 0; i < TOKENS; i++)
        finish_failed(qts[i], ECANCELED);
    CHECK(finish(push_message(p.client, 8, 't'), DEMI_OPC_PUSH)); /* and it goes on */
    CHECK(pop_message(p.server, 8, 't'));
    if (CHECK_OK(demi_connect(&more, qd, &p.at.sa, sizeof(p.at.v4)))) /* qd is unharmed */
        CHECK(finish(more, DEMI_OPC_CONNECT));
    CHECK_OK(demi_close(qd));
    CHECK_OK(demi_sgafree(&sga));
    close_pair(&p);
}

const struct test_case exhausted_cases[] = {
    {"without a token accept, connect, push and pop answer EAGAIN and nothing is lost",
     without_a_token_nothing_can_be_started},
    {0},
};
