/* Writes by plain HTTP. Owns the calls under way; their bodies are lent.
 *
 *     waits for a connection -> sends -> reads the answer -> ended
 *            ^                   |            |
 *            '---- once more, on a new one, where a used one proves dead before any answer
 *
 * An answer may come while the body is still being sent. A refusal counts, and ends the connection;
 * a 2xx counts once the body is out. */
#include "upstream/head.h"
#include "upstream/private.h"

#include "base/clock.h"
#include "base/metrics.h"
#include "wire/answer.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define PARTS_MAX     64            /* handed to the kernel at once */
#define RECEIVE_BYTES (16U * 1024U) /* the usual answer at once */

/* One write. Owner: upstream_plain; kept and used again. */
struct plain_call {
    struct plain_call *next; /* under way or idle */
    struct upstream *upstream;
    struct pool_connection *connection; /* NULL: waits for one */
    struct write_head *head;
    char length[32]; /* and with it the end of the head */
    const struct upstream_piece *pieces;
    size_t count;
    size_t part;   /* being sent: head, length, then the pieces */
    size_t offset; /* [bytes] of it that were sent */
    bool touched;  /* a byte was sent, on any connection */
    bool repeated; /* it goes out for the second time */
    bool excess;   /* something follows behind the answer */
    upstream_on_done *on_done;
    void *arg;
    uint64_t deadline_us;
    struct outcome outcome;
    struct answer answer;
};

bool plain_serves(const struct upstream *upstream)
{
    return strncasecmp(upstream->write_url, PLAIN_SCHEME, sizeof(PLAIN_SCHEME) - 1) == 0 &&
           upstream->identity.proxy_url == NULL && upstream->settings.connections_max == 0;
}

void plain_forget_identity(struct upstream *upstream)
{
    write_head_release(upstream->plain.head);
    upstream->plain.head = NULL;
    if (!plain_serves(upstream)) {
        pool_close_idle(upstream);
    }
}

/* -- Calls ------------------------------------------------------------------------------------- */

static struct plain_call *take_call(struct upstream *upstream)
{
    struct upstream_plain *plain = &upstream->plain;
    struct plain_call *call = plain->idle;
    if (call != NULL) {
        plain->idle = call->next;
        return call;
    }
    call = calloc(1, sizeof(*call));
    if (call != NULL) {
        call->upstream = upstream;
    }
    return call;
}

/* Calls are few, as connections are: the end of their list is walked to. */
static void link_last(struct upstream_plain *plain, struct plain_call *call)
{
    struct plain_call **at = &plain->first;
    while (*at != NULL) {
        at = &(*at)->next;
    }
    call->next = NULL;
    *at = call;
}

static void take_off(struct upstream_plain *plain, const struct plain_call *call)
{
    struct plain_call **at = &plain->first;
    while (*at != call) {
        at = &(*at)->next;
    }
    *at = call->next;
}

int plain_write(struct upstream *upstream, const struct upstream_piece *pieces, size_t count,
                size_t bytes, upstream_on_done *on_done, void *arg)
{
    struct upstream_plain *plain = &upstream->plain;
    if (plain->head == NULL && (plain->head = write_head_make(upstream)) == NULL) {
        return -ENOMEM;
    }
    struct plain_call *call = take_call(upstream);
    if (call == NULL) {
        return -ENOMEM;
    }
    call->head = plain->head;
    call->head->references++;
    (void)snprintf(call->length, sizeof(call->length), "%zu\r\n\r\n", bytes);
    call->pieces = pieces;
    call->count = count;
    call->touched = false;
    call->repeated = false;
    call->on_done = on_done;
    call->arg = arg;
    call->deadline_us = clock_now_us() + upstream->settings.write_timeout_us;
    answer_init(&call->answer, &call->outcome);
    link_last(plain, call);
    plain->waiting++;
    plain->started = true;
    return 0;
}

/* Its connection has been let go. */
static void report(struct plain_call *call, enum outcome_kind kind, const char *detail)
{
    struct upstream_plain *plain = &call->upstream->plain;
    struct outcome *outcome = &call->outcome;
    assert(call->head != NULL);
    size_t detail_bytes = strnlen(detail, sizeof(outcome->detail) - 1);
    outcome->kind = kind;
    outcome->status = kind == OUTCOME_ANSWERED ? outcome->status : 0;
    memcpy(outcome->detail, detail, detail_bytes);
    outcome->detail[detail_bytes] = '\0';
    if (call->head->authorization != NULL) {
        outcome_hide_credential(outcome, call->head->authorization);
    }
    take_off(plain, call);
    call->on_done(call->arg, outcome);
    write_head_release(call->head);
    call->head = NULL;
    call->next = plain->idle;
    plain->idle = call;
}

/* What it is in the midst of is not known, nor what would come on its connection. */
static void fail(struct plain_call *call, enum outcome_kind kind, const char *detail)
{
    if (call->connection != NULL) {
        pool_close(call->connection);
        call->connection = NULL;
    } else {
        call->upstream->plain.waiting--;
    }
    report(call, kind, detail);
}

