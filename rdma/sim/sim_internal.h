/*
 * The simulated fabric from the inside: what its C files share. Nothing here is for users;
 * see sim.h. Unless a comment says otherwise, every function here is called with the
 * fabric's lock held.
 */
#ifndef CATMINT_RDMA_SIM_INTERNAL_H
#define CATMINT_RDMA_SIM_INTERNAL_H

#include <errno.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sim.h"

/*
 * An eventfd's read and write by syscall(2): posting and polling are no cancellation points
 * (pthreads(7)), as little as those of a NIC that never enters the kernel.
 */
static inline long sim_fd_read(int fd, uint64_t *count) {
    return syscall(SYS_read, fd, count, sizeof(*count));
}
static inline long sim_fd_write(int fd) {
    const uint64_t one = 1;
    return syscall(SYS_write, fd, &one, sizeof(one));
}

#define SIM_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define SIM_INTERNAL __attribute__((visibility("hidden")))

#define SIM_ASYNC_SLOTS 256

struct sim_cq;
struct sim_qp;

struct sim_fabric {
    struct sim_config cfg;
    pthread_mutex_t lock;
    uint64_t rng;
    uint32_t retrying; /* queue pairs whose next request is tried again at polls */
    uint32_t next_qpn; /* numbers are never reused within a fabric */
    uint32_t num_qps;
    struct sim_qp *qps; /* all, doubly linked, newest first */
    /* Seeded delivery: queue pairs with something to do, in no order. */
    struct sim_qp **active;
    uint32_t num_active, cap_active;
    struct sim_census stats;
};

/* One rule of sim_fault_call. */
struct sim_rule {
    uint32_t nth;   /* calls until it strikes; 0: no rule */
    uint32_t times; /* strikes left; 0: for ever */
    int err;
};

struct sim_mr {
    struct ibv_mr ibv;
    int access;
    uint8_t generation;
};

struct sim_device {
    struct ibv_context ibv; /* first: a struct ibv_context * is one of these */
    struct ibv_device dev;
    struct sim_fabric *f;
    struct sim_device_attr attr;
    bool removed;
    bool has_rules; /* some rule is set: look at them */
    struct sim_rule rules[SIM_CALL_COUNT];
    /* Memory regions by key >> 8; entry 0 is never used, so that key 0 is never valid. */
    struct sim_mr **mrs;
    uint8_t *generations;
    uint32_t num_mr_slots;
    uint64_t mr_bytes;
    uint32_t num_pds, num_mrs, num_cqs, num_qps, num_channels;
    struct ibv_async_event async[SIM_ASYNC_SLOTS];
    uint32_t async_head, async_tail;
};

struct sim_pd {
    struct ibv_pd ibv;
    uint32_t users; /* memory regions and queue pairs */
};

struct sim_channel {
    struct ibv_comp_channel ibv;
    struct sim_cq *first, *last; /* CQs with events to take, oldest first */
    uint32_t users;              /* CQs */
};

struct sim_cqe {
    struct ibv_wc wc;
    struct sim_qp *qp; /* whose entry it frees; NULL once the queue pair is gone */
    uint32_t tail;     /* the queue's tail after this completion has been polled */
    bool is_recv;
};

enum sim_arm { SIM_ARM_NONE, SIM_ARM_SOLICITED, SIM_ARM_ANY };

struct sim_cq {
    struct ibv_cq ibv;
    struct sim_fabric *f;
    struct sim_cqe *ring;
    uint32_t mask, head, tail; /* head: next to write; tail: next to poll */
    enum sim_arm arm;
    uint32_t users;  /* queue pairs, once for sends and once for receives */
    uint32_t events; /* in the channel, not taken */
    uint32_t unacked;
    uint64_t overruns;
    struct sim_cq *next_event;
};

/* A work queue: free-running counters, tail <= done <= exec <= head. */
struct sim_ring {
    unsigned char *mem;
    uint32_t mask, stride;
    uint32_t head; /* next to post */
    uint32_t exec; /* next to take effect; for receives, next to be used */
    uint32_t done; /* next to complete */
    uint32_t tail; /* oldest entry in use */
};

struct sim_swqe {
    uint64_t wr_id;
    uint64_t remote_addr;
    uint32_t rkey;
    uint32_t imm_data;
    uint32_t length; /* of the message */
    uint16_t num_sge;
    uint8_t opcode; /* enum ibv_wr_opcode */
    uint8_t flags;  /* enum ibv_send_flags */
    union {
        struct ibv_sge sge[1];
        unsigned char data[1]; /* with IBV_SEND_INLINE */
    } u;
};

struct sim_rwqe {
    uint64_t wr_id;
    uint32_t num_sge;
    uint32_t length; /* what its entries hold together */
    struct ibv_sge sge[1];
};

enum sim_stall { SIM_STALL_NONE, SIM_STALL_RNR, SIM_STALL_PEER };

