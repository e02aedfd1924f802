/* The fast path of writes: which requests take it, that the others do not, and that nobody can tell
 * from the answers. Bodies, heads and replies; room and ends are test_direct_room.c's and
 * test_direct_ends.c's. */
#include "server_stage.h"

#include "moving_clock.h"

#define HEAD_BYTES 4096 /* a longer one takes the slow path */
#define TURN_BYTES (1024U * 1024U)

#define WRITE       "POST /api/v1/receive HTTP/1.1\r\n" HOST
#define GET_HEALTHY "GET /-/healthy HTTP/1.1\r\n" HOST "\r\n"

static void expect_sent_by_the_fast_path(struct stage *stage, size_t exchange)
{
    await_events(stage, exchange, "hrce");
}

/* -- Bodies ----------------------------------------------------------------------------------- */

static void test_a_plain_write_takes_the_fast_path(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    struct message message;
    char text[64];
    stage_open_direct(&stage, REPLY_AT_COMPLETE);
    peer_connect(&client, stage.port);
    send_text(&stage, &client, POST_FIVE);
    await(&stage, &client, false, &message);
    assert_int_equal(message_status(&message), 200);
    assert_int_equal(message.body_bytes, 5);
    assert_memory_equal(message.body, "done\n", 5);
    assert_string_equal(message_header(&message, "Content-Type", text, sizeof(text)),
                        "text/plain; charset=utf-8");
    assert_non_null(message_header(&message, "Date", text, sizeof(text)));
    assert_int_equal(strlen(text), 29);
    assert_null(message_header(&message, "Connection", text, sizeof(text)));
    expect_sent_by_the_fast_path(&stage, 0);
    const struct seen *seen = &stage.seen[0];
    assert_int_equal(seen->route, ROUTE_WRITE);
    assert_int_equal(seen->method, ROUTE_METHOD_POST);
    assert_int_equal(seen->body_bytes, 5);
    assert_string_equal(seen->target, "/api/v1/receive");
    assert_memory_equal(seen->body.data, "hello", 5);
    peer_close(&client);
    stage_close(&stage);
}

static void test_no_content_has_no_length(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    struct message message;
    char text[64];
    stage_open_direct(&stage, REPLY_LATER);
    peer_connect(&client, stage.port);
    for (size_t i = 0; i < 3; i++) {
        send_text(&stage, &client, POST_FIVE);
        await_events(&stage, i, "hrc");
        reply_no_content(stage.seen[i].exchange);
        await(&stage, &client, false, &message);
        assert_int_equal(message_status(&message), 204);
        assert_null(message_header(&message, "Content-Length", text, sizeof(text)));
        assert_non_null(message_header(&message, "Date", text, sizeof(text)));
        moving_ahead_us += 2 * SEC_US;
    }
    peer_close(&client);
    stage_close(&stage);
}

static void test_a_connection_is_used_many_times(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    stage_open_direct(&stage, REPLY_AT_COMPLETE);
    peer_connect(&client, stage.port);
    for (size_t i = 0; i < 100; i++) {
        struct bytes request = {0};
        put_write(&request, 1 + i * i * 7);
        send_bytes(&stage, &client, request.data, request.size);
        expect_status(&stage, &client, 200);
        expect_sent_by_the_fast_path(&stage, i);
        assert_pattern(&stage.seen[i].body, 1 + i * i * 7);
        bytes_free(&request);
    }
    assert_int_equal(server_connections(stage.server), 1);
    assert_int_equal(server_active(stage.server), 0);
    peer_close(&client);
    await_connections(&stage, 0);
    stage_close(&stage);
}