/* -- Sending ----------------------------------------------------------------------------------- */

static bool is_sent(const struct plain_call *call)
{
    return call->part == call->count + 2;
}

static struct iovec part_of(const struct plain_call *call, size_t number)
{
    if (number == 0) {
        return (struct iovec){.iov_base = call->head->text.data, .iov_len = call->head->text.size};
    }
    if (number == 1) {
        return (struct iovec){.iov_base = (void *)(uintptr_t)call->length,
                              .iov_len = strlen(call->length)};
    }
    const struct upstream_piece *piece = &call->pieces[number - 2];
    return (struct iovec){.iov_base = (void *)(uintptr_t)piece->data, .iov_len = piece->bytes};
}

/* Lay out what is to be sent next. Returns its bytes. */
static size_t gather(const struct plain_call *call, struct iovec parts[PARTS_MAX], size_t *count)
{
    size_t bytes = 0;
    size_t offset = call->offset;
    *count = 0;
    for (size_t i = call->part; i < call->count + 2 && *count < PARTS_MAX; i++) {
        struct iovec part = part_of(call, i);
        part.iov_base = (char *)part.iov_base + offset;
        part.iov_len -= offset;
        offset = 0;
        parts[(*count)++] = part;
        bytes += part.iov_len;
    }
    return bytes;
}

static void advance(struct plain_call *call, size_t sent)
{
    call->touched = call->touched || sent > 0;
    while (!is_sent(call)) {
        size_t left = part_of(call, call->part).iov_len - call->offset;
        if (sent < left) {
            call->offset += sent;
            return;
        }
        sent -= left;
        call->part++;
        call->offset = 0;
    }
    assert(sent == 0);
}

/* Send what the kernel takes. Where that is less than all, an edge of EPOLLOUT says when it takes
 * more. Errors: -errno. */
static int send_some(struct plain_call *call)
{
    struct iovec parts[PARTS_MAX];
    while (!is_sent(call)) {
        struct msghdr message = {.msg_iov = parts};
        size_t bytes = gather(call, parts, &message.msg_iovlen);
        ssize_t sent = sendmsg(call->connection->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EINTR) {
            return errno == EAGAIN ? 0 : -errno;
        }
        advance(call, sent > 0 ? (size_t)sent : 0);
        if (sent >= 0 && (size_t)sent < bytes) {
            return 0;
        }
    }
    return 0;
}

/* -- The answer -------------------------------------------------------------------------------- */

static void finish(struct plain_call *call)
{
    struct pool_connection *connection = call->connection;
    call->connection = NULL;
    if (call->excess) {
        metrics_add(call->upstream->settings.metrics, METRIC_GATEWAY_STALE, 1);
    }
    if (is_sent(call) && call->answer.keep_alive && !call->excess) {
        pool_release(connection);
    } else {
        pool_close(connection);
    }
    report(call, OUTCOME_ANSWERED, "");
}

/* The answer is whole. True where the call goes on nonetheless: the gateway may accept a body by
 * its head and read on, but it cannot have stored what it was not sent. */
static bool conclude(struct plain_call *call)
{
    if (is_sent(call) || call->outcome.status / 100 != 2) {
        finish(call);
        return false;
    }
    if (!call->answer.keep_alive) {
        fail(call, OUTCOME_BROKEN, "accepted before the body was sent");
        return false;
    }
    return true;
}

/* The race of every pool: the gateway closes an idle connection just as a write goes out on it. */
static void send_again(struct plain_call *call)
{
    struct upstream *upstream = call->upstream;
    if (call->touched) {
        metrics_add(upstream->settings.metrics, METRIC_GATEWAY_REPLAYS, 1);
    }
    pool_close(call->connection);
    call->connection = NULL;
    call->repeated = true;
    upstream->plain.waiting++;
    upstream->plain.started = true;
}

/* The connection has ended, by an error (-errno) or in order (0), and the call is not over. */
static void lose(struct plain_call *call, int error)
{
    bool dead = error == 0 || error == -ECONNRESET || error == -EPIPE;
    if (dead && call->connection->reused && !call->repeated && call->answer.bytes == 0) {
        send_again(call);
    } else if (answer_whole(&call->answer)) {
        fail(call, OUTCOME_BROKEN, "accepted before the body was sent");
    } else {
        fail(call, OUTCOME_BROKEN, error != 0 ? strerror(-error) : call->answer.reason);
    }
}

/* Read on. True where the call goes on. */
static bool receive(struct plain_call *call)
{
    char data[RECEIVE_BYTES];
    while (!answer_whole(&call->answer)) {
        ssize_t bytes = recv(call->connection->fd, data, sizeof(data), MSG_DONTWAIT);
        size_t taken = 0;
        if (bytes < 0 && errno == EAGAIN) {
            return true;
        }
        if (bytes < 0 && errno != EINTR) {
            lose(call, -errno);
            return false;
        }
        if (bytes == 0 && answer_end(&call->answer) != 0) {
            lose(call, 0);
            return false;
        }
        if (bytes > 0 && answer_add(&call->answer, data, (size_t)bytes, &taken) != 0) {
            fail(call, OUTCOME_BROKEN, call->answer.reason);
            return false;
        }
        call->excess = bytes > 0 && taken < (size_t)bytes;
    }
    return conclude(call);
}

