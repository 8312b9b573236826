/*
 * The rules of flow control, sequence and close of one connection (docs/protocol.md).
 *
 * Pure: struct flow is counts and flags, nothing here does I/O, takes memory, time or a
 * lock. The caller serialises calls on one struct flow (the engine holds its lock). The
 * engine sends and receives by these functions, and datapath/model explores the same
 * functions over every interleaving: change a rule here and run its tests.
 *
 * Two accounts of receives, both ways. DATA and RTS use one of the peer's data receives,
 * returned when its application takes the message; every other frame uses one of its
 * control receives, returned by its engine at once. Counts are cumulative and 16 bits wide,
 * every frame carries both, so nothing depends on a particular frame and a repeat is harmless.
 */
#ifndef CATMINT_WIRE_FLOW_H
#define CATMINT_WIRE_FLOW_H

#include <string.h>

#include "frame.h"

/*
 * Bounds of the windows. With four control receives both sides always get out of a corner,
 * and one-way traffic costs no CREDIT but the receiver's own: see datapath/model.
 */
#define FLOW_DATA_WINDOW_MIN 1u
#define FLOW_CTRL_WINDOW_MIN 4u
#define FLOW_CTRL_WINDOW_DEFAULT 4u
#define FLOW_LIST_MAX 16u      /* receives posted at once */
#define FLOW_WINDOW_MAX 16384u /* of either account: differences of counts stay below 2^15 */

/* How far one direction has been closed. Levels only rise. */
enum flow_fin {
    FLOW_OPEN = 0,
    FLOW_HALF = 1, /* sends no more messages, still reads */
    FLOW_FULL = 2, /* neither sends nor reads: messages that arrive are dropped */
};

struct flow {
    /* What every frame says, in the order and places of its header: flow_encode_data. */
    uint16_t type_out;      /* of the next DATA: its type and, in the high byte, its flags */
    uint16_t data_returned; /* DATA and RTS received whose receives have been posted anew */
    uint16_t ctrl_returned; /* control frames received whose receives have been posted anew */
    uint16_t seq_out;       /* of the next frame */

    /* Of those returned, what the peer has not been told of. */
    uint16_t data_owed;
    uint16_t ctrl_owed;

    /* Receives of ours that the peer knows of and has not used. */
    int16_t data_open;
    int16_t ctrl_open;

    /* The next DATA frame's, if it returns nothing, in the order of a header: flow_receive_data. */
    uint16_t type_in;    /* FRAME_DATA, without flags */
    uint16_t data_acked; /* DATA and RTS sent whose receives the peer has returned, as last heard */
    uint16_t ctrl_acked; /* control frames sent, the same */
    uint16_t seq_in;     /* of the next frame */

    /* Receives of the peer's that we know of and have not used: what may be sent. */
    int16_t data_credit;
    int16_t ctrl_credit;

    /* The peer's windows. */
    uint16_t peer_data_window; /* the peer's data receives: its hello's and those added since */
    uint16_t peer_ctrl_window; /* the peer's control receives */
    uint16_t peer_added;       /* of peer_data_window, added since the hello */

    /* Ours. */
    uint16_t data_window; /* our data receives: our hello's and those added since */
    uint16_t ctrl_window; /* our control receives */
    uint16_t added;       /* of data_window, added since the hello */
    uint16_t granted;     /* of data_window, those that the peer has been told of */

    /* Thresholds, fixed by flow_init and flow_add. */
    uint16_t data_due;     /* a bare CREDIT goes when so many data receives are owed, */
    uint16_t ctrl_due;     /* or so many control receives */
    uint16_t ctrl_reserve; /* control slots for frames that themselves return control receives */

    /* Close: enum flow_fin. */
    uint8_t fin_want;    /* what the application asked for */
    uint8_t fin_sent;    /* level of our last FIN */
    uint8_t fin_acked;   /* level of the peer's last FIN_ACK */
    uint8_t peer_fin;    /* level of the peer's last FIN */
    uint8_t peer_finack; /* level of our last FIN_ACK */

    /* Liveness. */
    uint8_t ping_sent; /* a PING of ours is unanswered */
    uint8_t pong_owed; /* a PING of the peer's is unanswered */
    uint8_t unread;    /* the engine's word: large messages of the peer's are not dealt with */
    uint32_t ping_arg; /* of the PING that we sent */
    uint32_t pong_arg; /* of the PING that we answer */

