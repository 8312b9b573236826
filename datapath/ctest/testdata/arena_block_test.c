/* Blocks, owners, size classes, chunks and their limits; one thread. */
#include <errno.h>
#include <stdint.h>
#include <sys/resource.h>
#include <unistd.h>

#include "arena_internal.h"
#include "test.h"

static struct arena_cache cache;

/* Each test starts with nothing and must leave nothing. */
static void begin(void) {
    arena_cache_init(&cache, 1);
}

static void end(void) {
    struct arena_census c;
    arena_census(&c);
    CHECK_EQ(c.blocks, 0);
    arena_cache_destroy(&cache);
    CHECK_EQ(arena_shutdown(), 0);
    arena_census(&c);
    CHECK_EQ(c.blocks + c.cached + c.chunks + c.bytes + c.regions, 0);
    arena_configure(0, ARENA_DEFAULT_KEEP);
}

static uint8_t *bytes(const demi_sgarray_t *s) {
    return s->sga_segs[0].sgaseg_buf;
}

static demi_sgarray_t must_alloc(size_t n) {
    demi_sgarray_t s;
    CHECK_EQ(arena_sgaalloc(&cache, n, &s), 0);
    return s;
}

/* ---- Classes ------------------------------------------------------------------------ */

static void a_class_holds_its_size_and_wastes_little(void) {
    for (size_t n = 1; n <= ARENA_MAX_CLASS; n++) {
        uint32_t class = arena_class(n);
        CHECK(class < ARENA_CLASSES);
        size_t have = arena_class_size(class);
        CHECK(have >= n);
        CHECK(have % ARENA_ALIGN == 0);
        CHECK(have - n < 64 || (have - n) * 4 <= have);
        CHECK(class == 0 || arena_class_size(class - 1) < n);
    }
    CHECK_EQ(arena_class_size(ARENA_CLASSES - 1), ARENA_MAX_CLASS);
}

static void an_allocation_has_the_bytes_asked_for_and_can_be_written(void) {
    begin();
    for (size_t n = 1; n < 5u << 20; n += 1 + n / 9) {
        demi_sgarray_t s = must_alloc(n);
        CHECK_EQ(s.sga_numsegs, 1);
        CHECK_EQ(s.sga_segs[0].sgaseg_len, n);
        /* Behind the lead, unless the block is a large one. */
        CHECK_EQ((uintptr_t)bytes(&s) % ARENA_ALIGN,
                 n + ARENA_LEAD <= ARENA_MAX_CLASS ? ARENA_LEAD : 0);
        CHECK_EQ(s.sga_addr.sin_port, 0);
        memset(bytes(&s), 0xa5, n);
        CHECK_EQ(arena_check(&cache, &s), 0);
        CHECK_EQ(arena_sgafree(&cache, &s), 0);
    }
    end();
}

static void blocks_of_a_class_do_not_overlap(void) {
    enum { N = 3000 };
    static demi_sgarray_t s[N];
    begin();
    static const size_t sizes[] = {1, 64, 200, 640, 7000, 8192, 40000};
    for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
        size_t n = sizes[k], count = n > 8192 ? 200 : N;
        for (size_t i = 0; i < count; i++) {
            s[i] = must_alloc(n);
            memset(bytes(&s[i]), (int)(i & 0xff), n);
        }
        for (size_t i = 0; i < count; i++) {
            CHECK_EQ(bytes(&s[i])[0], i & 0xff);
            CHECK_EQ(bytes(&s[i])[n - 1], i & 0xff);
            CHECK_EQ(arena_check(&cache, &s[i]), 0);
            CHECK_EQ(arena_sgafree(&cache, &s[i]), 0);
        }
    }
    end();
}

static void sizes_out_of_range_give_a_null_array(void) {
    begin();
    static const size_t bad[] = {0, (size_t)ARENA_MAX_BLOCK + 1, SIZE_MAX};
    for (size_t i = 0; i < 3; i++) {
        demi_sgarray_t s;
        memset(&s, 0xff, sizeof(s));
        CHECK_EQ(arena_sgaalloc(&cache, bad[i], &s), ENOMEM);
        CHECK_EQ(s.sga_numsegs, 0);
        CHECK(!arena_alloc(&cache, bad[i]));
    }
    end();
}

