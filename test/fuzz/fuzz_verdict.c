/* The gateway's answer: kind, status, batch size, and a Retry-After value as it came. */
#include "wire/verdict.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)    \
    do {                    \
        if (!(condition)) { \
            abort();        \
        }                   \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check_verdict(const struct outcome *outcome, size_t members)
{
    enum verdict verdict = verdict_of(outcome, members);
    bool answered = outcome->kind == OUTCOME_ANSWERED;
    bool success = answered && outcome->status >= 200 && outcome->status <= 299;
    bool client_fault = answered && (outcome->status == 400 || outcome->status == 409 ||
                                     outcome->status == 413 || outcome->status == 422);
    CHECK((verdict == VERDICT_ACCEPTED) == success);
    CHECK((verdict == VERDICT_REFUSED) == (client_fault && members == 1));
    CHECK((verdict == VERDICT_SPLIT) == (client_fault && members > 1));
    CHECK(verdict != VERDICT_MISCONFIGURED || answered);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes < 4) {
        return 0;
    }
    const char *value = (const char *)data + 4;
    size_t value_bytes = bytes - 4;
    unsigned seconds = verdict_parse_retry_after(value, value_bytes);
    CHECK(seconds <= 300);
    for (size_t i = 0; i < value_bytes && seconds > 0; i++) {
        CHECK(value[i] != '\0' && strchr("0123456789 \t", value[i]) != NULL);
    }

    struct outcome outcome = {.kind = (enum outcome_kind)(data[0] % (OUTCOME_CANCELLED + 1)),
                              .status = (unsigned)(data[1] << 8 | data[2]) % 1000,
                              .retry_after_s = seconds};
    check_verdict(&outcome, 1 + data[3] % 64u);
    unsigned wait = verdict_retry_after_s(&outcome, data[3]);
    CHECK(seconds > 0 ? wait == seconds : wait >= 1 && wait <= 5);
    return 0;
}
