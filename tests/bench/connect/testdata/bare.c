/*
 * Connections by librdmacm and libibverbs alone, as tightly as a program can make them one after
 * the other: protection domain, completion queue and registered memory are made once, events are
 * awaited in blocking calls. The steps are cmtime's; what a queue pair holds and what is posted
 * on it is what libos asks for.
 *
 *   bare serve ADDR HEX     accepts, with HEX as private data; prints "port N"
 *   bare connect ADDR HEX   makes a connection for each line "c PORT" of standard input
 *
 * Both print a line "up" when a connection is established and a line "down" when it is released,
 * with times in nanoseconds by name. HEX is a hello: an answer repeats the nonce of the
 * offer, which lies in bytes 32 to 39.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <rdma/rdma_cma.h>

enum {
    RECEIVES = 8,
    RECV_SIZE = 8192,
    SEND_DEPTH = 63,
    RECV_DEPTH = 68,
    INLINE_DATA = 256,
    CQ_DEPTH = 4095,
    READS = 16,
    NONCE_AT = 32,
    NONCE_SIZE = 8,
    HELLO_MAX = 56,
};

/* What all connections share, made with the first. */
static struct ibv_pd *pd;
static struct ibv_cq *cq;
static struct ibv_mr *mr;
static char memory[RECEIVES][RECV_SIZE];

static uint8_t hello[HELLO_MAX];
static uint8_t hello_len;

