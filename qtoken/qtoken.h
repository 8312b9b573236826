/*
 * Queue tokens: their encoding, and the table of the operations behind them.
 *
 * A token is 64 bits, from the most significant:
 *
 *     engine (10) | generation (34) | slot index (20)
 *
 * The generation of a slot starts at 1 and grows each time that the slot is freed, so a
 * token names one operation only: once redeemed it is EINVAL. A slot whose generation is
 * spent is retired, never wrapped: no token value is ever given out twice in the life of a
 * table. One slot reused without a break at 10 million operations a second lasts 2^34
 * operations, 28 minutes; then the table goes on with another one and can have one token
 * fewer alive. A table of 2^20 slots lasts 2^54 operations, 57 years at that rate; after
 * that qt_alloc answers EAGAIN.
 *
 * 0 is never a token, because generations start at 1, and neither is UINT64_MAX, because
 * the last engine number is not given to an engine.
 *
 * One token of each kind of operation may be kept beside the table for a while (struct
 * qt_quick): most are redeemed before there is another, and are then never entered.
 *
 * Threads: one table belongs to one engine, and every function here is called with that
 * engine's lock held, except qt_token_* (pure) and qt_peek, which any thread may call
 * without the lock while the table exists.
 *
 * Cost: every operation is O(1). Only growth allocates: one chunk of QT_CHUNK_SLOTS slots,
 * when more tokens are alive than ever before. Chunks never move and are kept until
 * qt_table_destroy.
 */
#ifndef CATMINT_QTOKEN_H
#define CATMINT_QTOKEN_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../include/demi/types.h"

/* ---- Encoding ----------------------------------------------------------------------- */

#define QT_INDEX_BITS 20
#define QT_GEN_BITS 34
#define QT_ENGINE_BITS 10

#define QT_INDEX_MAX ((UINT32_C(1) << QT_INDEX_BITS) - 1)
#define QT_GEN_MAX ((UINT64_C(1) << QT_GEN_BITS) - 1)
/* The greatest engine number that a table may have; one less than what would fit. */
#define QT_ENGINE_MAX ((UINT32_C(1) << QT_ENGINE_BITS) - 2)

#define QT_INVALID UINT64_C(0)

_Static_assert(QT_INDEX_BITS + QT_GEN_BITS + QT_ENGINE_BITS == 64, "a token is 64 bits");
_Static_assert(sizeof(demi_qtoken_t) == 8, "a token is 64 bits");

static inline demi_qtoken_t qt_token_make(uint32_t engine, uint64_t gen, uint32_t index) {
    return ((uint64_t)engine << (QT_INDEX_BITS + QT_GEN_BITS)) | (gen << QT_INDEX_BITS) | index;
}

static inline uint32_t qt_token_engine(demi_qtoken_t qt) {
    return (uint32_t)(qt >> (QT_INDEX_BITS + QT_GEN_BITS));
}

static inline uint64_t qt_token_gen(demi_qtoken_t qt) {
    return (qt >> QT_INDEX_BITS) & QT_GEN_MAX;
}

static inline uint32_t qt_token_index(demi_qtoken_t qt) {
    return (uint32_t)qt & QT_INDEX_MAX;
}

/* ---- Slots -------------------------------------------------------------------------- */

enum qt_state {
    QT_FREE = 0, /* no operation; also what a stale or foreign token looks like */
    QT_PENDING,  /* under way */
    QT_DONE      /* has a result that nobody has taken yet */
};

/* Slot words are generation << QT_STATE_BITS | state. */
#define QT_STATE_BITS 2
#define QT_STATE_MASK UINT64_C(3)

/*
 * One operation. Who owns which field, always under the engine's lock:
 * - free:    the table owns everything.
 * - pending: next, prev, owner, u32, u64, value and scratch are for whoever carries the
 *            operation out (for example to queue it in a qt_list of its connection). But for
 *            value they are zero after qt_alloc. The slot must be off every list of the owner's
 *            before qt_complete or qt_abandon.
 * - done:    next and prev are the table's again; owner, u32, u64 and scratch mean nothing.
 */
