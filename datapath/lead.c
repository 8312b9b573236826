/*
 * A thread that waits for connections to be set up, and for nothing else, takes the control
 * plane's events itself. Otherwise somebody would have to be woken for each of them, and then the
 * thread for its token.
 *
 * It is no leader in the sense of wait.c: it looks at no completion queue, which the housekeeper
 * does as at any time at which the application does not wait. It counts as a sleeper, and whoever
 * completes a token rings it by the eventfd that it sleeps on.
 */
#include "internal.h"

#include <poll.h>

/* Written once, before there is a wait. */
static const struct dp_lead_ops *lead_ops;

void dp_lead_provide(const struct dp_lead_ops *ops) {
    __atomic_store_n(&lead_ops, ops, __ATOMIC_RELEASE);
}

static const struct dp_lead_ops *provided(void) {
    return __atomic_load_n(&lead_ops, __ATOMIC_ACQUIRE);
}

void dp_lead_begin(struct dp_engine *e, struct dp_lead *l) {
    const struct dp_lead_ops *ops = provided();

    if (l->asked || !ops)
        return;
    l->asked = true;
    dp_hand_over(e); /* as one who stops waiting */
    dp_unlock(e);
    l->leads = ops->take(e, &l->events, &l->interrupt) == 0;
    dp_lock(e);
}

void dp_lead_end(struct dp_engine *e, struct dp_lead *l) {
    if (!l->leads)
        return;
    l->leads = false;
    provided()->leave(e);
}

static void awake(struct dp_engine *e) {
    e->lead_fd = -1;
    dp_asleep(e, -1);
}

/* The thread was cancelled in its sleep. */
static void cancelled(void *arg) {
    struct dp_engine *e = (struct dp_engine *)arg;
    dp_lock(e);
    awake(e);
    dp_hand_over(e);
    dp_unlock(e);
    provided()->leave(e);
}

void dp_lead_sleep(struct dp_engine *e, struct dp_lead *l, int64_t ns, int cancel) {
    const struct timespec ts = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    struct pollfd fds[] = {{.fd = l->events, .events = POLLIN},
                           {.fd = l->interrupt, .events = POLLIN}};

    e->lead_fd = l->interrupt;
    dp_asleep(e, 1);
    dp_unlock(e);
    pthread_cleanup_push(cancelled, e);
    dp_cancel_back(cancel);
    (void)ppoll(fds, 2, ns == INT64_MAX ? NULL : &ts, NULL); /* nothing in revents if it fails */
    (void)dp_cancel_off();
    pthread_cleanup_pop(0);
    dp_lock(e);
    awake(e);
    if (fds[1].revents)
        dp_event_read(l->interrupt);
    if (!fds[0].revents)
        return;
    dp_unlock(e);
    if (provided()->turn(e) != 0)
        dp_lead_end(e, l);
    dp_lock(e);
}
