/* The floor: the least program that does the proxy's job for each request alone, as the limit of
 * what this machine can do without joining. One thread, or several processes for what sharing a
 * core costs; bare sockets: take a request in, decode and scan it, write its bytes to a keep-alive
 * connection of its own, answer 204 once that has been answered 2xx.
 *
 *   client --recv--> buffer --decode--> scratch --scan--> counts
 *                      |
 *                      +--writev--> upstream --2xx--> 204 to the client
 *
 * It joins nothing, has no limits but one, no metrics and no time-outs. Sockets are registered once
 * and edge-triggered, so epoll costs one call a turn; buffers are kept for the next request. */
#include "bench/args.h"
#include "bench/bytes.h"
#include "bench/http.h"
#include "bench/poller.h"
#include "wire/snappy_block.h"
#include "wire/write_request.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define BODY_BYTES_MAX ((uint64_t)32 << 20)
#define FIRST_BYTES    4096 /* of a request: its head, and perhaps a small body */
#define EDGE           (EPOLLIN | EPOLLOUT | EPOLLET)

struct upstream;

/* A sender's connection. Owner: itself; freed in the turn after it was closed. */
struct client {
    struct floor *floor;
    struct source source;
    struct bytes request; /* the head and the body as they came */
    struct http_head head;
    size_t whole; /* [bytes] of both; 0: the head is incomplete */
    struct upstream *upstream;
    struct client *next_closed;
};

/* A connection to the gateway: idle in the floor's list, or busy with one client's request. */
struct upstream {
    struct floor *floor;
    struct source source;
    struct client *client;
    struct upstream *next_idle;
    struct bytes head;
    size_t sent; /* [bytes] of head and body */
    struct http_reader answer;
};

struct floor {
    struct poller poller;
    struct source listener;
    struct args_url url;
    struct upstream *idle;
    struct client *closed;
    struct bytes decoded;
    uint64_t samples;
};

static void client_close(struct client *client)
{
    if (client->source.fd < 0) {
        return;
    }
    poller_close(&client->floor->poller, &client->source);
    client->next_closed = client->floor->closed;
    client->floor->closed = client;
}

/* An answer is far smaller than a socket's buffer: it is sent at once or not at all. */
static void client_answer(struct client *client, const char *status)
{
    char text[128];
    int bytes = snprintf(text, sizeof text, "HTTP/1.1 %s\r\n%s\r\n", status,
                         strncmp(status, "204", 3) == 0 ? "" : "Content-Length: 0\r\n");
    client->request.size = 0;
    client->whole = 0;
    if (send(client->source.fd, text, (size_t)bytes, MSG_NOSIGNAL) != bytes) {
        client_close(client);
    }
}

/* The exchange is over; without keep the connection cannot be used again. */
static void upstream_end(struct upstream *upstream, bool keep, const char *status)
{
    struct client *client = upstream->client;
    upstream->client = NULL;
    client->upstream = NULL;
    http_reader_reset(&upstream->answer);
    if (!keep) {
        poller_close(&upstream->floor->poller, &upstream->source);
    }
    upstream->next_idle = upstream->floor->idle;
    upstream->floor->idle = upstream;
    if (client->source.fd >= 0) {
        client_answer(client, status);
    }
}

static void upstream_send(struct upstream *upstream)
{
    struct client *client = upstream->client;
    size_t head = upstream->head.size;
    const uint8_t *body = client->request.data + client->head.bytes;
    size_t body_bytes = client->whole - client->head.bytes;
    while (upstream->sent < head + body_bytes) {
        size_t body_sent = upstream->sent > head ? upstream->sent - head : 0;
        size_t head_sent = upstream->sent < head ? upstream->sent : head;
        struct iovec pieces[2];
        pieces[0] = (struct iovec){upstream->head.data + head_sent, head - head_sent};
        memcpy(&pieces[1].iov_base, &(const uint8_t *){body + body_sent}, sizeof(void *));
        pieces[1].iov_len = body_bytes - body_sent;
        ssize_t put = writev(upstream->source.fd, pieces, 2);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put < 0 && errno == EAGAIN) {
            return;
        }
        if (put < 0) {
            upstream_end(upstream, false, "503 Service Unavailable");
            return;
        }
        upstream->sent += (size_t)put;
    }
}

