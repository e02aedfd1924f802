/* The fast path of writes, at its ends: clients that leave, deadlines, a server that stops and one
 * that is freed, with connections in each state. */
#include "passing_time.h"

#include <netinet/tcp.h>
#include <sys/syscall.h>

#define COUNTED(metric) atomic_load(&stage.metrics.counters[METRIC_##metric])

#define HALF_A_POST "POST /api/v1/receive HTTP/1.1\r\n" HOST "Content-Length: 9\r\n\r\nhello"

static bool kernel_is_old; /* and does not tell how much is unread */

int setsockopt(int fd, int level, int option, const void *value, socklen_t bytes)
{
    if (kernel_is_old && level == IPPROTO_TCP && option == TCP_INQ) {
        errno = ENOPROTOOPT;
        return -1;
    }
    return (int)syscall(SYS_setsockopt, fd, level, option, value, bytes);
}

static void expect_closes(struct stage *stage, struct peer *client, unsigned status)
{
    struct message message;
    char text[64];
    await(stage, client, false, &message);
    assert_int_equal(message_status(&message), status);
    assert_non_null(message_header(&message, "Connection", text, sizeof(text)));
    assert_string_equal(text, "close");
    expect_end(stage, client);
}

static void half_close(struct peer *client)
{
    assert_int_equal(shutdown(client->fd, SHUT_WR), 0);
}

static void reply_large(struct exchange *exchange)
{
    struct bytes body = {0};
    put_pattern(&body, 16 * 1000 * 1000); /* more than the kernel takes for it */
    exchange_reply(exchange, &(struct server_reply){.status = 200,
                                                    .content_type = "text/plain",
                                                    .body = body.data,
                                                    .body_bytes = body.size});
    bytes_free(&body);
}

/* -- Clients that leave ----------------------------------------------------------------------- */

static void close_and(struct peer *client, bool reset)
{
    if (reset) {
        peer_reset(client);
    } else {
        peer_close(client);
    }
}

static void test_a_client_that_is_gone_in_mid_body(void **state)
{
    (void)state;
    for (unsigned reset = 0; reset < 2; reset++) {
        struct stage stage;
        struct peer client;
        stage_open_direct(&stage, REPLY_AT_COMPLETE);
        peer_connect(&client, stage.port);
        send_text(&stage, &client, POST_FIVE);
        expect_status(&stage, &client, 200);
        send_text(&stage, &client, HALF_A_POST);
        await_events(&stage, 1, "hr");
        close_and(&client, reset != 0);
        await_events(&stage, 1, "hrx");
        assert_int_equal(server_connections(stage.server), 0);
        stage_close(&stage);
    }
}

/* Its end comes with the last of its bytes, and no event will tell of it again. */
static void test_a_client_that_is_gone_with_its_bytes(void **state)
{
    (void)state;
    static const char *const requests[] = {"",        "POST /api",           HALF_A_POST,
                                           POST_FIVE, POST_FIVE HALF_A_POST, POST_FIVE POST_FIVE};
    for (size_t i = 0; i < 4 * COUNT(requests); i++) {
        struct stage stage;
        struct peer client;
        const char *request = requests[i / 4];
        kernel_is_old = i % 4 >= 2;
        stage_open_direct(&stage, REPLY_AT_COMPLETE);
        peer_connect(&client, stage.port);
        if (i % 2 == 1) { /* on a connection that is in use */
            send_text(&stage, &client, POST_FIVE);
            expect_status(&stage, &client, 200);
        }
        if (request[0] != '\0') {
            assert_int_equal(peer_send_some(&client, request, strlen(request)), strlen(request));
        }
        peer_close(&client);
        await_connections(&stage, 0);
        assert_int_equal(server_active(stage.server), 0);
        stage_close(&stage);
    }
    kernel_is_old = false;
}

static void test_a_kernel_that_tells_nothing_of_what_is_unread(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    struct bytes requests = {0};
    kernel_is_old = true;
    stage_open_direct(&stage, REPLY_AT_COMPLETE);
    peer_connect(&client, stage.port);
    for (size_t i = 0; i < 20; i++) {
        put_write(&requests, 1 + i * i * 1000);
    }
    send_bytes(&stage, &client, requests.data, requests.size);
    for (size_t i = 0; i < 20; i++) {
        expect_status(&stage, &client, 200);
        await_events(&stage, i, "hrce");
        assert_pattern(&stage.seen[i].body, 1 + i * i * 1000);
    }
    bytes_free(&requests);
    peer_close(&client);
    stage_close(&stage);
    kernel_is_old = false;
}

