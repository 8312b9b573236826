/* Several threads: on one engine, and with engines of their own. */
#include "suite.h"

#include <pthread.h>
#include <stdatomic.h>

#define ROUNDS 200

struct side {
    int qd;
    bool starts, own_engine;
    union address at;
    pthread_barrier_t *ready;
    int rounds; /* that went well */
};

static bool throw_and_catch(int qd, bool throw_first, int round) {
    if (throw_first)
        return finish(push_message(qd, 48, round), DEMI_OPC_PUSH) && pop_message(qd, 48, round);
    return pop_message(qd, 48, round) && finish(push_message(qd, 48, round), DEMI_OPC_PUSH);
}

static void *play(void *arg) {
    struct side *s = arg;

    while (s->rounds < ROUNDS && throw_and_catch(s->qd, s->starts, s->rounds))
        s->rounds++;
    return NULL;
}

static void two_threads_share_an_engine(void) {
    struct side a = {.starts = true}, b = {.starts = false};
    struct pair p;
    pthread_t t;

    if (new_pair(&local4, &p)) {
        a.qd = p.client;
        b.qd = p.server;
        if (CHECK_OK(pthread_create(&t, NULL, play, &b))) {
            (void)play(&a);
            (void)pthread_join(t, NULL);
        }
        CHECK_INT(a.rounds, ROUNDS);
        CHECK_INT(b.rounds, ROUNDS);
    }
    close_pair(&p);
}

static void *serve_with_own_engine(void *arg) {
    struct side *s = arg;
    struct demi_args args = {0};
    demi_qtoken_t qt = 0;
    demi_qresult_t qr;
    int listener = -1;

    if (CHECK_OK(demi_init(&args)))
        listener = new_listener(&local4, 1, &s->at);
    (void)pthread_barrier_wait(s->ready);
    if (listener < 0 || !CHECK_OK(demi_accept(&qt, listener)))
        return NULL;
    qr = result_of(qt);
    if (CHECK_INT(qr.qr_opcode, DEMI_OPC_ACCEPT)) {
        s->qd = qr.qr_value.ares.qd;
        (void)play(s);
        CHECK_OK(demi_close(s->qd));
    }
    CHECK_OK(demi_close(listener));
    return NULL;
}

static void two_engines_talk(void) {
    pthread_barrier_t ready;
    struct side a = {.starts = true}, b = {.starts = false, .ready = &ready};
    demi_qtoken_t qt = 0;
    pthread_t t;

    (void)pthread_barrier_init(&ready, NULL, 2);
    if (!CHECK_OK(pthread_create(&t, NULL, serve_with_own_engine, &b)))
        return;
    (void)pthread_barrier_wait(&ready);
    a.qd = new_socket(AF_INET);
    if (CHECK_OK(demi_connect(&qt, a.qd, &b.at.sa, sizeof(b.at.v4))) &&
        finish(qt, DEMI_OPC_CONNECT))
        (void)play(&a);
    (void)pthread_join(t, NULL);
    CHECK_INT(a.rounds, ROUNDS);
    CHECK_INT(b.rounds, ROUNDS);
    CHECK_OK(demi_close(a.qd));
}

/* Four connections, eight threads, one engine: sleepers, one leader, hand-overs. */
static void eight_threads_share_an_engine(void) {
    enum { PAIRS = 4 };
    struct side sides[2 * PAIRS] = {{0}};
    struct pair pairs[PAIRS];
    pthread_t threads[2 * PAIRS];

    for (int i = 0; i < PAIRS; i++) {
        if (!new_pair(&local4, &pairs[i]))
            return;
        sides[2 * i] = (struct side){.qd = pairs[i].client, .starts = true};
        sides[2 * i + 1] = (struct side){.qd = pairs[i].server};
    }
    for (int i = 0; i < 2 * PAIRS; i++)
        if (!CHECK_OK(pthread_create(&threads[i], NULL, play, &sides[i])))
            return;
    for (int i = 0; i < 2 * PAIRS; i++) {
        (void)pthread_join(threads[i], NULL);
        CHECK_INT(sides[i].rounds, ROUNDS);
    }
    for (int i = 0; i < PAIRS; i++)
        close_pair(&pairs[i]);
}

