/* Plain request heads. Pure; owns nothing. */
#include "wire/plain_head.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* What is left of the bytes. 0 <= end - at. */
struct cursor {
    char *at;
    char *end;
};

/* Take the next line, terminated in place. NULL when it is not whole or its first CR is not that of
 * CRLF; a lone LF within it fails as a control character later. */
static char *take_line(struct cursor *cursor, size_t *bytes)
{
    char *line = cursor->at;
    char *end = memchr(line, '\r', (size_t)(cursor->end - line));
    if (end == NULL || cursor->end - end < 2 || end[1] != '\n') {
        return NULL;
    }
    *end = '\0';
    *bytes = (size_t)(end - line);
    cursor->at = end + 2;
    return line;
}

/* Take the bytes up to a space, terminated in place. Only what is printable: no blank, no NUL. */
static char *take_word(char **rest)
{
    char *word = *rest;
    char *at = word;
    while (*at > ' ' && *at <= '~') {
        at++;
    }
    if (at == word || *at != ' ') {
        return NULL;
    }
    *at = '\0';
    *rest = at + 1;
    return word;
}

static int take_request_line(struct cursor *cursor, struct plain_head *plain)
{
    static const char VERSION[] = "HTTP/1.1";
    size_t bytes = 0;
    char *rest = take_line(cursor, &bytes);
    if (rest == NULL) {
        return -EBADMSG;
    }
    const char *end = rest + bytes;
    plain->method = take_word(&rest);
    plain->target = plain->method == NULL ? NULL : take_word(&rest);
    if (plain->target == NULL || end - rest != sizeof(VERSION) - 1 || strcmp(rest, VERSION) != 0) {
        return -EBADMSG;
    }
    head_init(&plain->head, plain->method, VERSION);
    return plain->head.reason == NULL ? 0 : -EBADMSG;
}

static int add_field(struct plain_head *plain, char *line, size_t bytes)
{
    char *colon = memchr(line, ':', bytes);
    if (colon == NULL || plain->count == PLAIN_HEAD_FIELDS_MAX) {
        return -EBADMSG;
    }
    char *value = colon + 1;
    char *end = line + bytes;
    while (value < end && (*value == ' ' || *value == '\t')) {
        value++;
    }
    while (end > value && (end[-1] == ' ' || end[-1] == '\t')) {
        end--;
    }
    *end = '\0';
    *colon = '\0';
    plain->fields[plain->count++] = (struct plain_field){.name = line, .value = value};
    return head_add(&plain->head, line, (size_t)(colon - line), value, (size_t)(end - value));
}

int plain_head_parse(char *data, size_t bytes, struct plain_head *plain)
{
    struct cursor cursor = {.at = data, .end = data + bytes};
    plain->count = 0;
    int status = take_request_line(&cursor, plain);
    while (status == 0) {
        size_t line_bytes = 0;
        char *line = take_line(&cursor, &line_bytes);
        if (line == NULL) {
            return -EBADMSG;
        }
        if (line_bytes == 0) {
            plain->bytes = (size_t)(cursor.at - data);
            return head_finish(&plain->head);
        }
        status = add_field(plain, line, line_bytes);
    }
    return status;
}

struct plain_head *plain_head_copy(const struct plain_head *plain)
{
    struct plain_head *copy = malloc(sizeof(*copy) + plain->bytes);
    if (copy == NULL) {
        return NULL;
    }
    const char *from = plain->method; /* where the head starts */
    char *to = (char *)(copy + 1);
    memcpy(to, from, plain->bytes);
    *copy = *plain;
    copy->method = to;
    copy->target = to + (plain->target - from);
    for (size_t i = 0; i < plain->count; i++) {
        copy->fields[i].name = to + (plain->fields[i].name - from);
        copy->fields[i].value = to + (plain->fields[i].value - from);
    }
    return copy;
}

const char *plain_head_field(const struct plain_head *plain, const char *name)
{
    for (size_t i = 0; i < plain->count; i++) {
        if (strcasecmp(plain->fields[i].name, name) == 0) {
            return plain->fields[i].value;
        }
    }
    return NULL;
}
