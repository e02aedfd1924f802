/* Reads a YAML document into structs by tables of fields. Each message names the flag, the file,
 * the line and the field. */
#ifndef AGENT_PROXY_CONFIG_DOCUMENT_H
#define AGENT_PROXY_CONFIG_DOCUMENT_H

#include "config/reader.h"
#include "config/yaml_tree.h"

#include <stdbool.h>
#include <stddef.h>

/* Owner: who reads it, on its stack. */
struct document {
    struct reader *reader;
    const char *flag; /* with dashes */
    const char *path; /* relative paths in it begin at its folder; NULL: the text is the flag's */
    bool expand;      /* texts may name environment variables */
};

struct document_field;

/* Reads a node into target, the struct that the table belongs to. */
#define DOCUMENT_READ_ARGUMENTS                                                                  \
    struct document *document, const struct document_field *field, const struct yaml_node *node, \
        void *target

/* One field of a mapping. Constant. */
struct document_field {
    const char *name;
    int (*read)(DOCUMENT_READ_ARGUMENTS);
    size_t offset;    /* of what is filled; its type is said at each reader below */
    const char *note; /* document_refuse_field(): why */
};

/* A list of texts. */
struct document_list {
    char **texts;
    size_t count;
    unsigned line;
};

/* All return 0, or -EINVAL with one line in the reader's error. */

/* Parse the text; *root is NULL when it is empty. */
__attribute__((warn_unused_result)) int document_parse(struct document *document, const char *text,
                                                       struct yaml_node **root);

/* Read each field of a mapping; a field that the table does not have is refused. A NULL or empty
 * node has none. */
__attribute__((warn_unused_result)) int document_read_map(struct document *document,
                                                          const struct yaml_node *node,
                                                          const struct document_field *fields,
                                                          size_t count, void *target);

/* Readers of a field. Nothing behind the colon is as a field that is not there. */
__attribute__((warn_unused_result)) int document_read_text(DOCUMENT_READ_ARGUMENTS); /* char * */
/* bool */
__attribute__((warn_unused_result)) int document_read_bool(DOCUMENT_READ_ARGUMENTS);
/* uint64_t */
__attribute__((warn_unused_result)) int document_read_number(DOCUMENT_READ_ARGUMENTS);
/* uint64_t [us]; a bare number is nanoseconds, as in Go */
__attribute__((warn_unused_result)) int document_read_duration(DOCUMENT_READ_ARGUMENTS);
/* struct document_list */
__attribute__((warn_unused_result)) int document_read_list(DOCUMENT_READ_ARGUMENTS);
/* struct reader_source, by its text or its path; two fields may fill one source, not both */
__attribute__((warn_unused_result)) int document_read_source(DOCUMENT_READ_ARGUMENTS);
__attribute__((warn_unused_result)) int document_read_source_file(DOCUMENT_READ_ARGUMENTS);
/* Whatever it is, it changes nothing. */
__attribute__((warn_unused_result)) int document_pass_over(DOCUMENT_READ_ARGUMENTS);
/* An error, field->note. */
__attribute__((warn_unused_result)) int document_refuse_field(DOCUMENT_READ_ARGUMENTS);

void document_list_deinit(struct document_list *list);

/* Refuse what stands on a line (0: the whole). name: of the field; NULL: none. Returns -EINVAL. */
__attribute__((format(printf, 4, 5))) int document_refuse(struct document *document, unsigned line,
                                                          const char *name, const char *format,
                                                          ...);

#endif
