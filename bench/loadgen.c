/* A remote-write load generator: reads the options, runs the senders, prints what they saw as one
 * JSON object, after a line "warm" where a warm-up is asked for. Exit code: 0 when every request
 * was answered 2xx in the end, 1 when not, 2 when it cannot run. */
#include "bench/args.h"
#include "bench/body_template.h"
#include "bench/bytes.h"
#include "bench/load.h"
#include "bench/samples.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* Options whose form differs from that of the settings. */
struct raw_options {
    const char *url;
    const char *shape;
    const char *ack_log;
    double seconds;
    double warm_up_s;
    double deadline_s;
    uint64_t timeout_ms;
    uint64_t retry_wait_ms_max;
};

static void check_settings(const struct load_settings *settings, const struct raw_options *raw)
{
    if (strcmp(raw->shape, "kubernetes") != 0) {
        args_fail("--shape: only \"kubernetes\" is known");
    }
    if (settings->bodies.senders == 0 ||
        settings->bodies.senders + settings->bodies.sender_base > SENDERS_MAX) {
        args_fail("--connections and --sender-base: 1 to %d senders", SENDERS_MAX);
    }
    if (settings->requests == 0 && settings->duration_us == 0) {
        args_fail("--requests=N or --seconds=S is needed");
    }
    if (settings->warm_up_us > 0 && settings->duration_us == 0) {
        args_fail("--warm-up needs --seconds");
    }
    if (settings->bodies.series == 0 || settings->bodies.series > 1000000) {
        args_fail("--series: 1 to 1000000");
    }
    if (settings->bodies.unique && settings->bodies.directory != NULL) {
        args_fail("--unique and --bodies exclude each other");
    }
    if (settings->bodies.t0_ms < SAMPLES_TIME_MIN_MS ||
        settings->bodies.t0_ms > SAMPLES_TIME_MAX_MS / 2) {
        args_fail("--t0: milliseconds since 1970, a time of this century");
    }
    if (settings->timeout_us == 0) {
        args_fail("--timeout: at least 1 ms");
    }
}

/* hold: keep the connections after the report until standard input ends. */
static void read_options(int argc, char **argv, struct load_settings *settings, bool *hold)
{
    struct raw_options raw = {
        .shape = "kubernetes", .timeout_ms = 30000, .retry_wait_ms_max = 5000};
    *settings = (struct load_settings){.bodies = {.senders = 1,
                                                  .series = 2000,
                                                  .seed = 1,
                                                  .t0_ms = SAMPLES_T0_MS,
                                                  .step_ms = SAMPLES_STEP_MS},
                                       .ack_fd = -1};
    const struct args_option options[] = {
        {"url", ARGS_TEXT, &raw.url, "where to POST: http://host:port/path"},
        {"connections", ARGS_U64, &settings->bodies.senders, "senders, each with a connection (1)"},
        {"requests", ARGS_U64, &settings->requests, "requests of each sender"},
        {"seconds", ARGS_F64, &raw.seconds, "begin requests for so long"},
        {"warm-up", ARGS_F64, &raw.warm_up_s,
         "[s] load before --seconds, not counted; prints 'warm' at its end (0)"},
        {"hold", ARGS_FLAG, hold, "after the report keep the connections until stdin ends"},
        {"series", ARGS_U64, &settings->bodies.series,
         "series of one sample in each request (2000)"},
        {"rate", ARGS_F64, &settings->rate, "requests/s in all; 0: as fast as answered (0)"},
        {"seed", ARGS_U64, &settings->bodies.seed, "of the labels (1)"},
        {"shape", ARGS_TEXT, &raw.shape, "of the labels: kubernetes"},
        {"bodies", ARGS_TEXT, &settings->bodies.directory,
         "directory of captured bodies to send instead"},
        {"unique", ARGS_FLAG, &settings->bodies.unique,
         "each request of a sender has a time of its own"},
        {"sender-base", ARGS_U64, &settings->bodies.sender_base, "number of the first sender (0)"},
        {"t0", ARGS_I64, &settings->bodies.t0_ms, "[ms] timestamp of a sender's first request"},
        {"step", ARGS_U64, &settings->bodies.step_ms,
         "[ms] from one request's to the next (15000)"},
        {"retry", ARGS_FLAG, &settings->retry, "repeat after 5xx, 429 or no answer"},
        {"retry-max-wait", ARGS_U64, &raw.retry_wait_ms_max, "[ms] ceiling on Retry-After (5000)"},
        {"timeout", ARGS_U64, &raw.timeout_ms, "[ms] for one attempt (30000)"},
        {"deadline", ARGS_F64, &raw.deadline_s, "[s] then give up what is unanswered (none)"},
        {"ack-log", ARGS_TEXT, &raw.ack_log, "append 'sender seq status' of each final answer"},
        {"header", ARGS_LIST, &settings->headers, "\"Name: value\" to add; repeatable"},
    };
    args_parse(argc, argv, options, sizeof options / sizeof options[0]);
    settings->duration_us = (uint64_t)(raw.seconds * 1e6);
    settings->warm_up_us = (uint64_t)(raw.warm_up_s * 1e6);
    settings->deadline_us = (uint64_t)(raw.deadline_s * 1e6);
    settings->timeout_us = raw.timeout_ms * 1000;
    settings->retry_wait_us_max = raw.retry_wait_ms_max * 1000;
    check_settings(settings, &raw);
    args_url("url", raw.url, &settings->url);
    if (raw.ack_log != NULL) {
        settings->ack_fd = open(raw.ack_log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
        if (settings->ack_fd < 0) {
            args_fail("%s: %s", raw.ack_log, strerror(errno));
        }
    }
}

static void print_latencies(struct bytes *out, const struct histogram *latencies)
{
    static const struct {
        const char *name;
        double share;
    } points[] = {{"p50", 0.5}, {"p90", 0.9}, {"p99", 0.99}, {"p99.9", 0.999}};

    bytes_printf(out, ", \"latency_us\": {");
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
        bytes_printf(out, "\"%s\": %llu, ", points[i].name,
                     (unsigned long long)histogram_quantile(latencies, points[i].share));
    }
    uint64_t mean = latencies->count == 0 ? 0 : latencies->sum / latencies->count;
    bytes_printf(out, "\"max\": %llu, \"mean\": %llu}", (unsigned long long)latencies->max,
                 (unsigned long long)mean);
}

