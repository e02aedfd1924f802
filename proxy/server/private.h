/* What the files of the server share: server.c (life, phase), connection.c (limits and deadlines of
 * connections), exchange.c (what a handler sees), mhd.c (requests and replies by libmicrohttpd),
 * direct.c, direct_reply.c and direct_turn.c (the same without it), sharing.c (with other workers),
 * marks.c (senders that come again), tls.c. For nobody else. */
#ifndef AGENT_PROXY_SERVER_PRIVATE_H
#define AGENT_PROXY_SERVER_PRIVATE_H

#include "base/buf.h"
#include "base/log.h"
#include "io/loop.h"
#include "server/server.h"

#include <microhttpd.h>
#include <netinet/in.h>
#include <time.h>

#define EXCHANGE_TARGET_INLINE 192
#define DIRECT_HEAD_BYTES      4096 /* a longer head takes the slow path */
#define DIRECT_WASTE_BYTES     (64U * 1024U)
#define SERVER_REPLY_HEAD_MAX  (64U * 1024U)

#define CONNECTIONS_PAUSE_US (100U * 1000U) /* when no more can be opened for now */

#define MARKS_MAX 64

struct plain_head;

/* What a connection does, and so how long it may. Each has a list in the order of deadlines. */
enum connection_state {
    CONNECTION_IDLE,     /* between requests: looked at now and then */
    CONNECTION_HEAD,     /* a request's head comes in */
    CONNECTION_BODY,     /* its body comes in */
    CONNECTION_WAITING,  /* the request is whole: its handler has its own deadline */
    CONNECTION_REPLYING, /* the reply goes out */
    CONNECTION_LEAVING,  /* it is out, and the last: until the client has heard it */
    CONNECTION_STATES
};

/* One libmicrohttpd daemon: its TLS settings are for life, so new ones take a new daemon, and the
 * old one goes with its last connection. Owner: the server. */
struct server_daemon {
    struct server_daemon *next; /* older */
    struct server *server;
    struct MHD_Daemon *mhd;
    int fd; /* its epoll, watched by ours; -1: not yet */
    struct loop_watch watch;
    size_t connections;
    unsigned vain_runs; /* since something last came of one */
    bool tls;
    enum server_client_auth client_auth;
    bool has_client_ca;
};

/* Connections that take the fast path and can go on, or wait for room. */
struct connection_queue {
    struct connection *first, *last;
};

/* One TCP connection. Owner: the server; from its accept until it is closed. Most begin on the
 * fast path (direct); once libmicrohttpd has one, it keeps it. */
struct connection {
    struct connection *prev, *next; /* in the list of its state */
    struct server *server;
    struct server_daemon *daemon;
    int fd;
    void *tls_session;     /* of GnuTLS, while the connection lives; NULL without TLS */
    const char *tls_fault; /* why its handshake failed, as far as we saw; NULL: unknown */
    int tls_alert;         /* that the peer sent in the clear; -1: none */
    bool tls_alert_next;   /* the head of its record is in */
    enum connection_state state;
    bool reserved;            /* above the limit: for the proxy's own pages only */
    uint64_t deadline_us;     /* of its state; LOOP_NEVER where it has none */
    int unread_bytes;         /* at the last look for stuck ones */
    uint64_t idle_since_us;   /* 0: no reply has gone out on it yet */
    uint64_t idle_bytes;      /* received, when it became idle */
    uint64_t marked_until_us; /* see exchange_mark_sender() */
    uint64_t came_marked_us;  /* of its address as it came: for its first request */
    struct in6_addr address;  /* of the peer; IPv4 mapped */
    struct loop_watch watch;  /* of what comes; with libmicrohttpd, of the peer's end only */
    bool watched;
    bool ended;               /* the peer sends no more */
    struct exchange *waiting; /* libmicrohttpd: the suspended exchange, to be told of the end */
    /* on the fast path */
    bool direct;
    bool readable;                  /* there may be something to read */
    bool tells_unread;              /* the kernel does, with each read */
    bool leaves;                    /* closes with its next reply, whatever the reply says */
    struct connection_queue *queue; /* that it is in; NULL: none */
    struct connection *queue_prev, *queue_next;
    uint64_t again_us;         /* while it waits for room: when to ask again at the latest */
    struct exchange *exchange; /* under way */
    size_t head_left;          /* [bytes] of the request that are still in the kernel */
    uint64_t body_left;
};

