/*
 * The types of the Demikernel API: queue tokens, scatter-gather arrays, results.
 *
 * Names, values and layout are those of Demikernel v1.5.13 (include/demi/types.h), so
 * that programs written for it compile and run against either. All structures are packed
 * and live in the caller's memory; integers are in host byte order, socket addresses as
 * in ip(7), with port and address in network byte order.
 */
#ifndef DEMI_TYPES_H_IS_INCLUDED
#define DEMI_TYPES_H_IS_INCLUDED

#include <stddef.h>
#include <stdint.h>

#include <netinet/in.h>
#include <sys/socket.h>

#include "cc.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Segments in a scatter-gather array at most. */
#define DEMI_SGARRAY_MAXSIZE 1

/*
 * Names an operation under way. Made by demi_accept, demi_connect, demi_push, demi_pushto
 * and demi_pop; redeemed once by one of the demi_wait calls, after which it is EINVAL.
 * 0 and UINT64_MAX never name an operation.
 */
typedef uint64_t demi_qtoken_t;

/* One stretch of memory in a scatter-gather array. */
typedef struct DEMI_PACKED demi_sgaseg {
    void *sgaseg_buf;    /* first byte */
    uint32_t sgaseg_len; /* bytes */
} demi_sgaseg_t;

/*
 * A scatter-gather array: the message of a push or a pop. Made by demi_sgaalloc or by a
 * pop; its memory belongs to the application until demi_sgafree. A segment may be narrowed
 * inside its allocation (a larger start, a smaller length) before a push.
 */
typedef struct DEMI_PACKED demi_sgarray {
    void *sga_buf;        /* belongs to the library, no address: keep it as it is */
    uint32_t sga_numsegs; /* segments in use: 1, or 0 in a null array */
    demi_sgaseg_t sga_segs[DEMI_SGARRAY_MAXSIZE];
    /*
     * After a pop, the peer's address. There is room for IPv4 only; for an IPv6 peer
     * sin_family is AF_INET6, sin_port is set and sin_addr is zero: demi_getpeername has it.
     */
    struct sockaddr_in sga_addr;
} demi_sgarray_t;

/* What a completed operation was. */
typedef enum demi_opcode {
    DEMI_OPC_INVALID = 0, /* none; never the outcome of an operation */
    DEMI_OPC_PUSH,        /* a push: its bytes may change now */
    DEMI_OPC_POP,         /* a pop: qr_value.sga is the message, of length 0 at the end */
    DEMI_OPC_ACCEPT,      /* an accept: qr_value.ares is the connection */
    DEMI_OPC_CONNECT,     /* a connect: the queue takes pushes and pops */
    DEMI_OPC_CLOSE,       /* a close; no function of the C API starts one with a token */
    DEMI_OPC_FAILED,      /* any of them, failed: qr_ret is a positive errno */
} demi_opcode_t;

/* What an accept brings. */
typedef struct DEMI_PACKED demi_accept_result {
    int32_t qd;              /* the connection's queue descriptor; the application closes it */
    struct sockaddr_in addr; /* the peer; IPv6 as in sga_addr */
} demi_accept_result_t;

/* The result of an operation. */
typedef struct DEMI_PACKED demi_qresult {
    enum demi_opcode qr_opcode; /* what completed, or DEMI_OPC_FAILED */
    int32_t qr_qd;              /* the descriptor that the operation was started on */
    demi_qtoken_t qr_qt;        /* its token */
    int64_t qr_ret;             /* 0, or a positive errno with DEMI_OPC_FAILED */

    /* Zero but for a pop and an accept. */
    union {
        demi_sgarray_t sga;        /* of a pop: give it to demi_sgafree */
        demi_accept_result_t ares; /* of an accept */
    } qr_value;
} demi_qresult_t;

/* Called with the name of a measurement, its number of samples and its value. */
typedef void (*demi_callback_t)(const char *, uint32_t, uint64_t);

/* What demi_init takes. */
struct DEMI_PACKED demi_args {
    int argc;                 /* arguments in argv */
    char *const *argv;        /* the program's arguments; may be NULL */
    demi_callback_t callback; /* may be NULL */
};

/* The binary interface. */
DEMI_STATIC_ASSERT(sizeof(void *) == 8, "a 64-bit machine");
DEMI_STATIC_ASSERT(sizeof(enum demi_opcode) == 4, "demi_opcode is 4 bytes");
DEMI_STATIC_ASSERT(sizeof(demi_sgaseg_t) == 12, "demi_sgaseg_t is 12 bytes");
DEMI_STATIC_ASSERT(sizeof(demi_sgarray_t) == 40, "demi_sgarray_t is 40 bytes");
DEMI_STATIC_ASSERT(offsetof(demi_sgarray_t, sga_numsegs) == 8, "sga_numsegs is at 8");
DEMI_STATIC_ASSERT(offsetof(demi_sgarray_t, sga_segs) == 12, "sga_segs is at 12");
DEMI_STATIC_ASSERT(offsetof(demi_sgarray_t, sga_addr) == 24, "sga_addr is at 24");
DEMI_STATIC_ASSERT(sizeof(demi_accept_result_t) == 20, "demi_accept_result_t is 20 bytes");
DEMI_STATIC_ASSERT(offsetof(demi_accept_result_t, addr) == 4, "addr is at 4");
DEMI_STATIC_ASSERT(sizeof(demi_qresult_t) == 64, "demi_qresult_t is 64 bytes");
DEMI_STATIC_ASSERT(offsetof(demi_qresult_t, qr_qd) == 4, "qr_qd is at 4");
DEMI_STATIC_ASSERT(offsetof(demi_qresult_t, qr_qt) == 8, "qr_qt is at 8");
DEMI_STATIC_ASSERT(offsetof(demi_qresult_t, qr_ret) == 16, "qr_ret is at 16");
DEMI_STATIC_ASSERT(offsetof(demi_qresult_t, qr_value) == 24, "qr_value is at 24");
DEMI_STATIC_ASSERT(sizeof(struct demi_args) == 20, "struct demi_args is 20 bytes");
DEMI_STATIC_ASSERT(offsetof(struct demi_args, argv) == 4, "argv is at 4");
DEMI_STATIC_ASSERT(offsetof(struct demi_args, callback) == 12, "callback is at 12");

#ifdef __cplusplus
}
#endif

#endif /* DEMI_TYPES_H_IS_INCLUDED */