static void print_result(const struct tally *tally)
{
    const struct tally_counts *counts = &tally->counts;
    double seconds = (double)tally_duration_us(tally) / 1e6;
    double per_second = seconds > 0 ? 1 / seconds : 0;
    struct bytes out = {0};

    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {
        {"requests", counts->requests},
        {"acknowledged", counts->acknowledged},
        {"refused", counts->refused},
        {"unanswered", counts->unanswered},
        {"attempts", counts->attempts},
        {"connects", counts->connects},
        {"connection_errors", counts->connection_errors},
        {"timeouts", counts->timeouts},
        {"samples_sent", counts->samples_sent},
        {"samples_acknowledged", counts->samples_acknowledged},
        {"bytes_sent", counts->bytes_sent},
    };

    bytes_append(&out, "{", 1);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        bytes_printf(&out, "\"%s\": %llu, ", numbers[i].name, (unsigned long long)numbers[i].value);
    }
    bytes_printf(&out, "\"status\": {");
    const char *comma = "";
    for (unsigned status = 0; status < TALLY_STATUS_END; status++) {
        if (counts->status[status] > 0) {
            bytes_printf(&out, "%s\"%u\": %llu", comma, status,
                         (unsigned long long)counts->status[status]);
            comma = ", ";
        }
    }
    bytes_printf(&out, "}, \"duration_s\": %.6f, \"requests_per_s\": %.1f", seconds,
                 (double)counts->acknowledged * per_second);
    bytes_printf(&out, ", \"samples_per_s\": %.1f",
                 (double)counts->samples_acknowledged * per_second);
    print_latencies(&out, &tally->latencies);
    bytes_printf(&out, ", \"first_refusal\": ");
    bytes_json_string(&out, tally->first_refusal, strlen(tally->first_refusal));
    bytes_append(&out, "}\n", 2);
    (void)fwrite(out.data, 1, out.size, stdout);
    (void)fflush(stdout);
    bytes_free(&out);
}

static void on_signal(struct source *source, uint32_t events)
{
    (void)events;
    struct signalfd_siginfo info;
    if (read(source->fd, &info, sizeof info) == (ssize_t)sizeof info) {
        load_stop(source->context);
    }
}

static void wait_for_end_of_input(void)
{
    char waste[64];
    while (read(STDIN_FILENO, waste, sizeof waste) > 0) {
    }
}

/* Run a load to its end. Tells that it is warm and what it came to, each when it is so. */
static void run(struct load *load, struct poller *poller)
{
    const struct tally *tally = load_tally(load);
    bool told_warm = load_is_warm(load);
    bool told = false;
    while (!told || !load_is_done(load)) {
        bool over = tally->closed || load_is_done(load);
        if (!told_warm && (load_is_warm(load) || over)) {
            told_warm = true;
            (void)puts("warm");
            (void)fflush(stdout);
        }
        if (!told && over) {
            told = true;
            print_result(tally);
        } else {
            poller_turn(poller);
        }
    }
}

int main(int argc, char **argv)
{
    struct load_settings settings;
    bool hold = false;
    read_options(argc, argv, &settings, &hold);
    struct poller poller;
    poller_init(&poller);
    struct load *load = load_new(&settings, &poller);
    struct source signals = {.fd = -1, .on_ready = on_signal, .context = load};
    poller_signals(&poller, &signals);
    load_start(load);
    run(load, &poller);
    if (hold) {
        wait_for_end_of_input();
    }
    int status = load_tally(load)->failed ? 1 : 0;
    load_free(load);
    poller_close(&poller, &signals);
    poller_deinit(&poller);
    return status;
}
