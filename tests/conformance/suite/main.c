/*
 * The conformance suite: the Demikernel API, call by call and state by state, against
 * libdemikernel.so.1 as a user links it.
 *
 *     conformance before-init          what every call answers before demi_init
 *     conformance fork-uninitialised   and in a forked child, the parent not initialised
 *     conformance list                 the groups that `run` runs by default
 *     conformance cases                every case there is, as `group: what it says`
 *     conformance run ADDR [ADDR6 [NOBODY]] [-- GROUP...]
 *
 * ADDR and ADDR6 are the address of an RDMA device ("" for none), NOBODY an address in ADDR's
 * network that no host has. Two groups run by name only: exhausted wants DEMI_MAX_TOKENS=8 in the
 * environment, and leaving a device that other processes reach, too. Prints one line a case, `ok`
 * or `not ok`, and at the end `N passed, N failed`; succeeds if none failed.
 */
#include "suite.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* No case takes longer than this many seconds, even on an emulated machine. */
#define CASE_LIMIT 90

union address local4, local6, nobody4;

static const struct {
    const char *name;
    const struct test_case *cases;
    bool only_if_named; /* needs an environment of its own */
} groups[] = {
    {"first", first_cases, false},
    {"abi", abi_cases, false},
    {"init", init_cases, false},
    {"null", null_cases, false},
    {"socket", socket_cases, false},
    {"name", name_cases, false},
    {"option", option_cases, false},
    {"connect", connect_cases, false},
    {"memory", memory_cases, false},
    {"wait", wait_cases, false},
    {"wait-many", wait_many_cases, false},
    {"data", data_cases, false},
    {"close", close_cases, false},
    {"thread", thread_cases, false},
    {"ipv6", ipv6_cases, false},
    {"unreachable", unreachable_cases, false},
    {"state", state_cases, false},
    {"fork", fork_cases, false},
    {"environment", environment_cases, false},
    {"exhausted", exhausted_cases, true},
    {"leaving", leaving_cases, true},
};

#define NUM_GROUPS (sizeof(groups) / sizeof(groups[0]))

static const char *current = "";
static bool current_failed;
static int passed, failed;

bool check(bool ok, const char *file, int line, const char *what) {
    if (!ok) {
        printf("#   %s:%d: not so: %s\n", file, line, what);
        current_failed = true;
    }
    return ok;
}

bool check_int(long long got, long long want, const char *file, int line, const char *what) {
    if (got != want) {
        printf("#   %s:%d: %s is %lld, want %lld\n", file, line, what, got, want);
        current_failed = true;
    }
    return got == want;
}

static const char *errno_text(int e) {
    return e == 0 ? "0" : strerrorname_np(e);
}

bool check_errno(int got, int want, const char *file, int line, const char *what) {
    if (got != want) {
        printf("#   %s:%d: %s answers %s (%d), want %s\n", file, line, what, errno_text(got), got,
               errno_text(want));
        current_failed = true;
    }
    return got == want;
}

static void too_long(int sig) {
    static const char text[] = "not ok: a case takes too long: ";

    (void)sig;
    (void)!write(STDOUT_FILENO, text, sizeof(text) - 1);
    (void)!write(STDOUT_FILENO, current, strlen(current));
    (void)!write(STDOUT_FILENO, "\n", 1);
    _exit(3);
}

static void run_cases(const char *group, const struct test_case *cases) {
    for (; cases->says != NULL; cases++) {
        struct timespec start = now();

        current = cases->says;
        current_failed = false;
        (void)alarm(CASE_LIMIT);
        cases->run();
        (void)alarm(0);
        printf("%s %s: %s (%ld ms)\n", current_failed ? "not ok" : "ok", group, cases->says,
               elapsed_ms(&start));
        if (current_failed)
            failed++;
        else
            passed++;
    }
}

static int summary(void) {
    printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 && passed > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void read_address(const char *text, union address *out) {
    char host[64];
    char *zone;

    if (*text == '\0')
        return;
    if (inet_pton(AF_INET, text, &out->v4.sin_addr) == 1) {
        out->v4.sin_family = AF_INET;
        return;
    }
    (void)snprintf(host, sizeof(host), "%s", text);
    zone = strchr(host, '%');
    if (zone != NULL) {
        *zone++ = '\0';
        out->v6.sin6_scope_id = if_nametoindex(zone);
    }
    if (inet_pton(AF_INET6, host, &out->v6.sin6_addr) != 1) {
        fprintf(stderr, "conformance: '%s' is not an address\n", text);
        exit(2);
    }
    out->v6.sin6_family = AF_INET6;
}

static void list_cases(const char *group, const struct test_case *cases) {
    for (; cases->says != NULL; cases++)
        printf("%s: %s\n", group, cases->says);
}

static int list_all_cases(void) {
    list_cases("before-init", before_init_cases);
    for (size_t g = 0; g < NUM_GROUPS; g++)
        list_cases(groups[g].name, groups[g].cases);
    return EXIT_SUCCESS;
}

static int run(int argc, char *argv[]) {
    union address *const to[] = {&local4, &local6, &nobody4};
    int i, err;

    for (i = 0; i < argc && i < 3 && strcmp(argv[i], "--") != 0; i++)
        read_address(argv[i], to[i]);
    if (local4.sa.sa_family != AF_INET || (i < argc && strcmp(argv[i], "--") != 0)) {
        fprintf(stderr, "usage: conformance run ADDR [ADDR6 [NOBODY]] [-- GROUP...]\n");
        return 2;
    }
    if (nobody4.sa.sa_family != 0)
        nobody4 = with_port(&nobody4, 7174);
    if (i < argc)
        i++;
    err = demi_init(&(struct demi_args){.argc = argc, .argv = argv});
    if (err != 0) {
        fprintf(stderr, "conformance: demi_init: %s\n", strerror(err));
        return EXIT_FAILURE;
    }
    for (size_t g = 0; g < NUM_GROUPS; g++) {
        bool wanted = i >= argc && !groups[g].only_if_named;

        for (int j = i; j < argc; j++)
            wanted = wanted || strcmp(argv[j], groups[g].name) == 0;
        if (wanted)
            run_cases(groups[g].name, groups[g].cases);
    }
    return summary();
}

int main(int argc, char *argv[]) {
    struct sigaction on_alarm = {.sa_handler = too_long};

    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    (void)sigaction(SIGALRM, &on_alarm, NULL);
    if (argc >= 3 && strcmp(argv[1], "run") == 0)
        return run(argc - 2, argv + 2);
    if (argc >= 3 && strcmp(argv[1], "child") == 0)
        return run_child(argc - 2, argv + 2);
    if (argc == 2 && strcmp(argv[1], "cases") == 0)
        return list_all_cases();
    if (argc == 2 && strcmp(argv[1], "list") == 0) {
        for (size_t g = 0; g < NUM_GROUPS; g++)
            if (!groups[g].only_if_named)
                printf("%s\n", groups[g].name);
        return EXIT_SUCCESS;
    }
    if (argc == 2 && strcmp(argv[1], "before-init") == 0)
        run_cases("before-init", before_init_cases);
    else if (argc == 2 && strcmp(argv[1], "fork-uninitialised") == 0)
        run_cases("fork", fork_cases);
    else {
        fprintf(stderr,
                "usage: conformance before-init | fork-uninitialised | list | cases | run ...\n");
        return 2;
    }
    return summary();
}
