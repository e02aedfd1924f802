/* Answers to a write: whole ones are taken however they are cut up, all others are none. */
#include "wire/answer.h"

#include "wire/verdict.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define OK           "HTTP/1.1 200 OK\r\n"
#define CHUNKED      OK "Transfer-Encoding: chunked\r\n\r\n"

/* Owner: on a test's stack; nothing is allocated. */
struct fed {
    struct answer answer;
    struct outcome outcome;
    size_t taken;
    int status;
};

/* Hand text in, step bytes at a time, each from memory of its very size so that a sanitizer sees
 * who looks beyond it. */
static void feed(struct fed *fed, const char *text, size_t bytes, size_t step)
{
    memset(fed, 0xee, sizeof(*fed));
    fed->taken = 0;
    fed->status = 0;
    answer_init(&fed->answer, &fed->outcome);
    for (size_t at = 0; at < bytes && fed->status == 0 && !answer_whole(&fed->answer);) {
        size_t part = step < bytes - at ? step : bytes - at;
        char *copy = malloc(part);
        assert_non_null(copy);
        memcpy(copy, text + at, part);
        size_t taken = 0;
        fed->status = answer_add(&fed->answer, copy, part, &taken);
        free(copy);
        assert_true(fed->status != 0 || taken == part || answer_whole(&fed->answer));
        fed->taken += taken;
        at += part;
    }
}

static void feed_text(struct fed *fed, const char *text, size_t step)
{
    feed(fed, text, strlen(text), step);
}

static const size_t STEPS[] = {1, 2, 3, 7, 100000};

struct whole_case {
    const char *text;
    unsigned status;
    const char *body;
    bool keep_alive;
};

