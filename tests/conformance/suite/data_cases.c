/* demi_push, demi_pushto and demi_pop on an established connection. */
#include "suite.h"

#include <stdlib.h>

/* Messages of the long cases; fewer are enough on an emulated machine. */
static int many(void) {
    const char *text = getenv("CONFORMANCE_MESSAGES");
    int n = text != NULL ? atoi(text) : 0;

    return n > 0 ? n : 2000;
}

/* The largest message that one frame carries with the default receive size of 8 KiB. */
#define EAGER_MAX (8192 - 16)

static void the_result_of_a_push_carries_nothing(void) {
    demi_qresult_t qr;
    char zero[sizeof(qr.qr_value)] = {0};
    demi_qtoken_t qt;
    struct pair p;

    if (new_pair(&local4, &p)) {
        qt = push_message(p.client, 64, 'p');
        qr = result_of(qt);
        CHECK_INT(qr.qr_opcode, DEMI_OPC_PUSH);
        CHECK_INT(qr.qr_qd, p.client);
        CHECK_INT(qr.qr_ret, 0);
        CHECK(qr.qr_qt == qt);
        CHECK(memcmp(&qr.qr_value, zero, sizeof(zero)) == 0);
        CHECK(pop_message(p.server, 64, 'p'));
    }
    close_pair(&p);
}

static void a_popped_message_names_its_sender(void) {
    union address a;
    socklen_t len = sizeof(a);
    demi_qtoken_t qt = 0;
    demi_qresult_t qr;
    struct pair p;

    if (new_pair(&local4, &p)) {
        CHECK_OK(demi_getsockname(p.client, &a.sa, &len));
        CHECK_OK(demi_pop(&qt, p.server));
        CHECK(finish(push_message(p.client, 64, 'p'), DEMI_OPC_PUSH));
        qr = result_of(qt);
        if (CHECK_INT(qr.qr_opcode, DEMI_OPC_POP)) {
            CHECK_INT(qr.qr_qd, p.server);
            CHECK_INT(qr.qr_ret, 0);
            CHECK_INT(qr.qr_value.sga.sga_addr.sin_family, AF_INET);
            CHECK_INT(qr.qr_value.sga.sga_addr.sin_port, a.v4.sin_port);
            CHECK(qr.qr_value.sga.sga_addr.sin_addr.s_addr == a.v4.sin_addr.s_addr);
            CHECK_OK(demi_sgafree(&qr.qr_value.sga));
        }
    }
    close_pair(&p);
}

static void every_size_arrives_whole_both_ways(void) {
    const size_t sizes[] = {1,    2,    63,   64,   65,   255,  256,  496,      497,
                            1024, 2048, 4095, 4096, 4097, 8000, 8175, EAGER_MAX};
    struct pair p;

    if (new_pair(&local4, &p))
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            demi_qtoken_t there = push_message(p.client, sizes[i], (int)i);
            demi_qtoken_t back = push_message(p.server, sizes[i], (int)i + 100);

            CHECK(pop_message(p.server, sizes[i], (int)i));
            CHECK(pop_message(p.client, sizes[i], (int)i + 100));
            CHECK(finish(there, DEMI_OPC_PUSH));
            CHECK(finish(back, DEMI_OPC_PUSH));
        }
    close_pair(&p);
}

static void pops_may_wait_before_messages_come(void) {
    demi_qtoken_t pops[8] = {0}, push;
    demi_qresult_t qr;
    struct pair p;

    if (new_pair(&local4, &p)) {
        for (int i = 0; i < 8; i++)
            CHECK_OK(demi_pop(&pops[i], p.server));
        for (int i = 0; i < 8; i++) {
            push = push_message(p.client, 10 + (size_t)i, 'a');
            CHECK(finish(push, DEMI_OPC_PUSH));
        }
        for (int i = 7; i >= 0; i--) { /* served in their own order, not in that of the waits */
            qr = result_of(pops[i]);
            if (CHECK_INT(qr.qr_opcode, DEMI_OPC_POP)) {
                CHECK_INT(qr.qr_value.sga.sga_segs[0].sgaseg_len, 10 + i);
                CHECK_OK(demi_sgafree(&qr.qr_value.sga));
            }
        }
    }
    close_pair(&p);
}

