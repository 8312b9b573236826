/* The semantics of RC queue pairs: the tests of verbs_*.c in one program. */
#include "verbs.h"

#define MOST 64

int main(int argc, char **argv) {
    static const struct test *const parts[] = {verbs_transfer, verbs_access, verbs_cq, verbs_fault,
                                               verbs_wr};
    struct test all[MOST];
    size_t n = 0;

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        for (const struct test *t = parts[i]; t->name; t++) {
            CHECK(n < MOST);
            all[n++] = *t;
        }
    return test_main(argc, argv, all, n);
}
