/* Bytes from outside as text that is safe in a log line, in JSON and on a terminal. */
#ifndef AGENT_PROXY_BASE_ESCAPE_H
#define AGENT_PROXY_BASE_ESCAPE_H

#include <stdbool.h>
#include <stddef.h>

/* Write bytes as the inside of a JSON string: quotes, backslashes and control characters (C0, DEL,
 * C1) and U+FFFE and U+FFFF are escaped, each byte that is not valid UTF-8 becomes \ufffd. So YAML
 * reads it as well. No terminator is written.
 * Shape: room >= 3; at most room bytes; text that does not fit is cut between characters and ends
 * in "...". Returns the bytes written.
 * Source: RFC 8259 section 7, RFC 3629 section 4, YAML 1.2 section 5.1. */
size_t escape_json(char *text, size_t room, const void *bytes, size_t count);

/* Whether all of it is valid UTF-8, so that escape_json() keeps what it says. */
__attribute__((pure)) bool escape_is_utf8(const void *bytes, size_t count);

#endif
