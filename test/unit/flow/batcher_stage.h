/* A batcher between fake senders and a fake gateway. */
#ifndef AGENT_PROXY_TEST_BATCHER_STAGE_H
#define AGENT_PROXY_TEST_BATCHER_STAGE_H

#include "flow/batcher.h"

#include "base/budget.h"
#include "base/log.h"
#include "base/metrics.h"
#include "config/config.h"
#include "flow/context.h"
#include "flow/gateway_state.h"
#include "flow/request.h"
#include "io/loop.h"

#include "block.h"
#include "fake_clock.h"
#include "fake_exchange.h"
#include "fake_upstream.h"

#define BUDGET_BYTES  ((size_t)16 << 20)
#define CONTENT_BYTES 64 /* of a request that is as any other */
#define IDS_MAX       256
#define SEC_US        UINT64_C(1000000)

/* Owner: the test, by stage_open() and stage_close(). */
struct stage {
    struct config config; /* may be changed before the first request */
    struct budget budget;
    struct metrics metrics;
    struct flow_context context;
    uint64_t body_bytes; /* of all requests */
    _Atomic uint64_t gateway_seen_us;
    struct gateway_state gateway;
    struct upstream upstream;
    struct batcher *batcher;
};

/* A sender of one request. Owner: the test, which ends it with exchange_clear(). */
struct sender {
    struct exchange exchange;
    struct request *request; /* as made; the batcher's once it was added */
};

static inline void stage_open(struct stage *stage)
{
    static const struct log quiet = {.sink = NULL};
    fake_now_us = FAKE_START_US;
    *stage = (struct stage){.config = {.gateway_max_inflight = 1,
                                       .batch_max_bytes = 1 << 20,
                                       .batch_max_decoded_bytes = 1 << 20,
                                       .batch_max_requests = 64,
                                       .limits_body_bytes = 1 << 20,
                                       .limits_decoded_bytes = 1 << 20}};
    budget_init(&stage->budget, BUDGET_BYTES);
    stage->context = (struct flow_context){.config = &stage->config,
                                           .log = &quiet,
                                           .budget = &stage->budget,
                                           .metrics = &stage->metrics,
                                           .gateway_seen_us = &stage->gateway_seen_us,
                                           .gateway = &stage->gateway};
    stage->batcher = batcher_new(&stage->context, &stage->upstream);
    assert_non_null(stage->batcher);
}

/* Nothing is held any more, and nobody waits. */
static inline void expect_idle(const struct stage *stage)
{
    assert_true(batcher_idle(stage->batcher));
    assert_int_equal(stage->upstream.count, 0);
    assert_int_equal(budget_used(&stage->budget), 0);
    assert_int_equal(atomic_load(&stage->metrics.gauges[METRIC_WRITES_WAITING]), 0);
    assert_int_equal(atomic_load(&stage->metrics.gauges[METRIC_BATCHES_IN_FLIGHT]), 0);
}

static inline void stage_close(struct stage *stage)
{
    expect_idle(stage);
    batcher_free(stage->batcher);
}

/* A request as intake makes it: decoded, found valid, its bytes charged. */
static inline void sender_make(struct stage *stage, struct sender *sender, uint32_t id,
                               uint32_t content_bytes)
{
    struct bytes content = {0};
    struct bytes block = {0};
    struct wire_error error;
    *sender = (struct sender){.exchange = {.started_us = fake_now_us}};
    struct request *request = request_new(&stage->context, &sender->exchange, &stage->body_bytes);
    assert_non_null(request);
    put_stamped(&content, id, content_bytes);
    put_snappy(&block, &content);
    assert_true(budget_take(&stage->budget, block.size));
    request->charge.bytes = block.size;
    assert_int_equal(buf_append(&request->body, block.data, block.size), 0);
    assert_int_equal(
        snappy_block_open(request->body.data, request->body.size, &request->block, &error), 0);
    request->counts = (struct write_request_counts){.series = 1, .samples = 1, .joinable = true};
    sender->request = request;
    bytes_free(&content);
    bytes_free(&block);
}

/* Make a usual request and hand it to the batcher. */
static inline void sender_add(struct stage *stage, struct sender *sender, uint32_t id)
{
    sender_make(stage, sender, id, CONTENT_BYTES);
    batcher_add(stage->batcher, sender->request);
}

/* Make a request that may not be joined, and hand it to the batcher. */
static inline void sender_add_alone(struct stage *stage, struct sender *sender, uint32_t id)
{
    sender_make(stage, sender, id, CONTENT_BYTES);
    sender->request->counts.joinable = false;
    batcher_add(stage->batcher, sender->request);
}

/* The requests in the write at index, in order. */
static inline size_t ids_at(const struct stage *stage, size_t index, uint32_t ids[IDS_MAX])
{
    assert_true(index < stage->upstream.count);
    return read_stamps(&stage->upstream.calls[index].body, ids, IDS_MAX);
}

/* The write at index holds the requests first, first + 1, ... last. */
static inline void expect_sent(const struct stage *stage, size_t index, uint32_t first,
                               uint32_t last)
{
    uint32_t ids[IDS_MAX];
    size_t count = ids_at(stage, index, ids);
    assert_int_equal(count, last - first + 1);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(ids[i], first + i);
    }
}

/* The sender heard one answer, of that status. It is then done with. */
static inline void expect_heard(struct sender *sender, unsigned status)
{
    assert_int_equal(sender->exchange.replies, 1);
    assert_int_equal(sender->exchange.status, status);
    assert_null(sender->exchange.state);
    if (status == 503) {
        assert_in_range(exchange_retry_after_s(&sender->exchange), 1, 300);
    } else {
        assert_int_equal(exchange_retry_after_s(&sender->exchange), 0);
    }
    exchange_clear(&sender->exchange);
}

static inline void expect_waits(const struct sender *sender)
{
    assert_int_equal(sender->exchange.replies, 0);
    assert_non_null(sender->exchange.state);
}

/* The sender leaves, as intake sees it. */
static inline void sender_leave(struct stage *stage, struct sender *sender)
{
    assert_ptr_equal(sender->exchange.state, sender->request);
    batcher_forget_sender(stage->batcher, sender->request);
    sender->exchange.state = NULL;
}

/* Join count requests, with ids from 0, into one batch at the gateway. */
static inline void send_batch(struct stage *stage, struct sender senders[], uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        sender_add(stage, &senders[i], i);
    }
    batcher_tick(stage->batcher, false);
    assert_int_equal(stage->upstream.count, 1);
    expect_sent(stage, 0, 0, count - 1);
}

#endif