/* Pushes n numbered messages of size bytes from one end and pops them at the other. */
static void stream(int from, int to, int n, size_t size) {
    enum { DEPTH = 64 };
    demi_qtoken_t pushes[DEPTH];
    int pushed = 0, popped = 0;

    while (popped < n) {
        demi_qtoken_t qt = 0;
        demi_qresult_t qr;
        unsigned int nr = 0;

        while (pushed < n && pushed - popped < DEPTH) {
            demi_sgarray_t sga = message(size, 0);

            memcpy(sga.sga_segs[0].sgaseg_buf, &pushed, sizeof(pushed));
            if (!CHECK_OK(demi_push(&pushes[pushed % DEPTH], from, &sga)))
                return;
            CHECK_OK(demi_sgafree(&sga));
            pushed++;
        }
        if (!CHECK_OK(demi_pop(&qt, to)))
            return;
        qr = result_of(qt);
        if (!CHECK_INT(qr.qr_opcode, DEMI_OPC_POP) ||
            !CHECK_INT(qr.qr_value.sga.sga_segs[0].sgaseg_len, size))
            return;
        memcpy(&nr, qr.qr_value.sga.sga_segs[0].sgaseg_buf, sizeof(nr));
        CHECK_OK(demi_sgafree(&qr.qr_value.sga));
        if (!CHECK_INT(nr, popped) || !finish(pushes[popped % DEPTH], DEMI_OPC_PUSH))
            return;
        popped++;
    }
}

static void messages_keep_their_order(void) {
    struct pair p;

    if (new_pair(&local4, &p)) {
        stream(p.client, p.server, many(), 64); /* one way only: credits must flow back */
        stream(p.server, p.client, many(), 64);
        stream(p.client, p.server, many() / 10, EAGER_MAX);
    }
    close_pair(&p);
}

static void a_slow_reader_holds_the_sender_back(void) {
    enum { NUM = 4000 };
    static demi_qtoken_t pushes[NUM];
    const struct timespec bit = milliseconds(100);
    demi_qresult_t qr;
    struct pair p;
    int done = 0;

    if (new_pair(&local4, &p)) {
        for (int i = 0; i < NUM; i++)
            pushes[i] = push_message(p.client, 1000, i);
        while (done < NUM && demi_wait(&qr, pushes[done], &bit) == 0)
            done += CHECK_INT(qr.qr_opcode, DEMI_OPC_PUSH) ? 1 : NUM;
        CHECK(done < NUM); /* 4 MB are more than a connection buffers for a reader that sleeps */
        for (int i = 0; i < NUM; i++)
            if (!CHECK(pop_message(p.server, 1000, i)))
                break;
        for (; done < NUM; done++)
            if (!finish(pushes[done], DEMI_OPC_PUSH))
                break;
    }
    close_pair(&p);
}

static void a_segment_may_be_narrowed(void) {
    demi_sgarray_t sga = message(1000, 'x'), part = sga;
    demi_qtoken_t qt = 0;
    struct pair p;

    if (new_pair(&local4, &p)) {
        part.sga_segs[0].sgaseg_buf = (char *)sga.sga_segs[0].sgaseg_buf + 990;
        part.sga_segs[0].sgaseg_len = 10;
        memset(part.sga_segs[0].sgaseg_buf, 'y', 10);
        CHECK_OK(demi_push(&qt, p.client, &part));
        CHECK(finish(qt, DEMI_OPC_PUSH));
        CHECK(pop_message(p.server, 10, 'y'));
        part.sga_segs[0].sgaseg_buf = sga.sga_segs[0].sgaseg_buf;
        part.sga_segs[0].sgaseg_len = 990;
        CHECK_OK(demi_push(&qt, p.client, &part));
        CHECK(finish(qt, DEMI_OPC_PUSH));
        CHECK(pop_message(p.server, 990, 'x'));
    }
    CHECK_OK(demi_sgafree(&sga));
    close_pair(&p);
}

static void what_is_no_message_is_einval(void) {
    demi_sgarray_t good = message(100, 'g'), bad;
    char stack[64] = {0};
    demi_qtoken_t qt = 77;
    struct pair p;

    if (new_pair(&local4, &p)) {
        bad = good;
        bad.sga_segs[0].sgaseg_len = 0;
        CHECK_ERRNO(demi_push(&qt, p.client, &bad), EINVAL);
        bad = good;
        bad.sga_numsegs = 0;
        CHECK_ERRNO(demi_push(&qt, p.client, &bad), EINVAL);
        bad.sga_numsegs = 2;
        CHECK_ERRNO(demi_push(&qt, p.client, &bad), EINVAL);
        bad = good;
        bad.sga_segs[0].sgaseg_len = 1 << 30;
        CHECK_ERRNO(demi_push(&qt, p.client, &bad), EINVAL);
        bad.sga_segs[0].sgaseg_len = UINT32_MAX;
        CHECK_ERRNO(demi_push(&qt, p.client, &bad), EINVAL);
        bad = good;
        bad.sga_segs[0].sgaseg_buf = (char *)good.sga_segs[0].sgaseg_buf - 1;
        CHECK_ERRNO(demi_push(&qt, p.client, &bad), EINVAL);
        bad.sga_segs[0].sgaseg_buf = stack;
        bad.sga_segs[0].sgaseg_len = sizeof(stack);
        CHECK_ERRNO(demi_push(&qt, p.client, &bad), EINVAL);
        bad.sga_buf = stack;
        CHECK_ERRNO(demi_push(&qt, p.client, &bad), EINVAL);
        bad = good;
        CHECK_OK(demi_sgafree(&good));
        CHECK_ERRNO(demi_push(&qt, p.client, &bad), EINVAL); /* freed */
        CHECK(qt == 77);
        CHECK(finish(push_message(p.client, 8, 'g'), DEMI_OPC_PUSH)); /* nothing was harmed */
        CHECK(pop_message(p.server, 8, 'g'));
    }
    close_pair(&p);
}

