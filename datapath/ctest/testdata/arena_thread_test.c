/* Arenas under several threads: what the thread sanitizer is for. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>

#include "arena_internal.h"
#include "test.h"

enum { THREADS = 4, SHARED = 64, STEPS = 6000 };

static void run(void *(*f)(void *)) {
    pthread_t t[THREADS];
    for (intptr_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, f, (void *)i), 0);
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(t[i], NULL), 0);
}

static void end(void) {
    struct arena_census c;
    arena_census(&c);
    CHECK_EQ(c.blocks, 0);
    CHECK_EQ(arena_shutdown(), 0);
    arena_configure(0, ARENA_DEFAULT_KEEP);
}

/* ---- Messages travel between engines ------------------------------------------------------ */

static struct {
    pthread_mutex_t lock;
    demi_sgarray_t sga; /* null: empty */
} shared[SHARED];

static void *travel(void *arg) {
    static struct arena_cache caches[THREADS];
    struct arena_cache *cache = &caches[(intptr_t)arg];
    arena_cache_init(cache, (uint16_t)((intptr_t)arg + 1));
    unsigned long long rnd = 1234567 + (unsigned long long)(intptr_t)arg;
    for (int step = 0; step < STEPS; step++) {
        uint32_t i = test_random(&rnd) % SHARED;
        demi_sgarray_t s = {0};
        struct arena_block *held = NULL;
        if (test_random(&rnd) % 2) {
            size_t n = 1 + test_random(&rnd) % (step % 100 ? 9000 : 3u << 20);
            CHECK_EQ(arena_sgaalloc(step % 7 ? cache : NULL, n, &s), 0);
            uint8_t *p = s.sga_segs[0].sgaseg_buf;
            p[0] = p[n - 1] = (uint8_t)n;
        }
        pthread_mutex_lock(&shared[i].lock);
        demi_sgarray_t got = shared[i].sga;
        shared[i].sga = s;
        pthread_mutex_unlock(&shared[i].lock);
        if (!got.sga_numsegs)
            continue;
        size_t n = got.sga_segs[0].sgaseg_len;
        CHECK_EQ(arena_hold(&got, &held), 0);
        CHECK_EQ(arena_sgafree(cache, &got), 0);
        uint8_t *p = got.sga_segs[0].sgaseg_buf;
        CHECK_EQ(p[0], (uint8_t)n);
        CHECK_EQ(p[n - 1], (uint8_t)n);
        arena_unref(cache, held);
    }
    arena_cache_destroy(cache);
    return NULL;
}

static void messages_may_be_freed_by_another_thread(void) {
    arena_configure(0, 2u << 20); /* so that chunks come and go */
    for (int i = 0; i < SHARED; i++)
        pthread_mutex_init(&shared[i].lock, NULL);
    run(travel);
    for (int i = 0; i < SHARED; i++)
        if (shared[i].sga.sga_numsegs)
            CHECK_EQ(arena_sgafree(NULL, &shared[i].sga), 0);
    end();
}

/* ---- Two frees at once ----------------------------------------------------------------------- */

static demi_sgarray_t contested;
static pthread_barrier_t barrier;
static int freed;

static void *contend(void *arg) {
    for (int round = 0; round < 500; round++) {
        if (!arg)
            CHECK_EQ(arena_sgaalloc(NULL, round % 50 ? 100 : 3u << 20, &contested), 0);
        pthread_barrier_wait(&barrier);
        if (arena_sgafree(NULL, &contested) == 0)
            __atomic_fetch_add(&freed, 1, __ATOMIC_RELAXED);
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

static void of_many_frees_at_once_one_wins(void) {
    pthread_barrier_init(&barrier, NULL, THREADS);
    freed = 0;
    run(contend);
    CHECK_EQ(freed, 500);
    pthread_barrier_destroy(&barrier);
    end();
}

/* ---- Stale look-ups while memory comes and goes -------------------------------------------------
 */

static int stop;

static void *stale(void *arg) {
    if (!arg) { /* one thread changes what lies at the addresses */
        static const size_t sizes[] = {100, 3u << 20, 8192, 500000, 1000};
        for (int i = 0; i < 400; i++) { /* fewer lives than there are generations */
            demi_sgarray_t s;
            CHECK_EQ(arena_sgaalloc(NULL, sizes[i % 5], &s), 0);
            CHECK_EQ(arena_check(NULL, &s), 0);
            CHECK_EQ(arena_sgafree(NULL, &s), 0);
            if (i % 3 == 0)
                arena_trim(0);
        }
        __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
        return NULL;
    }
    /* The others look up a handle of an earlier life, which nobody holds, so that it is never
     * valid. */
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        demi_sgarray_t s = contested;
        struct arena_block *b;
        CHECK_EQ(arena_sgafree(NULL, &s), EINVAL);
        CHECK_EQ(arena_hold(&s, &b), EINVAL);
        sched_yield();
    }
    return NULL;
}

static void stale_arrays_are_refused_while_chunks_come_and_go(void) {
    CHECK_EQ(arena_sgaalloc(NULL, 100, &contested), 0);
    CHECK_EQ(arena_sgafree(NULL, &contested), 0);
    stop = 0;
    run(stale);
    end();
}

/* ---- Registration
 * -------------------------------------------------------------------------------- */

static int registered;

static int fake_reg(struct ibv_pd *pd, void *addr, size_t len, int access, struct ibv_mr **out) {
    (void)access;
    struct ibv_mr *mr = calloc(1, sizeof(*mr));
    CHECK(mr);
    mr->pd = pd;
    mr->addr = addr;
    mr->length = len;
    mr->lkey = (uint32_t)((uintptr_t)addr >> 21);
    registered++;
    *out = mr;
    return 0;
}

static int fake_dereg(struct ibv_mr *mr) {
    registered--;
    free(mr);
    return 0;
}

static const struct rdma_slow_ops ops = {.reg_mr = fake_reg, .dereg_mr = fake_dereg};
static int device;

static void *use_keys(void *arg) {
    static const size_t sizes[] = {64, 8192, 2u << 20};
    (void)arg;
    for (int i = 0; i < 1000; i++) {
        uint32_t key;
        struct arena_block *b = arena_alloc(NULL, sizes[i % 3]);
        CHECK(b);
        CHECK_EQ(arena_lkey(b, device, &key), 0);
        CHECK_EQ(key, (uint32_t)((uintptr_t)arena_block_data(b) >> 21));
        arena_unref(NULL, b);
        if (i % 50 == 0)
            arena_trim(0);
    }
    return NULL;
}

static void keys_fit_their_chunks_while_chunks_come_and_go(void) {
    struct ibv_pd pd;
    CHECK_EQ(arena_device_add(&pd, &ops, &device), 0);
    run(use_keys);
    CHECK_EQ(arena_device_remove(device), 0);
    CHECK_EQ(registered, 0);
    end();
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(messages_may_be_freed_by_another_thread),
        TEST(of_many_frees_at_once_one_wins),
        TEST(stale_arrays_are_refused_while_chunks_come_and_go),
        TEST(keys_fit_their_chunks_while_chunks_come_and_go),
    };
    return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
