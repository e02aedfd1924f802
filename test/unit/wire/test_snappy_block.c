/* Snappy blocks: lengths, decoding against libsnappy over mutated blocks, what is said of bad ones,
 * and the property that joining rests on. */
#include "wire/snappy_block.h"

#include "generate.h"
#include "oracle.h"

#include <errno.h>
#include <setjmp.h>
#include <snappy-c.h>
#include <stdarg.h>

#include <cmocka.h>

#define ARENA_BYTES ((size_t)64 << 20)
#define MUTATIONS   200000
#define JOINS       300

static struct arena arena = {.capacity = ARENA_BYTES};

static struct bytes compress(const uint8_t *data, size_t bytes)
{
    size_t size = snappy_max_compressed_length(bytes);
    struct bytes block = {.data = malloc(size), .capacity = size};
    assert_int_equal(snappy_compress((const char *)data, bytes, (char *)block.data, &size),
                     SNAPPY_OK);
    block.size = size;
    return block;
}

/* Open and decode bytes copied into an allocation of their own size, into one of the size declared,
 * so that a sanitizer sees any step outside. Owner: out is the caller's on success. */
static int decode(const struct bytes *input, struct bytes *out, struct wire_error *error)
{
    uint8_t *exact = malloc(input->size);
    if (input->size > 0) {
        memcpy(exact, input->data, input->size);
    }
    struct snappy_block block;
    int ret = snappy_block_open(exact, input->size, &block, error);
    if (ret == 0) {
        uint8_t *data = malloc(block.decoded_bytes);
        ret = snappy_block_decode(&block, data, error);
        *out = (struct bytes){.data = data, .size = block.decoded_bytes};
        if (ret < 0) {
            bytes_free(out);
        }
    }
    free(exact);
    return ret;
}

/* Decode, and hold the answer and the bytes against libsnappy's. */
static int decode_both(const struct bytes *input, struct wire_error *error)
{
    size_t size = 0;
    bool accepted =
        snappy_uncompressed_length((const char *)input->data, input->size, &size) == SNAPPY_OK &&
        size <= input->size * SNAPPY_BLOCK_RATIO_MAX;
    uint8_t *expected = malloc(size + 1);
    accepted = accepted && snappy_uncompress((const char *)input->data, input->size,
                                             (char *)expected, &size) == SNAPPY_OK;
    struct bytes out = {0};
    int ret = decode(input, &out, error);
    assert_int_equal(ret, accepted ? 0 : -EBADMSG);
    if (accepted) {
        assert_int_equal(out.size, size);
        assert_true(size == 0 || memcmp(out.data, expected, size) == 0);
    } else {
        assert_non_null(error->what);
        assert_true(error->offset <= input->size);
    }
    bytes_free(&out);
    free(expected);
    return ret;
}

static void test_open_reads_the_length(void **state)
{
    (void)state;
    const uint8_t data[] = {0x96, 0x01, 0xaa, 0xbb, 0, 0, 0, 0, 0};
    struct snappy_block block;
    struct wire_error error;
    assert_int_equal(snappy_block_open(data, sizeof(data), &block, &error), 0);
    assert_int_equal(block.decoded_bytes, 150);
    assert_int_equal(block.prefix_bytes, 2);
    assert_ptr_equal(block.elements, data + 2);
    assert_int_equal(block.elements_bytes, sizeof(data) - 2);
}

static void test_open_bounds_the_declared_length(void **state)
{
    (void)state;
    uint8_t data[10] = {220, 1}; /* 22 times 10 */
    struct snappy_block block;
    struct wire_error error;
    assert_int_equal(snappy_block_open(data, sizeof(data), &block, &error), 0);
    data[0] = 221;
    assert_int_equal(snappy_block_open(data, sizeof(data), &block, &error), -EBADMSG);
    assert_string_equal(error.what, "declared length is more than the input can hold");
}

