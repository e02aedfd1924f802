/* Replies on the fast path: whole ones, and those whose body streams from their handler, block by
 * block, each sent before the next is asked for. */
#include "server/private.h"

#include "base/buf.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>

#define BLOCK_BYTES      (32U * 1024U) /* of a stream, asked for at once */
#define CHUNK_HEAD_BYTES 8             /* room for the size of a block in hex and CRLF */

#define NOT_MODIFIED 304

/* -- Texts ------------------------------------------------------------------------------------- */

static bool has_header(const struct server_header *header, const char *name)
{
    for (; header != NULL && header->name != NULL; header++) {
        if (strcasecmp(header->name, name) == 0) {
            return true;
        }
    }
    return false;
}

static int print_header(struct buf *out, const char *name, const char *value)
{
    int status = buf_append(out, name, strlen(name));
    status = status == 0 ? buf_append(out, ": ", 2) : status;
    status = status == 0 ? buf_append(out, value, strlen(value)) : status;
    return status == 0 ? buf_append(out, "\r\n", 2) : status;
}

static int print_date(struct buf *out)
{
    char date[64];
    struct tm utc;
    time_t now = time(NULL);
    if (gmtime_r(&now, &utc) == NULL ||
        strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &utc) == 0) {
        return 0; /* a server without a clock sends none: RFC 9110, section 6.6.1 */
    }
    return print_header(out, "Date", date);
}

static bool has_no_body(const struct exchange *exchange, unsigned status)
{
    return exchange->method == ROUTE_METHOD_HEAD || status == MHD_HTTP_NO_CONTENT ||
           status == NOT_MODIFIED;
}

/* How the end of a body is told, where there is one. */
static int print_framing(struct buf *out, const struct exchange *exchange, unsigned status,
                         uint64_t body_bytes)
{
    if (body_bytes != SERVER_BODY_UNKNOWN) {
        bool told = status != MHD_HTTP_NO_CONTENT && status != NOT_MODIFIED;
        return told ? buf_printf(out, "Content-Length: %llu\r\n", (unsigned long long)body_bytes)
                    : 0;
    }
    return has_no_body(exchange, status) ? 0 : print_header(out, "Transfer-Encoding", "chunked");
}

/* The head of a reply, without what frames its body, and without the empty line. */
static int print_head(struct buf *out, const struct server *server, unsigned status_code,
                      const struct server_header *headers, bool closes)
{
    int status =
        buf_printf(out, "HTTP/1.1 %u %s\r\n%s", status_code, MHD_get_reason_phrase_for(status_code),
                   closes ? "Connection: close\r\n" : "");
    if (status == 0 && !has_header(headers, "Date")) {
        status = print_date(out);
    }
    const struct server_header *header = headers;
    for (; status == 0 && header != NULL && header->name != NULL; header++) {
        status = print_header(out, header->name, header->value);
    }
    header = server->headers;
    for (; status == 0 && header != NULL && header->name != NULL; header++) {
        if (!has_header(headers, header->name)) {
            status = print_header(out, header->name, header->value);
        }
    }
    return status;
}

/* The reply to nearly every write, printed once a second for its Date. NULL without memory. */
static const struct buf *no_content(struct server *server)
{
    struct buf *text = &server->direct_no_content;
    time_t now = time(NULL);
    if (text->size == 0 || server->direct_printed_at != now) {
        server->direct_printed_at = now;
        text->size = 0;
        if (print_head(text, server, MHD_HTTP_NO_CONTENT, NULL, false) != 0 ||
            buf_append(text, "\r\n", 2) != 0) {
            text->size = 0;
        }
    }
    return text->size > 0 ? text : NULL;
}

/* -- A reply is given -------------------------------------------------------------------------- */

static bool closes_with(const struct exchange *exchange)
{
    return exchange_closes(exchange) || exchange->connection->leaves;
}

