/* The snappy block format: lengths, decoding, and what joining needs.
 * A block is varint(decoded length) followed by elements; copies reach back only within the
 * block's own output, so the elements of valid blocks may stand one after the other under the sum
 * of their lengths. Source: google/snappy, format_description.txt. */
#ifndef AGENT_PROXY_WIRE_SNAPPY_BLOCK_H
#define AGENT_PROXY_WIRE_SNAPPY_BLOCK_H

#include <stddef.h>
#include <stdint.h>

/* What is wrong with input, and where. what is a constant string in lower case, fit to follow
 * "at byte N: ". */
struct wire_error {
    size_t offset; /* [bytes] from the start of the input */
    const char *what;
};

#define SNAPPY_BLOCK_PREFIX_MAX 5 /* [bytes] a varint of 32 bits */

/* The format cannot do better than 64 output bytes for 3 input bytes; above this ratio a declared
 * length is a lie. */
#define SNAPPY_BLOCK_RATIO_MAX 22

/* A block whose length has been read. Owner: borrows the bytes. */
struct snappy_block {
    const uint8_t *elements; /* what follows the prefix */
    size_t elements_bytes;
    size_t decoded_bytes; /* as declared */
    size_t prefix_bytes;
};

/* Read the declared length; nothing is decoded.
 * Errors: -EBADMSG and *error: no valid length, or a declared length over
 * SNAPPY_BLOCK_RATIO_MAX times the size of the input. */
__attribute__((warn_unused_result)) int snappy_block_open(const uint8_t *data, size_t bytes,
                                                          struct snappy_block *block,
                                                          struct wire_error *error);

/* Decode the whole block into out, which has room for block->decoded_bytes; not a byte beyond is
 * written. Refuses what libsnappy refuses, and one thing more: a literal of 2^32 bytes, whose
 * length libsnappy lets wrap to 0 and Go's decoder refuses. Errors: -EBADMSG and *error (offset
 * from the start of the input, prefix included); out then holds rubbish. */
__attribute__((warn_unused_result)) int snappy_block_decode(const struct snappy_block *block,
                                                            uint8_t *out, struct wire_error *error);

/* Write the varint prefix for a block of decoded_bytes. Returns its size, 1..5 [bytes].
 * Shape: decoded_bytes <= UINT32_MAX. */
size_t snappy_block_prefix(uint8_t out[SNAPPY_BLOCK_PREFIX_MAX], size_t decoded_bytes);

#endif
