/* Write requests on their way in: which are turned away, when and with what words, what they are
 * charged meanwhile, and that the good ones reach the batcher as they came. */
#include "flow/intake.h"

#include "base/budget.h"
#include "base/metrics.h"
#include "config/config.h"
#include "flow/batcher.h"
#include "flow/context.h"
#include "flow/request.h"

#include "block.h"
#include "counting_buf.h"
#include "fake_clock.h"
#include "fake_exchange.h"

#define BODY_MAX      100000
#define DECODED_MAX   ((size_t)32 << 20)
#define BUDGET_BYTES  ((size_t)1 << 20)
#define LARGE_BYTES   (BUDGET_BYTES / 64) /* a body of more is a large one */
#define RETRY_AFTER_S 11                  /* what the batcher says */
#define BATCH_BYTES   20000
#define DEADLINE_US   (25U * 1000U * 1000U)

#define LARGE_BODIES_BYTES (BUDGET_BYTES / 2) /* of the budget, for all of them on their way in */

#define PROTOBUF                                 \
    {                                            \
        "Content-Type", "application/x-protobuf" \
    }
#define COUNTED(metric) atomic_load(&stage.metrics.counters[METRIC_##metric])
#define COUNT(array)    (sizeof(array) / sizeof((array)[0]))

/* -- A batcher that takes what comes ---------------------------------------------------------- */

struct batcher {
    struct request *request; /* the last that was added */
    unsigned added;
    unsigned forgotten;
    uint64_t held_bytes; /* as told by the last who asked */
};

void batcher_add(struct batcher *batcher, struct request *request)
{
    batcher->added++;
    batcher->request = request;
}

void batcher_forget_sender(struct batcher *batcher, struct request *request)
{
    batcher->forgotten++;
    request->exchange = NULL;
    request_free(request);
}

unsigned batcher_retry_after_s(struct batcher *batcher, uint64_t held_bytes)
{
    batcher->held_bytes = held_bytes;
    return RETRY_AFTER_S;
}

/* -- The stage -------------------------------------------------------------------------------- */

struct stage {
    struct config config;
    struct budget budget;
    struct budget large_bodies;
    struct metrics metrics;
    struct flow_context context;
    struct batcher batcher;
    struct intake *intake;
    const struct server_handler *handler;
    struct exchange exchange;
};

static const struct server_header USUAL[] = {
    PROTOBUF, {"Content-Encoding", "snappy"}, {NULL, NULL}};

static void stage_open(struct stage *stage)
{
    *stage = (struct stage){.config = {.limits_body_bytes = BODY_MAX,
                                       .limits_decoded_bytes = DECODED_MAX,
                                       .batch_max_bytes = BATCH_BYTES,
                                       .gateway_max_inflight = 1}};
    budget_init(&stage->budget, BUDGET_BYTES);
    budget_init(&stage->large_bodies, LARGE_BODIES_BYTES);
    stage->context = (struct flow_context){.config = &stage->config,
                                           .budget = &stage->budget,
                                           .large_bodies = &stage->large_bodies,
                                           .metrics = &stage->metrics};
    counting_without_memory = false;
    stage->intake = intake_new(&stage->context, &stage->batcher);
    assert_non_null(stage->intake);
    stage->handler = intake_handler(stage->intake);
}

static void stage_close(struct stage *stage)
{
    intake_free(stage->intake);
    assert_int_equal(budget_used(&stage->budget), 0);
    assert_int_equal(budget_used(&stage->large_bodies), 0);
    assert_int_equal(counting_held_bytes, 0);
}

static bool replied(const struct stage *stage)
{
    return stage->exchange.replies > 0;
}

/* -- A request comes in, as the server brings it ---------------------------------------------- */

static void begin(struct stage *stage, const struct server_header *headers, uint64_t body_bytes)
{
    stage->exchange =
        (struct exchange){.headers = headers, .body_bytes = body_bytes, .started_us = fake_now_us};
    stage->handler->on_headers(stage->handler->owner, &stage->exchange);
}

static void bring_body(struct stage *stage, const uint8_t *data, size_t bytes, size_t piece_bytes)
{
    for (size_t at = 0; at < bytes && !replied(stage); at += piece_bytes) {
        size_t piece = bytes - at < piece_bytes ? bytes - at : piece_bytes;
        stage->handler->on_body(stage->handler->owner, &stage->exchange, data + at, piece);
        if (!replied(stage)) { /* what is held is charged */
            const struct request *request = stage->exchange.state;
            assert_true(request->charge.bytes >= request->body.size);
            assert_true(budget_used(&stage->budget) >= request->body.size);
        }
    }
}

/* Ask where a body goes; NULL: nowhere yet, or it was answered. */
static uint8_t *ask_room(struct stage *stage, struct exchange *exchange, size_t *room,
                         uint64_t *again_us)
{
    *room = 0;
    *again_us = 0;
    return stage->handler->on_room(stage->handler->owner, exchange, room, again_us);
}

