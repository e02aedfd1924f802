/* Builds the tree from libyaml's events. Owns nothing after it returns. */
#include "config/yaml_tree.h"

#include "base/alloc.h"
#include "base/escape.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#define KEY_SHOWN_BYTES_MAX 60

/* A tree under construction. */
struct yaml_build {
    yaml_parser_t parser;
    size_t nodes;
    unsigned line; /* of what is refused */
    char *error;
};

static int yaml_refuse(struct yaml_build *build, unsigned line, const char *reason)
{
    build->line = line;
    (void)snprintf(build->error, YAML_TREE_ERROR_BYTES, "%s", reason);
    return -EINVAL;
}

static unsigned yaml_line(yaml_mark_t mark)
{
    return (unsigned)mark.line + 1;
}

static int yaml_next(struct yaml_build *build, yaml_event_t *event)
{
    if (yaml_parser_parse(&build->parser, event) == 1) {
        return 0;
    }
    const char *problem = build->parser.problem; /* a constant text of libyaml: no value is in it */
    return yaml_refuse(build, yaml_line(build->parser.problem_mark),
                       problem == NULL ? "is no YAML" : problem);
}

static int yaml_read_node(struct yaml_build *build, yaml_event_t *event, unsigned depth,
                          struct yaml_node **node);

/* Make a place for one more behind count elements. */
static void *yaml_grow(void *elements, size_t count, size_t bytes)
{
    if (count != 0 && (count & (count - 1)) != 0) {
        return elements; /* capacities are powers of two */
    }
    size_t capacity = count == 0 ? 1 : 2 * count;
    void *grown = alloc_zero(capacity, bytes);
    if (count > 0) {
        memcpy(grown, elements, count * bytes);
        free(elements);
    }
    return grown;
}

static int yaml_refuse_key(struct yaml_build *build, unsigned line, const char *key)
{
    char shown[KEY_SHOWN_BYTES_MAX + 1];
    char reason[KEY_SHOWN_BYTES_MAX + 64];
    size_t size = escape_json(shown, KEY_SHOWN_BYTES_MAX, key, strlen(key));
    shown[size] = '\0';
    (void)snprintf(reason, sizeof(reason), "the key \"%s\" is there twice", shown);
    return yaml_refuse(build, line, reason);
}

/* Read the value of the key that the event holds. The event is used up. */
static int yaml_read_pair(struct yaml_build *build, yaml_event_t *event, unsigned depth,
                          struct yaml_node *map)
{
    struct yaml_node *key = NULL;
    yaml_event_t next;
    if (event->type != YAML_SCALAR_EVENT) {
        unsigned line = yaml_line(event->start_mark);
        yaml_event_delete(event);
        return yaml_refuse(build, line, "a key is no plain text");
    }
    int result = yaml_read_node(build, event, depth, &key);
    if (result < 0) {
        return result;
    }
    result = yaml_tree_find(map, key->text) == NULL ? yaml_next(build, &next)
                                                    : yaml_refuse_key(build, key->line, key->text);
    struct yaml_node *value = NULL;
    if (result == 0) {
        result = yaml_read_node(build, &next, depth, &value);
    }
    if (result == 0) {
        map->pairs = yaml_grow(map->pairs, map->count, sizeof(*map->pairs));
        map->pairs[map->count++] =
            (struct yaml_pair){.key = key->text, .line = key->line, .value = value};
        key->text = NULL;
    }
    yaml_tree_free(key);
    return result;
}

/* Read up to the end of a mapping or a list. */
static int yaml_read_children(struct yaml_build *build, unsigned depth, struct yaml_node *node)
{
    yaml_event_type_t end =
        node->kind == YAML_MAP ? YAML_MAPPING_END_EVENT : YAML_SEQUENCE_END_EVENT;
    for (;;) {
        yaml_event_t event;
        int result = yaml_next(build, &event);
        if (result < 0) {
            return result;
        }
        if (event.type == end) {
            yaml_event_delete(&event);
            return 0;
        }
        if (node->kind == YAML_MAP) {
            result = yaml_read_pair(build, &event, depth + 1, node);
        } else {
            struct yaml_node *item = NULL;
            result = yaml_read_node(build, &event, depth + 1, &item);
            if (result == 0) {
                node->items = yaml_grow(node->items, node->count, sizeof(struct yaml_node *));
                node->items[node->count++] = item;
            }
        }
        if (result < 0) {
            return result;
        }
    }
}

/* Why an event that begins a node is refused; NULL: it is not. */
static const char *yaml_check_event(const yaml_event_t *event)
{
    const yaml_char_t *anchor = NULL;
    const yaml_char_t *tag = NULL;
    if (event->type == YAML_SCALAR_EVENT) {
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
        if (memchr(event->data.scalar.value, '\0', event->data.scalar.length) != NULL) {
            return "a text has a zero byte";
        }
    } else if (event->type == YAML_MAPPING_START_EVENT) {
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
    } else if (event->type == YAML_SEQUENCE_START_EVENT) {
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
    }
    if (anchor != NULL || event->type == YAML_ALIAS_EVENT) {
        return "anchors and aliases are not taken";
    }
    return tag == NULL ? NULL : "tags are not taken";
}

