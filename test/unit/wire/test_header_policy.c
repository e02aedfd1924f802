/* What passes through a relayed read, each way. */
#include "wire/header_policy.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static bool up(const struct header_policy *policy, const char *name)
{
    return header_policy_up(policy, name, strlen(name), "value", 5);
}

static bool down(const struct header_policy *policy, const char *name)
{
    return header_policy_down(policy, name, strlen(name), "value", 5);
}

static void test_up_is_an_allow_list(void **state)
{
    (void)state;
    static const char *const passes[] = {"Accept",           "accept-encoding", "CONTENT-TYPE",
                                         "Content-Encoding", "User-Agent",      "traceparent"};
    static const char *const stays[] = {"Authorization",
                                        "WHIZARD-TENANT",
                                        "THANOS-TENANT",
                                        "X-Scope-OrgID",
                                        "X-Scope-Anything",
                                        "Forwarded",
                                        "X-Forwarded-For",
                                        "X-Forwarded-Host",
                                        "X-Real-IP",
                                        "Cookie",
                                        "Host",
                                        "Content-Length",
                                        "Transfer-Encoding",
                                        "Connection",
                                        "Keep-Alive",
                                        "Proxy-Authorization",
                                        "TE",
                                        "Trailer",
                                        "Upgrade",
                                        "Expect",
                                        "Accept-Charset",
                                        "Accept ",
                                        "Acceptx",
                                        "Accep",
                                        "X-HTTP-Method-Override",
                                        "Range",
                                        "",
                                        "cluster"};
    struct header_policy policy;
    header_policy_init(&policy, false);
    for (size_t i = 0; i < sizeof(passes) / sizeof(passes[0]); i++) {
        assert_true(up(&policy, passes[i]));
    }
    for (size_t i = 0; i < sizeof(stays) / sizeof(stays[0]); i++) {
        assert_false(up(&policy, stays[i]));
    }
}

static void test_authorization_only_if_wished(void **state)
{
    (void)state;
    struct header_policy policy;
    header_policy_init(&policy, true);
    assert_true(up(&policy, "authorization"));
    assert_false(up(&policy, "Proxy-Authorization"));
    assert_false(up(&policy, "Cookie"));
}

static void test_down_strips_hop_by_hop_and_framing(void **state)
{
    (void)state;
    static const char *const passes[] = {
        "Content-Type", "Content-Encoding", "Server", "Retry-After",  "Vary",
        "X-Anything",   "Warning",          "Prox",   "Cache-Control"};
    static const char *const stays[] = {
        "Connection",         "keep-alive", "TE",   "Trailer",
        "TRANSFER-ENCODING",  "Upgrade",    "Date", "Content-Length",
        "Proxy-Connection",   "proxy-",     "",     "a b",
        "Proxy-Authenticate", "X:"};
    struct header_policy policy;
    header_policy_init(&policy, false);
    for (size_t i = 0; i < sizeof(passes) / sizeof(passes[0]); i++) {
        assert_true(down(&policy, passes[i]));
    }
    for (size_t i = 0; i < sizeof(stays) / sizeof(stays[0]); i++) {
        assert_false(down(&policy, stays[i]));
    }
}

static void test_what_connection_lists_is_stripped(void **state)
{
    (void)state;
    static const char first[] = "close , X-Secret";
    static const char second[] = "ACCEPT,,";
    struct header_policy policy;
    header_policy_init(&policy, false);
    assert_int_equal(header_policy_note(&policy, "connection", 10, first, strlen(first)), 0);
    assert_int_equal(header_policy_note(&policy, "X-Other", 7, "Vary", 4), 0);
    assert_int_equal(header_policy_note(&policy, "Connection", 10, second, strlen(second)), 0);
    assert_int_equal(header_policy_note(&policy, "Connection", 10, NULL, 0), 0);
    assert_false(up(&policy, "Accept"));
    assert_true(up(&policy, "Accept-Encoding"));
    assert_false(down(&policy, "x-secret"));
    assert_true(down(&policy, "X-Secrets"));
    assert_true(down(&policy, "Vary"));
}

static void test_connection_headers_are_bounded(void **state)
{
    (void)state;
    struct header_policy policy;
    header_policy_init(&policy, false);
    for (unsigned i = 0; i < HEADER_POLICY_CONNECTIONS_MAX; i++) {
        assert_int_equal(header_policy_note(&policy, "Connection", 10, "x", 1), 0);
    }
    assert_int_equal(header_policy_note(&policy, "Connection", 10, "x", 1), -E2BIG);
}

static void test_connection_bytes_are_bounded(void **state)
{
    (void)state;
    static char value[HEADER_POLICY_CONNECTION_BYTES_MAX];
    memset(value, ',', sizeof(value));
    struct header_policy policy;
    header_policy_init(&policy, false);
    assert_int_equal(header_policy_note(&policy, "Connection", 10, value, sizeof(value) - 1), 0);
    assert_int_equal(header_policy_note(&policy, "Connection", 10, value, 2), -E2BIG);
    assert_int_equal(header_policy_note(&policy, "Connection", 10, value, 1), 0);
    assert_int_equal(header_policy_note(&policy, "Connection", 10, value, 1), -E2BIG);
}

static void test_invalid_values_do_not_pass(void **state)
{
    (void)state;
    static const char value[] = "text/plain\r\nWHIZARD-TENANT: other";
    struct header_policy policy;
    header_policy_init(&policy, true);
    assert_false(header_policy_up(&policy, "Accept", 6, value, strlen(value)));
    assert_false(header_policy_down(&policy, "Content-Type", 12, value, strlen(value)));
    assert_false(header_policy_down(&policy, "Content-Type", 12, "a\0b", 3));
    assert_true(header_policy_up(&policy, "Accept", 6, NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_up_is_an_allow_list),
        cmocka_unit_test(test_authorization_only_if_wished),
        cmocka_unit_test(test_down_strips_hop_by_hop_and_framing),
        cmocka_unit_test(test_what_connection_lists_is_stripped),
        cmocka_unit_test(test_connection_headers_are_bounded),
        cmocka_unit_test(test_connection_bytes_are_bounded),
        cmocka_unit_test(test_invalid_values_do_not_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
