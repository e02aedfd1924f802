/* Characters and lists of header fields. Pure; owns nothing. */
#include "wire/field.h"

#include <string.h>
#include <strings.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_token_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || is_digit(c) ||
           (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

struct text text_trim(struct text text)
{
    while (text.bytes > 0 && is_blank(text.start[0])) {
        text.start++;
        text.bytes--;
    }
    while (text.bytes > 0 && is_blank(text.start[text.bytes - 1])) {
        text.bytes--;
    }
    return text;
}

bool text_is(struct text text, const char *word)
{
    return text_equal(text, (struct text){.start = word, .bytes = strlen(word)});
}

bool text_equal(struct text left, struct text right)
{
    return left.bytes == right.bytes &&
           (left.bytes == 0 || strncasecmp(left.start, right.start, left.bytes) == 0);
}

bool text_next(struct text *rest, struct text *element)
{
    if (rest->bytes == 0) {
        return false;
    }
    const char *comma = memchr(rest->start, ',', rest->bytes);
    size_t bytes = comma == NULL ? rest->bytes : (size_t)(comma - rest->start);
    size_t taken = comma == NULL ? bytes : bytes + 1;
    *element = text_trim((struct text){.start = rest->start, .bytes = bytes});
    rest->start += taken;
    rest->bytes -= taken;
    return true;
}

bool field_name_valid(struct text name)
{
    for (size_t i = 0; i < name.bytes; i++) {
        if (!is_token_byte(name.start[i])) {
            return false;
        }
    }
    return name.bytes > 0;
}

bool field_value_valid(struct text value)
{
    for (size_t i = 0; i < value.bytes; i++) {
        unsigned char c = (unsigned char)value.start[i];
        if ((c < ' ' && c != '\t') || c == 0x7f) {
            return false;
        }
    }
    return true;
}

bool field_number(struct text value, uint64_t *number)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < value.bytes; i++) {
        if (!is_digit(value.start[i])) {
            return false;
        }
        uint64_t digit = (uint64_t)(value.start[i] - '0');
        if (sum > (UINT64_MAX - digit) / 10) {
            return false;
        }
        sum = sum * 10 + digit;
    }
    if (value.bytes == 0) {
        return false;
    }
    *number = sum;
    return true;
}
