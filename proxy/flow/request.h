/* One remote-write request: its body, what is in it, and the sender that waits for its answer.
 *
 * Owner: the exchange until its body is whole, then the batch that it joined. The exchange may go
 * first (answered at its deadline, or disconnected): the batch then carries the request on. */
#ifndef AGENT_PROXY_FLOW_REQUEST_H
#define AGENT_PROXY_FLOW_REQUEST_H

#include "base/buf.h"
#include "flow/body_charge.h"
#include "wire/snappy_block.h"
#include "wire/write_request.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct exchange;
struct flow_context;

struct request {
    const struct flow_context *context;
    struct exchange *exchange;   /* NULL once answered or gone */
    struct request *prev, *next; /* in the batcher's list of senders that wait */
    struct batch *batch;         /* NULL until joined */
    struct buf body;             /* compressed, as it came */
    struct body_charge charge;   /* of body */
    uint64_t *counted_in;        /* with its body.size, until it is freed */
    struct snappy_block block;   /* of body, once whole */
    struct write_request_counts counts;
    uint64_t started_us;
    uint64_t deadline_us; /* the sender is answered by then */
};

/* Make a request for an exchange, whose state it becomes. Its body counts in bytes, which outlives
 * it, as whoever adds to the body adds there. Errors: NULL without memory. */
__attribute__((warn_unused_result)) struct request *
request_new(const struct flow_context *context, struct exchange *exchange, uint64_t *bytes);

/* Its body is whole, and from now on counts in other bytes. */
void request_is_whole(struct request *request, uint64_t *bytes);

/* Free it and give its bytes back to the budget. It must have no exchange any more. */
void request_free(struct request *request);

/* Each answers the sender, if it still waits, and counts; the exchange is gone afterwards. */
void request_accept(struct request *request);
void request_refuse(struct request *request, unsigned status, const char *text, size_t bytes);
void request_defer(struct request *request, unsigned retry_after_s, const char *text);

#endif