static void a_gigabyte_is_one_block(void) {
    begin();
    demi_sgarray_t s = must_alloc(ARENA_MAX_BLOCK);
    bytes(&s)[0] = 1;
    bytes(&s)[ARENA_MAX_BLOCK - 1] = 1;
    demi_sgarray_t part = s;
    part.sga_segs[0].sgaseg_buf = bytes(&s) + ARENA_MAX_BLOCK - 5;
    part.sga_segs[0].sgaseg_len = 5;
    CHECK_EQ(arena_check(&cache, &part), 0);
    part.sga_segs[0].sgaseg_len = 6;
    CHECK_EQ(arena_check(&cache, &part), EINVAL);
    CHECK_EQ(arena_sgafree(&cache, &part), 0);
    CHECK_EQ(arena_sgafree(&cache, &s), EINVAL);
    end();
}

/* ---- Owners ----------------------------------------------------------------------------- */

static void a_second_free_is_einval(void) {
    begin();
    demi_sgarray_t s = must_alloc(100);
    CHECK_EQ(arena_sgafree(&cache, &s), 0);
    CHECK_EQ(arena_sgafree(&cache, &s), EINVAL);
    CHECK_EQ(arena_check(&cache, &s), EINVAL);
    struct arena_block *b;
    CHECK_EQ(arena_hold(&s, &b), EINVAL);
    end();
}

static void a_second_free_is_einval_when_the_memory_has_a_new_owner(void) {
    begin();
    demi_sgarray_t old = must_alloc(100);
    CHECK_EQ(arena_sgafree(&cache, &old), 0);
    for (int i = 0; i < 1023; i++) { /* there are 1024 generations */
        demi_sgarray_t s = must_alloc(100);
        CHECK(bytes(&s) == bytes(&old)); /* the warmest block first */
        CHECK_EQ(arena_sgafree(&cache, &old), EINVAL);
        CHECK_EQ(arena_check(&cache, &old), EINVAL);
        CHECK_EQ(arena_check(&cache, &s), 0);
        CHECK_EQ(arena_sgafree(&cache, &s), 0);
    }
    end();
}

static void a_block_lives_while_the_data_plane_holds_it(void) {
    begin();
    demi_sgarray_t s = must_alloc(100);
    memset(bytes(&s), 7, 100);
    struct arena_block *b;
    CHECK_EQ(arena_hold(&s, &b), 0);
    arena_ref(b);
    CHECK_EQ(arena_sgafree(&cache, &s), 0);
    CHECK_EQ(arena_sgafree(&cache, &s), EINVAL);
    CHECK_EQ(arena_check(&cache, &s), EINVAL);
    struct arena_block *again;
    CHECK_EQ(arena_hold(&s, &again), EINVAL);
    demi_sgarray_t other = must_alloc(100);
    CHECK(bytes(&other) != bytes(&s));
    arena_unref(&cache, b);
    CHECK_EQ(((uint8_t *)arena_block_data(b))[99], 7);
    struct arena_census c;
    arena_census(&c);
    CHECK_EQ(c.blocks, 2);
    arena_unref(&cache, b);
    arena_census(&c);
    CHECK_EQ(c.blocks, 1);
    CHECK_EQ(arena_sgafree(&cache, &other), 0);
    end();
}

static void the_application_may_free_after_the_data_plane_let_go(void) {
    begin();
    demi_sgarray_t s = must_alloc(100);
    struct arena_block *b;
    CHECK_EQ(arena_hold(&s, &b), 0);
    arena_unref(&cache, b);
    CHECK_EQ(arena_check(&cache, &s), 0);
    CHECK_EQ(arena_sgafree(&cache, &s), 0);
    end();
}

