/* Snappy blocks: lengths, and a decoder. The decoder takes nearly every element by copies of a
 * fixed size, which need no loop and no call, and without a branch for the kind of a copy, which
 * the processor would guess wrong too often; what is odd, wrong, or near an end is left to a step
 * that takes one element exactly and is the only one to find errors. libsnappy, against which it is
 * tested, takes twice as long (its build for baseline CPUs). Owns no memory. */
#include "wire/snappy_block.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

/* The low two bits of a tag. A copy's number is that of the bytes its distance takes; the first
 * kind has 3 more bits of it in the tag. */
enum element_kind { ELEMENT_LITERAL, ELEMENT_COPY_1, ELEMENT_COPY_2, ELEMENT_COPY_4 };

#define LITERAL_INLINE_MAX 60 /* longer literals carry 1 to 4 bytes of length after the tag */
#define WILD_BYTES         64 /* what may be copied where fewer are asked for */
#define NEAR_BYTES         16 /* the step of a copy: it needs a source that is as far back, or more */

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

/* A block being decoded. Owner: snappy_block_decode(), on its stack.
 * in <= in_end, start <= out <= out_end. */
struct decoder {
    const uint8_t *in;
    const uint8_t *in_end;
    const uint8_t *start; /* of the output */
    uint8_t *out;
    uint8_t *out_end;
};

/* An element as it stands in the input. */
struct element {
    enum element_kind kind;
    size_t head_bytes; /* tag and what belongs to it, without the bytes of a literal */
    uint64_t bytes;    /* of output */
    size_t distance;   /* of a copy */
};

/* Shape: remaining >= 1. Returns a constant string where the element is cut short, else NULL. */
static const char *read_element(const uint8_t *at, size_t remaining, struct element *element)
{
    static const size_t copy_head_bytes[] = {0, 2, 3, 5};
    unsigned tag = at[0];
    unsigned high = tag >> 2;
    element->kind = (enum element_kind)(tag & 3);
    element->distance = 0;
    if (element->kind == ELEMENT_LITERAL) {
        size_t extra = high < LITERAL_INLINE_MAX ? 0 : high - LITERAL_INLINE_MAX + 1;
        element->head_bytes = 1 + extra;
        if (element->head_bytes > remaining) {
            return "length of a literal is cut short";
        }
        element->bytes = (extra == 0 ? (uint64_t)high : read_little_endian(at + 1, extra)) + 1;
        return NULL;
    }
    element->head_bytes = copy_head_bytes[element->kind];
    if (element->head_bytes > remaining) {
        return "copy is cut short";
    }
    if (element->kind == ELEMENT_COPY_1) {
        element->bytes = (high & 7) + 4;
        element->distance = (tag >> 5) << 8 | at[1];
    } else {
        element->bytes = high + 1;
        element->distance = read_little_endian(at + 1, element->head_bytes - 1);
    }
    return NULL;
}

/* What makes an element invalid where it stands, or NULL. */
static const char *judge_element(const struct decoder *decoder, const struct element *element)
{
    if (element->kind == ELEMENT_LITERAL) {
        size_t remaining = (size_t)(decoder->in_end - decoder->in) - element->head_bytes;
        if (element->bytes > remaining) {
            return "literal runs past the end of the input";
        }
    } else if (element->distance == 0) {
        return "copy of distance 0";
    } else if (element->distance > (size_t)(decoder->out - decoder->start)) {
        return "copy reaches before the start";
    }
    if (element->bytes > (size_t)(decoder->out_end - decoder->out)) {
        return "output is longer than declared";
    }
    return NULL;
}

/* Repeat the last distance bytes of the output until bytes are written. What stands from there to
 * out is a whole number of repetitions, so it can be copied in ever larger pieces. */
static void copy_back(struct decoder *decoder, size_t distance, size_t bytes)
{
    const uint8_t *from = decoder->out - distance;
    while (bytes > 0) {
        size_t piece = bytes < distance ? bytes : distance;
        memcpy(decoder->out, from, piece);
        decoder->out += piece;
        bytes -= piece;
        distance += piece;
    }
}

/* Take one element, whatever it is, without a byte read or written beside it.
 * Returns what is wrong with it, or NULL. Shape: in < in_end. */
