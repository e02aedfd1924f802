/* The gateway's answer to a write, taken in as it comes: the heads of HTTP/1.1, the framing of a
 * body and the start of it. What could be read in two ways, or is cut short, is no answer.
 * Source: RFC 9112, sections 2.2, 4, 5, 6, 7 and 9.3; RFC 9110, section 15.2.
 *
 *     answer_init() -> answer_add() for all that is received, until answer_whole()
 *                   -> answer_end() where the connection ends before
 *
 * An answer beyond ANSWER_BYTES_MAX is none where it accepts. Where it refuses, its head has said
 * so and the rest is cut off: it is whole early, and its connection is not to be used again.
 *
 * Once something is refused, all that follows is too, for the same reason. */
#ifndef AGENT_PROXY_WIRE_ANSWER_H
#define AGENT_PROXY_WIRE_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct outcome;

#define ANSWER_BYTES_MAX      (64U * 1024U) /* of all heads, body and trailers */
#define ANSWER_LINE_BYTES_MAX 8192
#define ANSWER_INTERIM_MAX    32 /* heads of 1xx before the one that counts */

enum answer_state {
    ANSWER_STATUS_LINE,
    ANSWER_FIELDS,
    ANSWER_BODY,        /* of a declared length */
    ANSWER_BODY_TO_END, /* of the connection */
    ANSWER_CHUNK_SIZE,
    ANSWER_CHUNK,
    ANSWER_CHUNK_END,
    ANSWER_TRAILERS,
    ANSWER_WHOLE
};

/* What the fields of one head say. */
struct answer_head {
    unsigned status;
    unsigned retry_after_s;
    bool http_1_0;
    bool close;
    bool keep_alive; /* asked for by name */
    bool has_length;
    bool chunked;
    uint64_t length; /* [bytes] as declared; 0 without */
};

/* Owner: the caller. */
struct answer {
    struct outcome *outcome; /* lent: gets status, retry_after_s and the start of the body */
    const char *reason;      /* why it was refused, a constant; NULL: it was not */
    size_t bytes;            /* taken so far; <= ANSWER_BYTES_MAX */
    bool keep_alive;         /* once it is whole: another request may follow on the connection */
    enum answer_state state;
    unsigned interims;
    struct answer_head head;
    uint64_t left;     /* [bytes] of the body or the chunk */
    size_t line_bytes; /* of a line that has begun */
    char line[ANSWER_LINE_BYTES_MAX];
};

/* Start. Owner: outcome is lent until the last call; its status and retry_after_s become 0 and its
 * body empty. */
void answer_init(struct answer *answer, struct outcome *outcome);

/* Take in what was received. taken: how much of it belongs to the answer; less than all only where
 * something follows behind its end. Errors: -EBADMSG and answer->reason. */
__attribute__((warn_unused_result)) int answer_add(struct answer *answer, const char *data,
                                                   size_t bytes, size_t *taken);

/* The connection has ended in order: 0 where that makes the answer whole. Errors: as answer_add().
 */
__attribute__((warn_unused_result)) int answer_end(struct answer *answer);

bool answer_whole(const struct answer *answer);

#endif
