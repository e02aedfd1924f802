/* Group commit. Owns the batches and, through them, the requests from batcher_add() on. */
#include "flow/batcher.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/token_bucket.h"
#include "config/config.h"
#include "flow/batch.h"
#include "flow/context.h"
#include "flow/gateway_state.h"
#include "flow/request.h"
#include "io/loop.h"
#include "server/server.h"
#include "upstream/upstream.h"

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>

#define TROUBLE_LOG_INTERVAL_US (10U * 1000U * 1000U)
#define MISCONFIG_INTERVAL_US   (60U * 1000U * 1000U)
#define SUSPICION_US            (60U * 1000U * 1000U) /* a refused sender travels alone */
#define RESENDS_SIZE            512 /* parts of refused batches that may be sent again at once */
#define RESENDS_PER_SECOND      64
#define DRAIN_WINDOW_US         (1000U * 1000U)
#define RETRY_AFTER_S_MAX       30
#define COMPANY_US              250U /* that a batch waits for company behind another */

struct batcher {
    const struct flow_context *context;
    struct upstream *upstream;
    struct batch *open;               /* takes requests; NULL when there is none */
    struct batch *queue, **queue_end; /* closed, in the order in which they closed */
    struct request *waiting, *last;   /* with a sender, by deadline */
    uint64_t in_flight;               /* batches at the gateway */
    uint64_t random;
    struct token_bucket resends;
    uint64_t drained_bytes; /* answered since drained_since_us */
    uint64_t drained_since_us;
    uint64_t drained_per_s; /* [bytes/s] of the windows before, smoothed */
    bool cancelled;
    bool misconfigured; /* an answer spoke of our settings, and none of data since */
    bool in_trouble;    /* the last answer was not a verdict on data */
    struct log_gate trouble_gate;
    struct log_gate misconfig_gate;
};

struct batcher *batcher_new(const struct flow_context *context, struct upstream *upstream)
{
    struct batcher *batcher = calloc(1, sizeof(*batcher));
    if (batcher == NULL) {
        return NULL;
    }
    batcher->context = context;
    batcher->upstream = upstream;
    batcher->queue_end = &batcher->queue;
    uint64_t now_us = clock_now_us();
    batcher->random = now_us | 1;
    batcher->drained_since_us = now_us;
    token_bucket_init(&batcher->resends, RESENDS_SIZE, RESENDS_PER_SECOND, now_us);
    return batcher;
}

void batcher_free(struct batcher *batcher)
{
    if (batcher == NULL) {
        return;
    }
    assert(batcher_idle(batcher));
    free(batcher);
}

/* -- Senders that wait ------------------------------------------------------------------------ */

/* Nearly always at the end: requests come in the order of their deadlines but for slow bodies. */
static void wait_for_verdict(struct batcher *batcher, struct request *request)
{
    struct request *after = batcher->last;
    while (after != NULL && after->deadline_us > request->deadline_us) {
        after = after->prev;
    }
    request->prev = after;
    request->next = after != NULL ? after->next : batcher->waiting;
    if (request->next != NULL) {
        request->next->prev = request;
    } else {
        batcher->last = request;
    }
    if (after != NULL) {
        after->next = request;
    } else {
        batcher->waiting = request;
    }
    metrics_gauge_add(batcher->context->metrics, METRIC_WRITES_WAITING, 1);
}

static void wait_no_more(struct batcher *batcher, struct request *request)
{
    if (request->prev != NULL) {
        request->prev->next = request->next;
    } else {
        batcher->waiting = request->next;
    }
    if (request->next != NULL) {
        request->next->prev = request->prev;
    } else {
        batcher->last = request->prev;
    }
    request->prev = NULL;
    request->next = NULL;
    metrics_gauge_add(batcher->context->metrics, METRIC_WRITES_WAITING, -1);
}

