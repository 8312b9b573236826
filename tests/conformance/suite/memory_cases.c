/* demi_sgaalloc and demi_sgafree. */
#include "suite.h"

#include <stdlib.h>

static void buffers_of_any_size_can_be_written_and_freed(void) {
    const size_t sizes[] = {1, 2, 64, 4096, 8192, 65535, 65536, 1 << 20, (size_t)16 << 20};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        demi_sgarray_t sga = message(sizes[i], 0x5a);

        CHECK_INT(sga.sga_segs[0].sgaseg_len, sizes[i]);
        CHECK(sga.sga_segs[0].sgaseg_buf != NULL);
        CHECK_OK(demi_sgafree(&sga));
    }
}

/* Only what is written takes memory. */
static void a_buffer_of_1_gib_can_be_had(void) {
    const size_t gib = (size_t)1 << 30;
    demi_sgarray_t sga = demi_sgaalloc(gib);
    char *b = sga.sga_segs[0].sgaseg_buf;

    if (!CHECK_INT(sga.sga_numsegs, 1) || !CHECK_INT(sga.sga_segs[0].sgaseg_len, gib))
        return;
    b[0] = 'a';
    b[gib - 1] = 'z';
    CHECK(b[0] == 'a' && b[gib - 1] == 'z');
    CHECK_OK(demi_sgafree(&sga));
}

static bool is_null(const demi_sgarray_t *sga) {
    return sga->sga_numsegs == 0 && sga->sga_buf == NULL && sga->sga_segs[0].sgaseg_buf == NULL;
}

static void impossible_sizes_give_a_null_array(void) {
    const size_t sizes[] = {0, ((size_t)1 << 30) + 1, SIZE_MAX / 2, SIZE_MAX};

    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        demi_sgarray_t sga = demi_sgaalloc(sizes[i]);

        CHECK(is_null(&sga));
        CHECK_ERRNO(demi_sgafree(&sga), EINVAL);
    }
}

static void freeing_twice_is_einval(void) {
    demi_sgarray_t sga = message(100, 1), copy = sga;

    CHECK_OK(demi_sgafree(&sga));
    CHECK_ERRNO(demi_sgafree(&copy), EINVAL);
    CHECK_ERRNO(demi_sgafree(&copy), EINVAL);
}

static void foreign_memory_is_einval(void) {
    char *heap = malloc(4096);
    char stack[64];
    demi_sgarray_t own = message(100, 1), sga = own;
    demi_sgarray_t forged = {.sga_numsegs = 1, .sga_segs = {{stack, sizeof(stack)}}};

    CHECK_ERRNO(demi_sgafree(&forged), EINVAL);
    forged.sga_buf = stack;
    CHECK_ERRNO(demi_sgafree(&forged), EINVAL);
    forged.sga_buf = heap;
    forged.sga_segs[0].sgaseg_buf = heap;
    CHECK_ERRNO(demi_sgafree(&forged), EINVAL);
    forged.sga_buf = (void *)(uintptr_t)8;
    CHECK_ERRNO(demi_sgafree(&forged), EINVAL);
    sga.sga_buf = (char *)own.sga_buf + 1; /* into the middle of ours */
    CHECK_ERRNO(demi_sgafree(&sga), EINVAL);
    CHECK_OK(demi_sgafree(&own));
    free(heap);
}

static void a_narrowed_array_is_freed_whole(void) {
    demi_sgarray_t sga = message(1000, 1), copy = sga;

    sga.sga_segs[0].sgaseg_buf = (char *)sga.sga_segs[0].sgaseg_buf + 100;
    sga.sga_segs[0].sgaseg_len = 10;
    CHECK_OK(demi_sgafree(&sga));
    CHECK_ERRNO(demi_sgafree(&copy), EINVAL);
}

static void buffers_do_not_overlap(void) {
    enum { NUM = 200 };
    static demi_sgarray_t sgas[NUM];

    for (int i = 0; i < NUM; i++)
        sgas[i] = message(777, i);
    for (int i = 0; i < NUM; i++) {
        const unsigned char *b = sgas[i].sga_segs[0].sgaseg_buf;
        int j = 0;

        while (j < 777 && b[j] == (unsigned char)i)
            j++;
        CHECK_INT(j, 777);
        CHECK_OK(demi_sgafree(&sgas[i]));
    }
}

const struct test_case memory_cases[] = {
    {"buffers of any size can be written and freed", buffers_of_any_size_can_be_written_and_freed},
    {"a buffer of 1 GiB can be had", a_buffer_of_1_gib_can_be_had},
    {"size 0 and sizes above 1 GiB give a null array, which cannot be freed",
     impossible_sizes_give_a_null_array},
    {"freeing twice answers EINVAL", freeing_twice_is_einval},
    {"freeing memory of others answers EINVAL", foreign_memory_is_einval},
    {"an array whose segment was narrowed is freed whole", a_narrowed_array_is_freed_whole},
    {"buffers do not overlap", buffers_do_not_overlap},
    {0},
};
