/*
 * Sockets of the Demikernel API over RDMA, on reliable-connected queue pairs.
 *
 * Conventions, unless a call says otherwise:
 *   - A call returns 0 or a positive errno; the variable errno is not used. On an error
 *     nothing is written through its pointers.
 *   - demi_accept, demi_connect, demi_push, demi_pushto and demi_pop start an operation and
 *     store its token; wait.h has the calls that bring its outcome.
 *   - A call may be made from any thread, on descriptors of any thread. A descriptor belongs
 *     to the thread that made it, an accepted one to the thread of its listener; this matters
 *     to demi_wait_any and demi_wait_next_n only.
 *   - Memory that an argument points to is the caller's, read or written before the call
 *     returns and not kept.
 *   - EINVAL: a pointer that must not be NULL is NULL. EBADF: the descriptor is not open.
 *     ENOSYS: before the first demi_init, or in a child after fork.
 *
 * An address is a struct sockaddr_in (AF_INET) or struct sockaddr_in6 (AF_INET6), ports and
 * addresses in network byte order. Any other family, and any size but that of the structure,
 * is EINVAL.
 */
#ifndef DEMI_LIBOS_H_IS_INCLUDED
#define DEMI_LIBOS_H_IS_INCLUDED

#include <stddef.h>

#include <sys/socket.h>

#include "cc.h"
#include "types.h"

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Prepares the library for the calling thread. Each thread may call it once and then has
 * queues of its own to poll and wait on; a thread that does not call it shares those of the
 * first that did. args may be NULL, and so may its members: arguments are accepted and
 * ignored, the callback is stored. Configuration comes from environment variables
 * (DEMI_WAIT, DEMI_LOG, DEMI_CONNECT_TIMEOUT_MS, ...), all optional. The first call also
 * installs a handler with atexit(3) that delivers what has been pushed before the program
 * ends, as demi_close does for every open descriptor.
 *
 * Returns 0. EEXIST: the thread has called it before. EINVAL: an environment variable has a
 * bad value (one line on standard error says which). EAGAIN: too many threads. EMFILE: no file
 * descriptor is left. ENODEV: there is no RDMA connection manager (a line says what to do).
 */
extern int demi_init(_In_opt_ const struct demi_args *args);

/*
 * Makes a socket and stores its descriptor, 500 or above, in *sockqd_out. domain is AF_INET
 * or AF_INET6, type SOCK_STREAM, protocol 0 or IPPROTO_TCP.
 *
 * Returns 0. ENOTSUP: another domain, type or protocol. EMFILE: no descriptor is left.
 */
ATTR_NONNULL(1)
extern int demi_socket(_Out_ int *sockqd_out, _In_ int domain, _In_ int type, _In_ int protocol);

/*
 * Starts to take connections: up to backlog of them are established before demi_accept is
 * called, more are refused. A backlog above SOMAXCONN counts as SOMAXCONN.
 *
 * Returns 0. EINVAL: backlog is below 1. EDESTADDRREQ: the socket is not bound. EADDRINUSE:
 * it is listening or connecting. EISCONN: it is connected.
 */
extern int demi_listen(_In_ int sockqd, _In_ int backlog);

/*
 * Binds a socket to a local address. The wildcard address and port 0 (any free port, which
 * demi_getsockname tells) are allowed.
 *
 * Returns 0. EINVAL: the address is malformed, or the socket is bound, listening or
 * connecting. EISCONN: it is connected. EADDRINUSE: somebody else has the address.
 * EADDRNOTAVAIL: it is not an address of this host. EMFILE: no file descriptor is left.
 */
ATTR_NONNULL(2)
extern int demi_bind(_In_ int sockqd, _In_reads_bytes_(size) const struct sockaddr *addr,
                     _In_ socklen_t size);

/*
 * Starts to accept one connection. The result, DEMI_OPC_ACCEPT, has its descriptor. It never
 * times out by itself; demi_close of the listener ends it with ECANCELED.
 *
 * Returns 0. EINVAL: the socket is not listening. EAGAIN: no token is left.
 */
ATTR_NONNULL(1)
extern int demi_accept(_Out_ demi_qtoken_t *qt_out, _In_ int sockqd);

/*
 * Starts to connect to addr. The result is DEMI_OPC_CONNECT when the connection is
 * established. Otherwise it is DEMI_OPC_FAILED, the descriptor can only be closed, and
 * qr_ret is one of: ECONNREFUSED (nobody listens there, or the peer is full or shutting
 * down), EHOSTUNREACH, ENETUNREACH or EADDRNOTAVAIL (no route or no such neighbour),
 * ETIMEDOUT (no answer), EPROTO (it is not this protocol), ENODEV (the device is gone),
 * EAGAIN (queue pairs or file descriptors ran out), ENOMEM (locked memory ran out), ECONNRESET or
 * ECONNABORTED (the peer, or the queue pair, gave up half-way), ECANCELED (closed meanwhile);
 * rarely another one, with which a driver refused.
 *
 * Returns 0. EINVAL: the address is malformed. EOPNOTSUPP: the socket is listening.
 * EINPROGRESS: it is connecting. EISCONN: it is connected. EAGAIN: the operation cannot be
 * started.
 */
