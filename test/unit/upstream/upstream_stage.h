/* An upstream under test over real sockets: a gateway in the same thread, by turns with it, that
 * says what a test tells it to. */
#ifndef AGENT_PROXY_TEST_UPSTREAM_STAGE_H
#define AGENT_PROXY_TEST_UPSTREAM_STAGE_H

#include "upstream/upstream.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/metrics.h"
#include "io/listener.h"
#include "io/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../io/peer.h"

#include <stdio.h>

#define PEERS_MAX        64
#define CONNECTIONS_MANY 1000
#define WRITE_PATH       "/tenant/api/v1/receive"
#define NO_ANSWER        "HTTP/1.1 204 No Content\r\n\r\n"
#define PLAIN_OK(n)      "HTTP/1.1 200 OK\r\nContent-Length: " #n "\r\n\r\n"

/* Writes go by libcurl too, as they do with a limit on connections, though it is not reached. */
static bool through_curl;

/* What a test runs. Owner: the test, by stage_open() and stage_close(). */
struct stage {
    struct loop *loop;
    struct upstream *upstream;
    struct metrics metrics;
    int listen_fd;
    uint16_t port;
    struct peer peers[PEERS_MAX]; /* the gateway's ends, in the order in which they came */
    size_t count;
    bool deaf; /* the gateway does not read */
};

/* A write and how it ended. */
struct post {
    unsigned dones;
    struct outcome outcome;
};

