/* Writes by plain HTTP and their connections: what test_upstream.c does not ask of both ways. */
#include "upstream_stage.h"

#include <sys/epoll.h>

#include <dirent.h>

#define COUNTED(metric) atomic_load(&stage.metrics.counters[METRIC_##metric])

static size_t count_descriptors(void)
{
    size_t count = 0;
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    while (readdir(folder) != NULL) {
        count++;
    }
    (void)closedir(folder);
    return count;
}

/* A usual write as far as the gateway. */
static struct peer *bring_usual(struct stage *stage, struct post *post)
{
    struct message message;
    post_usual(stage, post);
    return gateway_take(stage, &message);
}

static struct peer *write_usual(struct stage *stage)
{
    struct post post;
    struct peer *peer = bring_usual(stage, &post);
    gateway_say(stage, peer, NO_ANSWER);
    await_status(stage, &post, 204);
    return peer;
}

/* A body that no buffer on the way holds. Owner: the caller, with bytes_free(). */
static struct bytes large_body(void)
{
    struct bytes body = {0};
    for (size_t i = 0; i < 8 * 1000 * 1000; i++) {
        put_byte(&body, (unsigned)((i * 31 + (i >> 8)) & 0xff));
    }
    return body;
}

/* Begin it with a deaf gateway, which has seen some of it. */
static void begin_large(struct stage *stage, struct post *post, struct upstream_piece *piece,
                        const struct bytes *body)
{
    *piece = (struct upstream_piece){.data = body->data, .bytes = body->size};
    stage->deaf = true;
    post_pieces(stage, post, piece, 1);
    while (stage->count == 0 || peer_unread(&stage->peers[0]) == 0) {
        turn(stage);
        if (stage->count > 0) {
            peer_receive_some(&stage->peers[0], 1000);
        }
    }
}

/* -- Out -------------------------------------------------------------------------------------- */

static void test_the_head_is_this(void **state)
{
    (void)state;
    struct stage stage;
    struct post post;
    struct message message;
    char head[512];
    stage_open(&stage);
    upstream_set_identity(stage.upstream, &(struct upstream_identity){.authorization = "Bearer x",
                                                                      .server_name = "other"});
    post_usual(&stage, &post);
    gateway_say(&stage, gateway_take(&stage, &message), NO_ANSWER);
    int bytes = snprintf(head, sizeof(head),
                         "POST " WRITE_PATH " HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nX-Scope: tenant\r\n"
                         "Content-Type: application/x-test\r\nAuthorization: Bearer x\r\n"
                         "Content-Length: 5\r\n\r\n",
                         (unsigned)stage.port);
    assert_int_equal(message.head_bytes, bytes);
    assert_memory_equal(message.head, head, (size_t)bytes);
    await_status(&stage, &post, 204);
    stage_close(&stage);
}

static void test_more_pieces_than_go_out_at_once(void **state)
{
    (void)state;

    enum { PIECES = 1000 };

    struct stage stage;
    struct post post;
    struct message message;
    struct upstream_piece pieces[PIECES];
    uint8_t body[PIECES];
    size_t bytes = 0;
    stage_open(&stage);
    for (size_t i = 0; i < PIECES; i++) {
        size_t size = i % 3 == 0 ? 0 : 1;
        body[bytes] = (uint8_t)i;
        pieces[i] = (struct upstream_piece){.data = body + bytes, .bytes = size};
        bytes += size;
    }
    post_pieces(&stage, &post, pieces, PIECES);
    struct peer *peer = gateway_take(&stage, &message);
    assert_int_equal(message.body_bytes, bytes);
    assert_memory_equal(message.body, body, bytes);
    gateway_say(&stage, peer, NO_ANSWER);
    await_status(&stage, &post, 204);
    stage_close(&stage);
}

/* -- Answers before the body is out ------------------------------------------------------------ */

