/* Snappy blocks: libsnappy decodes; what it refuses is walked once more, element by element, only
 * to say what is wrong and where. Owns no memory. */
#include "wire/snappy_block.h"

#include <assert.h>
#include <errno.h>
#include <snappy-c.h>
#include <stdbool.h>

enum element { /* the low two bits of a tag */
               ELEMENT_LITERAL,
               ELEMENT_COPY_1, /* 11-bit offset, one byte of it after the tag */
               ELEMENT_COPY_2,
               ELEMENT_COPY_4
};

#define LITERAL_INLINE_MAX 60 /* longer literals carry 1 to 4 bytes of length after the tag */

static int fail(struct wire_error *error, size_t offset, const char *what)
{
    *error = (struct wire_error){.offset = offset, .what = what};
    return -EBADMSG;
}

/* Shape: bytes is 1..4, all readable. */
static uint32_t read_little_endian(const uint8_t *at, size_t bytes)
{
    uint32_t value = 0;
    for (size_t i = bytes; i > 0; i--) {
        value = value << 8 | at[i - 1];
    }
    return value;
}

int snappy_block_open(const uint8_t *data, size_t bytes, struct snappy_block *block,
                      struct wire_error *error)
{
    uint64_t length = 0;
    size_t at = 0;
    for (;; at++) {
        if (at == bytes) {
            return fail(error, at, bytes == 0 ? "no bytes at all" : "declared length is cut short");
        }
        if (at == SNAPPY_BLOCK_PREFIX_MAX) {
            return fail(error, 0, "declared length takes more than 5 bytes");
        }
        length |= (uint64_t)(data[at] & 0x7f) << (7 * at);
        if ((data[at] & 0x80) == 0) {
            break;
        }
    }
    if (length > UINT32_MAX) {
        return fail(error, 0, "declared length does not fit in 32 bits");
    }
    if (length / SNAPPY_BLOCK_RATIO_MAX > bytes ||
        length > (uint64_t)bytes * SNAPPY_BLOCK_RATIO_MAX) {
        return fail(error, 0, "declared length is more than the input can hold");
    }
    *block = (struct snappy_block){.elements = data + at + 1,
                                   .elements_bytes = bytes - at - 1,
                                   .decoded_bytes = (size_t)length,
                                   .prefix_bytes = at + 1};
    return 0;
}

/* An element as it stands in the input. */
struct element_head {
    enum element kind;
    size_t head_bytes; /* tag and what belongs to it, without the bytes of a literal */
    uint64_t bytes;    /* of output */
    uint32_t distance; /* of a copy */
};

/* Shape: remaining >= 1. Returns a constant string where the element is cut short, else NULL. */
static const char *read_element(const uint8_t *at, size_t remaining, struct element_head *head)
{
    static const size_t copy_head_bytes[] = {0, 2, 3, 5};
    unsigned tag = at[0];
    unsigned high = tag >> 2;
    head->kind = (enum element)(tag & 3);
    if (head->kind == ELEMENT_LITERAL) {
        size_t extra = high < LITERAL_INLINE_MAX ? 0 : high - LITERAL_INLINE_MAX + 1;
        head->head_bytes = 1 + extra;
        if (head->head_bytes > remaining) {
            return "length of a literal is cut short";
        }
        head->bytes = (extra == 0 ? (uint64_t)high : read_little_endian(at + 1, extra)) + 1;
        return NULL;
    }
    head->head_bytes = copy_head_bytes[head->kind];
    if (head->head_bytes > remaining) {
        return "copy is cut short";
    }
    if (head->kind == ELEMENT_COPY_1) {
        head->bytes = (high & 7) + 4;
        head->distance = (tag >> 5) << 8 | at[1];
    } else {
        head->bytes = high + 1;
        head->distance = read_little_endian(at + 1, head->head_bytes - 1);
    }
    return NULL;
}

/* Find the first element that makes the block invalid. Decodes nothing. Always fails. */
__attribute__((cold)) static int locate_error(const struct snappy_block *block,
                                              struct wire_error *error)
{
    size_t at = 0;
    size_t produced = 0;
    while (at < block->elements_bytes) {
        size_t offset = block->prefix_bytes + at;
        size_t remaining = block->elements_bytes - at;
        struct element_head head = {.distance = 1};
        const char *cut = read_element(block->elements + at, remaining, &head);
        if (cut != NULL) {
            return fail(error, offset, cut);
        }
        bool literal = head.kind == ELEMENT_LITERAL;
        if (literal && head.bytes > remaining - head.head_bytes) {
            return fail(error, offset, "literal runs past the end of the input");
        }
        if (!literal && head.distance == 0) {
            return fail(error, offset, "copy of distance 0");
        }
        if (!literal && head.distance > produced) {
            return fail(error, offset, "copy reaches before the start");
        }
        if (head.bytes > block->decoded_bytes - produced) {
            return fail(error, offset, "output is longer than declared");
        }
        produced += (size_t)head.bytes;
        at += head.head_bytes + (literal ? (size_t)head.bytes : 0);
    }
    return fail(error, block->prefix_bytes + at,
                produced < block->decoded_bytes ? "output is shorter than declared"
                                                : "not a snappy block");
}

int snappy_block_decode(const struct snappy_block *block, uint8_t *out, struct wire_error *error)
{
    /* libsnappy wants the prefix too; it stands right before the elements. */
    const char *input = (const char *)(block->elements - block->prefix_bytes);
    size_t decoded_bytes = block->decoded_bytes;
    snappy_status status = snappy_uncompress(input, block->prefix_bytes + block->elements_bytes,
                                             (char *)out, &decoded_bytes);
    if (status != SNAPPY_OK) {
        return locate_error(block, error);
    }
    assert(decoded_bytes == block->decoded_bytes);
    return 0;
}

size_t snappy_block_prefix(uint8_t out[SNAPPY_BLOCK_PREFIX_MAX], size_t decoded_bytes)
{
    assert(decoded_bytes <= UINT32_MAX);
    size_t bytes = 0;
    while (decoded_bytes >= 0x80) {
        out[bytes++] = (uint8_t)(decoded_bytes | 0x80);
        decoded_bytes >>= 7;
    }
    out[bytes++] = (uint8_t)decoded_bytes;
    return bytes;
}