struct qt_slot {
    uint64_t word; /* generation and state; atomic, so that qt_peek needs no lock */
    struct qt_slot *next;
    struct qt_slot *prev;
    void *owner;
    int64_t ret;     /* done: 0 or a positive errno */
    int32_t qd;      /* the queue descriptor that the operation is on */
    uint32_t index;  /* place in the table */
    uint8_t opcode;  /* what was asked for: DEMI_OPC_PUSH, ... */
    uint8_t outcome; /* done: the same, or DEMI_OPC_FAILED */
    bool watched;    /* one waiter has reserved it: no qt_next_done for it */
    bool reserved;
    uint32_t u32;
    uint64_t u64;
    /* second cache line */
    union {
        demi_sgarray_t sga;
        demi_accept_result_t ares;
    } value; /* pending: the owner's, for example what to push; done: the result's */
    uint64_t scratch[3];
} __attribute__((aligned(64)));

_Static_assert(sizeof(struct qt_slot) == 128, "a slot is two cache lines");
_Static_assert(offsetof(struct qt_slot, value) == 64, "the first line holds what queues need");
_Static_assert(sizeof(demi_sgarray_t) == 40, "Demikernel's ABI");
_Static_assert(sizeof(demi_accept_result_t) == 20, "Demikernel's ABI");
_Static_assert(sizeof(demi_qresult_t) == 64, "Demikernel's ABI");

static inline enum qt_state qt_state(const struct qt_slot *s) {
    return (enum qt_state)(__atomic_load_n(&s->word, __ATOMIC_RELAXED) & QT_STATE_MASK);
}

/* Release: who sees a state by qt_peek sees what was written before it. */
static inline void qt_set_word(struct qt_slot *s, uint64_t gen, enum qt_state state) {
    __atomic_store_n(&s->word, gen << QT_STATE_BITS | (uint64_t)state, __ATOMIC_RELEASE);
}

static inline uint64_t qt_gen(const struct qt_slot *s) {
    return __atomic_load_n(&s->word, __ATOMIC_RELAXED) >> QT_STATE_BITS;
}

/* ---- Intrusive lists of slots --------------------------------------------------------- */

/*
 * A doubly linked FIFO through next and prev; all zero is an empty one. For the table's
 * completed slots, and for the data plane's pending operations: a slot is on one list at
 * a time.
 */
struct qt_list {
    struct qt_slot *head;
    struct qt_slot *tail;
    uint64_t len;
};

static inline void qt_list_push_back(struct qt_list *l, struct qt_slot *s) {
    s->next = NULL;
    s->prev = l->tail;
    if (l->tail)
        l->tail->next = s;
    else
        l->head = s;
    l->tail = s;
    l->len++;
}

/* s must be on l. */
static inline void qt_list_remove(struct qt_list *l, struct qt_slot *s) {
    if (s->prev)
        s->prev->next = s->next;
    else
        l->head = s->next;
    if (s->next)
        s->next->prev = s->prev;
    else
        l->tail = s->prev;
    s->next = NULL;
    s->prev = NULL;
    l->len--;
}

/* The oldest one, taken off the list, or NULL. */
static inline struct qt_slot *qt_list_pop_front(struct qt_list *l) {
    struct qt_slot *s = l->head;
    if (s)
        qt_list_remove(l, s);
    return s;
}

/* ---- Table -------------------------------------------------------------------------- */

#define QT_CHUNK_SHIFT 9
#define QT_CHUNK_SLOTS (UINT32_C(1) << QT_CHUNK_SHIFT) /* 64 KiB */
#define QT_DEFAULT_MAX (UINT32_C(1) << QT_INDEX_BITS)

