#include "process.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>

atomic_bool dp_process_is_ready;

static atomic_bool forked;
static struct dp_engine *_Atomic first_engine;
/* initial-exec: one load instead of a call, and no allocation on a thread's first use */
_Thread_local struct dp_engine *dp_process_own;

/* Runs in the child's only thread, so that plain stores would do. */
static void in_child(void) {
    atomic_store(&forked, true);
    atomic_store(&dp_process_is_ready, false);
}

/*
 * At load time, not at demi_init: Go's threads exist from then on, and a child lacks them
 * whether or not the parent had called demi_init.
 */
__attribute__((constructor)) static void watch_forks(void) {
    (void)pthread_atfork(NULL, NULL, in_child);
}

bool dp_process_forked(void) {
    return atomic_load_explicit(&forked, memory_order_relaxed);
}

struct dp_engine *dp_process_engine(void) {
    if (!dp_process_ready())
        return NULL;
    if (dp_process_own != NULL)
        return dp_process_own;
    return atomic_load_explicit(&first_engine, memory_order_acquire);
}

bool dp_process_bound(void) {
    return dp_process_own != NULL;
}

int dp_process_bind(struct dp_engine *e) {
    struct dp_engine *none = NULL;

    if (dp_process_forked())
        return ENOSYS;
    if (dp_process_own != NULL)
        return EEXIST;
    dp_process_own = e;
    (void)atomic_compare_exchange_strong(&first_engine, &none, e);
    atomic_store_explicit(&dp_process_is_ready, true, memory_order_release);
    return 0;
}
