/* Which body each sender sends next: made anew for each request, prepared, or captured. */
#ifndef BENCH_BODIES_H
#define BENCH_BODIES_H

#include "bench/bytes.h"

#include <stdbool.h>
#include <stdint.h>

struct bodies_settings {
    const char *directory; /* of captured bodies; NULL: generated */
    bool unique;           /* made anew; else a few of each sender are prepared and repeated */
    uint64_t seed;
    uint64_t series;
    uint64_t senders;
    uint64_t sender_base; /* the number of the first sender */
    int64_t t0_ms;
    uint64_t step_ms;
};

struct body {
    const struct bytes *bytes;
    uint64_t samples;
    uint64_t sequence; /* as a receiver reads it from the timestamps; repeats unless unique */
};

struct bodies;

/* Ends the program with exit code 2 when a directory has no files. Owner: the caller,
 * bodies_free(). */
struct bodies *bodies_new(const struct bodies_settings *settings);
void bodies_free(struct bodies *bodies);

/* The body of request number sequence of sender number index (from 0). A unique one is made in
 * own, which has to last as long as the body. */
struct body bodies_get(struct bodies *bodies, uint64_t index, uint64_t sequence, struct bytes *own);

#endif
