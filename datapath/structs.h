/*
 * Private to the data plane's C files: the structures behind datapath.h, and the ids of work
 * requests. One lock per engine guards the engine and everything that belongs to it; the functions
 * that change them are in internal.h.
 */
#ifndef CATMINT_STRUCTS_H
#define CATMINT_STRUCTS_H

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
#define DP_BUSY_LISTS 64 /* lists of receives until it is seen whether a connection is busy */
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
 * A receive: its work request, which names it from its first post on, and its block. It is free (in
 * rx_free, without a block), or in the circle that wr.next makes of the others: those that are
 * posted, in the order of their posts, and so of their completions, and then those that are
 * chained, ready to be posted. One whose message has been handed on, and which has got another
 * block, is the last of the circle without being moved.
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
    uint32_t length, rkey;
    union {
        uint32_t lkey;     /* of the block's chunk, */
        struct ibv_mr *mr; /* or on iWARP a region of the block alone, while READs may go into it */
    } sink;
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
     * For fast_*.c: work requests with all but the message filled in, and its own
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
        struct ibv_qp_ex *qpx; /* of qp, for sends; NULL: post_send takes its place */
        struct {
            enum demi_opcode opcode;
            int32_t qd;
        } result; /* what the result of a pop begins with */
        struct dp_rx *rx;
        struct dp_rx *tail;  /* the last of the circle; the next one completes first; or dp_no_rx */
        struct dp_rx *chain; /* the first that is chained; of the circle, if none is */
        uint64_t pushes, pops;
        uint64_t listed; /* of pushes: in two pieces, by post_send */
        uint64_t bytes_out, bytes_in;
        uint64_t send_id;                     /* of entry 0 of the send queue */
        struct arena_cache_class *recv_class; /* of a receive's block */
        /*
         * Data receives are posted in lists of so many. Those that messages have left are chained,
         * with other blocks, until a list lacks no more; they are in rx_posted, but not posted.
         */
        uint32_t list;
        uint32_t left;    /* as many are missing in the chain */
        uint16_t list_of; /* the window that list is for */
        uint64_t chains;  /* posted, */
        uint64_t look;    /* and with so many it is time to look at the window */
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
    uint16_t window_mark; /* with this flow.seq_in */
    uint64_t window_pops; /* fast.pops when a CREDIT was due last, */
    uint64_t window_naps; /* and naps of the engine, */
    uint64_t busy_naps;   /* and those when fast.look was set */
    uint32_t busy_lists;  /* chains until the next look */
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
        bool used;            /* a slot is taken for one of them */
        struct qt_quick push; /* of a push that has succeeded; its result begins with: */
        struct {
            enum demi_opcode opcode;
            int32_t qd;
        } pushed;
        struct qt_quick pop;
        struct dp_conn *pop_conn; /* pop is a pop of this connection, its only one */
        demi_qresult_t *out;      /* of who waits for it in this very call */
    } quick;
    TAILQ_HEAD(dp_cq_list, dp_cq) cqs;
    struct dp_cq *turn; /* of fast_wait.c: the CQ polled last beside an awaited one, or NULL, */
    int32_t turn_in;    /* and so many polls until the next has its turn */
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
    struct ibv_send_wr *bad_send; /* what posts of fast_*.c were refused for */
    struct ibv_recv_wr *bad_recv;
    struct ibv_wc wc[DP_POLL_BATCH];
};

#endif
