/* Requests and replies by libmicrohttpd: what it calls back with, as exchanges with a handler.
 * Exchanges are exchange.c's, connections connection.c's. */
#include "server/private.h"

#include "base/clock.h"
#include "wire/head.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define STREAM_BLOCK_BYTES (32U * 1024U) /* of a reply of known size, asked for at once */

/* -- Replies ----------------------------------------------------------------------------------- */

static bool add_missing_headers(struct MHD_Response *response, const struct server_header *header)
{
    bool whole = true;
    for (; whole && header != NULL && header->name != NULL; header++) {
        whole = MHD_get_response_header(response, header->name) != NULL ||
                MHD_add_response_header(response, header->name, header->value) == MHD_YES;
    }
    return whole;
}

struct MHD_Response *mhd_no_content(const struct server_header *headers)
{
    struct MHD_Response *response =
        MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    if (response != NULL && !add_missing_headers(response, headers)) {
        MHD_destroy_response(response);
        return NULL;
    }
    return response;
}

/* Consumes response: NULL and gone when a header finds no memory. */
static struct MHD_Response *with_headers(const struct exchange *exchange,
                                         struct MHD_Response *response, const char *content_type,
                                         const struct server_header *header)
{
    if (response == NULL) {
        return NULL;
    }
    bool whole = true;
    if (content_type != NULL) {
        whole = MHD_add_response_header(response, "Content-Type", content_type) == MHD_YES;
    }
    for (; whole && header != NULL && header->name != NULL; header++) {
        whole = MHD_add_response_header(response, header->name, header->value) == MHD_YES;
    }
    whole = whole && add_missing_headers(response, exchange->server->headers);
    if (whole && exchange_closes(exchange)) {
        whole = MHD_add_response_header(response, "Connection", "close") == MHD_YES;
    }
    if (!whole) {
        MHD_destroy_response(response);
        return NULL;
    }
    return response;
}

static struct MHD_Response *response_of(const struct exchange *exchange,
                                        const struct server_reply *reply)
{
    if (reply->status == MHD_HTTP_NO_CONTENT && reply->headers == NULL &&
        !exchange_closes(exchange) && exchange->server->no_content != NULL) {
        return exchange->server->no_content;
    }
    struct MHD_Response *response = MHD_create_response_from_buffer(
        reply->body_bytes, (void *)(uintptr_t)reply->body, MHD_RESPMEM_MUST_COPY);
    return with_headers(exchange, response, reply->content_type, reply->headers);
}

static void resume(struct exchange *exchange)
{
    if (!exchange->suspended) {
        return;
    }
    exchange->suspended = false;
    exchange->connection->waiting = NULL;
    connection_enter(exchange->connection, CONNECTION_REPLYING);
    MHD_resume_connection(exchange->mhd);
    exchange->server->ready = true;
}

static void on_client_gone(struct loop_watch *watch, uint32_t events)
{
    (void)events;
    struct connection *connection =
        (struct connection *)((char *)watch - offsetof(struct connection, watch));
    connection->ended = true;
    if (connection->waiting != NULL) {
        exchange_give_up(connection->waiting);
    }
}

/* libmicrohttpd does not see a suspended connection's end, so where it matters we do. */
static void watch_client(struct exchange *exchange)
{
    struct connection *connection = exchange->connection;
    connection->waiting = exchange;
    if (!connection->watched) {
        connection->watch.on_ready = on_client_gone;
        /* An end that goes unseen shows when the reply is written. */
        connection->watched = loop_set(exchange->server->loop, connection->fd, EPOLLRDHUP | EPOLLET,
                                       &connection->watch) == 0;
    }
    if (connection->ended) {
        exchange_give_up(exchange);
    }
}

static void suspend(struct exchange *exchange)
{
    exchange->suspended = true;
    connection_enter(exchange->connection, CONNECTION_WAITING);
    MHD_suspend_connection(exchange->mhd);
    if (exchange->handler != NULL && exchange->handler->watch_client) {
        watch_client(exchange);
    }
}

/* Hand the reply to libmicrohttpd, which takes it only at the first callback (the connection is
 * then closed after it) or after the last of the body. */
static enum MHD_Result queue_reply(struct exchange *exchange)
{
    struct MHD_Response *response = exchange->reply;
    exchange_enter(exchange, EXCHANGE_REPLYING);
    connection_enter(exchange->connection, CONNECTION_REPLYING);
    if (response == NULL) {
        return MHD_NO; /* no memory for a reply: the connection is closed instead */
    }
    exchange->reply = NULL;
    enum MHD_Result result = MHD_queue_response(exchange->mhd, exchange->reply_status, response);
    if (response != exchange->server->no_content) {
        MHD_destroy_response(response);
    }
    return result;
}