/* The same as bring_body(), for a body that is put where the handler wants it. */
static void place_body(struct stage *stage, const uint8_t *data, size_t bytes, size_t piece_bytes)
{
    for (size_t at = 0; at < bytes;) {
        size_t room;
        uint64_t again_us;
        uint8_t *to = ask_room(stage, &stage->exchange, &room, &again_us);
        if (to == NULL) {
            return;
        }
        assert_true(room >= bytes - at); /* of all of it, from the start */
        size_t piece = bytes - at < piece_bytes ? bytes - at : piece_bytes;
        memcpy(to, data + at, piece);
        stage->handler->on_received(stage->handler->owner, &stage->exchange, piece);
        at += piece;
    }
}

static void complete(struct stage *stage)
{
    if (!replied(stage)) {
        stage->handler->on_complete(stage->handler->owner, &stage->exchange);
    }
}

static void deliver(struct stage *stage, const struct bytes *body)
{
    begin(stage, USUAL, body->size);
    bring_body(stage, body->data, body->size, body->size);
    complete(stage);
}

static void deliver_chunked(struct stage *stage, const struct bytes *body, size_t piece_bytes)
{
    begin(stage, USUAL, SERVER_BODY_UNKNOWN);
    bring_body(stage, body->data, body->size, piece_bytes);
    complete(stage);
}

static void end(struct stage *stage)
{
    stage->handler->on_end(stage->handler->owner, &stage->exchange, replied(stage));
    exchange_clear(&stage->exchange);
}

/* The sender was answered, nothing is held for it, and no batch knows of it. */
static void expect_turned_away(struct stage *stage, unsigned status)
{
    unsigned added = stage->batcher.added;
    assert_int_equal(stage->exchange.replies, 1);
    assert_int_equal(stage->exchange.status, status);
    assert_null(stage->exchange.state);
    assert_int_equal(exchange_retry_after_s(&stage->exchange), status == 503 ? RETRY_AFTER_S : 0);
    assert_int_equal(budget_used(&stage->budget), 0);
    assert_true(stage->exchange.reply.size > 0);
    assert_int_equal(stage->exchange.reply.data[stage->exchange.reply.size - 1], '\n');
    end(stage);
    assert_int_equal(stage->batcher.forgotten, 0);
    assert_int_equal(stage->batcher.added, added);
}

static void expect_said(struct stage *stage, unsigned status, const char *text)
{
    struct bytes line = {0};
    put(&line, text, strlen(text));
    put(&line, "\n", 2);
    assert_true(exchange_replied_text(&stage->exchange, (const char *)line.data));
    bytes_free(&line);
    expect_turned_away(stage, status);
}

/* The batcher has it, as it came; the batcher's verdict then ends it. */
static void expect_added(struct stage *stage, const struct bytes *body)
{
    assert_int_equal(stage->exchange.replies, 0);
    assert_int_equal(stage->batcher.added, 1);
    struct request *request = stage->batcher.request;
    assert_ptr_equal(stage->exchange.state, request);
    assert_ptr_equal(request->exchange, &stage->exchange);
    assert_int_equal(request->body.size, body->size);
    assert_memory_equal(request->body.data, body->data, body->size);
    assert_ptr_equal(request->block.elements, request->body.data + request->block.prefix_bytes);
    assert_int_equal(request->block.elements_bytes + request->block.prefix_bytes, body->size);
    assert_int_equal(budget_used(&stage->budget), request->charge.bytes);
    assert_int_equal(budget_used(&stage->large_bodies), 0); /* it is on its way no more */
    stage->batcher.added = 0;
    request_accept(request);
    request_free(request);
    end(stage);
    assert_int_equal(stage->batcher.forgotten, 0);
    assert_int_equal(budget_used(&stage->budget), 0);
}

/* -- Bodies ----------------------------------------------------------------------------------- */

static void put_series(struct bytes *request, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct bytes series = {0};
        put_label(&series, 1, "__name__", "up");
        put_sample(&series, 1, (int64_t)i);
        put_message(request, 1, &series);
    }
}

/* A write request of that many series, compressed. */
static void make_body(struct bytes *body, size_t series)
{
    struct bytes request = {0};
    put_series(&request, series);
    put_snappy(body, &request);
    bytes_free(&request);
}

/* -- What is good ----------------------------------------------------------------------------- */

static void test_a_good_request_reaches_the_batcher(void **state)
{
    (void)state;
    struct stage stage;
    struct bytes body = {0};
    stage_open(&stage);
    make_body(&body, 5);
    deliver(&stage, &body);
    const struct write_request_counts *counts = &stage.batcher.request->counts;
    assert_int_equal(counts->series, 5);
    assert_int_equal(counts->samples, 5);
    assert_true(counts->joinable);
    assert_int_equal(stage.batcher.request->charge.bytes, body.size);
    assert_int_equal(COUNTED(RECEIVED_BYTES), body.size);
    assert_int_equal(COUNTED(DECODED_BYTES), stage.batcher.request->block.decoded_bytes);
    expect_added(&stage, &body);
    bytes_free(&body);
    stage_close(&stage);
}

