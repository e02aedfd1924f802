/* Replies that stream, exchanges that end before their time, and what else a handler may ask of an
 * exchange: all of it by libmicrohttpd, then all of it on the fast path. */
#include "server_stage.h"

#include "moving_clock.h"

/* A reply that streams from memory, as far as the test lets it. */
struct source {
    struct stage *stage;
    struct bytes body;
    size_t allowed; /* [bytes] of body that may be taken */
    size_t taken;
    size_t step_max; /* [bytes] of one answer to on_wanted */
    bool ends;       /* after what is allowed */
    bool breaks;
    uint64_t declared;
    unsigned asked;
};

static struct source source; /* of the exchange that streams; one a test */
static bool fast_path;

static int take_fast_path(void **state)
{
    (void)state;
    fast_path = true;
    return 0;
}

static void open_either(struct stage *stage, enum reply_at reply_at)
{
    if (fast_path) {
        stage_open_direct(stage, reply_at);
        stage->whole.keeps_head = true;
    } else {
        stage_open(stage, reply_at);
    }
}

static ptrdiff_t on_wanted(void *owner, struct exchange *exchange, uint8_t *out, size_t room)
{
    (void)owner;
    (void)exchange;
    assert_true(room > 0);
    source.asked++;
    size_t bytes = source.allowed - source.taken;
    if (bytes == 0) {
        return source.breaks ? SERVER_STREAM_BROKEN : source.ends ? SERVER_STREAM_END : 0;
    }
    bytes = bytes < room ? bytes : room;
    bytes = bytes < source.step_max ? bytes : source.step_max;
    memcpy(out, source.body.data + source.taken, bytes);
    source.taken += bytes;
    return (ptrdiff_t)bytes;
}

static void begin_stream(struct exchange *exchange)
{
    char name[] = "X-Kind";
    char value[] = "stream";
    const struct server_header headers[] = {{name, value}, {NULL, NULL}};
    exchange_stream(exchange, 200, headers, source.declared);
    memset(name, 'x', sizeof(name) - 1); /* copied */
    memset(value, 'x', sizeof(value) - 1);
}

/* A stage whose handler leaves the reply to the test, which then streams body_bytes. */
static void open_streaming(struct stage *stage, size_t body_bytes, uint64_t declared)
{
    moving_ahead_us = 0;
    open_either(stage, REPLY_LATER);
    stage->whole.on_wanted = on_wanted;
    source = (struct source){.stage = stage, .step_max = SIZE_MAX, .declared = declared};
    put_pattern(&source.body, body_bytes);
}

static void close_streaming(struct stage *stage)
{
    stage_close(stage);
    bytes_free(&source.body);
}

/* Ask for the page of metrics, and begin to stream it. */
static void ask(struct stage *stage, struct peer *client, const char *request)
{
    size_t index = stage->count;
    send_text(stage, client, request);
    await_events(stage, index, "hc");
    begin_stream(stage->seen[index].exchange);
}

static void allow(struct stage *stage, size_t bytes)
{
    source.allowed += bytes;
    exchange_stream_ready(stage->seen[stage->count - 1].exchange);
}

/* What came of a chunked body so far, after the head of a reply. True once its last chunk is in. */
static bool unchunk(const struct peer *client, size_t head_bytes, struct bytes *body)
{
    const char *at = (const char *)client->in.data + head_bytes;
    const char *end = (const char *)client->in.data + client->in.size;
    body->size = 0;
    while (at < end) {
        const char *line_end = memmem(at, (size_t)(end - at), "\r\n", 2);
        if (line_end == NULL) {
            return false;
        }
        size_t bytes = strtoul(at, NULL, 16);
        at = line_end + 2;
        if (bytes == 0) {
            return end - at == 2;
        }
        if ((size_t)(end - at) < bytes + 2) {
            return false;
        }
        put(body, at, bytes);
        at += bytes + 2;
    }
    return false;
}

static size_t await_head(struct stage *stage, struct peer *client)
{
    const char *end = NULL;
    uint64_t until_us = clock_now_us() + PATIENCE_US;
    while (end == NULL) {
        assert_true(clock_now_us() < until_us);
        turn(stage);
        peer_receive(client);
        end = client->in.size == 0 ? NULL : memmem(client->in.data, client->in.size, "\r\n\r\n", 4);
    }
    return (size_t)(end - (const char *)client->in.data) + 4;
}

/* -- Streams ---------------------------------------------------------------------------------- */

