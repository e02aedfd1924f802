/* One epoll and one wake-up descriptor. Owns both; knows nothing of what is watched. */
#include "io/loop.h"

#include "base/clock.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define LOOP_EVENTS_MAX 128 /* handed out in one turn; the rest comes in the next */

struct loop {
    int epoll_fd;
    int wake_fd;
    struct loop_watch wake;
};

static void on_wake(struct loop_watch *watch, uint32_t events)
{
    (void)watch;
    (void)events;
}

struct loop *loop_new(void)
{
    struct loop *loop = calloc(1, sizeof(*loop));
    if (loop == NULL) {
        return NULL;
    }
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    loop->wake.on_ready = on_wake;
    if (loop->epoll_fd < 0 || loop->wake_fd < 0 ||
        loop_set(loop, loop->wake_fd, EPOLLIN, &loop->wake) != 0) {
        int saved = errno;
        loop_free(loop);
        errno = saved;
        return NULL;
    }
    return loop;
}

void loop_free(struct loop *loop)
{
    if (loop == NULL) {
        return;
    }
    if (loop->epoll_fd >= 0) {
        close(loop->epoll_fd);
    }
    if (loop->wake_fd >= 0) {
        close(loop->wake_fd);
    }
    free(loop);
}

int loop_set(struct loop *loop, int fd, uint32_t events, struct loop_watch *watch)
{
    struct epoll_event event = {.events = events, .data = {.ptr = watch}};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, fd, &event) == 0) {
        return 0;
    }
    /* Not there yet, or its number was closed and given out again. */
    if (errno == ENOENT && epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0) {
        return 0;
    }
    return -errno;
}

void loop_clear(struct loop *loop, int fd)
{
    (void)epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

static int timeout_ms_until(uint64_t deadline_us)
{
    if (deadline_us == LOOP_NEVER) {
        return -1;
    }
    if (deadline_us == 0) {
        return 0;
    }
    uint64_t now_us = clock_now_us();
    if (deadline_us <= now_us) {
        return 0;
    }
    /* Rounded up: a timer that fires early is a turn for nothing. */
    uint64_t wait_ms = (deadline_us - now_us + 999) / 1000;
    return wait_ms > INT_MAX ? INT_MAX : (int)wait_ms;
}

bool loop_wait(struct loop *loop, uint64_t deadline_us)
{
    struct epoll_event events[LOOP_EVENTS_MAX];
    int count = epoll_wait(loop->epoll_fd, events, LOOP_EVENTS_MAX, timeout_ms_until(deadline_us));
    for (int i = 0; i < count; i++) {
        struct loop_watch *watch = events[i].data.ptr;
        if (watch == &loop->wake) {
            uint64_t wakes;
            (void)!read(loop->wake_fd, &wakes, sizeof(wakes));
        }
        watch->on_ready(watch, events[i].events);
    }
    return count > 0;
}

void loop_wake(struct loop *loop)
{
    uint64_t one = 1;
    /* A full counter wakes just as well. */
    (void)!write(loop->wake_fd, &one, sizeof(one));
}
