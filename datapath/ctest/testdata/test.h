/*
 * The little that a C test needs. A program is a list of tests in main:
 *
 *     int main(int argc, char **argv)
 *     {
 *         static const struct test tests[] = {TEST(a_thing_is_so), ...};
 *         return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
 *     }
 *
 * The first CHECK that fails ends the program. Arguments choose tests by name.
 */
#ifndef CATMINT_TEST_H
#define CATMINT_TEST_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(cond)                                                                                \
    do {                                                                                           \
        if (!(cond)) {                                                                             \
            fprintf(stderr, "%s:%d: %s: not true: %s\n", __FILE__, __LINE__, __func__, #cond);     \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

/* Compares integers and shows both. */
#define CHECK_EQ(a, b)                                                                             \
    do {                                                                                           \
        long long test_a = (long long)(a), test_b = (long long)(b);                                \
        if (test_a != test_b) {                                                                    \
            fprintf(stderr, "%s:%d: %s: %s is %lld, %s is %lld\n", __FILE__, __LINE__, __func__,   \
                    #a, test_a, #b, test_b);                                                       \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

struct test {
    const char *name;
    void (*run)(void);
};

#define TEST(f)                                                                                    \
    { #f, f }

static inline int test_main(const struct test *tests, size_t n, int argc, char **argv) {
    for (size_t i = 0; i < n; i++) {
        int chosen = argc < 2;
        for (int a = 1; a < argc; a++)
            chosen |= strcmp(argv[a], tests[i].name) == 0;
        if (!chosen)
            continue;
        fprintf(stderr, "test %s\n", tests[i].name);
        tests[i].run();
    }
    return 0;
}

/* A small generator of random numbers (xorshift64*); the state may not be 0. */
static inline unsigned long long test_random(unsigned long long *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545F4914F6CDD1DULL;
}

#endif
