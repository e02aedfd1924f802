/* Plain request heads: how the usual ones are taken apart, and that none is taken whose bytes could
 * be read in another way. */
#include "wire/plain_head.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define LINE "POST /api/v1/receive HTTP/1.1\r\n"
#define HOST "Host: a\r\n"

/* Owner: the test, by copy_free(). What is parsed has bytes of its own, and nothing behind them, so
 * that a tool for memory sees a step too far. */
struct copy {
    char *data;
    struct plain_head plain;
};

static int parse(struct copy *copy, const char *text, size_t bytes)
{
    copy->data = malloc(bytes > 0 ? bytes : 1);
    assert_non_null(copy->data);
    memcpy(copy->data, text, bytes);
    return plain_head_parse(copy->data, bytes, &copy->plain);
}

static void copy_free(struct copy *copy)
{
    free(copy->data);
}

static bool is_plain(const char *text, size_t bytes)
{
    struct copy copy;
    int status = parse(&copy, text, bytes);
    assert_true(status == 0 || status == -EBADMSG);
    copy_free(&copy);
    return status == 0;
}

static void expect_field(const struct plain_head *plain, size_t at, const char *name,
                         const char *value)
{
    assert_true(at < plain->count);
    assert_string_equal(plain->fields[at].name, name);
    assert_string_equal(plain->fields[at].value, value);
}

/* -- What is taken ---------------------------------------------------------------------------- */

static const char USUAL[] = "POST /api/v1/receive?x=1 HTTP/1.1\r\n"
                            "Host: proxy:8080\r\n"
                            "User-Agent: Prometheus/3.5.0\r\n"
                            "Content-Length: 270000\r\n"
                            "Content-Encoding: snappy\r\n"
                            "content-type: \t application/x-protobuf \t \r\n"
                            "X-Empty:\r\n"
                            "X-Blank: \t \r\n"
                            "X-Odd:a:b \xc3\xa4\tc\r\n"
                            "\r\n";

static void test_a_usual_head_is_taken_apart(void **state)
{
    (void)state;
    struct copy copy;
    assert_int_equal(parse(&copy, USUAL, sizeof(USUAL) - 1), 0);
    const struct plain_head *plain = &copy.plain;
    assert_string_equal(plain->method, "POST");
    assert_string_equal(plain->target, "/api/v1/receive?x=1");
    assert_int_equal(plain->bytes, sizeof(USUAL) - 1);
    assert_int_equal(plain->count, 8);
    expect_field(plain, 0, "Host", "proxy:8080");
    expect_field(plain, 3, "Content-Encoding", "snappy");
    expect_field(plain, 4, "content-type", "application/x-protobuf");
    expect_field(plain, 5, "X-Empty", "");
    expect_field(plain, 6, "X-Blank", "");
    expect_field(plain, 7, "X-Odd", "a:b \xc3\xa4\tc");
    assert_int_equal(plain->head.body, HEAD_BODY_LENGTH);
    assert_int_equal(plain->head.content_length, 270000);
    assert_true(plain->head.keep_alive);
    assert_false(plain->head.expects_continue);
    copy_free(&copy);
}

static void test_fields_are_found_in_any_case(void **state)
{
    (void)state;
    static const char text[] = LINE HOST "X-a: 1\r\nx-A: 2\r\nX-ab: 3\r\n\r\n";
    struct copy copy;
    assert_int_equal(parse(&copy, text, sizeof(text) - 1), 0);
    assert_string_equal(plain_head_field(&copy.plain, "x-a"), "1"); /* the first of several */
    assert_string_equal(plain_head_field(&copy.plain, "X-AB"), "3");
    assert_string_equal(plain_head_field(&copy.plain, "hOST"), "a");
    assert_null(plain_head_field(&copy.plain, "X-"));
    assert_null(plain_head_field(&copy.plain, "X-abc"));
    assert_null(plain_head_field(&copy.plain, ""));
    copy_free(&copy);
}

/* Framing and connection are told, not judged: that is for the caller. */
static void test_what_the_fields_say_is_told(void **state)
{
    (void)state;
    static const char chunked[] = LINE HOST "Transfer-Encoding: chunked\r\n"
                                            "Expect: 100-continue\r\nConnection: close\r\n\r\n";
    static const char none[] = "GET /metrics HTTP/1.1\r\n" HOST "\r\n";
    static const char absolute[] = "POST http://a/api/v1/receive HTTP/1.1\r\n" HOST "\r\n";
    struct copy copy;
    assert_int_equal(parse(&copy, chunked, sizeof(chunked) - 1), 0);
    assert_int_equal(copy.plain.head.body, HEAD_BODY_CHUNKED);
    assert_true(copy.plain.head.expects_continue);
    assert_false(copy.plain.head.keep_alive);
    copy_free(&copy);
    assert_int_equal(parse(&copy, none, sizeof(none) - 1), 0);
    assert_string_equal(copy.plain.method, "GET");
    assert_int_equal(copy.plain.head.body, HEAD_BODY_NONE);
    copy_free(&copy);
    assert_int_equal(parse(&copy, absolute, sizeof(absolute) - 1), 0);
    assert_string_equal(copy.plain.target, "http://a/api/v1/receive");
    copy_free(&copy);
}

