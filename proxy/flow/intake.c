/* Remote-write requests on their way in. Owns the scratch that bodies are decoded into; a request
 * belongs to its exchange until it is joined to a batch. */
#include "flow/intake.h"

#include "base/budget.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "config/config.h"
#include "flow/batcher.h"
#include "flow/context.h"
#include "flow/request.h"
#include "server/server.h"
#include "wire/media_type.h"
#include "wire/snappy_block.h"
#include "wire/write_request.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define SCRATCH_KEPT_BYTES   (4U * 1024U * 1024U) /* a larger one is given back after its use */
#define HELD_BYTES_MAX_LEAST (4U * 1024U * 1024U) /* below it there is nothing to be saved */

struct intake {
    const struct flow_context *context;
    struct batcher *batcher;
    struct server_handler handler;
    struct buf scratch;
    uint64_t unfinished_bytes; /* of bodies that still come in */
    uint64_t held_bytes;       /* of whole ones, until their verdict */
    uint64_t held_bytes_max;
};

/* -- Refusing --------------------------------------------------------------------------------- */

__attribute__((format(printf, 4, 5))) static void refuse(struct request *request,
                                                         enum metric_counter reason,
                                                         unsigned status, const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int bytes = vsnprintf(line, sizeof(line) - 1, format, arguments);
    va_end(arguments);
    size_t length =
        bytes > 0 && (size_t)bytes < sizeof(line) - 1 ? (size_t)bytes : sizeof(line) - 2;
    line[length++] = '\n';
    metrics_add(request->context->metrics, reason, 1);
    request_refuse(request, status, line, length);
    request_free(request);
}

static void defer(struct intake *intake, struct request *request, const char *text)
{
    size_t held_bytes = budget_used(intake->context->budget);
    metrics_add(intake->context->metrics, METRIC_REJECTED_BUDGET, 1);
    request_defer(request, batcher_retry_after_s(intake->batcher, held_bytes), text);
    request_free(request);
}

/* -- Headers ---------------------------------------------------------------------------------- */

/* Answers and frees the request when its headers are at fault. */
static bool headers_are_good(struct request *request)
{
    struct exchange *exchange = request->exchange;
    const char *type = exchange_header(exchange, "Content-Type");
    const char *encoding = exchange_header(exchange, "Content-Encoding");
    switch (media_type_of(type)) {
    case MEDIA_TYPE_WRITE_1:
        break;
    case MEDIA_TYPE_WRITE_2:
        refuse(request, METRIC_REJECTED_TYPE, 415,
               "remote write 2.0 (io.prometheus.write.v2.Request) is not supported: send 1.0, "
               "Content-Type: application/x-protobuf");
        return false;
    case MEDIA_TYPE_OTHER:
        refuse(request, METRIC_REJECTED_TYPE, 415,
               "Content-Type \"%.100s\" is not supported: expected application/x-protobuf",
               type == NULL ? "" : type);
        return false;
    }
    if (!media_type_is_snappy(encoding)) {
        refuse(request, METRIC_REJECTED_ENCODING, 415,
               "Content-Encoding \"%.100s\" is not supported: expected snappy", encoding);
        return false;
    }
    return true;
}

/* Whether the body is charged for; else the sender has been answered. */
static bool is_charged(struct intake *intake, struct request *request, const char *why_not)
{
    if (why_not != NULL) {
        defer(intake, request, why_not);
    }
    return why_not == NULL;
}

static void on_headers(void *owner, struct exchange *exchange)
{
    struct intake *intake = owner;
    const struct config *config = intake->context->config;
    struct request *request = request_new(intake->context, exchange, &intake->unfinished_bytes);
    if (request == NULL) {
        static const struct server_header again[] = {{"Retry-After", "1"}, {NULL, NULL}};
        exchange_reply_text(exchange, 503, again, "out of memory");
        return;
    }
    if (!headers_are_good(request)) {
        return;
    }
    uint64_t bytes = exchange_body_bytes(exchange);
    if (bytes == SERVER_BODY_UNKNOWN) {
        return; /* charged as it grows */
    }
    if (bytes > config->limits_body_bytes) {
        refuse(request, METRIC_REJECTED_TOO_LARGE, 413,
               "body of %llu bytes is over the limit of %llu bytes", (unsigned long long)bytes,
               (unsigned long long)config->limits_body_bytes);
        return;
    }
    (void)is_charged(intake, request,
                     body_charge_take(&request->charge, request->context, (size_t)bytes));
}

/* -- Body ------------------------------------------------------------------------------------- */

static void on_body(void *owner, struct exchange *exchange, const uint8_t *data, size_t bytes)
{
    struct intake *intake = owner;
    struct request *request = exchange_state(exchange);
    const struct config *config = intake->context->config;
    size_t size = request->body.size + bytes;
    if (size > config->limits_body_bytes) {
        refuse(request, METRIC_REJECTED_TOO_LARGE, 413, "body is over the limit of %llu bytes",
               (unsigned long long)config->limits_body_bytes);
        return;
    }
    if (!is_charged(intake, request,
                    body_charge_grow(&request->charge, request->context, size,
                                     (size_t)config->limits_body_bytes))) {
        return;
    }
    /* A declared size is taken in one piece, when its first bytes are there. */
    uint64_t declared = exchange_body_bytes(exchange);
    if ((declared != SERVER_BODY_UNKNOWN && buf_reserve(&request->body, (size_t)declared) != 0) ||
        buf_append(&request->body, data, bytes) != 0) {
        defer(intake, request, "out of memory");
        return;
    }
    intake->unfinished_bytes += bytes;
}

