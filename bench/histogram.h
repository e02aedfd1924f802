/* A log-linear histogram of latencies: 128 buckets for each power of two, so a percentile is off
 * by less than 1 %. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_SUB_BITS 7
#define HISTOGRAM_BUCKETS  (((40 - HISTOGRAM_SUB_BITS) + 1) << HISTOGRAM_SUB_BITS)

/* Owner: embedded in its user; zero is its start. Values are below 2^40, else counted as that. */
struct histogram {
    uint64_t buckets[HISTOGRAM_BUCKETS];
    uint64_t count;
    uint64_t sum;
    uint64_t max;
};

void histogram_add(struct histogram *histogram, uint64_t value);

/* The value that a share (0..1) of all values do not exceed; 0 when empty. */
uint64_t histogram_quantile(const struct histogram *histogram, double share);

#endif
