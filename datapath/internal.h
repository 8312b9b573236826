/*
 * Private to the data plane's C files: the structures behind datapath.h and the functions
 * that one file has for the others.
 *
 * One lock per engine guards the engine and everything that belongs to it: tokens, CQs,
 * connections, its descriptors' state. "Locked" below means: called with that lock held.
 * Lock order: the descriptor table's lock, or the device list's, before an engine's; the
 * arena's own locks last. No function here calls back into another engine.
 *
 * Who does what: a completion is taken from a CQ by poll.c, which hands it to recv.c or
 * send.c by its wr_id. They change the connection and mark it dirty; conn.c settles every
 * dirty connection once per poll: posts receives, completes pops, sends what may be sent,
 * and looks whether it has ended (close.c). Completed tokens ring whoever sleeps (wait.c)
 * and tell Go of those it watches (notice.c).
 */
#ifndef CATMINT_INTERNAL_H
#define CATMINT_INTERNAL_H

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/queue.h>

#include "../qtoken/qtoken.h"
#include "arena.h"
#include "datapath.h"
#include "flow.h"
#include "frame.h"
#include "lock.h"

#define DP_LIKELY(x) __builtin_expect(!!(x), 1)
#define DP_UNLIKELY(x) __builtin_expect(!!(x), 0)

#define DP_MAX_ENGINES (QT_ENGINE_MAX + 1)
#define DP_MAX_CHANNELS 32         /* completion channels of one engine */
#define DP_POLL_BATCH 32           /* completions taken from a CQ at once */
#define DP_TX_BATCH 16             /* work requests in one post list of sends, */
#define DP_RECV_LIST FLOW_LIST_MAX /* and of receives */
#define DP_TX_AT_ONCE 3u           /* pushes of a burst that never wait for others: send.c */
#define DP_MIN_SEND_DEPTH 8
#define DP_TURN 16       /* polls of an awaited CQ for one of another */
#define DP_SPIN_NS 20000 /* default of dp_config.spin_ns */

/* ---- Work request ids ------------------------------------------------------------------ */

/*
 * kind (2 bits) | generation (22) | connection (20) | index of its send or receive slot
 * (20). No pointers: a completion that comes after its connection has gone names a
 * generation that nobody has any more, and is dropped.
 */
enum dp_wr_kind { DP_WR_RECV = 1, DP_WR_SEND = 2 };

/* Slot of a send of fast_push.c that is not signalled: it completes only if it fails. */
#define DP_SLOT_QUIET ((uint32_t)DP_MASK(DP_SLOT_BITS))

#define DP_CONN_BITS 20
#define DP_GEN_BITS 22
#define DP_SLOT_BITS 20
#define DP_MASK(bits) ((UINT64_C(1) << (bits)) - 1)

static inline uint64_t dp_wr_id(enum dp_wr_kind kind, uint32_t gen, uint32_t conn, uint32_t slot) {
    return (uint64_t)kind << (DP_GEN_BITS + DP_CONN_BITS + DP_SLOT_BITS) |
           (uint64_t)gen << (DP_CONN_BITS + DP_SLOT_BITS) | (uint64_t)conn << DP_SLOT_BITS | slot;
}
static inline enum dp_wr_kind dp_wr_kind(uint64_t id) {
    return (enum dp_wr_kind)(id >> (DP_GEN_BITS + DP_CONN_BITS + DP_SLOT_BITS));
}
static inline uint32_t dp_wr_gen(uint64_t id) {
    return (uint32_t)(id >> (DP_CONN_BITS + DP_SLOT_BITS) & DP_MASK(DP_GEN_BITS));
}
static inline uint32_t dp_wr_conn(uint64_t id) {
    return (uint32_t)(id >> DP_SLOT_BITS & DP_MASK(DP_CONN_BITS));
}
static inline uint32_t dp_wr_slot(uint64_t id) {
    return (uint32_t)(id & DP_MASK(DP_SLOT_BITS));
}

/* ---- Structures ------------------------------------------------------------------------- */

struct dp_device {
    struct ibv_pd *pd;
    const struct rdma_slow_ops *ops;
    struct dp_device_attr attr;
    struct ibv_context_ops ops_uncancelled; /* of attr.kernel_posts: with post_send wrapped */
    int slot;                               /* of arena_device_add */
    uint32_t users;                         /* CQs and connections; atomic */
};

