/* A budget of actions: refilled at a steady rate, spent one by one, full at the start. */
#ifndef AGENT_PROXY_BASE_TOKEN_BUCKET_H
#define AGENT_PROXY_BASE_TOKEN_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

/* Owner: embedded in its user. */
struct token_bucket {
    uint64_t tokens; /* in millionths of one */
    uint64_t per_second;
    uint64_t size; /* in whole tokens */
    uint64_t filled_us;
};

/* Units: now_us in [us], monotonic; the same clock for every call. Shape: size >= 1. */
void token_bucket_init(struct token_bucket *bucket, uint64_t size, uint64_t per_second,
                       uint64_t now_us);

/* Spend count tokens, all or none. False when there are too few. */
__attribute__((warn_unused_result)) bool token_bucket_take(struct token_bucket *bucket,
                                                           uint64_t count, uint64_t now_us);

#endif
