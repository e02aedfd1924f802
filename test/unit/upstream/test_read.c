/* Reads from the gateway: requests as they were asked for, answers that stream, pause and break. */
#include "upstream_stage.h"

#define ROOM_BYTES ((size_t)8 << 20)

/* A read, what was told of its answer, and how it ended. */
struct query {
    struct upstream_call *call;
    struct bytes headers; /* "name: value\n" of each */
    unsigned heads;
    unsigned status;
    uint64_t body_bytes; /* as declared */
    struct bytes body;
    size_t room;      /* [bytes] of body that are taken before it pauses */
    unsigned refused; /* times that there was no room */
    struct post post;
};

static void on_header(void *arg, const char *name, size_t name_bytes, const char *value,
                      size_t value_bytes)
{
    struct query *query = arg;
    assert_int_equal(query->heads, 0);
    put(&query->headers, name, name_bytes);
    put(&query->headers, ": ", 2);
    put(&query->headers, value, value_bytes);
    put(&query->headers, "\n", 1);
}

static void on_head(void *arg, unsigned status, uint64_t body_bytes)
{
    struct query *query = arg;
    query->heads++;
    query->status = status;
    query->body_bytes = body_bytes;
}

static bool on_data(void *arg, const uint8_t *data, size_t bytes)
{
    struct query *query = arg;
    assert_int_equal(query->heads, 1);
    assert_int_equal(query->post.dones, 0);
    if (query->body.size + bytes > query->room) {
        query->refused++;
        return false;
    }
    put(&query->body, data, bytes);
    return true;
}

static void on_done(void *arg, const struct outcome *outcome)
{
    struct query *query = arg;
    on_post_done(&query->post, outcome);
    query->call = NULL;
}

static void query_begin(struct stage *stage, struct query *query, enum route_method method,
                        const char *target, const char *body)
{
    static const char *const headers[] = {"X-Scope: tenant", "Accept: application/json",
                                          "Accept-Encoding: gzip", "Expect:", NULL};
    *query = (struct query){.room = ROOM_BYTES};
    query->call =
        upstream_read(stage->upstream, &(struct upstream_read){.method = method,
                                                               .target = target,
                                                               .headers = headers,
                                                               .body = (const uint8_t *)body,
                                                               .body_bytes = strlen(body),
                                                               .arg = query,
                                                               .on_header = on_header,
                                                               .on_head = on_head,
                                                               .on_data = on_data,
                                                               .on_done = on_done});
    assert_non_null(query->call);
    assert_int_equal(query->post.dones, 0);
}

static struct peer *bring(struct stage *stage, struct query *query)
{
    struct message message;
    query_begin(stage, query, ROUTE_METHOD_GET, "/api/v1/query?query=up", "");
    return gateway_take(stage, &message);
}

static void query_end(struct query *query)
{
    bytes_free(&query->headers);
    bytes_free(&query->body);
}

static void expect_body(const struct query *query, const char *text)
{
    assert_int_equal(query->body.size, strlen(text));
    assert_memory_equal(query->body.data, text, strlen(text));
}

static void expect_headers(const struct query *query, const char *text)
{
    assert_int_equal(query->headers.size, strlen(text));
    assert_memory_equal(query->headers.data, text, strlen(text));
}

/* -- Out -------------------------------------------------------------------------------------- */

/* Nothing is decoded, put in order or taken away on the way to the gateway. */
static void test_a_target_goes_out_as_it_is(void **state)
{
    (void)state;
    static const char *const targets[] = {
        "/api/v1/query",
        "/api/v1/query?",
        "/api/v1/query?query=up%7Ba%3D%22b%22%7D&time=1",
        "/tenant/api/v1/label/a:b/values?match[]={x=~\"y|z\"}&&=;",
        "/a/../b/./c//d?x=/../y",
        "/%2e%2e/%00?%zz",
    };
    struct stage stage;
    stage_open(&stage);
    for (size_t i = 0; i < COUNT(targets); i++) {
        struct query query;
        struct message message;
        char line[256];
        int bytes = snprintf(line, sizeof(line), "GET %s HTTP/1.1\r\n", targets[i]);
        query_begin(&stage, &query, ROUTE_METHOD_GET, targets[i], "");
        struct peer *peer = gateway_take(&stage, &message);
        assert_true(message.head_bytes > (size_t)bytes);
        assert_memory_equal(message.head, line, (size_t)bytes);
        gateway_say(&stage, peer, PLAIN_OK(2) "{}");
        await_status(&stage, &query.post, 200);
        expect_body(&query, "{}");
        query_end(&query);
    }
    assert_int_equal(stage.count, 1);
    stage_close(&stage);
}