    /* Large messages, numbered from 0 each way. */
    uint32_t rts_sent; /* RTS sent: the number of the next */
    uint32_t rts_open; /* of those, neither DONE nor RESET */
    uint32_t rts_in;   /* RTS received */
    uint32_t rts_owed; /* of those, neither DONE nor RESET sent by us */
};

/* ---- Constants as functions of the windows ------------------------------------------- */

/*
 * Data receives are posted again, and so returned, in lists of so many: a quarter of the window,
 * but two of the smallest window for which that is safe.
 */
static inline uint16_t flow_data_list(uint16_t data_window) {
    uint16_t n = data_window / 4u;
    if (n < 2)
        return n == 0 ? 1 : 2;
    return n < FLOW_LIST_MAX ? n : FLOW_LIST_MAX;
}

/*
 * Half of the data window, rounded up: at most one bare CREDIT for each half. More than a list,
 * so that ping-pong needs none: one list may be owed while the application prepares its answer.
 * Less by a list than the window: what is owed, and what waits to make a list of it, never
 * leaves the peer without a receive.
 */
static inline uint16_t flow_data_due(uint16_t data_window) {
    uint16_t half = (uint16_t)((data_window + 1u) / 2u), list = flow_data_list(data_window);
    return list > 1 && half <= list ? (uint16_t)(list + 1u) : half;
}

/*
 * Above 1, or CREDITs would answer each other for ever; below the window, or a side with one
 * slot left could wait for a return that never comes; above 2, or the sender of one-way
 * traffic would answer the two CREDITs that return its window by one of its own.
 */
static inline uint16_t flow_ctrl_due(uint16_t ctrl_window) {
    uint16_t half = (uint16_t)((ctrl_window + 1u) / 2u);
    return half < 3 ? 3 : half;
}

/* ---- Start --------------------------------------------------------------------------- */

/*
 * Sets up f from both hellos, before the first frame either way. EPROTO: a window outside
 * its bounds (ours is checked too).
 */
static inline int flow_init(struct flow *f, uint32_t data_window, uint32_t ctrl_window,
                            uint32_t peer_data_window, uint32_t peer_ctrl_window) {
    if (data_window < FLOW_DATA_WINDOW_MIN || data_window > FLOW_WINDOW_MAX ||
        peer_data_window < FLOW_DATA_WINDOW_MIN || peer_data_window > FLOW_WINDOW_MAX ||
        ctrl_window < FLOW_CTRL_WINDOW_MIN || ctrl_window > FLOW_WINDOW_MAX ||
        peer_ctrl_window < FLOW_CTRL_WINDOW_MIN || peer_ctrl_window > FLOW_WINDOW_MAX)
        return EPROTO;
    *f = (struct flow){
        .type_out = FRAME_DATA,
        .type_in = FRAME_DATA,
        .data_open = (int16_t)data_window,
        .ctrl_open = (int16_t)ctrl_window,
        .data_credit = (int16_t)peer_data_window,
        .ctrl_credit = (int16_t)peer_ctrl_window,
        .peer_data_window = (uint16_t)peer_data_window,
        .peer_ctrl_window = (uint16_t)peer_ctrl_window,
        .data_window = (uint16_t)data_window,
        .granted = (uint16_t)data_window,
        .ctrl_window = (uint16_t)ctrl_window,
        .data_due = flow_data_due((uint16_t)data_window),
        .ctrl_due = flow_ctrl_due((uint16_t)ctrl_window),
        .ctrl_reserve = 1,
    };
    return 0;
}

/* ---- Counts -------------------------------------------------------------------------- */

/* A data receive has been posted in place of one whose message the application took. */
static inline void flow_return_data(struct flow *f) {
    f->data_returned++;
    f->data_owed++;
}

/* A control receive has been posted in place of one used. Owed to the peer at once. */
static inline void flow_return_ctrl(struct flow *f) {
    f->ctrl_returned++;
    f->ctrl_owed++;
}

/* As many of both as if each had been returned by itself. */
static inline void flow_return(struct flow *f, uint32_t data, uint32_t ctrl) {
    f->data_returned = (uint16_t)(f->data_returned + data);
    f->ctrl_returned = (uint16_t)(f->ctrl_returned + ctrl);
    f->data_owed = (uint16_t)(f->data_owed + data);
    f->ctrl_owed = (uint16_t)(f->ctrl_owed + ctrl);
}