static void test_prefix_is_what_open_reads(void **state)
{
    (void)state;
    static const size_t lengths[] = {
        0, 1, 127, 128, 16383, 16384, 70000, 1u << 21, (1u << 21) - 1, 1u << 28, UINT32_MAX};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        uint8_t prefix[SNAPPY_BLOCK_PREFIX_MAX];
        size_t bytes = snappy_block_prefix(prefix, lengths[i]);
        size_t length = 0;
        assert_int_equal(snappy_uncompressed_length((const char *)prefix, bytes, &length),
                         SNAPPY_OK);
        assert_int_equal(length, lengths[i]);
    }
}

struct bad_case {
    const char *bytes;
    size_t size;
    size_t offset;
    const char *what;
};

#define BAD(bytes_, offset_, what_)                                                         \
    {                                                                                       \
        .bytes = (bytes_), .size = sizeof(bytes_) - 1, .offset = (offset_), .what = (what_) \
    }

/* offset: of the first byte that is wrong, in a block that is freed. */
static void check_refused(struct bytes *block, size_t offset, const char *what)
{
    struct wire_error error = {0};
    assert_int_equal(decode_both(block, &error), -EBADMSG);
    assert_string_equal(error.what, what);
    assert_int_equal(error.offset, offset);
    bytes_free(block);
}

static void test_says_what_and_where(void **state)
{
    (void)state;
    static const struct bad_case cases[] = {
        BAD("", 0, "no bytes at all"),
        BAD("\x80", 1, "declared length is cut short"),
        BAD("\x80\x80\x80\x80\x80\x00", 0, "declared length takes more than 5 bytes"),
        BAD("\xff\xff\xff\xff\x1f", 0, "declared length does not fit in 32 bits"),
        BAD("\xff\xff\xff\xff\x0f", 0, "declared length is more than the input can hold"),
        BAD("\x04", 1, "output is shorter than declared"),
        BAD("\x04\x08xyz", 5, "output is shorter than declared"),
        BAD("\x02\x08xyz", 1, "output is longer than declared"),
        BAD("\x04\x0cxyz", 1, "literal runs past the end of the input"),
        BAD("\x04\xf0", 1, "length of a literal is cut short"),
        BAD("\x04\xf4\x03", 1, "length of a literal is cut short"),
        BAD("\x04\xfc\x03\x00\x00", 1, "length of a literal is cut short"),
        BAD("\x05\x00x\x01\x02", 3, "copy reaches before the start"),
        BAD("\x05\x00x\x01\x00", 3, "copy of distance 0"),
        BAD("\x05\x01\x01", 1, "copy reaches before the start"),
        BAD("\x05\x00x\x01", 3, "copy is cut short"),
        BAD("\x05\x00x\x0e\x01", 3, "copy is cut short"),
        BAD("\x05\x00x\x0f\x01\x00\x00", 3, "copy is cut short"),
        BAD("\x05\x00x\x0e\x02\x00", 3, "copy reaches before the start"),
        BAD("\x05\x00x\x0f\x01\x00\x00\x01", 3, "copy reaches before the start"),
        BAD("\x04\x00x\x01\x01", 3, "output is longer than declared"),
        BAD("\x01\x00x\x00y", 3, "output is longer than declared"),
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bytes bytes = {0};
        put(&bytes, cases[i].bytes, cases[i].size);
        check_refused(&bytes, cases[i].offset, cases[i].what);
    }
}

