/* Tests of config/web_config: the listener's flags and file, and each of their mistakes. */
#include "config/web_config.h"

#include "certs.h"
#include "config/config.h"
#include "config/material.h"
#include "folder.h"

#define HASH "$2y$10$abcdefghijklmnopqrstuuJ8Gx1ZQ3NnVxdkZ3cKfJZqwm1fYb1./"

/* A folder with a certificate, its key, and a CA; owner: the group. */
struct scene {
    struct folder folder;
    struct certs own;
    struct certs ca;
    char cert[PATH_MAX];
    char key[PATH_MAX];
    char ca_file[PATH_MAX];
    char web[PATH_MAX];
    char error[MATERIAL_ERROR_BYTES];
};

static int set_up(void **state)
{
    struct scene *scene = calloc(1, sizeof(*scene));
    assert_non_null(scene);
    scene->own = certs_make(3600);
    scene->ca = certs_make(3600);
    folder_init(&scene->folder);
    memcpy(scene->cert, folder_write(&scene->folder, "own.crt", scene->own.cert), PATH_MAX);
    memcpy(scene->key, folder_write(&scene->folder, "own.key", scene->own.key), PATH_MAX);
    memcpy(scene->ca_file, folder_write(&scene->folder, "ca.crt", scene->ca.cert), PATH_MAX);
    *state = scene;
    return 0;
}

static int tear_down(void **state)
{
    struct scene *scene = *state;
    certs_free(&scene->own);
    certs_free(&scene->ca);
    folder_deinit(&scene->folder);
    free(scene);
    return 0;
}

/* Load with a web configuration (NULL: none). The gateway's side is not set, so whatever is wrong
 * is the listener's. */
static struct material *load(struct scene *scene, struct config config, const char *web)
{
    if (web != NULL) {
        memcpy(scene->web, folder_write(&scene->folder, "web.yml", web), PATH_MAX);
        config.http_config = scene->web;
    }
    (void)snprintf(scene->error, sizeof(scene->error), "none");
    return material_load(&config, scene->error);
}

static struct material *load_well(struct scene *scene, struct config config, const char *web)
{
    struct material *material = load(scene, config, web);
    if (material == NULL) {
        fail_msg("%s", scene->error);
    }
    return material;
}

static void expect_error(struct scene *scene, struct config config, const char *web,
                         const char *reason)
{
    assert_null(load(scene, config, web));
    if (strstr(scene->error, reason) == NULL) {
        fail_msg("%s", scene->error);
    }
}

static const struct config NO_FLAGS;

static void test_nothing(void **state)
{
    static const char *const texts[] = {NULL, "", "{}", "tls_server_config:\nbasic_auth_users:\n"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct material *material = load_well(*state, NO_FLAGS, texts[i]);
        assert_false(material->listener->tls);
        assert_int_equal(material->listener->user_count, 0);
        assert_null(material->listener->priorities);
        assert_int_equal(material->listener->files.count, texts[i] != NULL);
        material_release(material);
    }
}

static void test_flags(void **state)
{
    struct scene *scene = *state;
    struct config config = {.server_tls_cert = scene->cert, .server_tls_key = scene->key};
    struct material *material = load_well(scene, config, NULL);
    const struct material_listener *listener = material->listener;
    assert_true(listener->tls);
    assert_string_equal(listener->cert_pem, scene->own.cert);
    assert_string_equal(listener->key_pem, scene->own.key);
    assert_null(listener->client_ca_pem);
    assert_int_equal(listener->client_auth, MATERIAL_CLIENT_AUTH_NONE);
    assert_int_equal(listener->min_version, MATERIAL_TLS_1_2);
    assert_non_null(listener->priorities);
    assert_int_equal(material->listener->files.count, 2);
    material_release(material);
    config.server_tls_client_ca = scene->ca_file;
    material = load_well(scene, config, "basic_auth_users: {a: " HASH "}");
    assert_int_equal(material->listener->client_auth, MATERIAL_CLIENT_AUTH_VERIFY);
    assert_string_equal(material->listener->client_ca_pem, scene->ca.cert);
    assert_int_equal(material->listener->user_count, 1);
    assert_int_equal(material->listener->files.count, 4);
    material_release(material);
}

