/* Asking the gateway whether it is there: when it is asked, when not, and what counts as an answer.
 */
#include "flow/gateway_probe.h"

#include "config/config.h"
#include "flow/context.h"
#include "io/loop.h"
#include "io/upstream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "fake_clock.h"

#include <stdatomic.h>
#include <string.h>

#define SEC_US      UINT64_C(1000000)
#define EVERY_US    (10 * SEC_US) /* between two questions */
#define PATIENCE_US (5 * SEC_US)  /* with an answer */

/* -- A gateway that is asked one thing at a time ---------------------------------------------- */

struct upstream_call {
    struct upstream_read read;
};

struct upstream {
    struct upstream_call call;
    bool running;
    unsigned asked;
    unsigned aborted;
    bool without_memory;
};

struct upstream_call *upstream_read(struct upstream *upstream, const struct upstream_read *read)
{
    assert_false(upstream->running);
    if (upstream->without_memory) {
        return NULL;
    }
    assert_null(read->headers[0]);
    assert_int_equal(read->method, ROUTE_METHOD_GET);
    upstream->call.read = *read;
    upstream->running = true;
    upstream->asked++;
    return &upstream->call;
}

void upstream_abort(struct upstream_call *call)
{
    struct upstream *upstream = (struct upstream *)call; /* its first member */
    assert_true(upstream->running);
    upstream->running = false;
    upstream->aborted++;
}

/* -- The stage -------------------------------------------------------------------------------- */

struct stage {
    struct upstream upstream;
    struct config config;
    struct flow_context context;
    _Atomic uint64_t seen_us;
    struct gateway_probe *probe;
};

static void stage_open(struct stage *stage)
{
    static char path[] = "";
    *stage = (struct stage){.config = {.ready_gateway = true}};
    stage->config.gateway_read_address.path = path;
    stage->context =
        (struct flow_context){.config = &stage->config, .gateway_seen_us = &stage->seen_us};
    fake_now_us = FAKE_START_US;
    stage->probe = gateway_probe_new(&stage->context, &stage->upstream);
    assert_non_null(stage->probe);
}

static void stage_close(struct stage *stage)
{
    gateway_probe_free(stage->probe);
    assert_false(stage->upstream.running);
}

/* The gateway answers, to the end or only with its head. */
static void answer(struct stage *stage, unsigned status, bool whole)
{
    static const struct outcome outcome = {.kind = OUTCOME_ANSWERED, .status = 200};
    const struct upstream_read *read = &stage->upstream.call.read;
    assert_true(stage->upstream.running);
    read->on_header(read->arg, "Server", 6, "test", 4);
    read->on_head(read->arg, status, 4);
    assert_true(read->on_data(read->arg, (const uint8_t *)"body", 4));
    if (whole) {
        stage->upstream.running = false;
        read->on_done(read->arg, &outcome);
    }
}

static void break_off(struct stage *stage)
{
    static const struct outcome outcome = {.kind = OUTCOME_UNREACHABLE};
    assert_true(stage->upstream.running);
    stage->upstream.running = false;
    stage->upstream.call.read.on_done(stage->upstream.call.read.arg, &outcome);
}

/* Let time pass up to when a tick is due, which must be within us, and have the tick. */
static void tick_within(struct stage *stage, uint64_t us)
{
    uint64_t due_us = gateway_probe_deadline_us(stage->probe);
    assert_true(due_us <= fake_now_us + us);
    fake_now_us = due_us > fake_now_us ? due_us : fake_now_us;
    gateway_probe_tick(stage->probe);
}

/* -- Tests ------------------------------------------------------------------------------------ */

static void test_nobody_is_asked_where_it_does_not_matter(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    gateway_probe_free(stage.probe);
    stage.config.ready_gateway = false;
    stage.probe = gateway_probe_new(&stage.context, &stage.upstream);
    assert_true(gateway_probe_deadline_us(stage.probe) == LOOP_NEVER);
    fake_now_us += 3600 * SEC_US;
    gateway_probe_tick(stage.probe);
    assert_int_equal(stage.upstream.asked, 0);
    stage_close(&stage);
}