/* One head after another is parsed into the same place. */
static void test_nothing_is_left_of_the_head_before(void **state)
{
    (void)state;
    static const char second[] = "GET / HTTP/1.1\r\nHost: b\r\n\r\n";
    struct copy copy;
    char text[sizeof(second)];
    memcpy(text, second, sizeof(second));
    assert_int_equal(parse(&copy, USUAL, sizeof(USUAL) - 1), 0);
    assert_int_equal(plain_head_parse(text, sizeof(second) - 1, &copy.plain), 0);
    assert_int_equal(copy.plain.count, 1);
    assert_int_equal(copy.plain.head.body, HEAD_BODY_NONE);
    assert_int_equal(copy.plain.head.content_length, 0);
    assert_null(plain_head_field(&copy.plain, "User-Agent"));
    copy_free(&copy);
}

static void test_what_follows_the_head_is_left_alone(void **state)
{
    (void)state;
    static const char *const tails[] = {
        "x", "\r", "\n", "\r\n\r\n", "GET / HTTP/1.1\r\n", "a\r\n\n\rb", "\xff:\r\n"};
    for (size_t i = 0; i < COUNT(tails); i++) {
        char text[sizeof(USUAL) + 64];
        size_t head_bytes = sizeof(USUAL) - 1;
        size_t tail_bytes = strlen(tails[i]);
        struct copy copy;
        memcpy(text, USUAL, head_bytes);
        memcpy(text + head_bytes, tails[i], tail_bytes);
        assert_int_equal(parse(&copy, text, head_bytes + tail_bytes), 0);
        assert_int_equal(copy.plain.bytes, head_bytes);
        assert_int_equal(copy.plain.count, 8);
        assert_memory_equal(copy.data + head_bytes, tails[i], tail_bytes);
        copy_free(&copy);
    }
}

static void test_a_head_is_not_plain_before_it_is_whole(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes < sizeof(USUAL) - 1; bytes++) {
        assert_false(is_plain(USUAL, bytes));
    }
    assert_true(is_plain(USUAL, sizeof(USUAL) - 1));
}

static void test_so_many_fields_and_no_more(void **state)
{
    (void)state;
    for (size_t fields = PLAIN_HEAD_FIELDS_MAX - 1; fields < PLAIN_HEAD_FIELDS_MAX + 2; fields++) {
        char text[4096];
        size_t size = (size_t)snprintf(text, sizeof(text), LINE HOST);
        for (size_t i = 1; i < fields; i++) {
            size += (size_t)snprintf(text + size, sizeof(text) - size, "X-%zu: %zu\r\n", i, i);
        }
        size += (size_t)snprintf(text + size, sizeof(text) - size, "\r\n");
        assert_int_equal(is_plain(text, size), fields <= PLAIN_HEAD_FIELDS_MAX);
    }
}

/* -- What is not ------------------------------------------------------------------------------ */

struct text {
    const char *bytes;
    size_t size;
};

#define TEXT(bytes_)                                  \
    {                                                 \
        .bytes = (bytes_), .size = sizeof(bytes_) - 1 \
    }