struct dp_cq {
    TAILQ_ENTRY(dp_cq) link; /* in its engine's list */
    struct dp_engine *engine;
    struct dp_device *device;
    struct ibv_cq *cq;
    struct ibv_comp_channel *channel; /* may be shared with other CQs of the engine */
    uint32_t depth;
    uint32_t used;     /* of depth, promised to connections, */
    uint32_t promised; /* and once their windows have grown to their ceilings */
    uint32_t conns;
};

/*
 * A receive: its work request, which names it from its first post on, and its block. It is
 * free (in rx_free, without a block), chained (ready to be posted, in fast.chain) or posted.
 */
struct dp_rx {
    struct ibv_recv_wr wr;
    struct ibv_sge sge;
    struct arena_block *block; /* NULL: none */
} __attribute__((aligned(64)));

/* A message, or a frame that came before dp_conn_establish. */
struct dp_inbound {
    struct arena_block *block; /* NULL: a large message, the next of fetches */
    uint32_t bytes;            /* header included */
};

/* An entry of the send queue, from post until a completion at or after it. */
struct dp_tx {
    struct qt_slot *push;      /* a push that completes with it, or NULL */
    struct arena_block *block; /* its memory, or NULL */
    uint32_t read;             /* bytes of an RDMA READ, or 0, */
    uint32_t number;           /* and the number of its RTS */
    bool signaled;
    /* of fast_push.c: nothing to do when it completes, not counted in tx_laden; so are free entries
     */
    bool bare;
};

#define DP_SOURCES 64u   /* RTS without an answer, of one connection at most */
#define DP_PUSH_LARGE 1u /* qt_slot.u64 of a pending push that goes by RTS */

/* A large message that the peer may read: from its RTS until DONE or RESET. */
struct dp_source {
    struct qt_slot *push; /* NULL: cancelled */
    struct arena_block *block;
    struct ibv_mr *mr; /* NULL: answered */
};

/* A large message of the peer's. */
enum dp_fetch_state {
    DP_FETCH_WAITING = 0,
    DP_FETCH_READING,
    DP_FETCH_DONE,   /* all bytes are in block */
    DP_FETCH_REFUSED /* not all bytes are here, nor will they be */
};

struct dp_fetch {
    struct arena_block *block; /* where it goes, from DP_FETCH_READING until it is popped */
    uint64_t addr;             /* in the peer's memory */
    uint32_t length, rkey, lkey;
    uint32_t issued;   /* bytes for which READs have been posted, */
    uint32_t returned; /* of which these have come back, */
    uint32_t done;     /* and these with success */
    uint32_t at;       /* index of its dp_inbound */
    uint8_t state;     /* enum dp_fetch_state */
    bool taken;        /* popped, or nobody will */
    bool answered;     /* DONE or RESET has been sent */
    bool charged;      /* counts as prefetched */
};

enum dp_conn_phase {
    DP_CONN_OPEN = 0, /* frames flow, once dp_conn_establish has been called */
    DP_CONN_FLUSHING, /* first error or disconnection: nothing is posted any more */
    DP_CONN_ENDED     /* all that will ever arrive has; no send is outstanding */
};

/* Bits of dp_conn.notices. */
enum {
    DP_BIT_BROKEN = 1,
    DP_BIT_DRAINED = 2,
    DP_BIT_FLUSHED = 4,
    DP_BIT_FIN_HALF = 8,
    DP_BIT_FIN_FULL = 16
};

/* Why a connection's calls may not take the short ways (fast.h). */
enum {
    DP_NO_WAY = 1, /* not plain: closing, pushes wait, something is to be settled, ... */
    DP_NO_POP = 2  /* pops or messages wait already */
};

struct dp_conn {
    struct dp_engine *engine;
    const struct ibv_context_ops *ops;
    struct ibv_qp *qp; /* NULL once destroyed */

