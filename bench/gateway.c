/* The stand-in for a gateway; see gateway.h. */
#include "bench/gateway.h"
#include "bench/http.h"
#include "bench/post.h"
#include "bench/store.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECEIVE_BYTES  ((size_t)256 << 10)
#define BODY_BYTES_MAX ((size_t)256 << 20)

struct gateway_counts {
    uint64_t posts; /* whole ones */
    uint64_t accepted;
    uint64_t errors;      /* by --status, --error-every, --drop-every */
    uint64_t poisoned;    /* refused for --poison-sender */
    uint64_t undecodable; /* answered 400 */
    uint64_t bad_path;
    uint64_t bad_header;
    uint64_t bytes;  /* of the bodies of POSTs */
    uint64_t series; /* from here on: of accepted ones */
    uint64_t samples;
    uint64_t altered;
    uint64_t foreign;
    uint64_t partial;
    uint64_t connections;
    uint64_t connections_open;
};

/* One connection. Owner: the gateway's list; freed by gateway_sweep() once closed. */
struct client {
    struct gateway *gateway;
    struct client *next;
    struct client *previous;
    struct source source;
    struct timer timer; /* set while an answer waits for its delay */
    struct http_reader reader;
    struct bytes body;  /* collected with verify */
    struct bytes carry; /* what came behind a request whose answer waits */
    struct bytes out;   /* answers on their way */
    bool closing;       /* close once out is empty */
};

struct gateway {
    struct gateway_settings settings;
    struct poller *poller;
    struct source listener;
    struct client *clients;
    struct client *closed; /* singly linked: freed at the end of the turn */
    struct store *store;
    struct post post;
    struct gateway_counts counts;
    uint64_t judged; /* POSTs that --error-every and --drop-every have counted */
    char *receive;
};

static void client_input(struct client *client, struct http_span input);

static void client_close(struct client *client)
{
    struct gateway *gateway = client->gateway;
    if (client->source.fd < 0) {
        return;
    }
    poller_close(gateway->poller, &client->source);
    poller_unset(gateway->poller, &client->timer);
    if (client->previous != NULL) {
        client->previous->next = client->next;
    } else {
        gateway->clients = client->next;
    }
    if (client->next != NULL) {
        client->next->previous = client->previous;
    }
    client->next = gateway->closed;
    gateway->closed = client;
    gateway->counts.connections_open--;
}

static void client_free(struct client *client)
{
    http_reader_deinit(&client->reader);
    bytes_free(&client->body);
    bytes_free(&client->carry);
    bytes_free(&client->out);
    free(client);
}

static void client_flush(struct client *client)
{
    size_t sent = 0;
    while (sent < client->out.size) {
        ssize_t put =
            send(client->source.fd, client->out.data + sent, client->out.size - sent, MSG_NOSIGNAL);
        if (put < 0 && errno != EINTR && errno != EAGAIN) {
            client_close(client);
            return;
        }
        if (put < 0 && errno == EAGAIN) {
            break;
        }
        sent += put > 0 ? (size_t)put : 0;
    }
    bytes_drop(&client->out, sent);
    if (client->out.size == 0 && client->closing) {
        client_close(client);
        return;
    }
    poller_watch(client->gateway->poller, &client->source,
                 client->out.size == 0 ? EPOLLIN : EPOLLIN | EPOLLOUT);
}

static const char *reason(unsigned status)
{
    return status == 200   ? "OK"
           : status == 204 ? "No Content"
           : status == 400 ? "Bad Request"
           : status == 403 ? "Forbidden"
           : status == 404 ? "Not Found"
           : status == 503 ? "Service Unavailable"
                           : "Status";
}

