/* Decimal text of numbers. Owns nothing. */
#include "base/decimal.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t decimal_word(char text[DECIMAL_BYTES_MAX], const char *word)
{
    size_t bytes = strlen(word);
    memcpy(text, word, bytes + 1);
    return bytes;
}

size_t decimal_print_f64(char text[DECIMAL_BYTES_MAX], double number)
{
    if (isnan(number)) {
        return decimal_word(text, "NaN");
    }
    if (isinf(number)) {
        return decimal_word(text, number > 0 ? "+Inf" : "-Inf");
    }
    int bytes = 0;
    for (int digits = 15; digits <= 17; digits++) { /* 17 digits always read back exactly */
        bytes = snprintf(text, DECIMAL_BYTES_MAX, "%.*g", digits, number);
        double back = strtod(text, NULL);
        if (memcmp(&back, &number, sizeof(number)) == 0) {
            break;
        }
    }
    assert(bytes > 0 && bytes < DECIMAL_BYTES_MAX);
    return (size_t)bytes;
}

size_t decimal_print_ratio(char text[DECIMAL_BYTES_MAX], uint64_t value, uint64_t scale)
{
    assert(scale > 0 && scale <= UINT64_MAX / 10);
    int printed = snprintf(text, DECIMAL_BYTES_MAX, "%" PRIu64, value / scale);
    assert(printed > 0);
    size_t bytes = (size_t)printed;
    uint64_t rest = value % scale;
    if (rest > 0) {
        text[bytes++] = '.';
    }
    while (rest > 0 && bytes < DECIMAL_BYTES_MAX - 1) {
        uint64_t digit = rest * 10 / scale;
        text[bytes++] = (char)('0' + digit);
        rest = rest * 10 - digit * scale;
    }
    text[bytes] = '\0';
    return bytes;
}