/* However it comes, and however much of it has room at a time. */
static void test_a_body_comes_in_pieces(void **state)
{
    (void)state;
    static const size_t pieces[] = {1, 3, 100, 1024, 4999};
    static const size_t rooms[] = {1, 7, 1000, SIZE_MAX};
    struct stage stage;
    struct peer client;
    struct bytes request = {0};
    stage_open_direct(&stage, REPLY_AT_COMPLETE);
    peer_connect(&client, stage.port);
    put_write(&request, 5000);
    size_t head_bytes = request.size - 5000;
    for (size_t i = 0; i < COUNT(pieces) * COUNT(rooms); i++) {
        size_t piece = pieces[i % COUNT(pieces)];
        stage.room_bytes = rooms[i / COUNT(pieces)];
        send_bytes(&stage, &client, request.data, head_bytes);
        for (size_t at = head_bytes; at < request.size; at += piece) {
            size_t left = request.size - at;
            assert_int_equal(
                peer_send_some(&client, request.data + at, left < piece ? left : piece),
                left < piece ? left : piece);
            loop_wait(stage.loop, 0);
            server_run(stage.server);
        }
        expect_status(&stage, &client, 200);
        expect_sent_by_the_fast_path(&stage, i);
        assert_pattern(&stage.seen[i].body, 5000);
    }
    bytes_free(&request);
    peer_close(&client);
    stage_close(&stage);
}

static void test_a_body_of_many_turns(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    struct bytes request = {0};
    stage_open_direct(&stage, REPLY_AT_COMPLETE);
    peer_connect(&client, stage.port);
    put_write(&request, 9 * TURN_BYTES + 1);
    for (size_t i = 0; i < 2; i++) {
        send_bytes(&stage, &client, request.data, request.size);
        expect_status(&stage, &client, 200);
        expect_sent_by_the_fast_path(&stage, i);
        assert_pattern(&stage.seen[i].body, 9 * TURN_BYTES + 1);
    }
    bytes_free(&request);
    peer_close(&client);
    stage_close(&stage);
}

static void test_requests_may_be_pipelined(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    struct bytes requests = {0};
    stage_open_direct(&stage, REPLY_AT_COMPLETE);
    peer_connect(&client, stage.port);
    for (size_t i = 0; i < 50; i++) {
        put_write(&requests, 1 + i * 100);
    }
    send_bytes(&stage, &client, requests.data, requests.size);
    for (size_t i = 0; i < 50; i++) {
        expect_status(&stage, &client, 200);
        expect_sent_by_the_fast_path(&stage, i);
        assert_pattern(&stage.seen[i].body, 1 + i * 100);
    }
    expect_still_open(&stage, &client);
    bytes_free(&requests);
    peer_close(&client);
    stage_close(&stage);
}

/* The next request is left in the kernel until the one before it is answered. */
static void test_one_request_at_a_time(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    stage_open_direct(&stage, REPLY_LATER);
    peer_connect(&client, stage.port);
    send_text(&stage, &client, POST_FIVE GET_METRICS POST_FIVE GET_HEALTHY POST_FIVE);
    static const char *const events[] = {"hrc", "hc", "hrc", "hc", "hbc"};
    for (size_t i = 0; i < COUNT(events); i++) {
        await_events(&stage, i, events[i]);
        settle(&stage);
        assert_int_equal(stage.count, i + 1);
        assert_int_equal(server_active(stage.server), 1);
        reply_ok(stage.seen[i].exchange);
        expect_status(&stage, &client, 200);
    }
    expect_still_open(&stage, &client);
    peer_close(&client);
    stage_close(&stage);
}

/* -- The slow path ----------------------------------------------------------------------------- */

/* The next write on the connection still takes the fast path. */
static void test_requests_without_a_body(void **state)
{
    (void)state;
    static const char *const requests[] = {
        GET_METRICS, "GET /metrics HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n",
        WRITE "Content-Length: 0\r\n\r\n", WRITE "\r\n"};
    struct stage stage;
    struct peer client;
    stage_open_direct(&stage, REPLY_AT_COMPLETE);
    peer_connect(&client, stage.port);
    for (size_t i = 0; i < COUNT(requests); i++) {
        send_text(&stage, &client, requests[i]);
        expect_status(&stage, &client, 200);
        await_events(&stage, 2 * i, "hce");
        send_text(&stage, &client, POST_FIVE);
        expect_status(&stage, &client, 200);
        expect_sent_by_the_fast_path(&stage, 2 * i + 1);
    }
    peer_close(&client);
    stage_close(&stage);
}

