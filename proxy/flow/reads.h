/* The reverse proxy for PromQL: which reads are at the gateway, which wait, and for how long.
 * Reads have slots of their own, so they never keep a write waiting. */
#ifndef AGENT_PROXY_FLOW_READS_H
#define AGENT_PROXY_FLOW_READS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct flow_context;
struct reads;
struct server_handler;
struct upstream;

/* upstream is lent until reads_free(). Errors: NULL without memory. */
__attribute__((warn_unused_result)) struct reads *reads_new(const struct flow_context *context,
                                                            struct upstream *upstream);

/* Free it; every exchange of its handler has ended before. */
void reads_free(struct reads *reads);

/* The handler of every route that is relayed. Owner: the reads. */
const struct server_handler *reads_handler(struct reads *reads);

/* One phase, between the gateway's and the server's: answers are handed on, silence is ended,
 * waiting reads are begun. */
void reads_tick(struct reads *reads);

/* When reads_tick() is due. Units: [us] monotonic, or LOOP_NEVER. */
uint64_t reads_deadline_us(const struct reads *reads);

/* The grace period is over: answer or cut every read. */
void reads_cancel(struct reads *reads);

#endif
