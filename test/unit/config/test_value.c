/* Tests of config/value: numbers with units, in and out. */
#include "config/value.h"

#include "../base/unit.h"

#include <errno.h>

#define KIB UINT64_C(1024)
#define SEC UINT64_C(1000000)

struct reading {
    const char *text;
    uint64_t number;
};

static void expect_all(enum value_unit unit, const struct reading *readings, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t number = 77777;
        if (value_parse(unit, readings[i].text, &number) != 0) {
            fail_msg("refused: %s", readings[i].text);
        }
        assert_int_equal(number, readings[i].number);
    }
}

static void expect_none(enum value_unit unit, int error, const char *const *texts, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t number = 77777;
        if (value_parse(unit, texts[i], &number) != error) {
            fail_msg("not refused as it should be: %s", texts[i]);
        }
        assert_int_equal(number, 77777);
    }
}

static void test_plain(void **state)
{
    (void)state;
    static const struct reading good[] = {
        {"0", 0}, {"1", 1}, {"007", 7}, {"18446744073709551615", UINT64_MAX}};
    static const char *const bad[] = {"",    " ",   " 1", "1 ",  "-1",   "+1",  "1.0",
                                      "0x1", "1e3", "x",  "12k", "1KiB", "1\n", "\xd9\xa1"};
    static const char *const large[] = {"18446744073709551616", "99999999999999999999999999",
                                        "184467440737095516150"};
    expect_all(VALUE_PLAIN, good, COUNT(good));
    expect_none(VALUE_PLAIN, -EINVAL, bad, COUNT(bad));
    expect_none(VALUE_PLAIN, -ERANGE, large, COUNT(large));
}

static void test_bytes(void **state)
{
    (void)state;
    static const struct reading good[] = {{"0", 0},
                                          {"1048576", 1048576},
                                          {"5B", 5},
                                          {"1KiB", KIB},
                                          {"32MiB", 33554432},
                                          {"1GiB", 1073741824},
                                          {"2Ki", 2 * KIB},
                                          {"2Mi", 2 * KIB * KIB},
                                          {"2Gi", 2147483648},
                                          {"3k", 3000},
                                          {"3M", 3000000},
                                          {"3G", 3000000000},
                                          {"3kB", 3000},
                                          {"3MB", 3000000},
                                          {"3GB", 3000000000},
                                          {"17179869183GiB", UINT64_MAX - 1073741823}};
    static const char *const bad[] = {"",      "MiB",  "1 MiB", "1mib", "1.5MiB", "-1KiB",
                                      "1KiBx", "1Mib", "1K",    "1s",   "1KiB2",  "1TiB "};
    static const char *const large[] = {"17179869184GiB", "18446744073709551615k",
                                        "18446744073709551616"};
    expect_all(VALUE_BYTES, good, COUNT(good));
    expect_none(VALUE_BYTES, -EINVAL, bad, COUNT(bad));
    expect_none(VALUE_BYTES, -ERANGE, large, COUNT(large));
}

static void test_duration(void **state)
{
    (void)state;
    static const struct reading good[] = {{"0", 0},
                                          {"0s", 0},
                                          {"1us", 1},
                                          {"1\xc2\xb5s", 1},
                                          {"1\xce\xbcs", 1},
                                          {"500ms", 500000},
                                          {"20s", 20 * SEC},
                                          {"2m", 120 * SEC},
                                          {"1m30s", 90 * SEC},
                                          {"1h2m3s4ms5us", 3723 * SEC + 4005},
                                          {"1d", 86400 * SEC},
                                          {"1w", 604800 * SEC},
                                          {"1.5h", 5400 * SEC},
                                          {"0.25s", 250000},
                                          {"1.5m1.5s", 91500000},
                                          {"1.0000019s", 1000001},
                                          {"0.00000000000000000000000000001s", 0},
                                          {"30s1m", 90 * SEC},
                                          {"18446744073709551615us", UINT64_MAX}};
    static const char *const bad[] = {"",      "s",   "1",   "00",  "10",    "1 s",    " 1s",
                                      "1s ",   "-1s", "1.s", ".5s", "1x",    "1sec",   "1m30",
                                      "1m 3s", "1S",  "1ns", "1s1", "1..5s", "1.5.5s", "1\xc2s"};
    static const char *const large[] = {"18446744073709551616us",    "18446744073710s",
                                        "18446744073709s999999us1s", "30500569w",
                                        "18446744073709551615us1us", "18446744073709.999999s"};
    expect_all(VALUE_DURATION, good, COUNT(good));
    expect_none(VALUE_DURATION, -EINVAL, bad, COUNT(bad));
    expect_none(VALUE_DURATION, -ERANGE, large, COUNT(large));
}

static void test_bool(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "1", "0", "yes", "True", "true ", "falsee", "t"};
    bool boolean = false;
    assert_int_equal(value_parse_bool("true", &boolean), 0);
    assert_true(boolean);
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_int_equal(value_parse_bool(bad[i], &boolean), -EINVAL);
        assert_true(boolean);
    }
    assert_int_equal(value_parse_bool("false", &boolean), 0);
    assert_false(boolean);
}

static void expect_print(enum value_unit unit, uint64_t number, const char *expected)
{
    char text[VALUE_TEXT_BYTES];
    value_print(unit, number, text);
    assert_string_equal(text, expected);
}

static void test_print_uses_the_largest_exact_unit(void **state)
{
    (void)state;
    expect_print(VALUE_PLAIN, 0, "0");
    expect_print(VALUE_PLAIN, UINT64_MAX, "18446744073709551615");
    expect_print(VALUE_BYTES, 0, "0");
    expect_print(VALUE_BYTES, 1, "1");
    expect_print(VALUE_BYTES, 1000, "1000");
    expect_print(VALUE_BYTES, 1024, "1KiB");
    expect_print(VALUE_BYTES, 1536, "1536");
    expect_print(VALUE_BYTES, 3 * KIB * KIB / 2, "1536KiB");
    expect_print(VALUE_BYTES, 32 * KIB * KIB, "32MiB");
    expect_print(VALUE_BYTES, 1024 * KIB * KIB * KIB, "1024GiB");
    expect_print(VALUE_DURATION, 0, "0s");
    expect_print(VALUE_DURATION, 1, "1us");
    expect_print(VALUE_DURATION, 1500, "1ms500us");
    expect_print(VALUE_DURATION, 90 * SEC, "1m30s");
    expect_print(VALUE_DURATION, 120 * SEC, "2m");
    expect_print(VALUE_DURATION, 3600 * SEC, "1h");
    expect_print(VALUE_DURATION, 8 * 86400 * SEC, "1w1d");
}

static void test_print_reads_back(void **state)
{
    (void)state;
    uint64_t seed = 3;

    static const enum value_unit units[] = {VALUE_PLAIN, VALUE_BYTES, VALUE_DURATION};

    for (size_t i = 0; i < 30000; i++) {
        uint64_t number = unit_random(&seed) >> (i % 64);
        number = i < 3 ? UINT64_MAX : number;
        char text[VALUE_TEXT_BYTES];
        uint64_t back = ~number;
        value_print(units[i % 3], number, text);
        assert_true(strlen(text) < VALUE_TEXT_BYTES - 1);
        assert_int_equal(value_parse(units[i % 3], text, &back), 0);
        assert_int_equal(back, number);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_duration),
        cmocka_unit_test(test_bool),
        cmocka_unit_test(test_print_uses_the_largest_exact_unit),
        cmocka_unit_test(test_print_reads_back),
    };
    return cmocka_run_group_tests_name("config/value", tests, NULL, NULL);
}