struct qt_table {
    struct qt_slot **chunks; /* fixed array; an entry is written once (atomic) */
    struct qt_slot *free;    /* LIFO through next: the warmest first */
    struct qt_list done;     /* completed, not watched, oldest first, but for the newest: */
    struct qt_slot *newest;  /* linked when the next one comes, if it is still there then */
    uint64_t engine_bits;    /* engine, in its place in a token */
    uint32_t engine;
    uint32_t max;          /* tokens alive at most */
    uint32_t made;         /* slots handed out at least once: indices below are in use or free */
    uint64_t word_max;     /* greatest word of a free slot; smaller only in tests of retirement */
    uint64_t token_late;   /* a token that is greater may be the last of its slot */
    uint64_t alive;        /* pending or done */
    uint64_t done_watched; /* done and watched: on no list */
    uint64_t retired;      /* slots whose generations are spent */
    void *(*alloc)(size_t alignment, size_t size); /* aligned_alloc; tests make it fail */
};

/*
 * Makes an empty table for engine (0 to QT_ENGINE_MAX), with max tokens alive at most; 0
 * means QT_DEFAULT_MAX. EINVAL: engine or max out of range; ENOMEM.
 */
static inline int qt_table_init(struct qt_table *t, uint32_t engine, uint32_t max) {
    if (engine > QT_ENGINE_MAX || max > QT_DEFAULT_MAX)
        return EINVAL;
    memset(t, 0, sizeof(*t));
    t->engine = engine;
    t->engine_bits = qt_token_make(engine, 0, 0);
    t->max = max ? max : QT_DEFAULT_MAX;
    t->word_max = QT_GEN_MAX << QT_STATE_BITS;
    t->token_late = qt_token_make(engine, QT_GEN_MAX - 1, QT_INDEX_MAX);
    t->alloc = aligned_alloc;
    size_t n = (t->max + QT_CHUNK_SLOTS - 1) >> QT_CHUNK_SHIFT;
    t->chunks = (struct qt_slot **)calloc(n, sizeof(*t->chunks));
    return t->chunks ? 0 : ENOMEM;
}

/* Frees the table's memory. EBUSY while a token is alive. Nobody may peek any more. */
static inline int qt_table_destroy(struct qt_table *t) {
    if (t->alive)
        return EBUSY;
    for (uint32_t i = 0; i < t->made; i += QT_CHUNK_SLOTS)
        free(t->chunks[i >> QT_CHUNK_SHIFT]);
    free(t->chunks);
    memset(t, 0, sizeof(*t));
    return 0;
}

/* The token of a slot that is pending or done. */
static inline demi_qtoken_t qt_token(const struct qt_table *t, const struct qt_slot *s) {
    uint64_t gen = __atomic_load_n(&s->word, __ATOMIC_RELAXED) & ~QT_STATE_MASK;
    return t->engine_bits | gen << (QT_INDEX_BITS - QT_STATE_BITS) | s->index;
}

/* A slot never used before, or NULL. */
static inline struct qt_slot *qt_grow(struct qt_table *t) {
    uint32_t i = t->made;
    if (i == t->max)
        return NULL;
    struct qt_slot *chunk;
    if (i & (QT_CHUNK_SLOTS - 1)) {
        chunk = t->chunks[i >> QT_CHUNK_SHIFT];
    } else {
        size_t size = QT_CHUNK_SLOTS * sizeof(struct qt_slot);
        chunk = (struct qt_slot *)t->alloc(128, size);
        if (!chunk)
            return NULL;
        memset(chunk, 0, size);
        __atomic_store_n(&t->chunks[i >> QT_CHUNK_SHIFT], chunk, __ATOMIC_RELEASE);
    }
    struct qt_slot *s = &chunk[i & (QT_CHUNK_SLOTS - 1)];
    s->index = i;
    qt_set_word(s, 1, QT_FREE);
    t->made = i + 1;
    return s;
}

/*
 * Takes a slot for an operation op on qd; it is pending, and *out is valid until it is
 * redeemed or abandoned. EAGAIN: as many alive as allowed, or no memory to grow.
 */
