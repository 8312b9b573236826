/*
 * The queue pair that an id has taken (ID.TakeQP). On InfiniBand and RoCE these functions move it
 * through its states, with CM's attributes, as librdmacm moves one that rdma_create_qp(3) made; but
 * it is in INIT already, and two of its timers are ours. librdmacm does not know of it: id->qp is
 * NULL, id->context is a struct catmint_taken_qp. On other transports librdmacm moves it.
 *
 * A peer may do to it what CM allows, but for RDMA FLUSH, where INIT is not done again.
 *
 * There is no ECE (enhanced connection establishment) on such a queue pair: librdmacm negotiates
 * that for one of rdma_create_qp(3) only, whether id->qp names another one or not.
 *
 * Each function that can fail returns 0 or a positive errno. All of them belong to the loop.
 */
#ifndef CATMINT_RDMA_TAKEN_SHIM_H
#define CATMINT_RDMA_TAKEN_SHIM_H

#include <stdbool.h>
#include <stdint.h>

#include <rdma/rdma_cma.h>

struct catmint_taken_qp {
    struct ibv_qp *qp; /* NULL: destroyed, or librdmacm moves it */
    bool init_again;
    bool failed;                        /* CONNECT_ERROR was reported */
    uint8_t ack_timeout, min_rnr_timer; /* 0: CM's own */
};

/*
 * Makes a queue pair that is in INIT the id's own, whose device is known. init_again: its P_Key
 * index need not be CM's, so that CM's INIT must follow ours.
 */
int catmint_take_qp(struct rdma_cm_id *id, struct ibv_qp *qp, int init_again);
/* The queue pair has been destroyed. */
void catmint_untake_qp(struct rdma_cm_id *id);
/* What is known of the id's queue pair; NULL if there is none that we move. */
struct catmint_taken_qp *catmint_taken(struct rdma_cm_id *id);

/* rdma_accept(3), rdma_disconnect(3) for an id with such a queue pair, which must not be NULL. */
int catmint_taken_accept(struct rdma_cm_id *id, struct catmint_taken_qp *t,
                         struct rdma_conn_param *param);
int catmint_taken_disconnect(struct rdma_cm_id *id, struct catmint_taken_qp *t);
/*
 * What librdmacm does when it takes an event of an id with a queue pair, and makes of the event.
 * false: nobody is to be told of it.
 */
bool catmint_taken_event(struct rdma_cm_id *id, int *type, int *status);

#endif
