/* Samples that can be checked; see samples.h. Field numbers: proto/remote.proto, types.proto. */
#include "bench/samples.h"

#include <string.h>

enum wire_type { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

/* A piece of a message that is still to be read. */
struct piece {
    const uint8_t *at;
    const uint8_t *end;
};

struct field {
    uint64_t number;
    enum wire_type type;
    uint64_t value;     /* of a varint; the bits of a fixed one */
    struct piece bytes; /* of a length-delimited one */
};

uint64_t samples_label_hash(const void *name, size_t name_bytes, const void *value,
                            size_t value_bytes)
{
    const uint64_t prime = 0x100000001b3;
    uint64_t hash = 0xcbf29ce484222325;
    const uint8_t *at = name;
    for (size_t i = 0; i < name_bytes; i++) {
        hash = (hash ^ at[i]) * prime;
    }
    hash = (hash ^ 0xff) * prime;
    at = value;
    for (size_t i = 0; i < value_bytes; i++) {
        hash = (hash ^ at[i]) * prime;
    }
    return hash;
}

double samples_value(uint64_t label_sum, int64_t timestamp_ms)
{
    uint64_t x = label_sum + (uint64_t)timestamp_ms * 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return (double)((x ^ x >> 31) & (((uint64_t)1 << 53) - 1));
}

static bool take_varint(struct piece *piece, uint64_t *value)
{
    uint64_t result = 0;
    for (unsigned shift = 0; shift < 64 && piece->at < piece->end; shift += 7) {
        uint8_t byte = *piece->at++;
        result |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *value = result;
            return true;
        }
    }
    return false;
}

static bool take_fixed(struct piece *piece, size_t bytes, uint64_t *value)
{
    if ((size_t)(piece->end - piece->at) < bytes) {
        return false;
    }
    *value = 0;
    memcpy(value, piece->at, bytes);
    piece->at += bytes;
    return true;
}

static bool take_field(struct piece *piece, struct field *field)
{
    uint64_t key;
    if (!take_varint(piece, &key) || key >> 3 == 0) {
        return false;
    }
    field->number = key >> 3;
    switch (key & 7) {
    case WIRE_VARINT:
        field->type = WIRE_VARINT;
        return take_varint(piece, &field->value);
    case WIRE_FIXED64:
        field->type = WIRE_FIXED64;
        return take_fixed(piece, 8, &field->value);
    case WIRE_FIXED32:
        field->type = WIRE_FIXED32;
        return take_fixed(piece, 4, &field->value);
    case WIRE_BYTES:
        field->type = WIRE_BYTES;
        if (!take_varint(piece, &field->value) ||
            field->value > (uint64_t)(piece->end - piece->at)) {
            return false;
        }
        field->bytes = (struct piece){piece->at, piece->at + field->value};
        piece->at += field->value;
        return true;
    default:
        return false;
    }
}

static bool piece_is(struct piece piece, const char *text)
{
    size_t bytes = strlen(text);
    return (size_t)(piece.end - piece.at) == bytes && memcmp(piece.at, text, bytes) == 0;
}

/* Read a decimal number off the front. False when there is none, or one over nine digits. */
static bool take_decimal(struct piece *piece, uint32_t *number)
{
    uint32_t value = 0;
    unsigned digits = 0;
    while (piece->at < piece->end && *piece->at >= '0' && *piece->at <= '9' && digits < 9) {
        value = value * 10 + (uint32_t)(*piece->at++ - '0');
        digits++;
    }
    *number = value;
    return digits > 0;
}

static void note_own_label(struct series_view *series, struct piece name, struct piece value)
{
    uint32_t number = 0;
    if (piece_is(name, "sender")) {
        if (take_decimal(&value, &number) && value.at == value.end) {
            series->sender = number;
        }
    } else if (piece_is(name, "part")) {
        uint32_t parts = 0;
        if (take_decimal(&value, &number) && value.at < value.end && *value.at++ == '/' &&
            take_decimal(&value, &parts) && value.at == value.end && number < parts) {
            series->part = number;
            series->parts = parts;
        }
    }
}

static bool walk_label(struct piece label, struct series_view *series)
{
    struct piece name = {label.at, label.at};
    struct piece value = {label.at, label.at};
    while (label.at < label.end) {
        struct field field;
        if (!take_field(&label, &field)) {
            return false;
        }
        if (field.type == WIRE_BYTES && field.number == 1) {
            name = field.bytes;
        } else if (field.type == WIRE_BYTES && field.number == 2) {
            value = field.bytes;
        }
    }
    series->label_sum += samples_label_hash(name.at, (size_t)(name.end - name.at), value.at,
                                            (size_t)(value.end - value.at));
    note_own_label(series, name, value);
    return true;
}

static bool walk_sample(struct piece sample, const struct series_view *series,
                        const struct samples_walker *walker)
{
    uint64_t bits = 0;
    uint64_t timestamp = 0;
    while (sample.at < sample.end) {
        struct field field;
        if (!take_field(&sample, &field)) {
            return false;
        }
        if (field.type == WIRE_FIXED64 && field.number == 1) {
            bits = field.value;
        } else if (field.type == WIRE_VARINT && field.number == 2) {
            timestamp = field.value;
        }
    }
    double value;
    memcpy(&value, &bits, sizeof value);
    walker->on_sample(walker->context, series, (int64_t)timestamp, value);
    return true;
}

/* Walk the fields of a series that have a number: labels first, since samples need them whole. */
static bool walk_series_fields(struct piece piece, uint64_t number, struct series_view *series,
                               const struct samples_walker *walker)
{
    while (piece.at < piece.end) {
        struct field field;
        if (!take_field(&piece, &field)) {
            return false;
        }
        if (field.type != WIRE_BYTES || field.number != number) {
            continue;
        }
        if (number == 1 ? !walk_label(field.bytes, series)
                        : !walk_sample(field.bytes, series, walker)) {
            return false;
        }
    }
    return true;
}

bool samples_walk(const uint8_t *data, size_t bytes, const struct samples_walker *walker)
{
    struct piece request = {data, data + bytes};
    while (request.at < request.end) {
        struct field field;
        if (!take_field(&request, &field)) {
            return false;
        }
        if (field.number != 1 || field.type != WIRE_BYTES) {
            continue;
        }
        struct series_view series = {.sender = -1};
        if (!walk_series_fields(field.bytes, 1, &series, walker)) {
            return false;
        }
        walker->on_series(walker->context, &series);
        if (!walk_series_fields(field.bytes, 2, &series, walker)) {
            return false;
        }
    }
    return true;
}
