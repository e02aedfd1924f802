/* Credentials in a header, good and bad. */
#include "wire/basic_auth.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

static void test_good_values(void **state)
{
    (void)state;

    static const struct {
        const char *value;
        const char *user;
        const char *password;
    } cases[] = {
        {"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Aladdin", "open sesame"}, /* of RFC 7617 */
        {"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ", "Aladdin", "open sesame"},
        {"basic   YTpi  ", "a", "b"},
        {"BASIC YTpiOmM=", "a", "b:c"},
        {"Basic Og==", "", ""},
        {"Basic OmE=", "", "a"},
        {"Basic YTo=", "a", ""},
        {"Basic dTr/+w==", "u", "\xff\xfb"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct basic_auth auth;
        assert_int_equal(basic_auth_parse(cases[i].value, &auth), 0);
        assert_string_equal(auth.user, cases[i].user);
        assert_string_equal(auth.password, cases[i].password);
    }
}

static void test_bad_values(void **state)
{
    (void)state;
    static const char *const values[] = {NULL,
                                         "",
                                         "Basic",
                                         "Basic ",
                                         "Basic =",
                                         "Bearer YTpi",
                                         "BasicYTpi",
                                         "Basic YWI=",
                                         "Basic YTpi=",
                                         "Basic YTo==",
                                         "Basic YTp_",
                                         "Basic YTp-",
                                         "Basic Y Tpi",
                                         "Basic YTq",
                                         "Basic YTpiY",
                                         "Basic YTph\n",
                                         "Basic AGE6Yg==",
                                         "Basic YTpiAA==",
                                         "Basic YTpi====",
                                         "Basic Y=pi"};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        struct basic_auth auth = {.user = NULL};
        assert_int_equal(basic_auth_parse(values[i], &auth), -EINVAL);
        assert_null(auth.user); /* untouched */
    }
}

/* "Basic " and units of four characters, each ":::" */
static void test_the_length_is_bounded(void **state)
{
    (void)state;
    char value[6 + (BASIC_AUTH_BYTES_MAX / 3 + 1) * 4 + 1];
    struct basic_auth auth;
    size_t units = BASIC_AUTH_BYTES_MAX / 3;
    memcpy(value, "Basic ", 6);
    for (size_t i = 0; i <= units; i++) {
        memcpy(value + 6 + i * 4, "Ojo6", 4);
    }
    value[6 + units * 4] = '\0';
    assert_int_equal(basic_auth_parse(value, &auth), 0);
    assert_int_equal(strlen(auth.password), BASIC_AUTH_BYTES_MAX - 1);
    memcpy(value + 6 + units * 4, "Og==", 5);
    assert_int_equal(basic_auth_parse(value, &auth), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_values),
        cmocka_unit_test(test_bad_values),
        cmocka_unit_test(test_the_length_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
