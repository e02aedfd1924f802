/* The descriptors that curl watches. Owns their bookkeeping; curl owns the descriptors. */
#include "upstream/sockets.h"

#include "io/loop.h"
#include "upstream/private.h"

#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* [bytes] of answers to reads after which the rest waits for the next turn: some 0.3 ms of work.
 * One read more may bring its whole window. */
#define TURN_BULK_BYTES (256U * 1024U)

/* One descriptor. Owner: upstream_sockets, from curl's first wish until its last is in force. */
struct upstream_socket {
    struct loop_watch watch;
    struct upstream_sockets *sockets;
    struct upstream_socket *next;       /* in all */
    struct upstream_socket *next_ready; /* in ready */
    int fd;
    bool bulk;           /* of a read */
    uint32_t wanted;     /* epoll events that curl wants; 0: none */
    uint32_t registered; /* epoll events that the kernel knows */
    uint32_t events;     /* recorded, not yet handed to curl */
};

/* An open connection to the gateway. Owner: upstream_sockets, from its making to its close. */
struct upstream_connection {
    struct upstream_connection *next;
    int fd;
    int local_port;
    int remote_port; /* 0: not asked for yet */
};

static void on_socket_ready(struct loop_watch *watch, uint32_t events)
{
    struct upstream_socket *socket =
        (struct upstream_socket *)((char *)watch - offsetof(struct upstream_socket, watch));
    if (socket->events == 0) {
        socket->next_ready = socket->sockets->ready;
        socket->sockets->ready = socket;
    }
    socket->events |= events;
}

static struct upstream_socket *socket_of(struct upstream_sockets *sockets, int fd)
{
    for (struct upstream_socket *s = sockets->all; s != NULL; s = s->next) {
        if (s->fd == fd) {
            return s;
        }
    }
    struct upstream_socket *socket = calloc(1, sizeof(*socket));
    if (socket == NULL) {
        return NULL;
    }
    socket->watch.on_ready = on_socket_ready;
    socket->sockets = sockets;
    socket->fd = fd;
    socket->next = sockets->all;
    sockets->all = socket;
    return socket;
}

static bool is_read(CURL *easy)
{
    char *private = NULL;
    (void)curl_easy_getinfo(easy, CURLINFO_PRIVATE, &private);
    const struct upstream_call *call = (const struct upstream_call *)(void *)private;
    return call != NULL && call->kind == CALL_READ;
}

/* Only of connections is the end told by upstream_sockets_on_close(), not of the descriptors that a
 * resolver uses. */
static bool is_connection(const struct upstream_sockets *sockets, int fd)
{
    const struct upstream_connection *connection = sockets->open;
    while (connection != NULL && connection->fd != fd) {
        connection = connection->next;
    }
    return connection != NULL;
}

/* An error here would end the whole multi handle, so a wish that finds no memory is left to the
 * transfer's own timeout. */
static int on_socket_wish(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    struct upstream_sockets *sockets = arg;
    struct upstream_socket *socket = socket_arg;
    if (socket == NULL || socket->fd != fd) {
        socket = socket_of(sockets, fd);
        if (socket == NULL) {
            return 0;
        }
        (void)curl_multi_assign(sockets->multi, fd, socket);
    }
    socket->bulk = is_read(easy);
    socket->wanted = ((what & CURL_POLL_IN) != 0 ? (uint32_t)EPOLLIN : 0) |
                     ((what & CURL_POLL_OUT) != 0 ? (uint32_t)EPOLLOUT : 0);
    if (what == CURL_POLL_REMOVE) {
        socket->wanted = 0;
        (void)curl_multi_assign(sockets->multi, fd, NULL);
        if (!is_connection(sockets, fd)) {
            /* Of a resolver, who closes it next: by upstream_sockets_flush() its number may be that
             * of somebody else's, whose watch it would be. */
            loop_clear(sockets->loop, fd);
            socket->registered = 0;
        }
    }
    return 0;
}

curl_socket_t upstream_sockets_on_open(void *arg, curlsocktype purpose,
                                       struct curl_sockaddr *address)
{
    (void)purpose;
    struct upstream_sockets *sockets = arg;
    struct upstream_connection *connection = calloc(1, sizeof(*connection));
    int fd = connection == NULL
                 ? -1
                 : socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    if (fd < 0) {
        free(connection);
        return CURL_SOCKET_BAD;
    }
    connection->fd = fd;
    connection->next = sockets->open;
    sockets->open = connection;
    return fd;
}

static void forget_connection(struct upstream_sockets *sockets, int fd)
{
    struct upstream_connection **at = &sockets->open;
    while (*at != NULL && (*at)->fd != fd) {
        at = &(*at)->next;
    }
    struct upstream_connection *connection = *at;
    if (connection != NULL) {
        *at = connection->next;
        free(connection);
    }
}

