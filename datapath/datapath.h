/*
 * The data plane: everything that happens once per message.
 *
 * This header is the whole contract between the control plane (Go) and the data plane
 * (C): the queue-token table, the queue-descriptor table, attach and detach, commands to
 * a connection, and the ring of notices. The demi_* calls of the data plane are in
 * include/demi; the wire format is in frame.h.
 *
 * Threads: every function may be called from any thread. Each engine has a lock; none of
 * these functions blocks on anything but that lock, save dp_wait* which sleep by design.
 * Results: 0 or a positive errno unless stated otherwise.
 */
#ifndef CATMINT_DATAPATH_H
#define CATMINT_DATAPATH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include <sys/socket.h>

#include <infiniband/verbs.h>

#include "../include/demi/types.h"
#include "../rdma/slowops.h"

struct dp_engine; /* one per thread that called demi_init; never freed while in use */
struct dp_device; /* one per RDMA device and process: PD and memory regions */
struct dp_cq;     /* one completion queue of one engine, with its budget */
struct dp_conn;   /* one connection: a queue pair and its credits */

/* ---- Process and engines ------------------------------------------------------ */

enum dp_wait_mode { DP_WAIT_ADAPTIVE = 0, DP_WAIT_SPIN = 1, DP_WAIT_BLOCK = 2 };

struct dp_config {
    enum dp_wait_mode wait_mode;
    uint32_t spin_ns;       /* adaptive: how long to spin before sleeping; 0: the default */
    uint32_t max_tokens;    /* tokens alive per engine at most; 0: the default */
    uint64_t max_arena_mem; /* bytes of arena in the process at most; 0: no limit */
};

/* Makes an engine; *out is valid until dp_engine_destroy. EAGAIN: too many engines. */
int dp_engine_create(const struct dp_config *cfg, struct dp_engine **out);
/* EBUSY while connections, descriptors or tokens of it are alive. */
int dp_engine_destroy(struct dp_engine *e);
/*
 * The control plane is no more: every token of a connect, accept or close fails with err at
 * once and no more are given out (err), and every connection ends as by dp_conn_fail, its pops at
 * once. The engine stays, and cannot be destroyed while anything of it is alive.
 */
void dp_engine_abort(struct dp_engine *e, int err);
uint32_t dp_engine_index(const struct dp_engine *e);

/* ---- Devices and completion queues --------------------------------------------- */

struct dp_device_attr {
    uint32_t max_inline; /* as granted to the queue pairs */
    uint32_t max_sge;
    uint64_t max_msg_sz;
    bool kernel_posts; /* posting enters the kernel, by a system call that may be cancelled */
    bool iwarp;        /* a READ goes only into memory that the peer may write: RFC 5040 */
};

/* Registers a device with the data plane, which registers arenas on pd as they are used. */
int dp_device_add(struct ibv_pd *pd, const struct rdma_slow_ops *ops,
                  const struct dp_device_attr *attr, struct dp_device **out);
/* Deregisters every memory region on it. EBUSY while a connection or CQ uses it. */
int dp_device_remove(struct dp_device *d);

/* Hands a completion queue (and the channel that it reports to, non-blocking) to e. */
int dp_cq_add(struct dp_engine *e, struct dp_device *d, struct ibv_cq *cq,
              struct ibv_comp_channel *channel, uint32_t depth, struct dp_cq **out);
/* Acknowledges outstanding events and forgets the CQ. EBUSY while a connection uses it. */
int dp_cq_remove(struct dp_cq *cq);
/*
 * A CQ of e on d with room for need more completions, or NULL: make another one. grown: even
 * when the windows of all its connections have grown to their ceilings; so they can.
 */
struct dp_cq *dp_cq_find(struct dp_engine *e, struct dp_device *d, uint32_t need, bool grown);

/* ---- Queue descriptors ---------------------------------------------------------- */

enum dp_qd_state {
    DP_QD_FREE = 0,
    DP_QD_SOCKET, /* fresh or bound */
    DP_QD_LISTENING,
    DP_QD_CONNECTING,
    DP_QD_CONNECTED, /* has a connection; push and pop work */
    DP_QD_FAILED,    /* connect failed: every call but close answers EBADF */
    DP_QD_CLOSING    /* demi_close has begun: EBADF */
};

