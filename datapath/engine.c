/* The table of engines, and the engine's lock. */
#include "internal.h"
#include "process.h"

#include <stdlib.h>
#include <sys/eventfd.h>

/*
 * Engines are never freed, only reused: a thread may hold a stale token and look its engine
 * up at any time. What is big in them is freed.
 */
struct dp_engine *dp_engines[QT_ENGINE_MAX + 2]; /* atomic; the last is of no engine */
struct dp_engine dp_no_engine = {.lock = {DP_MUTEX_TAKEN}};
static struct dp_mutex engines_lock;
static uint32_t engines_next; /* where to look first, so that indices are reused late */

struct dp_counts dp_counts;

void dp_mutex_lock_slow(struct dp_mutex *m) {
    for (int i = 0; i < 100; i++) {
        if (!(__atomic_load_n(&m->word, __ATOMIC_RELAXED) & DP_MUTEX_TAKEN) && dp_mutex_try(m))
            return;
        dp_pause();
    }
    const uint32_t both = DP_MUTEX_TAKEN | DP_MUTEX_SLEEPERS;
    uint32_t seen;
    while ((seen = __atomic_fetch_or(&m->word, both, __ATOMIC_ACQUIRE)) & DP_MUTEX_TAKEN)
        dp_futex_wait(&m->word, seen | both, NULL);
}

void dp_unlock_ring(struct dp_engine *e) {
    uint32_t rings = e->rings;

    e->rings = 0;
    __atomic_fetch_add(&e->wake_seq, 1, __ATOMIC_SEQ_CST);
    if (rings & DP_RING_LEADER)
        dp_event_write(e->wake_fd);
    dp_mutex_unlock(&e->lock);
    if (rings & DP_RING_ALL)
        dp_futex_wake(&e->wake_seq, INT32_MAX);
    else if (rings & DP_RING_ONE)
        dp_futex_wake(&e->wake_seq, 1);
}

/* A place without a living engine, or DP_MAX_ENGINES. */
static uint32_t free_index(void) {
    for (uint32_t n = 0; n < DP_MAX_ENGINES; n++) {
        uint32_t i = (engines_next + n) % DP_MAX_ENGINES;
        struct dp_engine *e = dp_engines[i];
        if (!e || !e->alive)
            return i;
    }
    return DP_MAX_ENGINES;
}

static int engine_open(struct dp_engine *e, const struct dp_config *cfg) {
    int rc = qt_table_init(&e->tokens, e->index, cfg->max_tokens);
    if (rc)
        return rc;
    e->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (e->wake_fd < 0) {
        rc = errno;
        goto no_wake;
    }
    e->notice_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (e->notice_fd < 0) {
        rc = errno;
        goto no_notice;
    }
    e->cfg = *cfg;
    if (e->cfg.spin_ns == 0)
        e->cfg.spin_ns = DP_SPIN_NS;
    e->quick.push.live = e->quick.pop.live = QT_NONE;
    e->quick.pushed.opcode = DEMI_OPC_PUSH;
    TAILQ_INIT(&e->cqs);
    e->turn = NULL;
    e->turn_in = DP_TURN;
    e->aborted = 0;
    TAILQ_INIT(&e->dirty);
    TAILQ_INIT(&e->held);
    TAILQ_INIT(&e->crowded);
    TAILQ_INIT(&e->watched);
    TAILQ_INIT(&e->noticed);
    arena_cache_init(&e->cache, (uint16_t)(e->index + 1));
    return 0;
no_notice:
    close(e->wake_fd);
no_wake:
    (void)qt_table_destroy(&e->tokens);
    return rc;
}

