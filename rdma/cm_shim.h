/*
 * Thin C functions over librdmacm for the Go files of package rdma: each returns 0 or a
 * positive errno taken in the same call, refuses what librdmacm would crash on (an id
 * that no device is bound to, see librdmacm/cma.c), and keeps no pointer to Go memory.
 */
#ifndef CATMINT_RDMA_CM_SHIM_H
#define CATMINT_RDMA_CM_SHIM_H

#include <stddef.h>
#include <stdint.h>

#include <rdma/rdma_cma.h>

/* Room for the private data of any CM message; the ABI's own limit is 256. */
#define CATMINT_CM_PRIVATE_DATA 256

/* A copy of an rdma_cm_event, which has been acknowledged. */
struct catmint_cm_event {
    struct rdma_cm_id *id;
    struct rdma_cm_id *listen_id;
    int type;
    int status;
    uint8_t responder_resources;
    uint8_t initiator_depth;
    uint8_t private_data_len;
    uint8_t private_data[CATMINT_CM_PRIVATE_DATA];
};

struct catmint_conn_param {
    uint8_t responder_resources;
    uint8_t initiator_depth;
    uint8_t retry_count;
    uint8_t rnr_retry_count;
    /* Codes, 0 for CM's own; of a queue pair that the id has taken, see taken_shim.h. */
    uint8_t ack_timeout;
    uint8_t min_rnr_timer;
};

int catmint_create_event_channel(struct rdma_event_channel **out);
int catmint_get_cm_event(struct rdma_event_channel *channel, struct catmint_cm_event *out);

int catmint_create_id(struct rdma_event_channel *channel, struct rdma_cm_id **out);
int catmint_destroy_id(struct rdma_cm_id *id);
int catmint_bind_addr(struct rdma_cm_id *id, const void *addr, size_t len);
/* src_len 0: no source address. */
int catmint_resolve_addr(struct rdma_cm_id *id, const void *src, size_t src_len, const void *dst,
                         size_t dst_len, int timeout_ms);
int catmint_resolve_route(struct rdma_cm_id *id, int timeout_ms);
int catmint_listen(struct rdma_cm_id *id, int backlog);
int catmint_connect(struct rdma_cm_id *id, const struct catmint_conn_param *param,
                    const void *private_data, uint8_t private_data_len);
int catmint_accept(struct rdma_cm_id *id, const struct catmint_conn_param *param,
                   const void *private_data, uint8_t private_data_len);
int catmint_reject(struct rdma_cm_id *id, const void *private_data, uint8_t private_data_len);
int catmint_disconnect(struct rdma_cm_id *id);
int catmint_set_option(struct rdma_cm_id *id, int name, void *value, size_t len);
/* Copies the addresses, each struct sockaddr_in or sockaddr_in6 in a sockaddr_storage. */
void catmint_addrs(struct rdma_cm_id *id, struct sockaddr_storage *local,
                   struct sockaddr_storage *remote);

#endif