static void test_a_stream_of_known_size(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 1000, 3000 * 1000};
    static const size_t steps[] = {1, 7, 100000, SIZE_MAX};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        for (size_t j = 0; j < COUNT(steps); j++) {
            struct stage stage;
            struct peer client;
            struct message message;
            char text[64];
            if (sizes[i] / steps[j] > 10000) {
                continue;
            }
            open_streaming(&stage, sizes[i], sizes[i]);
            peer_connect(&client, stage.port);
            source.step_max = steps[j];
            source.allowed = sizes[i];
            source.ends = true;
            ask(&stage, &client, GET_METRICS);
            await(&stage, &client, false, &message);
            assert_int_equal(message_status(&message), 200);
            assert_string_equal(message_header(&message, "X-Kind", text, sizeof(text)), "stream");
            assert_null(message_header(&message, "Transfer-Encoding", text, sizeof(text)));
            assert_int_equal(message.body_bytes, sizes[i]);
            assert_memory_equal(message.body, source.body.data, sizes[i]);
            await_events(&stage, 0, "hce");
            expect_still_open(&stage, &client);
            peer_close(&client);
            close_streaming(&stage);
        }
    }
}

static void test_a_stream_of_unknown_size(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 1000, 3000 * 1000};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        struct stage stage;
        struct peer client;
        struct bytes body = {0};
        open_streaming(&stage, sizes[i], SERVER_BODY_UNKNOWN);
        peer_connect(&client, stage.port);
        source.allowed = sizes[i];
        source.ends = true;
        ask(&stage, &client, GET_METRICS);
        size_t head_bytes = await_head(&stage, &client);
        uint64_t until_us = clock_now_us() + PATIENCE_US;
        while (!unchunk(&client, head_bytes, &body)) {
            assert_true(clock_now_us() < until_us);
            turn(&stage);
            peer_receive(&client);
        }
        assert_pattern(&body, sizes[i]);
        await_events(&stage, 0, "hce");
        settle(&stage);
        peer_receive(&client);
        assert_false(client.ended);
        bytes_free(&body);
        peer_close(&client);
        close_streaming(&stage);
    }
}

/* To a client that knows no chunks, the end of the connection is the end of the body. */
static void test_a_stream_to_an_old_client(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    open_streaming(&stage, 5000, SERVER_BODY_UNKNOWN);
    peer_connect(&client, stage.port);
    source.allowed = 5000;
    source.ends = true;
    ask(&stage, &client, "GET /metrics HTTP/1.0\r\n\r\n");
    await_end(&stage, &client);
    size_t head_bytes = await_head(&stage, &client);
    assert_int_equal(client.in.size - head_bytes, 5000);
    assert_memory_equal(client.in.data + head_bytes, source.body.data, 5000);
    await_events(&stage, 0, "hce");
    peer_close(&client);
    close_streaming(&stage);
}

/* The source has nothing for now: no turn is asked for until it says that it has. */
static void test_a_stream_that_waits_for_its_source(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    struct message message;
    open_streaming(&stage, 3000, 3000);
    peer_connect(&client, stage.port);
    ask(&stage, &client, GET_METRICS);
    size_t head_bytes = await_head(&stage, &client); /* leaves before the body is there */
    for (size_t sent = 0; sent < 3000; sent += 500) {
        settle(&stage);
        peer_receive(&client);
        assert_int_equal(client.in.size, head_bytes + sent);
        unsigned asked = source.asked;
        uint64_t until_us = clock_now_us() + 20 * 1000;
        unsigned turns = 0;
        for (; clock_now_us() < until_us; turns++) {
            uint64_t deadline_us = server_deadline_us(stage.server);
            loop_wait(stage.loop, deadline_us < until_us ? deadline_us : until_us);
            server_run(stage.server);
        }
        assert_true(turns < 10);
        assert_int_equal(source.asked, asked);
        source.ends = sent + 500 == 3000;
        allow(&stage, 500);
    }
    await(&stage, &client, false, &message);
    assert_int_equal(message.body_bytes, 3000);
    assert_memory_equal(message.body, source.body.data, 3000);
    await_events(&stage, 0, "hce");
    peer_close(&client);
    close_streaming(&stage);
}

/* That there is something may be said at any time, again and again. */
static void test_readiness_may_be_said_too_often(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    struct message message;
    open_streaming(&stage, 1000, 1000);
    peer_connect(&client, stage.port);
    source.allowed = 500;
    ask(&stage, &client, GET_METRICS);
    for (unsigned i = 0; i < 20; i++) {
        exchange_stream_ready(stage.seen[0].exchange);
        if (i % 3 == 0) {
            turn(&stage);
        }
    }
    settle(&stage);
    source.ends = true;
    allow(&stage, 500);
    await(&stage, &client, false, &message);
    assert_int_equal(message.body_bytes, 1000);
    assert_memory_equal(message.body, source.body.data, 1000);
    await_events(&stage, 0, "hce");
    peer_close(&client);
    close_streaming(&stage);
}