    /*
     * For fast.c and fast_push.c: work requests with all but the message filled in, and its own
     * counts, which dp_conn_stats adds to the others. First, so that offsets are short.
     */
    struct {
        uint32_t no;     /* DP_NO_*; what is not 0 closes ways, dp_conn_ways says so */
        uint32_t most;   /* longest payload that goes this way; 0: none, or not established */
        uint32_t now;    /* most, or 0 while no says DP_NO_WAY */
        int32_t room;    /* sends before it is time to look at the send queue again */
        uint32_t slot;   /* of the device, for arena_key_fast */
        uint64_t turn;   /* dp_engine.activity at the last push, */
        uint64_t again;  /* and at the last that was not the first since it changed */
        uint32_t pushed; /* such pushes, when again is as activity */
        struct ibv_cq *cq;
        struct {
            enum demi_opcode opcode;
            int32_t qd;
        } result;         /* what the result of a pop begins with */
        uint64_t recv_id; /* of entry 0 of the receive queue */
        struct dp_rx *rx;
        uint64_t pushes, pops;
        uint64_t bytes_out, bytes_in;
        uint64_t send_id;                     /* of entry 0 of the send queue */
        struct arena_cache_class *recv_class; /* of a receive's block */
        /*
         * Receives that messages have left, with other blocks, and that are posted together once
         * left is 0; left was span when there was none. In rx_posted, but not posted yet.
         */
        struct ibv_recv_wr *chain;
        uint32_t left, span;
        uint64_t chains; /* posted */
        struct ibv_sge send_sge[2];
        struct ibv_send_wr send;
        uint8_t header[FRAME_HEADER_SIZE];
    } fast;
    struct flow flow;

    struct dp_device *device;
    struct dp_cq *cq;

    uint8_t phase;    /* enum dp_conn_phase */
    bool established; /* flow is valid; before, frames that come are kept in inbound */
    bool told_flushed;
    bool commanded;     /* libos knows that it is over: dp_conn_fail or _disconnected */
    bool recv_flushed;  /* a receive came back with an error: no message follows */
    bool starved;       /* no memory for a receive: tried again at each poll */
    bool fetch_starved; /* no memory for a large message that is wanted: the same */
    bool lost;          /* it ended before a large message was whole */
    bool dirty;
    uint8_t told_drained; /* level of the last DP_NOTICE_DRAINED */
    uint8_t told_fin;     /* level of the last DP_NOTICE_PEER_FIN */
    int err;              /* why it ended; 0: judged by flow_orderly */
    bool err_hard;        /* err stands, orderly or not */
    int broken_err;       /* what DP_NOTICE_BROKEN says */
    int32_t qd;           /* -1: none */

    /* Sending. */
    uint32_t send_depth, send_mask; /* entries of the send queue; of tx, less one */
    uint32_t tx_head, tx_tail;      /* next to post; oldest not known to be complete */
    uint32_t tx_quiet;              /* unsignalled ones since the last signalled one, fast.room's
                                       included, */
    uint32_t tx_signal;             /* so many at most */
    uint32_t tx_signaled;           /* signalled ones outstanding */
    uint32_t tx_reserve;            /* entries kept for control frames */
    uint32_t tx_laden;              /* entries outstanding that are not bare */
    uint32_t max_inline;
    uint32_t max_payload; /* of a DATA frame, by the peer's receive size */
    struct dp_tx *tx;
    struct arena_block *headers; /* DP_HEADER_ROOM for each entry of tx */
    uint32_t headers_lkey;
    struct qt_list pending; /* pushes not posted yet, oldest first */
    bool held;              /* they are a burst's, and wait for more: in dp_engine.held */
    TAILQ_ENTRY(dp_conn) held_link;
    struct qt_list doomed;     /* pushes that came back with an error, oldest first */
    struct dp_source *sources; /* by number of RTS, DP_SOURCES; made at the first large push */
    uint32_t src_tail;         /* oldest RTS without an answer */

    /* Receiving. */
    /* Pending, owned by us, oldest first; only while nothing is inbound, or a large message
       that is not here yet comes first. */
    struct qt_list pops;
    uint32_t rx_count;  /* entries of fast.rx: room for both windows */
    uint32_t rx_posted; /* or chained */
    uint32_t *rx_free;
    uint32_t rx_nfree;
    uint32_t rx_owed_data; /* receives used and to be posted again, by account */
    uint32_t rx_owed_ctrl;
    uint32_t rx_list;           /* those of data are posted in lists of so many, chained ones
                                   included */
    struct dp_inbound *inbound; /* ring: messages that nobody has popped; before
                                   dp_conn_establish, frames in order of arrival */
    uint32_t in_mask, in_head, in_tail;
    struct dp_fetch *fetches; /* ring, by number of RTS */
    uint32_t fetch_mask;
    uint32_t fetch_head;   /* oldest that is not both taken and answered */
    uint32_t fetch_answer; /* next to be answered by DONE or RESET */
    uint32_t fetch_pop;    /* next to be popped: those from here are inbound */
    uint32_t fetch_read;   /* next of which not all READs are posted */
    uint32_t fetch_tail;   /* of the next RTS */
    /* Growth of the window: window.c. */
    uint32_t window_max;  /* data receives at most */
    bool window_short;    /* the peer had to wait, and the application keeps up */
    bool window_tried;    /* to grow; the last time */
    uint16_t window_mark; /* with this flow.data_in */
    uint64_t window_pops; /* fast.pops when a CREDIT was due last, */
    uint64_t window_naps; /* and naps of the engine */
    uint32_t reads;       /* READs in flight, */
    uint32_t read_depth;  /* and at most */
    uint64_t reading;     /* bytes of the READs in flight */
    uint32_t reads_back;  /* READs that have come back with success, modulo 2^32 */
    uint64_t prefetched;  /* bytes of messages that are fetched and not popped */
    bool crowded;         /* the engine's budget for that holds it back: in dp_engine.crowded */
    TAILQ_ENTRY(dp_conn) crowded_link;

