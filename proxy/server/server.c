/* The HTTP/1.1 server of a worker: the listening socket, if it has one, and a libmicrohttpd daemon
 * in external epoll mode for what does not take the fast path, both driven by the worker's loop.
 * Owns them; what comes in is in connection.c, and then in direct.c or mhd.c. Knows nothing of what
 * routes mean.
 *
 * What libmicrohttpd 0.9.75 does that its manual does not say is noted where it matters. */
#include "server/server.h"

#include "base/clock.h"
#include "server/private.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

/* Bounds what one recv takes, and is cleared for every request that libmicrohttpd reads. Half of it
 * is the first buffer, so a body of 100 samples still comes in one piece; of 64 KiB, clearing was a
 * twelfth of such a write's cost. */
#define CONNECTION_POOL_BYTES (32U * 1024U)
#define CONNECTION_INCREMENT  (8U * 1024U)
#define ACCEPTS_PER_TURN      64
#define RUNS_PER_TURN         16
#define VAIN_RUNS_MAX         3

/* -- The phase --------------------------------------------------------------------------------- */

static void on_daemon_ready(struct loop_watch *watch, uint32_t events)
{
    (void)events;
    struct server_daemon *daemon =
        (struct server_daemon *)((char *)watch - offsetof(struct server_daemon, watch));
    daemon->server->ready = true;
}

static void on_listen_ready(struct loop_watch *watch, uint32_t events)
{
    (void)events;
    struct server *server =
        (struct server *)((char *)watch - offsetof(struct server, listen_watch));
    server->accept_ready = true;
}

/* libmicrohttpd wants to be run again at once for as long as a TLS handshake waits for its peer.
 * When nothing has come of some runs, its next event will do. */
static bool only_handshakes_wait(struct server_daemon *daemon, uint64_t progress_before)
{
    if (!daemon->tls || daemon->server->progress != progress_before) {
        daemon->vain_runs = 0;
        return false;
    }
    daemon->vain_runs += daemon->vain_runs < VAIN_RUNS_MAX;
    return daemon->vain_runs == VAIN_RUNS_MAX;
}

/* libmicrohttpd's epoll is edge-triggered inside: what one run leaves behind shows only as a
 * timeout of 0, not as an event. */
static void run_daemons(struct server *server)
{
    uint64_t progress_at_start = server->progress;
    server->ready = true;
    for (unsigned i = 0; i < RUNS_PER_TURN && server->ready; i++) {
        server->ready = false;
        server->daemon_deadline_us = LOOP_NEVER;
        for (struct server_daemon *daemon = server->daemon; daemon != NULL; daemon = daemon->next) {
            MHD_UNSIGNED_LONG_LONG wait_ms = 0;
            uint64_t progress_before = server->progress;
            (void)MHD_run(daemon->mhd);
            if (MHD_get_timeout(daemon->mhd, &wait_ms) != MHD_YES ||
                (wait_ms == 0 && only_handshakes_wait(daemon, progress_before))) {
                continue;
            }
            uint64_t deadline_us = clock_now_us() + (uint64_t)wait_ms * 1000;
            server->ready = server->ready || wait_ms == 0;
            if (deadline_us < server->daemon_deadline_us) {
                server->daemon_deadline_us = deadline_us;
            }
        }
    }
    if (server->ready && server->progress == progress_at_start) {
        connections_cut_stuck(server);
    }
}

static void stop_daemon(struct server_daemon *daemon)
{
    if (daemon->fd >= 0) {
        loop_clear(daemon->server->loop, daemon->fd);
    }
    MHD_stop_daemon(daemon->mhd);
    free(daemon);
}

/* Older daemons go with their last connection. */
static void stop_left_daemons(struct server *server)
{
    struct server_daemon **at = &server->daemon->next;
    while (*at != NULL) {
        struct server_daemon *daemon = *at;
        if (daemon->connections > 0) {
            at = &daemon->next;
            continue;
        }
        *at = daemon->next;
        stop_daemon(daemon);
    }
}

