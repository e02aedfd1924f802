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
#include "bench/poller.h"
#include "bench/tally.h"

#include <stdbool.h>
#include <stdint.h>

struct load_settings {
    struct args_url url;
    struct args_list headers;
    struct bodies_settings bodies; /* its senders are the connections */
    uint64_t requests;             /* of each connection; 0: by time alone */
    uint64_t warm_up_us;           /* what ends before is not told; not with requests */
    uint64_t duration_us;          /* from then on; 0: by count alone */
    double rate;                   /* [requests/s] in all; 0: closed loop */
    bool retry;
    uint64_t retry_wait_us_max;
    uint64_t timeout_us;  /* of one attempt */
    uint64_t deadline_us; /* of the whole run; 0: none */
    int ack_fd;           /* -1: none */
};

struct load;

/* Prepare bodies and senders. Owner: the caller, load_free(). */
struct load *load_new(const struct load_settings *settings, struct poller *poller);
void load_free(struct load *load);

/* Begin to send; poller_turn() does the rest until load_is_done(). */
void load_start(struct load *load);
bool load_is_done(const struct load *load);

/* The warm-up is over. */
bool load_is_warm(const struct load *load);

/* Begin no more requests. A second call abandons those that are under way. */
void load_stop(struct load *load);

/* What it came to. In a closed loop with a warm-up it is closed when the time is up, while the last
 * requests are still under way; else when the load is done. */
const struct tally *load_tally(const struct load *load);

#endif