#define DP_QD_FIRST 500

/* Allocates the lowest free descriptor (>= DP_QD_FIRST) for e. EMFILE: too many. */
int dp_qd_alloc(struct dp_engine *e, int32_t *qd_out);
int dp_qd_set_state(int32_t qd, enum dp_qd_state s);
enum dp_qd_state dp_qd_get_state(int32_t qd); /* DP_QD_FREE for a bad descriptor */
/* The engine of a descriptor, NULL for a bad or free one. */
struct dp_engine *dp_qd_engine(int32_t qd);
int dp_qd_free(int32_t qd);

/* ---- Tokens that the control plane completes ------------------------------------- */

/* Takes a token for a connect, accept or close operation on qd. EAGAIN: none left. */
int dp_token_alloc(struct dp_engine *e, int32_t qd, enum demi_opcode op, demi_qtoken_t *out);
/*
 * Completes a token, once: op is its own opcode with ret 0, or DEMI_OPC_FAILED with ret a
 * positive errno. ares is for accept. Wakes whoever waits. EINVAL: not a pending token.
 */
int dp_token_complete(demi_qtoken_t qt, enum demi_opcode op, int64_t ret,
                      const demi_accept_result_t *ares);
/* The same without the notice: the caller tells the watchers by itself. */
int dp_token_complete_quietly(demi_qtoken_t qt, enum demi_opcode op, int64_t ret,
                              const demi_accept_result_t *ares);
/* Frees a pending token that was never shown to the application. */
int dp_token_abandon(demi_qtoken_t qt);
/*
 * Asks for a DP_NOTICE_TOKEN when qt completes; *done if it has completed already, and then
 * no notice comes. *sets_up, unless it is NULL: it is one of connect or accept, which no
 * completion queue moves. Once a watched token has completed, other than quietly, or has been
 * abandoned there is exactly one notice, whoever redeems it. A watched token belongs to its
 * watcher: dp_wait_next_n does not take it. ENOMEM.
 */
int dp_token_watch(demi_qtoken_t qt, bool *done, bool *sets_up);
int dp_token_unwatch(demi_qtoken_t qt);
/* Takes a completed token's result without waiting: 0, ETIMEDOUT (pending) or EINVAL. */
int dp_token_redeem(demi_qtoken_t qt, demi_qresult_t *qr_out);

/* ---- Connections ------------------------------------------------------------------ */

/* What both sides announce in the hello. */
struct dp_conn_limits {
    uint32_t recv_size;   /* bytes of one receive, frame header included */
    uint32_t data_window; /* receives for DATA and RTS */
    uint32_t ctrl_window; /* receives for control frames */
    uint64_t max_message; /* bytes of the largest message taken, at most 1 GiB */
    /*
     * RDMA READs that it answers at once, as agreed on by CM: of the peer, our initiator
     * depth. Not in the hello. The engine has no more under way; with 0 it cannot fetch, and
     * takes an RTS as a violation of the protocol.
     */
    uint32_t reads;
};

struct dp_conn_params {
    struct dp_engine *engine;
    struct dp_device *device;
    struct dp_cq *cq;
    struct ibv_qp *qp;
    /*
     * The queue pair's extended interface, ibv_wr_start(3), with IBV_QP_EX_WITH_SEND; NULL if it
     * has none. Not used on a device that kernel_posts, whose post_send is wrapped.
     */
    struct ibv_qp_ex *qpx;
    uint32_t send_depth; /* send-queue entries granted */
    uint32_t recv_depth; /* receive-queue entries granted */
    uint32_t max_inline; /* bytes granted */
    struct dp_conn_limits local;
    uint32_t max_data_window; /* to what local.data_window may grow within recv_depth */
    uint64_t cookie;          /* comes back in notices */
};

/*
 * Makes a connection on a queue pair in INIT (or later) and posts every receive buffer,
 * before rdma_connect or rdma_accept is called. Frames that arrive before
 * dp_conn_establish are kept. ENOMEM: locked memory; EAGAIN: CQ budget.
 */
int dp_conn_create(const struct dp_conn_params *p, struct dp_conn **out);
/*
 * The queue pair is in RTS and the peer's limits are known: ties the connection to qd,
 * whose state becomes DP_QD_CONNECTED, and lets pushes flow.
 */
