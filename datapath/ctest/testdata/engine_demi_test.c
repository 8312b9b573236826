/* The demi_* calls of the data plane: process states, NULL, and the thread's engine. */
#define DEMI_IMPLEMENTATION /* NULL is passed on purpose */
#include "demi/libos.h"
#include "demi/sga.h"
#include "demi/wait.h"

#include <pthread.h>
#include <sys/wait.h>

#include "process.h"
#include "world.h"

static void every_call_answers(int err) {
    demi_sgarray_t sga;
    demi_qresult_t qr;
    demi_qtoken_t qt = 1;
    struct sockaddr_in addr = {.sin_family = AF_INET};
    int n;
    memset(&sga, 0, sizeof(sga));
    CHECK_EQ(demi_push(&qt, 500, &sga), err);
    CHECK_EQ(demi_pushto(&qt, 500, &sga, (struct sockaddr *)&addr, sizeof(addr)), err);
    CHECK_EQ(demi_pop(&qt, 500), err);
    CHECK_EQ(demi_wait(&qr, qt, NULL), err);
    CHECK_EQ(demi_wait_any(&qr, &n, &qt, 1, NULL), err);
    CHECK_EQ(demi_wait_next_n(&qr, 1, &n, NULL), err);
    CHECK_EQ(demi_sgafree(&sga), err);
    CHECK_EQ(demi_sgaalloc(10).sga_numsegs, 0);
}

static void *in_a_thread_without_engine(void *arg) {
    struct world *w = arg;
    demi_sgarray_t sga = demi_sgaalloc(10);
    demi_qtoken_t push_qt, pop_qt;
    demi_qresult_t qr;
    int n;
    CHECK_EQ(sga.sga_numsegs, 1);
    memset(sga.sga_segs[0].sgaseg_buf, 'm', 10);
    CHECK(dp_process_engine() == w->a.engine); /* the process's first */
    CHECK_EQ(demi_pop(&pop_qt, w->b.qd), 0);   /* another engine's descriptor */
    CHECK_EQ(demi_push(&push_qt, w->a.qd, &sga), 0);
    CHECK_EQ(demi_sgafree(&sga), 0);
    CHECK_EQ(demi_wait_next_n(&qr, 1, &n, NULL), 0); /* of the first engine */
    CHECK_EQ(n, 1);
    CHECK_EQ(qr.qr_qt, push_qt);
    CHECK_EQ(demi_wait(&qr, pop_qt, NULL), 0);
    CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
    sga = qr.qr_value.sga;
    CHECK_EQ(demi_sgafree(&sga), 0);
    CHECK_EQ(demi_sgafree(&sga), EINVAL);
    return NULL;
}

/* A thread with an engine of its own, on the descriptors of another one. */
static void *in_a_thread_with_another_engine(void *arg) {
    struct world *w = arg;
    demi_qtoken_t push_qt, pop_qt;
    demi_qresult_t qr;
    CHECK_EQ(dp_process_bind(w->b.engine), 0);
    CHECK(dp_process_bound() && dp_process_engine() == w->b.engine);
    CHECK_EQ(dp_process_bind(w->b.engine), EEXIST);
    for (int i = 0; i < 40; i++) { /* more than the window, and than a lap of unsignalled sends */
        demi_sgarray_t sga = demi_sgaalloc(10);
        CHECK_EQ(sga.sga_numsegs, 1);
        memset(sga.sga_segs[0].sgaseg_buf, 'a' + i % 26, 10);
        CHECK_EQ(demi_pop(&pop_qt, w->b.qd), 0);
        CHECK_EQ(demi_push(&push_qt, w->a.qd, &sga), 0); /* another engine's */
        CHECK_EQ(demi_wait(&qr, push_qt, NULL), 0);
        CHECK_EQ(qr.qr_opcode, DEMI_OPC_PUSH);
        CHECK_EQ(qr.qr_qd, w->a.qd);
        CHECK_EQ(demi_wait(&qr, push_qt, NULL), EINVAL);
        CHECK_EQ(demi_sgafree(&sga), 0);
        CHECK_EQ(demi_sgafree(&sga), EINVAL);
        CHECK_EQ(demi_wait(&qr, pop_qt, NULL), 0);
        CHECK_EQ(qr.qr_opcode, DEMI_OPC_POP);
        CHECK_EQ(qr.qr_qd, w->b.qd);
        CHECK_EQ(*(char *)qr.qr_value.sga.sga_segs[0].sgaseg_buf, 'a' + i % 26);
        CHECK_EQ(demi_wait(&qr, pop_qt, NULL), EINVAL);
        CHECK_EQ(demi_wait(&qr, UINT64_MAX, NULL), EINVAL);
        CHECK_EQ(demi_sgafree(&qr.qr_value.sga), 0);
    }
    return NULL;
}