/* Read the node that the event begins. The event is used up. */
static int yaml_read_node(struct yaml_build *build, yaml_event_t *event, unsigned depth,
                          struct yaml_node **node)
{
    unsigned line = yaml_line(event->start_mark);
    const char *reason = yaml_check_event(event);
    if (reason == NULL && depth > YAML_TREE_DEPTH_MAX) {
        reason = "is nested too deeply";
    }
    if (reason == NULL && ++build->nodes > YAML_TREE_NODES_MAX) {
        reason = "has too many values";
    }
    if (reason != NULL) {
        yaml_event_delete(event);
        return yaml_refuse(build, line, reason);
    }
    struct yaml_node *made = alloc_zero(1, sizeof(*made));
    made->line = line;
    int result = 0;
    if (event->type == YAML_SCALAR_EVENT) {
        size_t bytes = event->data.scalar.length;
        made->kind = YAML_SCALAR;
        made->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
        made->text = alloc_copy((const char *)event->data.scalar.value, bytes);
        explicit_bzero(event->data.scalar.value, bytes);
    } else {
        assert(event->type == YAML_MAPPING_START_EVENT || event->type == YAML_SEQUENCE_START_EVENT);
        made->kind = event->type == YAML_MAPPING_START_EVENT ? YAML_MAP : YAML_LIST;
        result = yaml_read_children(build, depth, made);
    }
    yaml_event_delete(event);
    if (result < 0) {
        yaml_tree_free(made);
        return result;
    }
    *node = made;
    return 0;
}

/* Read events from the start of the stream to its end. */
static int yaml_read_stream(struct yaml_build *build, struct yaml_node **root)
{
    for (;;) {
        yaml_event_t event;
        int result = yaml_next(build, &event);
        if (result < 0) {
            return result;
        }
        yaml_event_type_t type = event.type;
        if (type == YAML_STREAM_START_EVENT || type == YAML_STREAM_END_EVENT ||
            type == YAML_DOCUMENT_START_EVENT || type == YAML_DOCUMENT_END_EVENT) {
            unsigned line = yaml_line(event.start_mark);
            yaml_event_delete(&event);
            if (type == YAML_STREAM_END_EVENT) {
                return 0;
            }
            if (type == YAML_DOCUMENT_START_EVENT && *root != NULL) {
                return yaml_refuse(build, line, "has more than one document");
            }
            continue;
        }
        result = yaml_read_node(build, &event, 0, root);
        if (result < 0) {
            return result;
        }
    }
}

int yaml_tree_parse(const char *text, size_t bytes, struct yaml_node **root, unsigned *line,
                    char error[YAML_TREE_ERROR_BYTES])
{
    struct yaml_build build = {.error = error};
    struct yaml_node *read = NULL;
    if (bytes > YAML_TREE_BYTES_MAX) {
        *line = 0;
        return yaml_refuse(&build, 0, "is longer than 1 MiB");
    }
    int ready = yaml_parser_initialize(&build.parser);
    assert(ready == 1); /* it only allocates */
    yaml_parser_set_encoding(&build.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&build.parser, (const unsigned char *)text, bytes);
    int result = yaml_read_stream(&build, &read);
    yaml_parser_delete(&build.parser);
    if (result < 0) {
        yaml_tree_free(read);
        *line = build.line;
        return result;
    }
    if (read != NULL && yaml_tree_is_null(read)) {
        yaml_tree_free(read); /* "---" and nothing else */
        read = NULL;
    }
    *root = read;
    return 0;
}

void yaml_tree_free(struct yaml_node *root)
{
    if (root == NULL) {
        return;
    }
    for (size_t i = 0; i < root->count; i++) { /* as deep as YAML_TREE_DEPTH_MAX at most */
        if (root->kind == YAML_MAP) {
            free(root->pairs[i].key);
            yaml_tree_free(root->pairs[i].value);
        } else {
            yaml_tree_free(root->items[i]);
        }
    }
    if (root->text != NULL) {
        explicit_bzero(root->text, strlen(root->text));
    }
    free(root->text);
    free(root->pairs);
    free(root->items);
    free(root);
}

const struct yaml_node *yaml_tree_find(const struct yaml_node *map, const char *key)
{
    for (size_t i = 0; map->kind == YAML_MAP && i < map->count; i++) {
        if (strcmp(map->pairs[i].key, key) == 0) {
            return map->pairs[i].value;
        }
    }
    return NULL;
}

bool yaml_tree_is_null(const struct yaml_node *node)
{
    return node->kind == YAML_SCALAR && !node->quoted &&
           (node->text[0] == '\0' || strcmp(node->text, "~") == 0 ||
            strcmp(node->text, "null") == 0);
}
