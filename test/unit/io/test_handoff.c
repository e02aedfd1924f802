/* Who serves a connection: workers are filled in order, then alike; nothing is lost between two. */
#include "io/handoff.h"

#include "base/clock.h"
#include "io/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>

#define WORKERS 3

/* A descriptor that need not be one: nothing here looks at it. */
#define SOME_FD(i) (1000 + (int)(i))

/* Owner: the test, by stage_open() and stage_close(). */
struct stage {
    struct handoff *handoff;
    struct loop *loops[WORKERS];
    size_t serves[WORKERS]; /* as the test counts */
};

static void stage_open_with(struct stage *stage, struct handoff_limits limits)
{
    *stage = (struct stage){.handoff = handoff_new(WORKERS, limits)};
    assert_non_null(stage->handoff);
    for (size_t i = 0; i < WORKERS; i++) {
        stage->loops[i] = loop_new();
        assert_non_null(stage->loops[i]);
        handoff_open(stage->handoff, i, stage->loops[i]);
    }
}

static void stage_open(struct stage *stage, size_t fill, size_t max)
{
    stage_open_with(stage, (struct handoff_limits){.fill = fill, .max = max, .per_address = max});
}

static void stage_close(struct stage *stage)
{
    for (size_t i = 0; i < WORKERS; i++) {
        struct in6_addr address;
        handoff_close(stage->handoff, i);
        while (handoff_take(stage->handoff, i, &address) >= 0) {
        }
    }
    handoff_free(stage->handoff);
    for (size_t i = 0; i < WORKERS; i++) {
        loop_free(stage->loops[i]);
    }
}

/* Place one more, accepted by worker 0. Returns who has it. */
static size_t place(struct stage *stage, int fd)
{
    const struct in6_addr address = IN6ADDR_LOOPBACK_INIT;
    struct in6_addr seen = IN6ADDR_ANY_INIT;
    size_t worker = 0;
    if (handoff_give(stage->handoff, 0, fd, &address)) {
        while (handoff_take(stage->handoff, ++worker, &seen) != fd) {
            assert_true(worker + 1 < WORKERS);
        }
        assert_memory_equal(&seen, &address, sizeof(address));
    }
    stage->serves[worker]++;
    return worker;
}

static void end(struct stage *stage, size_t worker)
{
    handoff_count_out(stage->handoff, worker);
    stage->serves[worker]--;
}

static void test_workers_are_filled_in_order_and_then_alike(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, 4, 1000);
    for (size_t i = 0; i < 4 * WORKERS; i++) {
        assert_int_equal(place(&stage, SOME_FD(i)), i / 4);
    }
    for (size_t i = 0; i < 30; i++) {
        assert_int_equal(place(&stage, SOME_FD(i)), i % WORKERS);
    }
    stage_close(&stage);
}

static void test_without_a_fill_they_are_spread_from_the_first_on(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, 0, 1000);
    for (size_t i = 0; i < 30; i++) {
        assert_int_equal(place(&stage, SOME_FD(i)), i % WORKERS);
    }
    stage_close(&stage);
}

/* Connections that come one after the other see all workers, too. */
static void test_those_with_the_fewest_take_turns(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, 0, 1000);
    for (size_t i = 0; i < 30; i++) {
        size_t worker = place(&stage, SOME_FD(i));
        assert_int_equal(worker, i % WORKERS);
        end(&stage, worker);
    }
    stage_close(&stage);
}

static void test_those_that_end_leave_room(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, 2, 1000);
    for (size_t i = 0; i < 10; i++) {
        (void)place(&stage, SOME_FD(i));
    }
    for (size_t i = 0; i < 2; i++) { /* one below its fill, then one with the fewest */
        size_t worker = WORKERS - 1 - i;
        while (stage.serves[worker] > 2 - (i == 0)) {
            end(&stage, worker);
        }
        assert_int_equal(place(&stage, SOME_FD(20 + i)), worker);
    }
    stage_close(&stage);
}

static void test_what_a_worker_cannot_have_stays_with_who_accepted_it(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, 0, 2);
    for (size_t i = 0; i < 2 * WORKERS; i++) {
        assert_int_equal(place(&stage, SOME_FD(i)), i % WORKERS);
    }
    for (size_t i = 0; i < 5; i++) { /* all are full */
        assert_int_equal(place(&stage, SOME_FD(10 + i)), 0);
    }
    end(&stage, 2);
    handoff_close(stage.handoff, 2); /* it ends */
    assert_int_equal(place(&stage, SOME_FD(20)), 0);
    stage_close(&stage);
}

