/* Tests of config/secret: what passes as a password, a token, a hash, and base64. */
#include "config/secret.h"

#include "../base/unit.h"

#define SALT_AND_HASH "abcdefghijklmnopqrstuuJ8Gx1ZQ3NnVxdkZ3cKfJZqwm1fYb1./"

static void test_trim(void **state)
{
    (void)state;

    static const struct {
        const char *in;
        const char *out;
    } cases[] = {{"", ""},         {"a", "a"},     {"a\n", "a"},   {"a\r\n", "a"}, {"\n", ""},
                 {"a\n\n", "a\n"}, {"a\r", "a\r"}, {"\na", "\na"}, {"\r\n", ""},   {" a ", " a "}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        char *text = strdup(cases[i].in);
        secret_trim(text);
        assert_string_equal(text, cases[i].out);
        secret_free(text);
    }
    secret_free(NULL);
}

static char *letters(size_t bytes)
{
    char *text = malloc(bytes + 1);
    assert_non_null(text);
    memset(text, 'a', bytes);
    text[bytes] = '\0';
    return text;
}

static void test_passwords_and_tokens(void **state)
{
    (void)state;
    assert_null(secret_check_password("p\xc3\xa4ss word!"));
    assert_non_null(strstr(secret_check_password(""), "empty"));
    assert_non_null(strstr(secret_check_password("a\nb"), "control"));
    assert_non_null(strstr(secret_check_password("a\x7f"), "control"));
    assert_null(secret_check_token("eyJh.b-_~+/=="));
    assert_non_null(strstr(secret_check_token(""), "empty"));
    assert_non_null(strstr(secret_check_token("a b"), "space"));
    assert_non_null(strstr(secret_check_token("a\r\nX: y"), "space"));
    assert_non_null(strstr(secret_check_token("\xc3\xa4"), "not ASCII"));
    char *text = letters(16385);
    assert_non_null(strstr(secret_check_token(text), "longer than 16384"));
    assert_non_null(strstr(secret_check_password(text), "longer than 4096"));
    text[16384] = '\0';
    assert_null(secret_check_token(text));
    text[4096] = '\0';
    assert_null(secret_check_password(text));
    free(text);
}

static void test_hashes(void **state)
{
    (void)state;
    static const char *const good[] = {"$2a$04$" SALT_AND_HASH, "$2b$12$" SALT_AND_HASH,
                                       "$2y$14$" SALT_AND_HASH};
    static const char *const bad[] = {"",
                                      "password",
                                      "$2x$12$" SALT_AND_HASH,
                                      "$2$12$" SALT_AND_HASH,
                                      "$1$abc$def",
                                      "$6$abc$" SALT_AND_HASH,
                                      "$2b$1x$" SALT_AND_HASH,
                                      "$2b$12$" SALT_AND_HASH "a",
                                      "$2b$12$abc",
                                      "$2b$12$!bcdefghijklmnopqrstuuJ8Gx1ZQ3NnVxdkZ3cKfJZqwm1fYb1.",
                                      "{SHA}abc"};
    for (size_t i = 0; i < COUNT(good); i++) {
        assert_null(secret_check_bcrypt(good[i]));
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_non_null(secret_check_bcrypt(bad[i]));
    }
    assert_non_null(strstr(secret_check_bcrypt("$2b$03$" SALT_AND_HASH), "below 4"));
    assert_non_null(strstr(secret_check_bcrypt("$2b$15$" SALT_AND_HASH), "above 14"));
}

static void test_basic(void **state)
{
    (void)state;

    static const struct { /* RFC 7617 section 2 and RFC 4648 section 10 */
        const char *user;
        const char *password;
        const char *header;
    } cases[] = {{"Aladdin", "open sesame", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="},
                 {"test", "123\xc2\xa3", "Basic dGVzdDoxMjPCow=="},
                 {"a", "b", "Basic YTpi"},
                 {"a", "", "Basic YTo="},
                 {"", "", "Basic Og=="},
                 {"??", ">>>~", "Basic Pz86Pj4+fg=="}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        char *header = secret_basic(cases[i].user, cases[i].password);
        assert_string_equal(header, cases[i].header);
        secret_free(header);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trim),
        cmocka_unit_test(test_passwords_and_tokens),
        cmocka_unit_test(test_hashes),
        cmocka_unit_test(test_basic),
    };
    return cmocka_run_group_tests_name("config/secret", tests, NULL, NULL);
}
