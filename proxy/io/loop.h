/* One epoll and one wake-up descriptor: the only place where a worker waits.
 *
 * Watches only record that their descriptor is ready; their owners act in their own phase of the
 * worker's turn. So nothing is freed while events are handed out. Deadlines are kept by their
 * owners and given to loop_wait() as one number. */
#ifndef AGENT_PROXY_IO_LOOP_H
#define AGENT_PROXY_IO_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct loop;

/* A descriptor of interest. Owner: embedded in its user; stays where it is while added. */
struct loop_watch {
    void (*on_ready)(struct loop_watch *watch, uint32_t events); /* records, does not act */
};

#define LOOP_NEVER UINT64_MAX /* a deadline that does not come */

/* Errors: NULL and errno. */
__attribute__((warn_unused_result)) struct loop *loop_new(void);
void loop_free(struct loop *loop);

/* Watch fd for events (EPOLLIN, ...), level-triggered without EPOLLET; a descriptor that is watched
 * already gets the new events. Errors: -errno of epoll_ctl. */
__attribute__((warn_unused_result)) int loop_set(struct loop *loop, int fd, uint32_t events,
                                                 struct loop_watch *watch);

/* Stop watching fd; one that is closed or not watched is passed over. */
void loop_clear(struct loop *loop, int fd);

/* Wait for events until deadline_us, and hand them out. The only call of a worker that blocks.
 * Units: [us] monotonic; 0 does not wait; rounded up to whole milliseconds.
 * Returns whether there were any. */
bool loop_wait(struct loop *loop, uint64_t deadline_us);

/* End the current or next loop_wait() early. May be called by any thread. */
void loop_wake(struct loop *loop);

#endif
