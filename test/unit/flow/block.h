/* Snappy blocks whose contents tell which requests they came from, to see at the gateway what was
 * joined and in which order. */
#ifndef AGENT_PROXY_TEST_BLOCK_H
#define AGENT_PROXY_TEST_BLOCK_H

#include "../wire/generate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <snappy-c.h>

#define STAMP_BYTES (2 * sizeof(uint32_t)) /* the smallest content: an id and its own size */

/* The content of a request: id, size, and bytes of which some repeat, so that snappy copies. */
static inline void put_stamped(struct bytes *out, uint32_t id, uint32_t bytes)
{
    if (bytes < STAMP_BYTES) {
        abort();
    }
    put(out, &id, sizeof(id));
    put(out, &bytes, sizeof(bytes));
    for (uint32_t i = STAMP_BYTES; i < bytes; i++) {
        put_byte(out, i % 3 == 0 ? (i * 7 + id) & 0xff : id & 0xff);
    }
}

static inline void put_snappy(struct bytes *out, const struct bytes *content)
{
    size_t bytes = snappy_max_compressed_length(content->size);
    char *block = malloc(bytes);
    if (block == NULL ||
        snappy_compress((const char *)content->data, content->size, block, &bytes) != SNAPPY_OK) {
        abort();
    }
    put(out, block, bytes);
    free(block);
}

/* Take a joined block apart by libsnappy: it must be whole requests, byte for byte. Returns how
 * many there are; their ids in order. */
static inline size_t read_stamps(const struct bytes *block, uint32_t *ids, size_t room)
{
    size_t bytes = 0;
    size_t count = 0;
    assert_int_equal(snappy_uncompressed_length((const char *)block->data, block->size, &bytes),
                     SNAPPY_OK);
    char *content = malloc(bytes + 1);
    assert_non_null(content);
    assert_int_equal(snappy_uncompress((const char *)block->data, block->size, content, &bytes),
                     SNAPPY_OK);
    for (size_t at = 0; at < bytes;) {
        uint32_t stamp[2] = {0};
        struct bytes expected = {0};
        assert_true(bytes - at >= STAMP_BYTES && count < room);
        memcpy(stamp, content + at, sizeof(stamp));
        assert_in_range(stamp[1], STAMP_BYTES, bytes - at);
        put_stamped(&expected, stamp[0], stamp[1]);
        assert_memory_equal(content + at, expected.data, expected.size);
        at += expected.size;
        ids[count++] = stamp[0];
        bytes_free(&expected);
    }
    free(content);
    return count;
}

#endif
