/* The HTTP/1.1 server of a worker: one libmicrohttpd daemon in external epoll mode. Owns the
 * listening socket, the connections and the exchanges; knows nothing of what routes mean.
 *
 * What libmicrohttpd 0.9.75 does that its manual does not say is noted where it matters. */
#include "io/server.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "io/loop.h"
#include "wire/head.h"

#include <assert.h>
#include <errno.h>
#include <microhttpd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

/* Bounds what one recv takes and is cleared for every request: 64 KiB was the best of 16 to 128. */
#define CONNECTION_POOL_BYTES (64U * 1024U)
#define CONNECTION_INCREMENT  (16U * 1024U)
#define CONNECTION_IDLE_S     360 /* beyond the 5 min after which Prometheus lets go */
#define ACCEPTS_PER_TURN      64
#define RUNS_PER_TURN         16
#define ACCEPT_PAUSE_US       (100U * 1000U) /* when descriptors have run out */
#define DESCRIPTORS_RESERVED  64U
#define TARGET_BYTES_INLINE   192

#define STREAM_BLOCK_BYTES (32U * 1024U) /* of a reply of known size, asked for at once */

enum exchange_state {
    EXCHANGE_NEW,       /* the request line is in */
    EXCHANGE_RECEIVING, /* headers are in; the body comes */
    EXCHANGE_WAITING,   /* whole; until the reply */
    EXCHANGE_REPLYING   /* the reply is with libmicrohttpd */
};

/* One request and its reply. Owner: the server; made at the request line, freed in on_end(). */
struct exchange {
    struct exchange *prev, *next; /* all exchanges of the server */
    struct server *server;
    struct MHD_Connection *connection;
    const struct server_handler *handler; /* NULL: refused */
    const struct route *route;
    enum exchange_state state;
    enum route_method method;
    bool expects_continue; /* the client waits for our word before it sends the body */
    bool suspended;        /* libmicrohttpd does not look at the connection */
    bool gone;             /* so is the client */
    struct loop_watch client_watch;
    uint64_t body_bytes; /* declared */
    uint64_t drained_bytes;
    uint64_t started_us;
    struct MHD_Response *reply; /* given, not yet queued */
    unsigned reply_status;
    void *user;
    char *target; /* target_inline, or allocated when longer */
    char target_inline[TARGET_BYTES_INLINE];
};

struct server {
    struct server_settings settings;
    struct loop *loop;
    struct MHD_Daemon *daemon;
    struct MHD_Response *no_content; /* the reply to nearly every write */
    struct exchange *exchanges;
    size_t active;
    size_t connections;
    int listen_fd; /* -1 once stopped */
    int daemon_fd; /* libmicrohttpd's own epoll, watched by ours */
    bool ready;    /* the daemon has something to do */
    bool accept_ready;
    bool closing; /* each reply closes its connection */
    uint64_t accept_paused_until_us;
    uint64_t deadline_us; /* of the daemon, as of its last run */
    struct log_gate accept_gate;
    struct log_gate daemon_gate;
    struct loop_watch daemon_watch;
    struct loop_watch listen_watch;
};

/* -- Replies ---------------------------------------------------------------------------------- */

static void enter(struct exchange *exchange, enum exchange_state state)
{
    assert(state > exchange->state);
    exchange->state = state;
}

