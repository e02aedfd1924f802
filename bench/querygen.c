/* A query load generator: keep-alive connections that each ask one query after the other, take the
 * answer and drop it. Closed loop, or at a rate with latencies counted from when a query was due;
 * as fast as the answer comes, or at a pace. Prints what it saw as one JSON object.
 *
 *   REST --due--> ASKING --whole answer--> REST ... DONE
 *
 * Exit code: 0 when every query was answered 200, 1 when not, 2 for wrong usage. */
#include "bench/args.h"
#include "bench/bytes.h"
#include "bench/histogram.h"
#include "bench/http.h"
#include "bench/poller.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECEIVE_BYTES  (256U * 1024U)
#define PACE_PERIOD_US 20000

struct settings {
    struct args_url url;
    const char *form; /* NULL: a GET */
    uint64_t connections;
    uint64_t duration_us;
    double rate;   /* [queries/s] in all; 0: closed loop */
    uint64_t pace; /* [bytes/s] that each connection takes; 0: all that comes */
};

enum asker_state { ASKER_REST, ASKER_ASKING, ASKER_DONE };

/* One connection. Owner: the queries. */
struct asker {
    struct queries *queries;
    struct source source;
    struct timer timer; /* of the next query, or of the next share of an answer */
    enum asker_state state;
    uint64_t index;
    uint64_t sequence;
    uint64_t due_us;
    uint64_t asked_us;
    uint64_t bytes; /* taken of the answer; at a pace */
    struct http_reader reader;
};

struct queries {
    struct settings settings;
    struct poller poller;
    struct bytes request;
    struct asker *askers;
    uint64_t busy;
    uint64_t start_us;
    uint64_t last_us;
    uint64_t answered;
    uint64_t failed;
    uint64_t bytes; /* of answers, heads included */
    struct histogram latencies;
    char scratch[RECEIVE_BYTES];
};

static void next_query(struct asker *asker);

static void end(struct asker *asker)
{
    poller_close(&asker->queries->poller, &asker->source);
    poller_unset(&asker->queries->poller, &asker->timer);
    asker->state = ASKER_DONE;
    asker->queries->busy--;
}

static void fail(struct asker *asker)
{
    asker->queries->failed++;
    end(asker); /* peers here are well-behaved: a connection that breaks is the result */
}

static void ask(struct asker *asker)
{
    struct queries *queries = asker->queries;
    const struct bytes *request = &queries->request;
    if (queries->settings.rate <= 0) {
        asker->due_us = poller_clock_us();
    }
    asker->state = ASKER_ASKING;
    /* A query is far smaller than a socket's buffer. */
    if (send(asker->source.fd, request->data, request->size, MSG_NOSIGNAL) !=
        (ssize_t)request->size) {
        fail(asker);
    } else if (queries->settings.pace > 0) {
        /* Not all at the same moment: clients do not, and it would be a burst every period. */
        uint64_t turn_us = PACE_PERIOD_US * asker->index / queries->settings.connections;
        asker->asked_us = poller_clock_us();
        asker->bytes = 0;
        poller_set(&queries->poller, &asker->timer, asker->asked_us + PACE_PERIOD_US + turn_us);
    }
}

static void answered(struct asker *asker)
{
    struct queries *queries = asker->queries;
    uint64_t now_us = poller_clock_us();
    if (asker->reader.head.status != 200 || !asker->reader.head.keep_alive) {
        fail(asker);
        return;
    }
    queries->answered++;
    queries->last_us = now_us;
    histogram_add(&queries->latencies, now_us > asker->due_us ? now_us - asker->due_us : 0);
    http_reader_reset(&asker->reader);
    asker->state = ASKER_REST;
    next_query(asker);
}

/* Take up to room bytes. False when the asker has nothing more to take now. */
static bool take(struct asker *asker, size_t room)
{
    struct queries *queries = asker->queries;
    ssize_t got = recv(asker->source.fd, queries->scratch, room, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return false;
    }
    if (got <= 0 || asker->state != ASKER_ASKING) {
        fail(asker);
        return false;
    }
    queries->bytes += (uint64_t)got;
    struct http_span input = {queries->scratch, (size_t)got};
    struct http_span piece;
    for (;;) {
        switch (http_reader_next(&asker->reader, &input, &piece)) {
        case HTTP_MORE:
            return true;
        case HTTP_BAD:
            fail(asker);
            return false;
        case HTTP_DONE:
            answered(asker);
            return false;
        case HTTP_HEAD:
        case HTTP_BODY:
        default:
            break;
        }
    }
}

static void on_ready(struct source *source, uint32_t events)
{
    (void)events;
    struct asker *asker = source->context;
    if (source->fd >= 0) {
        (void)take(asker, RECEIVE_BYTES);
    }
}

static void take_share(struct asker *asker)
{
    struct queries *queries = asker->queries;
    uint64_t now_us = poller_clock_us();
    uint64_t due = queries->settings.pace * (now_us - asker->asked_us) / 1000000;
    uint64_t share = due > asker->bytes ? due - asker->bytes : 0;
    uint64_t before = queries->bytes;
    poller_set(&queries->poller, &asker->timer, now_us + PACE_PERIOD_US);
    if (share > 0) {
        (void)take(asker, share < RECEIVE_BYTES ? (size_t)share : RECEIVE_BYTES);
    }
    asker->bytes += queries->bytes - before;
}

