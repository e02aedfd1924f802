/* One budget of bytes for the whole process: what is held for requests is charged here before it
 * is read. Shared by all workers; relaxed atomics, no lock. */
#ifndef AGENT_PROXY_BASE_BUDGET_H
#define AGENT_PROXY_BASE_BUDGET_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* Owner: main; outlives every worker. */
struct budget {
    size_t limit; /* [bytes] */
    _Atomic size_t used;
};

void budget_init(struct budget *budget, size_t limit);

/* Take bytes, all or none. False when they do not fit. */
__attribute__((warn_unused_result)) bool budget_take(struct budget *budget, size_t bytes);

/* Give back what was taken. */
void budget_give(struct budget *budget, size_t bytes);

size_t budget_used(const struct budget *budget);

#endif
