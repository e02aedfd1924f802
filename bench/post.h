/* What one POST to the sink contains, checked sample by sample; see samples.h for what a sample
 * has to look like. */
#ifndef BENCH_POST_H
#define BENCH_POST_H

#include "bench/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One sender's request inside a POST. */
struct post_member {
    uint32_t sender;
    uint32_t sequence;
    uint32_t parts;  /* samples of a whole copy */
    uint32_t seen;   /* distinct parts of the copy that is not whole yet */
    uint32_t copies; /* whole ones */
    size_t bits_at;  /* in bits: which parts were seen */
};

/* Owner: embedded in the sink and used again for each POST; zero is its start. */
struct post {
    struct post_member *members; /* in the order of their first samples */
    size_t count;
    size_t capacity;
    struct bytes bits;
    struct bytes decoded;
    size_t latest; /* the member that the latest sample belonged to */
    uint64_t series;
    uint64_t samples;
    uint64_t altered; /* value, timestamp or part that cannot be */
    uint64_t foreign; /* without sender and part: not from the load generator */
    int64_t t0_ms;    /* as the load generator's; set by the user */
    uint64_t step_ms;
};

/* Read a compressed body. False when it cannot be decoded. */
__attribute__((warn_unused_result)) bool post_read(struct post *post, const void *body,
                                                   size_t bytes);

bool post_has_sender(const struct post *post, uint32_t sender);

/* Requests of which some samples are missing. */
uint64_t post_partial(const struct post *post);

void post_free(struct post *post);

#endif
