/* Request heads: each smuggling shape is refused for its own reason, honest ones pass. */
#include "wire/head.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* Header lines as "Name: value" with one blank; a version before, an end by NULL. */
struct head_case {
    const char *version;
    const char *lines[6];
    const char *reason; /* NULL: passes */
};

static int judge(struct head *head, const struct head_case *c)
{
    head_init(head, "POST", c->version);
    for (size_t i = 0; i < 6 && c->lines[i] != NULL; i++) {
        const char *colon = strchr(c->lines[i], ':');
        assert_non_null(colon);
        const char *value = colon + 1 + (colon[1] == ' ');
        (void)!head_add(head, c->lines[i], (size_t)(colon - c->lines[i]), value, strlen(value));
    }
    return head_finish(head);
}

static void test_refusals(void **state)
{
    (void)state;
    static const char v10[] = "HTTP/1.0";
    static const char v11[] = "HTTP/1.1";
    static const char both[] = "Content-Length with Transfer-Encoding";
    static const char number[] = "Content-Length is not a number";
    static const char coding[] = "transfer coding is not chunked";
    static const char token[] = "header name is not a token";
    static const char control[] = "control character in a header";
    static const struct head_case cases[] = {
        {v11, {"Host: a", "Content-Length: 5", "Transfer-Encoding: chunked"}, both},
        {v11, {"Host: a", "Transfer-Encoding: chunked", "Content-Length: 5"}, both},
        {v11, {"Host: a", "Content-Length: 5", "Content-Length: 5"}, "repeated Content-Length"},
        {v11, {"Host: a", "Content-Length: 5", "content-length: 6"}, "repeated Content-Length"},
        {v11, {"Host: a", "Content-Length: 5, 5"}, number},
        {v11, {"Host: a", "Content-Length: +5"}, number},
        {v11, {"Host: a", "Content-Length: -5"}, number},
        {v11, {"Host: a", "Content-Length: 0x5"}, number},
        {v11, {"Host: a", "Content-Length: 5 5"}, number},
        {v11, {"Host: a", "Content-Length:"}, number},
        {v11, {"Host: a", "Content-Length: 18446744073709551616"}, number},
        {v11,
         {"Host: a", "Content-Length: 18446744073709551615"},
         "Content-Length is beyond any body"},
        {v11,
         {"Host: a", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked"},
         "repeated Transfer-Encoding"},
        {v11, {"Host: a", "Transfer-Encoding: gzip, chunked"}, coding},
        {v11, {"Host: a", "Transfer-Encoding: chunked, identity"}, coding},
        {v11, {"Host: a", "Transfer-Encoding: identity"}, coding},
        {v11, {"Host: a", "Transfer-Encoding: xchunked"}, coding},
        {v11, {"Host: a", "Transfer-Encoding: \"chunked\""}, coding},
        {v11, {"Host: a", "Transfer-Encoding: chunked;q=1"}, coding},
        {v11, {"Host: a", "Transfer-Encoding:"}, coding},
        {v11,
         {"Host: a", "Transfer-Encoding: \x0b"
                     "chunked"},
         control},
        {v10, {"Host: a", "Transfer-Encoding: chunked"}, "Transfer-Encoding in HTTP/1.0"},
        {v11, {"Content-Length: 5"}, "no Host"},
        {v11, {"Host:"}, "empty Host"},
        {v10, {"Host:"}, "empty Host"},
        {v11, {"Host: a", "host: a"}, "repeated Host"},
        {v11, {"Host: a", "Content-Length : 5"}, token},
        {v11, {"Host: a", " Content-Length: 5"}, token},
        {v11, {"Host: a", "Transfer Encoding: chunked"}, token},
        {v11, {"Host: a", ": x"}, token},
        {v11, {"Host: a", "X\xff: x"}, token},
        {v11, {"Host: a", "X: a\rb"}, control},
        {v11, {"Host: a", "X: a\nContent-Length: 5"}, control},
        {v11, {"Host: a", "X: \x7f"}, control},
        {v11, {"Host: a", "Expect: 200-ok"}, "expectation is not 100-continue"},
        {v11, {"Host: a", "Connection: a b"}, "Connection lists what is not a token"},
        {"HTTP/2.0", {"Host: a"}, "HTTP version is neither 1.1 nor 1.0"},
        {"HTTP/1.2", {"Host: a"}, "HTTP version is neither 1.1 nor 1.0"},
        {"http/1.1", {"Host: a"}, "HTTP version is neither 1.1 nor 1.0"},
        {"", {"Host: a"}, "HTTP version is neither 1.1 nor 1.0"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct head head;
        assert_int_equal(judge(&head, &cases[i]), -EBADMSG);
        assert_string_equal(head.reason, cases[i].reason);
    }
}

static void test_nul_in_a_value(void **state)
{
    (void)state;
    struct head head;
    head_init(&head, "POST", "HTTP/1.1");
    assert_int_equal(head_add(&head, "Host", 4, "a\0b", 3), -EBADMSG);
    assert_string_equal(head.reason, "control character in a header");
}

static void test_method_must_be_a_token(void **state)
{
    (void)state;
    struct head head;
    head_init(&head, "PO ST", "HTTP/1.1");
    assert_int_equal(head_add(&head, "Host", 4, "a", 1), -EBADMSG);
    assert_int_equal(head_finish(&head), -EBADMSG);
    assert_string_equal(head.reason, "method is not a token");
}

static void test_too_many_headers(void **state)
{
    (void)state;
    struct head head;
    head_init(&head, "GET", "HTTP/1.1");
    assert_int_equal(head_add(&head, "Host", 4, "a", 1), 0);
    for (unsigned i = 1; i < HEAD_FIELDS_MAX; i++) {
        assert_int_equal(head_add(&head, "X", 1, NULL, 0), 0);
    }
    assert_int_equal(head_add(&head, "X", 1, "", 0), -EBADMSG);
    assert_string_equal(head.reason, "too many headers");
}

static void test_bodies(void **state)
{
    (void)state;
    struct head head;
    const struct head_case length = {"HTTP/1.1", {"host: a", "CONTENT-LENGTH: \t270000 "}, NULL};
    assert_int_equal(judge(&head, &length), 0);
    assert_int_equal(head.body, HEAD_BODY_LENGTH);
    assert_int_equal(head.content_length, 270000);

    const struct head_case most = {
        "HTTP/1.1", {"Host: a", "Content-Length: 18446744073709551614"}, NULL};
    assert_int_equal(judge(&head, &most), 0);
    assert_true(head.content_length == UINT64_MAX - 1);

    const struct head_case chunked = {"HTTP/1.1", {"Transfer-Encoding: Chunked", "Host: a"}, NULL};
    assert_int_equal(judge(&head, &chunked), 0);
    assert_int_equal(head.body, HEAD_BODY_CHUNKED);
    assert_int_equal(head.content_length, 0);

    const struct head_case none = {"HTTP/1.1", {"Host: a", "X-Any: \xc3\xa4 \t x"}, NULL};
    assert_int_equal(judge(&head, &none), 0);
    assert_int_equal(head.body, HEAD_BODY_NONE);

    const struct head_case old = {"HTTP/1.0", {"Content-Length: 0"}, NULL};
    assert_int_equal(judge(&head, &old), 0);
    assert_int_equal(head.body, HEAD_BODY_LENGTH);
}

static void test_keep_alive(void **state)
{
    (void)state;

    static const struct {
        struct head_case head;
        bool keep_alive;
    } cases[] = {
        {{"HTTP/1.1", {"Host: a"}, NULL}, true},
        {{"HTTP/1.1", {"Host: a", "Connection: Close"}, NULL}, false},
        {{"HTTP/1.1", {"Host: a", "Connection: x,, close"}, NULL}, false},
        {{"HTTP/1.1", {"Host: a", "Connection: x", "Connection: close"}, NULL}, false},
        {{"HTTP/1.1", {"Host: a", "Connection: closed"}, NULL}, true},
        {{"HTTP/1.0", {"Host: a"}, NULL}, false},
        {{"HTTP/1.0", {"Connection: Keep-Alive"}, NULL}, true},
        {{"HTTP/1.0", {"Connection: keep-alive, close"}, NULL}, false},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct head head;
        assert_int_equal(judge(&head, &cases[i].head), 0);
        assert_int_equal(head.keep_alive, cases[i].keep_alive);
    }
}

static void test_expect(void **state)
{
    (void)state;
    struct head head;
    const struct head_case with_body = {
        "HTTP/1.1", {"Host: a", "Expect: 100-Continue", "Content-Length: 1"}, NULL};
    assert_int_equal(judge(&head, &with_body), 0);
    assert_true(head.expects_continue);

    const struct head_case without = {"HTTP/1.1", {"Host: a", "Expect: 100-continue"}, NULL};
    assert_int_equal(judge(&head, &without), 0);
    assert_false(head.expects_continue);

    const struct head_case old = {
        "HTTP/1.0", {"Host: a", "Expect: 100-continue", "Content-Length: 1"}, NULL};
    assert_int_equal(judge(&head, &old), 0);
    assert_false(head.expects_continue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_nul_in_a_value),
        cmocka_unit_test(test_method_must_be_a_token),
        cmocka_unit_test(test_too_many_headers),
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_keep_alive),
        cmocka_unit_test(test_expect),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
