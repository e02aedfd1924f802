/* Connections of our own to the gateway. Owns them and, while they are made, nothing: the socket is
 * libcurl's until it has connected. */
#include "upstream/private.h"

#include "base/clock.h"
#include "base/metrics.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

void pool_init(struct upstream_pool *pool)
{
    *pool = (struct upstream_pool){.claimed_fd = -1};
}

static void on_ready(struct loop_watch *watch, uint32_t events)
{
    struct pool_connection *connection =
        (struct pool_connection *)((char *)watch - offsetof(struct pool_connection, watch));
    connection->events |= events;
    connection->ended =
        connection->ended || (events & (uint32_t)(EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
}

/* -- Lists ------------------------------------------------------------------------------------- */

static void put_first(struct pool_connection *connection)
{
    struct upstream_pool *pool = &connection->upstream->pool;
    struct pool_connection **list = connection->call != NULL ? &pool->busy : &pool->idle;
    connection->next = *list;
    *list = connection;
    pool->idle_count += connection->call == NULL;
}

/* They are few: no more than calls may be in flight. */
static void take_off(struct pool_connection *connection)
{
    struct upstream_pool *pool = &connection->upstream->pool;
    struct pool_connection **at = connection->call != NULL ? &pool->busy : &pool->idle;
    while (*at != connection) {
        at = &(*at)->next;
    }
    *at = connection->next;
    pool->idle_count -= connection->call == NULL;
}

size_t pool_left_to_curl(const struct upstream *upstream)
{
    size_t limit = upstream->settings.connections_idle_max;
    return limit > upstream->pool.count ? limit - upstream->pool.count : 1;
}

static void count_connection(struct upstream *upstream, bool more)
{
    upstream->pool.count += more ? 1 : (size_t)-1;
    if (upstream->multi != NULL) {
        (void)curl_multi_setopt(upstream->multi, CURLMOPT_MAXCONNECTS,
                                (long)pool_left_to_curl(upstream));
    }
}

static void destroy(struct pool_connection *connection)
{
    count_connection(connection->upstream, false);
    close(connection->fd); /* the kernel forgets the watch with it */
    free(connection);
}

/* Close the idle connection that stands there in its list. */
static void drop_idle(struct pool_connection **at)
{
    struct pool_connection *connection = *at;
    *at = connection->next;
    connection->upstream->pool.idle_count--;
    destroy(connection);
}

/* -- Making ------------------------------------------------------------------------------------ */

bool call_set_up_connect(struct upstream_call *call)
{
    CURL *easy = call->easy;
    bool ok = call_set_up_identity(call, call->upstream->write_url);
    UPSTREAM_SET(CURLOPT_PROXY, ""); /* a call may have begun before there was one */
    UPSTREAM_SET(CURLOPT_CONNECT_ONLY, 1L);
    UPSTREAM_SET(CURLOPT_FRESH_CONNECT, 1L); /* else an idle one of a read may be taken */
    UPSTREAM_SET(CURLOPT_CLOSESOCKETFUNCTION, pool_on_close);
    UPSTREAM_SET(CURLOPT_CLOSESOCKETDATA, call->upstream);
    return ok;
}

/* libcurl 7.88.1 closes the socket of a CONNECT_ONLY transfer when it leaves the multi handle; its
 * word for that is a call of this function, so there it changes hands. */
int pool_on_close(void *arg, curl_socket_t fd)
{
    struct upstream *upstream = arg;
    if (fd != upstream->pool.claimed_fd) {
        return upstream_sockets_on_close(&upstream->sockets, fd);
    }
    upstream_sockets_forget(&upstream->sockets, fd);
    upstream->pool.claimed_fd = -1;
    return 0;
}

void pool_claim(struct upstream_call *call)
{
    curl_socket_t fd = CURL_SOCKET_BAD;
    call->fd = -1;
    if (call->outcome.kind == OUTCOME_ANSWERED &&
        curl_easy_getinfo(call->easy, CURLINFO_ACTIVESOCKET, &fd) == CURLE_OK) {
        call->fd = fd;
        call->upstream->pool.claimed_fd = fd;
    }
}

/* Watched for everything and only at its edges: not once again is the kernel told what for. */
static struct pool_connection *adopt(struct upstream *upstream, int fd)
{
    struct pool_connection *connection = calloc(1, sizeof(*connection));
    if (connection == NULL) {
        return NULL;
    }
    connection->watch.on_ready = on_ready;
    connection->upstream = upstream;
    connection->fd = fd;
    connection->made_us = clock_now_us();
    connection->idle_since_us = connection->made_us;
    if (loop_set(upstream->loop, fd, (uint32_t)(EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET),
                 &connection->watch) != 0) {
        free(connection);
        return NULL;
    }
    put_first(connection);
    count_connection(upstream, true);
    return connection;
}

static void on_made(void *arg, const struct outcome *outcome)
{
    static const struct outcome failed = {.kind = OUTCOME_UNREACHABLE, .detail = "out of memory"};
    struct upstream_call *call = arg;
    struct upstream *upstream = call->upstream;
    struct pool_connection *connection = NULL;
    upstream->pool.connecting--;
    if (outcome->kind != OUTCOME_ANSWERED) {
        plain_on_unconnected(upstream, outcome);
        return;
    }
    bool ours = call->fd >= 0 && upstream->pool.claimed_fd < 0;
    upstream->pool.claimed_fd = -1;
    if (ours) {
        connection = adopt(upstream, call->fd);
    }
    if (connection != NULL) {
        plain_on_connected(connection);
        return;
    }
    if (ours) {
        close(call->fd);
    }
    plain_on_unconnected(upstream, &failed);
}

int pool_connect(struct upstream *upstream)
{
    struct upstream_call *call = call_take(upstream, CALL_CONNECT);
    if (call == NULL) {
        return -ENOMEM;
    }
    if (call_start(call, on_made, call) != 0) {
        call_put(call);
        return -ENOMEM;
    }
    upstream->pool.connecting++;
    return 0;
}

/* -- Using ------------------------------------------------------------------------------------- */

/* Whether something stands unread on an idle connection, or it has ended: what is unread would be
 * taken for the answer to the next write (a late 408, say). */
static bool is_stale(const struct pool_connection *connection)
{
    char unread;
    ssize_t bytes = recv(connection->fd, &unread, 1, MSG_PEEK | MSG_DONTWAIT);
    if (bytes > 0) {
        metrics_add(connection->upstream->settings.metrics, METRIC_GATEWAY_STALE, 1);
    }
    return bytes >= 0 || errno != EAGAIN;
}

static bool is_too_old(const struct pool_connection *connection, uint64_t now_us)
{
    const struct upstream *upstream = connection->upstream;
    uint64_t idle_us = upstream->identity.idle_timeout_us;
    return now_us - connection->made_us >= upstream->settings.connection_age_us ||
           now_us - connection->idle_since_us >=
               (idle_us > 0 ? idle_us : UPSTREAM_IDLE_S * UINT64_C(1000000));
}

void pool_use(struct pool_connection *connection, struct plain_call *call)
{
    take_off(connection);
    connection->call = call;
    put_first(connection);
}

struct pool_connection *pool_take(struct upstream *upstream, struct plain_call *call)
{
    uint64_t now_us = clock_now_us();
    struct pool_connection **first = &upstream->pool.idle;
    struct pool_connection *connection;
    for (struct pool_connection **at = first; (connection = *at) != NULL;) {
        if (is_too_old(connection, now_us) || (at == first && is_stale(connection))) {
            drop_idle(at);
        } else {
            at = &connection->next;
        }
    }
    connection = *first;
    if (connection != NULL) {
        pool_use(connection, call);
    }
    return connection;
}

void pool_release(struct pool_connection *connection)
{
    struct upstream *upstream = connection->upstream;
    size_t others = upstream->pool.idle_count - (connection->call == NULL);
    if (connection->ended || others >= upstream->settings.connections_idle_max) {
        pool_close(connection);
        return;
    }
    take_off(connection);
    connection->call = NULL;
    connection->reused = true;
    connection->idle_since_us = clock_now_us();
    put_first(connection);
}

void pool_close(struct pool_connection *connection)
{
    take_off(connection);
    destroy(connection);
}

void pool_close_idle(struct upstream *upstream)
{
    while (upstream->pool.idle != NULL) {
        drop_idle(&upstream->pool.idle);
    }
}

void pool_run(struct upstream *upstream)
{
    struct pool_connection *connection;
    for (struct pool_connection **at = &upstream->pool.idle; (connection = *at) != NULL;) {
        uint32_t events = connection->events;
        connection->events = 0;
        if ((events & ~(uint32_t)EPOLLOUT) != 0 && is_stale(connection)) {
            drop_idle(at);
        } else {
            at = &connection->next;
        }
    }
}