struct connection_list {
    struct connection *first, *last;
};

enum exchange_state {
    EXCHANGE_NEW,       /* the request line is in */
    EXCHANGE_HELD,      /* headers are in; until the gate has decided */
    EXCHANGE_ADMITTED,  /* it has; the handler is still to be told */
    EXCHANGE_RECEIVING, /* headers are in; the body comes */
    EXCHANGE_WAITING,   /* whole; until the reply */
    EXCHANGE_REPLYING   /* the reply goes out */
};

/* One request and its reply. Owner: the server; from the request line until on_end(). */
struct exchange {
    struct exchange *prev, *next; /* all exchanges of the server */
    struct server *server;
    struct connection *connection;
    struct MHD_Connection *mhd;           /* NULL: on the fast path */
    const struct server_handler *handler; /* NULL: refused */
    const struct route *route;
    enum exchange_state state;
    enum route_method method;
    bool expects_continue; /* the client waits for our word before it sends the body */
    bool suspended;        /* libmicrohttpd does not look at the connection */
    bool gone;             /* so is the client */
    uint64_t body_bytes;   /* declared */
    uint64_t drained_bytes;
    uint64_t started_us;
    struct MHD_Response *reply; /* given, not yet queued */
    unsigned reply_status;      /* 0: none was given */
    /* on the fast path */
    struct plain_head *head; /* of a handler that keeps it, until the request is whole */
    struct buf out;          /* the reply, or a block of it; empty: the common one */
    size_t out_sent;         /* [bytes] of out */
    bool streams;            /* there are more blocks */
    uint64_t stream_left;    /* [bytes] of them; SERVER_BODY_UNKNOWN: chunked */
    void *user;
    char *target; /* target_inline, or allocated when longer */
    char target_inline[EXCHANGE_TARGET_INLINE];
};

/* What connections from an address begin with. */
struct mark {
    struct in6_addr address;
    uint64_t until_us; /* 0: a free place */
};

struct server {
    struct server_settings settings;
    struct loop *loop;
    struct server_daemon *daemon;        /* takes the connections that come; older ones behind it */
    struct connection *handshaking;      /* the last that GnuTLS read for, in this call of it */
    uint64_t progress;                   /* goes up with whatever libmicrohttpd does under TLS */
    struct MHD_Response *no_content;     /* usual reply to a write by it; NULL: no memory */
    const struct server_header *headers; /* of every reply; NULL: none */
    struct exchange *exchanges;
    size_t active; /* of exchanges */
    struct connection_list connections[CONNECTION_STATES];
    size_t connection_count;
    struct mark marks[MARKS_MAX];
    size_t reserved_count;       /* of them above the limit */
    struct connection *accepted; /* handed to libmicrohttpd, not yet taken up by it */
    int listen_fd;               /* -1: once stopped, or none */
    bool ready;                  /* a daemon has something to do */
    bool accept_ready;
    bool closing; /* each reply closes its connection */
    bool ending;  /* no request comes in any more: server_free() is under way */
    uint64_t accept_paused_until_us;
    bool busy;                   /* as of the last look at its load */
    uint64_t take_again_us;      /* what other workers accepted for this one */
    uint64_t load_since_us;      /* the last look at its load */
    uint64_t load_cpu_us;        /* of the thread then */
    uint64_t left_look_us;       /* when to look for those who left while they sent */
    uint64_t daemon_deadline_us; /* as of their last run */
    struct log_gate accept_gate;
    struct log_gate limit_gate;
    struct log_gate daemon_gate;
    struct log_gate tls_gate;
    struct loop_watch listen_watch;
    struct connection_queue direct_replies; /* somebody waits for them */
    struct connection_queue direct_ready;
    struct connection_queue direct_parked; /* for room, in the order in which they came */
    size_t direct_turn_bytes;              /* that a turn takes in now */
    size_t direct_taken;                   /* [bytes] in this turn */
    const struct plain_head *direct_plain; /* while a handler is told of a head */
    struct buf direct_no_content;
    time_t direct_printed_at;
    char direct_head[DIRECT_HEAD_BYTES];
    char direct_waste[DIRECT_WASTE_BYTES]; /* what nobody wants to have */
};

