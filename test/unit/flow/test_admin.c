/* What the proxy says of itself: health, readiness, the page of metrics, and what is said to
 * requests that no route takes. */
#include "flow/admin.h"

#include "base/budget.h"
#include "base/log.h"
#include "base/metrics.h"
#include "config/config.h"
#include "flow/context.h"

#include "fake_clock.h"
#include "fake_exchange.h"

#define WORKERS       2
#define SEC_US        UINT64_C(1000000)
#define COUNT(array)  (sizeof(array) / sizeof((array)[0]))
#define TEXT_PLAIN    "text/plain; charset=utf-8"
#define REASON        "for a reason"
#define COUNTED(name) atomic_load(&stage.metrics[0].counters[METRIC_##name])

struct stage {
    struct config config;
    struct log_sink log_sink;
    struct log log;
    struct budget budget;
    struct metrics metrics[WORKERS];
    struct metrics *sets[WORKERS];
    struct flow_context context;
    struct admin_shared shared;
    struct admin *admin;
    struct exchange exchange;
};

static void stage_open(struct stage *stage)
{
    fake_now_us = FAKE_START_US;
    *stage = (struct stage){.log = {.sink = &stage->log_sink},
                            .sets = {&stage->metrics[0], &stage->metrics[1]},
                            .shared = {.version = "1.2.3",
                                       .revision = "abcdef0",
                                       .metrics = stage->sets,
                                       .workers = WORKERS,
                                       .serving = WORKERS}};
    budget_init(&stage->budget, 5000);
    log_sink_init(&stage->log_sink, -1);
    stage->context = (struct flow_context){.config = &stage->config,
                                           .log = &stage->log,
                                           .budget = &stage->budget,
                                           .metrics = &stage->metrics[0]};
    stage->admin = admin_new(&stage->context, &stage->shared);
    assert_non_null(stage->admin);
}

static void stage_close(struct stage *stage)
{
    exchange_clear(&stage->exchange);
    admin_free(stage->admin);
    log_sink_deinit(&stage->log_sink);
}

/* A GET as the server brings it. */
static void get(struct stage *stage, const char *path)
{
    const struct server_handler *handler = admin_handler(stage->admin);
    exchange_clear(&stage->exchange);
    stage->exchange = (struct exchange){
        .route = route_match(path, strlen(path)), .target = path, .method = ROUTE_METHOD_GET};
    handler->on_headers(handler->owner, &stage->exchange);
    if (stage->exchange.replies == 0) {
        handler->on_complete(handler->owner, &stage->exchange);
    }
    if (handler->on_end != NULL) {
        handler->on_end(handler->owner, &stage->exchange, true);
    }
    assert_int_equal(stage->exchange.replies, 1);
}

static void expect_text(const struct stage *stage, unsigned status, const char *text)
{
    assert_int_equal(stage->exchange.status, status);
    assert_string_equal(stage->exchange.content_type, TEXT_PLAIN);
    assert_true(exchange_replied_text(&stage->exchange, text));
}

/* -- Health ----------------------------------------------------------------------------------- */

/* Whatever state the program is in: that it answers is the point. */
static void test_healthy_is_always_healthy(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    get(&stage, "/-/healthy");
    expect_text(&stage, 200, "healthy\n");
    atomic_store(&stage.shared.serving, 0);
    get(&stage, "/-/healthy");
    expect_text(&stage, 200, "healthy\n");
    atomic_store(&stage.shared.stopping, true);
    get(&stage, "/-/healthy");
    expect_text(&stage, 200, "healthy\n");
    stage_close(&stage);
}

static void test_ready_when_all_workers_serve_and_none_stops(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    for (size_t serving = 0; serving <= WORKERS; serving++) {
        atomic_store(&stage.shared.serving, serving);
        atomic_store(&stage.shared.stopping, false);
        get(&stage, "/-/ready");
        if (serving < WORKERS) {
            expect_text(&stage, 503, "starting\n");
        } else {
            expect_text(&stage, 200, "ready\n");
        }
        atomic_store(&stage.shared.stopping, true);
        get(&stage, "/-/ready");
        expect_text(&stage, 503, "stopping\n");
    }
    stage_close(&stage);
}

