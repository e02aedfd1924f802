/* One relayed read: what is asked of the gateway and what the client hears. */
#include "flow/read.h"

#include "base/metrics.h"
#include "config/config.h"
#include "flow/context.h"
#include "server/server.h"
#include "wire/field.h"
#include "wire/header_policy.h"
#include "wire/target.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define LINES_MAX        32 /* header lines to the gateway: the allow list is short */
#define LINES_BYTES_MAX  (32U * 1024U)
#define TARGET_BYTES_MAX (128U * 1024U)
#define UNEXPECTED_BYTES (64U * 1024U) /* of a body; the HTTP library asks first from 1 MiB on */
#define FORM_TARGET_MAX  (8U * 1024U)  /* above, servers on the way refuse an address */
#define HEADERS_MAX      64            /* of an answer */
#define HEAD_BYTES_MAX   (64U * 1024U)

/* -- What is asked ---------------------------------------------------------------------------- */

/* The gateway routes these by GET only, while client libraries POST them. */
static bool goes_as_get(const struct read *read)
{
    enum route_id route = exchange_route(read->exchange)->id;
    const char *type = exchange_header(read->exchange, "Content-Type");
    static const char FORM[] = "application/x-www-form-urlencoded";
    return read->method == ROUTE_METHOD_POST &&
           (route == ROUTE_READ_SERIES || route == ROUTE_READ_LABELS) &&
           (read->body.size == 0 ||
            (type != NULL && strncasecmp(type, FORM, sizeof(FORM) - 1) == 0 &&
             exchange_header(read->exchange, "Content-Encoding") == NULL &&
             target_query_valid((const char *)read->body.data, read->body.size)));
}

static int print_target(struct read *read)
{
    const char *target = exchange_target(read->exchange);
    const char *query = strchr(target, '?');
    if (query != NULL && !target_query_valid(query, strlen(query))) {
        return -EBADMSG;
    }
    const char *prefix = read->gateway->prefix;
    if (goes_as_get(read)) {
        buf_init(&read->target, FORM_TARGET_MAX);
        int status = target_print(&read->target, prefix, target, (const char *)read->body.data,
                                  read->body.size);
        if (status == 0) {
            read->method = ROUTE_METHOD_GET;
            return 0;
        }
        buf_deinit(&read->target);
    }
    buf_init(&read->target, TARGET_BYTES_MAX);
    return target_print(&read->target, prefix, target, NULL, 0);
}

/* The header lines on their way from the client's request to the gateway's. */
struct lines {
    struct read *read;
    struct header_policy policy;
    bool has_accept;
    bool has_type;
    int status;
};

static void note_header(void *arg, const char *name, size_t name_bytes, const char *value,
                        size_t value_bytes)
{
    struct lines *lines = arg;
    if (header_policy_note(&lines->policy, name, name_bytes, value, value_bytes) != 0) {
        lines->status = -EBADMSG;
    }
}

static void add_line(struct lines *lines, const char *line, size_t bytes)
{
    struct read *read = lines->read;
    if (read->line_count >= LINES_MAX) {
        lines->status = -EMSGSIZE;
        return;
    }
    int status = buf_append(&read->lines, line, bytes);
    lines->status = status == 0 ? buf_append(&read->lines, "", 1) : status;
    read->line_count++;
}

static void pass_header(void *arg, const char *name, size_t name_bytes, const char *value,
                        size_t value_bytes)
{
    struct lines *lines = arg;
    struct text field = {.start = name, .bytes = name_bytes};
    bool of_body = text_is(field, "content-type") || text_is(field, "content-encoding");
    if (lines->status != 0 || value_bytes == 0 ||
        (of_body && lines->read->method != ROUTE_METHOD_POST) ||
        !header_policy_up(&lines->policy, name, name_bytes, value, value_bytes)) {
        return;
    }
    lines->has_accept = lines->has_accept || text_is(field, "accept");
    lines->has_type = lines->has_type || text_is(field, "content-type");
    struct buf *text = &lines->read->lines;
    int status = buf_append(text, name, name_bytes);
    status = status == 0 ? buf_append(text, ": ", 2) : status;
    if (status != 0) {
        lines->status = status;
        return;
    }
    add_line(lines, value, value_bytes);
}