static void test_accepts_every_kind_of_element(void **state)
{
    (void)state;

    static const struct {
        const char *bytes;
        size_t size;
        const char *text;
    } cases[] = {

#define GOOD(bytes_, text_) {(bytes_), sizeof(bytes_) - 1, (text_)}
        GOOD("\x00", ""),
        GOOD("\x80\x00", ""), /* a padded length */
        GOOD("\x03\x08xyz", "xyz"),
        GOOD("\x03\xf0\x02xyz", "xyz"),             /* one byte of length */
        GOOD("\x03\xfc\x02\x00\x00\x00xyz", "xyz"), /* four */
        GOOD("\x05\x00x\x01\x01", "xxxxx"),         /* a copy over its own output */
        GOOD("\x06\x04xy\x0e\x02\x00", "xyxyxy"),
        GOOD("\x06\x04xy\x0f\x02\x00\x00\x00", "xyxyxy"),
#undef GOOD
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bytes bytes = {0};
        struct bytes out = {0};
        struct wire_error error = {0};
        put(&bytes, cases[i].bytes, cases[i].size);
        assert_int_equal(decode_both(&bytes, &error), 0);
        assert_int_equal(decode(&bytes, &out, &error), 0);
        assert_int_equal(out.size, strlen(cases[i].text));
        assert_true(out.size == 0 || memcmp(out.data, cases[i].text, out.size) == 0);
        bytes_free(&out);
        bytes_free(&bytes);
    }
}

static void put_literal(struct bytes *elements, struct rng *rng, size_t bytes)
{
    size_t length = bytes - 1;
    if (length < 60) {
        put_byte(elements, (unsigned)length << 2);
    } else {
        unsigned extra = length < 1u << 8 ? 1 : length < 1u << 16 ? 2 : 3;
        put_byte(elements, (59 + extra) << 2);
        put(elements, &length, extra); /* little-endian, as the tests' machines are */
    }
    for (size_t i = 0; i < bytes; i++) {
        put_byte(elements, (unsigned)rng_below(rng, 256));
    }
}

static void put_copy(struct bytes *elements, unsigned kind, size_t distance, size_t bytes)
{
    if (kind == 1) {
        put_byte(elements, (unsigned)((distance >> 8) << 5 | (bytes - 4) << 2 | 1));
        put_byte(elements, distance & 0xff);
        return;
    }
    put_byte(elements, (unsigned)((bytes - 1) << 2) | kind);
    put(elements, &distance, kind == 2 ? 2 : 4);
}

static void check_elements(struct bytes *elements, size_t decoded_bytes)
{
    uint8_t prefix[SNAPPY_BLOCK_PREFIX_MAX];
    struct bytes block = {0};
    struct wire_error error;
    put(&block, prefix, snappy_block_prefix(prefix, decoded_bytes));
    put(&block, elements->data, elements->size);
    assert_int_equal(decode_both(&block, &error), 0);
    bytes_free(&block);
    bytes_free(elements);
}

/* Every distance and length of a copy around the sizes that matter, near the ends and far away. */
static void test_copies(void **state)
{
    (void)state;
    struct rng rng = {.state = 10};
    for (size_t distance = 1; distance <= 80; distance++) {
        for (size_t bytes = 1; bytes <= 64; bytes++) {
            for (unsigned kind = 1; kind <= 3; kind++) {
                if (kind == 1 && (bytes < 4 || bytes > 11)) {
                    continue;
                }
                size_t tail = rng_below(&rng, 200);
                struct bytes elements = {0};
                put_literal(&elements, &rng, distance);
                put_copy(&elements, kind, distance, bytes);
                if (tail > 0) {
                    put_literal(&elements, &rng, tail);
                }
                check_elements(&elements, distance + bytes + tail);
            }
        }
    }
}

/* A literal and copies behind it, with every distance to either end: of the input where the copies
 * are of 64 bytes, of the output where they are of 1. */
static void check_end(size_t literal_bytes, unsigned kind_before, size_t copies, size_t copy_bytes,
                      size_t last_bytes)
{
    struct rng rng = {.state = 12};
    struct bytes elements = {0};
    put_literal(&elements, &rng, 16);
    put_copy(&elements, kind_before, 16, 16);
    put_literal(&elements, &rng, literal_bytes);
    for (size_t i = 0; i < copies; i++) {
        put_copy(&elements, 2, 16, copy_bytes);
    }
    if (last_bytes > 0) {
        put_literal(&elements, &rng, last_bytes);
    }
    check_elements(&elements, 32 + literal_bytes + copies * copy_bytes + last_bytes);
}

