/* What a connection may take: how many there may be, in all and from one address, and how long each
 * may be about what it does. */
#include "passing_time.h"

#include <netinet/tcp.h>

#define COUNTED(metric) atomic_load(&stage.metrics.counters[METRIC_##metric])
#define RESERVED_MOST   64 /* connections above the limit: some, and not many */

/* Ask for one of the proxy's own pages. */
static void expect_own_page(struct stage *stage, struct peer *client)
{
    send_text(stage, client, "GET /-/healthy HTTP/1.1\r\n" HOST "\r\n");
    expect_status(stage, client, 200);
}

static void open_limited(struct stage *stage, size_t connections_max, size_t per_address_max)
{
    stage_open_with(stage, REPLY_AT_COMPLETE,
                    (struct server_settings){.connections_max = connections_max,
                                             .connections_per_address_max = per_address_max});
}

/* -- How many --------------------------------------------------------------------------------- */

static void test_above_the_limit_only_own_pages_are_served(void **state)
{
    (void)state;
    struct stage stage;
    struct peer clients[3];
    struct peer more;
    struct message message;
    char text[64];
    open_limited(&stage, 3, 100);
    for (size_t i = 0; i < 3; i++) {
        peer_connect(&clients[i], stage.port);
        send_text(&stage, &clients[i], POST_FIVE);
        expect_status(&stage, &clients[i], 200);
    }
    assert_int_equal(COUNTED(REJECTED_CONNECTIONS), 0);

    peer_connect(&more, stage.port);
    send_text(&stage, &more, POST_FIVE);
    await(&stage, &more, false, &message);
    assert_int_equal(message_status(&message), 503);
    assert_string_equal(message_header(&message, "Connection", text, sizeof(text)), "close");
    assert_int_equal(stage.refusal, SERVER_REFUSAL_CONNECTIONS);
    expect_end(&stage, &more);
    peer_close(&more);
    assert_int_equal(COUNTED(REJECTED_CONNECTIONS), 1);

    peer_connect(&more, stage.port);
    expect_own_page(&stage, &more);
    expect_end(&stage, &more);
    peer_close(&more);

    /* Those within the limit are not disturbed; and where one leaves, another may come. */
    send_text(&stage, &clients[0], POST_FIVE);
    expect_status(&stage, &clients[0], 200);
    peer_close(&clients[0]);
    await_connections(&stage, 2);
    peer_connect(&more, stage.port);
    for (unsigned i = 0; i < 2; i++) {
        send_text(&stage, &more, POST_FIVE);
        expect_status(&stage, &more, 200);
    }
    peer_close(&more);
    peer_close(&clients[1]);
    peer_close(&clients[2]);
    await_connections(&stage, 0);
    stage_close(&stage);
}

static void test_one_address_may_not_have_all(void **state)
{
    (void)state;
    struct stage stage;
    struct peer clients[2];
    struct peer same;
    struct peer other;
    open_limited(&stage, 10, 2);
    for (size_t i = 0; i < 2; i++) {
        peer_connect_from(&clients[i], "127.0.0.1", stage.port);
        send_text(&stage, &clients[i], POST_FIVE);
        expect_status(&stage, &clients[i], 200);
    }
    peer_connect_from(&same, "127.0.0.1", stage.port);
    send_text(&stage, &same, POST_FIVE);
    expect_status(&stage, &same, 503);
    peer_connect_from(&other, "127.0.0.2", stage.port);
    send_text(&stage, &other, POST_FIVE);
    expect_status(&stage, &other, 200);
    assert_int_equal(COUNTED(REJECTED_CONNECTIONS), 1);
    peer_close(&clients[0]);
    peer_close(&clients[1]);
    peer_close(&same);
    peer_close(&other);
    stage_close(&stage);
}

/* A flood that asks for nothing, begins to, or for what it is not given: it is bounded, and the
 * proxy's own pages are there all the time. */
static void flood_with(const char *text, bool is_refused)
{
    enum { FLOOD = 300 };

    static struct peer flood[FLOOD];
    struct stage stage;
    open_limited(&stage, 5, 100);
    for (size_t i = 0; i < FLOOD; i++) {
        peer_connect(&flood[i], stage.port);
        assert_int_equal(peer_send_some(&flood[i], text, strlen(text)), strlen(text));
        if (i % 50 == 49) {
            struct peer client;
            if (i % 100 == 49) { /* else it comes together with the flood, as its last */
                settle(&stage);
                assert_in_range(server_connections(stage.server), 5, 5 + RESERVED_MOST);
            }
            peer_connect(&client, stage.port);
            expect_own_page(&stage, &client);
            peer_close(&client);
        }
    }
    for (size_t i = 0; i < FLOOD; i++) {
        peer_close(&flood[i]);
    }
    await_connections(&stage, 0);
    assert_int_equal(stage.refusals > 0, is_refused);
    stage_close(&stage);
}

