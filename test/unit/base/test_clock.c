/* Tests of base/clock: units, direction and that each function reads its own clock. */
#include "base/clock.h"

#include "unit.h"

#include <pthread.h>
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

static void *work(void *arg)
{
    struct timespec now;
    do {
        assert_int_equal(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now), 0);
    } while (now.tv_sec == 0 && now.tv_nsec < 30 * 1000 * 1000);
    *(uint64_t *)arg = clock_thread_cpu_us();
    return NULL;
}

static void test_the_cpu_of_a_thread_is_its_own(void **state)
{
    (void)state;
    pthread_t thread;
    uint64_t its_us = 0;
    uint64_t start_us = clock_thread_cpu_us();
    assert_int_equal(pthread_create(&thread, NULL, work, &its_us), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(its_us >= 30000);
    assert_true(clock_thread_cpu_us() - start_us < 20000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_now_is_monotonic_and_never_zero),
        cmocka_unit_test(test_now_agrees_with_the_monotonic_clock),
        cmocka_unit_test(test_cpu_counts_work_and_not_sleep),
        cmocka_unit_test(test_the_cpu_of_a_thread_is_its_own),
    };
    return cmocka_run_group_tests_name("base/clock", tests, NULL, NULL);
}