static void give_reply(struct exchange *exchange, unsigned status, struct MHD_Response *response)
{
    assert(exchange->reply_status == 0);
    exchange->reply = response;
    exchange->reply_status = status;
    resume(exchange);
}

void mhd_reply(struct exchange *exchange, const struct server_reply *reply)
{
    give_reply(exchange, reply->status, response_of(exchange, reply));
}

/* A reader that has nothing must suspend its connection, or it is asked again in a spin. */
static ssize_t on_stream_wanted(void *cls, uint64_t position, char *out, size_t room)
{
    (void)position;
    struct exchange *exchange = cls;
    if (exchange->gone) {
        return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    ptrdiff_t bytes =
        exchange->handler->on_wanted(exchange->handler->owner, exchange, (uint8_t *)out, room);
    if (bytes == SERVER_STREAM_END) {
        return MHD_CONTENT_READER_END_OF_STREAM;
    }
    if (bytes == SERVER_STREAM_BROKEN) {
        return MHD_CONTENT_READER_END_WITH_ERROR;
    }
    if (bytes == 0) {
        suspend(exchange);
    } else {
        connection_progress(exchange->connection);
    }
    return bytes;
}

void mhd_stream(struct exchange *exchange, unsigned status, const struct server_header *headers,
                uint64_t body_bytes)
{
    struct MHD_Response *response = MHD_create_response_from_callback(
        body_bytes == SERVER_BODY_UNKNOWN ? MHD_SIZE_UNKNOWN : body_bytes, STREAM_BLOCK_BYTES,
        on_stream_wanted, exchange, NULL);
    if (response != NULL && exchange->method == ROUTE_METHOD_HEAD &&
        body_bytes == SERVER_BODY_UNKNOWN) {
        /* Else libmicrohttpd writes the end of a chunked body that a HEAD has not. */
        (void)MHD_set_response_options(response, MHD_RF_HTTP_1_0_COMPATIBLE_STRICT, MHD_RO_END);
    }
    give_reply(exchange, status, with_headers(exchange, response, NULL, headers));
}

void mhd_stream_ready(struct exchange *exchange)
{
    resume(exchange);
}

void mhd_give_up(struct exchange *exchange)
{
    exchange->gone = true;
    resume(exchange);
}

/* -- Headers ----------------------------------------------------------------------------------- */

const char *mhd_header(const struct exchange *exchange, const char *name)
{
    return MHD_lookup_connection_value(exchange->mhd, MHD_HEADER_KIND, name);
}

struct header_visit {
    void (*visit)(void *arg, const char *name, size_t name_bytes, const char *value,
                  size_t value_bytes);
    void *arg;
};

static enum MHD_Result visit_header(void *cls, enum MHD_ValueKind kind, const char *name,
                                    size_t name_bytes, const char *value, size_t value_bytes)
{
    (void)kind;
    const struct header_visit *visit = cls;
    visit->visit(visit->arg, name, name_bytes, value, value_bytes);
    return MHD_YES;
}

void mhd_visit_headers(const struct exchange *exchange,
                       void (*visit)(void *arg, const char *name, size_t name_bytes,
                                     const char *value, size_t value_bytes),
                       void *arg)
{
    struct header_visit cls = {.visit = visit, .arg = arg};
    (void)MHD_get_connection_values_n(exchange->mhd, MHD_HEADER_KIND, visit_header, &cls);
}

/* -- A request comes in ------------------------------------------------------------------------ */

static struct connection *connection_of(struct MHD_Connection *mhd)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info->socket_context;
}

/* The first callback of a request. The handler callback sees an unescaped address, in which %2f
 * has become '/'; routes are matched on this raw one. */
void *mhd_on_target(void *cls, const char *target, struct MHD_Connection *mhd)
{
    (void)cls;
    struct connection *connection = connection_of(mhd);
    struct exchange *exchange =
        exchange_new(connection, target, route_match(target, strcspn(target, "?")));
    if (exchange == NULL) {
        return NULL; /* mhd_on_access() then closes the connection */
    }
    exchange->mhd = mhd;
    if (connection->state == CONNECTION_IDLE) {
        connection_enter(connection, CONNECTION_HEAD);
    }
    return exchange;
}

