/* The reverse proxy for PromQL. Owns the reads of its worker: a queue, those under way, and their
 * deadlines; what is said to whom is read.c's. */
#include "flow/reads.h"

#include "base/budget.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "config/config.h"
#include "flow/context.h"
#include "flow/read.h"
#include "io/loop.h"
#include "server/server.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define FORM_BYTES_MAX (10U * 1024U * 1024U) /* as Prometheus' own */
#define QUEUE_MAX      512 /* many pages of a console at once, however few the slots are */
#define TURN_BYTES     (256U * 1024U) /* to clients; writes get their turn in between */
#define STOPPING       "the proxy is stopping"

/* Reads in the order of their deadlines: each sign of life moves one to the end, since all wait
 * for the same time. */
struct read_list {
    struct read *first, *last;
    size_t count;
};

_Static_assert(METRIC_READ_OTLP_2XX == METRIC_READ_QUERY_2XX + 3 * (ROUTE_OTLP - ROUTE_READ_QUERY),
               "the routes of metrics.h are those of route.h, in their order");

struct reads {
    const struct flow_context *context;
    struct read_gateway gateway;
    struct server_handler handler;
    struct read_list queue; /* wait for a slot, first come first */
    struct read_list asked; /* at the gateway, or streaming */
    struct read *dirty;     /* with news from the gateway */
    size_t at_gateway;
    size_t turn_bytes; /* of answers handed on in this turn */
    char *prefix;
    char *tenant_line;
    bool cancelled;
};

/* -- Lists and numbers ------------------------------------------------------------------------ */

static void list_add(struct read_list *list, struct read *read)
{
    assert(read->list == NULL);
    read->list = list;
    read->next = NULL;
    read->prev = list->last;
    if (list->last != NULL) {
        list->last->next = read;
    } else {
        list->first = read;
    }
    list->last = read;
    list->count++;
}

static void list_remove(struct read *read)
{
    struct read_list *list = read->list;
    if (list == NULL) {
        return;
    }
    read->list = NULL;
    if (read->prev != NULL) {
        read->prev->next = read->next;
    } else {
        list->first = read->next;
    }
    if (read->next != NULL) {
        read->next->prev = read->prev;
    } else {
        list->last = read->prev;
    }
    list->count--;
}

/* A sign of life from either side. */
static void push_deadline(struct reads *reads, struct read *read)
{
    if (read->list == &reads->asked) {
        read->deadline_us = clock_now_us() + reads->context->config->reads_timeout_us;
        list_remove(read);
        list_add(&reads->asked, read);
    }
}

static void count_answer(const struct reads *reads, const struct read *read, unsigned status)
{
    struct metrics *metrics = reads->context->metrics;
    enum route_id route = exchange_route(read->exchange)->id;
    enum metrics_status class = status < 400   ? METRICS_STATUS_2XX
                                : status < 500 ? METRICS_STATUS_4XX
                                               : METRICS_STATUS_5XX;
    metrics_add(metrics, metrics_read_counter(route - ROUTE_READ_QUERY, class), 1);
    metrics_observe(metrics, METRIC_READ_FIRST_SECONDS, clock_now_us() - read->started_us);
}

/* -- Slots ------------------------------------------------------------------------------------ */

static void take_slot(struct reads *reads, struct read *read)
{
    read->holds_slot = true;
    reads->at_gateway++;
    metrics_gauge_add(reads->context->metrics, METRIC_READS_IN_FLIGHT, 1);
}

static void release_slot(struct reads *reads, struct read *read)
{
    if (read->holds_slot) {
        read->holds_slot = false;
        reads->at_gateway--;
        metrics_gauge_add(reads->context->metrics, METRIC_READS_IN_FLIGHT, -1);
    }
}

/* The gateway is done with it. What its client has not taken yet is held from now on without a
 * limit of slots, so it is charged like all that is held; with no budget for it, it keeps its slot.
 */
static void let_go_of_slot(struct reads *reads, struct read *read)
{
    size_t bytes = read->window.capacity;
    if (read->holds_slot && budget_take(reads->context->budget, bytes)) {
        read->charged_bytes += bytes;
        release_slot(reads, read);
    }
}

