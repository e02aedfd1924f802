/* Writes to the gateway: bodies that arrive whole, and what is made of every kind of answer. All of
 * it once by plain HTTP, as upstream_plain does it, and once by libcurl. */
#include "upstream_stage.h"

#define COUNTED(metric) atomic_load(&stage.metrics.counters[METRIC_##metric])

/* Begin a usual write and bring it to the gateway. */
static struct peer *bring_usual(struct stage *stage, struct post *post)
{
    struct message message;
    post_usual(stage, post);
    struct peer *peer = gateway_take(stage, &message);
    assert_int_equal(message.body_bytes, 5);
    assert_memory_equal(message.body, "hello", 5);
    return peer;
}

/* -- Out -------------------------------------------------------------------------------------- */

static void test_pieces_arrive_as_one_body(void **state)
{
    (void)state;
    struct stage stage;
    struct post post;
    struct message message;
    char text[64];
    static const struct upstream_piece pieces[] = {
        {(const uint8_t *)"", 0}, {(const uint8_t *)"one ", 4},  {(const uint8_t *)"", 0},
        {(const uint8_t *)"", 0}, {(const uint8_t *)"\0two", 4}, {(const uint8_t *)"", 0}};
    static const char line[] = "POST " WRITE_PATH " HTTP/1.1\r\n";
    stage_open(&stage);
    post_pieces(&stage, &post, pieces, COUNT(pieces));
    struct peer *peer = gateway_take(&stage, &message);
    assert_memory_equal(message.head, line, sizeof(line) - 1);
    assert_int_equal(message.body_bytes, 8);
    assert_memory_equal(message.body, "one \0two", 8);
    assert_string_equal(message_header(&message, "X-Scope", text, sizeof(text)), "tenant");
    assert_string_equal(message_header(&message, "Content-Type", text, sizeof(text)),
                        "application/x-test");
    assert_string_equal(message_header(&message, "Content-Length", text, sizeof(text)), "8");
    assert_null(message_header(&message, "Expect", text, sizeof(text)));
    assert_null(message_header(&message, "Accept", text, sizeof(text)));
    assert_null(message_header(&message, "Transfer-Encoding", text, sizeof(text)));
    assert_int_equal(post.dones, 0);
    gateway_say(&stage, peer, NO_ANSWER);
    await_status(&stage, &post, 204);
    assert_int_equal(post.outcome.body_bytes, 0);
    stage_close(&stage);
}

/* Larger than any buffer on the way, to a gateway that takes it slowly. */
static void test_a_large_body_arrives_whole(void **state)
{
    (void)state;

    enum { PIECES = 41 };

    struct stage stage;
    struct post post;
    struct message message = {0};
    struct bytes body = {0};
    struct upstream_piece pieces[PIECES];
    struct rng rng = {.state = 1};
    size_t sizes[PIECES];
    stage_open(&stage);
    for (size_t i = 0; i < PIECES; i++) {
        sizes[i] = rng_one_in(&rng, 4) ? rng_below(&rng, 1000 * 1000) : rng_below(&rng, 1000);
        for (size_t j = 0; j < sizes[i]; j++) {
            put_byte(&body, (unsigned)rng_below(&rng, 256));
        }
    }
    size_t at = 0;
    for (size_t i = 0; i < PIECES; i++) {
        pieces[i] = (struct upstream_piece){.data = body.data + at, .bytes = sizes[i]};
        at += sizes[i];
    }
    stage.deaf = true;
    post_pieces(&stage, &post, pieces, PIECES);
    while (stage.count == 0) {
        turn(&stage);
    }
    struct peer *peer = &stage.peers[0];
    uint64_t until_us = clock_now_us() + PATIENCE_US;
    while (!peer_take(peer, false, &message)) {
        assert_true(clock_now_us() < until_us);
        turn(&stage);
        peer_receive_some(peer, 200 * 1000);
    }
    assert_int_equal(message.body_bytes, body.size);
    assert_memory_equal(message.body, body.data, body.size);
    gateway_say(&stage, peer, NO_ANSWER);
    await_status(&stage, &post, 204);
    bytes_free(&body);
    stage_close(&stage);
}