/* A thread with its own engine: next_n sees its own completions, not the first engine's. */
static void *next_n_of_my_own(void *arg) {
    int *answers = arg;
    struct demi_args args = {0};
    demi_qtoken_t qt = 0;
    demi_qresult_t qr;
    union address at;
    int listener, n = -1;

    if (!CHECK_OK(demi_init(&args)))
        return NULL;
    answers[0] = demi_wait_next_n(&qr, 1, &n, &no_time);
    listener = new_listener(&local4, 1, &at);
    CHECK_OK(demi_accept(&qt, listener));
    CHECK_OK(demi_close(listener));
    answers[1] = demi_wait_next_n(&qr, 1, &n, NULL);
    CHECK(qr.qr_qt == qt);
    CHECK_INT(qr.qr_opcode, DEMI_OPC_FAILED);
    CHECK_INT(qr.qr_ret, ECANCELED);
    return NULL;
}

static void next_n_serves_the_calling_thread(void) {
    int answers[2] = {-1, -1};
    demi_qtoken_t mine = 0;
    union address at;
    int listener = new_listener(&local4, 1, &at);
    pthread_t t;

    CHECK_OK(demi_accept(&mine, listener));
    CHECK_OK(demi_close(listener)); /* mine is complete */
    if (CHECK_OK(pthread_create(&t, NULL, next_n_of_my_own, answers)))
        (void)pthread_join(t, NULL);
    CHECK_ERRNO(answers[0], ETIMEDOUT);
    CHECK_OK(answers[1]);
    finish_failed(mine, ECANCELED);
}

struct waiter {
    demi_qtoken_t qt;
    bool ok;
};

static void *wait_for_connect(void *arg) {
    struct waiter *w = arg;

    w->ok = finish(w->qt, DEMI_OPC_CONNECT);
    return NULL;
}

/* Connects complete, from the control plane, while other threads sleep on their tokens. */
static void sleepers_see_connects_complete(void) {
    enum { NUM = 8 };
    struct waiter w[NUM] = {{0}};
    demi_qtoken_t accepting[NUM] = {0};
    union address at;
    pthread_t threads[NUM];
    int listener = new_listener(&local4, NUM, &at), qds[NUM];

    for (int i = 0; i < NUM; i++) {
        qds[i] = new_socket(AF_INET);
        CHECK_OK(demi_accept(&accepting[i], listener));
        if (!CHECK_OK(demi_connect(&w[i].qt, qds[i], &at.sa, sizeof(at.v4))) ||
            !CHECK_OK(pthread_create(&threads[i], NULL, wait_for_connect, &w[i])))
            return;
    }
    for (int i = 0; i < NUM; i++) {
        demi_qresult_t qr = result_of(accepting[i]);

        (void)pthread_join(threads[i], NULL);
        CHECK(w[i].ok);
        if (CHECK_INT(qr.qr_opcode, DEMI_OPC_ACCEPT))
            CHECK_OK(demi_close(qr.qr_value.ares.qd));
        CHECK_OK(demi_close(qds[i]));
    }
    CHECK_OK(demi_close(listener));
}

static void *sleep_on_accept(void *arg) {
    struct waiter *w = arg;
    demi_qresult_t qr;

    w->ok = demi_wait(&qr, w->qt, NULL) == 0 && qr.qr_opcode == DEMI_OPC_FAILED &&
            qr.qr_ret == ECANCELED;
    return NULL;
}

static void close_wakes_a_sleeper_in_another_thread(void) {
    struct timespec pause = milliseconds(100);
    struct waiter w = {0};
    union address at;
    int listener = new_listener(&local4, 1, &at);
    pthread_t t;

    CHECK_OK(demi_accept(&w.qt, listener));
    if (!CHECK_OK(pthread_create(&t, NULL, sleep_on_accept, &w)))
        return;
    (void)nanosleep(&pause, NULL);
    CHECK_OK(demi_close(listener));
    (void)pthread_join(t, NULL);
    CHECK(w.ok);
}

const struct test_case thread_cases[] = {
    {"two threads play on one engine without a lost wake-up", two_threads_share_an_engine},
    {"eight threads on one engine: none sleeps through its completion",
     eight_threads_share_an_engine},
    {"two threads with engines of their own talk", two_engines_talk},
    {"demi_wait_next_n serves the calling thread's engine", next_n_serves_the_calling_thread},
    {"threads that sleep see their connects complete", sleepers_see_connects_complete},
    {"closing wakes a thread that sleeps on the token", close_wakes_a_sleeper_in_another_thread},
    {0},
};
