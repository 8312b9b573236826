/*
 * The simulated fabric's data half: RC queue pairs in one process, in plain C.
 *
 * Objects are real struct ibv_context, ibv_pd, ibv_mr, ibv_cq, ibv_comp_channel and
 * ibv_qp. Code under test posts and polls with the inline calls of <infiniband/verbs.h>
 * (ibv_post_send, ibv_post_recv, ibv_poll_cq, ibv_req_notify_cq), which go through
 * ctx->ops, and reaches all else through the table that sim_slow_ops() returns. Never
 * hand these objects to other functions of libibverbs: those would crash.
 *
 * Semantics are those of the InfiniBand Architecture Specification, volume 1, chapters
 * 9 to 11, for reliable connected queue pairs; where providers differ, those of Soft-RoCE
 * (rdma_rxe). No call ever sleeps or starts a thread, nothing happens behind the caller's
 * back, and the same calls under the same configuration give the same results.
 *
 * Threads: with sim_config.threads every function may be called from any thread; the
 * fabric has one lock. Without it no lock is taken and one thread at a time may be in the
 * fabric. Results: 0 or a positive errno unless stated otherwise. Every object is owned
 * by whoever made it and is released in the reverse order; the wrong order is EBUSY.
 */
#ifndef CATMINT_RDMA_SIM_H
#define CATMINT_RDMA_SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <infiniband/verbs.h>

#include "../slowops.h"

