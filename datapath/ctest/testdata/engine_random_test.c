/*
 * Random life on seeds: pushes, pops, closes, cancellations, failures, broken queue pairs and
 * lost answers in any order, on a fabric that interleaves at will. Whatever happens: messages
 * arrive whole, in order and without gaps; every token completes in the end; nothing is left.
 */
#include "world.h"

#define TOKENS 256

struct life {
    struct side *s;
    uint64_t stream;                            /* of what it pushes */
    demi_qtoken_t pushes[TOKENS], pops[TOKENS]; /* outstanding, oldest first */
    uint32_t npushes, npops;
    uint64_t pushed, delivered, received; /* messages; pushes that succeeded */
    bool ended;                           /* a pop has shown the end or an error */
    bool torn;
};

static uint32_t len_of(struct world *w, uint64_t n) {
    unsigned long long x = n * 7 + 3;
    (void)test_random(&x);
    if (w->setup.max_message && test_random(&x) % 4 == 0) /* a large one */
        return 1 + (uint32_t)(test_random(&x) % w->setup.max_message);
    return 1 + (uint32_t)(test_random(&x) % world_payload(w));
}

static void remove_first(demi_qtoken_t *list, uint32_t *n) {
    memmove(list, list + 1, --*n * sizeof(*list));
}

/* Redeems what has completed, in the order of the calls, and judges it. */
static void collect(struct world *w, struct life *l, const struct life *peer) {
    while (l->npushes && is_done(l->pushes[0])) {
        demi_qresult_t qr = redeem(l->pushes[0]);
        remove_first(l->pushes, &l->npushes);
        if (qr.qr_opcode == DEMI_OPC_FAILED) {
            /* One behind it may have succeeded: inline, its bytes were copied at once. */
            CHECK(qr.qr_ret > 0);
        } else {
            CHECK_EQ(qr.qr_opcode, DEMI_OPC_PUSH);
            l->delivered++;
        }
    }
    while (l->npops && is_done(l->pops[0])) {
        demi_qresult_t qr = redeem(l->pops[0]);
        remove_first(l->pops, &l->npops);
        if (qr.qr_opcode == DEMI_OPC_FAILED) {
            CHECK(qr.qr_ret > 0);
            l->ended = l->ended || qr.qr_ret != ECANCELED;
            continue;
        }
        CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
        demi_sgarray_t sga = qr.qr_value.sga;
        if (sga.sga_segs[0].sgaseg_len == 0) {
            l->ended = true;
        } else {
            CHECK(!l->ended); /* no message behind the end */
            check_bytes(&sga, len_of(w, l->received), peer->stream, l->received);
            l->received++;
            CHECK(l->received <= peer->pushed);
        }
        CHECK_EQ(dp_sgafree(l->s->engine, &sga), 0);
    }
}

/* What libos would do about notices, now and then. */
static void attend(struct life *l) {
    side_notices(l->s);
    if (l->s->broken && !l->torn) {
        l->torn = true;
        CHECK_EQ(dp_conn_disconnected(l->s->conn, 0), 0);
    }
}

static void act(struct world *w, struct life *l, unsigned long long *x, bool faults) {
    demi_qtoken_t qt;
    uint32_t die = (uint32_t)(test_random(x) % 1000);

    if (die < 400 && l->npushes < TOKENS) {
        CHECK_EQ(push(l->s, len_of(w, l->pushed), l->stream, l->pushed, &qt), 0);
        l->pushed++;
        l->pushes[l->npushes++] = qt;
    } else if (die < 800 && l->npops < TOKENS) {
        CHECK_EQ(dp_pop(l->s->qd, &qt), 0);
        l->pops[l->npops++] = qt;
    } else if (die < 960) {
        (void)dp_engine_poll(l->s->engine);
    } else if (die < 962 && faults) {
        CHECK_EQ(dp_conn_close(l->s->conn, test_random(x) & 1), 0);
    } else if (die == 962 && faults) {
        CHECK_EQ(dp_conn_cancel_pops(l->s->conn), 0);
    } else if (die == 963 && faults) {
        CHECK_EQ(dp_conn_close(l->s->conn, true), 0);
        CHECK_EQ(dp_conn_cancel_pushes(l->s->conn), 0);
    } else if (die == 964 && faults) {
        l->torn = true;
        CHECK_EQ(dp_conn_fail(l->s->conn, EHOSTDOWN), 0);
    } else if (die == 965 && faults && l->s->qp) {
        CHECK_EQ(sim_qp_error(l->s->qp), 0);
    } else if (die == 966 && faults && l->s->qp) {
        sim_fault_cut(l->s->qp, true);
    } else if (die == 967 && faults) {
        sim_fault_call(l->s->ctx, SIM_CALL_POST_SEND, 1, 1, EIO);
    } else if (die < 971 && faults) {
        /* A peer that did not poll in the meantime seems dead. */
        uint64_t every;
        CHECK_EQ(dp_conn_keepalive(l->s->conn, 4000000, 12000000, &every), 0);
    } else if (die >= 980 && faults) {
        (void)dp_engine_tick(l->s->engine, 1000000);
    } else if (die < 974 && faults && l->torn && l->s->qp) {
        CHECK_EQ(sim_qp_destroy(l->s->qp), 0);
        l->s->qp = NULL;
        CHECK_EQ(dp_conn_qp_destroyed(l->s->conn), 0);
    }
}