/* -- connection.c ------------------------------------------------------------------------------ */

/* Accept what waits, at most count_max, and serve it or hand it to another worker. */
void connections_accept(struct server *server, unsigned count_max);

/* Whether the peer of a connection with libmicrohttpd sends no more, and all that it sent was read.
 * libmicrohttpd's epoll is edge-triggered and it stops at a short read: an end that came together
 * with the last bytes it never sees. */
bool connection_has_left(const struct connection *connection);

/* Whether another connection may be opened in this turn, in which reserved of those above the
 * limits were: no more of them than can be heard before they have to go for others. */
bool connections_may_open(const struct server *server, unsigned reserved);

/* Serve a connection that was accepted, or close it when there is no memory. True when it is above
 * a limit. */
bool connection_open(struct server *server, int fd, const struct in6_addr *address);

/* Listen again after a pause, close what has overstayed. */
void connections_tick(struct server *server, uint64_t now_us);
uint64_t connections_deadline_us(const struct server *server);

/* A turn of runs has ended as it began, and libmicrohttpd wants more: its buffer is full with what
 * it cannot take apart (a chunk's extension without end, say), and it would spin. Cut connections
 * that have input and took none of it since the last time. */
void connections_cut_stuck(struct server *server);

/* Let libmicrohttpd take over a connection of which nothing was read. It may be gone afterwards. */
void connection_hand_over(struct connection *connection);

/* Its socket is closed: forget it. */
void connection_drop(struct connection *connection);

/* The connection does something else now. */
void connection_enter(struct connection *connection, enum connection_state state);

/* A sign of life while it replies. */
void connection_progress(struct connection *connection);

/* MHD_OPTION_NOTIFY_CONNECTION; cls is the server. */
void connection_on_change(void *cls, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode code);

/* -- sharing.c --------------------------------------------------------------------------------- */

/* Take connections from other workers from now on. */
void sharing_start(struct server *server);

/* Count a connection that was accepted here. True: another worker has it. */
bool sharing_give(struct server *server, int fd, const struct in6_addr *address);

/* One phase: look at the load, and serve what others have accepted for this worker. Due without an
 * event at sharing_deadline_us(). */
void sharing_tick(struct server *server, uint64_t now_us);
uint64_t sharing_deadline_us(const struct server *server);

/* Take no more, and serve what is on its way. */
void sharing_stop(struct server *server);

/* Take no more, and close what is on its way. */
void sharing_close(struct server *server);

/* A connection has ended that was counted here. */
void sharing_count_out(const struct server *server);

/* -- marks.c ----------------------------------------------------------------------------------- */

/* Mark an address, in the place of its mark before, or else of the one that ends first. */
void marks_put(struct server *server, const struct in6_addr *address, uint64_t until_us);

/* 0: none. */
uint64_t marks_get(const struct server *server, const struct in6_addr *address);

/* -- tls.c ------------------------------------------------------------------------------------- */

/* Prepare the TLS session of a connection that has just been made. */
void tls_on_connection(struct connection *connection, struct MHD_Connection *mhd);

