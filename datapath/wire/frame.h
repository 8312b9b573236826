/*
 * The frame: what one SEND of Catmint's protocol carries (docs/protocol.md).
 *
 * A frame is a 16-byte header, little-endian, and as many bytes of payload as its length
 * says. One frame fills one receive of the peer.
 *
 *   offset  bytes  field
 *        0      1  type           enum frame_type
 *        1      1  flags          FRAME_F_*; a bit without meaning for the type is an error
 *        2      2  data_returned  receives for DATA and RTS given back so far, modulo 2^16
 *        4      2  ctrl_returned  receives for control frames given back so far, modulo 2^16
 *        6      2  seq            frames sent before this one, modulo 2^16
 *        8      4  length         bytes after the header
 *       12      4  arg            depends on the type
 *
 * Everything here is pure: no state, no I/O, no allocation; any thread may call it. What a
 * frame does to a connection is in flow.h.
 */
#ifndef CATMINT_WIRE_FRAME_H
#define CATMINT_WIRE_FRAME_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_HEADER_SIZE 16u
#define FRAME_RTS_SIZE 24u /* bytes of an RTS after its header */

enum frame_type {
    FRAME_DATA = 1,    /* a whole message; arg 0 */
    FRAME_CREDIT = 2,  /* returns receives; arg: data receives added since the hello */
    FRAME_RTS = 3,     /* a message to be fetched by RDMA READ; arg: its number */
    FRAME_DONE = 4,    /* arg: number of the RTS whose bytes have been read */
    FRAME_FIN = 5,     /* no DATA or RTS follows; arg 0 */
    FRAME_FIN_ACK = 6, /* everything before the FIN has arrived; arg 0 */
    FRAME_PING = 7,    /* are you there? arg: READs that its sender has completed */
    FRAME_PONG = 8,    /* arg: that of the PING */
    FRAME_RESET = 9,   /* arg: number of the RTS that will not be read */
};

#define FRAME_TYPE_LAST FRAME_RESET

/* FIN, FIN_ACK: the sender of the FIN reads no more, either (a full close). */
#define FRAME_F_FULL 0x01u
/* DATA, RTS: this message, or one before it, had to wait for a receive of the peer's. */
#define FRAME_F_WAITED 0x01u
/* DATA, RTS: their sender has as many data receives again as the peer knew of. */
#define FRAME_F_DOUBLED 0x02u
#define FRAME_F_DATA (FRAME_F_WAITED | FRAME_F_DOUBLED)

/* A header in host order. */
struct frame {
    uint8_t type;
    uint8_t flags;
    uint16_t data_returned;
    uint16_t ctrl_returned;
    uint16_t seq;
    uint32_t length;
    uint32_t arg;
};

_Static_assert(sizeof(struct frame) == FRAME_HEADER_SIZE, "the header has no padding");
_Static_assert(offsetof(struct frame, data_returned) == 2, "as on the wire");
_Static_assert(offsetof(struct frame, ctrl_returned) == 4, "as on the wire");
_Static_assert(offsetof(struct frame, seq) == 6, "as on the wire");
_Static_assert(offsetof(struct frame, length) == 8, "as on the wire");
_Static_assert(offsetof(struct frame, arg) == 12, "as on the wire");

/* The payload of an RTS in host order; 24 bytes on the wire, the last four of them zero. */
struct frame_rts {
    uint64_t addr;   /* where the message lies in its sender's memory */
    uint64_t length; /* its bytes */
    uint32_t rkey;   /* the key for reading them */
};

/* What a receiver takes: the bounds that it announced in its hello. */
struct frame_limits {
    uint32_t recv_size;   /* bytes of one receive, header included */
    uint64_t max_message; /* bytes of the largest message, by RTS */
};

/* DATA and RTS use a receive of the data account, all others one of the control account. */
static inline bool frame_is_data(uint8_t type) {
    return type == FRAME_DATA || type == FRAME_RTS;
}

