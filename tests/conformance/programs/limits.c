/*
 * Limits of the process reached while connections are accepted or made: descriptors
 * (RLIMIT_NOFILE) and locked memory (RLIMIT_MEMLOCK). The connection that does not fit fails or is
 * refused with its errno, those that are there go on, the listener lives, and when there is room
 * again the next connection succeeds.
 *
 *     limits ADDR DEED
 *
 * The other end is a process of its own, without limits: this program again (peer, below).
 * Prints nothing and exits with 7 if all was as it should be.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <linux/capability.h>

#include "common.h"

#define MANY 600 /* connections; fewer than this must be enough to reach a limit */

static const char *self, *addr;

/* ---- The peer: a process that is told by lines on stdin, and answers by lines -----------------
 */

struct peer {
    pid_t pid;
    FILE *to, *from;
};

static struct sockaddr_in address(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

    if (inet_pton(AF_INET, addr, &a.sin_addr) != 1)
        FAIL("'%s' is not an address", addr);
    return a;
}

static int listen_at(const char *host, int *port) {
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t len = sizeof(a);
    int qd;

    if (inet_pton(AF_INET, host, &a.sin_addr) != 1)
        FAIL("'%s' is not an address", host);
    MUST("demi_socket", demi_socket(&qd, AF_INET, SOCK_STREAM, 0), 0);
    MUST("demi_bind", demi_bind(qd, (struct sockaddr *)&a, sizeof(a)), 0);
    MUST("demi_listen", demi_listen(qd, MANY), 0);
    MUST("demi_getsockname", demi_getsockname(qd, (struct sockaddr *)&a, &len), 0);
    *port = ntohs(a.sin_port);
    return qd;
}

/* Connects; the errno with which that ended, and the connection if it is 0. */
static int try_connect(int port, int *qd) {
    struct sockaddr_in a = address(port);
    demi_qtoken_t qt;
    demi_qresult_t qr;
    int err;

    err = demi_socket(qd, AF_INET, SOCK_STREAM, 0);
    if (err != 0)
        return err;
    err = demi_connect(&qt, *qd, (struct sockaddr *)&a, sizeof(a));
    if (err == 0) {
        qr = result(qt);
        err = qr.qr_opcode == DEMI_OPC_FAILED ? (int)qr.qr_ret : 0;
    }
    if (err != 0)
        MUST("demi_close", demi_close(*qd), 0);
    return err;
}

static void push_one(int qd) {
    demi_qtoken_t qt;

    MUST("demi_push", push_byte(qd, &qt), 0);
    (void)success(qt);
}

/* Connects when told, once for each line, and keeps what it has; `echo` pings all of them. */
static int be_client(int port) {
    static int qds[MANY + 8];
    char line[16];
    int n = 0, err;

    while (fgets(line, sizeof(line), stdin) != NULL) {
        if (line[0] == 'c') {
            err = try_connect(port, &qds[n]);
            if (err == 0) {
                push_one(qds[n]);
                n++;
            }
            printf("%d\n", err);
        } else if (line[0] == 'd') { /* the newest leaves */
            MUST("demi_close", demi_close(qds[--n]), 0);
            printf("0\n");
        } else {
            for (int i = 0; i < n; i++)
                push_one(qds[i]);
            printf("%d\n", n);
        }
        (void)fflush(stdout);
    }
    return 0;
}

/* Accepts whoever comes and returns each byte, until stdin ends. */
static int be_server(void) {
    static demi_qtoken_t tokens[MANY + 8];
    int port, listener = listen_at(addr, &port), n = 1, at;
    const struct timespec bit = {0, 50000000};
    demi_qresult_t qr;

    printf("%d\n", port);
    (void)fflush(stdout);
    (void)fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK);
    MUST("demi_accept", demi_accept(&tokens[0], listener), 0);
    for (;;) {
        char c;

        if (demi_wait_any(&qr, &at, tokens, n, &bit) != 0) {
            if (read(STDIN_FILENO, &c, 1) == 0)
                return 0;
            continue;
        }
        if (qr.qr_opcode == DEMI_OPC_ACCEPT) {
            MUST("demi_pop", demi_pop(&tokens[n++], qr.qr_value.ares.qd), 0);
            MUST("demi_accept", demi_accept(&tokens[at], listener), 0);
        } else if (qr.qr_opcode == DEMI_OPC_POP && qr.qr_value.sga.sga_segs[0].sgaseg_len > 0) {
            demi_qtoken_t push;

            MUST("demi_push", demi_push(&push, qr.qr_qd, &qr.qr_value.sga), 0);
            (void)demi_sgafree(&qr.qr_value.sga);
            (void)success(push);
            MUST("demi_pop", demi_pop(&tokens[at], qr.qr_qd), 0);
        } else { /* it has closed, or died */
            if (qr.qr_opcode == DEMI_OPC_POP)
                (void)demi_sgafree(&qr.qr_value.sga);
            MUST("demi_close", demi_close(qr.qr_qd), 0);
            tokens[at] = tokens[--n];
        }
    }
}

