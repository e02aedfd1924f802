/* Generated bodies; see body_template.h. */
#include "bench/body_template.h"
#include "bench/kubernetes.h"
#include "bench/samples.h"

#include <assert.h>
#include <snappy-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TIME_VARINT_BYTES 6

/* Where a series is patched, as offsets into the request, and its labels but sender's. */
struct patch {
    size_t sender_at;
    size_t value_at;
    size_t time_at;
    uint64_t label_sum;
};

struct body_template {
    struct bytes request;
    struct patch *patches;
    uint32_t series;
};

static void add_varint(struct bytes *out, uint64_t value)
{
    uint8_t byte;
    while (value >= 0x80) {
        byte = (uint8_t)(value | 0x80);
        bytes_append(out, &byte, 1);
        value >>= 7;
    }
    byte = (uint8_t)value;
    bytes_append(out, &byte, 1);
}

static void add_field(struct bytes *out, uint8_t number, const void *data, size_t size)
{
    uint8_t key = (uint8_t)(number << 3 | 2);
    bytes_append(out, &key, 1);
    add_varint(out, size);
    bytes_append(out, data, size);
}

/* Append a series, whose offsets are then relative to its own start. */
static void add_series(struct bytes *out, struct labels *labels, struct bytes *scratch,
                       struct patch *patch)
{
    patch->label_sum = 0;
    for (size_t i = 0; i < labels->count; i++) {
        const struct label *label = &labels->all[i];
        size_t value_bytes = strlen(label->value);
        scratch->size = 0;
        add_field(scratch, 1, label->name, strlen(label->name));
        add_field(scratch, 2, label->value, value_bytes);
        add_field(out, 1, scratch->data, scratch->size);
        if (strcmp(label->name, "sender") == 0) {
            patch->sender_at = out->size - value_bytes;
        } else {
            patch->label_sum +=
                samples_label_hash(label->name, strlen(label->name), label->value, value_bytes);
        }
    }
    static const uint8_t sample[] = {2 << 3 | 2, 16, 1 << 3 | 1, 0, 0, 0, 0, 0, 0,
                                     0,          0,  2 << 3,     0, 0, 0, 0, 0, 0};
    patch->value_at = out->size + 3;
    patch->time_at = out->size + 12;
    bytes_append(out, sample, sizeof sample);
}

struct body_template *body_template_new(uint64_t seed, uint32_t series)
{
    assert(series >= 1);
    struct body_template *template = bench_alloc(1, sizeof *template);
    struct bytes one = {0};
    struct bytes scratch = {0};
    struct labels labels;
    template->series = series;
    template->patches = bench_alloc(series, sizeof *template->patches);
    for (uint32_t i = 0; i < series; i++) {
        kubernetes_series(seed, i, series, &labels);
        labels_add(&labels, "part", "%u/%u", i, series);
        labels_add(&labels, "sender", "%0*u", SENDER_DIGITS, 0U);
        labels_sort(&labels);
        struct patch *patch = &template->patches[i];
        one.size = 0;
        add_series(&one, &labels, &scratch, patch);
        add_field(&template->request, 1, one.data, one.size);
        size_t start = template->request.size - one.size;
        patch->sender_at += start;
        patch->value_at += start;
        patch->time_at += start;
    }
    bytes_free(&one);
    bytes_free(&scratch);
    return template;
}

void body_template_free(struct body_template *template)
{
    bytes_free(&template->request);
    free(template->patches);
    free(template);
}

size_t body_template_decoded_bytes(const struct body_template *template)
{
    return template->request.size;
}

void body_template_make(struct body_template *template, uint32_t sender, int64_t timestamp_ms,
                        struct bytes *out)
{
    assert(sender < SENDERS_MAX);
    assert(timestamp_ms >= SAMPLES_TIME_MIN_MS && timestamp_ms < SAMPLES_TIME_MAX_MS);
    char digits[16];
    uint8_t time[TIME_VARINT_BYTES];
    (void)snprintf(digits, sizeof digits, "%0*u", SENDER_DIGITS, sender);
    uint64_t sender_hash = samples_label_hash("sender", 6, digits, SENDER_DIGITS);
    for (unsigned i = 0; i < TIME_VARINT_BYTES; i++) {
        unsigned more = i + 1 < TIME_VARINT_BYTES ? 0x80 : 0;
        time[i] = (uint8_t)(((uint64_t)timestamp_ms >> (7 * i) & 0x7f) | more);
    }
    uint8_t *request = template->request.data;
    for (uint32_t i = 0; i < template->series; i++) {
        const struct patch *patch = &template->patches[i];
        double value = samples_value(patch->label_sum + sender_hash, timestamp_ms);
        memcpy(request + patch->sender_at, digits, SENDER_DIGITS);
        memcpy(request + patch->value_at, &value, sizeof value);
        memcpy(request + patch->time_at, time, sizeof time);
    }
    size_t size = snappy_max_compressed_length(template->request.size);
    bytes_reserve(out, size);
    if (snappy_compress((const char *)request, template->request.size, (char *)out->data, &size) !=
        SNAPPY_OK) {
        bench_die("cannot compress a body");
    }
    out->size = size;
}