#ifdef __cplusplus
extern "C" {
#endif

struct sim_fabric;

/* ---- Fabric ------------------------------------------------------------------------ */

enum sim_delivery {
    /* A work request takes effect within ibv_post_send or ibv_wr_complete, or when its receive is
       posted. */
    SIM_DELIVER_NOW = 0,
    /*
     * Work requests wait; each poll of any CQ carries out a random number of steps (the
     * next request of a random queue pair, or its acknowledgement), so that arrival and
     * completion interleave freely across queue pairs and stay in order within one.
     * Arming a CQ carries out everything that can be, so a sleeper misses nothing that was
     * posted before.
     */
    SIM_DELIVER_SEEDED
};

struct sim_config {
    uint64_t seed;              /* of everything random */
    enum sim_delivery delivery; /* SIM_DELIVER_NOW by default */
    bool threads;               /* take the fabric's lock in every call */
    /*
     * A request whose peer does not answer (error state, destroyed, cut off) waits for
     * ever when 0; otherwise it fails with IBV_WC_RETRY_EXC_ERR at this many polls of its
     * send CQ.
     */
    uint32_t retry_polls;
    /* Receives posted in the error state are never flushed: rxe of Linux 6.1. */
    bool no_late_recv_flush;
    /* Destroying a queue pair removes its completions from the CQs: mlx5; rxe keeps them. */
    bool purge_cq_on_destroy;
    bool no_qp_ex; /* sim_qp_ex answers NULL: irdma and others */
};

/* cfg may be NULL: all zero. ENOMEM. */
int sim_fabric_create(const struct sim_config *cfg, struct sim_fabric **out);
/* EBUSY while a device of it is open. */
int sim_fabric_destroy(struct sim_fabric *f);
/*
 * Carries out everything that can be without a further call of a user, in a fixed order.
 * Needed in seeded delivery only.
 */
void sim_fabric_drain(struct sim_fabric *f);

/* What is alive, and what happened since the fabric was made. */
struct sim_census {
    uint64_t devices, channels, pds, mrs, cqs, qps;
    uint64_t mr_bytes;       /* registered bytes */
    uint64_t cq_overruns;    /* completions dropped because a CQ was full */
    uint64_t rnr_naks;       /* sends that found no receive, each counted once */
    uint64_t unacked_events; /* CQ events taken and not acknowledged */
    uint64_t post_sends;     /* calls of ibv_post_send and ibv_wr_complete */
    uint64_t send_wrs;       /* work requests in them */
    uint64_t post_recvs;     /* calls of ibv_post_recv */
    uint64_t recv_wrs;       /* work requests in them */
    uint64_t bytes;          /* payload moved */
};
void sim_fabric_census(struct sim_fabric *f, struct sim_census *out);

/* ---- Devices ------------------------------------------------------------------------- */

/* A zero field takes the value of rxe on Linux 6.12 that is named beside it. */
struct sim_device_attr {
    uint64_t max_mr_size;    /* bytes; no limit */
    uint64_t max_msg_sz;     /* bytes of one message; 2^31 */
    uint64_t max_mr_bytes;   /* all regions together, the locked-memory limit; no limit */
    uint32_t max_qp;         /* 1048560 */
    uint32_t max_cq;         /* 1048576 */
    uint32_t max_mr;         /* 524287 */
    uint32_t max_pd;         /* 1048576 */
    uint32_t max_cqe;        /* 32767 */
    uint32_t max_qp_wr;      /* 1048576 */
    uint32_t max_sge;        /* 32 */
    uint32_t max_inline;     /* bytes; 512 */
    uint32_t max_qp_rd_atom; /* READs in and out of one queue pair; 128 */
    bool iwarp; /* READs go only into memory registered for remote write; lkey is rkey */
};

/* Opens a device. name is copied, cut at 63 bytes. attr may be NULL. */
int sim_device_create(struct sim_fabric *f, const char *name, const struct sim_device_attr *attr,
                      struct ibv_context **out);
int sim_device_destroy(struct ibv_context *ctx);
/* The attributes in force. */
void sim_device_query(struct ibv_context *ctx, struct sim_device_attr *out);
/*
 * The device disappears: its queue pairs enter the error state and flush, and from now on
 * making objects and posting fail with EIO. Objects can still be polled and released.
 */
void sim_device_remove(struct ibv_context *ctx);

/*
 * Takes an asynchronous event; EAGAIN when there is none. ctx->async_fd is a non-blocking
 * eventfd, readable while one waits. The events are CQ_ERR (a completion was dropped),
 * QP_ACCESS_ERR and QP_REQ_ERR (a responder refused a request), COMM_EST (the first request
 * reached a queue pair in RTR) and DEVICE_FATAL (the device was removed). An event of an
 * object that has been destroyed is not reported; beyond 256 that nobody takes, new ones are
 * lost.
 */
int sim_device_get_async_event(struct ibv_context *ctx, struct ibv_async_event *out);

/* ---- Protection domains and memory regions --------------------------------------------- */

int sim_pd_create(struct ibv_context *ctx, struct ibv_pd **out);
int sim_pd_destroy(struct ibv_pd *pd);
/* EINVAL: length 0, address range that wraps, remote write without local write. */
int sim_mr_create(struct ibv_pd *pd, void *addr, size_t len, int access, struct ibv_mr **out);
int sim_mr_destroy(struct ibv_mr *mr);

/* ---- Completion channels and queues ------------------------------------------------------ */

/* The channel's fd is a non-blocking eventfd, readable while an event waits. */
int sim_channel_create(struct ibv_context *ctx, struct ibv_comp_channel **out);
int sim_channel_destroy(struct ibv_comp_channel *ch);
/* cq->cqe, as granted, is one less than a power of two and at least cqe. channel may be NULL. */
int sim_cq_create(struct ibv_context *ctx, int cqe, void *cq_context,
                  struct ibv_comp_channel *channel, struct ibv_cq **out);
/* EBUSY while a queue pair uses it or an event that was taken is not acknowledged. */
int sim_cq_destroy(struct ibv_cq *cq);
/* Completions waiting to be polled. */
uint32_t sim_cq_pending(struct ibv_cq *cq);
/* Completions of this CQ dropped because it was full. */
uint64_t sim_cq_overruns(struct ibv_cq *cq);

/* ---- Queue pairs ----------------------------------------------------------------------------- */

/*
 * Makes an RC queue pair in RESET; attr->cap is updated to what was granted. A send-queue
 * or receive-queue entry is free again when a completion at or after it has been polled,
 * so unsignalled sends occupy theirs until a later signalled one completes.
 */
int sim_qp_create(struct ibv_pd *pd, struct ibv_qp_init_attr *attr, struct ibv_qp **out);
int sim_qp_destroy(struct ibv_qp *qp);
/*
 * The queue pair's extended interface, ibv_wr_start(3) and others: SEND, with inline data or one
 * segment. NULL: sim_config says that there is none.
 */
struct ibv_qp_ex *sim_qp_ex(struct ibv_qp *qp);
/*
 * ibv_modify_qp: RESET, INIT, RTR (dest_qp_num), RTS and ERR by the transitions of the
 * specification, and within RTS access flags and min_rnr_timer. EINVAL: no such
 * transition, or a required attribute is missing.
 */
int sim_qp_modify(struct ibv_qp *qp, const struct ibv_qp_attr *attr, int attr_mask);
/* The queue pair's attributes; either pointer may be NULL. */
int sim_qp_query(struct ibv_qp *qp, struct ibv_qp_attr *attr, struct ibv_qp_init_attr *init);

/*
 * Shorthands. init: port 1, remote read and write allowed. connect: takes two queue pairs
 * in RESET or INIT to RTS, each the other's peer, retry_cnt 6, rnr_retry 7, 16 READs each way.
 */
int sim_qp_init(struct ibv_qp *qp);
int sim_qp_connect(struct ibv_qp *a, struct ibv_qp *b);
/* Moves the queue pair to the error state, which flushes its work requests. */
int sim_qp_error(struct ibv_qp *qp);

struct sim_qp_stats {
    uint32_t send_queued, recv_queued; /* entries in use */
    uint32_t send_waiting;             /* work requests that have not taken effect */
    uint64_t rnr_naks;                 /* as sender */
    bool waiting_rnr;                  /* the next request waits for a receive */
    bool waiting_peer;                 /* ... for a peer that does not answer */
};
void sim_qp_stats(struct ibv_qp *qp, struct sim_qp_stats *out);

/* ---- Faults ---------------------------------------------------------------------------------- */

/* The calls below that sim_fault_call can make fail. */
enum sim_call {
    SIM_CALL_PD_CREATE,
    SIM_CALL_MR_CREATE,
    SIM_CALL_CHANNEL_CREATE,
    SIM_CALL_CQ_CREATE,
    SIM_CALL_QP_CREATE,
    SIM_CALL_QP_MODIFY,
    SIM_CALL_POST_SEND,
    SIM_CALL_POST_RECV,
    SIM_CALL_COUNT
};

/*
 * The nth call on this device from now (1 is the next) fails with err. times: how many in a
 * row, 0 for all from there on. A second rule for the same call replaces the first; nth 0
 * removes it.
 */
void sim_fault_call(struct ibv_context *ctx, enum sim_call call, uint32_t nth, uint32_t times,
                    int err);
/*
 * The nth work request of qp's send queue to take effect from now fails instead with
 * status, which takes qp to the error state.
 */
void sim_fault_completion(struct ibv_qp *qp, uint32_t nth, enum ibv_wc_status status);
/* The next n sends that arrive at qp find no receive once, whatever is posted. */
void sim_fault_rnr(struct ibv_qp *qp, uint32_t n);
/*
 * When nth more work requests of qp have taken effect it enters the error state: a
 * disconnect between two chosen messages.
 */
void sim_fault_error_after(struct ibv_qp *qp, uint32_t nth);
/* Cuts qp off: requests from it and to it get no answer until the fault is lifted. */
void sim_fault_cut(struct ibv_qp *qp, bool cut);
/*
 * RDMA READs of qp, and what is behind them, wait: n of them take effect, the next ones when this
 * is called again. UINT32_MAX: all.
 */
void sim_fault_reads(struct ibv_qp *qp, uint32_t n);
/* The retries of the request that waits for an unresponsive peer, if any, are exhausted. */
void sim_fault_retry_exceeded(struct ibv_qp *qp);

/* ---- Slow operations
 * ----------------------------------------------------------------------------- */

/* The table that goes with this fabric's objects; it lives as long as the process. */
const struct rdma_slow_ops *sim_slow_ops(void);

#ifdef __cplusplus
}
#endif

#endif