    /* Liveness, for keepalive.c; times in nanoseconds. */
    struct {
        uint64_t idle;     /* silence after which the peer is asked, */
        uint64_t limit;    /* and after which it counts as dead; 0: never */
        uint64_t silent;   /* silence up to the last tick */
        uint64_t progress; /* changes as the peer reads large messages of ours */
        uint32_t told;     /* arg of its last PING */
        uint32_t reads;    /* reads_back and */
        uint16_t seq;      /* flow.seq_in at the last tick */
        bool asked;        /* silence has been long enough to ask; since the last sign of life */
        bool ask;          /* a PING is wanted: are you there? */
        bool tell;         /* a PING is wanted: READs have come back, others are to follow */
        bool listed;       /* in dp_engine.watched */
        TAILQ_ENTRY(dp_conn) link;
    } alive;

    struct dp_conn_limits local, peer;
    struct frame_limits frame_limits;
    struct dp_conn_stats stats;

    uint64_t cookie;
    uint32_t index, gen; /* in the engine's table */
    uint32_t budget;     /* completions promised by cq, */
    uint32_t budget_max; /* and at the window's ceiling */
    uint32_t notices;    /* DP_BIT_* not fetched yet */
    TAILQ_ENTRY(dp_conn) dirty_link;
    TAILQ_ENTRY(dp_conn) notice_link;

    struct sockaddr_in sga_addr;
    struct sockaddr_storage peer_addr;
    socklen_t peer_addr_len;
};
TAILQ_HEAD(dp_conn_list, dp_conn);

/* A place in an engine's table of connections. */
struct dp_conn_entry {
    struct dp_conn *conn;
    uint32_t gen;
    uint32_t next_free; /* index + 1 */
};

/* Rings due when the lock is released. */
enum { DP_RING_ONE = 1, DP_RING_ALL = 2, DP_RING_LEADER = 4 };

struct dp_engine {
    struct dp_mutex lock;
    uint32_t rings;    /* DP_RING_* */
    uint32_t sleepers; /* threads asleep, the leader included; not 0: the lock's flag is set */
    bool leader;       /* one of them polls the channels */
    bool watched_over; /* the housekeeper has armed the CQs and watches the channels */
    bool parked;       /* the housekeeper waits for DP_NOTICE_HOUSEKEEPER */
    bool alive;
    int aborted; /* errno of dp_engine_abort, or 0 */
    uint32_t index;
    struct qt_table tokens;
    /*
     * Tokens that the short ways (fast.h) keep beside the table. Whoever takes the lock by
     * dp_lock finds them entered; the short ways enter them before it calls anything else.
     */
    struct {
        bool used;       /* a slot is taken for one of them */
        int32_t push_qd; /* push is a push on this descriptor, which has succeeded */
        struct qt_quick push;
        struct qt_quick pop;
        struct dp_conn *pop_conn; /* pop is a pop of this connection, its only one */
    } quick;
    TAILQ_HEAD(dp_cq_list, dp_cq) cqs;
    struct dp_cq *turn; /* of fast.c: the CQ polled last beside an awaited one, or NULL, */
    uint32_t turn_in;   /* and so many polls until the next has its turn */
    struct dp_conn_list dirty;
    struct dp_conn_list held;    /* connections whose pushes are held back; then quick is empty */
    struct dp_conn_list watched; /* open connections with a limit to their silence */
    uint32_t starved;    /* connections without memory for receives, or for large messages */
    uint64_t prefetched; /* as dp_conn.prefetched, of all connections */
    struct dp_conn_list crowded;

