/* What the proxy says of itself. Owns nothing but its handler; reads all workers' numbers. */
#include "flow/admin.h"

#include "base/budget.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "config/config.h"
#include "flow/context.h"
#include "flow/status.h"
#include "flow/status_page.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GATEWAY_SEEN_US        (30U * 1000U * 1000U)
#define METRICS_PAGE_BYTES_MAX (1024U * 1024U)
#define STATUS_BYTES_MAX       (128U * 1024U)

struct admin {
    const struct flow_context *context;
    const struct admin_shared *shared;
    struct server_handler handler;
};

/* A gauge of the process as a whole. */
struct admin_gauge {
    const char *name;
    const char *help;
    double value;
};

static int print_metrics(const struct admin *admin, struct buf *page)
{
    const struct admin_shared *shared = admin->shared;
    const struct budget *budget = admin->context->budget;
    const struct admin_gauge gauges[] = {
        {"agent_proxy_memory_budget_bytes", "Bytes that may be held for requests at once.",
         (double)budget->limit},
        {"agent_proxy_memory_budget_used_bytes", "Bytes that are held for requests now.",
         (double)budget_used(budget)},
        {"agent_proxy_memory_ceiling_bytes",
         "Resident memory that the settings allow at most, as computed at start.",
         (double)shared->memory_ceiling_bytes},
        {"agent_proxy_container_memory_limit_bytes",
         "Memory limit of the container as seen at start; 0 is none.",
         (double)shared->memory_limit_bytes},
        {"agent_proxy_container_cpu_quota_cores",
         "CPU quota of the container as seen at start; 0 is none.",
         (double)shared->cpu_quota_millis / 1000},
        {"agent_proxy_workers", "Worker threads of the program.", (double)shared->workers},
        {"agent_proxy_config_last_reload_successful",
         "Whether certificates and credentials could be read and used, the last time it was tried.",
         admin_reload_successful(shared) ? 1 : 0},
        {"agent_proxy_config_last_reload_success_timestamp_seconds",
         "When certificates and credentials were last read with success.",
         (double)atomic_load(&shared->reload_time_s)},
    };
    int status = metrics_print(shared->metrics, shared->workers, page);
    if (status == 0) {
        status = metrics_print_counter(page, "agent_proxy_log_lines_lost_total",
                                       "Lines of the log that could not be written, mostly for "
                                       "want of room where nobody reads them.",
                                       log_lines_lost(admin->context->log));
    }
    for (size_t i = 0; status == 0 && i < sizeof(gauges) / sizeof(gauges[0]); i++) {
        status = metrics_print_gauge(page, gauges[i].name, "", gauges[i].help, gauges[i].value);
    }
    if (status == 0) {
        char labels[160];
        (void)snprintf(labels, sizeof(labels), "version=\"%s\",revision=\"%s\"", shared->version,
                       shared->revision);
        status = metrics_print_gauge(page, "agent_proxy_build_info", labels,
                                     "Always 1; the labels tell what was built.", 1);
    }
    return status == 0 ? metrics_print_process(page) : status;
}

static void reply_with_metrics(const struct admin *admin, struct exchange *exchange)
{
    struct buf page;
    buf_init(&page, METRICS_PAGE_BYTES_MAX);
    if (print_metrics(admin, &page) == 0) {
        exchange_reply(exchange, &(struct server_reply){
                                     .status = 200,
                                     .content_type = "text/plain; version=0.0.4; charset=utf-8",
                                     .body = page.data,
                                     .body_bytes = page.size});
    } else {
        exchange_reply_text(exchange, 503, NULL, "out of memory");
    }
    buf_deinit(&page);
}

static bool gateway_was_seen(const struct admin_shared *shared)
{
    uint64_t seen_us = atomic_load(&shared->gateway_seen_us);
    return seen_us != 0 && clock_now_us() - seen_us < GATEWAY_SEEN_US;
}

static void reply_with_readiness(const struct admin *admin, struct exchange *exchange)
{
    const struct admin_shared *shared = admin->shared;
    if (atomic_load(&shared->stopping)) {
        exchange_reply_text(exchange, 503, NULL, "stopping");
    } else if (atomic_load(&shared->serving) < shared->workers) {
        exchange_reply_text(exchange, 503, NULL, "starting");
    } else if (admin->context->config->ready_gateway && !gateway_was_seen(shared)) {
        exchange_reply_text(exchange, 503, NULL, "no answer of the gateway for 30 s");
    } else {
        exchange_reply_text(exchange, 200, NULL, "ready");
    }
}

/* Nothing is loaded from anywhere, and no other page may show this one. */
#define POLICY                                                                    \
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; " \
    "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "    \
    "frame-ancestors 'none'"

static const struct server_header page_headers[] = {{"Content-Security-Policy", POLICY},
                                                    {"X-Content-Type-Options", "nosniff"},
                                                    {"Referrer-Policy", "no-referrer"},
                                                    {"Cache-Control", "no-store"},
                                                    {NULL, NULL}};

