/*
 * Feeds bytes to the frame decoder and to the rules of flow control, as a hostile peer
 * would. scripts/fuzz.sh builds it for libFuzzer.
 *
 * With -DSTANDALONE it makes its own inputs, the same ones every time, so that it runs under
 * any compiler's sanitizers; the argument is how many.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flow.h"

#define RECV_SIZE 256u
#define WINDOW 3u

#define CHECK(what)                                                                                \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            fprintf(stderr, "line %d: not so: %s\n", __LINE__, #what);                             \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_flow(const struct flow *f) {
    CHECK(f->data_credit >= 0 && f->data_credit <= (int32_t)f->peer_data_window);
    CHECK(f->ctrl_credit >= 0 && f->ctrl_credit <= (int32_t)f->peer_ctrl_window);
    CHECK(f->peer_data_window <= FLOW_WINDOW_MAX);
    CHECK(f->data_open >= 0 && f->data_open + f->data_owed <= (int32_t)f->granted);
    CHECK(f->ctrl_open >= 0 && f->ctrl_open + f->ctrl_owed <= (int32_t)f->ctrl_window);
    CHECK(f->peer_fin <= FLOW_FULL && f->fin_acked <= f->fin_sent);
}

/* What our engine would do next. */
static void respond(struct flow *f, bool pushes, bool close) {
    struct frame h;

    if (close)
        flow_close(f, FLOW_HALF);
    if (pushes && flow_may_send_data(f))
        flow_send(f, FRAME_RTS, FRAME_RTS_SIZE, 0, &h);
    for (uint8_t type; (type = flow_next_ctrl(f, false)) != 0;)
        flow_send(f, (enum frame_type)type, 0, 0, &h);
    check_flow(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const struct frame_limits lim = {.recv_size = RECV_SIZE, .max_message = 1u << 20};
    struct flow f;

    CHECK(flow_init(&f, WINDOW, FLOW_CTRL_WINDOW_DEFAULT, WINDOW, FLOW_CTRL_WINDOW_DEFAULT) == 0);
    /* One byte says how much arrives and what we do then; the bytes follow. */
    while (size > 0) {
        uint8_t step = *data++;
        size_t bytes = step & 63u;
        uint8_t again[FRAME_HEADER_SIZE];
        struct frame_rts rts;
        struct frame h;

        size--;
        if (bytes > size)
            bytes = size;
        /* A copy of its own, so that reading beyond it is found. */
        uint8_t *in = malloc(bytes ? bytes : 1);
        CHECK(in != NULL);
        memcpy(in, data, bytes);
        data += bytes;
        size -= bytes;
        int rc = frame_parse(in, bytes, &lim, &h);
        CHECK(rc == 0 || rc == EPROTO);
        if (rc == 0) {
            frame_encode(&h, again);
            CHECK(memcmp(in, again, sizeof(again)) == 0);
            CHECK(h.length == bytes - FRAME_HEADER_SIZE);
            if (h.type == FRAME_RTS && frame_parse_rts(in + FRAME_HEADER_SIZE, &lim, &rts) == 0)
                CHECK(rts.length <= lim.max_message && rts.addr + rts.length > rts.addr);
            h.seq = f.seq_in; /* or hardly any input would come further */
            rc = flow_receive(&f, &h);
            CHECK(rc == 0 || rc == EPROTO);
        }
        free(in);
        if (rc)
            break;
        if (!frame_is_data(h.type))
            flow_return_ctrl(&f);
        else if (step & 64u)
            flow_return_data(&f);
        respond(&f, step & 128u, step == 255u);
    }
    return 0;
}

#ifdef STANDALONE
static uint64_t seed = 0x9E3779B97F4A7C15u;

static uint32_t next(uint32_t below) {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (uint32_t)(seed >> 33) % below;
}

/* Frames that are nearly right, some with a byte changed. */
static size_t make(uint8_t *out, size_t room) {
    size_t n = 0;

    while (n + 1 + FRAME_HEADER_SIZE + FRAME_RTS_SIZE < room && next(12)) {
        struct frame h = {.type = (uint8_t)(1 + next(FRAME_TYPE_LAST)),
                          .flags = next(8) ? 0 : (uint8_t)next(3),
                          .data_returned = (uint16_t)(next(6) ? 0 : next(3)),
                          .ctrl_returned = (uint16_t)(next(6) ? 0 : next(3)),
                          .arg = next(4) ? 0 : next(3)};
        if (frame_is_data(h.type))
            h.length = h.type == FRAME_RTS ? FRAME_RTS_SIZE : 1 + next(FRAME_RTS_SIZE);
        out[n] = (uint8_t)((FRAME_HEADER_SIZE + h.length) | next(4) << 6);
        frame_encode(&h, out + n + 1);
        for (uint32_t i = 0; i < h.length; i++)
            out[n + 1 + FRAME_HEADER_SIZE + i] = (uint8_t)next(256);
        if (!next(16))
            out[n + next(1 + FRAME_HEADER_SIZE)] ^= (uint8_t)(1u << next(8));
        n += 1 + FRAME_HEADER_SIZE + h.length;
    }
    return n;
}

int main(int argc, char **argv) {
    long inputs = argc > 1 ? strtol(argv[1], NULL, 10) : 100000;
    uint8_t input[1024];

    for (long i = 0; i < inputs; i++)
        LLVMFuzzerTestOneInput(input, make(input, sizeof(input)));
    return 0;
}
#endif