/* Whether the next message says that the window has grown. */
static inline bool flow_told_later(const struct flow *f) {
    return f->type_out & FRAME_F_DOUBLED << 8;
}

/* A CREDIT says that the window has grown, if anything has yet to say so. */
static inline void flow_tell_now(struct flow *f) {
    f->type_out &= (uint16_t) ~(FRAME_F_DOUBLED << 8);
    f->data_due = flow_data_due(f->data_window);
}

/*
 * The next message says it, and no CREDIT is due for that; until then the threshold is that of the
 * window that the peer knows, which it may have used up. False: that is not just half of what there
 * is, and nothing has changed.
 */
static inline bool flow_tell_later(struct flow *f) {
    if (f->data_window != 2u * f->granted)
        return false;
    f->type_out |= FRAME_F_DOUBLED << 8;
    f->data_due = flow_data_due(f->granted);
    return true;
}

/*
 * n more data receives have been posted: the window grows, and a CREDIT will say so.
 * EINVAL: the window would exceed FLOW_WINDOW_MAX.
 */
static inline int flow_add(struct flow *f, uint32_t n) {
    if (n > FLOW_WINDOW_MAX - f->data_window)
        return EINVAL;
    f->data_window = (uint16_t)(f->data_window + n);
    f->added = (uint16_t)(f->added + n);
    if (n)
        flow_tell_now(f);
    return 0;
}

/*
 * A message has to wait for a receive of the peer's: the next one sent says so, and the peer
 * may let the window grow.
 */
static inline void flow_wait(struct flow *f) {
    f->type_out |= FRAME_F_WAITED << 8;
}

/* ---- Close --------------------------------------------------------------------------- */

/* The application closes to level; never takes back. A FIN goes once pushes have been sent. */
static inline void flow_close(struct flow *f, enum flow_fin level) {
    if (f->fin_want < level)
        f->fin_want = (uint8_t)level;
}

/* What a push made now answers: 0, or EPIPE when either side has closed this direction. */
static inline int flow_push_error(const struct flow *f) {
    return f->fin_want != FLOW_OPEN || f->peer_fin == FLOW_FULL ? EPIPE : 0;
}

/* Messages that arrive are dropped, and their receives returned at once: nobody will pop. */
static inline bool flow_drops(const struct flow *f) {
    return f->fin_want == FLOW_FULL;
}

/* More DATA or RTS may arrive. */
static inline bool flow_expects_data(const struct flow *f) {
    return f->peer_fin == FLOW_OPEN && f->fin_acked != FLOW_FULL;
}

/*
 * Nothing is left that either side could want of the other: the peer will never read, or
 * both directions have ended. A disconnection is orderly from here on; before, it is
 * ECONNRESET.
 */
static inline bool flow_orderly(const struct flow *f) {
    return f->peer_fin == FLOW_FULL || f->fin_acked == FLOW_FULL ||
           (f->peer_fin != FLOW_OPEN && f->fin_acked != FLOW_OPEN);
}

/*
 * The close that was asked for is done: the peer has acknowledged it or needs it no more,
 * and we owe no FIN_ACK. Before it disconnects the engine also waits until every send that
 * it posted has completed, so that its FIN_ACK is with the peer.
 */
static inline bool flow_drained(const struct flow *f) {
    return f->fin_want != FLOW_OPEN && f->peer_finack == f->peer_fin &&
           (f->fin_acked >= f->fin_want || f->peer_fin == FLOW_FULL ||
            (f->peer_fin != FLOW_OPEN && f->fin_acked != FLOW_OPEN));
}

/* ---- What may be sent, and what is due ------------------------------------------------- */

/* DATA or RTS may be sent. A push waits in order while this is false. */
static inline bool flow_may_send_data(const struct flow *f) {
    return f->data_credit > 0 && f->fin_sent == FLOW_OPEN && f->peer_fin != FLOW_FULL;
}

/*
 * A control frame may be sent. The last slot is for a frame that itself returns control
 * receives; without that rule both sides could be out of slots at once, for ever.
 */
static inline bool flow_may_send_ctrl(const struct flow *f) {
    return f->ctrl_credit > f->ctrl_reserve || (f->ctrl_credit > 0 && f->ctrl_owed > 0);
}

/* A bare CREDIT is due: enough is owed, or the window has grown. Ask after all other sends. */
static inline bool flow_credit_due(const struct flow *f) {
    if (f->ctrl_owed >= f->ctrl_due)
        return true;
    return flow_expects_data(f) &&
           (f->data_owed >= f->data_due || (f->granted != f->data_window && !flow_told_later(f)));
}

