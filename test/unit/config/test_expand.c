/* Tests of config/expand: variables, what stands for itself, what is refused. */
#include "config/expand.h"

#include "../base/unit.h"

#include <errno.h>

static void expect(const char *text, const char *expanded)
{
    char *got = NULL;
    char error[EXPAND_ERROR_BYTES] = "";
    if (expand_environment(text, &got, error) < 0) {
        fail_msg("%s: %s", text, error);
    }
    assert_string_equal(got, expanded);
    free(got);
}

static void expect_error(const char *text, const char *reason)
{
    char *got = NULL;
    char error[EXPAND_ERROR_BYTES] = "";
    assert_int_equal(expand_environment(text, &got, error), -EINVAL);
    assert_null(got);
    assert_string_equal(error, reason);
}

static void test_variables(void **state)
{
    (void)state;
    setenv("UNIT_A", "value", 1);
    setenv("_unit2", "$(UNIT_A)\": x", 1);
    setenv("UNIT_EMPTY", "", 1);
    expect("", "");
    expect("plain", "plain");
    expect("${UNIT_A}", "value");
    expect("$(UNIT_A)", "value");
    expect("<${UNIT_A}$(UNIT_A)>", "<valuevalue>");
    expect("${UNIT_EMPTY}", "");
    expect("${_unit2}", "$(UNIT_A)\": x"); /* what comes in is not looked at again */
}

static void test_what_stands_for_itself(void **state)
{
    (void)state;
    expect("$", "$");
    expect("a$b $1 $$", "a$b $1 $$");
    expect("$${UNIT_A} $$(UNIT_A)", "${UNIT_A} $(UNIT_A)");
    expect("$$${UNIT_A}", "$${UNIT_A}");
    expect("{UNIT_A}", "{UNIT_A}");
}

static void test_mistakes(void **state)
{
    (void)state;
    unsetenv("UNIT_NONE");
    expect_error("a ${UNIT_NONE}", "the environment variable UNIT_NONE is not set");
    expect_error("${", "has ${ without the name of a variable and } after it; $${ stands for ${");
    expect_error("$(a", "has $( without the name of a variable and ) after it; $$( stands for $(");
    expect_error("${UNIT_A)",
                 "has ${ without the name of a variable and } after it; $${ stands for ${");
    expect_error("${1A}",
                 "has ${ without the name of a variable and } after it; $${ stands for ${");
    expect_error("${}", "has ${ without the name of a variable and } after it; $${ stands for ${");
    expect_error("${a b}",
                 "has ${ without the name of a variable and } after it; $${ stands for ${");
}

static void test_the_ceiling(void **state)
{
    (void)state;
    char *half = calloc(1, EXPAND_BYTES_MAX / 2 + 1);
    assert_non_null(half);
    memset(half, 'a', EXPAND_BYTES_MAX / 2);
    setenv("UNIT_HALF", half, 1);
    expect_error("${UNIT_HALF}${UNIT_HALF}", "is too long");
    unsetenv("UNIT_HALF");
    free(half);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_variables),
        cmocka_unit_test(test_what_stands_for_itself),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_the_ceiling),
    };
    return cmocka_run_group_tests_name("config/expand", tests, NULL, NULL);
}