/* A descriptor in use that has no connection takes neither pushes nor pops. */
static void a_socket_is_not_connected(struct world *w) {
    demi_sgarray_t sga = demi_sgaalloc(10);
    demi_qtoken_t qt;
    int32_t qd;
    CHECK_EQ(dp_qd_alloc(w->a.engine, &qd), 0);
    CHECK_EQ(demi_push(&qt, qd, &sga), ENOTCONN);
    CHECK_EQ(dp_push(qd, &sga, &qt), ENOTCONN);
    CHECK_EQ(demi_pop(&qt, qd), ENOTCONN);
    CHECK_EQ(dp_pop(qd, &qt), ENOTCONN);
    CHECK_EQ(dp_qd_free(qd), 0);
    CHECK_EQ(demi_push(&qt, qd, &sga), EBADF);
    CHECK_EQ(demi_pop(&qt, qd), EBADF);
    CHECK_EQ(demi_sgafree(&sga), 0);
}

static void calls_need_an_engine_and_take_no_null(void) {
    struct world w;
    struct setup u = world_defaults();
    u.fabric.threads = true;
    every_call_answers(ENOSYS);
    world_open(&w, u);
    CHECK_EQ(dp_process_bind(w.a.engine), 0);
    demi_qresult_t qr;
    demi_qtoken_t qt = 5;
    demi_sgarray_t sga = demi_sgaalloc(10);
    struct timespec bad = {0, 1000000000}, zero = {0, 0};
    int n;
    CHECK_EQ(demi_push(NULL, w.a.qd, &sga), EINVAL);
    CHECK_EQ(demi_push(&qt, w.a.qd, NULL), EINVAL);
    CHECK_EQ(demi_pushto(&qt, w.a.qd, &sga, NULL, 16), EINVAL);
    CHECK_EQ(demi_pop(NULL, w.a.qd), EINVAL);
    CHECK_EQ(demi_wait(NULL, qt, NULL), EINVAL);
    CHECK_EQ(demi_wait(&qr, 0, NULL), EINVAL);
    CHECK_EQ(demi_wait(&qr, UINT64_MAX, NULL), EINVAL);
    CHECK_EQ(demi_wait_any(NULL, &n, &qt, 1, NULL), EINVAL);
    CHECK_EQ(demi_wait_any(&qr, NULL, &qt, 1, NULL), EINVAL);
    CHECK_EQ(demi_wait_any(&qr, &n, NULL, 1, NULL), EINVAL);
    CHECK_EQ(demi_wait_any(&qr, &n, &qt, -1, NULL), EINVAL);
    CHECK_EQ(demi_wait_any(&qr, &n, &qt, 0, NULL), EINVAL);
    CHECK_EQ(demi_wait_any(&qr, &n, &qt, 0, &zero), ETIMEDOUT);
    CHECK_EQ(demi_wait_next_n(NULL, 1, &n, NULL), EINVAL);
    CHECK_EQ(demi_wait_next_n(&qr, 1, NULL, NULL), EINVAL);
    CHECK_EQ(demi_wait_next_n(&qr, 0, &n, NULL), EINVAL);
    CHECK_EQ(demi_wait_next_n(&qr, -4, &n, NULL), EINVAL);
    CHECK_EQ(demi_wait_next_n(&qr, 1, &n, &bad), EINVAL);
    CHECK_EQ(demi_sgafree(NULL), EINVAL);
    CHECK_EQ(demi_sgafree(&sga), 0);
    a_socket_is_not_connected(&w);
    pthread_t t;
    CHECK_EQ(pthread_create(&t, NULL, in_a_thread_without_engine, &w), 0);
    CHECK_EQ(pthread_join(t, NULL), 0);
    CHECK_EQ(pthread_create(&t, NULL, in_a_thread_with_another_engine, &w), 0);
    CHECK_EQ(pthread_join(t, NULL), 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        every_call_answers(ENOSYS);
        _exit(0);
    }
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    world_close(&w);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {TEST(calls_need_an_engine_and_take_no_null)};
    return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