static void test_pieces_and_chunks_make_no_difference(void **state)
{
    (void)state;
    static const size_t pieces[] = {1, 3, 100, 65536, 1000000};
    struct stage stage;
    struct bytes body = {0};
    struct rng rng = {.state = 9};
    struct write_request_counts counts = {0};
    struct bytes request = {0};
    stage_open(&stage);
    while (request.size < 85 * 1000) {
        put_random_request(&request, &rng, &(struct shape_wish){.series_max = 40}, &counts);
    }
    put_snappy(&body, &request);
    assert_in_range(body.size, 65536, BODY_MAX);
    for (size_t i = 0; i < COUNT(pieces); i++) {
        begin(&stage, USUAL, body.size);
        assert_int_equal(budget_used(&stage.budget), body.size); /* charged before it is read */
        bring_body(&stage, body.data, body.size, pieces[i]);
        complete(&stage);
        expect_added(&stage, &body);
        deliver_chunked(&stage, &body, pieces[i]);
        expect_added(&stage, &body);
        size_t before = counting_allocations;
        begin(&stage, USUAL, body.size);
        place_body(&stage, body.data, body.size, pieces[i]);
        assert_int_equal(counting_allocations, before + 1); /* it is never moved */
        complete(&stage);
        expect_added(&stage, &body);
    }
    bytes_free(&request);
    bytes_free(&body);
    stage_close(&stage);
}

static void test_a_request_of_nothing_is_good(void **state)
{
    (void)state;
    struct stage stage;
    struct bytes body = {0};
    stage_open(&stage);
    make_body(&body, 0);
    deliver(&stage, &body);
    assert_int_equal(stage.batcher.request->counts.series, 0);
    expect_added(&stage, &body);
    bytes_free(&body);
    stage_close(&stage);
}

static void test_what_may_not_be_joined_is_marked(void **state)
{
    (void)state;
    struct stage stage;
    struct bytes request = {0};
    struct bytes body = {0};
    stage_open(&stage);
    put_series(&request, 1);
    put_varint_field(&request, 9, 1);
    put_snappy(&body, &request);
    deliver(&stage, &body);
    assert_false(stage.batcher.request->counts.joinable);
    expect_added(&stage, &body);
    bytes_free(&request);
    bytes_free(&body);
    stage_close(&stage);
}

/* -- Headers ---------------------------------------------------------------------------------- */

static void test_headers_that_are_good(void **state)
{
    (void)state;
    static const struct server_header cases[][3] = {
        {PROTOBUF},
        {PROTOBUF, {"content-encoding", "SNAPPY"}},
        {{"content-type", "Application/X-Protobuf"}},
        {{"Content-Type", "application/x-protobuf;proto=prometheus.WriteRequest"}},
        {{"Content-Type", "application/x-protobuf; charset=utf-8"}},
    };
    struct stage stage;
    struct bytes body = {0};
    stage_open(&stage);
    make_body(&body, 1);
    for (size_t i = 0; i < COUNT(cases); i++) {
        begin(&stage, cases[i], body.size);
        bring_body(&stage, body.data, body.size, body.size);
        complete(&stage);
        expect_added(&stage, &body);
    }
    bytes_free(&body);
    stage_close(&stage);
}

static void test_headers_that_are_not(void **state)
{
    (void)state;

    static const struct {
        struct server_header headers[3];
        const char *says;
    } cases[] = {
        {{{NULL, NULL}}, "Content-Type \"\" is not supported: expected application/x-protobuf"},
        {{{"Content-Type", "text/plain"}},
         "Content-Type \"text/plain\" is not supported: expected application/x-protobuf"},
        {{{"Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"}},
         "remote write 2.0 (io.prometheus.write.v2.Request) is not supported: send 1.0, "
         "Content-Type: application/x-protobuf"},
        {{PROTOBUF, {"Content-Encoding", "gzip"}},
         "Content-Encoding \"gzip\" is not supported: expected snappy"},
        {{PROTOBUF, {"Content-Encoding", ""}},
         "Content-Encoding \"\" is not supported: expected snappy"},
    };
    struct stage stage;
    stage_open(&stage);
    for (size_t i = 0; i < COUNT(cases); i++) {
        begin(&stage, cases[i].headers, i % 2 == 0 ? 100 : SERVER_BODY_UNKNOWN);
        expect_said(&stage, 415, cases[i].says);
    }
    assert_int_equal(COUNTED(REJECTED_TYPE), 3);
    assert_int_equal(COUNTED(REJECTED_ENCODING), 2);
    assert_int_equal(COUNTED(WRITE_REFUSED), 5);
    stage_close(&stage);
}

