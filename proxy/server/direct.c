/* The fast path of requests: those that are plain in every respect are read from the socket
 * straight into their handler's memory, without libmicrohttpd; so are they answered, by
 * direct_reply.c.
 *
 *   peek at the head --plain--> read head and body --> handler ... reply --> peek again
 *         |
 *         +--anything else--> libmicrohttpd takes the connection over, for good
 *
 * A head is only peeked at until it is known to be of our kind, so nothing has to be given back.
 * Nothing is refused here for its form: what is not plain is libmicrohttpd's to judge.
 *
 * Sockets are watched once and edge-triggered; the kernel tells with each read how much it still
 * has (TCP_INQ), so no read is tried in vain. Bodies that their handler has no room for stay where
 * they are, in the kernel. Whose turn it is says direct_turn.c. */
#include "server/private.h"

#include "base/clock.h"
#include "wire/plain_head.h"

#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define WATCHED          ((uint32_t)(EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET))
#define ENDED            ((uint32_t)(EPOLLRDHUP | EPOLLHUP | EPOLLERR))
#define REQUEST_BYTES    1024U /* that a request counts for in a turn, besides its own */
#define USUAL_HEAD_BYTES 1024  /* a body behind a head should not be copied twice */

/* -- Events ------------------------------------------------------------------------------------ */

bool direct_is_forsaken(const struct connection *connection)
{
    return connection->ended && connection->exchange->handler->watch_client;
}

static void on_ready(struct loop_watch *watch, uint32_t events)
{
    struct connection *connection =
        (struct connection *)((char *)watch - offsetof(struct connection, watch));
    connection->readable = connection->readable || (events & ~(uint32_t)EPOLLOUT) != 0;
    connection->ended = connection->ended || (events & ENDED) != 0;
    bool waits = connection->state == CONNECTION_WAITING; /* then its reply makes it ready */
    bool parked = connection->queue == &connection->server->direct_parked;
    bool lost = (events & (uint32_t)(EPOLLHUP | EPOLLERR)) != 0; /* it takes no reply either */
    if (parked && lost) {
        connection->exchange->gone = true;
    }
    if (parked ? lost : !waits || direct_is_forsaken(connection)) {
        direct_make_ready(connection);
    }
}

/* -- Life of a connection ---------------------------------------------------------------------- */

int direct_open(struct connection *connection)
{
    int one = 1;
    connection->watch.on_ready = on_ready;
    int status = loop_set(connection->server->loop, connection->fd, WATCHED, &connection->watch);
    if (status != 0) {
        return status;
    }
    connection->watched = true;
    connection->direct = true;
    /* Without the first a reply may be late, without the second a read may be in vain. */
    (void)setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    connection->tells_unread =
        setsockopt(connection->fd, IPPROTO_TCP, TCP_INQ, &one, sizeof(one)) == 0;
    connection->readable = true; /* most bring their request along */
    direct_make_ready(connection);
    return 0;
}

/* End it, and its exchange without a reply. The connection is gone. */
void direct_close(struct connection *connection)
{
    struct exchange *exchange = connection->exchange;
    connection->exchange = NULL;
    direct_leave_queue(connection);
    if (exchange != NULL) {
        exchange_free(exchange, false);
    }
    close(connection->fd);
    connection->watched = false;
    connection_drop(connection);
}

void direct_close_all(struct server *server)
{
    for (unsigned state = 0; state < CONNECTION_STATES; state++) {
        struct connection *next;
        for (struct connection *c = server->connections[state].first; c != NULL; c = next) {
            next = c->next;
            if (c->direct) {
                direct_close(c);
            }
        }
    }
}

static void hand_over(struct connection *connection)
{
    direct_leave_queue(connection);
    connection->direct = false;
    connection_hand_over(connection);
}

/* -- Bodies ------------------------------------------------------------------------------------ */

/* Read up to bytes in all into two places. Sets readable by what the kernel still has. */
static ssize_t receive(struct connection *connection, struct iovec parts[2], size_t bytes)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message = {.msg_iov = parts,
                             .msg_iovlen = 2,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof(control.bytes)};
    ssize_t got = recvmsg(connection->fd, &message, MSG_DONTWAIT);
    if (got < 0) {
        connection->readable = errno != EAGAIN;
        return got;
    }
    const struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    if (connection->tells_unread && header != NULL && header->cmsg_type == TCP_CM_INQ) {
        int unread = 0;
        memcpy(&unread, CMSG_DATA(header), sizeof(unread));
        connection->readable = unread > 0 || connection->ended;
    } else {
        connection->readable = (size_t)got == bytes || connection->ended;
    }
    return got;
}

