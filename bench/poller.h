/* One epoll with timers: what the tools of bench/ wait on. Single-threaded.
 *
 * Level-triggered. A callback may see an event that is stale (of a descriptor closed earlier in
 * the same turn): it must only try and take EAGAIN. So a source's memory lives at least until the
 * turn ends. */
#ifndef BENCH_POLLER_H
#define BENCH_POLLER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct source;
struct timer;

/* A descriptor that is watched. Owner: embedded in its user. fd is -1 while not watched. */
struct source {
    int fd;
    uint32_t events; /* as registered */
    void (*on_ready)(struct source *source, uint32_t events);
    void *context;
};

/* A point in time. Owner: embedded in its user; zero with a callback is its start. */
struct timer {
    uint64_t at_us;
    size_t place; /* in the heap, from 1; 0: not set */
    void (*on_expiry)(struct timer *timer);
    void *context;
};

/* Owner: the tool's main. now_us is the time as of the latest return from the wait. */
struct poller {
    int epoll_fd;
    struct source clock; /* a timerfd: finer than epoll's milliseconds, and without slack */
    uint64_t armed_us;   /* when it will fire; 0: not armed */
    struct timer **heap; /* heap[0] is unused */
    size_t heap_count;
    size_t heap_capacity;
    uint64_t now_us;
};

void poller_init(struct poller *poller);
void poller_deinit(struct poller *poller);

/* Units: [us], monotonic. */
uint64_t poller_clock_us(void);

/* Wait for events once and run the callbacks of what is ready and of what is due. */
void poller_turn(struct poller *poller);

/* Watch source->fd for events, or change what it is watched for. */
void poller_watch(struct poller *poller, struct source *source, uint32_t events);

/* Stop watching and close the descriptor; nothing when there is none. */
void poller_close(struct poller *poller, struct source *source);

/* Make a descriptor non-blocking. */
void poller_nonblocking(int fd);

/* Listen on address, whose port is filled in when it was 0, and watch for connections. shared: with
 * other processes on the same port, among which the kernel shares them out. Ends the program with
 * exit code 1 when it cannot. */
void poller_listen(struct poller *poller, struct source *source, struct sockaddr_in *address,
                   bool shared);

/* Set or move a timer. */
void poller_set(struct poller *poller, struct timer *timer, uint64_t at_us);
void poller_unset(struct poller *poller, struct timer *timer);

/* Have SIGTERM and SIGINT arrive as reads on source, and ignore SIGPIPE. */
void poller_signals(struct poller *poller, struct source *source);

#endif