/* The allow list of the client's headers, the tenant, and without the HTTP library's own. */
static int print_lines(struct read *read)
{
    struct lines lines = {.read = read};
    header_policy_init(&lines.policy, read->gateway->context->config->reads_forward_authorization);
    buf_init(&read->lines, LINES_BYTES_MAX);
    exchange_visit_headers(read->exchange, note_header, &lines);
    if (lines.status == 0) {
        exchange_visit_headers(read->exchange, pass_header, &lines);
    }
    bool is_post = read->method == ROUTE_METHOD_POST;
    const char *const own[] = {
        read->gateway->tenant_line,
        is_post && read->body.size > UNEXPECTED_BYTES ? "Expect:" : NULL,
        lines.has_accept ? NULL : "Accept:", is_post && !lines.has_type ? "Content-Type:" : NULL};
    for (size_t i = 0; lines.status == 0 && i < sizeof(own) / sizeof(own[0]); i++) {
        if (own[i] != NULL) {
            add_line(&lines, own[i], strlen(own[i]));
        }
    }
    return lines.status;
}

int read_prepare(struct read *read)
{
    read->method = exchange_method(read->exchange);
    int status = print_target(read);
    return status == 0 ? print_lines(read) : status;
}

/* -- What the gateway says: recorded, told to the client later -------------------------------- */

static void on_header(void *arg, const char *name, size_t name_bytes, const char *value,
                      size_t value_bytes)
{
    struct read *read = arg;
    struct buf *head = &read->head;
    size_t start = head->size;
    if (read->unfit) {
        return;
    }
    if (read->header_count < HEADERS_MAX && buf_append(head, name, name_bytes) == 0 &&
        buf_append(head, "", 1) == 0 && buf_append(head, value, value_bytes) == 0 &&
        buf_append(head, "", 1) == 0) {
        read->header_count++;
    } else {
        head->size = start;
        read->unfit = true; /* a head that is only half passed on would say something else */
    }
}

static void on_head(void *arg, unsigned status, uint64_t body_bytes)
{
    struct read *read = arg;
    read->status = status;
    read->answer_bytes = body_bytes;
    read->has_head = true;
    read->gateway->on_news(read);
}

static bool on_data(void *arg, const uint8_t *data, size_t bytes)
{
    struct read *read = arg;
    struct buf *window = &read->window;
    if (read->window_taken > 0 && window->size + bytes > window->capacity) {
        window->size -= read->window_taken;
        memmove(window->data, window->data + read->window_taken, window->size);
        read->window_taken = 0;
    }
    read->gateway->on_news(read);
    int status = buf_append(window, data, bytes);
    read->unfit = read->unfit || status == -ENOMEM;
    read->paused = status != 0;
    return !read->paused;
}

static void on_done(void *arg, const struct outcome *outcome)
{
    struct read *read = arg;
    read->call = NULL;
    read->ended = true;
    read->outcome = outcome->kind;
    read->gateway->on_news(read);
}

int read_ask(struct read *read)
{
    const char *lines[LINES_MAX + 1] = {NULL};
    const char *at = (const char *)read->lines.data;
    for (size_t i = 0; i < read->line_count; i++) {
        lines[i] = at;
        at += strlen(at) + 1;
    }
    buf_init(&read->head, HEAD_BYTES_MAX);
    buf_init(&read->window, (size_t)read->gateway->context->config->reads_window_bytes);
    read->call = upstream_read(read->gateway->upstream,
                               &(struct upstream_read){.method = read->method,
                                                       .target = (const char *)read->target.data,
                                                       .headers = lines,
                                                       .body = read->body.data,
                                                       .body_bytes = read->body.size,
                                                       .arg = read,
                                                       .on_header = on_header,
                                                       .on_head = on_head,
                                                       .on_data = on_data,
                                                       .on_done = on_done});
    buf_deinit(&read->target);
    buf_deinit(&read->lines);
    return read->call != NULL ? 0 : -ENOMEM;
}