/* Settings are copied; and no proxy of the environment comes between. */
static void test_the_environment_does_not_matter(void **state)
{
    (void)state;
    struct stage stage;
    struct post post;
    (void)setenv("http_proxy", "http://127.0.0.1:1", 1);
    (void)setenv("all_proxy", "http://127.0.0.1:1", 1);
    stage_open(&stage);
    gateway_say(&stage, bring_usual(&stage, &post), NO_ANSWER);
    await_status(&stage, &post, 204);
    stage_close(&stage);
    (void)unsetenv("http_proxy");
    (void)unsetenv("all_proxy");
}

/* Credentials go with every write, and change from one to the next. */
static void test_credentials_go_with_each_write(void **state)
{
    (void)state;
    static const char *const values[] = {"Bearer one", "Bearer two", NULL};
    struct stage stage;
    struct post post;
    struct message message;
    char text[64];
    stage_open(&stage);
    for (size_t i = 0; i < COUNT(values); i++) {
        const struct upstream_identity identity = {.authorization = values[i]};
        upstream_set_identity(stage.upstream, &identity);
        for (unsigned j = 0; j < 2; j++) {
            post_usual(&stage, &post);
            struct peer *peer = gateway_take(&stage, &message);
            const char *value = message_header(&message, "Authorization", text, sizeof(text));
            assert_true((value == NULL) == (values[i] == NULL));
            assert_true(value == NULL || strcmp(value, values[i]) == 0);
            assert_string_equal(message_header(&message, "X-Scope", text, sizeof(text)), "tenant");
            gateway_say(&stage, peer, NO_ANSWER);
            await_status(&stage, &post, 204);
        }
    }
    stage_close(&stage);
}

/* A call that is under way when they change ends as it began. */
static void test_credentials_may_change_amid_a_write(void **state)
{
    (void)state;
    const struct upstream_identity one = {.authorization = "Bearer one"};
    const struct upstream_identity two = {.authorization = "Bearer two"};
    struct stage stage;
    struct post posts[2];
    struct message message;
    char text[64];
    stage_open(&stage);
    upstream_set_identity(stage.upstream, &one);
    struct peer *first = bring_usual(&stage, &posts[0]);
    upstream_set_identity(stage.upstream, &two);
    post_usual(&stage, &posts[1]);
    struct peer *second = gateway_take(&stage, &message);
    assert_string_equal(message_header(&message, "Authorization", text, sizeof(text)),
                        "Bearer two");
    gateway_say(&stage, first, NO_ANSWER);
    gateway_say(&stage, second, NO_ANSWER);
    await_status(&stage, &posts[0], 204);
    await_status(&stage, &posts[1], 204);
    stage_close(&stage);
}

/* -- Answers ---------------------------------------------------------------------------------- */

static void test_an_answer_is_its_status_and_body(void **state)
{
    (void)state;

    static const struct {
        const char *answer;
        unsigned status;
        const char *body;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, ""},
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok"},
        {"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: "
         "chunked\r\n\r\n2\r\nok\r\n1\r\n!\r\n0\r\n\r\n",
         202, "ok!"},
        {"HTTP/1.1 204\r\n\r\n", 204, ""},
        {"HTTP/1.1 400 Bad Request\r\nContent-Length: 12\r\n\r\nout of order", 400, "out of order"},
        {"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", 404, ""},
        {"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy", 503, "busy"},
        {"HTTP/1.1 599 Odd\r\nContent-Length: 0\r\n\r\n", 599, ""},
        /* Not followed: our settings are wrong. */
        {"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", 302,
         ""},
        {"HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\n\r\n", 401,
         ""},
        /* What comes before the answer proper. */
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204\r\n\r\n", 204, ""},
        {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: "
         "2\r\n\r\nok",
         200, "ok"},
    };
    struct stage stage;
    struct post post;
    stage_open(&stage);
    for (size_t i = 0; i < COUNT(cases); i++) {
        gateway_say(&stage, bring_usual(&stage, &post), cases[i].answer);
        await_status(&stage, &post, cases[i].status);
        assert_int_equal(post.outcome.body_bytes, strlen(cases[i].body));
        assert_memory_equal(post.outcome.body, cases[i].body, strlen(cases[i].body));
    }
    assert_int_equal(stage.count, 1); /* all on one connection */
    stage_close(&stage);
}

