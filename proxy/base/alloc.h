/* Small allocations, which do not fail: without memory for them the program ends with a message.
 * Anything as large as a payload is allocated where its failure can be answered (see buf.h). */
#ifndef AGENT_PROXY_BASE_ALLOC_H
#define AGENT_PROXY_BASE_ALLOC_H

#include <stddef.h>

/* Copy bytes and end them with a zero byte. Owner: the caller, with free(). */
char *alloc_copy(const char *text, size_t bytes);

/* Allocate zeroed memory. Owner: the caller, with free(). */
void *alloc_zero(size_t count, size_t bytes);

#endif
