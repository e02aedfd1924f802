/* Reads the kernel's clocks. Owns nothing. */
#include "base/clock.h"

#include <assert.h>
#include <time.h>

static uint64_t clock_read_us(clockid_t id)
{
    struct timespec now;
    int result = clock_gettime(id, &now);
    assert(result == 0);
    (void)result;
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t clock_now_us(void)
{
    uint64_t now_us = clock_read_us(CLOCK_MONOTONIC);
    return now_us > 0 ? now_us : 1;
}

uint64_t clock_thread_cpu_us(void)
{
    return clock_read_us(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t clock_cpu_us(void)
{
    return clock_read_us(CLOCK_PROCESS_CPUTIME_ID);
}
