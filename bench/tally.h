/* What a load came to: how its requests ended and how long they took. It can begin anew when a
 * warm-up is over, and be closed before the last requests have ended. */
#ifndef BENCH_TALLY_H
#define BENCH_TALLY_H

#include "bench/histogram.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TALLY_STATUS_END    600
#define TALLY_REFUSAL_BYTES 256

struct tally_counts {
    uint64_t requests;                 /* ended, in one of three ways: */
    uint64_t acknowledged;             /* answered 2xx in the end */
    uint64_t refused;                  /* answered otherwise in the end */
    uint64_t unanswered;               /* no answer in the end */
    uint64_t attempts;                 /* begun */
    uint64_t status[TALLY_STATUS_END]; /* of all attempts */
    uint64_t connection_errors;
    uint64_t timeouts;
    uint64_t connects;
    uint64_t samples_sent; /* of each request once */
    uint64_t samples_acknowledged;
    uint64_t bytes_sent; /* bodies, of all attempts */
};

/* Owner: embedded in its user; zero is its start but for from_us. */
struct tally {
    struct tally_counts counts;
    struct histogram latencies; /* [us] from when a request was due to its final answer */
    uint64_t from_us;           /* when counting began */
    uint64_t last_answer_us;    /* 0: none */
    bool closed;                /* no further end of a request is counted */
    bool failed;                /* one was not acknowledged, be it uncounted */
    char first_refusal[TALLY_REFUSAL_BYTES + 1]; /* status and text, "" without one */
};

/* Forget what was counted, but not a failure. */
void tally_restart(struct tally *tally, uint64_t now_us);

/* A request of some samples, due at due_us, has ended; status 0: without an answer. */
void tally_end(struct tally *tally, unsigned status, uint64_t samples, uint64_t due_us,
               uint64_t now_us);

/* An attempt was answered; text is the body of a refusal, bytes long. */
void tally_answer(struct tally *tally, unsigned status, const char *text, size_t bytes);

/* [us] from when counting began to the latest final answer */
uint64_t tally_duration_us(const struct tally *tally);

#endif
