/*
 * Fuzz target of the whole engine: a peer that sends what it likes, through a bare queue pair, to
 * a connection whose application pushes, pops, closes and waits. Whatever comes: nothing undefined
 * happens, every token completes, nothing is left, and another connection of the same engine goes
 * on. scripts/fuzz.sh builds it for libFuzzer; with -DREPLAY=runs it has a main of its own that
 * makes inputs up, the same each time.
 */
#include "internal.h"
#include "world.h"

#define TOKENS 512
#define SHARED (64u << 10) /* bytes that the peer lets be read */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct world w;
static struct side other[2]; /* the connection that keeps to the rules */
static demi_qtoken_t tokens[TOKENS];
static int ntokens;
static uint8_t shared[SHARED];
static struct ibv_mr *mr;
static struct frame last; /* counts of the peer's last frame; seq of its next */

static void keep(demi_qtoken_t qt) {
    CHECK(ntokens < TOKENS);
    tokens[ntokens++] = qt;
}

static void send_bytes(const void *bytes, uint32_t len) {
    struct ibv_sge sge = {.addr = (uintptr_t)bytes, .length = len};
    struct ibv_send_wr *bad, wr = {.wr_id = 7,
                                   .sg_list = &sge,
                                   .num_sge = 1,
                                   .opcode = IBV_WR_SEND,
                                   .send_flags = IBV_SEND_INLINE};
    (void)ibv_post_send(w.b.qp, &wr, &bad); /* refused once the queue is full or in error */
}

/* A frame that may be right: most numbers are what they must be, unless a byte says otherwise. */
static void send_frame(const uint8_t *p) {
    uint8_t bytes[FRAME_HEADER_SIZE + 128];
    struct frame h = {.type = p[0] > 240 ? p[0] : (uint8_t)(1 + p[0] % FRAME_TYPE_LAST),
                      .flags = p[1] < 32 ? (uint8_t)(p[1] & 3) : 0,
                      .seq = last.seq++,
                      .arg = p[3] & 16 ? p[2] : 0};
    h.data_returned = last.data_returned = (uint16_t)(last.data_returned + (p[3] & 3));
    h.ctrl_returned = last.ctrl_returned = (uint16_t)(last.ctrl_returned + (p[3] >> 2 & 3));
    if (p[1] > 250)
        h.seq++;
    memset(bytes + FRAME_HEADER_SIZE, p[2], sizeof(bytes) - FRAME_HEADER_SIZE);
    if (h.type == FRAME_RTS) {
        struct frame_rts r = {
            .addr = (uintptr_t)shared, .length = 1 + p[2] * UINT64_C(250), .rkey = mr->rkey};
        if (p[1] == 100)
            r.addr += SHARED;
        else if (p[1] == 101)
            r.length = UINT64_MAX >> p[2] % 64;
        else if (p[1] == 102)
            r.rkey ^= p[2];
        frame_encode_rts(&r, bytes + FRAME_HEADER_SIZE);
        h.length = FRAME_RTS_SIZE;
        h.arg = last.arg++;
    } else if (h.type == FRAME_DATA) {
        h.length = p[2] % 128u;
        h.arg = 0;
    }
    uint32_t len = FRAME_HEADER_SIZE + h.length;
    if (p[1] == 103)
        h.length += p[2];
    frame_encode(&h, bytes);
    send_bytes(bytes, p[1] == 104 ? p[2] % len : len);
}

