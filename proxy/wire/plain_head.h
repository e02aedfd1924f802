/* A request head as nearly every client writes it: whole, HTTP/1.1, CRLF at each line's end, no
 * folding, nothing before a colon, no byte that could be read in two ways. Such a head is taken
 * apart here; any other one is not judged but left to the HTTP library, which answers for it. So
 * nothing is refused here, and what is taken here every server on the way reads alike.
 * Source: RFC 9112, sections 2.2, 3 and 5. */
#ifndef AGENT_PROXY_WIRE_PLAIN_HEAD_H
#define AGENT_PROXY_WIRE_PLAIN_HEAD_H

#include "wire/head.h"

#include <stddef.h>

#define PLAIN_HEAD_FIELDS_MAX 48

/* Owner: the caller; every text is terminated and points into the bytes that were parsed. */
struct plain_head {
    const char *method;
    const char *target;
    struct head head; /* what its fields say of framing and connection */
    size_t bytes;     /* of the head, with the empty line at its end */
    size_t count;

    struct plain_field {
        const char *name;
        const char *value; /* without blanks around it */
    } fields[PLAIN_HEAD_FIELDS_MAX];
};

/* Take apart the head at the start of bytes of data, of which what follows it is not looked at.
 * The ends of its texts are written over with NUL.
 * Errors: -EBADMSG: not whole, or not plain; data is then unchanged but for such NULs. */
__attribute__((warn_unused_result)) int plain_head_parse(char *data, size_t bytes,
                                                         struct plain_head *plain);

/* A copy that does not need the bytes any more. Owner: the caller, by free(). NULL without memory.
 */
struct plain_head *plain_head_copy(const struct plain_head *plain);

/* The value of the first field of this name, in any case; NULL without one. */
const char *plain_head_field(const struct plain_head *plain, const char *name);

#endif