static void a_received_block_is_given_with_its_header_hidden(void) {
    begin();
    struct arena_block *b = arena_alloc(&cache, 8192);
    CHECK(b);
    CHECK(arena_block_size(b) >= 8192);
    demi_sgarray_t guess = {.sga_buf = arena_block_data(b), .sga_numsegs = 1};
    guess.sga_segs[0].sgaseg_buf = arena_block_data(b);
    CHECK_EQ(arena_sgafree(&cache, &guess), EINVAL);
    guess.sga_buf = NULL;
    CHECK_EQ(arena_sgafree(&cache, &guess), EINVAL);
    demi_sgarray_t s;
    arena_give(b, 16, 1000, &s);
    CHECK(bytes(&s) == (uint8_t *)arena_block_data(b) + 16);
    CHECK_EQ(s.sga_segs[0].sgaseg_len, 1000);
    CHECK_EQ(arena_check(&cache, &s), 0);
    s.sga_segs[0].sgaseg_len = 1001; /* more than was received */
    CHECK_EQ(arena_check(&cache, &s), EINVAL);
    s.sga_segs[0].sgaseg_len = 0; /* what a pop at the peer's close looks like */
    CHECK_EQ(arena_check(&cache, &s), 0);
    CHECK_EQ(arena_sgafree(&cache, &s), 0);
    CHECK_EQ(arena_sgafree(&cache, &s), EINVAL);
    end();
}

static void a_segment_may_be_narrowed_and_no_more(void) {
    begin();
    demi_sgarray_t s = must_alloc(1000), t = s;
    t.sga_segs[0].sgaseg_buf = bytes(&s) + 10;
    t.sga_segs[0].sgaseg_len = 990;
    CHECK_EQ(arena_check(&cache, &t), 0);
    t.sga_segs[0].sgaseg_len = 991;
    CHECK_EQ(arena_check(&cache, &t), EINVAL);
    t.sga_segs[0].sgaseg_buf = bytes(&s) - 1;
    t.sga_segs[0].sgaseg_len = 1;
    CHECK_EQ(arena_check(&cache, &t), EINVAL);
    t.sga_segs[0].sgaseg_buf = bytes(&s) + 1000;
    t.sga_segs[0].sgaseg_len = 0;
    CHECK_EQ(arena_check(&cache, &t), 0);
    t.sga_segs[0].sgaseg_buf = bytes(&s) + 1;
    t.sga_segs[0].sgaseg_len = UINT32_MAX;
    CHECK_EQ(arena_check(&cache, &t), EINVAL);
    CHECK_EQ(arena_sgafree(&cache, &t), 0); /* which block it is was never in doubt */
    end();
}

static bool points_inside(const void *p, const demi_sgarray_t *s) {
    return (uintptr_t)p - (uintptr_t)bytes(s) < 1000;
}

static void foreign_memory_is_einval(void) {
    begin();
    demi_sgarray_t s = must_alloc(1000);
    static uint8_t mine[64] __attribute__((aligned(64)));
    void *elsewhere = malloc(64);
    void *const bad[] = {
        mine,
        elsewhere,
        bytes(&s) + 64, /* inside the block, not its start */
        bytes(&s),
        bytes(&s) - ARENA_LEAD,
        (void *)((uintptr_t)s.sga_buf ^ 1), /* the next block, and one that is not mapped */
        (void *)((uintptr_t)s.sga_buf ^ 0x80000000),
        (void *)(uintptr_t)((uintptr_t)s.sga_buf ^ ARENA_GEN),
        (void *)(uintptr_t)((uintptr_t)s.sga_buf + ARENA_GEN),
        (void *)(uintptr_t)((uintptr_t)s.sga_buf ^ ARENA_APP),
        (void *)(uintptr_t)((uintptr_t)s.sga_buf + ARENA_REF),
        NULL,
        (void *)(uintptr_t)((uintptr_t)s.sga_buf ^ ARENA_MARK),
        (void *)(uintptr_t)((uintptr_t)s.sga_buf ^ ARENA_REF),
        (void *)(uintptr_t)1,
        (void *)(uintptr_t)-1,
        (void *)((uintptr_t)1 << 47),
        (void *)(((uintptr_t)1 << 47) - 64),
        (void *)((uintptr_t)bytes(&s) ^ (uintptr_t)1 << 46),
        (void *)((uintptr_t)bytes(&s) | (uintptr_t)1 << 63),
        (void *)((uintptr_t)bytes(&s) & ~(uintptr_t)(ARENA_CHUNK - 1)),
        (void *)((uintptr_t)bytes(&s) | (ARENA_CHUNK - 64)),
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        demi_sgarray_t t = s;
        t.sga_buf = bad[i];
        struct arena_block *b;
        if ((uintptr_t)bad[i] == (uintptr_t)s.sga_buf)
            continue;
        CHECK_EQ(arena_check(&cache, &t), EINVAL);
        CHECK_EQ(arena_hold(&t, &b), EINVAL);
        CHECK_EQ(arena_sgafree(&cache, &t), EINVAL);
        t = s; /* a good sga_buf, and the bad address in the segment */
        t.sga_segs[0].sgaseg_buf = bad[i];
        if (points_inside(bad[i], &s))
            continue;
        CHECK_EQ(arena_check(&cache, &t), EINVAL);
    }
    free(elsewhere);
    CHECK_EQ(arena_sgafree(&cache, &s), 0);
    end();
}

