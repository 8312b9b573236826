/*
 * How taken_shim.c and cm_shim.c move a queue pair that an id has taken, with a connection manager
 * and a provider that are made up here: which steps they take, with what, and what becomes of each
 * of them that fails.
 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "cm_shim.h"
#include "taken_shim.h"
#include "test.h"
#include "verbs_shim.h"

enum step { NONE, ATTR, MODIFY, ESTABLISH, CONNECT, ACCEPT, DISCONNECT, DESTROY };

/* What has been done: a step, and for ATTR and MODIFY the state that it is about. */
static struct {
    enum step step;
    enum ibv_qp_state state;
} done[16];
static int n_done;

/* Which step fails, and with which errno. */
static enum step failing;
static enum ibv_qp_state failing_state;
static int failing_errno;

static struct ibv_device device;
static struct ibv_context context;
static struct ibv_pd pd;
static struct ibv_qp qp;
static struct rdma_event_channel channel;
static struct rdma_cm_id id;

static struct ibv_qp_attr rtr, rts; /* as they were set last */
static int rtr_mask;
static struct rdma_conn_param told;

static struct rdma_cm_event events[8];
static int n_events, next_event, acked;
static int library_errno; /* that a step of the library leaves behind */

static bool fails(enum step step, enum ibv_qp_state state) {
    CHECK(n_done < (int)(sizeof(done) / sizeof(done[0])));
    done[n_done].step = step;
    done[n_done].state = state;
    n_done++;
    return step == failing && state == failing_state;
}

/* The way of librdmacm to fail. */
static int answer(enum step step, enum ibv_qp_state state) {
    if (!fails(step, state))
        return 0;
    errno = failing_errno;
    return -1;
}

int __wrap_rdma_init_qp_attr(struct rdma_cm_id *i, struct ibv_qp_attr *attr, int *mask);
int __wrap_rdma_init_qp_attr(struct rdma_cm_id *i, struct ibv_qp_attr *attr, int *mask) {
    CHECK(i == &id);
    *mask = IBV_QP_STATE;
    if (attr->qp_state == IBV_QPS_RTR) {
        attr->max_dest_rd_atomic = 7;
        *mask |= IBV_QP_MIN_RNR_TIMER | IBV_QP_MAX_DEST_RD_ATOMIC | 0xe00000;
    } else if (attr->qp_state == IBV_QPS_RTS) {
        attr->max_rd_atomic = 5;
        attr->timeout = 17;
        *mask |= IBV_QP_TIMEOUT | IBV_QP_MAX_QP_RD_ATOMIC;
    } else {
        CHECK_EQ(attr->qp_state, IBV_QPS_INIT);
        attr->pkey_index = 3;
        *mask |= IBV_QP_PKEY_INDEX;
    }
    return answer(ATTR, attr->qp_state);
}

/* Providers return an errno, and may set another one. */
int __wrap_ibv_modify_qp(struct ibv_qp *q, struct ibv_qp_attr *attr, int mask);
int __wrap_ibv_modify_qp(struct ibv_qp *q, struct ibv_qp_attr *attr, int mask) {
    CHECK(q == &qp && (mask & IBV_QP_STATE));
    if (attr->qp_state == IBV_QPS_INIT)
        CHECK(attr->pkey_index == 3 && (mask & IBV_QP_PKEY_INDEX));
    if (attr->qp_state == IBV_QPS_RTR) {
        rtr = *attr;
        rtr_mask = mask;
    }
    if (attr->qp_state == IBV_QPS_RTS)
        rts = *attr;
    errno = EDOM;
    return fails(MODIFY, attr->qp_state) ? failing_errno : 0;
}

int __wrap_ibv_destroy_qp(struct ibv_qp *q);
int __wrap_ibv_destroy_qp(struct ibv_qp *q) {
    CHECK(q == &qp);
    return fails(DESTROY, IBV_QPS_RESET) ? failing_errno : 0;
}