static struct peer start_peer(const char *role, int port) {
    struct peer p;
    int in[2], out[2];
    char number[16];

    (void)snprintf(number, sizeof(number), "%d", port);
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0)
        FAIL("no pipe");
    p.pid = fork();
    if (p.pid == 0) {
        (void)dup2(in[0], STDIN_FILENO);
        (void)dup2(out[1], STDOUT_FILENO);
        (void)execl(self, self, addr, role, number, (char *)NULL);
        _exit(98);
    }
    (void)close(in[0]);
    (void)close(out[1]);
    p.to = fdopen(in[1], "w");
    p.from = fdopen(out[0], "r");
    return p;
}

static int answer(struct peer *p) {
    char line[128];

    if (fgets(line, sizeof(line), p->from) == NULL)
        FAIL("the peer has ended");
    if (line[0] < '0' || line[0] > '9')
        FAIL("the peer: %s", line);
    return atoi(line);
}

static int tell(struct peer *p, char what) {
    (void)fprintf(p->to, "%c\n", what);
    (void)fflush(p->to);
    return answer(p);
}

static void end_peer(struct peer *p) {
    int status = 0;

    (void)fclose(p->to);
    (void)waitpid(p->pid, &status, 0);
    if (status != 0)
        FAIL("the peer ended with %d", status);
}

/* ---- Limits ------------------------------------------------------------------------------------
 */

static void set_limit(int resource, rlim_t soft) {
    struct rlimit l;

    if (getrlimit(resource, &l) != 0)
        FAIL("getrlimit");
    l.rlim_cur = soft < l.rlim_max ? soft : l.rlim_max;
    if (setrlimit(resource, &l) != 0)
        FAIL("setrlimit");
}

/*
 * From now on no descriptor can be had; with room, many. The hard limit goes down, too: Go raises
 * the soft one to it when the library is loaded, which may be under way.
 */
static void files(bool room) {
    static struct rlimit before;
    struct rlimit none;
    int lowest;

    if (room) {
        if (setrlimit(RLIMIT_NOFILE, &before) != 0)
            FAIL("setrlimit: %s; run as root", strerror(errno));
        return;
    }
    lowest = dup(STDIN_FILENO);
    if (lowest < 0 || getrlimit(RLIMIT_NOFILE, &before) != 0)
        FAIL("no descriptor");
    (void)close(lowest);
    none.rlim_cur = none.rlim_max = (rlim_t)lowest;
    if (setrlimit(RLIMIT_NOFILE, &none) != 0 || dup(STDIN_FILENO) >= 0)
        FAIL("the limit does not hold");
}

/* In KiB. */
static void locked_memory(rlim_t kib) {
    set_limit(RLIMIT_MEMLOCK, kib == RLIM_INFINITY ? kib : kib * 1024);
}

/*
 * Root's CAP_IPC_LOCK lifts the limit. Go's threads exist before main, so it is the bounding set
 * that loses it, and the program starts again.
 */
static void without_ipc_lock(char *argv[]) {
    if (prctl(PR_CAPBSET_READ, CAP_IPC_LOCK) == 0)
        return;
    if (prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK) != 0)
        FAIL("PR_CAPBSET_DROP: %s; run as root", strerror(errno));
    (void)execv(self, argv);
    FAIL("exec: %s", strerror(errno));
}

/* ---- Deeds -------------------------------------------------------------------------------------
 */