static void live(uint64_t seed, bool faults) {
    struct world w;
    struct setup u = world_defaults();
    unsigned long long x = seed * 2654435761u + 1;
    u.data_window = 1 + (uint32_t)(test_random(&x) % 8);
    u.max_window = seed % 2 ? u.data_window * 8 : 0;
    u.ctrl_window = 4 + (uint32_t)(test_random(&x) % 3);
    u.send_depth = 8u << test_random(&x) % 3;
    u.max_inline = (uint32_t)(test_random(&x) % 3) * 128;
    u.max_message = seed % 3 ? 20000 : 0;
    u.reads = 1 + (uint32_t)(test_random(&x) % 4);
    u.fabric =
        (struct sim_config){.seed = seed,
                            .delivery = test_random(&x) & 1 ? SIM_DELIVER_SEEDED : SIM_DELIVER_NOW,
                            .retry_polls = 50,
                            .no_late_recv_flush = test_random(&x) & 1,
                            .purge_cq_on_destroy = test_random(&x) & 1};
    world_open(&w, u);
    struct life a = {.s = &w.a, .stream = 1}, b = {.s = &w.b, .stream = 2};
    for (int i = 0; i < 1500; i++) {
        act(&w, &a, &x, faults);
        act(&w, &b, &x, faults);
        collect(&w, &a, &b);
        collect(&w, &b, &a);
        if (test_random(&x) % 4 == 0) {
            attend(&a);
            attend(&b);
        }
    }
    if (!faults) {
        /* Everything that was pushed arrives. */
        for (uint64_t turns = 0; a.received < b.pushed || b.received < a.pushed; turns++) {
            CHECK(turns < 100000);
            for (int i = 0; i < 2; i++) {
                struct life *l = i ? &b : &a, *peer = i ? &a : &b;
                while (l->npops < 8 && l->received + l->npops < peer->pushed)
                    l->pops[l->npops++] = must_pop(l->s);
                (void)dp_engine_poll(l->s->engine);
                collect(&w, l, peer);
            }
        }
        world_run(&w);
        collect(&w, &a, &b);
        collect(&w, &b, &a);
        CHECK_EQ(a.delivered, a.pushed);
        CHECK_EQ(b.delivered, b.pushed);
        CHECK_EQ(w.a.broken + w.b.broken, 0);
    }
    side_destroy_conn(&w.a);
    side_destroy_conn(&w.b);
    collect(&w, &a, &b);
    collect(&w, &b, &a);
    CHECK_EQ(a.npushes + a.npops + b.npushes + b.npops, 0); /* every token has completed */
    world_close(&w);
}

static void a_life_without_faults_loses_nothing(void) {
    for (uint64_t seed = 1; seed <= 60; seed++)
        live(seed, false);
}

static void a_life_with_faults_ends_every_token(void) {
    for (uint64_t seed = 1000; seed < 1400; seed++)
        live(seed, true);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(a_life_without_faults_loses_nothing),
        TEST(a_life_with_faults_ends_every_token),
    };
    if (argc == 3 && strcmp(argv[1], "seed") == 0) {
        live(strtoull(argv[2], NULL, 10), true);
        return 0;
    }
    return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