static inline int qt_alloc(struct qt_table *t, int32_t qd, enum demi_opcode op,
                           struct qt_slot **out) {
    struct qt_slot *s = t->free;
    if (__builtin_expect(s != NULL, 1)) {
        t->free = s->next;
    } else {
        s = qt_grow(t);
        if (!s)
            return EAGAIN;
    }
    s->next = NULL;
    s->prev = NULL;
    s->owner = NULL;
    s->ret = 0;
    s->qd = qd;
    s->opcode = (uint8_t)op;
    s->outcome = DEMI_OPC_INVALID;
    s->u32 = 0;
    s->u64 = 0;
    memset(s->scratch, 0, sizeof(s->scratch));
    /* A free slot's word has the state 0. */
    __atomic_store_n(&s->word, __atomic_load_n(&s->word, __ATOMIC_RELAXED) | QT_PENDING,
                     __ATOMIC_RELEASE);
    t->alive++;
    *out = s;
    return 0;
}

/*
 * The slot that a token of this table's engine names, whatever has become of the token, or
 * NULL. The caller knows the engine: it has found the table by it.
 */
static inline struct qt_slot *qt_slot_of(const struct qt_table *t, demi_qtoken_t qt) {
    uint32_t i = qt_token_index(qt);
    if (__builtin_expect(i >= t->made, 0))
        return NULL;
    return &t->chunks[i >> QT_CHUNK_SHIFT][i & (QT_CHUNK_SLOTS - 1)];
}

/* Whether slot s holds the token, and the token has the state, which is not QT_FREE. */
static inline bool qt_holds(const struct qt_slot *s, demi_qtoken_t qt, enum qt_state state) {
    return __atomic_load_n(&s->word, __ATOMIC_RELAXED) ==
           (qt_token_gen(qt) << QT_STATE_BITS | (uint64_t)state);
}

/* The slot of a live token of this table, pending or done; NULL for anything else. */
static inline struct qt_slot *qt_lookup(const struct qt_table *t, demi_qtoken_t qt) {
    uint32_t i = qt_token_index(qt);
    if (qt_token_engine(qt) != t->engine || i >= t->made)
        return NULL;
    struct qt_slot *s = &t->chunks[i >> QT_CHUNK_SHIFT][i & (QT_CHUNK_SLOTS - 1)];
    if (qt_gen(s) != qt_token_gen(qt) || qt_state(s) == QT_FREE)
        return NULL;
    return s;
}

/*
 * The state of a token, without the lock: QT_FREE means that it is not, or no longer, a
 * token of this table. QT_PENDING may be out of date when it is returned; QT_DONE stays
 * true until somebody redeems it. Take the lock and look again before acting on the slot.
 */
static inline enum qt_state qt_peek(const struct qt_table *t, demi_qtoken_t qt) {
    uint32_t i = qt_token_index(qt);
    if (qt_token_engine(qt) != t->engine || i >= t->max)
        return QT_FREE;
    const struct qt_slot *chunk =
        __atomic_load_n(&t->chunks[i >> QT_CHUNK_SHIFT], __ATOMIC_ACQUIRE);
    if (!chunk)
        return QT_FREE;
    uint64_t w = __atomic_load_n(&chunk[i & (QT_CHUNK_SLOTS - 1)].word, __ATOMIC_ACQUIRE);
    if (w >> QT_STATE_BITS != qt_token_gen(qt))
        return QT_FREE;
    return (enum qt_state)(w & QT_STATE_MASK);
}

/* Whether a result has a value; that of any other is zero, whatever the slot holds. */
static inline bool qt_has_value(const struct qt_slot *s) {
    return s->outcome == DEMI_OPC_POP || s->outcome == DEMI_OPC_ACCEPT;
}

/*
 * Among the completed, unwatched slots. Most are redeemed before the next one completes:
 * those are never linked.
 */
static inline void qt_done_add(struct qt_table *t, struct qt_slot *s) {
    if (__builtin_expect(t->newest != NULL, 0))
        qt_list_push_back(&t->done, t->newest);
    t->newest = s;
}

static inline void qt_done_remove(struct qt_table *t, struct qt_slot *s) {
    if (__builtin_expect(t->newest == s, 1))
        t->newest = NULL;
    else
        qt_list_remove(&t->done, s);
}

