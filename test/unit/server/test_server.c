/* Exchanges: the order of a handler's calls, bodies, replies and when they come. */
#include "server_stage.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

/* -- A request and its reply ------------------------------------------------------------------ */

static void test_a_handler_is_called_in_order(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    struct message message;
    char text[64];
    stage_open(&stage, REPLY_AT_COMPLETE);
    peer_connect(&client, stage.port);

    send_text(&stage, &client, GET_METRICS);
    await(&stage, &client, false, &message);
    assert_int_equal(message_status(&message), 200);
    assert_int_equal(message.body_bytes, 5);
    assert_memory_equal(message.body, "done\n", 5);
    assert_string_equal(message_header(&message, "Content-Type", text, sizeof(text)),
                        "text/plain; charset=utf-8");
    assert_null(message_header(&message, "Connection", text, sizeof(text)));
    await_events(&stage, 0, "hce");
    assert_int_equal(stage.seen[0].route, ROUTE_METRICS);
    assert_int_equal(stage.seen[0].method, ROUTE_METHOD_GET);
    assert_int_equal(stage.seen[0].body_bytes, 0);

    send_text(&stage, &client, POST_FIVE);
    expect_status(&stage, &client, 200);
    await_events(&stage, 1, "hbce");
    assert_int_equal(stage.seen[1].route, ROUTE_WRITE);
    assert_int_equal(stage.seen[1].method, ROUTE_METHOD_POST);
    assert_int_equal(stage.seen[1].body_bytes, 5);
    assert_int_equal(stage.seen[1].body.size, 5);
    assert_memory_equal(stage.seen[1].body.data, "hello", 5);
    peer_close(&client);
    stage_close(&stage);
}