    uint32_t wake_seq; /* futex; changes with each ring */
    int wake_fd;       /* eventfd: rings the leader */
    uint64_t activity; /* times that the application has waited or polled for a token */
    uint64_t done_seq; /* tokens completed: what poll.c has changed while one holds the lock */
    uint64_t naps;     /* times that the CQs were armed: somebody was about to sleep */

    /* Notices. */
    int notice_fd;
    bool notice_rung; /* notice_fd is readable */
    bool notice_housekeeper;
    struct dp_conn_list noticed;
    demi_qtoken_t *watch_ring; /* completed tokens that Go watches */
    uint32_t watch_cap;        /* a power of two, or 0 */
    uint32_t watch_head, watch_tail;
    uint32_t watch_reserved; /* watched and pending, or in the ring */

    struct dp_conn_entry *conns;
    uint32_t nconns, conns_cap, conns_free; /* free: index + 1 */
    uint32_t conns_alive, qds_alive;

    struct dp_config cfg;
    struct arena_cache cache;
    struct ibv_send_wr *bad_send; /* what posts of fast.c were refused for */
    struct ibv_recv_wr *bad_recv;
    struct ibv_wc wc[DP_POLL_BATCH];
};

/* ---- engine.c ------------------------------------------------------------------------------ */

/* Enters the tokens that are beside the table. Locked. */
void dp_quick_enter(struct dp_engine *e);
static inline void dp_lock(struct dp_engine *e) {
    dp_mutex_lock(&e->lock);
    if (DP_UNLIKELY(e->quick.used))
        dp_quick_enter(e);
}
/* Releases the lock and rings whoever has to be woken. */
void dp_unlock_ring(struct dp_engine *e);
static inline void dp_unlock(struct dp_engine *e) {
    if (DP_UNLIKELY(e->rings))
        dp_unlock_ring(e);
    else
        dp_mutex_unlock(&e->lock);
}
/* The engine that a token names, alive or not, or NULL. Unlocked; engines are never freed. */
extern struct dp_engine *dp_engines[QT_ENGINE_MAX + 2] __attribute__((visibility("hidden")));
static inline struct dp_engine *dp_engine_of_token(demi_qtoken_t qt) {
    return __atomic_load_n(&dp_engines[qt_token_engine(qt)], __ATOMIC_ACQUIRE);
}

/*
 * Memory has come back while some connection has none for its receives: has the engines of
 * such connections look again. Unlocked.
 */
/* Connections in the process that starve; atomic. */
extern uint32_t dp_starving __attribute__((visibility("hidden")));
void dp_feed_starving(void);

/* Counts of what is alive in the process; atomic. */
struct dp_counts {
    uint64_t engines, devices, cqs, conns, descriptors, regions; /* regions: for one message */
};
extern struct dp_counts dp_counts;
static inline void dp_count(uint64_t *n, int64_t by) {
    __atomic_fetch_add(n, (uint64_t)by, __ATOMIC_RELAXED);
}

/* ---- token.c ------------------------------------------------------------------------------- */

/* Fails every pending token of the control plane. Locked. */
void dp_tokens_fail(struct dp_engine *e, int err);

/* ---- qd.c ------------------------------------------------------------------------------------ */

/*
 * All descriptors, by their numbers; the system gives pages for those that have been in use only.
 * What the short ways look at lies apart.
 */
#define DP_QD_MAX 65536u
#define DP_QD_END (DP_QD_FIRST + DP_QD_MAX)
extern struct dp_qds {
    struct dp_engine *engine[DP_QD_END]; /* atomic; NULL: free. The rest under the engine's lock. */
    struct dp_conn *live[DP_QD_END];     /* conn of one that is DP_QD_CONNECTED, or dp_no_conn */
    struct dp_conn *conn[DP_QD_END];
    uint8_t state[DP_QD_END]; /* enum dp_qd_state */
} dp_qds __attribute__((visibility("hidden")));

/* Stands for no connection where the short ways look: it has none. */
extern struct dp_conn dp_no_conn __attribute__((visibility("hidden")));

/* Sets what a descriptor is. Locked. */
static inline void dp_qd_set(int32_t qd, enum dp_qd_state state, struct dp_conn *c) {
    dp_qds.state[qd] = (uint8_t)state;
    dp_qds.conn[qd] = c;
    dp_qds.live[qd] = state == DP_QD_CONNECTED && c ? c : &dp_no_conn;
}