/* What cannot be sent any more may have been refused before: the gateway's word is heard first. */
static void drive(struct plain_call *call, bool readable)
{
    if (readable && !answer_whole(&call->answer) && !receive(call)) {
        return;
    }
    int error = send_some(call);
    if (error != 0) {
        if (answer_whole(&call->answer) || receive(call)) {
            lose(call, error);
        }
    } else if (answer_whole(&call->answer) && is_sent(call)) {
        finish(call);
    }
}

/* -- A connection is chosen -------------------------------------------------------------------- */

static void begin(struct plain_call *call, struct pool_connection *connection)
{
    call->upstream->plain.waiting--;
    call->connection = connection;
    call->part = 0;
    call->offset = 0;
    call->excess = false;
    answer_init(&call->answer, &call->outcome);
    drive(call, false);
}

static struct plain_call *first_waiting(const struct upstream_plain *plain)
{
    struct plain_call *call = plain->first;
    while (call != NULL && call->connection != NULL) {
        call = call->next;
    }
    return call;
}

void plain_on_connected(struct pool_connection *connection)
{
    struct plain_call *call = first_waiting(&connection->upstream->plain);
    if (call != NULL) {
        pool_use(connection, call);
        begin(call, connection);
    } else {
        pool_release(connection);
    }
}

/* A connection less is on its way. Somebody hears so, unless the others have found one. */
void plain_on_unconnected(struct upstream *upstream, const struct outcome *outcome)
{
    struct plain_call *call = first_waiting(&upstream->plain);
    if (call != NULL && upstream->plain.waiting > upstream->pool.connecting) {
        bool maybe_stored = call->touched && outcome->kind == OUTCOME_UNREACHABLE;
        fail(call, maybe_stored ? OUTCOME_BROKEN : outcome->kind, outcome->detail);
    }
}

static void find_connections(struct upstream *upstream)
{
    static const struct outcome failed = {.kind = OUTCOME_UNREACHABLE, .detail = "out of memory"};
    struct upstream_plain *plain = &upstream->plain;
    struct plain_call *next;
    for (struct plain_call *call = plain->first; call != NULL && plain->waiting > 0; call = next) {
        next = call->next;
        struct pool_connection *connection =
            call->connection != NULL || call->repeated ? NULL : pool_take(upstream, call);
        if (connection != NULL) {
            begin(call, connection);
        }
    }
    size_t connecting = upstream->pool.connecting;
    for (size_t left = plain->waiting; left > connecting; left--) {
        if (pool_connect(upstream) != 0) {
            plain_on_unconnected(upstream, &failed);
        }
    }
}

/* -- The phases -------------------------------------------------------------------------------- */

void plain_run(struct upstream *upstream)
{
    struct upstream_plain *plain = &upstream->plain;
    struct pool_connection *next;
    pool_run(upstream);
    for (struct pool_connection *c = upstream->pool.busy; c != NULL; c = next) {
        next = c->next;
        uint32_t events = c->events;
        c->events = 0;
        if (events != 0) {
            drive(c->call, (events & ~(uint32_t)EPOLLOUT) != 0);
        }
    }
    while (plain->first != NULL && plain->first->deadline_us <= clock_now_us()) {
        struct plain_call *call = plain->first;
        fail(call, OUTCOME_TIMEOUT,
             call->connection != NULL ? "no whole answer in time" : "no connection in time");
    }
}

void plain_flush(struct upstream *upstream)
{
    upstream->plain.started = false;
    if (upstream->plain.waiting > 0) {
        find_connections(upstream);
    }
}

uint64_t plain_deadline_us(const struct upstream *upstream)
{
    const struct upstream_plain *plain = &upstream->plain;
    if (plain->started) {
        return 0;
    }
    return plain->first != NULL ? plain->first->deadline_us : LOOP_NEVER;
}

void plain_cancel(struct upstream *upstream)
{
    size_t left = 0; /* those that begin meanwhile, behind them, are none of these */
    for (const struct plain_call *call = upstream->plain.first; call != NULL; call = call->next) {
        left++;
    }
    for (; left > 0; left--) {
        fail(upstream->plain.first, OUTCOME_CANCELLED, "");
    }
}

void plain_deinit(struct upstream *upstream)
{
    struct upstream_plain *plain = &upstream->plain;
    struct plain_call *next;
    for (struct plain_call *call = plain->first; call != NULL; call = next) {
        next = call->next;
        if (call->connection != NULL) {
            pool_close(call->connection);
        }
        write_head_release(call->head);
        free(call);
    }
    for (struct plain_call *call = plain->idle; call != NULL; call = next) {
        next = call->next;
        free(call);
    }
    write_head_release(plain->head);
    *plain = (struct upstream_plain){.first = NULL};
}
