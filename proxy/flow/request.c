/* One remote-write request. Owns its body and what that is charged. */
#include "flow/request.h"

#include "base/clock.h"
#include "base/metrics.h"
#include "config/config.h"
#include "flow/context.h"
#include "server/server.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

/* Below the 30 s after which Prometheus gives up: the sender hears our verdict, not its own. */
#define WRITE_DEADLINE_US (25U * 1000U * 1000U)

struct request *request_new(const struct flow_context *context, struct exchange *exchange,
                            uint64_t *bytes)
{
    struct request *request = calloc(1, sizeof(*request));
    if (request == NULL) {
        return NULL;
    }
    request->context = context;
    request->exchange = exchange;
    request->counted_in = bytes;
    request->started_us = exchange_started_us(exchange);
    request->deadline_us = request->started_us + WRITE_DEADLINE_US;
    buf_init(&request->body, context->config->limits_body_bytes);
    exchange_set_state(exchange, request);
    return request;
}

void request_is_whole(struct request *request, uint64_t *bytes)
{
    *request->counted_in -= request->body.size;
    *bytes += request->body.size;
    request->counted_in = bytes;
    body_charge_is_whole(&request->charge, request->context);
}

void request_free(struct request *request)
{
    assert(request->exchange == NULL);
    *request->counted_in -= request->body.size;
    buf_deinit(&request->body);
    body_charge_give(&request->charge, request->context);
    free(request);
}

static void answer(struct request *request, const struct server_reply *reply)
{
    struct exchange *exchange = request->exchange;
    request->exchange = NULL;
    exchange_set_state(exchange, NULL);
    metrics_observe(request->context->metrics, METRIC_WRITE_SECONDS,
                    clock_now_us() - request->started_us);
    exchange_reply(exchange, reply);
}

void request_accept(struct request *request)
{
    if (request->exchange == NULL) {
        return;
    }
    struct metrics *metrics = request->context->metrics;
    const struct write_request_counts *counts = &request->counts;
    metrics_add(metrics, METRIC_WRITE_ACCEPTED, 1);
    metrics_add(metrics, METRIC_SAMPLES_ACCEPTED, counts->samples);
    metrics_add(metrics, METRIC_SERIES_ACCEPTED, counts->series);
    metrics_add(metrics, METRIC_HISTOGRAMS_ACCEPTED, counts->histograms);
    metrics_add(metrics, METRIC_EXEMPLARS_ACCEPTED, counts->exemplars);
    metrics_add(metrics, METRIC_METADATA_ACCEPTED, counts->metadata);
    answer(request, &(struct server_reply){.status = 204});
}

void request_refuse(struct request *request, unsigned status, const char *text, size_t bytes)
{
    if (request->exchange == NULL) {
        return;
    }
    metrics_add(request->context->metrics, METRIC_WRITE_REFUSED, 1);
    metrics_add(request->context->metrics, METRIC_SAMPLES_REFUSED, request->counts.samples);
    answer(request, &(struct server_reply){.status = status,
                                           .content_type = "text/plain; charset=utf-8",
                                           .body = text,
                                           .body_bytes = bytes});
}

void request_defer(struct request *request, unsigned retry_after_s, const char *text)
{
    if (request->exchange == NULL) {
        return;
    }
    metrics_add(request->context->metrics, METRIC_WRITE_UNAVAILABLE, 1);
    metrics_add(request->context->metrics, METRIC_SAMPLES_UNAVAILABLE, request->counts.samples);
    char seconds[16];
    char line[512];
    (void)snprintf(seconds, sizeof(seconds), "%u", retry_after_s);
    int bytes = snprintf(line, sizeof(line), "%s\n", text);
    const struct server_header headers[] = {{"Retry-After", seconds}, {NULL, NULL}};
    answer(request,
           &(struct server_reply){.status = 503,
                                  .content_type = "text/plain; charset=utf-8",
                                  .headers = headers,
                                  .body = line,
                                  .body_bytes = (size_t)bytes < sizeof(line) ? (size_t)bytes
                                                                             : sizeof(line) - 1});
}