/* A client must be able to tell a body that was cut short from a whole one. */
static void test_a_stream_that_breaks_is_seen_to_break(void **state)
{
    (void)state;
    for (unsigned chunked = 0; chunked < 2; chunked++) {
        struct stage stage;
        struct peer client;
        struct bytes body = {0};
        open_streaming(&stage, 1000, chunked != 0 ? SERVER_BODY_UNKNOWN : 1000);
        peer_connect(&client, stage.port);
        source.allowed = 400;
        source.breaks = true;
        ask(&stage, &client, GET_METRICS);
        await_end(&stage, &client);
        size_t head_bytes = await_head(&stage, &client);
        if (chunked != 0) {
            assert_false(unchunk(&client, head_bytes, &body));
            assert_true(body.size <= 400);
        } else {
            assert_true(client.in.size - head_bytes <= 400);
        }
        await_events(&stage, 0, "hcx");
        await_connections(&stage, 0);
        bytes_free(&body);
        peer_close(&client);
        close_streaming(&stage);
    }
}

static void test_no_body_streams_to_a_head(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    struct message message;
    open_streaming(&stage, 1000, 1000);
    peer_connect(&client, stage.port);
    source.allowed = 1000;
    source.ends = true;
    for (size_t i = 0; i < 2; i++) {
        ask(&stage, &client, "HEAD /metrics HTTP/1.1\r\n" HOST "\r\n");
        await(&stage, &client, true, &message);
        assert_int_equal(message_status(&message), 200);
        await_events(&stage, i, "hce");
        expect_still_open(&stage, &client);
    }
    assert_int_equal(source.asked, 0);
    peer_close(&client);
    close_streaming(&stage);
}

static void test_stopping_closes_after_a_stream(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    struct message message;
    char text[64];
    open_streaming(&stage, 1000, 1000);
    peer_connect(&client, stage.port);
    size_t index = stage.count;
    send_text(&stage, &client, GET_METRICS);
    await_events(&stage, index, "hc");
    server_stop_accepting(stage.server);
    source.allowed = 1000;
    source.ends = true;
    begin_stream(stage.seen[0].exchange);
    await(&stage, &client, false, &message);
    assert_string_equal(message_header(&message, "Connection", text, sizeof(text)), "close");
    expect_end(&stage, &client);
    peer_close(&client);
    close_streaming(&stage);
}

/* A client that takes its time is not cut while it takes something at all. */
static void test_a_slow_client_is_served_as_long_as_it_takes(void **state)
{
    (void)state;

    enum { BODY_BYTES = 20 * 1000 * 1000 };

    struct stage stage;
    struct peer client;
    struct message message;
    open_streaming(&stage, BODY_BYTES, BODY_BYTES);
    peer_connect(&client, stage.port);
    source.allowed = BODY_BYTES;
    source.ends = true;
    ask(&stage, &client, GET_METRICS);
    bool whole = false;
    for (unsigned step = 0; !whole; step++) {
        assert_true(step < 1000);
        settle(&stage);
        moving_ahead_us += 40 * SEC_US;
        settle(&stage);
        peer_receive_some(&client, 3000 * 1000);
        whole = peer_take(&client, false, &message);
    }
    assert_int_equal(message.body_bytes, BODY_BYTES);
    await_events(&stage, 0, "hce");
    peer_close(&client);
    close_streaming(&stage);
}

/* -- Ends before their time ------------------------------------------------------------------- */

enum point { WAITING, STREAM_WAITS, STREAM_FLOWS, POINTS };

/* Bring an exchange to that point. */
static void bring_to(struct stage *stage, struct peer *client, enum point point)
{
    enum { BODY_BYTES = 20 * 1000 * 1000 };

    open_streaming(stage, BODY_BYTES, BODY_BYTES);
    stage->whole.watch_client = true;
    peer_connect(client, stage->port);
    if (point == WAITING) {
        send_text(stage, client, GET_METRICS);
        await_events(stage, 0, "hc");
        return;
    }
    source.allowed = point == STREAM_WAITS ? 100 : BODY_BYTES; /* the kernel does not take it all */
    ask(stage, client, GET_METRICS);
    (void)await_head(stage, client);
    settle(stage);
}

static void test_a_watched_client_that_leaves_ends_its_exchange(void **state)
{
    (void)state;
    for (enum point point = WAITING; point < POINTS; point++) {
        for (unsigned reset = 0; reset < 2; reset++) {
            struct stage stage;
            struct peer client;
            bring_to(&stage, &client, point);
            if (reset != 0) {
                peer_reset(&client);
            } else {
                peer_close(&client);
            }
            await_events(&stage, 0, "hcx");
            await_connections(&stage, 0);
            assert_int_equal(server_active(stage.server), 0);
            close_streaming(&stage);
        }
    }
}