/* Consumes response: NULL and gone when a header finds no memory. */
static struct MHD_Response *with_headers(const struct server *server, struct MHD_Response *response,
                                         const char *content_type,
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
    if (whole && server->closing) {
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
    struct server *server = exchange->server;
    if (reply->status == MHD_HTTP_NO_CONTENT && reply->headers == NULL && !server->closing) {
        return server->no_content;
    }
    struct MHD_Response *response = MHD_create_response_from_buffer(
        reply->body_bytes, (void *)(uintptr_t)reply->body, MHD_RESPMEM_MUST_COPY);
    return with_headers(server, response, reply->content_type, reply->headers);
}

static struct exchange *exchange_of_watch(struct loop_watch *watch)
{
    return (struct exchange *)((char *)watch - offsetof(struct exchange, client_watch));
}

static int client_fd_of(const struct exchange *exchange)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(exchange->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    return info != NULL ? info->connect_fd : -1;
}

static void resume(struct exchange *exchange)
{
    if (!exchange->suspended) {
        return;
    }
    exchange->suspended = false;
    if (exchange->handler != NULL && exchange->handler->watch_client) {
        loop_clear(exchange->server->loop, client_fd_of(exchange));
    }
    MHD_resume_connection(exchange->connection);
    exchange->server->ready = true;
}

static void on_client_gone(struct loop_watch *watch, uint32_t events)
{
    (void)events;
    struct exchange *exchange = exchange_of_watch(watch);
    exchange->gone = true;
    resume(exchange);
}

/* libmicrohttpd does not see a suspended connection's end, so where it matters we do. */
static void suspend(struct exchange *exchange)
{
    exchange->suspended = true;
    MHD_suspend_connection(exchange->connection);
    if (exchange->handler != NULL && exchange->handler->watch_client) {
        exchange->client_watch.on_ready = on_client_gone;
        /* An end that goes unseen shows when the reply is written. */
        (void)!loop_set(exchange->server->loop, client_fd_of(exchange), EPOLLRDHUP,
                        &exchange->client_watch);
    }
}

/* Hand the reply to libmicrohttpd, which takes it only at the first callback (the connection is
 * then closed after it) or after the last of the body. */
static enum MHD_Result queue_reply(struct exchange *exchange)
{
    struct MHD_Response *response = exchange->reply;
    enter(exchange, EXCHANGE_REPLYING);
    if (response == NULL) {
        return MHD_NO; /* no memory for a reply: the connection is closed instead */
    }
    exchange->reply = NULL;
    enum MHD_Result result =
        MHD_queue_response(exchange->connection, exchange->reply_status, response);
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

void exchange_reply(struct exchange *exchange, const struct server_reply *reply)
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
    }
    return bytes;
}

void exchange_stream(struct exchange *exchange, unsigned status,
                     const struct server_header *headers, uint64_t body_bytes)
{
    struct MHD_Response *response = MHD_create_response_from_callback(
        body_bytes == SERVER_BODY_UNKNOWN ? MHD_SIZE_UNKNOWN : body_bytes, STREAM_BLOCK_BYTES,
        on_stream_wanted, exchange, NULL);
    give_reply(exchange, status, with_headers(exchange->server, response, NULL, headers));
}

void exchange_stream_ready(struct exchange *exchange)
{
    resume(exchange);
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

/* -- What an exchange tells its handler ------------------------------------------------------- */

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
    return MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, name);
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

