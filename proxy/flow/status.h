/* What the status page shows: the state of now, and the rates of the last ten minutes, which are
 * kept here so that a page that is opened has a past to show.
 *
 * main ticks; any worker prints. */
#ifndef AGENT_PROXY_FLOW_STATUS_H
#define AGENT_PROXY_FLOW_STATUS_H

#include <stdint.h>

struct admin_shared;
struct buf;
struct budget;
struct config;
struct log_recent;
struct status;

/* All lent until status_free(). */
struct status_settings {
    const struct config *config;
    const struct budget *budget;
    struct admin_shared *shared;
    struct log_recent *recent;
};

/* Errors: NULL without memory. */
__attribute__((warn_unused_result)) struct status *
status_new(const struct status_settings *settings);
void status_free(struct status *status); /* after the workers */

/* Take a sample of the counters when one is due. */
void status_tick(struct status *status);

/* When status_tick() is due. Units: [us] monotonic. */
uint64_t status_deadline_us(const struct status *status);

/* Print all of it as JSON. Errors: as buf_append(). */
__attribute__((warn_unused_result)) int status_print(struct status *status, struct buf *text);

#endif
