/* Connections: many requests on one, clients that leave, stopping, descriptors that run out. */
#include "server_stage.h"

#include <netinet/tcp.h>
#include <sys/resource.h>

/* -- Connections ------------------------------------------------------------------------------ */

static void test_a_connection_serves_many_requests(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    stage_open(&stage, REPLY_AT_COMPLETE);
    peer_connect(&client, stage.port);
    for (size_t i = 0; i < 50; i++) {
        send_text(&stage, &client, i % 3 == 0 ? GET_METRICS : POST_FIVE);
        expect_status(&stage, &client, 200);
        assert_int_equal(stage.count, i + 1);
        assert_int_equal(server_connections(stage.server), 1);
    }
    assert_int_equal(atomic_load(&stage.metrics.counters[METRIC_CONNECTIONS_ACCEPTED]), 1);
    assert_int_equal(atomic_load(&stage.metrics.gauges[METRIC_CONNECTIONS]), 1);
    peer_close(&client);
    await_connections(&stage, 0);
    assert_int_equal(atomic_load(&stage.metrics.gauges[METRIC_CONNECTIONS]), 0);
    stage_close(&stage);
}

static void test_requests_sent_ahead_are_served_in_order(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    stage_open(&stage, REPLY_LATER);
    peer_connect(&client, stage.port);
    send_text(&stage, &client, POST_FIVE POST_FIVE GET_METRICS);
    for (size_t i = 0; i < 3; i++) {
        await_count(&stage, &stage.count, i + 1);
        settle(&stage);
        assert_int_equal(stage.count, i + 1); /* the next is not begun before the reply */
        assert_string_equal(stage.seen[i].events, i < 2 ? "hbc" : "hc");
        reply_ok(stage.seen[i].exchange);
        expect_status(&stage, &client, 200);
    }
    expect_still_open(&stage, &client);
    peer_close(&client);
    stage_close(&stage);
}

/* Send a text and the end behind it in one segment. */
static void send_last(struct peer *client, const char *text)
{
    int one = 1;
    assert_int_equal(setsockopt(client->fd, IPPROTO_TCP, TCP_CORK, &one, sizeof(one)), 0);
    assert_int_equal(peer_send_some(client, text, strlen(text)), strlen(text));
    assert_int_equal(shutdown(client->fd, SHUT_WR), 0);
}

/* It hears its replies and then, at once, the end. */
static void test_a_client_may_end_with_its_request(void **state)
{
    (void)state;
    static const char *const requests[] = {GET_METRICS, POST_FIVE,
                                           "GET /no HTTP/1.1\r\n" HOST "\r\n",
                                           GET_METRICS POST_FIVE GET_METRICS};
    struct stage stage;
    stage_open(&stage, REPLY_AT_COMPLETE);
    for (size_t i = 0; i < 2 * COUNT(requests); i++) {
        bool first = i < COUNT(requests); /* of its connection, else the second */
        size_t at = i % COUNT(requests);
        struct peer client;
        peer_connect(&client, stage.port);
        if (!first) {
            send_text(&stage, &client, GET_METRICS);
            expect_status(&stage, &client, 200);
        }
        send_last(&client, requests[at]);
        for (size_t replies = at == 3 ? 3 : 1; replies > 0; replies--) {
            expect_status(&stage, &client, at == 2 ? 404 : 200);
        }
        expect_end(&stage, &client);
        await_connections(&stage, 0);
        peer_close(&client);
    }
    stage_close(&stage);
}

static void test_a_client_may_ask_for_the_end(void **state)
{
    (void)state;
    static const char *const requests[] = {
        "GET /metrics HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n",
        "GET /metrics HTTP/1.1\r\n" HOST "Connection: CLOSE\r\n\r\n",
        "GET /metrics HTTP/1.0\r\n\r\n",
        "GET /metrics HTTP/1.0\r\n" HOST "\r\n",
    };
    struct stage stage;
    stage_open(&stage, REPLY_AT_COMPLETE);
    for (size_t i = 0; i < COUNT(requests); i++) {
        struct peer client;
        peer_connect(&client, stage.port);
        send_text(&stage, &client, requests[i]);
        expect_status(&stage, &client, 200);
        expect_end(&stage, &client);
        await_events(&stage, i, "hce");
        peer_close(&client);
    }
    stage_close(&stage);
}