static unsigned random_of(struct batcher *batcher)
{
    batcher->random ^= batcher->random << 13;
    batcher->random ^= batcher->random >> 7;
    batcher->random ^= batcher->random << 17;
    return (unsigned)(batcher->random >> 32);
}

static void defer(struct batcher *batcher, struct request *request, const struct outcome *outcome,
                  const char *text)
{
    if (request->exchange == NULL) {
        return;
    }
    wait_no_more(batcher, request);
    request_defer(request, verdict_retry_after_s(outcome, random_of(batcher)), text);
}

void batcher_forget_sender(struct batcher *batcher, struct request *request)
{
    assert(request->exchange != NULL);
    request->exchange = NULL;
    if (request->batch != NULL) {
        wait_no_more(batcher, request);
    } else {
        request_free(request);
    }
}

/* -- Joining ---------------------------------------------------------------------------------- */

static void close_batch(struct batcher *batcher, struct batch *batch)
{
    if (batcher->open == batch) {
        batcher->open = NULL;
    }
    batch->next = NULL;
    *batcher->queue_end = batch;
    batcher->queue_end = &batch->next;
}

static bool fits(const struct batch *batch, const struct request *request,
                 const struct config *config)
{
    return batch->elements_bytes + request->block.elements_bytes <= config->batch_max_bytes &&
           batch->decoded_bytes + request->block.decoded_bytes <= config->batch_max_decoded_bytes;
}

void batcher_add(struct batcher *batcher, struct request *request)
{
    const struct config *config = batcher->context->config;
    bool alone =
        !request->counts.joinable || exchange_sender_mark_us(request->exchange) > clock_now_us();
    if (!alone && batcher->open != NULL && !fits(batcher->open, request, config)) {
        close_batch(batcher, batcher->open);
    }
    struct batch *batch = alone ? NULL : batcher->open;
    if (batch == NULL) {
        batch = batch_new(alone ? 1 : config->batch_max_requests, clock_now_us());
    }
    if (batch == NULL) {
        request_defer(request, 1, "out of memory");
        request_free(request);
        return;
    }
    batch->owner = batcher;
    if (!alone) {
        batcher->open = batch;
    }
    batch_add(batch, request);
    wait_for_verdict(batcher, request);
    if (batch->count == batch->members_max) {
        close_batch(batcher, batch);
    }
}

/* -- Settling --------------------------------------------------------------------------------- */

static void send_part(struct batch *batch);

static void finish(struct batch *batch)
{
    struct batcher *batcher = batch->owner;
    batcher->in_flight--;
    metrics_gauge_add(batcher->context->metrics, METRIC_BATCHES_IN_FLIGHT, -1);
    batch_free(batch);
}

static void count_outcome(const struct batcher *batcher, const struct outcome *outcome)
{
    static const enum metric_counter by_class[] = {METRIC_BATCHES_FAILED, METRIC_BATCHES_FAILED,
                                                   METRIC_BATCHES_2XX,    METRIC_BATCHES_3XX,
                                                   METRIC_BATCHES_4XX,    METRIC_BATCHES_5XX};
    unsigned class = outcome->kind == OUTCOME_ANSWERED ? outcome->status / 100 : 0;
    metrics_add(batcher->context->metrics, by_class[class < 6 ? class : 0], 1);
}

static const char *name_of(enum outcome_kind kind)
{
    static const char *const names[] = {"answered", "unreachable", "broken", "timeout",
                                        "cancelled"};
    return names[kind];
}

