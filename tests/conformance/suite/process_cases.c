/* The process: before demi_init, demi_init itself, and forked children. */
#include "every_call.h"
#include "suite.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- Before demi_init ----------------------------------------------------------------------- */

static void every_call_is_enosys(void) {
    for (const struct call *c = every_call; c->name != NULL; c++) {
        int err = c->make(500);

        if (!CHECK_ERRNO(err, ENOSYS))
            printf("#   in %s\n", c->name);
    }
}

const struct test_case before_init_cases[] = {
    {"every call answers ENOSYS before the first demi_init", every_call_is_enosys},
    {0},
};

/* ---- demi_init ------------------------------------------------------------------------------ */

static void a_second_time_is_eexist(void) {
    struct demi_args args = {0};

    CHECK_ERRNO(demi_init(&args), EEXIST);
    CHECK_ERRNO(demi_init(NULL), EEXIST);
}

static void *init_twice(void *arg) {
    char name[] = "program", option[] = "--catmint";
    char *argv[] = {name, option, NULL};
    struct demi_args args = {.argc = 2, .argv = argv};
    int *answers = arg;

    answers[0] = demi_init(&args);
    answers[1] = demi_init(&args);
    return NULL;
}

static void each_thread_may_once(void) {
    int answers[2] = {-1, -1};
    pthread_t t;

    if (!CHECK_OK(pthread_create(&t, NULL, init_twice, answers)))
        return;
    (void)pthread_join(t, NULL);
    CHECK_OK(answers[0]);
    CHECK_ERRNO(answers[1], EEXIST);
}

static void *init_with_null(void *arg) {
    int *answer = arg;

    *answer = demi_init(NULL);
    return NULL;
}

static void null_arguments_are_accepted(void) {
    int answer = -1;
    pthread_t t;

    if (!CHECK_OK(pthread_create(&t, NULL, init_with_null, &answer)))
        return;
    (void)pthread_join(t, NULL);
    CHECK_OK(answer);
}

static void never_called(const char *name, uint32_t samples, uint64_t value) {
    (void)name;
    (void)samples;
    (void)value;
}

struct initialiser {
    const struct demi_args *args;
    int answer;
};

static void *init_with_what_is_given(void *arg) {
    struct initialiser *i = arg;

    i->answer = demi_init(i->args);
    return NULL;
}

/* A count without arguments, a negative one, and a callback. */
static void any_arguments_are_accepted(void) {
    char *argv[] = {NULL};
    const struct demi_args all[] = {
        {.argc = 5, .argv = NULL},
        {.argc = -1, .argv = argv},
        {.argc = 0, .argv = argv, .callback = never_called},
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        struct initialiser given = {&all[i], -1};
        pthread_t t;

        if (!CHECK_OK(pthread_create(&t, NULL, init_with_what_is_given, &given)))
            return;
        (void)pthread_join(t, NULL);
        CHECK_OK(given.answer);
    }
}

static void *open_a_socket(void *arg) {
    int *answer = arg;
    int qd = -1;

    *answer = demi_socket(&qd, AF_INET, SOCK_STREAM, 0);
    if (*answer == 0)
        *answer = demi_close(qd);
    return NULL;
}

static void a_thread_without_init_uses_the_first_engine(void) {
    int answer = -1;
    pthread_t t;

    if (!CHECK_OK(pthread_create(&t, NULL, open_a_socket, &answer)))
        return;
    (void)pthread_join(t, NULL);
    CHECK_OK(answer);
}

const struct test_case init_cases[] = {
    {"demi_init a second time in a thread answers EEXIST", a_second_time_is_eexist},
    {"each thread may call demi_init once, with any arguments", each_thread_may_once},
    {"demi_init accepts NULL arguments", null_arguments_are_accepted},
    {"demi_init accepts any argc and argv, with a callback or without", any_arguments_are_accepted},
    {"a thread that did not call demi_init works on the first one's queues",
     a_thread_without_init_uses_the_first_engine},
    {0},
};

/* ---- Forked children ------------------------------------------------------------------------ */

/* The number of calls that do not answer ENOSYS. */
static int calls_that_work(void) {
    struct demi_args args = {0};
    int n = demi_init(&args) == ENOSYS ? 0 : 1;

    for (const struct call *c = every_call; c->name != NULL; c++)
        n += c->make(500) == ENOSYS ? 0 : 1;
    return n;
}

/* Forks; the child calls everything and ends with exit, so that exit handlers run in it. */
static void a_child_gets_enosys(void) {
    int status = -1;
    pid_t child;

    (void)fflush(NULL);
    child = fork();
    if (child == 0) {
        (void)alarm(20); /* a call that waits for Go's threads would hang */
        (void)!freopen("/dev/null", "w", stderr);
        exit(calls_that_work());
    }
    if (!CHECK(child > 0) || !CHECK(waitpid(child, &status, 0) == child))
        return;
    CHECK(WIFEXITED(status));
    CHECK_INT(WIFEXITED(status) ? WEXITSTATUS(status) : -1, 0);
    if (WIFSIGNALED(status))
        printf("#   the child died of signal %d\n", WTERMSIG(status));
}

static void *fork_in_a_thread(void *arg) {
    (void)arg;
    a_child_gets_enosys();
    return NULL;
}

static void a_child_of_another_thread_too(void) {
    pthread_t t;

    if (CHECK_OK(pthread_create(&t, NULL, fork_in_a_thread, NULL)))
        (void)pthread_join(t, NULL);
}

static void a_child_may_exec(void) {
    int status = -1;
    pid_t child;

    (void)fflush(NULL);
    child = fork();
    if (child == 0) {
        (void)execl("/bin/true", "true", (char *)NULL);
        _exit(127);
    }
    if (CHECK(child > 0) && CHECK(waitpid(child, &status, 0) == child))
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

/* A connection that exists when its process forks stays the parent's alone. */
static void the_parent_goes_on(void) {
    struct pair p;

    if (local4.sa.sa_family == 0) /* the parent has not called demi_init */
        return;
    if (new_pair(&local4, &p)) {
        a_child_gets_enosys();
        CHECK(finish(push_message(p.client, 64, 'f'), DEMI_OPC_PUSH));
        CHECK(pop_message(p.server, 64, 'f'));
    }
    close_pair(&p);
}

const struct test_case fork_cases[] = {
    {"in a forked child every call answers ENOSYS, and exit does not hang", a_child_gets_enosys},
    {"so it is in the child of another thread", a_child_of_another_thread_too},
    {"a forked child may exec", a_child_may_exec},
    {"the parent's connections outlive a child that exits", the_parent_goes_on},
    {0},
};
