/* The status page's numbers. Owns their history. */
#include "flow/status.h"

#include "base/budget.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/escape.h"
#include "base/log_recent.h"
#include "base/metrics.h"
#include "config/config.h"
#include "flow/admin.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define SEC_US      UINT64_C(1000000)
#define INTERVAL_US (5 * SEC_US)
#define HISTORY_MAX 120 /* of ten minutes */
#define TEXT_MAX    1024

/* What is counted up; the page shows rates. */
enum total {
    TOTAL_SAMPLES,
    TOTAL_REQUESTS,
    TOTAL_BATCHES,
    TOTAL_READS,
    TOTAL_REFUSED, /* with 4xx */
    TOTAL_PUT_OFF, /* with 503 */
    TOTAL_ANSWERS, /* of the gateway to writes */
    TOTAL_ANSWER_US,
    TOTALS
};

/* What is kept of each interval. */
enum series {
    SERIES_SAMPLES, /* these by the second, in the order of the totals */
    SERIES_REQUESTS,
    SERIES_BATCHES,
    SERIES_READS,
    SERIES_REFUSED,
    SERIES_PUT_OFF,
    SERIES_WAITING, /* these as they are at its end */
    SERIES_IN_FLIGHT,
    SERIES_ANSWER_MS, /* mean of the interval */
    SERIES_COUNT
};

static const char *const TOTAL_NAMES[TOTALS] = {"samples", "requests", "batches", "reads",
                                                "refused", "put_off",  "answers", "answer_us"};
static const char *const SERIES_NAMES[SERIES_COUNT] = {"samples", "requests",  "batches",
                                                       "reads",   "refused",   "put_off",
                                                       "waiting", "in_flight", "answer_ms"};

struct status {
    struct status_settings settings;
    uint64_t started_us;
    uint64_t due_us;
    uint64_t sampled_us;
    uint64_t sampled[TOTALS];
    pthread_mutex_t lock; /* of all below */
    size_t next;          /* where the next interval goes: over the oldest */
    size_t count;
    float history[SERIES_COUNT][HISTORY_MAX];
};

/* -- Sums over the workers -------------------------------------------------------------------- */

/* Of the counters from first to last. */
static uint64_t sum_of(const struct status *status, enum metric_counter first,
                       enum metric_counter last)
{
    const struct admin_shared *shared = status->settings.shared;
    uint64_t sum = 0;
    for (size_t set = 0; set < shared->workers; set++) {
        for (unsigned id = first; id <= (unsigned)last; id++) {
            sum += atomic_load_explicit(&shared->metrics[set]->counters[id], memory_order_relaxed);
        }
    }
    return sum;
}

static uint64_t one_of(const struct status *status, enum metric_counter id)
{
    return sum_of(status, id, id);
}

static int64_t gauge_of(const struct status *status, enum metric_gauge id)
{
    const struct admin_shared *shared = status->settings.shared;
    int64_t sum = 0;
    for (size_t set = 0; set < shared->workers; set++) {
        sum += atomic_load_explicit(&shared->metrics[set]->gauges[id], memory_order_relaxed);
    }
    return sum;
}

static void sum_answers(const struct status *status, uint64_t *count, uint64_t *sum_us)
{
    const struct admin_shared *shared = status->settings.shared;
    *count = 0;
    *sum_us = 0;
    for (size_t set = 0; set < shared->workers; set++) {
        struct metrics_histogram *answers =
            &shared->metrics[set]->histograms[METRIC_GATEWAY_SECONDS];
        for (size_t i = 0; i <= METRICS_BUCKETS_MAX; i++) {
            *count += atomic_load_explicit(&answers->buckets[i], memory_order_relaxed);
        }
        *sum_us += atomic_load_explicit(&answers->sum, memory_order_relaxed);
    }
}