int __wrap_rdma_establish(struct rdma_cm_id *i);
int __wrap_rdma_establish(struct rdma_cm_id *i) {
    CHECK(i == &id && id.qp == NULL);
    return answer(ESTABLISH, IBV_QPS_RESET);
}

int __wrap_rdma_connect(struct rdma_cm_id *i, struct rdma_conn_param *param);
int __wrap_rdma_connect(struct rdma_cm_id *i, struct rdma_conn_param *param) {
    CHECK(i == &id);
    told = *param;
    return answer(CONNECT, IBV_QPS_RESET);
}

int __wrap_rdma_accept(struct rdma_cm_id *i, struct rdma_conn_param *param);
int __wrap_rdma_accept(struct rdma_cm_id *i, struct rdma_conn_param *param) {
    CHECK(i == &id);
    told = *param;
    return answer(ACCEPT, IBV_QPS_RESET);
}

int __wrap_rdma_disconnect(struct rdma_cm_id *i);
int __wrap_rdma_disconnect(struct rdma_cm_id *i) {
    CHECK(i == &id);
    return answer(DISCONNECT, IBV_QPS_RESET);
}

int __wrap_rdma_destroy_id(struct rdma_cm_id *i);
int __wrap_rdma_destroy_id(struct rdma_cm_id *i) {
    CHECK(i == &id);
    return 0;
}

int __wrap_rdma_get_cm_event(struct rdma_event_channel *ch, struct rdma_cm_event **ev);
int __wrap_rdma_get_cm_event(struct rdma_event_channel *ch, struct rdma_cm_event **ev) {
    CHECK(ch == &channel);
    if (next_event == n_events) {
        errno = EAGAIN;
        return -1;
    }
    *ev = &events[next_event++];
    errno = library_errno;
    return 0;
}

int __wrap_rdma_ack_cm_event(struct rdma_cm_event *ev);
int __wrap_rdma_ack_cm_event(struct rdma_cm_event *ev) {
    CHECK(ev == &events[acked]);
    acked++;
    return 0;
}

/* Checks what has been done since the last time. */
static void did(int n, const int (*want)[2]) {
    CHECK_EQ(n_done, n);
    for (int i = 0; i < n; i++) {
        CHECK_EQ(done[i].step, want[i][0]);
        CHECK_EQ(done[i].state, want[i][1]);
    }
    n_done = 0;
}

#define DID(...)                                                                                   \
    do {                                                                                           \
        static const int want[][2] = {__VA_ARGS__};                                                \
        did(sizeof(want) / sizeof(want[0]), want);                                                 \
    } while (0)
