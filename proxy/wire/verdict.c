/* The verdict table. Pure; owns nothing. */
#include "wire/verdict.h"

#include <assert.h>

#define RETRY_AFTER_S_MAX    300
#define RETRY_AFTER_S_JITTER 5

static enum verdict of_status(unsigned status, size_t members)
{
    if (status >= 200 && status <= 299) {
        return VERDICT_ACCEPTED;
    }
    switch (status) {
    case 400:
    case 409:
    case 413:
    case 422:
        return members == 1 ? VERDICT_REFUSED : VERDICT_SPLIT;
    case 408:
    case 425:
    case 429:
        return VERDICT_UNAVAILABLE;
    default:
        return status >= 100 && status <= 499 ? VERDICT_MISCONFIGURED : VERDICT_UNAVAILABLE;
    }
}

enum verdict verdict_of(const struct outcome *outcome, size_t members)
{
    assert(members >= 1);
    if (outcome->kind != OUTCOME_ANSWERED) {
        return VERDICT_UNAVAILABLE;
    }
    return of_status(outcome->status, members);
}

unsigned verdict_retry_after_s(const struct outcome *outcome, unsigned random)
{
    if (outcome->retry_after_s == 0) {
        return 1 + random % RETRY_AFTER_S_JITTER;
    }
    return outcome->retry_after_s < RETRY_AFTER_S_MAX ? outcome->retry_after_s : RETRY_AFTER_S_MAX;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

unsigned verdict_parse_retry_after(const char *value, size_t bytes)
{
    const char *at = value;
    const char *end = value + bytes;
    while (at < end && is_blank(*at)) {
        at++;
    }
    while (at < end && is_blank(end[-1])) {
        end--;
    }
    unsigned seconds = 0;
    for (; at < end; at++) {
        if (*at < '0' || *at > '9') {
            return 0;
        }
        seconds = seconds * 10 + (unsigned)(*at - '0');
        if (seconds > RETRY_AFTER_S_MAX) {
            seconds = RETRY_AFTER_S_MAX;
        }
    }
    return seconds;
}