static void test_a_long_header_is_not_said_back_whole(void **state)
{
    (void)state;
    static char value[10000];
    memset(value, 'x', sizeof(value) - 1);
    const struct server_header type[] = {{"Content-Type", value}, {NULL, NULL}};
    const struct server_header encoding[] = {PROTOBUF, {"Content-Encoding", value}, {NULL, NULL}};
    struct stage stage;
    stage_open(&stage);
    begin(&stage, type, 1);
    assert_true(stage.exchange.reply.size < 512);
    expect_turned_away(&stage, 415);
    begin(&stage, encoding, 1);
    assert_true(stage.exchange.reply.size < 512);
    expect_turned_away(&stage, 415);
    stage_close(&stage);
}

/* -- Sizes ------------------------------------------------------------------------------------ */

static void test_a_declared_body_over_the_limit(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    begin(&stage, USUAL, BODY_MAX + 1);
    expect_said(&stage, 413, "body of 100001 bytes is over the limit of 100000 bytes");
    begin(&stage, USUAL, SERVER_BODY_UNKNOWN - 1);
    expect_turned_away(&stage, 413);
    assert_int_equal(COUNTED(REJECTED_TOO_LARGE), 2);
    assert_int_equal(counting_held_bytes, 0);

    begin(&stage, USUAL, BODY_MAX); /* just fits */
    assert_false(replied(&stage));
    assert_int_equal(budget_used(&stage.budget), BODY_MAX);
    end(&stage);
    stage_close(&stage);
}

static void test_a_chunked_body_over_the_limit(void **state)
{
    (void)state;
    static const size_t pieces[] = {1000, 33333, BODY_MAX, BODY_MAX + 1};
    struct stage stage;
    struct bytes body = {0};
    stage_open(&stage);
    while (body.size < BODY_MAX + 1) {
        put_byte(&body, 0);
    }
    for (size_t i = 0; i < COUNT(pieces); i++) {
        deliver_chunked(&stage, &body, pieces[i]);
        expect_said(&stage, 413, "body is over the limit of 100000 bytes");
    }
    assert_int_equal(COUNTED(REJECTED_TOO_LARGE), COUNT(pieces));
    bytes_free(&body);
    stage_close(&stage);
}

/* A few bytes may declare a lot: they are believed only within the limit, and before anything is
 * allocated for it. */
static void test_a_decoded_length_over_the_limit(void **state)
{
    (void)state;
    struct stage stage;
    struct bytes body = {0};
    char says[128];
    stage_open(&stage);
    stage.config.limits_decoded_bytes = 5000;
    make_body(&body, 500);
    size_t decoded_bytes = 0;
    assert_int_equal(snappy_uncompressed_length((const char *)body.data, body.size, &decoded_bytes),
                     SNAPPY_OK);
    assert_true(decoded_bytes > 5000);
    (void)snprintf(says, sizeof(says),
                   "decoded length of %zu bytes is over the limit of 5000 bytes", decoded_bytes);
    size_t before = counting_allocations;
    deliver(&stage, &body);
    assert_int_equal(counting_allocations, before + 1); /* that of the body */
    expect_said(&stage, 413, says);
    assert_int_equal(COUNTED(REJECTED_TOO_LARGE), 1);

    stage.config.limits_decoded_bytes = decoded_bytes; /* just fits */
    deliver(&stage, &body);
    expect_added(&stage, &body);
    bytes_free(&body);
    stage_close(&stage);
}

/* -- Memory ----------------------------------------------------------------------------------- */

static void make_longest(struct bytes *body)
{
    while (body->size < BODY_MAX) {
        put_byte(body, 0);
    }
}

static void test_a_body_that_the_budget_does_not_hold(void **state)
{
    (void)state;
    struct stage stage;
    struct bytes body = {0};
    stage_open(&stage);
    make_body(&body, 100);
    assert_true(budget_take(&stage.budget, BUDGET_BYTES - body.size + 1)); /* held by others */
    begin(&stage, USUAL, body.size);
    assert_int_equal(stage.batcher.held_bytes, BUDGET_BYTES - body.size + 1);
    budget_give(&stage.budget, BUDGET_BYTES - body.size + 1);
    expect_said(&stage, 503, "the proxy holds as many bytes as it may");
    assert_int_equal(COUNTED(REJECTED_BUDGET), 1);
    assert_int_equal(COUNTED(WRITE_UNAVAILABLE), 1);

    assert_true(budget_take(&stage.budget, BUDGET_BYTES - body.size)); /* just fits */
    deliver(&stage, &body);
    budget_give(&stage.budget, BUDGET_BYTES - body.size);
    expect_added(&stage, &body);
    bytes_free(&body);
    stage_close(&stage);
}