/* The engine of a descriptor, or NULL: it is free, or no descriptor at all. Unlocked. */
static inline struct dp_engine *dp_qd_owner(int32_t qd) {
    return DP_LIKELY((uint32_t)qd < DP_QD_END)
               ? __atomic_load_n(&dp_qds.engine[qd], __ATOMIC_ACQUIRE)
               : NULL;
}

/*
 * Finds a connection by its descriptor and locks its engine, if 0. EBADF: bad, free, failed or
 * closing; ENOTCONN: it takes no pushes and pops.
 */
int dp_qd_lock_conn(int32_t qd, struct dp_conn **c);

/* ---- token.c ----------------------------------------------------------------------------------
 */

/* A slot has become done, and is watched perhaps: whoever waits shall know. Locked. */
void dp_announce(struct dp_engine *e, struct qt_slot *s);
/* Complete a pending slot that is on no list, ring sleepers and tell the watcher. Locked. */
void dp_complete(struct dp_engine *e, struct qt_slot *s, enum demi_opcode op, int err);
void dp_complete_sga(struct dp_engine *e, struct qt_slot *s, const demi_sgarray_t *sga);
static inline void dp_fail(struct dp_engine *e, struct qt_slot *s, int err) {
    dp_complete(e, s, DEMI_OPC_FAILED, err);
}

/* ---- notice.c ----------------------------------------------------------------------------------
 */

/* All locked. */
void dp_notice_conn(struct dp_conn *c, uint32_t bit);
void dp_notice_forget(struct dp_conn *c);
void dp_notice_token(struct dp_engine *e, demi_qtoken_t qt);
void dp_notice_housekeeper(struct dp_engine *e);
/* Room for one more watched token. ENOMEM. */
int dp_notice_reserve(struct dp_engine *e);

/* ---- wait.c -------------------------------------------------------------------------------------
 */

/* Something completed: whoever sleeps shall look. Locked. */
static inline void dp_ring(struct dp_engine *e) {
    if (DP_UNLIKELY(e->sleepers))
        e->rings |= DP_RING_ALL | (e->leader ? DP_RING_LEADER : 0);
}
/* The set of channels changed: the leader, if any, shall watch the new one. Locked. */
void dp_leader_refresh(struct dp_engine *e);
/* As dp_wait_any, whatever has to be done. */
int dp_wait_any_slow(const demi_qtoken_t *qts, int num_qts, demi_qresult_t *qr_out,
                     int *ready_offset, const struct timespec *timeout);

/* ---- poll.c -------------------------------------------------------------------------------------
 */

/* Polls every CQ once and settles what changed; returns completions handled. Locked. */
int dp_poll_locked(struct dp_engine *e);
/* Acts on one completion; its connection is settled by dp_poll_settle. Locked. */
void dp_poll_dispatch(struct dp_engine *e, const struct ibv_wc *wc);
/* Settles what is dirty now; what becomes dirty meanwhile waits for the next time. Locked. */
void dp_poll_settle(struct dp_engine *e);
/* Takes every completion that is in a CQ now. Locked. */
int dp_poll_drain(struct dp_engine *e, struct dp_cq *q);
/* Arms every CQ. Locked. */
void dp_arm_locked(struct dp_engine *e);
/* Takes and acknowledges the events of every channel. Locked. */
void dp_channel_drain(struct dp_engine *e);

/* ---- conn.c
 * ---------------------------------------------------------------------------------------- */

/* Data receives that are chained: waiting, with their blocks, for others. */
static inline uint32_t dp_recv_chained(const struct dp_conn *c) {
    return c->fast.span - c->fast.left;
}
/* Whether it is time to: control receives at once, others in lists, or as memory allows. */
static inline bool dp_recv_due(const struct dp_conn *c) {
    return c->rx_owed_ctrl || c->rx_owed_data + dp_recv_chained(c) >= c->rx_list || c->starved;
}
/* Says how many receives may be chained until a list is full, which it is not. Locked. */
static inline void dp_recv_span(struct dp_conn *c) {
    uint32_t chained = dp_recv_chained(c);
    c->fast.span = c->rx_list > c->rx_owed_data ? c->rx_list - c->rx_owed_data : 1;
    c->fast.left = c->fast.span > chained ? c->fast.span - chained : 1;
    c->fast.span = c->fast.left + chained;
}

/*
 * Says which short ways are open. After every change of what it looks at: dp_conn_settle does it,
 * and until then the connection is dirty. Locked.
 */