static void null_arrays_are_einval(void) {
    begin();
    demi_sgarray_t s = {0};
    struct arena_block *b;
    CHECK_EQ(arena_sgafree(&cache, NULL), EINVAL);
    CHECK_EQ(arena_sgafree(&cache, &s), EINVAL);
    CHECK_EQ(arena_check(&cache, NULL), EINVAL);
    CHECK_EQ(arena_check(&cache, &s), EINVAL);
    CHECK_EQ(arena_hold(NULL, &b), EINVAL);
    s = must_alloc(10);
    s.sga_numsegs = 2;
    CHECK_EQ(arena_check(&cache, &s), EINVAL);
    CHECK_EQ(arena_sgafree(&cache, &s), EINVAL);
    s.sga_numsegs = 1;
    CHECK_EQ(arena_sgafree(&cache, &s), 0);
    end();
}

static void metadata_lies_between_guards(void) {
    begin();
    demi_sgarray_t s = must_alloc(100);
    struct arena_block *b;
    CHECK_EQ(arena_hold(&s, &b), 0);
    struct arena_chunk *c = arena_block_chunk(b);
    uint8_t *chunk = (uint8_t *)c, *blocks = (uint8_t *)arena_chunk_blocks(c);
    CHECK((uint8_t *)b >= blocks && (uint8_t *)b < blocks + ARENA_META_BLOCKS);
    /* Whether memory may be touched, a pipe can tell. */
    int fds[2];
    CHECK_EQ(pipe(fds), 0);
    uint8_t *const touchable[] = {chunk, chunk + ARENA_META_CHUNK - 1, blocks,
                                  blocks + ARENA_META_BLOCKS - 1};
    uint8_t *const not [] = {chunk - 1, chunk + ARENA_META_CHUNK, blocks - 1,
                             blocks + ARENA_META_BLOCKS};
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(write(fds[1], touchable[i], 1), 1);
        CHECK_EQ(write(fds[1], not [i], 1), -1);
        CHECK_EQ(errno, EFAULT);
    }
    close(fds[0]);
    close(fds[1]);
    arena_unref(&cache, b);
    CHECK_EQ(arena_sgafree(&cache, &s), 0);
    end();
}

/* ---- Memory ------------------------------------------------------------------------------- */

static void small_classes_share_a_chunk(void) {
    begin();
    demi_sgarray_t s[16];
    for (int i = 0; i < 16; i++)
        s[i] = must_alloc((size_t)64 << (i % 8));
    struct arena_census c;
    arena_census(&c);
    CHECK_EQ(c.chunks, 1);
    CHECK_EQ(c.bytes, ARENA_CHUNK);
    for (int i = 0; i < 16; i++)
        CHECK_EQ(arena_sgafree(&cache, &s[i]), 0);
    end();
}

static void a_large_block_wastes_at_most_a_quarter(void) {
    begin();
    for (size_t n = ARENA_MAX_CLASS + 1; n < 9u << 20; n += 100003) {
        struct arena_census before, after;
        arena_trim(0);
        arena_census(&before);
        demi_sgarray_t s = must_alloc(n);
        arena_census(&after);
        size_t have = after.bytes - before.bytes;
        CHECK(have >= n && have - n <= have / 4);
        CHECK_EQ(arena_sgafree(&cache, &s), 0);
    }
    end();
}

