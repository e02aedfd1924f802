/* Waiting: deadlines, wake-ups from elsewhere, and watches that come, change and go. */
#include "io/loop.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* Far enough away that a test which waits for it has failed. */
#define LONG_US (30U * 1000U * 1000U)

struct pipe {
    struct loop_watch watch; /* first, so that a watch is its pipe */
    int ends[2];             /* ours, which is watched, and the other one */
    unsigned calls;
    uint32_t events; /* of the last call */
};

static void on_ready(struct loop_watch *watch, uint32_t events)
{
    struct pipe *pipe = (struct pipe *)watch;
    pipe->calls++;
    pipe->events = events;
}

static void pipe_open(struct pipe *pipe)
{
    *pipe = (struct pipe){.watch = {.on_ready = on_ready}};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pipe->ends), 0);
}

static void pipe_close(struct pipe *pipe)
{
    close(pipe->ends[0]);
    close(pipe->ends[1]);
}

static void feed(struct pipe *pipe)
{
    assert_int_equal(write(pipe->ends[1], "x", 1), 1);
}

static uint64_t in_us(uint64_t us)
{
    return clock_now_us() + us;
}

static struct loop *make_loop(void)
{
    struct loop *loop = loop_new();
    assert_non_null(loop);
    return loop;
}

static void test_waits_until_the_deadline_and_not_shorter(void **state)
{
    (void)state;
    struct loop *loop = make_loop();
    for (uint64_t us = 1; us < 10000; us += 1111) {
        uint64_t deadline_us = in_us(us);
        loop_wait(loop, deadline_us);
        assert_true(clock_now_us() >= deadline_us);
    }
    loop_free(loop);
}

static void test_a_deadline_that_has_come_does_not_wait(void **state)
{
    (void)state;
    struct loop *loop = make_loop();
    uint64_t before_us = clock_now_us();
    for (unsigned i = 0; i < 100; i++) {
        loop_wait(loop, 0);
        loop_wait(loop, 1);
        loop_wait(loop, before_us);
    }
    assert_true(clock_now_us() - before_us < LONG_US);
    loop_free(loop);
}

static void test_hands_out_events_without_waiting_for_the_deadline(void **state)
{
    (void)state;
    struct loop *loop = make_loop();
    struct pipe pipe;
    pipe_open(&pipe);
    assert_int_equal(loop_set(loop, pipe.ends[0], EPOLLIN, &pipe.watch), 0);
    assert_false(loop_wait(loop, 0));
    assert_int_equal(pipe.calls, 0);

    uint64_t before_us = clock_now_us();
    feed(&pipe);
    assert_true(loop_wait(loop, before_us + LONG_US));
    assert_int_equal(pipe.calls, 1);
    assert_int_equal(pipe.events, EPOLLIN);
    assert_true(clock_now_us() - before_us < LONG_US);
    pipe_close(&pipe);
    loop_free(loop);
}

/* What was not read shows again: a worker may leave some for its next turn. */
static void test_is_level_triggered(void **state)
{
    (void)state;
    struct loop *loop = make_loop();
    struct pipe pipe;
    pipe_open(&pipe);
    assert_int_equal(loop_set(loop, pipe.ends[0], EPOLLIN, &pipe.watch), 0);
    feed(&pipe);
    loop_wait(loop, 0);
    loop_wait(loop, 0);
    assert_int_equal(pipe.calls, 2);
    char byte;
    assert_int_equal(read(pipe.ends[0], &byte, 1), 1);
    loop_wait(loop, 0);
    assert_int_equal(pipe.calls, 2);
    pipe_close(&pipe);
    loop_free(loop);
}

static void test_set_again_replaces_events_and_watch(void **state)
{
    (void)state;
    struct loop *loop = make_loop();
    struct pipe pipe;
    struct pipe other = {.watch = {.on_ready = on_ready}};
    pipe_open(&pipe);
    feed(&pipe);
    assert_int_equal(loop_set(loop, pipe.ends[0], EPOLLIN, &pipe.watch), 0);
    assert_int_equal(loop_set(loop, pipe.ends[0], EPOLLOUT, &pipe.watch), 0);
    loop_wait(loop, 0);
    assert_int_equal(pipe.calls, 1);
    assert_int_equal(pipe.events, EPOLLOUT);
    assert_int_equal(loop_set(loop, pipe.ends[0], EPOLLIN, &other.watch), 0);
    loop_wait(loop, 0);
    assert_int_equal(pipe.calls, 1);
    assert_int_equal(other.calls, 1);
    assert_int_equal(other.events, EPOLLIN);
    pipe_close(&pipe);
    loop_free(loop);
}

static void test_tells_of_the_end_of_a_peer(void **state)
{
    (void)state;
    struct loop *loop = make_loop();
    struct pipe pipe;
    pipe_open(&pipe);
    assert_int_equal(loop_set(loop, pipe.ends[0], EPOLLIN, &pipe.watch), 0);
    close(pipe.ends[1]);
    loop_wait(loop, in_us(LONG_US));
    assert_int_equal(pipe.calls, 1);
    assert_true((pipe.events & EPOLLHUP) != 0);
    close(pipe.ends[0]);
    loop_free(loop);
}