static void test_an_empty_body_is_complete_at_once(void **state)
{
    (void)state;
    static const char *const requests[] = {
        "POST /api/v1/receive HTTP/1.1\r\n" HOST "\r\n",
        "POST /api/v1/receive HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n",
        "POST /api/v1/receive HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    };
    struct stage stage;
    struct peer client;
    stage_open(&stage, REPLY_AT_COMPLETE);
    peer_connect(&client, stage.port);
    for (size_t i = 0; i < COUNT(requests); i++) {
        send_text(&stage, &client, requests[i]);
        expect_status(&stage, &client, 200);
        await_events(&stage, i, "hce");
    }
    peer_close(&client);
    stage_close(&stage);
}

/* What a handler may ask of an exchange, in its first callback. */
static void on_headers_that_asks(void *owner, struct exchange *exchange)
{
    struct stage *stage = owner;
    assert_string_equal(exchange_header(exchange, "X-Scope"), "one");
    assert_string_equal(exchange_header(exchange, "x-scope"), "one");
    assert_string_equal(exchange_header(exchange, "X-SCOPE"), "one");
    assert_null(exchange_header(exchange, "X-Scop"));
    assert_null(exchange_header(exchange, "X-Scope-"));
    assert_true(exchange_started_us(exchange) <= clock_now_us());
    assert_true(exchange_started_us(exchange) + PATIENCE_US > clock_now_us());
    on_headers(stage, exchange);
}

static void test_headers_are_found_in_any_case(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    stage_open(&stage, REPLY_AT_COMPLETE);
    stage.whole.on_headers = on_headers_that_asks;
    peer_connect(&client, stage.port);
    send_text(&stage, &client,
              "GET /metrics HTTP/1.1\r\n" HOST "x-ScOpE:  one\r\nX-Scope: two\r\n\r\n");
    expect_status(&stage, &client, 200);
    peer_close(&client);
    stage_close(&stage);
}

static void test_a_body_comes_whole_whatever_its_pieces(void **state)
{
    (void)state;

    enum { BODY_BYTES = 700 * 1000 };

    struct stage stage;
    struct peer client;
    struct bytes request = {0};
    stage_open(&stage, REPLY_AT_COMPLETE);
    peer_connect(&client, stage.port);

    put_write(&request, BODY_BYTES);
    send_bytes(&stage, &client, request.data, request.size);
    expect_status(&stage, &client, 200);
    await_events(&stage, 0, "hbce");
    assert_int_equal(stage.seen[0].body_bytes, BODY_BYTES);
    assert_pattern(&stage.seen[0].body, BODY_BYTES);

    request.size = 0;
    put_write(&request, 300);
    for (size_t i = 0; i < request.size; i++) {
        send_bytes(&stage, &client, request.data + i, 1);
    }
    expect_status(&stage, &client, 200);
    assert_pattern(&stage.seen[1].body, 300);
    bytes_free(&request);
    peer_close(&client);
    stage_close(&stage);
}

static void test_a_chunked_body_comes_without_its_chunks(void **state)
{
    (void)state;
    static const size_t chunks[] = {1, 7, 4096, 100 * 1000, 300 * 1000};

    enum { BODY_BYTES = 300 * 1000 };

    struct stage stage;
    struct peer client;
    stage_open(&stage, REPLY_AT_COMPLETE);
    peer_connect(&client, stage.port);
    for (size_t i = 0; i < COUNT(chunks); i++) {
        struct bytes request = {0};
        size_t bytes = chunks[i] < 100 ? 1000 : BODY_BYTES;
        put_chunked(&request, bytes, chunks[i]);
        send_bytes(&stage, &client, request.data, request.size);
        expect_status(&stage, &client, 200);
        await_events(&stage, i, "hbce");
        assert_true(stage.seen[i].body_bytes == SERVER_BODY_UNKNOWN);
        assert_pattern(&stage.seen[i].body, bytes);
        bytes_free(&request);
    }
    peer_close(&client);
    stage_close(&stage);
}

/* Its reply says what a whole one may: status, headers, type, a body with any byte. */
static void test_a_reply_arrives_as_it_was_given(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    struct message message;
    char text[64];
    struct bytes body = {0};
    stage_open(&stage, REPLY_LATER);
    peer_connect(&client, stage.port);
    send_text(&stage, &client, GET_METRICS);
    await_events(&stage, 0, "hc");
    put_pattern(&body, 1000 * 1000);
    {
        /* Everything is copied. */
        char name[] = "Retry-After";
        char value[] = "17";
        char type[] = "application/x-something";
        const struct server_header headers[] = {{name, value}, {"X-Second", "2"}, {NULL, NULL}};
        exchange_reply(stage.seen[0].exchange, &(struct server_reply){.status = 503,
                                                                      .content_type = type,
                                                                      .headers = headers,
                                                                      .body = body.data,
                                                                      .body_bytes = body.size});
        memset(name, 'x', sizeof(name) - 1);
        memset(value, 'x', sizeof(value) - 1);
        memset(type, 'x', sizeof(type) - 1);
        memset(body.data, 0, body.size);
    }
    await(&stage, &client, false, &message);
    assert_int_equal(message_status(&message), 503);
    assert_string_equal(message_header(&message, "Retry-After", text, sizeof(text)), "17");
    assert_string_equal(message_header(&message, "X-Second", text, sizeof(text)), "2");
    assert_string_equal(message_header(&message, "Content-Type", text, sizeof(text)),
                        "application/x-something");
    body.size = 0;
    put(&body, message.body, message.body_bytes);
    assert_pattern(&body, 1000 * 1000);
    await_events(&stage, 0, "hce");
    bytes_free(&body);
    peer_close(&client);
    stage_close(&stage);
}

static void test_a_long_line_of_text_is_cut(void **state)
{
    (void)state;
    static char text[5000];
    struct stage stage;
    struct peer client;
    struct message message;
    stage_open(&stage, REPLY_LATER);
    peer_connect(&client, stage.port);
    send_text(&stage, &client, GET_METRICS);
    await_events(&stage, 0, "hc");
    memset(text, 'a', sizeof(text) - 1);
    exchange_reply_text(stage.seen[0].exchange, 400, NULL, text);
    await(&stage, &client, false, &message);
    assert_in_range(message.body_bytes, 256, sizeof(text) - 1);
    for (size_t i = 0; i + 1 < message.body_bytes; i++) {
        assert_int_equal(message.body[i], 'a');
    }
    assert_int_equal(message.body[message.body_bytes - 1], '\n');
    peer_close(&client);
    stage_close(&stage);
}

static void test_head_gets_no_body(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    struct message message;
    stage_open(&stage, REPLY_AT_COMPLETE);
    peer_connect(&client, stage.port);
    send_text(&stage, &client, "HEAD /metrics HTTP/1.1\r\n" HOST "\r\n");
    await(&stage, &client, true, &message);
    assert_int_equal(message_status(&message), 200);
    assert_int_equal(stage.seen[0].method, ROUTE_METHOD_HEAD);
    expect_still_open(&stage, &client);
    peer_close(&client);
    stage_close(&stage);
}

/* -- When the reply comes --------------------------------------------------------------------- */

static void test_a_reply_at_the_headers_lets_the_body_pass(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 1000, DRAIN_BYTES_MAX};
    struct stage stage;
    struct peer client;
    stage_open(&stage, REPLY_AT_HEADERS);
    peer_connect(&client, stage.port);
    size_t count = 0;
    for (size_t i = 0; i < COUNT(sizes); i++) {
        for (unsigned chunked = 0; chunked < 2; chunked++, count++) {
            struct bytes request = {0};
            if (chunked != 0) {
                put_chunked(&request, sizes[i], 10000);
            } else {
                put_write(&request, sizes[i]);
            }
            send_bytes(&stage, &client, request.data, request.size);
            expect_status(&stage, &client, 200);
            await_events(&stage, count, "he");
            bytes_free(&request);
        }
    }
    /* All on one connection: after each body the next request was found. */
    assert_int_equal(server_connections(stage.server), 1);
    assert_int_equal(atomic_load(&stage.metrics.counters[METRIC_CONNECTIONS_ACCEPTED]), 1);
    peer_close(&client);
    stage_close(&stage);
}

