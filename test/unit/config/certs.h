/* Certificates for the unit tests of config, made as they are needed. */
#ifndef AGENT_PROXY_TEST_CERTS_H
#define AGENT_PROXY_TEST_CERTS_H

#include "../base/unit.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <time.h>

/* Owner: the test; texts are freed with certs_free(). */
struct certs {
    char *cert;
    char *key;
    char *encrypted_key; /* password "abcd" */
};

static inline char *certs_text(gnutls_datum_t *datum)
{
    char *text = calloc(1, datum->size + 1U);
    assert_non_null(text);
    memcpy(text, datum->data, datum->size);
    gnutls_free(datum->data);
    return text;
}

/* Make a key and a self-signed certificate that ends that many seconds from now. */
static inline struct certs certs_make(int64_t seconds)
{
    struct certs certs = {NULL, NULL, NULL};
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t cert;
    gnutls_datum_t datum;
    time_t now = time(NULL);
    assert_int_equal(gnutls_x509_privkey_init(&key), 0);
    assert_int_equal(gnutls_x509_privkey_generate(
                         key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0),
                     0);
    assert_int_equal(gnutls_x509_crt_init(&cert), 0);
    assert_int_equal(gnutls_x509_crt_set_version(cert, 3), 0);
    assert_int_equal(gnutls_x509_crt_set_serial(cert, "\1", 1), 0);
    assert_int_equal(gnutls_x509_crt_set_activation_time(cert, now - 7200), 0);
    assert_int_equal(gnutls_x509_crt_set_expiration_time(cert, now + seconds), 0);
    assert_int_equal(gnutls_x509_crt_set_key(cert, key), 0);
    assert_int_equal(gnutls_x509_crt_set_dn(cert, "CN=test", NULL), 0);
    assert_int_equal(gnutls_x509_crt_sign2(cert, cert, key, GNUTLS_DIG_SHA256, 0), 0);
    assert_int_equal(gnutls_x509_crt_export2(cert, GNUTLS_X509_FMT_PEM, &datum), 0);
    certs.cert = certs_text(&datum);
    assert_int_equal(gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &datum), 0);
    certs.key = certs_text(&datum);
    assert_int_equal(gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_PEM, "abcd",
                                                       GNUTLS_PKCS_PBES2_AES_128, &datum),
                     0);
    certs.encrypted_key = certs_text(&datum);
    gnutls_x509_crt_deinit(cert);
    gnutls_x509_privkey_deinit(key);
    return certs;
}

static inline void certs_free(struct certs *certs)
{
    free(certs->cert);
    free(certs->key);
    free(certs->encrypted_key);
}

#endif