static void test_a_cleared_descriptor_is_silent(void **state)
{
    (void)state;
    struct loop *loop = make_loop();
    struct pipe pipe;
    pipe_open(&pipe);
    feed(&pipe);
    assert_int_equal(loop_set(loop, pipe.ends[0], EPOLLIN, &pipe.watch), 0);
    loop_clear(loop, pipe.ends[0]);
    loop_wait(loop, 0);
    assert_int_equal(pipe.calls, 0);

    /* Not watched, closed, or no descriptor at all: passed over. */
    loop_clear(loop, pipe.ends[0]);
    pipe_close(&pipe);
    loop_clear(loop, pipe.ends[0]);
    loop_clear(loop, -1);
    loop_free(loop);
}

/* A descriptor closed without loop_clear() takes its watch with it, and its number comes again. */
static void test_a_number_given_out_again_is_watched_anew(void **state)
{
    (void)state;
    struct loop *loop = make_loop();
    struct pipe old;
    struct pipe new;
    pipe_open(&old);
    assert_int_equal(loop_set(loop, old.ends[0], EPOLLIN, &old.watch), 0);
    int number = old.ends[0];
    pipe_close(&old);
    pipe_open(&new);
    assert_true(new.ends[0] == number || new.ends[1] == number);
    assert_int_equal(loop_set(loop, new.ends[0], EPOLLIN, &new.watch), 0);
    feed(&new);
    loop_wait(loop, 0);
    assert_int_equal(old.calls, 0);
    assert_int_equal(new.calls, 1);
    pipe_close(&new);
    loop_free(loop);
}

static void test_refuses_what_cannot_be_watched(void **state)
{
    (void)state;
    struct loop *loop = make_loop();
    struct pipe pipe;
    pipe_open(&pipe);
    pipe_close(&pipe);
    assert_int_equal(loop_set(loop, pipe.ends[0], EPOLLIN, &pipe.watch), -EBADF);
    assert_int_equal(loop_set(loop, -1, EPOLLIN, &pipe.watch), -EBADF);
    loop_free(loop);
}

/* More than one turn hands out, yet none is forgotten. */
static void test_many_descriptors_all_get_their_turn(void **state)
{
    (void)state;

    enum { PIPES = 300 };

    static struct pipe pipes[PIPES];

    struct loop *loop = make_loop();
    for (size_t i = 0; i < PIPES; i++) {
        pipe_open(&pipes[i]);
        assert_int_equal(loop_set(loop, pipes[i].ends[0], EPOLLIN, &pipes[i].watch), 0);
        feed(&pipes[i]);
    }
    for (unsigned turn = 0; turn < PIPES; turn++) {
        loop_wait(loop, 0);
    }
    for (size_t i = 0; i < PIPES; i++) {
        assert_true(pipes[i].calls > 0);
        pipe_close(&pipes[i]);
    }
    loop_free(loop);
}

static void test_a_wake_before_the_wait_ends_it_once(void **state)
{
    (void)state;
    struct loop *loop = make_loop();
    loop_wake(loop);
    loop_wake(loop);
    uint64_t before_us = clock_now_us();
    loop_wait(loop, before_us + LONG_US);
    assert_true(clock_now_us() - before_us < LONG_US);

    uint64_t deadline_us = in_us(5000);
    loop_wait(loop, deadline_us);
    assert_true(clock_now_us() >= deadline_us);
    loop_free(loop);
}

static void *wake_soon(void *arg)
{
    usleep(20 * 1000);
    loop_wake(arg);
    return NULL;
}

static void test_another_thread_ends_a_wait_without_a_deadline(void **state)
{
    (void)state;
    struct loop *loop = make_loop();
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, wake_soon, loop), 0);
    loop_wait(loop, LOOP_NEVER);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(pthread_create(&thread, NULL, wake_soon, loop), 0);
    loop_wait(loop, LOOP_NEVER - 1); /* far away, but a time: it must not wrap around */
    assert_int_equal(pthread_join(thread, NULL), 0);
    loop_free(loop);
}

static void test_free_takes_nothing(void **state)
{
    (void)state;
    loop_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_waits_until_the_deadline_and_not_shorter),
        cmocka_unit_test(test_a_deadline_that_has_come_does_not_wait),
        cmocka_unit_test(test_hands_out_events_without_waiting_for_the_deadline),
        cmocka_unit_test(test_is_level_triggered),
        cmocka_unit_test(test_set_again_replaces_events_and_watch),
        cmocka_unit_test(test_tells_of_the_end_of_a_peer),
        cmocka_unit_test(test_a_cleared_descriptor_is_silent),
        cmocka_unit_test(test_a_number_given_out_again_is_watched_anew),
        cmocka_unit_test(test_refuses_what_cannot_be_watched),
        cmocka_unit_test(test_many_descriptors_all_get_their_turn),
        cmocka_unit_test(test_a_wake_before_the_wait_ends_it_once),
        cmocka_unit_test(test_another_thread_ends_a_wait_without_a_deadline),
        cmocka_unit_test(test_free_takes_nothing),
    };
    return cmocka_run_group_tests_name("io/loop", tests, NULL, NULL);
}
