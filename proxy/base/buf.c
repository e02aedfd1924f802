/* Growth of a buffer up to its ceiling. Owns the bytes of the buffers that it is given. */
#include "base/buf.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const size_t BUF_GROWTH_MIN = 256; /* [bytes] the first allocation of a growing buffer */

static void buf_check(const struct buf *buf)
{
    assert(buf->size <= buf->capacity);
    assert(buf->capacity <= buf->ceiling);
    assert((buf->data == NULL) == (buf->capacity == 0));
    (void)buf;
}

void buf_init(struct buf *buf, size_t ceiling)
{
    *buf = (struct buf){.ceiling = ceiling};
}

void buf_deinit(struct buf *buf)
{
    free(buf->data);
    *buf = (struct buf){0};
}

int buf_reserve(struct buf *buf, size_t capacity)
{
    buf_check(buf);
    if (capacity <= buf->capacity) {
        return 0;
    }
    if (capacity > buf->ceiling) {
        return -EMSGSIZE;
    }
    uint8_t *data = realloc(buf->data, capacity);
    if (data == NULL) {
        return -ENOMEM;
    }
    buf->data = data;
    buf->capacity = capacity;
    return 0;
}

/* Have room for bytes more, in steps that double, so that many small additions stay cheap. */
static int buf_grow(struct buf *buf, size_t bytes)
{
    buf_check(buf);
    if (bytes <= buf->capacity - buf->size) {
        return 0;
    }
    if (bytes > buf->ceiling - buf->size) {
        return -EMSGSIZE;
    }
    size_t needed = buf->size + bytes;
    size_t capacity = buf->capacity > BUF_GROWTH_MIN ? buf->capacity : BUF_GROWTH_MIN;
    while (capacity < needed && capacity <= buf->ceiling / 2) {
        capacity *= 2;
    }
    if (capacity < needed || capacity > buf->ceiling) {
        capacity = buf->ceiling;
    }
    return buf_reserve(buf, capacity);
}

int buf_append(struct buf *buf, const void *data, size_t bytes)
{
    int result = buf_grow(buf, bytes);
    if (result < 0) {
        return result;
    }
    if (bytes > 0) {
        memcpy(buf->data + buf->size, data, bytes);
        buf->size += bytes;
    }
    return 0;
}

int buf_printf(struct buf *buf, const char *format, ...)
{
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    if (length < 0) {
        return -EMSGSIZE;
    }
    size_t bytes = (size_t)length;
    if (bytes < sizeof(line)) {
        return buf_append(buf, line, bytes);
    }

    /* Long text is printed once more, with its terminator: not into buf, whose ceiling may leave
     * no room for one. */
    if (bytes > buf->ceiling - buf->size) {
        return -EMSGSIZE;
    }
    char *text = malloc(bytes + 1);
    if (text == NULL) {
        return -ENOMEM;
    }
    va_start(arguments, format);
    length = vsnprintf(text, bytes + 1, format, arguments);
    va_end(arguments);
    assert((size_t)length == bytes);
    int result = buf_append(buf, text, bytes);
    free(text);
    return result;
}
