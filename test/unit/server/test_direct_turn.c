/* The fast path of writes, when there is more than a turn takes in: replies do not wait for it, and
 * a turn takes no more than its share. */
#include "server_stage.h"

#define FIRST_BYTES  (64U * 1024U)   /* of a turn after one that found less to do */
#define TURN_BYTES   (1024U * 1024U) /* of the longest */
#define ROOM_OVER    (128U * 1024U) /* [bytes] by which a turn may overshoot: what one read takes */
#define SENDERS      40
#define SENDER_BYTES (60U * 1000U) /* what the kernel takes for a connection, unread */
#define LONG_BYTES   3500U         /* of a head that is still plain */

/* Owner: the test, by senders_close(). */
struct senders {
    struct peer peers[SENDERS];
    size_t count;
};

/* The kernel holds it all then; the server sees nothing of it before its next turn. */
static void deliver(struct peer *peer, const uint8_t *data, size_t bytes)
{
    uint64_t until_us = clock_now_us() + PATIENCE_US;
    assert_int_equal(peer_send_some(peer, data, bytes), bytes);
    while (peer_unacknowledged(peer) > 0) {
        assert_true(clock_now_us() < until_us);
    }
}

/* Connect so many and deliver the same on each. */
static void senders_open(struct stage *stage, struct senders *senders, size_t count,
                         const struct bytes *request)
{
    assert_true(count <= SENDERS);
    senders->count = count;
    for (size_t i = 0; i < count; i++) {
        peer_connect(&senders->peers[i], stage->port);
        deliver(&senders->peers[i], request->data, request->size);
    }
}

/* The same with one write of SENDER_BYTES on each. */
static void senders_open_writes(struct stage *stage, struct senders *senders, size_t count)
{
    struct bytes request = {0};
    put_write(&request, SENDER_BYTES);
    senders_open(stage, senders, count, &request);
    bytes_free(&request);
}

