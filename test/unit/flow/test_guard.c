/* Who passes the guard, who waits and who is refused, with a checker that answers by hand. */
#include "flow/guard.h"

#include "base/log.h"
#include "base/metrics.h"
#include "config/material.h"
#include "flow/context.h"

#include "fake_clock.h"
#include "fake_exchange.h"
#include "fake_password_checker.h"

#include <fcntl.h>
#include <unistd.h>

/* "Basic " and base64 of: */
#define ALICE   "Basic YWxpY2U6c2VzYW1l"     /* alice:sesame */
#define ALICE_2 "Basic YWxpY2U6b3RoZXI="     /* alice:other */
#define NOBODY  "Basic bm9ib2R5OnNlc2FtZQ==" /* nobody:sesame */
#define EVIL    "Basic ZQp2aWwiOng="         /* e\nvil":x */

#define COUNTED(name) atomic_load(&stage.metrics.counters[METRIC_##name])

static char alice[] = "alice";
static char alice_hash[] = "hash of alice";
static char bob[] = "bob";
static char bob_hash[] = "hash of bob";
static const struct material_user users[] = {{bob, bob_hash}, {alice, alice_hash}};

/* Owner: the test. */
struct stage {
    struct metrics metrics;
    struct log log;
    struct log_sink log_sink;
    int log_end; /* to read it from */
    struct flow_context context;
    struct password_checker checker;
    struct guard *guard;
};

static void stage_open(struct stage *stage)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_NONBLOCK), 0); /* a line that is missing is not waited for */
    fake_now_us = FAKE_START_US;
    *stage = (struct stage){.log = {.sink = &stage->log_sink}, .log_end = ends[0]};
    log_sink_init(&stage->log_sink, ends[1]);
    stage->context = (struct flow_context){.log = &stage->log, .metrics = &stage->metrics};
    stage->guard = guard_new(&stage->context, &stage->checker);
    assert_non_null(stage->guard);
    guard_set_users(stage->guard, users, 2);
}

static void stage_close(struct stage *stage)
{
    guard_free(stage->guard);
    close(stage->log_sink.fd);
    log_sink_deinit(&stage->log_sink);
    close(stage->log_end);
}

static bool asked(struct stage *stage, struct exchange *exchange, const char *path,
                  const char *authorization)
{
    const struct server_gate *gate = guard_gate(stage->guard);
    const struct server_header headers[] = {{"Authorization", authorization}, {NULL, NULL}};
    *exchange = (struct exchange){.route = route_match(path, strlen(path)),
                                  .headers = authorization != NULL ? headers : NULL};
    bool passes = gate->on_headers(gate->owner, exchange);
    exchange->headers = NULL;
    assert_true(!passes || exchange->replies == 0);
    return passes;
}

static bool writes(struct stage *stage, struct exchange *exchange, const char *authorization)
{
    return asked(stage, exchange, "/api/v1/receive", authorization);
}

/* What the gate says of a write before there is an exchange. */
static bool may_pass(struct stage *stage, const char *authorization)
{
    const struct server_gate *gate = guard_gate(stage->guard);
    return gate->passes(gate->owner, ROUTE_WRITE, authorization);
}

static void expect_refused(struct exchange *exchange)
{
    assert_int_equal(exchange->status, 401);
    assert_non_null(strstr(exchange->reply_headers, "WWW-Authenticate: Basic realm="));
    assert_false(exchange->admitted);
    exchange_clear(exchange);
}

static void answer(struct stage *stage, bool matches)
{
    fake_answer(&stage->checker, matches);
    guard_tick(stage->guard);
}

static void test_without_users_all_pass(void **state)
{
    (void)state;
    struct stage stage;
    struct exchange exchange;
    stage_open(&stage);
    guard_set_users(stage.guard, NULL, 0);
    assert_true(writes(&stage, &exchange, NULL));
    assert_true(writes(&stage, &exchange, "Bearer of something"));
    stage_close(&stage);
}

static void test_probes_pass_and_nothing_else(void **state)
{
    (void)state;
    static const char *const guarded[] = {"/metrics", "/api/v1/query", "/api/v1/receive",
                                          "/api/v1/otlp"};
    struct stage stage;
    struct exchange exchange;
    stage_open(&stage);
    assert_true(asked(&stage, &exchange, "/-/healthy", NULL));
    assert_true(asked(&stage, &exchange, "/-/ready", NULL));
    for (size_t i = 0; i < sizeof(guarded) / sizeof(guarded[0]); i++) {
        assert_false(asked(&stage, &exchange, guarded[i], NULL));
        expect_refused(&exchange);
    }
    assert_int_equal(stage.checker.count, 0);
    assert_int_equal(COUNTED(REJECTED_UNAUTHORIZED), 4);
    stage_close(&stage);
}

