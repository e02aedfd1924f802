/* A YAML text as a tree with line numbers. Takes the part of YAML that settings need: one document
 * of scalars, mappings and lists; no anchors, aliases or tags, and bounded in size and depth. */
#ifndef AGENT_PROXY_CONFIG_YAML_TREE_H
#define AGENT_PROXY_CONFIG_YAML_TREE_H

#include <stdbool.h>
#include <stddef.h>

enum yaml_kind { YAML_SCALAR, YAML_MAP, YAML_LIST };

struct yaml_node;

/* One "key: value" of a mapping. */
struct yaml_pair {
    char *key;
    unsigned line; /* of the key */
    struct yaml_node *value;
};

/* Owner: its parent; the root: who parsed it. */
struct yaml_node {
    enum yaml_kind kind;
    unsigned line;            /* from 1 */
    char *text;               /* YAML_SCALAR: without quotes; no zero byte is in it */
    bool quoted;              /* YAML_SCALAR: in quotes or a block, so never null */
    struct yaml_pair *pairs;  /* YAML_MAP: keys differ */
    struct yaml_node **items; /* YAML_LIST */
    size_t count;             /* of pairs or items */
};

#define YAML_TREE_BYTES_MAX   (1024U * 1024U)
#define YAML_TREE_DEPTH_MAX   8
#define YAML_TREE_NODES_MAX   10000
#define YAML_TREE_ERROR_BYTES 256

/* Parse a text. *root is NULL for an empty one. Owner: the caller, with yaml_tree_free().
 * Errors: -EINVAL, the line in *line (0: none) and why in error, to follow "file:line: "; no value
 * is in it. */
__attribute__((warn_unused_result)) int yaml_tree_parse(const char *text, size_t bytes,
                                                        struct yaml_node **root, unsigned *line,
                                                        char error[YAML_TREE_ERROR_BYTES]);

/* Free a tree and wipe its scalars. NULL is passed over. */
void yaml_tree_free(struct yaml_node *root);

/* The value of a key; NULL: not there. */
const struct yaml_node *yaml_tree_find(const struct yaml_node *map, const char *key);

/* True for an empty plain scalar, "null" or "~": a key with nothing behind it. */
bool yaml_tree_is_null(const struct yaml_node *node);

#endif
