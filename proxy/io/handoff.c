/* Accepted connections between workers. */
#include "io/handoff.h"

#include "io/loop.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#define GIVEN_MAX 256 /* on their way to one worker: four turns of the one that accepts */

struct given {
    int fd;
    struct in6_addr address;
};

struct desk {
    size_t serves;     /* connections, with those on their way */
    struct loop *loop; /* NULL: closed */
    bool busy;
    size_t first;
    _Atomic size_t count; /* changes under the lock */
    struct given given[GIVEN_MAX];
};

/* One lock for all: it is taken when a connection begins or ends and when a worker gets busy or has
 * time again, never for a request. */
struct handoff {
    pthread_mutex_t mutex;
    struct handoff_limits limits;
    size_t count;
    size_t last; /* that was next */
    struct desk desks[];
};

static size_t least(size_t left, size_t right)
{
    return left < right ? left : right;
}

struct handoff *handoff_new(size_t count, struct handoff_limits limits)
{
    struct handoff *handoff = calloc(1, sizeof(*handoff) + count * sizeof(handoff->desks[0]));
    if (handoff == NULL) {
        return NULL;
    }
    (void)pthread_mutex_init(&handoff->mutex, NULL);
    handoff->limits = limits;
    handoff->limits.fill = least(limits.fill, least(limits.max, limits.per_address));
    handoff->count = count;
    handoff->last = count - 1;
    return handoff;
}

void handoff_free(struct handoff *handoff)
{
    if (handoff == NULL) {
        return;
    }
    for (size_t i = 0; i < handoff->count; i++) {
        assert(handoff->desks[i].loop == NULL && handoff->desks[i].count == 0);
    }
    (void)pthread_mutex_destroy(&handoff->mutex);
    free(handoff);
}

void handoff_open(struct handoff *handoff, size_t worker, struct loop *loop)
{
    (void)pthread_mutex_lock(&handoff->mutex);
    handoff->desks[worker].loop = loop;
    (void)pthread_mutex_unlock(&handoff->mutex);
}

void handoff_close(struct handoff *handoff, size_t worker)
{
    handoff_open(handoff, worker, NULL);
}

void handoff_tell(struct handoff *handoff, size_t worker, bool busy)
{
    (void)pthread_mutex_lock(&handoff->mutex);
    handoff->desks[worker].busy = busy;
    (void)pthread_mutex_unlock(&handoff->mutex);
}

static bool has_room(const struct handoff *handoff, const struct desk *desk)
{
    return desk->loop != NULL && desk->count < GIVEN_MAX && desk->serves < handoff->limits.max;
}

static bool is_before(const struct desk *left, const struct desk *right)
{
    return left->busy != right->busy ? right->busy : left->serves < right->serves;
}

/* Of those that are alike, in turns; acceptor where nobody has room. */
static size_t next_worker(const struct handoff *handoff, size_t acceptor)
{
    for (size_t i = 0; i < handoff->count; i++) {
        const struct desk *desk = &handoff->desks[i];
        if (has_room(handoff, desk) && !desk->busy && desk->serves < handoff->limits.fill) {
            return i;
        }
    }
    const struct desk *best = NULL;
    for (size_t i = 1; i <= handoff->count; i++) {
        const struct desk *desk = &handoff->desks[(handoff->last + i) % handoff->count];
        if (has_room(handoff, desk) && (best == NULL || is_before(desk, best))) {
            best = desk;
        }
    }
    return best != NULL ? (size_t)(best - handoff->desks) : acceptor;
}

bool handoff_give(struct handoff *handoff, size_t acceptor, int fd, const struct in6_addr *address)
{
    (void)pthread_mutex_lock(&handoff->mutex);
    size_t worker = handoff->last = next_worker(handoff, acceptor);
    bool given = worker != acceptor;
    struct desk *desk = &handoff->desks[worker];
    desk->serves++;
    if (given) {
        desk->given[(desk->first + desk->count) % GIVEN_MAX] = (struct given){fd, *address};
        desk->count++;
        loop_wake(desk->loop);
    }
    (void)pthread_mutex_unlock(&handoff->mutex);
    return given;
}

bool handoff_waits(const struct handoff *handoff, size_t worker)
{
    return atomic_load_explicit(&handoff->desks[worker].count, memory_order_relaxed) > 0;
}

int handoff_take(struct handoff *handoff, size_t worker, struct in6_addr *address)
{
    struct desk *desk = &handoff->desks[worker];
    int fd = -1;
    (void)pthread_mutex_lock(&handoff->mutex);
    if (desk->count > 0) {
        fd = desk->given[desk->first].fd;
        *address = desk->given[desk->first].address;
        desk->first = (desk->first + 1) % GIVEN_MAX;
        desk->count--;
    }
    (void)pthread_mutex_unlock(&handoff->mutex);
    return fd;
}

void handoff_count_out(struct handoff *handoff, size_t worker)
{
    (void)pthread_mutex_lock(&handoff->mutex);
    handoff->desks[worker].serves--;
    (void)pthread_mutex_unlock(&handoff->mutex);
}
