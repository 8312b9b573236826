/* Streams of messages between the two sides of a world, with many under way at once. */
#ifndef CATMINT_STREAM_H
#define CATMINT_STREAM_H

#include "world.h"

/* Pushes and pops of one direction, with up to ahead tokens of each pending. */
struct stream {
    struct side *from, *to;
    uint64_t id, count, pushed, push_done, popped, pop_done;
    uint32_t (*len)(struct world *w, uint64_t n);
    uint32_t ahead;
    demi_qtoken_t pushes[64], pops[64];
};

static inline void stream_step(struct world *w, struct stream *s) {
    while (s->pushed < s->count && s->pushed - s->push_done < s->ahead) {
        uint64_t n = s->pushed++;
        s->pushes[n % 64] = must_push(s->from, s->len(w, n), s->id, n);
    }
    while (s->popped < s->count && s->popped - s->pop_done < s->ahead)
        s->pops[s->popped++ % 64] = must_pop(s->to);
    while (s->push_done < s->pushed && is_done(s->pushes[s->push_done % 64]))
        must_succeed(s->pushes[s->push_done++ % 64], DEMI_OPC_PUSH);
    while (s->pop_done < s->popped && is_done(s->pops[s->pop_done % 64])) {
        uint64_t n = s->pop_done++;
        must_get(s->to, s->pops[n % 64], s->len(w, n), s->id, n);
    }
}

static inline bool stream_over(const struct stream *s) {
    return s->pop_done == s->count && s->push_done == s->count;
}

static inline uint32_t len_small(struct world *w, uint64_t n) {
    (void)w;
    (void)n;
    return 64;
}
static inline uint32_t len_largest(struct world *w, uint64_t n) {
    (void)n;
    return world_payload(w);
}
static inline uint32_t len_mixed(struct world *w, uint64_t n) {
    unsigned long long x = n + 1;
    return 1 + (uint32_t)(test_random(&x) % world_payload(w));
}

static inline void run_streams(struct world *w, struct stream *s, int n) {
    uint64_t turns = 0;
    for (;;) {
        bool over = true;
        for (int i = 0; i < n; i++) {
            stream_step(w, &s[i]);
            over = over && stream_over(&s[i]);
        }
        if (over)
            return;
        dp_engine_poll(w->a.engine);
        dp_engine_poll(w->b.engine);
        CHECK(turns++ < 50 * (s[0].count + 1000)); /* stalled */
    }
}

static inline void many_messages(struct setup u, uint64_t count,
                                 uint32_t (*len)(struct world *, uint64_t), uint32_t ahead,
                                 bool both) {
    struct world w;
    world_open(&w, u);
    struct stream s[2] = {
        {.from = &w.a, .to = &w.b, .id = 1, .count = count, .len = len, .ahead = ahead},
        {.from = &w.b, .to = &w.a, .id = 2, .count = count, .len = len, .ahead = ahead}};
    run_streams(&w, s, both ? 2 : 1);
    world_run(&w);
    CHECK_EQ(w.a.broken + w.b.broken, 0);
    world_close(&w);
}

/* One message, from the push to the pop's result; by the calls of applications. */
static inline void one_message(struct side *from, struct side *to, uint64_t n) {
    demi_qtoken_t pop = must_pop(to);
    demi_qresult_t qr;

    must_succeed(must_push(from, 64, 1, n), DEMI_OPC_PUSH);
    CHECK_EQ(dp_wait(pop, &qr, NULL), 0);
    CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
    demi_sgarray_t sga = qr.qr_value.sga;
    check_bytes(&sga, 64, 1, n);
    CHECK_EQ(dp_sgafree(to->engine, &sga), 0);
}

#endif
