/* The fast path of writes, when there is more than a turn takes in: replies do not wait for it, and
 * a turn takes no more than its share. */
#include "server_stage.h"

#define TURN_BYTES_MIN  (64U * 1024U)
#define TURN_BYTES_MAX  (1024U * 1024U)
#define TURN_BYTES_STEP (4U * 1024U)
#define ROOM_OVER       (128U * 1024U) /* [bytes] by which a turn may overshoot: what one read takes */
#define SENDERS         40
#define SENDER_BYTES    (60U * 1000U) /* what the kernel takes for a connection, unread */
#define LONG_BYTES      3500U         /* of a head that is still plain */

/* Owner: the test, by senders_close(). */
struct senders {
    struct peer peers[SENDERS];
};

static void open_sender(struct stage *stage, struct peer *sender, const struct bytes *request)
{
    peer_connect(sender, stage->port);
    assert_int_equal(peer_send_some(sender, request->data, request->size), request->size);
}

/* Until the kernel holds for the server what was sent. */
static void await_arrival(const struct peer *sender)
{
    uint64_t until_us = clock_now_us() + PATIENCE_US;
    while (peer_unacknowledged(sender) > 0) {
        assert_true(clock_now_us() < until_us);
    }
}

/* Connect them all and send the same on each; the server sees nothing of it before its next turn.
 */
static void senders_open(struct stage *stage, struct senders *senders, const struct bytes *request)
{
    for (size_t i = 0; i < SENDERS; i++) {
        open_sender(stage, &senders->peers[i], request);
    }
    for (size_t i = 0; i < SENDERS; i++) {
        await_arrival(&senders->peers[i]);
    }
}

static void senders_close(struct senders *senders)
{
    for (size_t i = 0; i < SENDERS; i++) {
        peer_close(&senders->peers[i]);
    }
}

static size_t received(const struct stage *stage)
{
    size_t bytes = 0;
    for (size_t i = 0; i < stage->count; i++) {
        bytes += stage->seen[i].body.size;
    }
    return bytes;
}

/* A turn with what has come until now. None before was full, so its share is small. */
static void run_first_turn(struct stage *stage)
{
    loop_wait(stage->loop, 0);
    server_run(stage->server);
    assert_in_range(received(stage), TURN_BYTES_MIN, TURN_BYTES_MIN + ROOM_OVER);
}

/* Go on without any event for as long as the server wants to. No turn takes more than its share. */
static void run_while_wanted(struct stage *stage)
{
    for (unsigned turns = 0; server_deadline_us(stage->server) == 0; turns++) {
        size_t before = received(stage);
        assert_true(turns < 1000);
        server_run(stage->server);
        assert_in_range(received(stage) - before, 0, TURN_BYTES_MAX + ROOM_OVER);
    }
}

static void test_a_turn_takes_its_share_and_goes_on_without_an_event(void **state)
{
    (void)state;

    static const enum reply_at both[] = {REPLY_AT_COMPLETE, REPLY_LATER};

    for (size_t i = 0; i < COUNT(both); i++) {
        struct stage stage;
        struct senders senders;
        struct bytes request = {0};
        stage_open_direct(&stage, both[i]);
        put_write(&request, SENDER_BYTES);
        senders_open(&stage, &senders, &request);
        run_first_turn(&stage);
        run_while_wanted(&stage);
        assert_int_equal(received(&stage), SENDERS * SENDER_BYTES);
        bytes_free(&request);
        senders_close(&senders);
        stage_close(&stage);
    }
}

static void test_those_that_waited_go_on_without_an_event(void **state)
{
    (void)state;

    static const enum reply_at both[] = {REPLY_AT_COMPLETE, REPLY_LATER};

    for (size_t i = 0; i < COUNT(both); i++) {
        struct stage stage;
        struct senders senders;
        struct bytes request = {0};
        stage_open_direct(&stage, both[i]);
        stage.rooms = 0;
        put_write(&request, SENDER_BYTES);
        senders_open(&stage, &senders, &request);
        await_count(&stage, &stage.count, SENDERS);
        settle(&stage);
        assert_int_equal(received(&stage), 0);
        stage.rooms = SIZE_MAX;
        run_first_turn(&stage);
        run_while_wanted(&stage);
        assert_int_equal(received(&stage), SENDERS * SENDER_BYTES);
        bytes_free(&request);
        senders_close(&senders);
        stage_close(&stage);
    }
}

