/* TLS versions, cipher suites and curves by the names that Go gives them, as a GnuTLS priority
 * string. */
#ifndef AGENT_PROXY_CONFIG_CIPHERS_H
#define AGENT_PROXY_CONFIG_CIPHERS_H

#include "config/material.h"

#include <stdbool.h>
#include <stddef.h>

#define CIPHERS_ERROR_BYTES 160

/* What to choose from. No suites or no curves: all that are good. */
struct cipher_choice {
    enum material_tls_version min_version;
    enum material_tls_version max_version;
    bool prefer_server; /* the server's order counts, not the client's */
    char *const *suites;
    size_t suite_count;
    char *const *curves;
    size_t curve_count;
};

/* Read "TLS12" or "TLS13". Returns NULL, or why it is refused, to follow the name. */
const char *ciphers_parse_version(const char *text, enum material_tls_version *version);

/* Make the priority string. GnuTLS chooses cipher and key exchange each for itself: with
 * ECDHE_RSA with AES and ECDHE_ECDSA with ChaCha20 the two other pairs are taken as well. The
 * suites of TLS 1.3 are those with the same ciphers.
 * Owner: the caller, with free().
 * Errors: -EINVAL, and one line in error that names the suite or curve. */
__attribute__((warn_unused_result)) int ciphers_build(const struct cipher_choice *choice,
                                                      char **priorities,
                                                      char error[CIPHERS_ERROR_BYTES]);

#endif
