/* The HTTP/1.1 server of a worker. The only includer of microhttpd.h.
 *
 * A request and its reply are an exchange. The server calls the handler of the exchange's route:
 *
 *   on_headers -> [on_body ...] -> on_complete -> (time passes) -> exchange_reply() -> on_end
 *
 * A reply may be given at any point from on_headers on; what is left of the body is then drained
 * within bounds, so that the sender sees the reply and not a reset. Without a reply after
 * on_complete the exchange waits, at no cost, until exchange_reply().
 *
 * A gate, where there is one, is asked before on_headers, and may take its time: until then nothing
 * of the body is read.
 *
 * Connections have limits of number and of time: a head may take 10 s, a body 30 s, a reply 60 s
 * without progress; all absolute, all ended by closing the connection. */
#ifndef AGENT_PROXY_SERVER_SERVER_H
#define AGENT_PROXY_SERVER_SERVER_H

#include "wire/route.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct handoff;
struct log;
struct loop;
struct metrics;
struct server;
struct exchange;

#define SERVER_BODY_UNKNOWN UINT64_MAX /* the body is chunked: its size shows at its end */

/* What a route does with an exchange. Constant, owned by the worker.
 * All run in the server's phase. exchange is valid from on_headers until on_end returns; after
 * on_end it must be forgotten. A handler without on_body takes no body: one that comes is
 * drained. */
struct server_handler {
    void *owner;
    void (*on_headers)(void *owner, struct exchange *exchange);
    void (*on_body)(void *owner, struct exchange *exchange, const uint8_t *data, size_t bytes);
    void (*on_complete)(void *owner, struct exchange *exchange);
    /* Where the next bytes of a body of known size go, and up to how many. Returns NULL while there
     * is no room for a body that has not begun: it is asked again whenever something may have
     * changed, and at *again_us; or it was replied to. With it, plain requests of the route need
     * not pass through the HTTP library. NULL: bodies come by on_body only. */
    uint8_t *(*on_room)(void *owner, struct exchange *exchange, size_t *room, uint64_t *again_us);
    /* So many bytes were put there. */
    void (*on_received)(void *owner, struct exchange *exchange, size_t bytes);
    /* Of a reply begun with exchange_stream(): put up to room bytes into out. Returns how many;
     * 0 for none now (exchange_stream_ready() asks again), or SERVER_STREAM_*. */
    ptrdiff_t (*on_wanted)(void *owner, struct exchange *exchange, uint8_t *out, size_t room);
    void (*on_end)(void *owner, struct exchange *exchange, bool replied);
    bool keeps_head;      /* headers can be seen until on_complete, not only in on_headers */
    bool watch_client;    /* end an exchange that waits as soon as its client is gone */
    bool serves_reserved; /* also on connections above the limit */
};

#define SERVER_STREAM_END    ((ptrdiff_t)-1) /* the body is whole */
#define SERVER_STREAM_BROKEN ((ptrdiff_t)-2) /* it never will be: the client sees it cut short */

/* Who is asked first about each exchange that has a handler. Constant, owned by the worker. */
struct server_gate {
    void *owner;
    /* True: on_headers would say yes to such a request, at once. authorization: of its header, or
     * NULL. */
    bool (*passes)(void *owner, enum route_id route, const char *authorization);
    /* True: go on. False: it was replied to, or is held until exchange_admit() or a reply. */
    bool (*on_headers)(void *owner, struct exchange *exchange);
    /* One that was held without an answer has ended: forget it. */
    void (*on_end)(void *owner, struct exchange *exchange);
};

/* Why the server itself turns a request away. */
enum server_refusal {
    SERVER_REFUSAL_HTTP,       /* 400: a request head that is not plain HTTP/1.1; then closed */
    SERVER_REFUSAL_BAD_PATH,   /* 400 */
    SERVER_REFUSAL_NOT_FOUND,  /* 404 */
    SERVER_REFUSAL_METHOD,     /* 405 with Allow */
    SERVER_REFUSAL_CONNECTIONS /* 503: above the limit of connections; then closed */
};

enum server_client_auth {
    SERVER_CLIENT_AUTH_NONE,
    SERVER_CLIENT_AUTH_REQUEST, /* asked for; verified when given and a CA is known */
    SERVER_CLIENT_AUTH_REQUIRE, /* needed; any will do */
    SERVER_CLIENT_AUTH_VERIFY   /* needed, and signed by the client CA */
};

/* TLS of the listener. Owner: borrowed by server_new() and server_set_tls(): the TLS library loads
 * it. */
struct server_tls {
    const char *cert_pem;
    const char *key_pem;
    const char *client_ca_pem; /* NULL: none */
    const char *priorities;    /* of GnuTLS */
    enum server_client_auth client_auth;
};