static void test_an_answer_in_crumbs(void **state)
{
    (void)state;
    static const char answer[] =
        "HTTP/1.1 422 No\r\nRetry-After: 7\r\nContent-Length: 3\r\n\r\nbad";
    struct stage stage;
    struct post post;
    stage_open(&stage);
    struct peer *peer = bring_usual(&stage, &post);
    for (size_t i = 0; i + 1 < sizeof(answer); i++) {
        assert_int_equal(post.dones, 0);
        gateway_say_bytes(&stage, peer, answer + i, 1);
    }
    await_status(&stage, &post, 422);
    assert_int_equal(post.outcome.retry_after_s, 7);
    assert_int_equal(post.outcome.body_bytes, 3);
    stage_close(&stage);
}

static void put_answer(struct bytes *out, unsigned status, size_t body_bytes)
{
    char head[96];
    int bytes = snprintf(head, sizeof(head), "HTTP/1.1 %u So\r\nContent-Length: %zu\r\n\r\n",
                         status, body_bytes);
    put(out, head, (size_t)bytes);
    for (size_t i = 0; i < body_bytes; i++) {
        put_byte(out, (unsigned)('a' + i % 26));
    }
}

static void test_of_a_long_answer_the_start_is_kept(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, OUTCOME_BODY_MAX - 1, OUTCOME_BODY_MAX, OUTCOME_BODY_MAX + 1,
                                   60 * 1000};
    struct stage stage;
    struct post post;
    stage_open(&stage);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        struct bytes answer = {0};
        put_answer(&answer, 400, sizes[i]);
        struct peer *peer = bring_usual(&stage, &post);
        gateway_say_bytes(&stage, peer, answer.data, answer.size);
        await_status(&stage, &post, 400);
        size_t kept = sizes[i] < OUTCOME_BODY_MAX ? sizes[i] : OUTCOME_BODY_MAX;
        assert_int_equal(post.outcome.body_bytes, kept);
        assert_memory_equal(post.outcome.body, answer.data + answer.size - sizes[i], kept);
        bytes_free(&answer);
    }
    stage_close(&stage);
}

/* An answer that goes on without end, for which its connection is closed. */
static void answer_beyond_all_bounds(unsigned status, enum outcome_kind kind)
{
    struct stage stage;
    struct post post;
    struct bytes answer = {0};
    stage_open(&stage);
    put_answer(&answer, status, 1000 * 1000);
    struct peer *peer = bring_usual(&stage, &post);
    gateway_say_bytes(&stage, peer, answer.data, answer.size);
    await_done(&stage, &post, kind);
    if (kind == OUTCOME_ANSWERED) {
        assert_int_equal(post.outcome.status, status);
        assert_int_equal(post.outcome.body_bytes, OUTCOME_BODY_MAX);
    }
    gateway_expect_end(&stage, peer);
    bytes_free(&answer);

    /* The next write is not disturbed. */
    gateway_say(&stage, bring_usual(&stage, &post), NO_ANSWER);
    await_status(&stage, &post, 204);
    stage_close(&stage);
}

static void test_what_accepts_beyond_all_bounds_is_broken(void **state)
{
    (void)state;
    answer_beyond_all_bounds(200, OUTCOME_BROKEN);
}

static void test_what_refuses_beyond_all_bounds_has_refused(void **state)
{
    (void)state;
    answer_beyond_all_bounds(400, OUTCOME_ANSWERED);
    answer_beyond_all_bounds(503, OUTCOME_ANSWERED);
}

static void test_retry_after(void **state)
{
    (void)state;

    static const struct {
        const char *header;
        unsigned seconds;
    } cases[] = {
        {"Retry-After: 5\r\n", 5},
        {"retry-after:17\r\n", 17},
        {"RETRY-AFTER: \t 120 \r\n", 120},
        {"Retry-After: 999999\r\n", 300},
        {"Retry-After: 0\r\n", 0},
        {"Retry-After:\r\n", 0},
        {"Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n", 0},
        {"X-Retry-After: 5\r\n", 0},
        {"Retry-Afterwards: 5\r\n", 0},
        {"", 0}, /* nothing of the one before is left */
    };
    struct stage stage;
    struct post post;
    stage_open(&stage);
    for (size_t i = 0; i < COUNT(cases); i++) {
        char answer[256];
        (void)snprintf(answer, sizeof(answer),
                       "HTTP/1.1 503 Busy\r\n%sContent-Length: 4\r\n\r\nbusy", cases[i].header);
        gateway_say(&stage, bring_usual(&stage, &post), answer);
        await_status(&stage, &post, 503);
        assert_int_equal(post.outcome.retry_after_s, cases[i].seconds);
    }
    stage_close(&stage);
}

