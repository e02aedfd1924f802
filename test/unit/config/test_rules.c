/* Tests of config/rules: files, server names, probes. Tenants and headers are in test_config.c. */
#include "config/rules.h"

#include "../base/unit.h"

static void expect(const char *(*check)(const char *), const char *text, const char *reason)
{
    const char *got = check(text);
    if (reason == NULL ? got != NULL : got == NULL || strstr(got, reason) == NULL) {
        fail_msg("%s: %s", text, got == NULL ? "passed" : got);
    }
}

static char *long_text(const char *start, size_t bytes)
{
    char *text = malloc(bytes + 1);
    assert_non_null(text);
    memset(text, 'a', bytes);
    memcpy(text, start, strlen(start));
    text[bytes] = '\0';
    return text;
}

static void test_file(void **state)
{
    (void)state;
    expect(rules_check_file, "/etc/agent-proxy/tls.crt", NULL);
    expect(rules_check_file, "a file with \xc3\xa4.pem", NULL);
    expect(rules_check_file, "a\nb", "control character");
    expect(rules_check_file, "a\x7f", "control character");
    expect(rules_check_file, "a\xff.pem", "not UTF-8");
    char *longest = long_text("/", 4096);
    expect(rules_check_file, longest, "longer than 4095");
    longest[4095] = '\0';
    expect(rules_check_file, longest, NULL);
    free(longest);
}

static void test_server_name(void **state)
{
    (void)state;
    static const char *const good[] = {"gateway", "gateway.example.com", "10.0.0.1", "fe80::1",
                                       "my_gateway"};
    static const char *const bad[] = {"a b", "a/b", "http://a", "a\n", "*.example.com", "a,b"};
    for (size_t i = 0; i < COUNT(good); i++) {
        expect(rules_check_server_name, good[i], NULL);
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        expect(rules_check_server_name, bad[i], "neither a host name nor an IP address");
    }
    char *longest = long_text("a", 254);
    expect(rules_check_server_name, longest, "longer than 253");
    free(longest);
}

static void test_probe(void **state)
{
    (void)state;
    expect(rules_check_probe, "http://127.0.0.1:9090/-/ready?x=y", NULL);
    expect(rules_check_probe, "https://[::1]:9090/-/ready", NULL);
    expect(rules_check_probe, "127.0.0.1:9090", "does not begin with http://");
    expect(rules_check_probe, "file:///etc/passwd", "does not begin with http://");
    expect(rules_check_probe, "http://a b", "character that no URL");
    expect(rules_check_probe, "http://a\xc3\xa4", "character that no URL");
    char *longest = long_text("http://", 2049);
    expect(rules_check_probe, longest, "longer than 2048");
    free(longest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_server_name),
        cmocka_unit_test(test_probe),
    };
    return cmocka_run_group_tests_name("config/rules", tests, NULL, NULL);
}
