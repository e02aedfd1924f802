/* A server under test over real sockets: a raw client in the same thread, by turns with the server.
 * The handler under it writes down what it is told and answers when a test wants it to. */
#ifndef AGENT_PROXY_TEST_SERVER_STAGE_H
#define AGENT_PROXY_TEST_SERVER_STAGE_H

#include "server/server.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "io/listener.h"
#include "io/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../io/peer.h"

#include <stdio.h>

#define SEEN_MAX        512
#define CONNECTIONS_MAX 1024
#define DRAIN_BYTES_MAX (256U * 1024U)

#define HOST "Host: proxy\r\n"

#define ROOM_US UINT64_C(25000000) /* after which one that found no room is told so */

enum reply_at { REPLY_AT_COMPLETE, REPLY_AT_HEADERS, REPLY_AT_ROOM, REPLY_AT_BODY, REPLY_LATER };

/* An exchange as its handler saw it. */
struct seen {
    struct exchange *exchange; /* NULL once ended */
    char events[32];           /* h: headers, b: body, in one or more pieces, r: the same, read into
                                  its place, c: complete, e: end after the reply, x: end without */
    char target[8192];
    struct bytes body;
    uint8_t *place;      /* for a body that is read into it; NULL: no room yet */
    uint64_t body_bytes; /* as declared */
    enum route_id route;
    enum route_method method;
};

/* What a test runs. Owner: the test, by stage_open() and stage_close(). */
struct stage {
    struct loop *loop;
    struct server *server;
    struct metrics metrics;
    uint16_t port;
    enum reply_at reply_at;
    struct server_handler whole;
    struct server_handler bodyless; /* without on_body */
    struct server_handler own;      /* serves what is above the limit of connections too */
    size_t rooms;                   /* for bodies to begin */
    size_t room_bytes;              /* of one, at a time */
    size_t asked;                   /* for room */
    struct seen *seen;              /* room for SEEN_MAX */
    size_t count;
    unsigned refusals;
    enum server_refusal refusal; /* the last */
    char reason[256];
};

/* -- The handler ------------------------------------------------------------------------------ */

static inline void note(struct seen *seen, char event)
{
    size_t bytes = strlen(seen->events);
    if ((event == 'b' || event == 'r') && bytes > 0 && seen->events[bytes - 1] == event) {
        return;
    }
    assert_true(bytes + 1 < sizeof(seen->events));
    seen->events[bytes] = event;
}

static inline void reply_ok(struct exchange *exchange)
{
    exchange_reply_text(exchange, 200, NULL, "done");
}

static inline void reply_no_content(struct exchange *exchange)
{
    exchange_reply(exchange, &(struct server_reply){.status = 204});
}

static inline void on_headers(void *owner, struct exchange *exchange)
{
    struct stage *stage = owner;
    assert_true(stage->count < SEEN_MAX);
    assert_null(exchange_state(exchange));
    struct seen *seen = &stage->seen[stage->count++];
    exchange_set_state(exchange, seen);
    assert_true(strlen(exchange_target(exchange)) < sizeof(seen->target));
    memcpy(seen->target, exchange_target(exchange), strlen(exchange_target(exchange)) + 1);
    seen->exchange = exchange;
    seen->body_bytes = exchange_body_bytes(exchange);
    seen->route = exchange_route(exchange)->id;
    seen->method = exchange_method(exchange);
    note(seen, 'h');
    if (stage->reply_at == REPLY_AT_HEADERS) {
        reply_ok(exchange);
    }
}

static inline void on_body(void *owner, struct exchange *exchange, const uint8_t *data,
                           size_t bytes)
{
    const struct stage *stage = owner;
    struct seen *seen = exchange_state(exchange);
    assert_true(bytes > 0);
    put(&seen->body, data, bytes);
    note(seen, 'b');
    if (stage->reply_at == REPLY_AT_BODY) {
        reply_ok(exchange);
    }
}

static inline uint8_t *on_room(void *owner, struct exchange *exchange, size_t *room,
                               uint64_t *again_us)
{
    struct stage *stage = owner;
    struct seen *seen = exchange_state(exchange);
    stage->asked++;
    if (stage->reply_at == REPLY_AT_ROOM) {
        reply_ok(exchange);
        return NULL;
    }
    if (seen->place == NULL && stage->rooms == 0) {
        *again_us = exchange_started_us(exchange) + ROOM_US;
        if (clock_now_us() >= *again_us) {
            exchange_reply_text(exchange, 503, NULL, "no room");
        }
        return NULL;
    }
    if (seen->place == NULL) {
        stage->rooms--;
        seen->place = malloc((size_t)seen->body_bytes);
        assert_non_null(seen->place);
    }
    size_t left = (size_t)seen->body_bytes - seen->body.size;
    *room = left < stage->room_bytes ? left : stage->room_bytes;
    return seen->place + seen->body.size;
}