static inline int qt_finish(struct qt_table *t, struct qt_slot *s, enum demi_opcode op,
                            int64_t ret) {
    s->ret = ret;
    s->outcome = (uint8_t)op;
    if (__builtin_expect(s->watched, 0))
        t->done_watched++;
    else
        qt_done_add(t, s);
    qt_set_word(s, qt_gen(s), QT_DONE);
    return 0;
}

/*
 * Completes a pending slot, with a zero value: op is its own opcode and ret 0, or op is
 * DEMI_OPC_FAILED and ret a positive errno. EINVAL: it is not pending; nothing changes.
 * The caller wakes sleepers, and the Go waiter if s->watched.
 */
static inline int qt_complete(struct qt_table *t, struct qt_slot *s, enum demi_opcode op,
                              int64_t ret) {
    if (qt_state(s) != QT_PENDING)
        return EINVAL;
    if (op == DEMI_OPC_POP || op == DEMI_OPC_ACCEPT)
        memset(&s->value, 0, sizeof(s->value));
    return qt_finish(t, s, op, ret);
}

/* As qt_complete, with a scatter-gather array that the redeemer will own (of a pop). */
static inline int qt_complete_sga(struct qt_table *t, struct qt_slot *s, enum demi_opcode op,
                                  int64_t ret, const demi_sgarray_t *sga) {
    if (qt_state(s) != QT_PENDING)
        return EINVAL;
    memmove(&s->value.sga, sga, sizeof(*sga));
    return qt_finish(t, s, op, ret);
}

/* As qt_complete, with the result of an accept. */
static inline int qt_complete_accept(struct qt_table *t, struct qt_slot *s, enum demi_opcode op,
                                     int64_t ret, const demi_accept_result_t *ares) {
    if (qt_state(s) != QT_PENDING)
        return EINVAL;
    memset(&s->value, 0, sizeof(s->value));
    memcpy(&s->value.ares, ares, sizeof(*ares));
    return qt_finish(t, s, op, ret);
}

/*
 * The completed slot that has waited longest, or NULL; it stays where it is. To take it,
 * qt_redeem. Watched slots are never among them.
 */
static inline struct qt_slot *qt_next_done(const struct qt_table *t) {
    return t->done.head ? t->done.head : t->newest;
}

/* Ends the life of the slot's token. */
static inline void qt_release(struct qt_table *t, struct qt_slot *s) {
    /* Words compare as generations do. */
    uint64_t next = (__atomic_load_n(&s->word, __ATOMIC_RELAXED) | QT_STATE_MASK) + 1;
    t->alive--;
    s->watched = false;
    if (__builtin_expect(next > t->word_max, 0)) {
        qt_set_word(s, 0, QT_FREE);
        t->retired++;
        return;
    }
    __atomic_store_n(&s->word, next, __ATOMIC_RELEASE);
    s->next = t->free;
    t->free = s;
}

/* A done slot is to be freed: off the completed ones. */
static inline void qt_undo_done(struct qt_table *t, struct qt_slot *s) {
    if (__builtin_expect(s->watched, 0))
        t->done_watched--;
    else
        qt_done_remove(t, s);
}

/* Takes the result of a slot that is done, and whose token is qt, and frees the slot. */
static inline void qt_take(struct qt_table *t, struct qt_slot *s, demi_qtoken_t qt,
                           demi_qresult_t *out) {
    out->qr_opcode = (enum demi_opcode)s->outcome;
    out->qr_qd = s->qd;
    out->qr_qt = qt;
    out->qr_ret = s->ret;
    if (qt_has_value(s))
        memcpy(&out->qr_value, &s->value, sizeof(s->value));
    else
        memset(&out->qr_value, 0, sizeof(s->value));
    qt_undo_done(t, s);
    qt_release(t, s);
}

/* Takes a done slot's result and frees the slot. ETIMEDOUT: it is still pending. */
static inline int qt_redeem(struct qt_table *t, struct qt_slot *s, demi_qresult_t *out) {
    if (qt_state(s) == QT_PENDING)
        return ETIMEDOUT;
    if (qt_state(s) != QT_DONE)
        return EINVAL;
    qt_take(t, s, qt_token(t, s), out);
    return 0;
}

