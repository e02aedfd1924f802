/* Fills structs from a YAML tree. Owns nothing; what it fills is the caller's. */
#include "config/document.h"

#include "base/alloc.h"
#include "base/escape.h"
#include "config/expand.h"
#include "config/secret.h"
#include "config/value.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define WHERE_BYTES          384
#define NAME_SHOWN_BYTES_MAX 60
#define REASON_BYTES         256
#define NANOSECONDS_OF_MICRO 1000

/* Say where a line is: "--flag: file:7: name". */
static void document_place(const struct document *document, unsigned line, const char *name,
                           char where[WHERE_BYTES])
{
    char number[32] = "";
    if (line > 0) {
        (void)snprintf(number, sizeof(number), document->path == NULL ? ": line %u" : ":%u", line);
    }
    (void)snprintf(where, WHERE_BYTES, "%s%s%s%s%s%s", document->flag,
                   document->path == NULL ? "" : ": ", document->path == NULL ? "" : document->path,
                   number, name == NULL ? "" : ": ", name == NULL ? "" : name);
}

int document_refuse(struct document *document, unsigned line, const char *name, const char *format,
                    ...)
{
    char where[WHERE_BYTES];
    char reason[REASON_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    document_place(document, line, name, where);
    return reader_refuse(document->reader, where, "%s", reason);
}

int document_parse(struct document *document, const char *text, struct yaml_node **root)
{
    char error[YAML_TREE_ERROR_BYTES];
    unsigned line = 0;
    int result = yaml_tree_parse(text, strlen(text), root, &line, error);
    return result < 0 ? document_refuse(document, line, NULL, "%s", error) : 0;
}

static int document_refuse_unknown(struct document *document, const struct yaml_pair *pair)
{
    char shown[NAME_SHOWN_BYTES_MAX + 1];
    size_t size = escape_json(shown, NAME_SHOWN_BYTES_MAX, pair->key, strlen(pair->key));
    shown[size] = '\0';
    return document_refuse(document, pair->line, NULL, "the field \"%s\" is not known here", shown);
}

int document_read_map(struct document *document, const struct yaml_node *node,
                      const struct document_field *fields, size_t count, void *target)
{
    if (node == NULL || yaml_tree_is_null(node)) {
        return 0;
    }
    if (node->kind != YAML_MAP) {
        return document_refuse(document, node->line, NULL,
                               "fields are expected, as \"name: value\"");
    }
    for (size_t i = 0; i < node->count; i++) {
        const struct yaml_pair *pair = &node->pairs[i];
        size_t row = 0;
        while (row < count && strcmp(fields[row].name, pair->key) != 0) {
            row++;
        }
        int result = row == count ? document_refuse_unknown(document, pair)
                                  : fields[row].read(document, &fields[row], pair->value, target);
        if (result < 0) {
            return result;
        }
    }
    return 0;
}

/* Get the text of a scalar with its variables replaced; *text is NULL when nothing is there.
 * Owner: the caller, with secret_free(). */
static int document_scalar(struct document *document, const char *name,
                           const struct yaml_node *node, char **text)
{
    char error[EXPAND_ERROR_BYTES];
    *text = NULL;
    if (node->kind != YAML_SCALAR) {
        return document_refuse(document, node->line, name, "one value is expected");
    }
    if (yaml_tree_is_null(node)) {
        return 0;
    }
    if (!document->expand) {
        *text = alloc_copy(node->text, strlen(node->text));
        return 0;
    }
    int result = expand_environment(node->text, text, error);
    return result < 0 ? document_refuse(document, node->line, name, "%s", error) : 0;
}

int document_read_text(DOCUMENT_READ_ARGUMENTS)
{
    char **to = (void *)((char *)target + field->offset);
    char *text = NULL;
    int result = document_scalar(document, field->name, node, &text);
    if (result == 0 && text != NULL) {
        secret_free(*to);
        *to = text;
    }
    return result;
}

int document_read_bool(DOCUMENT_READ_ARGUMENTS)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
    bool *to = (void *)((char *)target + field->offset);
    char *text = NULL;
    int result = document_scalar(document, field->name, node, &text);
    if (result < 0 || text == NULL) {
        return result;
    }
    size_t word = 0;
    while (word < sizeof(words) / sizeof(words[0]) && strcasecmp(text, words[word]) != 0) {
        word++;
    }
    secret_free(text);
    if (word == sizeof(words) / sizeof(words[0])) {
        return document_refuse(document, node->line, field->name, "is neither true nor false");
    }
    *to = word % 2 == 1;
    return 0;
}

