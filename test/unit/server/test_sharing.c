/* Connections that one worker's server accepts and another's serves. */
#include "passing_time.h"

#include "io/handoff.h"

/* Two workers' servers; the first accepts. Owner: the test, by pair_open() and pair_close(). */
struct pair {
    struct handoff *handoff;
    struct stage first, second;
};

static void pair_open_with(struct pair *pair, size_t fill, size_t per_address_max)
{
    struct server_settings settings = {.connections_max = CONNECTIONS_MAX,
                                       .connections_per_address_max = per_address_max};
    pair->handoff =
        handoff_new(2, (struct handoff_limits){
                           .fill = fill, .max = CONNECTIONS_MAX, .per_address = per_address_max});
    assert_non_null(pair->handoff);
    settings.handoff = pair->handoff;
    stage_open_with(&pair->first, REPLY_AT_COMPLETE, settings);
    settings.worker_number = 1;
    stage_open_with(&pair->second, REPLY_AT_COMPLETE, settings);
}

static void pair_open(struct pair *pair)
{
    pair_open_with(pair, 1, CONNECTIONS_MAX);
}

static void pair_close(struct pair *pair)
{
    stage_close(&pair->first);
    stage_close(&pair->second);
    handoff_free(pair->handoff);
}

/* Connect to the first, until it is with the one that is to serve it. */
static void connect_to(struct pair *pair, struct peer *client, struct stage *serves)
{
    size_t before = server_connections(serves->server);
    peer_connect(client, pair->first.port);
    turn(&pair->first);
    await_connections(serves, before + 1);
}

static void test_a_connection_is_served_by_the_worker_whose_turn_it_is(void **state)
{
    (void)state;
    struct pair pair;
    struct peer clients[3];
    pair_open(&pair);
    for (size_t i = 0; i < 3; i++) {
        struct stage *serves = i == 1 ? &pair.second : &pair.first;
        connect_to(&pair, &clients[i], serves);
        for (size_t j = 0; j < 2; j++) {
            send_text(serves, &clients[i], POST_FIVE);
            expect_status(serves, &clients[i], 200);
        }
    }
    assert_int_equal(pair.first.count, 4);
    assert_int_equal(pair.second.count, 2);
    assert_int_equal(atomic_load(&pair.second.metrics.counters[METRIC_CONNECTIONS_ACCEPTED]), 1);
    char address[SERVER_PEER_BYTES];
    pair.second.reply_at = REPLY_LATER;
    send_text(&pair.second, &clients[1], POST_FIVE);
    await_events(&pair.second, 2, "hbc");
    exchange_print_peer(pair.second.seen[2].exchange, address);
    assert_string_equal(address, "127.0.0.1");
    for (size_t i = 0; i < 3; i++) {
        peer_close(&clients[i]);
    }
    pair_close(&pair);
}

static void test_one_that_ends_is_followed_by_the_next(void **state)
{
    (void)state;
    struct pair pair;
    struct peer stays;
    pair_open(&pair);
    connect_to(&pair, &stays, &pair.first);
    for (size_t i = 0; i < 5; i++) {
        struct peer client;
        connect_to(&pair, &client, &pair.second);
        peer_close(&client);
        await_connections(&pair.second, 0);
    }
    peer_close(&stays);
    await_connections(&pair.first, 0);
    connect_to(&pair, &stays, &pair.first);
    peer_close(&stays);
    pair_close(&pair);
}

/* Whatever path its requests take, and however it ends. */
static void test_each_end_is_counted_once(void **state)
{
    (void)state;
    static const char *const texts[] = {
        POST_FIVE, "POST /api/v1/receive HTTP/1.1\r\n" HOST
                   "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"};
    struct pair pair;
    struct peer stays;
    struct peer client;
    pair_open(&pair);
    connect_to(&pair, &stays, &pair.first);
    for (size_t i = 0; i < 2 * COUNT(texts); i++) {
        connect_to(&pair, &client, &pair.second);
        send_text(&pair.second, &client, texts[i % 2]);
        expect_status(&pair.second, &client, 200);
        if (i < COUNT(texts)) {
            peer_close(&client);
        } else {
            peer_reset(&client);
        }
        await_connections(&pair.second, 0);
    }
    peer_close(&stays);
    await_connections(&pair.first, 0);
    struct peer last[2]; /* as at first: one for each */
    connect_to(&pair, &last[0], &pair.first);
    connect_to(&pair, &last[1], &pair.second);
    peer_close(&last[0]);
    peer_close(&last[1]);
    pair_close(&pair);
}

/* No more at once than can be heard before they have to go for others. */
static void test_those_above_a_limit_are_taken_in_small_groups(void **state)
{
    (void)state;

    enum { CLIENTS = 60, RESERVED_MAX = 16 };

    struct pair pair;
    struct peer clients[2 * CLIENTS];
    pair_open_with(&pair, 0, 1);
    for (size_t i = 0; i < 2 * CLIENTS; i++) {
        peer_connect(&clients[i], pair.first.port);
        turn(&pair.first);
    }
    turn(&pair.second);
    assert_int_equal(server_connections(pair.second.server), 1 + RESERVED_MAX);
    assert_true(handoff_waits(pair.handoff, 1)); /* else some have gone for others unheard */
    assert_true(server_deadline_us(pair.second.server) <= clock_now_us()); /* as who accepts */
    uint64_t until_us = clock_now_us() + PATIENCE_US;
    while (handoff_waits(pair.handoff, 1)) {
        assert_true(clock_now_us() < until_us);
        turn(&pair.second);
        assert_in_range(server_connections(pair.second.server), 1, 1 + 2 * RESERVED_MAX);
        assert_true(!handoff_waits(pair.handoff, 1) ||
                    server_deadline_us(pair.second.server) <= clock_now_us() + SEC_US / 10);
    }
    for (size_t i = 0; i < 2 * CLIENTS; i++) {
        peer_close(&clients[i]);
    }
    pair_close(&pair);
}

