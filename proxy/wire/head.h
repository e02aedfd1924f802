/* Strictness about the head of an HTTP/1.1 request, over what the HTTP library checks itself: one
 * meaning for every server on the way, or a refusal. Headers are handed in one by one, in their
 * order; nothing is copied. Source: RFC 9112, sections 3.2, 5, 6 and 9.3; RFC 9110, section 5.
 *
 *     head_init() -> head_add() for each header -> head_finish()
 *
 * Once something is refused, all that follows is too, for the same reason. */
#ifndef AGENT_PROXY_WIRE_HEAD_H
#define AGENT_PROXY_WIRE_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEAD_FIELDS_MAX 128 /* headers of one request */

enum head_body {
    HEAD_BODY_NONE,
    HEAD_BODY_LENGTH, /* content_length says how much; may be 0 */
    HEAD_BODY_CHUNKED
};

/* What the headers so far say. Owner: the caller, on its stack; borrows nothing after a call. */
struct head {
    /* Valid after head_finish() returned 0. */
    enum head_body body;
    uint64_t content_length; /* [bytes] with HEAD_BODY_LENGTH, else 0; never UINT64_MAX */
    bool keep_alive;         /* the client wishes to keep the connection */
    bool expects_continue;   /* the client waits for a 100 before it sends its body */

    /* Why the request was refused, a constant for a log line and the sender; NULL: it was not. */
    const char *reason;

    bool http_1_0;
    bool has_host;
    bool has_transfer_encoding;
    bool wants_close;
    bool wants_keep_alive;
    unsigned fields;
};

/* Start with the request line. method and version as they came, "HTTP/1.1". */
void head_init(struct head *head, const char *method, const char *version);

/* Take the next header. value may be NULL where it has no bytes; blanks around it are allowed.
 * Errors: -EBADMSG and head->reason: answer 400 and close the connection. */
__attribute__((warn_unused_result)) int head_add(struct head *head, const char *name,
                                                 size_t name_bytes, const char *value,
                                                 size_t value_bytes);

/* Judge the whole, after the last header. Errors: as head_add(). */
__attribute__((warn_unused_result)) int head_finish(struct head *head);

#endif
