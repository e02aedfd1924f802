/* What the sink has stored: how often each request of each sender, in memory and in a journal that
 * survives a kill. */
#ifndef BENCH_STORE_H
#define BENCH_STORE_H

#include "bench/bytes.h"
#include "bench/post.h"

#include <stdint.h>

struct store;

/* journal: a file to append to and to continue from; NULL: none. Owner: the caller,
 * store_free(). */
struct store *store_new(const char *journal);
void store_free(struct store *store);

/* Store the whole requests of a POST. They are in the journal when this returns. */
void store_add(struct store *store, const struct post *post);

uint64_t store_complete(const struct store *store);   /* requests stored at least once */
uint64_t store_duplicates(const struct store *store); /* further copies of them */

/* Requests that came for the first time after a later one of the same sender. */
uint64_t store_order_violations(const struct store *store);

/* Append a line "sender sequence copies" for each request stored. */
void store_print(const struct store *store, struct bytes *out);

#endif
