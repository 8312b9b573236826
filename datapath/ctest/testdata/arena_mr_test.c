/* Registration of arenas with devices, on a pretended one. */
#include <errno.h>
#include <stdint.h>

#include "arena_internal.h"
#include "test.h"

/* ---- A device that keeps account ------------------------------------------------------- */

static struct ibv_pd pds[ARENA_MAX_DEVICES + 1];
static int registered, fail_reg, fail_dereg, limit = 1000;
static uint32_t next_key = 7;

static int fake_reg(struct ibv_pd *pd, void *addr, size_t len, int access, struct ibv_mr **out) {
    CHECK_EQ(access, IBV_ACCESS_LOCAL_WRITE);
    CHECK_EQ((uintptr_t)addr % ARENA_CHUNK, 0);
    if (fail_reg)
        return fail_reg;
    if (registered == limit)
        return ENOMEM;
    struct ibv_mr *mr = calloc(1, sizeof(*mr));
    CHECK(mr);
    mr->pd = pd;
    mr->addr = addr;
    mr->length = len;
    mr->lkey = next_key++;
    registered++;
    *out = mr;
    return 0;
}

static int fake_dereg(struct ibv_mr *mr) {
    /* Still mapped: a device may reach it until it has been deregistered. */
    *(volatile uint8_t *)mr->addr = *(volatile uint8_t *)((uint8_t *)mr->addr + mr->length - 1);
    free(mr);
    registered--;
    return fail_dereg;
}

static const struct rdma_slow_ops ops = {.reg_mr = fake_reg, .dereg_mr = fake_dereg};

static uint64_t regions(void) {
    struct arena_census c;
    arena_census(&c);
    return c.regions;
}

static int must_add(void) {
    int slot = -1;
    CHECK_EQ(arena_device_add(&pds[0], &ops, &slot), 0);
    return slot;
}

static void end(void) {
    CHECK_EQ(arena_shutdown(), 0);
    CHECK_EQ(registered, 0);
    CHECK_EQ(regions(), 0);
}

/* ---- Tests ---------------------------------------------------------------------------------- */

static void a_chunk_is_registered_once_for_all_its_blocks(void) {
    int dev = must_add();
    struct arena_block *a = arena_alloc(NULL, 64), *b = arena_alloc(NULL, 8192);
    uint32_t ka, kb;
    CHECK_EQ(registered, 0); /* not before it is needed */
    CHECK_EQ(arena_lkey(a, dev, &ka), 0);
    CHECK_EQ(arena_lkey(b, dev, &kb), 0);
    CHECK_EQ(arena_lkey(a, dev, &ka), 0);
    CHECK_EQ(ka, kb);
    CHECK_EQ(registered, 1);
    CHECK_EQ(regions(), 1);
    struct arena_block *big = arena_alloc(NULL, 3u << 20);
    CHECK_EQ(arena_lkey(big, dev, &kb), 0);
    CHECK(ka != kb);
    CHECK_EQ(registered, 2);
    arena_unref(NULL, a);
    arena_unref(NULL, b);
    arena_unref(NULL, big);
    CHECK_EQ(arena_device_remove(dev), 0);
    CHECK_EQ(registered, 0);
    end();
}

static void each_device_has_its_own_key(void) {
    int slots[ARENA_MAX_DEVICES], extra;
    uint32_t keys[ARENA_MAX_DEVICES];
    struct arena_block *b = arena_alloc(NULL, 64);
    for (int i = 0; i < ARENA_MAX_DEVICES; i++) {
        CHECK_EQ(arena_device_add(&pds[i], &ops, &slots[i]), 0);
        CHECK_EQ(arena_lkey(b, slots[i], &keys[i]), 0);
        for (int j = 0; j < i; j++)
            CHECK(keys[i] != keys[j]);
    }
    CHECK_EQ(arena_device_add(&pds[ARENA_MAX_DEVICES], &ops, &extra), ENOSPC);
    CHECK_EQ(registered, ARENA_MAX_DEVICES);
    for (int i = 0; i < ARENA_MAX_DEVICES; i++)
        CHECK_EQ(arena_device_remove(slots[i]), 0);
    arena_unref(NULL, b);
    end();
}