/* One line when trouble begins, one now and then while it lasts, one when it is over. */
static void log_trouble(struct batcher *batcher, const struct outcome *outcome, bool misconfigured)
{
    uint64_t held_back;
    struct log_gate *gate = misconfigured ? &batcher->misconfig_gate : &batcher->trouble_gate;
    uint64_t interval_us = misconfigured ? MISCONFIG_INTERVAL_US : TROUBLE_LOG_INTERVAL_US;
    batcher->in_trouble = true;
    gateway_state_note_trouble(batcher->context->gateway, misconfigured, outcome);
    if (!log_gate_pass(gate, clock_now_us(), interval_us, &held_back)) {
        return;
    }
    if (misconfigured) {
        log_error(batcher->context->log,
                  "gateway does not take writes as configured: check address, tenant, path and "
                  "credentials",
                  log_u64("status", outcome->status),
                  log_bytes("answer", outcome->body, outcome->body_bytes),
                  log_u64("held_back", held_back));
        return;
    }
    log_warn(batcher->context->log, "gateway unavailable, senders are told to try again",
             log_str("outcome", name_of(outcome->kind)), log_u64("status", outcome->status),
             log_str("detail", outcome->detail), log_u64("held_back", held_back));
}

static void set_misconfigured(struct batcher *batcher, bool misconfigured)
{
    if (batcher->misconfigured != misconfigured) {
        batcher->misconfigured = misconfigured;
        metrics_gauge_add(batcher->context->metrics, METRIC_GATEWAY_MISCONFIGURED,
                          misconfigured ? 1 : -1);
    }
}

static void log_recovery(struct batcher *batcher)
{
    gateway_state_note_good(batcher->context->gateway);
    set_misconfigured(batcher, false);
    if (batcher->in_trouble) {
        batcher->in_trouble = false;
        log_info(batcher->context->log, "gateway takes writes again");
    }
}

static void accept_part(struct batcher *batcher, struct batch *batch)
{
    log_recovery(batcher);
    for (size_t i = batch->first; i < batch->end; i++) {
        struct request *request = batch->members[i];
        if (request->exchange != NULL) {
            batcher->drained_bytes += request->body.size;
            wait_no_more(batcher, request);
            request_accept(request);
        }
    }
}

static void refuse_part(struct batcher *batcher, struct batch *batch, const struct outcome *outcome)
{
    log_recovery(batcher);
    struct request *request = batch->members[batch->first];
    if (request->exchange != NULL) {
        static const char SILENT[] = "the gateway refused this request without a reason\n";
        bool silent = outcome->body_bytes == 0;
        batcher->drained_bytes += request->body.size;
        exchange_mark_sender(request->exchange, clock_now_us() + SUSPICION_US);
        wait_no_more(batcher, request);
        request_refuse(request, outcome->status, silent ? SILENT : outcome->body,
                       silent ? sizeof(SILENT) - 1 : outcome->body_bytes);
    }
}

static void defer_part(struct batcher *batcher, struct batch *batch, const struct outcome *outcome,
                       const char *text)
{
    for (size_t i = batch->first; i < batch->end; i++) {
        defer(batcher, batch->members[i], outcome, text);
    }
}

/* Halve a refused part. False when too much was sent again of late: the part's senders try again
 * later, and so do those behind them. */
static bool split_part(struct batcher *batcher, struct batch *batch)
{
    static const struct outcome denied = {.kind = OUTCOME_ANSWERED, .status = 503};
    struct metrics *metrics = batcher->context->metrics;
    if (!token_bucket_take(&batcher->resends, 2, clock_now_us())) {
        metrics_add(metrics, METRIC_RESENDS_DENIED, 1);
        batch_take_rest(batch);
        defer_part(batcher, batch, &denied, "too many refused batches were sent again of late");
        return false;
    }
    metrics_add(metrics, METRIC_BATCHES_SPLIT, 1);
    metrics_add(metrics, METRIC_RESENDS, 2);
    batch_split(batch);
    return true;
}

