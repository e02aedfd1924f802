/* The program: settings, the listener, workers, signals. Owns what the workers share. */
#include "base/budget.h"
#include "base/cgroup.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/log_recent.h"
#include "base/metrics.h"
#include "config/bounds.h"
#include "config/config.h"
#include "config/material.h"
#include "flow/admin.h"
#include "flow/status.h"
#include "io/handoff.h"
#include "io/listener.h"
#include "io/loop.h"
#include "io/signals.h"
#include "reload.h"
#include "upstream/upstream.h"
#include "worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define WORKERS_MAX          64
#define MEMORY_DEFAULT_BYTES (64U * 1024U * 1024U)

enum exit_code { EXIT_CODE_OK = 0, EXIT_CODE_FAILED = 1, EXIT_CODE_USAGE = 2 };

/* For a container of 150m CPU and 300 MiB: one arena, freed pages go back within a second, and no
 * background thread. Kept at hand are blocks of up to the HTTP client's receive buffer, which it
 * takes and gives back for each call. Read by jemalloc at its start; other allocators do not know
 * the name. */
extern const char *malloc_conf;
const char *malloc_conf =
    "narenas:1,tcache_max:81920,dirty_decay_ms:1000,muzzy_decay_ms:0,abort_conf:true";

/* Owner: main, on its stack; outlives the workers. */
struct program {
    struct config config;
    struct log log;
    struct log_sink log_sink; /* of the log: standard error */
    struct log_recent recent; /* of the log, for the status page */
    struct status *status;    /* NULL: disabled */
    struct cgroup_limits limits;
    struct budget budget;
    struct budget large_bodies; /* of it: what large ones on their way in may hold */
    struct admin_shared shared;
    struct metrics *metrics[WORKERS_MAX];
    struct worker *workers[WORKERS_MAX];
    struct material *material; /* as read at start */
    struct loop *loop;         /* main's own: signals and files */
    struct reload *reload;     /* on that loop */
    struct signals *signals;   /* as well */
    struct handoff *handoff;   /* NULL: one worker */
    int listen_fd;             /* until the first worker has it; -1: none */
    char address[LISTENER_ADDRESS_BYTES];
    size_t count;
};

/* The soft limit of descriptors is often far below what the hard one allows. Returns how many there
 * are. */
static uint64_t raise_descriptors(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return UINT64_MAX;
    }
    if (limit.rlim_cur < limit.rlim_max) {
        struct rlimit raised = {.rlim_cur = limit.rlim_max, .rlim_max = limit.rlim_max};
        limit = setrlimit(RLIMIT_NOFILE, &raised) == 0 ? raised : limit;
    }
    return limit.rlim_cur;
}

/* Senders may take no descriptor that the gateway is reached with. */
static void limit_connections(struct program *program)
{
    uint64_t descriptors = raise_descriptors();
    uint64_t connections = bounds_connections(&program->config, program->count, descriptors);
    if (connections < program->config.limits_connections) {
        log_warn(&program->log, "too few descriptors for --limits.connections, fewer are taken",
                 log_u64("descriptors", descriptors), log_u64("connections", connections));
        program->config.limits_connections = connections;
    }
}

/* What can never fit is refused for good: told to come again, its sender would do so for ever and
 * hold up all that it has behind it. */
static void limit_bodies(struct program *program)
{
    uint64_t budget_bytes = program->budget.limit;
    if (budget_bytes < program->config.limits_body_bytes) {
        log_info(&program->log, "bodies are limited to the memory budget",
                 log_u64("memory_budget_bytes", budget_bytes));
        program->config.limits_body_bytes = budget_bytes;
    }
}

/* They may hold half of the budget, so that usual ones have the rest; but each must fit. */
static void limit_large_bodies(struct program *program)
{
    uint64_t half_bytes = program->budget.limit / 2;
    uint64_t body_bytes = program->config.limits_body_bytes;
    budget_init(&program->large_bodies,
                (size_t)(half_bytes > body_bytes ? half_bytes : body_bytes));
}

