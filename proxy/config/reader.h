/* Reads the files of a material: bounded, each noted by path and by what was in it, with one line
 * about what is wrong. */
#ifndef AGENT_PROXY_CONFIG_READER_H
#define AGENT_PROXY_CONFIG_READER_H

#include "config/material.h"

#include <stdbool.h>
#include <stddef.h>

#define READER_FILE_BYTES_MAX (1024U * 1024U)

/* Owner: material.c, on its stack; lives while one side of a material is read. */
struct reader {
    struct material_files *files; /* are noted here; NULL: nowhere */
    char *error;                  /* MATERIAL_ERROR_BYTES */
};

/* Read a regular file of text. where: what names the file, for the message: "--http.config".
 * Owner: the caller, with secret_free(). A zero byte or more than READER_FILE_BYTES_MAX is refused.
 * Errors: a negative errno, and one line in error: "where: path: reason". */
__attribute__((warn_unused_result)) int reader_read(struct reader *reader, const char *where,
                                                    const char *path, char **text);

/* A text that is given itself or by the path of its file. where: what names it in a message.
 * Owner: who filled it, until reader_source_deinit(). All NULL: not given. */
struct reader_source {
    char *where;
    char *path;
    char *text;
};

/* Get the text of a source that is given. Owner and errors: as reader_read(). */
__attribute__((warn_unused_result)) int
reader_read_source(struct reader *reader, const struct reader_source *source, char **text);

bool reader_source_is_given(const struct reader_source *source);

void reader_source_deinit(struct reader_source *source); /* wipes it */

/* Write the line "where: reason" and return -EINVAL. */
__attribute__((format(printf, 3, 4))) int reader_refuse(struct reader *reader, const char *where,
                                                        const char *format, ...);

#endif
