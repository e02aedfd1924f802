/* Tests of base/decimal: text that reads back as the number it was. */
#include "base/decimal.h"

#include "unit.h"

#include <float.h>
#include <math.h>

static void expect_f64(double number, const char *expected)
{
    char text[DECIMAL_BYTES_MAX];
    size_t bytes = decimal_print_f64(text, number);
    assert_string_equal(text, expected);
    assert_int_equal(bytes, strlen(expected));
}

static void test_f64_is_short(void **state)
{
    (void)state;
    expect_f64(0, "0");
    expect_f64(-0.0, "-0");
    expect_f64(1, "1");
    expect_f64(-2.5, "-2.5");
    expect_f64(0.1, "0.1");
    expect_f64(0.3, "0.3");
    expect_f64(1700000000.123, "1700000000.123");
    expect_f64(123456789012345, "123456789012345");
    expect_f64(1e100, "1e+100");
}

static void test_f64_names_what_is_no_number(void **state)
{
    (void)state;
    expect_f64(INFINITY, "+Inf");
    expect_f64(-INFINITY, "-Inf");
    expect_f64(NAN, "NaN");
    expect_f64(-NAN, "NaN");
}

static void test_f64_reads_back(void **state)
{
    (void)state;
    static const double edges[] = {DBL_MAX,      -DBL_MAX, DBL_MIN,     DBL_TRUE_MIN,
                                   0.1 + 0.2,    1.0 / 3,  DBL_EPSILON, 9007199254740993.0,
                                   5e-324 * 3.0, -1e-300};
    uint64_t seed = 88172645463325252u;
    char text[DECIMAL_BYTES_MAX];
    for (size_t i = 0; i < 20000; i++) {
        uint64_t bits = unit_random(&seed);
        double number;
        memcpy(&number, &bits, sizeof(number));
        number = i < COUNT(edges) ? edges[i] : number;
        if (isnan(number)) {
            continue;
        }
        assert_true(decimal_print_f64(text, number) < DECIMAL_BYTES_MAX);
        double back = strtod(text, NULL);
        assert_memory_equal(&back, &number, sizeof(number));
    }
}

static void expect_ratio(uint64_t value, uint64_t scale, const char *expected)
{
    char text[DECIMAL_BYTES_MAX];
    size_t bytes = decimal_print_ratio(text, value, scale);
    assert_string_equal(text, expected);
    assert_int_equal(bytes, strlen(expected));
}

static void test_ratio_is_exact(void **state)
{
    (void)state;
    expect_ratio(0, 1, "0");
    expect_ratio(0, 1000000, "0");
    expect_ratio(2500, 1000000, "0.0025");
    expect_ratio(1, 1000000, "0.000001");
    expect_ratio(1000000, 1000000, "1");
    expect_ratio(25000000, 1000000, "25");
    expect_ratio(1500000, 1000000, "1.5");
    expect_ratio(33554432, 1, "33554432");
    expect_ratio(UINT64_MAX, 1, "18446744073709551615");
    expect_ratio(UINT64_MAX, 1000000, "18446744073709.551615");
    expect_ratio(1, UINT64_C(1000000000000000000), "0.000000000000000001");
}

static void test_ratio_without_end_is_cut(void **state)
{
    (void)state;
    char text[DECIMAL_BYTES_MAX];
    size_t bytes = decimal_print_ratio(text, 1, 3);
    assert_int_equal(bytes, DECIMAL_BYTES_MAX - 1);
    assert_int_equal(strlen(text), bytes);
    assert_memory_equal(text, "0.33333333", 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f64_is_short),
        cmocka_unit_test(test_f64_names_what_is_no_number),
        cmocka_unit_test(test_f64_reads_back),
        cmocka_unit_test(test_ratio_is_exact),
        cmocka_unit_test(test_ratio_without_end_is_cut),
    };
    return cmocka_run_group_tests_name("base/decimal", tests, NULL, NULL);
}
