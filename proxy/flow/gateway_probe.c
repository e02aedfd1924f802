/* Asks the gateway now and then whether it is there. Any answer will do, an error too: what matters
 * is that somebody answers. */
#include "flow/gateway_probe.h"

#include "base/clock.h"
#include "config/config.h"
#include "flow/context.h"
#include "io/loop.h"
#include "upstream/upstream.h"

#include <stdatomic.h>
#include <stdlib.h>

#define INTERVAL_US (10U * 1000U * 1000U)
#define TIMEOUT_US  (5U * 1000U * 1000U)

struct gateway_probe {
    const struct flow_context *context;
    struct upstream *upstream;
    struct upstream_call *call; /* NULL: none under way */
    uint64_t due_us;            /* the next question, or the end of patience with this one */
};

static void on_header(void *arg, const char *name, size_t name_bytes, const char *value,
                      size_t value_bytes)
{
    (void)arg;
    (void)name;
    (void)name_bytes;
    (void)value;
    (void)value_bytes;
}

static void on_head(void *arg, unsigned status, uint64_t body_bytes)
{
    (void)status;
    (void)body_bytes;
    const struct gateway_probe *probe = arg;
    atomic_store(probe->context->gateway_seen_us, clock_now_us());
}

static bool on_data(void *arg, const uint8_t *data, size_t bytes)
{
    (void)arg;
    (void)data;
    (void)bytes;
    return true;
}

static void on_done(void *arg, const struct outcome *outcome)
{
    (void)outcome;
    struct gateway_probe *probe = arg;
    probe->call = NULL;
    probe->due_us = clock_now_us() + INTERVAL_US;
}

static void ask(struct gateway_probe *probe)
{
    static const char *const no_headers[] = {NULL};
    const char *path = probe->context->config->gateway_read_address.path;
    probe->call = upstream_read(probe->upstream,
                                &(struct upstream_read){.method = ROUTE_METHOD_GET,
                                                        .target = path[0] != '\0' ? path : "/",
                                                        .headers = no_headers,
                                                        .arg = probe,
                                                        .on_header = on_header,
                                                        .on_head = on_head,
                                                        .on_data = on_data,
                                                        .on_done = on_done});
}

void gateway_probe_tick(struct gateway_probe *probe)
{
    uint64_t now_us = clock_now_us();
    if (now_us < probe->due_us) {
        return;
    }
    if (probe->call != NULL) {
        upstream_abort(probe->call);
        probe->call = NULL;
        probe->due_us = now_us + INTERVAL_US - TIMEOUT_US;
        return;
    }
    uint64_t seen_us = atomic_load(probe->context->gateway_seen_us);
    if (seen_us != 0 && now_us < seen_us + INTERVAL_US) { /* by another worker, maybe just now */
        probe->due_us = seen_us + INTERVAL_US;
        return;
    }
    ask(probe);
    probe->due_us = now_us + TIMEOUT_US;
}

uint64_t gateway_probe_deadline_us(const struct gateway_probe *probe)
{
    return probe->due_us;
}

struct gateway_probe *gateway_probe_new(const struct flow_context *context,
                                        struct upstream *upstream)
{
    struct gateway_probe *probe = calloc(1, sizeof(*probe));
    if (probe == NULL) {
        return NULL;
    }
    probe->context = context;
    probe->upstream = upstream;
    probe->due_us = context->config->ready_gateway ? 0 : LOOP_NEVER;
    return probe;
}

void gateway_probe_free(struct gateway_probe *probe)
{
    if (probe != NULL && probe->call != NULL) {
        upstream_abort(probe->call);
    }
    free(probe);
}
