/* Group commit: requests are joined into batches while earlier ones are at the gateway, and each
 * sender is answered with the gateway's verdict on its own bytes.
 *
 *   batcher_add -> open batch -> closed -> in flight -> settled: each member answered
 *
 * A batch leaves when an upstream slot is free, so a lone request leaves at once; behind another
 * batch it waits for company for a moment, as long as events come that keep the worker from
 * sleeping. It is full at its limits of bytes, decoded bytes and members. */
#ifndef AGENT_PROXY_FLOW_BATCHER_H
#define AGENT_PROXY_FLOW_BATCHER_H

#include <stdbool.h>
#include <stdint.h>

struct batcher;
struct flow_context;
struct request;
struct upstream;

/* upstream is lent until batcher_free(). Errors: NULL without memory. */
__attribute__((warn_unused_result)) struct batcher *batcher_new(const struct flow_context *context,
                                                                struct upstream *upstream);

/* Free it. Senders that still wait hear nothing: call batcher_cancel() before. */
void batcher_free(struct batcher *batcher);

/* Join a request that was decoded and found valid to a batch. Consumes the request, which is
 * answered later. */
void batcher_add(struct batcher *batcher, struct request *request);

/* The sender of a request that waits has gone: its batch is not disturbed. */
void batcher_forget_sender(struct batcher *batcher, struct request *request);

/* When a sender that finds no room should come again, by the rate at which this worker's senders
 * are answered. held_bytes: what is held for all requests now. Units: [s], 1..32. */
unsigned batcher_retry_after_s(struct batcher *batcher, uint64_t held_bytes);

/* One phase: batches close and are sent, senders whose deadline has come are answered.
 * busy: this turn began with an event, so more may come before the worker has to sleep. */
void batcher_tick(struct batcher *batcher, bool busy);

/* When batcher_tick() is due. Units: [us] monotonic, or LOOP_NEVER. In the past while a batch waits
 * for company: it leaves with the first turn that finds no event. */
uint64_t batcher_deadline_us(const struct batcher *batcher);

/* No request waits and none is at the gateway. */
bool batcher_idle(const struct batcher *batcher);

/* The grace period is over: answer every sender with 503 and drop what is in flight. */
void batcher_cancel(struct batcher *batcher);

#endif