struct detour {
    const char *request;
    const char *events; /* NULL: no handler hears of it */
    unsigned status;
    bool ends; /* the connection */
};

static const struct detour DETOURS[] = {
    {GET_HEALTHY, "hce", 200, false},
    {"GET /metrics HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello", "hbce", 200, false},
    {"GET /metrics HTTP/1.0\r\n\r\n", "hce", 200, true},
    {WRITE "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "hbce", 200, false},
    {WRITE "Content-Length: 5\r\nConnection: close\r\n\r\nhello", "hbce", 200, true},
    {"POST /api/v1/receive HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello", "hbce", 200, true},
    {"POST /api/v1/otlp/v1/metrics HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello", "hce", 200,
     false},
    {"POST /metrics HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello", NULL, 405, false},
    {"PUT /api/v1/receive HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello", NULL, 405, false},
    {"POST /nowhere HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello", NULL, 404, false},
    {"POST /api/v1%2freceive HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello", NULL, 400, false},
    {"POST /api/v1/receive HTTP/1.1\r\nHost:\r\nContent-Length: 5\r\n\r\nhello", NULL, 400, true},
    {WRITE "X: a\nContent-Length: 5\r\n\r\nhello", NULL, 400, true},
    {WRITE "X: a\r\n b\r\nContent-Length: 5\r\n\r\nhello", NULL, 400, true},
    {WRITE "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", NULL, 400, true},
    {WRITE "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", NULL, 400, true},
};

static void take_detour(struct stage *stage, struct peer *client, const struct detour *detour)
{
    size_t heard = stage->count;
    send_text(stage, client, detour->request);
    expect_status(stage, client, detour->status);
    if (detour->events != NULL) {
        await_events(stage, heard, detour->events);
    } else {
        assert_int_equal(stage->count, heard);
    }
    if (detour->ends) {
        expect_end(stage, client);
        return;
    }
    /* It is for good: what is plain takes the slow path too from now on. */
    heard = stage->count;
    send_text(stage, client, POST_FIVE);
    expect_status(stage, client, 200);
    await_events(stage, heard, "hbce");
    expect_still_open(stage, client);
}

/* As the first request of its connection, and after two that took the fast path. */
static void test_what_is_not_plain_takes_the_slow_path(void **state)
{
    (void)state;
    struct stage stage;
    stage_open_direct(&stage, REPLY_AT_COMPLETE);
    for (size_t i = 0; i < 2 * COUNT(DETOURS); i++) {
        struct peer client;
        peer_connect(&client, stage.port);
        for (size_t before = 0; before < 2 * (i % 2); before++) {
            send_text(&stage, &client, POST_FIVE);
            expect_status(&stage, &client, 200);
            expect_sent_by_the_fast_path(&stage, stage.count - 1);
        }
        take_detour(&stage, &client, &DETOURS[i / 2]);
        peer_close(&client);
        await_connections(&stage, 0);
    }
    stage_close(&stage);
}

/* In one piece with the write before it. */
static void test_a_detour_may_be_pipelined(void **state)
{
    (void)state;
    struct stage stage;
    stage_open_direct(&stage, REPLY_AT_COMPLETE);
    for (size_t i = 0; i < COUNT(DETOURS); i++) {
        struct peer client;
        struct bytes requests = {0};
        size_t heard = stage.count;
        peer_connect(&client, stage.port);
        put_write(&requests, 1000);
        put_text(&requests, DETOURS[i].request);
        assert_int_equal(peer_send_some(&client, requests.data, requests.size), requests.size);
        expect_status(&stage, &client, 200);
        expect_sent_by_the_fast_path(&stage, heard);
        expect_status(&stage, &client, DETOURS[i].status);
        bytes_free(&requests);
        peer_close(&client);
        await_connections(&stage, 0);
    }
    stage_close(&stage);
}

static void test_a_client_that_asks_first_is_told_to_go_on(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    stage_open_direct(&stage, REPLY_AT_COMPLETE);
    peer_connect(&client, stage.port);
    for (size_t i = 0; i < 2; i++) {
        send_text(&stage, &client, POST_FIVE);
        expect_status(&stage, &client, 200);
        send_text(&stage, &client, WRITE "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n");
        expect_status(&stage, &client, 100);
        send_text(&stage, &client, "hello");
        expect_status(&stage, &client, 200);
        await_events(&stage, 2 * i + 1, "hbce");
    }
    peer_close(&client);
    stage_close(&stage);
}

static void test_a_head_may_come_in_two_pieces(void **state)
{
    (void)state;
    static const char request[] = WRITE "Content-Length: 5\r\n\r\nhello";
    const size_t head_bytes = sizeof(request) - 1 - 5;
    struct stage stage;
    stage_open_direct(&stage, REPLY_AT_COMPLETE);
    for (size_t first = 1; first < sizeof(request) - 1; first++) {
        struct peer client;
        size_t heard = stage.count;
        peer_connect(&client, stage.port);
        if (first % 2 == 0) {
            send_text(&stage, &client, POST_FIVE);
            expect_status(&stage, &client, 200);
            heard++;
        }
        send_bytes(&stage, &client, request, first);
        settle(&stage);
        send_bytes(&stage, &client, request + first, sizeof(request) - 1 - first);
        expect_status(&stage, &client, 200);
        await_events(&stage, heard, first < head_bytes ? "hbce" : "hrce");
        assert_memory_equal(stage.seen[heard].body.data, "hello", 5);
        peer_close(&client);
    }
    stage_close(&stage);
}

static void test_a_long_head_takes_the_slow_path(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    stage_open_direct(&stage, REPLY_AT_COMPLETE);
    peer_connect(&client, stage.port);
    for (size_t i = 0; i < 3; i++) {
        struct bytes request = {0};
        put_text(&request, WRITE "Content-Length: 5\r\nX: ");
        while (request.size < HEAD_BYTES - 5 + i) {
            put_byte(&request, 'x');
        }
        put_text(&request, "\r\n\r\nhello");
        send_bytes(&stage, &client, request.data, request.size);
        expect_status(&stage, &client, 200);
        await_events(&stage, i, i < 2 ? "hrce" : "hbce");
        bytes_free(&request);
    }
    peer_close(&client);
    stage_close(&stage);
}

/* The greatest of all lengths stands for one that is not known. */
static void test_a_body_without_end_is_refused(void **state)
{
    (void)state;
    struct stage stage;
    stage_open_direct(&stage, REPLY_AT_ROOM);
    for (size_t i = 0; i < 2; i++) {
        struct peer client;
        struct message message;
        peer_connect(&client, stage.port);
        if (i == 1) {
            send_text(&stage, &client, POST_FIVE);
            expect_status(&stage, &client, 200);
        }
        send_text(&stage, &client,
                  WRITE "Content-Length: 18446744073709551615\r\n\r\n" GET_METRICS);
        await(&stage, &client, false, &message);
        assert_int_equal(message_status(&message), 400);
        expect_end(&stage, &client);
        assert_int_equal(stage.count, i);
        peer_close(&client);
    }
    stage_close(&stage);
}

/* -- The gate --------------------------------------------------------------------------------- */

/* Owner: the test. */
struct gate {
    struct server_gate gate;
    char authorization[64]; /* as last asked about; "" for none */
    bool passes;
    size_t asked_on_the_slow_path;
};

static bool passes(void *owner, enum route_id route, const char *authorization)
{
    struct gate *gate = owner;
    assert_int_equal(route, ROUTE_WRITE);
    (void)snprintf(gate->authorization, sizeof(gate->authorization), "%s",
                   authorization != NULL ? authorization : "");
    return gate->passes;
}

static bool on_gate(void *owner, struct exchange *exchange)
{
    struct gate *gate = owner;
    gate->asked_on_the_slow_path++;
    if (!gate->passes) {
        exchange_reply_text(exchange, 401, NULL, "no");
    }
    return gate->passes;
}

static void on_gate_end(void *owner, struct exchange *exchange)
{
    (void)owner;
    (void)exchange;
    fail();
}

static void test_who_does_not_pass_the_gate_takes_the_slow_path(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    struct gate gate = {.passes = true};
    gate.gate = (struct server_gate){
        .owner = &gate, .passes = passes, .on_headers = on_gate, .on_end = on_gate_end};
    stage_open_with(&stage, REPLY_AT_COMPLETE, (struct server_settings){.gate = &gate.gate});
    stage.whole.on_room = on_room;
    stage.whole.on_received = on_received;
    peer_connect(&client, stage.port);
    send_text(&stage, &client, POST_FIVE);
    expect_status(&stage, &client, 200);
    assert_string_equal(gate.authorization, "");
    send_text(&stage, &client,
              WRITE "authorization: \tBasic abc \r\nContent-Length: 5\r\n\r\nhello");
    expect_status(&stage, &client, 200);
    assert_string_equal(gate.authorization, "Basic abc");
    expect_sent_by_the_fast_path(&stage, 0);
    expect_sent_by_the_fast_path(&stage, 1);
    assert_int_equal(gate.asked_on_the_slow_path, 0);

    gate.passes = false;
    send_text(&stage, &client, POST_FIVE);
    expect_status(&stage, &client, 401);
    assert_int_equal(stage.count, 2);
    gate.passes = true;
    send_text(&stage, &client, POST_FIVE);
    expect_status(&stage, &client, 200);
    await_events(&stage, 2, "hbce");
    assert_int_equal(gate.asked_on_the_slow_path, 2);
    peer_close(&client);
    stage_close(&stage);
}

/* -- Replies before the body is whole ---------------------------------------------------------- */

/* At each moment: its body is dropped, the reply follows it, and the connection goes on. */
static void test_an_early_reply_waits_for_the_body(void **state)
{
    (void)state;

    static const struct {
        enum reply_at at;
        const char *events;
    } cases[] = {{REPLY_AT_HEADERS, "he"}, {REPLY_AT_ROOM, "he"}, {REPLY_AT_BODY, "hre"}};

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct stage stage;
        struct peer client;
        struct bytes request = {0};
        stage_open_direct(&stage, cases[i].at);
        stage.room_bytes = 7;
        peer_connect(&client, stage.port);
        put_write(&request, DRAIN_BYTES_MAX);
        for (size_t turn = 0; turn < 3; turn++) {
            size_t first = turn == 2 ? request.size - 1 : 1000;
            send_bytes(&stage, &client, request.data, first);
            expect_still_open(&stage, &client);
            send_bytes(&stage, &client, request.data + first, request.size - first);
            expect_status(&stage, &client, 200);
            await_events(&stage, turn, cases[i].events);
        }
        expect_still_open(&stage, &client);
        bytes_free(&request);
        peer_close(&client);
        stage_close(&stage);
    }
}

