/* A relayed read between a fake client and a fake gateway: both are driven by hand, step by step.
 * To be included by one file of a program: it stands in for the exchange_...() functions of
 * server/server that reads use, and for the reads of upstream/upstream. */
#ifndef AGENT_PROXY_TEST_READ_STAGE_H
#define AGENT_PROXY_TEST_READ_STAGE_H

#include "base/budget.h"
#include "base/metrics.h"
#include "config/config.h"
#include "flow/context.h"
#include "server/server.h"
#include "upstream/upstream.h"

#include "../wire/generate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "fake_clock.h"

#define BUDGET_BYTES  ((size_t)1 << 20)
#define WINDOW_BYTES  ((size_t)1024)
#define READS_MAX     8
#define SEC_US        UINT64_C(1000000)
#define QUERY_TARGET  "/api/v1/query?query=up"
#define TENANT_LINE   "WHIZARD-TENANT: member-1"
#define TENANT_PREFIX "/member-1"

/* A client's request and what it heard. Owner: the test; client_end() empties it. */
struct exchange {
    const char *target;
    enum route_method method;
    const struct server_header *headers; /* ends with a NULL name, or is NULL */
    const char *body;
    uint64_t body_bytes; /* declared */
    void *state;
    unsigned replies; /* begun: whole or as streams */
    bool streams;
    bool aborted;
    unsigned ready; /* how often it was told that there is something */
    unsigned status;
    uint64_t stream_bytes; /* declared */
    char reply_headers[1024];
    struct bytes reply;
};

/* A call of the gateway's. Owner: the upstream. */
struct upstream_call {
    struct upstream *upstream;
    struct upstream_read read;
    struct bytes target;
    struct bytes lines; /* "Name: value\n" of each header */
    bool running;
    bool resumed;
};

struct upstream {
    struct upstream_call calls[READS_MAX]; /* in the order in which they were begun */
    size_t count;                          /* in all */
    size_t aborted;
    bool without_memory;
};

/* -- The client's side ------------------------------------------------------------------------ */

const struct route *exchange_route(const struct exchange *exchange)
{
    return route_match(exchange->target, strcspn(exchange->target, "?"));
}

const char *exchange_target(const struct exchange *exchange)
{
    return exchange->target;
}

enum route_method exchange_method(const struct exchange *exchange)
{
    return exchange->method;
}

const char *exchange_header(const struct exchange *exchange, const char *name)
{
    const struct server_header *header = exchange->headers;
    for (; header != NULL && header->name != NULL; header++) {
        if (strcasecmp(header->name, name) == 0) {
            return header->value;
        }
    }
    return NULL;
}

void exchange_visit_headers(const struct exchange *exchange,
                            void (*visit)(void *arg, const char *name, size_t name_bytes,
                                          const char *value, size_t value_bytes),
                            void *arg)
{
    const struct server_header *header = exchange->headers;
    for (; header != NULL && header->name != NULL; header++) {
        visit(arg, header->name, strlen(header->name), header->value, strlen(header->value));
    }
}

uint64_t exchange_body_bytes(const struct exchange *exchange)
{
    return exchange->body_bytes;
}

void *exchange_state(const struct exchange *exchange)
{
    return exchange->state;
}

void exchange_set_state(struct exchange *exchange, void *state)
{
    exchange->state = state;
}

uint64_t exchange_started_us(const struct exchange *exchange)
{
    (void)exchange;
    return FAKE_START_US;
}

static inline void note_reply(struct exchange *exchange, unsigned status,
                              const struct server_header *header)
{
    assert_int_equal(exchange->replies, 0);
    exchange->replies++;
    exchange->status = status;
    for (; header != NULL && header->name != NULL; header++) {
        size_t at = strlen(exchange->reply_headers);
        (void)snprintf(exchange->reply_headers + at, sizeof(exchange->reply_headers) - at,
                       "%s: %s\n", header->name, header->value);
    }
}

void exchange_reply(struct exchange *exchange, const struct server_reply *reply)
{
    note_reply(exchange, reply->status, reply->headers);
    put(&exchange->reply, reply->body, reply->body_bytes);
}

void exchange_reply_text(struct exchange *exchange, unsigned status,
                         const struct server_header *headers, const char *text)
{
    note_reply(exchange, status, headers);
    put(&exchange->reply, text, strlen(text));
}

void exchange_stream(struct exchange *exchange, unsigned status,
                     const struct server_header *headers, uint64_t body_bytes)
{
    note_reply(exchange, status, headers);
    exchange->streams = true;
    exchange->stream_bytes = body_bytes;
}

void exchange_stream_ready(struct exchange *exchange)
{
    exchange->ready++;
}

void exchange_abort(struct exchange *exchange)
{
    exchange->aborted = true;
}

/* -- The gateway's side ----------------------------------------------------------------------- */

struct upstream_call *upstream_read(struct upstream *upstream, const struct upstream_read *read)
{
    if (upstream->without_memory) {
        return NULL;
    }
    assert_true(upstream->count < READS_MAX);
    struct upstream_call *call = &upstream->calls[upstream->count++];
    *call = (struct upstream_call){.upstream = upstream, .read = *read, .running = true};
    put(&call->target, read->target, strlen(read->target) + 1);
    for (size_t i = 0; read->headers[i] != NULL; i++) {
        put(&call->lines, read->headers[i], strlen(read->headers[i]));
        put_byte(&call->lines, '\n');
    }
    put_byte(&call->lines, 0);
    return call;
}

void upstream_resume(struct upstream_call *call)
{
    assert_true(call->running);
    call->resumed = true;
}

void upstream_abort(struct upstream_call *call)
{
    assert_true(call->running);
    call->running = false;
    call->upstream->aborted++;
}

static inline void upstream_clear(struct upstream *upstream)
{
    for (size_t i = 0; i < upstream->count; i++) {
        assert_false(upstream->calls[i].running);
        bytes_free(&upstream->calls[i].target);
        bytes_free(&upstream->calls[i].lines);
    }
}

/* The gateway sends a header, the end of its head, bytes of the body, the end. */
static inline void gateway_header(struct upstream_call *call, const char *name, const char *value)
{
    call->read.on_header(call->read.arg, name, strlen(name), value, strlen(value));
}

static inline void gateway_head(struct upstream_call *call, unsigned status, uint64_t bytes)
{
    call->read.on_head(call->read.arg, status, bytes);
}

static inline bool gateway_data(struct upstream_call *call, const char *text, size_t bytes)
{
    return call->read.on_data(call->read.arg, (const uint8_t *)text, bytes);
}

static inline void gateway_end(struct upstream_call *call, enum outcome_kind kind, unsigned status)
{
    struct outcome outcome = {.kind = kind, .status = status};
    call->running = false;
    call->read.on_done(call->read.arg, &outcome);
}

#endif
