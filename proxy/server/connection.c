/* Connections: how many there may be, in all and from one address, and how long each may take for
 * what it does. Owns them. Those of libmicrohttpd are read, written and closed by it, and it is
 * told that one has overstayed by the end of its socket. */
#include "server/private.h"

#include "base/clock.h"
#include "base/metrics.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <linux/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define SEC_US UINT64_C(1000000)

#define HEAD_US      (10 * SEC_US)
#define BODY_US      (30 * SEC_US)
#define REPLY_US     (60 * SEC_US) /* without progress */
#define LEAVING_US   (2 * SEC_US)
#define IDLE_LOOK_US (10 * SEC_US)  /* has a head begun to come? */
#define LEFT_LOOK_US (1 * SEC_US)   /* is who sends still there? */
#define IDLE_US      (360 * SEC_US) /* beyond the 5 min after which Prometheus lets go */

#define LOG_INTERVAL_US (10 * SEC_US)
#define RESERVED_MAX    16 /* connections above the limits, for health and metrics */

/* -- Lists by deadline ------------------------------------------------------------------------- */

static uint64_t time_for(enum connection_state state)
{
    static const uint64_t times_us[CONNECTION_STATES] = {
        [CONNECTION_IDLE] = IDLE_LOOK_US, [CONNECTION_HEAD] = HEAD_US,
        [CONNECTION_BODY] = BODY_US,      [CONNECTION_WAITING] = LOOP_NEVER,
        [CONNECTION_REPLYING] = REPLY_US, [CONNECTION_LEAVING] = LEAVING_US};
    return times_us[state];
}

/* All of a list have the same time, so its end is the place of the latest deadline. */
static void append(struct connection *connection, enum connection_state state)
{
    struct connection_list *list = &connection->server->connections[state];
    uint64_t time_us = time_for(state);
    connection->state = state;
    connection->deadline_us = time_us == LOOP_NEVER ? LOOP_NEVER : clock_now_us() + time_us;
    connection->next = NULL;
    connection->prev = list->last;
    if (list->last != NULL) {
        list->last->next = connection;
    } else {
        list->first = connection;
    }
    list->last = connection;
}

static void detach(struct connection *connection)
{
    struct connection_list *list = &connection->server->connections[connection->state];
    if (connection->prev != NULL) {
        connection->prev->next = connection->next;
    } else {
        list->first = connection->next;
    }
    if (connection->next != NULL) {
        connection->next->prev = connection->prev;
    } else {
        list->last = connection->prev;
    }
}

static uint64_t bytes_received(const struct connection *connection)
{
    struct tcp_info info;
    socklen_t bytes = sizeof(info);
    if (getsockopt(connection->fd, IPPROTO_TCP, TCP_INFO, &info, &bytes) != 0) {
        return 0;
    }
    return info.tcpi_bytes_received;
}

void connection_enter(struct connection *connection, enum connection_state state)
{
    detach(connection);
    append(connection, state);
    if (state == CONNECTION_IDLE) {
        connection->idle_since_us = connection->deadline_us - IDLE_LOOK_US;
        connection->idle_bytes = 0; /* taken at the first look: most are busy again before it */
    }
}

void connection_progress(struct connection *connection)
{
    if (connection->state == CONNECTION_REPLYING) {
        detach(connection);
        append(connection, CONNECTION_REPLYING);
    }
}

/* libmicrohttpd sees the end of the socket and closes the connection without a reply. */
static void cut(struct connection *connection)
{
    if (connection->direct) {
        direct_close(connection);
        return;
    }
    (void)shutdown(connection->fd, SHUT_RDWR);
    detach(connection);
    append(connection, CONNECTION_WAITING);
}

