/* Counters, gauges and histograms: one table that names them, one set of numbers for each worker,
 * and their sum in the Prometheus text format.
 *
 * A worker writes only to its own set; a scrape sums all sets, so relaxed atomics are enough and
 * no update costs more than an add. The help text of a metric is its definition: a test holds that
 * docs name every one. Names end in their unit. */
#ifndef AGENT_PROXY_BASE_METRICS_H
#define AGENT_PROXY_BASE_METRICS_H

#include "base/buf.h"

#include <stdatomic.h>
#include <stdint.h>

/* The routes of reads, in the order of enum route_id, and their counters by status class. */
#define METRICS_READ_ROUTES(X, Y)              \
    X(Y, QUERY, "query")                       \
    X(Y, QUERY_RANGE, "query_range")           \
    X(Y, SERIES, "series")                     \
    X(Y, LABELS, "labels")                     \
    X(Y, LABEL_VALUES, "label_values")         \
    X(Y, QUERY_EXEMPLARS, "query_exemplars")   \
    X(Y, FORMAT_QUERY, "format_query")         \
    X(Y, PARSE_QUERY, "parse_query")           \
    X(Y, RULES, "rules")                       \
    X(Y, ALERTS, "alerts")                     \
    X(Y, METADATA, "metadata")                 \
    X(Y, TARGETS, "targets")                   \
    X(Y, TARGETS_METADATA, "targets_metadata") \
    X(Y, BUILDINFO, "buildinfo")               \
    X(Y, OTLP, "otlp")
