/* One relayed read: what is asked of the gateway, and the window through which its answer goes. */
#include "flow/read.h"

#include "read_stage.h"

#include <errno.h>

struct stage {
    struct config config;
    struct flow_context context;
    struct upstream upstream;
    struct read_gateway gateway;
    struct exchange exchange;
    struct read read;
    unsigned news;
};

static void on_news(struct read *read)
{
    struct stage *stage = read->gateway->owner;
    stage->news++;
}

static void stage_open(struct stage *stage, enum route_method method, const char *target)
{
    *stage = (struct stage){.config = {.reads_window_bytes = WINDOW_BYTES},
                            .exchange = {.target = target, .method = method}};
    stage->context = (struct flow_context){.config = &stage->config};
    stage->gateway = (struct read_gateway){.context = &stage->context,
                                           .upstream = &stage->upstream,
                                           .prefix = TENANT_PREFIX,
                                           .tenant_line = TENANT_LINE,
                                           .on_news = on_news,
                                           .owner = stage};
    stage->read.gateway = &stage->gateway;
    stage->read.exchange = &stage->exchange;
    buf_init(&stage->read.body, 16384);
}

static void stage_close(struct stage *stage)
{
    if (stage->read.call != NULL) {
        upstream_abort(stage->read.call);
        stage->read.call = NULL;
    }
    read_deinit(&stage->read);
    bytes_free(&stage->exchange.reply);
    upstream_clear(&stage->upstream);
}

static void set_form(struct stage *stage, const char *form)
{
    static const struct server_header headers[] = {
        {"Content-Type", "application/x-www-form-urlencoded"}, {NULL, NULL}};
    stage->exchange.headers = headers;
    assert_int_equal(buf_append(&stage->read.body, form, strlen(form)), 0);
}

static struct upstream_call *ask(struct stage *stage)
{
    assert_int_equal(read_prepare(&stage->read), 0);
    assert_int_equal(read_ask(&stage->read), 0);
    return &stage->upstream.calls[0];
}

static void expect_asked(const struct upstream_call *call, enum route_method method,
                         const char *target)
{
    assert_int_equal(call->read.method, method);
    assert_string_equal((const char *)call->target.data, target);
}

static void test_get(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, ROUTE_METHOD_GET, QUERY_TARGET);
    const struct upstream_call *call = ask(&stage);
    expect_asked(call, ROUTE_METHOD_GET, TENANT_PREFIX QUERY_TARGET);
    /* A line without a value keeps the HTTP library from adding its own. */
    assert_string_equal((const char *)call->lines.data, TENANT_LINE "\nAccept:\n");
    stage_close(&stage);
}

static void test_form(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, ROUTE_METHOD_POST, "/api/v1/query");
    set_form(&stage, "query=up");
    const struct upstream_call *call = ask(&stage);
    expect_asked(call, ROUTE_METHOD_POST, TENANT_PREFIX "/api/v1/query");
    assert_string_equal((const char *)call->lines.data,
                        "Content-Type: application/x-www-form-urlencoded\n" TENANT_LINE
                        "\nAccept:\n");
    assert_int_equal(call->read.body_bytes, 8);
    assert_memory_equal(call->read.body, "query=up", 8);
    stage_close(&stage);
}

/* A body that has no type gets none, and the gateway is not asked whether it wants a large one. */
static void test_large_body(void **state)
{
    (void)state;
    static char body[(1 << 20) + 1];
    struct stage stage;
    stage_open(&stage, ROUTE_METHOD_POST, "/api/v1/otlp");
    buf_init(&stage.read.body, sizeof(body));
    assert_int_equal(buf_append(&stage.read.body, body, sizeof(body)), 0);
    const struct upstream_call *call = ask(&stage);
    assert_string_equal((const char *)call->lines.data,
                        TENANT_LINE "\nExpect:\nAccept:\nContent-Type:\n");
    stage_close(&stage);
}

static void test_form_becomes_target(void **state)
{
    (void)state;

    static const struct {
        const char *target, *form;
        bool becomes;
    } cases[] = {
        {"/api/v1/series", "match[]=up", true},   {"/api/v1/labels?a=b", "match[]=up", true},
        {"/api/v1/series", "match[]=a b", false}, {"/api/v1/series", "a=\n", false},
        {"/api/v1/query", "query=up", false},     {"/api/v1/query_exemplars", "query=up", false},
        {"/api/v1/labels", "a=#", false},         {"/api/v1/labels", "", true},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct stage stage;
        stage_open(&stage, ROUTE_METHOD_POST, cases[i].target);
        set_form(&stage, cases[i].form);
        const struct upstream_call *call = ask(&stage);
        assert_int_equal(call->read.method,
                         cases[i].becomes ? ROUTE_METHOD_GET : ROUTE_METHOD_POST);
        assert_int_equal(strstr((const char *)call->lines.data, "form") == NULL, cases[i].becomes);
        stage_close(&stage);
    }
}