static void test_ends(void **state)
{
    (void)state;
    static const size_t literals[] = {1, 31, 32, 33, 34, 59, 60};
    for (size_t i = 0; i < sizeof(literals) / sizeof(literals[0]); i++) {
        for (size_t copies = 0; copies <= 130; copies++) {
            for (size_t last = 0; last <= 2; last++) {
                /* Behind kind 2 the literal is in the loop, behind 3 the loop begins with it. */
                for (unsigned kind = 2; kind <= 3; kind++) {
                    check_end(literals[i], kind, copies, 1, last);
                    check_end(literals[i], kind, copies, 64, last);
                }
            }
        }
    }
}

/* Far from both ends, behind usual elements and before others. */
static void test_says_where_in_the_middle(void **state)
{
    (void)state;
    static const struct bad_case cases[] = {
        BAD("\x01\x00", 0, "copy of distance 0"),
        BAD("\x0e\x00\x00", 0, "copy of distance 0"),
        BAD("\x0f\x00\x00\x00\x00", 0, "copy of distance 0"),
        BAD("\xe1\xff", 0, "copy reaches before the start"),
        BAD("\x0e\xff\xff", 0, "copy reaches before the start"),
        BAD("\x0f\xff\xff\xff\xff", 0, "copy reaches before the start"),
        BAD("\x08xyz\xe1\xff", 4, "copy reaches before the start"),
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct rng rng = {.state = 13};
        struct bytes block = {0};
        uint8_t prefix[SNAPPY_BLOCK_PREFIX_MAX];
        put(&block, prefix, snappy_block_prefix(prefix, 2400));
        put_literal(&block, &rng, 16);
        for (size_t n = 0; n < 100; n++) {
            put_copy(&block, 1 + n % 2, 16, 4);
        }
        size_t start = block.size;
        put(&block, cases[i].bytes, cases[i].size);
        for (size_t n = 0; n < 100; n++) {
            put_copy(&block, 2, 16, 16);
        }
        check_refused(&block, start + cases[i].offset, cases[i].what);
    }
}

static void test_long_literals_and_far_copies(void **state)
{
    (void)state;
    static const size_t lengths[] = {1,   16,  17,  32,  59,   60,   61,    62,    64,    65,
                                     255, 256, 257, 258, 2047, 2048, 65535, 65536, 65537, 70000};
    struct rng rng = {.state = 11};
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        struct bytes elements = {0};
        size_t total = lengths[i];
        put_literal(&elements, &rng, lengths[i]);
        for (unsigned kind = 1; kind <= 3; kind++) {
            size_t reach = kind == 1 ? 2047 : kind == 2 ? 65535 : 70000;
            size_t distance = total < reach ? total : reach;
            put_copy(&elements, kind, distance, 11);
            total += 11;
        }
        put_literal(&elements, &rng, lengths[i]);
        check_elements(&elements, total + lengths[i]);
    }
}

/* libsnappy adds 1 to the length in 32 bits and takes an empty literal. */
static void test_refuses_a_literal_length_that_wraps(void **state)
{
    (void)state;
    struct bytes bytes = {0};
    struct bytes out = {0};
    struct wire_error error = {0};
    put(&bytes, "\x02\x04xy\xfc\xff\xff\xff\xff", 9);
    assert_int_equal(decode(&bytes, &out, &error), -EBADMSG);
    assert_int_equal(error.offset, 4);
    assert_string_equal(error.what, "literal runs past the end of the input");
    bytes_free(&bytes);
}

static void test_round_trips(void **state)
{
    (void)state;
    struct rng rng = {.state = 5};
    const struct shape_wish wish = {.series_max = 300, .unknown_fields = true};
    for (unsigned i = 0; i < 200; i++) {
        struct write_request_counts made = {0};
        struct bytes request = {0};
        put_random_request(&request, &rng, &wish, &made);
        struct bytes block = compress(request.data, request.size);
        struct bytes out = {0};
        struct wire_error error;
        assert_int_equal(decode(&block, &out, &error), 0);
        assert_int_equal(out.size, request.size);
        assert_true(out.size == 0 || memcmp(out.data, request.data, out.size) == 0);
        bytes_free(&out);
        bytes_free(&block);
        bytes_free(&request);
    }
}

