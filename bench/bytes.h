/* Growing bytes and allocation that cannot fail, for the tools of bench/. */
#ifndef BENCH_BYTES_H
#define BENCH_BYTES_H

#include <stddef.h>
#include <stdint.h>

/* 0 <= size <= capacity. Owner: embedded in its user; zero is its start. */
struct bytes {
    uint8_t *data;
    size_t size;
    size_t capacity;
};

/* Allocate zeroed memory for count items; ends the program when there is none. */
void *bench_alloc(size_t count, size_t bytes);

/* End the program with a message on stderr and exit code 2. */
__attribute__((noreturn, format(printf, 1, 2))) void bench_die(const char *format, ...);

void bytes_reserve(struct bytes *bytes, size_t capacity);
void bytes_append(struct bytes *bytes, const void *data, size_t size);
__attribute__((format(printf, 2, 3))) void bytes_printf(struct bytes *bytes, const char *format,
                                                        ...);

/* Remove bytes at the front. */
void bytes_drop(struct bytes *bytes, size_t size);

void bytes_free(struct bytes *bytes);

/* Append text as a JSON string, quotes included; what is not printable ASCII becomes '?'. */
void bytes_json_string(struct bytes *bytes, const char *text, size_t size);

#endif