static void test_a_client_that_only_listens_is_answered(void **state)
{
    (void)state;
    for (size_t at_once = 0; at_once < 2; at_once++) {
        struct stage stage;
        struct peer client;
        stage_open_direct(&stage, REPLY_LATER);
        peer_connect(&client, stage.port);
        send_text(&stage, &client, POST_FIVE);
        await_events(&stage, 0, "hrc");
        reply_ok(stage.seen[0].exchange);
        expect_status(&stage, &client, 200);
        if (at_once != 0) {
            assert_int_equal(peer_send_some(&client, POST_FIVE, sizeof(POST_FIVE) - 1),
                             sizeof(POST_FIVE) - 1);
        } else {
            send_text(&stage, &client, POST_FIVE);
            await_events(&stage, 1, "hrc");
        }
        half_close(&client);
        await_events(&stage, 1, "hrc");
        settle(&stage);
        reply_ok(stage.seen[1].exchange);
        expect_status(&stage, &client, 200);
        expect_end(&stage, &client);
        await_events(&stage, 1, "hrce");
        peer_close(&client);
        await_connections(&stage, 0);
        stage_close(&stage);
    }
}

static void test_a_client_that_is_gone_before_its_reply(void **state)
{
    (void)state;
    for (unsigned large = 0; large < 2; large++) {
        struct stage stage;
        struct peer client;
        stage_open_direct(&stage, REPLY_LATER);
        peer_connect(&client, stage.port);
        send_text(&stage, &client, POST_FIVE);
        await_events(&stage, 0, "hrc");
        peer_reset(&client);
        settle(&stage);
        assert_string_equal(stage.seen[0].events, "hrc"); /* it is stored all the same */
        if (large != 0) {
            reply_large(stage.seen[0].exchange);
        } else {
            reply_no_content(stage.seen[0].exchange);
        }
        await_events(&stage, 0, "hrcx");
        await_connections(&stage, 0);
        stage_close(&stage);
    }
}

static void test_a_client_that_is_gone_amid_its_reply(void **state)
{
    (void)state;
    for (unsigned reset = 0; reset < 2; reset++) {
        struct stage stage;
        struct peer client;
        stage_open_direct(&stage, REPLY_LATER);
        peer_connect(&client, stage.port);
        send_text(&stage, &client, POST_FIVE);
        await_events(&stage, 0, "hrc");
        reply_large(stage.seen[0].exchange);
        settle(&stage);
        close_and(&client, reset != 0); /* with something unread that is a reset as well */
        await_events(&stage, 0, "hrcx");
        await_connections(&stage, 0);
        stage_close(&stage);
    }
}

/* Answered already, but its body never comes. */
static void test_a_client_that_is_gone_while_its_body_is_dropped(void **state)
{
    (void)state;
    for (unsigned reset = 0; reset < 2; reset++) {
        struct stage stage;
        struct peer client;
        stage_open_direct(&stage, REPLY_AT_HEADERS);
        peer_connect(&client, stage.port);
        send_text(&stage, &client, HALF_A_POST);
        settle(&stage);
        assert_string_equal(stage.seen[0].events, "h");
        close_and(&client, reset != 0);
        await_events(&stage, 0, "hx");
        await_connections(&stage, 0);
        stage_close(&stage);
    }
}

/* A byte out of band is none of the stream: it neither ends it nor makes anyone spin. */
static void test_a_byte_out_of_band(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    stage_open_direct(&stage, REPLY_AT_COMPLETE);
    peer_connect(&client, stage.port);
    send_text(&stage, &client, HALF_A_POST);
    await_events(&stage, 0, "hr");
    assert_int_equal(send(client.fd, "!", 1, MSG_OOB | MSG_NOSIGNAL), 1);
    settle(&stage);
    assert_true(server_deadline_us(stage.server) > clock_now_us());
    send_text(&stage, &client, "1234" POST_FIVE);
    expect_status(&stage, &client, 200);
    expect_status(&stage, &client, 200);
    assert_memory_equal(stage.seen[0].body.data, "hello1234", 9);
    peer_close(&client);
    stage_close(&stage);
}

