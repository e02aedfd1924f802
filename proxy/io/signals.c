/* Signals as bytes of a descriptor, which it owns. */
#include "io/signals.h"

#include "io/loop.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

struct signals {
    struct loop *loop;
    struct loop_watch watch;
    int fd;
    bool ready; /* the descriptor has something */
};

static void name_them(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGHUP);
}

void signals_hold(void)
{
    sigset_t set;
    name_them(&set);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
}

void signals_let_go(void)
{
    sigset_t set;
    name_them(&set);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void on_ready(struct loop_watch *watch, uint32_t events)
{
    (void)events;
    struct signals *signals = (struct signals *)((char *)watch - offsetof(struct signals, watch));
    signals->ready = true;
}

struct signals *signals_new(struct loop *loop)
{
    struct signals *signals = calloc(1, sizeof(*signals));
    if (signals == NULL) {
        return NULL;
    }
    sigset_t set;
    name_them(&set);
    signals->loop = loop;
    signals->watch.on_ready = on_ready;
    signals->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals->fd < 0 || loop_set(loop, signals->fd, EPOLLIN, &signals->watch) != 0) {
        int error = errno;
        if (signals->fd >= 0) {
            close(signals->fd);
        }
        free(signals);
        errno = error;
        return NULL;
    }
    return signals;
}

void signals_free(struct signals *signals)
{
    if (signals == NULL) {
        return;
    }
    loop_clear(signals->loop, signals->fd);
    close(signals->fd);
    free(signals);
}

bool signals_wait(const struct signals *signals)
{
    return signals->ready;
}

int signals_take(struct signals *signals)
{
    struct signalfd_siginfo info;
    if (!signals->ready) {
        return 0;
    }
    if (read(signals->fd, &info, sizeof(info)) != sizeof(info)) {
        signals->ready = false;
        return 0;
    }
    return (int)info.ssi_signo;
}
