/* Connections of our own to the gateway, for writes by plain HTTP.
 *
 * libcurl makes them: it resolves the name, takes its addresses in turn and connects. Then the
 * socket is taken over from it, watched once for as long as it lives, used by one call after the
 * other and kept while idle. Nothing of an identity is in one, so they outlive its change. A part
 * of the upstream, for nobody else. */
#ifndef AGENT_PROXY_UPSTREAM_POOL_H
#define AGENT_PROXY_UPSTREAM_POOL_H

#include "io/loop.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct plain_call;
struct upstream;
struct upstream_call;

/* Owner: the pool; on its list of those that are busy exactly while it has a call. */
struct pool_connection {
    struct loop_watch watch;
    struct pool_connection *next; /* in busy or idle */
    struct upstream *upstream;
    struct plain_call *call; /* NULL: idle */
    int fd;
    uint32_t events; /* recorded, not acted on yet */
    bool ended;      /* the gateway's side has, by an event */
    bool reused;     /* it has been idle: the gateway may have ended it meanwhile */
    uint64_t made_us;
    uint64_t idle_since_us;
};

/* Owner: embedded in struct upstream. */
struct upstream_pool {
    struct pool_connection *busy;
    struct pool_connection *idle; /* the one used last comes first */
    size_t count;                 /* of both */
    size_t idle_count;
    size_t connecting; /* connections that libcurl is about to make */
    int claimed_fd;    /* that libcurl is about to close and we take over; -1: none */
};

void pool_init(struct upstream_pool *pool);

/* An idle connection for a call, known a moment ago to be alive and silent; NULL: there is none. */
struct pool_connection *pool_take(struct upstream *upstream, struct plain_call *call);

/* Have a connection made: plain_on_connected() or plain_on_unconnected() follows, from
 * upstream_run() or upstream_flush(). Errors: -ENOMEM. */
__attribute__((warn_unused_result)) int pool_connect(struct upstream *upstream);

/* Put a connection to use that is new or idle. */
void pool_use(struct pool_connection *connection, struct plain_call *call);

/* Its call is over, or nobody wants it any more. Kept where it may serve another one, else closed.
 */
void pool_release(struct pool_connection *connection);

void pool_close(struct pool_connection *connection);

/* Close what is idle: no call is to use it any more. */
void pool_close_idle(struct upstream *upstream);

/* Close the idle ones on which something has come, or that have ended. */
void pool_run(struct upstream *upstream);

/* How many idle connections are left to libcurl: the limit is for both. */
size_t pool_left_to_curl(const struct upstream *upstream);

/* A call of libcurl that made a connection is about to be stopped: have its socket left open. */
void pool_claim(struct upstream_call *call);

#endif