/* Our own end of reading is an event to libmicrohttpd, where the peer's was none. Under TLS it
 * reads on by itself. */
static void show_end(const struct connection *connection)
{
    if (!connection->daemon->tls && connection_has_left(connection)) {
        (void)shutdown(connection->fd, SHUT_RD);
    }
}

void mhd_on_completed(void *cls, struct MHD_Connection *mhd, void **con_cls,
                      enum MHD_RequestTerminationCode code)
{
    (void)mhd;
    struct server *server = cls;
    struct exchange *exchange = *con_cls;
    server->progress++;
    if (exchange == NULL) {
        return;
    }
    *con_cls = NULL;
    assert(!exchange->suspended);
    if (exchange->reply != NULL && exchange->reply != server->no_content) {
        MHD_destroy_response(exchange->reply);
    }
    if (code != MHD_REQUEST_TERMINATED_COMPLETED_OK) {
        server->ready = true; /* libmicrohttpd may leave what it closed to its next run */
    } else {
        show_end(exchange->connection);
    }
    connection_enter(exchange->connection, CONNECTION_IDLE);
    exchange_free(exchange, exchange->state == EXCHANGE_REPLYING &&
                                code == MHD_REQUEST_TERMINATED_COMPLETED_OK);
}

/* libmicrohttpd cuts a value at a NUL, joins a folded line to a name, and takes a bare LF for an
 * end of line, all in silence. But it parses in place and writes a NUL over each colon, CR and LF:
 * so where lines do not follow each other as they would without such tricks, one was there. */
struct head_walk {
    struct head head;
    const char *next; /* where the next name must start; NULL: no longer in order */
};

static bool lies_between(const char *from, const char *to)
{
    while (from < to && (*from == ' ' || *from == '\t')) {
        from++;
    }
    return from == to;
}

static enum MHD_Result add_to_head(void *cls, enum MHD_ValueKind kind, const char *name,
                                   size_t name_bytes, const char *value, size_t value_bytes)
{
    (void)kind;
    struct head_walk *walk = cls;
    bool in_order =
        name == walk->next && value != NULL && lies_between(name + name_bytes + 1, value);
    walk->next = in_order ? value + value_bytes + 2 : NULL;
    bool good = head_add(&walk->head, name, name_bytes, value, value_bytes) == 0;
    return good ? MHD_YES : MHD_NO;
}

/* Why the head is refused; NULL when it is good. */
static const char *walk_head(struct exchange *exchange, const char *url, const char *method,
                             const char *version, struct head *head)
{
    struct head_walk walk = {.next = version + strlen(version) + 2};
    head_init(&walk.head, method, version);
    (void)MHD_get_connection_values_n(exchange->mhd, MHD_HEADER_KIND, add_to_head, &walk);
    if (head_finish(&walk.head) != 0) {
        return walk.head.reason;
    }
    *head = walk.head;
    static const char END[4] = {0}; /* of the last line, and of the empty one after it */
    if (url + strlen(exchange->target) + 1 != version || walk.next == NULL ||
        memcmp(walk.next - 2, END, sizeof(END)) != 0) {
        return "a NUL, a folded line or a bare line feed in the head";
    }
    return NULL;
}

static void refuse(struct exchange *exchange, enum server_refusal refusal, const char *reason)
{
    exchange->handler = NULL;
    exchange->server->settings.on_refused(exchange->server->settings.owner, exchange, refusal,
                                          reason);
    assert(exchange->reply_status != 0);
}

/* Send the reply with the body unread: only where the client has not begun to send it, or the body
 * is more than we are willing to drain. */
static bool reply_is_due_at_headers(const struct exchange *exchange)
{
    return exchange->reply_status != 0 && exchange->body_bytes != 0 &&
           (exchange->expects_continue ||
            (exchange->body_bytes != SERVER_BODY_UNKNOWN &&
             exchange->body_bytes > exchange->server->settings.drain_bytes_max));
}

/* The exchange is answered, or its handler is told of it. */
static enum MHD_Result begin_receiving(struct exchange *exchange)
{
    exchange_enter(exchange, EXCHANGE_RECEIVING);
    connection_enter(exchange->connection,
                     exchange->body_bytes != 0 ? CONNECTION_BODY : CONNECTION_WAITING);
    if (exchange->reply_status != 0) {
        exchange->handler = NULL;
    } else {
        exchange->handler->on_headers(exchange->handler->owner, exchange);
    }
    return reply_is_due_at_headers(exchange) ? queue_reply(exchange) : MHD_YES;
}

