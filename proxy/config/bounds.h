/* What the whole process comes to at most, from its settings and from what the machine gives it. */
#ifndef AGENT_PROXY_CONFIG_BOUNDS_H
#define AGENT_PROXY_CONFIG_BOUNDS_H

#include <stddef.h>
#include <stdint.h>

struct config;

/* Resident memory. budget_bytes: of all that is held for requests. Units: [bytes].
 * Source: ARCHITECTURE.md, Memory. */
uint64_t bounds_memory(const struct config *config, size_t workers, uint64_t budget_bytes);

/* Connections of each worker: as many as are set, or fewer, at least 1, so that with all of them
 * open there are descriptors for files, for the proxy's own pages and to reach the gateway.
 * descriptors: that the process may have open. */
uint64_t bounds_connections(const struct config *config, size_t workers, uint64_t descriptors);

#endif
