/* Content-Type and Content-Encoding of a write. Pure; owns nothing. */
#include "wire/media_type.h"

#include "wire/field.h"

#include <string.h>

static struct text text_unquote(struct text text)
{
    if (text.bytes >= 2 && text.start[0] == '"' && text.start[text.bytes - 1] == '"') {
        return (struct text){.start = text.start + 1, .bytes = text.bytes - 2};
    }
    return text;
}

/* Take the piece up to the next ';' outside of quotes off the rest. */
static struct text next_part(const char **rest)
{
    const char *start = *rest;
    const char *at = start;
    bool quoted = false;
    while (*at != '\0' && (quoted || *at != ';')) {
        if (*at == '"') {
            quoted = !quoted;
        } else if (quoted && at[0] == '\\' && at[1] != '\0') {
            at++;
        }
        at++;
    }
    *rest = *at == ';' ? at + 1 : at;
    return text_trim((struct text){.start = start, .bytes = (size_t)(at - start)});
}

static enum media_type of_schema(struct text schema)
{
    if (text_is(schema, "prometheus.WriteRequest")) {
        return MEDIA_TYPE_WRITE_1;
    }
    if (text_is(schema, "io.prometheus.write.v2.Request")) {
        return MEDIA_TYPE_WRITE_2;
    }
    return MEDIA_TYPE_OTHER;
}

enum media_type media_type_of(const char *content_type)
{
    if (content_type == NULL) {
        return MEDIA_TYPE_OTHER;
    }
    const char *rest = content_type;
    if (!text_is(next_part(&rest), "application/x-protobuf")) {
        return MEDIA_TYPE_OTHER;
    }
    enum media_type type = MEDIA_TYPE_WRITE_1;
    bool named = false;
    while (*rest != '\0') {
        struct text part = next_part(&rest);
        const char *equals = part.bytes == 0 ? NULL : memchr(part.start, '=', part.bytes);
        if (equals == NULL) {
            continue;
        }
        size_t name_bytes = (size_t)(equals - part.start);
        struct text name = {.start = part.start, .bytes = name_bytes};
        struct text value = {.start = equals + 1, .bytes = part.bytes - name_bytes - 1};
        if (!text_is(text_trim(name), "proto")) {
            continue;
        }
        enum media_type schema = of_schema(text_unquote(text_trim(value)));
        if (named && schema != type) {
            return MEDIA_TYPE_OTHER; /* two schemas that disagree */
        }
        type = schema;
        named = true;
    }
    return type;
}

bool media_type_is_snappy(const char *content_encoding)
{
    if (content_encoding == NULL) {
        return true;
    }
    struct text value = {.start = content_encoding, .bytes = strlen(content_encoding)};
    return text_is(text_trim(value), "snappy");
}