/* Given by nobody's callback. */
static void test_a_reply_may_come_in_mid_body(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    struct bytes request = {0};
    stage_open_direct(&stage, REPLY_LATER);
    peer_connect(&client, stage.port);
    put_write(&request, 5000);
    put_text(&request, POST_FIVE);
    send_bytes(&stage, &client, request.data, 2000);
    await_events(&stage, 0, "hr");
    reply_ok(stage.seen[0].exchange);
    expect_still_open(&stage, &client);
    send_bytes(&stage, &client, request.data + 2000, request.size - 2000);
    expect_status(&stage, &client, 200);
    await_events(&stage, 0, "hre");
    await_events(&stage, 1, "hrc");
    reply_no_content(stage.seen[1].exchange);
    expect_status(&stage, &client, 204);
    bytes_free(&request);
    peer_close(&client);
    stage_close(&stage);
}

static void on_headers_no_content(void *owner, struct exchange *exchange)
{
    on_headers(owner, exchange);
    reply_no_content(exchange);
}

/* Too much to be dropped: the reply does not wait, the connection ends with it, and what the client
 * is still sending does not take the reply back. */
static void test_a_large_body_is_refused_at_once(void **state)
{
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct stage stage;
        struct peer client;
        struct message message;
        struct bytes request = {0};
        char text[64];
        stage_open_direct(&stage, i == 0 ? REPLY_AT_HEADERS : REPLY_LATER);
        if (i == 1) {
            stage.whole.on_headers = on_headers_no_content;
        }
        peer_connect(&client, stage.port);
        put_write(&request, DRAIN_BYTES_MAX + 1);
        send_bytes(&stage, &client, request.data, 1000);
        await_events(&stage, 0, "he");
        settle(&stage);
        send_bytes(&stage, &client, request.data + 1000, request.size - 1000);
        assert_false(client.ended);
        await(&stage, &client, false, &message);
        assert_int_equal(message_status(&message), i == 0 ? 200 : 204);
        assert_non_null(message_header(&message, "Connection", text, sizeof(text)));
        assert_string_equal(text, "close");
        send_text(&stage, &client, POST_FIVE); /* in vain */
        expect_end(&stage, &client);
        assert_int_equal(stage.count, 1);
        assert_int_equal(server_connections(stage.server), 1);
        peer_close(&client);
        await_connections(&stage, 0);
        bytes_free(&request);
        stage_close(&stage);
    }
}

