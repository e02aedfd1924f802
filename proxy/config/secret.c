/* Checks and forms of passwords, tokens and hashes. Owns nothing. */
#include "config/secret.h"

#include "base/alloc.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PASSWORD_BYTES_MAX 4096
#define TOKEN_BYTES_MAX    16384

/* A bcrypt hash: "$2b$12$", then 22 characters of salt and 31 of hash. */
#define BCRYPT_BYTES      60
#define BCRYPT_HEAD_BYTES 7
#define BCRYPT_COST_MIN   4
#define BCRYPT_COST_MAX   14 /* a second of CPU for one check */

void secret_free(char *text)
{
    if (text != NULL) {
        explicit_bzero(text, strlen(text));
    }
    free(text);
}

void secret_trim(char *text)
{
    size_t bytes = strlen(text);
    if (bytes > 0 && text[bytes - 1] == '\n') {
        text[--bytes] = '\0';
        if (bytes > 0 && text[bytes - 1] == '\r') {
            text[--bytes] = '\0';
        }
    }
}

const char *secret_check_password(const char *text)
{
    size_t bytes = strlen(text);
    if (bytes < 1 || bytes > PASSWORD_BYTES_MAX) {
        return bytes < 1 ? "is empty" : "is longer than 4096 bytes";
    }
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f) {
            return "has a control character";
        }
    }
    return NULL;
}

const char *secret_check_token(const char *text)
{
    size_t bytes = strlen(text);
    if (bytes < 1 || bytes > TOKEN_BYTES_MAX) {
        return bytes < 1 ? "is empty" : "is longer than 16384 bytes";
    }
    for (; *text != '\0'; text++) {
        if (*text <= ' ' || *text > '~') {
            return "has a space, a control character or one that is not ASCII";
        }
    }
    return NULL;
}

static bool secret_is_bcrypt_char(char c)
{
    return (c >= '.' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool secret_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

const char *secret_check_bcrypt(const char *text)
{
    bool bcrypt = strlen(text) == BCRYPT_BYTES && text[0] == '$' && text[1] == '2' &&
                  strchr("aby", text[2]) != NULL && text[3] == '$' && secret_is_digit(text[4]) &&
                  secret_is_digit(text[5]) && text[6] == '$';
    for (size_t i = BCRYPT_HEAD_BYTES; bcrypt && i < BCRYPT_BYTES; i++) {
        bcrypt = secret_is_bcrypt_char(text[i]);
    }
    if (!bcrypt) {
        return "is no bcrypt hash ($2a$, $2b$ or $2y$), as htpasswd -nB makes one";
    }
    int cost = (text[4] - '0') * 10 + (text[5] - '0');
    if (cost < BCRYPT_COST_MIN) {
        return "is a bcrypt hash of a cost below 4, which does not exist";
    }
    return cost > BCRYPT_COST_MAX
               ? "is a bcrypt hash of a cost above 14: to check it would take seconds of CPU"
               : NULL;
}

char *secret_basic(const char *user, const char *password)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    static const char scheme[] = "Basic ";
    size_t bytes = strlen(user) + 1 + strlen(password);
    char *plain = alloc_zero(bytes + 3, 1); /* zeros up to a multiple of three */
    (void)snprintf(plain, bytes + 1, "%s:%s", user, password);
    char *text = alloc_zero(sizeof(scheme) + 4 * ((bytes + 2) / 3), 1);
    memcpy(text, scheme, sizeof(scheme) - 1);
    char *out = text + sizeof(scheme) - 1;
    for (size_t i = 0; i < bytes; i += 3) {
        const unsigned char *in = (const unsigned char *)plain + i;
        uint32_t word = (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | in[2];
        *out++ = digits[word >> 18];
        *out++ = digits[word >> 12 & 63];
        *out++ = i + 1 < bytes ? digits[word >> 6 & 63] : '=';
        *out++ = i + 2 < bytes ? digits[word & 63] : '=';
    }
    explicit_bzero(plain, bytes);
    free(plain);
    return text;
}