static inline void on_received(void *owner, struct exchange *exchange, size_t bytes)
{
    const struct stage *stage = owner;
    struct seen *seen = exchange_state(exchange);
    assert_true(bytes > 0 && bytes <= seen->body_bytes - seen->body.size);
    put(&seen->body, seen->place + seen->body.size, bytes);
    note(seen, 'r');
    if (stage->reply_at == REPLY_AT_BODY) {
        reply_ok(exchange);
    }
}

static inline void on_complete(void *owner, struct exchange *exchange)
{
    const struct stage *stage = owner;
    note(exchange_state(exchange), 'c');
    if (stage->reply_at == REPLY_AT_COMPLETE) {
        reply_ok(exchange);
    }
}

static inline void on_end(void *owner, struct exchange *exchange, bool replied)
{
    (void)owner;
    struct seen *seen = exchange_state(exchange);
    assert_ptr_equal(seen->exchange, exchange);
    seen->exchange = NULL;
    note(seen, replied ? 'e' : 'x');
}

static inline void on_refused(void *owner, struct exchange *exchange, enum server_refusal refusal,
                              const char *reason)
{
    struct stage *stage = owner;
    const struct server_header allow[] = {{"Allow", exchange_route(exchange)->allow}, {NULL, NULL}};
    stage->refusals++;
    stage->refusal = refusal;
    (void)snprintf(stage->reason, sizeof(stage->reason), "%s", reason);
    switch (refusal) {
    case SERVER_REFUSAL_METHOD:
        exchange_reply_text(exchange, 405, allow, reason);
        break;
    case SERVER_REFUSAL_NOT_FOUND:
        exchange_reply_text(exchange, 404, NULL, reason);
        break;
    case SERVER_REFUSAL_CONNECTIONS:
        exchange_reply_text(exchange, 503, NULL, reason);
        break;
    case SERVER_REFUSAL_BAD_PATH:
    case SERVER_REFUSAL_HTTP:
        exchange_reply_text(exchange, 400, NULL, reason);
        break;
    }
}

/* -- The stage -------------------------------------------------------------------------------- */

/* settings: limits; those that are 0 are as usual. */
static inline void stage_open_with(struct stage *stage, enum reply_at reply_at,
                                   struct server_settings settings)
{
    static const struct log quiet = {.sink = NULL};
    char address[LISTENER_ADDRESS_BYTES];
    *stage = (struct stage){
        .reply_at = reply_at,
        .whole = {.owner = stage,
                  .on_headers = on_headers,
                  .on_body = on_body,
                  .on_complete = on_complete,
                  .on_end = on_end},
        .bodyless = {.owner = stage,
                     .on_headers = on_headers,
                     .on_complete = on_complete,
                     .on_end = on_end},
        .own = {.owner = stage,
                .on_headers = on_headers,
                .on_complete = on_complete,
                .on_end = on_end,
                .serves_reserved = true},
        .rooms = SIZE_MAX,
        .room_bytes = SIZE_MAX,
        .seen = calloc(SEEN_MAX, sizeof(struct seen)),
        .loop = loop_new(),
    };
    int fd = listener_open("127.0.0.1", 0, address);
    assert_true(stage->seen != NULL && stage->loop != NULL && fd >= 0);
    stage->port = bound_port(fd);
    settings.handlers[ROUTE_WRITE] = &stage->whole;
    settings.handlers[ROUTE_METRICS] = &stage->whole;
    settings.handlers[ROUTE_OTLP] = &stage->bodyless;
    settings.handlers[ROUTE_HEALTHY] = &stage->own;
    settings.on_refused = on_refused;
    settings.owner = stage;
    settings.log = &quiet;
    settings.metrics = &stage->metrics;
    settings.drain_bytes_max = DRAIN_BYTES_MAX;
    if (settings.connections_max == 0) {
        settings.connections_max = CONNECTIONS_MAX;
        settings.connections_per_address_max = CONNECTIONS_MAX;
    }
    if (settings.worker_number > 0) { /* it only serves what the first accepts */
        close(fd);
        fd = -1;
    }
    stage->server = server_new(&settings, NULL, stage->loop, fd);
    assert_non_null(stage->server);
}

static inline void stage_open(struct stage *stage, enum reply_at reply_at)
{
    stage_open_with(stage, reply_at, (struct server_settings){.connections_max = 0});
}

/* With a handler of writes that has a place for their bodies. */
static inline void stage_open_direct(struct stage *stage, enum reply_at reply_at)
{
    stage_open(stage, reply_at);
    stage->whole.on_room = on_room;
    stage->whole.on_received = on_received;
}

/* Each exchange that a handler knew was ended, once, by the time the server is gone. */
static inline void stage_close(struct stage *stage)
{
    server_free(stage->server);
    loop_free(stage->loop);
    for (size_t i = 0; i < stage->count; i++) {
        assert_null(stage->seen[i].exchange);
        bytes_free(&stage->seen[i].body);
        free(stage->seen[i].place);
    }
    assert_int_equal(atomic_load(&stage->metrics.gauges[METRIC_CONNECTIONS]), 0);
    assert_int_equal(atomic_load(&stage->metrics.gauges[METRIC_WORKERS_BUSY]), 0);
    free(stage->seen);
}

