/* Tests of config/gateway_config: what each field comes to, that flags are stronger, and that no
 * credential is in a message. */
#include "config/gateway_config.h"

#include "certs.h"
#include "config/config.h"
#include "config/material.h"
#include "folder.h"

/* Load with a configuration in the flag, or in a file of the folder. */
static struct material *load(struct config config, const char *yaml, struct folder *folder,
                             char error[MATERIAL_ERROR_BYTES])
{
    char text[2048];
    char path[PATH_MAX];
    if (folder != NULL) {
        memcpy(path, folder_write(folder, "gateway.yml", yaml), PATH_MAX);
        config.gateway_config_file = path;
    } else if (yaml != NULL) {
        (void)snprintf(text, sizeof(text), "%s", yaml);
        config.gateway_config = text;
    }
    (void)snprintf(error, MATERIAL_ERROR_BYTES, "none");
    return material_load(&config, error);
}

static struct material *load_well(struct config config, const char *yaml, struct folder *folder)
{
    char error[MATERIAL_ERROR_BYTES];
    struct material *material = load(config, yaml, folder, error);
    if (material == NULL) {
        fail_msg("%s", error);
    }
    return material;
}

static void expect_error(struct config config, const char *yaml, struct folder *folder,
                         const char *reason)
{
    char error[MATERIAL_ERROR_BYTES];
    assert_null(load(config, yaml, folder, error));
    if (strstr(error, reason) == NULL || strstr(error, "hunter2") != NULL) {
        fail_msg("%s", error);
    }
}

static const struct config NO_FLAGS = {.max_idle_conns_per_host = 100, .max_conns_per_host = 3};

static void test_nothing(void **state)
{
    (void)state;
    static const char *const texts[] = {NULL, "", "{}", "basic_auth:\ntls_config:\n"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct material *material = load_well(NO_FLAGS, texts[i], NULL);
        const struct material_gateway *gateway = material->gateway;
        assert_null(gateway->ca_pem);
        assert_null(gateway->authorization);
        assert_null(gateway->proxy_url);
        assert_null(gateway->server_name);
        assert_false(gateway->insecure_skip_verify);
        assert_int_equal(gateway->max_idle_conns_per_host, 100);
        assert_int_equal(gateway->max_conns_per_host, 3);
        assert_int_equal(gateway->idle_conn_timeout_us, 0);
        material_release(material);
    }
}

static void test_credentials(void **state)
{
    (void)state;
    setenv("UNIT_PASSWORD", "s: \"x\"", 1);

    static const struct {
        const char *text;
        const char *header; /* NULL: none */
    } cases[] = {{"basic_auth: {username: Aladdin, password: open sesame}",
                  "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="},
                 {"basic_auth: {username: a}", "Basic YTo="},
                 {"basic_auth: {username: a, password: ''}", "Basic YTo="},
                 {"basic_auth: {username: a, password: '${UNIT_PASSWORD}'}", "Basic YTpzOiAieCI="},
                 {"basic_auth: {username_file: user, password_file: password}", "Basic YTpi"},
                 {"bearer_token: abc", "Bearer abc"},
                 {"bearer_token_file: token", "Bearer file.token"},
                 {"authorization: {credentials: abc}", "Bearer abc"},
                 {"authorization: {type: Token, credentials: abc}", "Token abc"},
                 {"authorization: {type: Token, credentials_file: token}", "Token file.token"},
                 {"bearer_token: ''", NULL}};

    struct folder folder;
    folder_init(&folder);
    (void)folder_write(&folder, "user", "a\n");
    (void)folder_write(&folder, "password", "b\r\n");
    (void)folder_write(&folder, "token", "file.token\n");
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct material *material = load_well(NO_FLAGS, cases[i].text, &folder);
        if (cases[i].header == NULL) {
            assert_null(material->gateway->authorization);
        } else {
            assert_string_equal(material->gateway->authorization, cases[i].header);
        }
        material_release(material);
    }
    folder_deinit(&folder);
    unsetenv("UNIT_PASSWORD");
}

