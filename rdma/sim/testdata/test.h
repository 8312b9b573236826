/*
 * A test program is a table of named tests. `prog -list` prints the names, `prog NAME` runs
 * one; a failed CHECK ends the process with its place.
 */
#ifndef CATMINT_SIM_TEST_H
#define CATMINT_SIM_TEST_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../sim.h"

#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #x);                        \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

#define CHECK_EQ(a, b)                                                                             \
    do {                                                                                           \
        long long a_ = (long long)(a), b_ = (long long)(b);                                        \
        if (a_ != b_) {                                                                            \
            fprintf(stderr, "%s:%d: %s is %lld, not %lld\n", __FILE__, __LINE__, #a, a_, b_);      \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

struct test {
    const char *name;
    void (*run)(void);
};

int test_main(int argc, char **argv, const struct test *tests, size_t n);

/* Two connected queue pairs, each with a CQ, a channel and a registered buffer. */
#define BUF 65536

struct end {
    struct ibv_cq *cq;
    struct ibv_comp_channel *ch;
    struct ibv_qp *qp;
    struct ibv_mr *mr;
    unsigned char *buf;
};

struct pair {
    struct sim_fabric *f;
    struct ibv_context *dev;
    struct ibv_pd *pd;
    struct end a, b;
};

#define DEPTH 31     /* work requests in each queue, as granted */
#define CQ_DEPTH 127 /* completions, as granted */

struct pair *pair_new(const struct sim_config *cfg);
struct pair *pair_new_on(const struct sim_config *cfg, const struct sim_device_attr *attr);
/* Checks that nothing is left when all has been released. */
void pair_free(struct pair *p);
void end_init(struct pair *p, struct end *e);
void end_free(struct end *e);

int post_recv(struct end *e, uint64_t wr_id, size_t off, uint32_t len);
int post_send(struct end *e, uint64_t wr_id, size_t off, uint32_t len, unsigned int flags);
int post_rdma(struct end *e, uint64_t wr_id, enum ibv_wr_opcode op, size_t off, uint32_t len,
              uint64_t remote, uint32_t rkey);
/* Takes one completion, which must be there. */
struct ibv_wc poll_one(struct end *e);
/* Takes one, which must be there and have this wr_id and status. */
void expect(struct end *e, uint64_t wr_id, enum ibv_wc_status status);
void expect_nothing(struct end *e);
enum ibv_qp_state state(struct end *e);
/* Connects e to peer anew, with n RNR retries and no room for READs. */
void set_rnr_retry(struct end *e, struct end *peer, uint8_t n);

#endif