static void test_mutated_blocks(void **state)
{
    (void)state;
    struct rng rng = {.state = 6};
    const struct shape_wish wish = {.series_max = 4, .unknown_fields = false};
    struct bytes origin = {0};
    struct bytes block = {0};
    unsigned accepted = 0;
    for (unsigned i = 0; i < MUTATIONS; i++) {
        if (i % 100 == 0) {
            struct write_request_counts made = {0};
            struct bytes request = {0};
            put_random_request(&request, &rng, &wish, &made);
            bytes_free(&origin);
            origin = compress(request.data, request.size);
            bytes_free(&request);
        }
        block.size = 0;
        put(&block, origin.data, origin.size);
        mutate(&block, &rng);
        struct wire_error error = {0};
        accepted += decode_both(&block, &error) == 0;
    }
    /* Both answers come often enough to mean something. */
    assert_in_range(accepted, MUTATIONS / 10, MUTATIONS / 10 * 9);
    bytes_free(&origin);
    bytes_free(&block);
}

/* A request of random top-level fields, with where each one ends. */
struct fields {
    struct bytes bytes;
    size_t ends[200];
    size_t count;
};

static struct fields random_fields(struct rng *rng, struct write_request_counts *made)
{
    const struct shape_wish wish = {.series_max = 1, .unknown_fields = true};
    struct fields fields = {.count = rng_below(rng, 200)};
    for (size_t i = 0; i < fields.count; i++) {
        put_random_request(&fields.bytes, rng, &wish, made);
        fields.ends[i] = fields.bytes.size;
    }
    return fields;
}

/* Split at random, compress each part alone, and join the elements under one prefix. */
static struct bytes split_and_join(const struct fields *fields, struct rng *rng)
{
    struct bytes elements = {0};
    size_t start = 0;
    for (size_t i = 0; i < fields->count; i++) {
        if (i + 1 < fields->count && !rng_one_in(rng, 6)) {
            continue;
        }
        size_t bytes = fields->ends[i] - start;
        struct bytes part = compress(fields->bytes.data + start, bytes);
        struct snappy_block block;
        struct wire_error error;
        assert_int_equal(snappy_block_open(part.data, part.size, &block, &error), 0);
        assert_int_equal(block.decoded_bytes, bytes);
        put(&elements, block.elements, block.elements_bytes);
        bytes_free(&part);
        start = fields->ends[i];
    }
    uint8_t prefix[SNAPPY_BLOCK_PREFIX_MAX];
    struct bytes joined = {0};
    put(&joined, prefix, snappy_block_prefix(prefix, fields->bytes.size));
    put(&joined, elements.data, elements.size);
    bytes_free(&elements);
    return joined;
}

static void test_joined_blocks_are_the_concatenation(void **state)
{
    (void)state;
    struct rng rng = {.state = 7};
    for (unsigned i = 0; i < JOINS; i++) {
        struct write_request_counts made = {.joinable = true};
        struct fields fields = random_fields(&rng, &made);
        struct bytes joined = split_and_join(&fields, &rng);
        struct wire_error error;
        assert_int_equal(decode_both(&joined, &error), 0);

        struct bytes out = {0};
        assert_int_equal(decode(&joined, &out, &error), 0);
        assert_int_equal(out.size, fields.bytes.size);
        assert_true(out.size == 0 || memcmp(out.data, fields.bytes.data, out.size) == 0);
        struct write_request_counts counts = {0};
        assert_true(oracle_scan(&arena, out.data, out.size, &counts));
        assert_true(counts_equal(&counts, &made));
        bytes_free(&out);
        bytes_free(&joined);
        bytes_free(&fields.bytes);
    }
}