/* A FIN_ACK is due: a FIN has come, and every RTS before it has had its DONE or RESET. */
static inline bool flow_finack_due(const struct flow *f) {
    return f->peer_fin > f->peer_finack && f->rts_owed == 0;
}

/*
 * A FIN is due; pushes: some have not been sent yet. A peer that reads no more needs none,
 * and after both directions have ended a full close has nothing to add.
 */
static inline bool flow_fin_due(const struct flow *f, bool pushes) {
    return f->fin_want > f->fin_sent && !pushes && f->peer_fin != FLOW_FULL &&
           (f->fin_sent == FLOW_OPEN || f->peer_fin == FLOW_OPEN);
}

/*
 * The control frame to send now, or 0: FIN_ACK, PONG, FIN, then CREDIT. DONE and RESET are
 * the engine's to send before, by flow_may_send_ctrl; DATA and RTS before a CREDIT.
 */
static inline uint8_t flow_next_ctrl(const struct flow *f, bool pushes) {
    if (!flow_may_send_ctrl(f))
        return 0;
    if (flow_finack_due(f))
        return FRAME_FIN_ACK;
    if (f->pong_owed)
        return FRAME_PONG;
    if (flow_fin_due(f, pushes))
        return FRAME_FIN;
    if (flow_credit_due(f))
        return FRAME_CREDIT;
    return 0;
}

/* ---- Sending and receiving ------------------------------------------------------------- */

/* A frame tells the peer of all that is owed. Both accounts at once: neither carries. */
static inline void flow_tell(struct flow *f) {
    uint32_t owed, open;
    memcpy(&owed, (const uint8_t *)f + offsetof(struct flow, data_owed), sizeof(owed));
    memcpy(&open, (const uint8_t *)f + offsetof(struct flow, data_open), sizeof(open));
    open += owed;
    memcpy((uint8_t *)f + offsetof(struct flow, data_open), &open, sizeof(open));
    f->data_owed = f->ctrl_owed = 0;
}
_Static_assert(offsetof(struct flow, ctrl_owed) == offsetof(struct flow, data_owed) + 2 &&
                   offsetof(struct flow, ctrl_open) == offsetof(struct flow, data_open) + 2,
               "what is open lies as what is owed");

/* A frame tells the peer that the window has grown. */
static inline void flow_grant(struct flow *f) {
    f->data_open = (int16_t)(f->data_open + (f->data_window - f->granted));
    f->granted = f->data_window;
    if (flow_told_later(f))
        flow_tell_now(f);
}

/*
 * Fills in the header of the frame that is sent next and accounts for it; the caller posts
 * it before any other. The caller has asked flow_may_send_data or flow_may_send_ctrl. length
 * is that of the payload. arg counts for PING, DONE and RESET; the others know their own.
 */
static inline void flow_send(struct flow *f, enum frame_type type, uint32_t length, uint32_t arg,
                             struct frame *h) {
    *h = (struct frame){
        .type = (uint8_t)type,
        .data_returned = f->data_returned,
        .ctrl_returned = f->ctrl_returned,
        .seq = f->seq_out++,
        .length = length,
    };
    flow_tell(f);
    if (frame_is_data((uint8_t)type)) {
        h->flags = (uint8_t)(f->type_out >> 8);
        if (flow_told_later(f))
            flow_grant(f);
        f->type_out = FRAME_DATA;
        f->data_credit--;
    }
    if (type == FRAME_DATA)
        return;
    if (type == FRAME_RTS) {
        f->rts_open++;
        h->arg = f->rts_sent++;
        return;
    }
    f->ctrl_credit--;
    switch (type) {
    case FRAME_CREDIT:
        h->arg = f->added;
        flow_grant(f);
        break;
    case FRAME_FIN:
        f->fin_sent = f->fin_want;
        h->flags = f->fin_sent == FLOW_FULL ? FRAME_F_FULL : 0;
        break;
    case FRAME_FIN_ACK:
        f->peer_finack = f->peer_fin;
        h->flags = f->peer_finack == FLOW_FULL ? FRAME_F_FULL : 0;
        break;
    case FRAME_PING:
        f->ping_sent = 1;
        h->arg = f->ping_arg = arg;
        break;
    case FRAME_PONG:
        f->pong_owed = 0;
        h->arg = f->pong_arg;
        break;
    case FRAME_DONE:
    case FRAME_RESET:
        f->rts_owed--;
        h->arg = arg;
        break;
    default:
        break;
    }
}

