/* Asks the gateway now and then whether it is there, when nothing else does: for a readiness that
 * speaks of the gateway (--ready.gateway). */
#ifndef AGENT_PROXY_FLOW_GATEWAY_PROBE_H
#define AGENT_PROXY_FLOW_GATEWAY_PROBE_H

#include <stdint.h>

struct flow_context;
struct gateway_probe;
struct upstream;

/* upstream is lent until gateway_probe_free(). Errors: NULL without memory. */
__attribute__((warn_unused_result)) struct gateway_probe *
gateway_probe_new(const struct flow_context *context, struct upstream *upstream);

/* Free it, before the upstream. */
void gateway_probe_free(struct gateway_probe *probe);

/* One phase, and when it is due. Units: [us] monotonic, or LOOP_NEVER. */
void gateway_probe_tick(struct gateway_probe *probe);
uint64_t gateway_probe_deadline_us(const struct gateway_probe *probe);

#endif
