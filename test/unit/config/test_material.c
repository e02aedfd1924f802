/* Tests of config/material: one reading of both sides, its fingerprint, its holders. */
#include "config/material.h"

#include "certs.h"
#include "config/config.h"
#include "folder.h"

#include <pthread.h>

#define BCRYPT "$2b$06$abcdefghijklmnopqrstuu6UU9xzVsCmnpwOtAmb83C8f/bD4EL9K"

/* Both sides, each from files. Owner: the test, by scene_open() and scene_close(). */
struct scene {
    struct certs certs;
    struct folder folder;
    char cert[PATH_MAX];
    char key[PATH_MAX];
    char token[PATH_MAX];
    char yaml[PATH_MAX + 64];
    char error[MATERIAL_ERROR_BYTES];
    struct config config;
};

static void scene_open(struct scene *scene)
{
    scene->certs = certs_make(3600);
    folder_init(&scene->folder);
    memcpy(scene->cert, folder_write(&scene->folder, "c", scene->certs.cert), PATH_MAX);
    memcpy(scene->key, folder_write(&scene->folder, "k", scene->certs.key), PATH_MAX);
    memcpy(scene->token, folder_write(&scene->folder, "t", "one\n"), PATH_MAX);
    (void)snprintf(scene->yaml, sizeof(scene->yaml), "bearer_token_file: %s", scene->token);
    scene->config = (struct config){.server_tls_cert = scene->cert,
                                    .server_tls_key = scene->key,
                                    .gateway_config = scene->yaml};
}

static void scene_close(struct scene *scene)
{
    folder_deinit(&scene->folder);
    certs_free(&scene->certs);
}

static bool is_same(const struct material *one, const struct material *other)
{
    return one->listener->files.fingerprint == other->listener->files.fingerprint &&
           one->gateway->files.fingerprint == other->gateway->files.fingerprint;
}

static void test_both_sides(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene);
    struct material *first = material_load(&scene.config, scene.error);
    struct material *same = material_load(&scene.config, scene.error);
    (void)folder_write(&scene.folder, "t", "two\n");
    struct material *changed = material_load(&scene.config, scene.error);
    assert_non_null(first);
    assert_non_null(same);
    assert_non_null(changed);
    assert_true(first->listener->tls);
    assert_string_equal(first->gateway->authorization, "Bearer one");
    assert_string_equal(changed->gateway->authorization, "Bearer two");
    assert_true(is_same(first, same));
    assert_int_equal(changed->listener->files.fingerprint, first->listener->files.fingerprint);
    assert_int_not_equal(changed->gateway->files.fingerprint, first->gateway->files.fingerprint);
    assert_int_equal(first->listener->files.count, 2);
    assert_int_equal(first->gateway->files.count, 1);
    assert_string_equal(first->gateway->files.paths[0], scene.token);
    material_release(first);
    material_release(same);
    material_release(changed);

    (void)folder_write(&scene.folder, "t", "");
    assert_null(material_load(&scene.config, scene.error)); /* what was read before is freed */
    assert_non_null(strstr(scene.error, "--gateway.config: line 1: bearer_token_file: "));
    scene_close(&scene);
}

/* Load again in the place of *material. */
static void load_again(struct scene *scene, struct material **material)
{
    struct material *before = *material;
    memset(scene->error, 'x', sizeof(scene->error));
    *material = material_load_again(&scene->config, before, scene->error);
    material_release(before); /* what is kept of it is held */
}

