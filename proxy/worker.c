/* One thread that does everything. Owns one of each module and calls them in turn:
 *
 *   loop_wait       the only call that blocks
 *   upstream_run    the gateway's answers come in: batches are settled
 *   reads_tick      the gateway's answers to queries are handed on
 *   guard_tick      senders whose password was checked go on or are refused
 *   server_run      replies leave, requests come in, are decoded and join the open batch
 *   batcher_tick    batches are sent
 *   upstream_flush  their first bytes go out
 *
 * Between the last two gateway_probe_tick asks after the gateway, with --ready.gateway. */
#include "worker.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "config/config.h"
#include "config/material.h"
#include "flow/batcher.h"
#include "flow/context.h"
#include "flow/gateway_probe.h"
#include "flow/guard.h"
#include "flow/intake.h"
#include "flow/reads.h"
#include "io/loop.h"
#include "io/password_checker.h"
#include "server/server.h"
#include "upstream/upstream.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of a refused body, so that its sender sees the answer and not a reset. */
#define DRAIN_BYTES_MAX (64U * 1024U * 1024U)

#define CONNECT_TIMEOUT_US (3U * 1000U * 1000U)

/* When all is answered, connections stay open this long: a request that crosses our goodbye on the
 * wire still gets its answer. */
#define QUIET_US (500U * 1000U)

/* After the grace period, for the last replies to leave. */
#define FLUSH_US (1000U * 1000U)

#define TLS_RETRY_US (1000U * 1000U)

struct worker {
    struct worker_settings settings;
    struct flow_context context;
    struct loop *loop;
    struct server *server;
    struct upstream *upstream;
    struct batcher *batcher;
    struct intake *intake;
    struct reads *reads;
    struct admin *admin;
    struct gateway_probe *probe;
    struct password_checker *checker;
    struct guard *guard;
    struct server_header *reply_headers; /* in use; point into material */
    struct material *material;           /* in use */
    struct material *served;             /* whose TLS settings the server has */
    uint64_t tls_due_us; /* to try material's again; LOOP_NEVER: the server has them */
    _Atomic(struct material *) material_next; /* to be used from the next turn on; NULL: none */
    pthread_t thread;
    atomic_bool stop;
    atomic_bool ended;
};

/* -- Making ----------------------------------------------------------------------------------- */

/* Enough for what may be in flight at once, unless fewer are asked for. */
static size_t idle_connections(const struct config *config, const struct material *material)
{
    uint64_t wanted = config->gateway_max_inflight + config->reads_max_inflight;
    const uint64_t limits[] = {material->gateway->max_idle_conns_per_host,
                               material->gateway->max_idle_conns};
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        wanted = limits[i] > 0 && limits[i] < wanted ? limits[i] : wanted;
    }
    return (size_t)wanted;
}

static struct upstream *make_upstream(struct worker *worker)
{
    const struct config *config = worker->settings.config;
    const char *prefix = config->tenant_path_prefix ? "/" : "";
    const char *tenant = config->tenant_path_prefix ? config->tenant : "";
    char *url = NULL;
    char *tenant_header = NULL;
    char *user_agent = NULL;
    struct upstream *upstream = NULL;
    if (asprintf(&url, "%s%s%s%s", config->gateway_address.text, prefix, tenant,
                 config->gateway_write_path) >= 0 &&
        asprintf(&tenant_header, "%s: %s", config->tenant_header, config->tenant) >= 0 &&
        asprintf(&user_agent, "User-Agent: agent-proxy/%s", worker->settings.shared->version) >=
            0) {
        const char *const headers[] = {tenant_header,
                                       user_agent,
                                       "Content-Type: application/x-protobuf",
                                       "Content-Encoding: snappy",
                                       "X-Prometheus-Remote-Write-Version: 0.1.0",
                                       "Accept:",
                                       "Expect:", /* else bodies over 1 MiB wait for a 100 */
                                       NULL};
        upstream = upstream_new(
            &(struct upstream_settings){
                .log = worker->settings.log,
                .write_url = url,
                .write_headers = headers,
                .metrics = worker->settings.metrics,
                .connection_age_us = config->gateway_max_connection_age_us,
                .read_url = config->gateway_read_address.text,
                .connect_timeout_us = CONNECT_TIMEOUT_US,
                .write_timeout_us = config->gateway_timeout_us,
                .connections_idle_max = idle_connections(config, worker->material),
                .connections_max = (size_t)worker->material->gateway->max_conns_per_host},
            worker->loop);
    }
    free(url);
    free(tenant_header);
    free(user_agent);
    return upstream;
}