/* -- What the client hears -------------------------------------------------------------------- */

size_t read_window_used(const struct read *read)
{
    return read->window.size - read->window_taken;
}

void read_reply_error(struct read *read, unsigned status, const char *type, const char *text)
{
    char body[512];
    int bytes =
        snprintf(body, sizeof(body),
                 "{\"status\":\"error\",\"errorType\":\"%s\",\"error\":\"%s\"}\n", type, text);
    assert(bytes > 0 && (size_t)bytes < sizeof(body));
    const struct server_header headers[] = {{"Retry-After", "1"}, {NULL, NULL}};
    read->state = READ_ANSWERED;
    exchange_reply(read->exchange, &(struct server_reply){.status = status,
                                                          .content_type = "application/json",
                                                          .headers = status == 503 ? headers : NULL,
                                                          .body = body,
                                                          .body_bytes = (size_t)bytes});
}

/* Those headers of the answer that pass, as pairs into read->head. */
static void list_headers(const struct read *read, struct server_header out[HEADERS_MAX + 1])
{
    struct header_policy policy;
    header_policy_init(&policy, false);
    bool noted = true;
    size_t count = 0;
    for (int pass = 0; pass < 2; pass++) {
        const char *name = (const char *)read->head.data;
        for (size_t i = 0; noted && i < read->header_count; i++) {
            size_t name_bytes = strlen(name);
            const char *value = name + name_bytes + 1;
            size_t value_bytes = strlen(value);
            if (pass == 0) {
                noted = header_policy_note(&policy, name, name_bytes, value, value_bytes) == 0;
            } else if (value_bytes > 0 && /* the server takes no empty ones */
                       header_policy_down(&policy, name, name_bytes, value, value_bytes)) {
                out[count++] = (struct server_header){.name = name, .value = value};
            }
            name = value + value_bytes + 1;
        }
    }
    out[count] = (struct server_header){0};
}

void read_reply(struct read *read)
{
    struct server_header headers[HEADERS_MAX + 1];
    list_headers(read, headers);
    bool is_head = read->method == ROUTE_METHOD_HEAD;
    if (read->ended && read->outcome == OUTCOME_ANSWERED && !is_head) {
        read->state = READ_ANSWERED;
        exchange_reply(read->exchange, &(struct server_reply){.status = read->status,
                                                              .headers = headers,
                                                              .body = read->window.data,
                                                              .body_bytes = read->window.size});
        return;
    }
    read->state = READ_STREAMING;
    exchange_stream(read->exchange, read->status, headers,
                    read->answer_bytes == UPSTREAM_BODY_UNKNOWN ? SERVER_BODY_UNKNOWN
                                                                : read->answer_bytes);
}

ptrdiff_t read_take(struct read *read, uint8_t *out, size_t room)
{
    size_t used = read_window_used(read);
    if (used == 0) {
        if (!read->ended) {
            return 0;
        }
        return read->outcome == OUTCOME_ANSWERED ? SERVER_STREAM_END : SERVER_STREAM_BROKEN;
    }
    size_t bytes = used < room ? used : room;
    memcpy(out, read->window.data + read->window_taken, bytes);
    read->window_taken += bytes;
    if (read->window_taken == read->window.size) {
        read->window_taken = 0;
        read->window.size = 0;
    }
    /* Half empty: so that the gateway is not woken for every few bytes. */
    if (read->paused && read->call != NULL && read_window_used(read) <= read->window.ceiling / 2) {
        read->paused = false;
        upstream_resume(read->call);
    }
    return (ptrdiff_t)bytes;
}

void read_deinit(struct read *read)
{
    assert(read->call == NULL);
    buf_deinit(&read->body);
    buf_deinit(&read->target);
    buf_deinit(&read->lines);
    buf_deinit(&read->head);
    buf_deinit(&read->window);
}
