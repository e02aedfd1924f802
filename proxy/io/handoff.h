/* Accepted connections on their way from the worker that accepts to the one that serves them.
 *
 * Workers are filled one after the other: few senders are cheapest together, for they join each
 * other's batches and wake one thread. Once each worker has its fill or is busy, the next is who
 * serves the fewest of those that are not busy, then of those that are. Nobody gets what he has no
 * room for while another has. */
#ifndef AGENT_PROXY_IO_HANDOFF_H
#define AGENT_PROXY_IO_HANDOFF_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

struct handoff;
struct loop;

struct handoff_limits {
    size_t fill;        /* connections that a worker gets before the next one gets any */
    size_t max;         /* of a worker; what is above that of all stays with who accepted it */
    size_t per_address; /* of a worker; ends its fill as max does: all may be of one address */
};

/* For workers with the numbers 0 ... count - 1, closed at first. Errors: NULL without memory. */
__attribute__((warn_unused_result)) struct handoff *handoff_new(size_t count,
                                                                struct handoff_limits limits);

/* No worker may be open, and all that was given must have been taken. */
void handoff_free(struct handoff *handoff);

/* Worker takes connections from now on. loop is woken for each, and lent until handoff_close(). */
void handoff_open(struct handoff *handoff, size_t worker, struct loop *loop);

/* Worker gets no more; what it was given before can still be taken. */
void handoff_close(struct handoff *handoff, size_t worker);

/* Whether worker has work enough of those that it serves: then what comes goes to others that have
 * not. */
void handoff_tell(struct handoff *handoff, size_t worker, bool busy);

/* Count one more connection, with the worker whose turn it is, and give it fd unless that is
 * acceptor itself. address: of the peer, IPv4 mapped. Any worker may be called for, by any thread.
 * Returns true when another worker has it. False: it is counted with acceptor, which serves it;
 * also when nobody has room, being at the limit, closed, or slow to take what was given. */
__attribute__((warn_unused_result)) bool handoff_give(struct handoff *handoff, size_t acceptor,
                                                      int fd, const struct in6_addr *address);

/* Whether there is any for worker to take. Takes no lock. */
bool handoff_waits(const struct handoff *handoff, size_t worker);

/* The next connection that worker was given, whose owner it then is, or -1. */
__attribute__((warn_unused_result)) int handoff_take(struct handoff *handoff, size_t worker,
                                                     struct in6_addr *address);

/* A connection that was counted with worker has ended. */
void handoff_count_out(struct handoff *handoff, size_t worker);

#endif
