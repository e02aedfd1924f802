/* JSON string escapes for bytes of any kind. Owns nothing. */
#include "base/escape.h"

#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define ESCAPE_PIECE_MAX 6 /* [bytes] of \u and four digits */

static bool escape_is_tail(uint8_t byte)
{
    return (byte & 0xc0) == 0x80;
}

/* Length of the UTF-8 character at bytes; 0 when there is none. Refuses overlong forms, surrogates
 * and what is above U+10FFFF by the range of the second byte. */
static size_t escape_utf8_length(const uint8_t *bytes, size_t count)
{
    uint8_t first = bytes[0];
    if (first < 0x80) {
        return 1;
    }
    size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || count < length) {
        return 0;
    }
    uint8_t low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    uint8_t high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (bytes[1] < low || bytes[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < length; i++) {
        if (!escape_is_tail(bytes[i])) {
            return 0;
        }
    }
    return length;
}

bool escape_is_utf8(const void *bytes, size_t count)
{
    const uint8_t *rest = bytes;
    while (count > 0) {
        size_t length = escape_utf8_length(rest, count);
        if (length == 0) {
            return false;
        }
        rest += length;
        count -= length;
    }
    return true;
}

static size_t escape_short(char piece[ESCAPE_PIECE_MAX + 1], char letter)
{
    piece[0] = '\\';
    piece[1] = letter;
    return 2;
}

static size_t escape_code(char piece[ESCAPE_PIECE_MAX + 1], unsigned code)
{
    (void)snprintf(piece, ESCAPE_PIECE_MAX + 1, "\\u%04x", code & 0xffff);
    return ESCAPE_PIECE_MAX;
}

/* Write one character's text to piece and return its length; *taken: the bytes that it was. */
static size_t escape_piece(char piece[ESCAPE_PIECE_MAX + 1], const uint8_t *bytes, size_t count,
                           size_t *taken)
{
    size_t length = escape_utf8_length(bytes, count);
    *taken = length > 0 ? length : 1;
    if (length == 0) {
        return escape_code(piece, 0xfffd);
    }
    if (length == 2 && bytes[0] == 0xc2 && bytes[1] < 0xa0) { /* C1 moves a terminal's cursor */
        return escape_code(piece, bytes[1]);
    }
    if (length == 3 && bytes[0] == 0xef && bytes[1] == 0xbf && bytes[2] >= 0xbe) {
        return escape_code(piece, 0xffc0U | (bytes[2] & 0x3fU));
    }
    switch (bytes[0]) {
    case '"':
    case '\\':
        return escape_short(piece, (char)bytes[0]);
    case '\n':
        return escape_short(piece, 'n');
    case '\r':
        return escape_short(piece, 'r');
    case '\t':
        return escape_short(piece, 't');
    default:
        break;
    }
    if (bytes[0] < 0x20 || bytes[0] == 0x7f) {
        return escape_code(piece, bytes[0]);
    }
    memcpy(piece, bytes, length);
    return length;
}

size_t escape_json(char *text, size_t room, const void *bytes, size_t count)
{
    static const char ellipsis[] = "...";
    const size_t ellipsis_bytes = sizeof(ellipsis) - 1;
    assert(room >= ellipsis_bytes);

    const uint8_t *rest = bytes;
    size_t size = 0;
    size_t cut = 0; /* the last end of a character after which the ellipsis fits */
    while (count > 0) {
        char piece[ESCAPE_PIECE_MAX + 1];
        size_t taken = 0;
        size_t piece_bytes = escape_piece(piece, rest, count, &taken);
        if (piece_bytes > room - size) {
            memcpy(text + cut, ellipsis, ellipsis_bytes);
            return cut + ellipsis_bytes;
        }
        memcpy(text + size, piece, piece_bytes);
        size += piece_bytes;
        if (size + ellipsis_bytes <= room) {
            cut = size;
        }
        rest += taken;
        count -= taken;
    }
    return size;
}
