/* What single values must be. Owns nothing. */
#include "config/rules.h"

#include "base/escape.h"

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool rules_is_alphanumeric(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool rules_consists_of(const char *text, const char *others)
{
    for (; *text != '\0'; text++) {
        if (!rules_is_alphanumeric(*text) && strchr(others, *text) == NULL) {
            return false;
        }
    }
    return true;
}

const char *rules_check_tenant(const char *text)
{
    size_t bytes = strlen(text);
    if (bytes < 1 || bytes > 64) {
        return "is not 1 to 64 characters long";
    }
    if (!rules_consists_of(text, "_.-")) {
        return "has a character that is not a letter, a digit or one of _ . -";
    }
    if (strcmp(text, ".") == 0 || strcmp(text, "..") == 0) {
        return "would change the path of a request";
    }
    return NULL;
}

/* Headers that the proxy sets or that belong to the connection: a tenant there would break the
 * request or be overwritten. */
static const char *const MANAGED_HEADERS[] = {"Accept",
                                              "Accept-Encoding",
                                              "Authorization",
                                              "Connection",
                                              "Content-Encoding",
                                              "Content-Length",
                                              "Content-Type",
                                              "Cookie",
                                              "Date",
                                              "Expect",
                                              "Host",
                                              "Keep-Alive",
                                              "Proxy-Authenticate",
                                              "Proxy-Authorization",
                                              "Proxy-Connection",
                                              "Retry-Attempt",
                                              "TE",
                                              "Trailer",
                                              "Transfer-Encoding",
                                              "Upgrade",
                                              "User-Agent",
                                              "Via",
                                              "X-Prometheus-Remote-Write-Version"};

const char *rules_check_header(const char *text)
{
    size_t bytes = strlen(text);
    if (bytes < 1 || bytes > 128) {
        return "is not 1 to 128 characters long";
    }
    if (!rules_consists_of(text, "!#$%&'*+-.^_`|~")) { /* token, RFC 9110 section 5.6.2 */
        return "has a character that no header name may hold";
    }
    for (size_t i = 0; i < COUNT(MANAGED_HEADERS); i++) {
        if (strcasecmp(text, MANAGED_HEADERS[i]) == 0) {
            return "is a header that the proxy itself sets";
        }
    }
    return NULL;
}

/* A path goes into messages and inotify, a name into handshakes: neither holds control characters,
 * which would be a slip of quoting. */
static bool rules_has_control(const char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f) {
            return true;
        }
    }
    return false;
}

const char *rules_check_file(const char *text)
{
    if (strlen(text) > 4095) {
        return "is longer than 4095 bytes";
    }
    if (!escape_is_utf8(text, strlen(text))) {
        return "is not UTF-8"; /* no configuration file could say it */
    }
    return rules_has_control(text) ? "has a control character" : NULL;
}

const char *rules_check_server_name(const char *text)
{
    if (strlen(text) > 253) {
        return "is longer than 253 bytes";
    }
    return rules_consists_of(text, ".-_:") ? NULL : "is neither a host name nor an IP address";
}

const char *rules_check_probe(const char *text)
{
    if (strncmp(text, "http://", 7) != 0 && strncmp(text, "https://", 8) != 0) {
        return "does not begin with http:// or https://";
    }
    if (strlen(text) > 2048) {
        return "is longer than 2048 bytes";
    }
    for (; *text != '\0'; text++) {
        if (*text <= ' ' || *text > '~') {
            return "has a character that no URL may hold";
        }
    }
    return NULL;
}
