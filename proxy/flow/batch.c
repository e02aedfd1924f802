/* Requests that are sent as one body. Pure bookkeeping: no I/O, no policy. */
#include "flow/batch.h"

#include "flow/request.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static void check(const struct batch *batch)
{
    assert(batch->count <= batch->members_max);
    assert(batch->first <= batch->end && batch->end <= batch->count);
    assert(batch->splits <= BATCH_SPLITS_MAX);
}

struct batch *batch_new(size_t members_max, uint64_t now_us)
{
    assert(members_max >= 1);
    struct batch *batch = calloc(1, sizeof(*batch));
    if (batch == NULL) {
        return NULL;
    }
    batch->members = calloc(members_max, sizeof(batch->members[0]));
    batch->pieces = calloc(members_max + 1, sizeof(batch->pieces[0]));
    if (batch->members == NULL || batch->pieces == NULL) {
        batch_free(batch);
        return NULL;
    }
    batch->members_max = members_max;
    batch->opened_us = now_us;
    return batch;
}

void batch_free(struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        request_free(batch->members[i]);
    }
    free(batch->members);
    free(batch->pieces);
    free(batch);
}

void batch_add(struct batch *batch, struct request *request)
{
    assert(batch->count < batch->members_max && batch->end == 0);
    batch->members[batch->count++] = request;
    batch->elements_bytes += request->block.elements_bytes;
    batch->decoded_bytes += request->block.decoded_bytes;
    request->batch = batch;
    check(batch);
}

void batch_remove(struct batch *batch, struct request *request)
{
    assert(batch->end == 0 && request->batch == batch);
    size_t at = 0;
    while (at < batch->count && batch->members[at] != request) {
        at++;
    }
    assert(at < batch->count);
    batch->count--;
    memmove(&batch->members[at], &batch->members[at + 1],
            (batch->count - at) * sizeof(batch->members[0]));
    batch->elements_bytes -= request->block.elements_bytes;
    batch->decoded_bytes -= request->block.decoded_bytes;
    request->batch = NULL;
    check(batch);
}

void batch_begin(struct batch *batch)
{
    assert(batch->count >= 1 && batch->end == 0);
    batch->first = 0;
    batch->end = batch->count;
    check(batch);
}

size_t batch_body(struct batch *batch, size_t *count)
{
    size_t decoded_bytes = 0;
    size_t bytes = 0;
    size_t pieces = 1;
    for (size_t i = batch->first; i < batch->end; i++) {
        const struct snappy_block *block = &batch->members[i]->block;
        decoded_bytes += block->decoded_bytes;
        bytes += block->elements_bytes;
        batch->pieces[pieces++] =
            (struct upstream_piece){.data = block->elements, .bytes = block->elements_bytes};
    }
    size_t prefix_bytes = snappy_block_prefix(batch->prefix, decoded_bytes);
    batch->pieces[0] = (struct upstream_piece){.data = batch->prefix, .bytes = prefix_bytes};
    *count = pieces;
    return prefix_bytes + bytes;
}

void batch_split(struct batch *batch)
{
    assert(batch->end - batch->first >= 2 && batch->splits < BATCH_SPLITS_MAX);
    batch->ends[batch->splits++] = batch->end;
    batch->end = batch->first + (batch->end - batch->first) / 2;
    check(batch);
}

bool batch_next_part(struct batch *batch)
{
    if (batch->splits == 0) {
        return false;
    }
    batch->first = batch->end;
    batch->end = batch->ends[--batch->splits];
    check(batch);
    return true;
}

void batch_take_rest(struct batch *batch)
{
    batch->splits = 0;
    batch->end = batch->count;
    check(batch);
}