static void size_up(struct program *program)
{
    const struct config *config = &program->config;
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    program->limits = cgroup_read("");
    program->count = config->workers != 0
                         ? (size_t)config->workers
                         : cgroup_workers(&program->limits, online > 0 ? (unsigned)online : 1);
    if (program->count > WORKERS_MAX) {
        program->count = WORKERS_MAX;
    }
    limit_connections(program);
    size_t memory_bytes = (size_t)config->limits_memory_bytes;
    if (memory_bytes == 0) {
        memory_bytes = program->limits.memory_bytes > 0 ? (size_t)program->limits.memory_bytes / 4
                                                        : MEMORY_DEFAULT_BYTES;
    }
    budget_init(&program->budget, memory_bytes);
    limit_bodies(program);
    limit_large_bodies(program);
    program->shared = (struct admin_shared){.version = AGENT_PROXY_VERSION,
                                            .revision = AGENT_PROXY_REVISION,
                                            .metrics = program->metrics,
                                            .workers = program->count,
                                            .cpu_quota_millis = program->limits.cpu_millis,
                                            .memory_limit_bytes = program->limits.memory_bytes};
    program->shared.memory_ceiling_bytes = bounds_memory(config, program->count, memory_bytes);
    gateway_state_init(&program->shared.gateway);
}

static int open_listener(struct program *program)
{
    const struct config *config = &program->config;
    int fd = listener_open(config->http_host, config->http_port, program->address);
    if (fd < 0) {
        log_error(&program->log, "cannot listen: see --http-address",
                  log_str("host", config->http_host), log_u64("port", config->http_port),
                  log_str("error", strerror(-fd)));
        return EXIT_CODE_FAILED;
    }
    program->listen_fd = fd;
    return EXIT_CODE_OK;
}

/* By which the first worker, which accepts, shares connections with the others. */
static int make_handoff(struct program *program)
{
    const struct config *config = &program->config;
    if (program->count == 1) {
        return EXIT_CODE_OK;
    }
    struct handoff_limits limits = {
        .fill = (size_t)config->workers_fill,
        .max = (size_t)config->limits_connections,
        .per_address = (size_t)config->limits_connections_per_address,
    };
    program->handoff = handoff_new(program->count, limits);
    if (program->handoff == NULL) {
        log_error(&program->log, "out of memory");
        return EXIT_CODE_FAILED;
    }
    return EXIT_CODE_OK;
}

static int make_workers(struct program *program)
{
    for (size_t i = 0; i < program->count; i++) {
        int listen_fd = program->listen_fd;
        program->metrics[i] = calloc(1, sizeof(*program->metrics[i]));
        if (program->metrics[i] == NULL) {
            log_error(&program->log, "out of memory");
            return EXIT_CODE_FAILED;
        }
        program->listen_fd = -1;
        program->workers[i] = worker_new(&(struct worker_settings){
            .config = &program->config,
            .log = &program->log,
            .budget = &program->budget,
            .large_bodies = &program->large_bodies,
            .metrics = program->metrics[i],
            .shared = &program->shared,
            .material = program->material,
            .main_loop = program->loop,
            .listen_fd = listen_fd,
            .handoff = program->handoff,
            .number = i,
        });
        if (program->workers[i] == NULL) {
            return EXIT_CODE_FAILED;
        }
    }
    return EXIT_CODE_OK;
}

static int watch_files(struct program *program)
{
    program->reload = reload_new(&program->config, &program->log, program->material,
                                 program->workers, program->count, &program->shared, program->loop);
    if (program->reload == NULL) {
        log_error(&program->log, "out of memory");
        return EXIT_CODE_FAILED;
    }
    return EXIT_CODE_OK;
}

/* The first count, which have no thread. */
static void free_workers(struct program *program, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        worker_free(program->workers[i]);
        program->workers[i] = NULL;
    }
}

/* What stays open is open before one of them runs, and so before senders come for descriptors.
 * The first, which accepts, is the last to run: whoever is given a connection is there to serve it,
 * and each gets its part of those that wait already. */
static int start_workers(struct program *program)
{
    if (make_handoff(program) != EXIT_CODE_OK || make_workers(program) != EXIT_CODE_OK ||
        watch_files(program) != EXIT_CODE_OK) {
        free_workers(program, program->count);
        return EXIT_CODE_FAILED;
    }
    for (size_t i = program->count; i-- > 0;) {
        int status = worker_start(program->workers[i]);
        if (status != 0) {
            log_error(&program->log, "cannot start a thread", log_str("error", strerror(-status)));
            free_workers(program, i + 1);
            return EXIT_CODE_FAILED;
        }
    }
    return EXIT_CODE_OK;
}

