#include "process.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <unistd.h>

atomic_bool dp_process_is_ready;

static atomic_bool forked;
static atomic_int child_closes[DP_CHILD_CLOSES]; /* descriptors, plus 1; 0: none */
static struct dp_engine *_Atomic first_engine;
/* initial-exec: one load instead of a call, and no allocation on a thread's first use */
_Thread_local struct dp_engine *dp_process_mine = &dp_no_engine;
static _Thread_local bool bound; /* it is the thread's own */

/* Runs in the child's only thread, so that plain stores would do. */
static void in_child(void) {
    atomic_store(&forked, true);
    atomic_store(&dp_process_is_ready, false);
    dp_engines_forked();
    for (int i = 0; i < DP_CHILD_CLOSES; i++) {
        int fd = atomic_load(&child_closes[i]) - 1;
        if (fd >= 0)
            (void)close(fd);
    }
}

/*
 * At load time, not at demi_init: Go's threads exist from then on, and a child lacks them
 * whether or not the parent had called demi_init.
 */
__attribute__((constructor)) static void watch_forks(void) {
    (void)pthread_atfork(NULL, NULL, in_child);
}

int dp_process_close_in_child(int fd) {
    for (int i = 0; i < DP_CHILD_CLOSES; i++) {
        int none = 0;
        if (atomic_compare_exchange_strong(&child_closes[i], &none, fd + 1))
            return 0;
    }
    return ENOSPC;
}

void dp_process_leave_to_child(int fd) {
    for (int i = 0; i < DP_CHILD_CLOSES; i++) {
        int wanted = fd + 1;
        if (atomic_compare_exchange_strong(&child_closes[i], &wanted, 0))
            return;
    }
}

bool dp_process_forked(void) {
    return atomic_load_explicit(&forked, memory_order_relaxed);
}

struct dp_engine *dp_process_engine(void) {
    if (!dp_process_ready())
        return NULL;
    if (dp_process_mine == &dp_no_engine)
        dp_process_mine = atomic_load_explicit(&first_engine, memory_order_acquire);
    return dp_process_mine;
}

bool dp_process_bound(void) {
    return bound;
}

int dp_process_bind(struct dp_engine *e) {
    struct dp_engine *none = NULL;

    if (dp_process_forked())
        return ENOSYS;
    if (bound)
        return EEXIST;
    dp_process_mine = e;
    bound = true;
    (void)atomic_compare_exchange_strong(&first_engine, &none, e);
    atomic_store_explicit(&dp_process_is_ready, true, memory_order_release);
    return 0;
}
