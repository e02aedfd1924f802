/* Numbers as people write them in settings: whole numbers, byte sizes, durations. */
#ifndef AGENT_PROXY_CONFIG_VALUE_H
#define AGENT_PROXY_CONFIG_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum value_unit { VALUE_PLAIN, VALUE_BYTES, VALUE_DURATION };

#define VALUE_TEXT_BYTES 64

/* Read a number of the unit; the whole text must be one.
 * Units: bytes, or microseconds for a duration.
 * Shape: plain "64"; bytes "1048576", "1MiB", "1Mi" (powers of 1024) or "1M", "1MB" (powers of
 * 1000), up to G; duration "2m", "1m30s", "500ms", "1.5h", with us, ms, s, m, h, d, w, or "0".
 * Errors: -EINVAL not such a number, -ERANGE beyond 64 bits. */
__attribute__((warn_unused_result)) int value_parse(enum value_unit unit, const char *text,
                                                    uint64_t *number);

/* Read "true" or "false". Errors: -EINVAL. */
__attribute__((warn_unused_result)) int value_parse_bool(const char *text, bool *boolean);

/* Print a number in the largest units that say it exactly; value_parse() reads it back. */
void value_print(enum value_unit unit, uint64_t number, char text[VALUE_TEXT_BYTES]);

#endif
