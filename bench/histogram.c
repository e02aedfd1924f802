/* A log-linear histogram; see histogram.h. */
#include "bench/histogram.h"

#include <stddef.h>

#define SUB_BUCKETS ((uint64_t)1 << HISTOGRAM_SUB_BITS)
#define VALUE_MAX   (((uint64_t)1 << 40) - 1)

static size_t bucket_of(uint64_t value)
{
    if (value < SUB_BUCKETS) {
        return (size_t)value;
    }
    unsigned top = 63 - (unsigned)__builtin_clzll(value);
    unsigned shift = top - HISTOGRAM_SUB_BITS;
    return ((size_t)(shift + 1) << HISTOGRAM_SUB_BITS) + (size_t)((value >> shift) - SUB_BUCKETS);
}

/* The greatest value that falls into a bucket. */
static uint64_t bucket_end(size_t bucket)
{
    if (bucket < SUB_BUCKETS) {
        return bucket;
    }
    unsigned shift = (unsigned)(bucket >> HISTOGRAM_SUB_BITS) - 1;
    uint64_t sub = (bucket & (SUB_BUCKETS - 1)) + SUB_BUCKETS;
    return ((sub + 1) << shift) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
    uint64_t bounded = value > VALUE_MAX ? VALUE_MAX : value;
    histogram->buckets[bucket_of(bounded)]++;
    histogram->count++;
    histogram->sum += bounded;
    if (bounded > histogram->max) {
        histogram->max = bounded;
    }
}

uint64_t histogram_quantile(const struct histogram *histogram, double share)
{
    uint64_t rank = (uint64_t)(share * (double)histogram->count);
    uint64_t seen = 0;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen > rank || (seen == histogram->count && seen > 0)) {
            return bucket_end(i) < histogram->max ? bucket_end(i) : histogram->max;
        }
    }
    return 0;
}
