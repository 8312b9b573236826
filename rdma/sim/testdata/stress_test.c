/*
 * Random work on many queue pairs, checked against what reliable connections promise: every
 * message arrives once, whole and in order; every work request is accounted for once.
 */
#include "test.h"

#define PAIRS 5
#define MSG 512 /* bytes of one buffer */
#define OPS 20000

static uint64_t rng_state;

static uint32_t rnd(uint32_t n) {
    rng_state = rng_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(((rng_state >> 32) * n) >> 32);
}

/* What one end has done and must see. */
struct ledger {
    uint64_t sent, send_done;   /* work requests posted, and accounted for */
    uint64_t posted, recv_done; /* receives */
    uint64_t arrived;           /* messages that came whole */
    bool signalled[DEPTH + 1];  /* by wr_id modulo the depth */
    bool broken;
};

static void fill(unsigned char *p, uint64_t seq, uint32_t len) {
    memcpy(p, &seq, sizeof(seq));
    for (uint32_t i = sizeof(seq); i < len; i++)
        p[i] = (unsigned char)(seq + i);
}

static void check_message(const unsigned char *p, uint64_t seq, uint32_t len) {
    uint64_t got;

    memcpy(&got, p, sizeof(got));
    CHECK_EQ(got, seq);
    for (uint32_t i = sizeof(seq); i < len; i++)
        CHECK_EQ(p[i], (unsigned char)(seq + i));
}

static uint32_t length_of(uint64_t seq) {
    return 8 + (uint32_t)(seq * 2654435761u % (MSG - 8));
}

static void do_send(struct end *e, struct ledger *l) {
    size_t slot = (size_t)(l->sent % (DEPTH + 1));
    uint32_t len = length_of(l->sent);
    unsigned int flags = 0;

    if (l->sent - l->send_done >= DEPTH)
        return;
    /* The last entry before the queue is full must be signalled, or it never frees. */
    if (rnd(3) == 0 || l->sent % (DEPTH / 2) == 0)
        flags |= IBV_SEND_SIGNALED;
    if (len <= 128 && rnd(2))
        flags |= IBV_SEND_INLINE;
    fill(e->buf + slot * MSG, l->sent, len);
    CHECK_EQ(post_send(e, l->sent, slot * MSG, len, flags), 0);
    l->signalled[slot] = flags & IBV_SEND_SIGNALED;
    l->sent++;
}

#define RECV_AT (BUF / 2)

static void do_recv(struct end *e, struct ledger *l) {
    size_t slot = (size_t)(l->posted % (DEPTH + 1));

    if (l->posted - l->recv_done >= DEPTH)
        return;
    CHECK_EQ(post_recv(e, l->posted | 1ull << 63, RECV_AT + slot * MSG, MSG), 0);
    l->posted++;
}

static void one(struct end *e, struct ledger *l, const struct ibv_wc *wc) {
    uint64_t id = wc->wr_id & ~(1ull << 63);

    CHECK_EQ(wc->qp_num, e->qp->qp_num);
    if (wc->wr_id != id) {
        CHECK_EQ(id, l->recv_done);
        l->recv_done++;
        if (wc->status == IBV_WC_SUCCESS) {
            CHECK_EQ(wc->byte_len, length_of(l->arrived));
            check_message(e->buf + RECV_AT + (id % (DEPTH + 1)) * MSG, l->arrived, wc->byte_len);
            l->arrived++;
        } else {
            CHECK_EQ(wc->status, IBV_WC_WR_FLUSH_ERR);
            l->broken = true;
        }
        return;
    }
    CHECK(id >= l->send_done && id < l->sent);
    for (uint64_t i = l->send_done; i < id; i++)
        CHECK(!l->signalled[i % (DEPTH + 1)] && !l->broken);
    if (wc->status != IBV_WC_SUCCESS)
        l->broken = true;
    else
        CHECK(l->signalled[id % (DEPTH + 1)]);
    l->send_done = id + 1;
}

static void do_poll(struct end *e, struct ledger *l) {
    struct ibv_wc wc[7];
    int n = ibv_poll_cq(e->cq, 1 + (int)rnd(7), wc);

    for (int i = 0; i < n; i++)
        one(e, l, &wc[i]);
}

struct many {
    struct pair *p;
    struct end end[PAIRS][2];
    struct ledger ledger[PAIRS][2];
};

static void many_init(struct many *m, const struct sim_config *cfg) {
    memset(m, 0, sizeof(*m));
    rng_state = cfg->seed;
    m->p = pair_new(cfg);
    for (int i = 0; i < PAIRS; i++) {
        end_init(m->p, &m->end[i][0]);
        end_init(m->p, &m->end[i][1]);
        CHECK_EQ(sim_qp_connect(m->end[i][0].qp, m->end[i][1].qp), 0);
    }
}

static void many_free(struct many *m) {
    for (int i = 0; i < PAIRS; i++) {
        end_free(&m->end[i][0]);
        end_free(&m->end[i][1]);
    }
    pair_free(m->p);
}

