/* The request target of a relayed read: the client's own path and query behind the gateway's base
 * path and the tenant. Nothing is decoded or encoded on the way: the bytes that were judged are
 * the bytes that go out. Source: RFC 9112, section 3.2.1 (origin-form). */
#ifndef AGENT_PROXY_WIRE_TARGET_H
#define AGENT_PROXY_WIRE_TARGET_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A query, or a form that is to become one, has only bytes that may stand in a query: visible
 * ASCII but '#'. */
bool target_query_valid(const char *query, size_t bytes);

/* Print prefix, target and, where there is one, form as further arguments of the query, then a
 * NUL. prefix is "" or "/..."; target is path or path?query.
 * Errors: as buf_append(); -EMSGSIZE when out's ceiling is reached. */
__attribute__((warn_unused_result)) int target_print(struct buf *out, const char *prefix,
                                                     const char *target, const char *form,
                                                     size_t form_bytes);

#endif
