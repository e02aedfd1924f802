/* Whose turn it is on the fast path: first those that are replied to, then those that bring
 * requests, each in order. Of these a turn takes a bounded number of bytes, so what was read is
 * decoded, joined and sent before more is read: few at first, so that after a pause the first of
 * those that have come is not answered with the last, and more while there is more to do. */
#include "server/private.h"

#include <assert.h>

/* Taken in by a turn; the read that reaches them ends it. */
#define TURN_BYTES_MIN (64U * 1024U)
#define TURN_BYTES_MAX (1024U * 1024U)
#define TURN_GROWTH    4U

/* -- Those that can go on ---------------------------------------------------------------------- */

static void append(struct connection_queue *queue, struct connection *connection)
{
    assert(connection->queue == NULL);
    connection->queue = queue;
    connection->queue_next = NULL;
    connection->queue_prev = queue->last;
    if (queue->last != NULL) {
        queue->last->queue_next = connection;
    } else {
        queue->first = connection;
    }
    queue->last = connection;
}

static void prepend(struct connection_queue *queue, struct connection *connection)
{
    assert(connection->queue == NULL);
    connection->queue = queue;
    connection->queue_prev = NULL;
    connection->queue_next = queue->first;
    if (queue->first != NULL) {
        queue->first->queue_prev = connection;
    } else {
        queue->last = connection;
    }
    queue->first = connection;
}

void direct_leave_queue(struct connection *connection)
{
    struct connection_queue *queue = connection->queue;
    if (queue == NULL) {
        return;
    }
    if (connection->queue_prev != NULL) {
        connection->queue_prev->queue_next = connection->queue_next;
    } else {
        queue->first = connection->queue_next;
    }
    if (connection->queue_next != NULL) {
        connection->queue_next->queue_prev = connection->queue_prev;
    } else {
        queue->last = connection->queue_prev;
    }
    connection->queue = NULL;
}

/* Some of its body has been read: held, and of no use before the rest has come. */
static bool is_begun(const struct connection *connection)
{
    const struct exchange *exchange = connection->exchange;
    return connection->state == CONNECTION_BODY && exchange->reply_status == 0 &&
           connection->body_left < exchange->body_bytes;
}

void direct_make_ready(struct connection *connection)
{
    struct server *server = connection->server;
    bool replies =
        connection->state == CONNECTION_WAITING || connection->state == CONNECTION_REPLYING;
    struct connection_queue *queue = replies ? &server->direct_replies : &server->direct_ready;
    if (connection->queue == queue) {
        return;
    }
    direct_leave_queue(connection); /* it may wait for room, or what it does next has changed */
    if (is_begun(connection)) {
        prepend(queue, connection);
    } else {
        append(queue, connection);
    }
}

void direct_park(struct connection *connection, uint64_t again_us)
{
    connection->again_us = again_us;
    direct_leave_queue(connection);
    append(&connection->server->direct_parked, connection);
}

/* -- The phase --------------------------------------------------------------------------------- */

static bool turn_is_full(const struct server *server)
{
    return server->direct_taken >= server->direct_turn_bytes;
}

static void go_on(struct connection *connection)
{
    struct server *server = connection->server;
    direct_leave_queue(connection);
    while (direct_step(connection)) {
        if (turn_is_full(server)) {
            direct_make_ready(connection);
            return;
        }
    }
}

/* The first of those that wait may go on, or has waited too long. */
static bool may_go_on(struct connection *connection)
{
    struct exchange *exchange = connection->exchange;
    const struct server_handler *handler = exchange->handler;
    size_t room = 0;
    return exchange->reply_status != 0 ||
           handler->on_room(handler->owner, exchange, &room, &connection->again_us) != NULL ||
           exchange->reply_status != 0;
}

/* Replies cost little and somebody waits for them. Bodies that are begun are ended before others
 * begin. Of these, those that were parked come first, and are asked about anew each time: whoever
 * went on before may have left room, of which no event will tell. */
static struct connection *next_to_go_on(struct server *server)
{
    struct connection *ready = server->direct_ready.first;
    struct connection *waits = server->direct_parked.first;
    if (server->direct_replies.first != NULL) {
        return server->direct_replies.first;
    }
    if (ready != NULL && is_begun(ready)) {
        return ready;
    }
    return waits != NULL && may_go_on(waits) ? waits : ready;
}

static void begin_turn(struct server *server)
{
    size_t bytes = TURN_BYTES_MIN;
    if (server->direct_taken > 0 && turn_is_full(server)) {
        bytes = TURN_GROWTH * server->direct_turn_bytes;
    }
    server->direct_turn_bytes = bytes < TURN_BYTES_MAX ? bytes : TURN_BYTES_MAX;
    server->direct_taken = 0;
}

void direct_run(struct server *server)
{
    struct connection *next;
    begin_turn(server);
    while (!turn_is_full(server) && (next = next_to_go_on(server)) != NULL) {
        go_on(next);
    }
}

uint64_t direct_deadline_us(const struct server *server)
{
    const struct connection *waits = server->direct_parked.first;
    bool cut_short = turn_is_full(server); /* there may be room for it */
    if (server->direct_replies.first != NULL || server->direct_ready.first != NULL ||
        (waits != NULL && cut_short)) {
        return 0;
    }
    return waits != NULL ? waits->again_us : LOOP_NEVER;
}