/* Accepts one connection, which has sent a byte. */
static int accepted(demi_qtoken_t qt) {
    demi_qresult_t qr = success(qt);

    if (qr.qr_opcode != DEMI_OPC_ACCEPT)
        FAIL("not an accept");
    pop_byte(qr.qr_value.ares.qd);
    return qr.qr_value.ares.qd;
}

static void still_pending(demi_qtoken_t qt) {
    const struct timespec zero = {0, 0};
    demi_qresult_t qr;

    MUST("demi_wait", demi_wait(&qr, qt, &zero), ETIMEDOUT);
}

/*
 * No descriptor is left when the request comes. warm: a connection has been there before, so that
 * the device is open. A connection that needs no descriptor may succeed.
 */
static void files_accept(const char *host, bool warm) {
    int port, listener = listen_at(host, &port), qd, err;
    struct peer p = start_peer("client", port);
    demi_qtoken_t qt;

    MUST("demi_accept", demi_accept(&qt, listener), 0);
    if (warm) {
        MUST("the peer's connect", tell(&p, 'c'), 0);
        MUST("demi_close", demi_close(accepted(qt)), 0);
        MUST("demi_accept", demi_accept(&qt, listener), 0);
    }
    for (int i = 0; i < 3; i++) {
        files(false);
        err = tell(&p, 'c');
        files(true);
        if (err == 0) {
            MUST("demi_close", demi_close(accepted(qt)), 0);
            MUST("demi_accept", demi_accept(&qt, listener), 0);
        } else {
            MUST("the peer's connect", err, ECONNREFUSED);
            still_pending(qt);
        }
    }
    MUST("the peer's connect", tell(&p, 'c'), 0);
    qd = accepted(qt);
    MUST("demi_close", demi_close(qd), 0);
    MUST("demi_close", demi_close(listener), 0);
    end_peer(&p);
}

static void round_trip(int qd) {
    push_one(qd);
    pop_byte(qd);
}

/* The device's first use is a bind: librdmacm opens it for that. */
static void files_bind(void) {
    struct sockaddr_in a = address(0);
    int qd, port;

    MUST("demi_socket", demi_socket(&qd, AF_INET, SOCK_STREAM, 0), 0);
    files(false);
    MUST("demi_bind", demi_bind(qd, (struct sockaddr *)&a, sizeof(a)), EMFILE);
    files(true);
    MUST("demi_bind", demi_bind(qd, (struct sockaddr *)&a, sizeof(a)), 0);
    MUST("demi_close", demi_close(qd), 0);
    MUST("demi_close", demi_close(listen_at(addr, &port)), 0);
}

static void files_connect(bool warm) {
    struct peer p = start_peer("server", 0);
    int port = answer(&p), qd, err;

    if (warm) {
        MUST("connect", try_connect(port, &qd), 0);
        round_trip(qd);
        MUST("demi_close", demi_close(qd), 0);
    }
    for (int i = 0; i < 3; i++) {
        files(false);
        err = try_connect(port, &qd);
        files(true);
        if (err == 0)
            MUST("demi_close", demi_close(qd), 0);
        else
            MUST("connect", err, EAGAIN);
    }
    MUST("connect", try_connect(port, &qd), 0);
    round_trip(qd);
    MUST("demi_close", demi_close(qd), 0);
    end_peer(&p);
}

/* Locked memory for some connections: the one too many is refused, and there is room again. */
static void memory_accept(void) {
    static int qds[MANY];
    int port, listener = listen_at(addr, &port), n = 0, err = 0;
    struct peer p = start_peer("client", port);
    demi_qtoken_t qt;

    locked_memory(64); /* for none */
    MUST("demi_accept", demi_accept(&qt, listener), 0);
    for (int i = 0; i < 2; i++) {
        MUST("the peer's connect", tell(&p, 'c'), ECONNREFUSED);
        still_pending(qt);
    }
    locked_memory(8192); /* for some */
    while (n < MANY && (err = tell(&p, 'c')) == 0) {
        qds[n++] = accepted(qt);
        MUST("demi_accept", demi_accept(&qt, listener), 0);
    }
    MUST("the peer's connect", err, ECONNREFUSED);
    if (n == 0)
        FAIL("no connection fits into 8 MiB");
    still_pending(qt);
    MUST("connections that ping", tell(&p, 'e'), n);
    for (int i = 0; i < n; i++)
        pop_byte(qds[i]);
    (void)tell(&p, 'd');
    MUST("demi_close", demi_close(qds[--n]), 0);
    while ((err = tell(&p, 'c')) == ECONNREFUSED) /* memory comes back when all is torn down */
        ;
    MUST("the peer's connect", err, 0);
    qds[n++] = accepted(qt);
    for (int i = 0; i < n; i++)
        MUST("demi_close", demi_close(qds[i]), 0);
    MUST("demi_close", demi_close(listener), 0);
    end_peer(&p);
}

