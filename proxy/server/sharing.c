/* A worker's part in sharing out connections among several: what it accepts may be another's to
 * serve, and the other way round. Without a handoff there is nothing to do. */
#include "server/private.h"

#include "base/clock.h"
#include "io/handoff.h"

#define LOOK_US (1000U * 1000U)

bool sharing_give(struct server *server, int fd, const struct in6_addr *address)
{
    const struct server_settings *settings = &server->settings;
    return settings->handoff != NULL &&
           handoff_give(settings->handoff, settings->worker, fd, address);
}

static void take(struct server *server, uint64_t now_us)
{
    const struct server_settings *settings = &server->settings;
    unsigned reserved = 0;
    server->take_again_us = LOOP_NEVER;
    while (handoff_waits(settings->handoff, settings->worker)) {
        if (!connections_may_open(server, reserved)) {
            server->take_again_us = now_us + CONNECTIONS_PAUSE_US;
            return;
        }
        struct in6_addr address;
        int fd = handoff_take(settings->handoff, settings->worker, &address);
        reserved += connection_open(server, fd, &address);
    }
}

/* Whoever uses more than half of a CPU has company enough: what comes now goes to others. */
static void tell_load(struct server *server, uint64_t now_us)
{
    uint64_t elapsed_us = now_us - server->load_since_us;
    if (elapsed_us < LOOK_US) {
        return;
    }
    uint64_t cpu_us = clock_thread_cpu_us();
    handoff_tell(server->settings.handoff, server->settings.worker,
                 (cpu_us - server->load_cpu_us) * 2 > elapsed_us);
    server->load_since_us = now_us;
    server->load_cpu_us = cpu_us;
}

void sharing_start(struct server *server)
{
    server->take_again_us = LOOP_NEVER;
    if (server->settings.handoff != NULL) {
        handoff_open(server->settings.handoff, server->settings.worker, server->loop);
    }
}

void sharing_tick(struct server *server, uint64_t now_us)
{
    if (server->settings.handoff != NULL) {
        tell_load(server, now_us);
        take(server, now_us);
    }
}

void sharing_stop(struct server *server)
{
    if (server->settings.handoff != NULL) {
        handoff_close(server->settings.handoff, server->settings.worker);
        take(server, clock_now_us());
    }
}

void sharing_close(struct server *server)
{
    if (server->settings.handoff != NULL) {
        handoff_close(server->settings.handoff, server->settings.worker);
    }
}

void sharing_count_out(const struct server *server)
{
    if (server->settings.handoff != NULL) {
        handoff_count_out(server->settings.handoff, server->settings.worker);
    }
}