/* Heads are work too: a turn does not go on for as long as tiny requests come. */
static void test_a_turn_ends_amid_heads_too(void **state)
{
    (void)state;

    enum { EACH = 12 };

    struct stage stage;
    struct senders senders;
    struct bytes requests = {0};
    stage_open_direct(&stage, REPLY_AT_COMPLETE);
    for (size_t i = 0; i < EACH; i++) {
        size_t start = requests.size;
        put_text(&requests, "POST /api/v1/receive HTTP/1.1\r\n" HOST "Content-Length: 1\r\nX: ");
        while (requests.size < start + LONG_BYTES) {
            put_byte(&requests, 'x');
        }
        put_text(&requests, "\r\n\r\n1");
    }
    senders_open(&stage, &senders, &requests);
    loop_wait(stage.loop, 0);
    server_run(stage.server);
    assert_in_range(stage.count, 1, (TURN_BYTES_MIN + ROOM_OVER) / LONG_BYTES);
    run_while_wanted(&stage);
    assert_int_equal(stage.count, SENDERS * EACH);
    bytes_free(&requests);
    senders_close(&senders);
    stage_close(&stage);
}

/* Bodies without end: how much of them was read, and where to, again and again. */
struct endless {
    size_t received;
    uint8_t place[16 * 1024];
};

static struct endless *endless_of(void *owner)
{
    return owner;
}

static void ignore_headers(void *owner, struct exchange *exchange)
{
    (void)owner;
    (void)exchange;
}

static uint8_t *on_room_endless(void *owner, struct exchange *exchange, size_t *room,
                                uint64_t *again_us)
{
    (void)exchange;
    (void)again_us;
    *room = sizeof(endless_of(owner)->place);
    return endless_of(owner)->place;
}

static void on_received_endless(void *owner, struct exchange *exchange, size_t bytes)
{
    (void)exchange;
    endless_of(owner)->received += bytes;
}

static void ignore_end(void *owner, struct exchange *exchange, bool replied)
{
    (void)owner;
    (void)exchange;
    (void)replied;
}

/* One turn after some senders have sent that much each, as far as the kernel takes it. Returns how
 * much was taken in. */
static size_t take_turn(struct stage *stage, struct senders *senders, size_t count, size_t bytes,
                        const struct endless *endless)
{
    static const uint8_t rubbish[SENDER_BYTES];
    size_t before = endless->received;
    for (size_t i = 0; i < count; i++) {
        (void)peer_send_some(&senders->peers[i], rubbish, bytes);
    }
    loop_wait(stage->loop, 0);
    server_run(stage->server);
    return endless->received - before;
}

/* Until nothing of what was sent is left. */
static void drain(struct stage *stage, struct senders *senders)
{
    uint64_t until_us = clock_now_us() + PATIENCE_US;
    for (size_t i = 0; i < SENDERS; i++) {
        while (peer_unacknowledged(&senders->peers[i]) > 0) {
            assert_true(clock_now_us() < until_us);
            turn(stage);
        }
    }
    settle(stage);
    run_while_wanted(stage);
}

/* Little after a pause, so that a reply does not wait for all that came with its request; more and
 * more while the worker is never done. */
static void test_turns_grow_while_there_is_more_and_start_small_again(void **state)
{
    (void)state;
    struct stage stage;
    struct senders senders;
    struct endless endless = {.received = 0};
    struct bytes head = {0};
    stage_open(&stage, REPLY_LATER);
    stage.whole = (struct server_handler){.owner = &endless,
                                          .on_headers = ignore_headers,
                                          .on_room = on_room_endless,
                                          .on_received = on_received_endless,
                                          .on_end = ignore_end};
    put_text(&head, "POST /api/v1/receive HTTP/1.1\r\n" HOST "Content-Length: 1000000000\r\n\r\n");
    senders_open(&stage, &senders, &head);
    for (unsigned round = 0; round < 2; round++) {
        drain(&stage, &senders);
        server_run(stage.server);           /* has nothing to do */
        for (unsigned i = 0; i < 20; i++) { /* and these leave nothing */
            assert_true(take_turn(&stage, &senders, 1, 1000, &endless) <= 2000);
        }
        size_t longest = TURN_BYTES_MIN;
        uint64_t until_us = clock_now_us() + PATIENCE_US;
        for (unsigned at_most = 0; at_most < 10;) {
            size_t taken = take_turn(&stage, &senders, SENDERS, SENDER_BYTES, &endless);
            size_t share = longest < TURN_BYTES_MAX ? longest : TURN_BYTES_MAX;
            assert_in_range(taken, 0, share + sizeof(endless.place));
            longest = taken + TURN_BYTES_STEP > longest ? taken + TURN_BYTES_STEP : longest;
            at_most += taken >= TURN_BYTES_MAX;
            assert_true(clock_now_us() < until_us);
        }
    }
    bytes_free(&head);
    senders_close(&senders);
    stage_close(&stage);
}