static void test_it_asks_at_once_and_then_now_and_again(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    tick_within(&stage, 0);
    assert_int_equal(stage.upstream.asked, 1);
    for (unsigned asked = 1; asked < 20; asked++) {
        gateway_probe_tick(stage.probe); /* not again while it waits */
        assert_int_equal(stage.upstream.asked, asked);
        fake_now_us += SEC_US;
        answer(&stage, 200, true);
        assert_true(atomic_load(&stage.seen_us) == fake_now_us);
        fake_now_us += SEC_US;
        gateway_probe_tick(stage.probe);
        assert_int_equal(stage.upstream.asked, asked);
        while (!stage.upstream.running) {
            tick_within(&stage, EVERY_US);
        }
        assert_true(fake_now_us - atomic_load(&stage.seen_us) <= EVERY_US + SEC_US);
    }
    stage_close(&stage);
}

/* That somebody answers is the point, not what. */
static void test_any_answer_will_do(void **state)
{
    (void)state;
    static const unsigned statuses[] = {204, 302, 401, 404, 500, 503};
    for (size_t i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
        struct stage stage;
        stage_open(&stage);
        tick_within(&stage, 0);
        answer(&stage, statuses[i], true);
        assert_true(atomic_load(&stage.seen_us) == fake_now_us);
        stage_close(&stage);
    }
}

static void test_no_answer_is_none(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    for (unsigned i = 1; i < 10; i++) {
        while (!stage.upstream.running) {
            tick_within(&stage, EVERY_US);
        }
        assert_int_equal(stage.upstream.asked, i);
        break_off(&stage);
        assert_true(atomic_load(&stage.seen_us) == 0);
    }
    stage_close(&stage);
}

/* A question without an end is dropped, and asked again. */
static void test_patience_ends(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    tick_within(&stage, 0);
    for (unsigned i = 1; i < 10; i++) {
        uint64_t asked_us = fake_now_us;
        assert_int_equal(stage.upstream.asked, i);
        if (i == 5) {
            answer(&stage, 200, false); /* a body that never ends */
        }
        tick_within(&stage, PATIENCE_US);
        assert_false(stage.upstream.running);
        assert_int_equal(stage.upstream.aborted, i);
        while (!stage.upstream.running) {
            tick_within(&stage, EVERY_US);
        }
        assert_true(fake_now_us - asked_us <= 2 * EVERY_US);
    }
    stage_close(&stage);
}

/* Writes and reads that are answered tell as much. */
static void test_a_gateway_seen_of_late_is_not_asked(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    for (unsigned i = 0; i < 100; i++) {
        atomic_store(&stage.seen_us, fake_now_us);
        fake_now_us += SEC_US;
        gateway_probe_tick(stage.probe);
        assert_true(gateway_probe_deadline_us(stage.probe) > fake_now_us);
    }
    assert_int_equal(stage.upstream.asked, 0);
    while (!stage.upstream.running) {
        tick_within(&stage, EVERY_US);
    }
    assert_true(fake_now_us - atomic_load(&stage.seen_us) <= EVERY_US + SEC_US);
    stage_close(&stage);
}

static void test_the_base_path_is_asked_for(void **state)
{
    (void)state;
    static char base[] = "/base";
    struct stage stage;
    stage_open(&stage);
    tick_within(&stage, 0);
    assert_string_equal(stage.upstream.call.read.target, "/");
    answer(&stage, 200, true);
    stage.config.gateway_read_address.path = base;
    while (!stage.upstream.running) {
        tick_within(&stage, EVERY_US);
    }
    assert_string_equal(stage.upstream.call.read.target, "/base");
    stage_close(&stage);
}

static void test_without_memory_it_tries_later(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    stage.upstream.without_memory = true;
    for (unsigned i = 0; i < 5; i++) {
        tick_within(&stage, EVERY_US);
        assert_true(gateway_probe_deadline_us(stage.probe) > fake_now_us);
    }
    stage.upstream.without_memory = false;
    tick_within(&stage, EVERY_US);
    assert_true(stage.upstream.running);
    stage_close(&stage);
    assert_int_equal(stage.upstream.aborted, 1);
}

static void test_free_takes_nothing(void **state)
{
    (void)state;
    gateway_probe_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nobody_is_asked_where_it_does_not_matter),
        cmocka_unit_test(test_it_asks_at_once_and_then_now_and_again),
        cmocka_unit_test(test_any_answer_will_do),
        cmocka_unit_test(test_no_answer_is_none),
        cmocka_unit_test(test_patience_ends),
        cmocka_unit_test(test_a_gateway_seen_of_late_is_not_asked),
        cmocka_unit_test(test_the_base_path_is_asked_for),
        cmocka_unit_test(test_without_memory_it_tries_later),
        cmocka_unit_test(test_free_takes_nothing),
    };
    return cmocka_run_group_tests_name("flow/gateway_probe", tests, NULL, NULL);
}
