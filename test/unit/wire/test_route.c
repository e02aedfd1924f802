/* The route table, and paths that try to leave it. */
#include "wire/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include <cmocka.h>

static const struct route *match(const char *path)
{
    return route_match(path, strlen(path));
}

static void test_table(void **state)
{
    (void)state;

    static const struct {
        const char *path;
        enum route_id id;
        const char *allow;
        const char *name;
    } cases[] = {
        {"/api/v1/receive", ROUTE_WRITE, "POST", "write"},
        {"/api/v1/write", ROUTE_WRITE, "POST", "write"},
        {"/metrics", ROUTE_METRICS, "GET, HEAD", "metrics"},
        {"/-/healthy", ROUTE_HEALTHY, "GET, HEAD", "healthy"},
        {"/-/ready", ROUTE_READY, "GET, HEAD", "ready"},
        {"/", ROUTE_STATUS, "GET, HEAD", "status"},
        {"/-/status.json", ROUTE_STATUS_JSON, "GET, HEAD", "status_json"},
        {"/api/v1/query", ROUTE_READ_QUERY, "GET, HEAD, POST", "query"},
        {"/api/v1/query_range", ROUTE_READ_QUERY_RANGE, "GET, HEAD, POST", "query_range"},
        {"/api/v1/series", ROUTE_READ_SERIES, "GET, HEAD, POST", "series"},
        {"/api/v1/labels", ROUTE_READ_LABELS, "GET, HEAD, POST", "labels"},
        {"/api/v1/query_exemplars", ROUTE_READ_QUERY_EXEMPLARS, "GET, HEAD, POST",
         "query_exemplars"},
        {"/api/v1/format_query", ROUTE_READ_FORMAT_QUERY, "GET, HEAD, POST", "format_query"},
        {"/api/v1/parse_query", ROUTE_READ_PARSE_QUERY, "GET, HEAD, POST", "parse_query"},
        {"/api/v1/label/job/values", ROUTE_READ_LABEL_VALUES, "GET, HEAD", "label_values"},
        {"/api/v1/label/__name__/values", ROUTE_READ_LABEL_VALUES, "GET, HEAD", "label_values"},
        {"/api/v1/label/a:B9/values", ROUTE_READ_LABEL_VALUES, "GET, HEAD", "label_values"},
        {"/api/v1/label/values/values", ROUTE_READ_LABEL_VALUES, "GET, HEAD", "label_values"},
        {"/api/v1/rules", ROUTE_READ_RULES, "GET, HEAD", "rules"},
        {"/api/v1/alerts", ROUTE_READ_ALERTS, "GET, HEAD", "alerts"},
        {"/api/v1/metadata", ROUTE_READ_METADATA, "GET, HEAD", "metadata"},
        {"/api/v1/targets", ROUTE_READ_TARGETS, "GET, HEAD", "targets"},
        {"/api/v1/targets/metadata", ROUTE_READ_TARGETS_METADATA, "GET, HEAD", "targets_metadata"},
        {"/api/v1/status/buildinfo", ROUTE_READ_BUILDINFO, "GET, HEAD", "buildinfo"},
        {"/api/v1/otlp", ROUTE_OTLP, "POST", "otlp"},
        {"/api/v1/otlp/v1/metrics", ROUTE_OTLP, "POST", "otlp"},
    };

    bool seen[ROUTE_COUNT] = {false};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const struct route *route = match(cases[i].path);
        assert_int_equal(route->id, cases[i].id);
        assert_string_equal(route->allow, cases[i].allow);
        assert_string_equal(route->name, cases[i].name);
        assert_int_equal((route->methods & ROUTE_METHOD_POST) != 0,
                         strstr(route->allow, "POST") != NULL);
        assert_int_equal((route->methods & ROUTE_METHOD_GET) != 0,
                         strstr(route->allow, "GET") != NULL);
        assert_int_equal((route->methods & ROUTE_METHOD_HEAD) != 0,
                         strstr(route->allow, "HEAD") != NULL);
        seen[route->id] = true;
    }
    for (unsigned id = ROUTE_WRITE; id < ROUTE_COUNT; id++) {
        assert_true(seen[id]); /* no route without a case here */
    }
}

