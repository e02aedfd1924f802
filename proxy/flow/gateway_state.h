/* What became of the last writes to the gateway, for the status page. */
#ifndef AGENT_PROXY_FLOW_GATEWAY_STATE_H
#define AGENT_PROXY_FLOW_GATEWAY_STATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct outcome;

#define GATEWAY_ERROR_BYTES 256

/* Owner: main; outlives the workers, each of which notes. */
struct gateway_state {
    _Atomic uint64_t good_us;    /* a write was judged by its data; 0: never */
    _Atomic uint64_t trouble_us; /* one was not; 0: never */
    pthread_mutex_t lock;        /* of all below */
    bool misconfigured;
    char error[GATEWAY_ERROR_BYTES];
};

enum gateway_condition {
    GATEWAY_UNKNOWN, /* nothing was written yet */
    GATEWAY_ANSWERING,
    GATEWAY_UNAVAILABLE,
    GATEWAY_MISCONFIGURED /* it does not take writes as we are configured */
};

/* What is known at a moment. */
struct gateway_report {
    enum gateway_condition condition;
    uint64_t good_us;
    uint64_t trouble_us;
    char error[GATEWAY_ERROR_BYTES]; /* of the last trouble; "": there was none */
};

void gateway_state_init(struct gateway_state *state);
void gateway_state_deinit(struct gateway_state *state);

/* A write was accepted or refused for its data: the gateway works. Costs no lock. */
void gateway_state_note_good(struct gateway_state *state);

/* A write failed in a way that speaks of the gateway, or of our settings. */
void gateway_state_note_trouble(struct gateway_state *state, bool misconfigured,
                                const struct outcome *outcome);

void gateway_state_report(struct gateway_state *state, struct gateway_report *report);

#endif