static void test_headers_go_out_as_they_are(void **state)
{
    (void)state;
    struct stage stage;
    struct query query;
    struct message message;
    char text[64];
    stage_open(&stage);
    query_begin(&stage, &query, ROUTE_METHOD_GET, "/x", "");
    struct peer *peer = gateway_take(&stage, &message);
    assert_string_equal(message_header(&message, "X-Scope", text, sizeof(text)), "tenant");
    assert_string_equal(message_header(&message, "Accept", text, sizeof(text)), "application/json");
    assert_string_equal(message_header(&message, "Accept-Encoding", text, sizeof(text)), "gzip");
    (void)snprintf(text, sizeof(text), "127.0.0.1:%u", (unsigned)stage.port);
    char host[64];
    assert_string_equal(message_header(&message, "Host", host, sizeof(host)), text);
    assert_null(message_header(&message, "Content-Type", text, sizeof(text)));
    assert_null(message_header(&message, "Content-Length", text, sizeof(text)));
    gateway_say(&stage, peer, NO_ANSWER);
    await_status(&stage, &query.post, 204);
    query_end(&query);
    stage_close(&stage);
}

/* A read that brings its own credentials keeps them; others get ours. */
static void test_credentials_of_a_read(void **state)
{
    (void)state;
    static const char *const own[] = {"authorization: Bearer own", NULL};
    static const char *const none[] = {NULL};
    const struct upstream_identity identity = {.authorization = "Bearer ours"};
    struct stage stage;
    stage_open(&stage);
    upstream_set_identity(stage.upstream, &identity);
    for (unsigned i = 0; i < 4; i++) {
        struct query query = {.room = ROOM_BYTES};
        struct message message;
        char text[64];
        query.call = upstream_read(stage.upstream,
                                   &(struct upstream_read){.method = ROUTE_METHOD_GET,
                                                           .target = "/x",
                                                           .headers = i % 2 == 0 ? own : none,
                                                           .arg = &query,
                                                           .on_header = on_header,
                                                           .on_head = on_head,
                                                           .on_data = on_data,
                                                           .on_done = on_done});
        struct peer *peer = gateway_take(&stage, &message);
        assert_string_equal(message_header(&message, "Authorization", text, sizeof(text)),
                            i % 2 == 0 ? "Bearer own" : "Bearer ours");
        gateway_say(&stage, peer, NO_ANSWER);
        await_status(&stage, &query.post, 204);
        query_end(&query);
    }
    stage_close(&stage);
}

/* Handles are used again: nothing of one read's method may stick to the next, nor to a write. */
static void test_methods_in_any_order(void **state)
{
    (void)state;
    struct stage stage;
    struct rng rng = {.state = 3};
    stage_open(&stage);
    for (unsigned i = 0; i < 60; i++) {
        static const enum route_method methods[] = {ROUTE_METHOD_GET, ROUTE_METHOD_HEAD,
                                                    ROUTE_METHOD_POST};

        static const char *const names[] = {"GET ", "HEAD ", "POST "};
        size_t which = rng_below(&rng, 4);
        const char *body = which == 2 && rng_one_in(&rng, 2) ? "query=up" : "";
        struct message message;
        if (which == 3) {
            struct post post;
            post_usual(&stage, &post);
            struct peer *peer = gateway_take(&stage, &message);
            assert_memory_equal(message.head, "POST " WRITE_PATH " ", 5 + sizeof(WRITE_PATH));
            assert_int_equal(message.body_bytes, 5);
            gateway_say(&stage, peer, NO_ANSWER);
            await_status(&stage, &post, 204);
            continue;
        }
        struct query query;
        query_begin(&stage, &query, methods[which], "/api/v1/series", body);
        struct peer *peer = gateway_take(&stage, &message);
        assert_memory_equal(message.head, names[which], strlen(names[which]));
        assert_int_equal(message.body_bytes, strlen(body));
        assert_memory_equal(message.body, body, strlen(body));
        gateway_say(&stage, peer, which == 1 ? PLAIN_OK(99) : PLAIN_OK(2) "{}");
        await_status(&stage, &query.post, 200);
        assert_int_equal(query.status, 200);
        assert_int_equal(query.body_bytes, which == 1 ? 99 : 2);
        expect_body(&query, which == 1 ? "" : "{}");
        query_end(&query);
    }
    assert_int_equal(stage.count, 2); /* writes have theirs */
    stage_close(&stage);
}