static void a_popped_message_can_be_pushed_back(void) {
    demi_qtoken_t qt = 0;
    demi_qresult_t qr;
    struct pair p;

    if (new_pair(&local4, &p)) {
        CHECK(finish(push_message(p.client, 300, 'b'), DEMI_OPC_PUSH));
        CHECK_OK(demi_pop(&qt, p.server));
        qr = result_of(qt);
        if (CHECK_INT(qr.qr_opcode, DEMI_OPC_POP)) {
            CHECK_OK(demi_push(&qt, p.server, &qr.qr_value.sga));
            CHECK_OK(demi_sgafree(&qr.qr_value.sga));
            CHECK(finish(qt, DEMI_OPC_PUSH));
            CHECK(pop_message(p.client, 300, 'b'));
        }
    }
    close_pair(&p);
}

static void pushto_reaches_the_peer_and_nobody_else(void) {
    demi_sgarray_t sga = message(32, 't');
    union address other;
    demi_qtoken_t qt = 0;
    struct pair p;

    if (new_pair(&local4, &p)) {
        CHECK_OK(demi_pushto(&qt, p.client, &sga, &p.at.sa, sizeof(p.at.v4)));
        CHECK(finish(qt, DEMI_OPC_PUSH));
        CHECK(pop_message(p.server, 32, 't'));
        other = with_port(&p.at, (uint16_t)(port_of(&p.at) ^ 1));
        CHECK_ERRNO(demi_pushto(&qt, p.client, &sga, &other.sa, sizeof(other.v4)), EISCONN);
        CHECK_ERRNO(demi_pushto(&qt, p.client, &sga, &p.at.sa, sizeof(p.at.v4) - 1), EINVAL);
        other.sa.sa_family = AF_UNIX;
        CHECK_ERRNO(demi_pushto(&qt, p.client, &sga, &other.sa, sizeof(other.v4)), EINVAL);
    }
    CHECK_OK(demi_sgafree(&sga));
    close_pair(&p);
}

static void large_messages_arrive_whole_both_ways(void) {
    const size_t sizes[] = {EAGER_MAX + 1, 65535, 65536, 65537, 1000000, 1 << 24};
    struct pair p;

    if (new_pair(&local4, &p)) {
        for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
            demi_qtoken_t there = push_message(p.client, sizes[i], (int)i);
            demi_qtoken_t back = push_message(p.server, sizes[i], (int)i + 100);
            demi_qtoken_t small = push_message(p.client, 8, 's'); /* stays behind it */

            CHECK(pop_message(p.server, sizes[i], (int)i));
            CHECK(pop_message(p.client, sizes[i], (int)i + 100));
            CHECK(pop_message(p.server, 8, 's'));
            CHECK(finish(there, DEMI_OPC_PUSH));
            CHECK(finish(back, DEMI_OPC_PUSH));
            CHECK(finish(small, DEMI_OPC_PUSH));
        }
        stream(p.client, p.server, 100, 65536);
    }
    close_pair(&p);
}

/*
 * The longest message that can be allocated is also the longest that a peer takes unless
 * configured otherwise (DEMI_MAX_MESSAGE), so EMSGSIZE is tested in libos.
 */
static void a_message_above_1_gib_cannot_be_had(void) {
    demi_sgarray_t sga = demi_sgaalloc(((size_t)1 << 30) + 1);

    CHECK_INT(sga.sga_numsegs, 0);
}

const struct test_case data_cases[] = {
    {"the result of a push carries a zeroed value", the_result_of_a_push_carries_nothing},
    {"a popped message names its sender", a_popped_message_names_its_sender},
    {"messages of every size arrive whole, both ways", every_size_arrives_whole_both_ways},
    {"pops that wait are served in their order", pops_may_wait_before_messages_come},
    {"messages keep their order, in one direction only too", messages_keep_their_order},
    {"a reader that does not pop holds the sender's pushes back, and nothing is lost",
     a_slow_reader_holds_the_sender_back},
    {"a segment may be narrowed inside its allocation", a_segment_may_be_narrowed},
    {"an empty or foreign segment or a wrong count answers EINVAL", what_is_no_message_is_einval},
    {"a popped message can be pushed back and freed at once", a_popped_message_can_be_pushed_back},
    {"demi_pushto reaches the connected peer and answers EISCONN for any other",
     pushto_reaches_the_peer_and_nobody_else},
    {"messages above the eager limit arrive whole, both ways",
     large_messages_arrive_whole_both_ways},
    {"a message above 1 GiB cannot be allocated", a_message_above_1_gib_cannot_be_had},
    {0},
};
