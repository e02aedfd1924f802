/* Checks PEM texts with GnuTLS. Owns nothing. */
#include "config/pem.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static gnutls_datum_t pem_datum(const char *text)
{
    /* The library takes no const, and does not write. */
    union {
        const char *in;
        unsigned char *out;
    } bytes = {.in = text};

    return (gnutls_datum_t){.data = bytes.out, .size = (unsigned)strlen(text)};
}

/* Read a list of certificates. Returns their number or a negative code of GnuTLS. Owner: the
 * caller, with pem_free_list(). */
static int pem_read_list(const char *text, gnutls_x509_crt_t **list, unsigned *count)
{
    gnutls_datum_t datum = pem_datum(text);
    return gnutls_x509_crt_list_import2(list, count, &datum, GNUTLS_X509_FMT_PEM, 0);
}

static void pem_free_list(gnutls_x509_crt_t *list, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        gnutls_x509_crt_deinit(list[i]);
    }
    gnutls_free(list);
}

static int pem_check_expiry(gnutls_x509_crt_t cert, int64_t now, char error[PEM_ERROR_BYTES])
{
    time_t end = gnutls_x509_crt_get_expiration_time(cert);
    if (end == (time_t)-1 || end > now) {
        return 0;
    }
    struct tm parts;
    char day[32] = "long ago";
    if (gmtime_r(&end, &parts) != NULL) {
        (void)strftime(day, sizeof(day), "on %Y-%m-%d %H:%M UTC", &parts);
    }
    (void)snprintf(error, PEM_ERROR_BYTES, "the certificate expired %s", day);
    return -EINVAL;
}

static int pem_check_cert(const char *text, int64_t now, char error[PEM_ERROR_BYTES])
{
    gnutls_x509_crt_t *list = NULL;
    unsigned count = 0;
    if (pem_read_list(text, &list, &count) < 0 || count == 0) {
        (void)snprintf(error, PEM_ERROR_BYTES, "holds no certificate in PEM form");
        return -EINVAL;
    }
    int result = pem_check_expiry(list[0], now, error);
    pem_free_list(list, count);
    return result;
}

static int pem_check_key(const char *text, char error[PEM_ERROR_BYTES])
{
    gnutls_x509_privkey_t key;
    gnutls_datum_t datum = pem_datum(text);
    int result = gnutls_x509_privkey_init(&key);
    if (result == 0) {
        result = gnutls_x509_privkey_import2(key, &datum, GNUTLS_X509_FMT_PEM, NULL, 0);
        gnutls_x509_privkey_deinit(key);
    }
    if (result == 0) {
        return 0;
    }
    bool encrypted = result == GNUTLS_E_DECRYPTION_FAILED || strstr(text, "ENCRYPTED") != NULL;
    (void)snprintf(error, PEM_ERROR_BYTES, "%s",
                   encrypted ? "holds an encrypted private key; it must be a plain one"
                             : "holds no private key in PEM form");
    return -EINVAL;
}

enum pem_fault pem_check_pair(const char *cert, const char *key, int64_t now,
                              char error[PEM_ERROR_BYTES])
{
    if (pem_check_cert(cert, now, error) < 0) {
        return PEM_CERT;
    }
    if (pem_check_key(key, error) < 0) {
        return PEM_KEY;
    }
    gnutls_certificate_credentials_t credentials;
    gnutls_datum_t cert_datum = pem_datum(cert);
    gnutls_datum_t key_datum = pem_datum(key);
    int result = gnutls_certificate_allocate_credentials(&credentials);
    if (result == 0) {
        result = gnutls_certificate_set_x509_key_mem(credentials, &cert_datum, &key_datum,
                                                     GNUTLS_X509_FMT_PEM);
        gnutls_certificate_free_credentials(credentials);
    }
    if (result >= 0) {
        return PEM_OK;
    }
    if (result == GNUTLS_E_CERTIFICATE_KEY_MISMATCH) {
        (void)snprintf(error, PEM_ERROR_BYTES,
                       "the certificate and the key do not belong together");
    } else {
        (void)snprintf(error, PEM_ERROR_BYTES, "the certificate and the key cannot be used: %s",
                       gnutls_strerror(result));
    }
    return PEM_PAIR;
}

int pem_check_ca(const char *ca, char error[PEM_ERROR_BYTES])
{
    gnutls_x509_crt_t *list = NULL;
    unsigned count = 0;
    if (pem_read_list(ca, &list, &count) < 0 || count == 0) {
        (void)snprintf(error, PEM_ERROR_BYTES, "holds no certificate in PEM form");
        return -EINVAL;
    }
    pem_free_list(list, count);
    return 0;
}