/* It says yes to what on_headers would pass at once, and asks nobody. */
static void test_who_passes_is_known_before(void **state)
{
    (void)state;
    static const char *const unknown[] = {NULL, "", "Basic", "Bearer abc", ALICE, ALICE_2, NOBODY};
    struct stage stage;
    struct exchange exchange;
    stage_open(&stage);
    const struct server_gate *gate = guard_gate(stage.guard);
    for (size_t i = 0; i < sizeof(unknown) / sizeof(unknown[0]); i++) {
        assert_false(may_pass(&stage, unknown[i]));
    }
    assert_true(gate->passes(gate->owner, ROUTE_HEALTHY, NULL));
    assert_true(gate->passes(gate->owner, ROUTE_READY, NULL));
    assert_false(gate->passes(gate->owner, ROUTE_METRICS, NULL));
    assert_int_equal(stage.checker.count, 0);
    assert_int_equal(COUNTED(REJECTED_UNAUTHORIZED), 0);

    assert_false(writes(&stage, &exchange, ALICE));
    assert_false(may_pass(&stage, ALICE)); /* while it is checked */
    answer(&stage, true);
    assert_true(may_pass(&stage, ALICE));
    assert_false(may_pass(&stage, NULL));
    assert_false(may_pass(&stage, ALICE_2));
    assert_false(writes(&stage, &exchange, ALICE_2));
    answer(&stage, false);
    expect_refused(&exchange);
    assert_false(may_pass(&stage, ALICE_2)); /* known to be wrong */

    guard_set_users(stage.guard, users, 1); /* without her */
    assert_false(may_pass(&stage, ALICE));
    guard_set_users(stage.guard, NULL, 0);
    assert_true(may_pass(&stage, NULL));
    assert_true(may_pass(&stage, ALICE_2));
    stage_close(&stage);
}

static void test_what_is_no_password_is_refused_at_once(void **state)
{
    (void)state;
    static const char *const values[] = {"", "Basic", "Bearer abc", "Basic ???", "Basic YWI="};
    struct stage stage;
    struct exchange exchange;
    stage_open(&stage);
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        assert_false(writes(&stage, &exchange, values[i]));
        expect_refused(&exchange);
    }
    assert_int_equal(stage.checker.count, 0);
    stage_close(&stage);
}

static void test_a_right_password_waits_once(void **state)
{
    (void)state;
    struct stage stage;
    struct exchange first;
    struct exchange second;
    stage_open(&stage);
    assert_false(writes(&stage, &first, ALICE));
    assert_false(writes(&stage, &second, ALICE)); /* comes meanwhile: waits for the same check */
    assert_int_equal(first.replies, 0);
    assert_int_equal(stage.checker.count, 1);
    assert_string_equal(stage.checker.checks[0].password, "sesame");
    assert_string_equal(stage.checker.checks[0].hash, alice_hash);
    guard_tick(stage.guard);
    assert_false(first.admitted);
    answer(&stage, true);
    assert_true(first.admitted && second.admitted);
    assert_null(first.state); /* as its handler expects it */
    assert_true(writes(&stage, &first, ALICE));
    assert_int_equal(stage.checker.count, 1);
    stage_close(&stage);
}

static void test_a_wrong_password_is_refused_and_remembered(void **state)
{
    (void)state;
    struct stage stage;
    struct exchange exchange;
    stage_open(&stage);
    assert_false(writes(&stage, &exchange, ALICE_2));
    answer(&stage, false);
    assert_null(exchange.state);
    expect_refused(&exchange);
    assert_false(writes(&stage, &exchange, ALICE_2));
    expect_refused(&exchange); /* without another check */
    assert_int_equal(stage.checker.count, 1);
    assert_false(writes(&stage, &exchange, ALICE)); /* the right one still has its chance */
    answer(&stage, true);
    assert_true(exchange.admitted);
    stage_close(&stage);
}

static void test_an_unknown_user_costs_a_check_and_never_passes(void **state)
{
    (void)state;
    struct stage stage;
    struct exchange exchange;
    stage_open(&stage);
    assert_false(writes(&stage, &exchange, NOBODY));
    assert_int_equal(exchange.replies, 0);
    assert_int_equal(stage.checker.count, 1);
    assert_string_equal(stage.checker.checks[0].hash, bob_hash);
    answer(&stage, true); /* it happens to be bob's */
    expect_refused(&exchange);
    stage_close(&stage);
}

static void test_too_many_checks_are_put_off(void **state)
{
    (void)state;
    struct stage stage;
    struct exchange exchanges[PASSWORD_CHECKS_MAX];
    struct exchange late;
    stage_open(&stage);
    for (unsigned i = 0; i < PASSWORD_CHECKS_MAX; i++) {
        char value[] = "Basic YWxpY2U6AAAA"; /* alice: and three letters */
        value[14] = 'Y';
        value[15] = 'W';
        value[16] = (char)('A' + i);
        value[17] = 'h';
        assert_false(writes(&stage, &exchanges[i], value));
        assert_int_equal(exchanges[i].replies, 0);
    }
    assert_false(writes(&stage, &late, ALICE));
    assert_int_equal(late.status, 503);
    assert_true(exchange_retry_after_s(&late) > 0);
    assert_int_equal(COUNTED(REJECTED_PASSWORD_CHECKS), 1);
    exchange_clear(&late);
    for (unsigned i = 0; i < PASSWORD_CHECKS_MAX; i++) {
        answer(&stage, false);
        expect_refused(&exchanges[i]);
    }
    stage_close(&stage);
}