static void test_whole_answers(void **state)
{
    (void)state;
    static const struct whole_case cases[] = {
        {OK "Content-Length: 0\r\n\r\n", 200, "", true},
        {OK "Content-Length: 2\r\n\r\nok", 200, "ok", true},
        {OK "content-length:\t 2 \r\n\r\nok", 200, "ok", true},
        {"HTTP/1.1 204 No Content\r\n\r\n", 204, "", true},
        {"HTTP/1.1 204\r\n\r\n", 204, "", true},
        {"HTTP/1.1 304 Not Modified\r\n\r\n", 304, "", true},
        {"HTTP/1.1 599 \r\nContent-Length: 0\r\n\r\n", 599, "", true},
        {OK "Content-Length: 0\r\nConnection: close\r\n\r\n", 200, "", false},
        {OK "Content-Length: 0\r\nConnection: x, Close\r\n\r\n", 200, "", false},
        {OK "Content-Length: 0\r\nConnection: closed\r\n\r\n", 200, "", true},
        {"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "", false},
        {"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n", 200, "", true},
        {CHUNKED "2\r\nok\r\n1\r\n!\r\n0\r\n\r\n", 200, "ok!", true},
        {CHUNKED "0\r\n\r\n", 200, "", true},
        {CHUNKED "00002;x=\"y\"\r\nok\r\n0 ; z\r\nTrail: er\r\nOther:\r\n\r\n", 200, "ok", true},
        {CHUNKED "A\r\n0123456789\r\n0\r\n\r\n", 200, "0123456789", true},
        /* Line feeds alone, in heads. */
        {"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 200, "ok", true},
        /* Said twice, but the same. */
        {OK "Content-Length: 2\r\nContent-Length: 2\r\n\r\nok", 200, "ok", false},
        /* Of a body that there is not. */
        {"HTTP/1.1 204 OK\r\nContent-Length: 0\r\n\r\n", 204, "", true},
        {"HTTP/1.1 204 OK\r\nContent-Length: 5\r\n\r\n", 204, "", false},
        {"HTTP/1.1 204 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 204, "", false},
        /* Heads before the one that counts, and what they say is forgotten. */
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204\r\n\r\n", 204, "", true},
        {"HTTP/1.1 103 Hints\r\nConnection: close\r\nContent-Length: 0\r\n\r\n" OK
         "Content-Length: 2\r\n\r\nok",
         200, "ok", true},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (size_t j = 0; j < COUNT(STEPS); j++) {
            struct fed fed;
            feed_text(&fed, cases[i].text, STEPS[j]);
            assert_int_equal(fed.status, 0);
            assert_true(answer_whole(&fed.answer));
            assert_int_equal(fed.taken, strlen(cases[i].text));
            assert_int_equal(fed.answer.bytes, fed.taken);
            assert_int_equal(fed.outcome.status, cases[i].status);
            assert_int_equal(fed.outcome.retry_after_s, 0);
            assert_int_equal(fed.outcome.body_bytes, strlen(cases[i].body));
            assert_memory_equal(fed.outcome.body, cases[i].body, strlen(cases[i].body));
            assert_int_equal(fed.answer.keep_alive, cases[i].keep_alive);
            assert_int_equal(answer_end(&fed.answer), 0);
        }
    }
}

static void test_no_answers(void **state)
{
    (void)state;
    static const char *const cases[] = {
        "200 OK\r\n",
        "\r\n" OK,
        "HTTP/2 200\r\n",
        "HTTP/1.2 200 OK\r\n",
        "HTTP/1.10 200 OK\r\n",
        "HTTP/3.0 200 OK\r\n",
        "PRI * HTTP/2.0\r\n",
        "RTSP/1.0 200 OK\r\n",
        "http/1.1 200 OK\r\n",
        "HTTP/1.1  200 OK\r\n",
        "HTTP/1.1\t200 OK\r\n",
        "HTTP/1.1 20 OK\r\n",
        "HTTP/1.1 2000 OK\r\n",
        "HTTP/1.1 +20 OK\r\n",
        "HTTP/1.1 099 OK\r\n",
        "HTTP/1.1 600 OK\r\n",
        "HTTP/1.1 200\rOK\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n",
        "HTTP/1.1 \r\n",
        OK "\x01: x\r\n",
        OK "X: \x7f\r\n",
        OK "X: y\rContent-Length: 0\r\n",
        OK "no colon\r\n",
        OK ": no name\r\n",
        OK "Content-Length : 0\r\n",
        OK "X: y\r\n folded\r\n",
        OK "Content-Length: 1\r\nContent-Length: 2\r\n",
        OK "Content-Length: 0, 0\r\n",
        OK "Content-Length: -1\r\n",
        OK "Content-Length: +1\r\n",
        OK "Content-Length: 0x1\r\n",
        OK "Content-Length: 1 1\r\n",
        OK "Content-Length:\r\n",
        OK "Content-Length: 18446744073709551616\r\n",
        OK "Content-Length: 65537\r\n\r\n",
        OK "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        OK "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
        OK "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        OK "Transfer-Encoding: gzip, chunked\r\n",
        OK "Transfer-Encoding: identity\r\n",
        OK "Transfer-Encoding:\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 100 Continue\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 100 Continue\r\nTransfer-Encoding: chunked\r\n\r\n",
        CHUNKED "\r\n",
        CHUNKED "zz\r\n",
        CHUNKED "0x2\r\n",
        CHUNKED "-1\r\n",
        CHUNKED " 2\r\n",
        CHUNKED "2 2\r\n",
        CHUNKED "10001\r\n",
        CHUNKED "ffffffffffffffff2\r\n",
        CHUNKED "2\nok\r\n",
        CHUNKED "2;x\ny\r\n",
        CHUNKED "2\r\nokk\r\n",
        CHUNKED "2\r\nok\n",
        CHUNKED "0\r\nno trailer\r\n",
        CHUNKED "0\r\n folded: x\r\n",
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (size_t j = 0; j < COUNT(STEPS); j++) {
            struct fed fed;
            feed_text(&fed, cases[i], STEPS[j]);
            if (fed.status == 0) {
                print_error("taken: %s\n", cases[i]);
            }
            assert_int_equal(fed.status, -EBADMSG);
            assert_non_null(fed.answer.reason);
            assert_false(answer_whole(&fed.answer));
            size_t taken;
            assert_int_equal(answer_add(&fed.answer, "x", 1, &taken), -EBADMSG);
            assert_int_equal(answer_end(&fed.answer), -EBADMSG);
        }
    }
}

static void test_a_nul_is_no_character(void **state)
{
    (void)state;
    static const char text[] = OK "X: a\0b\r\nContent-Length: 0\r\n\r\n";
    struct fed fed;
    feed(&fed, text, sizeof(text) - 1, 1000);
    assert_int_equal(fed.status, -EBADMSG);
}

/* Whole only at its last byte, wherever the connection ends before. */
static void test_cut_short_anywhere(void **state)
{
    (void)state;
    static const char *const cases[] = {OK "Content-Length: 2\r\n\r\nok",
                                        CHUNKED "2;x\r\nok\r\n0\r\nTrail: er\r\n\r\n",
                                        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204\r\n\r\n"};
    for (size_t i = 0; i < COUNT(cases); i++) {
        for (size_t bytes = 0; bytes < strlen(cases[i]); bytes++) {
            struct fed fed;
            feed(&fed, cases[i], bytes, 1000);
            assert_int_equal(fed.status, 0);
            assert_false(answer_whole(&fed.answer));
            assert_int_equal(answer_end(&fed.answer), -EBADMSG);
            assert_non_null(fed.answer.reason);
            assert_false(answer_whole(&fed.answer));
        }
    }
}

static void test_a_body_up_to_the_end(void **state)
{
    (void)state;
    struct fed fed;
    feed_text(&fed, "HTTP/1.1 400 No\r\n\r\nout of order", 5);
    assert_int_equal(fed.status, 0);
    assert_false(answer_whole(&fed.answer));
    assert_int_equal(answer_end(&fed.answer), 0);
    assert_true(answer_whole(&fed.answer));
    assert_false(fed.answer.keep_alive);
    assert_int_equal(fed.outcome.status, 400);
    assert_memory_equal(fed.outcome.body, "out of order", 12);
}

/* What stands behind the end is left where it is. */
static void test_excess(void **state)
{
    (void)state;
    static const char *const cases[] = {OK "Content-Length: 2\r\n\r\nok", "HTTP/1.1 204\r\n\r\n",
                                        CHUNKED "0\r\n\r\n"};
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[256];
        struct fed fed;
        (void)snprintf(text, sizeof(text), "%s%s", cases[i], OK "\r\n");
        feed_text(&fed, text, sizeof(text));
        assert_int_equal(fed.status, 0);
        assert_true(answer_whole(&fed.answer));
        assert_int_equal(fed.taken, strlen(cases[i]));
    }
}

static void test_retry_after(void **state)
{
    (void)state;
    struct fed fed;
    feed_text(&fed, "HTTP/1.1 503 Busy\r\nretry-after: 17\r\nContent-Length: 0\r\n\r\n", 1);
    assert_int_equal(fed.outcome.retry_after_s, 17);
    feed_text(&fed,
              "HTTP/1.1 100 Wait\r\nRetry-After: 5\r\n\r\n"
              "HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nRetry-After: 7\r\n\r\n",
              3);
    assert_true(answer_whole(&fed.answer));
    assert_int_equal(fed.outcome.retry_after_s, 0);
}

/* Text again and again, behind some other; whether it is all taken. */
static bool goes_on(const char *before, const char *again, size_t times)
{
    size_t bytes = strlen(before) + strlen(again) * times;
    char *text = malloc(bytes + 1);
    assert_non_null(text);
    (void)snprintf(text, bytes + 1, "%s", before);
    for (size_t i = 0; i < times; i++) {
        memcpy(text + strlen(before) + i * strlen(again), again, strlen(again));
    }
    struct fed fed;
    feed(&fed, text, bytes, 1000);
    bool taken = fed.status == 0;
    feed(&fed, text, bytes, bytes);
    assert_int_equal(fed.status == 0, taken);
    assert_true(fed.answer.bytes <= ANSWER_BYTES_MAX);
    assert_true(!answer_whole(&fed.answer));
    free(text);
    return taken;
}

static void test_all_that_goes_on_is_bounded(void **state)
{
    (void)state;
    const size_t k = 1024;
    assert_true(goes_on("HTTP/1.1 200 ", "y", 8000));
    assert_false(goes_on("HTTP/1.1 200 ", "y", 8192));
    assert_true(goes_on(OK "X: ", "y", 8000));
    assert_false(goes_on(OK "X: ", "y", 8192));
    assert_true(goes_on(OK, "X: yyyy\r\n", 7 * k));
    assert_false(goes_on(OK, "X: yyyy\r\n", 8 * k));
    assert_true(goes_on("", "HTTP/1.1 102 Wait\r\n\r\n", ANSWER_INTERIM_MAX));
    assert_false(goes_on("", "HTTP/1.1 102 Wait\r\n\r\n", ANSWER_INTERIM_MAX + 1));
    assert_true(goes_on(OK "\r\n", "y", 63 * k));
    assert_false(goes_on(OK "\r\n", "y", 64 * k));
    assert_true(goes_on(CHUNKED, "1\r\ny\r\n", 10 * k));
    assert_false(goes_on(CHUNKED, "1\r\ny\r\n", 11 * k));
    assert_false(goes_on(CHUNKED, "0", 9 * k));
    assert_false(goes_on(CHUNKED "1;", "x", 9 * k));
    assert_true(goes_on(CHUNKED "0\r\n", "X: y\r\n", 10 * k));
    assert_false(goes_on(CHUNKED "0\r\n", "X: y\r\n", 11 * k));
}

/* A refusal is whole as soon as it is longer than any needs to be, with the start of its words. */
static void test_a_refusal_without_end_counts(void **state)
{
    (void)state;
    static const char *const framings[] = {
        "Content-Length: 1000000000000\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nfffffff\r\n",
        "\r\n",
        "Transfer-Encoding: chunked\r\n\r\n",
    };
    const size_t more = 70 * 1024;
    for (size_t i = 0; i < COUNT(framings); i++) {
        char start[256];
        (void)snprintf(start, sizeof(start), "HTTP/1.1 400 Bad\r\n%s", framings[i]);
        size_t bytes = strlen(start);
        char *text = malloc(bytes + more);
        assert_non_null(text);
        memcpy(text, start, bytes);
        for (size_t at = 0; at < more; at++) {
            text[bytes + at] = "1\r\ny\r\n"[i < 3 ? 3 : at % 6]; /* chunks without end, or just y */
        }
        for (size_t step = 1; step <= 1000; step += 333) {
            struct fed fed;
            feed(&fed, text, bytes + more, step);
            assert_true(answer_whole(&fed.answer));
            assert_false(fed.answer.keep_alive);
            assert_int_equal(fed.outcome.status, 400);
            assert_int_equal(fed.outcome.body_bytes, OUTCOME_BODY_MAX);
            assert_int_equal(fed.outcome.body[0], 'y');
            assert_memory_equal(fed.outcome.body, fed.outcome.body + 1, OUTCOME_BODY_MAX - 1);
        }
        free(text);
    }
}

static void test_the_start_of_a_long_body_is_kept(void **state)
{
    (void)state;
    char text[64 + 2 * OUTCOME_BODY_MAX];
    int head = snprintf(text, sizeof(text), OK "Content-Length: %d\r\n\r\n", OUTCOME_BODY_MAX + 9);
    size_t bytes = (size_t)head + OUTCOME_BODY_MAX + 9;
    for (size_t i = (size_t)head; i < bytes; i++) {
        text[i] = (char)('a' + i % 26);
    }
    for (size_t i = 0; i < COUNT(STEPS); i++) {
        struct fed fed;
        feed(&fed, text, bytes, STEPS[i]);
        assert_true(answer_whole(&fed.answer));
        assert_int_equal(fed.outcome.body_bytes, OUTCOME_BODY_MAX);
        assert_memory_equal(fed.outcome.body, text + head, OUTCOME_BODY_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_answers),
        cmocka_unit_test(test_no_answers),
        cmocka_unit_test(test_a_nul_is_no_character),
        cmocka_unit_test(test_cut_short_anywhere),
        cmocka_unit_test(test_a_body_up_to_the_end),
        cmocka_unit_test(test_excess),
        cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_all_that_goes_on_is_bounded),
        cmocka_unit_test(test_a_refusal_without_end_counts),
        cmocka_unit_test(test_the_start_of_a_long_body_is_kept),
    };
    return cmocka_run_group_tests_name("wire/answer", tests, NULL, NULL);
}
