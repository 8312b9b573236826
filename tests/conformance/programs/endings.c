/*
 * How programs end, and what else programs do to the library's threads, with a connection alive,
 * operations under way in other threads and waits asleep. The argument names the deed; the exit
 * status, or the signal, is what it would be without the library.
 *
 *     endings ADDR DEED
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/wait.h>

#include "common.h"

static struct pair quiet, busy; /* of the first, pops never complete */
static atomic_bool stop;
static volatile sig_atomic_t signalled;

/* Messages both ways, over and over, until an operation fails, as it does when all is closed. */
static void *traffic(void *arg) {
    (void)arg;
    while (!stop) {
        demi_qtoken_t push, pop;
        demi_qresult_t qr;

        if (push_byte(busy.client, &push) != 0 || demi_pop(&pop, busy.server) != 0)
            return NULL;
        if (demi_wait(&qr, push, &limit) != 0 || qr.qr_opcode == DEMI_OPC_FAILED)
            return NULL;
        if (demi_wait(&qr, pop, &limit) != 0 || qr.qr_opcode == DEMI_OPC_FAILED)
            return NULL;
        (void)demi_sgafree(&qr.qr_value.sga);
        pthread_testcancel(); /* where nothing has to be waited for, no wait sleeps */
    }
    return NULL;
}

/* Sleeps in demi_wait; *arg is the token. */
static void *sleeper(void *arg) {
    demi_qresult_t qr;

    (void)demi_wait(&qr, *(demi_qtoken_t *)arg, NULL);
    return NULL;
}

static pthread_t start(void *(*f)(void *), void *arg) {
    pthread_t t;

    if (pthread_create(&t, NULL, f, arg) != 0)
        FAIL("no thread");
    return t;
}

/* Waits until something else than this thread has run for a while: threads are asleep. */
static void settle(void) {
    (void)usleep(100000);
}

static demi_qtoken_t pop_quiet(int qd) {
    demi_qtoken_t qt;

    MUST("demi_pop", demi_pop(&qt, qd), 0);
    return qt;
}

/* Has a thread in every kind of call. */
static void set_the_stage(void) {
    static demi_qtoken_t tokens[3];

    tokens[0] = pop_quiet(quiet.client);
    tokens[1] = pop_quiet(quiet.server);
    MUST("demi_accept", demi_accept(&tokens[2], quiet.listener), 0);
    for (int i = 0; i < 3; i++)
        (void)pthread_detach(start(sleeper, &tokens[i]));
    (void)pthread_detach(start(traffic, NULL));
    settle();
}

/* ---- Ends ------------------------------------------------------------------------------- */

static void *exit_in_thread(void *arg) {
    (void)arg;
    exit(7);
}

static void note_signal(int sig) {
    signalled = sig;
}

static void exit_in_handler(int sig) {
    (void)sig;
    exit(7);
}

static void die_of(int sig) {
    (void)kill(getpid(), sig);
    for (;;)
        (void)pause();
}

/* Sleeps in demi_wait until a handler has run, which does not end the wait. */
static void wait_for_signal(void) {
    demi_qtoken_t qt = pop_quiet(quiet.client);
    const struct timespec while_ = {0, 20000000};
    demi_qresult_t qr;

    (void)kill(getpid(), SIGTERM);
    while (!signalled)
        MUST("demi_wait", demi_wait(&qr, qt, &while_), ETIMEDOUT);
}

/* ---- Children ----------------------------------------------------------------------------- */