/* A gateway may accept by the head and read on: then it has all of it in the end. */
static void test_an_early_2xx_counts_once_the_body_is_out(void **state)
{
    (void)state;
    struct stage stage;
    struct post post;
    struct message message;
    struct upstream_piece piece;
    struct bytes body = large_body();
    stage_open(&stage);
    begin_large(&stage, &post, &piece, &body);
    gateway_say(&stage, &stage.peers[0], PLAIN_OK(0));
    settle(&stage);
    assert_int_equal(post.dones, 0);
    stage.deaf = false;
    assert_ptr_equal(gateway_take(&stage, &message), &stage.peers[0]);
    assert_int_equal(message.body_bytes, body.size);
    assert_memory_equal(message.body, body.data, body.size);
    await_status(&stage, &post, 200);
    write_usual(&stage);
    assert_int_equal(stage.count, 1);
    bytes_free(&body);
    stage_close(&stage);
}

static void test_an_early_2xx_and_an_end_is_none(void **state)
{
    (void)state;
    struct bytes body = large_body();
    for (unsigned resets = 0; resets < 2; resets++) {
        struct stage stage;
        struct post post;
        struct upstream_piece piece;
        stage_open(&stage);
        begin_large(&stage, &post, &piece, &body);
        gateway_say(&stage, &stage.peers[0], PLAIN_OK(0));
        if (resets != 0) {
            peer_reset(&stage.peers[0]);
        } else {
            peer_close(&stage.peers[0]);
        }
        await_done(&stage, &post, OUTCOME_BROKEN);
        stage_close(&stage);
    }
    bytes_free(&body);
}

/* The word that came before a reset is heard, though nothing more could be sent. */
static void test_an_early_refusal_counts(void **state)
{
    (void)state;
    struct bytes body = large_body();
    for (unsigned resets = 0; resets < 2; resets++) {
        static const char refusal[] = "HTTP/1.1 413 No\r\nContent-Length: 3\r\n\r\nbig";
        struct stage stage;
        struct post post;
        struct upstream_piece piece;
        stage_open(&stage);
        begin_large(&stage, &post, &piece, &body);
        assert_int_equal(peer_send_some(&stage.peers[0], refusal, sizeof(refusal) - 1),
                         sizeof(refusal) - 1);
        if (resets != 0) {
            peer_reset(&stage.peers[0]);
        }
        await_status(&stage, &post, 413);
        assert_memory_equal(post.outcome.body, "big", 3);
        stage.deaf = false;
        write_usual(&stage);
        assert_int_equal(stage.count, 2);
        stage_close(&stage);
    }
    bytes_free(&body);
}

/* -- Once more -------------------------------------------------------------------------------- */

static void test_a_write_is_sent_again_once(void **state)
{
    (void)state;
    struct stage stage;
    struct post post;
    struct message message;
    stage_open(&stage);
    write_usual(&stage);
    peer_close(bring_usual(&stage, &post));
    struct peer *second = gateway_take(&stage, &message);
    assert_ptr_equal(second, &stage.peers[1]);
    peer_close(second);
    await_done(&stage, &post, OUTCOME_BROKEN);
    assert_int_equal(COUNTED(GATEWAY_REPLAYS), 1);
    assert_int_equal(stage.count, 2);
    stage_close(&stage);
}

/* Where one idle connection has died, so may the others have. */
static void test_again_means_on_a_new_connection(void **state)
{
    (void)state;
    struct stage stage;
    struct post posts[3];
    struct peer *peers[3];
    struct message message;
    stage_open(&stage);
    for (size_t i = 0; i < 3; i++) {
        peers[i] = bring_usual(&stage, &posts[i]);
    }
    for (size_t i = 0; i < 3; i++) {
        gateway_say(&stage, peers[i], NO_ANSWER);
        await_status(&stage, &posts[i], 204);
    }
    peer_reset(bring_usual(&stage, &posts[0]));
    struct peer *fresh = gateway_take(&stage, &message);
    assert_ptr_equal(fresh, &stage.peers[3]);
    gateway_say(&stage, fresh, NO_ANSWER);
    await_status(&stage, &posts[0], 204);
    assert_int_equal(COUNTED(GATEWAY_REPLAYS), 1);
    stage_close(&stage);
}

static void test_what_may_be_stored_is_not_unreachable(void **state)
{
    (void)state;
    struct stage stage;
    struct post post;
    stage_open(&stage);
    write_usual(&stage);
    struct peer *peer = bring_usual(&stage, &post);
    gateway_stop_listening(&stage);
    peer_close(peer);
    await_done(&stage, &post, OUTCOME_BROKEN);
    stage_close(&stage);
}