static void random_step(struct many *m) {
    uint32_t i = rnd(PAIRS), j = rnd(2);
    struct end *e = &m->end[i][j];
    struct ledger *l = &m->ledger[i][j];

    switch (rnd(4)) {
    case 0:
        do_send(e, l);
        break;
    case 1:
        do_recv(e, l);
        break;
    default:
        do_poll(e, l);
    }
}

static void settle(struct many *m) {
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < PAIRS; i++) {
            for (int j = 0; j < 2; j++) {
                do_recv(&m->end[i][j], &m->ledger[i][j]);
                do_poll(&m->end[i][j], &m->ledger[i][j]);
            }
        }
        sim_fabric_drain(m->p->f);
    }
}

static void healthy(uint64_t seed, enum sim_delivery delivery) {
    struct many m;

    many_init(&m, &(struct sim_config){.seed = seed, .delivery = delivery});
    for (int n = 0; n < OPS; n++) {
        if (rnd(500) == 0)
            sim_fault_rnr(m.end[rnd(PAIRS)][rnd(2)].qp, 1 + rnd(3));
        random_step(&m);
    }
    settle(&m);
    for (int i = 0; i < PAIRS; i++) {
        for (int j = 0; j < 2; j++) {
            CHECK(m.ledger[i][j].sent > 100);
            CHECK_EQ(m.ledger[i][j].arrived, m.ledger[i][!j].sent);
            CHECK(!m.ledger[i][j].broken);
        }
    }
    many_free(&m);
}

static void every_message_arrives_in_order_at_once(void) {
    healthy(1, SIM_DELIVER_NOW);
}

static void every_message_arrives_in_order_spread_at_random(void) {
    for (uint64_t seed = 1; seed <= 5; seed++)
        healthy(seed, SIM_DELIVER_SEEDED);
}

static void broken(uint64_t seed, enum sim_delivery delivery) {
    struct many m;

    many_init(&m, &(struct sim_config){.seed = seed, .delivery = delivery, .retry_polls = 50});
    for (int i = 0; i < PAIRS; i++)
        sim_fault_error_after(m.end[i][0].qp, 20 + rnd(100));
    for (int n = 0; n < OPS; n++)
        random_step(&m);
    for (int i = 0; i < PAIRS; i++) {
        CHECK_EQ(sim_qp_error(m.end[i][0].qp), 0);
        CHECK_EQ(sim_qp_error(m.end[i][1].qp), 0);
    }
    sim_fabric_drain(m.p->f);
    for (int round = 0; round < 200; round++) {
        for (int i = 0; i < PAIRS; i++) {
            do_poll(&m.end[i][0], &m.ledger[i][0]);
            do_poll(&m.end[i][1], &m.ledger[i][1]);
        }
    }
    for (int i = 0; i < PAIRS; i++) {
        for (int j = 0; j < 2; j++) {
            const struct ledger *l = &m.ledger[i][j];

            CHECK(l->broken);
            CHECK_EQ(l->recv_done, l->posted);
            for (uint64_t k = l->send_done; k < l->sent; k++)
                CHECK(!l->signalled[k % (DEPTH + 1)]);
            CHECK(l->arrived <= m.ledger[i][!j].sent);
        }
    }
    many_free(&m);
}

static void every_request_is_accounted_for_when_connections_break(void) {
    for (uint64_t seed = 1; seed <= 5; seed++) {
        broken(seed, SIM_DELIVER_NOW);
        broken(seed, SIM_DELIVER_SEEDED);
    }
}

/* What happened, as a number, to compare two runs. */
static uint64_t trace(uint64_t seed) {
    struct many m;
    struct ibv_wc wc[4];
    uint64_t hash = 14695981039346656037u;

    many_init(&m, &(struct sim_config){.seed = seed, .delivery = SIM_DELIVER_SEEDED});
    for (int n = 0; n < 4000; n++) {
        uint32_t i = rnd(PAIRS), j = rnd(2);
        struct end *e = &m.end[i][j];
        struct ledger *l = &m.ledger[i][j];
        int got = ibv_poll_cq(e->cq, 4, wc);

        for (int k = 0; k < got; k++) {
            one(e, l, &wc[k]);
            hash = (hash ^ (wc[k].wr_id + wc[k].qp_num * 1000 + (uint64_t)n)) * 1099511628211u;
        }
        do_send(e, l);
        do_recv(e, l);
    }
    many_free(&m);
    return hash;
}

static void the_same_seed_gives_the_same_run(void) {
    CHECK(trace(42) == trace(42));
    CHECK(trace(42) != trace(43));
}

#define TEST(f)                                                                                    \
    { #f, f }

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(every_message_arrives_in_order_at_once),
        TEST(every_message_arrives_in_order_spread_at_random),
        TEST(every_request_is_accounted_for_when_connections_break),
        TEST(the_same_seed_gives_the_same_run),
    };

    return test_main(argc, argv, tests, sizeof(tests) / sizeof(tests[0]));
}