static void large_chunks_are_used_again(void) {
    begin();
    demi_sgarray_t s = must_alloc(3u << 20);
    void *at = bytes(&s);
    CHECK_EQ(arena_sgafree(&cache, &s), 0);
    demi_sgarray_t t = must_alloc((3u << 20) - 5000);
    CHECK(bytes(&t) == at);
    CHECK_EQ(arena_check(&cache, &s), EINVAL);
    CHECK_EQ(arena_sgafree(&cache, &s), EINVAL);
    CHECK_EQ(arena_sgafree(&cache, &t), 0);
    t = must_alloc(1u << 20); /* would waste two thirds */
    CHECK(bytes(&t) != at);
    CHECK_EQ(arena_sgafree(&cache, &t), 0);
    end();
}

static void empty_chunks_above_the_threshold_go_back(void) {
    enum { N = 40 };
    demi_sgarray_t s[N];
    struct arena_census c;
    begin();
    arena_configure(0, 4u << 20);
    for (int i = 0; i < N; i++)
        s[i] = must_alloc(512u << 10);
    for (int i = 0; i < N; i++)
        CHECK_EQ(arena_sgafree(&cache, &s[i]), 0);
    for (int i = 0; i < 4; i++) {
        demi_sgarray_t big = must_alloc(3u << 20);
        CHECK_EQ(arena_sgafree(&cache, &big), 0);
    }
    arena_cache_flush(&cache);
    arena_census(&c);
    CHECK(c.bytes <= 8u << 20); /* the threshold, and a chunk with slabs at hand */
    arena_trim(0);
    arena_census(&c);
    CHECK_EQ(c.bytes, 0);
    end();
}

static void a_stale_pointer_into_memory_given_back_is_einval(void) {
    begin();
    demi_sgarray_t small = must_alloc(100), large = must_alloc(5u << 20);
    CHECK_EQ(arena_sgafree(&cache, &small), 0);
    CHECK_EQ(arena_sgafree(&cache, &large), 0);
    arena_cache_flush(&cache);
    arena_trim(0);
    CHECK_EQ(arena_sgafree(&cache, &small), EINVAL);
    CHECK_EQ(arena_sgafree(&cache, &large), EINVAL);
    /* The same metadata, now of another chunk with another class. */
    demi_sgarray_t t = must_alloc(8192);
    CHECK_EQ(arena_sgafree(&cache, &small), EINVAL);
    CHECK_EQ(arena_sgafree(&cache, &large), EINVAL);
    CHECK_EQ(arena_sgafree(&cache, &t), 0);
    end();
}

static void the_maximum_of_bytes_ends_allocation_not_the_program(void) {
    enum { N = 64 };
    static demi_sgarray_t s[N];
    begin();
    arena_configure(8u << 20, ARENA_DEFAULT_KEEP);
    int n = 0;
    while (n < N && arena_sgaalloc(&cache, 500u << 10, &s[n]) == 0)
        n++;
    CHECK(n >= 14 && n <= 16);
    demi_sgarray_t t;
    CHECK_EQ(arena_sgaalloc(&cache, 3u << 20, &t), ENOMEM);
    struct arena_census c;
    arena_census(&c);
    CHECK(c.bytes <= 8u << 20);
    for (int i = 0; i < n; i++)
        CHECK_EQ(arena_sgafree(&cache, &s[i]), 0);
    arena_cache_flush(&cache);
    /* Chunks kept empty make room for what is wanted now. */
    CHECK_EQ(arena_sgaalloc(&cache, 7u << 20, &t), 0);
    CHECK_EQ(arena_sgafree(&cache, &t), 0);
    CHECK_EQ(arena_sgaalloc(&cache, 100, &t), 0);
    CHECK_EQ(arena_sgafree(&cache, &t), 0);
    end();
}

static void no_memory_at_any_step_is_null_and_leaves_nothing_behind(void) {
    begin();
    for (int64_t left = 0; left < 3; left++) {
        static const size_t sizes[] = {100, 3u << 20};
        for (size_t i = 0; i < 2; i++) {
            arena_trim(0);
            CHECK_EQ(arena_shutdown(), EBUSY); /* the cache is there */
            arena_test_mappings_left = left;
            demi_sgarray_t s;
            int rc = arena_sgaalloc(&cache, sizes[i], &s);
            arena_test_mappings_left = -1;
            if (rc == 0) {
                CHECK_EQ(arena_sgafree(&cache, &s), 0);
                arena_cache_flush(&cache);
            }
            arena_trim(0);
            struct arena_census c;
            arena_census(&c);
            CHECK_EQ(c.bytes, 0);
        }
    }
    demi_sgarray_t s = must_alloc(100);
    CHECK_EQ(arena_sgafree(&cache, &s), 0);
    end();
}

