/* One write request: what its sender hears, what is counted, and what it gives back. */
#include "flow/request.h"

#include "base/budget.h"
#include "base/metrics.h"
#include "config/config.h"
#include "flow/context.h"

#include "fake_clock.h"
#include "fake_exchange.h"

#define BUDGET_BYTES    1000
#define PROMETHEUS_US   UINT64_C(30000000) /* its default remote timeout */
#define SAMPLES         7
#define TEXT_PLAIN      "text/plain; charset=utf-8"
#define COUNTED(metric) atomic_load(&stage->metrics.counters[METRIC_##metric])

struct stage {
    struct config config;
    struct budget budget;
    struct metrics metrics;
    struct flow_context context;
    uint64_t body_bytes;
    struct exchange exchange;
    struct request *request;
};

static void stage_open(struct stage *stage)
{
    *stage = (struct stage){.config = {.limits_body_bytes = 100},
                            .exchange = {.started_us = FAKE_START_US}};
    fake_now_us = FAKE_START_US;
    budget_init(&stage->budget, BUDGET_BYTES);
    stage->context = (struct flow_context){
        .config = &stage->config, .budget = &stage->budget, .metrics = &stage->metrics};
    stage->request = request_new(&stage->context, &stage->exchange, &stage->body_bytes);
    assert_non_null(stage->request);
    stage->request->counts = (struct write_request_counts){
        .series = 2, .samples = SAMPLES, .histograms = 3, .exemplars = 4, .metadata = 5};
}

static void stage_close(struct stage *stage)
{
    request_free(stage->request);
    exchange_clear(&stage->exchange);
    assert_int_equal(budget_used(&stage->budget), 0);
}

/* The sender heard one answer, and the exchange and the request know no more of each other. */
static void expect_answered(const struct stage *stage, unsigned status)
{
    assert_int_equal(stage->exchange.replies, 1);
    assert_int_equal(stage->exchange.status, status);
    assert_null(stage->exchange.state);
    assert_null(stage->request->exchange);
}

static uint64_t answers_timed(const struct stage *stage)
{
    const struct metrics_histogram *seconds = &stage->metrics.histograms[METRIC_WRITE_SECONDS];
    uint64_t count = 0;
    for (size_t i = 0; i <= METRICS_BUCKETS_MAX; i++) {
        count += atomic_load(&seconds->buckets[i]);
    }
    return count;
}

static void test_belongs_to_its_exchange(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    assert_ptr_equal(stage.exchange.state, stage.request);
    assert_ptr_equal(stage.request->exchange, &stage.exchange);
    assert_null(stage.request->batch);
    assert_int_equal(stage.request->started_us, FAKE_START_US);
    /* We speak before the sender gives up, with some time for the answer to arrive. */
    assert_in_range(stage.request->deadline_us, FAKE_START_US + 1,
                    FAKE_START_US + PROMETHEUS_US - 1000 * 1000);
    assert_int_equal(stage.request->body.ceiling, 100);
    request_defer(stage.request, 1, "x");
    stage_close(&stage);
}

static void test_accept(void **state)
{
    (void)state;
    struct stage open;
    struct stage *stage = &open;
    stage_open(stage);
    fake_now_us += 1500;
    request_accept(stage->request);
    expect_answered(stage, 204);
    assert_int_equal(stage->exchange.reply.size, 0);
    assert_string_equal(stage->exchange.reply_headers, "");
    assert_int_equal(COUNTED(WRITE_ACCEPTED), 1);
    assert_int_equal(COUNTED(SAMPLES_ACCEPTED), SAMPLES);
    assert_int_equal(COUNTED(SERIES_ACCEPTED), 2);
    assert_int_equal(COUNTED(HISTOGRAMS_ACCEPTED), 3);
    assert_int_equal(COUNTED(EXEMPLARS_ACCEPTED), 4);
    assert_int_equal(COUNTED(METADATA_ACCEPTED), 5);
    assert_int_equal(COUNTED(WRITE_REFUSED) + COUNTED(WRITE_UNAVAILABLE), 0);
    assert_int_equal(answers_timed(stage), 1);
    assert_int_equal(atomic_load(&stage->metrics.histograms[METRIC_WRITE_SECONDS].sum), 1500);
    stage_close(stage);
}

