/* Allocations that end the program when they fail. Owns nothing. */
#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *alloc_check(void *memory)
{
    static const char message[] = "agent-proxy: out of memory\n";
    if (memory == NULL) {
        ssize_t ignored = write(STDERR_FILENO, message, sizeof(message) - 1);
        (void)ignored;
        abort();
    }
    return memory;
}

char *alloc_copy(const char *text, size_t bytes)
{
    char *copy = alloc_check(malloc(bytes + 1));
    memcpy(copy, text, bytes);
    copy[bytes] = '\0';
    return copy;
}

void *alloc_zero(size_t count, size_t bytes)
{
    return alloc_check(calloc(count > 0 ? count : 1, bytes > 0 ? bytes : 1));
}
