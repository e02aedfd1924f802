/* Time that passes as it does, and jumps ahead when a test wants it to. To be included by one file
 * of a program: it stands in for the whole of base/clock. */
#ifndef AGENT_PROXY_TEST_MOVING_CLOCK_H
#define AGENT_PROXY_TEST_MOVING_CLOCK_H

#include "base/clock.h"

#include <time.h>

#define SEC_US UINT64_C(1000000)

static uint64_t moving_ahead_us;

uint64_t clock_now_us(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000 + 1 + moving_ahead_us;
}

static uint64_t thread_cpu_us;

uint64_t clock_thread_cpu_us(void)
{
    return thread_cpu_us;
}

uint64_t clock_cpu_us(void)
{
    return 1;
}

#endif
