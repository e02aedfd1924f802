/* Requests that no handler sees, heads that end their connection, and targets as they come. */
#include "server_stage.h"

/* -- Requests that no handler sees ------------------------------------------------------------ */

struct turned_away {
    const char *request;
    unsigned status;
    enum server_refusal refusal;
    const char *allow;
};

static void test_what_no_route_takes_is_turned_away(void **state)
{
    (void)state;
    static const struct turned_away cases[] = {
        {"GET /nothing HTTP/1.1\r\n" HOST "\r\n", 404, SERVER_REFUSAL_NOT_FOUND, ""},
        {"GET / HTTP/1.1\r\n" HOST "\r\n", 404, SERVER_REFUSAL_NOT_FOUND, ""},
        {"GET /metrics/ HTTP/1.1\r\n" HOST "\r\n", 404, SERVER_REFUSAL_NOT_FOUND, ""},
        {"GET /Metrics HTTP/1.1\r\n" HOST "\r\n", 404, SERVER_REFUSAL_NOT_FOUND, ""},
        /* In the table, but without a handler here. */
        {"GET /-/ready HTTP/1.1\r\n" HOST "\r\n", 404, SERVER_REFUSAL_NOT_FOUND, "GET, HEAD"},
        {"POST /nothing HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello", 404,
         SERVER_REFUSAL_NOT_FOUND, ""},
        {"GET /api/v1/receive HTTP/1.1\r\n" HOST "\r\n", 405, SERVER_REFUSAL_METHOD, "POST"},
        {"PUT /api/v1/receive HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello", 405,
         SERVER_REFUSAL_METHOD, "POST"},
        {"post /api/v1/receive HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello", 405,
         SERVER_REFUSAL_METHOD, "POST"},
        {"POST /metrics?x=y HTTP/1.1\r\n" HOST
         "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
         405, SERVER_REFUSAL_METHOD, "GET, HEAD"},
        {"GET /api/v1/%2e%2e/x HTTP/1.1\r\n" HOST "\r\n", 400, SERVER_REFUSAL_BAD_PATH, ""},
        {"GET /api/v1%2freceive HTTP/1.1\r\n" HOST "\r\n", 400, SERVER_REFUSAL_BAD_PATH, ""},
        {"GET //metrics HTTP/1.1\r\n" HOST "\r\n", 400, SERVER_REFUSAL_BAD_PATH, ""},
        {"GET /a/../metrics HTTP/1.1\r\n" HOST "\r\n", 400, SERVER_REFUSAL_BAD_PATH, ""},
        {"OPTIONS * HTTP/1.1\r\n" HOST "\r\n", 400, SERVER_REFUSAL_BAD_PATH, ""},
        {"GET http://proxy/metrics HTTP/1.1\r\n" HOST "\r\n", 400, SERVER_REFUSAL_BAD_PATH, ""},
        {"POST /api/v1/../receive HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello", 400,
         SERVER_REFUSAL_BAD_PATH, ""},
    };
    struct stage stage;
    struct peer client;
    stage_open(&stage, REPLY_AT_COMPLETE);
    peer_connect(&client, stage.port);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct message message;
        char text[64];
        send_text(&stage, &client, cases[i].request);
        await(&stage, &client, false, &message);
        assert_int_equal(message_status(&message), cases[i].status);
        assert_int_equal(stage.refusals, i + 1);
        assert_int_equal(stage.refusal, cases[i].refusal);
        assert_true(strlen(stage.reason) > 0);
        if (cases[i].status == 405) {
            assert_string_equal(message_header(&message, "Allow", text, sizeof(text)),
                                cases[i].allow);
        }
    }
    /* No handler was asked, and the one connection still serves. */
    assert_int_equal(stage.count, 0);
    assert_int_equal(server_active(stage.server), 0);
    send_text(&stage, &client, GET_METRICS);
    expect_status(&stage, &client, 200);
    assert_int_equal(atomic_load(&stage.metrics.counters[METRIC_CONNECTIONS_ACCEPTED]), 1);
    peer_close(&client);
    stage_close(&stage);
}

/* What follows each of these is a request to one reader and a body to another: it is never served,
 * for the connection is closed. */
