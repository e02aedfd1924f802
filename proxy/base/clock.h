/* Monotonic time. Nothing in the program decides by the wall clock; only log lines print it. */
#ifndef AGENT_PROXY_BASE_CLOCK_H
#define AGENT_PROXY_BASE_CLOCK_H

#include <stdint.h>

/* Time that never jumps, for deadlines and latencies.
 * Units: [us] since an arbitrary start; 0 is never returned. */
uint64_t clock_now_us(void);

/* CPU time that the calling thread has used. Units: [us]. */
uint64_t clock_thread_cpu_us(void);

/* CPU time that this process has used, user and system. Units: [us]. */
uint64_t clock_cpu_us(void);

#endif