static const char *take_element(struct decoder *decoder)
{
    struct element element;
    const char *wrong =
        read_element(decoder->in, (size_t)(decoder->in_end - decoder->in), &element);
    if (wrong == NULL) {
        wrong = judge_element(decoder, &element);
    }
    if (wrong != NULL) {
        return wrong;
    }
    size_t bytes = (size_t)element.bytes;
    decoder->in += element.head_bytes;
    if (element.kind == ELEMENT_LITERAL) {
        memcpy(decoder->out, decoder->in, bytes);
        decoder->in += bytes;
        decoder->out += bytes;
    } else {
        copy_back(decoder, element.distance, bytes);
    }
    return NULL;
}

static inline void copy_16(uint8_t *to, const uint8_t *from)
{
    uint8_t bytes[16];
    memcpy(bytes, from, sizeof(bytes));
    memcpy(to, bytes, sizeof(bytes));
}

/* Copy WILD_BYTES where 1..64 are asked for. In steps, so that a copy from NEAR_BYTES or more back
 * reads what it has written before. */
static inline void copy_wild(uint8_t *to, const uint8_t *from)
{
    copy_16(to, from);
    copy_16(to + 16, from + 16);
    copy_16(to + 32, from + 32);
    copy_16(to + 48, from + 48);
}

/* What the tag of a copy of the two usual kinds says. Those of other kinds have an entry as well,
 * which is not used: see distance_masks. */
struct copy_tag {
    uint32_t distance_less_near; /* the part of the distance that stands in the tag */
    uint32_t bytes;
};

#define IS_COPY_1(tag) (((tag)&3) == ELEMENT_COPY_1)
#define COPY_TAG(tag)                                                                        \
    {                                                                                        \
        .distance_less_near = (IS_COPY_1(tag) ? (tag) >> 5 << 8 : 0) - (uint32_t)NEAR_BYTES, \
        .bytes = IS_COPY_1(tag) ? ((tag) >> 2 & 7) + 4 : ((tag) >> 2) + 1                    \
    }
#define COPY_TAGS_4(tag) \
    COPY_TAG(tag), COPY_TAG((tag) + 1), COPY_TAG((tag) + 2), COPY_TAG((tag) + 3)
#define COPY_TAGS_16(tag) \
    COPY_TAGS_4(tag), COPY_TAGS_4((tag) + 4), COPY_TAGS_4((tag) + 8), COPY_TAGS_4((tag) + 12)
#define COPY_TAGS_64(tag) \
    COPY_TAGS_16(tag), COPY_TAGS_16((tag) + 16), COPY_TAGS_16((tag) + 32), COPY_TAGS_16((tag) + 48)
/* By tag. */
static const struct copy_tag copy_tags[256] = {COPY_TAGS_64(0U), COPY_TAGS_64(64U),
                                               COPY_TAGS_64(128U), COPY_TAGS_64(192U)};

/* By kind: which of the two bytes after the tag belong to the distance. Of kinds that are not usual
 * none do: they fall out with a distance of 0, which is too near. */
static const uint32_t distance_masks[] = {0, 0xff, 0xffff, 0};

/* Where a decoder stands, kept out of memory, which the bytes written might alias. */
struct cursor {
    const uint8_t *in;
    uint8_t *out;
    size_t tag; /* in[0] */
};

/* Shape: the tag is a literal's; 1 + WILD_BYTES of input are left, and WILD_BYTES of output. */
static inline bool take_short_literal(struct cursor *cursor)
{
    size_t bytes_less_1 = cursor->tag >> 2;
    copy_16(cursor->out, cursor->in + 1);
    copy_16(cursor->out + 16, cursor->in + 17);
    if (__builtin_expect(bytes_less_1 >= 32, 0)) {
        if (bytes_less_1 >= LITERAL_INLINE_MAX) {
            return false;
        }
        copy_16(cursor->out + 32, cursor->in + 33);
        copy_16(cursor->out + 48, cursor->in + 49);
    }
    cursor->in += 2 + bytes_less_1;
    cursor->out += 1 + bytes_less_1;
    cursor->tag = cursor->in[0];
    return true;
}