static void take_totals(const struct status *status, uint64_t totals[TOTALS])
{
    totals[TOTAL_SAMPLES] = one_of(status, METRIC_SAMPLES_ACCEPTED);
    totals[TOTAL_REQUESTS] = sum_of(status, METRIC_WRITE_ACCEPTED, METRIC_WRITE_UNAVAILABLE);
    totals[TOTAL_BATCHES] = sum_of(status, METRIC_BATCHES_2XX, METRIC_BATCHES_FAILED);
    totals[TOTAL_READS] = sum_of(status, METRIC_READ_QUERY_2XX, METRIC_READ_OTLP_5XX);
    /* Writes that were refused for their data are counted as such, whatever the reason. */
    totals[TOTAL_REFUSED] =
        one_of(status, METRIC_WRITE_REFUSED) + one_of(status, METRIC_REJECTED_METHOD) +
        one_of(status, METRIC_REJECTED_PATH) + one_of(status, METRIC_REJECTED_HTTP) +
        one_of(status, METRIC_REJECTED_UNAUTHORIZED);
    totals[TOTAL_PUT_OFF] = one_of(status, METRIC_WRITE_UNAVAILABLE) +
                            one_of(status, METRIC_REJECTED_CONNECTIONS) +
                            one_of(status, METRIC_REJECTED_PASSWORD_CHECKS);
    sum_answers(status, &totals[TOTAL_ANSWERS], &totals[TOTAL_ANSWER_US]);
}

static int64_t in_flight(const struct status *status)
{
    return gauge_of(status, METRIC_BATCHES_IN_FLIGHT) + gauge_of(status, METRIC_READS_IN_FLIGHT);
}

/* -- History ---------------------------------------------------------------------------------- */

static void take_sample(struct status *status, uint64_t now_us)
{
    uint64_t totals[TOTALS];
    double more[TOTALS];
    double seconds = (double)(now_us - status->sampled_us) / 1e6;
    take_totals(status, totals);
    for (size_t i = 0; i < TOTALS; i++) {
        /* Workers go on counting while they are summed: two that belong together may not agree. */
        more[i] = totals[i] > status->sampled[i] ? (double)(totals[i] - status->sampled[i]) : 0;
    }
    (void)pthread_mutex_lock(&status->lock);
    for (size_t i = 0; i <= SERIES_PUT_OFF; i++) {
        status->history[i][status->next] = (float)(more[i] / seconds);
    }
    status->history[SERIES_WAITING][status->next] = (float)gauge_of(status, METRIC_WRITES_WAITING);
    status->history[SERIES_IN_FLIGHT][status->next] = (float)in_flight(status);
    status->history[SERIES_ANSWER_MS][status->next] =
        more[TOTAL_ANSWERS] > 0 ? (float)(more[TOTAL_ANSWER_US] / more[TOTAL_ANSWERS] / 1e3) : 0;
    status->next = (status->next + 1) % HISTORY_MAX;
    status->count += status->count < HISTORY_MAX;
    (void)pthread_mutex_unlock(&status->lock);
    memcpy(status->sampled, totals, sizeof(totals));
    status->sampled_us = now_us;
}

void status_tick(struct status *status)
{
    uint64_t now_us = clock_now_us();
    if (now_us < status->due_us) {
        return;
    }
    take_sample(status, now_us);
    status->due_us = now_us + INTERVAL_US;
}

uint64_t status_deadline_us(const struct status *status)
{
    return status->due_us;
}

/* -- Printing --------------------------------------------------------------------------------- */

/* A member of an object whose value is a text from wherever. */
static int print_text(struct buf *text, const char *name, const char *value)
{
    char escaped[TEXT_MAX];
    size_t bytes = escape_json(escaped, sizeof(escaped), value, strlen(value));
    return buf_printf(text, "\"%s\":\"%.*s\",", name, (int)bytes, escaped);
}

/* Seconds since a moment; null for one that never came. */
static int print_age(struct buf *text, const char *name, uint64_t then_us)
{
    uint64_t now_us = clock_now_us();
    if (then_us == 0) {
        return buf_printf(text, "\"%s\":null,", name);
    }
    return buf_printf(text, "\"%s\":%" PRIu64 ",", name,
                      now_us > then_us ? (now_us - then_us) / SEC_US : 0);
}

static int print_program(const struct status *status, struct buf *text)
{
    const struct config *config = status->settings.config;
    const struct admin_shared *shared = status->settings.shared;
    int result = print_text(text, "version", shared->version);
    result = result == 0 ? print_text(text, "revision", shared->revision) : result;
    result = result == 0 ? print_text(text, "tenant", config->tenant) : result;
    result = result == 0 ? print_age(text, "uptime_s", status->started_us) : result;
    return result == 0
               ? buf_printf(text, "\"workers\":%zu,\"stopping\":%s,\"reload_ok\":%s,",
                            shared->workers, atomic_load(&shared->stopping) ? "true" : "false",
                            admin_reload_successful(shared) ? "true" : "false")
               : result;
}

