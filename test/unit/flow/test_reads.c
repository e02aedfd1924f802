/* The reads of a worker: slots, the queue, deadlines, and what is counted and given back. */
#include "flow/reads.h"

#include "io/loop.h"

#include "read_stage.h"

#define COUNTED(metric) atomic_load(&stage->metrics.counters[METRIC_##metric])
#define QUEUE_MAX       512 /* as in reads.c */
#define TURN_BYTES      (256U * 1024U)

struct stage {
    struct config config;
    struct budget budget;
    struct budget large_bodies;
    struct metrics metrics;
    struct flow_context context;
    struct upstream upstream;
    struct reads *reads;
    const struct server_handler *handler;
};

static void stage_open(struct stage *stage)
{
    static char tenant[] = "member-1";
    static char header[] = "WHIZARD-TENANT";
    fake_now_us = FAKE_START_US;
    *stage = (struct stage){.config = {.reads_window_bytes = WINDOW_BYTES,
                                       .reads_max_inflight = 2,
                                       .reads_timeout_us = 10 * SEC_US,
                                       .limits_body_bytes = 4096,
                                       .gateway_read_path_prefix = true,
                                       .tenant = tenant,
                                       .tenant_header = header}};
    static char no_path[] = "";
    stage->config.gateway_read_address.path = no_path;
    budget_init(&stage->budget, BUDGET_BYTES);
    budget_init(&stage->large_bodies, BUDGET_BYTES);
    stage->context = (struct flow_context){.config = &stage->config,
                                           .budget = &stage->budget,
                                           .large_bodies = &stage->large_bodies,
                                           .metrics = &stage->metrics};
    stage->reads = reads_new(&stage->context, &stage->upstream);
    assert_non_null(stage->reads);
    stage->handler = reads_handler(stage->reads);
}

static uint64_t in_flight(const struct stage *stage)
{
    return (uint64_t)atomic_load(&stage->metrics.gauges[METRIC_READS_IN_FLIGHT]);
}

static void stage_close(struct stage *stage)
{
    assert_int_equal(in_flight(stage), 0);
    assert_int_equal(budget_used(&stage->budget), 0);
    assert_int_equal(budget_used(&stage->large_bodies), 0);
    assert_true(reads_deadline_us(stage->reads) == LOOP_NEVER);
    reads_free(stage->reads);
    upstream_clear(&stage->upstream);
}

/* A client sends its whole request. */
static void client_ask(struct stage *stage, struct exchange *exchange)
{
    *exchange = (struct exchange){.target = QUERY_TARGET, .method = ROUTE_METHOD_GET};
    stage->handler->on_headers(stage->handler->owner, exchange);
    stage->handler->on_complete(stage->handler->owner, exchange);
}

/* The exchange is over, with its reply or without. */
static void client_end(struct stage *stage, struct exchange *exchange, bool replied)
{
    stage->handler->on_end(stage->handler->owner, exchange, replied);
    bytes_free(&exchange->reply);
}

static void expect_error(const struct exchange *exchange, unsigned status)
{
    static const char start[] = "{\"status\":\"error\",";
    assert_int_equal(exchange->replies, 1);
    assert_int_equal(exchange->status, status);
    assert_memory_equal(exchange->reply.data, start, sizeof(start) - 1);
}

static void answer(struct upstream_call *call, const char *text)
{
    gateway_head(call, 200, strlen(text));
    assert_true(gateway_data(call, text, strlen(text)));
    gateway_end(call, OUTCOME_ANSWERED, 200);
}

static void test_answer(void **state)
{
    (void)state;
    struct stage opened;
    struct stage *stage = &opened;
    struct exchange client;
    stage_open(stage);
    client_ask(stage, &client);
    assert_int_equal(stage->upstream.count, 1);
    assert_int_equal(in_flight(stage), 1);
    answer(&stage->upstream.calls[0], "body");
    assert_int_equal(client.replies, 0);
    assert_int_equal(reads_deadline_us(stage->reads), 0);
    reads_tick(stage->reads);
    assert_int_equal(client.status, 200);
    assert_int_equal(in_flight(stage), 0);
    client_end(stage, &client, true);
    assert_int_equal(COUNTED(READ_QUERY_2XX), 1);
    assert_int_equal(COUNTED(READ_BYTES), 4);
    assert_int_equal(COUNTED(READS_CANCELLED), 0);
    stage_close(stage);
}

