/* What a load came to; see tally.h. */
#include "bench/tally.h"

#include <stdio.h>
#include <string.h>

void tally_restart(struct tally *tally, uint64_t now_us)
{
    tally->counts = (struct tally_counts){0};
    memset(&tally->latencies, 0, sizeof tally->latencies);
    tally->from_us = now_us;
    tally->last_answer_us = 0;
}

void tally_end(struct tally *tally, unsigned status, uint64_t samples, uint64_t due_us,
               uint64_t now_us)
{
    struct tally_counts *counts = &tally->counts;
    bool acknowledged = status / 100 == 2;
    tally->failed = tally->failed || !acknowledged;
    if (tally->closed) {
        return;
    }
    counts->requests++;
    counts->samples_sent += samples;
    if (acknowledged) {
        counts->acknowledged++;
        counts->samples_acknowledged += samples;
    } else if (status != 0) {
        counts->refused++;
    } else {
        counts->unanswered++;
    }
    if (status != 0) {
        histogram_add(&tally->latencies, now_us > due_us ? now_us - due_us : 0);
        tally->last_answer_us = now_us;
    }
}

void tally_answer(struct tally *tally, unsigned status, const char *text, size_t bytes)
{
    tally->counts.status[status < TALLY_STATUS_END ? status : 0]++;
    if (status / 100 != 2 && tally->first_refusal[0] == '\0') {
        (void)snprintf(tally->first_refusal, sizeof tally->first_refusal, "%u %.*s", status,
                       (int)bytes, text);
    }
}

uint64_t tally_duration_us(const struct tally *tally)
{
    return tally->last_answer_us > tally->from_us ? tally->last_answer_us - tally->from_us : 0;
}
