/*
 * What a block costs: "arena_bench KIND N" does KIND N times.
 *
 *     cached   sgaalloc and sgafree of 64 bytes, from an engine's cache
 *     pool     the same without a cache
 *     push     what a push adds: hold, key, unref
 *     receive  alloc, give, sgafree of a receive buffer of 8 KiB
 *     none     nothing, for comparison
 */
#include "arena_internal.h"
#include "test.h"

static struct arena_cache cache;

static int fake_reg(struct ibv_pd *pd, void *addr, size_t len, int access, struct ibv_mr **out) {
    static struct ibv_mr mr;
    (void)access;
    mr.pd = pd;
    mr.addr = addr;
    mr.length = len;
    *out = &mr;
    return 0;
}

static int fake_dereg(struct ibv_mr *mr) {
    (void)mr;
    return 0;
}

static const struct rdma_slow_ops ops = {.reg_mr = fake_reg, .dereg_mr = fake_dereg};

int main(int argc, char **argv) {
    CHECK_EQ(argc, 3);
    struct ibv_pd pd;
    int dev;
    uint32_t key;
    demi_sgarray_t s;
    struct arena_block *b;
    long n = atol(argv[2]);
    arena_cache_init(&cache, 1);
    CHECK_EQ(arena_device_add(&pd, &ops, &dev), 0);
    CHECK_EQ(arena_sgaalloc(&cache, 64, &s), 0);
    if (strcmp(argv[1], "cached") == 0) {
        for (long i = 0; i < n; i++) {
            demi_sgarray_t t;
            arena_sgaalloc(&cache, 64, &t);
            arena_sgafree(&cache, &t);
        }
    } else if (strcmp(argv[1], "pool") == 0) {
        for (long i = 0; i < n; i++) {
            demi_sgarray_t t;
            arena_sgaalloc(NULL, 64, &t);
            arena_sgafree(NULL, &t);
        }
    } else if (strcmp(argv[1], "push") == 0) {
        for (long i = 0; i < n; i++) {
            arena_hold(&s, &b);
            arena_lkey(b, dev, &key);
            arena_unref(&cache, b);
        }
    } else if (strcmp(argv[1], "receive") == 0) {
        for (long i = 0; i < n; i++) {
            demi_sgarray_t t;
            b = arena_alloc(&cache, 8192);
            arena_give(b, 16, 64, &t);
            arena_sgafree(&cache, &t);
        }
    } else {
        CHECK(strcmp(argv[1], "none") == 0);
    }
    CHECK_EQ(arena_sgafree(&cache, &s), 0);
    CHECK_EQ(arena_device_remove(dev), 0);
    arena_cache_destroy(&cache);
    CHECK_EQ(arena_shutdown(), 0);
    return 0;
}