/* -- Answers ---------------------------------------------------------------------------------- */

static void test_an_answer_is_told_as_it_comes(void **state)
{
    (void)state;

    static const struct {
        const char *answer;
        unsigned status;
        const char *headers;
        uint64_t body_bytes;
        const char *body;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-A:1\r\nX-A:  2 \r\n"
         "Content-Length: 5\r\n\r\nhello",
         200, "Content-Type: application/json\nX-A: 1\nX-A: 2\nContent-Length: 5\n", 5, "hello"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
         200, "Transfer-Encoding: chunked\n", UPSTREAM_BODY_UNKNOWN, "hello"},
        {"HTTP/1.1 422 No\r\nContent-Length: 3\r\n\r\nbad", 422, "Content-Length: 3\n", 3, "bad"},
        {"HTTP/1.1 503 No\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n", 503,
         "Retry-After: 1\nContent-Length: 0\n", 0, ""},
        {"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", 302,
         "Location: /x\nContent-Length: 0\n", 0, ""},
        /* The final answer only. */
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n"
         "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
         200, "Content-Length: 2\n", 2, "ok"},
        /* Bytes are passed on, not what they mean. */
        {"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08 ", 200,
         "Content-Encoding: gzip\nContent-Length: 4\n", 4, "\x1f\x8b\x08 "},
        /* A trailer behind the body is no header. */
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-After: 1\r\n\r\n",
         200, "Transfer-Encoding: chunked\n", UPSTREAM_BODY_UNKNOWN, "ok"},
        /* Header values may hold a colon, or nothing. */
        {"HTTP/1.1 200 OK\r\nX-Url: http://x/\r\nX-None:\r\nContent-Length: 0\r\n\r\n", 200,
         "X-Url: http://x/\nX-None: \nContent-Length: 0\n", 0, ""},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        for (unsigned crumbs = 0; crumbs < 2; crumbs++) {
            struct stage stage;
            struct query query;
            stage_open(&stage);
            struct peer *peer = bring(&stage, &query);
            size_t step = crumbs != 0 ? 1 : strlen(cases[i].answer);
            for (size_t at = 0; at < strlen(cases[i].answer); at += step) {
                gateway_say_bytes(&stage, peer, cases[i].answer + at, step);
            }
            await_status(&stage, &query.post, cases[i].status);
            assert_int_equal(query.heads, 1);
            assert_int_equal(query.status, cases[i].status);
            assert_true(query.body_bytes == cases[i].body_bytes);
            expect_headers(&query, cases[i].headers);
            expect_body(&query, cases[i].body);
            query_end(&query);
            stage_close(&stage);
        }
    }
}

