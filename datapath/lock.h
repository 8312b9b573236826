/*
 * The engine's lock: a futex mutex that costs one atomic instruction and one branch each way
 * when nobody contends for it. Not recursive; any thread; no priority inheritance. Waiters spin
 * for a moment first, because the lock is held for well under a microsecond on the fast path.
 *
 * Bit 1: taken; bit 0: somebody may sleep. Whoever sleeps has seen both set. The holder takes
 * its bit away first and then, if the other one is set, that one too, and wakes one sleeper; who
 * has slept takes the lock with both bits, for there may be more (after Drepper, "Futexes are
 * tricky"). Between the two steps anybody may take the lock, and leaves it as any other holder.
 *
 * Bit 2 is the owner's of the lock, who sets and clears it while the lock is held: whoever leaves
 * the lock learns by the same branch whether it is set.
 */
#ifndef CATMINT_LOCK_H
#define CATMINT_LOCK_H

#include <linux/futex.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct dp_mutex {
    uint32_t word;
};

static inline void dp_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ __volatile__("yield");
#endif
}

/* Sleeps while *word is value, until woken or until the absolute CLOCK_MONOTONIC time. */
static inline void dp_futex_wait(uint32_t *word, uint32_t value, const struct timespec *until) {
    (void)syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, value, until, NULL,
                  FUTEX_BITSET_MATCH_ANY);
}

static inline void dp_futex_wake(uint32_t *word, int n) {
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

/*
 * A thread that is cancelled (pthread_cancel) must not end with a lock in its hands, so there is
 * no cancellation point under one but where wait.c makes one: system calls on our own
 * descriptors are made by syscall(2), and whatever else may enter the kernel under a lock does
 * so between these two.
 */
static inline int dp_cancel_off(void) {
    int old = PTHREAD_CANCEL_ENABLE;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &old);
    return old;
}
static inline void dp_cancel_back(int old) {
    (void)pthread_setcancelstate(old, NULL);
}

/* Of an eventfd. What can fail is an overflow of the count (readable) or its absence. */
static inline void dp_event_write(int fd) {
    uint64_t one = 1;
    (void)syscall(SYS_write, fd, &one, sizeof(one));
}
static inline void dp_event_read(int fd) {
    uint64_t count;
    (void)syscall(SYS_read, fd, &count, sizeof(count));
}

#define DP_MUTEX_TAKEN 2u /* not bit 0: gcc 12 makes one instruction of a test of any other */
#define DP_MUTEX_SLEEPERS 1u
#define DP_MUTEX_FLAG 4u

static inline bool dp_mutex_try(struct dp_mutex *m) {
    return (__atomic_fetch_or(&m->word, DP_MUTEX_TAKEN, __ATOMIC_ACQUIRE) & DP_MUTEX_TAKEN) == 0;
}

/* In engine.c. */
void dp_mutex_lock_slow(struct dp_mutex *m);

static inline void dp_mutex_lock(struct dp_mutex *m) {
    if (!dp_mutex_try(m))
        dp_mutex_lock_slow(m);
}

/* Lets go of the lock. False: dp_mutex_wake must follow, somebody may sleep; or the flag is set. */
static inline bool dp_mutex_leave(struct dp_mutex *m) {
    return __builtin_expect(__atomic_sub_fetch(&m->word, DP_MUTEX_TAKEN, __ATOMIC_RELEASE) == 0, 1);
}
static inline void dp_mutex_wake(struct dp_mutex *m) {
    if (__atomic_load_n(&m->word, __ATOMIC_RELAXED) & DP_MUTEX_SLEEPERS) {
        (void)__atomic_fetch_and(&m->word, ~DP_MUTEX_SLEEPERS, __ATOMIC_RELAXED);
        dp_futex_wake(&m->word, 1);
    }
}

/* Sets or clears the flag, and says whether it is set. By the holder; the latter by anybody. */
static inline void dp_mutex_set_flag(struct dp_mutex *m, bool set) {
    if (set)
        (void)__atomic_fetch_or(&m->word, DP_MUTEX_FLAG, __ATOMIC_RELAXED);
    else
        (void)__atomic_fetch_and(&m->word, ~DP_MUTEX_FLAG, __ATOMIC_RELAXED);
}
static inline bool dp_mutex_flag(const struct dp_mutex *m) {
    return __atomic_load_n(&m->word, __ATOMIC_RELAXED) & DP_MUTEX_FLAG;
}

static inline void dp_mutex_unlock(struct dp_mutex *m) {
    if (!dp_mutex_leave(m))
        dp_mutex_wake(m);
}

#endif
