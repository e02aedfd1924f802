/* Requests that are sent as one body: their snappy blocks, joined without being decoded again.
 *
 *   members   [ r0 r1 r2 r3 | r4 r5 r6 r7 ]
 *   part        first ....... end                what is sent now; at first, all of it
 *   later                     ends[] .......     refused parts are halved: right halves wait
 *
 *   body of a part = varint(sum of decoded lengths) || elements of r0 || elements of r1 ... */
#ifndef AGENT_PROXY_FLOW_BATCH_H
#define AGENT_PROXY_FLOW_BATCH_H

#include "upstream/upstream.h"
#include "wire/snappy_block.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct request;

/* log2 of the most members that a batch may have, and one. */
#define BATCH_SPLITS_MAX 24

/* Owner: the batcher; owns its members. */
struct batch {
    struct batch *next; /* in the batcher's queue */
    void *owner;        /* the batcher, for callbacks */
    struct request **members;
    struct upstream_piece *pieces; /* of the part being sent; room for members_max + 1 */
    size_t count;
    size_t members_max;
    size_t elements_bytes; /* of all members, compressed */
    size_t decoded_bytes;  /* of all members */
    size_t first, end;     /* the part: members[first..end) */
    size_t ends[BATCH_SPLITS_MAX];
    size_t splits; /* of ends: parts that wait, the next one last */
    uint64_t opened_us;
    uint64_t sent_us;
    uint8_t prefix[SNAPPY_BLOCK_PREFIX_MAX];
};

/* Errors: NULL without memory. */
__attribute__((warn_unused_result)) struct batch *batch_new(size_t members_max, uint64_t now_us);

/* Free it with all its members, none of which may have a sender that still waits. */
void batch_free(struct batch *batch);

/* Add a request at the end; the batch must not be full. Consumes the request. */
void batch_add(struct batch *batch, struct request *request);

/* Take a request out before the batch is sent. The request is its caller's again. */
void batch_remove(struct batch *batch, struct request *request);

/* Begin with the whole batch as the part to send. */
void batch_begin(struct batch *batch);

/* Set up pieces for the body of the part. Returns the body's size [bytes]; *count is the number
 * of pieces. */
size_t batch_body(struct batch *batch, size_t *count);

/* Halve the part (of two members or more): the left half is the part now, the right one waits. */
void batch_split(struct batch *batch);

/* The next part becomes the part. False when none waits. */
bool batch_next_part(struct batch *batch);

/* All that is left becomes the part: this one and those that wait. */
void batch_take_rest(struct batch *batch);

#endif