static void test_a_reply_amid_the_body_lets_the_rest_pass(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    stage_open(&stage, REPLY_AT_BODY);
    peer_connect(&client, stage.port);
    for (size_t i = 0; i < 4; i++) {
        struct bytes request = {0};
        if (i % 2 != 0) {
            put_chunked(&request, 200 * 1000, 10000);
        } else {
            put_write(&request, 200 * 1000);
        }
        send_bytes(&stage, &client, request.data, request.size);
        expect_status(&stage, &client, 200);
        await_events(&stage, i, "hbe");
        assert_true(stage.seen[i].body.size < 200 * 1000);
        bytes_free(&request);
    }
    assert_int_equal(server_connections(stage.server), 1);
    peer_close(&client);
    stage_close(&stage);
}

/* A declared length that is more than we drain: the reply leaves at once, and the connection goes
 * with it. */
static void test_a_body_too_long_to_drain_is_not_awaited(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    char head[128];
    stage_open(&stage, REPLY_AT_HEADERS);
    peer_connect(&client, stage.port);
    (void)snprintf(head, sizeof(head),
                   "POST /api/v1/receive HTTP/1.1\r\n" HOST "Content-Length: %u\r\n\r\n",
                   DRAIN_BYTES_MAX + 1);
    send_text(&stage, &client, head);
    expect_status(&stage, &client, 200);
    expect_end(&stage, &client);
    await_events(&stage, 0, "he");
    peer_close(&client);
    stage_close(&stage);
}

/* A chunked one shows its length too late for a reply: it is cut off where our patience ends. */
static void test_an_endless_body_is_cut_off(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    struct bytes request = {0};
    stage_open(&stage, REPLY_AT_HEADERS);
    peer_connect(&client, stage.port);
    put_chunked(&request, 20 * DRAIN_BYTES_MAX, 60 * 1000);
    send_bytes(&stage, &client, request.data, request.size); /* or what fits in buffers */
    await_end(&stage, &client);
    await_connections(&stage, 0);
    assert_int_equal(stage.count, 1);
    assert_string_equal(stage.seen[0].events, "hx");
    bytes_free(&request);
    peer_close(&client);
    stage_close(&stage);
}

static void test_a_handler_without_on_body_takes_none(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    stage_open(&stage, REPLY_AT_COMPLETE);
    peer_connect(&client, stage.port);
    send_text(&stage, &client,
              "POST /api/v1/otlp HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello");
    expect_status(&stage, &client, 200);
    await_events(&stage, 0, "hce");
    expect_still_open(&stage, &client);
    peer_close(&client);
    stage_close(&stage);
}

static void test_exchanges_wait_for_their_replies_in_any_order(void **state)
{
    (void)state;

    enum { CLIENTS = 5 };

    static const size_t order[CLIENTS] = {2, 0, 4, 3, 1};
    struct stage stage;
    struct peer clients[CLIENTS];
    stage_open(&stage, REPLY_LATER);
    for (size_t i = 0; i < CLIENTS; i++) {
        peer_connect(&clients[i], stage.port);
        send_text(&stage, &clients[i], POST_FIVE);
        await_events(&stage, i, "hbc");
        assert_int_equal(server_active(stage.server), i + 1);
        assert_int_equal(server_connections(stage.server), i + 1);
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        expect_still_open(&stage, &clients[i]);
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        size_t at = order[i];
        reply_no_content(stage.seen[at].exchange);
        expect_status(&stage, &clients[at], 204);
        await_events(&stage, at, "hbce");
        assert_int_equal(server_active(stage.server), CLIENTS - 1 - i);
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        peer_close(&clients[i]);
    }
    await_connections(&stage, 0);
    stage_close(&stage);
}

