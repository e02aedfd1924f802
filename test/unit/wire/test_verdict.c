/* The verdict table, status by status. */
#include "wire/verdict.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static enum verdict verdict_on(unsigned status, size_t members)
{
    const struct outcome outcome = {.kind = OUTCOME_ANSWERED, .status = status};
    return verdict_of(&outcome, members);
}

static enum verdict expected(unsigned status)
{
    if (status >= 200 && status < 300) {
        return VERDICT_ACCEPTED;
    }
    if (status == 400 || status == 409 || status == 413 || status == 422) {
        return VERDICT_REFUSED;
    }
    if (status == 408 || status == 425 || status == 429 || status >= 500 || status < 100) {
        return VERDICT_UNAVAILABLE;
    }
    return VERDICT_MISCONFIGURED;
}

static void test_every_status(void **state)
{
    (void)state;
    for (unsigned status = 0; status < 1000; status++) {
        enum verdict lone = expected(status);
        assert_int_equal(verdict_on(status, 1), lone);
        assert_int_equal(verdict_on(status, 2), lone == VERDICT_REFUSED ? VERDICT_SPLIT : lone);
    }
}

/* Whatever the status says, only a whole answer is an answer. */
static void test_no_answer_is_never_accepted(void **state)
{
    (void)state;

    static const enum outcome_kind kinds[] = {OUTCOME_UNREACHABLE, OUTCOME_BROKEN, OUTCOME_TIMEOUT,
                                              OUTCOME_CANCELLED};

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        for (unsigned status = 0; status < 600; status++) {
            const struct outcome outcome = {.kind = kinds[i], .status = status};
            assert_int_equal(verdict_of(&outcome, 1), VERDICT_UNAVAILABLE);
            assert_int_equal(verdict_of(&outcome, 64), VERDICT_UNAVAILABLE);
        }
    }
}

static void test_retry_after(void **state)
{
    (void)state;
    struct outcome outcome = {.kind = OUTCOME_ANSWERED, .status = 503};
    bool seen[6] = {false};
    for (unsigned random = 0; random < 100; random++) {
        unsigned seconds = verdict_retry_after_s(&outcome, random);
        assert_in_range(seconds, 1, 5);
        seen[seconds] = true;
    }
    for (size_t i = 1; i <= 5; i++) {
        assert_true(seen[i]);
    }
    outcome.retry_after_s = 17;
    assert_int_equal(verdict_retry_after_s(&outcome, 3), 17);
    outcome.retry_after_s = 3600;
    assert_int_equal(verdict_retry_after_s(&outcome, 3), 300);
}

static void test_parse_retry_after(void **state)
{
    (void)state;

    static const struct {
        const char *value;
        unsigned seconds;
    } cases[] = {
        {"1", 1},
        {" 120\t", 120},
        {"300", 300},
        {"301", 300},
        {"99999999999999999999", 300},
        {"0", 0},
        {"", 0},
        {" ", 0},
        {"-1", 0},
        {"+1", 0},
        {"1.5", 0},
        {"1 2", 0},
        {"5x", 0},
        {"999999x", 0},
        {"Fri, 31 Dec 1999 23:59:59 GMT", 0},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(verdict_parse_retry_after(cases[i].value, strlen(cases[i].value)),
                         cases[i].seconds);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_status),
        cmocka_unit_test(test_no_answer_is_never_accepted),
        cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_parse_retry_after),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
