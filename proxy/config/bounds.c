/* Sums over settings. Owns nothing. */
#include "config/bounds.h"

#include "config/config.h"

/* Parts of the memory. Units: [bytes]. */
#define PROGRAM_BYTES    (24U * 1024U * 1024U) /* code, libraries, heap that is kept */
#define WRITE_CALL_BYTES (320U * 1024U)        /* libcurl's buffers of one write by it */
#define READ_CALL_BYTES  (160U * 1024U)        /* and of one read */
#define CONNECTION_BYTES (34U * 1024U)         /* libmicrohttpd's of one connection */

/* Parts of the descriptors. */
#define PROGRAM_FDS   32U /* standard streams, signals, the listener, files that are read */
#define WORKER_FDS    8U  /* epolls and their wake-ups */
#define OWN_PAGES_FDS 32U /* connections above the limit, for health and metrics */
#define CALL_FDS      3U  /* one to the gateway; a name being looked up, and its wake-up */

uint64_t bounds_memory(const struct config *config, size_t workers, uint64_t budget_bytes)
{
    uint64_t scratch = config->limits_decoded_bytes;
    uint64_t writes = config->gateway_max_inflight * WRITE_CALL_BYTES;
    uint64_t reads = config->reads_max_inflight * (config->reads_window_bytes + READ_CALL_BYTES);
    uint64_t connections = config->limits_connections * CONNECTION_BYTES;
    return PROGRAM_BYTES + budget_bytes + workers * (scratch + writes + reads + connections);
}

uint64_t bounds_connections(const struct config *config, size_t workers, uint64_t descriptors)
{
    uint64_t worker_fds = WORKER_FDS + OWN_PAGES_FDS + config->gateway_max_inflight * CALL_FDS;
    uint64_t taken = PROGRAM_FDS + workers * worker_fds;
    uint64_t room = descriptors > taken ? (descriptors - taken) / workers : 0;
    /* Each connection may ask a query, while that many are under way. */
    uint64_t reads = config->reads_max_inflight;
    uint64_t connections =
        room > reads * (1 + CALL_FDS) ? room - reads * CALL_FDS : room / (1 + CALL_FDS);
    connections = connections > 0 ? connections : 1;
    return connections < config->limits_connections ? connections : config->limits_connections;
}