static void test_not_again_once_an_answer_has_begun(void **state)
{
    (void)state;
    struct stage stage;
    struct post post;
    stage_open(&stage);
    write_usual(&stage);
    struct peer *peer = bring_usual(&stage, &post);
    gateway_say(&stage, peer, "H");
    peer_close(peer);
    await_done(&stage, &post, OUTCOME_BROKEN);
    assert_int_equal(COUNTED(GATEWAY_REPLAYS), 0);
    assert_int_equal(stage.count, 1);
    stage_close(&stage);
}

/* -- Connections ------------------------------------------------------------------------------ */

static void wait_us(struct stage *stage, uint64_t us)
{
    for (uint64_t until_us = clock_now_us() + us; clock_now_us() < until_us;) {
        turn(stage);
    }
}

static void test_a_connection_ages(void **state)
{
    (void)state;
    struct stage stage;
    stage_open_with(&stage, (struct upstream_settings){.connection_age_us = 150 * 1000});
    write_usual(&stage);
    write_usual(&stage);
    assert_int_equal(stage.count, 1);
    wait_us(&stage, 160 * 1000);
    write_usual(&stage);
    assert_int_equal(stage.count, 2);
    gateway_expect_end(&stage, &stage.peers[0]);
    stage_close(&stage);
}

static void test_a_connection_is_not_idle_for_long(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    upstream_set_identity(stage.upstream,
                          &(struct upstream_identity){.idle_timeout_us = 150 * 1000});
    for (unsigned i = 0; i < 4; i++) {
        write_usual(&stage);
        wait_us(&stage, 50 * 1000);
    }
    assert_int_equal(stage.count, 1);
    wait_us(&stage, 160 * 1000);
    write_usual(&stage);
    assert_int_equal(stage.count, 2);
    gateway_expect_end(&stage, &stage.peers[0]);
    stage_close(&stage);
}

/* An end, or a word, on an idle connection closes it at once, not with the next write. */
static void test_an_idle_connection_that_ends_is_let_go(void **state)
{
    (void)state;
    struct stage stage;
    stage_open(&stage);
    settle(&stage);
    size_t before = count_descriptors();
    struct peer *peer = write_usual(&stage);
    assert_true(count_descriptors() > before);
    peer_close(peer);
    settle(&stage);
    assert_int_equal(count_descriptors(), before);
    assert_int_equal(COUNTED(GATEWAY_STALE), 0);
    peer = write_usual(&stage);
    gateway_say(&stage, peer, "HTTP/1.1 408 Late\r\n\r\n");
    settle(&stage);
    gateway_expect_end(&stage, peer);
    assert_int_equal(COUNTED(GATEWAY_STALE), 1);
    stage_close(&stage);
}

static void test_what_follows_an_answer_ends_its_connection(void **state)
{
    (void)state;
    struct stage stage;
    struct post post;
    stage_open(&stage);
    struct peer *peer = bring_usual(&stage, &post);
    gateway_say(&stage, peer, NO_ANSWER NO_ANSWER);
    await_status(&stage, &post, 204);
    gateway_expect_end(&stage, peer);
    assert_int_equal(COUNTED(GATEWAY_STALE), 1);
    write_usual(&stage);
    assert_int_equal(stage.count, 2);
    stage_close(&stage);
}

/* A token is of a request, not of a connection; and through a proxy go other connections. */
static void test_identities(void **state)
{
    (void)state;
    struct stage stage;
    struct post post;
    stage_open(&stage);
    write_usual(&stage);
    upstream_set_identity(stage.upstream, &(struct upstream_identity){.authorization = "Bearer x"});
    struct peer *peer = write_usual(&stage);
    assert_int_equal(stage.count, 1);
    upstream_set_identity(stage.upstream,
                          &(struct upstream_identity){.proxy_url = "http://127.0.0.1:1"});
    gateway_expect_end(&stage, peer);
    post_usual(&stage, &post);
    await_done(&stage, &post, OUTCOME_UNREACHABLE);
    stage_close(&stage);
}