static inline void dp_conn_ways(struct dp_conn *c) {
    bool plain = c->phase == DP_CONN_OPEN && c->fast.most && !c->dirty && !c->pending.head &&
                 c->flow.flags_out == 0 && flow_is_plain(&c->flow);
    c->fast.now = plain ? c->fast.most : 0;
    dp_recv_span(c);
    c->fast.no = (plain ? 0u : DP_NO_WAY) |
                 (c->pops.head || c->in_head != c->in_tail ? (uint32_t)DP_NO_POP : 0u);
}
static inline void dp_conn_dirty(struct dp_conn *c) {
    c->fast.no |= DP_NO_WAY;
    c->fast.now = 0;
    if (!c->dirty) {
        c->dirty = true;
        TAILQ_INSERT_TAIL(&c->engine->dirty, c, dirty_link);
    }
}
/* Does everything that a change calls for; see the top. Locked. */
void dp_conn_settle(struct dp_conn *c);
static inline struct dp_conn *dp_conn_find(struct dp_engine *e, uint32_t index, uint32_t gen) {
    if (index >= e->nconns || e->conns[index].gen != gen)
        return NULL;
    return e->conns[index].conn;
}

/* ---- send.c
 * ------------------------------------------------------------------------------------------ */

/* As dp_push, whatever has to be done, on a connection whose engine is locked. */
int dp_push_slow(struct dp_conn *c, int32_t qd, const demi_sgarray_t *sga, demi_qtoken_t *qt_out);
/* The sends that fast.c has room for are counted anew: the send queue is used otherwise. */
static inline void dp_send_no_room(struct dp_conn *c) {
    c->tx_quiet -= (uint32_t)c->fast.room;
    c->fast.room = 0;
}
/* Sends what may be sent, unless it is held back: pushes in order, then control frames. Locked. */
void dp_send_pump(struct dp_conn *c);
/* Pushes of c are held back no longer; whoever calls this settles c. Locked. */
void dp_send_release(struct dp_conn *c);
/* The same of every connection of an engine, each of which is dirty then. Locked. */
void dp_send_release_all(struct dp_engine *e);
/* A completion of the send queue. Locked. */
void dp_send_done(struct dp_conn *c, uint32_t slot, enum ibv_wc_status status);
/* Every send counts as flushed; called when the queue pair is no more. Locked. */
void dp_send_purge(struct dp_conn *c);
/* Fails pushes that have not been posted. Locked. */
void dp_send_fail_pending(struct dp_conn *c, int err);

/* ---- rendezvous.c ---------------------------------------------------------------------------
 */

/* Bytes of the longest frame that is not sent from the application's memory: an RTS. */
#define DP_HEADER_ROOM (FRAME_HEADER_SIZE + FRAME_RTS_SIZE)

/* All locked. Room for what large pushes need. ENOMEM. */
int dp_source_init(struct dp_conn *c);
/*
 * Registers a pending large push whose turn it is. EAGAIN: not before the peer has answered
 * another one. Any other errno is that of the push.
 */
int dp_source_prepare(struct dp_conn *c, struct qt_slot *s);
/* Writes the payload of its RTS: FRAME_RTS_SIZE bytes. */
void dp_source_rts(const struct qt_slot *s, uint8_t *body);
/* Its RTS, whose number is in u32, has been posted: takes over the push's block and region. */
void dp_source_posted(struct dp_conn *c, struct qt_slot *s);
/* A pending push ends without an RTS: its region goes, if it has one. */
void dp_source_drop(struct dp_conn *c, struct qt_slot *s);
/* DONE or RESET has come. EPROTO: of no open RTS. */
int dp_source_answered(struct dp_conn *c, uint32_t number, bool done);
/* Fails pushes whose RTS has no answer; their memory stays. */
void dp_sources_fail(struct dp_conn *c, int err);
/* The queue pair answers no READ any more: memory and regions go. */
void dp_sources_release(struct dp_conn *c);

