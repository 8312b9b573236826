/* Tokens that are kept beside the table: as unique as all others, and entered when asked to. */
#include "qtoken.h"
#include "test.h"

static struct qt_table table;
static struct qt_quick quick;

static void begin(uint32_t max) {
    CHECK_EQ(qt_table_init(&table, 3, max), 0);
    quick = (struct qt_quick){.live = QT_NONE};
}

static void end(void) {
    CHECK_EQ(qt_alive(&table), 0);
    CHECK_EQ(qt_table_destroy(&table), 0);
}

static void each_is_given_once_and_none_is_in_the_table(void) {
    demi_qtoken_t last = 0;
    begin(0);
    CHECK(qt_quick_reserve(&table, &quick));
    for (int i = 0; i < 1000; i++) {
        demi_qtoken_t qt = qt_quick_give(&quick);
        CHECK(qt != QT_INVALID && qt != QT_NONE && qt > last);
        CHECK_EQ(qt_token_engine(qt), 3);
        CHECK_EQ(quick.live, qt);
        CHECK_EQ(quick.next, 0); /* one at a time */
        CHECK(qt_lookup(&table, qt) == NULL);
        CHECK_EQ(qt_alive(&table), 0);
        qt_quick_next(&quick, qt);
        CHECK_EQ(quick.live, QT_NONE);
        CHECK(quick.next > qt);
        last = qt;
    }
    CHECK(qt_quick_enter(&table, &quick, 1, DEMI_OPC_POP) == NULL); /* none is live */
    CHECK(qt_quick_enter(&table, &quick, 1, DEMI_OPC_POP) == NULL); /* there is no slot */
    CHECK_EQ(quick.next, 0);
    /* The slot is free, and goes on where it was. */
    struct qt_slot *s;
    CHECK_EQ(qt_alloc(&table, 1, DEMI_OPC_POP, &s), 0);
    CHECK_EQ(qt_token_index(qt_token(&table, s)), qt_token_index(last));
    CHECK(qt_token(&table, s) > last);
    CHECK(qt_lookup(&table, last) == NULL);
    CHECK_EQ(qt_abandon(&table, s), 0);
    end();
}

static void one_that_is_entered_is_a_token_like_any(void) {
    demi_qresult_t r;
    begin(0);
    CHECK(qt_quick_reserve(&table, &quick));
    qt_quick_next(&quick, qt_quick_give(&quick));
    demi_qtoken_t qt = qt_quick_give(&quick);
    struct qt_slot *s = qt_quick_enter(&table, &quick, 77, DEMI_OPC_PUSH);
    CHECK(s != NULL);
    CHECK_EQ(qt_token(&table, s), qt);
    CHECK(qt_lookup(&table, qt) == s);
    CHECK_EQ(qt_alive(&table), 1);
    CHECK_EQ(qt_redeem(&table, s, &r), ETIMEDOUT);
    CHECK_EQ(qt_complete(&table, s, DEMI_OPC_PUSH, 0), 0);
    /* Another slot serves while it is there. */
    CHECK(qt_quick_reserve(&table, &quick));
    CHECK(qt_token_index(quick.next) != qt_token_index(qt));
    CHECK_EQ(qt_redeem(&table, s, &r), 0);
    CHECK_EQ(r.qr_qt, qt);
    CHECK_EQ(r.qr_qd, 77);
    CHECK_EQ(r.qr_opcode, DEMI_OPC_PUSH);
    CHECK(qt_lookup(&table, qt) == NULL);
    CHECK(qt_quick_enter(&table, &quick, 1, DEMI_OPC_PUSH) == NULL);
    end();
}

static void a_slot_whose_generations_are_spent_is_retired(void) {
    begin(0);
    CHECK(qt_quick_reserve(&table, &quick));
    /* Generations up to 4: the last one is redeemed by the table. */
    table.token_late = qt_token_make(3, 3, QT_INDEX_MAX);
    table.word_max = 4 << QT_STATE_BITS;
    demi_qtoken_t qt = 0;
    for (qt = qt_quick_give(&quick); qt <= table.token_late; qt = qt_quick_give(&quick))
        qt_quick_next(&quick, qt);
    CHECK_EQ(qt_token_gen(qt), 4);
    demi_qresult_t r;
    struct qt_slot *s = qt_quick_enter(&table, &quick, 77, DEMI_OPC_PUSH);
    CHECK_EQ(qt_complete(&table, s, DEMI_OPC_PUSH, 0), 0);
    CHECK_EQ(qt_redeem(&table, s, &r), 0);
    CHECK_EQ(r.qr_qt, qt);
    CHECK(quick.slot == NULL && quick.next == 0 && quick.live == QT_NONE);
    CHECK_EQ(table.retired, 1);
    CHECK(qt_quick_reserve(&table, &quick));
    CHECK(qt_token_index(quick.next) != qt_token_index(qt));
    CHECK(qt_quick_enter(&table, &quick, 1, DEMI_OPC_POP) == NULL);
    end();
}

static void without_a_slot_there_is_no_token(void) {
    struct qt_slot *s;
    begin(1);
    CHECK_EQ(qt_alloc(&table, 1, DEMI_OPC_POP, &s), 0);
    CHECK(!qt_quick_reserve(&table, &quick));
    CHECK_EQ(quick.next, 0);
    CHECK_EQ(qt_abandon(&table, s), 0);
    CHECK(qt_quick_reserve(&table, &quick));
    struct qt_slot *none;
    CHECK_EQ(qt_alloc(&table, 1, DEMI_OPC_POP, &none), EAGAIN); /* until it is given back */
    CHECK(qt_quick_enter(&table, &quick, 1, DEMI_OPC_POP) == NULL);
    CHECK_EQ(qt_alloc(&table, 1, DEMI_OPC_POP, &s), 0);
    CHECK_EQ(qt_abandon(&table, s), 0);
    end();
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(each_is_given_once_and_none_is_in_the_table),
        TEST(one_that_is_entered_is_a_token_like_any),
        TEST(a_slot_whose_generations_are_spent_is_retired),
        TEST(without_a_slot_there_is_no_token),
    };
    return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
