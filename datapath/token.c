/* Tokens: completion by either plane, and what the control plane does with its own. */
#include "internal.h"

void dp_announce(struct dp_engine *e, struct qt_slot *s) {
    if (DP_UNLIKELY(s->watched))
        dp_notice_token(e, qt_token(&e->tokens, s));
    e->done_seq++;
    dp_ring(e);
}

void dp_quick_enter(struct dp_engine *e) {
    struct qt_slot *s =
        qt_quick_enter(&e->tokens, &e->quick.push, e->quick.pushed.qd, DEMI_OPC_PUSH);

    if (s)
        (void)qt_complete(&e->tokens, s, DEMI_OPC_PUSH, 0); /* whoever sleeps was rung for it */
    struct dp_conn *c = e->quick.pop.live != QT_NONE ? e->quick.pop_conn : NULL;
    s = qt_quick_enter(&e->tokens, &e->quick.pop, c ? c->qd : -1, DEMI_OPC_POP);
    if (s) {
        s->owner = c;
        qt_list_push_back(&c->pops, s);
        c->fast.no |= DP_NO_POP;
    }
    e->quick.used = false;
}

void dp_complete(struct dp_engine *e, struct qt_slot *s, enum demi_opcode op, int err) {
    (void)qt_complete(&e->tokens, s, op, err);
    dp_announce(e, s);
}

void dp_complete_sga(struct dp_engine *e, struct qt_slot *s, const demi_sgarray_t *sga) {
    (void)qt_complete_sga(&e->tokens, s, (enum demi_opcode)s->opcode, 0, sga);
    dp_announce(e, s);
}

/* Locks the engine of a live token: its slot, or NULL. */
static struct qt_slot *lock_token(demi_qtoken_t qt, struct dp_engine **out) {
    struct dp_engine *e = dp_engine_of_token(qt);
    if (!e)
        return NULL;
    dp_lock(e);
    struct qt_slot *s = e->alive ? qt_lookup(&e->tokens, qt) : NULL;
    if (!s) {
        dp_unlock(e);
        return NULL;
    }
    *out = e;
    return s;
}

/* Push and pop tokens belong to the engine's lists: the control plane keeps off them. */
static bool is_control(const struct qt_slot *s) {
    return s->opcode == DEMI_OPC_CONNECT || s->opcode == DEMI_OPC_ACCEPT ||
           s->opcode == DEMI_OPC_CLOSE;
}

int dp_token_alloc(struct dp_engine *e, int32_t qd, enum demi_opcode op, demi_qtoken_t *out) {
    struct qt_slot *s;

    if (!e || !out || (op != DEMI_OPC_CONNECT && op != DEMI_OPC_ACCEPT && op != DEMI_OPC_CLOSE))
        return EINVAL;
    dp_lock(e);
    int rc = e->aborted;
    if (rc == 0)
        rc = e->alive ? qt_alloc(&e->tokens, qd, op, &s) : EINVAL;
    if (rc == 0)
        *out = qt_token(&e->tokens, s);
    dp_unlock(e);
    return rc;
}

void dp_tokens_fail(struct dp_engine *e, int err) {
    for (uint32_t i = 0; i < e->tokens.made; i++) {
        struct qt_slot *s = &e->tokens.chunks[i >> QT_CHUNK_SHIFT][i & (QT_CHUNK_SLOTS - 1)];
        if (qt_state(s) == QT_PENDING && is_control(s))
            dp_complete(e, s, DEMI_OPC_FAILED, err);
    }
}

static int complete(demi_qtoken_t qt, enum demi_opcode op, int64_t ret,
                    const demi_accept_result_t *ares, bool quiet) {
    struct dp_engine *e;
    struct qt_slot *s = lock_token(qt, &e);
    if (!s)
        return EINVAL;
    int rc;
    if (!is_control(s) || (op == DEMI_OPC_FAILED ? ret <= 0 : op != s->opcode || ret != 0))
        rc = EINVAL;
    else if (ares && op == DEMI_OPC_ACCEPT)
        rc = qt_complete_accept(&e->tokens, s, op, ret, ares);
    else
        rc = qt_complete(&e->tokens, s, op, ret);
    if (rc == 0 && quiet && s->watched) {
        e->watch_reserved--;
        e->done_seq++;
        dp_ring(e);
    } else if (rc == 0)
        dp_announce(e, s);
    dp_unlock(e);
    return rc;
}

int dp_token_complete(demi_qtoken_t qt, enum demi_opcode op, int64_t ret,
                      const demi_accept_result_t *ares) {
    return complete(qt, op, ret, ares, false);
}

int dp_token_complete_quietly(demi_qtoken_t qt, enum demi_opcode op, int64_t ret,
                              const demi_accept_result_t *ares) {
    return complete(qt, op, ret, ares, true);
}

static bool sets_up(const struct qt_slot *s) {
    return s->opcode == DEMI_OPC_CONNECT || s->opcode == DEMI_OPC_ACCEPT;
}

bool dp_tokens_set_up(struct dp_engine *e, const demi_qtoken_t *qts, int n) {
    for (int i = 0; qts && i < n; i++) {
        const struct qt_slot *s = qt_lookup(&e->tokens, qts[i]);
        if (!s || qt_state(s) != QT_PENDING || !sets_up(s))
            return false;
    }
    return qts && n > 0;
}

int dp_token_abandon(demi_qtoken_t qt) {
    struct dp_engine *e;
    struct qt_slot *s = lock_token(qt, &e);
    if (!s)
        return EINVAL;
    int rc = EINVAL;
    if (is_control(s) && qt_state(s) == QT_PENDING) {
        bool watched = s->watched;
        rc = qt_abandon(&e->tokens, s);
        if (watched)
            dp_notice_token(e, qt);
        e->done_seq++;
        dp_ring(e); /* somebody may be waiting for it: EINVAL */
    }
    dp_unlock(e);
    return rc;
}

int dp_token_watch(demi_qtoken_t qt, bool *done, bool *sets_up_out) {
    struct dp_engine *e;

    if (!done)
        return EINVAL;
    struct qt_slot *s = lock_token(qt, &e);
    if (!s)
        return EINVAL;
    int rc = 0;
    if (qt_state(s) == QT_PENDING && !s->watched)
        rc = dp_notice_reserve(e);
    if (rc == 0)
        *done = qt_watch(&e->tokens, s);
    if (rc == 0 && sets_up_out)
        *sets_up_out = sets_up(s);
    dp_unlock(e);
    return rc;
}

int dp_token_unwatch(demi_qtoken_t qt) {
    struct dp_engine *e;
    struct qt_slot *s = lock_token(qt, &e);
    if (!s)
        return EINVAL;
    if (s->watched && qt_state(s) == QT_PENDING)
        e->watch_reserved--;
    if (s->watched && qt_state(s) == QT_DONE) {
        e->done_seq++;
        dp_ring(e); /* dp_wait_next_n may have it now */
    }
    qt_unwatch(&e->tokens, s);
    dp_unlock(e);
    return 0;
}

int dp_token_redeem(demi_qtoken_t qt, demi_qresult_t *qr_out) {
    struct dp_engine *e;

    if (!qr_out)
        return EINVAL;
    struct qt_slot *s = lock_token(qt, &e);
    if (!s)
        return EINVAL;
    int rc = qt_redeem(&e->tokens, s, qr_out);
    dp_unlock(e);
    return rc;
}
