/* Raw paths: whatever has a route is spelled in letters that mean the same to every server. */
#include "wire/route.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static bool is_plain(const char *path, size_t bytes)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_:-/";
    for (size_t i = 0; i < bytes; i++) {
        if (path[i] == '\0' || strchr(letters, path[i]) == NULL ||
            (path[i] == '/' && i + 1 < bytes && path[i + 1] == '/')) {
            return false;
        }
    }
    return bytes > 1 && path[0] == '/' && path[bytes - 1] != '/';
}

static bool has_slash_dots(const char *path, size_t bytes)
{
    for (size_t i = 0; i + 1 < bytes; i++) {
        size_t dots = path[i] == '/' && path[i + 1] == '.' ? 1 : 0;
        dots += dots == 1 && i + 2 < bytes && path[i + 2] == '.';
        size_t after = i + 1 + dots;
        if (dots > 0 && (after == bytes || path[after] == '/')) {
            return true;
        }
    }
    return false;
}

static bool is(const char *path, size_t bytes, const char *whole)
{
    return bytes == strlen(whole) && memcmp(path, whole, bytes) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    const char *path = (const char *)data;
    const struct route *route = route_match(path, bytes);
    if (route->id >= ROUTE_COUNT || route->allow == NULL || route->name == NULL) {
        abort();
    }
    bool found = route->id != ROUTE_NONE && route->id != ROUTE_BAD_PATH;
    bool own_page = route->id == ROUTE_STATUS || route->id == ROUTE_STATUS_JSON;
    if (found != (route->methods != 0) || (found && !own_page && !is_plain(path, bytes))) {
        abort();
    }
    if ((route->id == ROUTE_STATUS && !is(path, bytes, "/")) ||
        (route->id == ROUTE_STATUS_JSON && !is(path, bytes, "/-/status.json"))) {
        abort();
    }
    if (route->id != ROUTE_BAD_PATH && has_slash_dots(path, bytes)) {
        abort();
    }
    return 0;
}