/* An outcome holds nothing of the call before it on the same handle. */
static void test_outcomes_do_not_mix(void **state)
{
    (void)state;
    struct stage stage;
    struct post post;
    stage_open(&stage);
    gateway_say(&stage, bring_usual(&stage, &post),
                "HTTP/1.1 503 Busy\r\nRetry-After: 9\r\nContent-Length: 4\r\n\r\nbusy");
    await_status(&stage, &post, 503);
    struct peer *peer = bring_usual(&stage, &post);
    gateway_say(&stage, peer, "nonsense\r\n\r\n");
    peer_close(peer);
    await_done(&stage, &post, OUTCOME_BROKEN);
    assert_int_equal(post.outcome.retry_after_s, 0);
    gateway_say(&stage, bring_usual(&stage, &post), NO_ANSWER);
    await_status(&stage, &post, 204);
    assert_int_equal(post.outcome.body_bytes, 0);
    assert_int_equal(post.outcome.retry_after_s, 0);
    stage_close(&stage);
}

/* -- No answer -------------------------------------------------------------------------------- */

static void test_a_gateway_that_is_not_there(void **state)
{
    (void)state;
    struct stage stage;
    struct post post;
    stage_open(&stage);
    gateway_stop_listening(&stage);
    for (unsigned i = 0; i < 3; i++) {
        post_usual(&stage, &post);
        await_done(&stage, &post, OUTCOME_UNREACHABLE);
    }
    stage_close(&stage);
}

static void test_a_gateway_that_is_silent(void **state)
{
    (void)state;
    struct stage stage;
    struct post post;
    stage_open_with(&stage, (struct upstream_settings){.write_timeout_us = 150 * 1000});
    uint64_t started_us = clock_now_us();
    struct peer *peer = bring_usual(&stage, &post);
    await_done(&stage, &post, OUTCOME_TIMEOUT);
    assert_true(clock_now_us() - started_us >= 150 * 1000);
    gateway_expect_end(&stage, peer);

    /* One that begins to answer is no better. */
    peer = bring_usual(&stage, &post);
    gateway_say(&stage, peer, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal");
    await_done(&stage, &post, OUTCOME_TIMEOUT);
    gateway_expect_end(&stage, peer);
    stage_close(&stage);
}

static void test_an_answer_cut_short_is_broken(void **state)
{
    (void)state;
    static const char *const answers[] = {
        "",
        "H",
        "HTTP/1.1 200 OK",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n",
        "HTTP/1.1 200 OK\r\nContent-Le",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "SSH-2.0-OpenSSH_9.2\r\n",
        "<html>hello</html>",
    };
    for (size_t i = 0; i < COUNT(answers); i++) {
        for (unsigned reset = 0; reset < 2; reset++) {
            struct stage stage;
            struct post post;
            stage_open(&stage);
            struct peer *peer = bring_usual(&stage, &post);
            gateway_say(&stage, peer, answers[i]);
            if (reset != 0) {
                peer_reset(peer);
            } else {
                peer_close(peer);
            }
            await_done(&stage, &post, OUTCOME_BROKEN);
            assert_int_equal(stage.count, 1); /* it may have been stored: not sent again */
            stage_close(&stage);
        }
    }
}

/* Take some of the body of a write on a new connection, though the gateway is deaf. */
static void receive_start(struct stage *stage, size_t bytes)
{
    uint64_t until_us = clock_now_us() + PATIENCE_US;
    while (stage->count == 0 || peer_unread(&stage->peers[0]) == 0) {
        assert_true(clock_now_us() < until_us);
        turn(stage);
        if (stage->count > 0) {
            peer_receive_some(&stage->peers[0], bytes);
        }
    }
}

static void test_a_gateway_gone_amid_the_body(void **state)
{
    (void)state;
    struct stage stage;
    struct post post;
    struct bytes body = {0};
    stage_open(&stage);
    for (size_t i = 0; i < 4 * 1000 * 1000; i++) {
        put_byte(&body, (unsigned)(i & 0xff));
    }
    const struct upstream_piece piece = {.data = body.data, .bytes = body.size};
    stage.deaf = true;
    post_pieces(&stage, &post, &piece, 1);
    receive_start(&stage, 1000 * 1000);
    peer_reset(&stage.peers[0]);
    await_done(&stage, &post, OUTCOME_BROKEN);
    bytes_free(&body);
    stage_close(&stage);
}

/* A gateway may refuse a body by its length alone. What it said is heard, or nothing; never a 2xx
 * from nowhere. */
static void test_an_answer_before_the_body_is_whole(void **state)
{
    (void)state;
    struct stage stage;
    struct post post;
    struct bytes body = {0};
    stage_open(&stage);
    for (size_t i = 0; i < 8 * 1000 * 1000; i++) {
        put_byte(&body, (unsigned)(i & 0xff));
    }
    const struct upstream_piece piece = {.data = body.data, .bytes = body.size};
    stage.deaf = true;
    post_pieces(&stage, &post, &piece, 1);
    receive_start(&stage, 1000);
    gateway_say(&stage, &stage.peers[0],
                "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig");
    await_status(&stage, &post, 413);
    assert_memory_equal(post.outcome.body, "big", 3);
    stage.deaf = false;

    /* The rest of the body never runs into the next request. */
    gateway_say(&stage, bring_usual(&stage, &post), NO_ANSWER);
    await_status(&stage, &post, 204);
    assert_int_equal(stage.count, 2);
    bytes_free(&body);
    stage_close(&stage);
}

/* -- Connections ------------------------------------------------------------------------------ */

/* It cannot have stored what it was not sent. curl stops sending where the answer ends the
 * connection, and finds nothing wrong with that. */
static void test_a_2xx_before_the_body_is_whole_is_none(void **state)
{
    (void)state;
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
    };
    struct bytes body = {0};
    for (size_t i = 0; i < 8 * 1000 * 1000; i++) {
        put_byte(&body, (unsigned)(i & 0xff));
    }
    const struct upstream_piece piece = {.data = body.data, .bytes = body.size};
    for (size_t i = 0; i < COUNT(answers); i++) {
        struct stage stage;
        struct post post;
        stage_open(&stage);
        stage.deaf = true;
        post_pieces(&stage, &post, &piece, 1);
        receive_start(&stage, 1000);
        gateway_say(&stage, &stage.peers[0], answers[i]);
        await_done(&stage, &post, OUTCOME_BROKEN);
        stage_close(&stage);
    }
    bytes_free(&body);
}

