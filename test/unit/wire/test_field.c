/* Header names, values and lists. */
#include "wire/field.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct text text(const char *word)
{
    return (struct text){.start = word, .bytes = strlen(word)};
}

static void test_names_are_tokens(void **state)
{
    (void)state;
    assert_true(field_name_valid(text("Content-Length")));
    assert_true(field_name_valid(text("!#$%&'*+-.^_`|~09azAZ")));
    assert_false(field_name_valid(text("")));
    assert_false(field_name_valid((struct text){.start = "a\0b", .bytes = 3}));
    static const char separators[] = " \t\r\n\"(),/:;<=>?@[\\]{}\x7f\x80\xff\x01";
    for (size_t i = 0; i < sizeof(separators) - 1; i++) {
        assert_false(field_name_valid((struct text){.start = separators + i, .bytes = 1}));
    }
}

static void test_values_have_no_controls(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 256; i++) {
        char c = (char)i;
        bool allowed = (i >= 0x20 && i != 0x7f) || c == '\t';
        assert_int_equal(field_value_valid((struct text){.start = &c, .bytes = 1}), allowed);
    }
    assert_true(field_value_valid((struct text){.start = NULL, .bytes = 0}));
}

static void test_text(void **state)
{
    (void)state;
    assert_true(text_is(text("ChunkeD"), "chunked"));
    assert_false(text_is(text("chunke"), "chunked"));
    assert_false(text_is(text("chunkedd"), "chunked"));
    assert_true(text_is(text_trim(text(" \t a b\t ")), "a b"));
    assert_int_equal(text_trim(text(" \t ")).bytes, 0);
    assert_int_equal(text_trim((struct text){.start = NULL, .bytes = 0}).bytes, 0);
    assert_true(text_equal((struct text){.start = NULL, .bytes = 0}, text("")));
}

static void test_lists(void **state)
{
    (void)state;
    static const char *const expected[] = {"a", "", "b c", ""};
    struct text rest = text(" a ,, b c\t, ,");
    struct text element;
    for (size_t i = 0; i < 4; i++) {
        assert_true(text_next(&rest, &element));
        assert_true(text_is(element, expected[i]));
    }
    assert_false(text_next(&rest, &element));
}

static void test_numbers(void **state)
{
    (void)state;
    uint64_t number = 7;
    assert_true(field_number(text("18446744073709551615"), &number));
    assert_true(number == UINT64_MAX);
    assert_true(field_number(text("007"), &number));
    assert_true(number == 7);
    static const char *const bad[] = {"",
                                      "18446744073709551616",
                                      "99999999999999999999",
                                      "+5",
                                      "-1",
                                      " 5",
                                      "5 ",
                                      "5,5",
                                      "0x5",
                                      "5.0",
                                      "\xd9\xa5"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(field_number(text(bad[i]), &number));
        assert_true(number == 7);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_are_tokens),
        cmocka_unit_test(test_values_have_no_controls),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