static void child(bool exec) {
    int status = 0;
    pid_t pid = fork();

    if (pid == 0) {
        (void)alarm(30);
        if (exec)
            (void)execl("/bin/true", "true", (char *)NULL);
        _exit(0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
        FAIL("the child ended with %d", status);
    ping(&quiet);
}

/* ---- Threads ------------------------------------------------------------------------------- */

static pthread_t first;
static demi_qtoken_t awaited;

/* Goes on when the thread that called demi_init is no more. */
static void *survivor(void *arg) {
    demi_qtoken_t qt;

    (void)arg;
    (void)pthread_join(first, NULL);
    MUST("demi_push", push_byte(quiet.server, &qt), 0);
    (void)success(qt);
    (void)success(awaited); /* by then a message is there */
    ping(&quiet);
    MUST("demi_close", demi_close(quiet.client), 0);
    exit(7);
}

/* Cancels one sleeper after the other: the first is the leader, and the last one wakes. */
static void cancel_sleepers(void) {
    demi_qtoken_t tokens[4];
    pthread_t threads[4];
    demi_qtoken_t qt;

    for (int i = 0; i < 4; i++) {
        tokens[i] = pop_quiet(quiet.server);
        threads[i] = start(sleeper, &tokens[i]);
    }
    settle();
    for (int i = 0; i < 3; i++) {
        void *how = NULL;

        if (pthread_cancel(threads[i]) != 0 || pthread_join(threads[i], &how) != 0 ||
            how != PTHREAD_CANCELED)
            FAIL("thread %d was not cancelled", i);
    }
    for (int i = 0; i < 4; i++) {
        MUST("demi_push", push_byte(quiet.client, &qt), 0);
        (void)success(qt);
    }
    (void)pthread_join(threads[3], NULL);
    for (int i = 0; i < 3; i++) {
        demi_qresult_t qr = success(tokens[i]); /* the tokens are nobody's and still good */

        (void)demi_sgafree(&qr.qr_value.sga);
    }
}

/* Cancelled while it works: the library is left whole wherever that strikes. */
static void cancel_workers(void) {
    for (int i = 0; i < 40; i++) {
        pthread_t t = start(traffic, NULL);

        (void)usleep((useconds_t)(i * 97));
        (void)pthread_cancel(t);
        (void)pthread_join(t, NULL);
        ping(&quiet);
    }
}

int main(int argc, char *argv[]) {
    if (argc != 3)
        FAIL("usage: endings ADDR DEED");
    const char *deed = argv[2];
    if (strcmp(deed, "sigint") == 0) {
        struct sigaction act;

        /* A shell lets what it runs in the background ignore it. */
        if (sigaction(SIGINT, NULL, &act) == 0 && act.sa_handler == SIG_IGN)
            (void)signal(SIGINT, SIG_DFL);
    }
    (void)alarm(120);
    MUST("demi_init", demi_init(NULL), 0);
    quiet = new_pair(argv[1]);
    busy = new_pair(argv[1]);

    if (strcmp(deed, "fork-exec") == 0 || strcmp(deed, "fork-exit") == 0) {
        pthread_t t = start(traffic, NULL);
        for (int i = 0; i < 3; i++)
            child(strcmp(deed, "fork-exec") == 0);
        stop = true;
        (void)pthread_join(t, NULL);
        return 7;
    }
    if (strcmp(deed, "init-thread-exit") == 0) {
        static demi_qtoken_t never;

        first = pthread_self();
        awaited = pop_quiet(quiet.client);
        MUST("demi_accept", demi_accept(&never, quiet.listener), 0);
        (void)pthread_detach(start(sleeper, &never));
        (void)pthread_detach(start(survivor, NULL));
        settle();
        pthread_exit(NULL);
    }
    if (strcmp(deed, "cancel-sleepers") == 0) {
        cancel_sleepers();
        ping(&quiet);
        return 7;
    }
    if (strcmp(deed, "cancel-workers") == 0) {
        cancel_workers();
        return 7;
    }

    if (strcmp(deed, "handler") == 0)
        (void)signal(SIGTERM, note_signal);
    else if (strcmp(deed, "handler-exit") == 0)
        (void)signal(SIGTERM, exit_in_handler);
    if (strcmp(deed, "handler") == 0) {
        wait_for_signal();
        MUST("demi_close", demi_close(quiet.client), 0);
        return 7;
    }
    set_the_stage();
    if (strcmp(deed, "return") == 0)
        return 7;
    if (strcmp(deed, "exit") == 0)
        exit(7);
    if (strcmp(deed, "thread-exit") == 0)
        (void)pthread_join(start(exit_in_thread, NULL), NULL);
    if (strcmp(deed, "_exit") == 0)
        _exit(7);
    if (strcmp(deed, "sigterm") == 0 || strcmp(deed, "handler-exit") == 0)
        die_of(SIGTERM);
    if (strcmp(deed, "sigint") == 0)
        die_of(SIGINT);
    FAIL("no such deed: %s", deed);
}