/* Nothing comes any more: the kernel would not tell of it. */
static void test_what_a_full_turn_leaves_of_a_reply_goes_on_without_an_event(void **state)
{
    (void)state;
    struct stage stage;
    struct peer clients[2]; /* of which the second makes the turn full */
    struct bytes request = {0};
    stage_open_direct(&stage, REPLY_AT_COMPLETE);
    put_write(&request, SENDER_BYTES);
    for (size_t i = 0; i < COUNT(clients); i++) {
        open_sender(&stage, &clients[i], &request);
    }
    await_arrival(&clients[0]);
    await_arrival(&clients[1]);
    run_first_turn(&stage);
    assert_string_equal(stage.seen[0].events, "hrce");
    assert_string_equal(stage.seen[1].events, "hrc");
    run_while_wanted(&stage);
    assert_string_equal(stage.seen[1].events, "hrce");
    bytes_free(&request);
    for (size_t i = 0; i < COUNT(clients); i++) {
        peer_close(&clients[i]);
    }
    stage_close(&stage);
}

/* Two requests on one connection, of which the first is known, and then those of many others. */
static void open_with_company(struct stage *stage, struct peer *client, struct senders *senders)
{
    struct bytes request = {0};
    stage_open_direct(stage, REPLY_LATER);
    peer_connect(client, stage->port);
    send_text(stage, client, POST_FIVE POST_FIVE);
    await_events(stage, 0, "hrc");
    put_write(&request, SENDER_BYTES);
    senders_open(stage, senders, &request);
    run_first_turn(stage);
    bytes_free(&request);
}

static void test_replies_do_not_wait_for_requests(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    struct senders senders;
    open_with_company(&stage, &client, &senders);
    reply_ok(stage.seen[0].exchange);
    server_run(stage.server);
    assert_string_equal(stage.seen[0].events, "hrce");
    assert_true(received(&stage) < SENDERS * SENDER_BYTES);
    run_while_wanted(&stage);
    peer_close(&client);
    senders_close(&senders);
    stage_close(&stage);
}

static void test_after_a_reply_the_next_request_queues(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    struct senders senders;
    open_with_company(&stage, &client, &senders);
    reply_ok(stage.seen[0].exchange);
    run_while_wanted(&stage);
    assert_int_equal(stage.count, SENDERS + 2);
    assert_int_equal(stage.seen[SENDERS + 1].body_bytes, 5);
    peer_close(&client);
    senders_close(&senders);
    stage_close(&stage);
}

/* Those who send many at once get no more turns than those who wait for each reply. */
static void test_requests_of_one_connection_come_one_a_round(void **state)
{
    (void)state;
    struct stage stage;
    struct senders senders;
    struct bytes requests = {0};
    stage_open_direct(&stage, REPLY_AT_COMPLETE);
    for (size_t bytes = 1; bytes <= 3; bytes++) {
        put_write(&requests, bytes);
    }
    senders_open(&stage, &senders, &requests);
    loop_wait(stage.loop, 0);
    server_run(stage.server);
    run_while_wanted(&stage);
    assert_int_equal(stage.count, 3 * SENDERS);
    for (size_t i = 0; i < stage.count; i++) {
        assert_int_equal(stage.seen[i].body_bytes, 1 + i / SENDERS);
    }
    bytes_free(&requests);
    senders_close(&senders);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_turn_takes_its_share_and_goes_on_without_an_event),
        cmocka_unit_test(test_those_that_waited_go_on_without_an_event),
        cmocka_unit_test(test_a_turn_ends_amid_heads_too),
        cmocka_unit_test(test_turns_grow_while_there_is_more_and_start_small_again),
        cmocka_unit_test(test_what_a_full_turn_leaves_of_a_reply_goes_on_without_an_event),
        cmocka_unit_test(test_replies_do_not_wait_for_requests),
        cmocka_unit_test(test_after_a_reply_the_next_request_queues),
        cmocka_unit_test(test_requests_of_one_connection_come_one_a_round),
    };
    return cmocka_run_group_tests_name("server/server direct turn", tests, NULL, NULL);
}
