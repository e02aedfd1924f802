/* CPU and memory limits of the container, from cgroup v1 or v2. */
#ifndef AGENT_PROXY_BASE_CGROUP_H
#define AGENT_PROXY_BASE_CGROUP_H

#include <stddef.h>
#include <stdint.h>

struct cgroup_limits {
    uint64_t cpu_millis;   /* [1/1000 CPU] quota; 0: none. 150m is 150 */
    uint64_t memory_bytes; /* [bytes] limit; 0: none */
};

/* Read the limits that hold for this process: the smallest on the path from its own cgroup up to
 * the root, v2 first, then v1 controllers. A file that is missing or odd counts as no limit.
 * root: a directory put before "/proc" and "/sys", "" outside of tests.
 * Source: kernel docs, admin-guide/cgroup-v2 (cpu.max, memory.max), cgroup-v1. */
struct cgroup_limits cgroup_read(const char *root);

/* Number of workers for a quota: rounded up to whole CPUs, at least 1, at most cpus_online. */
unsigned cgroup_workers(const struct cgroup_limits *limits, unsigned cpus_online);

#endif
