/* Scanner of decoded write requests. One table of message shapes says which field has which wire
 * type; one loop checks any message against its shape, nesting as deep as the shapes do (4).
 * Shortcuts skip what nearly every byte of a real request is: labels and float samples, encoded
 * the usual way. What they do not recognise goes through the loop. Where a label ends is known only
 * when its length is read, and the processor waits for that: so the labels of two series are
 * skipped side by side, and it waits for both at once. Owns no memory. */
#include "wire/write_request.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#define TAG_BYTES_MAX    5
#define LENGTH_BYTES_MAX 5
#define LENGTH_MAX       INT32_MAX /* protobuf-c's own limit */
#define VARINT_BYTES_MAX 10

/* Where the length of a short label's value can be at the farthest, wherever its name is said to
 * end: behind two tags, two lengths, 255 bytes of name and a tag. */
#define SHORT_LABEL_REACH (4 + UINT8_MAX + 1)

enum wire_type {
    WIRE_VARINT = 0,
    WIRE_64BIT = 1,
    WIRE_LENGTH = 2,
    WIRE_GROUP_START = 3,
    WIRE_GROUP_END = 4,
    WIRE_32BIT = 5
};

#define TAG_LENGTH(number) ((number) << 3 | WIRE_LENGTH)
#define TAG_64BIT(number)  ((number) << 3 | WIRE_64BIT)

enum field_kind {
    FIELD_UNKNOWN, /* of any wire type; skipped */
    FIELD_VARINT,
    FIELD_DOUBLE,
    FIELD_STRING,
    FIELD_MESSAGE,
    FIELD_VARINTS, /* repeated: packed or one by one */
    FIELD_DOUBLES
};

/* What is counted, by message. */
enum counter {
    COUNT_NOT,
    COUNT_SERIES,
    COUNT_SAMPLES,
    COUNT_HISTOGRAMS,
    COUNT_EXEMPLARS,
    COUNT_METADATA,
    COUNTERS
};

struct field {
    enum field_kind kind;
    const struct shape *shape; /* of FIELD_MESSAGE */
    const char *overrun;       /* what to say when it does not fit */
    const char *mistyped;      /* what to say of a wrong wire type */
};

/* A message type: its fields by number; those beyond count are unknown. */
struct shape {
    const struct field *fields;
    size_t count;
    enum counter counter;
};

#define FIELD(kind_, name, parent)                                 \
    {                                                              \
        .kind = (kind_), .overrun = name " runs past its " parent, \
        .mistyped = name " has a wrong wire type"                  \
    }
#define MESSAGE(shape_, name, parent)                                                        \
    {                                                                                        \
        .kind = FIELD_MESSAGE, .shape = &(shape_), .overrun = name " runs past its " parent, \
        .mistyped = name " has a wrong wire type"                                            \
    }
#define SHAPE(fields_, counter_)                                              \
    {                                                                         \
        .fields = (fields_), .count = sizeof(fields_) / sizeof((fields_)[0]), \
        .counter = (counter_)                                                 \
    }

static const struct field unknown_field = FIELD(FIELD_UNKNOWN, "unknown field", "message");

static const struct field label_fields[] = {
    [1] = FIELD(FIELD_STRING, "label name", "label"),
    [2] = FIELD(FIELD_STRING, "label value", "label"),
};
static const struct shape label_shape = SHAPE(label_fields, COUNT_NOT);

static const struct field sample_fields[] = {
    [1] = FIELD(FIELD_DOUBLE, "sample value", "sample"),
    [2] = FIELD(FIELD_VARINT, "sample timestamp", "sample"),
};
static const struct shape sample_shape = SHAPE(sample_fields, COUNT_SAMPLES);

static const struct field exemplar_fields[] = {
    [1] = MESSAGE(label_shape, "exemplar label", "exemplar"),
    [2] = FIELD(FIELD_DOUBLE, "exemplar value", "exemplar"),
    [3] = FIELD(FIELD_VARINT, "exemplar timestamp", "exemplar"),
};
static const struct shape exemplar_shape = SHAPE(exemplar_fields, COUNT_EXEMPLARS);

static const struct field span_fields[] = {
    [1] = FIELD(FIELD_VARINT, "span offset", "span"),
    [2] = FIELD(FIELD_VARINT, "span length", "span"),
};
static const struct shape span_shape = SHAPE(span_fields, COUNT_NOT);