static void log_start(const struct program *program)
{
    const struct config *config = &program->config;
    uint64_t ceiling_bytes = program->shared.memory_ceiling_bytes;
    log_info(&program->log, "agent-proxy started", log_str("version", AGENT_PROXY_VERSION),
             log_str("revision", AGENT_PROXY_REVISION), log_str("address", program->address),
             log_str("gateway", config->gateway_address.text), log_str("tenant", config->tenant),
             log_u64("workers", program->count),
             log_u64("cpu_quota_millis", program->limits.cpu_millis),
             log_u64("memory_limit_bytes", program->limits.memory_bytes),
             log_u64("memory_budget_bytes", program->budget.limit),
             log_u64("memory_ceiling_bytes", ceiling_bytes));
    if (program->limits.memory_bytes > 0 && ceiling_bytes > program->limits.memory_bytes) {
        log_warn(&program->log, "settings allow more memory than the container has",
                 log_u64("memory_ceiling_bytes", ceiling_bytes),
                 log_u64("memory_limit_bytes", program->limits.memory_bytes));
    }
}

/* -- Signals ---------------------------------------------------------------------------------- */

static int take_signals(struct program *program)
{
    program->loop = loop_new();
    program->signals = program->loop != NULL ? signals_new(program->loop) : NULL;
    if (program->signals == NULL) {
        log_error(&program->log, "cannot take signals", log_str("error", strerror(errno)));
        return EXIT_CODE_FAILED;
    }
    return EXIT_CODE_OK;
}

/* A second signal while the first is honoured ends the program at once. */
static void end_if_signalled_again(struct program *program)
{
    int number;
    while ((number = signals_take(program->signals)) != 0) {
        if (number != SIGHUP) {
            log_warn(&program->log, "ending at once", log_str("signal", strsignal(number)));
            _exit(128 + number);
        }
    }
}

static void wait_until(struct program *program, uint64_t deadline_us)
{
    while (clock_now_us() < deadline_us) {
        loop_wait(program->loop, deadline_us);
        end_if_signalled_again(program);
    }
}

static uint64_t deadline_us(const struct program *program)
{
    uint64_t reload_us = reload_deadline_us(program->reload);
    uint64_t status_us = program->status != NULL ? status_deadline_us(program->status) : LOOP_NEVER;
    return reload_us < status_us ? reload_us : status_us;
}

/* Serve until a signal says to stop; files that change and SIGHUP are honoured meanwhile. */
static void run_until_signal(struct program *program)
{
    int number = 0;
    while (number == 0 || number == SIGHUP) {
        loop_wait(program->loop, signals_wait(program->signals) ? 0 : deadline_us(program));
        number = signals_take(program->signals);
        if (number == SIGHUP) {
            reload_ask(program->reload, "SIGHUP");
        }
        reload_tick(program->reload);
        if (program->status != NULL) {
            status_tick(program->status);
        }
    }
    log_info(&program->log, "stopping: settling what is in flight",
             log_str("signal", strsignal(number)));
    atomic_store(&program->shared.stopping, true); /* not ready any more, and still serving */
    wait_until(program, clock_now_us() + program->config.shutdown_delay_us);
}

/* -- Stopping --------------------------------------------------------------------------------- */

static bool all_ended(const struct program *program)
{
    for (size_t i = 0; i < program->count; i++) {
        if (program->workers[i] != NULL && !worker_ended(program->workers[i])) {
            return false;
        }
    }
    return true;
}

static void stop_workers(struct program *program)
{
    for (size_t i = 0; i < program->count; i++) {
        if (program->workers[i] != NULL) {
            worker_stop(program->workers[i]);
        }
    }
    while (!all_ended(program)) {
        loop_wait(program->loop, LOOP_NEVER); /* a worker that ends wakes us */
        end_if_signalled_again(program);
    }
    for (size_t i = 0; i < program->count; i++) {
        if (program->workers[i] != NULL) {
            worker_join(program->workers[i]);
        }
    }
    free_workers(program, program->count);
    handoff_free(program->handoff);
    for (size_t i = 0; i < program->count; i++) {
        free(program->metrics[i]);
    }
}

