/* Checks of certificates and keys as PEM texts, so that what is wrong is said at the start or the
 * reload, and not by a handshake that fails. */
#ifndef AGENT_PROXY_CONFIG_PEM_H
#define AGENT_PROXY_CONFIG_PEM_H

#include <stddef.h>
#include <stdint.h>

#define PEM_ERROR_BYTES 160

/* What is wrong with a pair. */
enum pem_fault { PEM_OK, PEM_CERT, PEM_KEY, PEM_PAIR };

/* Check a certificate (its own first, then those of its chain) and its private key: both are PEM,
 * the key is not encrypted, they belong together, and the certificate has not expired. now: [s]
 * since 1970. The reason follows the name of the file at fault in a message; no part of the key is
 * in it. */
enum pem_fault pem_check_pair(const char *cert, const char *key, int64_t now,
                              char error[PEM_ERROR_BYTES]);

/* Check a list of certificates that are trusted: at least one, all PEM. Errors: -EINVAL, and the
 * reason as above. */
__attribute__((warn_unused_result)) int pem_check_ca(const char *ca, char error[PEM_ERROR_BYTES]);

#endif