#define ASKED(s)                                                                                   \
    { ATTR, IBV_QPS_##s }
#define MOVED(s)                                                                                   \
    { MODIFY, IBV_QPS_##s }
#define TO_READY ASKED(RTR), MOVED(RTR), ASKED(RTS), MOVED(RTS)

static const struct catmint_conn_param param = {
    .responder_resources = 4,
    .initiator_depth = 2,
    .retry_count = 6,
    .rnr_retry_count = 7,
    .ack_timeout = 18,
    .min_rnr_timer = 12,
};

/* An id that has taken the queue pair, of a device that speaks transport. */
static void begin(int transport, int init_again) {
    failing = NONE;
    n_done = n_events = next_event = acked = 0;
    memset(&told, 0, sizeof(told));
    memset(&rtr, 0, sizeof(rtr));
    memset(&rts, 0, sizeof(rts));
    device.transport_type = transport;
    context.device = &device;
    qp = (struct ibv_qp){.qp_num = 42, .pd = &pd, .context = &context};
    id = (struct rdma_cm_id){.verbs = &context};
    CHECK_EQ(catmint_take_qp(&id, &qp, init_again), 0);
}

static void end(void) {
    CHECK_EQ(catmint_destroy_id(&id), 0);
}

static void fail(enum step step, enum ibv_qp_state state, int err) {
    failing = step;
    failing_state = state;
    failing_errno = err;
}

static void happens(enum rdma_cm_event_type type, int status) {
    events[n_events++] = (struct rdma_cm_event){
        .id = &id,
        .event = type,
        .status = status,
        .param.conn = {.private_data = "hello",
                       .private_data_len = 5,
                       .responder_resources = 1,
                       .initiator_depth = 3},
    };
}

/* The next event that is told. */
static struct catmint_cm_event told_event(void) {
    struct catmint_cm_event ev;

    CHECK_EQ(catmint_get_cm_event(&channel, &ev), 0);
    CHECK_EQ(acked, next_event);
    return ev;
}

static void nothing_is_told(void) {
    struct catmint_cm_event ev;

    CHECK_EQ(catmint_get_cm_event(&channel, &ev), EAGAIN);
    CHECK_EQ(acked, n_events);
}

static void connected(void) {
    CHECK_EQ(catmint_connect(&id, &param, "", 0), 0);
    CHECK(told.qp_num == 42 && told.srq == 0 && told.retry_count == 6 && told.rnr_retry_count == 7);
    DID({CONNECT, IBV_QPS_RESET});
}

static void an_answer_establishes_the_connection(void) {
    begin(IBV_TRANSPORT_IB, 0);
    CHECK(id.qp == NULL);
    connected();
    happens(RDMA_CM_EVENT_CONNECT_RESPONSE, 0);
    struct catmint_cm_event ev = told_event();
    DID(TO_READY, {ESTABLISH, IBV_QPS_RESET});
    CHECK(ev.type == RDMA_CM_EVENT_ESTABLISHED && ev.status == 0 && ev.id == &id);
    CHECK(ev.responder_resources == 1 && ev.initiator_depth == 3);
    CHECK(ev.private_data_len == 5 && memcmp(ev.private_data, "hello", 5) == 0);
    CHECK(rtr.min_rnr_timer == 12 && rtr.max_dest_rd_atomic == 7); /* READs as CM has settled */
    CHECK(rts.timeout == 18 && rts.max_rd_atomic == 5);
    CHECK(rtr_mask & 0xe00000);
    CHECK(rtr_mask & IBV_QP_ACCESS_FLAGS);
    CHECK_EQ(rtr.qp_access_flags,
             IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC);

    CHECK_EQ(catmint_disconnect(&id), 0);
    DID(MOVED(ERR), {DISCONNECT, IBV_QPS_RESET});
    CHECK_EQ(catmint_destroy_qp(&id, &qp), 0);
    DID({DESTROY, IBV_QPS_RESET});
    CHECK_EQ(catmint_disconnect(&id), 0);
    DID({DISCONNECT, IBV_QPS_RESET});
    CHECK_EQ(catmint_connect(&id, &param, "", 0), EINVAL);
    end();
}

static void an_accept_makes_the_queue_pair_ready_first(void) {
    begin(IBV_TRANSPORT_IB, 0);
    CHECK_EQ(catmint_accept(&id, &param, "welcome", 7), 0);
    DID(TO_READY, {ACCEPT, IBV_QPS_RESET});
    CHECK(told.qp_num == 42 && told.srq == 0 && told.private_data_len == 7);
    CHECK(rtr.max_dest_rd_atomic == 4 && rtr.min_rnr_timer == 12);
    CHECK(rts.max_rd_atomic == 2 && rts.timeout == 18);
    happens(RDMA_CM_EVENT_ESTABLISHED, 0);
    CHECK_EQ(told_event().type, RDMA_CM_EVENT_ESTABLISHED);
    CHECK_EQ(n_done, 0);
    end();
}

static void what_nobody_asks_for_stays_cms_own(void) {
    struct catmint_conn_param p = {.responder_resources = RDMA_MAX_RESP_RES,
                                   .initiator_depth = RDMA_MAX_INIT_DEPTH};

    begin(IBV_TRANSPORT_IB, 0);
    CHECK_EQ(catmint_accept(&id, &p, "", 0), 0);
    CHECK(rtr.max_dest_rd_atomic == 7 && rtr.min_rnr_timer == 0);
    CHECK(rts.max_rd_atomic == 5 && rts.timeout == 17);
    end();

    begin(IBV_TRANSPORT_IB, 0);
    p.responder_resources = 0;
    CHECK_EQ(catmint_accept(&id, &p, "", 0), 0);
    CHECK_EQ(rtr.qp_access_flags, IBV_ACCESS_REMOTE_WRITE);
    end();
}

static void init_is_done_again_where_cms_may_differ(void) {
    begin(IBV_TRANSPORT_IB, 1);
    CHECK_EQ(catmint_accept(&id, &param, "", 0), 0);
    DID(ASKED(INIT), MOVED(INIT), TO_READY, {ACCEPT, IBV_QPS_RESET});
    CHECK_EQ(rtr_mask & (IBV_QP_ACCESS_FLAGS | 0xe00000), 0);
    end();
}

static void iwarp_is_left_to_the_library(void) {
    begin(IBV_TRANSPORT_IWARP, 1);
    CHECK(id.qp == &qp && id.pd == &pd && id.context == NULL);
    CHECK_EQ(catmint_connect(&id, &param, "", 0), 0);
    happens(RDMA_CM_EVENT_CONNECT_RESPONSE, 0);
    CHECK_EQ(told_event().type, RDMA_CM_EVENT_CONNECT_RESPONSE); /* a library would do better */
    CHECK_EQ(catmint_accept(&id, &param, "", 0), 0);
    CHECK_EQ(catmint_disconnect(&id), 0);
    CHECK_EQ(catmint_destroy_qp(&id, &qp), 0);
    DID({CONNECT, IBV_QPS_RESET}, {ACCEPT, IBV_QPS_RESET}, {DISCONNECT, IBV_QPS_RESET},
        {DESTROY, IBV_QPS_RESET});
    CHECK(id.qp == NULL);
    end();
}

/* The steps that make a queue pair ready, from INIT again. */
static const int steps[][2] = {ASKED(INIT), MOVED(INIT), TO_READY, {ESTABLISH, IBV_QPS_RESET}};
#define STEPS (sizeof(steps) / sizeof(steps[0]))

static void a_step_that_fails_is_a_connect_error(void) {
    for (size_t i = 0; i < STEPS; i++) {
        begin(IBV_TRANSPORT_IB, 1);
        connected();
        fail((enum step)steps[i][0], (enum ibv_qp_state)steps[i][1], ENOMEM);
        happens(RDMA_CM_EVENT_CONNECT_RESPONSE, 0);
        struct catmint_cm_event ev = told_event();
        CHECK(ev.type == RDMA_CM_EVENT_CONNECT_ERROR && ev.status == -ENOMEM);
        CHECK_EQ(n_done, i + 2); /* and nothing after it, but the error state */
        CHECK(done[i + 1].step == MODIFY && done[i + 1].state == IBV_QPS_ERR);
        n_done = 0;

        /* Whatever CM makes of it is of no interest. */
        happens(RDMA_CM_EVENT_REJECTED, 28);
        happens(RDMA_CM_EVENT_DISCONNECTED, 0);
        nothing_is_told();
        happens(RDMA_CM_EVENT_DISCONNECTED, 0);
        happens(RDMA_CM_EVENT_DEVICE_REMOVAL, 0);
        CHECK_EQ(told_event().type, RDMA_CM_EVENT_DEVICE_REMOVAL);
        CHECK_EQ(n_done, 0);
        end();
    }
}

static void an_accept_fails_with_the_step(void) {
    for (size_t i = 0; i < STEPS - 1; i++) {
        begin(IBV_TRANSPORT_IB, 1);
        fail((enum step)steps[i][0], (enum ibv_qp_state)steps[i][1], ENOMEM);
        CHECK_EQ(catmint_accept(&id, &param, "", 0), ENOMEM);
        CHECK_EQ(n_done, i + 1);
        end();
    }
    begin(IBV_TRANSPORT_IB, 0);
    fail(ACCEPT, IBV_QPS_RESET, EINVAL);
    CHECK_EQ(catmint_accept(&id, &param, "", 0), EINVAL);
    DID(TO_READY, {ACCEPT, IBV_QPS_RESET}, MOVED(ERR));
    end();
}

static void other_calls_that_fail_say_why(void) {
    begin(IBV_TRANSPORT_IB, 0);
    fail(CONNECT, IBV_QPS_RESET, EAGAIN);
    CHECK_EQ(catmint_connect(&id, &param, "", 0), EAGAIN);
    fail(MODIFY, IBV_QPS_ERR, EIO); /* then nothing is said to the peer */
    CHECK_EQ(catmint_disconnect(&id), EIO);
    DID({CONNECT, IBV_QPS_RESET}, MOVED(ERR));
    fail(DISCONNECT, IBV_QPS_RESET, EINVAL);
    CHECK_EQ(catmint_disconnect(&id), EINVAL);
    fail(DESTROY, IBV_QPS_RESET, EBUSY);
    CHECK_EQ(catmint_destroy_qp(&id, &qp), EBUSY);
    CHECK(catmint_taken(&id) != NULL); /* it is the id's as before */
    end();
}

static void a_rejection_ends_the_queue_pair(void) {
    begin(IBV_TRANSPORT_IB, 0);
    connected();
    happens(RDMA_CM_EVENT_REJECTED, 28);
    struct catmint_cm_event ev = told_event();
    CHECK(ev.type == RDMA_CM_EVENT_REJECTED && ev.status == 28);
    DID(MOVED(ERR));
    end();
}

static void an_answer_to_an_id_without_a_queue_pair_is_only_told(void) {
    begin(IBV_TRANSPORT_IB, 0);
    connected();
    CHECK_EQ(catmint_destroy_qp(&id, &qp), 0);
    happens(RDMA_CM_EVENT_CONNECT_RESPONSE, 0);
    happens(RDMA_CM_EVENT_REJECTED, 28);
    CHECK_EQ(told_event().type, RDMA_CM_EVENT_CONNECT_RESPONSE);
    CHECK_EQ(told_event().type, RDMA_CM_EVENT_REJECTED);
    DID({DESTROY, IBV_QPS_RESET});
    CHECK_EQ(catmint_take_qp(&id, &qp, 0), 0); /* and it can have another one */
    CHECK(catmint_taken(&id) != NULL);
    end();
}

static void a_request_has_nothing_of_its_listener(void) {
    struct rdma_cm_id child;

    begin(IBV_TRANSPORT_IB, 0);
    child = id; /* as librdmacm makes it */
    events[n_events++] = (struct rdma_cm_event){
        .id = &child, .listen_id = &id, .event = RDMA_CM_EVENT_CONNECT_REQUEST};
    struct catmint_cm_event ev = told_event();
    CHECK(ev.id == &child && ev.listen_id == &id && child.context == NULL);
    end();
}

static void a_step_of_the_library_that_fails_says_why(void) {
    begin(IBV_TRANSPORT_IWARP, 0);
    library_errno = ENOMEM;
    happens(RDMA_CM_EVENT_CONNECT_ERROR, -1);
    CHECK_EQ(told_event().status, -ENOMEM);
    library_errno = 0;
    end();
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(an_answer_establishes_the_connection),
        TEST(an_accept_makes_the_queue_pair_ready_first),
        TEST(what_nobody_asks_for_stays_cms_own),
        TEST(init_is_done_again_where_cms_may_differ),
        TEST(iwarp_is_left_to_the_library),
        TEST(a_step_that_fails_is_a_connect_error),
        TEST(an_accept_fails_with_the_step),
        TEST(other_calls_that_fail_say_why),
        TEST(a_rejection_ends_the_queue_pair),
        TEST(an_answer_to_an_id_without_a_queue_pair_is_only_told),
        TEST(a_request_has_nothing_of_its_listener),
        TEST(a_step_of_the_library_that_fails_says_why),
    };
    return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
