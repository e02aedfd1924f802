/* Growing bytes; see bytes.h. */
#include "bench/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bench_die(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vfprintf(stderr, format, arguments);
    va_end(arguments);
    (void)fputc('\n', stderr);
    exit(2);
}

void *bench_alloc(size_t count, size_t bytes)
{
    void *memory = calloc(count == 0 ? 1 : count, bytes == 0 ? 1 : bytes);
    if (memory == NULL) {
        bench_die("out of memory: %zu x %zu bytes", count, bytes);
    }
    return memory;
}

void bytes_reserve(struct bytes *bytes, size_t capacity)
{
    if (capacity <= bytes->capacity) {
        return;
    }
    size_t grown = bytes->capacity * 2 > capacity ? bytes->capacity * 2 : capacity;
    uint8_t *data = realloc(bytes->data, grown);
    if (data == NULL) {
        bench_die("out of memory: %zu bytes", grown);
    }
    bytes->data = data;
    bytes->capacity = grown;
}

void bytes_append(struct bytes *bytes, const void *data, size_t size)
{
    if (size == 0) {
        return;
    }
    bytes_reserve(bytes, bytes->size + size);
    memcpy(bytes->data + bytes->size, data, size);
    bytes->size += size;
}

void bytes_printf(struct bytes *bytes, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (size < 0) {
        bench_die("cannot format \"%s\"", format);
    }
    bytes_reserve(bytes, bytes->size + (size_t)size + 1);
    va_start(arguments, format);
    (void)vsnprintf((char *)bytes->data + bytes->size, (size_t)size + 1, format, arguments);
    va_end(arguments);
    bytes->size += (size_t)size;
}

void bytes_drop(struct bytes *bytes, size_t size)
{
    if (size == 0) {
        return;
    }
    memmove(bytes->data, bytes->data + size, bytes->size - size);
    bytes->size -= size;
}

void bytes_free(struct bytes *bytes)
{
    free(bytes->data);
    *bytes = (struct bytes){0};
}

void bytes_json_string(struct bytes *bytes, const char *text, size_t size)
{
    bytes_append(bytes, "\"", 1);
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '\n') {
            bytes_append(bytes, "\\n", 2);
        } else if (c == '"' || c == '\\') {
            bytes_append(bytes, "\\", 1);
            bytes_append(bytes, &c, 1);
        } else {
            bytes_append(bytes, c < 0x20 || c > 0x7e ? "?" : (const char *)&c, 1);
        }
    }
    bytes_append(bytes, "\"", 1);
}