struct server_settings {
    const struct server_handler *handlers[ROUTE_COUNT]; /* NULL: the route does not exist */
    /* Must reply at once. reason is a constant text in lower case. */
    void (*on_refused)(void *owner, struct exchange *exchange, enum server_refusal refusal,
                       const char *reason);
    void *owner;                    /* of on_refused */
    const struct server_gate *gate; /* NULL: none */
    const struct log *log;
    struct metrics *metrics;
    struct handoff *handoff;            /* NULL: it serves all that it accepts */
    size_t worker_number;               /* of the server there, from 0 on: 0 accepts */
    size_t connections_max;             /* of this server */
    size_t connections_per_address_max; /* from one peer address */
    uint64_t drain_bytes_max; /* [bytes] of a refused request's body that are read and dropped */
};

/* Make the server of a worker, listening on listen_fd, which it consumes; -1: it only serves what
 * it is given by handoff. tls: NULL for plain HTTP. Errors: NULL and errno; the reason is logged.
 */
__attribute__((warn_unused_result)) struct server *
server_new(const struct server_settings *settings, const struct server_tls *tls, struct loop *loop,
           int listen_fd);

/* Connections that come from now on use tls; the others end with their next reply. Only for a
 * server that was made with TLS. Errors: -errno, and the old one stays. */
__attribute__((warn_unused_result)) int server_set_tls(struct server *server,
                                                       const struct server_tls *tls);

struct server_header {
    const char *name;
    const char *value;
};

/* Each reply from now on carries these headers, where it has none of the same name.
 * Shape: ends with a NULL name, or is NULL. Owner: lent until the next call or server_free(). */
void server_set_headers(struct server *server, const struct server_header *headers);

/* Free it. Every exchange still open is ended without a reply. */
void server_free(struct server *server);

/* One phase: replies leave, connections and requests come in. */
void server_run(struct server *server);

/* When server_run() is due without an event. Units: [us] monotonic, or LOOP_NEVER. */
uint64_t server_deadline_us(const struct server *server);

/* Take no new connections, and close each open one with its next reply. */
void server_stop_accepting(struct server *server);

/* Exchanges between their request line and the end of their reply. */
size_t server_active(const struct server *server);

/* Connections that are open, idle ones too. */
size_t server_connections(const struct server *server);

/* -- An exchange, as its handler sees it ------------------------------------------------------- */

const struct route *exchange_route(const struct exchange *exchange);

/* The raw request target as it came, with its query. Shape: bytes without NUL, terminated. */
const char *exchange_target(const struct exchange *exchange);
enum route_method exchange_method(const struct exchange *exchange);

/* A header's value, or NULL. Case-insensitive; the first of several. To be asked for in on_headers,
 * with keeps_head up to on_complete. Valid during the callback. */
const char *exchange_header(const struct exchange *exchange, const char *name);

/* Call visit for each header of the request, in order. Valid as exchange_header() is. */
void exchange_visit_headers(const struct exchange *exchange,
                            void (*visit)(void *arg, const char *name, size_t name_bytes,
                                          const char *value, size_t value_bytes),
                            void *arg);

/* [bytes] of the body as declared; 0 without one; SERVER_BODY_UNKNOWN when chunked. */
uint64_t exchange_body_bytes(const struct exchange *exchange);

/* The handler's own state, NULL at first. */
void *exchange_state(const struct exchange *exchange);
void exchange_set_state(struct exchange *exchange, void *state);

/* When the request line came. Units: [us] monotonic. */
uint64_t exchange_started_us(const struct exchange *exchange);

#define SERVER_PEER_BYTES 48

/* The address that the connection came from, without its port. */
void exchange_print_peer(const struct exchange *exchange, char text[SERVER_PEER_BYTES]);

/* Let an exchange that the gate holds go on to its handler, in the server's next phase. */
void exchange_admit(struct exchange *exchange);

/* A whole reply; everything is copied. Shape: headers ends with a NULL name, or is NULL. */
struct server_reply {
    unsigned status;
    const char *content_type; /* NULL when the body is empty */
    const struct server_header *headers;
    const void *body;
    size_t body_bytes;
};

/* Reply, once; a second reply to the same exchange is a bug and aborts. */
void exchange_reply(struct exchange *exchange, const struct server_reply *reply);

/* Begin a reply whose body streams from on_wanted. body_bytes: its exact size, or
 * SERVER_BODY_UNKNOWN. headers are copied. To a HEAD no body is asked for. */
void exchange_stream(struct exchange *exchange, unsigned status,
                     const struct server_header *headers, uint64_t body_bytes);

/* There is something for on_wanted, the end included. */
void exchange_stream_ready(struct exchange *exchange);

/* Cut the connection, whatever the exchange waits for; on_end follows. */
void exchange_abort(struct exchange *exchange);

/* Remember something of the sender, for as long as its connection lasts: a time, 0 at first. Some
 * senders make a new connection for each request: said of the first exchange of a connection, it is
 * remembered of the peer's address too, for the first exchange of those that come from there later.
 * Of addresses the 64 are kept whose times end last. Units: [us] monotonic. */
void exchange_mark_sender(struct exchange *exchange, uint64_t until_us);
uint64_t exchange_sender_mark_us(const struct exchange *exchange);

/* Reply with a line of text, to which '\n' is added; headers as above. */
void exchange_reply_text(struct exchange *exchange, unsigned status,
                         const struct server_header *headers, const char *text);

#endif
