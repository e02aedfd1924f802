/* Writes by plain HTTP without libcurl: straight from the pieces of a batch into the socket. For a
 * gateway by https://, a proxy on the way, or a limit on connections, which libcurl alone can count
 * for reads and writes together, there is write.c. A part of the upstream, for nobody else. */
#ifndef AGENT_PROXY_UPSTREAM_PLAIN_H
#define AGENT_PROXY_UPSTREAM_PLAIN_H

#include "upstream/upstream.h"

struct plain_call;
struct write_head;
struct pool_connection;

/* Owner: embedded in struct upstream. */
struct upstream_plain {
    struct write_head *head;  /* of every request from now on; NULL: not made yet */
    struct plain_call *first; /* under way, by deadline, which is the order they came in */
    struct plain_call *idle;
    size_t waiting; /* for a connection */
    bool started;   /* some wait, and were not looked at since */
};

/* Whether writes go this way. */
bool plain_serves(const struct upstream *upstream);

/* upstream_write(), and its phases. */
__attribute__((warn_unused_result)) int plain_write(struct upstream *upstream,
                                                    const struct upstream_piece *pieces,
                                                    size_t count, size_t bytes,
                                                    upstream_on_done *on_done, void *arg);
void plain_run(struct upstream *upstream);
void plain_flush(struct upstream *upstream);
uint64_t plain_deadline_us(const struct upstream *upstream);
void plain_cancel(struct upstream *upstream);

/* The identity has changed. */
void plain_forget_identity(struct upstream *upstream);

/* Drop all calls, without their on_done. */
void plain_deinit(struct upstream *upstream);

/* What became of pool_connect(). */
void plain_on_connected(struct pool_connection *connection);
void plain_on_unconnected(struct upstream *upstream, const struct outcome *outcome);

#endif