static void test_a_flood_does_not_shut_out_own_pages(void **state)
{
    (void)state;
    flood_with("", false);
    flood_with("POST /api/v1/receive HTTP/1.1\r\nHo", false);
    flood_with("POST /api/v1/receive HTTP/1.1\r\n" HOST "Content-Length: 1000\r\n\r\n", true);
}

/* -- How long --------------------------------------------------------------------------------- */

/* The server has a turn in time for what it must end. */
static void expect_turn_within(const struct stage *stage, uint64_t us)
{
    assert_true(server_deadline_us(stage->server) <= clock_now_us() + us);
}

static void test_a_head_may_take_10_s(void **state)
{
    (void)state;
    static const char *const starts[] = {"", "G", "GET /metrics HTTP/1.1\r\nHost: a\r\nX: "};
    for (size_t i = 0; i < COUNT(starts); i++) {
        struct stage stage;
        struct peer client;
        open_limited(&stage, 10, 10);
        peer_connect(&client, stage.port);
        await_connections(&stage, 1);
        send_text(&stage, &client, starts[i]);
        settle(&stage);
        expect_turn_within(&stage, 10 * SEC_US);
        for (unsigned second = 0; second < 8; second++) {
            pass_time(&stage, SEC_US);
            if (i > 0) { /* trickling does not help */
                send_text(&stage, &client, "x");
            }
        }
        expect_still_open(&stage, &client);
        pass_time(&stage, 3 * SEC_US);
        expect_end(&stage, &client);
        await_connections(&stage, 0);
        assert_int_equal(COUNTED(CONNECTIONS_OVERDUE), 1);
        assert_int_equal(stage.count, 0);
        peer_close(&client);
        stage_close(&stage);
    }
}

static void test_a_body_may_take_30_s(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    open_limited(&stage, 10, 10);
    peer_connect(&client, stage.port);
    send_text(&stage, &client,
              "POST /api/v1/receive HTTP/1.1\r\n" HOST "Content-Length: 1000\r\n\r\n");
    await_events(&stage, 0, "h");
    for (unsigned second = 0; second < 28; second++) {
        pass_time(&stage, SEC_US);
        send_text(&stage, &client, "x");
    }
    expect_still_open(&stage, &client);
    expect_turn_within(&stage, 10 * SEC_US);
    pass_time(&stage, 3 * SEC_US);
    expect_end(&stage, &client);
    await_events(&stage, 0, "hbx");
    await_connections(&stage, 0);
    assert_int_equal(COUNTED(CONNECTIONS_OVERDUE), 1);
    peer_close(&client);
    stage_close(&stage);
}

/* A handler has its own deadline: the server waits for its reply as long as it takes. */
static void test_a_wait_has_no_end(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    open_limited(&stage, 10, 10);
    stage.reply_at = REPLY_LATER;
    peer_connect(&client, stage.port);
    send_text(&stage, &client, POST_FIVE);
    await_events(&stage, 0, "hbc");
    moving_ahead_us += 3600 * SEC_US;
    expect_still_open(&stage, &client);
    reply_ok(stage.seen[0].exchange);
    expect_status(&stage, &client, 200);
    peer_close(&client);
    stage_close(&stage);
}

static void test_a_reply_that_nobody_takes_has_60_s(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    struct bytes body = {0};
    open_limited(&stage, 10, 10);
    stage.reply_at = REPLY_LATER;
    peer_connect(&client, stage.port);
    send_text(&stage, &client, GET_METRICS);
    await_events(&stage, 0, "hc");
    put_pattern(&body, 16 * 1000 * 1000); /* more than the kernel takes for it */
    exchange_reply(stage.seen[0].exchange, &(struct server_reply){.status = 200,
                                                                  .content_type = "text/plain",
                                                                  .body = body.data,
                                                                  .body_bytes = body.size});
    pass_time(&stage, 55 * SEC_US);
    assert_int_equal(server_connections(stage.server), 1);
    pass_time(&stage, 10 * SEC_US);
    await_events(&stage, 0, "hcx");
    await_connections(&stage, 0);
    bytes_free(&body);
    peer_close(&client);
    stage_close(&stage);
}

