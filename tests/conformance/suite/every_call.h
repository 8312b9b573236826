/* Every call of the API, with arguments that would be good for an open descriptor. */
#ifndef CATMINT_CONFORMANCE_EVERY_CALL_H
#define CATMINT_CONFORMANCE_EVERY_CALL_H

struct call {
    const char *name;
    int (*make)(int qd);
};

/*
 * All calls that answer an errno, demi_init apart; the table ends with a NULL name.
 * demi_sgaalloc answers ENOSYS here for a null array.
 */
extern const struct call every_call[];

#endif