static void test_credentials_are_not_repeated(void **state)
{
    (void)state;
    struct stage stage;
    struct post post;
    stage_open(&stage);
    upstream_set_identity(stage.upstream,
                          &(struct upstream_identity){.authorization = "Bearer hunter2"});
    gateway_say(&stage, bring_usual(&stage, &post),
                "HTTP/1.1 400 No\r\nContent-Length: 15\r\n\r\nhunter2 is none");
    await_status(&stage, &post, 400);
    assert_memory_equal(post.outcome.body, "******* is none", 15);
    stage_close(&stage);
}

static void on_nothing(void *arg, const char *name, size_t name_bytes, const char *value,
                       size_t value_bytes)
{
    (void)arg;
    (void)name;
    (void)name_bytes;
    (void)value;
    (void)value_bytes;
}

static void on_head(void *arg, unsigned status, uint64_t body_bytes)
{
    (void)arg;
    (void)status;
    (void)body_bytes;
}

static bool on_data(void *arg, const uint8_t *data, size_t bytes)
{
    (void)arg;
    (void)data;
    (void)bytes;
    return true;
}

/* libcurl makes room in its cache by closing what it takes for idle: not a connection that it has
 * just made for a write. */
static void test_reads_at_the_gateway_cost_no_write_its_connection(void **state)
{
    (void)state;
    static const char *const headers[] = {NULL};
    struct stage stage;
    struct post reads[3];
    struct message message;
    stage_open_with(&stage, (struct upstream_settings){.connections_idle_max = 1});
    for (size_t i = 0; i < 3; i++) {
        const struct upstream_read read = {.method = ROUTE_METHOD_GET,
                                           .target = "/api/v1/query",
                                           .headers = headers,
                                           .arg = &reads[i],
                                           .on_header = on_nothing,
                                           .on_head = on_head,
                                           .on_data = on_data,
                                           .on_done = on_post_done};
        reads[i] = (struct post){.dones = 0};
        assert_non_null(upstream_read(stage.upstream, &read));
        (void)gateway_take(&stage, &message);
    }
    struct peer *peer = write_usual(&stage);
    assert_ptr_equal(write_usual(&stage), peer);
    assert_int_equal(stage.count, 4);
    for (size_t i = 0; i < 3; i++) {
        gateway_say(&stage, &stage.peers[i], PLAIN_OK(0));
        await_status(&stage, &reads[i], 200);
    }
    stage_close(&stage);
}

/* -- Life ------------------------------------------------------------------------------------- */

/* The first that came is the first that is over, with a connection or without. */
static void test_deadlines_come_in_order(void **state)
{
    (void)state;
    struct stage stage;
    struct post posts[4];
    stage_open_with(&stage, (struct upstream_settings){.write_timeout_us = 200 * 1000});
    for (size_t i = 0; i < 4; i++) {
        (void)bring_usual(&stage, &posts[i]);
        wait_us(&stage, 10 * 1000);
    }
    gateway_say(&stage, &stage.peers[1], NO_ANSWER);
    await_status(&stage, &posts[1], 204);
    for (size_t i = 0; i < 4; i++) {
        while (posts[i].dones == 0) {
            for (size_t j = i + 1; j < 4; j++) {
                assert_true(j == 1 || posts[j].dones == 0);
            }
            turn(&stage);
        }
        assert_int_equal(posts[i].outcome.kind, i == 1 ? OUTCOME_ANSWERED : OUTCOME_TIMEOUT);
    }
    stage_close(&stage);
}

/* Cancelled before it was looked at, while it connects, and with nothing left behind. */
static void test_cancel_at_any_time(void **state)
{
    (void)state;
    struct stage stage;
    struct post post;
    size_t before = count_descriptors();
    stage_open(&stage);
    for (unsigned turns = 0; turns < 4; turns++) {
        post_usual(&stage, &post);
        for (unsigned i = 0; i < turns; i++) {
            turn(&stage);
        }
        upstream_cancel_writes(stage.upstream);
        assert_int_equal(post.dones, 1);
        assert_int_equal(post.outcome.kind, OUTCOME_CANCELLED);
        settle(&stage);
        assert_true(count_idle_turns(&stage) < 10);
    }
    for (size_t i = 0; i < stage.count; i++) {
        struct message message;
        (void)peer_take(&stage.peers[i], false, &message); /* of a cancelled one */
    }
    write_usual(&stage);
    stage_close(&stage);
    assert_int_equal(count_descriptors(), before);
}