struct sim_qp {
    union {
        struct ibv_qp ibv;
        struct ibv_qp_ex ex;
    };
    struct sim_fabric *f;
    struct sim_device *dev;
    struct sim_cq *scq, *rcq;
    struct sim_qp *peer; /* the one with number attr.dest_qp_num, NULL when gone */
    struct sim_ring sq, rq;
    /* Between start and complete of ex, for sim_wr.c. */
    struct {
        int err;                /* what complete will answer */
        uint32_t head;          /* the send queue's, if that is 0 */
        struct sim_swqe *entry; /* that the setters fill in, or NULL */
    } wr;
    struct ibv_qp_attr attr;
    struct ibv_qp_init_attr init;
    bool sig_all;
    enum sim_stall stall;
    bool retrying;       /* counted in f->retrying */
    uint32_t tries_left; /* of a stalled request */
    int active_pos;      /* in f->active, or -1 */
    uint32_t flush_to;   /* receives before this one flush */
    uint64_t rnr_naks;
    /* Faults; has_faults: look at them. */
    bool has_faults, cut, slow_reads;
    uint32_t reads_left; /* that take effect now, if slow_reads */
    bool established;    /* COMM_EST has been raised, or the queue pair was in RTS before */
    uint32_t fault_completion_in, fault_error_in, fault_rnr;
    enum ibv_wc_status fault_status;
    struct sim_qp *next, *prev;
};

static inline void sim_lock(struct sim_fabric *f) {
    if (f->cfg.threads)
        (void)pthread_mutex_lock(&f->lock);
}

static inline void sim_unlock(struct sim_fabric *f) {
    if (f->cfg.threads)
        (void)pthread_mutex_unlock(&f->lock);
}

static inline struct sim_device *sim_dev_of(struct ibv_context *ctx) {
    return (struct sim_device *)ctx;
}

static inline struct sim_swqe *sim_swqe_at(const struct sim_ring *r, uint32_t i) {
    return (struct sim_swqe *)(void *)(r->mem + (size_t)(i & r->mask) * r->stride);
}

static inline struct sim_rwqe *sim_rwqe_at(const struct sim_ring *r, uint32_t i) {
    return (struct sim_rwqe *)(void *)(r->mem + (size_t)(i & r->mask) * r->stride);
}

/* A completion found no room. */
SIM_INTERNAL void sim_cq_overrun(struct sim_cq *cq);
/* An armed CQ has got a completion. */
SIM_INTERNAL void sim_cq_report(struct sim_cq *cq);

/* The slot for the next completion, to be filled and committed; NULL when the CQ is full. */
static inline struct sim_cqe *sim_cq_reserve(struct sim_cq *cq) {
    if (SIM_UNLIKELY(cq->head - cq->tail >= cq->mask)) {
        sim_cq_overrun(cq);
        return NULL;
    }
    return &cq->ring[cq->head & cq->mask];
}

/* important: solicited, or an error. */
static inline void sim_cq_commit(struct sim_cq *cq, bool important) {
    cq->head++;
    if (SIM_UNLIKELY(cq->arm != SIM_ARM_NONE) && (cq->arm == SIM_ARM_ANY || important))
        sim_cq_report(cq);
}

/* sim_fabric.c */
SIM_INTERNAL int sim_call_fault(struct sim_device *d, enum sim_call call);
SIM_INTERNAL uint32_t sim_roundup_slots(uint32_t n);
/* A uniformly distributed number below n. */
SIM_INTERNAL uint32_t sim_random(struct sim_fabric *f, uint32_t n);

SIM_INTERNAL void sim_async_raise(struct sim_device *d, const struct ibv_async_event *ev);
SIM_INTERNAL void sim_async_forget(struct sim_device *d, const void *object);

/* sim_mr.c */
SIM_INTERNAL bool sim_mr_check_local(const struct sim_device *d, const struct ibv_pd *pd,
                                     const struct ibv_sge *sge, uint32_t n, int access);
SIM_INTERNAL bool sim_mr_check_remote(const struct sim_device *d, const struct ibv_pd *pd,
                                      uint64_t addr, uint32_t len, uint32_t rkey, int access);

/* sim_cq.c */
/* Forgets qp in the completions of cq, or removes them with purge. */
SIM_INTERNAL void sim_cq_forget(struct sim_cq *cq, const struct sim_qp *qp, bool purge);
SIM_INTERNAL int sim_poll_cq(struct ibv_cq *ibcq, int n, struct ibv_wc *wc);
SIM_INTERNAL int sim_req_notify_cq(struct ibv_cq *ibcq, int solicited_only);

/* sim_post.c */
SIM_INTERNAL int sim_post_send(struct ibv_qp *qp, struct ibv_send_wr *wr,
                               struct ibv_send_wr **bad_wr);
SIM_INTERNAL int sim_post_recv(struct ibv_qp *qp, struct ibv_recv_wr *wr,
                               struct ibv_recv_wr **bad_wr);

/* sim_wr.c */
/* Gives the queue pair the extended interface. */
SIM_INTERNAL void sim_wr_init(struct sim_qp *qp);

/* sim_wire.c */
/* Something may have become possible for qp: does it now, or remembers to. */
SIM_INTERNAL void sim_wire_kick(struct sim_qp *qp);
/* qp enters the error state. */
SIM_INTERNAL void sim_wire_error(struct sim_qp *qp);
/* qp no longer stalls (it is being reset or destroyed). */
SIM_INTERNAL void sim_wire_unstall(struct sim_qp *qp);
SIM_INTERNAL void sim_wire_deactivate(struct sim_qp *qp);
/* The next request of qp ends with status. */
SIM_INTERNAL void sim_wire_fail_next(struct sim_qp *qp, enum ibv_wc_status status);
/* A poll of cq, when there may be more to do than to take completions. */
SIM_INTERNAL void sim_wire_poll(struct sim_fabric *f, struct sim_cq *cq);
/* Everything that can be done without a further call. */
SIM_INTERNAL void sim_wire_drain(struct sim_fabric *f);

#endif