static void reply_with_page(struct exchange *exchange)
{
    exchange_reply(exchange, &(struct server_reply){.status = 200,
                                                    .content_type = "text/html; charset=utf-8",
                                                    .headers = page_headers,
                                                    .body = status_page,
                                                    .body_bytes = status_page_bytes});
}

static void reply_with_status(const struct admin *admin, struct exchange *exchange)
{
    struct buf json;
    buf_init(&json, STATUS_BYTES_MAX);
    if (status_print(admin->shared->status, &json) == 0) {
        exchange_reply(exchange, &(struct server_reply){.status = 200,
                                                        .content_type = "application/json",
                                                        .headers = page_headers,
                                                        .body = json.data,
                                                        .body_bytes = json.size});
    } else {
        exchange_reply_text(exchange, 503, NULL, "out of memory");
    }
    buf_deinit(&json);
}

static void on_headers(void *owner, struct exchange *exchange)
{
    (void)owner;
    (void)exchange;
}

static void on_complete(void *owner, struct exchange *exchange)
{
    const struct admin *admin = owner;
    enum route_id route = exchange_route(exchange)->id;
    if (route == ROUTE_METRICS) {
        reply_with_metrics(admin, exchange);
    } else if (route == ROUTE_READY) {
        reply_with_readiness(admin, exchange);
    } else if (route == ROUTE_STATUS) {
        reply_with_page(exchange);
    } else if (route == ROUTE_STATUS_JSON) {
        reply_with_status(admin, exchange);
    } else {
        exchange_reply_text(exchange, 200, NULL, "healthy");
    }
}

struct refusal {
    enum metric_counter counter;
    unsigned status;
    const char *type; /* Prometheus' errorType */
};

/* Clients of Prometheus' HTTP API expect its form of an error; senders of remote write, a line. */
static void reply_with_refusal(struct exchange *exchange, const struct refusal *refusal,
                               const struct server_header *headers, const char *reason)
{
    static const char API[] = "/api/v1/";
    char body[512];
    if (strncmp(exchange_target(exchange), API, sizeof(API) - 1) != 0 ||
        exchange_route(exchange)->id == ROUTE_WRITE) {
        exchange_reply_text(exchange, refusal->status, headers, reason);
        return;
    }
    int bytes = snprintf(body, sizeof(body),
                         "{\"status\":\"error\",\"errorType\":\"%s\",\"error\":\"%s\"}\n",
                         refusal->type, reason);
    exchange_reply(exchange, &(struct server_reply){.status = refusal->status,
                                                    .content_type = "application/json",
                                                    .headers = headers,
                                                    .body = body,
                                                    .body_bytes = (size_t)bytes});
}

void admin_on_refused(void *owner, struct exchange *exchange, enum server_refusal refusal,
                      const char *reason)
{
    static const struct refusal refusals[] = {
        [SERVER_REFUSAL_HTTP] = {METRIC_REJECTED_HTTP, 400, "bad_data"},
        [SERVER_REFUSAL_BAD_PATH] = {METRIC_REJECTED_PATH, 400, "bad_data"},
        [SERVER_REFUSAL_NOT_FOUND] = {METRIC_REJECTED_PATH, 404, "not_found"},
        [SERVER_REFUSAL_METHOD] = {METRIC_REJECTED_METHOD, 405, "bad_data"},
        [SERVER_REFUSAL_CONNECTIONS] = {METRIC_REJECTED_CONNECTIONS, 503, "unavailable"},
    };
    const struct admin *admin = owner;
    const struct server_header allow[] = {{"Allow", exchange_route(exchange)->allow}, {NULL, NULL}};
    const struct server_header later[] = {{"Retry-After", "5"}, {NULL, NULL}};
    const struct server_header *headers = refusal == SERVER_REFUSAL_METHOD        ? allow
                                          : refusal == SERVER_REFUSAL_CONNECTIONS ? later
                                                                                  : NULL;
    if (refusal != SERVER_REFUSAL_CONNECTIONS) { /* those were counted as they came */
        metrics_add(admin->context->metrics, refusals[refusal].counter, 1);
    }
    reply_with_refusal(exchange, &refusals[refusal], headers, reason);
}

struct admin *admin_new(const struct flow_context *context, const struct admin_shared *shared)
{
    struct admin *admin = calloc(1, sizeof(*admin));
    if (admin == NULL) {
        return NULL;
    }
    admin->context = context;
    admin->shared = shared;
    admin->handler = (struct server_handler){.owner = admin,
                                             .on_headers = on_headers,
                                             .on_complete = on_complete,
                                             .serves_reserved = true};
    return admin;
}

void admin_free(struct admin *admin)
{
    free(admin);
}

const struct server_handler *admin_handler(struct admin *admin)
{
    return &admin->handler;
}
