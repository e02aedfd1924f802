/* What RFC 9110 calls a field: the characters of a header's name and value, and lists within a
 * value. Shared by head, header_policy and media_type. Source: RFC 9110, sections 5.1, 5.5, 5.6. */
#ifndef AGENT_PROXY_WIRE_FIELD_H
#define AGENT_PROXY_WIRE_FIELD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A piece of a header. Owner: borrows it. start may be NULL where bytes is 0. */
struct text {
    const char *start;
    size_t bytes;
};

/* Without blanks and tabs at both ends. */
struct text text_trim(struct text text);

/* Equal in any case to a terminated word. */
bool text_is(struct text text, const char *word);

/* Equal in any case. */
bool text_equal(struct text left, struct text right);

/* Take the next element of a comma-separated list off the rest; trimmed, may be empty.
 * False when the rest is empty. */
bool text_next(struct text *rest, struct text *element);

/* A token: what a header's name must be. */
bool field_name_valid(struct text name);

/* No control character but the tab: so no NUL, CR, LF. */
bool field_value_valid(struct text value);

/* Digits alone, at least one, the number at most UINT64_MAX. */
bool field_number(struct text value, uint64_t *number);

#endif
