/*
 * Liveness (docs/protocol.md, section 7): who is silent is asked by PING, and who stays
 * silent is given up.
 *
 * Time is what the caller of dp_engine_tick says has passed, and a sign of life is that the
 * count of frames received, or of READs come back, is not what it was at the last tick. So a
 * message costs nothing here: no clock, no store. And a process that was stopped for an hour
 * sees one tick of the usual length, which polls first, and blames nobody.
 */
#include "internal.h"

#define LEAST_PERIOD UINT64_C(1000000) /* nanoseconds between ticks */

static bool watched(const struct dp_conn *c) {
    return c->alive.limit != 0;
}

static void watch(struct dp_conn *c, bool on) {
    if (on == c->alive.listed)
        return;
    c->alive.listed = on;
    if (on)
        TAILQ_INSERT_TAIL(&c->engine->watched, c, alive.link);
    else
        TAILQ_REMOVE(&c->engine->watched, c, alive.link);
}

/* Whether the peer has given a sign of life since this was asked last. */
static bool heard(struct dp_conn *c) {
    bool any = c->alive.seq != c->flow.seq_in || c->alive.reads != c->reads_back;

    c->alive.seq = c->flow.seq_in;
    c->alive.reads = c->reads_back;
    return any;
}

/* How often c must be looked at: often enough that its times hold to a quarter. */
static uint64_t period_of(const struct dp_conn *c) {
    uint64_t answer = c->alive.limit - c->alive.idle;
    uint64_t p = (c->alive.idle < answer ? c->alive.idle : answer) / 4;
    return p < LEAST_PERIOD ? LEAST_PERIOD : p;
}

static uint64_t period(const struct dp_engine *e) {
    const struct dp_conn *c;
    uint64_t least = 0;

    TAILQ_FOREACH(c, &e->watched, alive.link) {
        uint64_t p = period_of(c);
        if (least == 0 || p < least)
            least = p;
    }
    return least;
}

/* One connection, elapsed after the last look; the next one comes after another period. */
static void look(struct dp_conn *c, uint64_t elapsed, uint64_t next) {
    if (c->phase != DP_CONN_OPEN) {
        watch(c, false);
        return;
    }
    if (!c->established)
        return;
    if (heard(c)) {
        c->alive.silent = 0;
        c->alive.asked = c->alive.ask = false;
        return;
    }
    c->alive.silent += elapsed;
    if (c->alive.silent < c->alive.idle)
        return;
    if (!c->alive.asked) {
        c->alive.asked = c->alive.ask = true;
    } else if (c->alive.silent + next >= c->alive.limit) {
        dp_conn_break(c, ETIMEDOUT, false);
        dp_conn_flush(c);
        watch(c, false);
    }
    dp_conn_dirty(c);
}

uint64_t dp_engine_tick(struct dp_engine *e, uint64_t elapsed) {
    struct dp_conn *c, *next;

    dp_lock(e);
    if (!e->alive || TAILQ_EMPTY(&e->watched)) {
        dp_unlock(e);
        return 0;
    }
    /* What has come already counts. */
    (void)dp_poll_locked(e);
    uint64_t p = period(e);
    for (c = TAILQ_FIRST(&e->watched); c; c = next) {
        next = TAILQ_NEXT(c, alive.link);
        look(c, elapsed, p);
    }
    dp_poll_settle(e);
    p = period(e);
    dp_unlock(e);
    return p;
}

int dp_conn_keepalive(struct dp_conn *c, uint64_t idle, uint64_t limit, uint64_t *tick) {
    if (!c || !tick || (limit != 0 && (idle == 0 || idle >= limit)))
        return EINVAL;
    dp_lock(c->engine);
    c->alive.idle = idle;
    c->alive.limit = limit;
    c->alive.silent = 0;
    c->alive.asked = c->alive.ask = false;
    (void)heard(c);
    watch(c, watched(c) && c->phase == DP_CONN_OPEN);
    *tick = period(c->engine);
    dp_unlock(c->engine);
    return 0;
}

void dp_keepalive_forget(struct dp_conn *c) {
    watch(c, false);
}

bool dp_ping_due(const struct dp_conn *c) {
    return (c->alive.ask || c->alive.tell) && !c->flow.ping_sent && flow_may_send_ctrl(&c->flow);
}

uint32_t dp_ping_sent(struct dp_conn *c) {
    c->alive.ask = c->alive.tell = false;
    c->stats.pings_out++;
    return c->reads_back;
}

void dp_ping_came(struct dp_conn *c, uint32_t arg) {
    c->stats.pings_in++;
    if (arg == c->alive.told)
        return;
    c->alive.told = arg;
    c->alive.progress++;
}
