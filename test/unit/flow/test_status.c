/* The JSON of the status page: its numbers, its history, and that it escapes. */
#include "flow/status.h"

#include "base/budget.h"
#include "base/buf.h"
#include "base/log.h"
#include "base/log_recent.h"
#include "base/metrics.h"
#include "config/config.h"
#include "flow/admin.h"
#include "wire/verdict.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "fake_clock.h"

#include <string.h>

#define WORKERS 2
#define SEC_US  UINT64_C(1000000)

/* Owner: the test. */
struct stage {
    struct config config;
    struct budget budget;
    struct metrics metrics[WORKERS];
    struct metrics *sets[WORKERS];
    struct admin_shared shared;
    struct log_recent recent;
    struct status *status;
    struct buf text;
};

static void stage_open(struct stage *stage)
{
    static char tenant[] = "member-1";
    static char address[] = "http://gateway/\"</script>";
    static char read_address[] = "http://query";
    fake_now_us = FAKE_START_US;
    *stage = (struct stage){.config = {.tenant = tenant,
                                       .gateway_address = {.text = address},
                                       .gateway_read_address = {.text = read_address}},
                            .sets = {&stage->metrics[0], &stage->metrics[1]},
                            .shared = {.version = "1.2.3",
                                       .revision = "abcdef0",
                                       .metrics = stage->sets,
                                       .workers = WORKERS,
                                       .memory_ceiling_bytes = 9000}};
    budget_init(&stage->budget, 5000);
    gateway_state_init(&stage->shared.gateway);
    log_recent_init(&stage->recent);
    stage->status = status_new(&(struct status_settings){.config = &stage->config,
                                                         .budget = &stage->budget,
                                                         .shared = &stage->shared,
                                                         .recent = &stage->recent});
    assert_non_null(stage->status);
}

static void stage_close(struct stage *stage)
{
    buf_deinit(&stage->text);
    status_free(stage->status);
    log_recent_deinit(&stage->recent);
    gateway_state_deinit(&stage->shared.gateway);
}

static const char *print(struct stage *stage)
{
    buf_deinit(&stage->text);
    buf_init(&stage->text, 1 << 20);
    assert_int_equal(status_print(stage->status, &stage->text), 0);
    assert_int_equal(buf_append(&stage->text, "", 1), 0);
    return (const char *)stage->text.data;
}

static void expect(struct stage *stage, const char *part)
{
    const char *text = print(stage);
    if (strstr(text, part) == NULL) {
        fail_msg("%s is not in %s", part, text);
    }
}

static void test_the_state_of_now(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    assert_true(budget_take(&stage.budget, 1234));
    metrics_gauge_add(&stage.metrics[0], METRIC_WRITES_WAITING, 3);
    metrics_gauge_add(&stage.metrics[1], METRIC_WRITES_WAITING, 4);
    metrics_gauge_add(&stage.metrics[1], METRIC_BATCHES_IN_FLIGHT, 2);
    metrics_gauge_add(&stage.metrics[0], METRIC_READS_IN_FLIGHT, 1);
    metrics_add(&stage.metrics[0], METRIC_SAMPLES_ACCEPTED, 100);
    metrics_add(&stage.metrics[1], METRIC_SAMPLES_ACCEPTED, 50);
    metrics_add(&stage.metrics[0], METRIC_WRITE_REFUSED, 1);
    metrics_add(&stage.metrics[0], METRIC_REJECTED_PATH, 1);
    metrics_add(&stage.metrics[0], METRIC_WRITE_UNAVAILABLE, 5);
    metrics_add(&stage.metrics[0], METRIC_READ_QUERY_2XX, 1);
    metrics_add(&stage.metrics[0], METRIC_READ_OTLP_5XX, 1);
    metrics_observe(&stage.metrics[0], METRIC_GATEWAY_SECONDS, 3000);
    fake_now_us += 90 * SEC_US;
    expect(&stage, "{\"version\":\"1.2.3\",\"revision\":\"abcdef0\",\"tenant\":\"member-1\","
                   "\"uptime_s\":90,\"workers\":2,\"stopping\":false,");
    expect(&stage, "\"waiting\":7,\"in_flight\":3,");
    expect(&stage, "\"memory\":{\"used\":1234,\"budget\":5000,\"ceiling\":9000,\"container\":0}");
    expect(&stage, "\"totals\":{\"samples\":150,\"requests\":6,\"batches\":0,\"reads\":2,"
                   "\"refused\":2,\"put_off\":5,\"answers\":1,\"answer_us\":3000}");
    expect(&stage, "\"events\":[]}\n");
    stage_close(&stage);
}