static void client_prepare(struct client *client, unsigned status, const char *type,
                           const void *body, size_t bytes)
{
    uint64_t retry_after_s = client->gateway->settings.retry_after_s;
    struct bytes *out = &client->out;
    bytes_printf(out, "HTTP/1.1 %u %s\r\n", status, reason(status));
    if (status != 204) {
        bytes_printf(out, "Content-Type: %s\r\nContent-Length: %zu\r\n", type, bytes);
    }
    if (retry_after_s > 0 && (status == 429 || status >= 500)) {
        bytes_printf(out, "Retry-After: %llu\r\n", (unsigned long long)retry_after_s);
    }
    if (!client->reader.head.keep_alive) {
        client->closing = true;
        bytes_printf(out, "Connection: close\r\n");
    }
    bytes_append(out, "\r\n", 2);
    if (status != 204) {
        bytes_append(out, body, bytes);
    }
}

static void client_prepare_text(struct client *client, unsigned status, const char *text)
{
    client_prepare(client, status, "text/plain; charset=utf-8", text, strlen(text));
}

static void print_statistics(const struct gateway *gateway, struct bytes *out)
{
    const struct gateway_counts *counts = &gateway->counts;

    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {
        {"posts", counts->posts},
        {"accepted", counts->accepted},
        {"errors", counts->errors},
        {"poisoned", counts->poisoned},
        {"undecodable", counts->undecodable},
        {"bad_path", counts->bad_path},
        {"bad_header", counts->bad_header},
        {"bytes", counts->bytes},
        {"series", counts->series},
        {"samples", counts->samples},
        {"altered", counts->altered},
        {"foreign", counts->foreign},
        {"partial", counts->partial},
        {"requests_complete", store_complete(gateway->store)},
        {"duplicates", store_duplicates(gateway->store)},
        {"order_violations", store_order_violations(gateway->store)},
        {"connections", counts->connections},
        {"connections_open", counts->connections_open},
    };

    const char *comma = "{";
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        bytes_printf(out, "%s\"%s\": %llu", comma, numbers[i].name,
                     (unsigned long long)numbers[i].value);
        comma = ", ";
    }
    bytes_append(out, "}\n", 2);
}

void gateway_save(const struct gateway *gateway)
{
    if (gateway->settings.state == NULL) {
        return;
    }
    struct bytes text = {0};
    print_statistics(gateway, &text);
    int fd = open(gateway->settings.state, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, text.data, text.size) != (ssize_t)text.size) {
        bench_die("%s: %s", gateway->settings.state, strerror(errno));
    }
    (void)close(fd);
    bytes_free(&text);
}

static void answer_get(struct client *client, struct http_span path)
{
    struct gateway *gateway = client->gateway;
    struct bytes text = {0};
    if (http_span_is(path, "/stats")) {
        print_statistics(gateway, &text);
        gateway_save(gateway);
        client_prepare(client, 200, "application/json", text.data, text.size);
    } else if (http_span_is(path, "/stored")) {
        store_print(gateway->store, &text);
        client_prepare(client, 200, "text/plain", text.data, text.size);
    } else if (http_span_is(path, "/-/ready") || http_span_is(path, "/-/healthy")) {
        client_prepare_text(client, 200, "ok\n");
    } else {
        client_prepare_text(client, 404, "not found\n");
    }
    bytes_free(&text);
}

/* True when a header "Name: value" that is asked for is there. */
static bool has_header(const struct http_head *head, const char *wanted)
{
    char name[256];
    struct http_span value;
    const char *colon = strchr(wanted, ':');
    if (colon == NULL || (size_t)(colon - wanted) >= sizeof name) {
        return false;
    }
    memcpy(name, wanted, (size_t)(colon - wanted));
    name[colon - wanted] = '\0';
    const char *text = colon + 1 + strspn(colon + 1, " ");
    return http_head_field(head, name, &value) && value.bytes == strlen(text) &&
           memcmp(value.data, text, value.bytes) == 0;
}

/* Decode, check and store. Returns the status to answer with. */
static unsigned judge_body(struct client *client)
{
    struct gateway *gateway = client->gateway;
    struct gateway_counts *counts = &gateway->counts;
    struct post *post = &gateway->post;
    if (!gateway->settings.verify) {
        return 204;
    }
    if (!post_read(post, client->body.data, client->body.size)) {
        counts->undecodable++;
        return 400;
    }
    int64_t poison = gateway->settings.poison_sender;
    if (poison >= 0 && post_has_sender(post, (uint32_t)poison)) {
        counts->poisoned++;
        return 400;
    }
    counts->series += post->series;
    counts->samples += post->samples;
    counts->altered += post->altered;
    counts->foreign += post->foreign;
    counts->partial += post_partial(post);
    store_add(gateway->store, post);
    return 204;
}