/* Only a form that is known to be one, and not encoded. */
static void test_other_bodies_stay_bodies(void **state)
{
    (void)state;
    static const struct server_header cases[][3] = {
        {{NULL, NULL}},
        {{"Content-Type", "application/json"}, {NULL, NULL}},
        {{"Content-Type", "application/x-www-form-urlencoded"}, {"Content-Encoding", "gzip"}},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct stage stage;
        stage_open(&stage, ROUTE_METHOD_POST, "/api/v1/series");
        set_form(&stage, "match[]=up");
        stage.exchange.headers = cases[i];
        expect_asked(ask(&stage), ROUTE_METHOD_POST, TENANT_PREFIX "/api/v1/series");
        stage_close(&stage);
    }
}

static void test_bad_requests(void **state)
{
    (void)state;
    static const struct server_header many[] = {
        {"Connection", "a"}, {"Connection", "b"}, {"Connection", "c"}, {"Connection", "d"},
        {"Connection", "e"}, {"Connection", "f"}, {"Connection", "g"}, {"Connection", "h"},
        {"Connection", "i"}, {NULL, NULL}};

    static const struct {
        const char *target;
        const struct server_header *headers;
        int status;
    } cases[] = {
        {"/api/v1/query?a#b", NULL, -EBADMSG},
        {"/api/v1/query?a\x7f", NULL, -EBADMSG},
        {QUERY_TARGET, many, -EBADMSG},
        {QUERY_TARGET, many + 1, 0},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct stage stage;
        stage_open(&stage, ROUTE_METHOD_GET, cases[i].target);
        stage.exchange.headers = cases[i].headers;
        assert_int_equal(read_prepare(&stage.read), cases[i].status);
        stage_close(&stage);
    }
}

static void test_too_many_lines(void **state)
{
    (void)state;
    struct server_header headers[34];
    for (size_t count = 28; count <= 33; count++) {
        for (size_t i = 0; i < count; i++) {
            headers[i] = (struct server_header){"Accept", "a"};
        }
        headers[count] = (struct server_header){NULL, NULL};
        struct stage stage;
        stage_open(&stage, ROUTE_METHOD_GET, QUERY_TARGET);
        stage.exchange.headers = headers;
        /* The tenant's comes on top; 32 lines in all. */
        assert_int_equal(read_prepare(&stage.read), count <= 31 ? 0 : -EMSGSIZE);
        stage_close(&stage);
    }
}

static void test_no_memory(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, ROUTE_METHOD_GET, QUERY_TARGET);
    stage.upstream.without_memory = true;
    assert_int_equal(read_prepare(&stage.read), 0);
    assert_int_equal(read_ask(&stage.read), -ENOMEM);
    stage_close(&stage);
}

/* Headers that pass, in order; empty ones and those of the connection do not. */
static void test_reply_at_once(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, ROUTE_METHOD_GET, QUERY_TARGET);
    struct upstream_call *call = ask(&stage);
    gateway_header(call, "Content-Type", "application/json");
    gateway_header(call, "X-Empty", "");
    gateway_header(call, "X-Listed", "1");
    gateway_header(call, "Connection", "close, X-Listed");
    gateway_header(call, "Content-Length", "4");
    gateway_header(call, "Content-Encoding", "gzip");
    gateway_head(call, 422, 4);
    assert_true(gateway_data(call, "body", 4));
    gateway_end(call, OUTCOME_ANSWERED, 422);
    assert_true(stage.news > 0);
    assert_int_equal(stage.exchange.replies, 0);
    read_reply(&stage.read);
    assert_int_equal(stage.read.state, READ_ANSWERED);
    assert_false(stage.exchange.streams);
    assert_int_equal(stage.exchange.status, 422);
    assert_string_equal(stage.exchange.reply_headers,
                        "Content-Type: application/json\nContent-Encoding: gzip\n");
    assert_int_equal(stage.exchange.reply.size, 4);
    assert_memory_equal(stage.exchange.reply.data, "body", 4);
    stage_close(&stage);
}

static void test_head_of_the_answer_is_bounded(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, ROUTE_METHOD_GET, QUERY_TARGET);
    struct upstream_call *call = ask(&stage);
    for (unsigned i = 0; i < 1000; i++) {
        gateway_header(call, "a", "b");
    }
    assert_true(stage.read.header_count <= 64);
    static char large[100000];
    memset(large, 'x', sizeof(large) - 1);
    gateway_header(call, "X", large);
    gateway_head(call, 200, 0);
    gateway_end(call, OUTCOME_ANSWERED, 200);
    read_reply(&stage.read);
    assert_int_equal(stage.exchange.status, 200);
    stage_close(&stage);
}