/* Each request of a few, and its series as protobuf-c sees them in the joined body. */
static void test_joined_series_are_those_of_the_parts(void **state)
{
    (void)state;
    struct rng rng = {.state = 8};
    const struct shape_wish wish = {.series_max = 20, .unknown_fields = true};
    for (unsigned round = 0; round < 100; round++) {
        struct bytes all = {0};
        size_t ends[9] = {0};
        size_t parts = 1 + rng_below(&rng, 8);
        for (size_t i = 0; i < parts; i++) {
            struct write_request_counts made = {0};
            put_random_request(&all, &rng, &wish, &made);
            ends[i + 1] = all.size;
        }
        arena.used = 0;
        Prometheus__WriteRequest *whole = oracle_unpack(&arena, all.data, all.size);
        size_t series = 0;
        for (size_t i = 0; i < parts; i++) {
            Prometheus__WriteRequest *part =
                oracle_unpack(&arena, all.data + ends[i], ends[i + 1] - ends[i]);
            for (size_t k = 0; k < part->n_timeseries; k++, series++) {
                struct bytes a = {0};
                struct bytes b = {0};
                a.size = prometheus__time_series__get_packed_size(part->timeseries[k]);
                b.size = prometheus__time_series__get_packed_size(whole->timeseries[series]);
                assert_int_equal(a.size, b.size);
                a.data = malloc(a.size);
                b.data = malloc(b.size);
                prometheus__time_series__pack(part->timeseries[k], a.data);
                prometheus__time_series__pack(whole->timeseries[series], b.data);
                assert_true(a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
                bytes_free(&a);
                bytes_free(&b);
            }
        }
        assert_int_equal(series, whole->n_timeseries);
        bytes_free(&all);
    }
}

/* A NaN whose payload means something must not pass through a conversion anywhere. */
static void test_stale_markers_stay_bit_exact(void **state)
{
    (void)state;
    struct fields fields = {.count = 100};
    for (size_t i = 0; i < fields.count; i++) {
        struct bytes series = {0};
        put_label(&series, 1, "__name__", "up");
        put_sample(&series, STALE_MARKER, 1700000000000 + (int64_t)i);
        put_message(&fields.bytes, 1, &series);
        fields.ends[i] = fields.bytes.size;
    }
    struct rng rng = {.state = 9};
    struct bytes joined = split_and_join(&fields, &rng);
    struct bytes out = {0};
    struct wire_error error;
    assert_int_equal(decode(&joined, &out, &error), 0);
    arena.used = 0;
    Prometheus__WriteRequest *request = oracle_unpack(&arena, out.data, out.size);
    assert_non_null(request);
    assert_int_equal(request->n_timeseries, 100);
    for (size_t i = 0; i < 100; i++) {
        uint64_t bits;
        memcpy(&bits, &request->timeseries[i]->samples[0]->value, sizeof(bits));
        assert_int_equal(bits, STALE_MARKER);
        assert_int_equal(request->timeseries[i]->samples[0]->timestamp, 1700000000000 + i);
    }
    bytes_free(&out);
    bytes_free(&joined);
    bytes_free(&fields.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open_reads_the_length),
        cmocka_unit_test(test_open_bounds_the_declared_length),
        cmocka_unit_test(test_prefix_is_what_open_reads),
        cmocka_unit_test(test_says_what_and_where),
        cmocka_unit_test(test_accepts_every_kind_of_element),
        cmocka_unit_test(test_copies),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_says_where_in_the_middle),
        cmocka_unit_test(test_long_literals_and_far_copies),
        cmocka_unit_test(test_refuses_a_literal_length_that_wraps),
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_mutated_blocks),
        cmocka_unit_test(test_joined_blocks_are_the_concatenation),
        cmocka_unit_test(test_joined_series_are_those_of_the_parts),
        cmocka_unit_test(test_stale_markers_stay_bit_exact),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(arena.data);
    return failed;
}