static void test_a_chunked_body_that_outgrows_the_budget(void **state)
{
    (void)state;
    struct stage stage;
    struct bytes body = {0};
    stage_open(&stage);
    make_longest(&body);
    for (size_t room = 0; room < 200000; room += 7000) {
        assert_true(budget_take(&stage.budget, BUDGET_BYTES - room));
        begin(&stage, USUAL, SERVER_BODY_UNKNOWN);
        bring_body(&stage, body.data, body.size, 1000);
        bool refused = replied(&stage);
        budget_give(&stage.budget, BUDGET_BYTES - room);
        assert_true(refused || room >= BODY_MAX);
        if (refused) {
            expect_said(&stage, 503, "the proxy holds as many bytes as it may");
        } else {
            end(&stage);
            stage.batcher.forgotten = 0;
        }
    }
    assert_true(COUNTED(REJECTED_BUDGET) >= BODY_MAX / 7000);
    bytes_free(&body);
    stage_close(&stage);
}

/* A length is soon declared: what has not come yet must leave room for the usual bodies. */
static void test_large_bodies_on_their_way_hold_a_part_of_the_budget(void **state)
{
    (void)state;
    struct stage stage;
    struct bytes body = {0};
    stage_open(&stage);
    make_longest(&body);
    assert_true(budget_take(&stage.large_bodies, LARGE_BODIES_BYTES - LARGE_BYTES)); /* others */
    begin(&stage, USUAL, LARGE_BYTES + 1);
    expect_said(&stage, 503, "the proxy holds as many bytes of large bodies as it may");
    assert_int_equal(COUNTED(REJECTED_BUDGET), 1);

    begin(&stage, USUAL, LARGE_BYTES); /* a usual one */
    assert_int_equal(budget_used(&stage.budget), LARGE_BYTES);
    assert_int_equal(budget_used(&stage.large_bodies), LARGE_BODIES_BYTES - LARGE_BYTES);
    end(&stage);
    stage.batcher.forgotten = 0;

    begin(&stage, USUAL, SERVER_BODY_UNKNOWN); /* one that grows */
    bring_body(&stage, body.data, body.size, 1000);
    expect_said(&stage, 503, "the proxy holds as many bytes of large bodies as it may");

    budget_give(&stage.large_bodies, LARGE_BODIES_BYTES - LARGE_BYTES);
    begin(&stage, USUAL, BODY_MAX);
    assert_int_equal(budget_used(&stage.large_bodies), BODY_MAX);
    end(&stage); /* the sender went */
    stage.batcher.forgotten = 0;
    bytes_free(&body);
    stage_close(&stage);
}

static void test_no_memory_is_503(void **state)
{
    (void)state;
    struct stage stage;
    struct bytes body = {0};
    stage_open(&stage);
    make_body(&body, 100);
    counting_without_memory = true; /* for a declared body, then a chunked one */
    deliver(&stage, &body);
    expect_said(&stage, 503, "out of memory");
    deliver_chunked(&stage, &body, 100);
    expect_said(&stage, 503, "out of memory");

    counting_without_memory = false; /* for what it decodes to */
    begin(&stage, USUAL, body.size);
    bring_body(&stage, body.data, body.size, 100);
    counting_without_memory = true;
    complete(&stage);
    expect_said(&stage, 503, "out of memory");
    counting_without_memory = false;

    deliver(&stage, &body);
    expect_added(&stage, &body);
    bytes_free(&body);
    stage_close(&stage);
}

/* -- The window ------------------------------------------------------------------------------- */

#define WINDOW_BYTES ((size_t)4 << 20) /* the least, since the batches are small */

static const uint8_t ZEROS[WINDOW_BYTES];

static void open_wide(struct stage *stage)
{
    stage_open(stage);
    stage->config.limits_body_bytes = WINDOW_BYTES;
    budget_init(&stage->budget, 4 * WINDOW_BYTES);
    budget_init(&stage->large_bodies, 4 * WINDOW_BYTES);
}

/* A good body of exactly so many bytes, of some MiB: one literal that holds one unknown field. */
static void make_body_of(struct bytes *body, size_t bytes)
{
    enum { HEADS_BYTES = 4 + 5 + 1 + 4 }; /* decoded length, literal, tag and length of the field */
    struct bytes content = {0};
    put_bytes_field(&content, 9, ZEROS, bytes - HEADS_BYTES);
    put_varint(body, content.size);
    put_byte(body, 63 << 2); /* a literal with 4 bytes of length */
    for (unsigned i = 0; i < 4; i++) {
        put_byte(body, ((content.size - 1) >> (8 * i)) & 0xff);
    }
    put(body, content.data, content.size);
    assert_int_equal(body->size, bytes);
    bytes_free(&content);
}

/* Another exchange than the stage's own, whose body is whole. Its request is the batcher's. */
static struct request *hold(struct stage *stage, struct exchange *exchange,
                            const struct bytes *body)
{
    *exchange =
        (struct exchange){.headers = USUAL, .body_bytes = body->size, .started_us = fake_now_us};
    stage->handler->on_headers(stage->handler->owner, exchange);
    stage->handler->on_body(stage->handler->owner, exchange, body->data, body->size);
    stage->handler->on_complete(stage->handler->owner, exchange);
    assert_int_equal(exchange->replies, 0);
    stage->batcher.added = 0;
    return stage->batcher.request;
}