static void test_many_clients_at_once(void **state)
{
    (void)state;

    enum { CLIENTS = 200 }; /* more than are accepted in one turn */

    static struct peer clients[CLIENTS];
    struct stage stage;
    stage_open(&stage, REPLY_LATER);
    for (size_t i = 0; i < CLIENTS; i++) {
        peer_connect(&clients[i], stage.port);
        assert_int_equal(peer_send_some(&clients[i], POST_FIVE, strlen(POST_FIVE)),
                         strlen(POST_FIVE));
    }
    await_count(&stage, &stage.count, CLIENTS);
    for (size_t i = 0; i < CLIENTS; i++) {
        await_events(&stage, i, "hbc");
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        reply_no_content(stage.seen[i].exchange);
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        expect_status(&stage, &clients[i], 204);
        peer_close(&clients[i]);
    }
    await_connections(&stage, 0);
    stage_close(&stage);
}

/* -- Clients that leave ----------------------------------------------------------------------- */

static void test_a_client_gone_amid_its_body(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, REPLY_AT_COMPLETE);
    for (size_t i = 0; i < 4; i++) {
        struct peer client;
        bool chunked = i >= 2;
        peer_connect(&client, stage.port);
        send_text(&stage, &client,
                  chunked ? "POST /api/v1/receive HTTP/1.1\r\n" HOST
                            "Transfer-Encoding: chunked\r\n\r\n9\r\nhell"
                          : "POST /api/v1/receive HTTP/1.1\r\n" HOST
                            "Content-Length: 9\r\n\r\nhell");
        await_events(&stage, i, "hb");
        if (i % 2 == 0) {
            peer_close(&client);
        } else {
            peer_reset(&client);
        }
        await_events(&stage, i, "hbx");
        await_connections(&stage, 0);
        assert_int_equal(server_active(stage.server), 0);
    }
    stage_close(&stage);
}

static void test_a_client_gone_amid_its_head(void **state)
{
    (void)state;
    static const char *const parts[] = {"", "G", "GET /metrics", "GET /metrics HTTP/1.1\r\n",
                                        "GET /metrics HTTP/1.1\r\nHost: a\r\n"};
    struct stage stage;
    stage_open(&stage, REPLY_AT_COMPLETE);
    for (size_t i = 0; i < COUNT(parts); i++) {
        struct peer client;
        peer_connect(&client, stage.port);
        await_connections(&stage, 1);
        send_text(&stage, &client, parts[i]);
        settle(&stage);
        peer_close(&client);
        await_connections(&stage, 0);
        assert_int_equal(server_active(stage.server), 0);
    }
    assert_int_equal(stage.count, 0);
    assert_int_equal(stage.refusals, 0);
    stage_close(&stage);
}

/* The end is there before the first byte is read: libmicrohttpd does not see it by itself. */
static void test_a_client_gone_before_it_was_looked_at(void **state)
{
    (void)state;
    static const char *const parts[] = {
        "GET /metrics HTTP/1.1\r\nHo",
        "POST /api/v1/receive HTTP/1.1\r\n" HOST "Content-Length: 9\r\n\r\nhell",
        "POST /api/v1/receive HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n9\r\nhell",
    };
    struct stage stage;
    stage_open(&stage, REPLY_AT_COMPLETE);
    for (size_t i = 0; i < COUNT(parts); i++) {
        struct peer client;
        uint64_t begin_us = clock_now_us();
        peer_connect(&client, stage.port);
        assert_int_equal(peer_send_some(&client, parts[i], strlen(parts[i])), strlen(parts[i]));
        peer_close(&client);
        settle(&stage);
        await_connections(&stage, 0);
        assert_int_equal(server_active(stage.server), 0);
        assert_true(clock_now_us() - begin_us < 8U * 1000U * 1000U); /* not at its deadline */
    }
    stage_close(&stage);
}