/* The handshake that is under way has failed: say why. */
void tls_on_failure(struct server *server);

/* -- exchange.c -------------------------------------------------------------------------------- */

/* Make the exchange of a request line. Errors: NULL without memory. */
struct exchange *exchange_new(struct connection *connection, const char *target,
                              const struct route *route);

/* Tell its handler of its end and free it. */
void exchange_free(struct exchange *exchange, bool replied);

void exchange_enter(struct exchange *exchange, enum exchange_state state);

/* End it without a reply, in the server's phase. */
void exchange_give_up(struct exchange *exchange);

/* Its reply is the last of its connection. */
bool exchange_closes(const struct exchange *exchange);

/* -- direct.c: requests on the fast path ------------------------------------------------------- */

/* A connection begins. Errors: -errno; it is then to be handed over. */
__attribute__((warn_unused_result)) int direct_open(struct connection *connection);

/* End a connection, its exchange without a reply. It is gone. */
void direct_close(struct connection *connection);
void direct_close_all(struct server *server);

/* Nobody waits for the reply any more, and its handler wants to know. */
bool direct_is_forsaken(const struct connection *connection);

const char *direct_header(const struct exchange *exchange, const char *name);
void direct_visit_headers(const struct exchange *exchange,
                          void (*visit)(void *arg, const char *name, size_t name_bytes,
                                        const char *value, size_t value_bytes),
                          void *arg);

/* Do what can be done next. True while there is more to do at once. The connection may be gone
 * after false. */
bool direct_step(struct connection *connection);

/* -- direct_turn.c ----------------------------------------------------------------------------- */

/* It is to be looked at in this phase or the next. */
void direct_make_ready(struct connection *connection);

/* It waits for room from now on, behind those that wait already, and is to be asked about again by
 * then at the latest. */
void direct_park(struct connection *connection, uint64_t again_us);

/* It is not to be looked at any more. */
void direct_leave_queue(struct connection *connection);

/* One phase, and when it is due without an event. */
void direct_run(struct server *server);
uint64_t direct_deadline_us(const struct server *server);

/* -- direct_reply.c ---------------------------------------------------------------------------- */

void direct_reply(struct exchange *exchange, const struct server_reply *reply);
void direct_stream(struct exchange *exchange, unsigned status, const struct server_header *headers,
                   uint64_t body_bytes);
void direct_stream_ready(struct exchange *exchange);

/* The connection is closed in the next phase. */
void direct_give_up(struct exchange *exchange);

/* A reply begins to go out, and goes on. True while there is more to do at once; the connection may
 * be gone after false. */
void direct_start_replying(struct connection *connection);
bool direct_send(struct connection *connection);

/* -- mhd.c: requests by libmicrohttpd; cls of its callbacks is the server ---------------------- */

void mhd_reply(struct exchange *exchange, const struct server_reply *reply);
void mhd_stream(struct exchange *exchange, unsigned status, const struct server_header *headers,
                uint64_t body_bytes);
void mhd_stream_ready(struct exchange *exchange);
void mhd_give_up(struct exchange *exchange);
const char *mhd_header(const struct exchange *exchange, const char *name);
void mhd_visit_headers(const struct exchange *exchange,
                       void (*visit)(void *arg, const char *name, size_t name_bytes,
                                     const char *value, size_t value_bytes),
                       void *arg);

void *mhd_on_target(void *cls, const char *target, struct MHD_Connection *mhd);
enum MHD_Result mhd_on_access(void *cls, struct MHD_Connection *mhd, const char *url,
                              const char *method, const char *version, const char *data,
                              size_t *bytes, void **con_cls);
void mhd_on_completed(void *cls, struct MHD_Connection *mhd, void **con_cls,
                      enum MHD_RequestTerminationCode code);

/* A reply without a body, with the headers that every one has. NULL without memory. */
struct MHD_Response *mhd_no_content(const struct server_header *headers);

#endif
