/*
 * Waiting for tokens.
 *
 * A waiter looks at its tokens and polls; if they stay pending it spins for a while, then
 * sleeps, or, if it is never to sleep, lets others run now and then. While all of its tokens are
 * for connections to be set up it does not spin: that takes longer. Of the threads that sleep on
 * one engine, one is the leader: it has armed the CQs (poll, arm, poll again, so that no completion
 * slips through) and sleeps in poll(2) on the completion channels and an eventfd. The others sleep
 * on a futex, the wake sequence.
 *
 * No wake-up is lost, because everything here is decided under the engine's lock: a sleeper
 * has looked at its tokens and counted itself in e->sleepers before it lets go of the lock,
 * and whoever completes a token, holding the lock, sees the count and rings: the futex
 * sleepers by changing the sequence that they compare, the leader by the eventfd. A thread
 * that stops waiting while others sleep without a leader wakes one of them, which takes
 * over; when no thread is left the housekeeper is told.
 *
 * A thread may be cancelled (pthread_cancel) while it sleeps, and nowhere else: it then leaves
 * as one whose time is over.
 */
#include "internal.h"

#include <poll.h>
#include <sched.h>

struct deadline {
    bool never;          /* no timeout was given */
    bool zero;           /* poll once */
    bool started;        /* at is set: the first look at the clock is put off */
    struct timespec rel; /* the timeout */
    struct timespec at;  /* CLOCK_MONOTONIC */
    int cancel;          /* the thread's cancellation state, off but while it sleeps */
};

static int deadline_init(struct deadline *d, const struct timespec *timeout) {
    *d = (struct deadline){.never = timeout == NULL};
    if (!timeout)
        return 0;
    if (timeout->tv_sec < 0 || timeout->tv_nsec < 0 || timeout->tv_nsec >= 1000000000)
        return EINVAL;
    d->rel = *timeout;
    d->zero = timeout->tv_sec == 0 && timeout->tv_nsec == 0;
    return 0;
}

static void deadline_start(struct deadline *d) {
    const time_t most = (time_t)1 << 40; /* 35,000 years: keeps the sum in range */

    if (d->started || d->never)
        return;
    d->started = true;
    clock_gettime(CLOCK_MONOTONIC, &d->at);
    d->at.tv_sec += d->rel.tv_sec < most ? d->rel.tv_sec : most;
    d->at.tv_nsec += d->rel.tv_nsec;
    if (d->at.tv_nsec >= 1000000000) {
        d->at.tv_nsec -= 1000000000;
        d->at.tv_sec++;
    }
}

/* Nanoseconds left, 0 when it is over, INT64_MAX for never. */
static int64_t deadline_left(const struct deadline *d, const struct timespec *now) {
    if (d->never)
        return INT64_MAX;
    int64_t s = (int64_t)d->at.tv_sec - now->tv_sec;
    if (s > (int64_t)1 << 32)
        return INT64_MAX;
    int64_t ns = s * 1000000000 + d->at.tv_nsec - now->tv_nsec;
    return ns > 0 ? ns : 0;
}

/* One more thread sleeps, or one fewer. Locked. */
static void asleep(struct dp_engine *e, int by) {
    e->sleepers += (uint32_t)by;
    dp_mutex_set_flag(&e->lock, e->sleepers != 0);
}

void dp_leader_refresh(struct dp_engine *e) {
    if (e->leader)
        e->rings |= DP_RING_LEADER;
}

/* A thread stops waiting: somebody else must keep watch. Locked. */
static void hand_over(struct dp_engine *e) {
    if (DP_LIKELY(e->leader || (!e->sleepers && !e->parked)))
        return;
    if (e->sleepers) {
        e->rings |= DP_RING_ONE;
    } else {
        e->parked = false;
        dp_notice_housekeeper(e);
    }
}

/* A sleeping thread was cancelled. */
static void cancelled(void *arg) {
    struct dp_engine *e = (struct dp_engine *)arg;
    dp_lock(e);
    asleep(e, -1);
    hand_over(e);
    dp_unlock(e);
}

static void cancelled_leader(void *arg) {
    struct dp_engine *e = (struct dp_engine *)arg;
    dp_lock(e);
    e->leader = false;
    dp_unlock(e);
    cancelled(e);
}