bool connection_has_left(const struct connection *connection)
{
    char byte;
    return !connection->direct && recv(connection->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* Between requests libmicrohttpd does not tell of a head that trickles in, but the kernel does. The
 * fast path leaves it at the first byte of such a head. */
static void look_at_idle(struct connection *connection, uint64_t now_us)
{
    if (now_us - connection->idle_since_us >= IDLE_US || connection_has_left(connection)) {
        cut(connection);
        return;
    }
    uint64_t received = connection->direct ? 0 : bytes_received(connection);
    bool head_has_begun = connection->idle_bytes != 0 && received != connection->idle_bytes;
    connection->idle_bytes = received;
    detach(connection);
    append(connection, head_has_begun ? CONNECTION_HEAD : CONNECTION_IDLE);
}

static void end_overdue(struct server *server, uint64_t now_us)
{
    for (enum connection_state state = 0; state < CONNECTION_STATES; state++) {
        struct connection_list *list = &server->connections[state];
        while (list->first != NULL && list->first->deadline_us <= now_us) {
            if (state == CONNECTION_IDLE) {
                look_at_idle(list->first, now_us);
                continue;
            }
            /* Who has heard all that we had to say, and does not leave, is not late with anything.
             */
            metrics_add(server->settings.metrics, METRIC_CONNECTIONS_OVERDUE,
                        state != CONNECTION_LEAVING);
            cut(list->first);
        }
    }
}

/* What a connection holds whose client has left is given back now and not at its deadline. */
static void end_left(struct server *server, uint64_t now_us)
{
    static const enum connection_state receiving[] = {CONNECTION_HEAD, CONNECTION_BODY};

    if (now_us < server->left_look_us) {
        return;
    }
    server->left_look_us = now_us + LEFT_LOOK_US;
    for (size_t i = 0; i < sizeof(receiving) / sizeof(receiving[0]); i++) {
        struct connection *next;
        for (struct connection *c = server->connections[receiving[i]].first; c != NULL; c = next) {
            next = c->next;
            if (connection_has_left(c)) {
                cut(c);
            }
        }
    }
}

static void cut_if_stuck(struct connection *connection)
{
    int unread_bytes = 0;
    if (connection->direct || ioctl(connection->fd, FIONREAD, &unread_bytes) != 0) {
        return;
    }
    bool stuck = unread_bytes > 0 && unread_bytes == connection->unread_bytes;
    connection->unread_bytes = unread_bytes;
    if (stuck) {
        metrics_add(connection->server->settings.metrics, METRIC_CONNECTIONS_OVERDUE, 1);
        cut(connection);
    }
}

void connections_cut_stuck(struct server *server)
{
    static const enum connection_state states[] = {CONNECTION_HEAD, CONNECTION_BODY};

    for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
        struct connection *next;
        for (struct connection *c = server->connections[states[i]].first; c != NULL; c = next) {
            next = c->next;
            cut_if_stuck(c);
        }
    }
}

/* -- Limits ------------------------------------------------------------------------------------ */

static struct in6_addr address_of(const struct sockaddr_storage *peer)
{
    struct in6_addr address = IN6ADDR_ANY_INIT;
    if (peer->ss_family == AF_INET6) {
        return ((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr;
    }
    if (peer->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const void *)peer;
        address.s6_addr[10] = 0xff;
        address.s6_addr[11] = 0xff;
        memcpy(&address.s6_addr[12], &v4->sin_addr, sizeof(v4->sin_addr));
    }
    return address;
}

static size_t count_from(const struct server *server, const struct in6_addr *address)
{
    size_t count = 0;
    for (unsigned state = 0; state < CONNECTION_STATES; state++) {
        for (const struct connection *c = server->connections[state].first; c != NULL;
             c = c->next) {
            count += memcmp(&c->address, address, sizeof(*address)) == 0;
        }
    }
    return count;
}

static void log_limit(struct server *server, const struct in6_addr *address, const char *which)
{
    uint64_t held_back;
    if (log_gate_pass(&server->limit_gate, clock_now_us(), LOG_INTERVAL_US, &held_back)) {
        char text[INET6_ADDRSTRLEN] = "";
        (void)inet_ntop(AF_INET6, address, text, sizeof(text));
        log_warn(server->settings.log, "limit of connections reached", log_str("limit", which),
                 log_str("peer", text), log_u64("held_back", held_back));
    }
}

/* Make room among the reserved: the one that has kept us waiting for longest goes, for its head
 * first, then for a body that nobody wants, then to take its reply. */
static void evict_reserved(struct server *server)
{
    static const enum connection_state waited_for[] = {CONNECTION_HEAD, CONNECTION_BODY,
                                                       CONNECTION_REPLYING};

    for (size_t i = 0; i < sizeof(waited_for) / sizeof(waited_for[0]); i++) {
        struct connection *connection = server->connections[waited_for[i]].first;
        while (connection != NULL && !connection->reserved) {
            connection = connection->next;
        }
        if (connection != NULL) {
            cut(connection);
            return;
        }
    }
}

static bool is_above_limit(struct server *server, const struct in6_addr *address)
{
    const struct server_settings *settings = &server->settings;
    bool address_full = settings->connections_per_address_max < settings->connections_max &&
                        server->connection_count >= settings->connections_per_address_max &&
                        count_from(server, address) >= settings->connections_per_address_max;
    bool full = server->connection_count - server->reserved_count >= settings->connections_max;
    if (full || address_full) {
        metrics_add(settings->metrics, METRIC_REJECTED_CONNECTIONS, 1);
        log_limit(server, address, full ? "all" : "one address");
    }
    return full || address_full;
}

bool connections_may_open(const struct server *server, unsigned reserved)
{
    return reserved < RESERVED_MAX && server->reserved_count < 2 * RESERVED_MAX;
}

bool connection_open(struct server *server, int fd, const struct in6_addr *address)
{
    bool reserved = is_above_limit(server, address);
    if (reserved && server->reserved_count >= RESERVED_MAX) {
        evict_reserved(server);
    }
    struct connection *connection = calloc(1, sizeof(*connection));
    if (connection == NULL) {
        close(fd);
        sharing_count_out(server);
        return reserved;
    }
    connection->server = server;
    connection->daemon = server->daemon;
    connection->fd = fd;
    connection->address = *address;
    connection->came_marked_us = marks_get(server, address);
    connection->reserved = reserved;
    append(connection, CONNECTION_HEAD);
    server->connection_count++;
    server->reserved_count += connection->reserved;
    metrics_add(server->settings.metrics, METRIC_CONNECTIONS_ACCEPTED, 1);
    metrics_gauge_add(server->settings.metrics, METRIC_CONNECTIONS, 1);
    if (server->daemon->tls || direct_open(connection) != 0) {
        connection_hand_over(connection);
    }
    return reserved;
}

void connection_drop(struct connection *connection)
{
    struct server *server = connection->server;
    if (connection->watched) {
        loop_clear(server->loop, connection->fd);
    }
    detach(connection);
    server->connection_count--;
    server->reserved_count -= connection->reserved;
    metrics_gauge_add(server->settings.metrics, METRIC_CONNECTIONS, -1);
    sharing_count_out(server);
    free(connection);
}

void connection_hand_over(struct connection *connection)
{
    struct server *server = connection->server;
    struct sockaddr_storage peer = {0};
    socklen_t bytes = sizeof(peer);
    if (connection->watched) {
        loop_clear(server->loop, connection->fd);
        connection->watched = false;
    }
    if (connection->state != CONNECTION_HEAD) {
        connection_enter(connection, CONNECTION_HEAD);
    }
    (void)!getpeername(connection->fd, (struct sockaddr *)&peer, &bytes);
    /* It consumes the socket, and calls connection_on_change() before it returns unless it fails.
     */
    server->accepted = connection;
    (void)!MHD_add_connection(server->daemon->mhd, connection->fd, (const struct sockaddr *)&peer,
                              bytes);
    if (server->accepted != NULL) {
        server->accepted = NULL;
        connection_drop(connection);
    }
    server->ready = true;
}

void connection_on_change(void *cls, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode code)
{
    struct server *server = cls;
    struct connection *connection = *context;
    server->progress++;
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        connection = server->accepted;
        server->accepted = NULL;
        *context = connection;
        connection->daemon->connections++;
        if (connection->daemon->tls) {
            tls_on_connection(connection, mhd);
        }
        return;
    }
    connection->daemon->connections--;
    if (server->handshaking == connection) {
        server->handshaking = NULL;
    }
    connection_drop(connection);
}

static void pause_accepting(struct server *server, uint64_t now_us)
{
    loop_clear(server->loop, server->listen_fd);
    server->accept_paused_until_us = now_us + CONNECTIONS_PAUSE_US;
}

static void run_out_of_descriptors(struct server *server, int error)
{
    uint64_t now_us = clock_now_us();
    uint64_t held_back;
    pause_accepting(server, now_us);
    if (log_gate_pass(&server->accept_gate, now_us, LOG_INTERVAL_US, &held_back)) {
        log_warn(server->settings.log, "cannot accept connections for now",
                 log_str("error", strerror(error)), log_u64("held_back", held_back));
    }
}

void connections_accept(struct server *server, unsigned count_max)
{
    unsigned reserved = 0;
    server->accept_ready = false;
    if (!connections_may_open(server, reserved)) {
        pause_accepting(server, clock_now_us()); /* all of them wait for us: no turn in vain */
        return;
    }
    /* Those that may not wait in the kernel, which tells of them again. */
    for (unsigned i = 0; i < count_max && connections_may_open(server, reserved); i++) {
        struct sockaddr_storage peer = {0};
        socklen_t bytes = sizeof(peer);
        int fd = accept4(server->listen_fd, (struct sockaddr *)&peer, &bytes,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            struct in6_addr address = address_of(&peer);
            reserved +=
                !sharing_give(server, fd, &address) && connection_open(server, fd, &address);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            run_out_of_descriptors(server, errno);
            return;
        }
        if (errno == EAGAIN || errno == EINVAL || errno == EBADF) {
            return;
        }
        /* Anything else (ECONNABORTED, EPROTO, EINTR, ...) speaks of that one connection. */
    }
}

static void listen_again_when_due(struct server *server, uint64_t now_us)
{
    if (server->accept_paused_until_us == 0 || server->listen_fd < 0 ||
        now_us < server->accept_paused_until_us) {
        return;
    }
    server->accept_paused_until_us = 0;
    if (loop_set(server->loop, server->listen_fd, EPOLLIN, &server->listen_watch) != 0) {
        server->accept_paused_until_us = now_us + CONNECTIONS_PAUSE_US;
    }
}

void connections_tick(struct server *server, uint64_t now_us)
{
    listen_again_when_due(server, now_us);
    end_overdue(server, now_us);
    end_left(server, now_us);
}

uint64_t connections_deadline_us(const struct server *server)
{
    uint64_t deadline_us =
        server->accept_paused_until_us != 0 ? server->accept_paused_until_us : LOOP_NEVER;
    for (unsigned state = 0; state < CONNECTION_STATES; state++) {
        const struct connection *first = server->connections[state].first;
        if (first != NULL && first->deadline_us < deadline_us) {
            deadline_us = first->deadline_us;
        }
    }
    bool receives = server->connections[CONNECTION_HEAD].first != NULL ||
                    server->connections[CONNECTION_BODY].first != NULL;
    if (receives && server->left_look_us < deadline_us) {
        deadline_us = server->left_look_us;
    }
    return deadline_us;
}
