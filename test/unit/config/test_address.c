/* Tests of config/address: what passes is safe to put into a request, and comes out normalised. */
#include "config/address.h"

#include "../base/unit.h"
#include "config/config.h"

static void expect_url(const char *text, const char *normal, const char *path, bool https)
{
    struct config_url url = {0};
    const char *reason = address_parse_url(text, &url);
    if (reason != NULL) {
        fail_msg("%s: refused: %s", text, reason);
    }
    assert_string_equal(url.text, normal);
    assert_string_equal(url.path, path);
    assert_true(url.path == url.text + strlen(url.text) - strlen(path));
    assert_int_equal(url.https, https);
    free(url.text);
}

static void test_url_passes(void **state)
{
    (void)state;
    expect_url("http://gateway", "http://gateway", "", false);
    expect_url("https://gateway", "https://gateway", "", true);
    expect_url("http://gateway/", "http://gateway", "", false);
    expect_url("http://gateway///", "http://gateway", "", false);
    expect_url("http://gateway:9090/base", "http://gateway:9090/base", "/base", false);
    expect_url("http://gateway/a/b-c_d.e~f/", "http://gateway/a/b-c_d.e~f", "/a/b-c_d.e~f", false);
    expect_url("HTTPS://GateWay.Example.COM/Base", "https://gateway.example.com/Base", "/Base",
               true);
    expect_url("http://gateway.ns.svc.:80", "http://gateway.ns.svc.:80", "", false);
    expect_url("http://my_gateway", "http://my_gateway", "", false);
    expect_url("http://AZaz09", "http://azaz09", "", false);
    expect_url("http://10.0.0.1:1", "http://10.0.0.1:1", "", false);
    expect_url("http://10.example", "http://10.example", "", false);
    expect_url("http://[::1]", "http://[::1]", "", false);
    expect_url("http://[2001:DB8::A]:65535/x", "http://[2001:db8::a]:65535/x", "/x", false);
    expect_url("http://[::ffff:1.2.3.4]/..a/.b", "http://[::ffff:1.2.3.4]/..a/.b", "/..a/.b",
               false);
    expect_url("http://gateway:00080", "http://gateway:80", "", false);
}

static void expect_url_refused(const char *text, const char *part_of_reason)
{
    struct config_url url = {.text = (char *)0x1, .path = "untouched"};
    const char *reason = address_parse_url(text, &url);
    if (reason == NULL || strstr(reason, part_of_reason) == NULL) {
        fail_msg("%s: %s", text, reason == NULL ? "passed" : reason);
    }
    assert_ptr_equal(url.text, (char *)0x1);
    assert_string_equal(url.path, "untouched");
}

static void test_url_scheme(void **state)
{
    (void)state;
    static const char *const bad[] = {"",        "gateway",     "gateway:9090", "//gateway",
                                      "http:/x", "ftp://x",     "httpss://x",   "http:x",
                                      "http//x", "https:/x://", "file:///etc",  "\"http://x\""};
    for (size_t i = 0; i < COUNT(bad); i++) {
        expect_url_refused(bad[i], "http://");
    }
}

static void test_url_host(void **state)
{
    (void)state;
    expect_url_refused("http://", "no host");
    expect_url_refused("http:///path", "no host");
    expect_url_refused("http://:9090", "no host");
    static const char *const bad[] = {"http://a..b",
                                      "http://.a",
                                      "http://-a",
                                      "http://a-",
                                      "http://a.-b",
                                      "http://a.b-.c",
                                      "http://.",
                                      "http://a%20b",
                                      "http://a,b",
                                      "http://a\\b",
                                      "http://a*",
                                      "http://1.2.3",
                                      "http://1.2.3.4.5",
                                      "http://256.1.1.1",
                                      "http://1.2.3.4.",
                                      "http://2130706433",
                                      "http://0x7f000001",
                                      "http://0x7f.1",
                                      "http://a.0x1",
                                      "http://[]",
                                      "http://[1.2.3.4]",
                                      "http://[::1%25eth0]",
                                      "http://[fe80::1%eth0]",
                                      "http://[::1::]",
                                      "http://[gateway]",
                                      "http://[12345::]"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        expect_url_refused(bad[i], "host that is neither");
    }
    expect_url_refused("http://[::1", "[ without a ]");
    expect_url_refused("http://[::1]9090", "after its host");
    expect_url_refused("http://::1", "more than one colon");
    expect_url_refused("http://a:1:2", "more than one colon");
}

static void test_url_host_length(void **state)
{
    (void)state;
    char text[512] = "http://";
    char *host = text + 7;
    for (size_t i = 0; i < 253; i++) {
        host[i] = i % 64 == 63 ? '.' : 'a';
    }
    expect_url(text, text, "", false);
    host[253] = 'a';
    expect_url_refused(text, "host that is neither");
    memset(host, 0, 300);
    memset(host, 'a', 63);
    expect_url(text, text, "", false);
    host[63] = 'a';
    expect_url_refused(text, "host that is neither");
}

static void test_url_port(void **state)
{
    (void)state;
    static const char *const bad[] = {"http://a:",      "http://a:/",    "http://a:0",
                                      "http://a:65536", "http://a:-1",   "http://a:+1",
                                      "http://a:80x",   "http://a:x",    "http://a:000080",
                                      "http://a:99999", "http://[::1]:", "http://a:4294967376"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        expect_url_refused(bad[i], "1 to 65535");
    }
    expect_url("http://a:65535", "http://a:65535", "", false);
}