/* settings: those of time and of number count, and what they leave at 0 is as usual. */
static inline void stage_open_with(struct stage *stage, struct upstream_settings settings)
{
    static const struct log quiet = {.sink = NULL};
    static const char *const headers[] = {"X-Scope: tenant", "Content-Type: application/x-test",
                                          "Accept:", "Expect:", NULL};
    char address[LISTENER_ADDRESS_BYTES];
    char write_url[128];
    char read_url[128];
    *stage = (struct stage){.loop = loop_new()};
    stage->listen_fd = listener_open("127.0.0.1", 0, address);
    assert_true(stage->loop != NULL && stage->listen_fd >= 0);
    /* So that kernels hold no large body between a sender and a gateway that does not read. */
    int room = 64 * 1024;
    (void)setsockopt(stage->listen_fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
    stage->port = bound_port(stage->listen_fd);
    (void)snprintf(write_url, sizeof(write_url), "http://127.0.0.1:%u" WRITE_PATH,
                   (unsigned)stage->port);
    (void)snprintf(read_url, sizeof(read_url), "http://127.0.0.1:%u", (unsigned)stage->port);
    settings.log = &quiet;
    settings.metrics = &stage->metrics;
    settings.write_url = write_url;
    settings.write_headers = headers;
    settings.read_url = read_url;
    settings.connect_timeout_us = PATIENCE_US;
    settings.write_timeout_us =
        settings.write_timeout_us != 0 ? settings.write_timeout_us : PATIENCE_US;
    settings.connection_age_us =
        settings.connection_age_us != 0 ? settings.connection_age_us : UINT64_C(3600) * 1000 * 1000;
    if (through_curl && settings.connections_max == 0) {
        settings.connections_max = CONNECTIONS_MANY;
    }
    settings.connections_idle_max =
        settings.connections_idle_max != 0 ? settings.connections_idle_max : 16;
    stage->upstream = upstream_new(&settings, stage->loop);
    assert_non_null(stage->upstream);
}

static inline void stage_open(struct stage *stage)
{
    stage_open_with(stage, (struct upstream_settings){.connections_max = 0});
}

static inline void gateway_stop_listening(struct stage *stage)
{
    if (stage->listen_fd >= 0) {
        close(stage->listen_fd);
    }
    stage->listen_fd = -1;
}

static inline void stage_close(struct stage *stage)
{
    upstream_free(stage->upstream);
    loop_free(stage->loop);
    gateway_stop_listening(stage);
    for (size_t i = 0; i < stage->count; i++) {
        peer_close(&stage->peers[i]);
    }
}

static inline void gateway_run(struct stage *stage)
{
    int fd;
    while (stage->listen_fd >= 0 && (fd = accept(stage->listen_fd, NULL, NULL)) >= 0) {
        assert_true(stage->count < PEERS_MAX);
        peer_adopt(&stage->peers[stage->count++], fd);
    }
    for (size_t i = 0; i < stage->count && !stage->deaf; i++) {
        if (stage->peers[i].fd >= 0) {
            peer_receive(&stage->peers[i]);
        }
    }
}

static inline void turn(struct stage *stage)
{
    uint64_t deadline_us = upstream_deadline_us(stage->upstream);
    uint64_t soon_us = clock_now_us() + TURN_US;
    loop_wait(stage->loop, deadline_us < soon_us ? deadline_us : soon_us);
    upstream_run(stage->upstream);
    upstream_flush(stage->upstream);
    gateway_run(stage);
}

/* Until all that was said has been heard. */
static inline void settle(struct stage *stage)
{
    for (unsigned i = 0; i < 4; i++) {
        turn(stage);
    }
}

/* Turns that the upstream asks for in 100 ms in which nothing happens. */
static inline unsigned count_idle_turns(struct stage *stage)
{
    unsigned turns = 0;
    for (uint64_t until_us = clock_now_us() + 100 * 1000; clock_now_us() < until_us; turns++) {
        uint64_t deadline_us = upstream_deadline_us(stage->upstream);
        loop_wait(stage->loop, deadline_us < until_us ? deadline_us : until_us);
        upstream_run(stage->upstream);
        upstream_flush(stage->upstream);
    }
    return turns;
}

/* -- The gateway ------------------------------------------------------------------------------ */

/* Wait for the next whole request on any connection. Returns whose it is. */
static inline struct peer *gateway_take(struct stage *stage, struct message *message)
{
    uint64_t until_us = clock_now_us() + PATIENCE_US;
    for (;;) {
        for (size_t i = 0; i < stage->count; i++) {
            if (stage->peers[i].fd >= 0 && peer_take(&stage->peers[i], false, message)) {
                return &stage->peers[i];
            }
        }
        assert_true(clock_now_us() < until_us);
        turn(stage);
    }
}

static inline void gateway_say_bytes(struct stage *stage, struct peer *peer, const void *data,
                                     size_t bytes)
{
    uint64_t until_us = clock_now_us() + PATIENCE_US;
    for (size_t sent = 0; sent < bytes && !peer->ended; turn(stage)) {
        sent += peer_send_some(peer, (const uint8_t *)data + sent, bytes - sent);
        assert_true(clock_now_us() < until_us);
    }
}

static inline void gateway_say(struct stage *stage, struct peer *peer, const char *text)
{
    gateway_say_bytes(stage, peer, text, strlen(text));
}

/* The upstream closes its end, and nothing more came on it. */
static inline void gateway_expect_end(struct stage *stage, struct peer *peer)
{
    uint64_t until_us = clock_now_us() + PATIENCE_US;
    while (!peer->ended) {
        assert_true(clock_now_us() < until_us);
        turn(stage);
    }
    assert_int_equal(peer_unread(peer), 0);
}

/* -- Writes ----------------------------------------------------------------------------------- */

static inline void on_post_done(void *arg, const struct outcome *outcome)
{
    struct post *post = arg;
    post->dones++;
    post->outcome = *outcome;
}

/* Begin a write of pieces, which outlive it. */
static inline void post_pieces(struct stage *stage, struct post *post,
                               const struct upstream_piece *pieces, size_t count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        bytes += pieces[i].bytes;
    }
    *post = (struct post){.dones = 0};
    assert_int_equal(upstream_write(stage->upstream, pieces, count, bytes, on_post_done, post), 0);
    assert_int_equal(post->dones, 0);
}

/* Begin a usual write. */
static inline void post_usual(struct stage *stage, struct post *post)
{
    static const struct upstream_piece piece = {.data = (const uint8_t *)"hello", .bytes = 5};
    post_pieces(stage, post, &piece, 1);
}

static inline void await_done(struct stage *stage, struct post *post, enum outcome_kind kind)
{
    uint64_t until_us = clock_now_us() + PATIENCE_US;
    while (post->dones == 0) {
        assert_true(clock_now_us() < until_us);
        turn(stage);
    }
    settle(stage);
    assert_int_equal(post->dones, 1);
    assert_int_equal(post->outcome.kind, kind);
    assert_true((kind == OUTCOME_ANSWERED) == (post->outcome.status != 0));
    assert_true((kind == OUTCOME_ANSWERED) == (post->outcome.detail[0] == '\0'));
}

static inline void await_status(struct stage *stage, struct post *post, unsigned status)
{
    await_done(stage, post, OUTCOME_ANSWERED);
    assert_int_equal(post->outcome.status, status);
}

static inline int set_up_library(void **state)
{
    (void)state;
    return upstream_library_init();
}

static inline int tear_down_library(void **state)
{
    (void)state;
    upstream_library_deinit();
    return 0;
}

#endif