/* Neither idle connections nor exchanges that wait ask for turns. */
static void test_waiting_costs_no_turns(void **state)
{
    (void)state;
    struct stage stage;
    struct peer idle;
    struct peer receiving;
    struct peer waiting;
    stage_open(&stage, REPLY_LATER);
    assert_true(server_deadline_us(stage.server) > clock_now_us() + 1000 * 1000);
    peer_connect(&idle, stage.port);
    peer_connect(&receiving, stage.port);
    peer_connect(&waiting, stage.port);
    send_text(&stage, &receiving,
              "POST /api/v1/receive HTTP/1.1\r\n" HOST "Content-Length: 9\r\n\r\nhell");
    send_text(&stage, &waiting, POST_FIVE);
    await_connections(&stage, 3);
    await_events(&stage, 1, "hbc");
    settle(&stage);
    unsigned turns = 0;
    for (uint64_t until_us = clock_now_us() + 100 * 1000; clock_now_us() < until_us; turns++) {
        uint64_t deadline_us = server_deadline_us(stage.server);
        loop_wait(stage.loop, deadline_us < until_us ? deadline_us : until_us);
        server_run(stage.server);
    }
    assert_true(turns < 10);
    peer_close(&idle);
    peer_close(&receiving);
    peer_close(&waiting);
    stage_close(&stage);
}

static void test_a_second_reply_ends_the_program(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    stage_open(&stage, REPLY_LATER);
    peer_connect(&client, stage.port);
    send_text(&stage, &client, GET_METRICS);
    await_events(&stage, 0, "hc");
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        const struct rlimit none = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &none);
        (void)signal(SIGABRT, SIG_DFL);
        close(STDERR_FILENO);
        reply_ok(stage.seen[0].exchange);
        reply_ok(stage.seen[0].exchange);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    peer_close(&client);
    stage_close(&stage);
}

/* -- Expect: 100-continue --------------------------------------------------------------------- */

#define EXPECTING \
    "POST /api/v1/receive HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n"

static void test_a_client_that_asks_first_is_told_to_go_on(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    stage_open(&stage, REPLY_AT_COMPLETE);
    peer_connect(&client, stage.port);
    for (size_t i = 0; i < 2; i++) {
        send_text(&stage, &client, EXPECTING);
        expect_status(&stage, &client, 100);
        assert_string_equal(stage.seen[i].events, "h");
        send_text(&stage, &client, "hello");
        expect_status(&stage, &client, 200);
        await_events(&stage, i, "hbce");
    }
    peer_close(&client);
    stage_close(&stage);
}

/* It hears the refusal in place of the 100, so it need not send the body at all. */
static void test_a_client_that_asks_first_is_refused_without_100(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    stage_open(&stage, REPLY_AT_HEADERS);
    peer_connect(&client, stage.port);
    send_text(&stage, &client, EXPECTING);
    expect_status(&stage, &client, 200);
    await_events(&stage, 0, "he");
    expect_end(&stage, &client); /* for it may send the body or not: the next request is unknown */
    assert_int_equal(stage.count, 1);
    peer_close(&client);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_handler_is_called_in_order),
        cmocka_unit_test(test_an_empty_body_is_complete_at_once),
        cmocka_unit_test(test_headers_are_found_in_any_case),
        cmocka_unit_test(test_a_body_comes_whole_whatever_its_pieces),
        cmocka_unit_test(test_a_chunked_body_comes_without_its_chunks),
        cmocka_unit_test(test_a_reply_arrives_as_it_was_given),
        cmocka_unit_test(test_a_long_line_of_text_is_cut),
        cmocka_unit_test(test_head_gets_no_body),
        cmocka_unit_test(test_a_reply_at_the_headers_lets_the_body_pass),
        cmocka_unit_test(test_a_reply_amid_the_body_lets_the_rest_pass),
        cmocka_unit_test(test_a_body_too_long_to_drain_is_not_awaited),
        cmocka_unit_test(test_an_endless_body_is_cut_off),
        cmocka_unit_test(test_a_handler_without_on_body_takes_none),
        cmocka_unit_test(test_exchanges_wait_for_their_replies_in_any_order),
        cmocka_unit_test(test_waiting_costs_no_turns),
        cmocka_unit_test(test_a_second_reply_ends_the_program),
        cmocka_unit_test(test_a_client_that_asks_first_is_told_to_go_on),
        cmocka_unit_test(test_a_client_that_asks_first_is_refused_without_100),
    };
    return cmocka_run_group_tests_name("server", tests, NULL, NULL);
}
