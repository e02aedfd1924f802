/* What the proxy says of itself: /metrics, /-/healthy, /-/ready, the status page, and the replies
 * to requests that no route takes. */
#ifndef AGENT_PROXY_FLOW_ADMIN_H
#define AGENT_PROXY_FLOW_ADMIN_H

#include "flow/gateway_state.h"
#include "server/server.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct admin;
struct flow_context;
struct metrics;
struct status;

/* What the workers share and admin shows. Owner: main; outlives the workers. */
struct admin_shared {
    const char *version;
    const char *revision;
    struct metrics *const *metrics; /* one set a worker */
    size_t workers;
    _Atomic size_t serving; /* workers that serve */
    atomic_bool stopping;
    atomic_bool reload_successful;  /* the last time that certificates and credentials were read */
    _Atomic size_t outdated;        /* workers that cannot use a certificate that was read */
    _Atomic uint64_t reload_time_s; /* [s] Unix time of the last success */
    _Atomic uint64_t gateway_seen_us; /* monotonic, of its last answer; 0: never */
    struct gateway_state gateway;
    uint64_t cpu_quota_millis;     /* of the container; 0: none */
    uint64_t memory_limit_bytes;   /* of the container; 0: none */
    uint64_t memory_ceiling_bytes; /* computed */
    struct status *status;         /* of the status page; NULL: it is disabled */
};

/* What was read the last time is in use. */
static inline bool admin_reload_successful(const struct admin_shared *shared)
{
    return atomic_load(&shared->reload_successful) && atomic_load(&shared->outdated) == 0;
}

/* Errors: NULL without memory. */
__attribute__((warn_unused_result)) struct admin *admin_new(const struct flow_context *context,
                                                            const struct admin_shared *shared);
void admin_free(struct admin *admin);

/* The handler of /metrics, /-/healthy, /-/ready and the status page. Owner: admin. */
const struct server_handler *admin_handler(struct admin *admin);

/* The reply to a request that the server turned away; owner is the admin. */
void admin_on_refused(void *owner, struct exchange *exchange, enum server_refusal refusal,
                      const char *reason);

#endif
