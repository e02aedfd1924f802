/* What a gateway's answer to a write means for its senders. The table of ARCHITECTURE.md, as a
 * pure function: 4xx is relayed only where it is provably the sender's data; whatever is not known
 * is 503, never a 2xx. */
#ifndef AGENT_PROXY_WIRE_VERDICT_H
#define AGENT_PROXY_WIRE_VERDICT_H

#include <stdbool.h>
#include <stddef.h>

/* How an attempt to send a batch ended. */
enum outcome_kind {
    OUTCOME_ANSWERED,    /* a whole answer with a status */
    OUTCOME_UNREACHABLE, /* no connection: refused, no route, DNS, TLS */
    OUTCOME_BROKEN,      /* the connection ended or made no sense before the whole answer */
    OUTCOME_TIMEOUT,
    OUTCOME_CANCELLED /* by ourselves, at the end of the grace period */
};

#define OUTCOME_BODY_MAX   1024 /* [bytes] of an answer's body that are kept for the sender */
#define OUTCOME_DETAIL_MAX 256

/* Owner: made by the sender of the batch, borrowed by callbacks for their duration. */
struct outcome {
    enum outcome_kind kind;
    unsigned status;        /* 100..599 when answered */
    unsigned retry_after_s; /* [s] from the gateway's Retry-After; 0: none */
    size_t body_bytes;      /* of body, <= OUTCOME_BODY_MAX */
    char body[OUTCOME_BODY_MAX];
    char detail[OUTCOME_DETAIL_MAX]; /* for logs, when not answered */
};

enum verdict {
    VERDICT_ACCEPTED,      /* 204 to every sender */
    VERDICT_REFUSED,       /* a lone request: the gateway's status and body to its sender */
    VERDICT_SPLIT,         /* a batch: to be sent again in parts, in order */
    VERDICT_MISCONFIGURED, /* 503; our own settings are wrong: log, count */
    VERDICT_UNAVAILABLE    /* 503 with Retry-After */
};

/* Judge the outcome of a batch of members requests (>= 1).
 * 400, 409, 413, 422: refused or split. 408, 425, 429, 5xx, no answer: unavailable. 1xx, 3xx and
 * any other 4xx: misconfigured. */
enum verdict verdict_of(const struct outcome *outcome, size_t members);

/* Seconds for Retry-After: the gateway's own, capped at 300; else 1..5 by the random number. */
unsigned verdict_retry_after_s(const struct outcome *outcome, unsigned random);

/* Parse a Retry-After value: whole seconds only; a date or rubbish gives 0. Capped at 300. */
unsigned verdict_parse_retry_after(const char *value, size_t bytes);

#endif