/* What the gateway still has to say is of no use to anyone. */
static void drop_call(struct reads *reads, struct read *read)
{
    if (read->call != NULL) {
        upstream_abort(read->call);
        read->call = NULL;
    }
    release_slot(reads, read);
}

static void fail(struct reads *reads, struct read *read, unsigned status, const char *type,
                 const char *text)
{
    list_remove(read);
    drop_call(reads, read);
    count_answer(reads, read, status);
    read_reply_error(read, status, type, text);
}

static void ask(struct reads *reads, struct read *read)
{
    if (read_ask(read) != 0) {
        fail(reads, read, 503, "unavailable", "out of memory");
        return;
    }
    take_slot(reads, read);
    read->state = READ_ASKED;
    read->deadline_us = clock_now_us() + reads->context->config->reads_timeout_us;
    list_add(&reads->asked, read);
}

static void ask_next(struct reads *reads)
{
    while (reads->queue.first != NULL &&
           reads->at_gateway < reads->context->config->reads_max_inflight) {
        struct read *read = reads->queue.first;
        list_remove(read);
        ask(reads, read);
    }
}

static void enqueue(struct reads *reads, struct read *read)
{
    const struct config *config = reads->context->config;
    if (reads->cancelled) {
        fail(reads, read, 503, "unavailable", STOPPING);
        return;
    }
    if (reads->queue.count >= QUEUE_MAX) {
        fail(reads, read, 503, "unavailable", "too many queries wait for the gateway");
        return;
    }
    read->state = READ_QUEUED;
    read->deadline_us = clock_now_us() + config->reads_timeout_us;
    list_add(&reads->queue, read);
    ask_next(reads);
}

/* -- The client's side ------------------------------------------------------------------------ */

/* Whether the body is charged for; else the client has been answered. */
static bool is_charged(struct reads *reads, struct read *read, const char *why_not)
{
    if (why_not != NULL) {
        metrics_add(reads->context->metrics, METRIC_REJECTED_BUDGET, 1);
        fail(reads, read, 503, "unavailable", why_not);
    }
    return why_not == NULL;
}

static void on_headers(void *owner, struct exchange *exchange)
{
    struct reads *reads = owner;
    struct read *read = calloc(1, sizeof(*read));
    if (read == NULL) {
        exchange_reply_text(exchange, 503, NULL, "out of memory");
        return;
    }
    read->gateway = &reads->gateway;
    read->exchange = exchange;
    read->started_us = exchange_started_us(exchange);
    exchange_set_state(exchange, read);
    uint64_t bytes_max = exchange_route(exchange)->id == ROUTE_OTLP
                             ? reads->context->config->limits_body_bytes
                             : FORM_BYTES_MAX;
    buf_init(&read->body, (size_t)bytes_max);
    uint64_t bytes = exchange_body_bytes(exchange);
    if (bytes == SERVER_BODY_UNKNOWN) {
        return; /* charged as it grows */
    }
    if (bytes > bytes_max) {
        fail(reads, read, 413, "bad_data", "the body is too large");
    } else if (is_charged(reads, read,
                          body_charge_take(&read->charge, reads->context, (size_t)bytes)) &&
               buf_reserve(&read->body, (size_t)bytes) != 0) {
        fail(reads, read, 503, "unavailable", "out of memory");
    }
}

static void on_body(void *owner, struct exchange *exchange, const uint8_t *data, size_t bytes)
{
    struct reads *reads = owner;
    struct read *read = exchange_state(exchange);
    size_t size = read->body.size + bytes;
    if (size > read->body.ceiling) {
        fail(reads, read, 413, "bad_data", "the body is too large");
        return;
    }
    if (!is_charged(reads, read,
                    body_charge_grow(&read->charge, reads->context, size, read->body.ceiling))) {
        return;
    }
    if (buf_append(&read->body, data, bytes) != 0) {
        fail(reads, read, 503, "unavailable", "out of memory");
    }
}

/* All of it was charged and made at the headers. */
static uint8_t *on_room(void *owner, struct exchange *exchange, size_t *room, uint64_t *again_us)
{
    (void)owner;
    (void)again_us;
    const struct read *read = exchange_state(exchange);
    *room = read->body.capacity - read->body.size;
    return read->body.data + read->body.size;
}