/* Sleeps as the leader does. Unlocked. */
static int poll_channels(struct dp_engine *e, struct pollfd *fds, nfds_t n,
                         const struct timespec *ts, int cancel) {
    int ready;

    pthread_cleanup_push(cancelled_leader, e);
    dp_cancel_back(cancel);
    ready = ppoll(fds, n, ts, NULL);
    (void)dp_cancel_off();
    pthread_cleanup_pop(0);
    return ready;
}

/* Sleeps as the others do: the futex is no cancellation point by itself. Unlocked. */
static void sleep_on_futex(struct dp_engine *e, uint32_t seq, const struct deadline *d) {
    int type;

    pthread_cleanup_push(cancelled, e);
    (void)pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
    dp_cancel_back(d->cancel);
    dp_futex_wait(&e->wake_seq, seq, d->never ? NULL : &d->at);
    (void)dp_cancel_off();
    (void)pthread_setcanceltype(type, NULL);
    pthread_cleanup_pop(0);
}

/* The leader's sleep: the completion channels and the eventfd. Locked at both ends. */
static void sleep_leader(struct dp_engine *e, int64_t left, int cancel) {
    struct pollfd fds[DP_MAX_CHANNELS + 1] = {{.fd = e->wake_fd, .events = POLLIN}};
    nfds_t n = 1;
    struct dp_cq *q;

    TAILQ_FOREACH(q, &e->cqs, link) {
        nfds_t i = 1;
        while (i < n && fds[i].fd != q->channel->fd)
            i++;
        if (i == n)
            fds[n++] = (struct pollfd){.fd = q->channel->fd, .events = POLLIN};
    }
    if (e->starved && left > 10000000)
        left = 10000000; /* memory for receives may come back without an event */
    struct timespec ts = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
    e->leader = true;
    dp_unlock(e);
    int ready = poll_channels(e, fds, n, left == INT64_MAX ? NULL : &ts, cancel);
    dp_lock(e);
    e->leader = false;
    if (ready <= 0)
        return;
    if (fds[0].revents)
        dp_event_read(e->wake_fd);
    for (nfds_t i = 1; i < n; i++) {
        if (fds[i].revents) {
            dp_channel_drain(e);
            if (e->watched_over) { /* the housekeeper does not see this event any more */
                e->watched_over = false;
                e->parked = true;
            }
            break;
        }
    }
}

/*
 * Sleeps until something may have changed or the time is over, unless a token has completed
 * since e->done_seq was seen. Locked at both ends.
 */
static void sleep_once(struct dp_engine *e, struct deadline *d, uint64_t seen) {
    struct timespec now;

    deadline_start(d);
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t left = deadline_left(d, &now);
    if (left == 0 || e->done_seq != seen)
        return;
    if (!e->leader) {
        dp_arm_locked(e);
        if (dp_poll_locked(e) > 0 || e->done_seq != seen)
            return;
        asleep(e, 1);
        sleep_leader(e, left, d->cancel);
    } else {
        uint32_t seq = __atomic_load_n(&e->wake_seq, __ATOMIC_SEQ_CST);
        asleep(e, 1);
        dp_unlock(e);
        sleep_on_futex(e, seq, d);
        dp_lock(e);
    }
    asleep(e, -1);
}

/* What a waiter waits for. Returns -1 while it is not there; else the call's result. */
struct awaited {
    int (*check)(struct dp_engine *e, struct awaited *a);
    const demi_qtoken_t *qts;
    int n;
    demi_qresult_t *out;
    int got; /* index of the token, or results written */
};

/* ns later than t. */
static struct timespec later(const struct timespec *t, uint32_t ns) {
    uint64_t sum = (uint64_t)t->tv_nsec + ns;
    return (struct timespec){.tv_sec = t->tv_sec + (time_t)(sum / 1000000000),
                             .tv_nsec = (long)(sum % 1000000000)};
}

