/* Texts that must not stay in memory or reach a message, and the forms that they take. */
#ifndef AGENT_PROXY_CONFIG_SECRET_H
#define AGENT_PROXY_CONFIG_SECRET_H

#include <stddef.h>

/* Wipe and free a text. NULL is passed over. */
void secret_free(char *text);

/* Cut one line end ("\n" or "\r\n") off a text that was read from a file: editors add one. */
void secret_trim(char *text);

/* Check a password: 1 to 4096 bytes, no control characters. Returns NULL or why it is refused, to
 * follow "the password" or "the token" in a message. Source: RFC 7617 section 2. */
const char *secret_check_password(const char *text);

/* Check a token: 1 to 16384 visible ASCII characters. Returns as above. Source: RFC 9110 section
 * 11.2, taken wider: whatever can stand in a header without a second reading. */
const char *secret_check_token(const char *text);

/* Check a bcrypt hash: $2a$, $2b$ or $2y$, the cost, 53 characters. Returns as above. */
const char *secret_check_bcrypt(const char *text);

/* Make "Basic " and base64 of "user:password". Owner: the caller, with secret_free(). */
char *secret_basic(const char *user, const char *password);

#endif
