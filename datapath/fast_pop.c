/* The fast path of pop; see fast.h. */
#define DEMI_IMPLEMENTATION /* no nonnull attributes: the checks for NULL must stay */

#include "../include/demi/libos.h"

#include "fast.h"

/* As dp_pop, whatever has to be done; of_demi: as demi_pop. */
static __attribute__((noinline)) int pop_any(demi_qtoken_t *qt_out, int32_t qd, bool of_demi) {
    struct dp_conn *c;

    if (of_demi && !dp_process_ready())
        return ENOSYS;
    if (!qt_out)
        return EINVAL;
    int rc = dp_qd_lock_conn(qd, &c);
    if (rc)
        return rc;
    struct dp_engine *e = c->engine;
    rc = dp_pop_slow(c, qd, qt_out);
    dp_unlock(e);
    return rc;
}

/* The same; locked, if not NULL, is to be unlocked. */
COLD int pop_unlocked(demi_qtoken_t *qt_out, int32_t qd, struct dp_engine *locked, bool of_demi) {
    if (locked)
        (void)unlock(locked);
    return pop_any(qt_out, qd, of_demi);
}

/* As pop_any, locked at entry. */
static __attribute__((noinline)) int pop_locked(demi_qtoken_t *qt_out, int32_t qd,
                                                struct dp_conn *c) {
    struct dp_engine *e = c->engine;

    if (c == &dp_no_conn) /* the entry stays as it is while its engine is locked */
        return pop_unlocked(qt_out, qd, dp_qd_owner(qd), false);
    enter(e);
    int rc = dp_pop_slow(c, qd, qt_out);
    dp_unlock(e);
    return rc;
}

/* The same, if there is no next token or another pop has it: makes room. */
static __attribute__((noinline)) int next_pop(demi_qtoken_t *qt_out, int32_t qd,
                                              struct dp_conn *c) {
    struct dp_engine *e = c->engine;

    enter(e); /* another pop of c, perhaps */
    if (c->fast.no || !TAILQ_EMPTY(&e->held) || !qt_quick_reserve(&e->tokens, &e->quick.pop))
        return pop_locked(qt_out, qd, c);
    e->quick.used = true;
    e->quick.pop_conn = c;
    *qt_out = qt_quick_give(&e->quick.pop);
    return unlock(e);
}

/* A pop of c, whose engine is locked. */
HOT int pop_on(demi_qtoken_t *qt_out, int32_t qd, struct dp_conn *c, struct dp_engine *e) {
    if (DP_UNLIKELY(c->fast.no))
        return pop_locked(qt_out, qd, c);
    if (DP_UNLIKELY(!e->quick.pop.next))
        return next_pop(qt_out, qd, c);
    e->quick.pop_conn = c;
    *qt_out = qt_quick_give(&e->quick.pop);
    return leave(e);
}

HOT int pop(demi_qtoken_t *qt_out, int32_t qd, bool of_demi) {
    struct dp_engine *e;

    if (DP_UNLIKELY(!qt_out))
        return pop_any(qt_out, qd, of_demi);
    struct dp_conn *c;

    if (DP_UNLIKELY(!lock_conn(qd, &e, &c)))
        return pop_unlocked(qt_out, qd, e, of_demi);
    return pop_on(qt_out, qd, c, e);
}

int dp_pop(int32_t qd, demi_qtoken_t *qt_out) {
    return pop(qt_out, qd, false);
}

/* As demi_pop, if it is not one on the thread's engine. */
static __attribute__((noinline)) int pop_elsewhere(demi_qtoken_t *qt_out, int32_t qd,
                                                   struct dp_engine *locked) {
    if (locked)
        (void)unlock(locked);
    return pop(qt_out, qd, true);
}

int demi_pop(demi_qtoken_t *qt_out, int qd) {
    struct dp_engine *e;

    if (DP_UNLIKELY(!qt_out))
        return pop_any(qt_out, qd, true);
    struct dp_conn *c;

    if (DP_UNLIKELY(!lock_own(qd, &e, &c)))
        return pop_elsewhere(qt_out, qd, e);
    return pop_on(qt_out, qd, c, e);
}
