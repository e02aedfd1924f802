/* Tests of config/ciphers: names, refusals, and what a server and a client then agree on. */
#include "config/ciphers.h"

#include "certs.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

static char *build(struct cipher_choice choice)
{
    char *priorities = NULL;
    char error[CIPHERS_ERROR_BYTES] = "";
    if (ciphers_build(&choice, &priorities, error) < 0) {
        fail_msg("%s", error);
    }
    return priorities;
}

static void expect_error(struct cipher_choice choice, const char *reason)
{
    char *priorities = NULL;
    char error[CIPHERS_ERROR_BYTES] = "";
    assert_int_equal(ciphers_build(&choice, &priorities, error), -EINVAL);
    assert_null(priorities);
    assert_string_equal(error, reason);
}

static void test_versions(void **state)
{
    (void)state;
    enum material_tls_version version = MATERIAL_TLS_1_2;
    assert_null(ciphers_parse_version("TLS13", &version));
    assert_int_equal(version, MATERIAL_TLS_1_3);
    assert_null(ciphers_parse_version("TLS12", &version));
    assert_int_equal(version, MATERIAL_TLS_1_2);
    assert_non_null(strstr(ciphers_parse_version("TLS10", &version), "RFC 8996"));
    assert_non_null(strstr(ciphers_parse_version("TLS11", &version), "RFC 8996"));
    assert_non_null(strstr(ciphers_parse_version("tls12", &version), "not one of"));
    assert_non_null(strstr(ciphers_parse_version("", &version), "not one of"));
    expect_error((struct cipher_choice){.min_version = MATERIAL_TLS_1_3},
                 "min_version is above max_version");
}

static void test_names_that_are_refused(void **state)
{
    (void)state;
    char *names[] = {NULL};
    struct cipher_choice choice = {
        .max_version = MATERIAL_TLS_1_3, .suites = names, .suite_count = 1};
    char cbc[] = "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA";
    char rsa[] = "TLS_RSA_WITH_AES_128_GCM_SHA256";
    char none[] = "AES128\n";
    names[0] = cbc;
    expect_error(choice, "\"TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA\" is a weak suite: only those of "
                         "ECDHE with GCM or ChaCha20 are spoken");
    names[0] = rsa;
    expect_error(choice, "\"TLS_RSA_WITH_AES_128_GCM_SHA256\" is a weak suite: only those of "
                         "ECDHE with GCM or ChaCha20 are spoken");
    names[0] = none;
    expect_error(choice, "\"AES128\\n\" is no cipher suite that is known here");
    choice =
        (struct cipher_choice){.max_version = MATERIAL_TLS_1_3, .curves = names, .curve_count = 1};
    expect_error(choice, "\"AES128\\n\" is not one of CurveP256, CurveP384, CurveP521, X25519");
}

/* One end of a handshake. */
struct end {
    gnutls_session_t session;
    gnutls_certificate_credentials_t credentials;
};

static void end_init(struct end *end, unsigned flags, const char *priorities,
                     const struct certs *certs, int fd)
{
    assert_int_equal(gnutls_certificate_allocate_credentials(&end->credentials), 0);
    if (flags == GNUTLS_SERVER) {
        gnutls_datum_t cert = {(unsigned char *)certs->cert, (unsigned)strlen(certs->cert)};
        gnutls_datum_t key = {(unsigned char *)certs->key, (unsigned)strlen(certs->key)};
        assert_true(gnutls_certificate_set_x509_key_mem(end->credentials, &cert, &key,
                                                        GNUTLS_X509_FMT_PEM) >= 0);
    }
    assert_int_equal(gnutls_init(&end->session, flags | GNUTLS_NONBLOCK), 0);
    assert_int_equal(gnutls_priority_set_direct(end->session, priorities, NULL), 0);
    assert_int_equal(gnutls_credentials_set(end->session, GNUTLS_CRD_CERTIFICATE, end->credentials),
                     0);
    gnutls_transport_set_int(end->session, fd);
}

static void end_deinit(struct end *end)
{
    gnutls_deinit(end->session);
    gnutls_certificate_free_credentials(end->credentials);
}

/* Shake hands over a socket pair. Returns false when the two agree on nothing. */
static bool agree(const char *server_priorities, const char *client_priorities,
                  gnutls_protocol_t *version, gnutls_cipher_algorithm_t *cipher)
{
    struct certs certs = certs_make(3600);
    struct end server;
    struct end client;
    int fds[2];
    int results[2] = {GNUTLS_E_AGAIN, GNUTLS_E_AGAIN};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    end_init(&server, GNUTLS_SERVER, server_priorities, &certs, fds[0]);
    end_init(&client, GNUTLS_CLIENT, client_priorities, &certs, fds[1]);
    for (int turn = 0; turn < 100 && (results[0] != 0 || results[1] != 0); turn++) {
        struct end *ends[] = {&client, &server};
        for (size_t i = 0; i < 2; i++) {
            if (results[i] != 0 && gnutls_error_is_fatal(results[i]) == 0) {
                results[i] = gnutls_handshake(ends[i]->session);
            }
        }
    }
    bool agreed = results[0] == 0 && results[1] == 0;
    if (agreed) {
        *version = gnutls_protocol_get_version(server.session);
        *cipher = gnutls_cipher_get(server.session);
    }
    end_deinit(&server);
    end_deinit(&client);
    close(fds[0]);
    close(fds[1]);
    certs_free(&certs);
    return agreed;
}