static void test_slots_are_given_in_order(void **state)
{
    (void)state;
    struct stage opened;
    struct stage *stage = &opened;
    struct exchange clients[5];
    stage_open(stage);
    for (size_t i = 0; i < 5; i++) {
        client_ask(stage, &clients[i]);
    }
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(stage->upstream.count, i + 2 < 5 ? i + 2 : 5);
        assert_true(in_flight(stage) <= 2);
        answer(&stage->upstream.calls[i], "x");
        reads_tick(stage->reads);
        assert_int_equal(clients[i].status, 200);
        client_end(stage, &clients[i], true);
    }
    stage_close(stage);
}

/* Clients that do not read hold no more than the budget allows; beyond it they hold their slots. */
static void test_an_answer_that_is_not_taken_is_charged_or_holds_its_slot(void **state)
{
    (void)state;
    struct stage opened;
    struct stage *stage = &opened;
    struct exchange clients[2];
    stage_open(stage);
    client_ask(stage, &clients[0]);
    client_ask(stage, &clients[1]);
    answer(&stage->upstream.calls[0], "four");
    reads_tick(stage->reads);
    assert_int_equal(clients[0].status, 200);
    assert_int_equal(in_flight(stage), 1);
    size_t used = budget_used(&stage->budget);
    assert_true(used >= 4);
    assert_true(budget_take(&stage->budget, BUDGET_BYTES - used));
    answer(&stage->upstream.calls[1], "four");
    reads_tick(stage->reads);
    assert_int_equal(clients[1].status, 200);
    assert_int_equal(in_flight(stage), 1);
    budget_give(&stage->budget, BUDGET_BYTES - used);
    client_end(stage, &clients[0], true);
    client_end(stage, &clients[1], true);
    assert_int_equal(in_flight(stage), 0);
    stage_close(stage);
}

static void test_queue_is_bounded(void **state)
{
    (void)state;
    struct stage opened;
    struct stage *stage = &opened;
    static struct exchange clients[2 + QUEUE_MAX + 1];
    const size_t count = sizeof(clients) / sizeof(clients[0]);
    stage_open(stage);
    for (size_t i = 0; i < count; i++) {
        client_ask(stage, &clients[i]);
    }
    assert_int_equal(stage->upstream.count, 2);
    assert_int_equal(clients[count - 2].replies, 0);
    expect_error(&clients[count - 1], 503);
    reads_cancel(stage->reads);
    for (size_t i = 0; i < count; i++) {
        expect_error(&clients[i], 503);
        client_end(stage, &clients[i], true);
    }
    assert_int_equal(COUNTED(READ_QUERY_5XX), count);
    stage_close(stage);
}

static void test_failures_before_a_head(void **state)
{
    (void)state;

    static const enum outcome_kind kinds[] = {OUTCOME_BROKEN, OUTCOME_UNREACHABLE, OUTCOME_TIMEOUT,
                                              OUTCOME_ANSWERED /* in mid-head */};

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct stage opened;
        struct stage *stage = &opened;
        struct exchange client;
        stage_open(stage);
        client_ask(stage, &client);
        gateway_end(&stage->upstream.calls[0], kinds[i], 200);
        reads_tick(stage->reads);
        expect_error(&client, 502);
        client_end(stage, &client, true);
        assert_int_equal(COUNTED(READS_CANCELLED), 0);
        stage_close(stage);
    }
}

static void test_redirect(void **state)
{
    (void)state;
    struct stage opened;
    struct stage *stage = &opened;
    struct exchange client;
    stage_open(stage);
    client_ask(stage, &client);
    gateway_head(&stage->upstream.calls[0], 302, UPSTREAM_BODY_UNKNOWN);
    reads_tick(stage->reads);
    expect_error(&client, 502);
    assert_int_equal(stage->upstream.aborted, 1);
    client_end(stage, &client, true);
    stage_close(stage);
}