static void test_a_client_gone_before_its_reply(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, REPLY_LATER);
    for (size_t i = 0; i < 2; i++) {
        struct peer client;
        peer_connect(&client, stage.port);
        send_text(&stage, &client, POST_FIVE);
        await_events(&stage, i, "hbc");
        if (i % 2 == 0) {
            peer_close(&client);
        } else {
            peer_reset(&client);
        }
        settle(&stage);
        if (stage.seen[i].exchange != NULL) {
            reply_no_content(stage.seen[i].exchange);
        }
        await_connections(&stage, 0);
        assert_null(stage.seen[i].exchange);
        assert_int_equal(server_active(stage.server), 0);
    }
    stage_close(&stage);
}

static void test_a_client_gone_amid_its_reply(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    struct bytes body = {0};
    stage_open(&stage, REPLY_LATER);
    peer_connect(&client, stage.port);
    send_text(&stage, &client, GET_METRICS);
    await_events(&stage, 0, "hc");
    put_pattern(&body, 16 * 1000 * 1000); /* more than the kernel takes for it */
    exchange_reply(stage.seen[0].exchange, &(struct server_reply){.status = 200,
                                                                  .content_type = "text/plain",
                                                                  .body = body.data,
                                                                  .body_bytes = body.size});
    settle(&stage);
    assert_string_equal(stage.seen[0].events, "hc");
    peer_receive_some(&client, 1000);
    peer_reset(&client);
    await_events(&stage, 0, "hcx");
    await_connections(&stage, 0);
    bytes_free(&body);
    stage_close(&stage);
}

/* -- Stopping --------------------------------------------------------------------------------- */

static void test_stopping_closes_each_connection_with_its_next_reply(void **state)
{
    (void)state;
    struct stage stage;
    struct peer idle;
    struct peer waiting;
    struct message message;
    char text[64];
    stage_open(&stage, REPLY_LATER);
    peer_connect(&idle, stage.port);
    peer_connect(&waiting, stage.port);
    send_text(&stage, &waiting, POST_FIVE);
    await_events(&stage, 0, "hbc");
    await_connections(&stage, 2);

    server_stop_accepting(stage.server);
    server_stop_accepting(stage.server);
    expect_still_open(&stage, &idle);
    assert_int_equal(server_connections(stage.server), 2);
    reply_no_content(stage.seen[0].exchange);
    await(&stage, &waiting, false, &message);
    assert_int_equal(message_status(&message), 204);
    assert_string_equal(message_header(&message, "Connection", text, sizeof(text)), "close");
    expect_end(&stage, &waiting);

    /* One request more is still served on the connection that was idle. */
    send_text(&stage, &idle, GET_METRICS);
    await_events(&stage, 1, "hc");
    reply_ok(stage.seen[1].exchange);
    await(&stage, &idle, false, &message);
    assert_int_equal(message_status(&message), 200);
    assert_string_equal(message_header(&message, "Connection", text, sizeof(text)), "close");
    expect_end(&stage, &idle);
    peer_close(&idle);
    peer_close(&waiting);
    assert_int_equal(server_connections(stage.server), 0);
    assert_int_equal(server_active(stage.server), 0);
    stage_close(&stage);
}

static bool port_answers(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(port),
                                  .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool answers = connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0;
    close(fd);
    return answers;
}

static void test_stopping_serves_those_already_let_in(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    stage_open(&stage, REPLY_AT_COMPLETE);
    peer_connect(&client, stage.port); /* let in by the kernel, not seen by the server yet */
    assert_int_equal(peer_send_some(&client, GET_METRICS, strlen(GET_METRICS)),
                     strlen(GET_METRICS));
    server_stop_accepting(stage.server);
    assert_false(port_answers(stage.port));
    expect_status(&stage, &client, 200);
    expect_end(&stage, &client);
    peer_close(&client);
    stage_close(&stage);
}

