/* The route table and the check of a raw path. Pure; owns nothing. */
#include "wire/route.h"

#include <stdbool.h>
#include <string.h>

#define READ      (ROUTE_METHOD_GET | ROUTE_METHOD_HEAD)
#define READ_POST (READ | ROUTE_METHOD_POST)
#define WRITE     ROUTE_METHOD_POST

#define ALLOW_READ      "GET, HEAD"
#define ALLOW_READ_POST "GET, HEAD, POST"
#define ALLOW_WRITE     "POST"

static const struct route none = {ROUTE_NONE, 0, "", ""};
static const struct route bad_path = {ROUTE_BAD_PATH, 0, "", ""};
static const struct route label_values = {ROUTE_READ_LABEL_VALUES, READ, ALLOW_READ,
                                          "label_values"};

struct entry {
    const char *path;
    struct route route;
};

/* The usual ones first. */
static const struct entry table[] = {
    {"/api/v1/receive", {ROUTE_WRITE, WRITE, ALLOW_WRITE, "write"}},
    {"/api/v1/write", {ROUTE_WRITE, WRITE, ALLOW_WRITE, "write"}},
    {"/api/v1/query", {ROUTE_READ_QUERY, READ_POST, ALLOW_READ_POST, "query"}},
    {"/api/v1/query_range", {ROUTE_READ_QUERY_RANGE, READ_POST, ALLOW_READ_POST, "query_range"}},
    {"/api/v1/series", {ROUTE_READ_SERIES, READ_POST, ALLOW_READ_POST, "series"}},
    {"/api/v1/labels", {ROUTE_READ_LABELS, READ_POST, ALLOW_READ_POST, "labels"}},
    {"/api/v1/query_exemplars",
     {ROUTE_READ_QUERY_EXEMPLARS, READ_POST, ALLOW_READ_POST, "query_exemplars"}},
    {"/api/v1/format_query", {ROUTE_READ_FORMAT_QUERY, READ_POST, ALLOW_READ_POST, "format_query"}},
    {"/api/v1/parse_query", {ROUTE_READ_PARSE_QUERY, READ_POST, ALLOW_READ_POST, "parse_query"}},
    {"/api/v1/rules", {ROUTE_READ_RULES, READ, ALLOW_READ, "rules"}},
    {"/api/v1/alerts", {ROUTE_READ_ALERTS, READ, ALLOW_READ, "alerts"}},
    {"/api/v1/metadata", {ROUTE_READ_METADATA, READ, ALLOW_READ, "metadata"}},
    {"/api/v1/targets", {ROUTE_READ_TARGETS, READ, ALLOW_READ, "targets"}},
    {"/api/v1/targets/metadata",
     {ROUTE_READ_TARGETS_METADATA, READ, ALLOW_READ, "targets_metadata"}},
    {"/api/v1/status/buildinfo", {ROUTE_READ_BUILDINFO, READ, ALLOW_READ, "buildinfo"}},
    {"/api/v1/otlp", {ROUTE_OTLP, WRITE, ALLOW_WRITE, "otlp"}},
    {"/api/v1/otlp/v1/metrics", {ROUTE_OTLP, WRITE, ALLOW_WRITE, "otlp"}},
    {"/metrics", {ROUTE_METRICS, READ, ALLOW_READ, "metrics"}},
    {"/-/healthy", {ROUTE_HEALTHY, READ, ALLOW_READ, "healthy"}},
    {"/-/ready", {ROUTE_READY, READ, ALLOW_READ, "ready"}},
    {"/", {ROUTE_STATUS, READ, ALLOW_READ, "status"}},
    {"/-/status.json", {ROUTE_STATUS_JSON, READ, ALLOW_READ, "status_json"}},
};

/* Anything that some server on the way might read as another path than we do. */
static bool is_safe_byte(char c)
{
    return c > ' ' && c < 0x7f && c != '%' && c != '\\' && c != ';' && c != '#';
}

/* "", "." and ".." between two slashes, or at the end except for "" (a trailing slash). */
static bool is_safe_segment(const char *segment, size_t bytes, bool last)
{
    if (bytes == 0) {
        return last;
    }
    return !(bytes == 1 && segment[0] == '.') &&
           !(bytes == 2 && segment[0] == '.' && segment[1] == '.');
}

static bool is_safe(const char *path, size_t bytes)
{
    if (bytes == 0 || path[0] != '/') {
        return false;
    }
    size_t segment = 1; /* where the current one starts */
    for (size_t i = 1; i < bytes; i++) {
        if (!is_safe_byte(path[i])) {
            return false;
        }
        if (path[i] == '/') {
            if (!is_safe_segment(path + segment, i - segment, false)) {
                return false;
            }
            segment = i + 1;
        }
    }
    return is_safe_segment(path + segment, bytes - segment, true);
}

static bool is_label_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == ':';
}

/* /api/v1/label/<name>/values */
static bool is_label_values(const char *path, size_t bytes)
{
    static const char before[] = "/api/v1/label/";
    static const char after[] = "/values";
    const size_t before_bytes = sizeof(before) - 1;
    const size_t after_bytes = sizeof(after) - 1;
    if (bytes <= before_bytes + after_bytes || memcmp(path, before, before_bytes) != 0 ||
        memcmp(path + bytes - after_bytes, after, after_bytes) != 0) {
        return false;
    }
    for (size_t i = before_bytes; i < bytes - after_bytes; i++) {
        if (!is_label_byte(path[i])) {
            return false;
        }
    }
    return true;
}

const struct route *route_match(const char *path, size_t bytes)
{
    if (!is_safe(path, bytes)) {
        return &bad_path;
    }
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (strlen(table[i].path) == bytes && memcmp(table[i].path, path, bytes) == 0) {
            return &table[i].route;
        }
    }
    return is_label_values(path, bytes) ? &label_values : &none;
}

enum route_method route_method_of(const char *method)
{
    if (strcmp(method, "POST") == 0) {
        return ROUTE_METHOD_POST;
    }
    if (strcmp(method, "GET") == 0) {
        return ROUTE_METHOD_GET;
    }
    if (strcmp(method, "HEAD") == 0) {
        return ROUTE_METHOD_HEAD;
    }
    return ROUTE_METHOD_OTHER;
}