int document_read_number(DOCUMENT_READ_ARGUMENTS)
{
    uint64_t *to = (void *)((char *)target + field->offset);
    char *text = NULL;
    int result = document_scalar(document, field->name, node, &text);
    if (result < 0 || text == NULL) {
        return result;
    }
    result = value_parse(VALUE_PLAIN, text, to);
    secret_free(text);
    return result < 0 ? document_refuse(document, node->line, field->name, "is no whole number")
                      : 0;
}

int document_read_duration(DOCUMENT_READ_ARGUMENTS)
{
    uint64_t *to = (void *)((char *)target + field->offset);
    uint64_t nanoseconds = 0;
    char *text = NULL;
    int result = document_scalar(document, field->name, node, &text);
    if (result < 0 || text == NULL) {
        return result;
    }
    if (value_parse(VALUE_PLAIN, text, &nanoseconds) == 0) {
        *to = nanoseconds / NANOSECONDS_OF_MICRO;
    } else {
        result = value_parse(VALUE_DURATION, text, to);
    }
    secret_free(text);
    return result < 0 ? document_refuse(document, node->line, field->name,
                                        "is not a duration such as 500ms, 20s or 1m30s")
                      : 0;
}

int document_read_list(DOCUMENT_READ_ARGUMENTS)
{
    struct document_list *to = (void *)((char *)target + field->offset);
    if (yaml_tree_is_null(node)) {
        return 0;
    }
    if (node->kind != YAML_LIST) {
        return document_refuse(document, node->line, field->name, "a list is expected");
    }
    struct document_list list = {.texts = alloc_zero(node->count + 1, sizeof(char *)),
                                 .line = node->line};
    int result = 0;
    while (result == 0 && list.count < node->count) {
        const struct yaml_node *item = node->items[list.count];
        result = document_scalar(document, field->name, item, &list.texts[list.count]);
        if (result == 0 && list.texts[list.count] == NULL) {
            result = document_refuse(document, item->line, field->name, "has an empty entry");
        }
        list.count += result == 0;
    }
    if (result < 0) {
        document_list_deinit(&list);
        return result;
    }
    document_list_deinit(to);
    *to = list;
    return 0;
}

void document_list_deinit(struct document_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        secret_free(list->texts[i]);
    }
    free(list->texts);
    *list = (struct document_list){0};
}

/* Put the document's folder before a relative path. */
static char *document_resolve(const struct document *document, const char *path)
{
    const char *slash = document->path == NULL ? NULL : strrchr(document->path, '/');
    if (path[0] == '/' || slash == NULL) {
        return alloc_copy(path, strlen(path));
    }
    size_t folder = (size_t)(slash - document->path) + 1;
    size_t bytes = strlen(path);
    char *resolved = alloc_zero(folder + bytes + 1, 1);
    memcpy(resolved, document->path, folder);
    memcpy(resolved + folder, path, bytes + 1);
    return resolved;
}

static int document_fill_source(struct document *document, const struct document_field *field,
                                const struct yaml_node *node, void *target, bool is_path)
{
    struct reader_source *to = (void *)((char *)target + field->offset);
    char where[WHERE_BYTES];
    char *text = NULL;
    int result = document_scalar(document, field->name, node, &text);
    if (result < 0 || text == NULL) {
        return result;
    }
    if (text[0] == '\0') { /* as in Go, where this is the same as a field that is not there */
        secret_free(text);
        return 0;
    }
    if (reader_source_is_given(to)) {
        secret_free(text);
        return document_refuse(document, node->line, field->name,
                               "is given both as itself and as a file");
    }
    document_place(document, node->line, field->name, where);
    to->where = alloc_copy(where, strlen(where));
    if (is_path) {
        to->path = document_resolve(document, text);
        secret_free(text);
    } else {
        to->text = text;
    }
    return 0;
}

int document_read_source(DOCUMENT_READ_ARGUMENTS)
{
    return document_fill_source(document, field, node, target, false);
}

int document_read_source_file(DOCUMENT_READ_ARGUMENTS)
{
    return document_fill_source(document, field, node, target, true);
}

int document_pass_over(DOCUMENT_READ_ARGUMENTS)
{
    (void)document;
    (void)field;
    (void)node;
    (void)target;
    return 0;
}

int document_refuse_field(DOCUMENT_READ_ARGUMENTS)
{
    (void)target;
    return document_refuse(document, node->line, field->name, "%s", field->note);
}
