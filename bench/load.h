/* The senders of the load generator: keep-alive connections that each send one request after the
 * other, as the shards of a Prometheus do, and what they count.
 *
 *   REST --due--> CONNECTING --> TALKING --answer--> REST ... DONE
 *                      ^            |
 *                      |            | no answer, 5xx, 429
 *                      +-- PAUSE <--+   (with retry)
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "bench/args.h"
#include "bench/bodies.h"
#include "bench/histogram.h"
#include "bench/poller.h"

#include <stdbool.h>
#include <stdint.h>

struct load_settings {
    struct args_url url;
    struct args_list headers;
    struct bodies_settings bodies; /* its senders are the connections */
    uint64_t requests;             /* of each connection; 0: by time alone */
    uint64_t duration_us;          /* 0: by count alone */
    double rate;                   /* [requests/s] in all; 0: closed loop */
    bool retry;
    uint64_t retry_wait_us_max;
    uint64_t timeout_us;  /* of one attempt */
    uint64_t deadline_us; /* of the whole run; 0: none */
    int ack_fd;           /* -1: none */
};

#define LOAD_STATUS_END 600

struct load_counts {
    uint64_t requests;     /* begun */
    uint64_t acknowledged; /* answered 2xx in the end */
    uint64_t refused;      /* answered otherwise in the end */
    uint64_t unanswered;   /* no answer in the end */
    uint64_t attempts;
    uint64_t status[LOAD_STATUS_END]; /* of all attempts */
    uint64_t connection_errors;
    uint64_t timeouts;
    uint64_t connects;
    uint64_t samples_sent; /* of each request once */
    uint64_t samples_acknowledged;
    uint64_t bytes_sent; /* bodies, of all attempts */
};

struct load;

/* Prepare bodies and senders. Owner: the caller, load_free(). */
struct load *load_new(const struct load_settings *settings, struct poller *poller);
void load_free(struct load *load);

/* Begin to send; poller_turn() does the rest until load_is_done(). */
void load_start(struct load *load);
bool load_is_done(const struct load *load);

/* Begin no more requests. A second call abandons those that are under way. */
void load_stop(struct load *load);

const struct load_counts *load_counts(const struct load *load);

/* [us] from when a request was due to its final answer. */
const struct histogram *load_latencies(const struct load *load);

/* [us] from the start to the latest final answer */
uint64_t load_duration_us(const struct load *load);

/* The start of the first refusal's body, "" when there was none. */
const char *load_first_refusal(const struct load *load);

#endif
