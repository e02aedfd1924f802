/* Tests of base/clock: units, direction and that each function reads its own clock. */
#include "base/clock.h"

#include "unit.h"

#include <time.h>

static void sleep_ms(long ms)
{
    struct timespec rest = {.tv_sec = 0, .tv_nsec = ms * 1000000};
    while (nanosleep(&rest, &rest) != 0) {
    }
}

static void test_now_is_monotonic_and_never_zero(void **state)
{
    (void)state;
    uint64_t last = clock_now_us();
    assert_true(last > 0);
    for (int i = 0; i < 100000; i++) {
        uint64_t now = clock_now_us();
        assert_true(now >= last);
        last = now;
    }
}

static void test_now_agrees_with_the_monotonic_clock(void **state)
{
    (void)state;
    struct timespec now;
    uint64_t before = clock_now_us();
    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &now), 0);
    uint64_t after = clock_now_us();
    uint64_t now_us = (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
    assert_true(before <= now_us && now_us <= after);
}

static void test_cpu_counts_work_and_not_sleep(void **state)
{
    (void)state;
    uint64_t start_us = clock_cpu_us();
    uint64_t wall_us = clock_now_us();
    sleep_ms(200);
    assert_true(clock_now_us() - wall_us >= 200000);
    assert_true(clock_cpu_us() - start_us < 100000);

    struct timespec now;
    start_us = clock_cpu_us();
    do {
        assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now), 0);
    } while ((uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000 < start_us + 20000);
    assert_true(clock_cpu_us() - start_us >= 20000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_now_is_monotonic_and_never_zero),
        cmocka_unit_test(test_now_agrees_with_the_monotonic_clock),
        cmocka_unit_test(test_cpu_counts_work_and_not_sleep),
    };
    return cmocka_run_group_tests_name("base/clock", tests, NULL, NULL);
}
