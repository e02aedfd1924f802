/* Prints settings as YAML. Owns nothing. */
#include "config/print.h"

#include "base/alloc.h"
#include "base/escape.h"
#include "config/sources.h"

#include <stdlib.h>
#include <string.h>

#define ESCAPE_FACTOR 6 /* bytes of the longest escape, that of one control character */

/* Add a text in quotes. What JSON escapes, YAML reads. */
static int print_quoted(struct buf *text, const char *value, size_t bytes)
{
    size_t room = ESCAPE_FACTOR * bytes + 3;
    char *escaped = alloc_zero(room, 1);
    size_t size = escape_json(escaped, room, value, bytes);
    int result = buf_printf(text, "\"%.*s\"", (int)size, escaped);
    free(escaped);
    return result;
}

/* Add where a value comes from, as a comment. */
static int print_origin(const struct flag *flag, const struct config_source *source,
                        const char *file, struct buf *text)
{
    char name[SOURCES_NAME_BYTES];
    switch (source->origin) {
    case CONFIG_ORIGIN_FILE:
        return buf_printf(text, " # %s:%u\n", file, source->line);
    case CONFIG_ORIGIN_ENVIRONMENT:
        sources_name_variable(flag, name);
        return buf_printf(text, " # environment: %s\n", name);
    case CONFIG_ORIGIN_FLAG:
        return buf_printf(text, " # flag\n");
    case CONFIG_ORIGIN_DEFAULT:
    default:
        return buf_printf(text, " # default\n");
    }
}

static int print_flag(const struct flag *flag, const void *settings,
                      const struct config_source *source, const char *file, struct buf *text)
{
    struct buf value;
    buf_init(&value, text->ceiling);
    int result = flag_print(flag, settings, &value);
    if (result == 0 && flag->secret && value.size > 0) {
        /* A comment: what stands for a secret must not be taken for one. */
        result = buf_printf(text, "# %s: <secret>", flag->name);
    } else if (result == 0) {
        bool quoted = flag->kind == FLAG_STRING || flag->kind == FLAG_CUSTOM;
        result = buf_printf(text, "%s: ", flag->name);
        if (result == 0) {
            result = quoted ? print_quoted(text, (const char *)value.data, value.size)
                            : buf_append(text, value.data, value.size);
        }
    }
    if (value.data != NULL) {
        explicit_bzero(value.data, value.size);
    }
    buf_deinit(&value);
    return result < 0 ? result : print_origin(flag, source, file, text);
}

int print_settings(const struct flag_table *table, const void *settings,
                   const struct config_source *origins, const char *file, struct buf *text)
{
    const char *group = "";
    int result = 0;
    for (size_t i = 0; result == 0 && i < table->count; i++) {
        const struct flag *flag = &table->flags[i];
        if (flag->scope != FLAG_ANYWHERE) {
            continue;
        }
        if (strcmp(group, flag->group) != 0) {
            result = buf_printf(text, "%s# %s\n", group[0] == '\0' ? "" : "\n", flag->group);
            group = flag->group;
        }
        if (result == 0) {
            result = print_flag(flag, settings, &origins[i], file, text);
        }
    }
    return result;
}