/* Between requests a connection may rest for the 5 min after which Prometheus lets go itself. */
static void test_an_idle_connection_may_rest(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    open_limited(&stage, 10, 10);
    peer_connect(&client, stage.port);
    for (unsigned i = 0; i < 2; i++) {
        send_text(&stage, &client, GET_METRICS);
        expect_status(&stage, &client, 200);
        pass_time(&stage, 310 * SEC_US);
        expect_still_open(&stage, &client);
    }
    send_text(&stage, &client, GET_METRICS);
    expect_status(&stage, &client, 200);
    pass_time(&stage, 400 * SEC_US);
    expect_end(&stage, &client);
    await_connections(&stage, 0);
    assert_int_equal(COUNTED(CONNECTIONS_OVERDUE), 0); /* it owed nothing */
    peer_close(&client);
    stage_close(&stage);
}

/* The next head must not trickle in under cover of that rest. */
static void test_a_slow_head_on_a_connection_that_was_idle(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    open_limited(&stage, 10, 10);
    peer_connect(&client, stage.port);
    send_text(&stage, &client, GET_METRICS);
    expect_status(&stage, &client, 200);
    pass_time(&stage, 60 * SEC_US);
    for (unsigned second = 0; second < 45 && !client.ended; second++) {
        (void)peer_send_some(&client, "G", 1);
        pass_time(&stage, SEC_US);
        peer_receive(&client);
    }
    expect_end(&stage, &client);
    await_connections(&stage, 0);
    assert_int_equal(COUNTED(CONNECTIONS_OVERDUE), 1);
    peer_close(&client);
    stage_close(&stage);
}

/* A client that dies within its next request line: of so little libmicrohttpd tells nothing, nor
 * does it see the end. */
static void test_an_end_within_a_request_line_is_seen_within_10_s(void **state)
{
    (void)state;
    int one = 1;
    struct stage stage;
    struct peer client;
    open_limited(&stage, 10, 10);
    peer_connect(&client, stage.port);
    send_text(&stage, &client, GET_METRICS);
    expect_status(&stage, &client, 200);
    assert_int_equal(setsockopt(client.fd, IPPROTO_TCP, TCP_CORK, &one, sizeof(one)), 0);
    assert_int_equal(peer_send_some(&client, "GET /me", 7), 7);
    assert_int_equal(shutdown(client.fd, SHUT_WR), 0);
    pass_time(&stage, 11 * SEC_US);
    assert_int_equal(server_connections(stage.server), 0);
    assert_int_equal(COUNTED(CONNECTIONS_OVERDUE), 0);
    peer_close(&client);
    stage_close(&stage);
}

/* Each request on a connection has its full time. */
static void test_time_begins_anew_with_each_request(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    open_limited(&stage, 10, 10);
    peer_connect(&client, stage.port);
    for (size_t i = 0; i < 10; i++) {
        send_text(&stage, &client, "POST /api/v1/receive HTTP/1.1\r\n");
        pass_time(&stage, 8 * SEC_US);
        send_text(&stage, &client, HOST "Content-Length: 5\r\n\r\nhe");
        await_events(&stage, i, "hb");
        pass_time(&stage, 28 * SEC_US);
        send_text(&stage, &client, "llo");
        expect_status(&stage, &client, 200);
    }
    assert_int_equal(server_connections(stage.server), 1);
    peer_close(&client);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_above_the_limit_only_own_pages_are_served),
        cmocka_unit_test(test_one_address_may_not_have_all),
        cmocka_unit_test(test_a_flood_does_not_shut_out_own_pages),
        cmocka_unit_test(test_a_head_may_take_10_s),
        cmocka_unit_test(test_a_body_may_take_30_s),
        cmocka_unit_test(test_a_wait_has_no_end),
        cmocka_unit_test(test_a_reply_that_nobody_takes_has_60_s),
        cmocka_unit_test(test_an_idle_connection_may_rest),
        cmocka_unit_test(test_a_slow_head_on_a_connection_that_was_idle),
        cmocka_unit_test(test_an_end_within_a_request_line_is_seen_within_10_s),
        cmocka_unit_test(test_time_begins_anew_with_each_request),
    };
    return cmocka_run_group_tests_name("server/server limits", tests, NULL, NULL);
}