static void on_outcome(void *arg, const struct outcome *outcome)
{
    struct batch *batch = arg;
    struct batcher *batcher = batch->owner;
    struct metrics *metrics = batcher->context->metrics;
    count_outcome(batcher, outcome);
    if (outcome->kind == OUTCOME_ANSWERED) {
        atomic_store_explicit(batcher->context->gateway_seen_us, clock_now_us(),
                              memory_order_relaxed);
    }
    metrics_observe(metrics, METRIC_GATEWAY_SECONDS, clock_now_us() - batch->sent_us);
    switch (verdict_of(outcome, batch->end - batch->first)) {
    case VERDICT_ACCEPTED:
        accept_part(batcher, batch);
        break;
    case VERDICT_REFUSED:
        refuse_part(batcher, batch, outcome);
        break;
    case VERDICT_SPLIT:
        log_recovery(batcher);
        if (split_part(batcher, batch)) {
            send_part(batch);
            return;
        }
        break;
    case VERDICT_MISCONFIGURED:
        metrics_add(metrics, METRIC_MISCONFIGURED, 1);
        set_misconfigured(batcher, true);
        log_trouble(batcher, outcome, true);
        batch_take_rest(batch);
        defer_part(batcher, batch, outcome,
                   "the gateway does not take writes as this proxy is configured");
        break;
    case VERDICT_UNAVAILABLE:
        log_trouble(batcher, outcome, false);
        /* What is left of the batch would meet the same: its senders try again in order. */
        batch_take_rest(batch);
        defer_part(batcher, batch, outcome, "the gateway is unavailable");
        break;
    }
    if (batch_next_part(batch)) {
        send_part(batch);
    } else {
        finish(batch);
    }
}

/* -- Sending ---------------------------------------------------------------------------------- */

static void send_part(struct batch *batch)
{
    struct batcher *batcher = batch->owner;
    struct metrics *metrics = batcher->context->metrics;
    size_t count;
    size_t bytes = batch_body(batch, &count);
    batch->sent_us = clock_now_us();
    if (batcher->cancelled ||
        upstream_write(batcher->upstream, batch->pieces, count, bytes, on_outcome, batch) != 0) {
        static const struct outcome not_sent = {.kind = OUTCOME_UNREACHABLE};
        batch_take_rest(batch);
        defer_part(batcher, batch, &not_sent,
                   batcher->cancelled ? "the proxy is stopping" : "out of memory");
        finish(batch);
        return;
    }
    metrics_add(metrics, METRIC_SENT_BYTES, bytes);
    metrics_observe(metrics, METRIC_BATCH_REQUESTS, batch->end - batch->first);
    metrics_observe(metrics, METRIC_BATCH_BYTES, bytes);
}

static void send_batch(struct batcher *batcher, struct batch *batch)
{
    batcher->in_flight++;
    metrics_gauge_add(batcher->context->metrics, METRIC_BATCHES_IN_FLIGHT, 1);
    batch_begin(batch);
    send_part(batch);
}

/* Once all is cancelled nothing waits for company. */
static uint64_t open_leaves_us(const struct batcher *batcher)
{
    return batcher->cancelled
               ? 0
               : batcher->open->opened_us + batcher->context->config->batch_linger_us;
}

/* A POST costs as much as a small request, so behind one that is out a batch waits for company. Not
 * by a timer: only while there are events, so nobody waits for a thread that sleeps. */
static bool waits_for_company(const struct batcher *batcher, bool busy, uint64_t now_us)
{
    return busy && batcher->in_flight > 0 && now_us < batcher->open->opened_us + COMPANY_US;
}

/* The older of the first closed batch and the open one: a stream of requests that travel alone must
 * not keep the others waiting. */
static struct batch *next_to_send(struct batcher *batcher, bool busy, uint64_t now_us)
{
    struct batch *open = batcher->open;
    struct batch *closed = batcher->queue;
    bool open_may_leave = open != NULL && now_us >= open_leaves_us(batcher) &&
                          !waits_for_company(batcher, busy, now_us);
    if (open_may_leave && (closed == NULL || open->opened_us < closed->opened_us)) {
        batcher->open = NULL;
        return open;
    }
    if (closed != NULL) {
        batcher->queue = closed->next;
        if (batcher->queue == NULL) {
            batcher->queue_end = &batcher->queue;
        }
    }
    return closed;
}

