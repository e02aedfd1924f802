/* A budget of actions. Pure arithmetic; time is an argument. */
#include "base/token_bucket.h"

#define MILLION UINT64_C(1000000)

void token_bucket_init(struct token_bucket *bucket, uint64_t size, uint64_t per_second,
                       uint64_t now_us)
{
    *bucket = (struct token_bucket){
        .tokens = size * MILLION, .per_second = per_second, .size = size, .filled_us = now_us};
}

static void refill(struct token_bucket *bucket, uint64_t now_us)
{
    uint64_t full = bucket->size * MILLION;
    uint64_t elapsed_us = now_us > bucket->filled_us ? now_us - bucket->filled_us : 0;
    bucket->filled_us += elapsed_us;
    /* Divided, not multiplied, so that a long silence cannot overflow. */
    if (bucket->per_second > 0 && elapsed_us >= (full - bucket->tokens) / bucket->per_second) {
        bucket->tokens = full;
    } else {
        bucket->tokens += elapsed_us * bucket->per_second;
    }
}

bool token_bucket_take(struct token_bucket *bucket, uint64_t count, uint64_t now_us)
{
    refill(bucket, now_us);
    if (count > bucket->tokens / MILLION) {
        return false;
    }
    bucket->tokens -= count * MILLION;
    return true;
}