/* The peer has n more data receives. EPROTO: too many. */
static inline int flow_granted(struct flow *f, uint32_t n) {
    if (n > FLOW_WINDOW_MAX - (uint32_t)f->peer_data_window)
        return EPROTO;
    f->peer_added = (uint16_t)(f->peer_added + n);
    f->peer_data_window = (uint16_t)(f->peer_data_window + n);
    f->data_credit = (int16_t)(f->data_credit + (int32_t)n);
    return 0;
}

/* The part of flow_receive that depends on the type of a control frame. */
static inline int flow_receive_ctrl(struct flow *f, const struct frame *h) {
    uint8_t level = h->flags & FRAME_F_FULL ? FLOW_FULL : FLOW_HALF;

    switch (h->type) {
    case FRAME_CREDIT:
        return h->arg < f->peer_added ? EPROTO : flow_granted(f, h->arg - f->peer_added);
    case FRAME_FIN:
        if (level <= f->peer_fin)
            return EPROTO;
        f->peer_fin = level;
        return 0;
    case FRAME_FIN_ACK:
        if (level <= f->fin_acked || level > f->fin_sent)
            return EPROTO;
        f->fin_acked = level;
        return 0;
    case FRAME_PING:
        if (f->pong_owed)
            return EPROTO;
        f->pong_owed = 1;
        f->pong_arg = h->arg;
        return 0;
    case FRAME_PONG:
        if (!f->ping_sent || h->arg != f->ping_arg)
            return EPROTO;
        f->ping_sent = 0;
        return 0;
    case FRAME_DONE:
    case FRAME_RESET:
        if (f->rts_open == 0 || f->rts_sent - 1u - h->arg >= FLOW_WINDOW_MAX)
            return EPROTO;
        f->rts_open--;
        return 0;
    default:
        return EPROTO;
    }
}

/*
 * The peer says how many receives it has returned so far. False: more than were used, and nothing
 * has changed.
 */
static inline bool flow_data_back(struct flow *f, uint16_t returned) {
    uint32_t credit = (uint16_t)(returned - f->data_acked) + (uint32_t)f->data_credit;
    if (credit > f->peer_data_window)
        return false;
    f->data_credit = (int16_t)credit;
    f->data_acked = returned;
    return true;
}
static inline bool flow_ctrl_back(struct flow *f, uint16_t returned) {
    uint32_t credit = (uint16_t)(returned - f->ctrl_acked) + (uint32_t)f->ctrl_credit;
    if (credit > f->peer_ctrl_window)
        return false;
    f->ctrl_credit = (int16_t)credit;
    f->ctrl_acked = returned;
    return true;
}

/*
 * Takes in a frame that frame_parse accepted, in the order of arrival. Returns 0, and the
 * caller acts on the type; or EPROTO, and the connection is at an end: out of sequence,
 * a receive used that was never granted, more returned than was used, a message after a
 * FIN, or an answer to what was not asked. *f is not to be used after EPROTO.
 */
static inline int flow_receive(struct flow *f, const struct frame *h) {
    if (h->seq != f->seq_in || !flow_data_back(f, h->data_returned) ||
        !flow_ctrl_back(f, h->ctrl_returned))
        return EPROTO;
    f->seq_in++;
    if (frame_is_data(h->type)) {
        if (f->data_open <= 0 || !flow_expects_data(f))
            return EPROTO;
        f->data_open--;
        if (h->flags & FRAME_F_DOUBLED && flow_granted(f, f->peer_data_window))
            return EPROTO;
        if (h->type == FRAME_RTS) {
            if (h->arg != f->rts_in)
                return EPROTO;
            f->rts_in++;
            f->rts_owed++;
        }
        return 0;
    }
    if (f->ctrl_open <= 0)
        return EPROTO;
    f->ctrl_open--;
    return flow_receive_ctrl(f, h);
}

/* ---- Shortcuts ------------------------------------------------------------------------- */

/*
 * The same rules once more, for what happens most: a message on a connection on which
 * nothing else goes on. Each either does exactly what the general functions do, or says no
 * and has changed nothing (TestTheShortcutsAgreeWithTheRules in datapath/ctest).
 */

/*
 * Neither side has begun to close, no PING is unanswered and no large message has to be
 * fetched: no control frame but a CREDIT.
 */
