/* Exchanges without a server: what a handler may ask of one, and what it replied. To be included by
 * one file of a program: it stands in for the exchange_...() functions of server/server. */
#ifndef AGENT_PROXY_TEST_FAKE_EXCHANGE_H
#define AGENT_PROXY_TEST_FAKE_EXCHANGE_H

#include "server/server.h"

#include "../wire/generate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <strings.h>

/* Owner: the test, which fills in the request, and ends it with exchange_clear(). */
struct exchange {
    /* The request. */
    const struct route *route;
    const char *target;
    enum route_method method;
    const struct server_header *headers; /* ends with a NULL name, or is NULL */
    uint64_t body_bytes;
    uint64_t started_us;
    uint64_t sender_mark_us; /* of the connection that it came on */
    /* What its handler made of it. */
    void *state;
    bool admitted; /* by the gate */
    unsigned replies;
    unsigned status;
    char content_type[64];
    char reply_headers[512]; /* "Name: value\n" of each */
    struct bytes reply;      /* the body */
};

static inline void exchange_clear(struct exchange *exchange)
{
    bytes_free(&exchange->reply);
    *exchange = (struct exchange){.route = NULL};
}

/* Compare the reply's body with a text, byte by byte. */
static inline bool exchange_replied_text(const struct exchange *exchange, const char *text)
{
    return exchange->reply.size == strlen(text) &&
           memcmp(exchange->reply.data, text, exchange->reply.size) == 0;
}

/* Seconds of the reply's Retry-After; 0 without one. */
static inline unsigned exchange_retry_after_s(const struct exchange *exchange)
{
    static const char name[] = "Retry-After: ";
    const char *at = strstr(exchange->reply_headers, name);
    return at != NULL ? (unsigned)strtoul(at + sizeof(name) - 1, NULL, 10) : 0;
}

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
    const struct server_header *header = exchange->headers;
    for (; header != NULL && header->name != NULL; header++) {
        if (strcasecmp(header->name, name) == 0) {
            return header->value;
        }
    }
    return NULL;
}

uint64_t exchange_body_bytes(const struct exchange *exchange)
{
    return exchange->body_bytes;
}

void *exchange_state(const struct exchange *exchange)
{
    return exchange->state;
}

void exchange_set_state(struct exchange *exchange, void *state)
{
    exchange->state = state;
}

uint64_t exchange_started_us(const struct exchange *exchange)
{
    return exchange->started_us;
}

void exchange_print_peer(const struct exchange *exchange, char text[SERVER_PEER_BYTES])
{
    (void)exchange;
    (void)snprintf(text, SERVER_PEER_BYTES, "192.0.2.7");
}

void exchange_admit(struct exchange *exchange)
{
    assert_false(exchange->admitted);
    assert_int_equal(exchange->replies, 0);
    exchange->admitted = true;
}

void exchange_mark_sender(struct exchange *exchange, uint64_t until_us)
{
    exchange->sender_mark_us = until_us;
}

uint64_t exchange_sender_mark_us(const struct exchange *exchange)
{
    return exchange->sender_mark_us;
}

void exchange_reply(struct exchange *exchange, const struct server_reply *reply)
{
    assert_int_equal(exchange->replies, 0);
    exchange->replies++;
    exchange->status = reply->status;
    /* A type goes with a body. */
    assert_true((reply->body_bytes > 0) == (reply->content_type != NULL));
    (void)snprintf(exchange->content_type, sizeof(exchange->content_type), "%s",
                   reply->content_type != NULL ? reply->content_type : "");
    put(&exchange->reply, reply->body, reply->body_bytes);
    const struct server_header *header = reply->headers;
    for (; header != NULL && header->name != NULL; header++) {
        size_t at = strlen(exchange->reply_headers);
        size_t room = sizeof(exchange->reply_headers) - at;
        int bytes =
            snprintf(exchange->reply_headers + at, room, "%s: %s\n", header->name, header->value);
        assert_true(bytes > 0 && (size_t)bytes < room);
    }
}

void exchange_reply_text(struct exchange *exchange, unsigned status,
                         const struct server_header *headers, const char *text)
{
    struct bytes line = {0};
    put(&line, text, strlen(text));
    put_byte(&line, '\n');
    exchange_reply(exchange, &(struct server_reply){.status = status,
                                                    .content_type = "text/plain; charset=utf-8",
                                                    .headers = headers,
                                                    .body = line.data,
                                                    .body_bytes = line.size});
    bytes_free(&line);
}

#endif