/* Of what came, first the head is passed over. Returns how much was body. */
static size_t note_received(struct connection *connection, size_t bytes)
{
    size_t of_head = bytes < connection->head_left ? bytes : connection->head_left;
    connection->head_left -= of_head;
    connection->body_left -= bytes - of_head;
    connection->server->direct_taken += bytes;
    return bytes - of_head;
}

/* True to go on. The connection is gone when it was lost. */
static bool go_on_after_failure(struct connection *connection, ssize_t got)
{
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return errno == EINTR;
    }
    direct_close(connection);
    return false;
}

/* Drop what is left of a request that was replied to before it was whole. */
static bool discard(struct connection *connection)
{
    uint64_t left = connection->head_left + connection->body_left;
    if (left == 0) {
        direct_start_replying(connection);
        return true;
    }
    struct server *server = connection->server;
    size_t room = sizeof(server->direct_waste);
    ssize_t got =
        recv(connection->fd, server->direct_waste, left < room ? (size_t)left : room, MSG_DONTWAIT);
    if (got <= 0) {
        connection->readable = false;
        return go_on_after_failure(connection, got);
    }
    (void)note_received(connection, (size_t)got);
    return true;
}

static bool end_body(struct connection *connection)
{
    struct exchange *exchange = connection->exchange;
    connection_enter(connection, CONNECTION_WAITING);
    exchange->handler->on_complete(exchange->handler->owner, exchange);
    free(exchange->head);
    exchange->head = NULL;
    exchange_enter(exchange, EXCHANGE_WAITING);
    return exchange->reply_status != 0 || direct_is_forsaken(connection);
}

static bool take_body(struct connection *connection)
{
    struct exchange *exchange = connection->exchange;
    struct server *server = connection->server;
    assert(exchange != NULL);
    const struct server_handler *handler = exchange->handler;
    if (exchange->reply_status != 0) {
        return discard(connection);
    }
    size_t room = 0;
    uint64_t again_us = LOOP_NEVER;
    uint8_t *to = NULL;
    if (connection->body_left > 0) {
        to = handler->on_room(handler->owner, exchange, &room, &again_us);
        if (to == NULL) {
            if (exchange->reply_status == 0) {
                direct_park(connection, again_us);
            }
            return exchange->reply_status != 0;
        }
    }
    if (!connection->readable) {
        return false;
    }
    struct iovec parts[2] = {{server->direct_head, connection->head_left},
                             {to, connection->body_left < room ? connection->body_left : room}};
    ssize_t got = receive(connection, parts, parts[0].iov_len + parts[1].iov_len);
    if (got <= 0) {
        return go_on_after_failure(connection, got);
    }
    size_t bytes = note_received(connection, (size_t)got);
    if (bytes > 0) {
        handler->on_received(handler->owner, exchange, bytes);
    }
    bool whole = connection->head_left + connection->body_left == 0;
    return whole ? end_body(connection) : connection->readable;
}

/* -- Heads ------------------------------------------------------------------------------------- */

/* Within on_headers it is where it was parsed; later only handlers that keep it have one. */
static const struct plain_head *head_of(const struct exchange *exchange)
{
    const struct plain_head *head =
        exchange->head != NULL ? exchange->head : exchange->server->direct_plain;
    assert(head != NULL);
    return head;
}

const char *direct_header(const struct exchange *exchange, const char *name)
{
    return plain_head_field(head_of(exchange), name);
}

void direct_visit_headers(const struct exchange *exchange,
                          void (*visit)(void *arg, const char *name, size_t name_bytes,
                                        const char *value, size_t value_bytes),
                          void *arg)
{
    const struct plain_head *head = head_of(exchange);
    for (size_t i = 0; i < head->count; i++) {
        const struct plain_field *field = &head->fields[i];
        visit(arg, field->name, strlen(field->name), field->value, strlen(field->value));
    }
}

/* A body only where the method has one, and of known size. */
static bool framing_is_usual(const struct head *head, enum route_method method)
{
    return head->body == HEAD_BODY_NONE ||
           (head->body == HEAD_BODY_LENGTH &&
            (method == ROUTE_METHOD_POST || head->content_length == 0));
}

/* A request of our kind, as its head says. */
struct plain_request {
    const struct plain_head *head;
    const struct route *route;
    const struct server_handler *handler;
    enum route_method method;
};