static void expect_agreement(struct cipher_choice choice, const char *client,
                             gnutls_protocol_t version, gnutls_cipher_algorithm_t cipher)
{
    char *priorities = build(choice);
    gnutls_protocol_t got_version = GNUTLS_VERSION_UNKNOWN;
    gnutls_cipher_algorithm_t got_cipher = GNUTLS_CIPHER_UNKNOWN;
    bool agreed = agree(priorities, client, &got_version, &got_cipher);
    if (!agreed && version == GNUTLS_VERSION_UNKNOWN) {
        free(priorities);
        return;
    }
    if (!agreed || got_version != version ||
        (cipher != GNUTLS_CIPHER_UNKNOWN && got_cipher != cipher)) {
        fail_msg("%s with %s: %d %d", priorities, client, got_version, got_cipher);
    }
    free(priorities);
}

#define ONLY_1_2 "NORMAL:-VERS-ALL:+VERS-TLS1.2"
#define ONLY_1_1 "NORMAL:-VERS-ALL:+VERS-TLS1.1"

static void test_agreement_on_versions(void **state)
{
    (void)state;
    struct cipher_choice all = {.max_version = MATERIAL_TLS_1_3, .prefer_server = true};
    struct cipher_choice new_only = {.min_version = MATERIAL_TLS_1_3,
                                     .max_version = MATERIAL_TLS_1_3};
    struct cipher_choice old_only = {.max_version = MATERIAL_TLS_1_2};
    expect_agreement(all, "NORMAL", GNUTLS_TLS1_3, GNUTLS_CIPHER_AES_128_GCM);
    expect_agreement(all, ONLY_1_2, GNUTLS_TLS1_2, GNUTLS_CIPHER_AES_128_GCM);
    expect_agreement(all, ONLY_1_1, GNUTLS_VERSION_UNKNOWN, 0);
    expect_agreement(new_only, "NORMAL", GNUTLS_TLS1_3, GNUTLS_CIPHER_UNKNOWN);
    expect_agreement(new_only, ONLY_1_2, GNUTLS_VERSION_UNKNOWN, 0);
    expect_agreement(old_only, "NORMAL", GNUTLS_TLS1_2, GNUTLS_CIPHER_UNKNOWN);
}

static void test_agreement_on_suites(void **state)
{
    (void)state;
    char chacha[] = "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256";
    char aes_256[] = "TLS_AES_256_GCM_SHA384";
    char *suites[] = {chacha};
    struct cipher_choice choice = {
        .max_version = MATERIAL_TLS_1_3, .suites = suites, .suite_count = 1};
    expect_agreement(choice, ONLY_1_2, GNUTLS_TLS1_2, GNUTLS_CIPHER_CHACHA20_POLY1305);
    expect_agreement(choice, "NORMAL", GNUTLS_TLS1_3, GNUTLS_CIPHER_CHACHA20_POLY1305);
    expect_agreement(choice, ONLY_1_2 ":-CHACHA20-POLY1305", GNUTLS_VERSION_UNKNOWN, 0);
    suites[0] = aes_256;
    expect_agreement(choice, "NORMAL", GNUTLS_TLS1_3, GNUTLS_CIPHER_AES_256_GCM);
}

static void test_agreement_on_curves(void **state)
{
    (void)state;
    char p521[] = "CurveP521";
    char p256[] = "CurveP256";
    char *curves[] = {p521, p256};
    struct cipher_choice choice = {
        .max_version = MATERIAL_TLS_1_3, .curves = curves, .curve_count = 1};
    expect_agreement(choice, "NORMAL:-GROUP-ALL:+GROUP-X25519", GNUTLS_VERSION_UNKNOWN, 0);
    expect_agreement(choice, "NORMAL:-GROUP-ALL:+GROUP-SECP521R1", GNUTLS_TLS1_3,
                     GNUTLS_CIPHER_UNKNOWN);
    choice.curve_count = 2;
    expect_agreement(choice, "NORMAL:-GROUP-ALL:+GROUP-SECP256R1", GNUTLS_TLS1_3,
                     GNUTLS_CIPHER_UNKNOWN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_names_that_are_refused),
        cmocka_unit_test(test_agreement_on_versions),
        cmocka_unit_test(test_agreement_on_suites),
        cmocka_unit_test(test_agreement_on_curves),
    };
    return cmocka_run_group_tests_name("config/ciphers", tests, NULL, NULL);
}
