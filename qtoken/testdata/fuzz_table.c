/*
 * Fuzz target of the token table: two bytes a step choose what is done to which slot, and
 * the table's own counts and lists must stay consistent. scripts/fuzz.sh builds it for libFuzzer.
 *
 * With -DREPLAY=runs it has a main of its own that makes inputs up, the same each time.
 */
#include <stdio.h>

#include "qtoken.h"

enum { LIMIT = 600, KNOWN = 256 };

#define MUST(cond)                                                                                 \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #cond);                   \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static void check_lists(const struct qt_table *t) {
    uint64_t n = 0, unwatched = 0, alive = 0;
    const struct qt_slot *prev = NULL;
    for (const struct qt_slot *s = t->done.head; s; prev = s, s = s->next, n++) {
        MUST(s->prev == prev);
        MUST(qt_state(s) == QT_DONE && !s->watched);
        MUST(n < LIMIT);
    }
    MUST(t->done.tail == prev && t->done.len == n);
    if (t->newest) {
        MUST(qt_state(t->newest) == QT_DONE && !t->newest->watched);
        n++;
    }
    uint64_t done = 0;
    for (uint32_t i = 0; i < t->made; i++) {
        const struct qt_slot *s = &t->chunks[i >> QT_CHUNK_SHIFT][i & (QT_CHUNK_SLOTS - 1)];
        MUST(s->index == i);
        alive += qt_state(s) != QT_FREE;
        done += qt_state(s) == QT_DONE;
        unwatched += qt_state(s) == QT_DONE && !s->watched;
    }
    MUST(alive == qt_alive(t) && done == qt_done(t) && unwatched == n);
    uint64_t free_slots = 0;
    for (const struct qt_slot *s = t->free; s; s = s->next, free_slots++)
        MUST(qt_state(s) == QT_FREE && free_slots < LIMIT);
    MUST(free_slots + alive + t->retired == t->made);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct qt_table t;
    if (qt_table_init(&t, 9, LIMIT))
        return 0;
    t.word_max = 4 << QT_STATE_BITS;
    demi_qtoken_t known[KNOWN] = {0};
    uint32_t n = 0;
    for (; size >= 2; data += 2, size -= 2) {
        demi_qtoken_t qt = known[data[1]];
        struct qt_slot *s = qt_lookup(&t, qt);
        demi_sgarray_t sga = {.sga_numsegs = 1};
        demi_qresult_t r;
        MUST((s == NULL) == (qt_peek(&t, qt) == QT_FREE));
        switch (data[0] % 8) {
        case 0:
        case 1:
        case 2:
            for (uint32_t i = 0; i < 1u + data[1] % 64; i++)
                if (!qt_alloc(&t, data[1], DEMI_OPC_POP, &s))
                    known[n++ % KNOWN] = qt_token(&t, s);
            break;
        case 3:
            if (s) {
                bool pending = qt_state(s) == QT_PENDING;
                MUST(qt_complete_sga(&t, s, DEMI_OPC_POP, 0, &sga) == (pending ? 0 : EINVAL));
                MUST(qt_peek(&t, qt) == QT_DONE);
            }
            break;
        case 4:
            if (s && !qt_redeem(&t, s, &r))
                MUST(r.qr_qt == qt && !qt_lookup(&t, qt));
            break;
        case 5:
            if (s)
                MUST(!qt_abandon(&t, s) && !qt_lookup(&t, qt));
            break;
        case 6:
            if (s)
                (void)qt_watch(&t, s);
            break;
        case 7:
            if (s)
                qt_unwatch(&t, s);
            break;
        }
        if (data[0] > 200) /* now and then: it looks at everything */
            check_lists(&t);
    }
    check_lists(&t);
    for (uint32_t i = 0; i < t.made; i++) {
        struct qt_slot *s = &t.chunks[i >> QT_CHUNK_SHIFT][i & (QT_CHUNK_SLOTS - 1)];
        if (qt_state(s) != QT_FREE)
            MUST(!qt_abandon(&t, s));
    }
    MUST(!qt_table_destroy(&t));
    return 0;
}

#ifdef REPLAY
#include "test.h"

int main(void) {
    static uint8_t input[2000];
    unsigned long long rnd = 42;
    for (int run = 0; run < REPLAY; run++) {
        size_t len = test_random(&rnd) % sizeof(input);
        for (size_t i = 0; i < len; i++)
            input[i] = (uint8_t)(test_random(&rnd) >> 32);
        LLVMFuzzerTestOneInput(input, len);
    }
    return 0;
}
#endif