static void use_identity(struct worker *worker)
{
    const struct material_gateway *gateway = worker->material->gateway;
    upstream_set_identity(
        worker->upstream,
        &(struct upstream_identity){.authorization = gateway->authorization,
                                    .idle_timeout_us = gateway->idle_conn_timeout_us,
                                    .ca_pem = gateway->ca_pem,
                                    .cert_pem = gateway->client_cert_pem,
                                    .key_pem = gateway->client_key_pem,
                                    .server_name = gateway->server_name,
                                    .proxy_url = gateway->proxy_url,
                                    .tls_1_3_only = gateway->min_version == MATERIAL_TLS_1_3,
                                    .insecure_skip_verify = gateway->insecure_skip_verify});
}

static struct server_tls tls_of(const struct material_listener *listener)
{
    static const enum server_client_auth auth[] = {
        [MATERIAL_CLIENT_AUTH_NONE] = SERVER_CLIENT_AUTH_NONE,
        [MATERIAL_CLIENT_AUTH_REQUEST] = SERVER_CLIENT_AUTH_REQUEST,
        [MATERIAL_CLIENT_AUTH_REQUIRE] = SERVER_CLIENT_AUTH_REQUIRE,
        [MATERIAL_CLIENT_AUTH_VERIFY] = SERVER_CLIENT_AUTH_VERIFY};

    return (struct server_tls){.cert_pem = listener->cert_pem,
                               .key_pem = listener->key_pem,
                               .client_ca_pem = listener->client_ca_pem,
                               .priorities = listener->priorities,
                               .client_auth = auth[listener->client_auth]};
}

/* The users and headers of the listener. */
static void use_listener(struct worker *worker)
{
    const struct material_listener *listener = worker->material->listener;
    struct server_header *headers = alloc_zero(listener->header_count + 1, sizeof(*headers));
    for (size_t i = 0; i < listener->header_count; i++) {
        headers[i] = (struct server_header){listener->headers[i].name, listener->headers[i].value};
    }
    server_set_headers(worker->server, headers);
    free(worker->reply_headers);
    worker->reply_headers = headers;
    guard_set_users(worker->guard, listener->users, listener->user_count);
}

static struct server *make_server(struct worker *worker)
{
    const struct config *config = worker->settings.config;
    const struct server_handler *admin = admin_handler(worker->admin);
    struct server_settings settings = {
        .handlers = {[ROUTE_WRITE] = intake_handler(worker->intake),
                     [ROUTE_METRICS] = admin,
                     [ROUTE_HEALTHY] = admin,
                     [ROUTE_READY] = admin,
                     [ROUTE_STATUS] = config->web_disable ? NULL : admin,
                     [ROUTE_STATUS_JSON] = config->web_disable ? NULL : admin},
        .on_refused = admin_on_refused,
        .owner = worker->admin,
        .gate = guard_gate(worker->guard),
        .log = worker->settings.log,
        .metrics = worker->settings.metrics,
        .handoff = worker->settings.handoff,
        .worker_number = worker->settings.number,
        .connections_max = (size_t)config->limits_connections,
        .connections_per_address_max = (size_t)config->limits_connections_per_address,
        .drain_bytes_max = DRAIN_BYTES_MAX,
    };
    for (int id = ROUTE_READ_QUERY; id <= ROUTE_OTLP; id++) {
        settings.handlers[id] = reads_handler(worker->reads);
    }
    int listen_fd = worker->settings.listen_fd;
    worker->settings.listen_fd = -1;
    const struct material_listener *listener = worker->material->listener;
    struct server_tls tls = tls_of(listener);
    return server_new(&settings, listener->tls ? &tls : NULL, worker->loop, listen_fd);
}

