/*
 * The engine, step by step at somebody else's word: commands come in on standard input, one a
 * line, and each is answered by one line that says what can be seen of both sides.
 *
 *   W data most ctrl inline base   a new connection: windows, and to what that for data may grow;
 *                                  counts begin at base
 *   P side bytes              push
 *   Q side                    pop
 *   C side level              close, 1: half, 2: full
 *   K side                    a PING, if one may be sent now
 *   D side n                  the engine polls, and finds at most n completions
 *   F side n                  the same by waiting, for no time, for the oldest pop
 *
 * The answer: what the poll found (r: a receive, R: a READ), then for each side the headers of
 * the frames that it sent, its struct flow, and its pushes that wait, messages unread, pops that
 * wait, and whether it holds its pushes back (1) to make a list of them. Bytes are in hexadecimal.
 * datapath/model drives it: engine_test.go there.
 */
#include "internal.h"
#include "world.h"

#define MOST 4096

static struct world w;
static struct setup setup;

/* ---- What goes through the queue pairs --------------------------------------------------------
 */

static int (*real_send)(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad);
static int (*real_poll)(struct ibv_cq *cq, int n, struct ibv_wc *wc);
static uint8_t sent[2][MOST][FRAME_HEADER_SIZE];
static int nsent[2];
static char found[MOST];
static int nfound, quota; /* quota below 0: no limit */

static void log_frame(const struct ibv_qp *qp, const void *frame) {
    int side = qp == w.b.qp;

    CHECK(nsent[side] < MOST);
    memcpy(sent[side][nsent[side]++], frame, FRAME_HEADER_SIZE);
}

static void (*real_inline)(struct ibv_qp_ex *x, void *addr, size_t length);

static void log_inline(struct ibv_qp_ex *x, void *addr, size_t length) {
    log_frame(&x->qp_base, addr);
    real_inline(x, addr, length);
}

static int log_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad) {
    for (const struct ibv_send_wr *i = wr; i; i = i->next) {
        if (i->opcode == IBV_WR_SEND)
            log_frame(qp, (const void *)(uintptr_t)i->sg_list[0].addr);
    }
    return real_send(qp, wr, bad);
}

static int log_poll(struct ibv_cq *cq, int n, struct ibv_wc *wc) {
    if (quota >= 0 && n > quota)
        n = quota;
    n = n ? real_poll(cq, n, wc) : 0;
    for (int i = 0; i < n; i++) {
        CHECK(quota < 0 || wc[i].status == IBV_WC_SUCCESS); /* none, while it lives */
        CHECK(nfound < MOST - 1);
        if (wc[i].opcode == IBV_WC_RECV)
            found[nfound++] = 'r';
        else if (wc[i].opcode == IBV_WC_RDMA_READ)
            found[nfound++] = 'R';
    }
    if (quota >= 0)
        quota -= n;
    return n;
}

static void spy(struct side *s) {
    struct ibv_qp_ex *x = sim_qp_ex(s->qp);

    real_send = s->ctx->ops.post_send;
    real_poll = s->ctx->ops.poll_cq;
    real_inline = x->wr_set_inline_data;
    s->ctx->ops.post_send = log_send;
    s->ctx->ops.poll_cq = log_poll;
    x->wr_set_inline_data = log_inline;
}

/* ---- Tokens -----------------------------------------------------------------------------------
 */

static demi_qtoken_t tokens[2][MOST]; /* outstanding, oldest first */
static int ntokens[2];
static demi_qtoken_t pops[2][MOST];
static int npops[2];

static void keep(demi_qtoken_t *list, int *n, demi_qtoken_t qt) {
    CHECK(*n < MOST);
    list[(*n)++] = qt;
}

static void dispose(struct side *s, demi_qresult_t *qr) {
    if (qr->qr_opcode != DEMI_OPC_POP)
        return;
    demi_sgarray_t sga = qr->qr_value.sga;
    CHECK_EQ(dp_sgafree(s->engine, &sga), 0);
}

/* Redeems what has completed, without polling. */
static void sweep(struct side *s, demi_qtoken_t *list, int *n) {
    demi_qresult_t qr;
    int left = 0;
    for (int i = 0; i < *n; i++) {
        int rc = dp_token_redeem(list[i], &qr);
        if (rc == 0) {
            dispose(s, &qr);
            continue;
        }
        CHECK_EQ(rc, ETIMEDOUT);
        list[left++] = list[i];
    }
    *n = left;
}

/* ---- Commands ---------------------------------------------------------------------------------
 */

static struct side *side_of(int i) {
    return i ? &w.b : &w.a;
}