static void test_an_unwatched_client_is_not_missed(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    open_either(&stage, REPLY_LATER);
    peer_connect(&client, stage.port);
    send_text(&stage, &client, GET_METRICS);
    await_events(&stage, 0, "hc");
    peer_close(&client);
    settle(&stage);
    assert_non_null(stage.seen[0].exchange);
    reply_no_content(stage.seen[0].exchange);
    await_connections(&stage, 0);
    stage_close(&stage);
}

static void test_an_aborted_exchange_ends(void **state)
{
    (void)state;
    for (enum point point = WAITING; point < POINTS; point++) {
        struct stage stage;
        struct peer client;
        bring_to(&stage, &client, point);
        exchange_abort(stage.seen[0].exchange);
        await_events(&stage, 0, "hcx");
        await_connections(&stage, 0);
        await_end(&stage, &client);
        peer_close(&client);
        close_streaming(&stage);
    }
}

static void test_free_ends_streams(void **state)
{
    (void)state;
    for (enum point point = WAITING; point < POINTS; point++) {
        struct stage stage;
        struct peer client;
        bring_to(&stage, &client, point);
        server_free(stage.server);
        stage.server = NULL;
        assert_string_equal(stage.seen[0].events, "hcx");
        peer_close(&client);
        close_streaming(&stage);
    }
}

/* -- What else may be asked ------------------------------------------------------------------- */

static struct bytes visited;

static void on_visit(void *arg, const char *name, size_t name_bytes, const char *value,
                     size_t value_bytes)
{
    struct bytes *out = arg;
    put(out, name, name_bytes);
    put(out, "=", 1);
    put(out, value, value_bytes);
    put(out, ";", 1);
}

static void on_headers_that_visits(void *owner, struct exchange *exchange)
{
    exchange_visit_headers(exchange, on_visit, &visited);
    on_headers(owner, exchange);
}

static void test_headers_are_visited_in_order(void **state)
{
    (void)state;
    static const char expected[] = "Host=proxy;X-A=1;x-b=;X-A=two words;";
    struct stage stage;
    struct peer client;
    open_either(&stage, REPLY_AT_COMPLETE);
    stage.whole.on_headers = on_headers_that_visits;
    peer_connect(&client, stage.port);
    send_text(&stage, &client,
              "GET /metrics HTTP/1.1\r\n" HOST "X-A: 1\r\nx-b:\r\nX-A: two words\r\n\r\n");
    expect_status(&stage, &client, 200);
    assert_int_equal(visited.size, sizeof(expected) - 1);
    assert_memory_equal(visited.data, expected, sizeof(expected) - 1);
    bytes_free(&visited);
    peer_close(&client);
    stage_close(&stage);
}

/* A mark stays with the connection: its next request bears it, another connection's does not. */
static void test_a_mark_stays_with_its_sender(void **state)
{
    (void)state;
    struct stage stage;
    struct peer marked;
    struct peer other;
    open_either(&stage, REPLY_LATER);
    peer_connect(&marked, stage.port);
    peer_connect(&other, stage.port);
    for (size_t i = 0; i < 6; i++) {
        struct peer *client = i % 2 == 0 ? &marked : &other;
        send_text(&stage, client, POST_FIVE);
        await_events(&stage, i, fast_path ? "hrc" : "hbc");
        struct exchange *exchange = stage.seen[i].exchange;
        assert_true(exchange_sender_mark_us(exchange) == (i % 2 == 0 ? i * 1000 : 0));
        if (i % 2 == 0) {
            exchange_mark_sender(exchange, (i + 2) * 1000);
        }
        reply_no_content(exchange);
        expect_status(&stage, client, 204);
    }
    peer_close(&marked);
    peer_close(&other);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_stream_of_known_size),
        cmocka_unit_test(test_a_stream_of_unknown_size),
        cmocka_unit_test(test_a_stream_to_an_old_client),
        cmocka_unit_test(test_a_stream_that_waits_for_its_source),
        cmocka_unit_test(test_readiness_may_be_said_too_often),
        cmocka_unit_test(test_a_stream_that_breaks_is_seen_to_break),
        cmocka_unit_test(test_no_body_streams_to_a_head),
        cmocka_unit_test(test_stopping_closes_after_a_stream),
        cmocka_unit_test(test_a_slow_client_is_served_as_long_as_it_takes),
        cmocka_unit_test(test_a_watched_client_that_leaves_ends_its_exchange),
        cmocka_unit_test(test_an_unwatched_client_is_not_missed),
        cmocka_unit_test(test_an_aborted_exchange_ends),
        cmocka_unit_test(test_free_ends_streams),
        cmocka_unit_test(test_headers_are_visited_in_order),
        cmocka_unit_test(test_a_mark_stays_with_its_sender),
    };
    int failed = cmocka_run_group_tests_name("server/server streams", tests, NULL, NULL);
    return failed + cmocka_run_group_tests_name("server/server streams, the fast path", tests,
                                                take_fast_path, NULL);
}