static bool watch_told;

static void on_told(struct loop_watch *watch, uint32_t events)
{
    (void)watch;
    (void)events;
    watch_told = true;
}

/* libcurl closes the descriptor of its resolver while the upstream runs. Whoever gets its number
 * before the upstream flushes keeps being watched. */
static void test_a_number_given_out_again_stays_watched(void **state)
{
    (void)state;
    static const struct log quiet = {.sink = NULL};
    static const char *const headers[] = {NULL};
    struct stage stage;
    struct post post;
    stage_open(&stage);
    struct upstream *own = stage.upstream;
    /* A label of 64 bytes: no resolver asks anybody about it. */
    stage.upstream = upstream_new(
        &(struct upstream_settings){
            .log = &quiet,
            .metrics = &stage.metrics,
            .write_url =
                "http://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/w",
            .write_headers = headers,
            .read_url = "http://127.0.0.1:1",
            .connect_timeout_us = PATIENCE_US,
            .write_timeout_us = PATIENCE_US,
            .connection_age_us = PATIENCE_US,
            .connections_idle_max = 1},
        stage.loop);
    assert_non_null(stage.upstream);
    post_usual(&stage, &post);
    for (unsigned turns = 0; post.dones == 0; turns++) {
        assert_true(turns < 1000);
        upstream_flush(stage.upstream);
        loop_wait(stage.loop, clock_now_us() + TURN_US);
        upstream_run(stage.upstream);
    }
    assert_int_equal(post.outcome.kind, OUTCOME_UNREACHABLE);
    int pairs[4][2];
    struct loop_watch watches[4];
    for (size_t i = 0; i < COUNT(pairs); i++) {
        watches[i].on_ready = on_told;
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pairs[i]), 0);
        assert_int_equal(loop_set(stage.loop, pairs[i][0], EPOLLIN | EPOLLET, &watches[i]), 0);
    }
    upstream_flush(stage.upstream);
    for (size_t i = 0; i < COUNT(pairs); i++) {
        watch_told = false;
        assert_int_equal(write(pairs[i][1], "x", 1), 1);
        loop_wait(stage.loop, clock_now_us() + TURN_US);
        assert_true(watch_told);
    }
    for (size_t i = 0; i < COUNT(pairs); i++) {
        close(pairs[i][0]);
        close(pairs[i][1]);
    }
    upstream_free(stage.upstream);
    stage.upstream = own;
    stage_close(&stage);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_head_is_this),
        cmocka_unit_test(test_more_pieces_than_go_out_at_once),
        cmocka_unit_test(test_an_early_2xx_counts_once_the_body_is_out),
        cmocka_unit_test(test_an_early_2xx_and_an_end_is_none),
        cmocka_unit_test(test_an_early_refusal_counts),
        cmocka_unit_test(test_a_write_is_sent_again_once),
        cmocka_unit_test(test_again_means_on_a_new_connection),
        cmocka_unit_test(test_what_may_be_stored_is_not_unreachable),
        cmocka_unit_test(test_not_again_once_an_answer_has_begun),
        cmocka_unit_test(test_a_connection_ages),
        cmocka_unit_test(test_a_connection_is_not_idle_for_long),
        cmocka_unit_test(test_an_idle_connection_that_ends_is_let_go),
        cmocka_unit_test(test_what_follows_an_answer_ends_its_connection),
        cmocka_unit_test(test_identities),
        cmocka_unit_test(test_credentials_are_not_repeated),
        cmocka_unit_test(test_reads_at_the_gateway_cost_no_write_its_connection),
        cmocka_unit_test(test_deadlines_come_in_order),
        cmocka_unit_test(test_cancel_at_any_time),
        cmocka_unit_test(test_a_number_given_out_again_stays_watched),
    };
    return cmocka_run_group_tests_name("upstream/upstream_plain", tests, set_up_library,
                                       tear_down_library);
}
