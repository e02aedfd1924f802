/* Time that stands still until a test moves it. To be included by one file of a program: it stands
 * in for the whole of base/clock. */
#ifndef AGENT_PROXY_TEST_FAKE_CLOCK_H
#define AGENT_PROXY_TEST_FAKE_CLOCK_H

#include "base/clock.h"

#define FAKE_START_US UINT64_C(1000000000)

static uint64_t fake_now_us = FAKE_START_US;

uint64_t clock_now_us(void)
{
    return fake_now_us;
}

uint64_t clock_thread_cpu_us(void)
{
    return 1;
}

uint64_t clock_cpu_us(void)
{
    return 1;
}

#endif