static void test_mistakes_of_flags(void **state)
{
    struct scene *scene = *state;
    struct config config = {.server_tls_cert = scene->cert};
    expect_error(scene, config, NULL, "--server-tls-cert: needs --server-tls-key");
    config = (struct config){.server_tls_key = scene->key};
    expect_error(scene, config, NULL, "--server-tls-key: needs --server-tls-cert");
    config = (struct config){.server_tls_client_ca = scene->ca_file};
    expect_error(scene, config, NULL,
                 "--server-tls-client-ca: needs --server-tls-cert and --server-tls-key");
    config = (struct config){.server_tls_cert = scene->cert, .server_tls_key = scene->key};
    expect_error(scene, config, "tls_server_config: {cert_file: own.crt, key_file: own.key}",
                 "--server-tls-cert: TLS is also set by tls_server_config in --http.config");
    config.server_tls_client_ca = scene->key;
    expect_error(scene, config, NULL, "own.key: holds no certificate in PEM form");
    config = (struct config){.http_config = scene->folder.path};
    expect_error(scene, config, NULL, "is no regular file");
}

static void test_the_file(void **state)
{
    struct scene *scene = *state;
    struct material *material = load_well(scene, NO_FLAGS,
                                          "tls_server_config:\n"
                                          "  cert_file: own.crt\n"
                                          "  key_file: own.key\n"
                                          "  client_auth_type: RequireAndVerifyClientCert\n"
                                          "  client_ca_file: ca.crt\n"
                                          "  min_version: TLS13\n"
                                          "  max_version: TLS13\n"
                                          "  cipher_suites: [TLS_AES_128_GCM_SHA256]\n"
                                          "  prefer_server_cipher_suites: false\n"
                                          "  curve_preferences: [X25519]\n"
                                          "http_server_config:\n"
                                          "  http2: false\n"
                                          "  headers:\n"
                                          "    X-Frame-Options: deny\n"
                                          "    X-XSS-Protection: ''\n"
                                          "    strict-transport-security: max-age=5; preload\n"
                                          "basic_auth_users:\n"
                                          "  alice: " HASH "\n"
                                          "  'b b': '" HASH "'\n");
    const struct material_listener *listener = material->listener;
    assert_true(listener->tls);
    assert_int_equal(listener->client_auth, MATERIAL_CLIENT_AUTH_VERIFY);
    assert_int_equal(listener->min_version, MATERIAL_TLS_1_3);
    assert_non_null(strstr(listener->priorities, "GROUP-X25519"));
    assert_null(strstr(listener->priorities, "SERVER_PRECEDENCE"));
    assert_null(strstr(listener->priorities, "VERS-TLS1.2"));
    assert_int_equal(listener->user_count, 2);
    assert_string_equal(listener->users[0].name, "alice");
    assert_string_equal(listener->users[1].name, "b b");
    assert_string_equal(listener->users[1].hash, HASH);
    assert_int_equal(listener->header_count, 2);
    assert_string_equal(listener->headers[1].name, "strict-transport-security");
    assert_string_equal(listener->headers[1].value, "max-age=5; preload");
    assert_int_equal(material->listener->files.count, 4);
    material_release(material);
}

static void test_client_auth(void **state)
{
    struct scene *scene = *state;

    static const struct {
        const char *type;
        bool ca;
        enum material_client_auth auth;
        bool verified;
        const char *error; /* NULL: none */
    } cases[] = {
        {"NoClientCert", false, MATERIAL_CLIENT_AUTH_NONE, false, NULL},
        {"", false, MATERIAL_CLIENT_AUTH_NONE, false, "is not one of"},
        {"NoClientCert", true, MATERIAL_CLIENT_AUTH_NONE, false, "no certificate is asked for"},
        {"RequestClientCert", false, MATERIAL_CLIENT_AUTH_REQUEST, false, NULL},
        {"RequestClientCert", true, MATERIAL_CLIENT_AUTH_REQUEST, false, NULL},
        {"RequireAnyClientCert", true, MATERIAL_CLIENT_AUTH_REQUIRE, false, NULL},
        {"RequireClientCert", false, MATERIAL_CLIENT_AUTH_REQUIRE, false, NULL},
        {"VerifyClientCertIfGiven", true, MATERIAL_CLIENT_AUTH_REQUEST, true, NULL},
        {"VerifyClientCertIfGiven", false, MATERIAL_CLIENT_AUTH_REQUEST, true,
         "VerifyClientCertIfGiven needs client_ca_file"},
        {"RequireAndVerifyClientCert", true, MATERIAL_CLIENT_AUTH_VERIFY, true, NULL},
        {"RequireAndVerifyClientCert", false, MATERIAL_CLIENT_AUTH_VERIFY, true,
         "RequireAndVerifyClientCert needs client_ca_file"},
        {"Sometimes", true, MATERIAL_CLIENT_AUTH_NONE, false, "is not one of NoClientCert"}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[512];
        (void)snprintf(text, sizeof(text),
                       "tls_server_config:\n  cert_file: own.crt\n  key_file: own.key\n"
                       "  client_auth_type: '%s'\n%s",
                       cases[i].type, cases[i].ca ? "  client_ca_file: ca.crt\n" : "");
        if (cases[i].error != NULL) {
            expect_error(scene, NO_FLAGS, text, cases[i].error);
            continue;
        }
        struct material *material = load_well(scene, NO_FLAGS, text);
        assert_int_equal(material->listener->client_auth, cases[i].auth);
        assert_int_equal(material->listener->client_ca_pem != NULL, cases[i].verified);
        material_release(material);
    }
}

