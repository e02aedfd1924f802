/* Tests of base/token_bucket: what can be spent, and when it is there again. */
#include "base/token_bucket.h"

#include "unit.h"

#define SEC UINT64_C(1000000)

static void test_full_at_the_start_and_spent_once(void **state)
{
    (void)state;
    struct token_bucket bucket;
    token_bucket_init(&bucket, 3, 1, 77);
    assert_true(token_bucket_take(&bucket, 2, 77));
    assert_false(token_bucket_take(&bucket, 2, 77)); /* all or none */
    assert_true(token_bucket_take(&bucket, 1, 77));
    assert_false(token_bucket_take(&bucket, 1, 77));
    assert_true(token_bucket_take(&bucket, 0, 77));
    token_bucket_init(&bucket, 3, 1, 77);
    assert_false(token_bucket_take(&bucket, 4, 77));
    assert_true(token_bucket_take(&bucket, 3, 77));
}

static void test_refills_at_its_rate(void **state)
{
    (void)state;
    struct token_bucket bucket;
    token_bucket_init(&bucket, 10, 4, SEC);
    assert_true(token_bucket_take(&bucket, 10, SEC));
    assert_false(token_bucket_take(&bucket, 1, SEC + 249999));
    assert_true(token_bucket_take(&bucket, 1, SEC + 250000));
    assert_false(token_bucket_take(&bucket, 1, SEC + 250000));
    assert_false(token_bucket_take(&bucket, 5, 2 * SEC + 499999));
    assert_true(token_bucket_take(&bucket, 5, 2 * SEC + 500000));
}

/* Parts of a token are kept however often it is asked. */
static void test_many_small_steps_lose_nothing(void **state)
{
    (void)state;
    struct token_bucket bucket;
    uint64_t taken = 0;
    token_bucket_init(&bucket, 5, 3, 0);
    assert_true(token_bucket_take(&bucket, 5, 0));
    for (uint64_t now_us = 1; now_us <= 10 * SEC; now_us += 7) {
        taken += token_bucket_take(&bucket, 1, now_us);
    }
    assert_in_range(taken, 29, 30);
}

static void test_never_holds_more_than_its_size(void **state)
{
    (void)state;
    struct token_bucket bucket;
    token_bucket_init(&bucket, 5, 3, 0);
    assert_true(token_bucket_take(&bucket, 1, 0));
    assert_false(token_bucket_take(&bucket, 6, 1000 * SEC));
    assert_true(token_bucket_take(&bucket, 5, 1000 * SEC));
    assert_false(token_bucket_take(&bucket, 1, 1000 * SEC));
    assert_true(token_bucket_take(&bucket, 5, UINT64_MAX)); /* a silence without end */
    assert_false(token_bucket_take(&bucket, 1, UINT64_MAX));
}

static void test_without_a_rate_it_runs_dry(void **state)
{
    (void)state;
    struct token_bucket bucket;
    token_bucket_init(&bucket, 2, 0, 0);
    assert_true(token_bucket_take(&bucket, 2, 0));
    assert_false(token_bucket_take(&bucket, 1, 1000000 * SEC));
}

static void test_time_that_stands_or_goes_back_gives_nothing(void **state)
{
    (void)state;
    struct token_bucket bucket;
    token_bucket_init(&bucket, 2, 1, 100 * SEC);
    assert_true(token_bucket_take(&bucket, 2, 100 * SEC));
    assert_false(token_bucket_take(&bucket, 1, 50 * SEC));
    assert_false(token_bucket_take(&bucket, 1, 100 * SEC));
    assert_true(token_bucket_take(&bucket, 1, 101 * SEC));
    assert_false(token_bucket_take(&bucket, 1, 101 * SEC));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_at_the_start_and_spent_once),
        cmocka_unit_test(test_refills_at_its_rate),
        cmocka_unit_test(test_many_small_steps_lose_nothing),
        cmocka_unit_test(test_never_holds_more_than_its_size),
        cmocka_unit_test(test_without_a_rate_it_runs_dry),
        cmocka_unit_test(test_time_that_stands_or_goes_back_gives_nothing),
    };
    return cmocka_run_group_tests_name("base/token_bucket", tests, NULL, NULL);
}