/* With a fill above it the others would get nothing. */
static void test_a_limit_of_a_worker_ends_its_fill(void **state)
{
    (void)state;
    static const struct handoff_limits limits[] = {
        {.fill = 100, .max = 2, .per_address = 1000},
        {.fill = 100, .max = 1000, .per_address = 2},
    };
    for (size_t k = 0; k < 2; k++) {
        struct stage stage;
        stage_open_with(&stage, limits[k]);
        for (size_t i = 0; i < 2 * WORKERS; i++) {
            assert_int_equal(place(&stage, SOME_FD(i)), i / 2);
        }
        assert_int_equal(place(&stage, SOME_FD(10)), 0);
        stage_close(&stage);
    }
}

static void test_a_busy_worker_is_not_filled_further(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, 4, 1000);
    assert_int_equal(place(&stage, SOME_FD(0)), 0);
    assert_int_equal(place(&stage, SOME_FD(1)), 0);
    handoff_tell(stage.handoff, 0, true);
    assert_int_equal(place(&stage, SOME_FD(2)), 1);
    handoff_tell(stage.handoff, 1, true);
    assert_int_equal(place(&stage, SOME_FD(3)), 2);
    handoff_tell(stage.handoff, 2, true); /* then it is as if all had their fill */
    assert_int_equal(place(&stage, SOME_FD(4)), 1);
    assert_int_equal(place(&stage, SOME_FD(5)), 2);
    assert_int_equal(place(&stage, SOME_FD(6)), 0);
    handoff_tell(stage.handoff, 0, false);
    assert_int_equal(place(&stage, SOME_FD(7)), 0);
    assert_int_equal(place(&stage, SOME_FD(8)), 0); /* above its fill: the others are busy */
    stage_close(&stage);
}

/* However few it serves: that few are work enough is what busy means. */
static void test_while_others_are_idle_a_busy_worker_gets_none(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, 4, 1000);
    assert_int_equal(place(&stage, SOME_FD(0)), 0);
    handoff_tell(stage.handoff, 0, true);
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(place(&stage, SOME_FD(i)), 1 + i / 4);
    }
    for (size_t i = 0; i < 8; i++) { /* beyond their fill as well */
        assert_int_equal(place(&stage, SOME_FD(i)), 1 + i % 2);
    }
    handoff_tell(stage.handoff, 0, false);
    assert_int_equal(place(&stage, SOME_FD(0)), 0);
    stage_close(&stage);
}

/* Only when nobody has room does it stay where there is none. */
static void test_those_without_room_are_passed_over(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, 0, 3);
    handoff_close(stage.handoff, 1);
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(place(&stage, SOME_FD(i)), i % 2 * 2);
    }
    assert_int_equal(place(&stage, SOME_FD(6)), 0);
    end(&stage, 2);
    assert_int_equal(place(&stage, SOME_FD(7)), 2);
    handoff_open(stage.handoff, 1, stage.loops[1]);
    assert_int_equal(place(&stage, SOME_FD(8)), 1);
    stage_close(&stage);
}

/* One that is slow is not given more and more. */
static void test_a_worker_that_takes_nothing_gets_so_much_only(void **state)
{
    (void)state;
    struct stage stage;
    const struct in6_addr address = IN6ADDR_LOOPBACK_INIT;
    struct in6_addr seen;
    size_t given = 0;
    stage_open(&stage, 0, 10000);
    for (size_t i = 0; i < 3000; i++) {
        given += handoff_give(stage.handoff, 0, SOME_FD(i), &address);
    }
    assert_in_range(given, 2, 1000);
    handoff_close(stage.handoff, 1); /* what it was given is there all the same, in order */
    size_t taken = 0;
    int before = -1;
    for (size_t worker = 1; worker < WORKERS; worker++, before = -1) {
        int fd;
        while ((fd = handoff_take(stage.handoff, worker, &seen)) >= 0) {
            assert_true(fd > before);
            before = fd;
            taken++;
        }
    }
    assert_int_equal(taken, given);
    stage_close(&stage);
}