static void test_texts_instead_of_files(void **state)
{
    struct scene *scene = *state;
    char text[8192] = "tls_server_config:\n  cert: |\n";
    const char *const pems[] = {scene->own.cert, scene->own.key};
    for (size_t i = 0; i < 2; i++) {
        char *pem = strdup(pems[i]);
        char *rest = pem;
        for (char *line = strsep(&rest, "\n"); line != NULL; line = strsep(&rest, "\n")) {
            size_t size = strlen(text);
            (void)snprintf(text + size, sizeof(text) - size, "    %s\n", line);
        }
        size_t size = strlen(text);
        (void)snprintf(text + size, sizeof(text) - size, "%s", i == 0 ? "  key: |\n" : "");
        free(pem);
    }
    struct material *material = load_well(scene, NO_FLAGS, text);
    assert_true(material->listener->tls);
    assert_int_equal(material->listener->files.count, 1);
    material_release(material);
}

#define TLS_WITH(field) "tls_server_config: {cert_file: own.crt, key_file: own.key, " field "}"

static void test_mistakes_of_tls(void **state)
{
    static const struct {
        const char *text;
        const char *error;
    } cases[] = {
        {"tls_server_config: {}",
         "web.yml:1: tls_server_config: cert_file and key_file are missing"},
        {"tls_server_config: {cert_file: own.crt}", "without its private key"},
        {"tls_server_config: {key_file: own.key}", "without its certificate"},
        {"tls_server_config: {cert_file: ca.crt, key_file: own.key}", "do not belong together"},
        {"\ntls_server_config:\n  cert_file: no.crt\n  key_file: own.key",
         "web.yml:3: cert_file: "},
        {TLS_WITH("min_version: TLS10"), "web.yml:1: min_version: is below TLS12"},
        {TLS_WITH("min_version: TLS11"), "is below TLS12"},
        {TLS_WITH("max_version: TLS11"), "max_version: is below TLS12"},
        {TLS_WITH("min_version: TLS13, max_version: TLS12"), "min_version is above max_version"},
        {TLS_WITH("cipher_suites: [NONE]"), "\"NONE\" is no cipher suite"},
        {TLS_WITH("cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]"), "is a weak suite"},
        {TLS_WITH("curve_preferences: [P256]"), "\"P256\" is not one of CurveP256"},
        {TLS_WITH("client_allowed_sans: [a]"), "client_allowed_sans: is not supported"},
        {TLS_WITH("certfile: a"), "the field \"certfile\" is not known here"},
        {"rate_limit: {interval: 1s}", "rate_limit: is not supported"},
        {"tls: {}", "the field \"tls\" is not known here"},
        {"[", "web.yml:2: did not find"}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        expect_error(*state, NO_FLAGS, cases[i].text, cases[i].error);
    }
}

static void test_mistakes_of_users_and_headers(void **state)
{
    static const struct {
        const char *text;
        const char *error;
    } cases[] = {
        {"basic_auth_users: {a: hunter2}",
         "basic_auth_users: the value of \"a\" (not shown) is no"},
        {"basic_auth_users: {a: [hunter2]}", "one value is expected"},
        {"basic_auth_users: [hunter2]", "pairs are expected"},
        {"basic_auth_users: {'a:b': " HASH "}", "has a colon"},
        {"basic_auth_users: {'': " HASH "}", "the name \"\" is empty"},
        {"basic_auth_users: {\"a\\n\": " HASH "}", "the name \"a\\n\" has a control character"},
        {"http_server_config: {headers: {Server: x}}", "\"Server\" cannot be set; these can"},
        {"http_server_config: {headers: {X-Frame-Options: maybe}}", "that browsers do not know"},
        {"http_server_config: {headers: {X-XSS-Protection: \"a\\r\\nb\"}}", "control character"},
        {"http_server_config: {header: {}}", "\"header\" is not known"}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct scene *scene = *state;
        expect_error(scene, NO_FLAGS, cases[i].text, cases[i].error);
        assert_null(strstr(scene->error, "hunter2"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_mistakes_of_flags),
        cmocka_unit_test(test_the_file),
        cmocka_unit_test(test_client_auth),
        cmocka_unit_test(test_texts_instead_of_files),
        cmocka_unit_test(test_mistakes_of_tls),
        cmocka_unit_test(test_mistakes_of_users_and_headers),
    };
    return cmocka_run_group_tests_name("config/web_config", tests, set_up, tear_down);
}