static void test_one_connection_serves_many_writes(void **state)
{
    (void)state;
    struct stage stage;
    struct post post;
    stage_open(&stage);
    for (unsigned i = 0; i < 30; i++) {
        gateway_say(&stage, bring_usual(&stage, &post), i % 2 == 0 ? NO_ANSWER : PLAIN_OK(2) "ok");
        await_status(&stage, &post, i % 2 == 0 ? 204 : 200);
    }
    assert_int_equal(stage.count, 1);
    assert_int_equal(COUNTED(GATEWAY_REPLAYS) + COUNTED(GATEWAY_STALE), 0);
    stage_close(&stage);
}

/* Several at once, each on a connection of its own; the answers find their way in any order. */
static void test_writes_at_once(void **state)
{
    (void)state;

    enum { POSTS = 8 };

    struct stage stage;
    struct post posts[POSTS];
    struct upstream_piece pieces[POSTS];
    static const uint8_t names[] = "abcdefgh";
    stage_open(&stage);
    for (unsigned round = 0; round < 3; round++) {
        struct peer *peers[POSTS] = {NULL};
        for (size_t i = 0; i < POSTS; i++) {
            pieces[i] = (struct upstream_piece){.data = &names[i], .bytes = 1};
            post_pieces(&stage, &posts[i], &pieces[i], 1);
        }
        for (size_t i = 0; i < POSTS; i++) {
            struct message message;
            struct peer *peer = gateway_take(&stage, &message);
            assert_int_equal(message.body_bytes, 1);
            size_t which = (size_t)(message.body[0] - 'a');
            assert_true(which < POSTS);
            assert_null(peers[which]);
            peers[which] = peer;
        }
        for (size_t i = POSTS; i-- > 0;) {
            char answer[96];
            (void)snprintf(answer, sizeof(answer), "HTTP/1.1 %zu X\r\nContent-Length: 1\r\n\r\n%c",
                           400 + i, names[i]);
            gateway_say(&stage, peers[i], answer);
            await_status(&stage, &posts[i], 400 + (unsigned)i);
            assert_int_equal(posts[i].outcome.body[0], names[i]);
            for (size_t j = 0; j < i; j++) {
                assert_int_equal(posts[j].dones, 0);
            }
        }
        assert_int_equal(stage.count, POSTS); /* used again in the next round */
    }
    stage_close(&stage);
}

