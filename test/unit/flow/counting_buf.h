/* Buffers that count what they hold, and find no memory when a test wants it. To be included by one
 * file of a program: it stands in for the whole of base/buf. */
#ifndef AGENT_PROXY_TEST_COUNTING_BUF_H
#define AGENT_PROXY_TEST_COUNTING_BUF_H

#include "base/buf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t counting_held_bytes; /* by all buffers */
static size_t counting_allocations;
static bool counting_without_memory;

void buf_init(struct buf *buf, size_t ceiling)
{
    *buf = (struct buf){.ceiling = ceiling};
}

void buf_deinit(struct buf *buf)
{
    counting_held_bytes -= buf->capacity;
    free(buf->data);
    *buf = (struct buf){0};
}

int buf_reserve(struct buf *buf, size_t capacity)
{
    if (capacity <= buf->capacity) {
        return 0;
    }
    if (capacity > buf->ceiling) {
        return -EMSGSIZE;
    }
    uint8_t *data = counting_without_memory ? NULL : realloc(buf->data, capacity);
    if (data == NULL) {
        return -ENOMEM;
    }
    counting_allocations++;
    counting_held_bytes += capacity - buf->capacity;
    buf->data = data;
    buf->capacity = capacity;
    return 0;
}

int buf_append(struct buf *buf, const void *data, size_t bytes)
{
    if (bytes > buf->ceiling - buf->size) {
        return -EMSGSIZE;
    }
    size_t needed = buf->size + bytes;
    size_t doubled = buf->capacity <= buf->ceiling / 2 ? buf->capacity * 2 : buf->ceiling;
    if (needed > buf->capacity) {
        int status = buf_reserve(buf, needed > doubled ? needed : doubled);
        if (status != 0) {
            return status;
        }
    }
    if (bytes > 0) {
        memcpy(buf->data + buf->size, data, bytes);
        buf->size = needed;
    }
    return 0;
}

int buf_printf(struct buf *buf, const char *format, ...)
{
    char *line = NULL;
    va_list arguments;
    va_start(arguments, format);
    int bytes = vasprintf(&line, format, arguments);
    va_end(arguments);
    int status = bytes < 0 ? -ENOMEM : buf_append(buf, line, (size_t)bytes);
    free(line);
    return status;
}

#endif