static void test_an_ambiguous_head_ends_its_connection(void **state)
{
    (void)state;

    static const struct {
        const char *headers;
        const char *reason; /* NULL: the HTTP library may refuse it first, in its own words */
    } cases[] = {
        {"", NULL},
        {"Host:\r\n", "empty Host"},
        {HOST HOST, "repeated Host"},
        {HOST "Content-Length: 5\r\nContent-Length: 5\r\n", "repeated Content-Length"},
        {HOST "Content-Length: 0\r\nContent-Length: 44\r\n", "repeated Content-Length"},
        {HOST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", NULL},
        {HOST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", NULL},
        {HOST "Transfer-Encoding: gzip, chunked\r\n", NULL},
        {HOST "Transfer-Encoding: identity\r\n", NULL},
        {HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", NULL},
        {HOST "Content-Length: +5\r\n", NULL},
        {HOST "Content-Length: 5, 5\r\n", NULL},
        {HOST "Content-Length: 0x5\r\n", NULL},
        {HOST "Content-Length:\r\n", NULL},
        {HOST "Content-Length: -1\r\n", NULL},
        {HOST "Content-Length: 99999999999999999999999\r\n", NULL},
        {HOST "Expect: 200-ok\r\n", "expectation is not 100-continue"},
        {HOST "Na me: x\r\n", NULL},
        {HOST "Name : x\r\n", NULL},
        {HOST "Content-Length : 5\r\n", NULL},
        {HOST "X: a\x01z\r\n", "control character in a header"},
    };

    static const char follower[] =
        "POST /api/v1/receive HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n";
    struct stage stage;
    stage_open(&stage, REPLY_AT_COMPLETE);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct bytes request = {0};
        struct peer client;
        struct message message;
        put_text(&request, "POST /metrics HTTP/1.1\r\n"); /* a request whose meaning is 405 */
        put_text(&request, cases[i].headers);
        put_text(&request, "\r\n");
        put_text(&request, follower);
        peer_connect(&client, stage.port);
        unsigned before = stage.refusals;
        send_bytes(&stage, &client, request.data, request.size);
        await(&stage, &client, false, &message);
        assert_in_range(message_status(&message), 400, 499);
        if (cases[i].reason != NULL) {
            assert_int_equal(stage.refusals, before + 1);
            assert_int_equal(stage.refusal, SERVER_REFUSAL_HTTP);
            assert_string_equal(stage.reason, cases[i].reason);
        }
        await_end(&stage, &client);
        assert_int_equal(stage.count, 0);
        bytes_free(&request);
        peer_close(&client);
    }
    await_connections(&stage, 0);
    assert_int_equal(server_active(stage.server), 0);
    stage_close(&stage);
}

/* -- Targets ---------------------------------------------------------------------------------- */

static void test_a_target_comes_as_it_was_sent(void **state)
{
    (void)state;
    static const char *const targets[] = {
        "/metrics",
        "/metrics?",
        "/metrics?a=b&a=%2f%00+c&&=;",
        "/metrics?a?b/../c//d#e",
    };
    struct stage stage;
    struct peer client;
    stage_open(&stage, REPLY_AT_COMPLETE);
    peer_connect(&client, stage.port);
    for (size_t i = 0; i < COUNT(targets); i++) {
        char request[256];
        (void)snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\n" HOST "\r\n", targets[i]);
        send_text(&stage, &client, request);
        expect_status(&stage, &client, 200);
        assert_string_equal(stage.seen[i].target, targets[i]);
    }
    peer_close(&client);
    stage_close(&stage);
}

static void test_a_target_of_any_length_comes_whole(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    size_t count = 0;
    stage_open(&stage, REPLY_AT_COMPLETE);
    peer_connect(&client, stage.port);
    for (size_t bytes = 10; bytes < 8000; bytes += bytes < 300 ? 1 : 777) {
        struct bytes target = {0};
        struct bytes request = {0};
        put_text(&target, "/metrics?");
        while (target.size < bytes) {
            put_byte(&target, (unsigned)('a' + target.size % 26));
        }
        put_text(&request, "GET ");
        put(&request, target.data, target.size);
        put_text(&request, " HTTP/1.1\r\n" HOST "\r\n");
        send_bytes(&stage, &client, request.data, request.size);
        expect_status(&stage, &client, 200);
        assert_int_equal(strlen(stage.seen[count].target), bytes);
        assert_memory_equal(stage.seen[count].target, target.data, bytes);
        count++;
        bytes_free(&target);
        bytes_free(&request);
    }
    peer_close(&client);
    stage_close(&stage);
}

static void test_a_target_beyond_all_bounds_is_refused(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    struct bytes request = {0};
    stage_open(&stage, REPLY_AT_COMPLETE);
    put_text(&request, "GET /metrics?");
    for (size_t i = 0; i < 1000 * 1000; i++) {
        put_byte(&request, 'a');
    }
    put_text(&request, " HTTP/1.1\r\n" HOST "\r\n");
    peer_connect(&client, stage.port);
    send_bytes(&stage, &client, request.data, request.size);
    await_connections(&stage, 0);
    assert_int_equal(stage.count, 0);
    assert_int_equal(server_active(stage.server), 0);
    bytes_free(&request);
    peer_close(&client);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_no_route_takes_is_turned_away),
        cmocka_unit_test(test_an_ambiguous_head_ends_its_connection),
        cmocka_unit_test(test_a_target_comes_as_it_was_sent),
        cmocka_unit_test(test_a_target_of_any_length_comes_whole),
        cmocka_unit_test(test_a_target_beyond_all_bounds_is_refused),
    };
    return cmocka_run_group_tests_name("server/server refusals", tests, NULL, NULL);
}