static const struct field histogram_fields[] = {
    [1] = FIELD(FIELD_VARINT, "histogram count", "histogram"),
    [2] = FIELD(FIELD_DOUBLE, "histogram count", "histogram"),
    [3] = FIELD(FIELD_DOUBLE, "histogram sum", "histogram"),
    [4] = FIELD(FIELD_VARINT, "histogram schema", "histogram"),
    [5] = FIELD(FIELD_DOUBLE, "histogram zero threshold", "histogram"),
    [6] = FIELD(FIELD_VARINT, "histogram zero count", "histogram"),
    [7] = FIELD(FIELD_DOUBLE, "histogram zero count", "histogram"),
    [8] = MESSAGE(span_shape, "negative span", "histogram"),
    [9] = FIELD(FIELD_VARINTS, "negative deltas", "histogram"),
    [10] = FIELD(FIELD_DOUBLES, "negative counts", "histogram"),
    [11] = MESSAGE(span_shape, "positive span", "histogram"),
    [12] = FIELD(FIELD_VARINTS, "positive deltas", "histogram"),
    [13] = FIELD(FIELD_DOUBLES, "positive counts", "histogram"),
    [14] = FIELD(FIELD_VARINT, "histogram reset hint", "histogram"),
    [15] = FIELD(FIELD_VARINT, "histogram timestamp", "histogram"),
    [16] = FIELD(FIELD_DOUBLES, "histogram custom values", "histogram"),
};
static const struct shape histogram_shape = SHAPE(histogram_fields, COUNT_HISTOGRAMS);

static const struct field series_fields[] = {
    [1] = MESSAGE(label_shape, "label", "series"),
    [2] = MESSAGE(sample_shape, "sample", "series"),
    [3] = MESSAGE(exemplar_shape, "exemplar", "series"),
    [4] = MESSAGE(histogram_shape, "histogram", "series"),
};
static const struct shape series_shape = SHAPE(series_fields, COUNT_SERIES);

static const struct field metadata_fields[] = {
    [1] = FIELD(FIELD_VARINT, "metadata type", "metadata"),
    [2] = FIELD(FIELD_STRING, "metadata name", "metadata"),
    [4] = FIELD(FIELD_STRING, "metadata help", "metadata"),
    [5] = FIELD(FIELD_STRING, "metadata unit", "metadata"),
};
static const struct shape metadata_shape = SHAPE(metadata_fields, COUNT_METADATA);

static const struct field request_fields[] = {
    [1] = MESSAGE(series_shape, "series", "request"),
    [3] = MESSAGE(metadata_shape, "metadata", "request"),
};
static const struct shape request_shape = SHAPE(request_fields, COUNT_NOT);

/* A scan under way. Owner: write_request_scan(), on its stack. */
struct scan {
    const uint8_t *start;
    struct wire_error *error;
    uint64_t counts[COUNTERS];
    bool joinable;
};

/* A message not yet scanned. 0 <= end - at. */
struct span {
    const uint8_t *at;
    const uint8_t *end;
};

static size_t left(const struct span *span)
{
    return (size_t)(span->end - span->at);
}

__attribute__((cold, noinline)) static int fail(const struct scan *scan, const uint8_t *at,
                                                const char *what)
{
    *scan->error = (struct wire_error){.offset = (size_t)(at - scan->start), .what = what};
    return -EBADMSG;
}

/* Read a tag as protobuf-c does: at most 5 bytes, padding allowed, and number 0 only if padded. */
static int read_tag(const struct scan *scan, struct span *span, uint32_t *number, unsigned *type)
{
    const uint8_t *at = span->at;
    size_t limit = left(span) < TAG_BYTES_MAX ? left(span) : TAG_BYTES_MAX;
    if ((at[0] & 0xf8) == 0) {
        return fail(scan, at, "field number 0");
    }
    uint64_t tag = 0;
    size_t i = 0;
    for (; i < limit; i++) {
        tag |= (uint64_t)(at[i] & 0x7f) << (7 * i);
        if ((at[i] & 0x80) == 0) {
            break;
        }
    }
    if (i == limit) {
        return fail(scan, at,
                    i == TAG_BYTES_MAX ? "field tag takes more than 5 bytes"
                                       : "field tag is cut short");
    }
    *number = (uint32_t)(tag >> 3);
    *type = (unsigned)(tag & 7);
    span->at += i + 1;
    return 0;
}

static int skip_varint(const struct scan *scan, struct span *span)
{
    size_t limit = left(span) < VARINT_BYTES_MAX ? left(span) : VARINT_BYTES_MAX;
    for (size_t i = 0; i < limit; i++) {
        if ((span->at[i] & 0x80) == 0) {
            span->at += i + 1;
            return 0;
        }
    }
    return fail(scan, span->at,
                limit == VARINT_BYTES_MAX ? "varint takes more than 10 bytes"
                                          : "varint is cut short");
}