static inline void frame_put16(uint8_t *p, uint16_t v) {
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void frame_put32(uint8_t *p, uint32_t v) {
    frame_put16(p, (uint16_t)v);
    frame_put16(p + 2, (uint16_t)(v >> 16));
}

static inline void frame_put64(uint8_t *p, uint64_t v) {
    frame_put32(p, (uint32_t)v);
    frame_put32(p + 4, (uint32_t)(v >> 32));
}

static inline uint16_t frame_get16(const uint8_t *p) {
    return (uint16_t)(p[0] | (uint16_t)(p[1] << 8));
}

static inline uint32_t frame_get32(const uint8_t *p) {
    return frame_get16(p) | ((uint32_t)frame_get16(p + 2) << 16);
}

static inline uint64_t frame_get64(const uint8_t *p) {
    return frame_get32(p) | ((uint64_t)frame_get32(p + 4) << 32);
}

/* Writes the header at out, which has room for FRAME_HEADER_SIZE bytes, of any alignment. */
static inline void frame_encode(const struct frame *f, uint8_t *out) {
    out[0] = f->type;
    out[1] = f->flags;
    frame_put16(out + 2, f->data_returned);
    frame_put16(out + 4, f->ctrl_returned);
    frame_put16(out + 6, f->seq);
    frame_put32(out + 8, f->length);
    frame_put32(out + 12, f->arg);
}

/* Reads FRAME_HEADER_SIZE bytes at in, of any alignment, without judging them. */
static inline void frame_decode(const uint8_t *in, struct frame *f) {
    f->type = in[0];
    f->flags = in[1];
    f->data_returned = frame_get16(in + 2);
    f->ctrl_returned = frame_get16(in + 4);
    f->seq = frame_get16(in + 6);
    f->length = frame_get32(in + 8);
    f->arg = frame_get32(in + 12);
}

/* Writes the payload of an RTS at out, FRAME_RTS_SIZE bytes. */
static inline void frame_encode_rts(const struct frame_rts *r, uint8_t *out) {
    frame_put64(out, r->addr);
    frame_put64(out + 8, r->length);
    frame_put32(out + 16, r->rkey);
    frame_put32(out + 20, 0);
}

/*
 * Reads the payload of an RTS that frame_parse accepted. EPROTO: no bytes at all, more of
 * them than max_message, a range that wraps round the address space, or padding not zero.
 */
static inline int frame_parse_rts(const uint8_t *in, const struct frame_limits *lim,
                                  struct frame_rts *r) {
    r->addr = frame_get64(in);
    r->length = frame_get64(in + 8);
    r->rkey = frame_get32(in + 16);
    if (r->length == 0 || r->length > lim->max_message || r->addr > UINT64_MAX - r->length ||
        frame_get32(in + 20) != 0)
        return EPROTO;
    return 0;
}

/*
 * Reads and judges a frame of which bytes bytes were received at in. Returns 0 with *f
 * filled, or EPROTO: too short for a header, an unknown type, a flag without meaning for
 * the type, a length that is not what was received or not allowed for the type, or an
 * argument where none belongs. Never looks at more than bytes bytes.
 */
static inline int frame_parse(const uint8_t *in, size_t bytes, const struct frame_limits *lim,
                              struct frame *f) {
    if (bytes < FRAME_HEADER_SIZE || bytes > lim->recv_size)
        return EPROTO;
    frame_decode(in, f);
    if (f->length != bytes - FRAME_HEADER_SIZE)
        return EPROTO;
    switch (f->type) {
    case FRAME_DATA:
        return f->length == 0 || (f->flags & ~FRAME_F_DATA) != 0 || f->arg != 0 ? EPROTO : 0;
    case FRAME_RTS:
        return f->length != FRAME_RTS_SIZE || (f->flags & ~FRAME_F_DATA) != 0 ? EPROTO : 0;
    case FRAME_FIN:
    case FRAME_FIN_ACK:
        return f->length != 0 || (f->flags & ~FRAME_F_FULL) != 0 || f->arg != 0 ? EPROTO : 0;
    case FRAME_CREDIT:
    case FRAME_DONE:
    case FRAME_PING:
    case FRAME_PONG:
    case FRAME_RESET:
        return f->length != 0 || f->flags != 0 ? EPROTO : 0;
    default:
        return EPROTO;
    }
}

#endif