ATTR_NONNULL(1, 3)
extern int demi_connect(_Out_ demi_qtoken_t *qt_out, _In_ int sockqd,
                        _In_reads_bytes_(size) const struct sockaddr *addr, _In_ socklen_t size);

/*
 * Closes a descriptor. Blocks until the peer has acknowledged all that was pushed, or the
 * linger time is over: SO_LINGER if it is set, else 2 s in which the peer took nothing. Tokens
 * under way stay valid: pops, accepts and connects end with ECANCELED, and so do pushes that
 * the linger time cut off.
 *
 * Returns 0, also when the linger time cut pushes off.
 */
extern int demi_close(_In_ int qd);

/*
 * Starts to send the array's segment as one message. Messages arrive whole, in the order of
 * the pushes. The segment must not change before the result, DEMI_OPC_PUSH, has come, but the
 * array may be freed at once. DEMI_OPC_FAILED comes with EPIPE (the peer has closed), ECONNRESET
 * (it is gone), ETIMEDOUT (it is silent), EPROTO (it breaks the protocol), ENODEV (the device is
 * gone), ECANCELED (closed meanwhile) or EIO (the device failed).
 *
 * Returns 0. EINVAL: sga_numsegs is not 1, the segment is empty or not inside its allocation.
 * ENOTCONN: not connected. EPIPE: the peer has closed. EMSGSIZE: longer than the peer takes.
 * EAGAIN: no token is left.
 */
ATTR_NONNULL(1, 3)
extern int demi_push(_Out_ demi_qtoken_t *qt_out, _In_ int qd, _In_ const demi_sgarray_t *sga);

/*
 * As demi_push, to a given address, which on a connected socket must be the peer's.
 *
 * Returns what demi_push does. EINVAL: the address is malformed. EISCONN: it is not the
 * peer's.
 */
ATTR_NONNULL(1, 3, 4)
extern int demi_pushto(_Out_ demi_qtoken_t *qt_out, _In_ int sockqd, _In_ const demi_sgarray_t *sga,
                       _In_reads_bytes_(size) const struct sockaddr *dest_addr,
                       _In_ socklen_t size);

/*
 * Starts to receive one message. The result, DEMI_OPC_POP, has it in qr_value.sga, which the
 * application frees with demi_sgafree. When the peer has closed and all that it pushed has
 * been popped, the message has length 0, and is to be freed like any other. A pop never times
 * out by itself. DEMI_OPC_FAILED comes with what demi_push names, but EPIPE.
 *
 * Returns 0. ENOTCONN: not connected. EAGAIN: no token is left.
 */
ATTR_NONNULL(1)
extern int demi_pop(_Out_ demi_qtoken_t *qt_out, _In_ int qd);

/*
 * Sets an option; names and values as in socket(7) and tcp(7). level is SOL_SOCKET
 * (SO_LINGER, SO_KEEPALIVE) or IPPROTO_TCP (TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT,
 * TCP_USER_TIMEOUT); others are kept and told. Keepalive is on to begin with: a peer that is
 * silent for 10 s is asked whether it is there, and after 30 s everything outstanding ends with
 * ETIMEDOUT.
 *
 * Returns 0. ENOTSUP: another level. ENOPROTOOPT: unknown name. EINVAL: optlen does not fit
 * the option, or its value is out of range.
 */
ATTR_NONNULL(4)
extern int demi_setsockopt(_In_ int qd, _In_ int level, _In_ int optname,
                           _In_reads_bytes_(optlen) const void *optval, _In_ socklen_t optlen);

/*
 * Reads an option. *optlen is the room at optval in bytes, and after the call the length of
 * the value.
 *
 * Returns as demi_setsockopt does.
 */
ATTR_NONNULL(4)
extern int demi_getsockopt(_In_ int qd, _In_ int level, _In_ int optname,
                           _Out_writes_to_(*optlen, *optlen) void *optval, _In_ socklen_t *optlen);

/*
 * Tells the address of the connected peer. *addrlen is the room at addr in bytes, and after
 * the call the address's size.
 *
 * Returns 0. ENOTCONN: not connected. EINVAL: too little room.
 */
ATTR_NONNULL(2)
extern int demi_getpeername(_In_ int qd, _Out_writes_to_(*addrlen, *addrlen) struct sockaddr *addr,
                            _In_ socklen_t *addrlen);

/*
 * Tells the local address: the bound one, with the port that was chosen for port 0, or the
 * connection's. Not in Demikernel's headers, though its library exports it.
 *
 * Returns 0. ENOTCONN: neither bound nor connected. EINVAL: too little room.
 */
ATTR_NONNULL(2)
extern int demi_getsockname(_In_ int qd, _Out_writes_to_(*addrlen, *addrlen) struct sockaddr *addr,
                            _In_ socklen_t *addrlen);

#ifdef __cplusplus
}
#endif

#endif /* DEMI_LIBOS_H_IS_INCLUDED */
