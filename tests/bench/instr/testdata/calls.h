/*
 * Counts the calls that may not happen on the fast path: allocations, system calls and
 * looks at the clock. The program is linked with --wrap for each of them (calls.c).
 */
#ifndef CATMINT_BENCH_CALLS_H
#define CATMINT_BENCH_CALLS_H

/* Forgets what has been counted. */
void calls_start(void);
/* Ends the program with a message if any of them has been called since. */
void calls_must_be_none(void);

#endif