/* The gateway is paused when the window is full, and resumed when half of it is taken. */
static void test_window(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, ROUTE_METHOD_GET, QUERY_TARGET);
    struct upstream_call *call = ask(&stage);
    gateway_head(call, 200, UPSTREAM_BODY_UNKNOWN);
    read_reply(&stage.read);
    assert_int_equal(stage.read.state, READ_STREAMING);
    assert_true(stage.exchange.streams);
    assert_true(stage.exchange.stream_bytes == SERVER_BODY_UNKNOWN);

    char sent[600];
    memset(sent, 's', sizeof(sent));
    uint8_t taken[WINDOW_BYTES];
    assert_int_equal(read_take(&stage.read, taken, sizeof(taken)), 0);
    assert_true(gateway_data(call, sent, 600));
    assert_false(gateway_data(call, sent, 600));
    assert_int_equal(read_window_used(&stage.read), 600);
    assert_int_equal(read_take(&stage.read, taken, 80), 80);
    assert_false(call->resumed);
    assert_int_equal(read_take(&stage.read, taken, 80), 80);
    assert_true(call->resumed);
    /* Offered again, the same bytes find room behind those that are left. */
    assert_true(gateway_data(call, sent, 500));
    assert_int_equal(read_window_used(&stage.read), 940);
    assert_true(stage.read.window.capacity <= WINDOW_BYTES);
    gateway_end(call, OUTCOME_ANSWERED, 200);
    assert_int_equal(read_take(&stage.read, taken, sizeof(taken)), 940);
    assert_int_equal(read_take(&stage.read, taken, sizeof(taken)), SERVER_STREAM_END);
    stage_close(&stage);
}

/* Every byte once and in order, whatever the sizes in which it comes and goes. */
static void test_stream_keeps_bytes(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, ROUTE_METHOD_GET, QUERY_TARGET);
    struct upstream_call *call = ask(&stage);
    gateway_head(call, 200, UPSTREAM_BODY_UNKNOWN);
    read_reply(&stage.read);
    uint32_t random = 1;
    uint8_t put_next = 0;
    uint8_t take_next = 0;
    for (unsigned step = 0; step < 20000; step++) {
        random = random * 1664525U + 1013904223U;
        size_t bytes = (random >> 8) % 300 + 1;
        uint8_t piece[300];
        if ((random >> 30) != 0) {
            for (size_t i = 0; i < bytes; i++) {
                piece[i] = (uint8_t)(put_next + i);
            }
            if (!stage.read.paused && gateway_data(call, (const char *)piece, bytes)) {
                put_next = (uint8_t)(put_next + bytes);
            }
        }
        ptrdiff_t taken = read_take(&stage.read, piece, (random >> 16) % 300 + 1);
        assert_true(taken >= 0);
        for (ptrdiff_t i = 0; i < taken; i++) {
            assert_int_equal(piece[i], take_next);
            take_next++;
        }
        assert_true(read_window_used(&stage.read) <= WINDOW_BYTES);
    }
    stage_close(&stage);
}

static void test_broken_stream(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, ROUTE_METHOD_GET, QUERY_TARGET);
    struct upstream_call *call = ask(&stage);
    gateway_head(call, 200, 100);
    read_reply(&stage.read);
    assert_int_equal(stage.exchange.stream_bytes, 100);
    uint8_t taken[16];
    assert_true(gateway_data(call, "some", 4));
    gateway_end(call, OUTCOME_BROKEN, 0);
    assert_int_equal(read_take(&stage.read, taken, sizeof(taken)), 4);
    assert_int_equal(read_take(&stage.read, taken, sizeof(taken)), SERVER_STREAM_BROKEN);
    stage_close(&stage);
}

static void test_error_reply(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage, ROUTE_METHOD_GET, QUERY_TARGET);
    read_reply_error(&stage.read, 503, "unavailable", "come again");
    assert_int_equal(stage.exchange.status, 503);
    assert_string_equal(stage.exchange.reply_headers, "Retry-After: 1\n");
    static const char text[] =
        "{\"status\":\"error\",\"errorType\":\"unavailable\",\"error\":\"come again\"}\n";
    assert_int_equal(stage.exchange.reply.size, sizeof(text) - 1);
    assert_memory_equal(stage.exchange.reply.data, text, sizeof(text) - 1);
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get),
        cmocka_unit_test(test_form),
        cmocka_unit_test(test_large_body),
        cmocka_unit_test(test_form_becomes_target),
        cmocka_unit_test(test_other_bodies_stay_bodies),
        cmocka_unit_test(test_bad_requests),
        cmocka_unit_test(test_too_many_lines),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_reply_at_once),
        cmocka_unit_test(test_head_of_the_answer_is_bounded),
        cmocka_unit_test(test_window),
        cmocka_unit_test(test_stream_keeps_bytes),
        cmocka_unit_test(test_broken_stream),
        cmocka_unit_test(test_error_reply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
