/* Tests of base/metrics: the numbers, and the rules of the text format that scrapers rely on. */
#include "base/metrics.h"

#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <time.h>

/* Printed text with a terminator. Owner: the test, with free(). */
static char *print_sets(struct metrics *const *sets, size_t count)
{
    struct buf text;
    buf_init(&text, 1 << 20);
    assert_int_equal(metrics_print(sets, count, &text), 0);
    assert_int_equal(buf_append(&text, "", 1), 0);
    assert_int_equal(strlen((char *)text.data), text.size - 1);
    return (char *)text.data;
}

static bool has_line(const char *text, const char *line)
{
    size_t bytes = strlen(line);
    for (const char *found = strstr(text, line); found != NULL; found = strstr(found + 1, line)) {
        if ((found == text || found[-1] == '\n') && found[bytes] == '\n') {
            return true;
        }
    }
    return false;
}

static void test_counters_and_gauges_are_summed_over_sets(void **state)
{
    (void)state;
    struct metrics one = {0};
    struct metrics two = {0};
    struct metrics *const sets[] = {&one, &two};
    metrics_add(&one, METRIC_WRITE_ACCEPTED, 3);
    metrics_add(&one, METRIC_WRITE_ACCEPTED, 4);
    metrics_add(&two, METRIC_WRITE_ACCEPTED, 10);
    metrics_add(&two, METRIC_WRITE_REFUSED, 1);
    metrics_add(&two, METRIC_SENT_BYTES, UINT64_C(1) << 62);
    metrics_gauge_add(&one, METRIC_CONNECTIONS, 5);
    metrics_gauge_add(&one, METRIC_CONNECTIONS, -2);
    metrics_gauge_add(&two, METRIC_CONNECTIONS, 1);
    metrics_gauge_add(&two, METRIC_WRITES_WAITING, -1);
    char *text = print_sets(sets, 2);
    assert_true(has_line(text, "agent_proxy_write_requests_total{outcome=\"accepted\"} 17"));
    assert_true(has_line(text, "agent_proxy_write_requests_total{outcome=\"refused\"} 1"));
    assert_true(has_line(text, "agent_proxy_write_requests_total{outcome=\"unavailable\"} 0"));
    assert_true(has_line(text, "agent_proxy_gateway_sent_bytes_total 4611686018427387904"));
    assert_true(has_line(text, "agent_proxy_connections 4"));
    assert_true(has_line(text, "agent_proxy_write_requests_waiting -1"));
    free(text);
    text = print_sets(sets, 1);
    assert_true(has_line(text, "agent_proxy_write_requests_total{outcome=\"accepted\"} 7"));
    free(text);
    text = print_sets(sets, 0);
    assert_true(has_line(text, "agent_proxy_write_requests_total{outcome=\"accepted\"} 0"));
    free(text);
}

static void test_histogram_is_cumulative_and_scaled(void **state)
{
    (void)state;
    struct metrics one = {0};
    struct metrics two = {0};
    struct metrics *const sets[] = {&one, &two};
    metrics_observe(&one, METRIC_GATEWAY_SECONDS, 0);
    metrics_observe(&one, METRIC_GATEWAY_SECONDS, 1000); /* a bound is part of its bucket */
    metrics_observe(&two, METRIC_GATEWAY_SECONDS, 1001);
    metrics_observe(&two, METRIC_GATEWAY_SECONDS, 25000000);
    metrics_observe(&two, METRIC_GATEWAY_SECONDS, 25000001);
    char *text = print_sets(sets, 2);
    static const char *const lines[] = {
        "# TYPE agent_proxy_gateway_request_duration_seconds histogram",
        "agent_proxy_gateway_request_duration_seconds_bucket{le=\"0.001\"} 2",
        "agent_proxy_gateway_request_duration_seconds_bucket{le=\"0.0025\"} 3",
        "agent_proxy_gateway_request_duration_seconds_bucket{le=\"1\"} 3",
        "agent_proxy_gateway_request_duration_seconds_bucket{le=\"10\"} 3",
        "agent_proxy_gateway_request_duration_seconds_bucket{le=\"25\"} 4",
        "agent_proxy_gateway_request_duration_seconds_bucket{le=\"+Inf\"} 5",
        "agent_proxy_gateway_request_duration_seconds_sum 50.002002",
        "agent_proxy_gateway_request_duration_seconds_count 5",
        "agent_proxy_write_request_duration_seconds_bucket{le=\"+Inf\"} 0",
        "agent_proxy_write_request_duration_seconds_sum 0",
        "agent_proxy_write_request_duration_seconds_count 0"};
    for (size_t i = 0; i < COUNT(lines); i++) {
        if (!has_line(text, lines[i])) {
            fail_msg("missing: %s", lines[i]);
        }
    }
    free(text);
}

