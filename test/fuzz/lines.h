/* Fuzz input as header lines: "name:value", each up to a line feed, so that a corpus can be read
 * and written by hand. */
#ifndef AGENT_PROXY_TEST_LINES_H
#define AGENT_PROXY_TEST_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Owner: borrows the input. */
struct line {
    const char *name;
    size_t name_bytes;
    const char *value;
    size_t value_bytes;
};

struct lines {
    const char *at;
    const char *end;
};

static inline struct lines lines_of(const uint8_t *data, size_t bytes)
{
    const char *text = (const char *)data;
    return (struct lines){.at = text, .end = bytes == 0 ? text : text + bytes};
}

/* Take the next line; without a colon it is all name. False at the end. */
static inline bool lines_next(struct lines *lines, struct line *line)
{
    if (lines->at == lines->end) {
        return false;
    }
    size_t rest = (size_t)(lines->end - lines->at);
    const char *feed = memchr(lines->at, '\n', rest);
    const char *stop = feed == NULL ? lines->end : feed;
    const char *colon = memchr(lines->at, ':', (size_t)(stop - lines->at));
    line->name = lines->at;
    line->name_bytes = (size_t)((colon == NULL ? stop : colon) - lines->at);
    line->value = colon == NULL ? NULL : colon + 1;
    line->value_bytes = colon == NULL ? 0 : (size_t)(stop - colon) - 1;
    lines->at = feed == NULL ? stop : feed + 1;
    return true;
}

#endif
