/*
 * Whole programs, run from here: how the environment configures one, and what becomes of messages
 * when one ends without closing. They are this program again: conformance child DEED ARG...
 */
#include "suite.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LAST_WORDS = 300, LAST_SIZE = 4000 };

extern char **environ;

/* ---- Children ---------------------------------------------------------------------------------
 */

/* Connects two sockets of its own over the address and has them exchange a message. */
static int child_talks_to_itself(const char *addr) {
    union address at = {.v4 = {.sin_family = AF_INET}};
    struct pair p;
    int err = demi_init(NULL);

    if (err != 0)
        return err;
    if (inet_pton(AF_INET, addr, &at.v4.sin_addr) != 1 || !new_pair(&at, &p))
        return 255;
    if (!finish(push_message(p.client, 64, 't'), DEMI_OPC_PUSH) || !pop_message(p.server, 64, 't'))
        return 255;
    close_pair(&p);
    return 0;
}

/* Connects, pushes and returns from main: no wait for a push, no close. */
static int child_pushes_and_leaves(const char *addr, const char *port) {
    union address at = {.v4 = {.sin_family = AF_INET}};
    demi_qtoken_t qt = 0;
    int qd, err = demi_init(NULL);

    if (err != 0)
        return err;
    at = with_port(&at, (uint16_t)atoi(port));
    if (inet_pton(AF_INET, addr, &at.v4.sin_addr) != 1)
        return 255;
    qd = new_socket(AF_INET);
    if (!CHECK_OK(demi_connect(&qt, qd, &at.sa, sizeof(at.v4))) || !finish(qt, DEMI_OPC_CONNECT))
        return 255;
    for (int i = 0; i < LAST_WORDS; i++)
        (void)push_message(qd, LAST_SIZE, i);
    return 0;
}

int run_child(int argc, char *argv[]) {
    if (argc == 2 && strcmp(argv[0], "talk") == 0)
        return child_talks_to_itself(argv[1]);
    if (argc == 3 && strcmp(argv[0], "push") == 0)
        return child_pushes_and_leaves(argv[1], argv[2]);
    return 254;
}

/* A child with some variables in its environment ("NAME=VALUE", or "NAME" for none). */
struct child {
    pid_t pid;
    int output; /* what it says on stdout and stderr comes here */
};

static bool start_child(struct child *c, char *const argv[], const char *const vars[]) {
    posix_spawn_file_actions_t files;
    int fds[2], err;

    for (int i = 0; vars != NULL && vars[i] != NULL; i++) {
        char name[128];
        const char *value = strchr(vars[i], '=');

        (void)snprintf(name, sizeof(name), "%s", vars[i]);
        name[strcspn(name, "=")] = '\0';
        if (value != NULL)
            (void)setenv(name, value + 1, 1);
        else
            (void)unsetenv(name);
    }
    if (!CHECK(pipe2(fds, O_CLOEXEC) == 0))
        return false;
    (void)fflush(NULL);
    (void)posix_spawn_file_actions_init(&files);
    (void)posix_spawn_file_actions_adddup2(&files, fds[1], STDOUT_FILENO);
    (void)posix_spawn_file_actions_adddup2(&files, fds[1], STDERR_FILENO);
    err = posix_spawn(&c->pid, "/proc/self/exe", &files, NULL, argv, environ);
    (void)posix_spawn_file_actions_destroy(&files);
    (void)close(fds[1]);
    c->output = fds[0];
    for (int i = 0; vars != NULL && vars[i] != NULL; i++) {
        char name[128];

        (void)snprintf(name, sizeof(name), "%s", vars[i]);
        name[strcspn(name, "=")] = '\0';
        (void)unsetenv(name);
    }
    return CHECK_INT(err, 0);
}

/* Its exit status, -1 if it did not exit; text gets what it said. */
static int end_child(struct child *c, char *text, size_t room) {
    size_t n = 0;
    ssize_t got;
    int status = -1;

    while (n + 1 < room && (got = read(c->output, text + n, room - 1 - n)) > 0)
        n += (size_t)got;
    text[n] = '\0';
    (void)close(c->output);
    if (!CHECK(waitpid(c->pid, &status, 0) == c->pid))
        return -1;
    return CHECK(WIFEXITED(status)) ? WEXITSTATUS(status) : -1;
}