static void test_few_connections_are_kept(void **state)
{
    (void)state;
    struct stage stage;
    struct post posts[6];
    struct peer *peers[6];
    struct message message;
    stage_open_with(&stage, (struct upstream_settings){.connections_idle_max = 2});
    for (size_t i = 0; i < 6; i++) {
        post_usual(&stage, &posts[i]);
        peers[i] = gateway_take(&stage, &message);
    }
    for (size_t i = 0; i < 6; i++) {
        gateway_say(&stage, peers[i], NO_ANSWER);
        await_status(&stage, &posts[i], 204);
    }
    settle(&stage);
    size_t open = 0;
    for (size_t i = 0; i < 6; i++) {
        open += !peers[i]->ended;
    }
    assert_in_range(open, 1, 2);
    stage_close(&stage);
}

/* Calls above the limit of connections wait for one. */
static void test_no_more_connections_than_may_be(void **state)
{
    (void)state;
    struct stage stage;
    struct post posts[6];
    stage_open_with(&stage, (struct upstream_settings){.connections_max = 2});
    for (size_t i = 0; i < 6; i++) {
        post_usual(&stage, &posts[i]);
    }
    for (size_t i = 0; i < 6; i++) {
        struct message message;
        struct peer *peer = gateway_take(&stage, &message);
        settle(&stage);
        assert_true(stage.count <= 2);
        gateway_say(&stage, peer, NO_ANSWER);
    }
    for (size_t i = 0; i < 6; i++) {
        await_status(&stage, &posts[i], 204);
    }
    assert_int_equal(stage.count, 2);
    stage_close(&stage);
}

static void test_a_connection_that_ended_while_idle(void **state)
{
    (void)state;
    struct stage stage;
    struct post post;
    stage_open(&stage);
    for (unsigned i = 0; i < 6; i++) {
        struct peer *peer = bring_usual(&stage, &post);
        gateway_say(&stage, peer, NO_ANSWER);
        await_status(&stage, &post, 204);
        if (i % 2 == 0) {
            peer_close(peer);
        } else {
            peer_reset(peer);
        }
        if (i % 3 == 0) {
            settle(&stage); /* the upstream may have seen it already, or not */
        }
    }
    assert_int_equal(stage.count, 6);
    stage_close(&stage);
}