static void test_histogram_of_whole_numbers(void **state)
{
    (void)state;
    struct metrics one = {0};
    struct metrics *const sets[] = {&one};
    metrics_observe(&one, METRIC_BATCH_BYTES, 33554432);
    metrics_observe(&one, METRIC_BATCH_BYTES, UINT64_C(1) << 40);
    char *text = print_sets(sets, 1);
    assert_true(has_line(text, "agent_proxy_batch_bytes_bucket{le=\"4194304\"} 0"));
    assert_true(has_line(text, "agent_proxy_batch_bytes_bucket{le=\"33554432\"} 1"));
    assert_true(has_line(text, "agent_proxy_batch_bytes_bucket{le=\"+Inf\"} 2"));
    assert_true(has_line(text, "agent_proxy_batch_bytes_sum 1099545182208"));
    free(text);
}

/* Find "# HELP name " or "# TYPE name " and count how often it is there. */
static size_t count_heads(const char *text, const char *word, const char *name, size_t bytes,
                          const char **last)
{
    char head[256];
    size_t count = 0;
    int head_bytes = snprintf(head, sizeof(head), "\n# %s %.*s ", word, (int)bytes, name);
    for (const char *found = strstr(text, head); found != NULL; found = strstr(found + 1, head)) {
        *last = found + head_bytes;
        count++;
    }
    return count;
}

/* Check one sample line: its name's HELP and TYPE are there once, before it, with a help. */
static void check_sample(const char *text, const char *line)
{
    const char *type = NULL;
    const char *help = NULL;
    size_t bytes = strcspn(line, "{ ");
    static const char *const suffixes[] = {"_bucket", "_sum", "_count"};
    if (count_heads(text, "TYPE", line, bytes, &type) == 0) {
        for (size_t i = 0; i < COUNT(suffixes); i++) {
            size_t suffix = strlen(suffixes[i]);
            if (bytes > suffix && memcmp(line + bytes - suffix, suffixes[i], suffix) == 0) {
                bytes -= suffix;
                break;
            }
        }
    }
    assert_int_equal(count_heads(text, "TYPE", line, bytes, &type), 1);
    assert_int_equal(count_heads(text, "HELP", line, bytes, &help), 1);
    assert_true(help < type && type < line);
    assert_true(strcspn(help, "\n") > 10); /* a help text, not a word */
    bool total = bytes > 6 && memcmp(line + bytes - 6, "_total", 6) == 0;
    assert_int_equal(total, strncmp(type, "counter\n", 8) == 0);
    assert_int_equal(line[strcspn(line, "\n")], '\n');
    char *end = NULL;
    (void)strtod(strchr(line, ' ') + 1, &end);
    assert_int_equal(*end, '\n');
}

static void test_text_keeps_the_rules_of_the_format(void **state)
{
    (void)state;
    struct metrics one = {0};
    struct metrics *const sets[] = {&one};
    struct buf buf;
    buf_init(&buf, 1 << 20);
    assert_int_equal(buf_append(&buf, "\n", 1), 0);
    assert_int_equal(metrics_print(sets, 1, &buf), 0);
    assert_int_equal(metrics_print_process(&buf), 0);
    assert_int_equal(metrics_print_gauge(&buf, "agent_proxy_ready", "", "Whether it is ready.", 1),
                     0);
    assert_int_equal(buf_append(&buf, "", 1), 0);
    const char *text = (const char *)buf.data;
    size_t samples = 0;
    for (const char *line = text + 1; *line != '\0'; line = strchr(line, '\n') + 1) {
        assert_int_not_equal(*line, '\n');
        if (*line != '#') {
            check_sample(text, line);
            samples++;
        }
    }
    assert_true(samples > METRIC_COUNTERS + METRIC_GAUGES + 4 * METRIC_HISTOGRAMS);
    buf_deinit(&buf);
}

