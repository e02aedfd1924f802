/* The stand-in for a gateway: takes remote-write POSTs, answers as it is told to, and with verify
 * checks and remembers what is in them. */
#ifndef BENCH_GATEWAY_H
#define BENCH_GATEWAY_H

#include "bench/args.h"
#include "bench/bytes.h"
#include "bench/poller.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>

struct gateway_settings {
    struct sockaddr_in address;
    uint64_t delay_us; /* before each answer; what is stored is stored before */
    uint64_t status;   /* of an accepted POST; other than 2xx nothing is stored */
    uint64_t error_every;
    uint64_t error_status;
    uint64_t drop_every;    /* store, then close the connection without an answer */
    uint64_t retry_after_s; /* header on 429 and 5xx; 0: none */
    bool verify;
    const char *expect_path; /* NULL: any */
    struct args_list expect_headers;
    int64_t poison_sender; /* -1: none */
    const char *journal;
    const char *state; /* file for the statistics */
    int64_t t0_ms;
    uint64_t step_ms;
};

struct gateway;

/* Listen and serve, from poller_turn(). Owner: the caller, gateway_free(). Ends the program with
 * exit code 1 when it cannot listen. */
struct gateway *gateway_new(const struct gateway_settings *settings, struct poller *poller);
void gateway_free(struct gateway *gateway);

uint16_t gateway_port(const struct gateway *gateway);

/* Free what was closed in the latest turn; to be called after each. */
void gateway_sweep(struct gateway *gateway);

/* Write the statistics to the state file, if there is one. */
void gateway_save(const struct gateway *gateway);

#endif