/* Slow senders may take half of what is held, and so hold up nobody. */
static bool is_full(const struct intake *intake)
{
    uint64_t unfinished_max = intake->held_bytes_max / 2;
    uint64_t unfinished_bytes = intake->unfinished_bytes;
    return intake->held_bytes +
               (unfinished_bytes < unfinished_max ? unfinished_bytes : unfinished_max) >=
           intake->held_bytes_max;
}

/* What the gateway may be sent at once is all that is of use here. More is better left with the
 * kernel: it would only grow cold. */
static uint8_t *on_room(void *owner, struct exchange *exchange, size_t *room, uint64_t *again_us)
{
    struct intake *intake = owner;
    struct request *request = exchange_state(exchange);
    struct buf *body = &request->body;
    if (body->capacity == 0) {
        if (is_full(intake)) {
            *again_us = request->deadline_us;
            if (clock_now_us() >= request->deadline_us) {
                metrics_add(intake->context->metrics, METRIC_REJECTED_DEADLINE, 1);
                request_defer(request, batcher_retry_after_s(intake->batcher, intake->held_bytes),
                              "the gateway did not answer in time");
                request_free(request);
            }
            return NULL;
        }
        if (buf_reserve(body, (size_t)exchange_body_bytes(exchange)) != 0) {
            defer(intake, request, "out of memory");
            return NULL;
        }
    }
    *room = body->capacity - body->size;
    return body->data + body->size;
}

static void on_received(void *owner, struct exchange *exchange, size_t bytes)
{
    struct intake *intake = owner;
    struct request *request = exchange_state(exchange);
    request->body.size += bytes;
    intake->unfinished_bytes += bytes;
}

/* Decode and scan. False when the sender has been answered. */
static bool body_is_good(struct intake *intake, struct request *request)
{
    const struct config *config = intake->context->config;
    struct metrics *metrics = intake->context->metrics;
    struct wire_error error;
    metrics_add(metrics, METRIC_RECEIVED_BYTES, request->body.size);
    if (snappy_block_open(request->body.data, request->body.size, &request->block, &error) != 0) {
        refuse(request, METRIC_REJECTED_SNAPPY, 400, "not a snappy block: %s at byte %zu",
               error.what, error.offset);
        return false;
    }
    size_t decoded_bytes = request->block.decoded_bytes;
    if (decoded_bytes > config->limits_decoded_bytes) {
        refuse(request, METRIC_REJECTED_TOO_LARGE, 413,
               "decoded length of %zu bytes is over the limit of %llu bytes", decoded_bytes,
               (unsigned long long)config->limits_decoded_bytes);
        return false;
    }
    if (buf_reserve(&intake->scratch, decoded_bytes) != 0) {
        defer(intake, request, "out of memory");
        return false;
    }
    if (snappy_block_decode(&request->block, intake->scratch.data, &error) != 0) {
        refuse(request, METRIC_REJECTED_SNAPPY, 400, "not a snappy block: %s at byte %zu",
               error.what, error.offset);
        return false;
    }
    if (write_request_scan(intake->scratch.data, decoded_bytes, &request->counts, &error) != 0) {
        refuse(request, METRIC_REJECTED_PROTOBUF, 400,
               "not a prometheus.WriteRequest: %s at byte %zu of the decoded body", error.what,
               error.offset);
        return false;
    }
    metrics_add(metrics, METRIC_DECODED_BYTES, decoded_bytes);
    return true;
}

static void on_complete(void *owner, struct exchange *exchange)
{
    struct intake *intake = owner;
    struct request *request = exchange_state(exchange);
    request_is_whole(request, &intake->held_bytes);
    bool good = body_is_good(intake, request);
    if (intake->scratch.capacity > SCRATCH_KEPT_BYTES) {
        buf_deinit(&intake->scratch);
        buf_init(&intake->scratch, (size_t)intake->context->config->limits_decoded_bytes);
    }
    if (good) {
        batcher_add(intake->batcher, request);
    }
}

/* The sender went before its answer. */
static void on_end(void *owner, struct exchange *exchange, bool replied)
{
    (void)replied;
    struct intake *intake = owner;
    struct request *request = exchange_state(exchange);
    if (request != NULL) {
        metrics_add(intake->context->metrics, METRIC_WRITE_DISCONNECTED, 1);
        batcher_forget_sender(intake->batcher, request);
    }
}

/* -- Life ------------------------------------------------------------------------------------- */

struct intake *intake_new(const struct flow_context *context, struct batcher *batcher)
{
    struct intake *intake = calloc(1, sizeof(*intake));
    if (intake == NULL) {
        return NULL;
    }
    intake->context = context;
    intake->batcher = batcher;
    intake->handler = (struct server_handler){.owner = intake,
                                              .on_headers = on_headers,
                                              .on_body = on_body,
                                              .on_room = on_room,
                                              .on_received = on_received,
                                              .on_complete = on_complete,
                                              .on_end = on_end};
    intake->held_bytes_max =
        context->config->batch_max_bytes * context->config->gateway_max_inflight;
    if (intake->held_bytes_max < HELD_BYTES_MAX_LEAST) {
        intake->held_bytes_max = HELD_BYTES_MAX_LEAST;
    }
    buf_init(&intake->scratch, (size_t)context->config->limits_decoded_bytes);
    return intake;
}

void intake_free(struct intake *intake)
{
    if (intake == NULL) {
        return;
    }
    buf_deinit(&intake->scratch);
    free(intake);
}

const struct server_handler *intake_handler(struct intake *intake)
{
    return &intake->handler;
}
