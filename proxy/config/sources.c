/* Brings settings from the environment and a file to the table. Owns nothing. */
#include "config/sources.h"

#include "config/reader.h"
#include "config/secret.h"
#include "config/yaml_tree.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WHERE_BYTES 320

_Static_assert(FLAGS_ERROR_BYTES == MATERIAL_ERROR_BYTES, "a message of reader.c fits");

void sources_name_variable(const struct flag *flag, char name[SOURCES_NAME_BYTES])
{
    static const char prefix[] = "AGENT_PROXY_";
    size_t size = sizeof(prefix) - 1;
    memcpy(name, prefix, size);
    for (const char *c = flag->name; *c != '\0'; c++) {
        bool capital = *c >= 'A' && *c <= 'Z';
        bool small = *c >= 'a' && *c <= 'z';
        assert(size + 3 <= SOURCES_NAME_BYTES);
        if (capital) {
            name[size++] = '_';
        }
        name[size++] = small ? (char)(*c - 'a' + 'A') : *c == '.' || *c == '-' ? '_' : *c;
    }
    name[size] = '\0';
}

const char *sources_find_variable(const struct flag *flag)
{
    char name[SOURCES_NAME_BYTES];
    sources_name_variable(flag, name);
    const char *value = getenv(name);
    return value == NULL || value[0] == '\0' ? NULL : value;
}

int sources_set_environment(const struct flag_table *table, void *settings,
                            struct config_source *origins, char error[FLAGS_ERROR_BYTES])
{
    for (size_t i = 0; i < table->count; i++) {
        const struct flag *flag = &table->flags[i];
        const char *value =
            flag->scope == FLAG_ON_COMMAND_LINE ? NULL : sources_find_variable(flag);
        if (value == NULL) {
            continue;
        }
        char name[SOURCES_NAME_BYTES];
        sources_name_variable(flag, name);
        char *bare = flags_unquote(value);
        int result = flag_set(flag, name, bare, settings, error);
        secret_free(bare);
        if (result < 0) {
            return result;
        }
        origins[i] = (struct config_source){.origin = CONFIG_ORIGIN_ENVIRONMENT};
    }
    return 0;
}

/* Set one "flag: value" of a file. */
static int sources_set_pair(const struct flag_table *table, const char *path,
                            const struct yaml_pair *pair, void *settings,
                            struct config_source *origins, char error[FLAGS_ERROR_BYTES])
{
    char where[WHERE_BYTES];
    const struct flag *flag = flags_find(table, pair->key, strlen(pair->key));
    (void)snprintf(where, sizeof(where), "%s:%u", path, pair->line);
    if (flag == NULL) {
        flags_explain_unknown(table, where, pair->key, error);
        return -EINVAL;
    }
    const char *reason = flag->scope != FLAG_ANYWHERE       ? "cannot be given in a file"
                         : pair->value->kind != YAML_SCALAR ? "one value is expected"
                                                            : NULL;
    if (reason != NULL) {
        (void)snprintf(error, FLAGS_ERROR_BYTES, "%s: %s: %s", where, flag->name, reason);
        return -EINVAL;
    }
    (void)snprintf(where, sizeof(where), "%s:%u: %s", path, pair->line, flag->name);
    int result = flag_set(flag, where, pair->value->text, settings, error);
    if (result == 0) {
        origins[flag - table->flags] =
            (struct config_source){.origin = CONFIG_ORIGIN_FILE, .line = pair->line};
    }
    return result;
}

/* Parse the text of the file. */
static int sources_parse(const char *path, const char *text, struct yaml_node **root,
                         char error[FLAGS_ERROR_BYTES])
{
    char reason[YAML_TREE_ERROR_BYTES];
    unsigned line = 0;
    int result = yaml_tree_parse(text, strlen(text), root, &line, reason);
    if (result == 0 && *root != NULL && (*root)->kind != YAML_MAP) {
        (void)snprintf(reason, sizeof(reason), "flags are expected, as \"name: value\"");
        line = (*root)->line;
        yaml_tree_free(*root);
        *root = NULL;
        result = -EINVAL;
    }
    if (result < 0) {
        (void)snprintf(error, FLAGS_ERROR_BYTES, "--config.file: %.*s:%u: %s", WHERE_BYTES / 2,
                       path, line, reason);
    }
    return result;
}

int sources_set_file(const struct flag_table *table, const char *path, void *settings,
                     struct config_source *origins, char error[FLAGS_ERROR_BYTES])
{
    struct reader reader = {.error = error};
    struct yaml_node *root = NULL;
    char *text = NULL;
    int result = reader_read(&reader, "--config.file", path, &text) < 0 ? -EINVAL : 0;
    if (result == 0) {
        result = sources_parse(path, text, &root, error);
    }
    for (size_t i = 0; result == 0 && root != NULL && i < root->count; i++) {
        result = sources_set_pair(table, path, &root->pairs[i], settings, origins, error);
    }
    yaml_tree_free(root);
    secret_free(text);
    return result;
}