static void test_a_side_that_fails_is_the_one_before(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene);
    struct material *material = material_load(&scene.config, scene.error);
    assert_non_null(material);
    load_again(&scene, &material);
    assert_string_equal(scene.error, "");

    const struct material_listener *listener = material->listener;
    (void)folder_write(&scene.folder, "k", "no key");
    (void)folder_write(&scene.folder, "t", "two");
    load_again(&scene, &material);
    assert_non_null(strstr(scene.error, scene.key));
    assert_null(strstr(scene.error, scene.token));
    assert_ptr_equal(material->listener, listener);
    assert_int_equal(material->listener->files.count, 2);
    assert_string_equal(material->listener->cert_pem, scene.certs.cert);
    assert_string_equal(material->gateway->authorization, "Bearer two");

    const struct material_gateway *gateway = material->gateway;
    (void)folder_write(&scene.folder, "t", "");
    load_again(&scene, &material);
    assert_non_null(strstr(scene.error, scene.key));
    assert_non_null(strstr(scene.error, "; --gateway.config: line 1: bearer_token_file: "));
    assert_ptr_equal(material->listener, listener);
    assert_ptr_equal(material->gateway, gateway);

    struct certs others = certs_make(3600);
    (void)folder_write(&scene.folder, "c", others.cert);
    (void)folder_write(&scene.folder, "k", others.key);
    load_again(&scene, &material);
    assert_null(strstr(scene.error, scene.key));
    assert_int_equal(strncmp(scene.error, "--gateway.config: ", 18), 0);
    assert_string_equal(material->listener->cert_pem, others.cert);
    assert_ptr_equal(material->gateway, gateway);
    certs_free(&others);
    material_release(material);
    scene_close(&scene);
}

/* Of two sides that change in turn, each keeps the other of the last time, and nothing older. */
static void test_what_is_kept_is_a_side_alone(void **state)
{
    (void)state;
    struct scene scene;
    scene_open(&scene);
    struct material *material = material_load(&scene.config, scene.error);
    assert_non_null(material);
    for (unsigned i = 0; i < 10; i++) {
        (void)folder_write(&scene.folder, "c", i % 2 == 0 ? "none" : scene.certs.cert);
        (void)folder_write(&scene.folder, "t", i % 2 == 0 ? "even" : "");
        load_again(&scene, &material);
        assert_int_equal(atomic_load(&material->references), 1);
        assert_int_equal(atomic_load(&material->listener->references), 1);
        assert_int_equal(atomic_load(&material->gateway->references), 1);
    }
    material_release(material);
    scene_close(&scene);
}

/* A side that turns out to be wrong is freed with all that it held until then. */
static void test_what_came_before_a_mistake_is_freed(void **state)
{
    (void)state;
    struct scene scene;
    char yaml[2 * PATH_MAX + 64];
    char web_config[PATH_MAX];
    scene_open(&scene);
    struct material *material = material_load(&scene.config, scene.error);
    assert_non_null(material);
    (void)snprintf(yaml, sizeof(yaml), "{bearer_token_file: %s, tls_config: {ca_file: %s}}",
                   scene.token, scene.token);
    scene.config.gateway_config = yaml;
    const char *web = "{basic_auth_users: {u: " BCRYPT "}, "
                      "http_server_config: {headers: {X-Frame-Options: deny}}}";
    memcpy(web_config, folder_write(&scene.folder, "web", web), PATH_MAX);
    scene.config.http_config = web_config;
    (void)folder_write(&scene.folder, "c", "no certificate");
    load_again(&scene, &material);
    assert_non_null(strstr(scene.error, scene.cert));
    assert_non_null(strstr(scene.error, "; --gateway.config: "));
    material_release(material);
    scene_close(&scene);
}

static void test_nothing_to_read(void **state)
{
    (void)state;
    char error[MATERIAL_ERROR_BYTES] = "none";
    struct config config = {0};
    struct material *material = material_load(&config, error);
    assert_non_null(material);
    assert_int_equal(material->listener->files.count, 0);
    assert_int_equal(material->listener->files.fingerprint, 0);
    assert_int_equal(material->gateway->files.count, 0);
    assert_int_equal(material->gateway->files.fingerprint, 0);
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
        cmocka_unit_test(test_a_side_that_fails_is_the_one_before),
        cmocka_unit_test(test_what_is_kept_is_a_side_alone),
        cmocka_unit_test(test_what_came_before_a_mistake_is_freed),
        cmocka_unit_test(test_nothing_to_read),
        cmocka_unit_test(test_the_last_holder_frees),
    };
    return cmocka_run_group_tests_name("config/material", tests, NULL, NULL);
}