/* Where addresses are limited, arenas make do with what they get. */
static void metadata_takes_the_room_there_is(void) {
    unsigned long long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    CHECK(f && fscanf(f, "%llu", &pages) == 1);
    fclose(f);
    struct rlimit old, few;
    CHECK_EQ(getrlimit(RLIMIT_AS, &old), 0);
    few = old;
    few.rlim_cur = pages * (unsigned long long)getpagesize() + (256u << 20);
    CHECK_EQ(setrlimit(RLIMIT_AS, &few), 0);
    begin();
    demi_sgarray_t s = must_alloc(100);
    CHECK(arena_meta.room >= 16 && arena_meta.room < 512);
    CHECK_EQ(arena_sgafree(&cache, &s), 0);
    end();
    few.rlim_cur = 0;
    CHECK_EQ(setrlimit(RLIMIT_AS, &few), 0);
    begin();
    CHECK_EQ(arena_sgaalloc(&cache, 100, &s), ENOMEM);
    CHECK_EQ(setrlimit(RLIMIT_AS, &old), 0);
    s = must_alloc(100);
    CHECK_EQ(arena_sgafree(&cache, &s), 0);
    end();
}

static void as_many_chunks_as_there_is_metadata_for(void) {
    enum { N = 4 };
    demi_sgarray_t s[N + 1];
    arena_test_max_chunks = N;
    begin();
    for (int i = 0; i < N; i++)
        s[i] = must_alloc(1u << 20);
    CHECK_EQ(arena_sgaalloc(&cache, 1u << 20, &s[N]), ENOMEM);
    CHECK_EQ(arena_sgaalloc(&cache, 100, &s[N]), ENOMEM);
    CHECK_EQ(arena_sgafree(&cache, &s[0]), 0);
    s[0] = must_alloc(100); /* a chunk that was kept made room */
    for (int i = 0; i < N; i++)
        CHECK_EQ(arena_sgafree(&cache, &s[i]), 0);
    arena_test_max_chunks = ARENA_MAX_CHUNKS;
    end();
}

static void references_have_an_end(void) {
    begin();
    demi_sgarray_t s = must_alloc(100);
    struct arena_block *b, *more;
    CHECK_EQ(arena_hold(&s, &b), 0);
    uint64_t state = b->state;
    b->state |= ARENA_REFS; /* as after a million holds */
    CHECK_EQ(arena_hold(&s, &more), EAGAIN);
    CHECK_EQ(arena_check(&cache, &s), 0);
    b->state -= ARENA_REF;
    CHECK_EQ(arena_hold(&s, &more), 0);
    b->state = state;
    arena_unref(&cache, b);
    CHECK_EQ(arena_sgafree(&cache, &s), 0);
    end();
}

static void shutdown_is_busy_while_something_is_held(void) {
    demi_sgarray_t s;
    struct arena_block *b;
    CHECK_EQ(arena_sgaalloc(NULL, 100, &s), 0);
    CHECK_EQ(arena_shutdown(), EBUSY);
    CHECK_EQ(arena_hold(&s, &b), 0);
    CHECK_EQ(arena_sgafree(NULL, &s), 0);
    CHECK_EQ(arena_shutdown(), EBUSY);
    arena_unref(NULL, b);
    CHECK_EQ(arena_shutdown(), 0);
    CHECK_EQ(arena_shutdown(), 0);
}

static void a_cache_is_bounded(void) {
    enum { N = 1000 };
    static demi_sgarray_t s[N];
    begin();
    for (int i = 0; i < N; i++)
        s[i] = must_alloc(64);
    struct arena_census c;
    arena_census(&c);
    CHECK_EQ(c.blocks, N);
    for (int i = 0; i < N; i++)
        CHECK_EQ(arena_sgafree(&cache, &s[i]), 0);
    arena_census(&c);
    CHECK_EQ(c.blocks, 0);
    CHECK(c.cached <= ARENA_CACHE_BLOCKS);
    end();
}

