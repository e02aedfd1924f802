/* A gateway stand-in for benchmarks and tests: reads the options, says where it listens, serves
 * until SIGTERM or SIGINT. GET /stats tells what it has seen, GET /stored which requests it
 * holds. */
#include "bench/args.h"
#include "bench/bytes.h"
#include "bench/gateway.h"
#include "bench/samples.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

static void read_options(int argc, char **argv, struct gateway_settings *settings)
{
    const char *listen = "127.0.0.1:0";
    uint64_t delay_ms = 0;
    *settings = (struct gateway_settings){.status = 204,
                                          .error_status = 503,
                                          .poison_sender = -1,
                                          .t0_ms = SAMPLES_T0_MS,
                                          .step_ms = SAMPLES_STEP_MS};
    const struct args_option options[] = {
        {"listen", ARGS_TEXT, &listen, "host:port; port 0: a free one (127.0.0.1:0)"},
        {"delay-ms", ARGS_U64, &delay_ms, "[ms] between a POST's end and its answer (0)"},
        {"status", ARGS_U64, &settings->status, "to answer; other than 2xx stores nothing (204)"},
        {"error-every", ARGS_U64, &settings->error_every, "each Nth POST is refused"},
        {"error-status", ARGS_U64, &settings->error_status, "of those (503)"},
        {"drop-every", ARGS_U64, &settings->drop_every,
         "each Nth POST is stored, then the connection closed without an answer"},
        {"retry-after", ARGS_U64, &settings->retry_after_s, "[s] Retry-After on 429 and 5xx"},
        {"verify", ARGS_FLAG, &settings->verify, "decode, check and remember what comes"},
        {"expect-path", ARGS_TEXT, &settings->expect_path, "other paths are answered 404"},
        {"expect-header", ARGS_LIST, &settings->expect_headers,
         "\"Name: value\"; 403 without it; repeatable"},
        {"poison-sender", ARGS_I64, &settings->poison_sender,
         "a POST with series of this sender is refused as a whole with 400 (needs verify)"},
        {"journal", ARGS_TEXT, &settings->journal,
         "file that survives a kill: 'sender seq' of each request stored"},
        {"state", ARGS_TEXT, &settings->state, "file for the statistics, written at the end"},
        {"t0", ARGS_I64, &settings->t0_ms, "[ms] as the load generator's"},
        {"step", ARGS_U64, &settings->step_ms, "[ms] as the load generator's (15000)"},
    };
    args_parse(argc, argv, options, sizeof options / sizeof options[0]);
    args_address(listen, &settings->address);
    settings->delay_us = delay_ms * 1000;
    if (settings->status < 200 || settings->status > 599 || settings->error_status < 200 ||
        settings->error_status > 599) {
        args_fail("--status and --error-status: 200 to 599");
    }
    if (settings->step_ms == 0) {
        args_fail("--step: at least 1");
    }
}

static void on_signal(struct source *source, uint32_t events)
{
    (void)events;
    struct signalfd_siginfo info;
    if (read(source->fd, &info, sizeof info) == (ssize_t)sizeof info) {
        *(bool *)source->context = true;
    }
}

int main(int argc, char **argv)
{
    struct gateway_settings settings;
    read_options(argc, argv, &settings);
    struct poller poller;
    poller_init(&poller);
    bool stopping = false;
    struct source signals = {.fd = -1, .on_ready = on_signal, .context = &stopping};
    poller_signals(&poller, &signals);
    struct gateway *gateway = gateway_new(&settings, &poller);
    char host[INET_ADDRSTRLEN];
    if (inet_ntop(AF_INET, &settings.address.sin_addr, host, sizeof host) == NULL) {
        bench_die("cannot print the address");
    }
    printf("listening %s:%u\n", host, gateway_port(gateway));
    (void)fflush(stdout);
    while (!stopping) {
        poller_turn(&poller);
        gateway_sweep(gateway);
    }
    gateway_save(gateway);
    gateway_free(gateway);
    poller_close(&poller, &signals);
    poller_deinit(&poller);
    return 0;
}
