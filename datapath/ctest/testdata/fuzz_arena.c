/*
 * Fuzz target of the arenas: four bytes a step allocate, free, hold and forge arrays, and
 * a plain list of what the application holds says what the answers must be. scripts/fuzz.sh
 * builds it for libFuzzer.
 *
 * With -DREPLAY=runs it has a main of its own that makes inputs up, the same each time.
 */
#include <errno.h>

#include "arena_internal.h"
#include "test.h"

enum { N = 64 };

static struct arena_cache cache;

static struct entry {
    demi_sgarray_t sga; /* as it was allocated */
    size_t size;        /* what the application holds; 0: nothing (any more) */
    struct arena_block *held;
} entries[N];

/* The first byte that the application may use. */
static uintptr_t first_of(const struct entry *e) {
    return (uintptr_t)e->sga.sga_segs[0].sgaseg_buf;
}

/* The entry that an array names and the application holds, or NULL. */
static struct entry *named(const demi_sgarray_t *s) {
    if (s->sga_numsegs != 1)
        return NULL;
    for (int i = 0; i < N; i++) {
        struct entry *e = &entries[i];
        if (!e->size)
            continue;
        if (s->sga_buf == e->sga.sga_buf)
            return e;
    }
    return NULL;
}

static bool inside(const demi_sgarray_t *s, const struct entry *e) {
    uintptr_t off = (uintptr_t)s->sga_segs[0].sgaseg_buf - first_of(e);
    return off <= e->size && s->sga_segs[0].sgaseg_len <= e->size - off;
}

static size_t size_from(uint8_t a, uint8_t b) {
    size_t n = (size_t)a << (b % 15);
    return n ? n : 1;
}

/* An array like that of e, bent by a and b. */
static demi_sgarray_t forge(const struct entry *e, uint8_t a, uint8_t b) {
    demi_sgarray_t s = e->sga;
    intptr_t delta = (intptr_t)(int8_t)b * (1 << (a / 16));
    switch (a % 8) {
    case 0:
        s.sga_buf = (void *)((uintptr_t)s.sga_buf + ((uintptr_t)delta << (b & 32)));
        break;
    case 1:
        s.sga_segs[0].sgaseg_buf = (void *)((uintptr_t)s.sga_segs[0].sgaseg_buf + (uintptr_t)delta);
        break;
    case 2:
        s.sga_segs[0].sgaseg_len += (uint32_t)delta;
        break;
    case 3:
        s.sga_buf = b & 1 ? NULL : s.sga_segs[0].sgaseg_buf;
        break;
    case 4:
        s.sga_numsegs = b;
        break;
    case 5:
        s.sga_buf = (void *)((uintptr_t)delta * (uintptr_t)delta * (uintptr_t)delta);
        if (b & 1) /* the address, as of old */
            s.sga_buf =
                (void *)(((uintptr_t)e->sga.sga_segs[0].sgaseg_buf & ~(uintptr_t)63) | (b & 63));
        break;
    case 6: /* narrowed, as an application may */
        s.sga_segs[0].sgaseg_buf = (void *)((uintptr_t)s.sga_segs[0].sgaseg_buf + b % 16);
        s.sga_segs[0].sgaseg_len -= s.sga_segs[0].sgaseg_len < b ? 0 : b;
        break;
    default:
        break;
    }
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    memset(entries, 0, sizeof(entries));
    arena_cache_init(&cache, 1);
    arena_configure(64u << 20, 2u << 20);
    for (; size >= 4; data += 4, size -= 4) {
        struct arena_cache *through = data[0] & 0x80 ? NULL : &cache;
        struct entry *e = &entries[data[1] % N], *owner;
        demi_sgarray_t s;
        struct arena_block *b;
        switch (data[0] % 8) {
        case 0:
        case 1:
        case 2:
            if (e->size || e->held)
                break;
            if (arena_sgaalloc(through, size_from(data[2], data[3]), &e->sga) == 0) {
                e->size = size_from(data[2], data[3]);
                memset(e->sga.sga_segs[0].sgaseg_buf, data[1], e->size);
            }
            break;
        case 3: /* stale arrays, too */
            CHECK_EQ(arena_sgafree(through, &e->sga), (owner = named(&e->sga)) ? 0 : EINVAL);
            if (owner)
                owner->size = 0;
            break;
        case 4:
            if (e->size && !e->held)
                CHECK_EQ(arena_hold(&e->sga, &e->held), 0);
            break;
        case 5:
            if (e->held)
                arena_unref(through, e->held);
            e->held = NULL;
            break;
        case 6:
            s = forge(e, data[2], data[3]);
            owner = named(&s);
            CHECK_EQ(arena_check(&cache, &s), owner && inside(&s, owner) ? 0 : EINVAL);
            if (arena_hold(&s, &b) == 0) {
                CHECK(owner && inside(&s, owner));
                arena_unref(through, b);
            }
            if (data[3] % 4 == 0) {
                CHECK_EQ(arena_sgafree(through, &s), owner ? 0 : EINVAL);
                if (owner)
                    owner->size = 0;
            }
            break;
        case 7:
            if (data[2] < 32)
                arena_trim(0);
            else if (data[2] < 64)
                arena_cache_flush(&cache);
            break;
        }
        if (e->size) { /* nobody else has written there */
            CHECK_EQ(((uint8_t *)first_of(e))[0], (uint8_t)(((uint8_t *)first_of(e))[e->size - 1]));
        }
    }
    for (int i = 0; i < N; i++) {
        if (entries[i].held)
            arena_unref(&cache, entries[i].held);
        if (entries[i].size)
            CHECK_EQ(arena_sgafree(&cache, &entries[i].sga), 0);
    }
    struct arena_census c;
    arena_census(&c);
    CHECK_EQ(c.blocks, 0);
    arena_cache_destroy(&cache);
    CHECK_EQ(arena_shutdown(), 0);
    return 0;
}

#ifdef REPLAY
int main(void) {
    static uint8_t input[4000];
    unsigned long long rnd = 7;
    for (int run = 0; run < REPLAY; run++) {
        size_t len = test_random(&rnd) % sizeof(input);
        for (size_t i = 0; i < len; i++)
            input[i] = (uint8_t)(test_random(&rnd) >> 32);
        LLVMFuzzerTestOneInput(input, len);
    }
    return 0;
}
#endif
