/* The HTTP client side of a worker: requests to the gateway over pooled connections. The only
 * includer of curl/curl.h.
 *
 * Calls are started in upstream_start(), move on in upstream_run(), and end in their callback,
 * which runs outside of the HTTP library and may start other calls. */
#ifndef AGENT_PROXY_IO_UPSTREAM_H
#define AGENT_PROXY_IO_UPSTREAM_H

#include "wire/verdict.h"

#include <stddef.h>
#include <stdint.h>

struct log;
struct loop;
struct upstream;
struct upstream_call;

/* A piece of a body. Owner: lent until the call's callback. */
struct upstream_piece {
    const uint8_t *data;
    size_t bytes;
};

/* Headers and address are the same for every write, and copied once. */
struct upstream_settings {
    const struct log *log;
    const char *write_url;
    const char *const *write_headers; /* "Name: value" lines, NULL-terminated */
    uint64_t connect_timeout_us;
    uint64_t timeout_us; /* of one attempt */
    size_t calls_max;    /* at once; as many connections are kept */
};

/* How a call ended; outcome is valid for the call's duration only. */
typedef void upstream_on_done(void *arg, const struct outcome *outcome);

/* Make the HTTP library ready, once, before the first upstream and any thread. Errors: -ENOMEM. */
__attribute__((warn_unused_result)) int upstream_library_init(void);
void upstream_library_deinit(void);

/* Errors: NULL; the reason is logged. */
__attribute__((warn_unused_result)) struct upstream *
upstream_new(const struct upstream_settings *settings, struct loop *loop);

/* Free it. Calls in flight are dropped without their callback. */
void upstream_free(struct upstream *upstream);

/* Send pieces as the body of one POST to the write address. on_done is called exactly once, from
 * upstream_run() or upstream_cancel(), never from here.
 * Shape: bytes is the sum of the pieces. pieces and what they point to are lent until on_done.
 * Errors: -ENOMEM; on_done is then not called. */
__attribute__((warn_unused_result)) int upstream_post(struct upstream *upstream,
                                                      const struct upstream_piece *pieces,
                                                      size_t count, size_t bytes,
                                                      upstream_on_done *on_done, void *arg);

/* One phase: what the gateway sent is read, calls that ended are reported. */
void upstream_run(struct upstream *upstream);

/* One phase, last in the turn: new calls go out, and watches are set for the next wait. */
void upstream_flush(struct upstream *upstream);

/* When upstream_run() is due without an event. Units: [us] monotonic, or LOOP_NEVER. */
uint64_t upstream_deadline_us(const struct upstream *upstream);

/* End every call in flight with OUTCOME_CANCELLED. */
void upstream_cancel(struct upstream *upstream);

#endif