/* Random work against a plain record of what is held. */
static void anything_goes(void) {
    enum { N = 300, STEPS = 60000 };
    static struct {
        demi_sgarray_t sga;
        struct arena_block *held;
        bool mine;
        uint8_t mark;
    } slot[N];
    unsigned long long rnd = 88172645463325252ULL;
    begin();
    arena_configure(64u << 20, 4u << 20);
    for (int step = 0; step < STEPS; step++) {
        uint32_t i = test_random(&rnd) % N;
        switch (test_random(&rnd) % 4) {
        case 0:
            if (!slot[i].mine && !slot[i].held) {
                uint32_t shift = test_random(&rnd) % 21;
                size_t n = 1 + test_random(&rnd) % ((size_t)1 << shift);
                if (arena_sgaalloc(&cache, n, &slot[i].sga))
                    break;
                slot[i].mine = true;
                slot[i].mark = (uint8_t)test_random(&rnd);
                bytes(&slot[i].sga)[0] = slot[i].mark;
                bytes(&slot[i].sga)[n - 1] = slot[i].mark;
            }
            break;
        case 1: {
            int rc = arena_sgafree(&cache, &slot[i].sga);
            CHECK_EQ(rc, slot[i].mine ? 0 : EINVAL);
            slot[i].mine = false;
            break;
        }
        case 2:
            if (slot[i].mine && !slot[i].held)
                CHECK_EQ(arena_hold(&slot[i].sga, &slot[i].held), 0);
            break;
        case 3:
            if (slot[i].held) {
                CHECK_EQ(bytes(&slot[i].sga)[0], slot[i].mark);
                arena_unref(&cache, slot[i].held);
                slot[i].held = NULL;
            }
            break;
        }
        if (!slot[i].mine && !slot[i].held)
            memset(&slot[i].sga, 0, sizeof(slot[i].sga));
        if (slot[i].mine) {
            uint32_t n = slot[i].sga.sga_segs[0].sgaseg_len;
            CHECK_EQ(arena_check(&cache, &slot[i].sga), 0);
            CHECK_EQ(bytes(&slot[i].sga)[n - 1], slot[i].mark);
        }
    }
    for (int i = 0; i < N; i++) {
        if (slot[i].held)
            arena_unref(&cache, slot[i].held);
        if (slot[i].mine)
            CHECK_EQ(arena_sgafree(&cache, &slot[i].sga), 0);
    }
    end();
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(a_class_holds_its_size_and_wastes_little),
        TEST(an_allocation_has_the_bytes_asked_for_and_can_be_written),
        TEST(blocks_of_a_class_do_not_overlap),
        TEST(sizes_out_of_range_give_a_null_array),
        TEST(a_gigabyte_is_one_block),
        TEST(a_second_free_is_einval),
        TEST(a_second_free_is_einval_when_the_memory_has_a_new_owner),
        TEST(a_block_lives_while_the_data_plane_holds_it),
        TEST(the_application_may_free_after_the_data_plane_let_go),
        TEST(a_received_block_is_given_with_its_header_hidden),
        TEST(a_segment_may_be_narrowed_and_no_more),
        TEST(foreign_memory_is_einval),
        TEST(null_arrays_are_einval),
        TEST(metadata_lies_between_guards),
        TEST(small_classes_share_a_chunk),
        TEST(a_large_block_wastes_at_most_a_quarter),
        TEST(large_chunks_are_used_again),
        TEST(empty_chunks_above_the_threshold_go_back),
        TEST(a_stale_pointer_into_memory_given_back_is_einval),
        TEST(the_maximum_of_bytes_ends_allocation_not_the_program),
        TEST(no_memory_at_any_step_is_null_and_leaves_nothing_behind),
        TEST(metadata_takes_the_room_there_is),
        TEST(as_many_chunks_as_there_is_metadata_for),
        TEST(references_have_an_end),
        TEST(shutdown_is_busy_while_something_is_held),
        TEST(a_cache_is_bounded),
        TEST(anything_goes),
    };
    return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