/* Read a length and take that many bytes off span into inner. tag: where the field starts. */
static int take_length(const struct scan *scan, struct span *span, const uint8_t *tag,
                       const char *overrun, struct span *inner)
{
    size_t limit = left(span) < LENGTH_BYTES_MAX ? left(span) : LENGTH_BYTES_MAX;
    uint64_t length = 0;
    size_t i = 0;
    for (; i < limit; i++) {
        length |= (uint64_t)(span->at[i] & 0x7f) << (7 * i);
        if ((span->at[i] & 0x80) == 0) {
            break;
        }
    }
    if (i == limit) {
        return fail(scan, span->at,
                    i == LENGTH_BYTES_MAX ? "length takes more than 5 bytes"
                                          : "length is cut short");
    }
    span->at += i + 1;
    if (length > left(span) || length > LENGTH_MAX) {
        return fail(scan, tag, overrun);
    }
    inner->at = span->at;
    span->at += length;
    inner->end = span->at;
    return 0;
}

/* The usual label: its own tag and length, then name and value, each with tag and length, nothing
 * else, and the lengths add up. Both functions return the size of such a label at the start of left
 * bytes, else 0; all that they read is inside of it. Short: the length is one byte, so all are. */
static inline size_t usual_short_label(const uint8_t *at, size_t left)
{
    size_t bytes = at[1];
    const uint8_t *name = at + 2;
    if (bytes < 4 || bytes > left - 2 || name[0] != TAG_LENGTH(1) || name[1] > bytes - 4) {
        return 0;
    }
    const uint8_t *value = name + 2 + name[1];
    return value[0] == TAG_LENGTH(2) && value[1] == bytes - 4 - name[1] ? 2 + bytes : 0;
}

/* Long: two bytes of length, one for the name, one or two for the value. */
static inline size_t usual_long_label(const uint8_t *at, size_t left)
{
    size_t bytes = (at[1] & 0x7fu) | (size_t)at[2] << 7;
    const uint8_t *name = at + 3;
    if (at[2] > 0x7f || bytes < 5 || bytes > left - 3 || name[0] != TAG_LENGTH(1) ||
        name[1] > 0x7f || name[1] > bytes - 5) {
        return 0;
    }
    const uint8_t *value = name + 2 + name[1];
    size_t length = value[1];
    size_t head_bytes = 4; /* tags and lengths of name and value */
    if (length > 0x7f) {
        if (value[2] > 0x7f) {
            return 0;
        }
        length = (length & 0x7f) | (size_t)value[2] << 7;
        head_bytes = 5;
    }
    return value[0] == TAG_LENGTH(2) && head_bytes + name[1] + length == bytes ? 3 + bytes : 0;
}

static inline size_t usual_label(const uint8_t *at, size_t left)
{
    if (left < 6 || at[0] != TAG_LENGTH(1)) {
        return 0;
    }
    return at[1] <= 0x7f ? usual_short_label(at, left) : usual_long_label(at, left);
}

/* False where there is none that is usual. */
static inline bool skip_label(struct span *span)
{
    size_t bytes = usual_label(span->at, left(span));
    span->at += bytes;
    return bytes > 0;
}

/* The size of the usual short label that stands there, if no bit of flaws is set. Without a branch,
 * for the sake of many in a row. Shape: at[SHORT_LABEL_REACH] is readable. */
static inline size_t read_short_label(const uint8_t *at, uint64_t *flaws)
{
    /* Little-endian: tag and length of the label, tag and length of its name. */
    const uint32_t tags = TAG_LENGTH(1) | TAG_LENGTH(1) << 16;
    const uint32_t tags_and_high_bit = 0x00ff80ff; /* of the label's length */
    uint64_t bytes = at[1];
    uint64_t name_bytes = at[3];
    uint32_t head;
    uint16_t value; /* its tag, and its length in the higher byte */
    memcpy(&head, at, sizeof(head));
    memcpy(&value, at + 4 + name_bytes, sizeof(value));
    /* 0 where the tag is right and the value is as long as the label, less 4, less the name. */
    uint64_t excess = ((name_bytes - bytes) << 8) + le16toh(value) + ((4 << 8) - TAG_LENGTH(2));
    *flaws |= ((le32toh(head) ^ tags) & tags_and_high_bit) | excess;
    return 2 + bytes;
}

/* Skip usual short labels of two series, as many of one as of the other. Shape: a stands before b,
 * and neither after data_end. */