static void let_go(struct stage *stage, struct request *request)
{
    struct exchange *exchange = request->exchange;
    request_accept(request);
    request_free(request);
    stage->handler->on_end(stage->handler->owner, exchange, true);
    exchange_clear(exchange);
}

static void expect_room(struct stage *stage, struct exchange *exchange, size_t room_bytes)
{
    size_t room;
    uint64_t again_us;
    assert_non_null(ask_room(stage, exchange, &room, &again_us));
    assert_int_equal(room, room_bytes);
}

static void expect_no_room(struct stage *stage, struct exchange *exchange)
{
    size_t room;
    uint64_t again_us;
    size_t before = counting_allocations;
    assert_null(ask_room(stage, exchange, &room, &again_us));
    assert_int_equal(exchange->replies, 0);
    assert_true(again_us == exchange->started_us + DEADLINE_US);
    assert_int_equal(counting_allocations, before);
}

static void test_no_more_is_held_than_is_of_use(void **state)
{
    (void)state;
    struct stage stage;
    struct exchange held[2];
    struct request *requests[2];
    struct bytes most = {0};
    struct bytes body = {0};
    open_wide(&stage);
    make_body_of(&most, WINDOW_BYTES - 2);
    make_body(&body, 5);
    requests[0] = hold(&stage, &held[0], &most);
    begin(&stage, USUAL, body.size);
    place_body(&stage, body.data, 1, 1); /* less than the window: it may begin */
    requests[1] = hold(&stage, &held[1], &body);

    struct exchange late = {.headers = USUAL, .body_bytes = 77, .started_us = fake_now_us};
    stage.handler->on_headers(stage.handler->owner, &late);
    expect_no_room(&stage, &late);
    expect_room(&stage, &stage.exchange, body.size - 1); /* what has begun goes on */
    let_go(&stage, requests[1]);
    expect_room(&stage, &late, 77);

    stage.handler->on_end(stage.handler->owner, &late, false);
    exchange_clear(&late);
    let_go(&stage, requests[0]);
    end(&stage);
    bytes_free(&most);
    bytes_free(&body);
    stage_close(&stage);
}

/* Joined to a batch or not: from when it is whole until it is freed. */
static void test_a_request_is_held_until_its_verdict(void **state)
{
    (void)state;
    struct stage stage;
    struct exchange late = {.headers = USUAL, .body_bytes = 77, .started_us = fake_now_us};
    struct exchange held;
    struct bytes body = {0};
    open_wide(&stage);
    make_body_of(&body, WINDOW_BYTES);
    stage.handler->on_headers(stage.handler->owner, &late);
    for (unsigned placed = 0; placed < 2; placed++) {
        begin(&stage, USUAL, body.size);
        if (placed != 0) {
            place_body(&stage, body.data, body.size - 1, WINDOW_BYTES);
        } else {
            bring_body(&stage, body.data, body.size - 1, WINDOW_BYTES);
        }
        end(&stage); /* gone before its last byte: a slow sender holds up nobody */
        struct request *request = hold(&stage, &held, &body);
        expect_no_room(&stage, &late);
        request_accept(request);
        expect_no_room(&stage, &late);
        request_free(request);
        stage.handler->on_end(stage.handler->owner, &held, true);
        exchange_clear(&held);
    }
    deliver(&stage, &(struct bytes){.data = (uint8_t *)(uintptr_t)ZEROS, .size = WINDOW_BYTES});
    assert_int_equal(stage.exchange.status, 400); /* and what was refused is held no more */
    exchange_clear(&stage.exchange);
    expect_room(&stage, &late, 77);
    stage.handler->on_end(stage.handler->owner, &late, false);
    exchange_clear(&late);
    bytes_free(&body);
    stage_close(&stage);
}

static void test_an_unfinished_body_holds_up_nobody(void **state)
{
    (void)state;
    struct stage stage;
    struct exchange late = {.headers = USUAL, .body_bytes = 77, .started_us = fake_now_us};
    open_wide(&stage);
    stage.handler->on_headers(stage.handler->owner, &late);
    begin(&stage, USUAL, WINDOW_BYTES);
    place_body(&stage, ZEROS, WINDOW_BYTES - 1, WINDOW_BYTES);
    expect_room(&stage, &late, 77);
    end(&stage);
    begin(&stage, USUAL, SERVER_BODY_UNKNOWN);
    bring_body(&stage, ZEROS, WINDOW_BYTES, WINDOW_BYTES);
    expect_room(&stage, &late, 77);
    end(&stage);
    stage.handler->on_end(stage.handler->owner, &late, false);
    exchange_clear(&late);
    stage_close(&stage);
}

