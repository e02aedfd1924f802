/* Translates names of Go's TLS into a GnuTLS priority string. Owns nothing. */
#include "config/ciphers.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/escape.h"

#include <assert.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PRIORITIES_BYTES_MAX 1024
#define NAME_SHOWN_BYTES_MAX 60

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* A suite of TLS 1.2 or 1.3 that encrypts and authenticates in one, with forward secrecy. */
struct cipher_suite {
    const char *name;
    const char *cipher;
    const char *exchange; /* NULL: TLS 1.3, where it is no part of the suite */
};

static const struct cipher_suite SUITES[] = {
    {"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "AES-128-GCM", "ECDHE-RSA"},
    {"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "AES-256-GCM", "ECDHE-RSA"},
    {"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305", "ECDHE-RSA"},
    {"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", "CHACHA20-POLY1305", "ECDHE-RSA"},
    {"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "AES-128-GCM", "ECDHE-ECDSA"},
    {"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "AES-256-GCM", "ECDHE-ECDSA"},
    {"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305", "ECDHE-ECDSA"},
    {"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", "CHACHA20-POLY1305", "ECDHE-ECDSA"},
    {"TLS_AES_128_GCM_SHA256", "AES-128-GCM", NULL},
    {"TLS_AES_256_GCM_SHA384", "AES-256-GCM", NULL},
    {"TLS_CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305", NULL},
};

static const char *const CIPHERS[] = {"AES-128-GCM", "AES-256-GCM", "CHACHA20-POLY1305"};
static const char *const EXCHANGES[] = {"ECDHE-ECDSA", "ECDHE-RSA"};

struct cipher_curve {
    const char *name;
    const char *group;
};

static const struct cipher_curve CURVES[] = {{"X25519", "GROUP-X25519"},
                                             {"CurveP256", "GROUP-SECP256R1"},
                                             {"CurveP384", "GROUP-SECP384R1"},
                                             {"CurveP521", "GROUP-SECP521R1"}};

const char *ciphers_parse_version(const char *text, enum material_tls_version *version)
{
    if (strcmp(text, "TLS12") == 0 || strcmp(text, "TLS13") == 0) {
        *version = text[4] == '2' ? MATERIAL_TLS_1_2 : MATERIAL_TLS_1_3;
        return NULL;
    }
    if (strcmp(text, "TLS10") == 0 || strcmp(text, "TLS11") == 0) {
        return "is below TLS12: TLS 1.0 and 1.1 have been broken and are not spoken (RFC 8996)";
    }
    return "is not one of TLS12, TLS13";
}

static int ciphers_refuse(const char *name, const char *reason, char error[CIPHERS_ERROR_BYTES])
{
    char shown[NAME_SHOWN_BYTES_MAX + 1];
    size_t size = escape_json(shown, NAME_SHOWN_BYTES_MAX, name, strlen(name));
    shown[size] = '\0';
    (void)snprintf(error, CIPHERS_ERROR_BYTES, "\"%s\" %s", shown, reason);
    return -EINVAL;
}

static int ciphers_refuse_suite(const char *name, char error[CIPHERS_ERROR_BYTES])
{
    bool known = strncmp(name, "TLS_", 4) == 0 &&
                 (strstr(name, "_CBC_") != NULL || strstr(name, "_RC4_") != NULL ||
                  strncmp(name, "TLS_RSA_WITH_", 13) == 0);
    return ciphers_refuse(name,
                          known ? "is a weak suite: only those of ECDHE with GCM or ChaCha20 are "
                                  "spoken"
                                : "is no cipher suite that is known here",
                          error);
}

static const struct cipher_suite *ciphers_find(const char *name)
{
    for (size_t i = 0; i < COUNT(SUITES); i++) {
        if (strcmp(SUITES[i].name, name) == 0) {
            return &SUITES[i];
        }
    }
    return NULL;
}

/* Add ":+word" once; the words do not hold one another. */
static void ciphers_add(struct buf *out, const char *word)
{
    size_t bytes = strlen(word);
    for (size_t i = 0; i + bytes <= out->size; i++) {
        if (memcmp(out->data + i, word, bytes) == 0) {
            return;
        }
    }
    int result = buf_printf(out, ":+%s", word);
    assert(result == 0);
}

static void ciphers_add_all(struct buf *out, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        ciphers_add(out, words[i]);
    }
}

static void ciphers_add_text(struct buf *out, const char *text)
{
    int result = buf_append(out, text, strlen(text));
    assert(result == 0);
}

/* Add the exchanges of the suites, all of them where no suite names one. */
static void ciphers_add_exchanges(const struct cipher_choice *choice, struct buf *out)
{
    bool any = false;
    ciphers_add_text(out, ":-KX-ALL");
    for (size_t i = 0; i < choice->suite_count; i++) {
        const struct cipher_suite *suite = ciphers_find(choice->suites[i]);
        if (suite != NULL && suite->exchange != NULL) {
            ciphers_add(out, suite->exchange);
            any = true;
        }
    }
    if (!any) {
        ciphers_add_all(out, EXCHANGES, COUNT(EXCHANGES));
    }
}

static int ciphers_add_suites(const struct cipher_choice *choice, struct buf *out,
                              char error[CIPHERS_ERROR_BYTES])
{
    ciphers_add_text(out, ":-CIPHER-ALL");
    for (size_t i = 0; i < choice->suite_count; i++) {
        const struct cipher_suite *suite = ciphers_find(choice->suites[i]);
        if (suite == NULL) {
            return ciphers_refuse_suite(choice->suites[i], error);
        }
        ciphers_add(out, suite->cipher);
    }
    if (choice->suite_count == 0) {
        ciphers_add_all(out, CIPHERS, COUNT(CIPHERS));
    }
    ciphers_add_exchanges(choice, out);
    return 0;
}

static int ciphers_add_curves(const struct cipher_choice *choice, struct buf *out,
                              char error[CIPHERS_ERROR_BYTES])
{
    if (choice->curve_count > 0) {
        ciphers_add_text(out, ":-GROUP-ALL");
    }
    for (size_t i = 0; i < choice->curve_count; i++) {
        size_t row = 0;
        while (row < COUNT(CURVES) && strcmp(CURVES[row].name, choice->curves[i]) != 0) {
            row++;
        }
        if (row == COUNT(CURVES)) {
            return ciphers_refuse(choice->curves[i],
                                  "is not one of CurveP256, CurveP384, CurveP521, X25519", error);
        }
        ciphers_add(out, CURVES[row].group);
    }
    return 0;
}

static int ciphers_write(const struct cipher_choice *choice, struct buf *out,
                         char error[CIPHERS_ERROR_BYTES])
{
    if (choice->min_version > choice->max_version) {
        (void)snprintf(error, CIPHERS_ERROR_BYTES, "min_version is above max_version");
        return -EINVAL;
    }
    ciphers_add_text(out, "NORMAL:-VERS-ALL");
    if (choice->max_version == MATERIAL_TLS_1_3) {
        ciphers_add(out, "VERS-TLS1.3");
    }
    if (choice->min_version == MATERIAL_TLS_1_2) {
        ciphers_add(out, "VERS-TLS1.2");
    }
    int result = ciphers_add_suites(choice, out, error);
    if (result == 0) {
        ciphers_add_text(out, ":-MAC-ALL:+AEAD");
        result = ciphers_add_curves(choice, out, error);
    }
    if (result == 0 && choice->prefer_server) {
        ciphers_add_text(out, ":%SERVER_PRECEDENCE");
    }
    return result;
}

int ciphers_build(const struct cipher_choice *choice, char **priorities,
                  char error[CIPHERS_ERROR_BYTES])
{
    struct buf out;
    gnutls_priority_t cache;
    buf_init(&out, PRIORITIES_BYTES_MAX);
    int result = ciphers_write(choice, &out, error);
    if (result < 0) {
        buf_deinit(&out);
        return result;
    }
    char *text = alloc_copy((const char *)out.data, out.size);
    buf_deinit(&out);
    int code = gnutls_priority_init(&cache, text, NULL);
    if (code < 0) { /* the library may be under a policy of its own */
        (void)snprintf(error, CIPHERS_ERROR_BYTES, "GnuTLS takes no such choice: %s",
                       gnutls_strerror(code));
        free(text);
        return -EINVAL;
    }
    gnutls_priority_deinit(cache);
    *priorities = text;
    return 0;
}