void server_run(struct server *server)
{
    uint64_t now_us = clock_now_us();
    connections_tick(server, now_us);
    sharing_tick(server, now_us);
    if (server->accept_ready && server->listen_fd >= 0) {
        connections_accept(server, ACCEPTS_PER_TURN);
    }
    direct_run(server);
    if (server->ready || now_us >= server->daemon_deadline_us) {
        run_daemons(server);
        stop_left_daemons(server);
    }
}

uint64_t server_deadline_us(const struct server *server)
{
    if (server->ready) {
        return 0;
    }
    uint64_t deadline_us = connections_deadline_us(server);
    uint64_t direct_us = direct_deadline_us(server);
    deadline_us = direct_us < deadline_us ? direct_us : deadline_us;
    uint64_t sharing_us = sharing_deadline_us(server);
    deadline_us = sharing_us < deadline_us ? sharing_us : deadline_us;
    return deadline_us < server->daemon_deadline_us ? deadline_us : server->daemon_deadline_us;
}

void server_stop_accepting(struct server *server)
{
    server->closing = true;
    sharing_stop(server);
    if (server->listen_fd < 0) {
        return;
    }
    /* Those that the kernel has let in already are served. */
    connections_accept(server, UINT32_MAX);
    loop_clear(server->loop, server->listen_fd);
    close(server->listen_fd);
    server->listen_fd = -1;
    server->accept_paused_until_us = 0;
}

size_t server_active(const struct server *server)
{
    return server->active;
}

size_t server_connections(const struct server *server)
{
    return server->connection_count;
}

/* -- Life -------------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 0))) static void on_daemon_log(void *cls, const char *format,
                                                                va_list arguments)
{
    struct server *server = cls;
    uint64_t held_back;
    /* So it says, within the call of GnuTLS, when a handshake has failed for whatever reason. */
    if (strstr(format, "handshake message out of context") != NULL) {
        tls_on_failure(server);
        return;
    }
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

static struct MHD_Daemon *start_mhd(struct server *server, const struct server_tls *tls)
{
    unsigned flags =
        MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    struct MHD_OptionItem options[5] = {{MHD_OPTION_END, 0, NULL}};
    if (tls != NULL) {
        size_t count = 0;
        flags |= MHD_USE_TLS;
        options[count++] =
            (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_CERT, 0, (void *)(uintptr_t)tls->cert_pem};
        options[count++] =
            (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)tls->key_pem};
        options[count++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_PRIORITIES, 0,
                                                   (void *)(uintptr_t)tls->priorities};
        if (tls->client_ca_pem != NULL) {
            options[count++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_TRUST, 0,
                                                       (void *)(uintptr_t)tls->client_ca_pem};
        }
        options[count] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
    }
    return MHD_start_daemon(
        flags, 0, NULL, NULL, mhd_on_access, server, MHD_OPTION_EXTERNAL_LOGGER, on_daemon_log,
        server, MHD_OPTION_URI_LOG_CALLBACK, mhd_on_target, server, MHD_OPTION_NOTIFY_COMPLETED,
        mhd_on_completed, server, MHD_OPTION_NOTIFY_CONNECTION, connection_on_change, server,
        MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_CONNECTION_LIMIT, UINT_MAX, MHD_OPTION_CONNECTION_TIMEOUT, 0U,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_POOL_BYTES,
        MHD_OPTION_CONNECTION_MEMORY_INCREMENT, (size_t)CONNECTION_INCREMENT, MHD_OPTION_ARRAY,
        options, MHD_OPTION_END);
}

