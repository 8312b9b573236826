/*
 * The engine's lock: a futex mutex that costs one compare-and-swap each way when nobody
 * contends for it. Not recursive; any thread; no priority inheritance. Waiters spin for a
 * moment first, because the lock is held for well under a microsecond on the fast path.
 *
 * States: 0 free, 1 taken, 2 taken and somebody may sleep (Drepper, "Futexes are tricky").
 */
#ifndef CATMINT_LOCK_H
#define CATMINT_LOCK_H

#include <linux/futex.h>
#include <pthread.h>
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

/* In engine.c. */
void dp_mutex_lock_slow(struct dp_mutex *m);

static inline void dp_mutex_lock(struct dp_mutex *m) {
    uint32_t free = 0;
    if (__builtin_expect(
            !__atomic_compare_exchange_n(&m->word, &free, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED),
            0))
        dp_mutex_lock_slow(m);
}

static inline void dp_mutex_unlock(struct dp_mutex *m) {
    if (__builtin_expect(__atomic_exchange_n(&m->word, 0, __ATOMIC_RELEASE) == 2, 0))
        dp_futex_wake(&m->word, 1);
}

#endif
