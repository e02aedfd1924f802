/* protobuf-c as the judge of what a write request is: accepted or not, and the counts. */
#ifndef AGENT_PROXY_TEST_ORACLE_H
#define AGENT_PROXY_TEST_ORACLE_H

#include "remote.pb-c.h"
#include "wire/write_request.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* A bump arena, emptied between inputs. Owner: the test. Never too small for the inputs of tests:
 * running out would look like a refusal, so it aborts. */
struct arena {
    uint8_t *data;
    size_t used;
    size_t capacity;
};

static inline void *arena_alloc(void *data, size_t bytes)
{
    struct arena *arena = data;
    size_t start = (arena->used + 15) & ~(size_t)15;
    if (arena->data == NULL) {
        arena->data = malloc(arena->capacity);
    }
    if (arena->data == NULL || bytes > arena->capacity - start) {
        abort();
    }
    arena->used = start + bytes;
    return arena->data + start;
}

static inline void arena_free(void *data, void *pointer)
{
    (void)data;
    (void)pointer;
}

static inline Prometheus__WriteRequest *oracle_unpack(struct arena *arena, const uint8_t *data,
                                                      size_t bytes)
{
    ProtobufCAllocator allocator = {
        .alloc = arena_alloc, .free = arena_free, .allocator_data = arena};
    return prometheus__write_request__unpack(&allocator, bytes, data);
}

/* True if protobuf-c accepts the bytes; then counts is filled in. */
static inline bool oracle_scan(struct arena *arena, const uint8_t *data, size_t bytes,
                               struct write_request_counts *counts)
{
    arena->used = 0;
    Prometheus__WriteRequest *request = oracle_unpack(arena, data, bytes);
    if (request == NULL) {
        return false;
    }
    *counts = (struct write_request_counts){.series = request->n_timeseries,
                                            .metadata = request->n_metadata,
                                            .joinable = request->base.n_unknown_fields == 0};
    for (size_t i = 0; i < request->n_timeseries; i++) {
        counts->samples += request->timeseries[i]->n_samples;
        counts->histograms += request->timeseries[i]->n_histograms;
        counts->exemplars += request->timeseries[i]->n_exemplars;
    }
    return true;
}

static inline bool counts_equal(const struct write_request_counts *a,
                                const struct write_request_counts *b)
{
    return a->series == b->series && a->samples == b->samples && a->histograms == b->histograms &&
           a->exemplars == b->exemplars && a->metadata == b->metadata && a->joinable == b->joinable;
}

#endif