static void on_timer(struct timer *timer)
{
    struct asker *asker = timer->context;
    if (asker->state == ASKER_REST) {
        ask(asker);
    } else if (poller_clock_us() >=
               asker->queries->start_us + asker->queries->settings.duration_us) {
        end(asker); /* a paced answer may be endless */
    } else {
        take_share(asker);
    }
}

static void next_query(struct asker *asker)
{
    struct queries *queries = asker->queries;
    const struct settings *settings = &queries->settings;
    uint64_t now_us = poller_clock_us();
    asker->due_us = now_us;
    if (settings->rate > 0) {
        double query = (double)(asker->sequence * settings->connections + asker->index);
        asker->due_us = queries->start_us + (uint64_t)(query * 1e6 / settings->rate);
    }
    asker->sequence++;
    if (asker->due_us >= queries->start_us + settings->duration_us) {
        end(asker);
    } else if (asker->due_us > now_us) {
        poller_set(&queries->poller, &asker->timer, asker->due_us);
    } else {
        ask(asker);
    }
}

static void connect_asker(struct queries *queries, uint64_t index)
{
    struct asker *asker = &queries->askers[index];
    const struct sockaddr_in *address = &queries->settings.url.address;
    int one = 1;
    asker->queries = queries;
    asker->index = index;
    asker->source = (struct source){.on_ready = on_ready, .context = asker};
    asker->timer = (struct timer){.on_expiry = on_timer, .context = asker};
    asker->source.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    http_reader_init(&asker->reader, HTTP_ANSWER);
    if (asker->source.fd < 0 ||
        setsockopt(asker->source.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0 ||
        connect(asker->source.fd, (const struct sockaddr *)address, sizeof *address) != 0) {
        bench_die("cannot connect to %s: %s", queries->settings.url.host, strerror(errno));
    }
    poller_nonblocking(asker->source.fd);
    /* At a pace the timer alone says when to take. */
    poller_watch(&queries->poller, &asker->source, queries->settings.pace > 0 ? 0 : EPOLLIN);
}

static void run(struct queries *queries)
{
    const struct settings *settings = &queries->settings;
    queries->askers = bench_alloc(settings->connections, sizeof *queries->askers);
    for (uint64_t i = 0; i < settings->connections; i++) {
        connect_asker(queries, i);
    }
    queries->busy = settings->connections;
    queries->start_us = poller_clock_us();
    queries->last_us = queries->start_us;
    for (uint64_t i = 0; i < settings->connections; i++) {
        next_query(&queries->askers[i]);
    }
    while (queries->busy > 0) {
        poller_turn(&queries->poller);
    }
}

static void print_result(const struct queries *queries)
{
    const struct histogram *latencies = &queries->latencies;
    double seconds = (double)(queries->last_us - queries->start_us) / 1e6;
    printf("{\"answered\": %llu, \"failed\": %llu, \"bytes\": %llu, \"duration_s\": %.6f, "
           "\"queries_per_s\": %.1f, \"latency_us\": {\"p50\": %llu, \"p90\": %llu, \"p99\": %llu, "
           "\"max\": %llu}}\n",
           (unsigned long long)queries->answered, (unsigned long long)queries->failed,
           (unsigned long long)queries->bytes, seconds,
           seconds > 0 ? (double)queries->answered / seconds : 0,
           (unsigned long long)histogram_quantile(latencies, 0.5),
           (unsigned long long)histogram_quantile(latencies, 0.9),
           (unsigned long long)histogram_quantile(latencies, 0.99),
           (unsigned long long)latencies->max);
}

static void read_options(int argc, char **argv, struct settings *settings)
{
    const char *url = NULL;
    double seconds = 1;
    *settings = (struct settings){.connections = 1};
    const struct args_option options[] = {
        {"url", ARGS_TEXT, &url, "what to ask: http://host:port/path?query"},
        {"form", ARGS_TEXT, &settings->form, "POST this form (a GET)"},
        {"connections", ARGS_U64, &settings->connections, "that ask at the same time (1)"},
        {"seconds", ARGS_F64, &seconds, "begin queries for so long (1)"},
        {"rate", ARGS_F64, &settings->rate, "queries/s in all; 0: as fast as answered (0)"},
        {"pace", ARGS_U64, &settings->pace, "bytes/s that each takes; answers may be cut off (0)"},
    };
    args_parse(argc, argv, options, sizeof options / sizeof options[0]);
    args_url("url", url, &settings->url);
    settings->duration_us = (uint64_t)(seconds * 1e6);
    if (settings->connections == 0 || settings->duration_us == 0) {
        args_fail("--connections and --seconds: more than 0");
    }
    if (settings->pace > 0 && settings->rate > 0) {
        args_fail("--pace and --rate exclude each other");
    }
}

static void print_request(const struct settings *settings, struct bytes *request)
{
    const char *form = settings->form;
    bytes_printf(request, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: Go-http-client/1.1\r\n",
                 form == NULL ? "GET" : "POST", settings->url.path, settings->url.host);
    if (form != NULL) {
        bytes_printf(request,
                     "Content-Length: %zu\r\nContent-Type: application/x-www-form-urlencoded\r\n",
                     strlen(form));
    }
    bytes_printf(request, "Accept-Encoding: gzip\r\n\r\n%s", form == NULL ? "" : form);
}

int main(int argc, char **argv)
{
    struct queries *queries = bench_alloc(1, sizeof *queries);
    read_options(argc, argv, &queries->settings);
    print_request(&queries->settings, &queries->request);
    poller_init(&queries->poller);
    run(queries);
    print_result(queries);
    return queries->failed > 0 || queries->answered + queries->bytes == 0;
}
