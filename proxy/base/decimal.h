/* Numbers as decimal text that reads back as the same number. */
#ifndef AGENT_PROXY_BASE_DECIMAL_H
#define AGENT_PROXY_BASE_DECIMAL_H

#include <stddef.h>
#include <stdint.h>

#define DECIMAL_BYTES_MAX 64 /* with the terminator */

/* Print the shortest form that strtod() reads back exactly; NaN, +Inf and -Inf as Prometheus
 * writes them. Returns the bytes without the terminator. */
size_t decimal_print_f64(char text[DECIMAL_BYTES_MAX], double number);

/* Print value / scale without rounding, for a scale that is a power of ten: 2500 / 1000000 is
 * 0.0025. Returns the bytes without the terminator. */
size_t decimal_print_ratio(char text[DECIMAL_BYTES_MAX], uint64_t value, uint64_t scale);

#endif
