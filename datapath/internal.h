/*
 * Private to the data plane's C files: the functions that one file has for the others. What they
 * work on is in structs.h.
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

#include "structs.h" // IWYU pragma: export

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

/* Whether there are tokens, n of them, and all are pending ones of connect or accept. Locked. */
bool dp_tokens_set_up(struct dp_engine *e, const demi_qtoken_t *qts, int n);

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
    return c->fast.list - c->fast.left;
}
/* Whether it is time to: control receives at once, others in lists, or as memory allows. */
static inline bool dp_recv_due(const struct dp_conn *c) {
    return c->rx_owed_ctrl || c->rx_owed_data + dp_recv_chained(c) >= c->fast.list || c->starved;
}
/*
 * Receives go in lists of the length that suits the window which the peer knows: it may have used
 * that up, and nothing but their return lets it go on. Locked.
 */
void dp_window_list(struct dp_conn *c);
/*
 * Says which short ways are open. After every change of what it looks at: dp_conn_settle does it,
 * and until then the connection is dirty. Locked.
 */
static inline void dp_conn_ways(struct dp_conn *c) {
    if (DP_UNLIKELY(c->fast.list_of != c->flow.granted))
        dp_window_list(c);
    bool plain = c->phase == DP_CONN_OPEN && c->fast.most && !c->dirty && !c->pending.head &&
                 !c->rx_owed_data && c->flow.type_out == FRAME_DATA && flow_is_plain(&c->flow);
    c->fast.now = plain ? c->fast.most : 0;
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
/* The sends that fast_push.c has room for are counted anew: the send queue is used otherwise. */
static inline void dp_send_no_room(struct dp_conn *c) {
    c->tx_quiet -= (uint32_t)c->fast.room;
    c->fast.room = 0;
}
/* What fast_push.c posts next has this place in the send queue, or DP_SLOT_QUIET, and flags. */
static inline void dp_send_next(struct dp_conn *c, uint32_t slot, unsigned int flags) {
    c->fast.send.wr_id = c->fast.send_id | slot;
    c->fast.send.send_flags = IBV_SEND_INLINE | flags;
    if (c->fast.qpx) {
        c->fast.qpx->wr_id = c->fast.send.wr_id;
        c->fast.qpx->wr_flags = c->fast.send.send_flags;
    }
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
/* An empty circle, of any connection: no completion names it, and nobody writes to it. */
extern struct dp_rx dp_no_rx __attribute__((visibility("hidden")));
/* The receive after another in the circle. */
static inline struct dp_rx *dp_rx_next(const struct dp_rx *rx) {
    return (struct dp_rx *)rx->wr.next; /* its first member */
}
/* The first of the circle: that which completes next, if it is posted. */
static inline struct dp_rx *dp_recv_head(const struct dp_conn *c) {
    return dp_rx_next(c->fast.tail);
}
/* A receive has neither message nor block any more: takes it off the circle. Locked. */
void dp_recv_free(struct dp_conn *c, struct dp_rx *rx);
/* A completion of the receive queue: bytes counts only if status is success. Locked. */
void dp_recv_done(struct dp_conn *c, uint32_t slot, enum ibv_wc_status status, uint32_t bytes);
/*
 * Posts receives in place of those used: all, or, if nothing but data receives in lists is due,
 * whole lists. Locked. Errno of the first failure.
 */
int dp_recv_post(struct dp_conn *c, bool all);
/*
 * Chains the data receives that are owed, which make no list yet: so their memory is theirs, and
 * not that of a new connection. Locked.
 */
void dp_recv_reserve(struct dp_conn *c);
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
