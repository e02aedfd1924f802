/* Tests of config/pem: good pairs, and what is said of each bad one. */
#include "config/pem.h"

#include "certs.h"

#include <errno.h>

#define NOT_AT_ALL "hello\n"

static void expect(const char *cert, const char *key, enum pem_fault fault, const char *reason)
{
    char error[PEM_ERROR_BYTES] = "";
    enum pem_fault got = pem_check_pair(cert, key, (int64_t)time(NULL), error);
    if (got != fault || strstr(error, reason) == NULL) {
        fail_msg("%d: %s", got, error);
    }
}

static char *join(const char *one, const char *other)
{
    char *text = calloc(1, strlen(one) + strlen(other) + 1);
    assert_non_null(text);
    memcpy(text, one, strlen(one));
    memcpy(text + strlen(one), other, strlen(other));
    return text;
}

static void test_pairs(void **state)
{
    (void)state;
    struct certs one = certs_make(3600);
    struct certs other = certs_make(3600);
    char *chain = join(one.cert, other.cert);
    char *backwards = join(other.cert, one.cert);
    expect(one.cert, one.key, PEM_OK, "");
    expect(chain, one.key, PEM_OK, "");
    expect(one.cert, other.key, PEM_PAIR, "do not belong together");
    expect(backwards, one.key, PEM_PAIR, "the certificate and the key");
    expect(one.cert, one.encrypted_key, PEM_KEY, "encrypted");
    expect(one.cert, NOT_AT_ALL, PEM_KEY, "no private key in PEM");
    expect(one.cert, "", PEM_KEY, "no private key in PEM");
    expect(one.cert, one.cert, PEM_KEY, "no private key in PEM");
    expect(NOT_AT_ALL, one.key, PEM_CERT, "no certificate in PEM");
    expect("", one.key, PEM_CERT, "no certificate in PEM");
    expect(one.key, one.key, PEM_CERT, "no certificate in PEM");
    one.cert[strlen(one.cert) / 2] = '!';
    expect(one.cert, one.key, PEM_CERT, "no certificate in PEM");
    free(chain);
    free(backwards);
    certs_free(&one);
    certs_free(&other);
}

static void test_an_expired_certificate(void **state)
{
    (void)state;
    struct certs old = certs_make(-60);
    expect(old.cert, old.key, PEM_CERT, "expired on 20");
    certs_free(&old);
    struct certs young = certs_make(60);
    char error[PEM_ERROR_BYTES] = "";
    int64_t now = (int64_t)time(NULL);
    assert_int_equal(pem_check_pair(young.cert, young.key, now, error), PEM_OK);
    assert_int_equal(pem_check_pair(young.cert, young.key, now + 61, error), PEM_CERT);
    certs_free(&young);
}

static void test_trust(void **state)
{
    (void)state;
    struct certs one = certs_make(3600);
    struct certs old = certs_make(-60);
    char *both = join(one.cert, old.cert);
    char error[PEM_ERROR_BYTES] = "";
    assert_int_equal(pem_check_ca(one.cert, error), 0);
    assert_int_equal(pem_check_ca(both, error), 0); /* bundles hold old ones */
    assert_int_equal(pem_check_ca(one.key, error), -EINVAL);
    assert_string_equal(error, "holds no certificate in PEM form");
    assert_int_equal(pem_check_ca("", error), -EINVAL);
    free(both);
    certs_free(&one);
    certs_free(&old);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_an_expired_certificate),
        cmocka_unit_test(test_trust),
    };
    return cmocka_run_group_tests_name("config/pem", tests, NULL, NULL);
}