/* Lines of one name stand together: a scraper takes a name that comes back for a second metric. */
static void test_names_stand_together(void **state)
{
    (void)state;
    static const char *const counters[] = {
#define X(id, name, labels, help) name,
        METRICS_COUNTERS(X) METRICS_GAUGES(X)
#undef X
#define X(id, name, labels, help, ...) name,
            METRICS_HISTOGRAMS(X)
#undef X
    };
    for (size_t i = 1; i < COUNT(counters); i++) {
        for (size_t j = 0; strcmp(counters[i], counters[i - 1]) != 0 && j < i; j++) {
            assert_string_not_equal(counters[i], counters[j]);
        }
    }
}

static void test_bounds_ascend(void **state)
{
    (void)state;
    struct metrics one = {0};
    struct metrics *const sets[] = {&one};
    char *text = print_sets(sets, 1);
    double last = -1;
    size_t ends = 0;
    for (const char *bound = strstr(text, "le=\""); bound != NULL; bound = strstr(bound, "le=\"")) {
        bound += 4;
        double value = strtod(bound, NULL);
        assert_true(value > last);
        bool is_last = strncmp(bound, "+Inf\"", 5) == 0;
        last = is_last ? -1 : value;
        ends += is_last;
    }
    assert_int_equal(ends, METRIC_HISTOGRAMS);
    free(text);
}

static void test_counter_of_no_worker(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, 4096);
    assert_int_equal(metrics_print_counter(&text, "a_total", "What is counted.", 12), 0);
    assert_int_equal(buf_append(&text, "", 1), 0);
    assert_string_equal((char *)text.data, "# HELP a_total What is counted.\n"
                                           "# TYPE a_total counter\n"
                                           "a_total 12\n");
    buf_deinit(&text);
}

static void test_gauge_with_labels_and_escapes(void **state)
{
    (void)state;
    struct buf text;
    buf_init(&text, 4096);
    assert_int_equal(metrics_print_gauge(&text, "a_b", "v=\"1\"", "Back\\slash\nand line.", 0.5),
                     0);
    assert_int_equal(buf_append(&text, "", 1), 0);
    assert_string_equal((char *)text.data, "# HELP a_b Back\\\\slash\\nand line.\n"
                                           "# TYPE a_b gauge\n"
                                           "a_b{v=\"1\"} 0.5\n");
    buf_deinit(&text);
}

static void test_without_room_nothing_is_added(void **state)
{
    (void)state;
    struct metrics one = {0};
    struct metrics *const sets[] = {&one};
    char *whole = print_sets(sets, 1);
    size_t whole_bytes = strlen(whole);
    free(whole);
    for (size_t ceiling = 4; ceiling < whole_bytes + 4; ceiling += 31) {
        struct buf text;
        buf_init(&text, ceiling);
        assert_int_equal(buf_append(&text, "keep", 4), 0);
        assert_int_equal(metrics_print(sets, 1, &text), -EMSGSIZE);
        assert_int_equal(text.size, 4);
        if (ceiling < 500) {
            assert_int_equal(metrics_print_process(&text), -EMSGSIZE);
            assert_int_equal(text.size, 4);
        }
        if (ceiling < 100) {
            assert_int_equal(metrics_print_gauge(&text, "a", "",
                                                 "A help text of some length, so "
                                                 "that it never fits into the few "
                                                 "bytes that there are here.",
                                                 1),
                             -EMSGSIZE);
            assert_int_equal(text.size, 4);
        }
        buf_deinit(&text);
    }
    struct buf text;
    buf_init(&text, whole_bytes);
    assert_int_equal(metrics_print(sets, 1, &text), 0);
    assert_int_equal(text.size, whole_bytes);
    buf_deinit(&text);
}

/* The value of a sample without labels; -1 when it is not there. */
static double find_value(const char *text, const char *name)
{
    char head[128];
    (void)snprintf(head, sizeof(head), "\n%s ", name);
    const char *found = strstr(text, head);
    return found == NULL ? -1 : strtod(found + strlen(head), NULL);
}

