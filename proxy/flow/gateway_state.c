/* What became of the last writes. Owns the words of the last trouble. */
#include "flow/gateway_state.h"

#include "base/clock.h"
#include "wire/verdict.h"

#include <stdio.h>
#include <string.h>

void gateway_state_init(struct gateway_state *state)
{
    *state = (struct gateway_state){.misconfigured = false};
    (void)pthread_mutex_init(&state->lock, NULL);
}

void gateway_state_deinit(struct gateway_state *state)
{
    (void)pthread_mutex_destroy(&state->lock);
}

void gateway_state_note_good(struct gateway_state *state)
{
    atomic_store_explicit(&state->good_us, clock_now_us(), memory_order_relaxed);
}

static void describe(char error[GATEWAY_ERROR_BYTES], const struct outcome *outcome)
{
    static const char *const names[] = {[OUTCOME_UNREACHABLE] = "cannot be reached",
                                        [OUTCOME_BROKEN] = "broke off its answer",
                                        [OUTCOME_TIMEOUT] = "did not answer in time",
                                        [OUTCOME_CANCELLED] = "was not waited for any more"};
    if (outcome->kind == OUTCOME_ANSWERED) {
        int body_bytes = (int)(outcome->body_bytes < 160 ? outcome->body_bytes : 160);
        (void)snprintf(error, GATEWAY_ERROR_BYTES, "answered %u%s%.*s", outcome->status,
                       body_bytes > 0 ? ": " : "", body_bytes, body_bytes > 0 ? outcome->body : "");
        return;
    }
    bool detail = outcome->detail[0] != '\0';
    (void)snprintf(error, GATEWAY_ERROR_BYTES, "%s%s%.160s", names[outcome->kind],
                   detail ? ": " : "", detail ? outcome->detail : "");
}

void gateway_state_note_trouble(struct gateway_state *state, bool misconfigured,
                                const struct outcome *outcome)
{
    (void)pthread_mutex_lock(&state->lock);
    state->misconfigured = misconfigured;
    describe(state->error, outcome);
    atomic_store(&state->trouble_us, clock_now_us());
    (void)pthread_mutex_unlock(&state->lock);
}

void gateway_state_report(struct gateway_state *state, struct gateway_report *report)
{
    (void)pthread_mutex_lock(&state->lock);
    report->good_us = atomic_load(&state->good_us);
    report->trouble_us = atomic_load(&state->trouble_us);
    memcpy(report->error, state->error, sizeof(report->error));
    bool misconfigured = state->misconfigured;
    (void)pthread_mutex_unlock(&state->lock);
    if (report->trouble_us > report->good_us) {
        report->condition = misconfigured ? GATEWAY_MISCONFIGURED : GATEWAY_UNAVAILABLE;
    } else {
        report->condition = report->good_us != 0 ? GATEWAY_ANSWERING : GATEWAY_UNKNOWN;
    }
}