static inline void turn(struct stage *stage)
{
    uint64_t deadline_us = server_deadline_us(stage->server);
    uint64_t soon_us = clock_now_us() + TURN_US;
    loop_wait(stage->loop, deadline_us < soon_us ? deadline_us : soon_us);
    server_run(stage->server);
}

/* Until the server has nothing left to do for what it was sent. */
static inline void settle(struct stage *stage)
{
    for (unsigned i = 0; i < 4; i++) {
        turn(stage);
    }
}

static inline void send_bytes(struct stage *stage, struct peer *client, const void *data,
                              size_t bytes)
{
    uint64_t until_us = clock_now_us() + PATIENCE_US;
    for (size_t sent = 0; sent < bytes && !client->ended; turn(stage)) {
        sent += peer_send_some(client, (const uint8_t *)data + sent, bytes - sent);
        assert_true(clock_now_us() < until_us);
    }
}

static inline void send_text(struct stage *stage, struct peer *client, const char *text)
{
    send_bytes(stage, client, text, strlen(text));
}

static inline void await(struct stage *stage, struct peer *client, bool bodyless,
                         struct message *message)
{
    uint64_t until_us = clock_now_us() + PATIENCE_US;
    while (!peer_take(client, bodyless, message)) {
        assert_false(client->ended && peer_unread(client) == 0);
        assert_true(clock_now_us() < until_us);
        turn(stage);
        peer_receive(client);
    }
}

static inline void expect_status(struct stage *stage, struct peer *client, unsigned status)
{
    struct message message;
    await(stage, client, false, &message);
    assert_int_equal(message_status(&message), status);
}

static inline void await_end(struct stage *stage, struct peer *client)
{
    uint64_t until_us = clock_now_us() + PATIENCE_US;
    while (!client->ended) {
        assert_true(clock_now_us() < until_us);
        turn(stage);
        peer_receive(client);
    }
}

/* The server closes the connection and has nothing more to say on it. */
static inline void expect_end(struct stage *stage, struct peer *client)
{
    await_end(stage, client);
    assert_int_equal(peer_unread(client), 0);
}

static inline void expect_still_open(struct stage *stage, struct peer *client)
{
    settle(stage);
    peer_receive(client);
    assert_false(client->ended);
    assert_int_equal(peer_unread(client), 0);
}

static inline void await_count(struct stage *stage, const size_t *count, size_t wanted)
{
    uint64_t until_us = clock_now_us() + PATIENCE_US;
    while (*count != wanted) {
        assert_true(clock_now_us() < until_us);
        turn(stage);
    }
}

/* Until the handler was told of that in that order. */
static inline void await_events(struct stage *stage, size_t exchange, const char *events)
{
    uint64_t until_us = clock_now_us() + PATIENCE_US;
    while (stage->count <= exchange || strcmp(stage->seen[exchange].events, events) != 0) {
        assert_true(clock_now_us() < until_us);
        turn(stage);
    }
}

static inline void await_connections(struct stage *stage, size_t connections)
{
    uint64_t until_us = clock_now_us() + PATIENCE_US;
    while (server_connections(stage->server) != connections) {
        assert_true(clock_now_us() < until_us);
        turn(stage);
    }
}

/* -- Requests --------------------------------------------------------------------------------- */

static inline void put_text(struct bytes *out, const char *text)
{
    put(out, text, strlen(text));
}

/* A body in which every place is another. */
static inline void put_pattern(struct bytes *out, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        put_byte(out, (unsigned)((i * 31 + (i >> 8)) & 0xff));
    }
}

static inline void put_write(struct bytes *out, size_t body_bytes)
{
    char head[128];
    (void)snprintf(head, sizeof(head),
                   "POST /api/v1/receive HTTP/1.1\r\n" HOST "Content-Length: %zu\r\n\r\n",
                   body_bytes);
    put_text(out, head);
    put_pattern(out, body_bytes);
}

static inline void put_chunked(struct bytes *out, size_t body_bytes, size_t chunk_bytes)
{
    struct bytes body = {0};
    put_pattern(&body, body_bytes);
    put_text(out, "POST /api/v1/receive HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
    for (size_t at = 0; at < body_bytes; at += chunk_bytes) {
        size_t bytes = body_bytes - at < chunk_bytes ? body_bytes - at : chunk_bytes;
        char size[32];
        (void)snprintf(size, sizeof(size), "%zx\r\n", bytes);
        put_text(out, size);
        put(out, body.data + at, bytes);
        put_text(out, "\r\n");
    }
    put_text(out, "0\r\n\r\n");
    bytes_free(&body);
}

static inline void assert_pattern(const struct bytes *body, size_t bytes)
{
    struct bytes expected = {0};
    put_pattern(&expected, bytes);
    assert_int_equal(body->size, bytes);
    assert_memory_equal(body->data, expected.data, bytes);
    bytes_free(&expected);
}

#define GET_METRICS "GET /metrics HTTP/1.1\r\n" HOST "\r\n"
#define POST_FIVE   "POST /api/v1/receive HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello"

#endif
