/* The scanner: every rule of the encoding by hand, then against protobuf-c over random requests and
 * mutations of them. */
#include "wire/write_request.h"

#include "generate.h"
#include "oracle.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define ARENA_BYTES ((size_t)64 << 20)
#define MUTATIONS   300000

static struct arena arena = {.capacity = ARENA_BYTES};

/* Scan, and hold the answer against protobuf-c's. The bytes are copied into an allocation of their
 * own size, so that a sanitizer sees any reading past them. */
static int scan(const struct bytes *bytes, struct write_request_counts *counts,
                struct wire_error *error)
{
    struct write_request_counts expected = {0};
    bool accepted = oracle_scan(&arena, bytes->data, bytes->size, &expected);
    uint8_t *exact = malloc(bytes->size);
    if (bytes->size > 0) {
        memcpy(exact, bytes->data, bytes->size);
    }
    int ret = write_request_scan(exact, bytes->size, counts, error);
    free(exact);
    assert_int_equal(ret, accepted ? 0 : -EBADMSG);
    assert_true(!accepted || counts_equal(counts, &expected));
    if (!accepted) {
        assert_non_null(error->what);
        assert_true(error->offset <= bytes->size);
    }
    return ret;
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

static void assert_refused(const struct bytes *request, const struct bad_case *bad)
{
    struct write_request_counts counts = {0};
    struct wire_error error = {0};
    assert_int_equal(scan(request, &counts, &error), -EBADMSG);
    assert_string_equal(error.what, bad->what);
    assert_int_equal(error.offset, bad->offset);
}

static void test_says_what_and_where(void **state)
{
    (void)state;
    static const struct bad_case cases[] = {
        BAD("\x00", 0, "field number 0"),
        BAD("\x07", 0, "field number 0"),
        BAD("\x8a", 0, "field tag is cut short"),
        BAD("\x8a\x80\x80\x80\x80\x00", 0, "field tag takes more than 5 bytes"),
        BAD("\x0a", 1, "length is cut short"),
        BAD("\x0a\x80\x80\x80\x80\x80\x00", 1, "length takes more than 5 bytes"),
        BAD("\x0a\x01", 0, "series runs past its request"),
        BAD("\x0a\xff\xff\xff\xff\x7f", 0, "series runs past its request"),
        BAD("\x08\x00", 0, "series has a wrong wire type"),
        BAD("\x09\0\0\0\0\0\0\0\0", 0, "series has a wrong wire type"),
        BAD("\x0d\0\0\0\0", 0, "series has a wrong wire type"),
        BAD("\x0b\x0c", 0, "groups are not allowed"),
        BAD("\x0c", 0, "groups are not allowed"),
        BAD("\x13\x14", 0, "groups are not allowed"),
        BAD("\x16", 0, "wire type that does not exist"),
        BAD("\x0f", 0, "wire type that does not exist"),
        BAD("\x10", 1, "varint is cut short"),
        BAD("\x10\x80\x80", 1, "varint is cut short"),
        BAD("\x10\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00", 1,
            "varint takes more than 10 bytes"),
        BAD("\x11\0\0\0\0\0\0\0", 0, "unknown field runs past its message"),
        BAD("\x15\0\0\0", 0, "unknown field runs past its message"),
        BAD("\x12\x02\x00", 0, "unknown field runs past its message"),
        BAD("\x18\x00", 0, "metadata has a wrong wire type"),
        BAD("\x1a\x02\x08\x80", 3, "varint is cut short"),
        BAD("\x1a\x02\x12\x01", 2, "metadata name runs past its metadata"),
        BAD("\x0a\x02\x0a\x01", 2, "label runs past its series"),
        BAD("\x0a\x04\x0a\x02\x0a\x01", 4, "label name runs past its label"),
        BAD("\x0a\x04\x0a\x02\x12\x01", 4, "label value runs past its label"),
        BAD("\x0a\x04\x0a\x02\x08\x01", 4, "label name has a wrong wire type"),
        BAD("\x0a\x04\x12\x02\x09\x00", 4, "sample value runs past its sample"),
        BAD("\x0a\x04\x12\x02\x08\x00", 4, "sample value has a wrong wire type"),
        BAD("\x0a\x04\x12\x02\x12\x00", 4, "sample timestamp has a wrong wire type"),
        BAD("\x0a\x04\x1a\x02\x0a\x05", 4, "exemplar label runs past its exemplar"),
        BAD("\x0a\x04\x22\x02\x42\x09", 4, "negative span runs past its histogram"),
        BAD("\x0a\x05\x22\x03\x4a\x01\x80", 6, "varint is cut short"),
        BAD("\x0a\x05\x22\x03\x52\x01\x80", 4, "packed doubles of odd size"),
        BAD("\x0a\x04\x22\x02\x48\x80", 5, "varint is cut short"),
        BAD("\x0a\x04\x22\x02\x50\x00", 4, "negative counts has a wrong wire type"),
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bytes bytes = {0};
        put(&bytes, cases[i].bytes, cases[i].size);
        assert_refused(&bytes, &cases[i]);
        bytes_free(&bytes);
    }
}

/* Encodings that no known sender makes, but the format allows. */
static void test_accepts_the_unusual(void **state)
{
    (void)state;

    static const struct {
        const char *bytes;
        size_t size;
        bool joinable;
    } cases[] = {

#define GOOD(bytes_, joinable_) {(bytes_), sizeof(bytes_) - 1, (joinable_)}
        GOOD("", true),
        GOOD("\x0a\x00", true),                                      /* an empty series */
        GOOD("\x8a\x80\x80\x80\x00\x00", true),                      /* a padded tag */
        GOOD("\x0a\x80\x80\x80\x80\x00", true),                      /* a padded length */
        GOOD("\x82\x00\x00", false),                                 /* number 0, padded */
        GOOD("\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f", false), /* more than 64 bits */
        GOOD("\x12\x00", false),
        GOOD("\x15\0\0\0\0", false),
        GOOD("\x11\0\0\0\0\0\0\0\0", false),
        GOOD("\xfa\xff\xff\xff\x7f\x00", false),          /* the largest number */
        GOOD("\x0a\x06\x0a\x04\x12\x00\x0a\x00", true),   /* value before name */
        GOOD("\x0a\x08\x0a\x06\x0a\x01x\x0a\x01y", true), /* name twice */
        GOOD("\x0a\x04\x0a\x02\x18\x01", true),           /* an unknown field in a label */
        GOOD("\x0a\x0f\x22\x0d\x08\x01\x11\0\0\0\0\0\0\0\0\x08\x02", true), /* both counts */
        GOOD("\x0a\x06\x22\x04\x4a\x00\x48\x01", true),                     /* packed and not */
        GOOD("\x0a\x04\x22\x02\x70\x63", true),                             /* a reset hint of 99 */
#undef GOOD
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bytes bytes = {0};
        put(&bytes, cases[i].bytes, cases[i].size);
        struct write_request_counts counts = {0};
        struct wire_error error = {0};
        assert_int_equal(scan(&bytes, &counts, &error), 0);
        assert_int_equal(counts.joinable, cases[i].joinable);
        bytes_free(&bytes);
    }
}

static void test_leaves_counts_alone_on_error(void **state)
{
    (void)state;
    struct write_request_counts counts = {.series = 77, .joinable = true};
    struct wire_error error = {0};
    const uint8_t bytes[] = {0x0a, 0x00, 0x0a};
    assert_int_equal(write_request_scan(bytes, sizeof(bytes), &counts, &error), -EBADMSG);
    assert_int_equal(counts.series, 77);
    assert_true(counts.joinable);
}

static void test_counts_both_kinds_of_histograms(void **state)
{
    (void)state;
    struct rng rng = {.state = 3};
    struct bytes series = {0};
    put_label(&series, 1, "__name__", "latency_seconds");
    put_histogram(&series, &rng, false);
    put_histogram(&series, &rng, true);
    struct bytes request = {0};
    put_message(&request, 1, &series);
    struct write_request_counts counts = {0};
    struct wire_error error;
    assert_int_equal(scan(&request, &counts, &error), 0);
    assert_int_equal(counts.histograms, 2);

    arena.used = 0;
    Prometheus__WriteRequest *unpacked = oracle_unpack(&arena, request.data, request.size);
    assert_int_equal(unpacked->timeseries[0]->histograms[0]->count_case,
                     PROMETHEUS__HISTOGRAM__COUNT_COUNT_INT);
    assert_int_equal(unpacked->timeseries[0]->histograms[1]->count_case,
                     PROMETHEUS__HISTOGRAM__COUNT_COUNT_FLOAT);
    bytes_free(&request);
}

/* Both shortcuts, at every length that they could take for theirs. */
static void test_label_and_sample_lengths(void **state)
{
    (void)state;
    char text[300];
    memset(text, 'v', sizeof(text));
    for (size_t name = 0; name < 140; name += 7) {
        for (size_t value = 0; value < 299; value++) {
            struct bytes label = {0};
            put_bytes_field(&label, 1, text, name);
            put_bytes_field(&label, 2, text, value);
            struct bytes series = {0};
            put_message(&series, 1, &label);
            put_sample(&series, value, INT64_C(1) << value % 63);
            struct bytes request = {0};
            put_message(&request, 1, &series);
            struct write_request_counts counts = {0};
            struct wire_error error;
            assert_int_equal(scan(&request, &counts, &error), 0);
            bytes_free(&request);
        }
    }
}

/* Every value of the first bytes of a request, one byte at a time. */
static void scan_every_byte(struct bytes *request, size_t bytes)
{
    for (size_t at = 0; at < bytes; at++) {
        uint8_t was = request->data[at];
        for (unsigned value = 0; value < 256; value++) {
            struct write_request_counts counts = {0};
            struct wire_error error;
            request->data[at] = (uint8_t)value;
            (void)!scan(request, &counts, &error);
        }
        request->data[at] = was;
    }
}

static void test_every_byte_of_a_usual_series(void **state)
{
    (void)state;
    struct bytes series = {0};
    put_label(&series, 1, "job", "api");
    put_sample(&series, STALE_MARKER, 1700000000000);
    put_sample(&series, 0, 1700000000000);
    struct bytes request = {0};
    put_message(&request, 1, &series);
    scan_every_byte(&request, request.size);
    while (request.size > 0) {
        request.size--;
        struct write_request_counts counts = {0};
        struct wire_error error;
        (void)!scan(&request, &counts, &error);
    }
    bytes_free(&request);
}

/* More series: two are scanned side by side only as long as much follows. */
static void put_tail(struct bytes *request)
{
    char text[100];
    memset(text, 't', sizeof(text));
    for (unsigned i = 0; i < 4; i++) {
        struct bytes label = {0};
        put_bytes_field(&label, 1, "tail", 4);
        put_bytes_field(&label, 2, text, sizeof(text));
        struct bytes series = {0};
        put_message(&series, 1, &label);
        put_message(request, 1, &series);
    }
}

static void test_every_byte_of_two_series(void **state)
{
    (void)state;
    struct bytes request = {0};
    for (unsigned i = 0; i < 2; i++) {
        struct bytes series = {0};
        put_label(&series, 1, "job", "api");
        put_label(&series, 1, "pod", "\n\b\n\6\n\1x"); /* which could be taken for one */
        put_sample(&series, STALE_MARKER, 1700000000000);
        put_message(&request, 1, &series);
    }
    size_t size = request.size;
    scan_every_byte(&request, size);
    put_tail(&request);
    scan_every_byte(&request, size);
    bytes_free(&request);
}

/* Labels that would be usual but for where their series ends, or for a byte more. */
static void test_unusual_labels_of_two_series(void **state)
{
    (void)state;
    static const struct bad_case cases[] = {
        BAD("\x0a\x07\x0a\x06\x0a\x01x\x12\x01" /* its value is the next one's tag */
            "\x0a\x08\x0a\x06\x0a\x01x\x12\x01y",
            2, "label runs past its series"),
        BAD("\x0a\x08\x0a\x06\x0a\x01x\x12\x01y"
            "\x0a\x07\x0a\x06\x0a\x01x\x12\x01",
            12, "label runs past its series"),
        BAD("\x0a\x09\x0a\x07\x0a\x01x\x12\x01y\x0a"
            "\x0a\x09\x0a\x07\x0a\x01x\x12\x01y\x0a",
            11, "length is cut short"),
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct bytes request = {0};
        put(&request, cases[i].bytes, cases[i].size);
        put_tail(&request);
        assert_refused(&request, &cases[i]);
        bytes_free(&request);
    }
}

/* A label whose name is said to be far longer than the label, ever closer to the end. */
static void test_name_that_ends_past_the_request(void **state)
{
    (void)state;
    const uint8_t label[] = {0x0a, 0x7f, 0x0a, 0xff};
    for (size_t rest = 0; rest < 300; rest++) {
        struct bytes request = {0};
        struct bytes series = {0};
        put_label(&series, 1, "job", "api");
        put_label(&series, 1, "pod", "api-1");
        put_message(&request, 1, &series);
        put_label(&series, 1, "job", "api");
        put(&series, label, sizeof(label));
        for (size_t i = 0; i < rest; i++) {
            put_byte(&series, 'x');
        }
        put_message(&request, 1, &series);
        struct write_request_counts counts = {0};
        struct wire_error error;
        assert_int_equal(scan(&request, &counts, &error), -EBADMSG);
        bytes_free(&request);
    }
}

/* A long label whose two bytes of length could be the length of a short one and the tag of its
 * name: 1,296 is 0x90 0x0a. The rest fits that as well: a name of 10 bytes, a value of 130. */
static void test_long_label_that_could_be_short(void **state)
{
    (void)state;
    char text[1286];
    memset(text, 'v', sizeof(text));
    text[1] = 0x12;
    text[2] = (char)130;
    struct bytes request = {0};
    for (unsigned i = 0; i < 2; i++) {
        struct bytes label = {0};
        put_bytes_field(&label, 1, "label", 5);
        put_bytes_field(&label, 2, text, sizeof(text));
        assert_int_equal(label.size, 1296);
        struct bytes series = {0};
        put_message(&series, 1, &label);
        put_sample(&series, 0, 1700000000000);
        put_message(&request, 1, &series);
    }
    put_tail(&request);
    struct write_request_counts counts = {0};
    struct wire_error error;
    assert_int_equal(scan(&request, &counts, &error), 0);
    assert_int_equal(counts.samples, 2);
    bytes_free(&request);
}

static void test_random_requests(void **state)
{
    (void)state;
    struct rng rng = {.state = 1};
    const struct shape_wish wish = {.series_max = 40, .unknown_fields = true};
    for (unsigned i = 0; i < 500; i++) {
        struct bytes request = {0};
        struct write_request_counts made = {.joinable = true};
        put_random_request(&request, &rng, &wish, &made);
        if (rng_one_in(&rng, 4)) {
            put_unknown(&request, &rng);
            made.joinable = false;
        }
        struct write_request_counts counts = {0};
        struct wire_error error;
        assert_int_equal(scan(&request, &counts, &error), 0);
        assert_true(counts_equal(&counts, &made));
        bytes_free(&request);
    }
}

static void test_mutated_requests(void **state)
{
    (void)state;
    struct rng rng = {.state = 2};
    const struct shape_wish wish = {.series_max = 3, .unknown_fields = true};
    unsigned accepted = 0;
    struct bytes origin = {0};
    struct bytes request = {0};
    for (unsigned i = 0; i < MUTATIONS; i++) {
        if (i % 100 == 0) {
            struct write_request_counts made = {0};
            origin.size = 0;
            put_random_request(&origin, &rng, &wish, &made);
        }
        request.size = 0;
        put(&request, origin.data, origin.size);
        mutate(&request, &rng);
        struct write_request_counts counts = {0};
        struct wire_error error;
        accepted += scan(&request, &counts, &error) == 0;
    }
    /* Both answers come often enough to mean something. */
    assert_in_range(accepted, MUTATIONS / 10, MUTATIONS / 10 * 9);
    bytes_free(&origin);
    bytes_free(&request);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_says_what_and_where),
        cmocka_unit_test(test_accepts_the_unusual),
        cmocka_unit_test(test_leaves_counts_alone_on_error),
        cmocka_unit_test(test_counts_both_kinds_of_histograms),
        cmocka_unit_test(test_label_and_sample_lengths),
        cmocka_unit_test(test_every_byte_of_a_usual_series),
        cmocka_unit_test(test_every_byte_of_two_series),
        cmocka_unit_test(test_unusual_labels_of_two_series),
        cmocka_unit_test(test_name_that_ends_past_the_request),
        cmocka_unit_test(test_long_label_that_could_be_short),
        cmocka_unit_test(test_random_requests),
        cmocka_unit_test(test_mutated_requests),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(arena.data);
    return failed;
}
