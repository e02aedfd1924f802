/* Request heads as they come on the wire. What is taken as plain reads alike to a line splitter of
 * the strictest kind, is judged alike by head.c, and is taken only whole. */
#include "wire/plain_head.h"

#include "wire/head.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CHECK(condition)    \
    do {                    \
        if (!(condition)) { \
            abort();        \
        }                   \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static bool equals(const char *start, size_t bytes, const char *text)
{
    return strlen(text) == bytes && memcmp(start, text, bytes) == 0;
}

/* The line at start, which ends at the first CR or LF, or NUL; and that must be a CRLF. */
static size_t line_bytes(const char *start, const char *end)
{
    const char *at = start;
    while (at < end && *at != '\r' && *at != '\n' && *at != '\0') {
        at++;
    }
    CHECK(end - at >= 2 && at[0] == '\r' && at[1] == '\n');
    return (size_t)(at - start);
}

static void check_request_line(const char *line, size_t bytes, const struct plain_head *plain)
{
    const char *first = memchr(line, ' ', bytes);
    CHECK(first != NULL);
    size_t method_bytes = (size_t)(first - line);
    const char *target = first + 1;
    const char *second = memchr(target, ' ', bytes - method_bytes - 1);
    CHECK(second != NULL && second > target);
    CHECK(equals(line, method_bytes, plain->method));
    CHECK(equals(target, (size_t)(second - target), plain->target));
    CHECK(equals(second + 1, bytes - (size_t)(second + 1 - line), "HTTP/1.1"));
}

static void check_field(const char *line, size_t bytes, const struct plain_field *field)
{
    const char *colon = memchr(line, ':', bytes);
    CHECK(colon != NULL && colon > line);
    CHECK(*line != ' ' && *line != '\t' && colon[-1] != ' ' && colon[-1] != '\t');
    CHECK(equals(line, (size_t)(colon - line), field->name));
    const char *value = colon + 1;
    const char *end = line + bytes;
    while (value < end && strchr(" \t", *value) != NULL) {
        value++;
    }
    while (end > value && strchr(" \t", end[-1]) != NULL) {
        end--;
    }
    CHECK(equals(value, (size_t)(end - value), field->value));
}

/* Read the same bytes once more. */
static void check_parts(const char *text, const struct plain_head *plain)
{
    const char *end = text + plain->bytes;
    size_t bytes = line_bytes(text, end);
    size_t count = 0;
    check_request_line(text, bytes, plain);
    for (const char *at = text + bytes + 2;; at += bytes + 2) {
        bytes = line_bytes(at, end);
        if (bytes == 0) {
            CHECK(at + 2 == end);
            break;
        }
        CHECK(count < plain->count);
        check_field(at, bytes, &plain->fields[count++]);
    }
    CHECK(count == plain->count);
}

static void check_judged(const struct plain_head *plain)
{
    struct head head;
    head_init(&head, plain->method, "HTTP/1.1");
    for (size_t i = 0; i < plain->count; i++) {
        const struct plain_field *field = &plain->fields[i];
        CHECK(head_add(&head, field->name, strlen(field->name), field->value,
                       strlen(field->value)) == 0);
        const char *found = plain_head_field(plain, field->name);
        CHECK(found != NULL && found <= field->value);
    }
    CHECK(head_finish(&head) == 0);
    CHECK(head.body == plain->head.body);
    CHECK(head.content_length == plain->head.content_length);
    CHECK(head.keep_alive == plain->head.keep_alive);
    CHECK(head.expects_continue == plain->head.expects_continue);
}

/* Parse so many bytes of data in memory of exactly that size. */
static int parse(const uint8_t *data, size_t bytes, char **copy, struct plain_head *plain)
{
    *copy = malloc(bytes > 0 ? bytes : 1);
    CHECK(*copy != NULL);
    if (bytes > 0) {
        memcpy(*copy, data, bytes);
    }
    return plain_head_parse(*copy, bytes, plain);
}

static void check_prefixes(const uint8_t *data, size_t head_bytes)
{
    for (size_t bytes = 0; bytes < head_bytes; bytes++) {
        struct plain_head plain;
        char *copy;
        CHECK(parse(data, bytes, &copy, &plain) == -EBADMSG);
        free(copy);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct plain_head plain;
    char *copy;
    int status = parse(data, bytes, &copy, &plain);
    CHECK(status == 0 || status == -EBADMSG);
    if (status == 0) {
        CHECK(plain.bytes <= bytes && plain.count <= PLAIN_HEAD_FIELDS_MAX);
        CHECK(memcmp(copy + plain.bytes, data + plain.bytes, bytes - plain.bytes) == 0);
        check_parts((const char *)data, &plain);
        check_judged(&plain);
        check_prefixes(data, plain.bytes);
    }
    free(copy);
    return 0;
}