static bool make(struct worker *worker)
{
    return (worker->loop = loop_new()) != NULL &&
           (worker->upstream = make_upstream(worker)) != NULL &&
           (worker->batcher = batcher_new(&worker->context, worker->upstream)) != NULL &&
           (worker->intake = intake_new(&worker->context, worker->batcher)) != NULL &&
           (worker->probe = gateway_probe_new(&worker->context, worker->upstream)) != NULL &&
           (worker->reads = reads_new(&worker->context, worker->upstream)) != NULL &&
           (worker->admin = admin_new(&worker->context, worker->settings.shared)) != NULL &&
           (worker->checker = password_checker_new(worker->loop)) != NULL &&
           (worker->guard = guard_new(&worker->context, worker->checker)) != NULL &&
           (worker->server = make_server(worker)) != NULL;
}

struct worker *worker_new(const struct worker_settings *settings)
{
    struct worker *worker = calloc(1, sizeof(*worker));
    if (worker == NULL) {
        log_error(settings->log, "cannot make a worker", log_str("error", strerror(ENOMEM)));
        if (settings->listen_fd >= 0) {
            close(settings->listen_fd);
        }
        return NULL;
    }
    worker->settings = *settings;
    worker->context = (struct flow_context){.config = settings->config,
                                            .log = settings->log,
                                            .budget = settings->budget,
                                            .large_bodies = settings->large_bodies,
                                            .metrics = settings->metrics,
                                            .gateway_seen_us = &settings->shared->gateway_seen_us,
                                            .gateway = &settings->shared->gateway};
    worker->material = material_hold(settings->material);
    worker->served = material_hold(settings->material);
    worker->tls_due_us = LOOP_NEVER;
    if (!make(worker)) {
        log_error(settings->log, "cannot make a worker", log_str("error", strerror(errno)));
        worker_free(worker);
        return NULL;
    }
    use_identity(worker);
    use_listener(worker);
    return worker;
}

void worker_free(struct worker *worker)
{
    if (worker == NULL) {
        return;
    }
    /* The server first: its last exchanges still tell intake and guard of their end. */
    server_free(worker->server);
    guard_free(worker->guard);
    password_checker_free(worker->checker);
    free(worker->reply_headers);
    admin_free(worker->admin);
    reads_free(worker->reads);
    intake_free(worker->intake);
    gateway_probe_free(worker->probe);
    batcher_free(worker->batcher);
    upstream_free(worker->upstream);
    loop_free(worker->loop);
    if (worker->settings.listen_fd >= 0) {
        close(worker->settings.listen_fd); /* it did not come to a server */
    }
    material_release(worker->material);
    material_release(worker->served);
    material_release(atomic_load(&worker->material_next));
    free(worker);
}

/* -- Running ---------------------------------------------------------------------------------- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static bool same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool same_tls(const struct server_tls *a, const struct server_tls *b)
{
    return same_text(a->cert_pem, b->cert_pem) && same_text(a->key_pem, b->key_pem) &&
           same_text(a->client_ca_pem, b->client_ca_pem) &&
           same_text(a->priorities, b->priorities) && a->client_auth == b->client_auth;
}

/* A server without TLS stays without it. Senders need not connect again for a new token. */
static bool tls_is_outdated(const struct worker *worker)
{
    const struct material_listener *wanted = worker->material->listener;
    const struct material_listener *served = worker->served->listener;
    struct server_tls tls = tls_of(wanted);
    struct server_tls tls_served = tls_of(served);
    return wanted->tls && served->tls && !same_tls(&tls, &tls_served);
}

static int serve_tls(struct worker *worker)
{
    struct server_tls tls = tls_of(worker->material->listener);
    int status = server_set_tls(worker->server, &tls);
    if (status == 0) {
        material_release(worker->served);
        worker->served = material_hold(worker->material);
    }
    return status;
}

/* It fails where no descriptor is left, and there may be one a moment later. It is said once, not
 * with each try. */
static void use_tls(struct worker *worker)
{
    struct admin_shared *shared = worker->settings.shared;
    bool failed_before = worker->tls_due_us != LOOP_NEVER;
    int status = tls_is_outdated(worker) ? serve_tls(worker) : 0;
    worker->tls_due_us = status != 0 ? clock_now_us() + TLS_RETRY_US : LOOP_NEVER;
    if (status != 0 && !failed_before) {
        atomic_fetch_add(&shared->outdated, 1);
        log_error(worker->settings.log, "cannot use the new certificate and key, will try again",
                  log_str("error", strerror(-status)));
    } else if (status == 0 && failed_before) {
        atomic_fetch_sub(&shared->outdated, 1);
        log_info(worker->settings.log, "the certificate and key that were read last are in use");
    }
}