static void test_process_metrics_tell_of_this_process(void **state)
{
    (void)state;
    struct buf buf;
    buf_init(&buf, 1 << 16);
    assert_int_equal(metrics_print_process(&buf), 0);
    size_t first = buf.size;
    int extra[3];
    for (size_t i = 0; i < COUNT(extra); i++) {
        extra[i] = dup(STDERR_FILENO);
        assert_true(extra[i] >= 0);
    }
    assert_int_equal(buf_append(&buf, "", 1), 0);
    assert_int_equal(metrics_print_process(&buf), 0);
    assert_int_equal(buf_append(&buf, "", 1), 0);
    const char *text = (const char *)buf.data;
    const char *later = text + first + 1;

    long page = sysconf(_SC_PAGESIZE);
    assert_true(find_value(text, "process_resident_memory_bytes") >= (double)page * 10);
    assert_true(find_value(text, "process_virtual_memory_bytes") >=
                find_value(text, "process_resident_memory_bytes"));
    assert_true(find_value(text, "process_cpu_seconds_total") > 0);
    assert_true(find_value(text, "process_cpu_seconds_total") < 600);
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_true(find_value(text, "process_max_fds") == (double)limit.rlim_cur);
    double open = 0;
    for (int fd = 0; fd < 1024; fd++) {
        open += fcntl(fd, F_GETFD) >= 0;
    }
    open -= (double)COUNT(extra);
    assert_true(find_value(text, "process_open_fds") == open);
    assert_true(find_value(later, "process_open_fds") == open + 3);
    double age = (double)time(NULL) - find_value(text, "process_start_time_seconds");
    assert_true(age > -5 && age < 600);
    assert_non_null(strstr(text, "# TYPE process_cpu_seconds_total counter\n"));
    assert_non_null(strstr(text, "# TYPE process_open_fds gauge\n"));
    for (size_t i = 0; i < COUNT(extra); i++) {
        close(extra[i]);
    }
    buf_deinit(&buf);
}

enum { OBSERVATIONS = 200000 };

static void *observe(void *argument)
{
    struct metrics *metrics = argument;
    for (uint64_t i = 0; i < OBSERVATIONS; i++) {
        metrics_observe(metrics, METRIC_BATCH_REQUESTS, i % 300);
        metrics_add(metrics, METRIC_WRITE_ACCEPTED, 1);
    }
    return NULL;
}

/* A scrape while a worker counts: every text is consistent in itself, and nothing is lost. */
static void test_scrape_during_observation(void **state)
{
    (void)state;
    struct metrics one = {0};
    struct metrics *const sets[] = {&one};
    pthread_t thread;
    double last = 0;
    assert_int_equal(pthread_create(&thread, NULL, observe, &one), 0);
    for (size_t i = 0; i < 50; i++) {
        char *text = print_sets(sets, 1);
        double count = find_value(text, "agent_proxy_batch_requests_count");
        const char *end = strstr(text, "agent_proxy_batch_requests_bucket{le=\"+Inf\"} ");
        assert_non_null(end);
        assert_true(strtod(strchr(end, ' '), NULL) == count);
        assert_true(count >= last);
        last = count;
        free(text);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    char *text = print_sets(sets, 1);
    assert_true(find_value(text, "agent_proxy_batch_requests_count") == OBSERVATIONS);
    assert_true(has_line(text, "agent_proxy_write_requests_total{outcome=\"accepted\"} 200000"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counters_and_gauges_are_summed_over_sets),
        cmocka_unit_test(test_histogram_is_cumulative_and_scaled),
        cmocka_unit_test(test_histogram_of_whole_numbers),
        cmocka_unit_test(test_text_keeps_the_rules_of_the_format),
        cmocka_unit_test(test_names_stand_together),
        cmocka_unit_test(test_bounds_ascend),
        cmocka_unit_test(test_counter_of_no_worker),
        cmocka_unit_test(test_gauge_with_labels_and_escapes),
        cmocka_unit_test(test_without_room_nothing_is_added),
        cmocka_unit_test(test_process_metrics_tell_of_this_process),
        cmocka_unit_test(test_scrape_during_observation),
    };
    return cmocka_run_group_tests_name("base/metrics", tests, NULL, NULL);
}
