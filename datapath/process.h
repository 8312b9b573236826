/*
 * What the process and its threads know of engines: the state behind the demi_* calls of C
 * programs, which have no argument that names an engine.
 *
 * A call before the first demi_init answers ENOSYS, and so does every call in a child made
 * by fork: the child has neither the threads nor the queue pairs of its parent. A thread
 * that called demi_init has an engine of its own, every other one uses the process's first.
 * Go programs name their engine and need nothing of this.
 *
 * Threads: any.
 */
#ifndef CATMINT_PROCESS_H
#define CATMINT_PROCESS_H

#include <stdatomic.h>
#include <stdbool.h>

struct dp_engine;

/* True from the first dp_process_bind on, never in a forked child. Use dp_process_ready. */
extern atomic_bool dp_process_is_ready __attribute__((visibility("hidden")));

/*
 * The engine of the calling thread's demi_* calls as far as it is known: its own, or the process's
 * first once dp_process_engine has said so, else dp_no_engine, whose lock is never to be had. So
 * the short ways need not ask whether there is one.
 */
extern struct dp_engine dp_no_engine __attribute__((visibility("hidden")));
extern _Thread_local struct dp_engine *dp_process_mine
    __attribute__((visibility("hidden"), tls_model("initial-exec")));

/* Whether demi_* calls have something to work on; ENOSYS otherwise. One load. */
static inline bool dp_process_ready(void) {
    return atomic_load_explicit(&dp_process_is_ready, memory_order_acquire);
}

/*
 * In engine.c, called in a child made by fork: no engine's lock can be taken any more, so that
 * every call there takes the general way, which finds that it may not go on.
 */
void dp_engines_forked(void);

/* True in a child made by fork after the library was loaded. */
bool dp_process_forked(void);

/*
 * Has children made by fork close fd: a listening socket that a child kept would hold its
 * port, and take connections that nobody serves. ENOSPC: too many. Undone before fd is closed.
 */
#define DP_CHILD_CLOSES 8
int dp_process_close_in_child(int fd);
void dp_process_leave_to_child(int fd);

/* The calling thread's engine, or else the process's first; NULL when not ready. */
struct dp_engine *dp_process_engine(void);

/*
 * Makes e the calling thread's engine, and the process's first if there is none. EEXIST: the
 * thread has one. ENOSYS: in a forked child. e must live as long as the process.
 */
int dp_process_bind(struct dp_engine *e);

/* Whether the calling thread has an engine of its own. */
bool dp_process_bound(void);

#endif