/* -- Replies ---------------------------------------------------------------------------------- */

static void reply_large(struct exchange *exchange, size_t bytes)
{
    struct bytes body = {0};
    put_pattern(&body, bytes);
    exchange_reply(exchange, &(struct server_reply){.status = 200,
                                                    .content_type = "text/plain",
                                                    .body = body.data,
                                                    .body_bytes = body.size});
    bytes_free(&body);
}

static void test_a_large_reply_to_a_slow_reader(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    struct message message;
    const size_t bytes = 16 * 1000 * 1000;
    stage_open_direct(&stage, REPLY_LATER);
    peer_connect(&client, stage.port);
    send_text(&stage, &client, POST_FIVE POST_FIVE);
    await_events(&stage, 0, "hrc");
    reply_large(stage.seen[0].exchange, bytes);
    settle(&stage);
    assert_int_equal(stage.count, 1);
    /* What is unread, and whatever else there is to tell, is no reason to try again. */
    uint64_t until_us = clock_now_us() + SEC_US / 20;
    loop_wait(stage.loop, until_us);
    assert_true(clock_now_us() >= until_us);
    assert_true(server_deadline_us(stage.server) > until_us);
    while (!peer_take(&client, false, &message)) {
        assert_false(client.ended);
        peer_receive_some(&client, 100 * 1000);
        turn(&stage);
    }
    struct bytes body = {.data = (uint8_t *)(uintptr_t)message.body, .size = message.body_bytes};
    assert_pattern(&body, bytes);
    await_events(&stage, 0, "hrce");
    await_events(&stage, 1, "hrc");
    reply_ok(stage.seen[1].exchange);
    expect_status(&stage, &client, 200);
    peer_close(&client);
    stage_close(&stage);
}

