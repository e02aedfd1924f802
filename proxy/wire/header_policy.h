/* Which headers pass through a relayed read: an allow list towards the gateway, everything but the
 * hop-by-hop ones and our own framing towards the client. What Connection lists is stripped both
 * ways. Source: RFC 9110, section 7.6.1.
 *
 * All headers of a message are noted first, since Connection may come after what it lists:
 *
 *     header_policy_init() -> header_policy_note() for each -> header_policy_up() for each
 *                                                              or header_policy_down() */
#ifndef AGENT_PROXY_WIRE_HEADER_POLICY_H
#define AGENT_PROXY_WIRE_HEADER_POLICY_H

#include <stdbool.h>
#include <stddef.h>

/* Connection headers of one message, far above any honest one. Each header is looked up in all of
 * them, so without a bound a message could keep us busy. */
#define HEADER_POLICY_CONNECTIONS_MAX      8
#define HEADER_POLICY_CONNECTION_BYTES_MAX 1024 /* [bytes] of their values together */

/* The policy for one message. Owner: the caller; borrows the values of its Connection headers. */
struct header_policy {
    bool forward_authorization;
    unsigned connections;
    size_t connection_bytes; /* of all values */

    struct {
        const char *value;
        size_t bytes;
    } connection[HEADER_POLICY_CONNECTIONS_MAX];
};

/* forward_authorization: a request's Authorization passes too. */
void header_policy_init(struct header_policy *policy, bool forward_authorization);

/* See a header before any is judged. Keeps the value of Connection, which must outlive the policy.
 * Errors: -E2BIG: too many Connection headers, or too long; refuse the message. */
__attribute__((warn_unused_result)) int header_policy_note(struct header_policy *policy,
                                                           const char *name, size_t name_bytes,
                                                           const char *value, size_t value_bytes);

/* True if a request's header goes to the gateway as it is. */
bool header_policy_up(const struct header_policy *policy, const char *name, size_t name_bytes,
                      const char *value, size_t value_bytes);

/* True if a response's header goes to the client as it is. Content-Length and Date do not: the
 * HTTP library writes its own. */
bool header_policy_down(const struct header_policy *policy, const char *name, size_t name_bytes,
                        const char *value, size_t value_bytes);

#endif