static bool is_turn(uint64_t number, uint64_t every)
{
    return every > 0 && number % every == 0;
}

/* Handle a whole POST. Returns the status to answer with; 0: close without an answer. */
static unsigned judge_post(struct client *client, struct http_span path)
{
    struct gateway *gateway = client->gateway;
    const struct gateway_settings *settings = &gateway->settings;
    gateway->counts.posts++;
    if (settings->expect_path != NULL && !http_span_is(path, settings->expect_path)) {
        gateway->counts.bad_path++;
        return 404;
    }
    for (size_t i = 0; i < settings->expect_headers.count; i++) {
        if (!has_header(&client->reader.head, settings->expect_headers.values[i])) {
            gateway->counts.bad_header++;
            return 403;
        }
    }
    uint64_t number = ++gateway->judged;
    unsigned forced = is_turn(number, settings->error_every) ? (unsigned)settings->error_status
                      : settings->status / 100 != 2          ? (unsigned)settings->status
                                                             : 0;
    if (forced != 0) {
        gateway->counts.errors++;
        return forced;
    }
    unsigned status = judge_body(client);
    if (status / 100 == 2 && is_turn(number, settings->drop_every)) {
        gateway->counts.errors++;
        return 0;
    }
    gateway->counts.accepted += status / 100 == 2 ? 1 : 0;
    return status / 100 == 2 ? (unsigned)settings->status : status;
}

static void client_handle(struct client *client)
{
    struct gateway *gateway = client->gateway;
    const struct http_head *head = &client->reader.head;
    struct http_span path = head->target;
    const char *question = memchr(path.data, '?', path.bytes);
    path.bytes = question == NULL ? path.bytes : (size_t)(question - path.data);
    if (http_span_is(head->method, "GET")) {
        answer_get(client, path);
        return;
    }
    if (!http_span_is(head->method, "POST")) {
        client_prepare_text(client, 405, "GET or POST\n");
        return;
    }
    unsigned status = judge_post(client, path);
    if (status == 0) {
        client->closing = true;
    } else if (status == 400) {
        client_prepare_text(client, 400, "the sink refuses this write: out of bounds\n");
    } else {
        client_prepare_text(client, status, "the sink says so\n");
    }
    if (gateway->settings.delay_us > 0) {
        poller_set(gateway->poller, &client->timer, poller_clock_us() + gateway->settings.delay_us);
    }
}

static void on_delay(struct timer *timer)
{
    struct client *client = timer->context;
    client_flush(client);
    if (client->source.fd >= 0 && client->carry.size > 0) {
        struct bytes carry = client->carry;
        client->carry = (struct bytes){0};
        client_input(client, (struct http_span){(const char *)carry.data, carry.size});
        bytes_free(&carry);
    }
}

static bool client_on_head(struct client *client)
{
    const struct http_head *head = &client->reader.head;
    if (head->expects_continue) {
        static const char go_on[] = "HTTP/1.1 100 Continue\r\n\r\n";
        bytes_append(&client->out, go_on, sizeof go_on - 1);
        client_flush(client);
    }
    client->body.size = 0;
    if (head->content_length > BODY_BYTES_MAX) {
        return false;
    }
    if (client->gateway->settings.verify) {
        bytes_reserve(&client->body, (size_t)head->content_length);
    }
    return client->source.fd >= 0;
}

/* Take in what has arrived: any number of whole or partial requests, but none behind one whose
 * answer waits. */
