/* Tests of base/escape: whatever goes in, what comes out can stand inside a JSON string. */
#include "base/escape.h"

#include "unit.h"

#include <iconv.h>

static void expect(const char *bytes, size_t count, const char *expected)
{
    char text[256];
    size_t size = escape_json(text, sizeof(text) - 1, bytes, count);
    text[size] = '\0';
    assert_string_equal(text, expected);
}

#define EXPECT(bytes, expected) expect((bytes), sizeof(bytes) - 1, (expected))

static void test_plain_text_stays(void **state)
{
    (void)state;
    EXPECT("", "");
    EXPECT("a b=c/d", "a b=c/d");
    EXPECT(" !#[]^~", " !#[]^~");
}

static void test_characters_of_json_are_escaped(void **state)
{
    (void)state;
    EXPECT("\"\\", "\\\"\\\\");
    EXPECT("\n\r\t", "\\n\\r\\t");
    EXPECT("\0\x01\x1b\x1f\x7f", "\\u0000\\u0001\\u001b\\u001f\\u007f");
}

static void test_utf8_stays(void **state)
{
    (void)state;
    EXPECT("\xc2\xa0", "\xc2\xa0"); /* the first after C1 */
    EXPECT("\xc3\xa4\xe2\x82\xac", "\xc3\xa4\xe2\x82\xac");
    EXPECT("\xe0\xa0\x80\xed\x9f\xbf", "\xe0\xa0\x80\xed\x9f\xbf");
    EXPECT("\xee\x80\x80\xef\xbf\xbd", "\xee\x80\x80\xef\xbf\xbd");
    EXPECT("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf");
}

static void test_c1_is_escaped(void **state)
{
    (void)state;
    EXPECT("\xc2\x80\xc2\x9b\xc2\x9f", "\\u0080\\u009b\\u009f");
}

static void test_what_yaml_does_not_read_is_escaped(void **state)
{
    (void)state;
    EXPECT("\xef\xbf\xbe\xef\xbf\xbf", "\\ufffe\\uffff");
}

static void test_utf8_is_told(void **state)
{
    (void)state;
    assert_true(escape_is_utf8("", 0));
    assert_true(escape_is_utf8("a\xc3\xa4\xf4\x8f\xbf\xbf", 7));
    assert_false(escape_is_utf8("a\xc3", 2));
    assert_false(escape_is_utf8("a\xff", 2));
}

static void test_each_invalid_byte_is_replaced(void **state)
{
    (void)state;
    EXPECT("a\x80z", "a\\ufffdz"); /* a tail without a head */
    EXPECT("\xc3", "\\ufffd");     /* a head without a tail */
    EXPECT("\xc3(", "\\ufffd(");
    EXPECT("\xe2\x82", "\\ufffd\\ufffd");
    EXPECT("\xe2\x82(", "\\ufffd\\ufffd(");
    EXPECT("\xf0\x9f\x98(", "\\ufffd\\ufffd\\ufffd(");
    EXPECT("\xc0\xaf", "\\ufffd\\ufffd"); /* overlong */
    EXPECT("\xc1\xbf", "\\ufffd\\ufffd");
    EXPECT("\xe0\x9f\xbf", "\\ufffd\\ufffd\\ufffd");
    EXPECT("\xf0\x8f\xbf\xbf", "\\ufffd\\ufffd\\ufffd\\ufffd");
    EXPECT("\xed\xa0\x80", "\\ufffd\\ufffd\\ufffd");            /* a surrogate */
    EXPECT("\xf4\x90\x80\x80", "\\ufffd\\ufffd\\ufffd\\ufffd"); /* above U+10FFFF */
    EXPECT("\xf5\xff\xfe", "\\ufffd\\ufffd\\ufffd");
}

static void test_does_not_read_beyond_the_count(void **state)
{
    (void)state;
    char *bytes = malloc(2); /* exact, so that a sanitizer tells */
    memcpy(bytes, "a\xe2", 2);
    expect(bytes, 2, "a\\ufffd");
    free(bytes);
}