static void test_without_a_thread_it_is_said(void **state)
{
    (void)state;
    char text[4096] = "";
    struct stage stage;
    struct exchange exchange;
    stage_open(&stage);
    stage.checker.has_no_thread = true;
    for (unsigned i = 0; i < 3; i++) {
        assert_false(writes(&stage, &exchange, ALICE));
        assert_int_equal(exchange.status, 503);
        assert_true(exchange_retry_after_s(&exchange) > 0);
        exchange_clear(&exchange);
    }
    assert_int_equal(COUNTED(REJECTED_PASSWORD_CHECKS), 3);
    assert_true(read(stage.log_end, text, sizeof(text) - 1) > 0);
    const char *line = strstr(text, "cannot make the thread that checks passwords");
    assert_non_null(line);
    assert_null(strstr(line + 1, "cannot make")); /* once, for all three */
    stage.checker.has_no_thread = false;
    assert_false(writes(&stage, &exchange, ALICE));
    answer(&stage, true);
    assert_true(exchange.admitted);
    stage_close(&stage);
}

static void test_one_that_goes_is_forgotten(void **state)
{
    (void)state;
    struct stage stage;
    struct exchange gone;
    struct exchange stays;
    stage_open(&stage);
    const struct server_gate *gate = guard_gate(stage.guard);
    assert_false(writes(&stage, &gone, ALICE));
    assert_false(writes(&stage, &stays, ALICE));
    gate->on_end(gate->owner, &gone);
    answer(&stage, true);
    assert_false(gone.admitted);
    assert_true(stays.admitted);
    assert_false(writes(&stage, &gone, ALICE_2)); /* and one that is never answered */
    gate->on_end(gate->owner, &gone);
    stage_close(&stage);
}

static void test_other_users_forget_what_was_checked(void **state)
{
    (void)state;
    struct stage stage;
    struct exchange exchange;
    struct exchange later;
    stage_open(&stage);
    assert_false(writes(&stage, &exchange, ALICE));
    answer(&stage, true);
    assert_true(writes(&stage, &exchange, ALICE));
    guard_set_users(stage.guard, users, 1); /* alice is no more */
    assert_false(writes(&stage, &exchange, ALICE));
    assert_string_equal(stage.checker.checks[1].hash, bob_hash);

    guard_set_users(stage.guard, users, 2); /* while that is under way, she is back */
    assert_false(writes(&stage, &later, ALICE));
    assert_int_equal(stage.checker.count, 3);
    answer(&stage, false);
    expect_refused(&exchange); /* came before; its answer is not remembered */
    assert_int_equal(later.replies, 0);
    answer(&stage, true);
    assert_true(later.admitted);
    assert_true(writes(&stage, &exchange, ALICE));
    stage_close(&stage);
}

static void test_the_log_names_the_user_but_not_the_password(void **state)
{
    (void)state;
    char text[4096] = "";
    struct stage stage;
    struct exchange exchange;
    stage_open(&stage);
    for (unsigned i = 0; i < 5; i++) {
        assert_false(writes(&stage, &exchange, i == 0 ? EVIL : ALICE_2));
        if (exchange.replies == 0) {
            answer(&stage, false);
        }
        expect_refused(&exchange);
        fake_now_us += i == 3 ? 10U * 1000U * 1000U : 1;
    }
    ssize_t bytes = read(stage.log_end, text, sizeof(text) - 1);
    assert_true(bytes > 0);
    assert_non_null(strstr(text, "user=\"e\\nvil\\\"\" peer=192.0.2.7 held_back=0\n"));
    assert_non_null(strstr(text, "user=alice peer=192.0.2.7 held_back=3\n"));
    assert_null(strstr(text, "other"));
    assert_null(strstr(text, "b3RoZXI"));
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_without_users_all_pass),
        cmocka_unit_test(test_probes_pass_and_nothing_else),
        cmocka_unit_test(test_who_passes_is_known_before),
        cmocka_unit_test(test_what_is_no_password_is_refused_at_once),
        cmocka_unit_test(test_a_right_password_waits_once),
        cmocka_unit_test(test_a_wrong_password_is_refused_and_remembered),
        cmocka_unit_test(test_an_unknown_user_costs_a_check_and_never_passes),
        cmocka_unit_test(test_too_many_checks_are_put_off),
        cmocka_unit_test(test_without_a_thread_it_is_said),
        cmocka_unit_test(test_one_that_goes_is_forgotten),
        cmocka_unit_test(test_other_users_forget_what_was_checked),
        cmocka_unit_test(test_the_log_names_the_user_but_not_the_password),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
