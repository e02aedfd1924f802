/* What every flow module of a worker works with. */
#ifndef AGENT_PROXY_FLOW_CONTEXT_H
#define AGENT_PROXY_FLOW_CONTEXT_H

#include <stdint.h>

struct budget;
struct config;
struct gateway_state;
struct log;
struct metrics;

/* Owner: the worker; outlives its modules. All but metrics is shared by the workers. */
struct flow_context {
    const struct config *config;
    const struct log *log;
    struct budget *budget;
    struct budget *large_bodies;       /* of it: what large ones on their way in may hold */
    struct metrics *metrics;           /* the worker's own */
    _Atomic uint64_t *gateway_seen_us; /* when the gateway last answered, on any worker */
    struct gateway_state *gateway;     /* what became of the last writes, on any worker */
};

#endif
