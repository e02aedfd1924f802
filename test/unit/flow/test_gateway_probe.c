/* When the gateway is asked whether it is there, what counts as an answer, and what ends it. */
#include "flow/gateway_probe.h"

#include "io/loop.h"

#include "read_stage.h"

#define INTERVAL_US (10 * SEC_US)
#define TIMEOUT_US  (5 * SEC_US)

struct stage {
    struct config config;
    _Atomic uint64_t seen_us;
    struct flow_context context;
    struct upstream upstream;
    struct gateway_probe *probe;
};

static void stage_open(struct stage *stage, bool wanted)
{
    static char no_path[] = "";
    fake_now_us = FAKE_START_US;
    *stage = (struct stage){.config = {.ready_gateway = wanted}};
    stage->config.gateway_read_address.path = no_path;
    stage->context =
        (struct flow_context){.config = &stage->config, .gateway_seen_us = &stage->seen_us};
    stage->probe = gateway_probe_new(&stage->context, &stage->upstream);
    assert_non_null(stage->probe);
}

static void stage_close(struct stage *stage)
{
    gateway_probe_free(stage->probe);
    upstream_clear(&stage->upstream);
}

/* Time passes as for the worker: no further than to the deadline. */
static void pass_to_deadline(struct stage *stage)
{
    uint64_t deadline_us = gateway_probe_deadline_us(stage->probe);
    assert_true(deadline_us != LOOP_NEVER);
    assert_true(deadline_us >= fake_now_us);
    fake_now_us = deadline_us;
    gateway_probe_tick(stage->probe);
}

static struct upstream_call *last_call(struct stage *stage)
{
    assert_true(stage->upstream.count > 0);
    return &stage->upstream.calls[stage->upstream.count - 1];
}

static void nobody_asks_unless_wanted(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, false);
    assert_true(gateway_probe_deadline_us(stage.probe) == LOOP_NEVER);
    gateway_probe_tick(stage.probe);
    assert_int_equal(stage.upstream.count, 0);
    stage_close(&stage);
}

static void it_is_asked_at_once_and_then_now_and_then(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, true);
    assert_true(gateway_probe_deadline_us(stage.probe) <= fake_now_us);
    gateway_probe_tick(stage.probe);
    assert_int_equal(stage.upstream.count, 1);
    const struct upstream_call *call = last_call(&stage);
    assert_int_equal(call->read.method, ROUTE_METHOD_GET);
    assert_string_equal((const char *)call->target.data, "/");
    assert_true(stage.seen_us == 0);

    gateway_head(last_call(&stage), 200, 2);
    assert_true(gateway_data(last_call(&stage), "ok", 2));
    gateway_end(last_call(&stage), OUTCOME_ANSWERED, 200);
    assert_true(stage.seen_us == fake_now_us);
    assert_true(gateway_probe_deadline_us(stage.probe) == fake_now_us + INTERVAL_US);

    uint64_t asked_us = fake_now_us;
    pass_to_deadline(&stage);
    assert_int_equal(stage.upstream.count, 2);
    assert_true(fake_now_us == asked_us + INTERVAL_US);
    gateway_end(last_call(&stage), OUTCOME_UNREACHABLE, 0);
    stage_close(&stage);
}

static void it_is_asked_below_its_base_path(void **state)
{
    (void)state;
    static char path[] = "/base";
    struct stage stage;
    stage_open(&stage, true);
    stage.config.gateway_read_address.path = path;
    gateway_probe_tick(stage.probe);
    assert_string_equal((const char *)last_call(&stage)->target.data, "/base");
    gateway_end(last_call(&stage), OUTCOME_UNREACHABLE, 0);
    stage_close(&stage);
}