/* An RTS has come. EPROTO. */
int dp_fetch_add(struct dp_conn *c, const uint8_t *body);
/* Starts and continues READs; only while the connection is open. */
void dp_fetch_pump(struct dp_conn *c);
void dp_fetch_read_done(struct dp_conn *c, const struct dp_tx *tx, bool failed);
/* DONE or RESET if one is due for fetch_answer, which exists; else 0. */
uint8_t dp_fetch_answer(const struct dp_conn *c);
/* It has been sent. */
void dp_fetch_answered(struct dp_conn *c);
/* Whether the large message that is next to be popped has arrived whole, and taking it. */
bool dp_fetch_ready(const struct dp_conn *c);
void dp_fetch_deliver(struct dp_conn *c, demi_sgarray_t *sga);
/* Nobody will pop what is inbound: refuses it. */
void dp_fetch_drop(struct dp_conn *c);
/* Nothing arrives any more: lets go of what is not whole, and of all that came behind it. */
void dp_fetch_end(struct dp_conn *c);
/* Sets whether c lacks memory for a large message. */
void dp_fetch_starve(struct dp_conn *c, bool starved);
/* Sets whether the engine's budget keeps c from fetching ahead. */
void dp_fetch_crowd(struct dp_conn *c, bool crowded);

/* ---- recv.c
 * -------------------------------------------------------------------------------------------- */

/* As dp_pop, whatever has to be done, on a connection whose engine is locked. */
int dp_pop_slow(struct dp_conn *c, int32_t qd, demi_qtoken_t *qt_out);
/* A completion of the receive queue: bytes counts only if status is success. Locked. */
void dp_recv_done(struct dp_conn *c, uint32_t slot, enum ibv_wc_status status, uint32_t bytes);
/*
 * Posts receives in place of those used: all, or, if nothing but data receives in lists is due,
 * whole lists. Locked. Errno of the first failure.
 */
int dp_recv_post(struct dp_conn *c, bool all);
/* Gives the blocks of chained receives back, which count as owed then. Locked. */
void dp_recv_unchain(struct dp_conn *c);
/* Posting the chained receives has been refused with rc, from engine.bad_recv on. Locked. */
void dp_recv_refused(struct dp_conn *c, int rc);
/* Posts up to n more data receives, by which the window grows; returns how many. Locked. */
uint32_t dp_recv_add(struct dp_conn *c, uint32_t n);
/* Sets whether c lacks memory for a receive. Locked. */
void dp_recv_starve(struct dp_conn *c, bool starved);
/* Judges a frame and does what it says; bytes came in block, whose reference it takes. */
void dp_recv_frame(struct dp_conn *c, struct arena_block *block, uint32_t bytes);
/* Completes pops as far as possible. Locked. */
void dp_recv_settle(struct dp_conn *c);
/* Returns every receive to the arena; called when the queue pair is no more. Locked. */
void dp_recv_purge(struct dp_conn *c);
/* Drops messages that nobody will pop. Locked. */
void dp_recv_drop(struct dp_conn *c);
/* What a pop or push of a connection that has ended answers; 0: the close was orderly. */
int dp_conn_final_err(const struct dp_conn *c);

/* ---- window.c
 * ------------------------------------------------------------------------------------------ */

/* Makes room for the receives of a data window and what comes in them. ENOMEM: all stays. */
int dp_window_tables(struct dp_conn *c, uint32_t data_window);
void dp_window_free(struct dp_conn *c);
/* A message has come that had to wait for a receive. Before it is inbound. Locked. */
void dp_window_waited(struct dp_conn *c);
/* Lets the window grow if that pays. Locked, on an open connection, before sending. */
void dp_window_settle(struct dp_conn *c);

/* ---- close.c
 * -------------------------------------------------------------------------------------------- */

/*
 * The first error of a connection, found by the engine: nothing is posted from here on. hard:
 * err stands even if the peer had no more use for the connection. Locked.
 */
void dp_conn_break(struct dp_conn *c, int err, bool hard);
/* Looks whether it is drained, quiet or over, and says so. Locked. */
void dp_close_settle(struct dp_conn *c);
/* The errno of an error completion. */
int dp_wc_errno(enum ibv_wc_status status);
/* Moves the queue pair to the error state, so that what is posted comes back. Locked. */
void dp_conn_flush(struct dp_conn *c);
/* Everything is accounted for, because the queue pair is no more. Locked. */
void dp_conn_detach(struct dp_conn *c);

/* ---- keepalive.c
 * -------------------------------------------------------------------------------------- */

/* All locked. c is going away. */
void dp_keepalive_forget(struct dp_conn *c);
/* Whether a PING is due and may be sent. */
bool dp_ping_due(const struct dp_conn *c);
/* It is being sent: its arg. */
uint32_t dp_ping_sent(struct dp_conn *c);
/* A PING of the peer's has come. */
void dp_ping_came(struct dp_conn *c, uint32_t arg);

#endif