static void application(const uint8_t *p) {
    demi_qtoken_t qt;
    uint64_t every;
    switch (p[0] % 8) {
    case 0:
    case 1:
        if (push(&w.a, 1 + (uint32_t)(p[1] * (p[0] > 200 ? 300 : 3)), 1, 0, &qt) == 0)
            keep(qt);
        break;
    case 2:
    case 3:
        if (dp_pop(w.a.qd, &qt) == 0)
            keep(qt);
        break;
    case 4:
        if (p[1] < 16)
            CHECK_EQ(dp_conn_close(w.a.conn, p[1] & 1), 0);
        else if (p[1] < 24)
            CHECK_EQ(dp_conn_cancel_pops(w.a.conn), 0);
        break;
    case 5:
        if (p[1] < 8)
            CHECK_EQ(dp_conn_keepalive(w.a.conn, 1000, 1000000, &every), 0);
        (void)dp_engine_tick(w.a.engine, p[2] * 10000u);
        break;
    case 6:
        if (p[1] < 4)
            CHECK_EQ(dp_conn_cancel_pushes(w.a.conn), 0);
        break;
    default:
        if (ntokens) {
            demi_qresult_t qr;
            int i = p[1] % ntokens;
            if (dp_wait(tokens[i], &qr, &no_time) == 0) {
                demi_sgarray_t sga = qr.qr_value.sga;
                if (qr.qr_opcode == DEMI_OPC_POP)
                    CHECK_EQ(dp_sgafree(w.a.engine, &sga), 0);
                tokens[i] = tokens[--ntokens];
            }
        }
        break;
    }
}

/* What libos does about a broken connection. */
static void attend(void) {
    bool before = w.a.broken;
    side_notices(&w.a);
    if (w.a.broken && !before)
        CHECK_EQ(dp_conn_disconnected(w.a.conn, 0), 0);
}

static void begin(void) {
    struct setup u = world_defaults();
    u.may_leak_rnr = true;
    u.max_message = SHARED;
    u.max_window = 16;
    world_open(&w, u);
    CHECK_EQ(sim_mr_create(w.b.pd, shared, SHARED, IBV_ACCESS_REMOTE_READ, &mr), 0);
    other[0] = w.a;
    other[1] = w.b;
    for (int i = 0; i < 2; i++)
        side_make_conn(&other[i]);
    CHECK_EQ(sim_qp_connect(other[0].qp, other[1].qp), 0);
    CHECK_EQ(dp_conn_establish(other[0].conn, other[0].qd, &other[1].limits), 0);
    CHECK_EQ(dp_conn_establish(other[1].conn, other[1].qd, &other[0].limits), 0);
    ntokens = 0;
    last = (struct frame){.type = 0};
}

/* The other connection works; a's engine has done nothing but its own. */
static void check_other(void) {
    demi_qtoken_t pop = must_pop(&other[0]), pushed = must_push(&other[1], 64, 2, 0);
    for (int i = 0; i < 4; i++)
        (void)dp_engine_poll(w.a.engine);
    must_succeed(pushed, DEMI_OPC_PUSH);
    must_get(&other[0], pop, 64, 2, 0);
}

static void end(void) {
    attend();
    check_other();
    side_destroy_conn(&w.a);
    for (int i = 0; i < ntokens; i++) {
        demi_qresult_t qr = redeem(tokens[i]); /* every one has completed */
        demi_sgarray_t sga = qr.qr_value.sga;
        if (qr.qr_opcode == DEMI_OPC_POP)
            CHECK_EQ(dp_sgafree(w.a.engine, &sga), 0);
    }
    for (int i = 0; i < 2; i++)
        side_destroy_conn(&other[i]);
    CHECK_EQ(sim_mr_destroy(mr), 0);
    world_close(&w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    begin();
    for (; size >= 5 && ntokens < TOKENS; data += 5, size -= 5) {
        if (data[0] & 1)
            send_frame(data + 1);
        else
            application(data + 1);
        if (data[0] & 2) {
            (void)dp_engine_poll(w.a.engine);
            attend();
        }
    }
    end();
    return 0;
}

#ifdef REPLAY
int main(void) {
    static uint8_t input[600];
    unsigned long long rnd = 11;
    for (int run = 0; run < REPLAY; run++) {
        size_t len = test_random(&rnd) % sizeof(input);
        for (size_t i = 0; i < len; i++)
            input[i] = (uint8_t)(test_random(&rnd) >> 32);
        LLVMFuzzerTestOneInput(input, len);
    }
    return 0;
}
#endif