static void upstream_receive(struct upstream *upstream)
{
    char data[4096];
    ssize_t got = recv(upstream->source.fd, data, sizeof data, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (upstream->client == NULL) { /* closed while idle; the next exchange connects anew */
        poller_close(&upstream->floor->poller, &upstream->source);
        return;
    }
    struct http_span input = {data, got > 0 ? (size_t)got : 0};
    struct http_span piece;
    enum http_event event = got > 0 ? HTTP_HEAD : HTTP_BAD;
    while (event == HTTP_HEAD || event == HTTP_BODY) {
        event = http_reader_next(&upstream->answer, &input, &piece);
    }
    if (event == HTTP_BAD) {
        upstream_end(upstream, false, "503 Service Unavailable");
    } else if (event == HTTP_DONE) {
        bool accepted = upstream->answer.head.status / 100 == 2;
        upstream_end(upstream, upstream->answer.head.keep_alive,
                     accepted ? "204 No Content" : "503 Service Unavailable");
    }
}

static void on_upstream_ready(struct source *source, uint32_t events)
{
    struct upstream *upstream = source->context;
    if ((events & EPOLLIN) != 0 || (events & (EPOLLERR | EPOLLHUP)) != 0) {
        upstream_receive(upstream);
    }
    if (upstream->client != NULL && source->fd >= 0) {
        upstream_send(upstream);
    }
}

static void upstream_connect(struct upstream *upstream)
{
    struct floor *floor = upstream->floor;
    const struct sockaddr_in *address = &floor->url.address;
    int one = 1;
    upstream->source.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (upstream->source.fd < 0) {
        bench_die("cannot open a socket: %s", strerror(errno));
    }
    /* Connecting blocks: it happens once for each connection, on loopback. */
    if (connect(upstream->source.fd, (const struct sockaddr *)address, sizeof *address) != 0) {
        upstream_end(upstream, false, "503 Service Unavailable");
        return;
    }
    (void)setsockopt(upstream->source.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    poller_nonblocking(upstream->source.fd);
    poller_watch(&floor->poller, &upstream->source, EDGE);
}

static struct upstream *upstream_take(struct floor *floor)
{
    struct upstream *upstream = floor->idle;
    if (upstream != NULL) {
        floor->idle = upstream->next_idle;
        return upstream;
    }
    upstream = bench_alloc(1, sizeof *upstream);
    upstream->floor = floor;
    upstream->source =
        (struct source){.fd = -1, .on_ready = on_upstream_ready, .context = upstream};
    http_reader_init(&upstream->answer, HTTP_ANSWER);
    return upstream;
}

/* Decode and scan a body. False when it is not a WriteRequest. */
static bool check_body(struct floor *floor, const uint8_t *body, size_t bytes)
{
    struct snappy_block block;
    struct wire_error error;
    struct write_request_counts counts;
    if (snappy_block_open(body, bytes, &block, &error) != 0 ||
        block.decoded_bytes > BODY_BYTES_MAX) {
        return false;
    }
    bytes_reserve(&floor->decoded, block.decoded_bytes + 1); /* not NULL */
    if (snappy_block_decode(&block, floor->decoded.data, &error) != 0 ||
        write_request_scan(floor->decoded.data, block.decoded_bytes, &counts, &error) != 0) {
        return false;
    }
    floor->samples += counts.samples;
    return true;
}

static void client_forward(struct client *client)
{
    struct floor *floor = client->floor;
    size_t body_bytes = client->whole - client->head.bytes;
    if (!check_body(floor, client->request.data + client->head.bytes, body_bytes)) {
        client_answer(client, "400 Bad Request");
        return;
    }
    struct upstream *upstream = upstream_take(floor);
    upstream->client = client;
    client->upstream = upstream;
    upstream->sent = 0;
    upstream->head.size = 0;
    bytes_printf(&upstream->head,
                 "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-protobuf\r\n"
                 "Content-Encoding: snappy\r\nX-Prometheus-Remote-Write-Version: 0.1.0\r\n"
                 "Content-Length: %zu\r\n\r\n",
                 floor->url.path, floor->url.host, body_bytes);
    if (upstream->source.fd < 0) {
        upstream_connect(upstream);
    }
    if (upstream->client != NULL) {
        upstream_send(upstream);
    }
}

/* Make sense of the head once it is whole. False when the client was closed or answered. */
static bool client_read_head(struct client *client)
{
    int found =
        http_head_parse(HTTP_REQUEST, client->request.data, client->request.size, &client->head);
    if (found < 0 ||
        (found > 0 && (!client->head.has_length || client->head.content_length > BODY_BYTES_MAX))) {
        client_close(client);
        return false;
    }
    if (found > 0) {
        client->whole = client->head.bytes + (size_t)client->head.content_length;
        bytes_reserve(&client->request, client->whole);
    }
    return true;
}

static void on_client_ready(struct source *source, uint32_t events)
{
    struct client *client = source->context;
    if (client->upstream != NULL) {
        if ((events & (EPOLLERR | EPOLLHUP)) != 0) {
            client_close(client);
        }
        return;
    }
    for (;;) {
        struct bytes *request = &client->request;
        size_t room =
            client->whole > 0 ? client->whole - request->size : request->capacity - request->size;
        if (room == 0) {
            client_close(client); /* a head beyond the first bytes: no load generator sends it */
            return;
        }
        ssize_t got = recv(source->fd, request->data + request->size, room, 0);
        if (got <= 0) {
            if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
                client_close(client);
            }
            return;
        }
        request->size += (size_t)got;
        if (client->whole == 0 && !client_read_head(client)) {
            return;
        }
        if (client->whole > 0 && request->size >= client->whole) {
            client_forward(client);
            return;
        }
    }
}

static void on_listener_ready(struct source *source, uint32_t events)
{
    (void)events;
    struct floor *floor = source->context;
    int fd;
    while ((fd = accept4(source->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        int one = 1;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct client *client = bench_alloc(1, sizeof *client);
        client->floor = floor;
        client->source = (struct source){.fd = fd, .on_ready = on_client_ready, .context = client};
        bytes_reserve(&client->request, FIRST_BYTES);
        poller_watch(&floor->poller, &client->source, EDGE);
    }
}

/* Free closed clients, but those whose bytes are still on their way. */
static void sweep(struct floor *floor)
{
    struct client **link = &floor->closed;
    while (*link != NULL) {
        struct client *client = *link;
        if (client->upstream != NULL) {
            link = &client->next_closed;
            continue;
        }
        *link = client->next_closed;
        bytes_free(&client->request);
        free(client);
    }
}

/* Go on as so many processes, which end with the first. True in that one. */
static bool be_one_of(uint64_t processes)
{
    for (uint64_t i = 1; i < processes; i++) {
        pid_t child = fork();
        if (child < 0) {
            bench_die("cannot fork: %s", strerror(errno));
        }
        if (child == 0) {
            (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv)
{
    static struct floor floor;
    const char *listen_address = "127.0.0.1:0";
    const char *upstream = NULL;
    uint64_t processes = 1;
    const struct args_option options[] = {
        {"listen", ARGS_TEXT, &listen_address, "host:port; port 0: a free one (127.0.0.1:0)"},
        {"upstream", ARGS_TEXT, &upstream, "http://host:port/path to send to"},
        {"processes", ARGS_U64, &processes, "that share the port, which is not 0 then (1)"},
    };
    struct sockaddr_in address;
    args_parse(argc, argv, options, sizeof options / sizeof options[0]);
    args_url("upstream", upstream, &floor.url);
    args_address(listen_address, &address);
    (void)signal(SIGPIPE, SIG_IGN);
    bool first = be_one_of(processes);
    poller_init(&floor.poller);
    floor.listener = (struct source){.on_ready = on_listener_ready, .context = &floor};
    poller_listen(&floor.poller, &floor.listener, &address, processes > 1);
    if (first) {
        printf("listening 127.0.0.1:%u\n", ntohs(address.sin_port));
        (void)fflush(stdout);
    }
    for (;;) {
        poller_turn(&floor.poller);
        sweep(&floor);
    }
}