/* The head is told of before the body is there, and each part of the body as it comes. */
static void test_an_answer_streams(void **state)
{
    (void)state;
    struct stage stage;
    struct query query;
    stage_open(&stage);
    struct peer *peer = bring(&stage, &query);
    gateway_say(&stage, peer, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n");
    settle(&stage);
    assert_int_equal(query.heads, 1);
    assert_int_equal(query.post.dones, 0);
    gateway_say(&stage, peer, "one");
    settle(&stage);
    expect_body(&query, "one");
    assert_int_equal(query.post.dones, 0);
    gateway_say(&stage, peer, "two");
    await_status(&stage, &query.post, 200);
    expect_body(&query, "onetwo");
    query_end(&query);
    stage_close(&stage);
}

/* An answer without a length ends with its connection. */
static void test_an_answer_up_to_the_end_of_the_connection(void **state)
{
    (void)state;
    struct stage stage;
    struct query query;
    stage_open(&stage);
    struct peer *peer = bring(&stage, &query);
    gateway_say(&stage, peer, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it");
    settle(&stage);
    assert_int_equal(query.post.dones, 0);
    peer_close(peer);
    await_status(&stage, &query.post, 200);
    assert_true(query.body_bytes == UPSTREAM_BODY_UNKNOWN);
    expect_body(&query, "all of it");
    query_end(&query);
    stage_close(&stage);
}

static void test_an_answer_that_breaks_off(void **state)
{
    (void)state;
    static const char *const answers[] = {
        "",
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "what is this?\r\n\r\n",
    };
    for (size_t i = 0; i < COUNT(answers); i++) {
        struct stage stage;
        struct query query;
        stage_open(&stage);
        struct peer *peer = bring(&stage, &query);
        gateway_say(&stage, peer, answers[i]);
        peer_close(peer);
        await_done(&stage, &query.post, OUTCOME_BROKEN);
        query_end(&query);
        stage_close(&stage);
    }
}

static void test_a_gateway_that_is_not_there(void **state)
{
    (void)state;
    struct stage stage;
    struct query query;
    stage_open(&stage);
    gateway_stop_listening(&stage);
    query_begin(&stage, &query, ROUTE_METHOD_GET, "/x", "");
    await_done(&stage, &query.post, OUTCOME_UNREACHABLE);
    assert_int_equal(query.heads, 0);
    query_end(&query);
    stage_close(&stage);
}

/* Reads have no time of their own here: who asked knows when silence is too long. */
static void test_a_read_outlives_the_time_of_a_write(void **state)
{
    (void)state;
    struct stage stage;
    struct query query;
    stage_open_with(&stage, (struct upstream_settings){.write_timeout_us = 20 * 1000});
    struct peer *peer = bring(&stage, &query);
    for (uint64_t until_us = clock_now_us() + 60 * 1000; clock_now_us() < until_us;) {
        turn(&stage);
    }
    assert_int_equal(query.post.dones, 0);
    gateway_say(&stage, peer, PLAIN_OK(2) "{}");
    await_status(&stage, &query.post, 200);
    query_end(&query);
    stage_close(&stage);
}

/* -- Pauses ----------------------------------------------------------------------------------- */

static void put_large_answer(struct bytes *out, size_t body_bytes)
{
    char head[96];
    int bytes =
        snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", body_bytes);
    put(out, head, (size_t)bytes);
    for (size_t i = 0; i < body_bytes; i++) {
        put_byte(out, (unsigned)((i * 31 + (i >> 8)) & 0xff));
    }
}

/* Without room the gateway is paused, by way of its connection, and at no cost; with room again the
 * answer goes on where it stopped. */
static void test_a_reader_without_room_pauses_the_gateway(void **state)
{
    (void)state;

    enum { BODY_BYTES = 20 * 1000 * 1000, STEP = 300 * 1000 };

    struct stage stage;
    struct query query;
    struct bytes answer = {0};
    stage_open(&stage);
    struct peer *peer = bring(&stage, &query);
    put_large_answer(&answer, BODY_BYTES);
    query.room = 0;
    size_t sent = 0;
    size_t stuck = 0;
    uint64_t until_us = clock_now_us() + PATIENCE_US;
    while (query.post.dones == 0) {
        assert_true(clock_now_us() < until_us);
        size_t more = peer_send_some(peer, answer.data + sent, answer.size - sent);
        sent += more;
        turn(&stage);
        stuck = more == 0 && query.refused > 0 ? stuck + 1 : 0;
        if (stuck == 5) {
            /* What it holds of the rest is bounded: by the kernel, not by us. */
            assert_true(query.body.size <= query.room);
            assert_true(count_idle_turns(&stage) < 10 || sent == answer.size);
            query.room += STEP;
            query.refused = 0;
            stuck = 0;
            upstream_resume(query.call);
            query.room = query.room > 4 * STEP ? ROOM_BYTES * 4 : query.room;
        }
    }
    await_status(&stage, &query.post, 200);
    assert_int_equal(query.body.size, BODY_BYTES);
    assert_memory_equal(query.body.data, answer.data + answer.size - BODY_BYTES, BODY_BYTES);
    bytes_free(&answer);
    query_end(&query);
    stage_close(&stage);
}

/* A paused read holds up nobody else. */
static void test_others_go_on_beside_a_paused_read(void **state)
{
    (void)state;
    struct stage stage;
    struct query paused;
    struct query query;
    struct post post;
    struct message message;
    stage_open(&stage);
    struct peer *peer = bring(&stage, &paused);
    paused.room = 0;
    gateway_say(&stage, peer, PLAIN_OK(5) "hello");
    settle(&stage);
    assert_true(paused.refused > 0);
    gateway_say(&stage, bring(&stage, &query), PLAIN_OK(2) "{}");
    await_status(&stage, &query.post, 200);
    post_usual(&stage, &post);
    gateway_say(&stage, gateway_take(&stage, &message), NO_ANSWER);
    await_status(&stage, &post, 204);
    assert_int_equal(paused.post.dones, 0);
    paused.room = ROOM_BYTES;
    upstream_resume(paused.call);
    await_status(&stage, &paused.post, 200);
    expect_body(&paused, "hello");
    query_end(&paused);
    query_end(&query);
    stage_close(&stage);
}

/* However many answers stream, a turn takes a bounded part of them, and a write is heard in it. */
static void test_a_turn_takes_so_much_of_reads(void **state)
{
    (void)state;

    enum { READS = 10, ROOM = 256 * 1024, TURN_BULK_BYTES = 1024 * 1024, CHUNK_BYTES = 64 * 1024 };

    struct stage stage;
    struct query queries[READS];
    struct peer *peers[READS];
    struct post post;
    struct message message;
    struct bytes answer = {0};
    put_large_answer(&answer, 4 * ROOM);
    stage_open(&stage);
    post_usual(&stage, &post);
    struct peer *writer = gateway_take(&stage, &message);
    for (size_t i = 0; i < READS; i++) {
        peers[i] = bring(&stage, &queries[i]);
        queries[i].room = ROOM;
    }
    assert_true(peer_send_some(writer, NO_ANSWER, strlen(NO_ANSWER)) > 0);
    for (size_t i = 0; i < READS; i++) {
        assert_true(peer_send_some(peers[i], answer.data, answer.size) > ROOM);
    }
    size_t sum = 0;
    for (unsigned turns = 0; sum < READS * (ROOM - CHUNK_BYTES); turns++) {
        size_t before = sum;
        assert_true(turns < 100);
        loop_wait(stage.loop, clock_now_us() + TURN_US);
        upstream_run(stage.upstream);
        sum = 0;
        for (size_t i = 0; i < READS; i++) {
            sum += queries[i].body.size;
        }
        assert_true(sum - before <= TURN_BULK_BYTES + ROOM);
        assert_int_equal(post.dones, 1);
        upstream_flush(stage.upstream);
    }
    for (size_t i = 0; i < READS; i++) {
        upstream_abort(queries[i].call);
        query_end(&queries[i]);
    }
    bytes_free(&answer);
    stage_close(&stage);
}

/* -- Ends ------------------------------------------------------------------------------------- */

enum stage_of_read { NOT_OUT, ASKED, HEAD_THERE, BODY_COMES, PAUSED, ALL_THERE, STAGES };

/* Bring a read to that point. Returns the gateway's end of its connection; NULL: not out yet. */
static struct peer *bring_to(struct stage *stage, struct query *query, enum stage_of_read point)
{
    static const char *const said[STAGES] = {
        [HEAD_THERE] = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
        [BODY_COMES] = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal",
        [PAUSED] = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal",
    };
    if (point == NOT_OUT) {
        query_begin(stage, query, ROUTE_METHOD_GET, "/x", "");
        return NULL;
    }
    struct peer *peer = bring(stage, query);
    query->room = point == PAUSED ? 0 : ROOM_BYTES;
    if (said[point] != NULL) {
        gateway_say(stage, peer, said[point]);
        settle(stage);
    }
    if (point == ALL_THERE) { /* but not seen yet */
        assert_true(peer_send_some(peer, NO_ANSWER, strlen(NO_ANSWER)) > 0);
    }
    return peer;
}

static void test_an_aborted_read_is_heard_of_no_more(void **state)
{
    (void)state;
    for (enum stage_of_read point = NOT_OUT; point < STAGES; point++) {
        for (unsigned resumed = 0; resumed < 2; resumed++) {
            struct stage stage;
            struct query query;
            stage_open(&stage);
            struct peer *peer = bring_to(&stage, &query, point);
            if (resumed != 0) {
                upstream_resume(query.call);
            }
            upstream_abort(query.call);
            size_t told = query.headers.size + query.body.size;
            if (peer != NULL) {
                gateway_expect_end(&stage, peer);
            }
            settle(&stage);
            assert_int_equal(query.post.dones, 0);
            assert_int_equal(query.headers.size + query.body.size, told);
            query_end(&query);

            /* Its handle serves the next one. */
            gateway_say(&stage, bring(&stage, &query), PLAIN_OK(2) "{}");
            await_status(&stage, &query.post, 200);
            expect_body(&query, "{}");
            query_end(&query);
            stage_close(&stage);
        }
    }
}

static void test_free_drops_reads_at_any_point(void **state)
{
    (void)state;
    for (enum stage_of_read point = NOT_OUT; point < STAGES; point++) {
        struct stage stage;
        struct query query;
        stage_open(&stage);
        (void)bring_to(&stage, &query, point);
        upstream_free(stage.upstream);
        stage.upstream = NULL;
        assert_int_equal(query.post.dones, 0);
        query_end(&query);
        stage_close(&stage);
    }
}

/* Only writes are cancelled at the end of the grace period; reads are their owner's. */
static void test_cancelling_writes_leaves_reads(void **state)
{
    (void)state;
    struct stage stage;
    struct query query;
    struct post post;
    stage_open(&stage);
    struct peer *peer = bring(&stage, &query);
    post_usual(&stage, &post);
    upstream_cancel_writes(stage.upstream);
    assert_int_equal(post.dones, 1);
    assert_int_equal(post.outcome.kind, OUTCOME_CANCELLED);
    gateway_say(&stage, peer, PLAIN_OK(2) "{}");
    await_status(&stage, &query.post, 200);
    query_end(&query);
    stage_close(&stage);
}

/* Reads and writes share the connections of one address. */
static void test_a_dead_connection_is_no_loss_to_a_read(void **state)
{
    (void)state;
    struct stage stage;
    struct query query;
    struct post post;
    struct message message;
    stage_open(&stage);
    post_usual(&stage, &post);
    struct peer *peer = gateway_take(&stage, &message);
    gateway_say(&stage, peer, NO_ANSWER);
    await_status(&stage, &post, 204);
    peer_close(peer);
    peer = bring(&stage, &query);
    assert_ptr_equal(peer, &stage.peers[1]);
    gateway_say(&stage, peer, PLAIN_OK(2) "{}");
    await_status(&stage, &query.post, 200);
    query_end(&query);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_target_goes_out_as_it_is),
        cmocka_unit_test(test_headers_go_out_as_they_are),
        cmocka_unit_test(test_credentials_of_a_read),
        cmocka_unit_test(test_methods_in_any_order),
        cmocka_unit_test(test_an_answer_is_told_as_it_comes),
        cmocka_unit_test(test_an_answer_streams),
        cmocka_unit_test(test_an_answer_up_to_the_end_of_the_connection),
        cmocka_unit_test(test_an_answer_that_breaks_off),
        cmocka_unit_test(test_a_gateway_that_is_not_there),
        cmocka_unit_test(test_a_read_outlives_the_time_of_a_write),
        cmocka_unit_test(test_a_reader_without_room_pauses_the_gateway),
        cmocka_unit_test(test_others_go_on_beside_a_paused_read),
        cmocka_unit_test(test_a_turn_takes_so_much_of_reads),
        cmocka_unit_test(test_an_aborted_read_is_heard_of_no_more),
        cmocka_unit_test(test_free_drops_reads_at_any_point),
        cmocka_unit_test(test_cancelling_writes_leaves_reads),
        cmocka_unit_test(test_a_dead_connection_is_no_loss_to_a_read),
    };
    return cmocka_run_group_tests_name("upstream/upstream reads", tests, set_up_library,
                                       tear_down_library);
}