/* The text that most replies share may be cut anywhere, and be another one before it goes on. */
static void test_the_common_reply_to_a_slow_reader(void **state)
{
    (void)state;
    static char values[2][40001];
    const struct server_header headers[2][2] = {{{"X-Long", values[0]}, {NULL, NULL}},
                                                {{"X-Long", values[1]}, {NULL, NULL}}};
    struct stage stage;
    struct peer client;
    struct message message;
    struct bytes requests = {0};
    size_t replied = 0;
    size_t answered = 0;
    size_t stuck = 0;
    int small = 32 * 1024;
    stage_open_direct(&stage, REPLY_LATER);
    peer_connect(&client, stage.port);
    assert_int_equal(setsockopt(client.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
    memset(values[0], 'x', sizeof(values[0]) - 1);
    memset(values[1], 'y', sizeof(values[1]) - 1);
    server_set_headers(stage.server, headers[0]);
    for (size_t i = 0; i < SEEN_MAX; i++) {
        put_text(&requests, POST_FIVE);
    }
    send_bytes(&stage, &client, requests.data, requests.size);
    while (answered < SEEN_MAX) {
        if (stage.count > replied) {
            reply_no_content(stage.seen[replied++].exchange);
        }
        turn(&stage);
        if (stage.count == replied) { /* until the client takes what is on its way */
            stuck++;
            server_set_headers(stage.server, headers[stuck % 2]);
            peer_receive(&client);
        }
        for (; peer_take(&client, false, &message); answered++) {
            char text[sizeof(values[0])];
            assert_int_equal(message_status(&message), 204);
            assert_memory_equal(message.head, "HTTP/1.1 204 No Content\r\nDate: ", 31);
            assert_non_null(message_header(&message, "X-Long", text, sizeof(text)));
            assert_string_equal(text, values[text[0] == 'y']);
        }
    }
    assert_true(stuck > 2);
    assert_int_equal(peer_unread(&client), 0);
    bytes_free(&requests);
    peer_close(&client);
    stage_close(&stage);
}

static void test_headers_that_each_reply_has(void **state)
{
    (void)state;
    static const struct server_header first[] = {
        {"X-Frame-Options", "deny"}, {"Retry-After", "9"}, {NULL, NULL}};
    static const struct server_header second[] = {{"X-Frame-Options", "sameorigin"}, {NULL, NULL}};
    static const struct server_header own[] = {{"retry-after", "5"}, {NULL, NULL}};
    struct stage stage;
    struct peer client;
    struct message message;
    char text[64];
    stage_open_direct(&stage, REPLY_LATER);
    peer_connect(&client, stage.port);
    for (size_t i = 0; i < 9; i++) {
        server_set_headers(stage.server, i < 3 ? first : i < 6 ? second : NULL);
        send_text(&stage, &client, POST_FIVE);
        await_events(&stage, i, "hrc");
        if (i % 3 == 0) {
            reply_no_content(stage.seen[i].exchange);
        } else {
            exchange_reply_text(stage.seen[i].exchange, 503, i % 3 == 1 ? own : NULL, "later");
        }
        await(&stage, &client, false, &message);
        const char *frame = message_header(&message, "X-Frame-Options", text, sizeof(text));
        if (i < 6) {
            assert_non_null(frame);
            assert_string_equal(frame, i < 3 ? "deny" : "sameorigin");
        } else {
            assert_null(frame);
        }
        const char *after = message_header(&message, "Retry-After", text, sizeof(text));
        assert_int_equal(after == NULL ? 0 : strtoul(after, NULL, 10), i % 3 == 1 ? 5
                                                                       : i < 3    ? 9
                                                                                  : 0);
    }
    peer_close(&client);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_plain_write_takes_the_fast_path),
        cmocka_unit_test(test_no_content_has_no_length),
        cmocka_unit_test(test_a_connection_is_used_many_times),
        cmocka_unit_test(test_a_body_comes_in_pieces),
        cmocka_unit_test(test_a_body_of_many_turns),
        cmocka_unit_test(test_requests_may_be_pipelined),
        cmocka_unit_test(test_one_request_at_a_time),
        cmocka_unit_test(test_requests_without_a_body),
        cmocka_unit_test(test_what_is_not_plain_takes_the_slow_path),
        cmocka_unit_test(test_a_detour_may_be_pipelined),
        cmocka_unit_test(test_a_client_that_asks_first_is_told_to_go_on),
        cmocka_unit_test(test_a_head_may_come_in_two_pieces),
        cmocka_unit_test(test_a_long_head_takes_the_slow_path),
        cmocka_unit_test(test_a_body_without_end_is_refused),
        cmocka_unit_test(test_who_does_not_pass_the_gate_takes_the_slow_path),
        cmocka_unit_test(test_an_early_reply_waits_for_the_body),
        cmocka_unit_test(test_a_reply_may_come_in_mid_body),
        cmocka_unit_test(test_a_large_body_is_refused_at_once),
        cmocka_unit_test(test_a_large_reply_to_a_slow_reader),
        cmocka_unit_test(test_the_common_reply_to_a_slow_reader),
        cmocka_unit_test(test_headers_that_each_reply_has),
    };
    return cmocka_run_group_tests_name("server/server direct", tests, NULL, NULL);
}
