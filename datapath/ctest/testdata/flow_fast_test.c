/*
 * The shortcuts of flow.h do what its general functions do, or nothing: on random states
 * and random frames.
 */
#include "flow.h"
#include "test.h"

static unsigned long long rng = 1;

static uint32_t below(uint32_t n) {
    return (uint32_t)(test_random(&rng) % n);
}

/* A state near those that occur: counts a few steps apart, flags mostly zero. */
static struct flow random_flow(void) {
    struct flow f;
    CHECK_EQ(flow_init(&f, 1 + below(8), 4 + below(4), 1 + below(8), 4 + below(4)), 0);
    f.seq_out = (uint16_t)below(65536);
    f.seq_in = (uint16_t)below(65536);
    f.data_acked = (uint16_t)below(65536);
    f.ctrl_acked = (uint16_t)below(65536);
    f.data_returned = (uint16_t)below(65536);
    f.ctrl_returned = (uint16_t)below(65536);
    f.data_credit = (int16_t)below(f.peer_data_window + 1u);
    f.ctrl_credit = (int16_t)below(f.peer_ctrl_window + 1u);
    f.data_owed = (uint16_t)below(f.data_window + 1u);
    f.data_open = (int16_t)below(f.data_window - f.data_owed + 1u);
    f.ctrl_owed = (uint16_t)below(f.ctrl_window + 1u);
    f.ctrl_open = (int16_t)below(f.ctrl_window - f.ctrl_owed + 1u);
    if (below(8) == 0)
        flow_wait(&f);
    uint8_t *flags[] = {&f.fin_want,    &f.fin_sent,  &f.fin_acked, &f.peer_fin,
                        &f.peer_finack, &f.ping_sent, &f.pong_owed};
    if (below(4) == 0)
        *flags[below(7)] = (uint8_t)(1 + below(2));
    return f;
}

static void a_plain_message_is_sent_as_any(void) {
    for (int i = 0; i < 300000; i++) {
        struct flow quick = random_flow(), full;
        struct frame h;
        uint8_t want[FRAME_HEADER_SIZE], got[FRAME_HEADER_SIZE];
        uint32_t length = 1 + below(9000);

        quick.type_out = FRAME_DATA;
        full = quick;
        if (!flow_take_credit(&quick)) {
            CHECK(!flow_may_send_data(&full));
            CHECK(memcmp(&quick, &full, sizeof(quick)) == 0);
            continue;
        }
        flow_encode_data(&quick, length, got);
        flow_sent_data(&quick);
        flow_send(&full, FRAME_DATA, length, 0, &h);
        frame_encode(&h, want);
        CHECK(memcmp(got, want, sizeof(got)) == 0);
        CHECK(memcmp(&quick, &full, sizeof(quick)) == 0);
    }
}

static void a_plain_message_is_received_as_any_or_left_to_the_rules(void) {
    int plain = 0, taken = 0, left = 0;
    for (int i = 0; i < 1000000; i++) {
        struct flow before = random_flow(), quick = before, full = before;
        struct frame_limits lim = {.recv_size = 1024, .max_message = 1024};
        struct frame h = {
            .type = below(8) ? FRAME_DATA : (uint8_t)below(12),
            .flags = below(16) ? 0 : (uint8_t)below(3),
            .data_returned = (uint16_t)(before.data_acked + (below(2) ? below(7) : 0)),
            .ctrl_returned = (uint16_t)(before.ctrl_acked + (below(2) ? below(4) : 0)),
            .seq = (uint16_t)(before.seq_in + (below(16) ? 0 : below(3))),
            .length = below(1100),
            .arg = below(16) ? 0 : below(2)};
        uint32_t bytes = FRAME_HEADER_SIZE + h.length - (below(16) ? 0 : below(17));
        uint8_t raw[FRAME_HEADER_SIZE];
        struct frame parsed;

        frame_encode(&h, raw);
        int rc = frame_parse(raw, bytes, &lim, &parsed);
        if (rc == 0)
            rc = flow_receive(&full, &parsed);
        if (bytes <= lim.recv_size && flow_is_plain(&quick) &&
            flow_receive_plain(&quick, raw, bytes)) {
            CHECK_EQ(rc, 0);
            CHECK_EQ(parsed.type, FRAME_DATA);
            CHECK(memcmp(&quick, &full, sizeof(quick)) == 0);
            plain++;
            quick = before;
            CHECK(flow_receive_data(&quick, raw, bytes));
            CHECK(memcmp(&quick, &full, sizeof(quick)) == 0);
        } else if (bytes <= lim.recv_size && flow_is_plain(&quick) &&
                   flow_receive_data(&quick, raw, bytes)) {
            CHECK_EQ(rc, 0);
            CHECK_EQ(parsed.type, FRAME_DATA);
            CHECK(memcmp(&quick, &full, sizeof(quick)) == 0);
            taken++;
        } else {
            CHECK(memcmp(&quick, &before, sizeof(quick)) == 0);
            /* It may leave nothing plain to the rules. */
            CHECK(rc != 0 || parsed.type != FRAME_DATA || parsed.flags || !flow_is_plain(&before));
            left++;
        }
    }
    CHECK(plain > 10000 && taken > 10000 && left > 10000);
}

static void receives_are_returned_together_as_one_by_one(void) {
    for (int i = 0; i < 100000; i++) {
        struct flow together = random_flow(), each = together;
        uint32_t data = below(17), ctrl = below(5);

        flow_return(&together, data, ctrl);
        while (data--)
            flow_return_data(&each);
        while (ctrl--)
            flow_return_ctrl(&each);
        CHECK(memcmp(&together, &each, sizeof(each)) == 0);
    }
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(a_plain_message_is_sent_as_any),
        TEST(a_plain_message_is_received_as_any_or_left_to_the_rules),
        TEST(receives_are_returned_together_as_one_by_one)};
    return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