void direct_reply(struct exchange *exchange, const struct server_reply *reply)
{
    struct connection *connection = exchange->connection;
    bool closes = closes_with(exchange);
    struct buf *out = &exchange->out;
    exchange->reply_status = reply->status;
    direct_make_ready(connection);
    if (reply->status == MHD_HTTP_NO_CONTENT && reply->headers == NULL && !closes) {
        return; /* its text is made when it is sent */
    }
    connection->leaves = closes;
    buf_init(out, SERVER_REPLY_HEAD_MAX + reply->body_bytes);
    int status = print_head(out, exchange->server, reply->status, reply->headers, closes);
    if (status == 0 && reply->content_type != NULL) {
        status = print_header(out, "Content-Type", reply->content_type);
    }
    status = status == 0 ? print_framing(out, exchange, reply->status, reply->body_bytes) : status;
    status = status == 0 ? buf_append(out, "\r\n", 2) : status;
    if (status == 0 && !has_no_body(exchange, reply->status)) {
        status = buf_append(out, reply->body, reply->body_bytes);
    }
    exchange->gone = status != 0; /* no memory for a reply: the connection is closed instead */
}

void direct_stream(struct exchange *exchange, unsigned status_code,
                   const struct server_header *headers, uint64_t body_bytes)
{
    struct connection *connection = exchange->connection;
    struct buf *out = &exchange->out;
    exchange->reply_status = status_code;
    exchange->streams = !has_no_body(exchange, status_code);
    exchange->stream_left = body_bytes;
    connection->leaves = closes_with(exchange);
    direct_make_ready(connection);
    buf_init(out, SERVER_REPLY_HEAD_MAX);
    int status = print_head(out, exchange->server, status_code, headers, connection->leaves);
    status = status == 0 ? print_framing(out, exchange, status_code, body_bytes) : status;
    status = status == 0 ? buf_append(out, "\r\n", 2) : status;
    exchange->gone = status != 0;
}

void direct_stream_ready(struct exchange *exchange)
{
    struct connection *connection = exchange->connection;
    if (exchange->state == EXCHANGE_REPLYING && connection->state == CONNECTION_WAITING) {
        connection_enter(connection, CONNECTION_REPLYING);
        direct_make_ready(connection);
    }
}

void direct_give_up(struct exchange *exchange)
{
    exchange->gone = true;
    direct_make_ready(exchange->connection);
}

/* -- A reply goes out -------------------------------------------------------------------------- */

void direct_start_replying(struct connection *connection)
{
    exchange_enter(connection->exchange, EXCHANGE_REPLYING);
    connection_enter(connection, CONNECTION_REPLYING);
}

/* The reply is out. True to go on at once; another request waits for its turn. */
static bool end_exchange(struct connection *connection)
{
    struct exchange *exchange = connection->exchange;
    connection->exchange = NULL;
    exchange_free(exchange, true);
    direct_leave_queue(connection); /* that it came into when the reply was given */
    if (connection->leaves) {
        /* Closed at once, with something unread, it would take the reply back on its way. */
        (void)shutdown(connection->fd, SHUT_WR);
        connection_enter(connection, CONNECTION_LEAVING);
        return true;
    }
    connection_enter(connection, CONNECTION_IDLE);
    if (connection->readable) {
        direct_make_ready(connection);
    }
    return false;
}

/* Send what of text was not sent. Returns how much of it that was; the connection is gone when it
 * was lost, and -1 is returned. */
