/* A worker's part in sharing out connections among several: what it accepts may be another's to
 * serve, and the other way round. Without a handoff only a look at the load is left of it. */
#include "server/private.h"

#include "base/clock.h"
#include "base/metrics.h"
#include "io/handoff.h"

#include <unistd.h>

#define LOOK_US (1000U * 1000U)

bool sharing_give(struct server *server, int fd, const struct in6_addr *address)
{
    const struct server_settings *settings = &server->settings;
    return settings->handoff != NULL &&
           handoff_give(settings->handoff, settings->worker_number, fd, address);
}

/* As who accepts: what may not come in the same turn comes in the next, or after a pause. */
static void take(struct server *server, uint64_t now_us)
{
    const struct server_settings *settings = &server->settings;
    unsigned reserved = 0;
    server->take_again_us = LOOP_NEVER;
    while (handoff_waits(settings->handoff, settings->worker_number)) {
        if (!connections_may_open(server, reserved)) {
            bool next_turn = connections_may_open(server, 0);
            server->take_again_us = next_turn ? now_us : now_us + CONNECTIONS_PAUSE_US;
            return;
        }
        struct in6_addr address;
        int fd = handoff_take(settings->handoff, settings->worker_number, &address);
        reserved += connection_open(server, fd, &address);
    }
}

static void set_busy(struct server *server, bool busy)
{
    if (server->busy == busy) {
        return;
    }
    server->busy = busy;
    metrics_gauge_add(server->settings.metrics, METRIC_WORKERS_BUSY, busy ? 1 : -1);
    if (server->settings.handoff != NULL) {
        handoff_tell(server->settings.handoff, server->settings.worker_number, busy);
    }
}

/* Whoever uses more than half of a CPU has work enough: what comes now goes to others. */
static void look_at_load(struct server *server, uint64_t now_us)
{
    uint64_t elapsed_us = now_us - server->load_since_us;
    if (elapsed_us < LOOK_US) {
        return;
    }
    uint64_t cpu_us = clock_thread_cpu_us();
    set_busy(server, (cpu_us - server->load_cpu_us) * 2 > elapsed_us);
    server->load_since_us = now_us;
    server->load_cpu_us = cpu_us;
}

void sharing_start(struct server *server)
{
    server->take_again_us = LOOP_NEVER;
    if (server->settings.handoff != NULL) {
        handoff_open(server->settings.handoff, server->settings.worker_number, server->loop);
    }
}

void sharing_tick(struct server *server, uint64_t now_us)
{
    look_at_load(server, now_us);
    if (server->settings.handoff != NULL) {
        take(server, now_us);
    }
}

uint64_t sharing_deadline_us(const struct server *server)
{
    uint64_t look_us = server->busy ? server->load_since_us + LOOK_US : LOOP_NEVER;
    return server->take_again_us < look_us ? server->take_again_us : look_us;
}

void sharing_stop(struct server *server)
{
    if (server->settings.handoff != NULL) {
        handoff_close(server->settings.handoff, server->settings.worker_number);
        take(server, clock_now_us());
    }
}

void sharing_close(struct server *server)
{
    const struct server_settings *settings = &server->settings;
    set_busy(server, false);
    if (settings->handoff == NULL) {
        return;
    }
    handoff_close(settings->handoff, settings->worker_number);
    struct in6_addr address;
    int fd;
    while ((fd = handoff_take(settings->handoff, settings->worker_number, &address)) >= 0) {
        close(fd);
        sharing_count_out(server);
    }
}

void sharing_count_out(const struct server *server)
{
    if (server->settings.handoff != NULL) {
        handoff_count_out(server->settings.handoff, server->settings.worker_number);
    }
}