/* Between two turns nobody looks at the old ones. */
static void take_next_material(struct worker *worker)
{
    if (atomic_load_explicit(&worker->material_next, memory_order_relaxed) == NULL) {
        return;
    }
    struct material *old = worker->material;
    worker->material = atomic_exchange(&worker->material_next, NULL);
    use_identity(worker);
    use_listener(worker);
    use_tls(worker);
    material_release(old);
}

static void turn(struct worker *worker, uint64_t until_us)
{
    uint64_t deadline_us = earlier(until_us, upstream_deadline_us(worker->upstream));
    deadline_us = earlier(deadline_us, server_deadline_us(worker->server));
    deadline_us = earlier(deadline_us, batcher_deadline_us(worker->batcher));
    deadline_us = earlier(deadline_us, reads_deadline_us(worker->reads));
    deadline_us = earlier(deadline_us, gateway_probe_deadline_us(worker->probe));
    deadline_us = earlier(deadline_us, worker->tls_due_us);
    bool busy = loop_wait(worker->loop, deadline_us);
    take_next_material(worker);
    if (worker->tls_due_us != LOOP_NEVER && clock_now_us() >= worker->tls_due_us) {
        use_tls(worker);
    }
    upstream_run(worker->upstream);
    reads_tick(worker->reads);
    guard_tick(worker->guard);
    server_run(worker->server);
    batcher_tick(worker->batcher, busy);
    gateway_probe_tick(worker->probe);
    upstream_flush(worker->upstream);
}

static bool settled(const struct worker *worker)
{
    return batcher_idle(worker->batcher) && server_active(worker->server) == 0;
}

/* Settle what is in flight, then stay a moment for what crosses our goodbye on the wire. */
static void wind_down(struct worker *worker)
{
    uint64_t grace_us = clock_now_us() + worker->settings.config->http_grace_period_us;
    uint64_t quiet_us = earlier(clock_now_us() + QUIET_US, grace_us);
    while (clock_now_us() < grace_us) {
        if (settled(worker)) {
            if (server_connections(worker->server) == 0 || clock_now_us() >= quiet_us) {
                return;
            }
            turn(worker, quiet_us);
        } else {
            turn(worker, grace_us);
            quiet_us = earlier(clock_now_us() + QUIET_US, grace_us);
        }
    }
    log_warn(worker->settings.log, "grace period is over, all that waits is told to try again",
             log_u64("active", server_active(worker->server)));
    batcher_cancel(worker->batcher);
    reads_cancel(worker->reads);
    uint64_t flush_us = clock_now_us() + FLUSH_US;
    while (!settled(worker) && clock_now_us() < flush_us) {
        turn(worker, flush_us);
    }
}

static void *run(void *arg)
{
    struct worker *worker = arg;
    while (!atomic_load_explicit(&worker->stop, memory_order_relaxed)) {
        turn(worker, LOOP_NEVER);
    }
    server_stop_accepting(worker->server);
    wind_down(worker);
    /* Not with the last of the workers: who is still connected to this one hears of its end now. */
    server_free(worker->server);
    worker->server = NULL;
    atomic_store(&worker->ended, true);
    loop_wake(worker->settings.main_loop);
    return NULL;
}

int worker_start(struct worker *worker)
{
    int error = pthread_create(&worker->thread, NULL, run, worker);
    if (error != 0) {
        return -error;
    }
    char name[16]; /* the most that there is; for `top -H` */
    (void)snprintf(name, sizeof(name), "worker-%zu", worker->settings.number);
    (void)pthread_setname_np(worker->thread, name);
    atomic_fetch_add(&worker->settings.shared->serving, 1);
    return 0;
}

void worker_set_material(struct worker *worker, struct material *material)
{
    material_release(atomic_exchange(&worker->material_next, material_hold(material)));
    loop_wake(worker->loop);
}

void worker_stop(struct worker *worker)
{
    atomic_store(&worker->stop, true);
    loop_wake(worker->loop);
}

bool worker_ended(const struct worker *worker)
{
    return atomic_load(&worker->ended);
}

void worker_join(struct worker *worker)
{
    (void)pthread_join(worker->thread, NULL);
}
