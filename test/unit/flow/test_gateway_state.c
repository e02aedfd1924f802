/* What the last writes say of the gateway. */
#include "flow/gateway_state.h"

#include "wire/verdict.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "fake_clock.h"

#include <stdio.h>
#include <string.h>

static struct gateway_report report_of(struct gateway_state *state)
{
    struct gateway_report report;
    gateway_state_report(state, &report);
    return report;
}

static void test_the_last_word_counts(void **unused)
{
    (void)unused;
    struct gateway_state state;
    const struct outcome timeout = {.kind = OUTCOME_TIMEOUT};
    struct outcome answer = {.kind = OUTCOME_ANSWERED, .status = 404, .body_bytes = 9};
    memcpy(answer.body, "not found", 9);
    fake_now_us = FAKE_START_US;
    gateway_state_init(&state);
    struct gateway_report report = report_of(&state);
    assert_int_equal(report.condition, GATEWAY_UNKNOWN);
    assert_string_equal(report.error, "");

    gateway_state_note_trouble(&state, false, &timeout);
    report = report_of(&state);
    assert_int_equal(report.condition, GATEWAY_UNAVAILABLE);
    assert_string_equal(report.error, "did not answer in time");
    assert_int_equal(report.trouble_us, FAKE_START_US);

    fake_now_us++;
    gateway_state_note_good(&state);
    report = report_of(&state);
    assert_int_equal(report.condition, GATEWAY_ANSWERING);
    assert_int_equal(report.good_us, FAKE_START_US + 1);
    assert_string_equal(report.error, "did not answer in time"); /* of the past */

    fake_now_us++;
    gateway_state_note_trouble(&state, true, &answer);
    report = report_of(&state);
    assert_int_equal(report.condition, GATEWAY_MISCONFIGURED);
    assert_string_equal(report.error, "answered 404: not found");
    gateway_state_deinit(&state);
}

static void test_words_are_bounded(void **unused)
{
    (void)unused;
    struct gateway_state state;
    struct outcome answer = {
        .kind = OUTCOME_ANSWERED, .status = 503, .body_bytes = OUTCOME_BODY_MAX};
    struct outcome broken = {.kind = OUTCOME_BROKEN};
    memset(answer.body, 'x', sizeof(answer.body));
    (void)snprintf(broken.detail, sizeof(broken.detail), "reset by %0200d", 1);
    gateway_state_init(&state);
    gateway_state_note_trouble(&state, false, &answer);
    assert_true(strlen(report_of(&state).error) < GATEWAY_ERROR_BYTES);
    gateway_state_note_trouble(&state, false, &broken);
    assert_memory_equal(report_of(&state).error, "broke off its answer: reset by 00", 33);
    answer.body_bytes = 0;
    gateway_state_note_trouble(&state, false, &answer);
    assert_string_equal(report_of(&state).error, "answered 503");
    gateway_state_deinit(&state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_last_word_counts),
        cmocka_unit_test(test_words_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
