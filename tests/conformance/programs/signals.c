/*
 * What signals do to a program that has loaded the library. The argument names the deed; the
 * program tells by its end, or by what it prints, whether it was as without the library.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <demi/libos.h>

static volatile sig_atomic_t caught;

static void catch_it(int sig) {
    caught = sig;
}

static int signal_of(const char *name) {
    static const struct {
        const char *name;
        int sig;
    } all[] = {{"INT", SIGINT},   {"TERM", SIGTERM}, {"HUP", SIGHUP},   {"QUIT", SIGQUIT},
               {"PIPE", SIGPIPE}, {"USR1", SIGUSR1}, {"ALRM", SIGALRM}, {"SEGV", SIGSEGV},
               {"CHLD", SIGCHLD}, {"ABRT", SIGABRT}};

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (strcmp(name, all[i].name) == 0)
            return all[i].sig;
    return 0;
}

/* Writes to a pipe that nobody reads: SIGPIPE, or EPIPE if that is ignored. */
static int write_to_nobody(void) {
    int fds[2];

    if (pipe(fds) != 0)
        return 0;
    (void)close(fds[0]);
    return write(fds[1], "x", 1) < 0 ? errno : 0;
}

static int bad_pointer(void) {
    int *volatile nowhere = (int *)8;

    return *nowhere;
}

int main(int argc, char *argv[]) {
    int sig = argc == 3 ? signal_of(argv[2]) : 0;
    int err = 0;

    /* makes the linker keep the library; ENOSYS before demi_init */
    if (demi_close(-1) != ENOSYS)
        return 99;
    if (sig == 0) {
        fprintf(stderr, "usage: signals default|handle|ignore|cause SIGNAL\n");
        return 98;
    }
    if (strcmp(argv[1], "handle") == 0) {
        struct sigaction act = {.sa_handler = catch_it};

        (void)sigaction(sig, &act, NULL);
    } else if (strcmp(argv[1], "ignore") == 0) {
        (void)signal(sig, SIG_IGN);
    }
    if (strcmp(argv[1], "cause") == 0 && sig == SIGSEGV)
        return bad_pointer();
    if (sig == SIGPIPE)
        err = write_to_nobody();
    else
        (void)kill(getpid(), sig);
    while (strcmp(argv[1], "handle") == 0 && caught == 0)
        (void)usleep(1000); /* another thread of the process may take it */
    printf("alive, caught %d, errno %d\n", (int)caught, err);
    return 0;
}
