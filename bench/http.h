/* HTTP/1.1 messages as they arrive in pieces: heads, and bodies by length or in chunks.
 *
 * Enough for load tools that talk to well-behaved peers; it is no example of how to face the
 * world. Source: RFC 9112. */
#ifndef BENCH_HTTP_H
#define BENCH_HTTP_H

#include "bench/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_HEAD_BYTES_MAX 16384

struct http_span {
    const char *data;
    size_t bytes;
};

enum http_kind { HTTP_REQUEST, HTTP_ANSWER };

/* A parsed head. Owner: borrows the bytes that it was parsed from. */
struct http_head {
    struct http_span method; /* of a request */
    struct http_span target;
    unsigned status;         /* of an answer */
    struct http_span fields; /* the field lines */
    uint64_t content_length;
    bool has_length;
    bool chunked;
    bool keep_alive;
    bool expects_continue;
    size_t bytes; /* of the head, the empty line included */
};

/* Parse the head at the start of data. Returns 1, 0 while it is incomplete, -1 when it makes no
 * sense or is too long. */
__attribute__((warn_unused_result)) int http_head_parse(enum http_kind kind, const void *data,
                                                        size_t bytes, struct http_head *head);

/* Find a field by name, in any case. */
__attribute__((warn_unused_result)) bool http_head_field(const struct http_head *head,
                                                         const char *name, struct http_span *value);

bool http_span_is(struct http_span span, const char *text);

/* What http_reader_next() found:
 *   MORE  the input is used up
 *   HEAD  reader->head is valid until http_reader_reset()
 *   BODY  a piece of the body stands in the span
 *   DONE  the message is complete; reset before the next one
 *   BAD   it makes no sense */
enum http_event { HTTP_MORE, HTTP_HEAD, HTTP_BODY, HTTP_DONE, HTTP_BAD };

enum http_state {
    HTTP_STATE_HEAD,
    HTTP_STATE_LENGTH,
    HTTP_STATE_TO_END, /* an answer without a length lasts until the connection ends */
    HTTP_STATE_CHUNK_LINE,
    HTTP_STATE_CHUNK,
    HTTP_STATE_CHUNK_END,
    HTTP_STATE_TRAILER,
    HTTP_STATE_DONE
};

/* Reads one message after the other. Owner: embedded in a connection; http_reader_deinit(). */
struct http_reader {
    enum http_kind kind;
    enum http_state state;
    struct bytes text;  /* the head, then room for a chunk's line */
    size_t line_at;     /* where in text the chunk's line begins */
    uint64_t remaining; /* [bytes] of the body or of the chunk */
    struct http_head head;
};

void http_reader_init(struct http_reader *reader, enum http_kind kind);
void http_reader_deinit(struct http_reader *reader);
void http_reader_reset(struct http_reader *reader); /* ready for the next message */

/* True between messages. */
bool http_reader_is_idle(const struct http_reader *reader);

/* True when the end of the connection completes the message. */
bool http_reader_ends_by_close(const struct http_reader *reader);

/* Pass over bytes of a body by length, which the caller has taken from the socket by itself.
 * Shape: in HTTP_STATE_LENGTH, and bytes <= remaining. */
void http_reader_skip(struct http_reader *reader, size_t bytes);

/* Take from the front of input, which moves on. */
__attribute__((warn_unused_result)) enum http_event
http_reader_next(struct http_reader *reader, struct http_span *input, struct http_span *body);

#endif