static void test_what_could_be_read_in_two_ways_is_not_plain(void **state)
{
    (void)state;
    static const struct text cases[] = {
        /* lines */
        TEXT("\r\n" LINE HOST "\r\n"),
        TEXT("POST / HTTP/1.1\nHost: a\r\n\r\n"),
        TEXT(LINE "Host: a\n\r\n"),
        TEXT(LINE "Host: a\r\n\n"),
        TEXT(LINE "Host: a\n\nGET / HTTP/1.1\r\n\r\n"),
        TEXT(LINE HOST "X: a\nContent-Length: 5\r\n\r\n"),
        TEXT(LINE HOST "X: a\rContent-Length: 5\r\n\r\n"),
        TEXT(LINE HOST "X: a\r\r\n\r\n"),
        TEXT(LINE HOST "X: a\r\n\r\r\n"),
        TEXT(LINE HOST "X: a\r\n b\r\n\r\n"),
        TEXT(LINE HOST "X: a\r\n\tb: c\r\n\r\n"),
        TEXT(LINE " Host: a\r\n\r\n"),
        TEXT(LINE HOST " \r\n\r\n"),
        TEXT(LINE HOST "no colon\r\n\r\n"),
        /* the request line */
        TEXT("POST / HTTP/1.0\r\n" HOST "\r\n"),
        TEXT("POST / HTTP/1.2\r\n" HOST "\r\n"),
        TEXT("POST / HTTP/2.0\r\n" HOST "\r\n"),
        TEXT("POST / http/1.1\r\n" HOST "\r\n"),
        TEXT("POST / HTTP/1.1 \r\n" HOST "\r\n"),
        TEXT("POST / HTTP/1.1x\r\n" HOST "\r\n"),
        TEXT("POST / HTTP/1.1\0\r\n" HOST "\r\n"),
        TEXT("POST / HTTP/1.\r\n" HOST "\r\n"),
        TEXT("POST / \r\n" HOST "\r\n"),
        TEXT("POST /\r\n" HOST "\r\n"),
        TEXT("POST\r\n" HOST "\r\n"),
        TEXT("POST  / HTTP/1.1\r\n" HOST "\r\n"),
        TEXT("POST /  HTTP/1.1\r\n" HOST "\r\n"),
        TEXT("POST\t/ HTTP/1.1\r\n" HOST "\r\n"),
        TEXT("POST /\tHTTP/1.1\r\n" HOST "\r\n"),
        TEXT(" POST / HTTP/1.1\r\n" HOST "\r\n"),
        TEXT("POST /a b HTTP/1.1\r\n" HOST "\r\n"),
        TEXT("POST /a\0b HTTP/1.1\r\n" HOST "\r\n"),
        TEXT("POST /\x7f HTTP/1.1\r\n" HOST "\r\n"),
        TEXT("POST /\xc3\xa4 HTTP/1.1\r\n" HOST "\r\n"),
        TEXT("PO\0ST / HTTP/1.1\r\n" HOST "\r\n"),
        TEXT("PO:ST / HTTP/1.1\r\n" HOST "\r\n"),
        TEXT("P\xc3\xa4 / HTTP/1.1\r\n" HOST "\r\n"),
        /* names and values */
        TEXT(LINE HOST "Content-Length : 5\r\n\r\n"),
        TEXT(LINE HOST "Content-Length\t: 5\r\n\r\n"),
        TEXT(LINE HOST "Content Length: 5\r\n\r\n"),
        TEXT(LINE HOST ": 5\r\n\r\n"),
        TEXT(LINE HOST "X\0: 5\r\n\r\n"),
        TEXT(LINE HOST "X\xff: 5\r\n\r\n"),
        TEXT(LINE HOST "X: a\0b\r\n\r\n"),
        TEXT(LINE HOST "X: \0\r\n\r\n"),
        TEXT(LINE HOST "X: a\x01\r\n\r\n"),
        TEXT(LINE HOST "X: \x7f\r\n\r\n"),
        TEXT(LINE HOST "X: \x0b\r\n\r\n"),
        /* host and framing */
        TEXT(LINE "\r\n"),
        TEXT(LINE "Content-Length: 5\r\n\r\n"),
        TEXT(LINE "Host:\r\n\r\n"),
        TEXT(LINE HOST HOST "\r\n"),
        TEXT(LINE HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
        TEXT(LINE HOST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"),
        TEXT(LINE HOST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"),
        TEXT(LINE HOST "Content-Length: 5, 5\r\n\r\n"),
        TEXT(LINE HOST "Content-Length: +5\r\n\r\n"),
        TEXT(LINE HOST "Content-Length: 0x5\r\n\r\n"),
        TEXT(LINE HOST "Content-Length:\r\n\r\n"),
        TEXT(LINE HOST "Content-Length: 18446744073709551616\r\n\r\n"),
        TEXT(LINE HOST "Transfer-Encoding: gzip, chunked\r\n\r\n"),
        TEXT(LINE HOST "Expect: something\r\n\r\n"),
        TEXT(LINE HOST "Connection: a b\r\n\r\n"),
    };
    assert_true(is_plain(LINE HOST "\r\n", sizeof(LINE HOST "\r\n") - 1));
    for (size_t i = 0; i < COUNT(cases); i++) {
        if (is_plain(cases[i].bytes, cases[i].size)) {
            fail_msg("case %zu is plain", i);
        }
    }
}

/* Each byte of a head in turn is another one. */
static void test_control_bytes_are_plain_nowhere(void **state)
{
    (void)state;
    static const char bytes[] = {'\0', '\n', '\r', '\x0b', '\x1f', '\x7f'};
    for (size_t at = 0; at < sizeof(USUAL) - 1; at++) {
        for (size_t i = 0; i < sizeof(bytes); i++) {
            char text[sizeof(USUAL)];
            memcpy(text, USUAL, sizeof(USUAL));
            if (text[at] == bytes[i]) {
                continue;
            }
            text[at] = bytes[i];
            if (is_plain(text, sizeof(USUAL) - 1)) {
                fail_msg("byte %zu may be 0x%02x", at, (unsigned)bytes[i]);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_usual_head_is_taken_apart),
        cmocka_unit_test(test_fields_are_found_in_any_case),
        cmocka_unit_test(test_what_the_fields_say_is_told),
        cmocka_unit_test(test_nothing_is_left_of_the_head_before),
        cmocka_unit_test(test_what_follows_the_head_is_left_alone),
        cmocka_unit_test(test_a_head_is_not_plain_before_it_is_whole),
        cmocka_unit_test(test_so_many_fields_and_no_more),
        cmocka_unit_test(test_what_could_be_read_in_two_ways_is_not_plain),
        cmocka_unit_test(test_control_bytes_are_plain_nowhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