static void an_error_is_an_answer_and_silence_is_none(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, true);
    gateway_probe_tick(stage.probe);
    gateway_header(last_call(&stage), "Content-Type", "text/plain");
    gateway_head(last_call(&stage), 503, UPSTREAM_BODY_UNKNOWN);
    gateway_end(last_call(&stage), OUTCOME_ANSWERED, 503);
    uint64_t answered_us = stage.seen_us;
    assert_true(answered_us == fake_now_us);

    pass_to_deadline(&stage);
    gateway_end(last_call(&stage), OUTCOME_UNREACHABLE, 0);
    assert_true(stage.seen_us == answered_us);
    pass_to_deadline(&stage);
    gateway_end(last_call(&stage), OUTCOME_BROKEN, 0);
    assert_true(stage.seen_us == answered_us);
    stage_close(&stage);
}

static void patience_ends_and_it_is_asked_again_on_time(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, true);
    gateway_probe_tick(stage.probe);
    uint64_t asked_us = fake_now_us;
    fake_now_us += TIMEOUT_US - 1;
    gateway_probe_tick(stage.probe);
    assert_int_equal(stage.upstream.aborted, 0);
    pass_to_deadline(&stage);
    assert_int_equal(stage.upstream.aborted, 1);
    assert_int_equal(stage.upstream.count, 1);
    pass_to_deadline(&stage);
    assert_int_equal(stage.upstream.count, 2);
    assert_true(fake_now_us == asked_us + INTERVAL_US);
    gateway_end(last_call(&stage), OUTCOME_TIMEOUT, 0);
    stage_close(&stage);
}

/* Writes and queries tell as well that somebody is there. */
static void nobody_asks_while_others_hear_of_it(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, true);
    stage.seen_us = fake_now_us - SEC_US;
    gateway_probe_tick(stage.probe);
    assert_int_equal(stage.upstream.count, 0);
    assert_true(gateway_probe_deadline_us(stage.probe) == stage.seen_us + INTERVAL_US);

    fake_now_us += 5 * SEC_US;
    stage.seen_us = fake_now_us;
    fake_now_us += 5 * SEC_US;
    gateway_probe_tick(stage.probe);
    assert_int_equal(stage.upstream.count, 0);
    pass_to_deadline(&stage);
    assert_int_equal(stage.upstream.count, 1);
    assert_true(fake_now_us == stage.seen_us + INTERVAL_US);
    gateway_end(last_call(&stage), OUTCOME_UNREACHABLE, 0);
    stage_close(&stage);
}

/* Another worker may have heard of it after this one took the time. */
static void an_answer_of_the_future_does_no_harm(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, true);
    stage.seen_us = fake_now_us + 10;
    gateway_probe_tick(stage.probe);
    assert_int_equal(stage.upstream.count, 0);
    assert_true(gateway_probe_deadline_us(stage.probe) == stage.seen_us + INTERVAL_US);
    stage_close(&stage);
}

static void without_memory_it_is_tried_again(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, true);
    stage.upstream.without_memory = true;
    gateway_probe_tick(stage.probe);
    assert_true(gateway_probe_deadline_us(stage.probe) > fake_now_us);
    stage.upstream.without_memory = false;
    pass_to_deadline(&stage);
    assert_int_equal(stage.upstream.count, 1);
    gateway_end(last_call(&stage), OUTCOME_UNREACHABLE, 0);
    stage_close(&stage);
}

static void the_end_drops_what_is_under_way(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, true);
    gateway_probe_tick(stage.probe);
    gateway_probe_free(stage.probe);
    assert_int_equal(stage.upstream.aborted, 1);
    upstream_clear(&stage.upstream);
    gateway_probe_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_asks_unless_wanted),
        cmocka_unit_test(it_is_asked_at_once_and_then_now_and_then),
        cmocka_unit_test(it_is_asked_below_its_base_path),
        cmocka_unit_test(an_error_is_an_answer_and_silence_is_none),
        cmocka_unit_test(patience_ends_and_it_is_asked_again_on_time),
        cmocka_unit_test(nobody_asks_while_others_hear_of_it),
        cmocka_unit_test(an_answer_of_the_future_does_no_harm),
        cmocka_unit_test(without_memory_it_is_tried_again),
        cmocka_unit_test(the_end_drops_what_is_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