static void on_received(void *owner, struct exchange *exchange, size_t bytes)
{
    (void)owner;
    struct read *read = exchange_state(exchange);
    read->body.size += bytes;
}

static void on_complete(void *owner, struct exchange *exchange)
{
    struct reads *reads = owner;
    struct read *read = exchange_state(exchange);
    body_charge_is_whole(&read->charge, reads->context);
    switch (read_prepare(read)) {
    case 0:
        enqueue(reads, read);
        break;
    case -EBADMSG:
        fail(reads, read, 400, "bad_data", "the query or a header holds a byte that it may not");
        break;
    case -EMSGSIZE:
        fail(reads, read, 400, "bad_data", "the query or its headers are too long");
        break;
    default:
        fail(reads, read, 503, "unavailable", "out of memory");
        break;
    }
}

static void on_news(struct read *read)
{
    struct reads *reads = read->gateway->owner;
    if (!read->dirty) {
        read->dirty = true;
        read->next_dirty = reads->dirty;
        reads->dirty = read;
    }
}

static ptrdiff_t on_wanted(void *owner, struct exchange *exchange, uint8_t *out, size_t room)
{
    struct reads *reads = owner;
    struct read *read = exchange_state(exchange);
    if (reads->turn_bytes >= TURN_BYTES && read_window_used(read) > 0) {
        on_news(read); /* goes on in the next turn, with those that waited longer before it */
        return 0;
    }
    ptrdiff_t taken = read_take(read, out, room);
    if (taken > 0) {
        reads->turn_bytes += (size_t)taken;
        metrics_add(reads->context->metrics, METRIC_READ_BYTES, (uint64_t)taken);
        push_deadline(reads, read);
    }
    return taken;
}

static void remove_dirty(struct reads *reads, struct read *read)
{
    struct read **at = &reads->dirty;
    while (read->dirty && *at != read) {
        at = &(*at)->next_dirty;
    }
    if (read->dirty) {
        *at = read->next_dirty;
        read->dirty = false;
    }
}

/* The last of a read, whatever became of it: the client has its answer, or is gone. */
static void on_end(void *owner, struct exchange *exchange, bool replied)
{
    struct reads *reads = owner;
    struct read *read = exchange_state(exchange);
    if (read == NULL) {
        return;
    }
    struct metrics *metrics = reads->context->metrics;
    bool broken = read->ended && read->outcome != OUTCOME_ANSWERED;
    if (replied) {
        metrics_observe(metrics, METRIC_READ_LAST_SECONDS, clock_now_us() - read->started_us);
    } else if (!broken) {
        metrics_add(metrics, METRIC_READS_CANCELLED, 1);
    }
    list_remove(read);
    drop_call(reads, read);
    remove_dirty(reads, read);
    body_charge_give(&read->charge, reads->context);
    budget_give(reads->context->budget, read->charged_bytes);
    read_deinit(read);
    free(read);
}

/* -- The gateway's side ----------------------------------------------------------------------- */

static void give_up(struct reads *reads, struct read *read)
{
    if (read->state == READ_ASKED) {
        fail(reads, read, 502, "unavailable",
             "the gateway's answer has too many headers, or finds no memory");
        return;
    }
    list_remove(read);
    drop_call(reads, read);
    exchange_abort(read->exchange);
}

static void begin_reply(struct reads *reads, struct read *read)
{
    /* One that ends in mid-head is whole in the eyes of the HTTP library. */
    bool broken = read->outcome == OUTCOME_BROKEN || read->outcome == OUTCOME_ANSWERED;
    if (read->ended && (read->outcome != OUTCOME_ANSWERED || !read->has_head)) {
        fail(reads, read, 502, "unavailable",
             broken ? "the gateway broke off its answer" : "the gateway cannot be reached");
        return;
    }
    if (!read->has_head) {
        return;
    }
    if (read->status >= 300 && read->status < 400) {
        fail(reads, read, 502, "unavailable", "the gateway answered with a redirect");
        return;
    }
    count_answer(reads, read, read->status);
    read_reply(read);
    if (read->state == READ_ANSWERED) {
        list_remove(read); /* the server has all of it, and its own limit of time */
        metrics_add(reads->context->metrics, METRIC_READ_BYTES, read->window.size);
        buf_deinit(&read->window); /* the reply has a copy */
    }
}