int dp_engine_create(const struct dp_config *cfg, struct dp_engine **out) {
    int rc = 0;

    if (!cfg || !out || (unsigned)cfg->wait_mode > DP_WAIT_BLOCK)
        return EINVAL;
    dp_mutex_lock(&engines_lock);
    uint32_t i = free_index();
    if (i == DP_MAX_ENGINES) {
        rc = EAGAIN;
        goto out;
    }
    struct dp_engine *e = dp_engines[i];
    if (!e) {
        e = (struct dp_engine *)calloc(1, sizeof(*e));
        if (!e) {
            rc = ENOMEM;
            goto out;
        }
        e->index = i;
        __atomic_store_n(&dp_engines[i], e, __ATOMIC_RELEASE);
    }
    dp_lock(e);
    rc = engine_open(e, cfg);
    e->alive = rc == 0;
    dp_unlock(e);
    if (rc)
        goto out;
    if (cfg->max_arena_mem)
        arena_configure(cfg->max_arena_mem, ARENA_DEFAULT_KEEP);
    engines_next = (i + 1) % DP_MAX_ENGINES;
    dp_count(&dp_counts.engines, 1);
    *out = e;
out:
    dp_mutex_unlock(&engines_lock);
    return rc;
}

int dp_engine_destroy(struct dp_engine *e) {
    int rc = 0;

    if (!e)
        return EINVAL;
    dp_mutex_lock(&engines_lock);
    dp_lock(e);
    if (!e->alive) {
        rc = EINVAL;
    } else if (e->conns_alive || e->qds_alive || !TAILQ_EMPTY(&e->cqs) || e->sleepers ||
               qt_table_destroy(&e->tokens)) {
        rc = EBUSY;
    } else {
        e->alive = false;
        close(e->wake_fd);
        close(e->notice_fd);
        e->wake_fd = e->notice_fd = -1;
        e->notice_rung = e->notice_housekeeper = e->parked = e->watched_over = false;
        free(e->watch_ring);
        e->watch_ring = NULL;
        e->watch_cap = e->watch_head = e->watch_tail = e->watch_reserved = 0;
        free(e->conns);
        e->conns = NULL;
        e->nconns = e->conns_cap = e->conns_free = 0;
        arena_cache_destroy(&e->cache);
        dp_count(&dp_counts.engines, -1);
    }
    dp_unlock(e);
    dp_mutex_unlock(&engines_lock);
    return rc;
}

void dp_engines_forked(void) {
    for (uint32_t i = 0; i < DP_MAX_ENGINES; i++)
        if (dp_engines[i])
            dp_engines[i]->lock.word = DP_MUTEX_TAKEN;
}

uint32_t dp_engine_index(const struct dp_engine *e) {
    return e->index;
}

uint32_t dp_starving;

void dp_feed_starving(void) {
    for (uint32_t i = 0; i < DP_MAX_ENGINES; i++) {
        struct dp_engine *e = __atomic_load_n(&dp_engines[i], __ATOMIC_ACQUIRE);
        if (!e)
            continue;
        dp_lock(e);
        if (e->alive && e->starved) {
            /* Whoever keeps watch polls, and a poll tries again. */
            dp_leader_refresh(e);
            if (!e->leader)
                dp_notice_housekeeper(e);
        }
        dp_unlock(e);
    }
}

/* Tokens alive in all engines. */
static uint64_t count_tokens(void) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < DP_MAX_ENGINES; i++) {
        struct dp_engine *e = __atomic_load_n(&dp_engines[i], __ATOMIC_ACQUIRE);
        if (!e)
            continue;
        dp_lock(e);
        if (e->alive)
            n += qt_alive(&e->tokens);
        dp_unlock(e);
    }
    return n;
}

void dp_census(struct dp_census *out) {
    struct arena_census a;

    arena_census(&a);
    *out = (struct dp_census){
        .engines = __atomic_load_n(&dp_counts.engines, __ATOMIC_RELAXED),
        .devices = __atomic_load_n(&dp_counts.devices, __ATOMIC_RELAXED),
        .cqs = __atomic_load_n(&dp_counts.cqs, __ATOMIC_RELAXED),
        .conns = __atomic_load_n(&dp_counts.conns, __ATOMIC_RELAXED),
        .descriptors = __atomic_load_n(&dp_counts.descriptors, __ATOMIC_RELAXED),
        .tokens = count_tokens(),
        .blocks = a.blocks,
        .regions = a.regions + __atomic_load_n(&dp_counts.regions, __ATOMIC_RELAXED),
        .arena_bytes = a.bytes,
    };
}