int dp_conn_establish(struct dp_conn *c, int32_t qd, const struct dp_conn_limits *peer);
/* The peer's address: what pops report in sga_addr, and what demi_pushto may name. */
int dp_conn_set_peer(struct dp_conn *c, const struct sockaddr *addr, socklen_t len);
/*
 * Commands. close: half (we still read) or full; sends FIN behind what has been pushed;
 * DP_NOTICE_DRAINED follows when the peer's FIN_ACK has come (and, for full, our receiving
 * side has nothing left to acknowledge). fail: everything outstanding ends with err once
 * posted work is accounted for; complete messages that arrived are delivered first.
 */
int dp_conn_close(struct dp_conn *c, bool full);
int dp_conn_fail(struct dp_conn *c, int err);
/*
 * The CM said DISCONNECTED or the queue pair is in the error state: moves the queue pair
 * to the error state, delivers what arrived, then behaves as dp_conn_fail(err). err 0 leaves
 * the judgement to the engine: an orderly close (pops see the end, pushes EPIPE) or
 * ECONNRESET, by what FIN and FIN_ACK had said. DP_NOTICE_FLUSHED follows.
 *
 * From dp_conn_fail and dp_conn_disconnected on the engine does not touch the queue pair:
 * one of them must be called before the queue pair is destroyed.
 */
int dp_conn_disconnected(struct dp_conn *c, int err);
/*
 * The queue pair has been destroyed, flushed or not: takes its completions out of the CQ,
 * counts the rest as flushed and ends what is outstanding. What has arrived can still be
 * popped. The CQ's budget is free again.
 */
int dp_conn_qp_destroyed(struct dp_conn *c);
/* Ends pending pops with ECANCELED, at demi_close; pushes go on draining. */
int dp_conn_cancel_pops(struct dp_conn *c);
/* The linger time is over: pending pushes end with ECANCELED. */
int dp_conn_cancel_pushes(struct dp_conn *c);
/*
 * Forgets the connection, whose queue pair must have been destroyed (as
 * dp_conn_qp_destroyed, if that has not been called). Late completions are dropped: they
 * name the connection by number and generation. What is still pending ends with ECANCELED
 * or the connection's errno; messages that nobody popped go. Buffers return to their arenas.
 */
int dp_conn_destroy(struct dp_conn *c);

struct dp_conn_stats {
    uint64_t pushes, pops, bytes_out, bytes_in;
    uint64_t frames_out, frames_in, credits_out, credits_in;
    uint64_t post_sends, post_recvs, rnr_events, inline_sends;
    uint64_t wr_sends; /* of post_sends: by ibv_wr_start(3), with a message each */
    uint64_t large_out, large_in, reads; /* messages by RTS; READs posted */
    uint64_t pings_out, pings_in;
    uint64_t window; /* data receives that the peer may fill, now */
    /*
     * How often it has grown, and how often it did not, or by less than it should, because the
     * CQ's budget was spent or there was no memory.
     */
    uint64_t window_grown, window_no_budget, window_no_memory;
    /* As it is now, not counts: messages that nobody has popped, and how many more DATA and
       RTS the peer has receives for. */
    uint64_t waiting, credit;
};
int dp_conn_stats(struct dp_conn *c, struct dp_conn_stats *out);
/*
 * A number that changes as the peer takes messages of ours, or reads on in a large one: who
 * waits for a close sees by it whether waiting is worth while. 0 for NULL.
 */
uint64_t dp_conn_progress(struct dp_conn *c);

/* ---- Liveness ---------------------------------------------------------------------- */

/*
 * Sets how long the peer may be silent, in nanoseconds: after idle it is asked by PING, and
 * before limit it counts as dead, which breaks the connection with ETIMEDOUT
 * (DP_NOTICE_BROKEN). A frame from the peer, or a READ that comes back, is a sign of life.
 * limit 0: silent for ever. *tick is how often dp_engine_tick must be called from now on, 0
 * for never. EINVAL: idle is 0 or not below limit.
 */
int dp_conn_keepalive(struct dp_conn *c, uint64_t idle, uint64_t limit, uint64_t *tick);
/*
 * Polls, then looks after the connections that have a limit: elapsed nanoseconds have passed
 * since the last call. A caller that was late says what it was meant to wait, not more:
 * whoever did not run cannot have heard anything. Returns in how many nanoseconds to call
 * again; 0: no connection has a limit.
 */