static void test_a_worker_is_woken_for_what_it_gets(void **state)
{
    (void)state;
    struct stage stage;
    const struct in6_addr address = IN6ADDR_LOOPBACK_INIT;
    struct in6_addr seen;
    stage_open(&stage, 1, 10);
    assert_false(handoff_give(stage.handoff, 0, SOME_FD(0), &address));
    for (size_t i = 0; i < WORKERS; i++) {
        assert_false(loop_wait(stage.loops[i], 0));
    }
    assert_false(handoff_waits(stage.handoff, 1));
    assert_true(handoff_give(stage.handoff, 0, SOME_FD(1), &address));
    assert_true(handoff_waits(stage.handoff, 1));
    assert_true(loop_wait(stage.loops[1], clock_now_us() + 20U * 1000U * 1000U));
    assert_false(loop_wait(stage.loops[0], 0));
    assert_false(loop_wait(stage.loops[2], 0));
    assert_int_equal(handoff_take(stage.handoff, 0, &seen), -1);
    assert_int_equal(handoff_take(stage.handoff, 1, &seen), SOME_FD(1));
    assert_int_equal(handoff_take(stage.handoff, 1, &seen), -1);
    stage_close(&stage);
}

/* -- From several threads --------------------------------------------------------------------- */

#define ROUNDS      20000
#define PATIENCE_US (30U * 1000U * 1000U)

struct taker {
    struct stage *stage;
    size_t taken; /* in the order in which they were given */
};

/* As a worker does, but that it is now busy and now not, and closes and opens again. */
static void *take_and_end(void *arg)
{
    struct taker *taker = arg;
    struct handoff *handoff = taker->stage->handoff;
    struct in6_addr seen;
    uint64_t until_us = clock_now_us() + PATIENCE_US;
    while (taker->taken < ROUNDS && clock_now_us() < until_us) {
        int fd = handoff_waits(handoff, 1) ? handoff_take(handoff, 1, &seen) : -1;
        handoff_tell(handoff, 1, fd >= 0 && taker->taken % 2 == 0);
        if (fd < 0) {
            continue;
        }
        if (fd != SOME_FD(taker->taken)) {
            break;
        }
        if (taker->taken % 64 == 0) {
            handoff_close(handoff, 1);
            handoff_open(handoff, 1, taker->stage->loops[1]);
        }
        handoff_count_out(handoff, 1);
        taker->taken++;
    }
    return NULL;
}

static void test_nothing_is_lost_between_threads(void **state)
{
    (void)state;
    struct stage stage;
    struct taker taker = {.stage = &stage};
    const struct in6_addr address = IN6ADDR_LOOPBACK_INIT;
    pthread_t thread;
    stage_open(&stage, 1000, 10000);
    handoff_close(stage.handoff, 2);
    for (size_t i = 0; i < 1000; i++) { /* the first has its fill, so it is the second's turn */
        assert_false(handoff_give(stage.handoff, 0, SOME_FD(0), &address));
    }
    assert_int_equal(pthread_create(&thread, NULL, take_and_end, &taker), 0);
    uint64_t until_us = clock_now_us() + PATIENCE_US;
    for (size_t given = 0; given < ROUNDS && clock_now_us() < until_us;) {
        if (handoff_give(stage.handoff, 0, SOME_FD(given), &address)) {
            given++;
        } else {
            handoff_count_out(stage.handoff, 0); /* the second cannot have it just now */
        }
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(taker.taken, ROUNDS);
    assert_false(handoff_waits(stage.handoff, 1));
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_workers_are_filled_in_order_and_then_alike),
        cmocka_unit_test(test_without_a_fill_they_are_spread_from_the_first_on),
        cmocka_unit_test(test_those_with_the_fewest_take_turns),
        cmocka_unit_test(test_those_that_end_leave_room),
        cmocka_unit_test(test_what_a_worker_cannot_have_stays_with_who_accepted_it),
        cmocka_unit_test(test_a_limit_of_a_worker_ends_its_fill),
        cmocka_unit_test(test_a_busy_worker_is_not_filled_further),
        cmocka_unit_test(test_while_others_are_idle_a_busy_worker_gets_none),
        cmocka_unit_test(test_those_without_room_are_passed_over),
        cmocka_unit_test(test_a_worker_that_takes_nothing_gets_so_much_only),
        cmocka_unit_test(test_a_worker_is_woken_for_what_it_gets),
        cmocka_unit_test(test_nothing_is_lost_between_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
