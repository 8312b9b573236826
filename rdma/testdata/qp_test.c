/*
 * How verbs_shim.c makes queue pairs, on a provider that is made up here: what it asks for, and
 * what it does when send operations are refused.
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <rdma/rdma_cma.h>

#include "test.h"
#include "verbs_shim.h"

static struct verbs_context provider;
static struct ibv_pd pd;
static struct ibv_cq cq;
static struct ibv_qp_ex made; /* with send operations; its qp_base without */

/* What is answered, 0 or an errno, and what has been asked. */
static int ex_answers, plain_answers, modify_answers;
static int ex_asked, plain_asked, destroyed;

static struct ibv_qp *answer(int err, struct ibv_qp_cap *cap, uint32_t granted) {
    errno = err;
    cap->max_send_wr = granted; /* also if it fails: what is left there counts for nothing */
    return err ? NULL : &made.qp_base;
}

static struct ibv_qp *create_qp_ex(struct ibv_context *ctx, struct ibv_qp_init_attr_ex *attr) {
    ex_asked++;
    CHECK(ctx == &provider.context && attr->pd == &pd);
    CHECK_EQ(attr->comp_mask, IBV_QP_INIT_ATTR_PD | IBV_QP_INIT_ATTR_SEND_OPS_FLAGS);
    CHECK_EQ(attr->send_ops_flags, IBV_QP_EX_WITH_SEND);
    CHECK(attr->qp_type == IBV_QPT_RC && attr->sq_sig_all == 1 && attr->send_cq == &cq);
    CHECK_EQ(attr->cap.max_send_wr, 63);
    return answer(ex_answers, &attr->cap, 100);
}

struct ibv_qp *__wrap_ibv_create_qp(struct ibv_pd *p, struct ibv_qp_init_attr *attr);
struct ibv_qp *__wrap_ibv_create_qp(struct ibv_pd *p, struct ibv_qp_init_attr *attr) {
    plain_asked++;
    CHECK(p == &pd && attr->qp_type == IBV_QPT_RC && attr->recv_cq == &cq);
    CHECK_EQ(attr->cap.max_send_wr, 63);
    return answer(plain_answers, &attr->cap, 64);
}

int __wrap_rdma_create_qp_ex(struct rdma_cm_id *id, struct ibv_qp_init_attr_ex *attr);
int __wrap_rdma_create_qp_ex(struct rdma_cm_id *id, struct ibv_qp_init_attr_ex *attr) {
    id->qp = ibv_create_qp_ex(id->verbs, attr);
    return id->qp ? 0 : -1;
}

struct ibv_qp_ex *__wrap_ibv_qp_to_qp_ex(struct ibv_qp *qp);
struct ibv_qp_ex *__wrap_ibv_qp_to_qp_ex(struct ibv_qp *qp) {
    CHECK(qp == &made.qp_base);
    return &made;
}

int __wrap_ibv_modify_qp(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask);
int __wrap_ibv_modify_qp(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask) {
    CHECK(qp == &made.qp_base && attr->qp_state == IBV_QPS_INIT && attr->port_num == 2);
    CHECK(mask & IBV_QP_STATE);
    return modify_answers;
}

int __wrap_ibv_destroy_qp(struct ibv_qp *qp);
int __wrap_ibv_destroy_qp(struct ibv_qp *qp) {
    CHECK(qp == &made.qp_base);
    destroyed++;
    return 0;
}

/* One queue pair, of an id's or of none. */
struct asked {
    int rc;
    struct ibv_qp *qp;
    struct ibv_qp_ex *ex;
    struct ibv_qp_cap cap;
};

static struct asked ask(bool of_id, int send_ops) {
    const struct catmint_qp_init init = {
        .send_cq = &cq, .recv_cq = &cq, .signal_all = 1, .send_ops = send_ops};
    struct rdma_cm_id id = {.verbs = &provider.context};
    struct asked a = {.cap = {.max_send_wr = 63}, .ex = &made};

    memset(&provider, 0, sizeof(provider));
    provider.sz = sizeof(provider);
    provider.context.abi_compat = __VERBS_ABI_IS_EXTENDED;
    provider.create_qp_ex = create_qp_ex;
    pd.context = &provider.context;
    ex_asked = plain_asked = destroyed = 0;
    a.rc = of_id ? catmint_create_qp(&id, &pd, &init, &a.cap, &a.qp, &a.ex)
                 : catmint_create_free_qp(&pd, 2, &init, &a.cap, &a.qp, &a.ex);
    return a;
}

static void send_operations_come_only_if_asked_for(void) {
    ex_answers = plain_answers = modify_answers = 0;
    for (int of_id = 0; of_id < 2; of_id++) {
        struct asked a = ask(of_id, 0);
        CHECK(a.rc == 0 && a.qp == &made.qp_base && a.ex == NULL);
        CHECK(ex_asked == 0 && plain_asked == 1);
        CHECK_EQ(a.cap.max_send_wr, 64);

        a = ask(of_id, 1);
        CHECK(a.rc == 0 && a.qp == &made.qp_base && a.ex == &made);
        CHECK(ex_asked == 1 && plain_asked == 0);
        CHECK_EQ(a.cap.max_send_wr, 100);
    }
}

static void a_provider_without_send_operations_makes_it_without(void) {
    static const int refusals[] = {EOPNOTSUPP, ENOSYS, EINVAL};

    plain_answers = modify_answers = 0;
    for (int of_id = 0; of_id < 2; of_id++) {
        for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
            ex_answers = refusals[i];
            struct asked a = ask(of_id, 1);
            CHECK(a.rc == 0 && a.qp == &made.qp_base && a.ex == NULL);
            CHECK(ex_asked == 1 && plain_asked == 1);
            CHECK_EQ(a.cap.max_send_wr, 64);
        }
    }
}

static void other_errors_are_passed_on(void) {
    for (int of_id = 0; of_id < 2; of_id++) {
        ex_answers = ENOMEM; /* without them it would be no better */
        plain_answers = 0;
        struct asked a = ask(of_id, 1);
        CHECK(a.rc == ENOMEM && a.ex == NULL && plain_asked == 0);
        CHECK_EQ(a.cap.max_send_wr, 63);

        ex_answers = plain_answers = EINVAL; /* not for the send operations */
        a = ask(of_id, 1);
        CHECK(a.rc == EINVAL && a.ex == NULL && ex_asked == 1 && plain_asked == 1);
        CHECK_EQ(a.cap.max_send_wr, 63);

        plain_answers = EMFILE;
        a = ask(of_id, 0);
        CHECK(a.rc == EMFILE && ex_asked == 0 && plain_asked == 1);
    }
}

static void one_that_cannot_be_moved_to_init_is_destroyed(void) {
    ex_answers = plain_answers = 0;
    modify_answers = EIO;
    struct asked a = ask(false, 1);
    CHECK(a.rc == EIO && destroyed == 1);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(send_operations_come_only_if_asked_for),
        TEST(a_provider_without_send_operations_makes_it_without),
        TEST(other_errors_are_passed_on),
        TEST(one_that_cannot_be_moved_to_init_is_destroyed),
    };
    return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