static enum MHD_Result ask_gate(struct exchange *exchange)
{
    const struct server_gate *gate = exchange->server->settings.gate;
    if (gate != NULL && !gate->on_headers(gate->owner, exchange) && exchange->reply_status == 0) {
        exchange_enter(exchange, EXCHANGE_HELD);
        suspend(exchange);
        return MHD_YES;
    }
    return begin_receiving(exchange);
}

void exchange_admit(struct exchange *exchange)
{
    exchange_enter(exchange, EXCHANGE_ADMITTED);
    resume(exchange);
}

static enum MHD_Result on_request_head(struct exchange *exchange, const char *url,
                                       const char *method, const char *version)
{
    struct server *server = exchange->server;
    struct head head = {0};
    exchange->method = route_method_of(method);
    const char *reason = walk_head(exchange, url, method, version, &head);
    if (reason != NULL) {
        /* Its framing cannot be trusted, so neither can what follows on the connection. */
        exchange->body_bytes = SERVER_BODY_UNKNOWN;
        refuse(exchange, SERVER_REFUSAL_HTTP, reason);
        return queue_reply(exchange);
    }
    exchange->body_bytes =
        head.body == HEAD_BODY_CHUNKED ? SERVER_BODY_UNKNOWN : head.content_length;
    exchange->expects_continue = head.expects_continue;
    const struct route *route = exchange->route;
    exchange->handler = server->settings.handlers[route->id];
    if (route->id == ROUTE_BAD_PATH) {
        refuse(exchange, SERVER_REFUSAL_BAD_PATH,
               "the path holds an escape, a dot segment or a byte that no route has");
    } else if (exchange->handler == NULL) {
        refuse(exchange, SERVER_REFUSAL_NOT_FOUND, "no such path");
    } else if ((route->methods & exchange->method) == 0) {
        refuse(exchange, SERVER_REFUSAL_METHOD, "method not allowed");
    } else if (exchange->connection->reserved && !exchange->handler->serves_reserved) {
        refuse(exchange, SERVER_REFUSAL_CONNECTIONS, "too many connections");
    } else {
        return ask_gate(exchange);
    }
    return begin_receiving(exchange);
}

static enum MHD_Result on_body(struct exchange *exchange, const char *data, size_t *bytes)
{
    size_t taken = *bytes;
    *bytes = 0; /* what is left unconsumed would be offered again at once, in a spin */
    const struct server_handler *handler = exchange->handler;
    if (exchange->reply_status == 0 && handler != NULL && handler->on_body != NULL) {
        handler->on_body(handler->owner, exchange, (const uint8_t *)data, taken);
        return MHD_YES;
    }
    exchange->drained_bytes += taken;
    return exchange->drained_bytes > exchange->server->settings.drain_bytes_max ? MHD_NO : MHD_YES;
}

static enum MHD_Result on_body_end(struct exchange *exchange)
{
    connection_enter(exchange->connection, CONNECTION_WAITING);
    if (exchange->reply_status == 0 && exchange->handler != NULL) {
        exchange->handler->on_complete(exchange->handler->owner, exchange);
    }
    if (exchange->reply_status != 0) {
        return queue_reply(exchange);
    }
    exchange_enter(exchange, EXCHANGE_WAITING);
    suspend(exchange);
    return MHD_YES;
}

enum MHD_Result mhd_on_access(void *cls, struct MHD_Connection *mhd, const char *url,
                              const char *method, const char *version, const char *data,
                              size_t *bytes, void **con_cls)
{
    struct server *server = cls;
    (void)mhd;
    struct exchange *exchange = *con_cls;
    server->progress++;
    if (exchange == NULL || (server->ending && exchange->reply_status == 0)) {
        return MHD_NO; /* one more that waits would outlive the server */
    }
    switch (exchange->state) {
    case EXCHANGE_NEW:
        return on_request_head(exchange, url, method, version);
    case EXCHANGE_HELD:
        return exchange->reply_status != 0 ? begin_receiving(exchange) : MHD_NO;
    case EXCHANGE_ADMITTED:
        return exchange->gone ? MHD_NO : begin_receiving(exchange);
    case EXCHANGE_RECEIVING:
        return *bytes > 0 ? on_body(exchange, data, bytes) : on_body_end(exchange);
    case EXCHANGE_WAITING:
        return exchange->reply_status != 0 ? queue_reply(exchange) : MHD_NO;
    case EXCHANGE_REPLYING:
    default:
        return MHD_NO;
    }
}