/* Lets all 16-bit counts begin elsewhere, so that they wrap. */
static void rebase(struct flow *f, uint16_t base) {
    f->data_returned = f->ctrl_returned = f->seq_out = base;
    f->data_acked = f->ctrl_acked = f->seq_in = base;
}

static void finish(void) {
    if (!w.fabric)
        return;
    quota = -1;
    for (int i = 0; i < 2; i++) {
        side_destroy_conn(side_of(i));
        sweep(side_of(i), tokens[i], &ntokens[i]);
        sweep(side_of(i), pops[i], &npops[i]);
        CHECK_EQ(ntokens[i] + npops[i], 0);
    }
    world_close(&w);
    w.fabric = NULL;
}

static void begin(const char *line) {
    unsigned int data, most, ctrl, in_line, base;
    finish();
    CHECK_EQ(sscanf(line, "W %u %u %u %u %u", &data, &most, &ctrl, &in_line, &base), 5);
    setup = world_defaults();
    setup.data_window = data;
    setup.max_window = most;
    setup.ctrl_window = ctrl;
    setup.max_inline = in_line;
    setup.send_depth = 256;
    setup.cq_depth = 1023;
    setup.max_message = 100000;
    setup.reads = 16;
    world_open(&w, setup);
    spy(&w.a);
    spy(&w.b);
    for (int i = 0; i < 2; i++) {
        nsent[i] = 0;
        rebase(&side_of(i)->conn->flow, (uint16_t)base);
        /* Taken for busy at once, or soon. */
        side_of(i)->conn->fast.look = side_of(i)->conn->busy_lists = in_line ? 0 : 1;
    }
    quota = 0;
}

static void wait_for_pop(struct side *s, int i) {
    demi_qresult_t qr;
    CHECK(npops[i] > 0);
    int rc = dp_wait(pops[i][0], &qr, &no_time);
    if (rc == 0) {
        dispose(s, &qr);
        memmove(pops[i], pops[i] + 1, (size_t)--npops[i] * sizeof(pops[i][0]));
    } else {
        CHECK_EQ(rc, ETIMEDOUT);
    }
}

static void command(const char *line) {
    int i = 0, arg = 0;
    demi_qtoken_t qt = 0;
    CHECK(sscanf(line + 1, "%d %d", &i, &arg) >= 1 && (i == 0 || i == 1));
    struct side *s = side_of(i);
    switch (line[0]) {
    case 'P':
        CHECK_EQ(push(s, (uint32_t)arg, 1, 0, &qt), 0);
        keep(tokens[i], &ntokens[i], qt);
        break;
    case 'Q':
        CHECK_EQ(dp_pop(s->qd, &qt), 0);
        keep(pops[i], &npops[i], qt);
        break;
    case 'C':
        if (arg == FLOW_FULL)
            CHECK_EQ(dp_conn_cancel_pops(s->conn), 0);
        CHECK_EQ(dp_conn_close(s->conn, arg == FLOW_FULL), 0);
        break;
    case 'K':
        s->conn->alive.ask = true;
        dp_lock(s->engine);
        dp_conn_settle(s->conn);
        dp_unlock(s->engine);
        break;
    case 'D':
        quota = arg;
        (void)dp_engine_poll(s->engine);
        break;
    case 'F':
        quota = arg;
        wait_for_pop(s, i);
        break;
    default:
        fprintf(stderr, "unknown command: %s\n", line);
        exit(1);
    }
    quota = 0;
}

/* ---- The answer -------------------------------------------------------------------------------
 */

static void print_hex(const void *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        printf("%02x", ((const uint8_t *)p)[i]);
}

static void answer(void) {
    printf("%.*s|", nfound, found);
    nfound = 0;
    for (int i = 0; i < 2; i++) {
        struct side *s = side_of(i);
        const struct dp_conn *c = s->conn;
        sweep(s, tokens[i], &ntokens[i]);
        sweep(s, pops[i], &npops[i]);
        side_notices(s);
        CHECK_EQ(s->broken, 0);
        print_hex(sent[i], (size_t)nsent[i] * FRAME_HEADER_SIZE);
        nsent[i] = 0;
        printf("|");
        print_hex(&c->flow, sizeof(c->flow));
        printf("|%u %u %u %d|", (unsigned int)c->pending.len,
               (unsigned int)(c->in_tail - c->in_head), (unsigned int)c->pops.len, c->held);
    }
    printf("\n");
    fflush(stdout);
}

int main(void) {
    char line[128];
    while (fgets(line, sizeof(line), stdin)) {
        if (line[0] == 'W')
            begin(line);
        else
            command(line);
        answer();
    }
    finish();
    return 0;
}