static void client_input(struct client *client, struct http_span input)
{
    struct gateway *gateway = client->gateway;
    struct http_span piece;
    for (;;) {
        if (client->timer.place != 0) {
            bytes_append(&client->carry, input.data, input.bytes);
            return;
        }
        enum http_event event = http_reader_next(&client->reader, &input, &piece);
        if (event == HTTP_MORE) {
            return;
        }
        if (event == HTTP_BAD || (event == HTTP_HEAD && !client_on_head(client))) {
            client_close(client);
            return;
        }
        if (event == HTTP_BODY) {
            gateway->counts.bytes += piece.bytes;
            if (gateway->settings.verify) {
                bytes_append(&client->body, piece.data, piece.bytes);
            }
        }
        if (event == HTTP_DONE) {
            client_handle(client);
            http_reader_reset(&client->reader);
            if (client->timer.place == 0) {
                client_flush(client);
            }
            if (client->source.fd < 0) {
                return;
            }
        }
    }
}

/* Without verify a body is of no interest: have the kernel drop it instead of copying it. Returns
 * as recv() does. */
static ssize_t client_skip_body(struct client *client)
{
    size_t room = client->reader.remaining < ((size_t)1 << 30) ? (size_t)client->reader.remaining
                                                               : (size_t)1 << 30;
    ssize_t got = recv(client->source.fd, NULL, room, MSG_TRUNC);
    if (got > 0) {
        client->gateway->counts.bytes += (uint64_t)got;
        http_reader_skip(&client->reader, (size_t)got);
        client_input(client, (struct http_span){NULL, 0});
    }
    return got;
}

static void on_client_ready(struct source *source, uint32_t events)
{
    struct client *client = source->context;
    struct gateway *gateway = client->gateway;
    ssize_t got;
    if ((events & EPOLLOUT) != 0 && client->timer.place == 0) {
        client_flush(client);
    }
    if (source->fd < 0 || (events & ~(uint32_t)EPOLLOUT) == 0) {
        return;
    }
    if (!gateway->settings.verify && client->reader.state == HTTP_STATE_LENGTH) {
        got = client_skip_body(client);
    } else {
        got = recv(source->fd, gateway->receive, RECEIVE_BYTES, 0);
        if (got > 0) {
            client_input(client, (struct http_span){gateway->receive, (size_t)got});
        }
    }
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
        client_close(client);
    }
}

static void on_listener_ready(struct source *source, uint32_t events)
{
    (void)events;
    struct gateway *gateway = source->context;
    for (;;) {
        int one = 1;
        int fd = accept4(source->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            return;
        }
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct client *client = bench_alloc(1, sizeof *client);
        client->gateway = gateway;
        client->source = (struct source){.fd = fd, .on_ready = on_client_ready, .context = client};
        client->timer = (struct timer){.on_expiry = on_delay, .context = client};
        http_reader_init(&client->reader, HTTP_REQUEST);
        client->next = gateway->clients;
        if (gateway->clients != NULL) {
            gateway->clients->previous = client;
        }
        gateway->clients = client;
        gateway->counts.connections++;
        gateway->counts.connections_open++;
        poller_watch(gateway->poller, &client->source, EPOLLIN);
    }
}

struct gateway *gateway_new(const struct gateway_settings *settings, struct poller *poller)
{
    struct gateway *gateway = bench_alloc(1, sizeof *gateway);
    gateway->settings = *settings;
    gateway->poller = poller;
    gateway->store = store_new(settings->journal);
    gateway->post.t0_ms = settings->t0_ms;
    gateway->post.step_ms = settings->step_ms;
    gateway->receive = bench_alloc(1, RECEIVE_BYTES);
    gateway->listener = (struct source){.on_ready = on_listener_ready, .context = gateway};
    poller_listen(poller, &gateway->listener, &gateway->settings.address, false);
    return gateway;
}

void gateway_free(struct gateway *gateway)
{
    while (gateway->clients != NULL) {
        client_close(gateway->clients);
    }
    gateway_sweep(gateway);
    poller_close(gateway->poller, &gateway->listener);
    store_free(gateway->store);
    post_free(&gateway->post);
    free(gateway->receive);
    free(gateway);
}

uint16_t gateway_port(const struct gateway *gateway)
{
    return ntohs(gateway->settings.address.sin_port);
}

void gateway_sweep(struct gateway *gateway)
{
    while (gateway->closed != NULL) {
        struct client *client = gateway->closed;
        gateway->closed = client->next;
        client_free(client);
    }
}