static void senders_close(struct senders *senders)
{
    for (size_t i = 0; i < senders->count; i++) {
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

/* A turn with what has come until now. */
static void run_first_turn(struct stage *stage)
{
    loop_wait(stage->loop, 0);
    server_run(stage->server);
    assert_in_range(received(stage), FIRST_BYTES, FIRST_BYTES + ROOM_OVER);
}

/* Go on without any event for as long as the server wants to. No turn takes more than its share. */
static void run_while_wanted(struct stage *stage)
{
    for (unsigned turns = 0; server_deadline_us(stage->server) == 0; turns++) {
        size_t before = received(stage);
        assert_true(turns < 1000);
        server_run(stage->server);
        assert_in_range(received(stage) - before, 0, TURN_BYTES + ROOM_OVER);
    }
}

static void test_a_turn_takes_its_share_and_goes_on_without_an_event(void **state)
{
    (void)state;

    static const enum reply_at both[] = {REPLY_AT_COMPLETE, REPLY_LATER};

    for (size_t i = 0; i < COUNT(both); i++) {
        struct stage stage;
        struct senders senders;
        stage_open_direct(&stage, both[i]);
        senders_open_writes(&stage, &senders, SENDERS);
        run_first_turn(&stage);
        run_while_wanted(&stage);
        assert_int_equal(received(&stage), SENDERS * SENDER_BYTES);
        senders_close(&senders);
        stage_close(&stage);
    }
}

/* Whoever came first after a pause does not wait for all who came meanwhile. */
static void test_turns_are_short_at_first_and_grow(void **state)
{
    (void)state;
    struct stage stage;
    stage_open_direct(&stage, REPLY_AT_COMPLETE);
    for (unsigned pause = 0; pause < 2; pause++) {
        struct senders senders;
        size_t before = received(&stage);
        senders_open_writes(&stage, &senders, SENDERS);
        loop_wait(stage.loop, 0);
        for (size_t share = FIRST_BYTES; share <= TURN_BYTES; share *= 4) {
            server_run(stage.server);
            assert_in_range(received(&stage) - before, share, share + ROOM_OVER);
            before = received(&stage);
        }
        run_while_wanted(&stage);
        settle(&stage);
        assert_int_equal(received(&stage), (pause + 1) * SENDERS * SENDER_BYTES);
        senders_close(&senders);
    }
    stage_close(&stage);
}

static void test_those_that_waited_go_on_without_an_event(void **state)
{
    (void)state;

    static const enum reply_at both[] = {REPLY_AT_COMPLETE, REPLY_LATER};

    for (size_t i = 0; i < COUNT(both); i++) {
        struct stage stage;
        struct senders senders;
        stage_open_direct(&stage, both[i]);
        stage.rooms = 0;
        senders_open_writes(&stage, &senders, SENDERS);
        await_count(&stage, &stage.count, SENDERS);
        settle(&stage);
        assert_int_equal(received(&stage), 0);
        stage.rooms = SIZE_MAX;
        run_first_turn(&stage);
        run_while_wanted(&stage);
        assert_int_equal(received(&stage), SENDERS * SENDER_BYTES);
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
    senders_open(&stage, &senders, SENDERS, &requests);
    loop_wait(stage.loop, 0);
    server_run(stage.server);
    assert_in_range(stage.count, 1, (FIRST_BYTES + ROOM_OVER) / LONG_BYTES);
    run_while_wanted(&stage);
    assert_int_equal(stage.count, SENDERS * EACH);
    bytes_free(&requests);
    senders_close(&senders);
    stage_close(&stage);
}

/* Nothing comes any more: the kernel would not tell of it. */
static void test_what_a_full_turn_leaves_of_a_reply_goes_on_without_an_event(void **state)
{
    (void)state;

    enum { LAST = FIRST_BYTES / SENDER_BYTES }; /* makes the turn full */

    struct stage stage;
    struct senders senders;
    stage_open_direct(&stage, REPLY_AT_COMPLETE);
    senders_open_writes(&stage, &senders, LAST + 1);
    run_first_turn(&stage);
    assert_string_equal(stage.seen[LAST - 1].events, "hrce");
    assert_string_equal(stage.seen[LAST].events, "hrc");
    run_while_wanted(&stage);
    assert_string_equal(stage.seen[LAST].events, "hrce");
    senders_close(&senders);
    stage_close(&stage);
}

/* Two requests on one connection, of which the first is known, and then those of many others. */
static void open_with_company(struct stage *stage, struct peer *client, struct senders *senders)
{
    stage_open_direct(stage, REPLY_LATER);
    peer_connect(client, stage->port);
    send_text(stage, client, POST_FIVE POST_FIVE);
    await_events(stage, 0, "hrc");
    senders_open_writes(stage, senders, SENDERS);
    run_first_turn(stage);
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

static size_t count_begun(const struct stage *stage)
{
    size_t begun = 0;
    for (size_t i = 0; i < stage->count; i++) {
        const struct seen *seen = &stage->seen[i];
        begun += seen->body.size > 0 && seen->body.size < seen->body_bytes;
    }
    return begun;
}

/* What is read in part is held and of no use yet. Whether they have waited for room or not. */
static void test_a_body_that_is_begun_is_ended_before_another_begins(void **state)
{
    (void)state;
    for (unsigned waited = 0; waited < 2; waited++) {
        struct stage stage;
        struct senders senders;
        stage_open_direct(&stage, REPLY_AT_COMPLETE);
        stage.room_bytes = 10 * 1000; /* so that turns end amid bodies */
        stage.rooms = waited ? 0 : SIZE_MAX;
        senders_open_writes(&stage, &senders, SENDERS);
        if (waited) {
            await_count(&stage, &stage.count, SENDERS);
            stage.rooms = SIZE_MAX;
        }
        loop_wait(stage.loop, 0);
        server_run(stage.server);
        size_t cut_short = 0;
        while (server_deadline_us(stage.server) == 0) {
            assert_in_range(count_begun(&stage), 0, 1);
            cut_short += count_begun(&stage);
            server_run(stage.server);
        }
        assert_true(cut_short > 0);
        assert_int_equal(received(&stage), SENDERS * SENDER_BYTES);
        senders_close(&senders);
        stage_close(&stage);
    }
}

/* Also when the rest of it comes only after others have come. */
static void test_the_rest_of_a_body_goes_before_what_came_earlier(void **state)
{
    (void)state;
    struct stage stage;
    struct peer client;
    struct senders senders;
    struct bytes request = {0};
    stage_open_direct(&stage, REPLY_AT_COMPLETE);
    peer_connect(&client, stage.port);
    put_write(&request, SENDER_BYTES);
    deliver(&client, request.data, request.size - 1);
    settle(&stage);
    assert_int_equal(count_begun(&stage), 1);
    senders_open_writes(&stage, &senders, SENDERS);
    loop_wait(stage.loop, 0);
    server_run(stage.server);
    deliver(&client, request.data + request.size - 1, 1);
    loop_wait(stage.loop, 0);
    server_run(stage.server);
    assert_int_equal(stage.seen[0].body.size, SENDER_BYTES);
    assert_true(received(&stage) < SENDERS * SENDER_BYTES);
    run_while_wanted(&stage);
    assert_int_equal(received(&stage), (SENDERS + 1) * SENDER_BYTES);
    bytes_free(&request);
    peer_close(&client);
    senders_close(&senders);
    stage_close(&stage);
}

/* The first of its queue is the last as well. */
static void test_one_that_is_cut_short_alone_is_not_lost(void **state)
{
    (void)state;

    enum { BODY = 100 * 1000 }; /* of which a turn takes a part */

    struct stage stage;
    struct peer client;
    struct senders senders;
    struct bytes request = {0};
    stage_open_direct(&stage, REPLY_AT_COMPLETE);
    stage.room_bytes = 10 * 1000;
    peer_connect(&client, stage.port);
    put_write(&request, BODY);
    deliver(&client, request.data, request.size);
    loop_wait(stage.loop, 0);
    server_run(stage.server);
    assert_int_equal(count_begun(&stage), 1);
    senders_open_writes(&stage, &senders, 1);
    loop_wait(stage.loop, 0);
    server_run(stage.server);
    run_while_wanted(&stage);
    assert_int_equal(received(&stage), BODY + SENDER_BYTES);
    bytes_free(&request);
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
    senders_open(&stage, &senders, SENDERS, &requests);
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
        cmocka_unit_test(test_turns_are_short_at_first_and_grow),
        cmocka_unit_test(test_those_that_waited_go_on_without_an_event),
        cmocka_unit_test(test_a_turn_ends_amid_heads_too),
        cmocka_unit_test(test_what_a_full_turn_leaves_of_a_reply_goes_on_without_an_event),
        cmocka_unit_test(test_replies_do_not_wait_for_requests),
        cmocka_unit_test(test_after_a_reply_the_next_request_queues),
        cmocka_unit_test(test_a_body_that_is_begun_is_ended_before_another_begins),
        cmocka_unit_test(test_the_rest_of_a_body_goes_before_what_came_earlier),
        cmocka_unit_test(test_one_that_is_cut_short_alone_is_not_lost),
        cmocka_unit_test(test_requests_of_one_connection_come_one_a_round),
    };
    return cmocka_run_group_tests_name("server/server direct turn", tests, NULL, NULL);
}