static ssize_t send_some(struct connection *connection, const uint8_t *text, size_t bytes)
{
    ssize_t sent;
    do {
        sent = send(connection->fd, text, bytes, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    if (sent >= 0) {
        return sent;
    }
    if (errno == EAGAIN) {
        return 0;
    }
    direct_close(connection);
    return -1;
}

static bool send_no_content(struct connection *connection)
{
    struct exchange *exchange = connection->exchange;
    const struct buf *text = no_content(connection->server);
    if (text == NULL) {
        direct_close(connection);
        return false;
    }
    ssize_t sent = send_some(connection, text->data, text->size);
    if (sent < 0) {
        return false;
    }
    if ((size_t)sent == text->size) {
        return end_exchange(connection);
    }
    /* A client that reads nothing. By the time that it does, the common text may be another. */
    buf_init(&exchange->out, SERVER_REPLY_HEAD_MAX);
    exchange->out_sent = (size_t)sent;
    exchange->gone = buf_append(&exchange->out, text->data, text->size) != 0;
    return exchange->gone;
}

/* Frame the block that stands behind CHUNK_HEAD_BYTES of out. */
static void frame_block(struct exchange *exchange, size_t bytes)
{
    struct buf *out = &exchange->out;
    char size[CHUNK_HEAD_BYTES + 1];
    int size_bytes = snprintf(size, sizeof(size), "%zx\r\n", bytes);
    assert(size_bytes > 0 && size_bytes <= CHUNK_HEAD_BYTES);
    exchange->out_sent = CHUNK_HEAD_BYTES - (size_t)size_bytes;
    memcpy(out->data + exchange->out_sent, size, (size_t)size_bytes);
    memcpy(out->data + CHUNK_HEAD_BYTES + bytes, "\r\n", 2);
    out->size = CHUNK_HEAD_BYTES + bytes + 2;
}

/* The handler has no more: true to go on with the end of the stream. */
static bool end_stream(struct exchange *exchange, ptrdiff_t end)
{
    bool chunked = exchange->stream_left == SERVER_BODY_UNKNOWN;
    struct buf *out = &exchange->out;
    exchange->streams = false;
    out->size = 0;
    exchange->out_sent = 0;
    /* Less than was announced is not whole either: the client sees it cut short. */
    exchange->gone = end != SERVER_STREAM_END || (!chunked && exchange->stream_left > 0) ||
                     (chunked && buf_append(out, "0\r\n\r\n", 5) != 0);
    return true;
}

/* Ask for the next block. True when there is something to send, or the end is reached. */
static bool take_block(struct connection *connection)
{
    struct exchange *exchange = connection->exchange;
    struct buf *out = &exchange->out;
    bool chunked = exchange->stream_left == SERVER_BODY_UNKNOWN;
    size_t room = chunked || exchange->stream_left > BLOCK_BYTES ? BLOCK_BYTES
                                                                 : (size_t)exchange->stream_left;
    if (room == 0) {
        return end_stream(exchange, SERVER_STREAM_END);
    }
    if (buf_reserve(out, CHUNK_HEAD_BYTES + BLOCK_BYTES + 2) != 0) {
        exchange->gone = true;
        return true;
    }
    const struct server_handler *handler = exchange->handler;
    ptrdiff_t bytes =
        handler->on_wanted(handler->owner, exchange, out->data + CHUNK_HEAD_BYTES, room);
    if (bytes == 0) {
        connection_enter(connection, CONNECTION_WAITING);
        return direct_is_forsaken(connection); /* its end may have been told before */
    }
    if (bytes < 0) {
        return end_stream(exchange, bytes);
    }
    if (chunked) {
        frame_block(exchange, (size_t)bytes);
    } else {
        exchange->stream_left -= (uint64_t)bytes;
        exchange->out_sent = CHUNK_HEAD_BYTES;
        out->size = CHUNK_HEAD_BYTES + (size_t)bytes;
    }
    return true;
}

bool direct_send(struct connection *connection)
{
    struct exchange *exchange = connection->exchange;
    assert(exchange != NULL);
    struct buf *out = &exchange->out;
    if (out->size == 0 && !exchange->streams && exchange->reply_status == MHD_HTTP_NO_CONTENT) {
        return send_no_content(connection);
    }
    if (exchange->out_sent < out->size) {
        ssize_t sent =
            send_some(connection, out->data + exchange->out_sent, out->size - exchange->out_sent);
        if (sent <= 0) {
            return false;
        }
        exchange->out_sent += (size_t)sent;
        connection_progress(connection);
        if (exchange->out_sent < out->size) {
            return false; /* until there is room for it */
        }
    }
    return exchange->streams ? take_block(connection) : end_exchange(connection);
}
