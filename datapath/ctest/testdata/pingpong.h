/* Pairs of threads that play ping-pong on connections of the same two engines. */
#ifndef CATMINT_PINGPONG_H
#define CATMINT_PINGPONG_H

#include "world.h"

struct pair {
    struct side a, b;
    int rounds;
};

/* A connection of its own on the engines of w. */
static inline void pair_open(struct pair *p, struct world *w, int rounds) {
    *p = (struct pair){.a = w->a, .b = w->b, .rounds = rounds};
    side_make_conn(&p->a);
    side_make_conn(&p->b);
    CHECK_EQ(sim_qp_connect(p->a.qp, p->b.qp), 0);
    CHECK_EQ(dp_conn_establish(p->a.conn, p->a.qd, &p->b.limits), 0);
    CHECK_EQ(dp_conn_establish(p->b.conn, p->b.qd, &p->a.limits), 0);
}

static inline void pair_close(struct pair *p) {
    side_destroy_conn(&p->a);
    side_destroy_conn(&p->b);
}

static inline demi_qresult_t wait_ok(demi_qtoken_t qt) {
    demi_qresult_t qr;
    CHECK_EQ(dp_wait(qt, &qr, NULL), 0);
    return qr;
}

static inline void *pings(void *arg) {
    struct pair *p = arg;
    for (uint64_t n = 0; n < (uint64_t)p->rounds; n++) {
        uint32_t len = n % 3 ? 64 : 700;
        demi_qtoken_t pop = must_pop(&p->a), qt = must_push(&p->a, len, 1, n);
        CHECK_EQ(wait_ok(qt).qr_opcode, DEMI_OPC_PUSH);
        demi_qresult_t qr = wait_ok(pop);
        CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
        demi_sgarray_t sga = qr.qr_value.sga;
        check_bytes(&sga, len, 1, n);
        CHECK_EQ(dp_sgafree(p->a.engine, &sga), 0);
    }
    return NULL;
}

static inline void *pongs(void *arg) {
    struct pair *p = arg;
    for (int n = 0; n < p->rounds; n++) {
        demi_qresult_t qr = wait_ok(must_pop(&p->b));
        demi_sgarray_t sga = qr.qr_value.sga;
        demi_qtoken_t qt;
        CHECK_EQ(dp_push(p->b.qd, &sga, &qt), 0);
        CHECK_EQ(dp_sgafree(p->b.engine, &sga), 0);
        CHECK_EQ(wait_ok(qt).qr_opcode, DEMI_OPC_PUSH);
    }
    return NULL;
}

#endif
