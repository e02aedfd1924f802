/* A server whose time passes when a test wants it to. To be included by one file of a program, for
 * it stands in for base/clock. */
#ifndef AGENT_PROXY_TEST_PASSING_TIME_H
#define AGENT_PROXY_TEST_PASSING_TIME_H

#include "server_stage.h"

#include "moving_clock.h"

/* Let time pass in steps as a worker would, which has a look whenever it is asked to. */
static inline void pass_time(struct stage *stage, uint64_t us)
{
    for (uint64_t passed_us = 0; passed_us < us; passed_us += SEC_US) {
        moving_ahead_us += SEC_US;
        for (unsigned i = 0; i < 3; i++) {
            loop_wait(stage->loop, 0);
            server_run(stage->server);
        }
    }
}

#endif