/* -- Deadlines -------------------------------------------------------------------------------- */

static void test_a_body_may_take_30_s(void **state)
{
    (void)state;

    static const enum reply_at both[] = {REPLY_AT_COMPLETE, REPLY_AT_HEADERS};

    for (size_t i = 0; i < COUNT(both); i++) {
        struct stage stage;
        struct peer client;
        stage_open_direct(&stage, both[i]);
        peer_connect(&client, stage.port);
        send_text(&stage, &client,
                  "POST /api/v1/receive HTTP/1.1\r\n" HOST "Content-Length: 1000\r\n\r\n");
        await_events(&stage, 0, "h");
        for (unsigned second = 0; second < 28; second++) {
            pass_time(&stage, SEC_US);
            send_text(&stage, &client, "x");
        }
        expect_still_open(&stage, &client);
        pass_time(&stage, 3 * SEC_US);
        expect_end(&stage, &client);
        await_events(&stage, 0, i == 0 ? "hrx" : "hx");
        assert_int_equal(COUNTED(CONNECTIONS_OVERDUE), 1);
        assert_int_equal(server_connections(stage.server), 0);
        peer_close(&client);
        stage_close(&stage);
    }
}

static void test_a_wait_has_no_end_and_a_reply_has_60_s(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    stage_open_direct(&stage, REPLY_LATER);
    peer_connect(&client, stage.port);
    send_text(&stage, &client, POST_FIVE);
    await_events(&stage, 0, "hrc");
    moving_ahead_us += 3600 * SEC_US;
    expect_still_open(&stage, &client);
    reply_large(stage.seen[0].exchange);
    settle(&stage);
    pass_time(&stage, 55 * SEC_US);
    assert_int_equal(server_connections(stage.server), 1);
    pass_time(&stage, 10 * SEC_US);
    await_events(&stage, 0, "hrcx");
    assert_int_equal(COUNTED(CONNECTIONS_OVERDUE), 1);
    peer_close(&client);
    stage_close(&stage);
}

static void test_an_idle_connection_may_rest(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    stage_open_direct(&stage, REPLY_AT_COMPLETE);
    peer_connect(&client, stage.port);
    for (size_t i = 0; i < 2; i++) {
        send_text(&stage, &client, POST_FIVE);
        expect_status(&stage, &client, 200);
        await_events(&stage, i, "hrce");
        pass_time(&stage, 310 * SEC_US);
        expect_still_open(&stage, &client);
    }
    send_text(&stage, &client, POST_FIVE);
    expect_status(&stage, &client, 200);
    pass_time(&stage, 400 * SEC_US);
    expect_end(&stage, &client);
    assert_int_equal(COUNTED(CONNECTIONS_OVERDUE), 0);
    peer_close(&client);
    stage_close(&stage);
}

static void test_a_slow_head_after_a_write(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    stage_open_direct(&stage, REPLY_AT_COMPLETE);
    peer_connect(&client, stage.port);
    send_text(&stage, &client, POST_FIVE);
    expect_status(&stage, &client, 200);
    pass_time(&stage, 60 * SEC_US);
    for (unsigned second = 0; second < 8; second++) {
        send_text(&stage, &client, "P");
        pass_time(&stage, SEC_US);
    }
    expect_still_open(&stage, &client);
    pass_time(&stage, 5 * SEC_US);
    expect_end(&stage, &client);
    assert_int_equal(COUNTED(CONNECTIONS_OVERDUE), 1);
    peer_close(&client);
    stage_close(&stage);
}

/* A client that does not hang up is left after a while. */
static void test_a_leave_takes_2_s(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    stage_open_direct(&stage, REPLY_AT_COMPLETE);
    peer_connect(&client, stage.port);
    send_text(&stage, &client, POST_FIVE);
    expect_status(&stage, &client, 200);
    server_stop_accepting(stage.server);
    send_text(&stage, &client, POST_FIVE);
    expect_closes(&stage, &client, 200);
    assert_int_equal(server_connections(stage.server), 1);
    assert_int_equal(server_active(stage.server), 0);
    pass_time(&stage, SEC_US);
    assert_int_equal(server_connections(stage.server), 1);
    pass_time(&stage, 2 * SEC_US);
    assert_int_equal(server_connections(stage.server), 0);
    peer_close(&client);
    stage_close(&stage);
}

