/* Exchanges: their life, and what they tell their handler. How a request comes in and a reply goes
 * out is mhd.c's or, on the fast path, direct.c's. */
#include "server/private.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* -- Life -------------------------------------------------------------------------------------- */

struct exchange *exchange_new(struct connection *connection, const char *target,
                              const struct route *route)
{
    struct server *server = connection->server;
    struct exchange *exchange = malloc(sizeof(*exchange));
    size_t bytes = strlen(target);
    char *long_target = NULL;
    if (exchange != NULL && bytes >= EXCHANGE_TARGET_INLINE) {
        long_target = malloc(bytes + 1);
    }
    if (exchange == NULL || (bytes >= EXCHANGE_TARGET_INLINE && long_target == NULL)) {
        free(exchange);
        return NULL;
    }
    *exchange = (struct exchange){
        .server = server,
        .connection = connection,
        .route = route,
        .started_us = clock_now_us(),
        .next = server->exchanges,
    };
    exchange->target = long_target != NULL ? long_target : exchange->target_inline;
    memcpy(exchange->target, target, bytes + 1);
    if (exchange->next != NULL) {
        exchange->next->prev = exchange;
    }
    server->exchanges = exchange;
    server->active++;
    return exchange;
}

void exchange_enter(struct exchange *exchange, enum exchange_state state)
{
    assert(state > exchange->state);
    exchange->state = state;
}

void exchange_free(struct exchange *exchange, bool replied)
{
    struct server *server = exchange->server;
    if (exchange->state == EXCHANGE_HELD && exchange->reply_status == 0) {
        server->settings.gate->on_end(server->settings.gate->owner, exchange);
    } else if (exchange->state > EXCHANGE_ADMITTED && exchange->handler != NULL &&
               exchange->handler->on_end != NULL) {
        exchange->handler->on_end(exchange->handler->owner, exchange, replied);
    }
    if (exchange->prev != NULL) {
        exchange->prev->next = exchange->next;
    } else {
        server->exchanges = exchange->next;
    }
    if (exchange->next != NULL) {
        exchange->next->prev = exchange->prev;
    }
    server->active--;
    if (exchange->target != exchange->target_inline) {
        free(exchange->target);
    }
    free(exchange->head);
    buf_deinit(&exchange->out);
    free(exchange);
}

bool exchange_closes(const struct exchange *exchange)
{
    return exchange->server->closing || exchange->connection->reserved ||
           exchange->connection->daemon != exchange->server->daemon;
}

/* -- Replying ---------------------------------------------------------------------------------- */

void exchange_reply(struct exchange *exchange, const struct server_reply *reply)
{
    assert(exchange->reply_status == 0);
    if (exchange->mhd != NULL) {
        mhd_reply(exchange, reply);
    } else {
        direct_reply(exchange, reply);
    }
}

void exchange_stream(struct exchange *exchange, unsigned status,
                     const struct server_header *headers, uint64_t body_bytes)
{
    assert(exchange->reply_status == 0);
    if (exchange->mhd != NULL) {
        mhd_stream(exchange, status, headers, body_bytes);
    } else {
        direct_stream(exchange, status, headers, body_bytes);
    }
}

void exchange_stream_ready(struct exchange *exchange)
{
    if (exchange->mhd != NULL) {
        mhd_stream_ready(exchange);
    } else {
        direct_stream_ready(exchange);
    }
}

void exchange_give_up(struct exchange *exchange)
{
    if (exchange->mhd != NULL) {
        mhd_give_up(exchange);
    } else {
        direct_give_up(exchange);
    }
}

void exchange_abort(struct exchange *exchange)
{
    (void)shutdown(exchange->connection->fd, SHUT_RDWR);
    exchange_give_up(exchange);
}

void exchange_reply_text(struct exchange *exchange, unsigned status,
                         const struct server_header *headers, const char *text)
{
    char line[1024];
    int bytes = snprintf(line, sizeof(line), "%s\n", text);
    assert(bytes > 0);
    if ((size_t)bytes >= sizeof(line)) {
        bytes = (int)sizeof(line) - 1;
        line[bytes - 1] = '\n';
    }
    exchange_reply(exchange, &(struct server_reply){.status = status,
                                                    .content_type = "text/plain; charset=utf-8",
                                                    .headers = headers,
                                                    .body = line,
                                                    .body_bytes = (size_t)bytes});
}

/* -- What an exchange tells its handler -------------------------------------------------------- */

const struct route *exchange_route(const struct exchange *exchange)
{
    return exchange->route;
}

const char *exchange_target(const struct exchange *exchange)
{
    return exchange->target;
}

enum route_method exchange_method(const struct exchange *exchange)
{
    return exchange->method;
}

const char *exchange_header(const struct exchange *exchange, const char *name)
{
    return exchange->mhd != NULL ? mhd_header(exchange, name) : direct_header(exchange, name);
}

void exchange_visit_headers(const struct exchange *exchange,
                            void (*visit)(void *arg, const char *name, size_t name_bytes,
                                          const char *value, size_t value_bytes),
                            void *arg)
{
    if (exchange->mhd != NULL) {
        mhd_visit_headers(exchange, visit, arg);
    } else {
        direct_visit_headers(exchange, visit, arg);
    }
}

uint64_t exchange_body_bytes(const struct exchange *exchange)
{
    return exchange->body_bytes;
}

void *exchange_state(const struct exchange *exchange)
{
    return exchange->user;
}

void exchange_set_state(struct exchange *exchange, void *state)
{
    exchange->user = state;
}

uint64_t exchange_started_us(const struct exchange *exchange)
{
    return exchange->started_us;
}

void exchange_print_peer(const struct exchange *exchange, char text[SERVER_PEER_BYTES])
{
    const struct in6_addr *address = &exchange->connection->address;
    bool mapped = IN6_IS_ADDR_V4MAPPED(address);
    const void *bytes = mapped ? (const void *)(address->s6_addr + 12) : (const void *)address;
    if (inet_ntop(mapped ? AF_INET : AF_INET6, bytes, text, SERVER_PEER_BYTES) == NULL) {
        text[0] = '\0';
    }
}

static bool is_first_of_connection(const struct exchange *exchange)
{
    return exchange->connection->idle_since_us == 0;
}

void exchange_mark_sender(struct exchange *exchange, uint64_t until_us)
{
    struct connection *connection = exchange->connection;
    connection->marked_until_us = until_us;
    if (is_first_of_connection(exchange)) {
        marks_put(exchange->server, &connection->address, until_us);
    }
}

/* Others may have the same address, so it says nothing of who keeps a connection. */
uint64_t exchange_sender_mark_us(const struct exchange *exchange)
{
    const struct connection *connection = exchange->connection;
    return is_first_of_connection(exchange) ? connection->came_marked_us
                                            : connection->marked_until_us;
}
