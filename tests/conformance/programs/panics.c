/*
 * A panic inside the library's Go code, at a place that the argument names, in a program with a
 * connection, operations under way and threads asleep in waits. Whatever the place, the program
 * sees errnos and failed tokens and goes on to its own end.
 *
 *     panics ADDR PLACE
 *
 * Only the library built for tests (the tag demisim) has such places; see
 * internal/background. The program prints "survived" at its end.
 */
#include <pthread.h>
#include <stdbool.h>

#include "common.h"

static char order[64] = "DEMI_PANIC="; /* in the environment, and changed in place */

static void panic_at(const char *place) {
    (void)snprintf(order + strlen("DEMI_PANIC="), 48, "%s", place);
}

static void *sleep_in_wait(void *arg) {
    demi_qresult_t qr = result(*(demi_qtoken_t *)arg);

    if (qr.qr_opcode == DEMI_OPC_FAILED && qr.qr_ret != EIO)
        FAIL("the waiting thread's token failed with %s", strerror((int)qr.qr_ret));
    return NULL;
}

/* A call's answer: what it should be, or EIO. */
static int mild(const char *what, int err) {
    if (err != 0 && err != EIO)
        FAIL("%s answers %s", what, strerror(err));
    return err;
}

static void *init_thread(void *arg) {
    (void)arg;
    (void)mild("demi_init", demi_init(NULL));
    return NULL;
}

/* A token must end: well, or with EIO. */
static void ends(const char *what, demi_qtoken_t qt) {
    demi_qresult_t qr = result(qt);

    if (qr.qr_opcode == DEMI_OPC_FAILED && qr.qr_ret != EIO)
        FAIL("%s failed with %s", what, strerror((int)qr.qr_ret));
    if (qr.qr_opcode == DEMI_OPC_POP)
        (void)demi_sgafree(&qr.qr_value.sga);
}

/* Every call that enters Go, each token waited for; and traffic. */
static void use_everything(const struct pair *p) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr = p->at.sin_addr};
    socklen_t len = sizeof(name);
    struct linger linger = {1, 1};
    demi_qtoken_t qt;
    pthread_t thread;
    int qd = -1, client = -1;

    if (pthread_create(&thread, NULL, init_thread, NULL) == 0)
        (void)pthread_join(thread, NULL);
    if (mild("demi_socket", demi_socket(&qd, AF_INET, SOCK_STREAM, 0)) == 0 &&
        mild("demi_bind", demi_bind(qd, (struct sockaddr *)&name, sizeof(name))) == 0)
        (void)mild("demi_listen", demi_listen(qd, 1));
    len = sizeof(linger);
    (void)mild("demi_setsockopt",
               demi_setsockopt(p->client, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)));
    (void)mild("demi_getsockopt", demi_getsockopt(p->client, SOL_SOCKET, SO_LINGER, &linger, &len));
    len = sizeof(name);
    (void)mild("demi_getsockname", demi_getsockname(p->listener, (struct sockaddr *)&name, &len));
    len = sizeof(name);
    (void)mild("demi_getpeername", demi_getpeername(p->client, (struct sockaddr *)&name, &len));
    if (mild("demi_socket", demi_socket(&client, AF_INET, SOCK_STREAM, 0)) == 0) {
        demi_qtoken_t accepting = 0;
        int accepted = mild("demi_accept", demi_accept(&accepting, p->listener));
        if (mild("demi_connect",
                 demi_connect(&qt, client, (struct sockaddr *)&p->at, sizeof(p->at))) == 0)
            ends("connect", qt);
        else if (accepted == 0) /* nobody comes: the panic must end it all the same */
            accepted = 0;
        if (accepted == 0)
            ends("accept", accepting);
    }
    if (push_byte(p->client, &qt) == 0)
        ends("push", qt);
    if (demi_pop(&qt, p->server) == 0)
        ends("pop", qt);
    /* The housekeeper's turn comes when nobody has called for a while, nor sleeps. */
    (void)usleep(50000);
    if (push_byte(p->client, &qt) == 0)
        ends("push", qt);
    (void)usleep(50000);
    if (client >= 0)
        (void)mild("demi_close", demi_close(client));
}

int main(int argc, char *argv[]) {
    demi_qtoken_t never;
    pthread_t waiter;
    struct pair p;

    if (argc != 3)
        FAIL("usage: panics ADDR PLACE");
    (void)alarm(120);
    (void)putenv(order);
    MUST("demi_init", demi_init(NULL), 0);
    p = new_pair(argv[1]);
    ping(&p);
    MUST("demi_pop", demi_pop(&never, p.client), 0);
    bool early = strcmp(argv[2], "completion channels") != 0;
    if (early && pthread_create(&waiter, NULL, sleep_in_wait, &never) != 0)
        FAIL("no thread");

    panic_at(argv[2]);
    use_everything(&p);
    if (!early && pthread_create(&waiter, NULL, sleep_in_wait, &never) != 0)
        FAIL("no thread");
    if (strcmp(argv[2], "exit") == 0 || strcmp(argv[2], "delivery") == 0 ||
        strcmp(argv[2], "close") == 0) {
        printf("survived\n");
        return 0; /* the panic comes in the exit handler */
    }
    (void)pthread_join(waiter, NULL);
    /* From now on every call that needs Go is refused, and nothing hangs. */
    for (int i = 0; i < 2; i++) {
        int qd;

        MUST("demi_socket", demi_socket(&qd, AF_INET, SOCK_STREAM, 0), EIO);
        MUST("demi_close", demi_close(p.server), EIO);
    }
    printf("survived\n");
    return 0;
}
