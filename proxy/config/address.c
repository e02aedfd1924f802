/* Parsing of addresses. Owns nothing after it returns. */
#include "config/address.h"

#include "base/alloc.h"
#include "config/config.h"

#include <arpa/inet.h>
#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define ADDRESS_URL_BYTES_MAX   2048
#define ADDRESS_PATH_BYTES_MAX  1024
#define ADDRESS_HOST_BYTES_MAX  253 /* RFC 1035, as text */
#define ADDRESS_LABEL_BYTES_MAX 63

static bool address_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool address_is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool address_is_path_char(char c)
{
    return address_is_letter(c) || address_is_digit(c) || (c != '\0' && strchr("-._~/", c) != NULL);
}

static const char *address_check_segment(const char *segment, size_t bytes)
{
    if (bytes == 0) {
        return "has an empty segment in its path";
    }
    if ((bytes == 1 && segment[0] == '.') ||
        (bytes == 2 && segment[0] == '.' && segment[1] == '.')) {
        return "has a . or .. segment in its path";
    }
    return NULL;
}

const char *address_check_path(const char *text)
{
    if (text[0] != '/') {
        return "does not begin with /";
    }
    if (strlen(text) > ADDRESS_PATH_BYTES_MAX) {
        return "is longer than 1024 bytes";
    }
    for (const char *c = text; *c != '\0'; c++) {
        if (!address_is_path_char(*c)) {
            return "has a character in its path that is not a letter, a digit or one of - . _ ~ /";
        }
    }
    for (const char *segment = text + 1; *segment != '\0';) {
        size_t bytes = strcspn(segment, "/");
        const char *reason = address_check_segment(segment, bytes);
        if (reason != NULL) {
            return reason;
        }
        segment += bytes;
        segment += *segment == '/';
    }
    return NULL;
}

/* Check one label of a name: letters, digits, inner hyphens; underscores are no host names but are
 * resolved, so they pass. */
static bool address_is_label(const char *label, size_t bytes)
{
    if (bytes == 0 || bytes > ADDRESS_LABEL_BYTES_MAX || label[0] == '-' ||
        label[bytes - 1] == '-') {
        return false;
    }
    for (size_t i = 0; i < bytes; i++) {
        if (!address_is_letter(label[i]) && !address_is_digit(label[i]) && label[i] != '-' &&
            label[i] != '_') {
            return false;
        }
    }
    return true;
}

/* Check a host without brackets: a name (a final dot is allowed) or IPv4. */
static bool address_is_name(const char *host)
{
    struct in_addr ipv4;
    const char *last = host;
    for (const char *label = host;;) {
        size_t bytes = strcspn(label, ".");
        if (!address_is_label(label, bytes)) {
            return false;
        }
        last = label;
        label += bytes;
        if (*label == '\0' || label[1] == '\0') {
            break;
        }
        label++;
    }
    /* What ends in a number would be taken for IPv4 by resolvers, which have forms of their own. */
    bool numeric = last[strspn(last, "0123456789.")] == '\0' || strncasecmp(last, "0x", 2) == 0;
    return !numeric || inet_pton(AF_INET, host, &ipv4) == 1;
}

/* Host and port of an authority, taken apart. */
struct address_parts {
    char host[ADDRESS_HOST_BYTES_MAX + 1]; /* without brackets */
    const char *port;                      /* inside the text; NULL: none given */
    size_t port_bytes;
    bool ipv6;
};

/* Copy a host as lower case; false when it is too long. */
static bool address_copy_host(struct address_parts *parts, const char *host, size_t bytes)
{
    if (bytes > ADDRESS_HOST_BYTES_MAX) {
        return false;
    }
    for (size_t i = 0; i < bytes; i++) {
        bool upper = host[i] >= 'A' && host[i] <= 'Z';
        parts->host[i] = upper ? (char)(host[i] - 'A' + 'a') : host[i];
    }
    parts->host[bytes] = '\0';
    return true;
}

/* Take "host[:port]" apart. An empty host passes; see the callers. */
static const char *address_parse_authority(const char *text, size_t bytes,
                                           struct address_parts *parts)
{
    struct in6_addr ipv6;
    const char *end = text + bytes;
    const char *host = text;
    const char *host_end = NULL;
    *parts = (struct address_parts){.ipv6 = bytes > 0 && text[0] == '['};
    if (parts->ipv6) {
        host = text + 1;
        host_end = memchr(host, ']', (size_t)(end - host));
        if (host_end == NULL) {
            return "has a [ without a ]";
        }
    } else {
        host_end = memchr(text, ':', bytes);
        host_end = host_end == NULL ? end : host_end;
    }
    const char *rest = host_end + parts->ipv6;
    if (rest < end && *rest != ':') {
        return "has something other than a port after its host";
    }
    if (rest < end) {
        parts->port = rest + 1;
        parts->port_bytes = (size_t)(end - rest) - 1;
    }
    if (parts->port != NULL && memchr(parts->port, ':', parts->port_bytes) != NULL) {
        return "has more than one colon; an IPv6 address stands in brackets, [::1]:9090";
    }
    size_t host_bytes = (size_t)(host_end - host);
    if (!address_copy_host(parts, host, host_bytes) ||
        (parts->ipv6 ? inet_pton(AF_INET6, parts->host, &ipv6) != 1
                     : host_bytes > 0 && !address_is_name(parts->host))) {
        return "has a host that is neither a name nor an IP address";
    }
    return NULL;
}