static void test_a_connection_that_the_gateway_wants_closed(void **state)
{
    (void)state;
    struct stage stage;
    struct post post;
    stage_open(&stage);
    struct peer *peer = bring_usual(&stage, &post);
    gateway_say(&stage, peer,
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    await_status(&stage, &post, 200);
    gateway_expect_end(&stage, peer);
    gateway_say(&stage, bring_usual(&stage, &post), NO_ANSWER);
    await_status(&stage, &post, 204);
    assert_int_equal(stage.count, 2);
    stage_close(&stage);
}

/* The race of every pool: the gateway closes an idle connection just as a write goes out on it. It
 * is then sent again, the same from the first byte, on another connection. */
static void test_a_reused_connection_that_dies_is_no_loss(void **state)
{
    (void)state;

    enum { BODY_BYTES = 1000 * 1000 };

    struct stage stage;
    struct post post;
    struct message message;
    struct bytes body = {0};
    stage_open(&stage);
    for (size_t i = 0; i < BODY_BYTES; i++) {
        put_byte(&body, (unsigned)((i * 31 + (i >> 8)) & 0xff));
    }
    const struct upstream_piece pieces[] = {
        {body.data, 10},
        {body.data + 10, 500 * 1000},
        {body.data + 10 + 500 * 1000, BODY_BYTES - 10 - 500 * 1000}};
    gateway_say(&stage, bring_usual(&stage, &post), NO_ANSWER);
    await_status(&stage, &post, 204);
    post_pieces(&stage, &post, pieces, COUNT(pieces));
    struct peer *first = gateway_take(&stage, &message);
    assert_ptr_equal(first, &stage.peers[0]);
    peer_close(first);
    struct peer *second = gateway_take(&stage, &message);
    assert_ptr_equal(second, &stage.peers[1]);
    assert_int_equal(message.body_bytes, BODY_BYTES);
    assert_memory_equal(message.body, body.data, BODY_BYTES);
    assert_int_equal(post.dones, 0);
    gateway_say(&stage, second, NO_ANSWER);
    await_status(&stage, &post, 204);
    assert_int_equal(COUNTED(GATEWAY_REPLAYS), 1);
    bytes_free(&body);
    stage_close(&stage);
}

/* Some gateways say a last word (408) before they close an idle connection. It answers nothing that
 * was asked: above all not the next write. */
static void test_a_word_on_an_idle_connection_answers_nothing(void **state)
{
    (void)state;
    static const char *const words[] = {
        "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "x"};
    for (size_t i = 0; i < COUNT(words); i++) {
        for (unsigned closes = 0; closes < 2; closes++) {
            struct stage stage;
            struct post post;
            struct message message;
            stage_open(&stage);
            struct peer *peer = bring_usual(&stage, &post);
            gateway_say(&stage, peer, NO_ANSWER);
            await_status(&stage, &post, 204);
            assert_int_equal(peer_send_some(peer, words[i], strlen(words[i])), strlen(words[i]));
            if (closes != 0) {
                peer_close(peer);
            }
            post_usual(&stage, &post);
            peer = gateway_take(&stage, &message);
            assert_int_equal(post.dones, 0);
            assert_ptr_equal(peer, &stage.peers[1]);
            gateway_say(&stage, peer, "HTTP/1.1 409 Conflict\r\nContent-Length: 0\r\n\r\n");
            await_status(&stage, &post, 409);
            stage_close(&stage);
        }
    }
}

/* -- Life ------------------------------------------------------------------------------------- */

static void test_waiting_costs_no_turns(void **state)
{
    (void)state;
    struct stage stage;
    struct post post;
    stage_open(&stage);
    assert_true(count_idle_turns(&stage) < 10);
    struct peer *peer = bring_usual(&stage, &post);
    settle(&stage);
    assert_true(count_idle_turns(&stage) < 10);
    gateway_say(&stage, peer, NO_ANSWER);
    await_status(&stage, &post, 204);
    settle(&stage);
    assert_true(count_idle_turns(&stage) < 10);
    stage_close(&stage);
}

/* A chain: the end of each write begins the next. */
struct chain {
    struct stage *stage;
    unsigned left;
};

static void on_link_done(void *arg, const struct outcome *outcome)
{
    static const struct upstream_piece piece = {.data = (const uint8_t *)"link", .bytes = 4};
    struct chain *chain = arg;
    assert_int_equal(outcome->kind, OUTCOME_ANSWERED);
    if (--chain->left > 0) {
        assert_int_equal(upstream_write(chain->stage->upstream, &piece, 1, 4, on_link_done, chain),
                         0);
    }
}

static void test_the_end_of_a_write_may_begin_another(void **state)
{
    (void)state;
    struct stage stage;
    struct chain chain = {.stage = &stage, .left = 11};
    stage_open(&stage);
    on_link_done(&chain, &(struct outcome){.kind = OUTCOME_ANSWERED});
    while (chain.left > 0) {
        struct message message;
        struct peer *peer = gateway_take(&stage, &message);
        unsigned left = chain.left;
        gateway_say(&stage, peer, NO_ANSWER);
        while (chain.left == left) {
            turn(&stage);
        }
    }
    assert_int_equal(stage.count, 1);
    stage_close(&stage);
}

static void test_cancel_ends_every_write(void **state)
{
    (void)state;
    struct stage stage;
    struct post posts[4];
    stage_open(&stage);
    /* In flight, with the start of its answer, with all of it but not seen yet, and not out yet. */
    struct peer *silent = bring_usual(&stage, &posts[0]);
    struct peer *half = bring_usual(&stage, &posts[1]);
    struct peer *answered = bring_usual(&stage, &posts[2]);
    gateway_say(&stage, half, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal");
    assert_true(peer_send_some(answered, NO_ANSWER, strlen(NO_ANSWER)) > 0);
    post_usual(&stage, &posts[3]);
    upstream_cancel_writes(stage.upstream);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(posts[i].dones, 1);
        assert_int_equal(posts[i].outcome.kind, OUTCOME_CANCELLED);
        assert_int_equal(posts[i].outcome.status, 0);
    }
    settle(&stage);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(posts[i].dones, 1);
    }
    gateway_expect_end(&stage, silent);
    gateway_expect_end(&stage, half);
    upstream_cancel_writes(stage.upstream);

    /* Writes may follow. */
    gateway_say(&stage, bring_usual(&stage, &posts[0]), NO_ANSWER);
    await_status(&stage, &posts[0], 204);
    stage_close(&stage);
}

static void test_free_drops_what_is_in_flight(void **state)
{
    (void)state;
    struct stage stage;
    struct post posts[3];
    stage_open(&stage);
    struct peer *peer = bring_usual(&stage, &posts[0]);
    struct peer *half = bring_usual(&stage, &posts[1]);
    gateway_say(&stage, half, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal");
    post_usual(&stage, &posts[2]);
    upstream_free(stage.upstream);
    stage.upstream = NULL;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(posts[i].dones, 0);
    }
    peer_receive(peer);
    peer_receive(half);
    assert_true(peer->ended && half->ended);
    stage_close(&stage);
}

static void test_a_url_that_is_none_fails_each_write(void **state)
{
    (void)state;
    static const struct log quiet = {.sink = NULL};
    static const char *const headers[] = {NULL};
    struct stage stage = {.loop = loop_new(), .listen_fd = -1};
    struct post post;
    stage.upstream = upstream_new(&(struct upstream_settings){.log = &quiet,
                                                              .metrics = &stage.metrics,
                                                              .write_url = "ftp://127.0.0.1/x",
                                                              .write_headers = headers,
                                                              .read_url = "",
                                                              .connect_timeout_us = 3000000,
                                                              .write_timeout_us = 3000000,
                                                              .connection_age_us = 3000000,
                                                              .connections_idle_max = 2},
                                  stage.loop);
    assert_non_null(stage.upstream);
    post_usual(&stage, &post);
    await_done(&stage, &post, OUTCOME_BROKEN);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces_arrive_as_one_body),
        cmocka_unit_test(test_a_large_body_arrives_whole),
        cmocka_unit_test(test_the_environment_does_not_matter),
        cmocka_unit_test(test_credentials_go_with_each_write),
        cmocka_unit_test(test_credentials_may_change_amid_a_write),
        cmocka_unit_test(test_an_answer_is_its_status_and_body),
        cmocka_unit_test(test_an_answer_in_crumbs),
        cmocka_unit_test(test_of_a_long_answer_the_start_is_kept),
        cmocka_unit_test(test_what_accepts_beyond_all_bounds_is_broken),
        cmocka_unit_test(test_what_refuses_beyond_all_bounds_has_refused),
        cmocka_unit_test(test_retry_after),
        cmocka_unit_test(test_outcomes_do_not_mix),
        cmocka_unit_test(test_a_gateway_that_is_not_there),
        cmocka_unit_test(test_a_gateway_that_is_silent),
        cmocka_unit_test(test_an_answer_cut_short_is_broken),
        cmocka_unit_test(test_a_gateway_gone_amid_the_body),
        cmocka_unit_test(test_an_answer_before_the_body_is_whole),
        cmocka_unit_test(test_a_2xx_before_the_body_is_whole_is_none),
        cmocka_unit_test(test_one_connection_serves_many_writes),
        cmocka_unit_test(test_writes_at_once),
        cmocka_unit_test(test_few_connections_are_kept),
        cmocka_unit_test(test_no_more_connections_than_may_be),
        cmocka_unit_test(test_a_connection_that_ended_while_idle),
        cmocka_unit_test(test_a_connection_that_the_gateway_wants_closed),
        cmocka_unit_test(test_a_reused_connection_that_dies_is_no_loss),
        cmocka_unit_test(test_a_word_on_an_idle_connection_answers_nothing),
        cmocka_unit_test(test_waiting_costs_no_turns),
        cmocka_unit_test(test_the_end_of_a_write_may_begin_another),
        cmocka_unit_test(test_cancel_ends_every_write),
        cmocka_unit_test(test_free_drops_what_is_in_flight),
        cmocka_unit_test(test_a_url_that_is_none_fails_each_write),
    };
    int failed = cmocka_run_group_tests_name("upstream", tests, set_up_library, tear_down_library);
    through_curl = true;
    return failed + cmocka_run_group_tests_name("upstream by libcurl", tests, set_up_library,
                                                tear_down_library);
}