/* -- Stopping --------------------------------------------------------------------------------- */

/* Each reply from now on closes its connection, whatever the connection is at. */
static void test_stopping_closes_each_with_its_reply(void **state)
{
    (void)state;
    struct stage stage;
    struct peer idle;
    struct peer sends;
    struct peer waits[2];
    struct peer is_parked;
    struct peer comes;
    stage_open_direct(&stage, REPLY_LATER);
    peer_connect(&idle, stage.port);
    send_text(&stage, &idle, POST_FIVE);
    await_events(&stage, 0, "hrc");
    reply_ok(stage.seen[0].exchange);
    expect_status(&stage, &idle, 200);
    for (size_t i = 0; i < 2; i++) {
        peer_connect(&waits[i], stage.port);
        send_text(&stage, &waits[i], POST_FIVE POST_FIVE);
        await_events(&stage, 1 + i, "hrc");
    }
    peer_connect(&sends, stage.port);
    send_text(&stage, &sends, HALF_A_POST);
    await_events(&stage, 3, "hr");
    stage.rooms = 0;
    peer_connect(&is_parked, stage.port);
    send_text(&stage, &is_parked, POST_FIVE);
    await_events(&stage, 4, "h");
    peer_connect(&comes, stage.port); /* the kernel has let it in */
    assert_int_equal(peer_send_some(&comes, POST_FIVE, sizeof(POST_FIVE) - 1),
                     sizeof(POST_FIVE) - 1);

    server_stop_accepting(stage.server);
    expect_still_open(&stage, &idle);
    stage.rooms = SIZE_MAX;
    reply_ok(stage.seen[1].exchange);
    expect_closes(&stage, &waits[0], 200);
    reply_no_content(stage.seen[2].exchange);
    expect_closes(&stage, &waits[1], 204);
    send_text(&stage, &sends, "1234");
    await_events(&stage, 3, "hrc");
    reply_no_content(stage.seen[3].exchange);
    expect_closes(&stage, &sends, 204);
    await_events(&stage, 4, "hrc");
    reply_ok(stage.seen[4].exchange);
    expect_closes(&stage, &is_parked, 200);
    await_events(&stage, 5, "hrc");
    reply_ok(stage.seen[5].exchange);
    expect_closes(&stage, &comes, 200);
    expect_still_open(&stage, &idle);
    stage.reply_at = REPLY_AT_COMPLETE;
    send_text(&stage, &idle, POST_FIVE);
    expect_closes(&stage, &idle, 200);
    assert_int_equal(server_active(stage.server), 0);
    assert_int_equal(stage.count, 7); /* the second of those that wait came too late */
    struct peer *all[] = {&idle, &sends, &waits[0], &waits[1], &is_parked, &comes};
    for (size_t i = 0; i < COUNT(all); i++) {
        peer_close(all[i]);
    }
    await_connections(&stage, 0);
    stage_close(&stage);
}

/* Made while the server did not stop, and sent when it does: it is not cut. */
static void test_stopping_leaves_a_reply_that_is_on_its_way(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    struct message message;
    stage_open_direct(&stage, REPLY_LATER);
    peer_connect(&client, stage.port);
    send_text(&stage, &client, POST_FIVE POST_FIVE);
    await_events(&stage, 0, "hrc");
    reply_large(stage.seen[0].exchange);
    settle(&stage);
    server_stop_accepting(stage.server);
    await(&stage, &client, false, &message);
    assert_int_equal(message.body_bytes, 16 * 1000 * 1000);
    await_events(&stage, 1, "hrc");
    reply_no_content(stage.seen[1].exchange);
    expect_closes(&stage, &client, 204);
    peer_close(&client);
    stage_close(&stage);
}

/* -- The end of the server -------------------------------------------------------------------- */

