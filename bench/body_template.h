/* Generated bodies.
 *
 * A template is one decoded WriteRequest whose sender, timestamps and values are written anew for
 * each request; all else is shared by all connections, so thousands of them cost no memory. */
#ifndef BENCH_BODY_TEMPLATE_H
#define BENCH_BODY_TEMPLATE_H

#include "bench/bytes.h"

#include <stddef.h>
#include <stdint.h>

#define SENDER_DIGITS 4
#define SENDERS_MAX   10000

struct body_template;

/* One sample of each of series series, at least 1. Owner: the caller, body_template_free(). */
struct body_template *body_template_new(uint64_t seed, uint32_t series);
void body_template_free(struct body_template *template);

/* [bytes] before compression */
size_t body_template_decoded_bytes(const struct body_template *template);

/* Write the body of a sender at a timestamp, as a snappy block, over what out holds. */
void body_template_make(struct body_template *template, uint32_t sender, int64_t timestamp_ms,
                        struct bytes *out);

#endif