static void test_the_gateway(void **state)
{
    (void)state;
    struct stage stage;
    const struct outcome timeout = {.kind = OUTCOME_TIMEOUT};
    stage_open(&stage);
    expect(&stage, "\"gateway\":{\"address\":\"http://gateway/\\\"</script>\","
                   "\"read_address\":\"http://query\",\"error\":\"\",\"error_age_s\":null,"
                   "\"good_age_s\":null,\"state\":\"unknown\"}");
    gateway_state_note_trouble(&stage.shared.gateway, false, &timeout);
    fake_now_us += 7 * SEC_US;
    expect(&stage, "\"error\":\"did not answer in time\",\"error_age_s\":7,\"good_age_s\":null,"
                   "\"state\":\"unavailable\"}");
    gateway_state_note_good(&stage.shared.gateway);
    expect(&stage, "\"error_age_s\":7,\"good_age_s\":0,\"state\":\"answering\"}");
    stage_close(&stage);
}

static void test_rates_are_kept(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    expect(&stage, "\"history\":{\"interval_s\":5,\n\"samples\":[],\n");
    status_tick(stage.status); /* not due */
    assert_int_equal(status_deadline_us(stage.status), FAKE_START_US + 5 * SEC_US);
    for (unsigned i = 0; i < 3; i++) {
        metrics_add(&stage.metrics[i % 2], METRIC_SAMPLES_ACCEPTED, 100 * i);
        metrics_observe(&stage.metrics[0], METRIC_GATEWAY_SECONDS, UINT64_C(2000) * i);
        fake_now_us = status_deadline_us(stage.status);
        status_tick(stage.status);
    }
    expect(&stage, "\n\"samples\":[0,20,40],\n");
    expect(&stage, "\n\"answer_ms\":[0,2,4]},\n");
    metrics_add(&stage.metrics[0], METRIC_SAMPLES_ACCEPTED, 100);
    fake_now_us += 10 * SEC_US; /* a tick that is late */
    status_tick(stage.status);
    expect(&stage, "\n\"samples\":[0,20,40,10],\n");
    stage_close(&stage);
}

static void test_ten_minutes_are_kept(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    for (unsigned i = 0; i < 125; i++) {
        metrics_add(&stage.metrics[0], METRIC_SAMPLES_ACCEPTED, UINT64_C(5000000) * i);
        fake_now_us = status_deadline_us(stage.status);
        status_tick(stage.status);
    }
    expect(&stage, "\n\"samples\":[5e+06,6e+06,7e+06,");
    expect(&stage, ",1.23e+08,1.24e+08],\n");
    stage_close(&stage);
}

static void test_events_are_there_and_memory_may_not_be(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    struct log log = {.recent = &stage.recent};
    log_error(&log, "one", log_str("answer", "</script>\"\n"));
    expect(&stage, "\"level\":\"error\",\"msg\":\"one\",\"answer\":\"</script>\\\"\\n\"}]}\n");
    size_t whole = stage.text.size - 1;
    for (size_t ceiling = 0; ceiling < whole; ceiling += 13) {
        struct buf small;
        buf_init(&small, ceiling);
        assert_true(status_print(stage.status, &small) < 0);
        buf_deinit(&small);
    }
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_state_of_now),
        cmocka_unit_test(test_the_gateway),
        cmocka_unit_test(test_rates_are_kept),
        cmocka_unit_test(test_ten_minutes_are_kept),
        cmocka_unit_test(test_events_are_there_and_memory_may_not_be),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