static void test_url_of_other_parts(void **state)
{
    (void)state;
    expect_url_refused("http://user@a", "user");
    expect_url_refused("http://user:pass@a/", "user");
    expect_url_refused("http://@a", "user");
    expect_url_refused("http://a?x=1", "query");
    expect_url_refused("http://a/?", "query");
    expect_url_refused("http://a#f", "fragment");
    expect_url_refused("http://a/b#", "fragment");
    expect_url_refused("http://a b", "no URL may hold");
    expect_url_refused("http://a/\r\nX: y", "no URL may hold");
    expect_url_refused("http://a/\x7f", "no URL may hold");
    expect_url_refused("http://a/\xc3\xa4", "no URL may hold");
    expect_url_refused(" http://a", "no URL may hold");
    expect_url_refused("http://a ", "no URL may hold");
}

static void test_url_path(void **state)
{
    (void)state;
    expect_url_refused("http://a/../b", ". or ..");
    expect_url_refused("http://a/b/..", ". or ..");
    expect_url_refused("http://a/./b", ". or ..");
    expect_url_refused("http://a/.", ". or ..");
    expect_url_refused("http://a//b", "empty segment");
    expect_url_refused("http://a/b//c", "empty segment");
    expect_url_refused("http://a/%2e%2e/b", "not a letter");
    expect_url_refused("http://a/b;c", "not a letter");
    expect_url_refused("http://a/b@c", "not a letter");
    expect_url_refused("http://a/<b>", "not a letter");
    expect_url_refused("http://a/b\\c", "not a letter");
}

static void test_url_length(void **state)
{
    (void)state;
    char text[3000] = "http://a/";
    memset(text + 9, 'p', 1023);
    expect_url(text, text, text + 8, false);
    text[9 + 1023] = 'p';
    expect_url_refused(text, "longer than 1024");
    memset(text + 9, 'p', 2040);
    expect_url_refused(text, "longer than 2048");
}

static void test_path(void **state)
{
    (void)state;
    static const char *const good[] = {"/",    "/api/v1/receive", "/api/v1/receive/", "/a",
                                       "/...", "/a.b/~c/-_",      "/azAZ09"};
    static const char *const bad[] = {
        "",       "a",  "api/v1", "//",   "//a",  "/a//", "/a//b", "/..",    "/../a", "/a/../",
        "/a/./b", "/.", "/a?b",   "/a#b", "/a b", "/a\n", "/%41",  "/a\x80", "/a:b",  "http://a"};
    for (size_t i = 0; i < COUNT(good); i++) {
        assert_null(address_check_path(good[i]));
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        if (address_check_path(bad[i]) == NULL) {
            fail_msg("passed: %s", bad[i]);
        }
    }
}

static void expect_listen(const char *text, const char *host, uint16_t port)
{
    struct address_listen listen = {0};
    const char *reason = address_parse_listen(text, &listen);
    if (reason != NULL) {
        fail_msg("%s: refused: %s", text, reason);
    }
    assert_string_equal(listen.host, host);
    assert_int_equal(listen.port, port);
    free(listen.host);
}

static void test_listen(void **state)
{
    (void)state;
    expect_listen("0.0.0.0:9090", "0.0.0.0", 9090);
    expect_listen(":9090", "", 9090);
    expect_listen(":0", "", 0);
    expect_listen("localhost:65535", "localhost", 65535);
    expect_listen("LocalHost:1", "localhost", 1);
    expect_listen("[::]:80", "::", 80);
    expect_listen("[FE80::1]:80", "fe80::1", 80);
}

static void test_listen_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",        "9090",     "localhost", "a:",       "a:x",
                                      "a:65536", "::1:9090", "[::1]",     "[::1]:",   "[]:80",
                                      "[a]:80",  "a b:80",   "*:80",      "http://a", "a:80/",
                                      "a:80 ",   " a:80",    "1.2.3:80",  "[::1:80",  "[::1]80",
                                      "a:-1",    "a:123456", "@:80",      "a\n:80",   "::"};
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct address_listen listen = {.host = (char *)0x1, .port = 7};
        if (address_parse_listen(bad[i], &listen) == NULL) {
            fail_msg("passed: %s", bad[i]);
        }
        assert_ptr_equal(listen.host, (char *)0x1);
        assert_int_equal(listen.port, 7);
    }
}

/* Whatever passes holds no byte that could end a request line or a header. */
static void test_any_text(void **state)
{
    (void)state;
    static const char letters[] = "aZ09.-_~:/[]@?#% \r\n\t\\\"'\x80\xff\x01";
    uint64_t seed = 11;
    size_t passed = 0;
    for (size_t round = 0; round < 100000; round++) {
        char text[32] = "http://a";
        size_t count = 8 + unit_random(&seed) % 12;
        for (size_t i = 7; i < count; i++) {
            uint64_t pick = unit_random(&seed);
            text[i] =
                pick % 3 ? letters[(pick >> 8) % 6] : letters[(pick >> 8) % (COUNT(letters) - 1)];
        }
        struct config_url url;
        if (address_parse_url(text, &url) == NULL) {
            assert_int_equal(strspn(url.text + 7, "abcdefghijklmnopqrstuvwxyzZ0123456789.-_~:/[]"),
                             strlen(url.text + 7));
            assert_null(strstr(url.path, "//"));
            assert_null(strstr(url.path, "/../"));
            passed++;
            free(url.text);
        }
    }
    assert_true(passed > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_url_passes),     cmocka_unit_test(test_url_scheme),
        cmocka_unit_test(test_url_host),       cmocka_unit_test(test_url_host_length),
        cmocka_unit_test(test_url_port),       cmocka_unit_test(test_url_of_other_parts),
        cmocka_unit_test(test_url_path),       cmocka_unit_test(test_url_length),
        cmocka_unit_test(test_path),           cmocka_unit_test(test_listen),
        cmocka_unit_test(test_listen_refused), cmocka_unit_test(test_any_text),
    };
    return cmocka_run_group_tests_name("config/address", tests, NULL, NULL);
}