#define METRICS_READ_ROUTE_(X, ID, route)                                                       \
    X(READ_##ID##_2XX, "agent_proxy_read_requests_total", "route=\"" route "\",status=\"2xx\"", \
      "Reads answered, by route and by the class of the status that the client heard.")         \
    X(READ_##ID##_4XX, "agent_proxy_read_requests_total", "route=\"" route "\",status=\"4xx\"", \
      "")                                                                                       \
    X(READ_##ID##_5XX, "agent_proxy_read_requests_total", "route=\"" route "\",status=\"5xx\"", "")

/* X(ID, name, labels, help): a counter. Rows of one name stand together; the first one's help is
 * printed. */
#define METRICS_COUNTERS(X)                                                                        \
    X(WRITE_ACCEPTED, "agent_proxy_write_requests_total", "outcome=\"accepted\"",                  \
      "Remote-write requests answered, by what the sender heard: accepted (2xx, the gateway has "  \
      "it), refused (4xx, the data is at fault), unavailable (503, to be sent again), "            \
      "disconnected (the sender left before its answer).")                                         \
    X(WRITE_REFUSED, "agent_proxy_write_requests_total", "outcome=\"refused\"", "")                \
    X(WRITE_UNAVAILABLE, "agent_proxy_write_requests_total", "outcome=\"unavailable\"", "")        \
    X(WRITE_DISCONNECTED, "agent_proxy_write_requests_total", "outcome=\"disconnected\"", "")      \
    X(SAMPLES_ACCEPTED, "agent_proxy_samples_total", "outcome=\"accepted\"",                       \
      "Float samples in remote-write requests that could be decoded, by outcome of the request.")  \
    X(SAMPLES_REFUSED, "agent_proxy_samples_total", "outcome=\"refused\"", "")                     \
    X(SAMPLES_UNAVAILABLE, "agent_proxy_samples_total", "outcome=\"unavailable\"", "")             \
    X(SERIES_ACCEPTED, "agent_proxy_series_total", "",                                             \
      "Series in accepted remote-write requests.")                                                 \
    X(HISTOGRAMS_ACCEPTED, "agent_proxy_histograms_total", "",                                     \
      "Native histograms in accepted remote-write requests.")                                      \
    X(EXEMPLARS_ACCEPTED, "agent_proxy_exemplars_total", "",                                       \
      "Exemplars in accepted remote-write requests.")                                              \
    X(METADATA_ACCEPTED, "agent_proxy_metadata_total", "",                                         \
      "Metric metadata entries in accepted remote-write requests.")                                \
    X(RECEIVED_BYTES, "agent_proxy_write_received_bytes_total", "",                                \
      "Bytes of remote-write bodies received, compressed.")                                        \
    X(DECODED_BYTES, "agent_proxy_write_decoded_bytes_total", "",                                  \
      "Bytes of remote-write bodies after decompression.")                                         \
    X(SENT_BYTES, "agent_proxy_gateway_sent_bytes_total", "",                                      \
      "Bytes of batch bodies sent to the gateway, compressed, repeats included.")                  \
    X(REJECTED_METHOD, "agent_proxy_requests_rejected_total", "reason=\"method\"",                 \
      "Requests that the proxy itself refused, by reason.")                                        \
    X(REJECTED_PATH, "agent_proxy_requests_rejected_total", "reason=\"path\"", "")                 \
    X(REJECTED_TYPE, "agent_proxy_requests_rejected_total", "reason=\"content_type\"", "")         \
    X(REJECTED_ENCODING, "agent_proxy_requests_rejected_total", "reason=\"content_encoding\"", "") \
    X(REJECTED_TOO_LARGE, "agent_proxy_requests_rejected_total", "reason=\"too_large\"", "")       \
    X(REJECTED_SNAPPY, "agent_proxy_requests_rejected_total", "reason=\"snappy\"", "")             \
    X(REJECTED_PROTOBUF, "agent_proxy_requests_rejected_total", "reason=\"protobuf\"", "")         \
    X(REJECTED_HTTP, "agent_proxy_requests_rejected_total", "reason=\"http\"", "")                 \
    X(REJECTED_BUDGET, "agent_proxy_requests_rejected_total", "reason=\"memory_budget\"", "")      \
    X(REJECTED_CONNECTIONS, "agent_proxy_requests_rejected_total", "reason=\"connections\"", "")   \
    X(REJECTED_UNAUTHORIZED, "agent_proxy_requests_rejected_total", "reason=\"unauthorized\"", "") \
    X(REJECTED_PASSWORD_CHECKS, "agent_proxy_requests_rejected_total",                             \
      "reason=\"password_checks\"", "")                                                            \
    X(REJECTED_DEADLINE, "agent_proxy_requests_rejected_total", "reason=\"deadline\"", "")         \
    X(BATCHES_2XX, "agent_proxy_gateway_requests_total", "outcome=\"2xx\"",                        \
      "Write requests sent to the gateway, repeats included, by its answer.")                      \
    X(BATCHES_3XX, "agent_proxy_gateway_requests_total", "outcome=\"3xx\"", "")                    \
    X(BATCHES_4XX, "agent_proxy_gateway_requests_total", "outcome=\"4xx\"", "")                    \
    X(BATCHES_5XX, "agent_proxy_gateway_requests_total", "outcome=\"5xx\"", "")                    \
    X(BATCHES_FAILED, "agent_proxy_gateway_requests_total", "outcome=\"failed\"", "")              \
    X(BATCHES_SPLIT, "agent_proxy_batches_split_total", "",                                        \
      "Batches that the gateway refused and that were sent again in parts.")                       \
    X(GATEWAY_REPLAYS, "agent_proxy_gateway_replays_total", "",                                    \
      "Writes that were sent again at once because a reused connection proved dead: each may "     \
      "have reached the gateway twice.")                                                           \
    X(GATEWAY_STALE, "agent_proxy_gateway_stale_connections_total", "",                            \
      "Idle connections not used again because something unread was found on them.")               \
    X(RESENDS, "agent_proxy_batch_resends_total", "",                                              \
      "Parts of refused batches that were sent again.")                                            \
    X(RESENDS_DENIED, "agent_proxy_batch_resends_denied_total", "",                                \
      "Refused batches that were not sent again in parts, for want of re-sends.")                  \
    X(MISCONFIGURED, "agent_proxy_gateway_misconfigured_total", "",                                \
      "Answers of the gateway that speak of the proxy's configuration: 3xx, and 4xx that are "     \
      "neither of the data nor of the moment (401, 403, 404, 405, ...).")                          \
    METRICS_READ_ROUTES(METRICS_READ_ROUTE_, X)                                                    \
    X(READ_BYTES, "agent_proxy_read_answer_bytes_total", "",                                       \
      "Bytes of the gateway's answers to reads that were passed on to clients.")                   \
    X(READS_CANCELLED, "agent_proxy_read_requests_cancelled_total", "",                            \
      "Reads whose client was gone before its answer was whole.")                                  \
    X(TLS_FAILURES, "agent_proxy_tls_handshake_failures_total", "",                                \
      "TLS handshakes with senders and clients that failed.")                                      \
    X(CONNECTIONS_OVERDUE, "agent_proxy_connections_overdue_total", "",                            \
      "Connections closed because a head, a body or the taking of a reply took too long.")         \
    X(CONNECTIONS_ACCEPTED, "agent_proxy_connections_accepted_total", "",                          \
      "Connections accepted by the listener.")

/* X(ID, name, labels, help): a gauge, summed over workers. */
#define METRICS_GAUGES(X)                                                                        \
    X(CONNECTIONS, "agent_proxy_connections", "", "Connections open at the listener.")           \
    X(WORKERS_BUSY, "agent_proxy_workers_busy", "",                                              \
      "Workers that used more than half of a CPU in the last second: they get new connections "  \
      "only when all are busy.")                                                                 \
    X(WRITES_WAITING, "agent_proxy_write_requests_waiting", "",                                  \
      "Remote-write requests that wait for the gateway's answer, queued or sent.")               \
    X(GATEWAY_MISCONFIGURED, "agent_proxy_gateway_misconfigured", "",                            \
      "Workers that have heard 401, 403, 404, 405 or 3xx, and no word on a write's data since: " \
      "settings are wrong.")                                                                     \
    X(READS_IN_FLIGHT, "agent_proxy_read_requests_in_flight", "",                                \
      "Reads that are at the gateway.")                                                          \
    X(BATCHES_IN_FLIGHT, "agent_proxy_gateway_requests_in_flight", "",                           \
      "Write requests at the gateway that are not answered yet.")

/* X(ID, name, labels, help, scale, bounds...): a histogram. The value observed is an integer; a
 * bound or sum is printed as value / scale (1e6 prints microseconds as seconds). */
#define METRICS_HISTOGRAMS(X)                                                                     \
    X(BATCH_REQUESTS, "agent_proxy_batch_requests", "", "Requests joined into one batch.", 1, 1,  \
      2, 4, 8, 16, 32, 64, 128, 256)                                                              \
    X(BATCH_BYTES, "agent_proxy_batch_bytes", "", "Compressed bytes of a batch.", 1, 1024, 4096,  \
      16384, 65536, 262144, 1048576, 4194304, 33554432)                                           \
    X(GATEWAY_SECONDS, "agent_proxy_gateway_request_duration_seconds", "",                        \
      "Time from sending a batch to the gateway's whole answer or its failure.", 1000000, 1000,   \
      2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000, 5000000,         \
      10000000, 25000000)                                                                         \
    X(READ_FIRST_SECONDS, "agent_proxy_read_first_byte_duration_seconds", "",                     \
      "Time from a read's request line to the head of its answer.", 1000000, 1000, 2500, 5000,    \
      10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000, 30000000) \
    X(READ_LAST_SECONDS, "agent_proxy_read_request_duration_seconds", "",                         \
      "Time from a read's request line to the end of its answer.", 1000000, 1000, 2500, 5000,     \
      10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000, 30000000) \
    X(WRITE_SECONDS, "agent_proxy_write_request_duration_seconds", "",                            \
      "Time from a remote-write request's headers to its answer.", 1000000, 1000, 2500, 5000,     \
      10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000, 25000000)

#define METRICS_BUCKETS_MAX 16

enum metric_counter {

#define X(id, name, labels, help) METRIC_##id,
    METRICS_COUNTERS(X)
#undef X
        METRIC_COUNTERS
};

enum metric_gauge {

#define X(id, name, labels, help) METRIC_##id,
    METRICS_GAUGES(X)
#undef X
        METRIC_GAUGES
};

enum metric_histogram {

#define X(id, name, labels, help, ...) METRIC_##id,
    METRICS_HISTOGRAMS(X)
#undef X
        METRIC_HISTOGRAMS
};

struct metrics_histogram {
    _Atomic uint64_t buckets[METRICS_BUCKETS_MAX + 1]; /* not cumulative; the last is +Inf */
    _Atomic uint64_t sum;
};

/* The numbers of one worker. Owner: the worker; zero is its start; read by any thread. */
struct metrics {
    _Atomic uint64_t counters[METRIC_COUNTERS];
    _Atomic int64_t gauges[METRIC_GAUGES];
    struct metrics_histogram histograms[METRIC_HISTOGRAMS];
};

/* Only the owner writes, so a load and a store do; no locked instruction is needed. */
static inline void metrics_add(struct metrics *metrics, enum metric_counter id, uint64_t amount)
{
    uint64_t old = atomic_load_explicit(&metrics->counters[id], memory_order_relaxed);
    atomic_store_explicit(&metrics->counters[id], old + amount, memory_order_relaxed);
}

static inline void metrics_gauge_add(struct metrics *metrics, enum metric_gauge id, int64_t amount)
{
    int64_t old = atomic_load_explicit(&metrics->gauges[id], memory_order_relaxed);
    atomic_store_explicit(&metrics->gauges[id], old + amount, memory_order_relaxed);
}

enum metrics_status { METRICS_STATUS_2XX, METRICS_STATUS_4XX, METRICS_STATUS_5XX };

/* The counter of a read: route counted from the first of METRICS_READ_ROUTES. */
static inline enum metric_counter metrics_read_counter(unsigned route, enum metrics_status status)
{
    return (enum metric_counter)((unsigned)METRIC_READ_QUERY_2XX + route * 3 + (unsigned)status);
}

void metrics_observe(struct metrics *metrics, enum metric_histogram id, uint64_t value);

/* Print the sum of the sets as Prometheus text (HELP, TYPE, samples) to the end of text.
 * Errors: as buf_append(). Source: Prometheus exposition formats, text format 0.0.4. */
__attribute__((warn_unused_result)) int metrics_print(struct metrics *const *sets, size_t count,
                                                      struct buf *text);

/* Print the process's own metrics by their usual names: process_cpu_seconds_total,
 * process_resident_memory_bytes, process_virtual_memory_bytes, process_open_fds, process_max_fds,
 * process_start_time_seconds; those that /proc does not tell are left out. Errors: as above. */
__attribute__((warn_unused_result)) int metrics_print_process(struct buf *text);

/* Print one counter that is no worker's, with its HELP and TYPE. Errors: as above. */
__attribute__((warn_unused_result)) int metrics_print_counter(struct buf *text, const char *name,
                                                              const char *help, uint64_t value);

/* Print one gauge with its HELP and TYPE; labels may be "". Errors: as above. */
__attribute__((warn_unused_result)) int metrics_print_gauge(struct buf *text, const char *name,
                                                            const char *labels, const char *help,
                                                            double value);

#endif