static void a_slot_given_again_does_not_show_the_old_key(void) {
    struct arena_block *b = arena_alloc(NULL, 64);
    int dev = must_add();
    uint32_t before, after;
    CHECK_EQ(arena_lkey(b, dev, &before), 0);
    CHECK_EQ(arena_device_remove(dev), 0);
    CHECK_EQ(arena_lkey(b, dev, &after), EINVAL);
    CHECK_EQ(must_add(), dev);
    CHECK_EQ(arena_lkey(b, dev, &after), 0);
    CHECK(before != after);
    CHECK_EQ(arena_device_remove(dev), 0);
    arena_unref(NULL, b);
    end();
}

static void a_device_that_does_not_exist_is_einval(void) {
    struct arena_block *b = arena_alloc(NULL, 64);
    uint32_t key;
    static const int bad[] = {-1, 0, ARENA_MAX_DEVICES - 1, ARENA_MAX_DEVICES, INT32_MAX};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CHECK_EQ(arena_lkey(b, bad[i], &key), EINVAL);
        CHECK_EQ(arena_device_remove(bad[i]), EINVAL);
    }
    arena_unref(NULL, b);
    end();
}

static void too_little_locked_memory_is_reported_and_may_be_tried_again(void) {
    struct arena_block *b = arena_alloc(NULL, 64);
    int dev = must_add();
    uint32_t key;
    fail_reg = ENOMEM;
    CHECK_EQ(arena_lkey(b, dev, &key), ENOMEM);
    CHECK_EQ(arena_lkey(b, dev, &key), ENOMEM);
    CHECK_EQ(regions(), 0);
    fail_reg = 0;
    CHECK_EQ(arena_lkey(b, dev, &key), 0);
    CHECK_EQ(arena_device_remove(dev), 0);
    arena_unref(NULL, b);
    end();
}

static void locked_memory_of_empty_chunks_is_given_up_when_it_is_wanted(void) {
    int dev = must_add();
    uint32_t key;
    struct arena_block *a = arena_alloc(NULL, 3u << 20), *b = arena_alloc(NULL, 64);
    limit = 1;
    CHECK_EQ(arena_lkey(a, dev, &key), 0);
    CHECK_EQ(arena_lkey(b, dev, &key), ENOMEM);
    arena_unref(NULL, a); /* kept, and registered */
    CHECK_EQ(registered, 1);
    CHECK_EQ(arena_lkey(b, dev, &key), 0);
    CHECK_EQ(registered, 1);
    limit = 1000;
    CHECK_EQ(arena_device_remove(dev), 0);
    arena_unref(NULL, b);
    end();
}

static void an_error_of_deregistration_does_not_keep_the_others_registered(void) {
    struct arena_block *a = arena_alloc(NULL, 64), *b = arena_alloc(NULL, 3u << 20);
    int dev = must_add();
    uint32_t key;
    CHECK_EQ(arena_lkey(a, dev, &key), 0);
    CHECK_EQ(arena_lkey(b, dev, &key), 0);
    fail_dereg = EIO;
    CHECK_EQ(arena_device_remove(dev), EIO);
    fail_dereg = 0;
    CHECK_EQ(registered, 0);
    arena_unref(NULL, a);
    arena_unref(NULL, b);
    end();
}

static void memory_is_deregistered_before_it_is_given_back(void) {
    int one = must_add(), two = must_add();
    uint32_t key;
    static const size_t sizes[] = {100, 3u << 20};
    for (size_t i = 0; i < 2; i++) {
        struct arena_block *b = arena_alloc(NULL, sizes[i]);
        CHECK_EQ(arena_lkey(b, one, &key), 0);
        CHECK_EQ(arena_lkey(b, two, &key), 0);
        arena_unref(NULL, b);
    }
    CHECK_EQ(registered, 4);
    CHECK_EQ(arena_shutdown(), EBUSY); /* devices are there */
    CHECK_EQ(registered, 4);
    arena_trim(0);
    CHECK_EQ(registered, 0);
    CHECK_EQ(arena_device_remove(one), 0);
    CHECK_EQ(arena_device_remove(two), 0);
    end();
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(a_chunk_is_registered_once_for_all_its_blocks),
        TEST(each_device_has_its_own_key),
        TEST(a_slot_given_again_does_not_show_the_old_key),
        TEST(a_device_that_does_not_exist_is_einval),
        TEST(too_little_locked_memory_is_reported_and_may_be_tried_again),
        TEST(locked_memory_of_empty_chunks_is_given_up_when_it_is_wanted),
        TEST(an_error_of_deregistration_does_not_keep_the_others_registered),
        TEST(memory_is_deregistered_before_it_is_given_back),
    };
    return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