static inline void skip_short_labels(struct span *a, struct span *b, const uint8_t *data_end)
{
    bool room = data_end - b->at > SHORT_LABEL_REACH;
    const uint8_t *stop = room ? data_end - SHORT_LABEL_REACH : b->at;
    while (b->at < stop) {
        uint64_t flaws = 0;
        const uint8_t *a_next = a->at + read_short_label(a->at, &flaws);
        const uint8_t *b_next = b->at + read_short_label(b->at, &flaws);
        if (flaws != 0 || a_next > a->end || b_next > b->end) {
            return;
        }
        a->at = a_next;
        b->at = b_next;
    }
}

/* Skip all usual labels of two series: where the short ones end, a label of each, which may be long
 * or the one that the other series has not. */
static inline void skip_labels(struct span *a, struct span *b, const uint8_t *data_end)
{
    bool more = true;
    while (more) {
        skip_short_labels(a, b, data_end);
        bool more_of_a = skip_label(a);
        bool more_of_b = skip_label(b);
        more = more_of_a || more_of_b;
    }
}

/* The size of the float sample at the start of left bytes if it is encoded the usual way: a value
 * (absent if it is 0) and a timestamp of 6 bytes, which covers the years 1971 to 2109. Else 0. */
static inline size_t usual_sample(const uint8_t *at, size_t left)
{
    /* The last 8 bytes, as a little-endian number: any byte, the timestamp's tag, five bytes with
     * and one without a continuation bit. */
    const uint64_t mask = UINT64_C(0x808080808080ff00);
    const uint64_t usual = UINT64_C(0x0080808080801000);
    if (left < 9 || at[0] != TAG_LENGTH(2)) {
        return 0;
    }
    size_t bytes = 2 + (size_t)at[1];
    bool with_value = bytes == 18 && left >= 18 && at[2] == TAG_64BIT(1);
    if (!with_value && bytes != 9) {
        return 0;
    }
    uint64_t tail;
    memcpy(&tail, at + bytes - 8, sizeof(tail));
    return (le64toh(tail) & mask) == usual ? bytes : 0;
}

/* Skip the usual labels of a series, then its usual samples; stop at the first thing that is not
 * exactly that. */
static inline void skip_usual(struct scan *scan, struct span *span)
{
    size_t bytes = 0;
    while ((bytes = usual_label(span->at, left(span))) > 0) {
        span->at += bytes;
    }
    while ((bytes = usual_sample(span->at, left(span))) > 0) {
        span->at += bytes;
        scan->counts[COUNT_SAMPLES]++;
    }
}

static int scan_message(struct scan *scan, const struct shape *shape, struct span span);
static int scan_series(struct scan *scan, struct span span);

static int scan_varints(const struct scan *scan, struct span span)
{
    int ret = 0;
    while (ret == 0 && span.at < span.end) {
        ret = skip_varint(scan, &span);
    }
    return ret;
}

/* Scan a field whose value has a length, from after its tag. */
static int scan_length_field(struct scan *scan, const struct field *field, struct span *span,
                             const uint8_t *tag)
{
    struct span inner;
    int ret = take_length(scan, span, tag, field->overrun, &inner);
    if (ret < 0) {
        return ret;
    }
    switch (field->kind) {
    case FIELD_UNKNOWN:
    case FIELD_STRING:
        return 0;
    case FIELD_MESSAGE:
        return field->shape == &series_shape ? scan_series(scan, inner)
                                             : scan_message(scan, field->shape, inner);
    case FIELD_VARINTS:
        return scan_varints(scan, inner);
    case FIELD_DOUBLES:
        return left(&inner) % 8 == 0 ? 0 : fail(scan, tag, "packed doubles of odd size");
    case FIELD_VARINT:
    case FIELD_DOUBLE:
        break;
    }
    return fail(scan, tag, field->mistyped);
}

static int skip_fixed(const struct scan *scan, const struct field *field, struct span *span,
                      const uint8_t *tag, size_t bytes)
{
    if (left(span) < bytes) {
        return fail(scan, tag, field->overrun);
    }
    span->at += bytes;
    return 0;
}