static const char *local_text(void) {
    static char text[INET_ADDRSTRLEN];

    return inet_ntop(AF_INET, &local4.v4.sin_addr, text, sizeof(text));
}

static int talk(const char *const vars[], char *text, size_t room) {
    char *argv[] = {"conformance", "child", "talk", (char *)local_text(), NULL};
    struct child c;

    return start_child(&c, argv, vars) ? end_child(&c, text, room) : -1;
}

/* ---- The environment --------------------------------------------------------------------------
 */

static void demikernels_own_variables_are_not_needed(void) {
    const char *const unset[] = {"LIBOS", "CONFIG_PATH", NULL};
    const char *const unknown[] = {"LIBOS=nonsense", "CONFIG_PATH=/nonexistent/config.yaml", NULL};
    const char *const other[] = {"LIBOS=catnip", "CONFIG_PATH=/proc/self/mem", NULL};
    const char *const *const all[] = {unset, unknown, other};
    char text[4096];

    for (int i = 0; i < 3; i++) {
        CHECK_INT(talk(all[i], text, sizeof(text)), 0);
        if (!CHECK(text[0] == '\0'))
            printf("#   %s", text);
    }
}

static void a_bad_variable_is_an_errno_and_one_line(void) {
    const char *const bad[] = {
        "DEMI_WAIT=perhaps",  "DEMI_LOG=shout",        "DEMI_CONNECT_TIMEOUT_MS=-1",
        "DEMI_MAX_TOKENS=no", "DEMI_KEEPALIVE_MS=1.5", "DEMI_MAX_MESSAGE=99999999999999999999",
        "DEMI_RECV_SIZE=0",
    };
    char text[4096], name[64];

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        const char *const vars[] = {bad[i], NULL};
        const char *line;

        CHECK_ERRNO(talk(vars, text, sizeof(text)), EINVAL);
        (void)snprintf(name, sizeof(name), "%s", bad[i]);
        name[strcspn(name, "=")] = '\0';
        line = strchr(text, '\n');
        if (!CHECK(line != NULL && line[1] == '\0') || !CHECK(strncmp(text, "catmint: ", 9) == 0) ||
            !CHECK(strstr(text, name) != NULL))
            printf("#   %s: %s\n", bad[i], text);
    }
}

const struct test_case environment_cases[] = {
    {"LIBOS and CONFIG_PATH may be unset, unknown or unreadable",
     demikernels_own_variables_are_not_needed},
    {"a bad variable is EINVAL and one line on stderr that names it",
     a_bad_variable_is_an_errno_and_one_line},
    {0},
};

/* ---- The end ----------------------------------------------------------------------------------
 */

static void what_was_pushed_before_the_return_from_main_arrives(void) {
    union address at;
    int listener = new_listener(&local4, 1, &at), server;
    char port[16], text[4096];
    demi_qtoken_t qt = 0;
    demi_qresult_t qr;
    struct child c;

    (void)snprintf(port, sizeof(port), "%d", port_of(&at));
    char *argv[] = {"conformance", "child", "push", (char *)local_text(), port, NULL};
    CHECK_OK(demi_accept(&qt, listener));
    if (!start_child(&c, argv, NULL))
        return;
    qr = result_of(qt);
    if (!CHECK_INT(qr.qr_opcode, DEMI_OPC_ACCEPT))
        return;
    server = qr.qr_value.ares.qd;
    for (int i = 0; i < LAST_WORDS; i++)
        if (!CHECK(pop_message(server, LAST_SIZE, i)))
            break;
    CHECK(pop_message(server, 0, 0)); /* the end, as of a program that closed */
    CHECK_INT(end_child(&c, text, sizeof(text)), 0);
    if (!CHECK(text[0] == '\0'))
        printf("#   %s", text);
    CHECK_OK(demi_close(server));
    CHECK_OK(demi_close(listener));
}

const struct test_case leaving_cases[] = {
    {"a program that returns from main without closing loses nothing that it pushed",
     what_was_pushed_before_the_return_from_main_arrives},
    {0},
};
