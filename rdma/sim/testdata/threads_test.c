/* The fabric under many threads; meant for the thread sanitizer. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#include "test.h"

#define ROUNDS 3000

/* Takes n completions, sleeping on the channel whenever there is none. */
static void wait_for(struct end *e, int n) {
    const struct rdma_slow_ops *ops = sim_slow_ops();
    struct ibv_wc wc;

    while (n > 0) {
        struct pollfd fd = {.fd = e->ch->fd, .events = POLLIN};
        struct ibv_cq *cq;
        void *context;
        int got = ibv_poll_cq(e->cq, 1, &wc);

        if (got == 0) {
            CHECK_EQ(ibv_req_notify_cq(e->cq, 0), 0);
            got = ibv_poll_cq(e->cq, 1, &wc);
        }
        if (got == 1) {
            CHECK_EQ(wc.status, IBV_WC_SUCCESS);
            n--;
            continue;
        }
        CHECK(poll(&fd, 1, 60000) == 1); /* a lost wake-up, if it is not */
        while (ops->get_cq_event(e->ch, &cq, &context) == 0)
            CHECK_EQ(ops->ack_cq_events(cq, 1), 0);
    }
}

static void *ping_side(void *arg) {
    struct end *e = arg;

    for (int i = 0; i < ROUNDS; i++) {
        CHECK_EQ(post_recv(e, 1, 0, 64), 0);
        e->buf[100] = (unsigned char)i;
        CHECK_EQ(post_send(e, 2, 100, 8, IBV_SEND_SIGNALED), 0);
        wait_for(e, 2);
        CHECK_EQ(e->buf[0], (unsigned char)i);
    }
    return NULL;
}

static void *pong_side(void *arg) {
    struct end *e = arg;

    for (int i = 0; i < ROUNDS; i++) {
        CHECK_EQ(post_recv(e, 1, 0, 64), 0);
        wait_for(e, 1);
        CHECK_EQ(e->buf[0], (unsigned char)i);
        e->buf[100] = e->buf[0];
        CHECK_EQ(post_send(e, 2, 100, 8, IBV_SEND_SIGNALED), 0);
        wait_for(e, 1);
    }
    return NULL;
}

static void ping_pong(const struct sim_config *cfg) {
    struct pair *p = pair_new(cfg);
    struct end c = {0}, d = {0};
    pthread_t t[4];

    end_init(p, &c);
    end_init(p, &d);
    CHECK_EQ(sim_qp_connect(c.qp, d.qp), 0);
    CHECK_EQ(pthread_create(&t[0], NULL, ping_side, &p->a), 0);
    CHECK_EQ(pthread_create(&t[1], NULL, pong_side, &p->b), 0);
    CHECK_EQ(pthread_create(&t[2], NULL, ping_side, &c), 0);
    CHECK_EQ(pthread_create(&t[3], NULL, pong_side, &d), 0);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_join(t[i], NULL), 0);
    end_free(&c);
    end_free(&d);
    pair_free(p);
}

static void sleepers_are_always_woken(void) {
    ping_pong(&(struct sim_config){.threads = true});
}

static void sleepers_are_always_woken_with_seeded_delivery(void) {
    ping_pong(&(struct sim_config){.threads = true, .delivery = SIM_DELIVER_SEEDED, .seed = 3});
}

/* Several threads post on one queue pair and poll one CQ. */
static atomic_int received;

static void *poster(void *arg) {
    struct pair *p = arg;
    struct ibv_wc wc;

    while (atomic_load(&received) < ROUNDS) {
        (void)post_recv(&p->b, 1, 0, 64);
        (void)post_send(&p->a, 2, 0, 0, IBV_SEND_SIGNALED);
        if (ibv_poll_cq(p->b.cq, 1, &wc) == 1)
            atomic_fetch_add(&received, 1);
        (void)ibv_poll_cq(p->a.cq, 1, &wc);
    }
    return NULL;
}

static void many_threads_share_one_queue_pair(void) {
    struct pair *p = pair_new(&(struct sim_config){.threads = true});
    pthread_t t[4];

    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, poster, p), 0);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_join(t[i], NULL), 0);
    pair_free(p);
}

static void *maker(void *arg) {
    struct pair *p = arg;

    for (int i = 0; i < 200; i++) {
        struct end c = {0}, d = {0};

        end_init(p, &c);
        end_init(p, &d);
        CHECK_EQ(sim_qp_connect(c.qp, d.qp), 0);
        CHECK_EQ(post_recv(&c, 1, 0, 64), 0);
        CHECK_EQ(post_send(&d, 1, 0, 8, 0), 0);
        expect(&c, 1, IBV_WC_SUCCESS);
        CHECK_EQ(sim_qp_error(d.qp), 0);
        end_free(&c);
        end_free(&d);
    }
    return NULL;
}

static void objects_come_and_go_beside_traffic(void) {
    struct pair *p = pair_new(&(struct sim_config){.threads = true});
    pthread_t t[4];

    CHECK_EQ(pthread_create(&t[0], NULL, ping_side, &p->a), 0);
    CHECK_EQ(pthread_create(&t[1], NULL, pong_side, &p->b), 0);
    CHECK_EQ(pthread_create(&t[2], NULL, maker, p), 0);
    CHECK_EQ(pthread_create(&t[3], NULL, maker, p), 0);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_join(t[i], NULL), 0);
    pair_free(p);
}

#define TEST(f)                                                                                    \
    { #f, f }

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(sleepers_are_always_woken),
        TEST(sleepers_are_always_woken_with_seeded_delivery),
        TEST(many_threads_share_one_queue_pair),
        TEST(objects_come_and_go_beside_traffic),
    };

    return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
