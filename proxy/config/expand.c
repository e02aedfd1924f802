/* Puts environment variables into a text. Owns nothing after it returns. */
#include "config/expand.h"

#include "base/alloc.h"
#include "base/buf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_BYTES_MAX 100

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"
#define DIGITS  "0123456789"

/* Find the value of the variable in "{NAME}" or "(NAME)" at text, and move *text behind it.
 * Errors: NULL, and the reason in error. */
static const char *expand_find(const char **text, char error[EXPAND_ERROR_BYTES])
{
    char name[NAME_BYTES_MAX + 1];
    const char *start = *text + 1;
    size_t bytes = strspn(start, LETTERS DIGITS);
    if (bytes == 0 || bytes > NAME_BYTES_MAX || strchr(DIGITS, start[0]) != NULL ||
        start[bytes] != (**text == '{' ? '}' : ')')) {
        (void)snprintf(
            error, EXPAND_ERROR_BYTES,
            "has $%c without the name of a variable and %c after it; $$%c stands for $%c", **text,
            **text == '{' ? '}' : ')', **text, **text);
        return NULL;
    }
    memcpy(name, start, bytes);
    name[bytes] = '\0';
    *text = start + bytes + 1;
    const char *value = getenv(name);
    if (value == NULL) {
        (void)snprintf(error, EXPAND_ERROR_BYTES, "the environment variable %s is not set", name);
    }
    return value;
}

static int expand_into(struct buf *out, const char *text, char error[EXPAND_ERROR_BYTES])
{
    int result = 0;
    while (result == 0 && *text != '\0') {
        size_t plain = strcspn(text, "$");
        result = buf_append(out, text, plain);
        text += plain;
        if (result < 0 || *text == '\0') {
            break;
        }
        if (text[1] == '$' && (text[2] == '{' || text[2] == '(')) {
            result = buf_append(out, text + 1, 2);
            text += 3;
        } else if (text[1] == '{' || text[1] == '(') {
            text++;
            const char *value = expand_find(&text, error);
            if (value == NULL) {
                return -EINVAL;
            }
            result = buf_append(out, value, strlen(value));
        } else {
            result = buf_append(out, text, 1);
            text++;
        }
    }
    if (result == 0) {
        result = buf_append(out, "", 1);
    }
    if (result < 0) {
        (void)snprintf(error, EXPAND_ERROR_BYTES, "is too long");
        return -EINVAL;
    }
    return 0;
}

int expand_environment(const char *text, char **expanded, char error[EXPAND_ERROR_BYTES])
{
    struct buf out;
    if (strchr(text, '$') == NULL) {
        *expanded = alloc_copy(text, strlen(text));
        return 0;
    }
    buf_init(&out, EXPAND_BYTES_MAX);
    /* One piece, so that growing leaves no copy of a secret behind. */
    int result = buf_reserve(&out, EXPAND_BYTES_MAX) < 0 ? -ENOMEM : expand_into(&out, text, error);
    if (result == -ENOMEM) {
        (void)snprintf(error, EXPAND_ERROR_BYTES, "there is no memory for it");
        result = -EINVAL;
    }
    if (result == 0) {
        *expanded = alloc_copy((const char *)out.data, out.size - 1);
    }
    if (out.data != NULL) {
        explicit_bzero(out.data, out.size);
    }
    buf_deinit(&out);
    return result;
}
