/* The parts of the program verbs_test.c; each table ends with an empty test. */
#ifndef CATMINT_SIM_VERBS_H
#define CATMINT_SIM_VERBS_H

#include "test.h"

extern const struct test verbs_transfer[], verbs_access[], verbs_cq[], verbs_fault[], verbs_wr[];

#define TEST(f)                                                                                    \
    { #f, f }

/* The address of an offset into an end's buffer. */
static inline uint64_t at(struct end *e, size_t off) {
    return (uint64_t)(uintptr_t)(e->buf + off);
}

#endif
