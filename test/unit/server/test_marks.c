/* Marks of addresses, over real sockets: by libmicrohttpd, then on the fast path. */
#include "server_stage.h"

static bool fast_path;

static int take_fast_path(void **state)
{
    (void)state;
    fast_path = true;
    return 0;
}

static void open_either(struct stage *stage)
{
    if (fast_path) {
        stage_open_direct(stage, REPLY_LATER);
    } else {
        stage_open(stage, REPLY_LATER);
    }
}

/* Connect from 127.0.0.host. */
static void connect_from(struct peer *client, const struct stage *stage, unsigned host)
{
    char address[INET_ADDRSTRLEN];
    (void)snprintf(address, sizeof(address), "127.0.0.%u", host);
    peer_connect_from(client, address, stage->port);
}

/* A request, answered; mark: to be set before, unless it is 0. Returns the mark that it came with.
 */
static uint64_t exchange_with(struct stage *stage, struct peer *client, uint64_t mark)
{
    size_t number = stage->count;
    send_text(stage, client, POST_FIVE);
    await_events(stage, number, fast_path ? "hrc" : "hbc");
    struct exchange *exchange = stage->seen[number].exchange;
    uint64_t came_with = exchange_sender_mark_us(exchange);
    if (mark != 0) {
        exchange_mark_sender(exchange, mark);
    }
    reply_no_content(exchange);
    expect_status(stage, client, 204);
    return came_with;
}

/* The same on a connection of its own. */
static uint64_t come_from(struct stage *stage, unsigned host, uint64_t mark)
{
    struct peer client;
    connect_from(&client, stage, host);
    uint64_t came_with = exchange_with(stage, &client, mark);
    peer_close(&client);
    return came_with;
}

static void test_a_sender_that_comes_again_is_known_by_its_address(void **state)
{
    (void)state;
    struct stage stage;
    open_either(&stage);
    assert_true(come_from(&stage, 1, 1000) == 0);
    assert_true(come_from(&stage, 2, 0) == 0);
    assert_true(come_from(&stage, 1, 0) == 1000);
    assert_true(come_from(&stage, 1, 2000) == 1000);
    assert_true(come_from(&stage, 1, 0) == 2000);
    assert_true(come_from(&stage, 2, 0) == 0);
    stage_close(&stage);
}

/* Others may have the same address. */
static void test_a_sender_that_stays_is_known_by_its_connection_alone(void **state)
{
    (void)state;
    struct stage stage;
    struct peer stays;
    open_either(&stage);
    connect_from(&stays, &stage, 1);
    assert_true(exchange_with(&stage, &stays, 0) == 0);
    assert_true(exchange_with(&stage, &stays, 1000) == 0);
    assert_true(exchange_with(&stage, &stays, 0) == 1000);
    assert_true(come_from(&stage, 1, 0) == 0);
    peer_close(&stays);
    stage_close(&stage);
}

/* Nor is it held against a sender that stays for longer than a request. */
static void test_a_mark_of_an_address_is_of_first_requests_alone(void **state)
{
    (void)state;
    struct stage stage;
    struct peer stays;
    open_either(&stage);
    assert_true(come_from(&stage, 1, 1000) == 0);
    connect_from(&stays, &stage, 1);
    assert_true(exchange_with(&stage, &stays, 0) == 1000);
    assert_true(exchange_with(&stage, &stays, 2000) == 0);
    assert_true(exchange_with(&stage, &stays, 0) == 2000);
    assert_true(come_from(&stage, 1, 0) == 1000);
    peer_close(&stays);
    stage_close(&stage);
}

/* A connection that was there before its address was marked is another sender's. */
static void test_a_mark_is_not_of_connections_that_were_there(void **state)
{
    (void)state;
    struct stage stage;
    struct peer stays;
    open_either(&stage);
    connect_from(&stays, &stage, 1);
    await_connections(&stage, 1);
    assert_true(come_from(&stage, 1, 1000) == 0);
    assert_true(exchange_with(&stage, &stays, 0) == 0);
    peer_close(&stays);
    stage_close(&stage);
}

/* On its way from the fast path to libmicrohttpd a connection has replied all the same. */
static void test_a_first_reply_is_the_first_of_either_path(void **state)
{
    (void)state;
    static const char chunked[] = "POST /api/v1/receive HTTP/1.1\r\n" HOST
                                  "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    struct stage stage;
    struct peer stays;
    open_either(&stage);
    connect_from(&stays, &stage, 1);
    assert_true(exchange_with(&stage, &stays, 0) == 0);
    send_text(&stage, &stays, chunked);
    await_events(&stage, 1, "hbc");
    exchange_mark_sender(stage.seen[1].exchange, 1000);
    reply_no_content(stage.seen[1].exchange);
    expect_status(&stage, &stays, 204);
    assert_true(come_from(&stage, 1, 0) == 0);
    peer_close(&stays);
    stage_close(&stage);
}

/* Of more than there is room for, the marks that end first are forgotten. */
static void test_the_marks_that_last_longest_are_kept(void **state)
{
    (void)state;

    enum { ROOM = 64, LATER = 3 };

    struct stage stage;
    open_either(&stage);
    for (unsigned i = 0; i < ROOM; i++) {
        unsigned host = 1 + i * 5 % ROOM; /* in no order of their ends */
        assert_true(come_from(&stage, host, 1000 + host) == 0);
    }
    for (unsigned host = 1; host <= ROOM; host++) { /* each has one place */
        assert_true(come_from(&stage, host, 2000 + host) == 1000 + host);
    }
    for (unsigned host = ROOM + 1; host <= ROOM + LATER; host++) {
        assert_true(come_from(&stage, host, 2000 + host) == 0);
    }
    for (unsigned host = 1; host <= ROOM + LATER; host++) {
        assert_true(come_from(&stage, host, 0) == (host <= LATER ? 0 : 2000 + host));
    }
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_sender_that_comes_again_is_known_by_its_address),
        cmocka_unit_test(test_a_sender_that_stays_is_known_by_its_connection_alone),
        cmocka_unit_test(test_a_mark_of_an_address_is_of_first_requests_alone),
        cmocka_unit_test(test_a_mark_is_not_of_connections_that_were_there),
        cmocka_unit_test(test_a_first_reply_is_the_first_of_either_path),
        cmocka_unit_test(test_the_marks_that_last_longest_are_kept),
    };
    int failed = cmocka_run_group_tests_name("server/marks", tests, NULL, NULL);
    return failed +
           cmocka_run_group_tests_name("server/marks, the fast path", tests, take_fast_path, NULL);
}