void exchange_visit_headers(const struct exchange *exchange,
                            void (*visit)(void *arg, const char *name, size_t name_bytes,
                                          const char *value, size_t value_bytes),
                            void *arg)
{
    struct header_visit cls = {.visit = visit, .arg = arg};
    (void)MHD_get_connection_values_n(exchange->connection, MHD_HEADER_KIND, visit_header, &cls);
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

/* -- A request comes in ----------------------------------------------------------------------- */

/* The first callback of a request. The handler callback sees an unescaped address, in which %2f
 * has become '/'; routes are matched on this raw one. */
static void *on_target(void *cls, const char *target, struct MHD_Connection *connection)
{
    struct server *server = cls;
    struct exchange *exchange = malloc(sizeof(*exchange));
    size_t bytes = strlen(target);
    char *long_target = NULL;
    if (exchange != NULL && bytes >= TARGET_BYTES_INLINE) {
        long_target = malloc(bytes + 1);
    }
    if (exchange == NULL || (bytes >= TARGET_BYTES_INLINE && long_target == NULL)) {
        free(exchange);
        return NULL; /* on_access() then closes the connection */
    }
    *exchange = (struct exchange){
        .server = server,
        .connection = connection,
        .route = route_match(target, strcspn(target, "?")),
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

static void on_completed(void *cls, struct MHD_Connection *connection, void **con_cls,
                         enum MHD_RequestTerminationCode code)
{
    (void)connection;
    struct server *server = cls;
    struct exchange *exchange = *con_cls;
    if (exchange == NULL) {
        return;
    }
    *con_cls = NULL;
    assert(!exchange->suspended);
    if (exchange->handler != NULL && exchange->handler->on_end != NULL) {
        bool replied =
            exchange->state == EXCHANGE_REPLYING && code == MHD_REQUEST_TERMINATED_COMPLETED_OK;
        exchange->handler->on_end(exchange->handler->owner, exchange, replied);
    }
    if (exchange->reply != NULL && exchange->reply != server->no_content) {
        MHD_destroy_response(exchange->reply);
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
    free(exchange);
}

static enum MHD_Result add_to_head(void *cls, enum MHD_ValueKind kind, const char *name,
                                   size_t name_bytes, const char *value, size_t value_bytes)
{
    (void)kind;
    return head_add(cls, name, name_bytes, value, value_bytes) == 0 ? MHD_YES : MHD_NO;
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

static enum MHD_Result on_request_head(struct exchange *exchange, const char *method,
                                       const char *version)
{
    struct server *server = exchange->server;
    struct head head;
    enter(exchange, EXCHANGE_RECEIVING);
    head_init(&head, method, version);
    (void)MHD_get_connection_values_n(exchange->connection, MHD_HEADER_KIND, add_to_head, &head);
    exchange->method = route_method_of(method);
    if (head_finish(&head) != 0) {
        /* Its framing cannot be trusted, so neither can what follows on the connection. */
        exchange->body_bytes = SERVER_BODY_UNKNOWN;
        refuse(exchange, SERVER_REFUSAL_HTTP, head.reason);
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
    } else {
        exchange->handler->on_headers(exchange->handler->owner, exchange);
    }
    return reply_is_due_at_headers(exchange) ? queue_reply(exchange) : MHD_YES;
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
    if (exchange->reply_status == 0 && exchange->handler != NULL) {
        exchange->handler->on_complete(exchange->handler->owner, exchange);
    }
    if (exchange->reply_status != 0) {
        return queue_reply(exchange);
    }
    enter(exchange, EXCHANGE_WAITING);
    suspend(exchange);
    return MHD_YES;
}

static enum MHD_Result on_access(void *cls, struct MHD_Connection *connection, const char *url,
                                 const char *method, const char *version, const char *data,
                                 size_t *bytes, void **con_cls)
{
    (void)cls;
    (void)connection;
    (void)url;
    struct exchange *exchange = *con_cls;
    if (exchange == NULL) {
        return MHD_NO;
    }
    switch (exchange->state) {
    case EXCHANGE_NEW:
        return on_request_head(exchange, method, version);
    case EXCHANGE_RECEIVING:
        return *bytes > 0 ? on_body(exchange, data, bytes) : on_body_end(exchange);
    case EXCHANGE_WAITING:
        return exchange->reply_status != 0 ? queue_reply(exchange) : MHD_NO;
    case EXCHANGE_REPLYING:
    default:
        return MHD_NO;
    }
}

/* -- Connections ------------------------------------------------------------------------------ */

static void on_connection(void *cls, struct MHD_Connection *connection, void **socket_context,
                          enum MHD_ConnectionNotificationCode code)
{
    (void)connection;
    (void)socket_context;
    struct server *server = cls;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        server->connections++;
        metrics_add(server->settings.metrics, METRIC_CONNECTIONS_ACCEPTED, 1);
        metrics_gauge_add(server->settings.metrics, METRIC_CONNECTIONS, 1);
    } else {
        server->connections--;
        metrics_gauge_add(server->settings.metrics, METRIC_CONNECTIONS, -1);
    }
}

static void pause_accepting(struct server *server, int error)
{
    uint64_t now_us = clock_now_us();
    uint64_t held_back;
    loop_clear(server->loop, server->listen_fd);
    server->accept_paused_until_us = now_us + ACCEPT_PAUSE_US;
    if (log_gate_pass(&server->accept_gate, now_us, 10U * 1000U * 1000U, &held_back)) {
        log_warn(server->settings.log, "cannot accept connections for now",
                 log_str("error", strerror(error)), log_u64("held_back", held_back));
    }
}

static void accept_connections(struct server *server, unsigned count_max)
{
    server->accept_ready = false;
    for (unsigned i = 0; i < count_max; i++) {
        struct sockaddr_storage peer;
        socklen_t bytes = sizeof(peer);
        int fd = accept4(server->listen_fd, (struct sockaddr *)&peer, &bytes,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            /* Consumes fd, also when it fails. */
            (void)!MHD_add_connection(server->daemon, fd, (struct sockaddr *)&peer, bytes);
            server->ready = true;
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            pause_accepting(server, errno);
            return;
        }
        if (errno == EAGAIN || errno == EINVAL || errno == EBADF) {
            return;
        }
        /* Anything else (ECONNABORTED, EPROTO, EINTR, ...) speaks of that one connection. */
    }
}

static void listen_again_when_due(struct server *server)
{
    if (server->accept_paused_until_us == 0 || server->listen_fd < 0 ||
        clock_now_us() < server->accept_paused_until_us) {
        return;
    }
    server->accept_paused_until_us = 0;
    if (loop_set(server->loop, server->listen_fd, EPOLLIN, &server->listen_watch) != 0) {
        server->accept_paused_until_us = clock_now_us() + ACCEPT_PAUSE_US;
    }
}

void server_stop_accepting(struct server *server)
{
    server->closing = true;
    if (server->listen_fd < 0) {
        return;
    }
    /* Those that the kernel has let in already are served. */
    accept_connections(server, UINT32_MAX);
    loop_clear(server->loop, server->listen_fd);
    close(server->listen_fd);
    server->listen_fd = -1;
}

/* -- The phase -------------------------------------------------------------------------------- */

static void on_daemon_ready(struct loop_watch *watch, uint32_t events)
{
    (void)events;
    struct server *server =
        (struct server *)((char *)watch - offsetof(struct server, daemon_watch));
    server->ready = true;
}

static void on_listen_ready(struct loop_watch *watch, uint32_t events)
{
    (void)events;
    struct server *server =
        (struct server *)((char *)watch - offsetof(struct server, listen_watch));
    server->accept_ready = true;
}

/* libmicrohttpd's epoll is edge-triggered inside: what one run leaves behind shows only as a
 * timeout of 0, not as an event. */
static void run_daemon(struct server *server)
{
    MHD_UNSIGNED_LONG_LONG wait_ms = 0;
    bool waits = true;
    for (unsigned i = 0; i < RUNS_PER_TURN && waits && wait_ms == 0; i++) {
        (void)MHD_run(server->daemon);
        waits = MHD_get_timeout(server->daemon, &wait_ms) == MHD_YES;
    }
    server->ready = waits && wait_ms == 0;
    server->deadline_us = waits ? clock_now_us() + (uint64_t)wait_ms * 1000 : LOOP_NEVER;
}

void server_run(struct server *server)
{
    listen_again_when_due(server);
    if (server->accept_ready) {
        accept_connections(server, ACCEPTS_PER_TURN);
    }
    if (server->ready || clock_now_us() >= server->deadline_us) {
        run_daemon(server);
    }
}

uint64_t server_deadline_us(const struct server *server)
{
    if (server->ready) {
        return 0;
    }
    uint64_t deadline_us = server->deadline_us;
    if (server->accept_paused_until_us != 0 && server->accept_paused_until_us < deadline_us) {
        deadline_us = server->accept_paused_until_us;
    }
    return deadline_us;
}

size_t server_active(const struct server *server)
{
    return server->active;
}

size_t server_connections(const struct server *server)
{
    return server->connections;
}

/* -- Life ------------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 0))) static void on_daemon_log(void *cls, const char *format,
                                                                va_list arguments)
{
    struct server *server = cls;
    uint64_t held_back;
    if (!log_gate_pass(&server->daemon_gate, clock_now_us(), 1000U * 1000U, &held_back)) {
        return;
    }
    char text[256];
    (void)vsnprintf(text, sizeof(text), format, arguments);
    text[strcspn(text, "\n")] = '\0';
    log_debug(server->settings.log, "http server", log_str("detail", text),
              log_u64("held_back", held_back));
}

/* The raw target is used; escapes in it are left as they are. */
static size_t keep_escapes(void *cls, struct MHD_Connection *connection, char *text)
{
    (void)cls;
    (void)connection;
    return strlen(text);
}

static unsigned connections_max(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > 1024U * 1024U) {
        return 1024U * 1024U;
    }
    return limit.rlim_cur > 2 * DESCRIPTORS_RESERVED
               ? (unsigned)limit.rlim_cur - DESCRIPTORS_RESERVED
               : DESCRIPTORS_RESERVED;
}

static struct MHD_Daemon *start_daemon(struct server *server)
{
    return MHD_start_daemon(
        MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0,
        NULL, NULL, on_access, server, MHD_OPTION_EXTERNAL_LOGGER, on_daemon_log, server,
        MHD_OPTION_URI_LOG_CALLBACK, on_target, server, MHD_OPTION_NOTIFY_COMPLETED, on_completed,
        server, MHD_OPTION_NOTIFY_CONNECTION, on_connection, server, MHD_OPTION_UNESCAPE_CALLBACK,
        keep_escapes, NULL, MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_CONNECTION_LIMIT,
        connections_max(), MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)CONNECTION_IDLE_S,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_POOL_BYTES,
        MHD_OPTION_CONNECTION_MEMORY_INCREMENT, (size_t)CONNECTION_INCREMENT, MHD_OPTION_END);
}

static int start(struct server *server)
{
    server->daemon = start_daemon(server);
    server->no_content = MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    if (server->daemon == NULL || server->no_content == NULL) {
        return -ENOMEM;
    }
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (info == NULL) {
        return -EINVAL;
    }
    server->daemon_fd = info->epoll_fd;
    int status = loop_set(server->loop, server->daemon_fd, EPOLLIN, &server->daemon_watch);
    if (status != 0) {
        return status;
    }
    return loop_set(server->loop, server->listen_fd, EPOLLIN, &server->listen_watch);
}

struct server *server_new(const struct server_settings *settings, struct loop *loop, int listen_fd)
{
    struct server *server = calloc(1, sizeof(*server));
    if (server == NULL) {
        close(listen_fd);
        return NULL;
    }
    server->settings = *settings;
    server->loop = loop;
    server->listen_fd = listen_fd;
    server->daemon_fd = -1;
    server->deadline_us = LOOP_NEVER;
    server->daemon_watch.on_ready = on_daemon_ready;
    server->listen_watch.on_ready = on_listen_ready;
    int status = start(server);
    if (status != 0) {
        log_error(settings->log, "cannot start the http server",
                  log_str("error", strerror(-status)));
        server_free(server);
        return NULL;
    }
    return server;
}

/* libmicrohttpd panics when it is stopped with suspended connections: they are resumed first, and
 * on_access() closes those that have no reply. */
static void resume_all(struct server *server)
{
    for (struct exchange *exchange = server->exchanges; exchange != NULL;
         exchange = exchange->next) {
        exchange->gone = true;
        resume(exchange);
    }
    (void)MHD_run(server->daemon);
}

void server_free(struct server *server)
{
    if (server == NULL) {
        return;
    }
    if (server->daemon != NULL) {
        resume_all(server);
        if (server->daemon_fd >= 0) {
            loop_clear(server->loop, server->daemon_fd);
        }
        MHD_stop_daemon(server->daemon);
    }
    if (server->no_content != NULL) {
        MHD_destroy_response(server->no_content);
    }
    if (server->listen_fd >= 0) {
        loop_clear(server->loop, server->listen_fd);
        close(server->listen_fd);
    }
    free(server);
}
