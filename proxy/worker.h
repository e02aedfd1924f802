/* One thread that does everything: a loop, a server, an upstream, a batcher, and their numbers.
 * Workers share nothing that is written on the data path. */
#ifndef AGENT_PROXY_WORKER_H
#define AGENT_PROXY_WORKER_H

#include "flow/admin.h"

#include <stdbool.h>
#include <stdint.h>

struct budget;
struct config;
struct handoff;
struct log;
struct loop;
struct material;
struct metrics;
struct worker;

/* What a worker is made of. Owner: main; all but metrics is shared by the workers. */
struct worker_settings {
    const struct config *config;
    const struct log *log;
    struct budget *budget;
    struct budget *large_bodies; /* see flow_context */
    struct metrics *metrics;
    struct admin_shared *shared;
    struct material *material; /* held by the worker, not consumed */
    struct loop *main_loop;    /* woken when the worker's thread ends */
    int listen_fd;             /* consumed by worker_new(); -1: another worker accepts for it */
    struct handoff *handoff;   /* NULL: there is no other */
    size_t number;             /* of the worker there */
};

/* Errors: NULL; the reason is logged. */
__attribute__((warn_unused_result)) struct worker *
worker_new(const struct worker_settings *settings);

/* Start its thread. Errors: -errno. */
__attribute__((warn_unused_result)) int worker_start(struct worker *worker);

/* Use other certificates and credentials from now on: material is held until its next. May be
 * called by any thread. */
void worker_set_material(struct worker *worker, struct material *material);

/* Ask it to stop: no new connections; what is in flight is settled until the grace period of the
 * configuration is over. May be called by any thread, and again. */
void worker_stop(struct worker *worker);

/* Its thread has nothing more to do. main's loop is woken when that comes true. */
bool worker_ended(const struct worker *worker);

/* Wait for its thread to end. */
void worker_join(struct worker *worker);

void worker_free(struct worker *worker);

#endif