/* A new daemon in front of the others. */
static int start_daemon(struct server *server, const struct server_tls *tls)
{
    struct server_daemon *daemon = calloc(1, sizeof(*daemon));
    if (daemon == NULL) {
        return -ENOMEM;
    }
    daemon->server = server;
    daemon->fd = -1;
    daemon->watch.on_ready = on_daemon_ready;
    daemon->tls = tls != NULL;
    daemon->client_auth = tls != NULL ? tls->client_auth : SERVER_CLIENT_AUTH_NONE;
    daemon->has_client_ca = tls != NULL && tls->client_ca_pem != NULL;
    errno = 0;
    daemon->mhd = start_mhd(server, tls);
    if (daemon->mhd == NULL) {
        int error = errno != 0 ? errno : EINVAL; /* libmicrohttpd itself says nothing */
        free(daemon);
        return -error;
    }
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(daemon->mhd, MHD_DAEMON_INFO_EPOLL_FD);
    int status =
        info == NULL ? -EINVAL : loop_set(server->loop, info->epoll_fd, EPOLLIN, &daemon->watch);
    if (status != 0) {
        stop_daemon(daemon);
        return status;
    }
    daemon->fd = info->epoll_fd;
    daemon->next = server->daemon;
    server->daemon = daemon;
    return 0;
}

int server_set_tls(struct server *server, const struct server_tls *tls)
{
    return start_daemon(server, tls);
}

/* Without memory for it there is none, and each such reply is made anew. */
void server_set_headers(struct server *server, const struct server_header *headers)
{
    struct MHD_Response *no_content = mhd_no_content(headers);
    for (struct exchange *exchange = server->exchanges; exchange != NULL;
         exchange = exchange->next) {
        if (exchange->reply != NULL && exchange->reply == server->no_content) {
            exchange->reply = no_content;
        }
    }
    if (server->no_content != NULL) {
        MHD_destroy_response(server->no_content);
    }
    server->no_content = no_content;
    server->headers = headers;
    server->direct_no_content.size = 0; /* to be printed anew */
}

static int start(struct server *server, const struct server_tls *tls)
{
    server->no_content = mhd_no_content(NULL);
    if (server->no_content == NULL) {
        return -ENOMEM;
    }
    int status = start_daemon(server, tls);
    if (status != 0) {
        return status;
    }
    sharing_start(server);
    return server->listen_fd < 0
               ? 0
               : loop_set(server->loop, server->listen_fd, EPOLLIN, &server->listen_watch);
}

struct server *server_new(const struct server_settings *settings, const struct server_tls *tls,
                          struct loop *loop, int listen_fd)
{
    struct server *server = calloc(1, sizeof(*server));
    if (server == NULL) {
        if (listen_fd >= 0) {
            close(listen_fd);
        }
        return NULL;
    }
    server->settings = *settings;
    server->loop = loop;
    server->listen_fd = listen_fd;
    server->daemon_deadline_us = LOOP_NEVER;
    server->listen_watch.on_ready = on_listen_ready;
    buf_init(&server->direct_no_content, SERVER_REPLY_HEAD_MAX);
    int status = start(server, tls);
    if (status != 0) {
        log_error(settings->log, "cannot start the http server",
                  log_str("error", strerror(-status)));
        server_free(server);
        errno = -status;
        return NULL;
    }
    return server;
}

/* libmicrohttpd panics when it is stopped with suspended connections: they are resumed first, and
 * the exchanges close those that have no reply. */
static void resume_all(struct server *server)
{
    for (struct exchange *exchange = server->exchanges; exchange != NULL;
         exchange = exchange->next) {
        exchange_give_up(exchange);
    }
    run_daemons(server);
}

void server_free(struct server *server)
{
    if (server == NULL) {
        return;
    }
    server->ending = true;
    sharing_close(server);
    direct_close_all(server);
    if (server->daemon != NULL) {
        resume_all(server);
    }
    while (server->daemon != NULL) {
        struct server_daemon *daemon = server->daemon;
        server->daemon = daemon->next;
        stop_daemon(daemon);
    }
    if (server->no_content != NULL) {
        MHD_destroy_response(server->no_content);
    }
    if (server->listen_fd >= 0) {
        loop_clear(server->loop, server->listen_fd);
        close(server->listen_fd);
    }
    buf_deinit(&server->direct_no_content);
    free(server);
}
