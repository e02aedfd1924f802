/* What decoding and scanning cost alone, in turns with libsnappy's decoder, over bodies as the load
 * generator sends them. Prints medians [us] of one body. */
#include "bench/args.h"
#include "bench/bodies.h"
#include "bench/samples.h"
#include "wire/snappy_block.h"
#include "wire/write_request.h"

#include <snappy-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS 401

enum step { DECODE, SCAN, LIBSNAPPY, STEPS };

static double now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b)
{
    double left = *(const double *)a;
    double right = *(const double *)b;
    return (left > right) - (left < right);
}

/* One round over one body; out has room for what it decodes to. */
static void measure(const struct bytes *body, struct bytes *out, double took_us[STEPS])
{
    struct snappy_block block;
    struct wire_error error;
    struct write_request_counts counts;
    if (snappy_block_open(body->data, body->size, &block, &error) != 0) {
        bench_die("not a snappy block: %s", error.what);
    }
    bytes_reserve(out, block.decoded_bytes);
    double start_us = now_us();
    int decoded = snappy_block_decode(&block, out->data, &error);
    double decoded_us = now_us();
    int scanned = write_request_scan(out->data, block.decoded_bytes, &counts, &error);
    double scanned_us = now_us();
    size_t room = out->capacity;
    snappy_status same =
        snappy_uncompress((const char *)body->data, body->size, (char *)out->data, &room);
    double end_us = now_us();
    if (decoded != 0 || scanned != 0 || same != SNAPPY_OK) {
        bench_die("a body is no write request");
    }
    took_us[DECODE] = decoded_us - start_us;
    took_us[SCAN] = scanned_us - decoded_us;
    took_us[LIBSNAPPY] = end_us - scanned_us;
}

int main(int argc, char **argv)
{
    static double took_us[STEPS][ROUNDS];
    struct bodies_settings settings = {
        .seed = 1, .series = 2000, .senders = 8, .t0_ms = SAMPLES_TIME_MIN_MS, .step_ms = 15000};
    const struct args_option options[] = {
        {"series", ARGS_U64, &settings.series, "of one sample in each body (2000)"},
        {"bodies", ARGS_U64, &settings.senders, "different ones (8)"},
        {"seed", ARGS_U64, &settings.seed, "of the labels (1)"},
    };
    args_parse(argc, argv, options, sizeof options / sizeof options[0]);
    struct bodies *bodies = bodies_new(&settings);
    struct bytes own = {0};
    struct bytes out = {0};
    for (uint64_t round = 0; round < ROUNDS; round++) {
        double one_us[STEPS];
        struct body body = bodies_get(bodies, round % settings.senders, 0, &own);
        measure(body.bytes, &out, one_us);
        for (size_t step = 0; step < STEPS; step++) {
            took_us[step][round] = one_us[step];
        }
    }
    for (size_t step = 0; step < STEPS; step++) {
        qsort(took_us[step], ROUNDS, sizeof took_us[step][0], by_value);
    }
    printf("decode %.1f us, scan %.1f us, libsnappy's decode %.1f us\n",
           took_us[DECODE][ROUNDS / 2], took_us[SCAN][ROUNDS / 2], took_us[LIBSNAPPY][ROUNDS / 2]);
    bodies_free(bodies);
    bytes_free(&own);
    bytes_free(&out);
    return 0;
}