static void test_not_found(void **state)
{
    (void)state;
    static const char *const paths[] = {
        "/-/",
        "/-/status",
        "/api",
        "/api/v1",
        "/api/v1/",
        "/api/v1/query/",
        "/api/v1/Query",
        "/api/v1/queryx",
        "/api/v1/quer",
        "/api/v2/query",
        "/api/v1/read",
        "/api/v1/push",
        "/api/v1/admin/tsdb/delete_series",
        "/api/v1/admin/tsdb/snapshot",
        "/api/v1/status/config",
        "/api/v1/status/flags",
        "/api/v1/label/job",
        "/api/v1/label/job/values/",
        "/api/v1/label/jo-b/values",
        "/api/v1/label/jo.b/values",
        "/api/v1/label/a/b/values",
        "/api/v1/label/values",
        "/api/v1/label/job/value",
        "/tenant/api/v1/query",
        "/-/reload",
        "/-/quit",
        "/-/healthy/",
        "/metrics/",
        "/.hidden",
        "/...",
        "/..api",
        "/a..b",
        "/api/v1/query?query=up",
    };
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        assert_int_equal(match(paths[i])->id, ROUTE_NONE);
        assert_int_equal(match(paths[i])->methods, 0);
    }
}

static void test_bad_paths(void **state)
{
    (void)state;
    static const char *const paths[] = {
        "",
        "*",
        "api/v1/query",
        "http://gateway/api/v1/query",
        "gateway:80",
        "//",
        "//api/v1/query",
        "/api//v1/query",
        "/api/v1/query//",
        "/.",
        "/..",
        "/./api/v1/query",
        "/../api/v1/query",
        "/api/v1/../query",
        "/api/v1/./query",
        "/api/v1/query/.",
        "/api/v1/query/..",
        "/api/v1/query/../../../other/api/v1/query",
        "/api/v1/label/../values",
        "/api/v1/label/./values",
        "/api/v1/label//values",
        "/api/v1/%2e%2e/query",
        "/api/v1/%2E%2E/query",
        "/api/v1/..%2fquery",
        "/api/v1/..%5cquery",
        "/api/v1/query%00",
        "/api/v1/quer%79",
        "/api/v1/query%",
        "/api/v1/%252e%252e/query",
        "/api/v1/label/a%2fb/values",
        "/api\\v1\\query",
        "/api/v1/..\\query",
        "/api/v1/query;a=b",
        "/api/v1;/query",
        "/api/v1/query#x",
        "/api/v1/query x",
        "/api/v1/query\t",
        "/api/v1/query\n",
        "/api/v1/query\x7f",
        "/api/v1/qu\xc3\xa4ry",
        "/api/v1/\xc0\xae\xc0\xae/query",
    };
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        assert_int_equal(match(paths[i])->id, ROUTE_BAD_PATH);
    }
    assert_int_equal(route_match("/api/v1/query\0", 14)->id, ROUTE_BAD_PATH);
    assert_int_equal(route_match("/api/v1/query\0x", 13)->id, ROUTE_READ_QUERY);
}

/* Every byte in every place of a path that would match. */
static void test_every_byte_everywhere(void **state)
{
    (void)state;
    char path[] = "/api/v1/label/job/values";
    for (size_t at = 0; at < sizeof(path) - 1; at++) {
        char was = path[at];
        for (unsigned value = 0; value < 256; value++) {
            path[at] = (char)value;
            enum route_id id = route_match(path, sizeof(path) - 1)->id;
            bool name = at >= 14 && at < 17;
            bool label = (value >= 'a' && value <= 'z') || (value >= 'A' && value <= 'Z') ||
                         (value >= '0' && value <= '9') || value == '_' || value == ':';
            bool matches = path[at] == was || (name && label);
            assert_int_equal(id == ROUTE_READ_LABEL_VALUES, matches);
        }
        path[at] = was;
    }
}

static void test_methods(void **state)
{
    (void)state;
    assert_int_equal(route_method_of("GET"), ROUTE_METHOD_GET);
    assert_int_equal(route_method_of("HEAD"), ROUTE_METHOD_HEAD);
    assert_int_equal(route_method_of("POST"), ROUTE_METHOD_POST);
    assert_int_equal(route_method_of("PUT"), ROUTE_METHOD_OTHER);
    assert_int_equal(route_method_of("get"), ROUTE_METHOD_OTHER);
    assert_int_equal(route_method_of("POSTS"), ROUTE_METHOD_OTHER);
    assert_int_equal(route_method_of(""), ROUTE_METHOD_OTHER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),     cmocka_unit_test(test_not_found),
        cmocka_unit_test(test_bad_paths), cmocka_unit_test(test_every_byte_everywhere),
        cmocka_unit_test(test_methods),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