static void test_refuse(void **state)
{
    (void)state;
    struct stage open;
    struct stage *stage = &open;
    stage_open(stage);
    request_refuse(stage->request, 422, "no\0way", 6);
    expect_answered(stage, 422);
    assert_string_equal(stage->exchange.content_type, TEXT_PLAIN);
    assert_int_equal(stage->exchange.reply.size, 6);
    assert_memory_equal(stage->exchange.reply.data, "no\0way", 6);
    assert_int_equal(exchange_retry_after_s(&stage->exchange), 0);
    assert_int_equal(COUNTED(WRITE_REFUSED), 1);
    assert_int_equal(COUNTED(SAMPLES_REFUSED), SAMPLES);
    assert_int_equal(COUNTED(SERIES_ACCEPTED), 0);
    assert_int_equal(answers_timed(stage), 1);
    stage_close(stage);
}

static void test_defer(void **state)
{
    (void)state;
    struct stage open;
    struct stage *stage = &open;
    stage_open(stage);
    request_defer(stage->request, 17, "later");
    expect_answered(stage, 503);
    assert_string_equal(stage->exchange.content_type, TEXT_PLAIN);
    assert_true(exchange_replied_text(&stage->exchange, "later\n"));
    assert_string_equal(stage->exchange.reply_headers, "Retry-After: 17\n");
    assert_int_equal(COUNTED(WRITE_UNAVAILABLE), 1);
    assert_int_equal(COUNTED(SAMPLES_UNAVAILABLE), SAMPLES);
    assert_int_equal(answers_timed(stage), 1);
    stage_close(stage);
}

static void test_a_long_text_is_cut(void **state)
{
    (void)state;
    struct stage stage;
    static char text[5000];
    memset(text, 'a', sizeof(text) - 1);
    stage_open(&stage);
    request_defer(stage.request, 1, text);
    expect_answered(&stage, 503);
    assert_in_range(stage.exchange.reply.size, 100, sizeof(text) - 1);
    for (size_t i = 0; i + 1 < stage.exchange.reply.size; i++) {
        assert_int_equal(stage.exchange.reply.data[i], 'a');
    }
    stage_close(&stage);
}

/* The fake exchange would fail the test at a second reply. */
static void test_a_sender_hears_one_answer(void **state)
{
    (void)state;
    struct stage open;
    struct stage *stage = &open;
    stage_open(stage);
    request_refuse(stage->request, 400, "first\n", 6);
    request_accept(stage->request);
    request_defer(stage->request, 1, "third");
    request_refuse(stage->request, 400, "fourth\n", 7);
    expect_answered(stage, 400);
    assert_int_equal(COUNTED(WRITE_REFUSED), 1);
    assert_int_equal(COUNTED(WRITE_ACCEPTED) + COUNTED(WRITE_UNAVAILABLE), 0);
    assert_int_equal(answers_timed(stage), 1);
    stage_close(stage);
}

static void test_a_sender_that_has_gone_hears_nothing(void **state)
{
    (void)state;
    struct stage open;
    struct stage *stage = &open;
    stage_open(stage);
    stage->request->exchange = NULL;
    request_accept(stage->request);
    request_refuse(stage->request, 400, "x\n", 2);
    request_defer(stage->request, 1, "x");
    assert_int_equal(stage->exchange.replies, 0);
    assert_int_equal(COUNTED(WRITE_ACCEPTED) + COUNTED(WRITE_REFUSED) + COUNTED(WRITE_UNAVAILABLE),
                     0);
    stage_close(stage);
}

static void test_free_gives_its_bytes_back(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    assert_true(budget_take(&stage.budget, 100));
    stage.request->charge.bytes = 100;
    assert_int_equal(buf_append(&stage.request->body, "some bytes", 10), 0);
    request_accept(stage.request);
    /* Held as long as the request is: an answer frees the sender, not the memory. */
    assert_int_equal(budget_used(&stage.budget), 100);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_belongs_to_its_exchange),
        cmocka_unit_test(test_accept),
        cmocka_unit_test(test_refuse),
        cmocka_unit_test(test_defer),
        cmocka_unit_test(test_a_long_text_is_cut),
        cmocka_unit_test(test_a_sender_hears_one_answer),
        cmocka_unit_test(test_a_sender_that_has_gone_hears_nothing),
        cmocka_unit_test(test_free_gives_its_bytes_back),
    };
    return cmocka_run_group_tests_name("flow/request", tests, NULL, NULL);
}
