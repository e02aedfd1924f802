/* Bytes that grow up to a ceiling. */
#ifndef AGENT_PROXY_BASE_BUF_H
#define AGENT_PROXY_BASE_BUF_H

#include <stddef.h>
#include <stdint.h>

/* 0 <= size <= capacity <= ceiling; data is NULL while capacity is 0.
 * Owner: embedded in its user; the bytes live until buf_deinit() or the next call that grows. */
struct buf {
    uint8_t *data;
    size_t size;     /* [bytes] written */
    size_t capacity; /* [bytes] allocated */
    size_t ceiling;  /* [bytes] never allocated beyond */
};

void buf_init(struct buf *buf, size_t ceiling);
void buf_deinit(struct buf *buf); /* leaves it empty, ready for buf_init() */

/* Have room for capacity bytes in all, allocated in one piece and exactly: a declared length is
 * allocated once. Errors: -EMSGSIZE above the ceiling, -ENOMEM. */
__attribute__((warn_unused_result)) int buf_reserve(struct buf *buf, size_t capacity);

/* Add bytes at the end, growing by doubling. Errors: as buf_reserve(); nothing is then added. */
__attribute__((warn_unused_result)) int buf_append(struct buf *buf, const void *data, size_t bytes);

/* Add formatted text at the end, without a terminator. Errors: as buf_reserve(). */
__attribute__((warn_unused_result, format(printf, 2, 3))) int buf_printf(struct buf *buf,
                                                                         const char *format, ...);

#endif