/* Whatever there is to show is kept from the start. */
static int prepare_status(struct program *program)
{
    if (program->config.web_disable) {
        return EXIT_CODE_OK;
    }
    log_recent_init(&program->recent);
    program->log.recent = &program->recent;
    program->status = status_new(&(struct status_settings){.config = &program->config,
                                                           .budget = &program->budget,
                                                           .shared = &program->shared,
                                                           .recent = &program->recent});
    program->shared.status = program->status;
    if (program->status == NULL) {
        log_error(&program->log, "out of memory");
        return EXIT_CODE_FAILED;
    }
    return EXIT_CODE_OK;
}

static void free_program(struct program *program)
{
    reload_free(program->reload);
    signals_free(program->signals);
    loop_free(program->loop);
    if (program->listen_fd >= 0) {
        close(program->listen_fd);
    }
    status_free(program->status);
    if (program->log.recent != NULL) {
        program->log.recent = NULL;
        log_recent_deinit(&program->recent);
    }
    if (program->count > 0) {
        gateway_state_deinit(&program->shared.gateway);
    }
    material_release(program->material);
    config_deinit(&program->config);
    log_sink_deinit(&program->log_sink);
}

static int serve(struct program *program)
{
    size_up(program);
    int code = prepare_status(program);
    if (code != EXIT_CODE_OK) {
        return code;
    }
    code = take_signals(program);
    if (code != EXIT_CODE_OK) {
        return code;
    }
    code = open_listener(program);
    if (code != EXIT_CODE_OK) {
        return code;
    }
    if (upstream_library_init() != 0) {
        log_error(&program->log, "cannot start the http client library");
        return EXIT_CODE_FAILED;
    }
    code = start_workers(program);
    if (code == EXIT_CODE_OK) {
        log_start(program);
        run_until_signal(program);
    }
    stop_workers(program);
    upstream_library_deinit();
    if (code == EXIT_CODE_OK) {
        log_info(&program->log, "stopped");
    }
    return code;
}

/* Exit code 0 when url answers 2xx. */
static int probe(const char *url)
{
    char error[256];
    unsigned status = upstream_probe(url, error, sizeof(error));
    if (status >= 200 && status < 300) {
        return EXIT_CODE_OK;
    }
    if (status == 0) {
        (void)fprintf(stderr, "agent-proxy: --probe: %s: %s\n", url, error);
    } else {
        (void)fprintf(stderr, "agent-proxy: --probe: %s: status %u\n", url, status);
    }
    return EXIT_CODE_FAILED;
}

int main(int argc, char **argv)
{
    struct program program = {.listen_fd = -1};
    char error[CONFIG_ERROR_BYTES];
    signals_hold();
    switch (config_parse(argc, argv, &program.config, error)) {
    case CONFIG_HELP:
        config_print_help(STDOUT_FILENO);
        return EXIT_CODE_OK;
    case CONFIG_VERSION:
        (void)printf("agent-proxy %s (%s)\n", AGENT_PROXY_VERSION, AGENT_PROXY_REVISION);
        return EXIT_CODE_OK;
    case CONFIG_ERROR:
        (void)fprintf(stderr, "agent-proxy: %s\n", error);
        return EXIT_CODE_USAGE;
    case CONFIG_RUN:
        break;
    }
    int code = EXIT_CODE_USAGE;
    log_sink_init(&program.log_sink, STDERR_FILENO);
    program.log.sink = &program.log_sink;
    program.log.level = program.config.log_level;
    program.log.format = program.config.log_format;
    if (program.config.probe != NULL) {
        signals_let_go();
        code = probe(program.config.probe);
    } else if ((program.material = material_load(&program.config, error)) == NULL) {
        (void)fprintf(stderr, "agent-proxy: %s\n", error);
    } else if (program.config.config_check) {
        config_print(&program.config, STDOUT_FILENO);
        code = EXIT_CODE_OK;
    } else {
        code = serve(&program);
    }
    free_program(&program);
    return code;
}