static void test_free_ends_every_exchange_without_a_reply(void **state)
{
    (void)state;
    struct stage stage;
    struct peer idle;
    struct peer receiving;
    struct peer waiting;
    struct peer replied;
    stage_open(&stage, REPLY_LATER);
    peer_connect(&idle, stage.port);
    peer_connect(&receiving, stage.port);
    peer_connect(&waiting, stage.port);
    peer_connect(&replied, stage.port);
    send_text(&stage, &receiving,
              "POST /api/v1/receive HTTP/1.1\r\n" HOST "Content-Length: 9\r\n\r\nhell");
    await_events(&stage, 0, "hb");
    send_text(&stage, &waiting, POST_FIVE);
    await_events(&stage, 1, "hbc");
    send_text(&stage, &replied, POST_FIVE);
    await_events(&stage, 2, "hbc");
    await_connections(&stage, 4);
    reply_no_content(stage.seen[2].exchange); /* and the server does not run again */

    server_free(stage.server);
    stage.server = NULL;
    assert_string_equal(stage.seen[0].events, "hbx");
    assert_string_equal(stage.seen[1].events, "hbcx");
    assert_null(stage.seen[2].exchange);
    peer_receive(&idle);
    peer_receive(&receiving);
    peer_receive(&waiting);
    assert_true(idle.ended && receiving.ended && waiting.ended);
    assert_int_equal(idle.in.size + receiving.in.size + waiting.in.size, 0);
    peer_close(&idle);
    peer_close(&receiving);
    peer_close(&waiting);
    peer_close(&replied);
    stage_close(&stage);
}

/* -- Descriptors run out ---------------------------------------------------------------------- */

/* Let no more descriptors be opened; returns what to put back. */
static struct rlimit use_up_descriptors(void)
{
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    int lowest = dup(STDIN_FILENO);
    assert_true(lowest >= 0);
    close(lowest);
    const struct rlimit none = {.rlim_cur = (rlim_t)lowest, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    return before;
}

static void test_without_descriptors_clients_wait(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    stage_open(&stage, REPLY_AT_COMPLETE);
    peer_connect(&client, stage.port);
    assert_int_equal(peer_send_some(&client, GET_METRICS, strlen(GET_METRICS)),
                     strlen(GET_METRICS));
    struct rlimit before = use_up_descriptors();
    unsigned turns = 0;
    for (uint64_t until_us = clock_now_us() + 50 * 1000; clock_now_us() < until_us; turns++) {
        uint64_t deadline_us = server_deadline_us(stage.server);
        loop_wait(stage.loop, deadline_us < until_us ? deadline_us : until_us);
        server_run(stage.server);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(server_connections(stage.server), 0);
    assert_true(turns < 10);
    expect_status(&stage, &client, 200);
    peer_close(&client);
    stage_close(&stage);
}

static void test_stopping_without_descriptors_does_not_spin(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    stage_open(&stage, REPLY_AT_COMPLETE);
    peer_connect(&client, stage.port);
    struct rlimit before = use_up_descriptors();
    turn(&stage);
    server_stop_accepting(stage.server);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    unsigned turns = 0;
    for (uint64_t until_us = clock_now_us() + 300 * 1000; clock_now_us() < until_us; turns++) {
        uint64_t deadline_us = server_deadline_us(stage.server);
        loop_wait(stage.loop, deadline_us < until_us ? deadline_us : until_us);
        server_run(stage.server);
    }
    assert_true(turns < 20);
    peer_close(&client);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_connection_serves_many_requests),
        cmocka_unit_test(test_requests_sent_ahead_are_served_in_order),
        cmocka_unit_test(test_a_client_may_end_with_its_request),
        cmocka_unit_test(test_a_client_may_ask_for_the_end),
        cmocka_unit_test(test_many_clients_at_once),
        cmocka_unit_test(test_a_client_gone_amid_its_body),
        cmocka_unit_test(test_a_client_gone_amid_its_head),
        cmocka_unit_test(test_a_client_gone_before_it_was_looked_at),
        cmocka_unit_test(test_a_client_gone_before_its_reply),
        cmocka_unit_test(test_a_client_gone_amid_its_reply),
        cmocka_unit_test(test_stopping_closes_each_connection_with_its_next_reply),
        cmocka_unit_test(test_stopping_serves_those_already_let_in),
        cmocka_unit_test(test_free_ends_every_exchange_without_a_reply),
        cmocka_unit_test(test_without_descriptors_clients_wait),
        cmocka_unit_test(test_stopping_without_descriptors_does_not_spin),
    };
    return cmocka_run_group_tests_name("server/server connections", tests, NULL, NULL);
}
