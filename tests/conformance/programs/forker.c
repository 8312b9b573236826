/*
 * Forks after demi_init and has the child say how many listening TCP sockets it has, then
 * itself, and waits for the end of standard input. For metrics_test.go.
 */
#include <demi/libos.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int listening(void) {
    int n = 0;
    for (int fd = 0; fd < 256; fd++) {
        int on = 0;
        socklen_t size = sizeof(on);
        if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &size) == 0 && on)
            n++;
    }
    return n;
}

int main(void) {
    int err = demi_init(NULL);
    if (err) {
        fprintf(stderr, "demi_init: %s\n", strerror(err));
        return 1;
    }
    pid_t child = fork();
    if (child < 0)
        return 1;
    if (child == 0) {
        printf("child: %d\n", listening());
        fflush(stdout);
        _exit(0);
    }
    int status = 0;
    if (waitpid(child, &status, 0) != child || status != 0)
        return 1;
    printf("parent: %d\n", listening());
    fflush(stdout);
    while (getchar() != EOF)
        ;
    return 0;
}
