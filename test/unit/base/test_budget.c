/* Tests of base/budget: all or none, never above the limit, also from several threads. */
#include "base/budget.h"

#include "unit.h"

#include <pthread.h>
#include <signal.h>

static void test_takes_up_to_the_limit_and_no_further(void **state)
{
    (void)state;
    struct budget budget;
    budget_init(&budget, 100);
    assert_int_equal(budget_used(&budget), 0);
    assert_true(budget_take(&budget, 60));
    assert_false(budget_take(&budget, 41));
    assert_int_equal(budget_used(&budget), 60);
    assert_true(budget_take(&budget, 40));
    assert_int_equal(budget_used(&budget), 100);
    assert_false(budget_take(&budget, 1));
    assert_true(budget_take(&budget, 0));
}

static void test_gives_back(void **state)
{
    (void)state;
    struct budget budget;
    budget_init(&budget, 10);
    assert_true(budget_take(&budget, 10));
    budget_give(&budget, 4);
    assert_int_equal(budget_used(&budget), 6);
    assert_true(budget_take(&budget, 4));
    budget_give(&budget, 10);
    assert_int_equal(budget_used(&budget), 0);
}

static void test_sum_does_not_wrap_around(void **state)
{
    (void)state;
    struct budget budget;
    budget_init(&budget, SIZE_MAX);
    assert_true(budget_take(&budget, SIZE_MAX - 1));
    assert_false(budget_take(&budget, SIZE_MAX));
    assert_false(budget_take(&budget, 2));
    assert_true(budget_take(&budget, 1));
    assert_int_equal(budget_used(&budget), SIZE_MAX);
}

static void test_nothing_fits_into_nothing(void **state)
{
    (void)state;
    struct budget budget;
    budget_init(&budget, 0);
    assert_false(budget_take(&budget, 1));
    assert_true(budget_take(&budget, 0));
}

static void give_too_much(void *argument)
{
    struct budget *budget = argument;
    budget_give(budget, 11);
}

static void test_giving_more_than_was_taken_ends_the_program(void **state)
{
    (void)state;
    char text[512];
    struct budget budget;
    budget_init(&budget, 100);
    assert_true(budget_take(&budget, 10));
    int status = unit_run_child(give_too_much, &budget, text, sizeof(text));
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

enum { THREADS = 4, ROUNDS = 20000, LIMIT = 10 };

struct shared {
    struct budget budget;
    _Atomic size_t held; /* counted by the threads themselves */
    _Atomic bool exceeded;
};

static void *take_and_give(void *argument)
{
    struct shared *shared = argument;
    for (size_t i = 0; i < ROUNDS; i++) {
        size_t bytes = i % 7 + 1;
        if (budget_take(&shared->budget, bytes)) {
            if (atomic_fetch_add(&shared->held, bytes) + bytes > LIMIT) {
                shared->exceeded = true;
            }
            atomic_fetch_sub(&shared->held, bytes);
            budget_give(&shared->budget, bytes);
        }
    }
    return NULL;
}

static void test_threads_together_stay_within_the_limit(void **state)
{
    (void)state;
    struct shared shared = {.held = 0};
    pthread_t threads[THREADS];
    budget_init(&shared.budget, LIMIT);
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, &shared), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_false(shared.exceeded);
    assert_int_equal(budget_used(&shared.budget), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_takes_up_to_the_limit_and_no_further),
        cmocka_unit_test(test_gives_back),
        cmocka_unit_test(test_sum_does_not_wrap_around),
        cmocka_unit_test(test_nothing_fits_into_nothing),
        cmocka_unit_test(test_giving_more_than_was_taken_ends_the_program),
        cmocka_unit_test(test_threads_together_stay_within_the_limit),
    };
    return cmocka_run_group_tests_name("base/budget", tests, NULL, NULL);
}