static int scan_field(struct scan *scan, const struct shape *shape, struct span *span)
{
    const uint8_t *tag = span->at;
    uint32_t number = 0;
    unsigned type = 0;
    int ret = read_tag(scan, span, &number, &type);
    if (ret < 0) {
        return ret;
    }
    const struct field *field = number < shape->count ? &shape->fields[number] : &unknown_field;
    enum field_kind kind = field->kind;
    if (kind == FIELD_UNKNOWN) {
        field = &unknown_field; /* a gap in the table has no texts */
        scan->joinable = scan->joinable && shape != &request_shape;
    }
    switch (type) {
    case WIRE_LENGTH:
        return scan_length_field(scan, field, span, tag);
    case WIRE_VARINT:
        return kind == FIELD_VARINT || kind == FIELD_VARINTS || kind == FIELD_UNKNOWN
                   ? skip_varint(scan, span)
                   : fail(scan, tag, field->mistyped);
    case WIRE_64BIT:
        return kind == FIELD_DOUBLE || kind == FIELD_DOUBLES || kind == FIELD_UNKNOWN
                   ? skip_fixed(scan, field, span, tag, 8)
                   : fail(scan, tag, field->mistyped);
    case WIRE_32BIT:
        return kind == FIELD_UNKNOWN ? skip_fixed(scan, field, span, tag, 4)
                                     : fail(scan, tag, field->mistyped);
    case WIRE_GROUP_START:
    case WIRE_GROUP_END:
        return fail(scan, tag, "groups are not allowed");
    default:
        return fail(scan, tag, "wire type that does not exist");
    }
}

/* Recursion is as deep as the shapes nest: request, series, histogram, span. */
static int scan_message(struct scan *scan, const struct shape *shape, struct span span)
{
    scan->counts[shape->counter]++;
    while (span.at < span.end) {
        int ret = scan_field(scan, shape, &span);
        if (ret < 0) {
            return ret;
        }
    }
    return 0;
}

/* The same of a series, or of the rest of one. */
static int scan_series(struct scan *scan, struct span span)
{
    scan->counts[COUNT_SERIES]++;
    for (;;) {
        skip_usual(scan, &span);
        if (span.at == span.end) {
            return 0;
        }
        int ret = scan_field(scan, &series_shape, &span);
        if (ret < 0) {
            return ret;
        }
    }
}

/* Take the series at the start of all into series, if its length has one byte or two. */
static inline bool take_usual_series(struct span *all, struct span *series)
{
    const uint8_t *at = all->at;
    if (left(all) < 4 || at[0] != TAG_LENGTH(1) || (at[1] > 0x7f && at[2] > 0x7f)) {
        return false;
    }
    size_t head_bytes = at[1] > 0x7f ? 3 : 2;
    size_t bytes = at[1] > 0x7f ? (at[1] & 0x7fu) | (size_t)at[2] << 7 : at[1];
    if (bytes > left(all) - head_bytes) {
        return false;
    }
    series->at = at + head_bytes;
    series->end = series->at + bytes;
    all->at = series->end;
    return true;
}

/* Whether one usual sample is all that is left of a series. */
static inline bool ends_in_sample(const struct span *series)
{
    size_t bytes = usual_sample(series->at, left(series));
    return bytes > 0 && bytes == left(series);
}

/* Scan two series after two, up to what is not a pair of usual ones. */
static int scan_pairs(struct scan *scan, struct span *all)
{
    int ret = 0;
    while (ret == 0) {
        struct span rest = *all;
        struct span first;
        struct span second;
        if (!take_usual_series(&rest, &first) || !take_usual_series(&rest, &second)) {
            break;
        }
        skip_labels(&first, &second, all->end);
        if (ends_in_sample(&first) && ends_in_sample(&second)) {
            scan->counts[COUNT_SERIES] += 2;
            scan->counts[COUNT_SAMPLES] += 2;
        } else {
            ret = scan_series(scan, first);
            ret = ret < 0 ? ret : scan_series(scan, second);
        }
        *all = rest;
    }
    return ret;
}

int write_request_scan(const uint8_t *data, size_t bytes, struct write_request_counts *counts,
                       struct wire_error *error)
{
    struct scan scan = {.start = data, .error = error, .joinable = true};
    struct span all = {.at = data, .end = bytes == 0 ? data : data + bytes}; /* may be NULL */
    int ret = scan_pairs(&scan, &all);
    ret = ret < 0 ? ret : scan_message(&scan, &request_shape, all);
    if (ret < 0) {
        return ret;
    }
    *counts = (struct write_request_counts){
        .series = scan.counts[COUNT_SERIES],
        .samples = scan.counts[COUNT_SAMPLES],
        .histograms = scan.counts[COUNT_HISTOGRAMS],
        .exemplars = scan.counts[COUNT_EXEMPLARS],
        .metadata = scan.counts[COUNT_METADATA],
        .joinable = scan.joinable,
    };
    return 0;
}
