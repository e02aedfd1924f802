/* The gate: exchanges that are held before their handler hears of them; and the headers of every
 * reply. */
#include "server_stage.h"

enum says { SAYS_GO_ON, SAYS_HOLD, SAYS_NO };

/* Owner: the test. */
struct gate {
    struct server_gate gate;
    enum says says;
    struct exchange *held; /* the last */
    size_t asked;
    size_t ended;
};

static bool passes(void *owner, enum route_id route, const char *authorization)
{
    (void)owner;
    (void)route;
    (void)authorization;
    return false;
}

static bool on_gate(void *owner, struct exchange *exchange)
{
    struct gate *gate = owner;
    gate->asked++;
    if (gate->says == SAYS_NO) {
        exchange_reply_text(exchange, 401, NULL, "no");
    }
    gate->held = gate->says == SAYS_HOLD ? exchange : NULL;
    return gate->says == SAYS_GO_ON;
}

static void on_gate_end(void *owner, struct exchange *exchange)
{
    struct gate *gate = owner;
    assert_ptr_equal(exchange, gate->held);
    gate->held = NULL;
    gate->ended++;
}

static void open_gate(struct stage *stage, struct gate *gate, enum says says)
{
    *gate = (struct gate){.says = says};
    gate->gate = (struct server_gate){
        .owner = gate, .passes = passes, .on_headers = on_gate, .on_end = on_gate_end};
    stage_open_with(stage, REPLY_AT_COMPLETE, (struct server_settings){.gate = &gate->gate});
}

static void test_an_exchange_that_may_go_on_does(void **state)
{
    (void)state;
    struct stage stage;
    struct gate gate;
    struct peer client;
    open_gate(&stage, &gate, SAYS_GO_ON);
    peer_connect(&client, stage.port);
    send_text(&stage, &client, POST_FIVE);
    expect_status(&stage, &client, 200);
    await_events(&stage, 0, "hbce");
    send_text(&stage, &client, "GET /nowhere HTTP/1.1\r\n" HOST "\r\n");
    expect_status(&stage, &client, 404);
    assert_int_equal(gate.asked, 1); /* not about what has no handler */
    peer_close(&client);
    stage_close(&stage);
}

static void test_a_held_exchange_waits_with_its_body_unread(void **state)
{
    (void)state;
    struct stage stage;
    struct gate gate;
    struct peer client;
    struct bytes request = {0};
    open_gate(&stage, &gate, SAYS_HOLD);
    peer_connect(&client, stage.port);
    put_write(&request, 200000);
    put_text(&request, GET_METRICS);
    peer_send_some(&client, request.data, 1000);
    await_count(&stage, &gate.asked, 1);
    settle(&stage);
    assert_int_equal(stage.count, 0);
    assert_int_equal(server_active(stage.server), 1);

    exchange_admit(gate.held);
    send_bytes(&stage, &client, request.data + 1000, request.size - 1000);
    expect_status(&stage, &client, 200);
    assert_pattern(&stage.seen[0].body, 200000);
    await_events(&stage, 0, "hbce");
    await_count(&stage, &gate.asked, 2);
    exchange_admit(gate.held); /* a bodyless one, behind it on the connection */
    expect_status(&stage, &client, 200);
    await_events(&stage, 1, "hce");
    bytes_free(&request);
    peer_close(&client);
    stage_close(&stage);
}

static void test_a_chunked_body_waits_too(void **state)
{
    (void)state;
    struct stage stage;
    struct gate gate;
    struct peer client;
    struct bytes request = {0};
    open_gate(&stage, &gate, SAYS_HOLD);
    peer_connect(&client, stage.port);
    put_chunked(&request, 5000, 700);
    send_bytes(&stage, &client, request.data, request.size);
    await_count(&stage, &gate.asked, 1);
    settle(&stage);
    exchange_admit(gate.held);
    expect_status(&stage, &client, 200);
    assert_pattern(&stage.seen[0].body, 5000);
    bytes_free(&request);
    peer_close(&client);
    stage_close(&stage);
}