static void hand_on(struct reads *reads, struct read *read)
{
    push_deadline(reads, read);
    if (read->ended) {
        let_go_of_slot(reads, read);
    }
    if (read->unfit) {
        give_up(reads, read);
    } else if (read->state == READ_ASKED) {
        begin_reply(reads, read);
    } else if (read->state == READ_STREAMING) {
        exchange_stream_ready(read->exchange);
    }
}

/* The client is told while it has heard nothing; else its answer is cut visibly short. */
static void end_silence(struct reads *reads, uint64_t now_us)
{
    while (reads->queue.first != NULL && reads->queue.first->deadline_us <= now_us) {
        fail(reads, reads->queue.first, 503, "unavailable",
             reads->cancelled ? STOPPING
                              : "the query waited too long for a free slot at the gateway");
    }
    while (reads->asked.first != NULL && reads->asked.first->deadline_us <= now_us) {
        struct read *read = reads->asked.first;
        if (read->state == READ_ASKED && reads->cancelled) {
            fail(reads, read, 503, "unavailable", STOPPING);
            continue;
        }
        if (read->state == READ_ASKED) {
            fail(reads, read, 504, "timeout", "the gateway did not answer in time");
            continue;
        }
        list_remove(read);
        drop_call(reads, read);
        if (!read->ended) {
            read->ended = true;
            read->outcome = OUTCOME_TIMEOUT;
        }
        exchange_abort(read->exchange);
    }
}

void reads_tick(struct reads *reads)
{
    reads->turn_bytes = 0;
    while (reads->dirty != NULL) {
        struct read *read = reads->dirty;
        reads->dirty = read->next_dirty;
        read->dirty = false;
        hand_on(reads, read);
    }
    end_silence(reads, clock_now_us());
    ask_next(reads);
}

uint64_t reads_deadline_us(const struct reads *reads)
{
    if (reads->dirty != NULL) {
        return 0;
    }
    uint64_t deadline_us = LOOP_NEVER;
    if (reads->queue.first != NULL) {
        deadline_us = reads->queue.first->deadline_us;
    }
    if (reads->asked.first != NULL && reads->asked.first->deadline_us < deadline_us) {
        deadline_us = reads->asked.first->deadline_us;
    }
    return deadline_us;
}

void reads_cancel(struct reads *reads)
{
    reads->cancelled = true;
    end_silence(reads, UINT64_MAX);
}

/* -- Life ------------------------------------------------------------------------------------- */

struct reads *reads_new(const struct flow_context *context, struct upstream *upstream)
{
    const struct config *config = context->config;
    struct reads *reads = calloc(1, sizeof(*reads));
    if (reads == NULL) {
        return NULL;
    }
    reads->context = context;
    bool tenant = config->gateway_read_path_prefix;
    if (asprintf(&reads->prefix, "%s%s%s", config->gateway_read_address.path, tenant ? "/" : "",
                 tenant ? config->tenant : "") < 0 ||
        asprintf(&reads->tenant_line, "%s: %s", config->tenant_header, config->tenant) < 0) {
        reads_free(reads);
        return NULL;
    }
    reads->gateway = (struct read_gateway){.context = context,
                                           .upstream = upstream,
                                           .prefix = reads->prefix,
                                           .tenant_line = reads->tenant_line,
                                           .on_news = on_news,
                                           .owner = reads};
    reads->handler = (struct server_handler){.owner = reads,
                                             .on_headers = on_headers,
                                             .on_body = on_body,
                                             .on_room = on_room,
                                             .on_received = on_received,
                                             .on_complete = on_complete,
                                             .on_wanted = on_wanted,
                                             .on_end = on_end,
                                             .keeps_head = true,
                                             .watch_client = true};
    return reads;
}

void reads_free(struct reads *reads)
{
    if (reads == NULL) {
        return;
    }
    free(reads->prefix);
    free(reads->tenant_line);
    free(reads);
}

const struct server_handler *reads_handler(struct reads *reads)
{
    return &reads->handler;
}
