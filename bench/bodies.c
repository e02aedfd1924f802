/* Which body each sender sends next; see bodies.h. */
#include "bench/bodies.h"
#include "bench/args.h"
#include "bench/body_template.h"
#include "bench/samples.h"

#include <dirent.h>
#include <errno.h>
#include <snappy-c.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREPARED_PER_SENDER 4
#define PREPARED_BYTES_MAX  ((size_t)96 << 20)

struct bodies {
    struct bodies_settings settings;
    struct body_template *template; /* NULL for captured ones */
    struct bytes *kept;             /* prepared ones, per_sender of each sender; or captured ones */
    uint64_t *kept_samples;         /* of captured ones */
    uint64_t kept_count;
    uint64_t per_sender;
};

static int compare_names(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

static void read_file(const char *directory, const char *name, struct bytes *out)
{
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        args_fail("%s: %s", path, strerror(errno));
    }
    size_t got;
    do {
        bytes_reserve(out, out->size + 65536);
        got = fread(out->data + out->size, 1, 65536, file);
        out->size += got;
    } while (got > 0);
    (void)fclose(file);
}

/* List the regular files of a directory by name. The caller frees the names and the list. */
static char **list_files(const char *directory, size_t *count)
{
    char **names = NULL;
    DIR *entries = opendir(directory);
    if (entries == NULL) {
        args_fail("%s: %s", directory, strerror(errno));
    }
    *count = 0;
    for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
        if (entry->d_type != DT_REG) {
            continue;
        }
        char **longer = realloc(names, (*count + 1) * sizeof *names);
        char *name = strdup(entry->d_name);
        if (longer == NULL || name == NULL) {
            bench_die("out of memory");
        }
        names = longer;
        names[(*count)++] = name;
    }
    (void)closedir(entries);
    if (*count == 0) {
        args_fail("%s: no files", directory);
    }
    qsort(names, *count, sizeof *names, compare_names);
    return names;
}

static void ignore_series(void *context, const struct series_view *series)
{
    (void)context;
    (void)series;
}

static void count_sample(void *context, const struct series_view *series, int64_t timestamp_ms,
                         double value)
{
    (void)series;
    (void)timestamp_ms;
    (void)value;
    *(uint64_t *)context += 1;
}

/* Float samples in a body; 0 for one that makes no sense, which may be sent all the same. */
static uint64_t count_samples(const struct bytes *body)
{
    uint64_t samples = 0;
    size_t size = 0;
    struct bytes decoded = {0};
    struct samples_walker walker = {ignore_series, count_sample, &samples};
    if (snappy_uncompressed_length((const char *)body->data, body->size, &size) == SNAPPY_OK) {
        bytes_reserve(&decoded, size + 1); /* not NULL, even for nothing */
        if (snappy_uncompress((const char *)body->data, body->size, (char *)decoded.data, &size) !=
                SNAPPY_OK ||
            !samples_walk(decoded.data, size, &walker)) {
            samples = 0;
        }
    }
    bytes_free(&decoded);
    return samples;
}

static void read_captured(struct bodies *bodies)
{
    size_t count;
    char **names = list_files(bodies->settings.directory, &count);
    bodies->kept = bench_alloc(count, sizeof *bodies->kept);
    bodies->kept_samples = bench_alloc(count, sizeof *bodies->kept_samples);
    bodies->kept_count = count;
    for (size_t i = 0; i < count; i++) {
        read_file(bodies->settings.directory, names[i], &bodies->kept[i]);
        bodies->kept_samples[i] = count_samples(&bodies->kept[i]);
        free(names[i]);
    }
    free(names);
}

static void make(struct bodies *bodies, uint64_t index, uint64_t sequence, struct bytes *out)
{
    const struct bodies_settings *settings = &bodies->settings;
    body_template_make(bodies->template, (uint32_t)(settings->sender_base + index),
                       settings->t0_ms + (int64_t)(sequence * settings->step_ms), out);
}

static void prepare(struct bodies *bodies)
{
    const struct bodies_settings *settings = &bodies->settings;
    struct bytes one = {0};
    make(bodies, 0, 0, &one);
    uint64_t fit = PREPARED_BYTES_MAX / (one.size * settings->senders);
    bodies->per_sender = fit == 0 ? 1 : fit > PREPARED_PER_SENDER ? PREPARED_PER_SENDER : fit;
    bodies->kept_count = settings->senders * bodies->per_sender;
    bodies->kept = bench_alloc(bodies->kept_count, sizeof *bodies->kept);
    for (uint64_t i = 0; i < bodies->kept_count; i++) {
        make(bodies, i / bodies->per_sender, i % bodies->per_sender, &one);
        bytes_append(&bodies->kept[i], one.data, one.size);
    }
    bytes_free(&one);
}

struct bodies *bodies_new(const struct bodies_settings *settings)
{
    struct bodies *bodies = bench_alloc(1, sizeof *bodies);
    bodies->settings = *settings;
    if (settings->directory != NULL) {
        read_captured(bodies);
        return bodies;
    }
    bodies->template = body_template_new(settings->seed, (uint32_t)settings->series);
    if (!settings->unique) {
        prepare(bodies);
    }
    return bodies;
}

void bodies_free(struct bodies *bodies)
{
    for (uint64_t i = 0; i < bodies->kept_count; i++) {
        bytes_free(&bodies->kept[i]);
    }
    free(bodies->kept);
    free(bodies->kept_samples);
    if (bodies->template != NULL) {
        body_template_free(bodies->template);
    }
    free(bodies);
}

struct body bodies_get(struct bodies *bodies, uint64_t index, uint64_t sequence, struct bytes *own)
{
    if (bodies->template == NULL) {
        uint64_t i = (index + sequence) % bodies->kept_count;
        return (struct body){&bodies->kept[i], bodies->kept_samples[i], sequence};
    }
    if (bodies->settings.unique) {
        make(bodies, index, sequence, own);
        return (struct body){own, bodies->settings.series, sequence};
    }
    uint64_t kept = sequence % bodies->per_sender;
    return (struct body){&bodies->kept[index * bodies->per_sender + kept], bodies->settings.series,
                         kept};
}
