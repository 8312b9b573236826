/* Tokens seen from other threads without the lock: what the thread sanitizer is for. */
#include <pthread.h>
#include <sched.h>

#include "qtoken.h"
#include "test.h"

enum { WAITERS = 3, ROUNDS = 5000 };

static struct qt_table table;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static demi_qtoken_t current; /* atomic: what to wait for */
static uint64_t redeemed;     /* under lock */
static int finished;          /* atomic */

/* Looks without the lock until the token is done, then takes it if nobody else has. */
static void *wait_by_peeking(void *arg) {
    (void)arg;
    while (!__atomic_load_n(&finished, __ATOMIC_ACQUIRE)) {
        demi_qtoken_t qt = __atomic_load_n(&current, __ATOMIC_ACQUIRE);
        if (qt_peek(&table, qt) != QT_DONE) {
            sched_yield();
            continue;
        }
        pthread_mutex_lock(&lock);
        struct qt_slot *s = qt_lookup(&table, qt);
        if (s) {
            demi_qresult_t r;
            CHECK_EQ(qt_redeem(&table, s, &r), 0);
            CHECK(r.qr_qt == qt);
            CHECK_EQ(r.qr_ret, (int64_t)qt_token_gen(qt));
            redeemed++;
        }
        pthread_mutex_unlock(&lock);
    }
    return NULL;
}

static void one_of_many_peeking_waiters_gets_the_result(void) {
    CHECK_EQ(qt_table_init(&table, 5, 0), 0);
    pthread_t t[WAITERS];
    for (int i = 0; i < WAITERS; i++)
        CHECK_EQ(pthread_create(&t[i], NULL, wait_by_peeking, NULL), 0);
    uint64_t want = 0;
    while (want < ROUNDS) {
        pthread_mutex_lock(&lock);
        if (redeemed == want) {
            struct qt_slot *s;
            if (want % 100 == 0) /* the table grows under the eyes of the others */
                for (uint32_t i = 0; i < QT_CHUNK_SLOTS / 16; i++)
                    CHECK_EQ(qt_alloc(&table, 1, DEMI_OPC_POP, &s), 0);
            CHECK_EQ(qt_alloc(&table, 500, DEMI_OPC_POP, &s), 0);
            demi_qtoken_t qt = qt_token(&table, s);
            __atomic_store_n(&current, qt, __ATOMIC_RELEASE);
            CHECK_EQ(qt_complete(&table, s, DEMI_OPC_POP, (int64_t)qt_token_gen(qt)), 0);
            want++;
        }
        pthread_mutex_unlock(&lock);
        sched_yield();
    }
    for (;;) {
        pthread_mutex_lock(&lock);
        bool all = redeemed == want;
        pthread_mutex_unlock(&lock);
        if (all)
            break;
        sched_yield();
    }
    __atomic_store_n(&finished, 1, __ATOMIC_RELEASE);
    for (int i = 0; i < WAITERS; i++)
        CHECK_EQ(pthread_join(t[i], NULL), 0);
    for (uint32_t i = 0; i < table.made; i++) {
        struct qt_slot *s = &table.chunks[i >> QT_CHUNK_SHIFT][i & (QT_CHUNK_SLOTS - 1)];
        if (qt_state(s) != QT_FREE)
            CHECK_EQ(qt_abandon(&table, s), 0);
    }
    CHECK_EQ(qt_table_destroy(&table), 0);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {TEST(one_of_many_peeking_waiters_gets_the_result)};
    return test_main(tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