static void test_who_waits_for_room_for_too_long_is_put_off(void **state)
{
    (void)state;
    struct stage stage;
    struct exchange held;
    struct bytes body = {0};
    size_t room;
    uint64_t again_us;
    open_wide(&stage);
    make_body_of(&body, WINDOW_BYTES);
    struct request *request = hold(&stage, &held, &body);
    begin(&stage, USUAL, 77);
    fake_now_us += DEADLINE_US - 1;
    expect_no_room(&stage, &stage.exchange);
    fake_now_us++;
    assert_null(ask_room(&stage, &stage.exchange, &room, &again_us));
    assert_int_equal(budget_used(&stage.budget), WINDOW_BYTES);
    let_go(&stage, request);
    expect_said(&stage, 503, "the gateway did not answer in time");
    assert_int_equal(COUNTED(REJECTED_DEADLINE), 1);
    assert_int_equal(COUNTED(WRITE_UNAVAILABLE), 1);

    begin(&stage, USUAL, 77); /* late, but there is room */
    fake_now_us += 2 * DEADLINE_US;
    expect_room(&stage, &stage.exchange, 77);
    end(&stage);
    bytes_free(&body);
    stage_close(&stage);
}

static void test_no_memory_for_a_place_is_503(void **state)
{
    (void)state;
    struct stage stage;
    struct bytes body = {0};
    stage_open(&stage);
    make_body(&body, 100);
    begin(&stage, USUAL, body.size);
    counting_without_memory = true;
    place_body(&stage, body.data, body.size, 100);
    counting_without_memory = false;
    expect_said(&stage, 503, "out of memory");

    begin(&stage, USUAL, body.size);
    place_body(&stage, body.data, body.size, 100);
    complete(&stage);
    expect_added(&stage, &body);
    bytes_free(&body);
    stage_close(&stage);
}

/* The room for decoding is kept from request to request, unless it was unusually large. */
static void test_a_large_scratch_is_given_back(void **state)
{
    (void)state;
    struct stage stage;
    struct bytes small = {0};
    struct bytes large = {0};
    stage_open(&stage);
    make_body(&small, 100);
    make_body(&large, 1000 * 1000);
    stage.config.limits_body_bytes = large.size;
    stage.budget.limit = 2 * large.size;
    stage.large_bodies.limit = large.size;
    deliver(&stage, &small);
    expect_added(&stage, &small);
    size_t kept = counting_held_bytes;
    assert_in_range(kept, 1, 1 << 20);
    size_t before = counting_allocations;
    for (unsigned i = 0; i < 10; i++) {
        deliver(&stage, &small);
        expect_added(&stage, &small);
    }
    assert_int_equal(counting_allocations - before, 10); /* of each body, and no more */
    assert_int_equal(counting_held_bytes, kept);

    deliver(&stage, &large);
    assert_true(stage.batcher.request->block.decoded_bytes > (size_t)16 << 20);
    expect_added(&stage, &large);
    assert_in_range(counting_held_bytes, 0, (size_t)4 << 20);
    deliver(&stage, &small);
    expect_added(&stage, &small);

    /* Given back too when the body was bad. */
    large.data[large.size - 1] ^= 0xff;
    large.size--;
    deliver(&stage, &large);
    expect_turned_away(&stage, 400);
    assert_in_range(counting_held_bytes, 0, (size_t)4 << 20);
    bytes_free(&small);
    bytes_free(&large);
    stage_close(&stage);
}

/* -- Bodies that are not what they should be -------------------------------------------------- */

struct bad_body {
    const char *bytes;
    size_t size;
    const char *says;
};

#define BAD(bytes_, says_)                                             \
    {                                                                  \
        .bytes = (bytes_), .size = sizeof(bytes_) - 1, .says = (says_) \
    }

static void test_a_bad_body_is_told_what_and_where(void **state)
{
    (void)state;
    static const struct bad_body cases[] = {
        BAD("", "not a snappy block: no bytes at all at byte 0"),
        BAD("\x80", "not a snappy block: declared length is cut short at byte 1"),
        BAD("\x80\x80\x80\x80\x80\x00",
            "not a snappy block: declared length takes more than 5 bytes at byte 0"),
        BAD("\xff\xff\xff\xff\x7f",
            "not a snappy block: declared length does not fit in 32 bits at byte 0"),
        BAD("\x7f\x00",
            "not a snappy block: declared length is more than the input can hold at byte 0"),
        BAD("\x05\x10"
            "abc",
            "not a snappy block: literal runs past the end of the input at byte 1"),
        BAD("\x04\x00"
            "a\x01\x02",
            "not a snappy block: copy reaches before the start at byte 3"),
        BAD("\x05\x04"
            "ab",
            "not a snappy block: output is shorter than declared at byte 4"),
        BAD("\x01\x04"
            "ab",
            "not a snappy block: output is longer than declared at byte 1"),
        BAD("\x01\x00\x0a", "not a prometheus.WriteRequest: length is cut short at byte 1 of the "
                            "decoded body"),
        BAD("\x02\x04\x0a\x05", "not a prometheus.WriteRequest: series runs past its request at "
                                "byte 0 of the decoded body"),
    };
    struct stage stage;
    stage_open(&stage);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct bytes body = {0};
        put(&body, cases[i].bytes, cases[i].size);
        deliver(&stage, &body);
        expect_said(&stage, 400, cases[i].says);
        deliver_chunked(&stage, &body, 1);
        expect_said(&stage, 400, cases[i].says);
        bytes_free(&body);
    }
    assert_int_equal(COUNTED(REJECTED_SNAPPY), 2 * 9);
    assert_int_equal(COUNTED(REJECTED_PROTOBUF), 2 * 2);
    assert_int_equal(COUNTED(DECODED_BYTES), 0);
    stage_close(&stage);
}

