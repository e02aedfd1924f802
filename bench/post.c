/* What one POST to the sink contains; see post.h. */
#include "bench/post.h"
#include "bench/body_template.h"
#include "bench/samples.h"

#include <snappy-c.h>
#include <stdlib.h>
#include <string.h>

#define DECODED_BYTES_MAX ((size_t)256 << 20)
#define SEQUENCES_MAX     10000000
#define PARTS_MAX         10000000

static void on_series(void *context, const struct series_view *series)
{
    struct post *post = context;
    post->series++;
    if (series->sender < 0 || series->parts == 0) {
        post->foreign++;
    }
}

static struct post_member *add_member(struct post *post, uint32_t sender, uint32_t sequence,
                                      uint32_t parts)
{
    if (post->count == post->capacity) {
        post->capacity = post->capacity == 0 ? 64 : post->capacity * 2;
        post->members = realloc(post->members, post->capacity * sizeof *post->members);
        if (post->members == NULL) {
            bench_die("out of memory");
        }
    }
    size_t bytes = (parts + 7) / 8;
    struct post_member *member = &post->members[post->count++];
    *member = (struct post_member){
        .sender = sender, .sequence = sequence, .parts = parts, .bits_at = post->bits.size};
    bytes_reserve(&post->bits, post->bits.size + bytes);
    memset(post->bits.data + post->bits.size, 0, bytes);
    post->bits.size += bytes;
    return member;
}

static struct post_member *find_member(struct post *post, uint32_t sender, uint32_t sequence,
                                       uint32_t parts)
{
    for (size_t i = 0; i < post->count; i++) {
        size_t index = (post->latest + i) % post->count;
        struct post_member *member = &post->members[index];
        if (member->sender == sender && member->sequence == sequence && member->parts == parts) {
            post->latest = index;
            return member;
        }
    }
    post->latest = post->count;
    return add_member(post, sender, sequence, parts);
}

/* Note a part; a part that comes again before the copy is whole has been altered or doubled. */
static void note_part(struct post *post, struct post_member *member, uint32_t part)
{
    uint8_t *bits = post->bits.data + member->bits_at;
    uint8_t bit = (uint8_t)(1U << (part % 8));
    if ((bits[part / 8] & bit) != 0) {
        post->altered++;
        return;
    }
    bits[part / 8] |= bit;
    member->seen++;
    if (member->seen == member->parts) {
        member->copies++;
        member->seen = 0;
        memset(bits, 0, (member->parts + 7) / 8);
    }
}

static void on_sample(void *context, const struct series_view *series, int64_t timestamp_ms,
                      double value)
{
    struct post *post = context;
    post->samples++;
    if (series->sender < 0 || series->parts == 0) {
        return;
    }
    double expected = samples_value(series->label_sum, timestamp_ms);
    int64_t since_ms = timestamp_ms - post->t0_ms;
    uint64_t sequence = since_ms < 0 ? 0 : (uint64_t)since_ms / post->step_ms;
    if (memcmp(&expected, &value, sizeof value) != 0 || since_ms < 0 ||
        (uint64_t)since_ms % post->step_ms != 0 || sequence > SEQUENCES_MAX ||
        series->sender >= SENDERS_MAX || series->parts > PARTS_MAX) {
        post->altered++;
        return;
    }
    struct post_member *member =
        find_member(post, (uint32_t)series->sender, (uint32_t)sequence, series->parts);
    note_part(post, member, series->part);
}

bool post_read(struct post *post, const void *body, size_t bytes)
{
    post->count = 0;
    post->bits.size = 0;
    post->latest = 0;
    post->series = 0;
    post->samples = 0;
    post->altered = 0;
    post->foreign = 0;
    size_t size = 0;
    if (snappy_uncompressed_length(body, bytes, &size) != SNAPPY_OK || size > DECODED_BYTES_MAX) {
        return false;
    }
    bytes_reserve(&post->decoded, size + 1); /* not NULL, even for nothing */
    const struct samples_walker walker = {on_series, on_sample, post};
    return snappy_uncompress(body, bytes, (char *)post->decoded.data, &size) == SNAPPY_OK &&
           samples_walk(post->decoded.data, size, &walker);
}

bool post_has_sender(const struct post *post, uint32_t sender)
{
    for (size_t i = 0; i < post->count; i++) {
        if (post->members[i].sender == sender) {
            return true;
        }
    }
    return false;
}

uint64_t post_partial(const struct post *post)
{
    uint64_t partial = 0;
    for (size_t i = 0; i < post->count; i++) {
        partial += post->members[i].seen > 0 ? 1 : 0;
    }
    return partial;
}

void post_free(struct post *post)
{
    free(post->members);
    bytes_free(&post->bits);
    bytes_free(&post->decoded);
}