static int print_gateway(const struct status *status, struct buf *text)
{
    static const char *const names[] = {"unknown", "answering", "unavailable", "misconfigured"};
    const struct config *config = status->settings.config;
    struct gateway_report report;
    gateway_state_report(&status->settings.shared->gateway, &report);
    int result = buf_printf(text, "\"gateway\":{");
    result = result == 0 ? print_text(text, "address", config->gateway_address.text) : result;
    result =
        result == 0 ? print_text(text, "read_address", config->gateway_read_address.text) : result;
    result = result == 0 ? print_text(text, "error", report.error) : result;
    result = result == 0 ? print_age(text, "error_age_s", report.trouble_us) : result;
    result = result == 0 ? print_age(text, "good_age_s", report.good_us) : result;
    return result == 0 ? buf_printf(text, "\"state\":\"%s\"},", names[report.condition]) : result;
}

static int print_now(const struct status *status, struct buf *text)
{
    const struct admin_shared *shared = status->settings.shared;
    const struct budget *budget = status->settings.budget;
    uint64_t totals[TOTALS];
    take_totals(status, totals);
    int result = buf_printf(
        text,
        "\"now_ms\":%" PRIu64 ",\"waiting\":%" PRId64 ",\"in_flight\":%" PRId64
        ",\"connections\":%" PRId64 ",\"memory\":{\"used\":%zu,\"budget\":%zu,\"ceiling\":%" PRIu64
        ",\"container\":%" PRIu64 "},\"totals\":{",
        clock_now_us() / 1000, gauge_of(status, METRIC_WRITES_WAITING), in_flight(status),
        gauge_of(status, METRIC_CONNECTIONS), budget_used(budget), budget->limit,
        shared->memory_ceiling_bytes, shared->memory_limit_bytes);
    for (size_t i = 0; result == 0 && i < TOTALS; i++) {
        result = buf_printf(text, "%s\"%s\":%" PRIu64, i > 0 ? "," : "", TOTAL_NAMES[i], totals[i]);
    }
    return result == 0 ? buf_printf(text, "},") : result;
}

/* Oldest first. */
static int print_series(const struct status *status, size_t series, struct buf *text)
{
    int result = buf_printf(text, ",\n\"%s\":[", SERIES_NAMES[series]);
    for (size_t i = status->count; result == 0 && i > 0; i--) {
        size_t at = (status->next + HISTORY_MAX - i) % HISTORY_MAX;
        result = buf_printf(text, "%s%.6g", i < status->count ? "," : "",
                            (double)status->history[series][at]);
    }
    return result == 0 ? buf_printf(text, "]") : result;
}

static int print_history(struct status *status, struct buf *text)
{
    int result =
        buf_printf(text, "\"history\":{\"interval_s\":%u", (unsigned)(INTERVAL_US / SEC_US));
    (void)pthread_mutex_lock(&status->lock);
    for (size_t i = 0; result == 0 && i < SERIES_COUNT; i++) {
        result = print_series(status, i, text);
    }
    (void)pthread_mutex_unlock(&status->lock);
    return result == 0 ? buf_printf(text, "},\n") : result;
}

int status_print(struct status *status, struct buf *text)
{
    int result = buf_printf(text, "{");
    result = result == 0 ? print_program(status, text) : result;
    result = result == 0 ? print_gateway(status, text) : result;
    result = result == 0 ? print_now(status, text) : result;
    result = result == 0 ? print_history(status, text) : result;
    result = result == 0 ? buf_printf(text, "\"events\":") : result;
    result = result == 0 ? log_recent_print(status->settings.recent, text) : result;
    return result == 0 ? buf_printf(text, "}\n") : result;
}

/* -- Life ------------------------------------------------------------------------------------- */

struct status *status_new(const struct status_settings *settings)
{
    struct status *status = calloc(1, sizeof(*status));
    if (status == NULL) {
        return NULL;
    }
    status->settings = *settings;
    status->started_us = clock_now_us();
    status->sampled_us = status->started_us;
    status->due_us = status->started_us + INTERVAL_US;
    (void)pthread_mutex_init(&status->lock, NULL);
    return status;
}

void status_free(struct status *status)
{
    if (status == NULL) {
        return;
    }
    (void)pthread_mutex_destroy(&status->lock);
    free(status);
}
