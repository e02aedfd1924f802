/* Samples that can be checked by whoever receives them.
 *
 * A checkable series has, besides labels of its own:
 *   sender="0007"     the connection of the load generator that sent it
 *   part="17/2000"    it is number 17 of the 2000 samples of its request
 * and its sample's timestamp is t0 + seq * step. So a receiver knows which request (sender, seq) a
 * sample belongs to, and when it has all of that request. The value is a function of the labels
 * and the timestamp:
 *
 *   h(label)  = FNV-1a, 64 bits, over the bytes of name, 0xff, value
 *   sum       = sum of h(label) over all labels                             (mod 2^64)
 *   x         = sum + timestamp * 0x9e3779b97f4a7c15                        (mod 2^64)
 *   x         = (x ^ x >> 30) * 0xbf58476d1ce4e5b9; x = (x ^ x >> 27) * 0x94d049bb133111eb
 *   value     = (x ^ x >> 31) mod 2^53, as a double
 *
 * so no order of labels and no encoding matters. This file owns the function and a walker over
 * WriteRequest that is independent of the one in proxy/wire. */
#ifndef BENCH_SAMPLES_H
#define BENCH_SAMPLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SAMPLES_T0_MS   1700000000000
#define SAMPLES_STEP_MS 15000

/* Timestamps in this range are varints of six bytes. */
#define SAMPLES_TIME_MIN_MS ((int64_t)1 << 35)
#define SAMPLES_TIME_MAX_MS ((int64_t)1 << 42)

/* A series while it is walked. Owner: the walker, for the length of a callback. */
struct series_view {
    uint64_t label_sum;
    int64_t sender; /* -1: it has no such label, or not one that can be read */
    uint32_t part;
    uint32_t parts; /* 0: no such label */
};

uint64_t samples_label_hash(const void *name, size_t name_bytes, const void *value,
                            size_t value_bytes);

/* The value that belongs to labels and a timestamp, a whole number below 2^53. */
double samples_value(uint64_t label_sum, int64_t timestamp_ms);

struct samples_walker {
    void (*on_series)(void *context, const struct series_view *series);
    void (*on_sample)(void *context, const struct series_view *series, int64_t timestamp_ms,
                      double value);
    void *context;
};

/* Walk a decoded WriteRequest. False when it makes no sense; callbacks may have run by then. */
__attribute__((warn_unused_result)) bool samples_walk(const uint8_t *data, size_t bytes,
                                                      const struct samples_walker *walker);

#endif
