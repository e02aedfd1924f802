/* The Authorization header of HTTP's basic scheme. */
#ifndef AGENT_PROXY_WIRE_BASIC_AUTH_H
#define AGENT_PROXY_WIRE_BASIC_AUTH_H

#define BASIC_AUTH_BYTES_MAX 768 /* of user, colon and password */

/* Owner: the caller, who wipes it: it holds a password. */
struct basic_auth {
    char text[BASIC_AUTH_BYTES_MAX + 1];
    const char *user; /* both inside text, terminated */
    const char *password;
};

/* Take a header's value apart; NULL is no value. The first colon ends the user; base64 is taken
 * strictly, but its padding may be missing.
 * Errors: -EINVAL: another scheme, no base64, too long, no colon, or a NUL within.
 * Source: RFC 7617 section 2, RFC 4648 section 4. */
__attribute__((warn_unused_result)) int basic_auth_parse(const char *value,
                                                         struct basic_auth *auth);

#endif
