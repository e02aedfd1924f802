/* Parsing and printing of numbers with units. Owns nothing. */
#include "config/value.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct value_suffix {
    const char *text;
    uint64_t factor;
};

#define KIB UINT64_C(1024)
#define SEC UINT64_C(1000000)

/* A suffix that is printed stands before its other spellings. */
static const struct value_suffix BYTE_SUFFIXES[] = {{"GiB", KIB *KIB *KIB},
                                                    {"MiB", KIB *KIB},
                                                    {"KiB", KIB},
                                                    {"", 1},
                                                    {"B", 1},
                                                    {"Ki", KIB},
                                                    {"Mi", KIB *KIB},
                                                    {"Gi", KIB *KIB *KIB},
                                                    {"k", 1000},
                                                    {"M", 1000000},
                                                    {"G", 1000000000},
                                                    {"kB", 1000},
                                                    {"MB", 1000000},
                                                    {"GB", 1000000000}};
static const size_t BYTE_SUFFIXES_PRINTED = 4;

static const struct value_suffix TIME_SUFFIXES[] = {{"w", 7 * 24 * 3600 * SEC},
                                                    {"d", 24 * 3600 * SEC},
                                                    {"h", 3600 * SEC},
                                                    {"m", 60 * SEC},
                                                    {"s", SEC},
                                                    {"ms", 1000},
                                                    {"us", 1},
                                                    {"\xc2\xb5s", 1},
                                                    {"\xce\xbcs", 1}};
static const size_t TIME_SUFFIXES_PRINTED = 7;

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool value_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Read digits and move *text behind them. Errors: -EINVAL none there, -ERANGE. */
static int value_parse_digits(const char **text, uint64_t *number)
{
    const char *rest = *text;
    uint64_t sum = 0;
    if (!value_is_digit(*rest)) {
        return -EINVAL;
    }
    for (; value_is_digit(*rest); rest++) {
        if (__builtin_mul_overflow(sum, UINT64_C(10), &sum) ||
            __builtin_add_overflow(sum, (uint64_t)(*rest - '0'), &sum)) {
            return -ERANGE;
        }
    }
    *text = rest;
    *number = sum;
    return 0;
}

static int value_parse_bytes(const char *text, uint64_t *number)
{
    uint64_t count = 0;
    int result = value_parse_digits(&text, &count);
    for (size_t i = 0; result == 0 && i < COUNT(BYTE_SUFFIXES); i++) {
        if (strcmp(text, BYTE_SUFFIXES[i].text) == 0) {
            return __builtin_mul_overflow(count, BYTE_SUFFIXES[i].factor, number) ? -ERANGE : 0;
        }
    }
    return result < 0 ? result : -EINVAL;
}

/* Find the unit that the letters at text are, all up to the next digit. */
static const struct value_suffix *value_find_time_suffix(const char *text)
{
    size_t bytes = strcspn(text, "0123456789");
    for (size_t i = 0; i < COUNT(TIME_SUFFIXES); i++) {
        if (strlen(TIME_SUFFIXES[i].text) == bytes &&
            strncmp(text, TIME_SUFFIXES[i].text, bytes) == 0) {
            return &TIME_SUFFIXES[i];
        }
    }
    return NULL;
}

/* Read one part such as "30s" or "1.5h" and move *text behind it. What a fraction says below a
 * microsecond is dropped. */
static int value_parse_time_part(const char **text, uint64_t *part_us)
{
    const char *rest = *text;
    uint64_t count = 0;
    int result = value_parse_digits(&rest, &count);
    if (result < 0) {
        return result;
    }
    const char *fraction = rest;
    if (*rest == '.') {
        fraction = ++rest;
        rest += strspn(rest, "0123456789");
        if (rest == fraction) {
            return -EINVAL;
        }
    }
    const struct value_suffix *suffix = value_find_time_suffix(rest);
    if (suffix == NULL) {
        return -EINVAL;
    }
    uint64_t sum = 0;
    if (__builtin_mul_overflow(count, suffix->factor, &sum)) {
        return -ERANGE;
    }
    uint64_t digit_us = suffix->factor;
    for (; fraction < rest; fraction++) {
        digit_us /= 10;
        if (__builtin_add_overflow(sum, digit_us * (uint64_t)(*fraction - '0'), &sum)) {
            return -ERANGE;
        }
    }
    *text = rest + strlen(suffix->text);
    *part_us = sum;
    return 0;
}

static int value_parse_duration(const char *text, uint64_t *duration_us)
{
    uint64_t sum_us = 0;
    if (strcmp(text, "0") == 0) {
        *duration_us = 0;
        return 0;
    }
    do {
        uint64_t part_us = 0;
        int result = value_parse_time_part(&text, &part_us);
        if (result < 0) {
            return result;
        }
        if (__builtin_add_overflow(sum_us, part_us, &sum_us)) {
            return -ERANGE;
        }
    } while (*text != '\0');
    *duration_us = sum_us;
    return 0;
}

static int value_parse_plain(const char *text, uint64_t *number)
{
    uint64_t found = 0;
    int result = value_parse_digits(&text, &found);
    if (result < 0 || *text != '\0') {
        return result < 0 ? result : -EINVAL;
    }
    *number = found;
    return 0;
}

int value_parse(enum value_unit unit, const char *text, uint64_t *number)
{
    uint64_t found = 0;
    int result = unit == VALUE_DURATION ? value_parse_duration(text, &found)
                 : unit == VALUE_BYTES  ? value_parse_bytes(text, &found)
                                        : value_parse_plain(text, &found);
    if (result == 0) {
        *number = found;
    }
    return result;
}

int value_parse_bool(const char *text, bool *boolean)
{
    bool is_true = strcmp(text, "true") == 0;
    if (!is_true && strcmp(text, "false") != 0) {
        return -EINVAL;
    }
    *boolean = is_true;
    return 0;
}

static void value_print_bytes(uint64_t number, char text[VALUE_TEXT_BYTES])
{
    size_t i = 0;
    while (i + 1 < BYTE_SUFFIXES_PRINTED &&
           (number == 0 || number % BYTE_SUFFIXES[i].factor != 0)) {
        i++;
    }
    (void)snprintf(text, VALUE_TEXT_BYTES, "%" PRIu64 "%s", number / BYTE_SUFFIXES[i].factor,
                   BYTE_SUFFIXES[i].text);
}

static void value_print_duration(uint64_t number, char text[VALUE_TEXT_BYTES])
{
    size_t size = 0;
    (void)snprintf(text, VALUE_TEXT_BYTES, "0s");
    for (size_t i = 0; number > 0 && i < TIME_SUFFIXES_PRINTED; i++) {
        uint64_t count = number / TIME_SUFFIXES[i].factor;
        if (count == 0) {
            continue;
        }
        number %= TIME_SUFFIXES[i].factor;
        int printed = snprintf(text + size, VALUE_TEXT_BYTES - size, "%" PRIu64 "%s", count,
                               TIME_SUFFIXES[i].text);
        size += printed > 0 ? (size_t)printed : 0;
    }
}

void value_print(enum value_unit unit, uint64_t number, char text[VALUE_TEXT_BYTES])
{
    switch (unit) {
    case VALUE_BYTES:
        value_print_bytes(number, text);
        break;
    case VALUE_DURATION:
        value_print_duration(number, text);
        break;
    case VALUE_PLAIN:
    default:
        (void)snprintf(text, VALUE_TEXT_BYTES, "%" PRIu64, number);
        break;
    }
}
