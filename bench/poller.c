/* One epoll with timers; see poller.h. */
#include "bench/poller.h"
#include "bench/bytes.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_PER_TURN 256

uint64_t poller_clock_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void on_clock(struct source *source, uint32_t events)
{
    (void)events;
    struct poller *poller = source->context;
    uint64_t expirations;
    if (read(source->fd, &expirations, sizeof expirations) > 0) {
        poller->armed_us = 0;
    }
}

/* A thousand connections take more descriptors than the usual soft limit. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

void poller_init(struct poller *poller)
{
    raise_descriptor_limit();
    *poller = (struct poller){.epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
    poller->clock = (struct source){.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK),
                                    .on_ready = on_clock,
                                    .context = poller};
    if (poller->epoll_fd < 0 || poller->clock.fd < 0) {
        bench_die("cannot create an epoll and its timer: %s", strerror(errno));
    }
    poller_watch(poller, &poller->clock, EPOLLIN);
    poller->now_us = poller_clock_us();
}

void poller_deinit(struct poller *poller)
{
    poller_close(poller, &poller->clock);
    (void)close(poller->epoll_fd);
    free(poller->heap);
}

void poller_watch(struct poller *poller, struct source *source, uint32_t events)
{
    if (source->events == events) {
        return;
    }
    struct epoll_event event = {.events = events, .data = {.ptr = source}};
    int operation = source->events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (epoll_ctl(poller->epoll_fd, operation, source->fd, &event) != 0) {
        bench_die("cannot watch descriptor %d: %s", source->fd, strerror(errno));
    }
    source->events = events;
}

void poller_close(struct poller *poller, struct source *source)
{
    (void)poller;
    if (source->fd >= 0) {
        (void)close(source->fd); /* leaves the epoll by itself: it is never duplicated */
    }
    source->fd = -1;
    source->events = 0;
}

void poller_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
        bench_die("cannot make a descriptor non-blocking: %s", strerror(errno));
    }
}

void poller_listen(struct poller *poller, struct source *source, struct sockaddr_in *address,
                   bool shared)
{
    socklen_t size = sizeof *address;
    int one = 1;
    int also_shared = shared;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &also_shared, sizeof also_shared) != 0 ||
        bind(fd, (const struct sockaddr *)address, size) != 0 || listen(fd, SOMAXCONN) != 0 ||
        getsockname(fd, (struct sockaddr *)address, &size) != 0) {
        bench_die("cannot listen on port %u: %s", ntohs(address->sin_port), strerror(errno));
    }
    source->fd = fd;
    poller_watch(poller, source, EPOLLIN);
}

static void heap_put(struct poller *poller, size_t place, struct timer *timer)
{
    poller->heap[place] = timer;
    timer->place = place;
}

static void heap_up(struct poller *poller, struct timer *timer)
{
    size_t place = timer->place;
    while (place > 1 && poller->heap[place / 2]->at_us > timer->at_us) {
        heap_put(poller, place, poller->heap[place / 2]);
        place /= 2;
    }
    heap_put(poller, place, timer);
}

static void heap_down(struct poller *poller, struct timer *timer)
{
    size_t place = timer->place;
    for (;;) {
        size_t child = place * 2;
        if (child > poller->heap_count) {
            break;
        }
        if (child < poller->heap_count &&
            poller->heap[child + 1]->at_us < poller->heap[child]->at_us) {
            child++;
        }
        if (poller->heap[child]->at_us >= timer->at_us) {
            break;
        }
        heap_put(poller, place, poller->heap[child]);
        place = child;
    }
    heap_put(poller, place, timer);
}

void poller_set(struct poller *poller, struct timer *timer, uint64_t at_us)
{
    assert(timer->on_expiry != NULL);
    timer->at_us = at_us;
    if (timer->place == 0) {
        if (poller->heap_count + 1 >= poller->heap_capacity) {
            poller->heap_capacity = poller->heap_capacity == 0 ? 64 : poller->heap_capacity * 2;
            poller->heap = realloc(poller->heap, poller->heap_capacity * sizeof(struct timer *));
            if (poller->heap == NULL) {
                bench_die("out of memory");
            }
        }
        heap_put(poller, ++poller->heap_count, timer);
    }
    heap_up(poller, timer);
    heap_down(poller, timer);
}

void poller_unset(struct poller *poller, struct timer *timer)
{
    if (timer->place == 0) {
        return;
    }
    struct timer *last = poller->heap[poller->heap_count--];
    if (last != timer) {
        heap_put(poller, timer->place, last);
        heap_up(poller, last);
        heap_down(poller, last);
    }
    timer->place = 0;
}

static void arm(struct poller *poller)
{
    uint64_t at_us = poller->heap_count == 0 ? 0 : poller->heap[1]->at_us;
    if (at_us == 0 || (poller->armed_us != 0 && poller->armed_us <= at_us)) {
        return; /* nothing to wait for, or an earlier waking will arm anew */
    }
    struct itimerspec when = {.it_value = {.tv_sec = (time_t)(at_us / 1000000),
                                           .tv_nsec = (long)(at_us % 1000000) * 1000 + 1}};
    if (timerfd_settime(poller->clock.fd, TFD_TIMER_ABSTIME, &when, NULL) != 0) {
        bench_die("cannot set a timer: %s", strerror(errno));
    }
    poller->armed_us = at_us;
}

void poller_turn(struct poller *poller)
{
    struct epoll_event events[EVENTS_PER_TURN];
    arm(poller);
    int count = epoll_wait(poller->epoll_fd, events, EVENTS_PER_TURN, -1);
    if (count < 0 && errno != EINTR) {
        bench_die("epoll_wait: %s", strerror(errno));
    }
    poller->now_us = poller_clock_us();
    for (int i = 0; i < count; i++) {
        struct source *source = events[i].data.ptr;
        if (source->fd >= 0) {
            source->on_ready(source, events[i].events);
        }
    }
    while (poller->heap_count > 0 && poller->heap[1]->at_us <= poller->now_us) {
        struct timer *timer = poller->heap[1];
        poller_unset(poller, timer);
        timer->on_expiry(timer);
    }
}

void poller_signals(struct poller *poller, struct source *source)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    if (sigprocmask(SIG_BLOCK, &set, NULL) != 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR) {
        bench_die("cannot set up signals: %s", strerror(errno));
    }
    source->fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (source->fd < 0) {
        bench_die("signalfd: %s", strerror(errno));
    }
    poller_watch(poller, source, EPOLLIN);
}