uint64_t dp_engine_tick(struct dp_engine *e, uint64_t elapsed);

/* ---- Notices: C to Go -------------------------------------------------------------- */

enum dp_notice_kind {
    /*
     * arg: positive errno; the queue pair is in the error state, or the peer does not keep
     * to the protocol (EPROTO): the control plane calls dp_conn_disconnected and tears down.
     * Once per connection at most, and not after dp_conn_fail or dp_conn_disconnected.
     */
    DP_NOTICE_BROKEN = 1,
    /* close was acknowledged by the peer, or there is nobody left to acknowledge it */
    DP_NOTICE_DRAINED,
    /* no completion of the connection matters any more: the queue pair can be destroyed */
    DP_NOTICE_FLUSHED,
    DP_NOTICE_PEER_FIN,   /* arg: 1 full, 0 half */
    DP_NOTICE_TOKEN,      /* cookie: the token; somebody in Go waits for it */
    DP_NOTICE_HOUSEKEEPER /* the housekeeper should look: a C leader left */
};

struct dp_notice {
    uint32_t kind;
    int32_t arg;
    uint64_t cookie; /* of the connection, or the token */
};

/* A non-blocking eventfd that is readable when the ring is not empty. Owned by e. */
int dp_engine_notice_fd(struct dp_engine *e);
/* Takes up to n notices; returns how many. Nothing is ever dropped. */
int dp_engine_notices(struct dp_engine *e, struct dp_notice *out, int n);

/* ---- Waiting and progress ----------------------------------------------------------- */

int dp_wait(demi_qtoken_t qt, demi_qresult_t *qr_out, const struct timespec *timeout);
int dp_wait_any(const demi_qtoken_t *qts, int num_qts, demi_qresult_t *qr_out, int *ready_offset,
                const struct timespec *timeout);
int dp_wait_next_n(struct dp_engine *e, demi_qresult_t *qrs_out, int num_qrs, int *num_out,
                   const struct timespec *timeout);
/* Polls every CQ of e once and does what follows; returns completions handled. */
int dp_engine_poll(struct dp_engine *e);
/*
 * For the housekeeper (a goroutine that watches the completion channels' fds): *activity is
 * a count that changes whenever the application polls or waits; arm asks for an event at
 * the next completion and answers EAGAIN if there was something to do meanwhile (poll and
 * try again), EBUSY if a C thread is the leader (DP_NOTICE_HOUSEKEEPER comes when it leaves).
 */
uint64_t dp_engine_activity(struct dp_engine *e);
int dp_engine_arm(struct dp_engine *e);
/* Drains and acknowledges the events of e's completion channels, then polls. */
int dp_engine_channel_event(struct dp_engine *e);

/* ---- Push, pop and memory ------------------------------------------------------------ */

/*
 * Messages go out in the order of the pushes. Three go at once after each wait; more may be held
 * back while the send queue is busy, until there are some, or somebody waits or polls (send.c).
 */
int dp_push(int32_t qd, const demi_sgarray_t *sga, demi_qtoken_t *qt_out);
int dp_pop(int32_t qd, demi_qtoken_t *qt_out);
/* A null sga (zero segments) when there is no memory, size is 0 or above 1 GiB. */
demi_sgarray_t dp_sgaalloc(struct dp_engine *e, size_t size);
/* EINVAL: null, freed before, or not ours. e: keeps the block at hand for it; may be NULL. */
int dp_sgafree(struct dp_engine *e, demi_sgarray_t *sga);
/* As dp_push, to the connected peer only: EISCONN for any other address. */
int dp_pushto(int32_t qd, const demi_sgarray_t *sga, const struct sockaddr *addr, socklen_t len,
              demi_qtoken_t *qt_out);

/* ---- What is alive, for tests and statistics ------------------------------------------ */

struct dp_census {
    uint64_t engines, devices, cqs, conns, descriptors, tokens;
    uint64_t blocks;  /* arena blocks in use, receives included */
    uint64_t regions; /* memory regions registered */
    uint64_t arena_bytes;
};
void dp_census(struct dp_census *out);

#endif