static void memory_connect(void) {
    static int qds[MANY];
    struct peer p = start_peer("server", 0);
    int port = answer(&p), n = 0, err = 0;

    locked_memory(64);
    MUST("connect", try_connect(port, &qds[0]), ENOMEM);
    locked_memory(8192);
    while (n < MANY && (err = try_connect(port, &qds[n])) == 0)
        round_trip(qds[n++]);
    MUST("connect", err, ENOMEM);
    if (n == 0)
        FAIL("no connection fits into 8 MiB");
    for (int i = 0; i < n; i++)
        round_trip(qds[i]);
    MUST("demi_close", demi_close(qds[--n]), 0);
    while ((err = try_connect(port, &qds[n])) == ENOMEM) /* it comes back when all is torn down */
        ;
    MUST("connect", err, 0);
    round_trip(qds[n++]);
    for (int i = 0; i < n; i++)
        MUST("demi_close", demi_close(qds[i]), 0);
    end_peer(&p);
}

/* Not even demi_init can have a descriptor; with one, it works. */
static void files_init(void) {
    int err;

    files(false);
    err = demi_init(NULL);
    files(true);
    if (err != EMFILE)
        FAIL("demi_init answers %s", strerror(err));
}

/* With a few, demi_init does without any, or works, and never ends the program. */
static void files_few(int few) {
    struct rlimit before, limit;
    int lowest = dup(STDIN_FILENO), err;

    if (lowest < 0 || getrlimit(RLIMIT_NOFILE, &before) != 0)
        FAIL("no descriptor");
    (void)close(lowest);
    limit.rlim_cur = limit.rlim_max = (rlim_t)(lowest + few);
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        FAIL("setrlimit: %s", strerror(errno));
    err = demi_init(NULL);
    if (setrlimit(RLIMIT_NOFILE, &before) != 0)
        FAIL("setrlimit: %s; run as root", strerror(errno));
    if (err == 0)
        exit(0);
    if (err != EMFILE)
        FAIL("demi_init answers %s", strerror(err));
}

int main(int argc, char *argv[]) {
    const char *deed;

    if (argc < 3)
        FAIL("usage: limits ADDR DEED");
    self = "/proc/self/exe";
    addr = argv[1];
    deed = argv[2];
    (void)alarm(300);
    if (strncmp(deed, "memory", 6) == 0)
        without_ipc_lock(argv);
    if (strcmp(deed, "files-init") == 0)
        files_init();
    if (strcmp(deed, "files-few") == 0)
        files_few(atoi(argv[3]));
    MUST("demi_init", demi_init(NULL), 0);
    if (strcmp(deed, "client") == 0)
        return be_client(atoi(argv[3]));
    if (strcmp(deed, "server") == 0)
        return be_server();
    if (strcmp(deed, "files-accept") == 0)
        files_accept(addr, true);
    else if (strcmp(deed, "files-accept-first") == 0)
        files_accept("0.0.0.0", false);
    else if (strcmp(deed, "files-connect") == 0)
        files_connect(true);
    else if (strcmp(deed, "files-connect-first") == 0)
        files_connect(false);
    else if (strcmp(deed, "memory-accept") == 0)
        memory_accept();
    else if (strcmp(deed, "memory-connect") == 0)
        memory_connect();
    else if (strcmp(deed, "files-bind") == 0)
        files_bind();
    else if (strcmp(deed, "files-init") == 0)
        files_connect(false);
    else if (strcmp(deed, "files-few") == 0)
        return 7;
    else
        FAIL("no such deed: %s", deed);
    return 7;
}
