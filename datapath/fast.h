/*
 * Private to fast_*.c, the fast paths of push, pop, wait and free: what happens to
 * nearly every message, a call in one unit, so that the compiler sees all of it. Each call looks
 * whether its case is a plain one; if not, nothing has changed, and the general function
 * (dp_push_slow, ...) decides.
 *
 * Plain means: an open connection on which nothing but messages goes on (flow_is_plain), a
 * push that fits inline and may be posted at once, a pop for which nothing has arrived, a
 * message that finds its pop waiting. Such a push has completed when demi_push returns, and
 * the receive of such a message is posted again, with another block, before the pop's
 * result is taken.
 */
#ifndef CATMINT_FAST_H
#define CATMINT_FAST_H

#include "arena_fast.h"
#include "internal.h"
#include "process.h"

#define HOT static inline __attribute__((always_inline))
#define COLD static __attribute__((noinline, cold, unused))

/*
 * Nothing here calls a function that it does not also end with, but for the provider's:
 * what is not plain is left to one that does the rest and returns in its place. So the
 * compiler saves few registers on the way.
 *
 * A push has its token, and a pop that is its connection's only one, beside the table
 * (dp_engine.quick). Before anything is called that looks at the table, or at the pops of a
 * connection, enter() puts them where they belong.
 */

/* ---- The engine's lock ------------------------------------------------------------------- */

COLD int unlock_and_ring(struct dp_engine *e) {
    dp_unlock_ring(e);
    return 0;
}

COLD int wake(struct dp_engine *e) {
    dp_mutex_wake(&e->lock);
    return 0;
}

/* The call has completed a token while somebody slept, and has left the lock. */
COLD int wake_and_ring(struct dp_engine *e) {
    dp_mutex_wake(&e->lock);
    if (dp_mutex_flag(&e->lock)) {
        dp_mutex_lock(&e->lock); /* dp_lock would enter what is beside the table */
        dp_ring(e);
        dp_unlock(e);
    }
    return 0;
}

/* As dp_unlock, of a holder that has rung for nobody and called nothing that could have; 0. */
HOT int leave(struct dp_engine *e) {
    return DP_LIKELY(dp_mutex_leave(&e->lock)) ? 0 : wake(e);
}

/* The same, of one that has completed a token, by which whoever sleeps shall know. */
HOT int leave_done(struct dp_engine *e) {
    return DP_LIKELY(dp_mutex_leave(&e->lock)) ? 0 : wake_and_ring(e);
}

/* As dp_unlock; 0. */
HOT int unlock(struct dp_engine *e) {
    return DP_UNLIKELY(e->rings) ? unlock_and_ring(e) : leave(e);
}

HOT void enter(struct dp_engine *e) {
    if (e->quick.used)
        dp_quick_enter(e);
}

/* The call has named something that there is not. */
COLD int unlock_invalid(struct dp_engine *e) {
    dp_unlock(e);
    return EINVAL;
}

/* ---- Descriptors ----------------------------------------------------------------------- */

/*
 * Locks the engine of a descriptor in use: its connection, or dp_no_conn if it takes no pushes and
 * pops. False: it is not in use, or somebody else has the lock; *locked is the engine that has been
 * locked, or NULL.
 */
HOT bool lock_conn(int32_t qd, struct dp_engine **locked, struct dp_conn **c) {
    struct dp_engine *e = dp_qd_owner(qd);
    *locked = NULL;
    if (DP_UNLIKELY(!e || !dp_mutex_try(&e->lock)))
        return false;
    *locked = e;
    /* It may have been freed, and even given to another engine, before we had the lock. */
    if (DP_UNLIKELY(__atomic_load_n(&dp_qds.engine[qd], __ATOMIC_RELAXED) != e))
        return false;
    *c = dp_qds.live[qd];
    return true;
}

/* The same of a descriptor of the calling thread's engine, which takes no look-up. */
HOT bool lock_own(int32_t qd, struct dp_engine **locked, struct dp_conn **c) {
    struct dp_engine *e = dp_process_mine;
    uint64_t i = (uint32_t)qd;
    *locked = NULL;
    if (DP_UNLIKELY(!dp_mutex_try(&e->lock)))
        return false;
    *locked = e;
    if (DP_UNLIKELY(i >= DP_QD_END || __atomic_load_n(&dp_qds.engine[i], __ATOMIC_RELAXED) != e))
        return false;
    *c = dp_qds.live[i];
    return true;
}

#endif