static void test_a_client_that_asks_first_hears_100_when_admitted(void **state)
{
    (void)state;
    struct stage stage;
    struct gate gate;
    struct peer client;
    open_gate(&stage, &gate, SAYS_HOLD);
    peer_connect(&client, stage.port);
    send_text(&stage, &client,
              "POST /api/v1/receive HTTP/1.1\r\n" HOST
              "Content-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    await_count(&stage, &gate.asked, 1);
    expect_still_open(&stage, &client);
    exchange_admit(gate.held);
    expect_status(&stage, &client, 100);
    send_text(&stage, &client, "hello");
    expect_status(&stage, &client, 200);
    peer_close(&client);
    stage_close(&stage);
}

static void test_a_refused_exchange_never_reaches_its_handler(void **state)
{
    (void)state;

    static const enum says both[] = {SAYS_NO, SAYS_HOLD};

    for (size_t i = 0; i < sizeof(both) / sizeof(both[0]); i++) {
        struct stage stage;
        struct gate gate;
        struct peer client;
        open_gate(&stage, &gate, both[i]);
        peer_connect(&client, stage.port);
        send_text(&stage, &client, POST_FIVE);
        if (both[i] == SAYS_HOLD) {
            await_count(&stage, &gate.asked, 1);
            settle(&stage);
            exchange_reply_text(gate.held, 401, NULL, "no");
        }
        expect_status(&stage, &client, 401);
        send_text(&stage, &client, POST_FIVE); /* the connection goes on */
        await_count(&stage, &gate.asked, 2);
        if (both[i] == SAYS_HOLD) {
            exchange_admit(gate.held);
        }
        expect_status(&stage, &client, both[i] == SAYS_HOLD ? 200 : 401);
        assert_int_equal(stage.count, both[i] == SAYS_HOLD ? 1 : 0);
        assert_int_equal(gate.ended, 0);
        peer_close(&client);
        stage_close(&stage);
    }
}

static void test_a_held_exchange_ends_with_the_server(void **state)
{
    (void)state;
    struct stage stage;
    struct gate gate;
    struct peer client;
    open_gate(&stage, &gate, SAYS_HOLD);
    peer_connect(&client, stage.port);
    send_text(&stage, &client, POST_FIVE);
    await_count(&stage, &gate.asked, 1);
    settle(&stage);
    stage_close(&stage);
    assert_int_equal(gate.ended, 1);
    peer_close(&client);
}

static void test_a_client_that_is_watched_and_goes_is_forgotten(void **state)
{
    (void)state;
    struct stage stage;
    struct gate gate;
    struct peer client;
    open_gate(&stage, &gate, SAYS_HOLD);
    stage.whole.watch_client = true;
    peer_connect(&client, stage.port);
    send_text(&stage, &client, POST_FIVE);
    await_count(&stage, &gate.asked, 1);
    settle(&stage);
    peer_close(&client);
    await_count(&stage, &gate.ended, 1);
    assert_int_equal(stage.count, 0);
    stage_close(&stage);
}

static void test_the_peer_is_told(void **state)
{
    (void)state;
    struct stage stage;
    struct gate gate;
    struct peer client;
    char text[SERVER_PEER_BYTES];
    open_gate(&stage, &gate, SAYS_HOLD);
    peer_connect(&client, stage.port);
    send_text(&stage, &client, GET_METRICS);
    await_count(&stage, &gate.asked, 1);
    exchange_print_peer(gate.held, text);
    assert_string_equal(text, "127.0.0.1");
    settle(&stage);
    exchange_admit(gate.held);
    expect_status(&stage, &client, 200);
    peer_close(&client);
    stage_close(&stage);
}

static void test_every_reply_carries_the_headers_that_were_set(void **state)
{
    (void)state;
    static const struct server_header headers[] = {
        {"X-Frame-Options", "deny"}, {"Content-Type", "not/this"}, {NULL, NULL}};
    struct stage stage;
    struct peer client;
    struct message message;
    char text[64];
    stage_open(&stage, REPLY_LATER);
    peer_connect(&client, stage.port);
    send_text(&stage, &client, POST_FIVE);
    await_events(&stage, 0, "hbc");
    reply_no_content(stage.seen[0].exchange); /* given, not yet sent, when they change */
    server_set_headers(stage.server, headers);
    await(&stage, &client, false, &message);
    assert_int_equal(message_status(&message), 204);
    assert_string_equal(message_header(&message, "X-Frame-Options", text, sizeof(text)), "deny");

    send_text(&stage, &client, "GET /nowhere HTTP/1.1\r\n" HOST "\r\n");
    await(&stage, &client, false, &message);
    assert_int_equal(message_status(&message), 404);
    assert_string_equal(message_header(&message, "X-Frame-Options", text, sizeof(text)), "deny");
    assert_string_equal(message_header(&message, "Content-Type", text, sizeof(text)),
                        "text/plain; charset=utf-8");

    server_set_headers(stage.server, NULL);
    send_text(&stage, &client, POST_FIVE);
    await_events(&stage, 1, "hbc");
    reply_no_content(stage.seen[1].exchange);
    await(&stage, &client, false, &message);
    assert_int_equal(message_status(&message), 204);
    assert_null(message_header(&message, "X-Frame-Options", text, sizeof(text)));
    peer_close(&client);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_exchange_that_may_go_on_does),
        cmocka_unit_test(test_a_held_exchange_waits_with_its_body_unread),
        cmocka_unit_test(test_a_chunked_body_waits_too),
        cmocka_unit_test(test_a_client_that_asks_first_hears_100_when_admitted),
        cmocka_unit_test(test_a_refused_exchange_never_reaches_its_handler),
        cmocka_unit_test(test_a_held_exchange_ends_with_the_server),
        cmocka_unit_test(test_a_client_that_is_watched_and_goes_is_forgotten),
        cmocka_unit_test(test_the_peer_is_told),
        cmocka_unit_test(test_every_reply_carries_the_headers_that_were_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