static void test_mistakes_of_credentials(void **state)
{
    (void)state;

    static const struct {
        const char *text;
        const char *error;
    } cases[] = {
        {"basic_auth: {password: hunter2}", "basic_auth: username is missing"},
        {"basic_auth: {username: 'hunter2:', password: x}", "username: has a colon"},
        {"basic_auth: {username: a, password: hunter2, password_file: token}", "both as itself"},
        {"basic_auth: {username: a, password: \"hunter2\\n\"}", "has a control character"},
        {"basic_auth: {username: a, password_file: none}", "password_file: "},
        {"basic_auth: {username: a, pass: hunter2}", "the field \"pass\" is not known"},
        {"basic_auth: hunter2", "fields are expected"},
        {"bearer_token: hunter2\nbasic_auth: {username: a}", "at most one of"},
        {"bearer_token: hunter2\nauthorization: {credentials: b}", "at most one of"},
        {"bearer_token: hunter2 x", "bearer_token: the value (not shown) has a space"},
        {"bearer_token_file: two", "two: the value (not shown) has a space"},
        {"bearer_token_file: empty", "the value (not shown) is empty"},
        {"authorization: {type: Basic, credentials: hunter2}", "Basic is set by basic_auth"},
        {"authorization: {type: 'a b', credentials: hunter2}", "that no scheme may hold"},
        {"authorization: {type: Bearer}", "credentials or credentials_file is missing"},
        {"bearer_token: ${UNIT_NONE}", "the environment variable UNIT_NONE is not set"},
        {"bearer_token: [hunter2", "gateway.yml:"}};

    struct folder folder;
    folder_init(&folder);
    (void)folder_write(&folder, "token", "x");
    (void)folder_write(&folder, "two", "hunter2\nx\n");
    (void)folder_write(&folder, "empty", "\n");
    for (size_t i = 0; i < COUNT(cases); i++) {
        expect_error(NO_FLAGS, cases[i].text, &folder, cases[i].error);
    }
    folder_deinit(&folder);
}

static void test_proxies(void **state)
{
    (void)state;
    static const char *const good[] = {"http://proxy:3128", "https://u:p@proxy",
                                       "socks5://10.0.0.1:1080", "socks5h://[::1]:1080/"};
    static const char *const bad[] = {"proxy:3128", "ftp://hunter2",    "http://hunter2@",
                                      "http://",    "http://a/hunter2", "'http://hunter2 x'"};
    for (size_t i = 0; i < COUNT(good); i++) {
        char text[128];
        (void)snprintf(text, sizeof(text), "proxy_url: '%s'", good[i]);
        struct material *material = load_well(NO_FLAGS, text, NULL);
        assert_string_equal(material->gateway->proxy_url, good[i]);
        material_release(material);
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        char text[128];
        (void)snprintf(text, sizeof(text), "proxy_url: %s", bad[i]);
        expect_error(NO_FLAGS, text, NULL,
                     "--gateway.config: line 1: proxy_url: the value (not shown) ");
    }
    expect_error(NO_FLAGS, "proxy_from_environment: true", NULL, "is not supported");
    material_release(load_well(NO_FLAGS, "proxy_from_environment: false", NULL));
}

static void test_tls(void **state)
{
    (void)state;
    struct certs certs = certs_make(3600);
    struct folder folder;
    folder_init(&folder);
    (void)folder_write(&folder, "c", certs.cert);
    (void)folder_write(&folder, "k", certs.key);
    struct material *material =
        load_well(NO_FLAGS,
                  "tls_config: {ca_file: c, cert_file: c, key_file: k, server_name: gw.example, "
                  "insecure_skip_verify: true, min_version: TLS13, max_version: TLS13}",
                  &folder);
    const struct material_gateway *gateway = material->gateway;
    assert_string_equal(gateway->ca_pem, certs.cert);
    assert_string_equal(gateway->client_cert_pem, certs.cert);
    assert_string_equal(gateway->client_key_pem, certs.key);
    assert_string_equal(gateway->server_name, "gw.example");
    assert_true(gateway->insecure_skip_verify);
    assert_int_equal(gateway->min_version, MATERIAL_TLS_1_3);
    assert_int_equal(material->gateway->files.count, 3);
    material_release(material);
    expect_error(NO_FLAGS, "tls_config: {cert_file: c}", &folder, "without its private key");
    expect_error(NO_FLAGS, "tls_config: {ca_file: k}", &folder, "k: holds no certificate");
    expect_error(NO_FLAGS, "tls_config: {min_version: TLS10}", NULL, "is below TLS12");
    expect_error(NO_FLAGS, "tls_config: {max_version: TLS12}", NULL, "not supported below TLS13");
    expect_error(NO_FLAGS, "tls_config: {server_name: 'a b'}", NULL, "neither a host name");
    folder_deinit(&folder);
    certs_free(&certs);
}

