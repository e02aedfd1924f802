/* A gateway without a network: writes are kept until the test says how they end. To be included by
 * one file of a program: it stands in for the writes of upstream/upstream. */
#ifndef AGENT_PROXY_TEST_FAKE_UPSTREAM_H
#define AGENT_PROXY_TEST_FAKE_UPSTREAM_H

#include "upstream/upstream.h"

#include "../wire/generate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <errno.h>

#define FAKE_CALLS_MAX 64

/* A write that was sent. Owner: the upstream, until its end was reported. */
struct fake_call {
    const struct upstream_piece *pieces;
    size_t count;
    struct bytes body; /* as it was when it was sent */
    upstream_on_done *on_done;
    void *arg;
};

/* Owner: the test. */
struct upstream {
    struct fake_call calls[FAKE_CALLS_MAX]; /* in the order in which they were sent */
    size_t count;
    unsigned long sent; /* in all */
    bool without_memory;
};

static inline void put_pieces(struct bytes *out, const struct upstream_piece *pieces, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        put(out, pieces[i].data, pieces[i].bytes);
    }
}

int upstream_write(struct upstream *upstream, const struct upstream_piece *pieces, size_t count,
                   size_t bytes, upstream_on_done *on_done, void *arg)
{
    assert_true(count >= 1);
    assert_true(upstream->count < FAKE_CALLS_MAX);
    if (upstream->without_memory) {
        return -ENOMEM;
    }
    struct fake_call *call = &upstream->calls[upstream->count++];
    *call = (struct fake_call){.pieces = pieces, .count = count, .on_done = on_done, .arg = arg};
    put_pieces(&call->body, pieces, count);
    assert_int_equal(call->body.size, bytes);
    upstream->sent++;
    return 0;
}

/* End the write at index. What it lent is still there, unchanged. */
static inline void fake_end(struct upstream *upstream, size_t index, const struct outcome *outcome)
{
    assert_true(index < upstream->count);
    struct fake_call call = upstream->calls[index];
    upstream->count--;
    memmove(&upstream->calls[index], &upstream->calls[index + 1],
            (upstream->count - index) * sizeof(call));
    struct bytes body = {0};
    put_pieces(&body, call.pieces, call.count);
    assert_int_equal(body.size, call.body.size);
    assert_memory_equal(body.data, call.body.data, body.size);
    bytes_free(&body);
    bytes_free(&call.body);
    call.on_done(call.arg, outcome);
}

static inline void fake_answer(struct upstream *upstream, size_t index, unsigned status,
                               const char *text)
{
    struct outcome outcome = {.kind = OUTCOME_ANSWERED, .status = status};
    outcome.body_bytes = strlen(text);
    assert_true(outcome.body_bytes <= OUTCOME_BODY_MAX);
    memcpy(outcome.body, text, outcome.body_bytes);
    fake_end(upstream, index, &outcome);
}

void upstream_cancel_writes(struct upstream *upstream)
{
    static const struct outcome cancelled = {.kind = OUTCOME_CANCELLED};
    while (upstream->count > 0) {
        fake_end(upstream, upstream->count - 1, &cancelled);
    }
}

#endif
