#include "calls.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <time.h>

static struct { unsigned long allocations, system_calls, clock_reads; } calls;

void calls_start(void) {
    memset(&calls, 0, sizeof(calls));
}

void calls_must_be_none(void) {
    if (!calls.allocations && !calls.system_calls && !calls.clock_reads)
        return;
    fprintf(stderr, "on the fast path: %lu allocations, %lu system calls, %lu looks at the clock\n",
            calls.allocations, calls.system_calls, calls.clock_reads);
    exit(1);
}

/* ---- Allocations ---------------------------------------------------------------------------- */

void *__real_malloc(size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_malloc(size_t n) {
    calls.allocations++;
    return __real_malloc(n);
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size) {
    calls.allocations++;
    return __real_calloc(n, size);
}

void *__real_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_realloc(void *p, size_t n) {
    calls.allocations++;
    return __real_realloc(p, n);
}

void *__real_aligned_alloc(size_t align, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n) {
    calls.allocations++;
    return __real_aligned_alloc(align, n);
}

void __real_free(void *p);
void __wrap_free(void *p);
void __wrap_free(void *p) {
    calls.allocations++;
    __real_free(p);
}

/* ---- System calls --------------------------------------------------------------------------- */

long __real_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f) {
    calls.system_calls++;
    return __real_syscall(number, a, b, c, d, e, f);
}

ssize_t __real_read(int fd, void *p, size_t n);
ssize_t __wrap_read(int fd, void *p, size_t n);
ssize_t __wrap_read(int fd, void *p, size_t n) {
    calls.system_calls++;
    return __real_read(fd, p, n);
}

ssize_t __real_write(int fd, const void *p, size_t n);
ssize_t __wrap_write(int fd, const void *p, size_t n);
ssize_t __wrap_write(int fd, const void *p, size_t n) {
    calls.system_calls++;
    return __real_write(fd, p, n);
}

int __real_ppoll(struct pollfd *fds, nfds_t n, const struct timespec *ts, const void *mask);
int __wrap_ppoll(struct pollfd *fds, nfds_t n, const struct timespec *ts, const void *mask);
int __wrap_ppoll(struct pollfd *fds, nfds_t n, const struct timespec *ts, const void *mask) {
    calls.system_calls++;
    return __real_ppoll(fds, n, ts, mask);
}

void *__real_mmap(void *at, size_t n, int prot, int flags, int fd, off_t off);
void *__wrap_mmap(void *at, size_t n, int prot, int flags, int fd, off_t off);
void *__wrap_mmap(void *at, size_t n, int prot, int flags, int fd, off_t off) {
    calls.system_calls++;
    return __real_mmap(at, n, prot, flags, fd, off);
}

/* ---- The clock ------------------------------------------------------------------------------- */

int __real_clock_gettime(clockid_t id, struct timespec *ts);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts);
int __wrap_clock_gettime(clockid_t id, struct timespec *ts) {
    calls.clock_reads++;
    return __real_clock_gettime(id, ts);
}