/* stage_close() sees to it that each exchange was ended. */
static void test_a_server_may_end_with_connections_in_each_state(void **state)
{
    (void)state;
    struct stage stage;
    struct peer peers[9];
    size_t count = 0;
    stage_open_direct(&stage, REPLY_LATER);
    for (size_t i = 0; i < COUNT(peers); i++) {
        peer_connect(&peers[i], stage.port);
    }
    await_connections(&stage, COUNT(peers));
    send_text(&stage, &peers[0], POST_FIVE); /* idle */
    await_events(&stage, count, "hrc");
    reply_ok(stage.seen[count++].exchange);
    expect_status(&stage, &peers[0], 200);
    send_text(&stage, &peers[1], HALF_A_POST); /* in its body */
    await_events(&stage, count++, "hr");
    send_text(&stage, &peers[2], POST_FIVE POST_FIVE); /* waiting */
    await_events(&stage, count++, "hrc");
    send_text(&stage, &peers[3], POST_FIVE); /* replying */
    await_events(&stage, count, "hrc");
    reply_large(stage.seen[count++].exchange);
    send_text(&stage, &peers[4], HALF_A_POST); /* replied, its body to be dropped */
    await_events(&stage, count, "hr");
    reply_ok(stage.seen[count++].exchange);
    send_text(&stage, &peers[5], "GET /metrics HTTP/1.0\r\n" HOST "\r\n"); /* on the slow path */
    await_events(&stage, count++, "hc");
    stage.rooms = 0;
    send_text(&stage, &peers[6], POST_FIVE); /* parked */
    await_events(&stage, count++, "h");
    send_text(&stage, &peers[7], POST_FIVE); /* parked, and gone */
    await_events(&stage, count++, "h");
    peer_reset(&peers[7]);
    settle(&stage);
    reply_no_content(stage.seen[2].exchange); /* ready, but had no turn */
    assert_int_equal(peer_send_some(&peers[0], POST_FIVE, sizeof(POST_FIVE) - 1),
                     sizeof(POST_FIVE) - 1);
    loop_wait(stage.loop, clock_now_us() + SEC_US / 10);
    assert_int_equal(stage.count, count);
    stage_close(&stage);
    for (size_t i = 0; i < COUNT(peers); i++) {
        peer_close(&peers[i]);
    }
}

static void test_a_server_may_end_while_one_leaves(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    stage_open_direct(&stage, REPLY_AT_HEADERS);
    peer_connect(&client, stage.port);
    send_text(&stage, &client,
              "POST /api/v1/receive HTTP/1.1\r\n" HOST "Content-Length: 999999\r\n\r\n");
    expect_closes(&stage, &client, 200);
    assert_int_equal(server_connections(stage.server), 1);
    stage_close(&stage);
    peer_close(&client);
}

/* It comes too late: nobody is left who would answer it. */
static void test_a_server_may_end_with_a_request_unread_on_the_slow_path(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    stage_open(&stage, REPLY_LATER);
    peer_connect(&client, stage.port);
    send_text(&stage, &client, GET_METRICS);
    await_events(&stage, 0, "hc");
    reply_ok(stage.seen[0].exchange);
    expect_status(&stage, &client, 200);
    await_events(&stage, 0, "hce");
    assert_int_equal(peer_send_some(&client, GET_METRICS, sizeof(GET_METRICS) - 1),
                     sizeof(GET_METRICS) - 1);
    stage_close(&stage);
    peer_close(&client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_client_that_is_gone_in_mid_body),
        cmocka_unit_test(test_a_client_that_is_gone_with_its_bytes),
        cmocka_unit_test(test_a_kernel_that_tells_nothing_of_what_is_unread),
        cmocka_unit_test(test_a_client_that_only_listens_is_answered),
        cmocka_unit_test(test_a_client_that_is_gone_before_its_reply),
        cmocka_unit_test(test_a_client_that_is_gone_amid_its_reply),
        cmocka_unit_test(test_a_client_that_is_gone_while_its_body_is_dropped),
        cmocka_unit_test(test_a_byte_out_of_band),
        cmocka_unit_test(test_a_body_may_take_30_s),
        cmocka_unit_test(test_a_wait_has_no_end_and_a_reply_has_60_s),
        cmocka_unit_test(test_an_idle_connection_may_rest),
        cmocka_unit_test(test_a_slow_head_after_a_write),
        cmocka_unit_test(test_a_leave_takes_2_s),
        cmocka_unit_test(test_stopping_closes_each_with_its_reply),
        cmocka_unit_test(test_stopping_leaves_a_reply_that_is_on_its_way),
        cmocka_unit_test(test_a_server_may_end_with_connections_in_each_state),
        cmocka_unit_test(test_a_server_may_end_while_one_leaves),
        cmocka_unit_test(test_a_server_may_end_with_a_request_unread_on_the_slow_path),
    };
    return cmocka_run_group_tests_name("server/server direct ends", tests, NULL, NULL);
}