static void expect_cut(size_t room, const char *bytes, const char *expected)
{
    char text[64];
    memset(text, '#', sizeof(text));
    size_t size = escape_json(text, room, bytes, strlen(bytes));
    assert_true(size <= room);
    assert_int_equal(text[room], '#');
    assert_int_equal(size, strlen(expected));
    assert_memory_equal(text, expected, size);
}

static void test_cut_between_characters(void **state)
{
    (void)state;
    expect_cut(6, "abcdef", "abcdef");
    expect_cut(6, "abcdefg", "abc...");
    expect_cut(3, "abcd", "...");
    expect_cut(3, "abc", "abc");
    expect_cut(3, "", "");
    expect_cut(8, "\n\n\n\n", "\\n\\n\\n\\n");
    expect_cut(8, "\n\n\n\n\n", "\\n\\n...");
    expect_cut(7, "\n\n\n\n\n", "\\n\\n...");
    expect_cut(6, "\n\n\n\n\n", "\\n...");
    expect_cut(8, "abc\x01z", "abc...");
    expect_cut(9, "a\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac", "a\xe2\x82\xac...");
}

/* Hold the text to RFC 8259: UTF-8 by iconv, no bare control or quote, whole escapes. */
static void check_json_inside(iconv_t converter, char *text, size_t size)
{
    char wide[4096];
    char *from = text;
    char *to = wide;
    size_t from_bytes = size;
    size_t to_bytes = sizeof(wide);
    assert_int_equal(iconv(converter, &from, &from_bytes, &to, &to_bytes), 0);
    assert_int_equal(from_bytes, 0);
    for (size_t i = 0; i < size; i++) {
        assert_true((unsigned char)text[i] >= 0x20 && text[i] != '"' && text[i] != 0x7f);
        if (text[i] != '\\') {
            continue;
        }
        assert_true(i + 1 < size);
        char letter = text[++i];
        if (letter == 'u') {
            assert_true(i + 4 < size);
            assert_int_equal(strspn(text + i + 1, "0123456789abcdef") >= 4, 1);
            i += 4;
        } else {
            assert_non_null(memchr("\"\\nrt", letter, 5));
        }
    }
}

static void test_any_bytes_make_a_json_string(void **state)
{
    (void)state;
    static const unsigned char likely[] = {0xc2, 0xe0, 0xe2, 0xed, 0xf0, 0xf4, 0x80, 0x9f,
                                           0xa0, 0xbf, '"',  '\\', '\n', 0,    'a'};
    uint64_t seed = 42;
    iconv_t converter = iconv_open("UTF-32LE", "UTF-8");
    assert_true(converter != (iconv_t)-1);
    for (size_t round = 0; round < 20000; round++) {
        unsigned char bytes[40];
        char text[300] = {0};
        size_t count = unit_random(&seed) % sizeof(bytes);
        for (size_t i = 0; i < count; i++) {
            uint64_t pick = unit_random(&seed);
            bytes[i] =
                pick % 4 == 0 ? (unsigned char)(pick >> 8) : likely[(pick >> 8) % COUNT(likely)];
        }
        size_t room = 3 + unit_random(&seed) % 250;
        size_t size = escape_json(text, room, bytes, count);
        assert_true(size <= room);
        check_json_inside(converter, text, size);
    }
    iconv_close(converter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_text_stays),
        cmocka_unit_test(test_characters_of_json_are_escaped),
        cmocka_unit_test(test_utf8_stays),
        cmocka_unit_test(test_c1_is_escaped),
        cmocka_unit_test(test_what_yaml_does_not_read_is_escaped),
        cmocka_unit_test(test_utf8_is_told),
        cmocka_unit_test(test_each_invalid_byte_is_replaced),
        cmocka_unit_test(test_does_not_read_beyond_the_count),
        cmocka_unit_test(test_cut_between_characters),
        cmocka_unit_test(test_any_bytes_make_a_json_string),
    };
    return cmocka_run_group_tests_name("base/escape", tests, NULL, NULL);
}