static inline bool flow_is_plain(const struct flow *f) {
    uint64_t all;
    memcpy(&all, (const uint8_t *)f + offsetof(struct flow, fin_want), sizeof(all));
    return all == 0;
}
_Static_assert(offsetof(struct flow, fin_want) % 8 == 0 &&
                   offsetof(struct flow, unread) == offsetof(struct flow, fin_want) + 7,
               "flow_is_plain looks at all flags at once");

/* The header of a DATA frame of length bytes that flow_send would make, at out. */
static inline void flow_encode_data(const struct flow *f, uint32_t length, uint8_t *out) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint64_t second = length;
    memcpy(out, f, 8);
    memcpy(out + 8, &second, sizeof(second));
#else
    frame_put16(out, f->type_out);
    frame_put16(out + 2, f->data_returned);
    frame_put16(out + 4, f->ctrl_returned);
    frame_put16(out + 6, f->seq_out);
    frame_put64(out + 8, length);
#endif
}
_Static_assert(offsetof(struct flow, type_out) == 0 && offsetof(struct flow, data_returned) == 2 &&
                   offsetof(struct flow, ctrl_returned) == 4 && offsetof(struct flow, seq_out) == 6,
               "the fields lie as in a frame's header");

/* Takes credit for a DATA frame. False: there is none. */
static inline bool flow_take_credit(struct flow *f) {
    if (__builtin_expect(--f->data_credit < 0, 0)) {
        f->data_credit = 0;
        return false;
    }
    return true;
}

/* What else flow_send does to f for that frame, if it has no flags. */
static inline void flow_sent_data(struct flow *f) {
    flow_tell(f);
    f->seq_out++;
}

/*
 * What is not as expected in a frame that has come: 0, or in the low 16 bits data_returned, above
 * it ctrl_returned, seq, and type with flags.
 */
static inline uint64_t flow_news(const struct flow *f, const uint8_t *in) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint64_t want;
    memcpy(&want, (const uint8_t *)f + offsetof(struct flow, type_in), sizeof(want));
#else
    uint64_t want = f->type_in | (uint64_t)f->data_acked << 16 | (uint64_t)f->ctrl_acked << 32 |
                    (uint64_t)f->seq_in << 48;
#endif
    uint64_t news = frame_get64(in) ^ want;
    return news >> 16 | news << 48;
}
_Static_assert(offsetof(struct flow, data_acked) == offsetof(struct flow, type_in) + 2 &&
                   offsetof(struct flow, ctrl_acked) == offsetof(struct flow, type_in) + 4 &&
                   offsetof(struct flow, seq_in) == offsetof(struct flow, type_in) + 6,
               "what is expected lies as in a frame's header");

/* Whether the frame's length is what has come, and it is not empty. */
static inline bool flow_whole(const uint8_t *in, uint32_t bytes) {
    int32_t length = (int32_t)(bytes - FRAME_HEADER_SIZE);
    return length > 0 && frame_get64(in + 8) == (uint32_t)length;
}

/* A DATA frame, of which all else has been judged, uses a receive. False: there is none. */
static inline bool flow_use(struct flow *f) {
    if (__builtin_expect(--f->data_open < 0, 0)) {
        f->data_open = 0;
        return false;
    }
    f->seq_in++;
    return true;
}

/*
 * Takes in a DATA frame, of at most the receive's size, as frame_parse and flow_receive would;
 * false: it is not that plain.
 */
static inline bool flow_receive_data(struct flow *f, const uint8_t *in, uint32_t bytes) {
    uint16_t data = frame_get16(in + 2), ctrl = frame_get16(in + 4);

    if (flow_news(f, in) > 0xffffffff || !flow_whole(in, bytes) || f->data_open <= 0 ||
        (uint16_t)(data - f->data_acked) + (uint32_t)f->data_credit > f->peer_data_window ||
        !flow_ctrl_back(f, ctrl))
        return false;
    (void)flow_data_back(f, data);
    return flow_use(f);
}

/* The same of one that returns nothing; false: it is not that plain. */
static inline __attribute__((always_inline)) bool
flow_receive_plain(struct flow *f, const uint8_t *in, uint32_t bytes) {
    return flow_news(f, in) == 0 && flow_whole(in, bytes) && flow_use(f);
}

/* A message has been returned: a bare CREDIT is due, on a plain connection. */
static inline bool flow_data_credit_due(const struct flow *f) {
    return f->data_owed >= f->data_due;
}

#endif