/* Two at the gateway, one queued: all wait for the same time, and are told what they waited for. */
static void test_silence(void **state)
{
    (void)state;
    struct stage opened;
    struct stage *stage = &opened;
    struct exchange clients[3];
    stage_open(stage);
    for (size_t i = 0; i < 3; i++) {
        client_ask(stage, &clients[i]);
    }
    assert_true(reads_deadline_us(stage->reads) == FAKE_START_US + 10 * SEC_US);
    fake_now_us += 10 * SEC_US - 1;
    reads_tick(stage->reads);
    assert_int_equal(clients[0].replies + clients[1].replies + clients[2].replies, 0);
    fake_now_us += 1;
    reads_tick(stage->reads);
    expect_error(&clients[0], 504);
    expect_error(&clients[1], 504);
    expect_error(&clients[2], 503);
    assert_int_equal(stage->upstream.count, 2);
    assert_int_equal(stage->upstream.aborted, 2);
    for (size_t i = 0; i < 3; i++) {
        client_end(stage, &clients[i], true);
    }
    stage_close(stage);
}

/* A stream lives for as long as either side does something. */
static void test_signs_of_life(void **state)
{
    (void)state;
    struct stage opened;
    struct stage *stage = &opened;
    struct exchange client;
    uint8_t taken[16];
    stage_open(stage);
    client_ask(stage, &client);
    struct upstream_call *call = &stage->upstream.calls[0];
    gateway_head(call, 200, UPSTREAM_BODY_UNKNOWN);
    reads_tick(stage->reads);
    assert_true(client.streams);
    for (unsigned i = 0; i < 5; i++) {
        fake_now_us += 9 * SEC_US;
        assert_true(gateway_data(call, "ab", 2));
        reads_tick(stage->reads);
        assert_int_equal(client.ready, i + 1);
        fake_now_us += 9 * SEC_US;
        assert_int_equal(stage->handler->on_wanted(stage->handler->owner, &client, taken, 2), 2);
    }
    fake_now_us += 10 * SEC_US;
    reads_tick(stage->reads);
    assert_int_equal(stage->upstream.aborted, 1);
    assert_true(client.aborted);
    assert_int_equal(stage->handler->on_wanted(stage->handler->owner, &client, taken, 2),
                     SERVER_STREAM_BROKEN);
    client_end(stage, &client, false);
    assert_int_equal(COUNTED(READ_BYTES), 10);
    assert_int_equal(COUNTED(READS_CANCELLED), 0);
    stage_close(stage);
}

/* A turn hands on so much of all answers; the rest goes on in the next one, which comes at once. */
static void test_a_turn_is_bounded(void **state)
{
    (void)state;
    static char body[TURN_BYTES + 1000];
    static uint8_t taken[32 * 1024];
    struct stage opened;
    struct stage *stage = &opened;
    struct exchange clients[2];
    stage_open(stage);
    stage->config.reads_window_bytes = sizeof(body);
    for (size_t i = 0; i < 2; i++) {
        client_ask(stage, &clients[i]);
        gateway_head(&stage->upstream.calls[i], 200, UPSTREAM_BODY_UNKNOWN);
        assert_true(gateway_data(&stage->upstream.calls[i], body, i == 0 ? sizeof(body) : 10));
    }
    reads_tick(stage->reads);
    assert_true(reads_deadline_us(stage->reads) > fake_now_us);
    size_t sum = 0;
    ptrdiff_t got;
    while ((got = stage->handler->on_wanted(stage->handler->owner, &clients[0], taken,
                                            sizeof(taken))) > 0) {
        sum += (size_t)got;
    }
    assert_int_equal(sum, TURN_BYTES);
    assert_int_equal(stage->handler->on_wanted(stage->handler->owner, &clients[1], taken, 10), 0);
    assert_int_equal(reads_deadline_us(stage->reads), 0);
    assert_int_equal(clients[0].ready + clients[1].ready, 0);
    reads_tick(stage->reads);
    assert_int_equal(clients[0].ready, 1);
    assert_int_equal(clients[1].ready, 1);
    assert_int_equal(
        stage->handler->on_wanted(stage->handler->owner, &clients[0], taken, sizeof(taken)), 1000);
    assert_int_equal(stage->handler->on_wanted(stage->handler->owner, &clients[1], taken, 20), 10);
    for (size_t i = 0; i < 2; i++) {
        client_end(stage, &clients[i], false);
    }
    stage_close(stage);
}