static void test_a_server_that_is_busy_is_not_filled_further(void **state)
{
    (void)state;
    struct pair pair;
    struct peer clients[4];
    pair_open_with(&pair, 10, CONNECTIONS_MAX);
    connect_to(&pair, &clients[0], &pair.first);
    moving_ahead_us += 2 * SEC_US;
    thread_cpu_us += SEC_US - 1000;
    turn(&pair.first);
    connect_to(&pair, &clients[1], &pair.first);
    moving_ahead_us += 2 * SEC_US;
    thread_cpu_us += 2 * SEC_US;
    turn(&pair.first);
    connect_to(&pair, &clients[2], &pair.second);
    moving_ahead_us += 2 * SEC_US; /* asleep since, and looks before it accepts */
    connect_to(&pair, &clients[3], &pair.first);
    for (size_t i = 0; i < 4; i++) {
        peer_close(&clients[i]);
    }
    pair_close(&pair);
}

/* Else it would be taken for busy for as long as nothing happens to it. */
static void test_a_busy_server_looks_again_though_it_sleeps(void **state)
{
    (void)state;
    struct pair pair;
    struct peer clients[2];
    pair_open_with(&pair, 1, CONNECTIONS_MAX);
    connect_to(&pair, &clients[0], &pair.first);
    connect_to(&pair, &clients[1], &pair.second);
    peer_close(&clients[1]);
    await_connections(&pair.second, 0);
    assert_int_equal(server_deadline_us(pair.second.server), LOOP_NEVER);
    moving_ahead_us += 2 * SEC_US;
    thread_cpu_us += 2 * SEC_US;
    server_run(pair.second.server);
    assert_int_equal(atomic_load(&pair.second.metrics.gauges[METRIC_WORKERS_BUSY]), 1);
    assert_true(server_deadline_us(pair.second.server) <= clock_now_us() + SEC_US);
    moving_ahead_us += SEC_US;
    server_run(pair.second.server);
    assert_int_equal(atomic_load(&pair.second.metrics.gauges[METRIC_WORKERS_BUSY]), 0);
    assert_int_equal(server_deadline_us(pair.second.server), LOOP_NEVER);
    peer_close(&clients[0]);
    pair_close(&pair);
}

static void test_a_stopped_server_serves_what_it_was_given_and_gets_no_more(void **state)
{
    (void)state;
    struct pair pair;
    struct peer clients[3];
    pair_open(&pair);
    connect_to(&pair, &clients[0], &pair.first);
    peer_connect(&clients[1], pair.first.port);
    settle(&pair.first); /* on its way */
    assert_int_equal(server_connections(pair.second.server), 0);
    server_stop_accepting(pair.second.server);
    assert_int_equal(server_connections(pair.second.server), 1);
    send_text(&pair.second, &clients[1], POST_FIVE);
    expect_status(&pair.second, &clients[1], 200);
    expect_end(&pair.second, &clients[1]);
    connect_to(&pair, &clients[2], &pair.first);
    send_text(&pair.first, &clients[2], POST_FIVE);
    expect_status(&pair.first, &clients[2], 200);
    for (size_t i = 0; i < 3; i++) {
        peer_close(&clients[i]);
    }
    pair_close(&pair);
}

/* With its server, not with the last of all. */
static void test_one_that_its_server_has_not_taken_ends_with_it(void **state)
{
    (void)state;
    struct pair pair;
    struct peer clients[3];
    pair_open(&pair);
    connect_to(&pair, &clients[0], &pair.first);
    peer_connect(&clients[1], pair.first.port);
    settle(&pair.first);
    assert_true(handoff_waits(pair.handoff, 1));
    stage_close(&pair.second);
    peer_receive(&clients[1]);
    assert_true(clients[1].ended);
    connect_to(&pair, &clients[2], &pair.first);
    for (size_t i = 0; i < 3; i++) {
        peer_close(&clients[i]);
    }
    stage_close(&pair.first);
    handoff_free(pair.handoff);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_connection_is_served_by_the_worker_whose_turn_it_is),
        cmocka_unit_test(test_one_that_ends_is_followed_by_the_next),
        cmocka_unit_test(test_each_end_is_counted_once),
        cmocka_unit_test(test_those_above_a_limit_are_taken_in_small_groups),
        cmocka_unit_test(test_a_server_that_is_busy_is_not_filled_further),
        cmocka_unit_test(test_a_busy_server_looks_again_though_it_sleeps),
        cmocka_unit_test(test_a_stopped_server_serves_what_it_was_given_and_gets_no_more),
        cmocka_unit_test(test_one_that_its_server_has_not_taken_ends_with_it),
    };
    return cmocka_run_group_tests_name("server/server sharing", tests, NULL, NULL);
}