static void test_flags_are_stronger(void **state)
{
    (void)state;
    struct certs certs = certs_make(3600);
    struct folder folder;
    folder_init(&folder);
    char cert[PATH_MAX];
    char key[PATH_MAX];
    char name[] = "flag.example";
    memcpy(cert, folder_write(&folder, "c", certs.cert), PATH_MAX);
    memcpy(key, folder_write(&folder, "k", certs.key), PATH_MAX);
    struct config config = NO_FLAGS;
    config.gateway_server_tls_client_ca = cert;
    config.gateway_client_tls_cert = cert;
    config.gateway_client_tls_key = key;
    config.gateway_server_name = name;
    struct material *material = load_well(
        config, "tls_config: {ca_file: /none, cert_file: /none, key_file: /none, server_name: x}",
        NULL);
    assert_string_equal(material->gateway->server_name, "flag.example");
    assert_string_equal(material->gateway->client_key_pem, certs.key);
    assert_int_equal(material->gateway->files.count, 2);
    material_release(material);
    config.gateway_client_tls_key = NULL;
    expect_error(config, "tls_config: {cert_file: c, key_file: k}", &folder,
                 "--gateway.client-tls-cert: the certificate is given without its private key");
    config = NO_FLAGS;
    config.gateway_config = name;
    expect_error(config, "{}", &folder, "--gateway.config-file is given too");
    folder_deinit(&folder);
    certs_free(&certs);
}

/* Flags as the command line gives them: their defaults are weaker than the file, they are not. */
static void test_numbers(void **state)
{
    (void)state;
    static const char yaml[] = "--gateway.config=transport_config: {max_idle_conns: 5, "
                               "idle_conn_timeout: 90s, max_idle_conns_per_host: 6, "
                               "max_conns_per_host: 7, tls_handshake_timeout: 1s, "
                               "response_header_timeout: 0, expect_continue_timeout: 1s, "
                               "disable_compression: true}\n"
                               "tls_config: {insecure_skip_verify: true}\n"
                               "follow_redirects: true\n"
                               "enable_http2: true";
    char *words[] = {strdup("agent-proxy"),         strdup("--gateway.address=http://a"),
                     strdup("--tenant=t"),          strdup(yaml),
                     strdup("--maxConnsPerHost=8"), strdup("--no-gateway.insecure-skip-verify")};
    for (int count = 4; count <= 6; count += 2) {
        struct config config;
        char error[CONFIG_ERROR_BYTES];
        assert_int_equal(config_parse(count, words, &config, error), CONFIG_RUN);
        struct material *material = load_well(config, NULL, NULL);
        assert_int_equal(material->gateway->max_idle_conns, 5);
        assert_int_equal(material->gateway->idle_conn_timeout_us, 90000000);
        assert_int_equal(material->gateway->max_idle_conns_per_host, 6);
        assert_int_equal(material->gateway->max_conns_per_host, count == 4 ? 7 : 8);
        assert_int_equal(material->gateway->insecure_skip_verify, count == 4);
        material_release(material);
        config_deinit(&config);
    }
    for (size_t i = 0; i < COUNT(words); i++) {
        free(words[i]);
    }
    expect_error(NO_FLAGS, "transport_config: {max_idle_conns: many}", NULL, "no whole number");
    expect_error(NO_FLAGS, "transport_config: {dial_timeout: 1s}", NULL, "is not known here");
}

static void test_what_is_not_supported(void **state)
{
    (void)state;
    static const char *const fields[] = {"no_proxy", "proxy_connect_header", "oauth2",
                                         "http_headers"};
    for (size_t i = 0; i < COUNT(fields); i++) {
        char text[64];
        (void)snprintf(text, sizeof(text), "%s: {}", fields[i]);
        expect_error(NO_FLAGS, text, NULL, ": is not supported: ");
    }
    expect_error(NO_FLAGS, "timeout: 1s", NULL, "the field \"timeout\" is not known here");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_credentials),
        cmocka_unit_test(test_mistakes_of_credentials),
        cmocka_unit_test(test_proxies),
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_flags_are_stronger),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_what_is_not_supported),
    };
    return cmocka_run_group_tests_name("config/gateway_config", tests, NULL, NULL);
}