/* Locked at entry and exit. */
static int wait_for(struct dp_engine *e, struct awaited *a, struct deadline *d) {
    struct timespec now, spin_until = {0};
    bool spinning = e->cfg.wait_mode != DP_WAIT_BLOCK;
    uint32_t turns = 0;
    int rc;

    for (;;) {
        bool patient = false; /* this has taken a while */
        uint64_t seen = e->done_seq;
        rc = a->check(e, a);
        if (rc >= 0)
            return rc;
        e->activity++;
        (void)dp_poll_locked(e);
        if (e->done_seq != seen) {
            seen = e->done_seq;
            rc = a->check(e, a);
            if (rc >= 0)
                return rc;
        }
        if (d->zero)
            return ETIMEDOUT;
        if ((turns++ & 31) == 0) {
            /* The clock, now and then. */
            deadline_start(d);
            clock_gettime(CLOCK_MONOTONIC, &now);
            if (deadline_left(d, &now) == 0)
                return ETIMEDOUT;
            if (turns == 1 && e->cfg.wait_mode == DP_WAIT_ADAPTIVE)
                spinning = !dp_tokens_set_up(e, a->qts, a->n);
            patient = turns > 1 &&
                      (now.tv_sec > spin_until.tv_sec ||
                       (now.tv_sec == spin_until.tv_sec && now.tv_nsec >= spin_until.tv_nsec));
            if (turns == 1 || patient)
                spin_until = later(&now, e->cfg.spin_ns);
            if (patient && e->cfg.wait_mode == DP_WAIT_ADAPTIVE)
                spinning = false;
        }
        if (spinning) {
            dp_unlock(e);
            /* Whoever shall end the wait may have no processor to do it on. */
            if (patient)
                (void)sched_yield();
            else
                dp_pause();
            dp_lock(e);
        } else {
            sleep_once(e, d, seen);
            turns = 32; /* look at the clock after each sleep */
        }
    }
}

static int wait_locked(struct dp_engine *e, struct awaited *a, struct deadline *d) {
    d->cancel = dp_cancel_off();
    dp_lock(e);
    e->activity++;
    if (DP_UNLIKELY(!TAILQ_EMPTY(&e->held)))
        dp_send_release_all(e);
    int rc = e->alive ? wait_for(e, a, d) : EINVAL;
    if (DP_UNLIKELY(!TAILQ_EMPTY(&e->dirty)))
        dp_poll_settle(e); /* there was no poll, which does it */
    hand_over(e);
    dp_unlock(e);
    dp_cancel_back(d->cancel);
    return rc;
}

static int check_any(struct dp_engine *e, struct awaited *a) {
    struct qt_slot *first = NULL;

    for (int i = 0; i < a->n; i++) {
        struct qt_slot *s = qt_lookup(&e->tokens, a->qts[i]);
        if (!s)
            return EINVAL;
        if (!first && qt_state(s) == QT_DONE) {
            first = s;
            a->got = i;
        }
    }
    return first ? qt_redeem(&e->tokens, first, a->out) : -1;
}

static int check_next(struct dp_engine *e, struct awaited *a) {
    struct qt_slot *s;

    while (a->got < a->n && (s = qt_next_done(&e->tokens)))
        (void)qt_redeem(&e->tokens, s, &a->out[a->got++]);
    return a->got == a->n ? 0 : -1;
}

int dp_wait_any_slow(const demi_qtoken_t *qts, int num_qts, demi_qresult_t *qr_out,
                     int *ready_offset, const struct timespec *timeout) {
    struct deadline d;
    int rc = deadline_init(&d, timeout);

    if (rc)
        return rc;
    if (!qts || !qr_out || !ready_offset || num_qts < 0 || (num_qts == 0 && d.never))
        return EINVAL;
    if (num_qts == 0) {
        /* Nothing can complete: the time is waited out, as upstream does. */
        if (!d.zero) {
            deadline_start(&d);
            while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &d.at, NULL) == EINTR)
                continue;
        }
        return ETIMEDOUT;
    }
    struct dp_engine *e = dp_engine_of_token(qts[0]);
    if (!e)
        return EINVAL;
    struct awaited a = {.check = check_any, .qts = qts, .n = num_qts, .out = qr_out};
    rc = wait_locked(e, &a, &d);
    if (rc == 0)
        *ready_offset = a.got;
    return rc;
}

int dp_wait_next_n(struct dp_engine *e, demi_qresult_t *qrs_out, int num_qrs, int *num_out,
                   const struct timespec *timeout) {
    struct deadline d;

    if (num_out)
        *num_out = 0;
    if (!e || !qrs_out || num_qrs <= 0 || !num_out)
        return EINVAL;
    int rc = deadline_init(&d, timeout);
    if (rc)
        return rc;
    struct awaited a = {.check = check_next, .n = num_qrs, .out = qrs_out};
    rc = wait_locked(e, &a, &d);
    *num_out = a.got;
    return rc;
}
