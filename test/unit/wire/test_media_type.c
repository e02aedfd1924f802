/* Content types and encodings of writes. */
#include "wire/media_type.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_content_types(void **state)
{
    (void)state;

    static const struct {
        const char *value;
        enum media_type type;
    } cases[] = {
        {"application/x-protobuf", MEDIA_TYPE_WRITE_1},
        {"Application/X-Protobuf", MEDIA_TYPE_WRITE_1},
        {" application/x-protobuf ", MEDIA_TYPE_WRITE_1},
        {"application/x-protobuf;", MEDIA_TYPE_WRITE_1},
        {"application/x-protobuf;proto=prometheus.WriteRequest", MEDIA_TYPE_WRITE_1},
        {"application/x-protobuf; Proto = \"prometheus.WriteRequest\"", MEDIA_TYPE_WRITE_1},
        {"application/x-protobuf; charset=utf-8", MEDIA_TYPE_WRITE_1},
        {"application/x-protobuf;proto=io.prometheus.write.v2.Request", MEDIA_TYPE_WRITE_2},
        {"application/x-protobuf; proto=io.prometheus.write.v2.Request", MEDIA_TYPE_WRITE_2},
        {"application/x-protobuf;a=\";proto=x\";proto=io.prometheus.write.v2.Request",
         MEDIA_TYPE_WRITE_2},
        {"application/x-protobuf;a=\"\\\";proto=x\"", MEDIA_TYPE_WRITE_1},
        {"application/x-protobuf;a=\"open;proto=x", MEDIA_TYPE_WRITE_1},
        {"application/x-protobuf;proto=prometheus.WriteRequest;proto=prometheus.WriteRequest",
         MEDIA_TYPE_WRITE_1},
        {"application/x-protobuf;proto=prometheus.WriteRequest;"
         "proto=io.prometheus.write.v2.Request",
         MEDIA_TYPE_OTHER},
        {"application/x-protobuf;proto=io.prometheus.write.v3.Request", MEDIA_TYPE_OTHER},
        {"application/x-protobuf;proto=", MEDIA_TYPE_OTHER},
        {"application/x-protobuf;proto=\"", MEDIA_TYPE_OTHER},
        {"application/x-protobuf, application/x-protobuf", MEDIA_TYPE_OTHER},
        {"application/x-protobuffer", MEDIA_TYPE_OTHER},
        {"application/protobuf", MEDIA_TYPE_OTHER},
        {"application/json", MEDIA_TYPE_OTHER},
        {";proto=prometheus.WriteRequest", MEDIA_TYPE_OTHER},
        {"", MEDIA_TYPE_OTHER},
        {NULL, MEDIA_TYPE_OTHER},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(media_type_of(cases[i].value), cases[i].type);
    }
}

static void test_content_encodings(void **state)
{
    (void)state;
    assert_true(media_type_is_snappy("snappy"));
    assert_true(media_type_is_snappy(" Snappy\t"));
    assert_true(media_type_is_snappy(NULL));
    assert_false(media_type_is_snappy(""));
    assert_false(media_type_is_snappy("gzip"));
    assert_false(media_type_is_snappy("snappy, gzip"));
    assert_false(media_type_is_snappy("x-snappy-framed"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_content_types),
        cmocka_unit_test(test_content_encodings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