/* The client leaves: while it is queued, while it waits, with news untold, in mid-answer. */
static void test_client_leaves(void **state)
{
    (void)state;
    struct stage opened;
    struct stage *stage = &opened;
    struct exchange clients[4];
    stage_open(stage);
    for (size_t i = 0; i < 4; i++) {
        client_ask(stage, &clients[i]);
    }
    client_end(stage, &clients[2], false);
    assert_int_equal(stage->upstream.aborted, 0);
    client_end(stage, &clients[0], false);
    assert_int_equal(stage->upstream.aborted, 1);
    reads_tick(stage->reads); /* the slot goes to the next */
    assert_int_equal(stage->upstream.count, 3);
    gateway_head(&stage->upstream.calls[1], 200, 10);
    client_end(stage, &clients[1], false);
    gateway_head(&stage->upstream.calls[2], 200, 10);
    reads_tick(stage->reads);
    assert_true(clients[3].streams);
    client_end(stage, &clients[3], false);
    assert_int_equal(stage->upstream.aborted, 3);
    assert_int_equal(COUNTED(READS_CANCELLED), 4);
    stage_close(stage);
}

static void test_cancel(void **state)
{
    (void)state;
    struct stage opened;
    struct stage *stage = &opened;
    struct exchange clients[3];
    struct exchange late;
    uint8_t taken[16];
    stage_open(stage);
    for (size_t i = 0; i < 3; i++) {
        client_ask(stage, &clients[i]);
    }
    gateway_head(&stage->upstream.calls[0], 200, 10);
    reads_tick(stage->reads);
    reads_cancel(stage->reads);
    assert_int_equal(stage->handler->on_wanted(stage->handler->owner, &clients[0], taken, 2),
                     SERVER_STREAM_BROKEN);
    client_end(stage, &clients[0], false);
    client_ask(stage, &late);
    expect_error(&clients[1], 503);
    expect_error(&clients[2], 503);
    expect_error(&late, 503);
    client_end(stage, &clients[1], true);
    client_end(stage, &clients[2], true);
    client_end(stage, &late, true);
    stage_close(stage);
}

/* Bodies are charged before they are held: as declared, or as they grow. */
static void test_bodies_are_charged(void **state)
{
    (void)state;

    static const struct {
        uint64_t declared;
        size_t sent;
        unsigned status; /* 0: goes on */
    } cases[] = {
        {1000, 1000, 0},
        {BUDGET_BYTES, 0, 0},
        {BUDGET_BYTES + 1, 0, 503},
        {(10U << 20) + 1, 0, 413},
        {SERVER_BODY_UNKNOWN, 100000, 0},
        {SERVER_BODY_UNKNOWN, BUDGET_BYTES + 1, 503},
    };

    static char body[BUDGET_BYTES + 1];
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct stage opened;
        struct stage *stage = &opened;
        struct exchange client = {.target = "/api/v1/query",
                                  .method = ROUTE_METHOD_POST,
                                  .body_bytes = cases[i].declared};
        stage_open(stage);
        stage->handler->on_headers(stage->handler->owner, &client);
        for (size_t at = 0; at < cases[i].sent && client.replies == 0; at += 10000) {
            size_t bytes = cases[i].sent - at < 10000 ? cases[i].sent - at : 10000;
            stage->handler->on_body(stage->handler->owner, &client, (const uint8_t *)body, bytes);
        }
        if (cases[i].status != 0) {
            expect_error(&client, cases[i].status);
        } else {
            assert_true(budget_used(&stage->budget) >= cases[i].sent);
            assert_int_equal(client.replies, 0);
        }
        client_end(stage, &client, cases[i].status != 0);
        stage_close(stage);
    }
}

static void test_no_memory_for_a_call(void **state)
{
    (void)state;
    struct stage opened;
    struct stage *stage = &opened;
    struct exchange client;
    stage_open(stage);
    stage->upstream.without_memory = true;
    client_ask(stage, &client);
    expect_error(&client, 503);
    client_end(stage, &client, true);
    stage_close(stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answer),
        cmocka_unit_test(test_slots_are_given_in_order),
        cmocka_unit_test(test_an_answer_that_is_not_taken_is_charged_or_holds_its_slot),
        cmocka_unit_test(test_queue_is_bounded),
        cmocka_unit_test(test_failures_before_a_head),
        cmocka_unit_test(test_redirect),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_signs_of_life),
        cmocka_unit_test(test_a_turn_is_bounded),
        cmocka_unit_test(test_client_leaves),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_bodies_are_charged),
        cmocka_unit_test(test_no_memory_for_a_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
