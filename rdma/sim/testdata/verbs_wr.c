/* The extended interface for sends, ibv_wr_start(3) and others. */
#include <errno.h>

#include "verbs.h"

static struct ibv_qp_ex *started(struct end *e) {
    struct ibv_qp_ex *x = sim_qp_ex(e->qp);

    CHECK(x);
    ibv_wr_start(x);
    return x;
}

/* Adds a send of text, inline, to what has been started. */
static void add(struct ibv_qp_ex *x, uint64_t wr_id, const char *text, unsigned int flags) {
    x->wr_id = wr_id;
    x->wr_flags = flags;
    ibv_wr_send(x);
    ibv_wr_set_inline_data(x, (void *)(uintptr_t)text, strlen(text) + 1);
}

static void expect_text(struct end *e, uint64_t wr_id, size_t off, const char *text) {
    struct ibv_wc wc = poll_one(e);

    CHECK_EQ(wc.status, IBV_WC_SUCCESS);
    CHECK_EQ(wc.opcode, IBV_WC_RECV);
    CHECK_EQ(wc.wr_id, wr_id);
    CHECK_EQ(wc.byte_len, strlen(text) + 1);
    CHECK(strcmp((char *)e->buf + off, text) == 0);
}

static void inline_data_is_sent_and_may_change_at_once(void) {
    struct pair *p = pair_new(NULL);
    struct ibv_qp_ex *x = started(&p->a);
    char text[] = "cat"; /* not registered */

    add(x, 7, text, IBV_SEND_SIGNALED);
    memset(text, 'x', sizeof(text) - 1);
    expect_nothing(&p->a); /* nothing happens before complete */
    CHECK_EQ(ibv_wr_complete(x), 0);
    CHECK_EQ(post_recv(&p->b, 1, 0, 64), 0);
    expect_text(&p->b, 1, 0, "cat");
    expect(&p->a, 7, IBV_WC_SUCCESS);
    pair_free(p);
}

static void registered_memory_is_sent(void) {
    struct pair *p = pair_new(NULL);
    struct ibv_qp_ex *x;

    CHECK_EQ(post_recv(&p->b, 1, 0, 64), 0);
    strcpy((char *)p->a.buf + 100, "mint");
    x = started(&p->a);
    x->wr_id = 2;
    x->wr_flags = IBV_SEND_SIGNALED;
    ibv_wr_send(x);
    ibv_wr_set_sge(x, p->a.mr->lkey, at(&p->a, 100), 5);
    CHECK_EQ(ibv_wr_complete(x), 0);
    expect_text(&p->b, 1, 0, "mint");
    expect(&p->a, 2, IBV_WC_SUCCESS);

    x = started(&p->a);
    ibv_wr_send(x);
    ibv_wr_set_sge(x, p->a.mr->lkey + 1, at(&p->a, 100), 5);
    CHECK_EQ(ibv_wr_complete(x), 0);
    expect(&p->a, 2, IBV_WC_LOC_PROT_ERR);
    pair_free(p);
}

static void several_go_at_once_and_take_turns_with_others(void) {
    struct pair *p = pair_new(NULL);
    struct sim_census c;
    struct ibv_qp_ex *x;

    for (size_t i = 0; i < 5; i++)
        CHECK_EQ(post_recv(&p->b, i, 100 * i, 64), 0);
    strcpy((char *)p->a.buf, "two");
    x = started(&p->a);
    add(x, 0, "zero", 0);
    add(x, 1, "one", 0);
    CHECK_EQ(ibv_wr_complete(x), 0);
    CHECK_EQ(post_send(&p->a, 2, 0, 4, 0), 0);
    x = started(&p->a);
    add(x, 3, "three", 0);
    add(x, 4, "four", IBV_SEND_SIGNALED);
    CHECK_EQ(ibv_wr_complete(x), 0);
    expect_text(&p->b, 0, 0, "zero");
    expect_text(&p->b, 1, 100, "one");
    expect_text(&p->b, 2, 200, "two");
    expect_text(&p->b, 3, 300, "three");
    expect_text(&p->b, 4, 400, "four");
    expect(&p->a, 4, IBV_WC_SUCCESS);
    sim_fabric_census(p->f, &c);
    CHECK_EQ(c.post_sends, 3);
    CHECK_EQ(c.send_wrs, 5);
    pair_free(p);
}

