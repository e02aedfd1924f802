/* Who may use the proxy: asks for a user and password where users are configured.
 *
 * Prometheus sends its password with each request, and a check takes 50 to 100 ms of CPU on the
 * checker's thread. So what was checked is remembered, right or wrong, as a keyed digest of the
 * header; only the first request that brings it waits, held at the server's gate with its body
 * unread, and those that come meanwhile with the same header wait with it.
 *
 * Open to all are /-/healthy and /-/ready: a kubelet's probes bring no password. */
#ifndef AGENT_PROXY_FLOW_GUARD_H
#define AGENT_PROXY_FLOW_GUARD_H

#include <stddef.h>

struct flow_context;
struct guard;
struct material_user;
struct password_checker;
struct server_gate;

/* checker is lent until guard_free(). Errors: NULL without memory. */
__attribute__((warn_unused_result)) struct guard *guard_new(const struct flow_context *context,
                                                            struct password_checker *checker);

/* After the server: no exchange may be held any more. */
void guard_free(struct guard *guard);

/* Ask for these users from now on, and forget what was remembered of others; without any, all may
 * pass. Checks under way are still answered by the users before.
 * Owner: lent until the next call or guard_free(). */
void guard_set_users(struct guard *guard, const struct material_user *users, size_t count);

/* The gate that the server asks. Owner: the guard. */
const struct server_gate *guard_gate(struct guard *guard);

/* One phase: exchanges whose check is done go on or are refused. */
void guard_tick(struct guard *guard);

#endif
