/* Takes credentials out of a header. Pure; owns nothing. */
#include "wire/basic_auth.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <strings.h>

/* The six bits of a base64 character; 64: it is none. */
static uint32_t basic_auth_bits(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return (uint32_t)(c - 'A');
    }
    if (c >= 'a' && c <= 'z') {
        return (uint32_t)(c - 'a') + 26;
    }
    if (c >= '0' && c <= '9') {
        return (uint32_t)(c - '0') + 52;
    }
    return c == '+' ? 62 : c == '/' ? 63 : 64;
}

/* Decode bytes characters without their padding into out. False when they are no base64, or bits
 * are left over that a proper encoder leaves zero. */
static bool basic_auth_decode(const char *text, size_t bytes, char *out)
{
    uint32_t held = 0;
    unsigned held_bits = 0;
    for (size_t i = 0; i < bytes; i++) {
        uint32_t bits = basic_auth_bits(text[i]);
        if (bits == 64) {
            return false;
        }
        held = (held << 6 | bits) & 0xfffU;
        held_bits += 6;
        if (held_bits >= 8) {
            held_bits -= 8;
            *out++ = (char)(held >> held_bits & 0xffU);
        }
    }
    return held_bits < 6 && (held & ((1U << held_bits) - 1)) == 0;
}

/* Length without padding, which is of the right size or absent. */
static bool basic_auth_strip(const char *text, size_t *bytes)
{
    size_t whole = *bytes;
    size_t stripped = whole;
    while (stripped > 0 && text[stripped - 1] == '=') {
        stripped--;
    }
    *bytes = stripped;
    return stripped == whole || (whole % 4 == 0 && whole - stripped <= 2);
}

int basic_auth_parse(const char *value, struct basic_auth *auth)
{
    static const char SCHEME[] = "Basic";
    const size_t scheme_bytes = sizeof(SCHEME) - 1;
    if (value == NULL || strncasecmp(value, SCHEME, scheme_bytes) != 0 ||
        value[scheme_bytes] != ' ') {
        return -EINVAL;
    }
    value += scheme_bytes;
    value += strspn(value, " ");
    size_t bytes = strlen(value);
    while (bytes > 0 && (value[bytes - 1] == ' ' || value[bytes - 1] == '\t')) {
        bytes--;
    }
    if (!basic_auth_strip(value, &bytes) || bytes / 4 * 3 + bytes % 4 > BASIC_AUTH_BYTES_MAX) {
        return -EINVAL;
    }
    struct basic_auth found;
    size_t decoded_bytes = bytes * 3 / 4;
    if (!basic_auth_decode(value, bytes, found.text)) {
        return -EINVAL;
    }
    found.text[decoded_bytes] = '\0';
    char *colon = memchr(found.text, ':', decoded_bytes);
    if (colon == NULL || memchr(found.text, '\0', decoded_bytes) != NULL) {
        explicit_bzero(&found, sizeof(found));
        return -EINVAL;
    }
    *colon = '\0';
    memcpy(auth->text, found.text, decoded_bytes + 1);
    auth->user = auth->text;
    auth->password = auth->text + (colon + 1 - found.text);
    explicit_bzero(&found, sizeof(found));
    return 0;
}