/* Whatever comes is added or turned away, and nothing of it stays behind. */
static void test_mutated_bodies(void **state)
{
    (void)state;
    struct stage stage;
    struct rng rng = {.state = 21};
    struct bytes origin = {0};
    struct bytes body = {0};
    unsigned added = 0;
    unsigned refused = 0;
    stage_open(&stage);
    for (unsigned i = 0; i < 10000; i++) {
        if (i % 50 == 0) {
            struct bytes request = {0};
            struct write_request_counts counts = {0};
            put_random_request(&request, &rng, &(struct shape_wish){.series_max = 3}, &counts);
            origin.size = 0;
            put_snappy(&origin, &request);
            bytes_free(&request);
        }
        body.size = 0;
        put(&body, origin.data, origin.size);
        if (!rng_one_in(&rng, 10)) {
            mutate(&body, &rng);
        }
        if (rng_one_in(&rng, 2)) {
            deliver(&stage, &body);
        } else {
            deliver_chunked(&stage, &body, 1 + rng_below(&rng, 100));
        }
        if (replied(&stage)) {
            refused++;
            expect_turned_away(&stage, 400);
        } else {
            added++;
            expect_added(&stage, &body);
        }
    }
    assert_true(added > 1000 && refused > 1000);
    bytes_free(&origin);
    bytes_free(&body);
    stage_close(&stage);
}

/* -- Senders that leave ----------------------------------------------------------------------- */

static void test_a_sender_gone_before_its_answer(void **state)
{
    (void)state;
    struct stage stage;
    struct bytes body = {0};
    stage_open(&stage);
    make_body(&body, 10);
    for (unsigned chunked = 0; chunked < 2; chunked++) {
        for (size_t got = 0; got <= body.size; got += body.size / 2) {
            begin(&stage, USUAL, chunked != 0 ? SERVER_BODY_UNKNOWN : body.size);
            bring_body(&stage, body.data, got, 10);
            end(&stage);
            assert_int_equal(stage.batcher.forgotten, 1);
            assert_int_equal(budget_used(&stage.budget), 0);
            stage.batcher.forgotten = 0;
        }
    }
    unsigned long left = COUNTED(WRITE_DISCONNECTED);
    assert_true(left >= 6);

    /* It is the batcher that must know, once it has the request. */
    deliver(&stage, &body);
    assert_int_equal(stage.batcher.added, 1);
    end(&stage);
    assert_int_equal(stage.batcher.forgotten, 1);
    assert_int_equal(COUNTED(WRITE_DISCONNECTED), left + 1);
    bytes_free(&body);
    stage_close(&stage);
}

static void test_free_takes_nothing(void **state)
{
    (void)state;
    intake_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_good_request_reaches_the_batcher),
        cmocka_unit_test(test_pieces_and_chunks_make_no_difference),
        cmocka_unit_test(test_a_request_of_nothing_is_good),
        cmocka_unit_test(test_what_may_not_be_joined_is_marked),
        cmocka_unit_test(test_headers_that_are_good),
        cmocka_unit_test(test_headers_that_are_not),
        cmocka_unit_test(test_a_long_header_is_not_said_back_whole),
        cmocka_unit_test(test_a_declared_body_over_the_limit),
        cmocka_unit_test(test_a_chunked_body_over_the_limit),
        cmocka_unit_test(test_a_decoded_length_over_the_limit),
        cmocka_unit_test(test_a_body_that_the_budget_does_not_hold),
        cmocka_unit_test(test_a_chunked_body_that_outgrows_the_budget),
        cmocka_unit_test(test_large_bodies_on_their_way_hold_a_part_of_the_budget),
        cmocka_unit_test(test_no_memory_is_503),
        cmocka_unit_test(test_no_more_is_held_than_is_of_use),
        cmocka_unit_test(test_a_request_is_held_until_its_verdict),
        cmocka_unit_test(test_an_unfinished_body_holds_up_nobody),
        cmocka_unit_test(test_who_waits_for_room_for_too_long_is_put_off),
        cmocka_unit_test(test_no_memory_for_a_place_is_503),
        cmocka_unit_test(test_a_large_scratch_is_given_back),
        cmocka_unit_test(test_a_bad_body_is_told_what_and_where),
        cmocka_unit_test(test_mutated_bodies),
        cmocka_unit_test(test_a_sender_gone_before_its_answer),
        cmocka_unit_test(test_free_takes_nothing),
    };
    return cmocka_run_group_tests_name("flow/intake", tests, NULL, NULL);
}