static void die(const char *what) {
    fprintf(stderr, "bare: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void must(int rc, const char *what) {
    if (rc != 0) {
        if (rc > 0)
            errno = rc;
        die(what);
    }
}

static int64_t now(void) {
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Lets whoever gave the command come to rest: what that takes is no part of a connection. */
static void settle(void) {
    const struct timespec some = {.tv_nsec = 2000000};

    (void)nanosleep(&some, NULL);
}

static void read_hello(const char *hex) {
    size_t n = strlen(hex) / 2;

    if (n > sizeof(hello)) {
        errno = EINVAL;
        die("hello");
    }
    for (size_t i = 0; i < n; i++) {
        char byte[3] = {hex[2 * i], hex[2 * i + 1], 0};
        hello[i] = (uint8_t)strtoul(byte, NULL, 16);
    }
    hello_len = (uint8_t)n;
}

static void share(struct rdma_cm_id *id) {
    if (pd != NULL)
        return;
    pd = ibv_alloc_pd(id->verbs);
    if (pd == NULL)
        die("ibv_alloc_pd");
    cq = ibv_create_cq(id->verbs, CQ_DEPTH, NULL, NULL, 0);
    if (cq == NULL)
        die("ibv_create_cq");
    mr = ibv_reg_mr(pd, memory, sizeof(memory), IBV_ACCESS_LOCAL_WRITE);
    if (mr == NULL)
        die("ibv_reg_mr");
}

/* The queue pair and its receives. */
static void create_qp(struct rdma_cm_id *id) {
    struct ibv_qp_init_attr attr = {
        .qp_type = IBV_QPT_RC,
        .send_cq = cq,
        .recv_cq = cq,
        .cap = {.max_send_wr = SEND_DEPTH,
                .max_recv_wr = RECV_DEPTH,
                .max_send_sge = 2,
                .max_recv_sge = 1,
                .max_inline_data = INLINE_DATA},
    };
    struct ibv_sge sge[RECEIVES];
    struct ibv_recv_wr wr[RECEIVES];
    struct ibv_recv_wr *bad;

    must(rdma_create_qp(id, pd, &attr), "rdma_create_qp");
    for (int i = 0; i < RECEIVES; i++) {
        sge[i] =
            (struct ibv_sge){.addr = (uintptr_t)memory[i], .length = RECV_SIZE, .lkey = mr->lkey};
        wr[i] = (struct ibv_recv_wr){
            .sg_list = &sge[i], .num_sge = 1, .next = i + 1 < RECEIVES ? &wr[i + 1] : NULL};
    }
    must(ibv_post_recv(id->qp, wr, &bad), "ibv_post_recv");
}

static void destroy(struct rdma_cm_id *id) {
    struct ibv_wc wc[16];

    rdma_destroy_qp(id);
    while (ibv_poll_cq(cq, 16, wc) > 0)
        ;
    must(rdma_destroy_id(id), "rdma_destroy_id");
}

static struct rdma_conn_param conn_param(void) {
    return (struct rdma_conn_param){
        .private_data = hello,
        .private_data_len = hello_len,
        .responder_resources = READS,
        .initiator_depth = READS,
        .retry_count = 6,
        .rnr_retry_count = 7,
    };
}

/* Waits for one event, which must be this one. */
static void await(struct rdma_event_channel *ch, enum rdma_cm_event_type type) {
    struct rdma_cm_event *ev;

    must(rdma_get_cm_event(ch, &ev), "rdma_get_cm_event");
    if (ev->event != type) {
        fprintf(stderr, "bare: %s, status %d, in place of %s\n", rdma_event_str(ev->event),
                ev->status, rdma_event_str(type));
        exit(1);
    }
    must(rdma_ack_cm_event(ev), "rdma_ack_cm_event");
}

static void connect_once(struct rdma_event_channel *ch, struct sockaddr_in *to) {
    struct rdma_cm_id *id;
    struct rdma_conn_param param = conn_param();
    int64_t start = now();

    must(rdma_create_id(ch, &id, NULL, RDMA_PS_TCP), "rdma_create_id");
    int64_t created = now();
    must(rdma_resolve_addr(id, NULL, (struct sockaddr *)to, 2000), "rdma_resolve_addr");
    await(ch, RDMA_CM_EVENT_ADDR_RESOLVED);
    int64_t addr = now();
    must(rdma_resolve_route(id, 2000), "rdma_resolve_route");
    await(ch, RDMA_CM_EVENT_ROUTE_RESOLVED);
    int64_t route = now();
    share(id);
    create_qp(id);
    int64_t qp = now();
    must(rdma_connect(id, &param), "rdma_connect");
    await(ch, RDMA_CM_EVENT_ESTABLISHED);
    int64_t connected = now();
    printf("up id %" PRId64 " addr %" PRId64 " route %" PRId64 " qp %" PRId64 " connect %" PRId64
           " total %" PRId64 "\n",
           created - start, addr - created, route - addr, qp - route, connected - qp,
           connected - start);
    /* The peer shall have heard of it first: a DREQ that overtakes the RTU ends what never was. */
    char line[16];
    if (fgets(line, sizeof(line), stdin) == NULL)
        die("stdin");
    int64_t told = now();
    must(rdma_disconnect(id), "rdma_disconnect");
    await(ch, RDMA_CM_EVENT_DISCONNECTED);
    int64_t disconnected = now();
    destroy(id);
    int64_t destroyed = now();
    printf("down disconnect %" PRId64 " destroy %" PRId64 "\n", disconnected - told,
           destroyed - disconnected);
}

/* When a connection reached what; the id's context. */
struct times {
    int64_t request, qp, accepted;
};

static void request(struct rdma_cm_event *ev) {
    struct rdma_conn_param param = conn_param();
    struct times *t = (struct times *)calloc(1, sizeof(*t));

    if (t == NULL)
        die("calloc");
    t->request = now();
    if (ev->param.conn.private_data_len >= NONCE_AT + NONCE_SIZE &&
        hello_len >= NONCE_AT + NONCE_SIZE)
        memcpy(hello + NONCE_AT, (const uint8_t *)ev->param.conn.private_data + NONCE_AT,
               NONCE_SIZE);
    ev->id->context = t;
    share(ev->id);
    create_qp(ev->id);
    t->qp = now();
    must(rdma_accept(ev->id, &param), "rdma_accept");
    t->accepted = now();
}

static void established(const struct times *t) {
    int64_t end = now();

    printf("up qp %" PRId64 " accept %" PRId64 " confirm %" PRId64 " total %" PRId64 "\n",
           t->qp - t->request, t->accepted - t->qp, end - t->accepted, end - t->request);
}

/* A server ends with its standard input. */
static void *until_end(void *unused) {
    char c;

    (void)unused;
    while (read(0, &c, 1) > 0)
        ;
    exit(0);
}

static void serve(struct rdma_event_channel *ch, struct sockaddr_in *at) {
    struct rdma_cm_id *listener;
    struct rdma_cm_event *ev;
    pthread_t waiter;

    must(pthread_create(&waiter, NULL, until_end, NULL), "pthread_create");
    must(rdma_create_id(ch, &listener, NULL, RDMA_PS_TCP), "rdma_create_id");
    must(rdma_bind_addr(listener, (struct sockaddr *)at), "rdma_bind_addr");
    must(rdma_listen(listener, 1024), "rdma_listen");
    printf("port %d\n", ntohs(rdma_get_src_port(listener)));
    while (rdma_get_cm_event(ch, &ev) == 0) {
        struct rdma_cm_id *id = ev->id;
        enum rdma_cm_event_type type = ev->event;

        if (type == RDMA_CM_EVENT_CONNECT_REQUEST)
            request(ev);
        must(rdma_ack_cm_event(ev), "rdma_ack_cm_event");
        if (type == RDMA_CM_EVENT_ESTABLISHED)
            established((struct times *)id->context);
        if (type == RDMA_CM_EVENT_DISCONNECTED) {
            (void)rdma_disconnect(id);
            free(id->context);
            destroy(id);
            printf("down\n");
        }
    }
    die("rdma_get_cm_event");
}

int main(int argc, char **argv) {
    struct sockaddr_in addr = {.sin_family = AF_INET};
    struct rdma_event_channel *ch = rdma_create_event_channel();
    char line[16];

    if (ch == NULL)
        die("rdma_create_event_channel");
    (void)setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc < 3 || inet_pton(AF_INET, argv[2], &addr.sin_addr) != 1) {
        errno = EINVAL;
        die("usage: bare serve ADDR HEX | bare connect ADDR HEX");
    }
    if (argc == 4 && strcmp(argv[1], "serve") == 0) {
        read_hello(argv[3]);
        serve(ch, &addr);
    }
    if (argc == 4 && strcmp(argv[1], "connect") == 0) {
        read_hello(argv[3]);
        while (fgets(line, sizeof(line), stdin) != NULL && line[0] == 'c') {
            addr.sin_port = htons((uint16_t)strtoul(line + 1, NULL, 10));
            settle();
            connect_once(ch, &addr);
        }
        return 0;
    }
    errno = EINVAL;
    die("arguments");
}