/* Take a copy of one of the two usual kinds, from NEAR_BYTES or more back. near: where the output
 * starts, and NEAR_BYTES more. Shape: COPY_REACH bytes of input are left, and WILD_BYTES of output.
 */
static inline bool take_usual_copy(struct cursor *cursor, const uint8_t *near)
{
    const uint8_t *in = cursor->in;
    size_t kind = cursor->tag & 3;
    /* Both tags that may be next are read before it is known which: a guess would be wrong too
     * often, and to read it when it is known would take longer. The empty statement keeps a
     * compiler (clang 14) from a branch around either. */
    size_t tag_after_1 = in[2];
    size_t tag = in[3];
    __asm__("" : "+r"(tag_after_1), "+r"(tag));
    if (kind == ELEMENT_COPY_1) {
        tag = tag_after_1;
    }
    /* Nearer than NEAR_BYTES it has passed 0, and is larger than any output: that has at most
     * UINT32_MAX bytes. */
    uint32_t after_tag = in[1] | (uint32_t)in[2] << 8;
    uint32_t distance_less_near =
        (after_tag & distance_masks[kind]) + copy_tags[cursor->tag].distance_less_near;
    size_t bytes = copy_tags[cursor->tag].bytes;
    if (__builtin_expect(distance_less_near > (size_t)(cursor->out - near), 0)) {
        return false;
    }
    copy_wild(cursor->out, cursor->out - NEAR_BYTES - distance_less_near);
    cursor->in += 1 + kind;
    cursor->out += bytes;
    cursor->tag = tag;
    return true;
}

/* What a turn of the loop below may reach: a tag and what a literal reads; of output a literal and
 * what a copy writes. Behind the longest literal enough input is left for a copy to look at. */
#define COPY_REACH  4 /* its tag, two bytes, and the tag after them */
#define TURN_INPUT  (1 + WILD_BYTES)
#define TURN_OUTPUT (LITERAL_INLINE_MAX + WILD_BYTES)
_Static_assert(1 + LITERAL_INLINE_MAX + COPY_REACH <= TURN_INPUT, "a copy may read beyond the end");

/* Take elements while both ends are far enough and nothing unusual comes: each time a copy, and
 * before it a literal if there is one. The loop is laid out for those without: that is faster. */
static void take_usual_elements(struct decoder *decoder)
{
    if (decoder->in_end - decoder->in < TURN_INPUT ||
        decoder->out_end - decoder->out < TURN_OUTPUT ||
        decoder->out - decoder->start < NEAR_BYTES) {
        return;
    }
    const uint8_t *in_last = decoder->in_end - TURN_INPUT;
    const uint8_t *out_last = decoder->out_end - TURN_OUTPUT;
    const uint8_t *near = decoder->start + NEAR_BYTES;
    struct cursor cursor = {.in = decoder->in, .out = decoder->out, .tag = decoder->in[0]};
    do {
        if (__builtin_expect((cursor.tag & 3) == ELEMENT_LITERAL, 0) &&
            !take_short_literal(&cursor)) {
            break;
        }
    } while (take_usual_copy(&cursor, near) && cursor.in <= in_last && cursor.out <= out_last);
    decoder->in = cursor.in;
    decoder->out = cursor.out;
}

int snappy_block_decode(const struct snappy_block *block, uint8_t *out, struct wire_error *error)
{
    struct decoder decoder = {.in = block->elements,
                              .in_end = block->elements + block->elements_bytes,
                              .start = out,
                              .out = out,
                              .out_end =
                                  block->decoded_bytes == 0 ? out : out + block->decoded_bytes};
    assert(block->decoded_bytes <= UINT32_MAX);
    while (decoder.in < decoder.in_end) {
        const uint8_t *element = decoder.in;
        const char *wrong = take_element(&decoder);
        if (wrong != NULL) {
            return fail(error, block->prefix_bytes + (size_t)(element - block->elements), wrong);
        }
        take_usual_elements(&decoder);
    }
    if (decoder.out < decoder.out_end) {
        return fail(error, block->prefix_bytes + block->elements_bytes,
                    "output is shorter than declared");
    }
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
