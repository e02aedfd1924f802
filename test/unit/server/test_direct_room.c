/* The fast path of writes, when there are more than there is room for: bodies wait in the kernel,
 * in order. */
#include "server_stage.h"

#include "moving_clock.h"

/* One connection with one write, of which the server has read the head at most. */
static void park(struct stage *stage, struct peer *client, size_t body_bytes)
{
    struct bytes request = {0};
    size_t heard = stage->count;
    peer_connect(client, stage->port);
    put_write(&request, body_bytes);
    send_bytes(stage, client, request.data, request.size);
    await_events(stage, heard, "h");
    bytes_free(&request);
}

static void test_bodies_wait_in_order(void **state)
{
    (void)state;
    struct stage stage;
    struct peer clients[5];
    stage_open_direct(&stage, REPLY_AT_COMPLETE);
    stage.rooms = 0;
    for (size_t i = 0; i < COUNT(clients); i++) {
        park(&stage, &clients[i], 5000 + i);
    }
    settle(&stage);
    assert_int_equal(server_active(stage.server), COUNT(clients));
    for (size_t i = 0; i < COUNT(clients); i++) {
        stage.rooms = 1;
        turn(&stage);
        await_events(&stage, i, "hrce");
        expect_status(&stage, &clients[i], 200);
        assert_pattern(&stage.seen[i].body, 5000 + i);
        for (size_t later = i + 1; later < COUNT(clients); later++) {
            assert_string_equal(stage.seen[later].events, "h");
        }
    }
    for (size_t i = 0; i < COUNT(clients); i++) { /* and each connection goes on */
        stage.rooms = 1;
        send_text(&stage, &clients[i], POST_FIVE);
        expect_status(&stage, &clients[i], 200);
        peer_close(&clients[i]);
    }
    stage_close(&stage);
}

/* Who comes when there is room again does not go before those who waited for it. */
static void test_nobody_overtakes_those_who_wait(void **state)
{
    (void)state;
    struct stage stage;
    struct peer holds;
    struct peer waits;
    struct peer comes;
    stage_open_direct(&stage, REPLY_LATER);
    stage.rooms = 1;
    peer_connect(&holds, stage.port);
    send_text(&stage, &holds, POST_FIVE);
    await_events(&stage, 0, "hrc");
    park(&stage, &waits, 5);
    peer_connect(&comes, stage.port);
    assert_int_equal(peer_send_some(&comes, POST_FIVE, sizeof(POST_FIVE) - 1),
                     sizeof(POST_FIVE) - 1);
    stage.rooms = 1;
    await_events(&stage, 1, "hrc");
    await_events(&stage, 2, "h");
    for (size_t i = 0; i < 3; i++) {
        stage.rooms = 1;
        await_events(&stage, i, "hrc");
        reply_ok(stage.seen[i].exchange);
    }
    expect_status(&stage, &comes, 200);
    peer_close(&holds);
    peer_close(&waits);
    peer_close(&comes);
    stage_close(&stage);
}

static void on_end_make_room(void *owner, struct exchange *exchange, bool replied)
{
    struct stage *stage = owner;
    stage->rooms++;
    on_end(owner, exchange, replied);
}

/* No event tells of the room that an exchange leaves at its end: in the same turn it is taken, and
 * by the one that waits, not by those who come in that turn. */
static void test_room_that_is_left_is_taken_at_once(void **state)
{
    (void)state;
    struct stage stage;
    struct peer holds;
    struct peer waits;
    struct peer comes;
    stage_open_direct(&stage, REPLY_LATER);
    stage.whole.on_end = on_end_make_room;
    stage.rooms = 1;
    peer_connect(&comes, stage.port); /* last in, but known */
    peer_connect(&holds, stage.port);
    send_text(&stage, &holds,
              "POST /api/v1/receive HTTP/1.1\r\n" HOST "Content-Length: 9\r\n\r\nhello");
    await_events(&stage, 0, "hr");
    park(&stage, &waits, 5);
    settle(&stage);
    peer_close(&holds);
    assert_int_equal(peer_send_some(&comes, POST_FIVE, sizeof(POST_FIVE) - 1),
                     sizeof(POST_FIVE) - 1);
    loop_wait(stage.loop, clock_now_us() + SEC_US / 10);
    server_run(stage.server);
    assert_string_equal(stage.seen[0].events, "hrx");
    assert_string_equal(stage.seen[1].events, "hrc");
    await_events(&stage, 2, "h");
    peer_close(&waits);
    peer_close(&comes);
    stage_close(&stage);
}