/* Read a port of 1 to 5 digits. */
static bool address_parse_port(const struct address_parts *parts, uint32_t min, uint16_t *port)
{
    uint32_t number = 0;
    if (parts->port_bytes == 0 || parts->port_bytes > 5) {
        return false;
    }
    for (size_t i = 0; i < parts->port_bytes; i++) {
        if (!address_is_digit(parts->port[i])) {
            return false;
        }
        number = number * 10 + (uint32_t)(parts->port[i] - '0');
    }
    if (number < min || number > UINT16_MAX) {
        return false;
    }
    *port = (uint16_t)number;
    return true;
}

const char *address_parse_listen(const char *text, struct address_listen *listen)
{
    static const char no_port[] = "has no port; the form is host:port or :port";
    struct address_parts parts;
    uint16_t port = 0;
    if (strchr(text, ':') == NULL) { /* told first: what is there may be a port alone */
        return no_port;
    }
    const char *reason = address_parse_authority(text, strlen(text), &parts);
    if (reason != NULL) {
        return reason;
    }
    if (parts.port == NULL) {
        return no_port;
    }
    if (!address_parse_port(&parts, 0, &port)) {
        return "has a port that is not a number from 0 to 65535";
    }
    *listen =
        (struct address_listen){.host = alloc_copy(parts.host, strlen(parts.host)), .port = port};
    return NULL;
}

/* Write the URL from its checked parts. base: the path without its final slashes. */
static void address_build_url(struct config_url *url, bool https, const struct address_parts *parts,
                              uint16_t port, const char *base, size_t base_bytes)
{
    char head[ADDRESS_HOST_BYTES_MAX + 32];
    char port_text[8] = "";
    if (parts->port != NULL) {
        (void)snprintf(port_text, sizeof(port_text), ":%" PRIu16, port);
    }
    int head_bytes =
        snprintf(head, sizeof(head), "%s://%s%s%s%s", https ? "https" : "http",
                 parts->ipv6 ? "[" : "", parts->host, parts->ipv6 ? "]" : "", port_text);
    assert(head_bytes > 0 && (size_t)head_bytes < sizeof(head));
    size_t path = (size_t)head_bytes;
    char *text = alloc_zero(path + base_bytes + 1, 1);
    memcpy(text, head, path);
    memcpy(text + path, base, base_bytes);
    *url = (struct config_url){.text = text, .path = text + path, .https = https};
}

/* Refuse what no part of a base URL may hold, with a better word than the parts could find. */
static const char *address_check_url_text(const char *text)
{
    if (strlen(text) > ADDRESS_URL_BYTES_MAX) {
        return "is longer than 2048 bytes";
    }
    for (const char *c = text; *c != '\0'; c++) {
        if (*c <= ' ' || *c > '~') {
            return "has a character that no URL may hold";
        }
    }
    if (strchr(text, '?') != NULL || strchr(text, '#') != NULL) {
        return "has a query or a fragment; only a base path is allowed";
    }
    return NULL;
}

const char *address_parse_url(const char *text, struct config_url *url)
{
    const char *reason = address_check_url_text(text);
    if (reason != NULL) {
        return reason;
    }
    bool https = strncasecmp(text, "https://", 8) == 0;
    if (!https && strncasecmp(text, "http://", 7) != 0) {
        return "does not begin with http:// or https://";
    }
    const char *authority = text + (https ? 8 : 7);
    size_t authority_bytes = strcspn(authority, "/");
    if (memchr(authority, '@', authority_bytes) != NULL) {
        return "has a user in it; credentials do not belong into an address";
    }
    struct address_parts parts;
    uint16_t port = 0;
    reason = address_parse_authority(authority, authority_bytes, &parts);
    if (reason != NULL) {
        return reason;
    }
    if (parts.host[0] == '\0') {
        return "has no host";
    }
    if (parts.port != NULL && !address_parse_port(&parts, 1, &port)) {
        return "has a port that is not a number from 1 to 65535";
    }
    const char *base = authority + authority_bytes;
    size_t base_bytes = strlen(base);
    while (base_bytes > 0 && base[base_bytes - 1] == '/') {
        base_bytes--;
    }
    char *path = alloc_copy(base, base_bytes);
    reason = base_bytes == 0 ? NULL : address_check_path(path);
    free(path);
    if (reason != NULL) {
        return reason;
    }
    address_build_url(url, https, &parts, port, base, base_bytes);
    return NULL;
}