/* Whether a request may take the fast path. */
static bool recognize(const struct connection *connection, const struct plain_head *head,
                      struct plain_request *request)
{
    const struct server *server = connection->server;
    const struct server_gate *gate = server->settings.gate;
    const struct route *route = route_match(head->target, strcspn(head->target, "?"));
    const struct server_handler *handler = server->settings.handlers[route->id];
    enum route_method method = route_method_of(head->method);
    *request =
        (struct plain_request){.head = head, .route = route, .handler = handler, .method = method};
    return !connection->reserved && handler != NULL && handler->on_room != NULL &&
           (route->methods & method) != 0 && framing_is_usual(&head->head, method) &&
           head->head.keep_alive && !head->head.expects_continue &&
           (gate == NULL ||
            gate->passes(gate->owner, route->id, plain_head_field(head, "Authorization")));
}

static struct exchange *new_exchange(struct connection *connection,
                                     const struct plain_request *request)
{
    struct exchange *exchange = exchange_new(connection, request->head->target, request->route);
    if (exchange == NULL) {
        return NULL;
    }
    if (request->handler->keeps_head && (exchange->head = plain_head_copy(request->head)) == NULL) {
        exchange_free(exchange, false);
        return NULL;
    }
    exchange->handler = request->handler;
    exchange->method = request->method;
    exchange->body_bytes = request->head->head.content_length;
    return exchange;
}

static bool begin(struct connection *connection, const struct plain_request *request)
{
    struct server *server = connection->server;
    struct exchange *exchange = new_exchange(connection, request);
    if (exchange == NULL) {
        direct_close(connection);
        return false;
    }
    server->direct_taken += REQUEST_BYTES;
    connection->exchange = exchange;
    connection->head_left = request->head->bytes;
    connection->body_left = exchange->body_bytes;
    exchange_enter(exchange, EXCHANGE_RECEIVING);
    connection_enter(connection, CONNECTION_BODY);
    /* Too much to be drained: a reply now goes out at once, and the connection with it. */
    bool too_long = exchange->body_bytes > server->settings.drain_bytes_max;
    connection->leaves = too_long;
    server->direct_plain = request->head;
    request->handler->on_headers(request->handler->owner, exchange);
    server->direct_plain = NULL;
    if (exchange->reply_status == 0) {
        connection->leaves = false;
    } else if (too_long) {
        direct_start_replying(connection);
    }
    return true;
}

static ssize_t peek(struct connection *connection, size_t bytes)
{
    return recv(connection->fd, connection->server->direct_head, bytes, MSG_PEEK | MSG_DONTWAIT);
}

static bool take_head(struct connection *connection)
{
    struct server *server = connection->server;
    struct plain_head head;
    struct plain_request request;
    if (!connection->readable) {
        return false;
    }
    ssize_t got = peek(connection, USUAL_HEAD_BYTES);
    if (got <= 0) {
        connection->readable = got < 0 && errno == EINTR;
        return go_on_after_failure(connection, got);
    }
    bool plain = plain_head_parse(server->direct_head, (size_t)got, &head) == 0;
    if (!plain && got == USUAL_HEAD_BYTES) {
        got = peek(connection, sizeof(server->direct_head));
        plain = got > 0 && plain_head_parse(server->direct_head, (size_t)got, &head) == 0;
    }
    if (!plain || !recognize(connection, &head, &request)) {
        hand_over(connection);
        return false;
    }
    return begin(connection, &request);
}

/* -- One step ---------------------------------------------------------------------------------- */

/* We have said all; until the client has heard it. */
static bool take_leave(struct connection *connection)
{
    struct server *server = connection->server;
    ssize_t got =
        recv(connection->fd, server->direct_waste, sizeof(server->direct_waste), MSG_DONTWAIT);
    if (got <= 0) {
        return go_on_after_failure(connection, got);
    }
    server->direct_taken += (size_t)got;
    return true;
}

/* For a reply, or for more of it. */
static bool end_wait(struct connection *connection)
{
    struct exchange *exchange = connection->exchange;
    assert(exchange != NULL);
    if (exchange->state == EXCHANGE_WAITING && exchange->reply_status != 0) {
        direct_start_replying(connection);
        return true;
    }
    exchange->gone = direct_is_forsaken(connection);
    return exchange->gone;
}

bool direct_step(struct connection *connection)
{
    if (connection->exchange != NULL && connection->exchange->gone) {
        direct_close(connection);
        return false;
    }
    switch (connection->state) {
    case CONNECTION_IDLE:
    case CONNECTION_HEAD:
        return take_head(connection);
    case CONNECTION_BODY:
        return take_body(connection);
    case CONNECTION_WAITING:
        return end_wait(connection);
    case CONNECTION_REPLYING:
        return direct_send(connection);
    case CONNECTION_LEAVING:
        return take_leave(connection);
    case CONNECTION_STATES:
    default:
        assert(false);
        return false;
    }
}