static void test_those_who_wait_are_asked_when_they_said(void **state)
{
    (void)state;
    struct stage stage;
    struct peer clients[3];
    stage_open_direct(&stage, REPLY_AT_COMPLETE);
    stage.rooms = 0;
    for (size_t i = 0; i < COUNT(clients); i++) {
        park(&stage, &clients[i], 50000);
        moving_ahead_us += SEC_US;
    }
    moving_ahead_us += ROOM_US - 5 * SEC_US;
    settle(&stage);
    for (size_t i = 0; i < COUNT(clients); i++) {
        assert_string_equal(stage.seen[i].events, "h");
    }
    assert_true(server_deadline_us(stage.server) <= clock_now_us() + 2 * SEC_US + SEC_US / 10);
    for (size_t i = 0; i < COUNT(clients); i++) {
        moving_ahead_us += i == 0 ? 2 * SEC_US : SEC_US;
        expect_status(&stage, &clients[i], 503);
        await_events(&stage, i, "he");
        expect_still_open(&stage, &clients[i]);
    }
    stage.rooms = SIZE_MAX;
    for (size_t i = 0; i < COUNT(clients); i++) {
        send_text(&stage, &clients[i], POST_FIVE);
        expect_status(&stage, &clients[i], 200);
        peer_close(&clients[i]);
    }
    stage_close(&stage);
}

/* Nothing is asked in a spin meanwhile. */
static void test_waiting_costs_nothing(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    stage_open_direct(&stage, REPLY_AT_COMPLETE);
    stage.rooms = 0;
    park(&stage, &client, 50000);
    settle(&stage);
    size_t asked = stage.asked;
    for (unsigned i = 0; i < 10; i++) {
        assert_true(server_deadline_us(stage.server) > clock_now_us());
        turn(&stage);
    }
    assert_in_range(stage.asked - asked, 0, 10); /* once a turn at most */
    peer_close(&client);
    stage_close(&stage);
}

static void test_one_that_waits_may_be_replied_to(void **state)
{
    (void)state;
    struct stage stage;
    struct peer clients[3];
    stage_open_direct(&stage, REPLY_LATER);
    stage.rooms = 0;
    for (size_t i = 0; i < COUNT(clients); i++) {
        park(&stage, &clients[i], 5000);
    }
    for (size_t i = COUNT(clients); i-- > 0;) { /* not in their turn */
        reply_ok(stage.seen[i].exchange);
        expect_status(&stage, &clients[i], 200);
        await_events(&stage, i, "he");
    }
    stage.rooms = SIZE_MAX;
    for (size_t i = 0; i < COUNT(clients); i++) {
        send_text(&stage, &clients[i], POST_FIVE);
        await_events(&stage, COUNT(clients) + i, "hrc");
        peer_close(&clients[i]);
    }
    stage_close(&stage);
}

static void test_clients_that_leave_while_they_wait(void **state)
{
    (void)state;
    struct stage stage;
    struct peer clients[5];
    stage_open_direct(&stage, REPLY_AT_COMPLETE);
    stage.rooms = 0;
    for (size_t i = 0; i < COUNT(clients); i++) {
        park(&stage, &clients[i], 5000);
    }
    peer_reset(&clients[0]);
    peer_close(&clients[1]);
    assert_int_equal(shutdown(clients[2].fd, SHUT_WR), 0);
    peer_reset(&clients[4]);
    settle(&stage);
    stage.rooms = 5;
    await_events(&stage, 2, "hrce"); /* its request is whole, and it listens */
    expect_status(&stage, &clients[2], 200);
    expect_end(&stage, &clients[2]);
    await_events(&stage, 3, "hrce");
    expect_status(&stage, &clients[3], 200);
    await_connections(&stage, 1);
    assert_null(stage.seen[0].exchange);
    assert_null(stage.seen[4].exchange);
    peer_close(&clients[2]);
    peer_close(&clients[3]);
    stage_close(&stage);
}

static void test_nobody_waits_longer_than_a_body_may_take(void **state)
{
    (void)state;
    struct stage stage;
    struct peer clients[2];
    stage_open_direct(&stage, REPLY_LATER);
    stage.rooms = 0;
    for (size_t i = 0; i < COUNT(clients); i++) {
        park(&stage, &clients[i], 5000);
    }
    moving_ahead_us += 31 * SEC_US;
    await_connections(&stage, 0);
    assert_string_equal(stage.seen[0].events, "hx");
    assert_string_equal(stage.seen[1].events, "hx");
    peer_close(&clients[0]);
    peer_close(&clients[1]);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies_wait_in_order),
        cmocka_unit_test(test_nobody_overtakes_those_who_wait),
        cmocka_unit_test(test_room_that_is_left_is_taken_at_once),
        cmocka_unit_test(test_those_who_wait_are_asked_when_they_said),
        cmocka_unit_test(test_waiting_costs_nothing),
        cmocka_unit_test(test_one_that_waits_may_be_replied_to),
        cmocka_unit_test(test_clients_that_leave_while_they_wait),
        cmocka_unit_test(test_nobody_waits_longer_than_a_body_may_take),
    };
    return cmocka_run_group_tests_name("server/server direct room", tests, NULL, NULL);
}
