/* Tests of config/material: one reading of both sides, its fingerprint, its holders. */
#include "config/material.h"

#include "certs.h"
#include "config/config.h"
#include "folder.h"

#include <pthread.h>

static void test_both_sides(void **state)
{
    (void)state;
    struct certs certs = certs_make(3600);
    struct folder folder;
    char cert[PATH_MAX];
    char key[PATH_MAX];
    char token[PATH_MAX];
    char yaml[PATH_MAX + 64];
    char error[MATERIAL_ERROR_BYTES];
    folder_init(&folder);
    memcpy(cert, folder_write(&folder, "c", certs.cert), PATH_MAX);
    memcpy(key, folder_write(&folder, "k", certs.key), PATH_MAX);
    memcpy(token, folder_write(&folder, "t", "one\n"), PATH_MAX);
    (void)snprintf(yaml, sizeof(yaml), "bearer_token_file: %s", token);
    struct config config = {.server_tls_cert = cert, .server_tls_key = key, .gateway_config = yaml};
    struct material *first = material_load(&config, error);
    struct material *same = material_load(&config, error);
    (void)folder_write(&folder, "t", "two\n");
    struct material *changed = material_load(&config, error);
    assert_non_null(first);
    assert_non_null(same);
    assert_non_null(changed);
    assert_true(first->listener.tls);
    assert_string_equal(first->gateway.authorization, "Bearer one");
    assert_string_equal(changed->gateway.authorization, "Bearer two");
    assert_int_equal(first->fingerprint, same->fingerprint);
    assert_int_not_equal(first->fingerprint, changed->fingerprint);
    assert_int_equal(first->file_count, 3);
    assert_string_equal(first->files[2].path, token);
    material_release(first);
    material_release(same);
    material_release(changed);

    (void)folder_write(&folder, "t", "");
    assert_null(material_load(&config, error)); /* what was read before is freed */
    assert_non_null(strstr(error, "--gateway.config: line 1: bearer_token_file: "));
    folder_deinit(&folder);
    certs_free(&certs);
}

static void test_nothing_to_read(void **state)
{
    (void)state;
    char error[MATERIAL_ERROR_BYTES] = "none";
    struct config config = {0};
    struct material *material = material_load(&config, error);
    assert_non_null(material);
    assert_int_equal(material->file_count, 0);
    assert_int_equal(material->fingerprint, 0);
    assert_string_equal(error, "none");
    material_release(material);
    material_release(NULL);
}

#define HOLDS 10000

static void *hold_and_release(void *argument)
{
    struct material *material = argument;
    for (int i = 0; i < HOLDS; i++) {
        material_release(material_hold(material));
    }
    material_release(material);
    return NULL;
}

static void test_the_last_holder_frees(void **state)
{
    (void)state;
    char error[MATERIAL_ERROR_BYTES];
    struct config config = {0};
    struct material *material = material_load(&config, error);
    pthread_t threads[2];
    for (size_t i = 0; i < COUNT(threads); i++) {
        assert_int_equal(
            pthread_create(&threads[i], NULL, hold_and_release, material_hold(material)), 0);
    }
    material_release(material);
    for (size_t i = 0; i < COUNT(threads); i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_sides),
        cmocka_unit_test(test_nothing_to_read),
        cmocka_unit_test(test_the_last_holder_frees),
    };
    return cmocka_run_group_tests_name("config/material", tests, NULL, NULL);
}