/* Where it is asked for, ready also means that the gateway answers. */
static void test_ready_with_the_gateway(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    get(&stage, "/-/ready");
    assert_int_equal(stage.exchange.status, 200); /* not asked for */
    stage.config.ready_gateway = true;
    get(&stage, "/-/ready");
    assert_int_equal(stage.exchange.status, 503); /* never seen */
    atomic_store(&stage.shared.gateway_seen_us, fake_now_us);
    get(&stage, "/-/ready");
    expect_text(&stage, 200, "ready\n");
    fake_now_us += 29 * SEC_US;
    get(&stage, "/-/ready");
    assert_int_equal(stage.exchange.status, 200);
    fake_now_us += 2 * SEC_US;
    get(&stage, "/-/ready");
    assert_int_equal(stage.exchange.status, 503);
    atomic_store(&stage.shared.gateway_seen_us, fake_now_us);
    get(&stage, "/-/ready");
    assert_int_equal(stage.exchange.status, 200);
    stage_close(&stage);
}

/* Health and metrics are answered when there are connections for nothing else. */
static void test_serves_when_connections_are_few(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    assert_true(admin_handler(stage.admin)->serves_reserved);
    stage_close(&stage);
}

/* -- Metrics ---------------------------------------------------------------------------------- */

/* The page has that line, whole. */
static bool page_has(const struct stage *stage, const char *line)
{
    const char *at = (const char *)stage->exchange.reply.data;
    const char *end = at + stage->exchange.reply.size;
    size_t bytes = strlen(line);
    while (at < end) {
        const char *next = memchr(at, '\n', (size_t)(end - at));
        assert_non_null(next); /* each line ends */
        if ((size_t)(next - at) == bytes && memcmp(at, line, bytes) == 0) {
            return true;
        }
        at = next + 1;
    }
    return false;
}

/* The page has a line that begins so. */
static bool page_tells(const struct stage *stage, const char *start)
{
    char line[256];
    int bytes = snprintf(line, sizeof(line), "\n%s", start);
    assert_true(bytes > 0 && (size_t)bytes < sizeof(line));
    return memmem(stage->exchange.reply.data, stage->exchange.reply.size, line, (size_t)bytes) !=
           NULL;
}

static void expect_sample(const struct stage *stage, const char *name, const char *suffix,
                          const char *labels)
{
    char start[256];
    const char *open = labels[0] != '\0' ? "{" : "";
    const char *close = labels[0] != '\0' ? "}" : "";
    (void)snprintf(start, sizeof(start), "%s%s%s%s%s ", name, suffix, open, labels, close);
    assert_true(page_tells(stage, start));
    (void)snprintf(start, sizeof(start), "# TYPE %s ", name);
    assert_true(page_tells(stage, start) ||
                memcmp(stage->exchange.reply.data, start, strlen(start)) == 0);
}

