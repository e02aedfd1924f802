/* The checker over real bcrypt hashes of the lowest cost, made here. */
#include "io/password_checker.h"

#include "base/clock.h"
#include "io/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <crypt.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define PATIENCE_US (20U * 1000U * 1000U)

static void hash_of(const char *password, const char *prefix, unsigned cost, char hash[128])
{
    struct crypt_data data = {.initialized = 0};
    char setting[64];
    (void)snprintf(setting, sizeof(setting), "%s%02u$abcdefghijklmnopqrstuu", prefix, cost);
    (void)snprintf(hash, 128, "%s", crypt_r(password, setting, &data));
    assert_int_equal(strlen(hash), 60);
}

static bool answer_of(struct password_checker *checker, struct loop *loop, const void *expected)
{
    uint64_t until_us = clock_now_us() + PATIENCE_US;
    void *arg = NULL;
    bool matches = false;
    while (!password_checker_take(checker, &arg, &matches)) {
        assert_true(clock_now_us() < until_us);
        loop_wait(loop, until_us); /* the answer wakes it */
    }
    assert_ptr_equal(arg, expected);
    return matches;
}

static bool ask(struct password_checker *checker, struct loop *loop, const char *password,
                const char *hash)
{
    int arg = 0;
    assert_int_equal(password_checker_add(checker, password, hash, &arg), 0);
    return answer_of(checker, loop, &arg);
}

static void test_passwords_are_checked(void **state)
{
    (void)state;
    static const char *const prefixes[] = {"$2a$", "$2b$", "$2y$"};
    struct loop *loop = loop_new();
    struct password_checker *checker = password_checker_new(loop);
    char hash[128];
    for (size_t i = 0; i < 3; i++) {
        hash_of("sesame", prefixes[i], 4, hash);
        assert_true(ask(checker, loop, "sesame", hash));
        assert_false(ask(checker, loop, "Sesame", hash));
        assert_false(ask(checker, loop, "", hash));
    }
    hash_of("", "$2b$", 4, hash);
    assert_true(ask(checker, loop, "", hash));
    assert_false(ask(checker, loop, "x", hash));
    /* What crypt(3) does not take is wrong, also where the "hash" is how it says so. */
    assert_false(ask(checker, loop, "x", "*0"));
    assert_false(ask(checker, loop, "x", "nothing"));
    char endless[700];
    memset(endless, 'a', sizeof(endless) - 1);
    endless[sizeof(endless) - 1] = '\0';
    assert_false(ask(checker, loop, endless, hash));
    password_checker_free(checker);
    loop_free(loop);
}

static void test_the_queue_is_bounded_and_in_order(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct password_checker *checker = password_checker_new(loop);
    char hash[128];
    char args[PASSWORD_CHECKS_MAX + 1];
    hash_of("sesame", "$2b$", 8, hash);
    for (size_t i = 0; i < PASSWORD_CHECKS_MAX; i++) {
        assert_int_equal(
            password_checker_add(checker, i % 2 == 0 ? "sesame" : "no", hash, &args[i]), 0);
    }
    assert_int_equal(password_checker_add(checker, "sesame", hash, &args[PASSWORD_CHECKS_MAX]),
                     -EAGAIN);
    for (size_t i = 0; i < PASSWORD_CHECKS_MAX; i++) {
        assert_int_equal(answer_of(checker, loop, &args[i]), i % 2 == 0);
    }
    assert_true(ask(checker, loop, "sesame", hash));
    password_checker_free(checker);
    loop_free(loop);
}

static void test_it_is_freed_with_checks_in_it(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    char hash[128];
    hash_of("sesame", "$2b$", 6, hash);
    for (size_t count = 0; count < 4; count++) {
        struct password_checker *checker = password_checker_new(loop);
        for (size_t i = 0; i < count; i++) {
            assert_int_equal(password_checker_add(checker, "sesame", hash, NULL), 0);
        }
        password_checker_free(checker);
    }
    password_checker_free(NULL);
    loop_free(loop);
}

static void test_digests_are_the_checkers_own(void **state)
{
    (void)state;
    struct loop *loop = loop_new();
    struct password_checker *one = password_checker_new(loop);
    struct password_checker *other = password_checker_new(loop);
    uint8_t first[PASSWORD_DIGEST_BYTES];
    uint8_t again[PASSWORD_DIGEST_BYTES];
    password_checker_digest(one, "secret", 6, first);
    password_checker_digest(one, "secret", 6, again);
    assert_memory_equal(first, again, sizeof(first));
    password_checker_digest(one, "secrets", 7, again);
    assert_memory_not_equal(first, again, sizeof(first));
    password_checker_digest(other, "secret", 6, again);
    assert_memory_not_equal(first, again, sizeof(first));
    password_checker_free(one);
    password_checker_free(other);
    loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_passwords_are_checked),
        cmocka_unit_test(test_the_queue_is_bounded_and_in_order),
        cmocka_unit_test(test_it_is_freed_with_checks_in_it),
        cmocka_unit_test(test_digests_are_the_checkers_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