static void drop_if_empty(struct batcher *batcher, struct batch *batch)
{
    if (batch->count > 0) {
        return;
    }
    if (batcher->open == batch) {
        batcher->open = NULL;
    } else {
        struct batch **at = &batcher->queue;
        while (*at != batch) {
            at = &(*at)->next;
        }
        *at = batch->next;
        if (*at == NULL) {
            batcher->queue_end = at;
        }
    }
    batch_free(batch);
}

/* A request that was never sent is not sent any more: its sender will bring it again. One that is
 * at the gateway goes on without its sender. */
static void answer_overdue(struct batcher *batcher, uint64_t now_us)
{
    static const struct outcome too_late = {.kind = OUTCOME_TIMEOUT};
    while (batcher->waiting != NULL && batcher->waiting->deadline_us <= now_us) {
        struct request *request = batcher->waiting;
        struct batch *batch = request->batch;
        metrics_add(batcher->context->metrics, METRIC_REJECTED_DEADLINE, 1);
        defer(batcher, request, &too_late, "the gateway did not answer in time");
        if (batch->end == 0) {
            batch_remove(batch, request);
            request_free(request);
            drop_if_empty(batcher, batch);
        }
    }
}

static void measure_drain(struct batcher *batcher, uint64_t now_us)
{
    uint64_t elapsed_us = now_us - batcher->drained_since_us;
    if (elapsed_us < DRAIN_WINDOW_US) {
        return;
    }
    uint64_t per_s = batcher->drained_bytes * 1000000 / elapsed_us;
    batcher->drained_per_s = (batcher->drained_per_s + per_s) / 2;
    batcher->drained_bytes = 0;
    batcher->drained_since_us = now_us;
}

unsigned batcher_retry_after_s(struct batcher *batcher, uint64_t held_bytes)
{
    measure_drain(batcher, clock_now_us());
    uint64_t jitter = random_of(batcher) % 3;
    uint64_t wait_s = batcher->drained_per_s > 0 ? held_bytes / batcher->drained_per_s + 1
                                                 : RETRY_AFTER_S_MAX / 3;
    return (unsigned)(wait_s > RETRY_AFTER_S_MAX ? RETRY_AFTER_S_MAX : wait_s + jitter);
}

void batcher_tick(struct batcher *batcher, bool busy)
{
    uint64_t now_us = clock_now_us();
    measure_drain(batcher, now_us);
    answer_overdue(batcher, now_us);
    while (batcher->in_flight < batcher->context->config->gateway_max_inflight) {
        struct batch *batch = next_to_send(batcher, busy, now_us);
        if (batch == NULL) {
            return;
        }
        send_batch(batcher, batch);
    }
}

uint64_t batcher_deadline_us(const struct batcher *batcher)
{
    uint64_t deadline_us = batcher->waiting != NULL ? batcher->waiting->deadline_us : LOOP_NEVER;
    bool slot_free = batcher->in_flight < batcher->context->config->gateway_max_inflight;
    if (slot_free && batcher->queue != NULL) {
        return 0;
    }
    if (slot_free && batcher->open != NULL) {
        uint64_t leaves_us = open_leaves_us(batcher);
        deadline_us = leaves_us < deadline_us ? leaves_us : deadline_us;
    }
    return deadline_us;
}

bool batcher_idle(const struct batcher *batcher)
{
    return batcher->open == NULL && batcher->queue == NULL && batcher->in_flight == 0;
}

void batcher_cancel(struct batcher *batcher)
{
    batcher->cancelled = true;
    upstream_cancel_writes(batcher->upstream);
    struct batch *batch;
    while ((batch = next_to_send(batcher, false, clock_now_us())) != NULL) {
        send_batch(batcher, batch); /* which answers, since all is cancelled */
    }
}
