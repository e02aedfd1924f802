/* The bytes of a write. The input is taken twice: as a decoded request, where the scanner and
 * protobuf-c must agree; and as a snappy block, where our decoding and libsnappy's must agree, and
 * which may stand beside itself if it is valid. */
#include "oracle.h"
#include "wire/snappy_block.h"
#include "wire/write_request.h"

#include <errno.h>
#include <snappy-c.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_BYTES ((size_t)256 << 20)
#define CHECK(condition)    \
    do {                    \
        if (!(condition)) { \
            abort();        \
        }                   \
    } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void check_scan(const uint8_t *data, size_t bytes)
{
    static struct arena arena = {.capacity = ARENA_BYTES};
    struct write_request_counts expected = {0};
    struct write_request_counts counts = {0};
    struct wire_error error = {0};
    bool accepted = oracle_scan(&arena, data, bytes, &expected);
    int ret = write_request_scan(data, bytes, &counts, &error);
    CHECK(ret == (accepted ? 0 : -EBADMSG));
    CHECK(accepted ? counts_equal(&counts, &expected)
                   : error.what != NULL && error.offset <= bytes);
}

/* Two copies of a valid block, joined, decode to two copies of its output. */
static void check_join(const struct snappy_block *block, const uint8_t *decoded)
{
    size_t total = 2 * block->decoded_bytes;
    uint8_t *joined = malloc(SNAPPY_BLOCK_PREFIX_MAX + 2 * block->elements_bytes);
    uint8_t *out = malloc(total);
    size_t size = snappy_block_prefix(joined, total);
    for (unsigned i = 0; i < 2; i++) {
        memcpy(joined + size, block->elements, block->elements_bytes);
        size += block->elements_bytes;
    }
    struct snappy_block twice;
    struct wire_error error;
    CHECK(snappy_block_open(joined, size, &twice, &error) == 0);
    CHECK(twice.decoded_bytes == total && snappy_block_decode(&twice, out, &error) == 0);
    CHECK(memcmp(out, decoded, block->decoded_bytes) == 0);
    CHECK(memcmp(out + block->decoded_bytes, decoded, block->decoded_bytes) == 0);
    free(out);
    free(joined);
}

/* The one thing that libsnappy accepts and we refuse: a literal whose length wraps to 0. */
static bool may_wrap(const uint8_t *data, size_t bytes)
{
    return memmem(data, bytes, "\xfc\xff\xff\xff\xff", 5) != NULL;
}

static void check_snappy(const uint8_t *data, size_t bytes)
{
    size_t size = 0;
    struct snappy_block block;
    struct wire_error error = {0};
    const char *input = (const char *)data;
    bool accepted = snappy_uncompressed_length(input, bytes, &size) == SNAPPY_OK;
    if (snappy_block_open(data, bytes, &block, &error) < 0) {
        CHECK(error.what != NULL && error.offset <= bytes);
        CHECK(!accepted || snappy_validate_compressed_buffer(input, bytes) != SNAPPY_OK);
        return;
    }
    CHECK(accepted && block.decoded_bytes == size);
    uint8_t *expected = malloc(size);
    uint8_t *out = malloc(size);
    accepted = snappy_uncompress(input, bytes, (char *)expected, &size) == SNAPPY_OK;
    int ret = snappy_block_decode(&block, out, &error);
    CHECK(ret == 0 || ret == -EBADMSG);
    CHECK(accepted == (ret == 0) || (accepted && may_wrap(data, bytes)));
    if (ret == 0) {
        CHECK(memcmp(out, expected, size) == 0);
        check_join(&block, out);
        check_scan(out, size);
    } else {
        CHECK(error.what != NULL && error.offset <= bytes);
    }
    free(out);
    free(expected);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    check_scan(data, bytes);
    check_snappy(data, bytes);
    return 0;
}