/* What one mistake makes of all that was built with it: complete says err, and nothing is sent. */
static void nothing_goes(struct pair *p, struct ibv_qp_ex *x, int err) {
    struct sim_qp_stats s;

    CHECK_EQ(ibv_wr_complete(x), err);
    sim_qp_stats(p->a.qp, &s);
    CHECK_EQ(s.send_queued, 0);
    expect_nothing(&p->a);
    expect_nothing(&p->b);
}

static void a_mistake_undoes_all_that_was_built(void) {
    struct pair *p = pair_new(NULL);
    char long_text[200];
    struct ibv_qp_ex *x;

    memset(long_text, 'x', sizeof(long_text));
    CHECK_EQ(post_recv(&p->b, 1, 0, 64), 0);

    x = started(&p->a); /* more than goes inline */
    add(x, 1, "good", 0);
    ibv_wr_send(x);
    ibv_wr_set_inline_data(x, long_text, 129);
    add(x, 1, "good", 0);
    nothing_goes(p, x, EINVAL);

    x = started(&p->a); /* data of nothing */
    ibv_wr_set_inline_data(x, long_text, 1);
    nothing_goes(p, x, EINVAL);
    x = started(&p->a);
    ibv_wr_set_sge(x, p->a.mr->lkey, at(&p->a, 0), 1);
    nothing_goes(p, x, EINVAL);

    x = started(&p->a); /* more than the queue holds */
    for (int i = 0; i <= DEPTH; i++)
        add(x, 1, "good", 0);
    nothing_goes(p, x, ENOMEM);

    sim_fault_call(p->dev, SIM_CALL_POST_SEND, 1, 1, EIO);
    x = started(&p->a);
    add(x, 1, "good", 0);
    nothing_goes(p, x, EIO);

    x = started(&p->a); /* and then all is well */
    add(x, 2, "fine", IBV_SEND_SIGNALED);
    CHECK_EQ(ibv_wr_complete(x), 0);
    expect_text(&p->b, 1, 0, "fine");
    expect(&p->a, 2, IBV_WC_SUCCESS);
    pair_free(p);
}

static void what_is_aborted_is_not_sent(void) {
    const struct sim_config threads = {.threads = true}; /* it has to unlock */
    struct pair *p = pair_new(&threads);
    struct ibv_qp_ex *x;

    CHECK_EQ(post_recv(&p->b, 1, 0, 64), 0);
    x = started(&p->a);
    add(x, 1, "bad", IBV_SEND_SIGNALED);
    ibv_wr_abort(x);
    expect_nothing(&p->a);
    expect_nothing(&p->b);
    x = started(&p->a);
    add(x, 2, "good", IBV_SEND_SIGNALED);
    CHECK_EQ(ibv_wr_complete(x), 0);
    expect_text(&p->b, 1, 0, "good");
    expect(&p->a, 2, IBV_WC_SUCCESS);
    pair_free(p);
}

static void the_queue_pair_must_be_able_to_send(void) {
    struct pair *p = pair_new(NULL);
    struct end c = {0};
    struct ibv_qp_ex *x;

    end_init(p, &c);
    x = started(&c); /* RESET */
    add(x, 1, "bad", 0);
    CHECK_EQ(ibv_wr_complete(x), EINVAL);
    end_free(&c);

    CHECK_EQ(sim_qp_error(p->a.qp), 0);
    x = started(&p->a);
    add(x, 3, "late", 0);
    CHECK_EQ(ibv_wr_complete(x), 0);
    expect(&p->a, 3, IBV_WC_WR_FLUSH_ERR);

    sim_device_remove(p->dev);
    x = started(&p->a);
    add(x, 4, "late", 0);
    CHECK_EQ(ibv_wr_complete(x), EIO);
    pair_free(p);
}

static void not_every_provider_has_it(void) {
    const struct sim_config without = {.no_qp_ex = true};
    struct pair *p = pair_new(&without);

    CHECK(sim_qp_ex(p->a.qp) == NULL);
    pair_free(p);
}

const struct test verbs_wr[] = {
    TEST(inline_data_is_sent_and_may_change_at_once),
    TEST(registered_memory_is_sent),
    TEST(several_go_at_once_and_take_turns_with_others),
    TEST(a_mistake_undoes_all_that_was_built),
    TEST(what_is_aborted_is_not_sent),
    TEST(the_queue_pair_must_be_able_to_send),
    TEST(not_every_provider_has_it),
    {0},
};
