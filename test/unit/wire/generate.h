/* Write requests for tests: an encoder of our own, so that odd but legal encodings can be made,
 * random requests whose counts are known, and mutations of bytes. Deterministic by seed. */
#ifndef AGENT_PROXY_TEST_GENERATE_H
#define AGENT_PROXY_TEST_GENERATE_H

#include "wire/write_request.h"

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STALE_MARKER UINT64_C(0x7ff0000000000002)

struct rng {
    uint64_t state;
};

/* Source: the splitmix64 generator of Steele, Lea and Flood. */
static inline uint64_t rng_next(struct rng *rng)
{
    uint64_t z = rng->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

/* 0..limit-1; limit >= 1. */
static inline size_t rng_below(struct rng *rng, size_t limit)
{
    return (size_t)(rng_next(rng) % limit);
}

static inline bool rng_one_in(struct rng *rng, size_t n)
{
    return rng_below(rng, n) == 0;
}

/* Bytes that grow. Owner: the test; bytes_free() at the end. */
struct bytes {
    uint8_t *data;
    size_t size;
    size_t capacity;
};

static inline void bytes_free(struct bytes *bytes)
{
    free(bytes->data);
    *bytes = (struct bytes){0};
}

static inline void put(struct bytes *out, const void *data, size_t bytes)
{
    if (out->size + bytes > out->capacity) {
        out->capacity = (out->size + bytes) * 2 + 64;
        out->data = realloc(out->data, out->capacity);
        if (out->data == NULL) {
            abort();
        }
    }
    if (bytes > 0) {
        memcpy(out->data + out->size, data, bytes);
    }
    out->size += bytes;
}

static inline void put_byte(struct bytes *out, unsigned byte)
{
    uint8_t value = (uint8_t)byte;
    put(out, &value, 1);
}

static inline void put_varint(struct bytes *out, uint64_t value)
{
    while (value >= 0x80) {
        put_byte(out, (unsigned)(value & 0x7f) | 0x80);
        value >>= 7;
    }
    put_byte(out, (unsigned)value);
}

static inline uint64_t zigzag(int64_t value)
{
    return (uint64_t)value << 1 ^ (value < 0 ? UINT64_MAX : 0);
}

static inline void put_tag(struct bytes *out, uint32_t number, unsigned type)
{
    put_varint(out, (uint64_t)number << 3 | type);
}

static inline void put_varint_field(struct bytes *out, uint32_t number, uint64_t value)
{
    put_tag(out, number, 0);
    put_varint(out, value);
}

static inline void put_bits_field(struct bytes *out, uint32_t number, uint64_t bits)
{
    put_tag(out, number, 1);
    for (unsigned i = 0; i < 8; i++) {
        put_byte(out, (unsigned)(bits >> (8 * i)) & 0xff);
    }
}

static inline void put_double_field(struct bytes *out, uint32_t number, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    put_bits_field(out, number, bits);
}

static inline void put_bytes_field(struct bytes *out, uint32_t number, const void *data,
                                   size_t bytes)
{
    put_tag(out, number, 2);
    put_varint(out, bytes);
    put(out, data, bytes);
}

/* Put a message made in inner as a field, and free inner. */
static inline void put_message(struct bytes *out, uint32_t number, struct bytes *inner)
{
    put_bytes_field(out, number, inner->data, inner->size);
    bytes_free(inner);
}

static inline void put_label(struct bytes *series, uint32_t number, const char *name,
                             const char *value)
{
    struct bytes label = {0};
    put_bytes_field(&label, 1, name, strlen(name));
    put_bytes_field(&label, 2, value, strlen(value));
    put_message(series, number, &label);
}

static inline void put_sample(struct bytes *series, uint64_t value_bits, int64_t timestamp_ms)
{
    struct bytes sample = {0};
    if (value_bits != 0) {
        put_bits_field(&sample, 1, value_bits);
    }
    put_varint_field(&sample, 2, (uint64_t)timestamp_ms);
    put_message(series, 2, &sample);
}

/* An unknown field with a number that no message has. */
static inline void put_unknown(struct bytes *out, struct rng *rng)
{
    uint32_t number = 100 + (uint32_t)rng_below(rng, 1u << 20);
    uint64_t value = rng_next(rng) >> rng_below(rng, 64);
    switch (rng_below(rng, 4)) {
    case 0:
        put_varint_field(out, number, value);
        break;
    case 1:
        put_bits_field(out, number, value);
        break;
    case 2:
        put_bytes_field(out, number, "unknown bytes", rng_below(rng, 14));
        break;
    default:
        put_tag(out, number, 5);
        put(out, &value, 4);
        break;
    }
}

static inline int64_t random_timestamp_ms(struct rng *rng)
{
    switch (rng_below(rng, 20)) {
    case 0:
        return -(int64_t)rng_below(rng, 1u << 30);
    case 1:
        return (int64_t)rng_below(rng, 1000);
    default:
        return 1700000000000 + (int64_t)rng_below(rng, 1000000000);
    }
}

static inline void put_spans(struct bytes *histogram, struct rng *rng, uint32_t number)
{
    for (size_t i = rng_below(rng, 3); i > 0; i--) {
        struct bytes span = {0};
        put_varint_field(&span, 1, zigzag((int64_t)rng_below(rng, 100) - 50) & UINT32_MAX);
        put_varint_field(&span, 2, rng_below(rng, 20));
        put_message(histogram, number, &span);
    }
}

/* Repeated numbers, packed mostly, in one or two pieces, or one by one. */
static inline void put_numbers(struct bytes *histogram, struct rng *rng, uint32_t number,
                               bool doubles)
{
    bool packed = !rng_one_in(rng, 4);
    struct bytes pack = {0};
    for (size_t i = rng_below(rng, 8); i > 0; i--) {
        int64_t value = (int64_t)rng_below(rng, 1000) - 500;
        uint64_t coded = doubles ? rng_next(rng) : zigzag(value);
        if (!packed && doubles) {
            put_bits_field(histogram, number, coded);
        } else if (!packed) {
            put_varint_field(histogram, number, coded);
        } else if (doubles) {
            put(&pack, &coded, sizeof(coded));
        } else {
            put_varint(&pack, coded);
        }
    }
    if (packed && (pack.size > 0 || rng_one_in(rng, 8))) {
        put_bytes_field(histogram, number, pack.data, pack.size);
    }
    bytes_free(&pack);
}

static inline void put_histogram(struct bytes *series, struct rng *rng, bool floats)
{
    struct bytes histogram = {0};
    if (floats) {
        put_double_field(&histogram, 2, (double)rng_below(rng, 1000) / 4);
    } else {
        put_varint_field(&histogram, 1, rng_below(rng, 100000));
    }
    put_double_field(&histogram, 3, 12.5);
    put_varint_field(&histogram, 4, zigzag((int64_t)rng_below(rng, 13) - 4) & UINT32_MAX);
    put_double_field(&histogram, 5, 1e-128);
    if (floats) {
        put_double_field(&histogram, 7, 2.5);
    } else {
        put_varint_field(&histogram, 6, rng_below(rng, 100));
    }
    put_spans(&histogram, rng, 8);
    put_numbers(&histogram, rng, floats ? 10 : 9, floats);
    put_spans(&histogram, rng, 11);
    put_numbers(&histogram, rng, floats ? 13 : 12, floats);
    if (rng_one_in(rng, 2)) {
        put_varint_field(&histogram, 14, rng_below(rng, 4));
    }
    put_varint_field(&histogram, 15, (uint64_t)random_timestamp_ms(rng));
    if (rng_one_in(rng, 4)) {
        put_numbers(&histogram, rng, 16, true);
    }
    put_message(series, 4, &histogram);
}

/* How a random request is made. */
struct shape_wish {
    size_t series_max;
    bool unknown_fields; /* some, at any level but the top */
};

static inline void put_random_label(struct bytes *series, struct rng *rng, uint32_t number)
{
    static const char *const names[] = {"__name__", "instance", "job", "namespace",
                                        "pod",      "le",       "id",  "container"};
    char value[320];
    size_t bytes = rng_one_in(rng, 10) ? rng_below(rng, sizeof(value) - 1) : rng_below(rng, 40);
    for (size_t i = 0; i < bytes; i++) {
        value[i] = (char)('a' + rng_below(rng, 26));
    }
    value[bytes] = '\0';
    put_label(series, number, names[rng_below(rng, 8)], value);
}

static inline void put_random_series(struct bytes *request, struct rng *rng,
                                     const struct shape_wish *wish,
                                     struct write_request_counts *counts)
{
    struct bytes series = {0};
    for (size_t i = rng_below(rng, 15); i > 0; i--) {
        put_random_label(&series, rng, 1);
    }
    for (size_t i = rng_below(rng, 4); i > 0; i--) {
        uint64_t bits = rng_one_in(rng, 4)   ? 0
                        : rng_one_in(rng, 8) ? STALE_MARKER
                                             : UINT64_C(0x40090000) << 32 | rng_below(rng, 1000);
        put_sample(&series, bits, random_timestamp_ms(rng));
        counts->samples++;
    }
    if (rng_one_in(rng, 4)) {
        struct bytes exemplar = {0};
        put_random_label(&exemplar, rng, 1);
        put_double_field(&exemplar, 2, 0.25);
        put_varint_field(&exemplar, 3, (uint64_t)random_timestamp_ms(rng));
        put_message(&series, 3, &exemplar);
        counts->exemplars++;
    }
    if (rng_one_in(rng, 4)) {
        put_histogram(&series, rng, rng_one_in(rng, 2));
        counts->histograms++;
    }
    if (wish->unknown_fields && rng_one_in(rng, 4)) {
        put_unknown(&series, rng);
    }
    put_message(request, 1, &series);
    counts->series++;
}

static inline void put_random_metadata(struct bytes *request, struct rng *rng)
{
    struct bytes metadata = {0};
    put_varint_field(&metadata, 1, rng_below(rng, 8));
    put_bytes_field(&metadata, 2, "http_requests_total", 19);
    put_bytes_field(&metadata, 4, "Requests by code and handler.", 29);
    put_bytes_field(&metadata, 5, "", 0);
    put_message(request, 3, &metadata);
}

/* Add a random valid request to out, and what is in it to counts. */
static inline void put_random_request(struct bytes *out, struct rng *rng,
                                      const struct shape_wish *wish,
                                      struct write_request_counts *counts)
{
    for (size_t i = rng_below(rng, wish->series_max + 1); i > 0; i--) {
        put_random_series(out, rng, wish, counts);
        if (rng_one_in(rng, 8)) {
            put_random_metadata(out, rng);
            counts->metadata++;
        }
    }
}

/* Change bytes in place, at least once; the size may change. Bytes that mean something to the
 * encodings come more often than others. */
static inline void mutate(struct bytes *bytes, struct rng *rng)
{
    static const uint8_t telling[] = {0x00, 0x01, 0x02, 0x08, 0x09, 0x0a, 0x0b, 0x0d,
                                      0x10, 0x12, 0x1a, 0x22, 0x7f, 0x80, 0x82, 0xff};
    for (size_t times = 1 + rng_below(rng, 3); times > 0; times--) {
        if (bytes->size == 0) {
            put_byte(bytes, (unsigned)rng_below(rng, 256));
            continue;
        }
        size_t at = rng_below(rng, bytes->size);
        size_t rest = bytes->size - at;
        size_t run = 1 + rng_below(rng, rest < 8 ? rest : 8);
        switch (rng_below(rng, 7)) {
        case 0: /* one bit */
            bytes->data[at] ^= (uint8_t)(1u << rng_below(rng, 8));
            break;
        case 1:
            bytes->data[at] = telling[rng_below(rng, sizeof(telling))];
            break;
        case 2:
            bytes->data[at] = (uint8_t)(bytes->data[at] + 1 + (rng_one_in(rng, 2) ? 254 : 0));
            break;
        case 3: /* cut out */
            memmove(bytes->data + at, bytes->data + at + run, rest - run);
            bytes->size -= run;
            break;
        case 4: /* put one in */
            put_byte(bytes, 0);
            memmove(bytes->data + at + 1, bytes->data + at, rest);
            bytes->data[at] = telling[rng_below(rng, sizeof(telling))];
            break;
        case 5: /* repeat some from elsewhere */
            memmove(bytes->data + rng_below(rng, bytes->size - run + 1), bytes->data + at, run);
            break;
        default: /* cut off */
            bytes->size = rng_one_in(rng, 4) ? at : bytes->size;
            break;
        }
    }
}

#endif