static void test_the_page_has_every_metric(void **state)
{
    (void)state;

    static const struct {
        const char *name;
        const char *labels;
    } plain[] = {

#define X(id, name, labels, help) {name, labels},
        METRICS_COUNTERS(X) METRICS_GAUGES(X)
#undef X
    };

    static const struct {
        const char *name;
        const char *labels;
    } histograms[] = {

#define X(id, name, labels, help, ...) {name, labels},
        METRICS_HISTOGRAMS(X)
#undef X
    };
    static const char *const others[] = {
        "agent_proxy_log_lines_lost_total",
        "agent_proxy_memory_budget_bytes",
        "agent_proxy_memory_budget_used_bytes",
        "agent_proxy_memory_ceiling_bytes",
        "agent_proxy_container_memory_limit_bytes",
        "agent_proxy_container_cpu_quota_cores",
        "agent_proxy_workers",
        "agent_proxy_config_last_reload_successful",
        "agent_proxy_config_last_reload_success_timestamp_seconds",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "process_start_time_seconds",
    };
    struct stage stage;
    stage_open(&stage);
    get(&stage, "/metrics");
    assert_int_equal(stage.exchange.status, 200);
    assert_string_equal(stage.exchange.content_type, "text/plain; version=0.0.4; charset=utf-8");
    for (size_t i = 0; i < COUNT(plain); i++) {
        expect_sample(&stage, plain[i].name, "", plain[i].labels);
    }
    for (size_t i = 0; i < COUNT(histograms); i++) {
        expect_sample(&stage, histograms[i].name, "_sum", histograms[i].labels);
        expect_sample(&stage, histograms[i].name, "_count", histograms[i].labels);
    }
    for (size_t i = 0; i < COUNT(others); i++) {
        expect_sample(&stage, others[i], "", "");
    }
    assert_true(
        page_has(&stage, "agent_proxy_build_info{version=\"1.2.3\",revision=\"abcdef0\"} 1"));
    assert_int_equal(stage.exchange.reply.data[stage.exchange.reply.size - 1], '\n');
    stage_close(&stage);
}

static void test_the_page_sums_the_workers(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    metrics_add(&stage.metrics[0], METRIC_WRITE_ACCEPTED, 5);
    metrics_add(&stage.metrics[1], METRIC_WRITE_ACCEPTED, 7);
    metrics_gauge_add(&stage.metrics[0], METRIC_CONNECTIONS, 3);
    metrics_gauge_add(&stage.metrics[1], METRIC_CONNECTIONS, -1);
    metrics_observe(&stage.metrics[0], METRIC_BATCH_REQUESTS, 3);
    metrics_observe(&stage.metrics[1], METRIC_BATCH_REQUESTS, 4);
    assert_true(budget_take(&stage.budget, 1234));
    stage.shared.memory_ceiling_bytes = 4096;
    stage.shared.memory_limit_bytes = 8192;
    stage.shared.cpu_quota_millis = 150;
    log_error(&stage.log, "nowhere to go");
    get(&stage, "/metrics");
    assert_true(page_has(&stage, "agent_proxy_write_requests_total{outcome=\"accepted\"} 12"));
    assert_true(page_has(&stage, "agent_proxy_connections 2"));
    assert_true(page_has(&stage, "agent_proxy_batch_requests_count 2"));
    assert_true(page_has(&stage, "agent_proxy_batch_requests_sum 7"));
    assert_true(page_has(&stage, "agent_proxy_log_lines_lost_total 1"));
    assert_true(page_has(&stage, "agent_proxy_memory_budget_bytes 5000"));
    assert_true(page_has(&stage, "agent_proxy_memory_budget_used_bytes 1234"));
    assert_true(page_has(&stage, "agent_proxy_memory_ceiling_bytes 4096"));
    assert_true(page_has(&stage, "agent_proxy_container_memory_limit_bytes 8192"));
    assert_true(page_has(&stage, "agent_proxy_container_cpu_quota_cores 0.15"));
    assert_true(page_has(&stage, "agent_proxy_workers 2"));
    assert_true(page_has(&stage, "agent_proxy_config_last_reload_successful 0"));
    atomic_store(&stage.shared.reload_successful, true);
    atomic_store(&stage.shared.reload_time_s, 1700000000);
    get(&stage, "/metrics");
    assert_true(page_has(&stage, "agent_proxy_config_last_reload_successful 1"));
    assert_true(page_tells(&stage, "agent_proxy_config_last_reload_success_timestamp_seconds 1"));
    atomic_store(&stage.shared.outdated, 1);
    get(&stage, "/metrics");
    assert_true(page_has(&stage, "agent_proxy_config_last_reload_successful 0"));
    stage_close(&stage);
}

/* -- Refusals --------------------------------------------------------------------------------- */

static void refuse(struct stage *stage, const char *path, enum server_refusal refusal)
{
    exchange_clear(&stage->exchange);
    stage->exchange = (struct exchange){.route = route_match(path, strlen(path)), .target = path};
    admin_on_refused(stage->admin, &stage->exchange, refusal, REASON);
    assert_int_equal(stage->exchange.replies, 1);
}

