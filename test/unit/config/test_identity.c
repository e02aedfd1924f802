/* Tests of config/identity: pairs and trust from files and texts, and whom a message blames. */
#include "config/identity.h"

#include "certs.h"
#include "config/secret.h"
#include "folder.h"

#include <errno.h>

/* Files of two identities. */
struct scene {
    struct folder folder;
    struct certs one;
    struct certs other;
    struct material material;
    struct reader reader;
    struct identity_sources sources;
    char error[MATERIAL_ERROR_BYTES];
    char *cert;
    char *key;
};

static void scene_init(struct scene *scene)
{
    *scene = (struct scene){.one = certs_make(3600), .other = certs_make(3600)};
    scene->reader.error = scene->error;
    folder_init(&scene->folder);
    (void)folder_write(&scene->folder, "one.crt", scene->one.cert);
    (void)folder_write(&scene->folder, "one.key", scene->one.key);
    (void)folder_write(&scene->folder, "other.key", scene->other.key);
}

static void scene_deinit(struct scene *scene)
{
    identity_deinit(&scene->sources);
    secret_free(scene->cert);
    secret_free(scene->key);
    certs_free(&scene->one);
    certs_free(&scene->other);
    folder_deinit(&scene->folder);
}

static void set(struct scene *scene, struct reader_source *source, const char *flag,
                const char *name)
{
    identity_set_file(source, flag, folder_path(&scene->folder, name));
}

static void expect_error(struct scene *scene, const char *flag, const char *reason)
{
    assert_true(identity_read_pair(&scene->reader, &scene->sources, &scene->cert, &scene->key) < 0);
    assert_null(scene->cert);
    assert_null(scene->key);
    if (strncmp(scene->error, flag, strlen(flag)) != 0 || strstr(scene->error, reason) == NULL) {
        fail_msg("%s", scene->error);
    }
}

static void test_a_pair(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    assert_int_equal(identity_read_pair(&scene.reader, &scene.sources, &scene.cert, &scene.key), 0);
    assert_null(scene.cert); /* none is asked for */
    set(&scene, &scene.sources.cert, "--cert", "one.crt");
    expect_error(&scene, "--cert: ", "without its private key");
    set(&scene, &scene.sources.key, "--key", "other.key");
    expect_error(&scene, "--cert: ", "one.crt: the certificate and the key do not belong together");
    set(&scene, &scene.sources.key, "--key", "one.crt");
    expect_error(&scene, "--key: ", "one.crt: holds no private key");
    set(&scene, &scene.sources.key, "--key", "none.key");
    expect_error(&scene, "--key: ", "none.key: No such file");
    set(&scene, &scene.sources.key, "--key", "one.key");
    assert_int_equal(identity_read_pair(&scene.reader, &scene.sources, &scene.cert, &scene.key), 0);
    assert_string_equal(scene.cert, scene.one.cert);
    assert_string_equal(scene.key, scene.one.key);
    scene_deinit(&scene);
}

static void test_a_text_has_no_path_to_blame(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    scene.sources.key =
        (struct reader_source){.where = strdup("f.yml:3: key"), .text = strdup("secret rubbish")};
    expect_error(&scene, "f.yml:3: key: the private key is given without its certificate", "");
    set(&scene, &scene.sources.cert, "--cert", "one.crt");
    expect_error(&scene, "f.yml:3: key: holds no private key in PEM form", "");
    assert_null(strstr(scene.error, "rubbish"));
    scene_deinit(&scene);
}

static void test_trust(void **state)
{
    (void)state;
    struct scene scene;
    scene_init(&scene);
    char *ca = NULL;
    assert_int_equal(identity_read_ca(&scene.reader, &scene.sources, &ca), 0);
    assert_null(ca);
    set(&scene, &scene.sources.ca, "--ca", "one.key");
    assert_int_equal(identity_read_ca(&scene.reader, &scene.sources, &ca), -EINVAL);
    assert_null(ca);
    assert_non_null(strstr(scene.error, "one.key: holds no certificate"));
    set(&scene, &scene.sources.ca, "--ca", "one.crt");
    assert_int_equal(identity_read_ca(&scene.reader, &scene.sources, &ca), 0);
    assert_string_equal(ca, scene.one.cert);
    free(ca);
    scene_deinit(&scene);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_pair),
        cmocka_unit_test(test_a_text_has_no_path_to_blame),
        cmocka_unit_test(test_trust),
    };
    return cmocka_run_group_tests_name("config/identity", tests, NULL, NULL);
}