/*
 * Frees a pending or done slot without taking its result: nobody will redeem the token.
 * What a done slot's value owns (a popped block) is the caller's to free first.
 */
static inline int qt_abandon(struct qt_table *t, struct qt_slot *s) {
    enum qt_state state = qt_state(s);
    if (state == QT_FREE)
        return EINVAL;
    if (state == QT_DONE)
        qt_undo_done(t, s);
    qt_release(t, s);
    return 0;
}

/*
 * Reserves a token for one waiter that waits for it by name: qt_next_done never shows it,
 * so that nobody who takes whatever comes runs off with it. Returns whether it is done
 * already. Watching twice does no harm.
 */
static inline bool qt_watch(struct qt_table *t, struct qt_slot *s) {
    bool done = qt_state(s) == QT_DONE;
    if (done && !s->watched) {
        qt_done_remove(t, s);
        t->done_watched++;
    }
    s->watched = true;
    return done;
}

/* Ends the reservation; a done token becomes the newest of qt_next_done. */
static inline void qt_unwatch(struct qt_table *t, struct qt_slot *s) {
    if (s->watched && qt_state(s) == QT_DONE) {
        t->done_watched--;
        qt_done_add(t, s);
    }
    s->watched = false;
}

/* Tokens pending or done. */
static inline uint64_t qt_alive(const struct qt_table *t) {
    return t->alive;
}
/* Tokens done and not redeemed, watched ones included. */
static inline uint64_t qt_done(const struct qt_table *t) {
    return t->done.len + (t->newest ? 1 : 0) + t->done_watched;
}

/* ---- Beside the table ----------------------------------------------------------------- */

/*
 * A slot that is taken off the free ones to give its tokens out, one after the other, without
 * entering them: what the operation is, its owner keeps elsewhere. Such a token is none for
 * all functions above; qt_quick_enter makes it one. There is no more than one at a time; all
 * zero but for live is a valid start.
 */
struct qt_quick {
    demi_qtoken_t live; /* given out and not redeemed, or QT_NONE */
    demi_qtoken_t next; /* to be given out next; 0: none before live ends, or no slot */
    struct qt_slot *slot;
};

#define QT_NONE UINT64_MAX

/* Makes next, if there is no slot yet. False: none can be had. */
static inline bool qt_quick_reserve(struct qt_table *t, struct qt_quick *q) {
    struct qt_slot *s = t->free;
    if (s)
        t->free = s->next;
    else
        s = qt_grow(t);
    if (!s)
        return false;
    q->slot = s;
    q->next = qt_token(t, s);
    return true;
}

/* Gives out next, which is there. */
static inline demi_qtoken_t qt_quick_give(struct qt_quick *q) {
    q->live = q->next;
    q->next = 0;
    return q->live;
}

/*
 * Ends the life of the live token, which is qt, and not greater than the table's token_late: one
 * that is must be entered, and redeemed as any other.
 */
static inline void qt_quick_next(struct qt_quick *q, demi_qtoken_t qt) {
    q->live = QT_NONE;
    q->next = qt + (UINT64_C(1) << QT_INDEX_BITS);
}

/*
 * Gives the slot back. If a token is live it is entered, as by qt_alloc for op on qd: its
 * slot; else NULL.
 */
static inline struct qt_slot *qt_quick_enter(struct qt_table *t, struct qt_quick *q, int32_t qd,
                                             enum demi_opcode op) {
    struct qt_slot *s = q->slot;
    bool live = q->live != QT_NONE;

    if (!s)
        return NULL;
    qt_set_word(s, qt_token_gen(live ? q->live : q->next), QT_FREE);
    s->next = t->free;
    t->free = s;
    *q = (struct qt_quick){.live = QT_NONE};
    if (live)
        (void)qt_alloc(t, qd, op, &s); /* the same slot, and so the same token */
    return live ? s : NULL;
}

#endif