static void test_refusals(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);

    refuse(&stage, "/api/v1/receive", SERVER_REFUSAL_METHOD);
    expect_text(&stage, 405, REASON "\n");
    assert_string_equal(stage.exchange.reply_headers, "Allow: POST\n");
    refuse(&stage, "/api/v1/query", SERVER_REFUSAL_METHOD);
    assert_string_equal(stage.exchange.reply_headers, "Allow: GET, HEAD, POST\n");
    assert_int_equal(COUNTED(REJECTED_METHOD), 2);

    refuse(&stage, "/nothing", SERVER_REFUSAL_NOT_FOUND);
    expect_text(&stage, 404, REASON "\n");
    assert_int_equal(COUNTED(REJECTED_PATH), 1);

    refuse(&stage, "/a/../b", SERVER_REFUSAL_BAD_PATH);
    expect_text(&stage, 400, REASON "\n");
    assert_int_equal(COUNTED(REJECTED_PATH), 2);
    assert_string_equal(stage.exchange.reply_headers, "");

    refuse(&stage, "/metrics", SERVER_REFUSAL_HTTP);
    expect_text(&stage, 400, REASON "\n");
    assert_int_equal(COUNTED(REJECTED_HTTP), 1);

    refuse(&stage, "/api/v1/receive", SERVER_REFUSAL_CONNECTIONS);
    expect_text(&stage, 503, REASON "\n");
    assert_in_range(exchange_retry_after_s(&stage.exchange), 1, 60);
    stage_close(&stage);
}

/* Clients of Prometheus' HTTP API read its form of an error; senders of remote write read a line.
 */
static void test_refusals_of_the_query_api_have_its_form(void **state)
{
    (void)state;

    static const struct {
        const char *path;
        enum server_refusal refusal;
        unsigned status;
        const char *type;
    } cases[] = {
        {"/api/v1/query", SERVER_REFUSAL_METHOD, 405, "bad_data"},
        {"/api/v1/nothing", SERVER_REFUSAL_NOT_FOUND, 404, "not_found"},
        {"/api/v1/a%2fb", SERVER_REFUSAL_BAD_PATH, 400, "bad_data"},
        {"/api/v1/labels", SERVER_REFUSAL_HTTP, 400, "bad_data"},
        {"/api/v1/series", SERVER_REFUSAL_CONNECTIONS, 503, "unavailable"},
    };
    struct stage stage;
    stage_open(&stage);
    for (size_t i = 0; i < COUNT(cases); i++) {
        char body[256];
        (void)snprintf(body, sizeof(body),
                       "{\"status\":\"error\",\"errorType\":\"%s\",\"error\":\"" REASON "\"}\n",
                       cases[i].type);
        refuse(&stage, cases[i].path, cases[i].refusal);
        assert_int_equal(stage.exchange.status, cases[i].status);
        assert_string_equal(stage.exchange.content_type, "application/json");
        assert_true(exchange_replied_text(&stage.exchange, body));
    }
    for (size_t i = 0; i < COUNT(cases); i++) {
        refuse(&stage, "/api/v1/write", cases[i].refusal);
        expect_text(&stage, cases[i].status, REASON "\n");
    }
    stage_close(&stage);
}

static void test_free_takes_nothing(void **state)
{
    (void)state;
    admin_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_healthy_is_always_healthy),
        cmocka_unit_test(test_ready_when_all_workers_serve_and_none_stops),
        cmocka_unit_test(test_ready_with_the_gateway),
        cmocka_unit_test(test_serves_when_connections_are_few),
        cmocka_unit_test(test_the_page_has_every_metric),
        cmocka_unit_test(test_the_page_sums_the_workers),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_refusals_of_the_query_api_have_its_form),
        cmocka_unit_test(test_free_takes_nothing),
    };
    return cmocka_run_group_tests_name("flow/admin", tests, NULL, NULL);
}