/* The port stands at the same place for both families. */
union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* Asked for once: a connection keeps its ports. */
static void note_ports(struct upstream_connection *connection)
{
    union address local = {.v6 = {0}};
    union address remote = {.v6 = {0}};
    socklen_t local_bytes = sizeof(local);
    socklen_t remote_bytes = sizeof(remote);
    if (getsockname(connection->fd, &local.any, &local_bytes) == 0 &&
        getpeername(connection->fd, &remote.any, &remote_bytes) == 0) {
        connection->local_port = ntohs(local.v4.sin_port);
        connection->remote_port = ntohs(remote.v4.sin_port);
    }
}

bool upstream_sockets_spoil_stale(struct upstream_sockets *sockets, int local_port, int remote_port)
{
    struct upstream_connection *connection = sockets->open;
    while (connection != NULL) {
        if (connection->remote_port == 0) {
            note_ports(connection);
        }
        if (connection->local_port == local_port && connection->remote_port == remote_port) {
            break;
        }
        connection = connection->next;
    }
    char unread[4096];
    if (connection == NULL ||
        (recv(connection->fd, unread, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && errno == EAGAIN)) {
        return false;
    }
    /* curl peeks too, and takes a connection with unread input for alive. */
    for (int i = 0; i < 16; i++) {
        if (recv(connection->fd, unread, sizeof(unread), MSG_DONTWAIT) <= 0) {
            break;
        }
    }
    (void)shutdown(connection->fd, SHUT_RDWR);
    return true;
}

void upstream_sockets_forget(struct upstream_sockets *sockets, int fd)
{
    forget_connection(sockets, fd);
    for (struct upstream_socket *s = sockets->all; s != NULL; s = s->next) {
        if (s->fd == fd) {
            loop_clear(sockets->loop, fd);
            s->registered = 0;
            s->wanted = 0;
        }
    }
}

int upstream_sockets_on_close(void *arg, curl_socket_t fd)
{
    upstream_sockets_forget(arg, fd);
    return close(fd);
}

int upstream_sockets_run(struct upstream_sockets *sockets)
{
    int status = 0;
    struct upstream_socket *socket = sockets->ready;
    sockets->bulk_bytes = 0;
    sockets->ready = NULL;
    while (socket != NULL) {
        struct upstream_socket *next = socket->next_ready;
        uint32_t events = socket->events;
        socket->events = 0;
        if (socket->registered == 0 || status != 0) {
            /* Closed by what curl did for another socket of this turn; or curl has failed. */
        } else if (socket->wanted == 0) {
            /* Of an idle connection: its end, or an answer to nothing. The next call that would
             * use it finds out; until then it must not wake us again and again. */
            loop_clear(sockets->loop, socket->fd);
            socket->registered = 0;
        } else if (socket->bulk && sockets->bulk_bytes >= TURN_BULK_BYTES) {
            /* The kernel tells again in the next turn. */
        } else {
            int mask = ((events & (uint32_t)(EPOLLIN | EPOLLHUP)) != 0 ? CURL_CSELECT_IN : 0) |
                       ((events & (uint32_t)EPOLLOUT) != 0 ? CURL_CSELECT_OUT : 0) |
                       ((events & (uint32_t)EPOLLERR) != 0 ? CURL_CSELECT_ERR : 0);
            int running;
            if (curl_multi_socket_action(sockets->multi, socket->fd, mask, &running) != CURLM_OK) {
                status = -ENOMEM;
            }
        }
        socket = next;
    }
    return status;
}

bool upstream_sockets_wanted(const struct upstream_sockets *sockets, curl_socket_t fd)
{
    const struct upstream_socket *socket = sockets->all;
    while (socket != NULL && socket->fd != fd) {
        socket = socket->next;
    }
    return socket != NULL && socket->wanted != 0;
}

/* An idle connection stays watched for input: mostly there is none, and the next call finds its
 * watch in place. */
void upstream_sockets_flush(struct upstream_sockets *sockets)
{
    struct upstream_socket **at = &sockets->all;
    while (*at != NULL) {
        struct upstream_socket *socket = *at;
        if (socket->wanted == 0 && socket->registered != 0 && !is_connection(sockets, socket->fd)) {
            loop_clear(sockets->loop, socket->fd);
            socket->registered = 0;
        }
        if (socket->wanted == 0 && socket->registered == 0) {
            *at = socket->next;
            free(socket);
            continue;
        }
        uint32_t events = socket->wanted != 0 ? socket->wanted : (uint32_t)EPOLLIN;
        if (events != socket->registered &&
            loop_set(sockets->loop, socket->fd, events, &socket->watch) == 0) {
            socket->registered = events;
        }
        at = &socket->next;
    }
}

int upstream_sockets_init(struct upstream_sockets *sockets, CURLM *multi, struct loop *loop)
{
    *sockets = (struct upstream_sockets){.loop = loop, .multi = multi};
    bool set = curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket_wish) == CURLM_OK &&
               curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, sockets) == CURLM_OK;
    return set ? 0 : -ENOMEM;
}

void upstream_sockets_deinit(struct upstream_sockets *sockets)
{
    while (sockets->open != NULL) {
        forget_connection(sockets, sockets->open->fd);
    }
    while (sockets->all != NULL) {
        struct upstream_socket *socket = sockets->all;
        sockets->all = socket->next;
        free(socket);
    }
    sockets->ready = NULL;
}
