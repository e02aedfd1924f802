/* What bodies are charged as they come: all or nothing, the large ones but a part of the budget,
 * and all of it is given back. */
#include "flow/body_charge.h"

#include "base/budget.h"
#include "flow/context.h"

#include "../base/unit.h"

#define LIMIT       6400U
#define USUAL_MAX   (LIMIT / 64) /* [bytes] a body of more is a large one */
#define LARGE_LIMIT 3200U

#define FULL       "the proxy holds as many bytes as it may"
#define FULL_LARGE "the proxy holds as many bytes of large bodies as it may"

struct stage {
    struct budget budget;
    struct budget large_bodies;
    struct flow_context context;
};

static void stage_open(struct stage *stage)
{
    budget_init(&stage->budget, LIMIT);
    budget_init(&stage->large_bodies, LARGE_LIMIT);
    stage->context =
        (struct flow_context){.budget = &stage->budget, .large_bodies = &stage->large_bodies};
}

static void expect_used(const struct stage *stage, size_t bytes, size_t large_bytes)
{
    assert_int_equal(budget_used(&stage->budget), bytes);
    assert_int_equal(budget_used(&stage->large_bodies), large_bytes);
}

static void test_a_usual_body(void **state)
{
    (void)state;
    struct stage stage;
    struct body_charge charge = {0};
    stage_open(&stage);
    assert_null(body_charge_take(&charge, &stage.context, USUAL_MAX));
    expect_used(&stage, USUAL_MAX, 0);
    body_charge_is_whole(&charge, &stage.context);
    expect_used(&stage, USUAL_MAX, 0);
    body_charge_give(&charge, &stage.context);
    body_charge_give(&charge, &stage.context); /* nothing more */
    expect_used(&stage, 0, 0);
}

static void test_a_large_body_counts_as_such_until_it_is_whole(void **state)
{
    (void)state;
    struct stage stage;
    struct body_charge charge = {0};
    stage_open(&stage);
    assert_null(body_charge_take(&charge, &stage.context, USUAL_MAX));
    assert_null(body_charge_take(&charge, &stage.context, 1)); /* with all of it, from now on */
    expect_used(&stage, USUAL_MAX + 1, USUAL_MAX + 1);
    assert_null(body_charge_take(&charge, &stage.context, 10));
    expect_used(&stage, USUAL_MAX + 11, USUAL_MAX + 11);
    body_charge_is_whole(&charge, &stage.context);
    expect_used(&stage, USUAL_MAX + 11, 0);
    body_charge_give(&charge, &stage.context);
    expect_used(&stage, 0, 0);

    assert_null(body_charge_take(&charge, &stage.context, LARGE_LIMIT));
    body_charge_give(&charge, &stage.context); /* on its way, its sender went */
    expect_used(&stage, 0, 0);
}

static void test_what_does_not_fit_is_not_charged(void **state)
{
    (void)state;
    struct stage stage;
    struct body_charge large = {0};
    struct body_charge another = {0};
    struct body_charge usual = {0};
    stage_open(&stage);
    assert_null(body_charge_take(&large, &stage.context, LARGE_LIMIT - USUAL_MAX));
    assert_string_equal(body_charge_take(&another, &stage.context, USUAL_MAX + 1), FULL_LARGE);
    expect_used(&stage, LARGE_LIMIT - USUAL_MAX, LARGE_LIMIT - USUAL_MAX);
    for (size_t i = 0; i < (LIMIT - LARGE_LIMIT) / USUAL_MAX + 1; i++) {
        struct body_charge one = {0};
        assert_null(body_charge_take(&one, &stage.context, USUAL_MAX)); /* they have the rest */
        usual.bytes += one.bytes;
    }
    assert_string_equal(body_charge_take(&another, &stage.context, 1), FULL);
    expect_used(&stage, LIMIT, LARGE_LIMIT - USUAL_MAX);
    body_charge_give(&usual, &stage.context);
    body_charge_give(&another, &stage.context);
    body_charge_give(&large, &stage.context);
    expect_used(&stage, 0, 0);
}

static void test_a_body_of_unknown_length_is_charged_in_steps(void **state)
{
    (void)state;

    enum { KIB = 1024, MAX = 100 * KIB };

    static const struct {
        size_t size, charged;
    } steps[] = {
        {1, 16 * KIB},        {16 * KIB, 16 * KIB}, {16 * KIB + 1, 32 * KIB}, {40 * KIB, 64 * KIB},
        {50 * KIB, 64 * KIB}, {64 * KIB + 1, MAX},  {MAX - 1, MAX},           {MAX, MAX}};
    struct stage stage;
    struct body_charge charge = {0};
    stage_open(&stage);
    stage.budget.limit = MAX; /* it may take all, and fits */
    stage.large_bodies.limit = MAX;
    for (size_t i = 0; i < COUNT(steps); i++) {
        assert_null(body_charge_grow(&charge, &stage.context, steps[i].size, MAX));
        assert_int_equal(charge.bytes, steps[i].charged);
    }
    body_charge_give(&charge, &stage.context);
    assert_null(body_charge_grow(&charge, &stage.context, 90 * KIB, MAX)); /* at once */
    assert_int_equal(charge.bytes, 90 * KIB);
    stage.budget.limit = MAX - 1;
    assert_string_equal(body_charge_grow(&charge, &stage.context, MAX, MAX), FULL);
    assert_int_equal(charge.bytes, 90 * KIB);
    body_charge_give(&charge, &stage.context);
    expect_used(&stage, 0, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_usual_body),
        cmocka_unit_test(test_a_large_body_counts_as_such_until_it_is_whole),
        cmocka_unit_test(test_what_does_not_fit_is_not_charged),
        cmocka_unit_test(test_a_body_of_unknown_length_is_charged_in_steps),
    };
    return cmocka_run_group_tests_name("flow/body_charge", tests, NULL, NULL);
}
