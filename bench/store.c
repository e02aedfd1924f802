/* What the sink has stored; see store.h. */
#include "bench/store.h"
#include "bench/body_template.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The requests of one sender, by sequence. */
struct kept {
    uint32_t *copies;
    size_t capacity;
    size_t end; /* one past the greatest sequence stored */
};

struct store {
    struct kept senders[SENDERS_MAX];
    int journal; /* -1: none */
    struct bytes lines;
    uint64_t complete;
    uint64_t duplicates;
    uint64_t order_violations;
};

static void keep(struct store *store, uint32_t sender, uint32_t sequence)
{
    struct kept *kept = &store->senders[sender];
    if (sequence >= kept->capacity) {
        size_t grown = ((size_t)sequence + 1) * 2;
        kept->copies = realloc(kept->copies, grown * sizeof *kept->copies);
        if (kept->copies == NULL) {
            bench_die("out of memory");
        }
        memset(kept->copies + kept->capacity, 0, (grown - kept->capacity) * sizeof *kept->copies);
        kept->capacity = grown;
    }
    if (kept->copies[sequence]++ > 0) {
        store->duplicates++;
        return;
    }
    store->complete++;
    if (sequence < kept->end) {
        store->order_violations++;
    } else {
        kept->end = (size_t)sequence + 1;
    }
}

/* Read back what an earlier run has stored. A last line that a kill has cut is taken off. */
static void read_journal(struct store *store, const char *path)
{
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return;
    }
    char line[64];
    long whole = 0;
    while (fgets(line, sizeof line, file) != NULL && strchr(line, '\n') != NULL) {
        char *rest = NULL;
        unsigned long sender = strtoul(line, &rest, 10);
        unsigned long sequence = strtoul(rest, NULL, 10);
        if (sender >= SENDERS_MAX || sequence > UINT32_MAX / 4) {
            bench_die("%s: cannot read \"%s\"", path, line);
        }
        keep(store, (uint32_t)sender, (uint32_t)sequence);
        whole = ftell(file);
    }
    (void)fclose(file);
    if (truncate(path, whole) != 0) {
        bench_die("%s: %s", path, strerror(errno));
    }
}

struct store *store_new(const char *journal)
{
    struct store *store = bench_alloc(1, sizeof *store);
    store->journal = -1;
    if (journal != NULL) {
        read_journal(store, journal);
        store->journal = open(journal, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
        if (store->journal < 0) {
            bench_die("%s: %s", journal, strerror(errno));
        }
    }
    return store;
}

void store_free(struct store *store)
{
    if (store->journal >= 0) {
        (void)close(store->journal);
    }
    for (size_t i = 0; i < SENDERS_MAX; i++) {
        free(store->senders[i].copies);
    }
    bytes_free(&store->lines);
    free(store);
}

void store_add(struct store *store, const struct post *post)
{
    store->lines.size = 0;
    for (size_t i = 0; i < post->count; i++) {
        const struct post_member *member = &post->members[i];
        for (uint32_t copy = 0; copy < member->copies; copy++) {
            keep(store, member->sender, member->sequence);
            if (store->journal >= 0) {
                bytes_printf(&store->lines, "%u %u\n", member->sender, member->sequence);
            }
        }
    }
    if (store->lines.size > 0 &&
        write(store->journal, store->lines.data, store->lines.size) != (ssize_t)store->lines.size) {
        bench_die("cannot write the journal: %s", strerror(errno));
    }
}

uint64_t store_complete(const struct store *store)
{
    return store->complete;
}

uint64_t store_duplicates(const struct store *store)
{
    return store->duplicates;
}

uint64_t store_order_violations(const struct store *store)
{
    return store->order_violations;
}

void store_print(const struct store *store, struct bytes *out)
{
    for (unsigned sender = 0; sender < SENDERS_MAX; sender++) {
        const struct kept *kept = &store->senders[sender];
        for (size_t sequence = 0; sequence < kept->end; sequence++) {
            if (kept->copies[sequence] > 0) {
                bytes_printf(out, "%u %zu %u\n", sender, sequence, kept->copies[sequence]);
            }
        }
    }
}
