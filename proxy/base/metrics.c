/* The table of metrics and its printing. Owns no numbers: the sets are the workers'. */
#include "base/metrics.h"

#include "base/clock.h"
#include "base/decimal.h"

#include <assert.h>
#include <dirent.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

struct metrics_row {
    const char *name;
    const char *labels;
    const char *help;
};

struct metrics_histogram_row {
    struct metrics_row row;
    uint64_t scale;
    size_t count; /* bounds, without +Inf */
    uint64_t bounds[METRICS_BUCKETS_MAX];
};

static const struct metrics_row COUNTERS[METRIC_COUNTERS] = {
#define X(id, name, labels, help) [METRIC_##id] = {name, labels, help},
    METRICS_COUNTERS(X)
#undef X
};

static const struct metrics_row GAUGES[METRIC_GAUGES] = {
#define X(id, name, labels, help) [METRIC_##id] = {name, labels, help},
    METRICS_GAUGES(X)
#undef X
};

#define METRICS_COUNT(...) (sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

static const struct metrics_histogram_row HISTOGRAMS[METRIC_HISTOGRAMS] = {
#define X(id, name, labels, help, scale, ...) \
    [METRIC_##id] = {{name, labels, help}, scale, METRICS_COUNT(__VA_ARGS__), {__VA_ARGS__}},
    METRICS_HISTOGRAMS(X)
#undef X
};

void metrics_observe(struct metrics *metrics, enum metric_histogram id, uint64_t value)
{
    const struct metrics_histogram_row *row = &HISTOGRAMS[id];
    struct metrics_histogram *histogram = &metrics->histograms[id];
    size_t i = 0;
    while (i < row->count && value > row->bounds[i]) {
        i++;
    }
    uint64_t old = atomic_load_explicit(&histogram->buckets[i], memory_order_relaxed);
    atomic_store_explicit(&histogram->buckets[i], old + 1, memory_order_relaxed);
    old = atomic_load_explicit(&histogram->sum, memory_order_relaxed);
    atomic_store_explicit(&histogram->sum, old + value, memory_order_relaxed);
}

/* Print HELP and TYPE, with the escapes that a help text needs. */
static int metrics_print_head(struct buf *text, const char *name, const char *help,
                              const char *type)
{
    int result = buf_printf(text, "# HELP %s ", name);
    for (const char *c = help; result == 0 && *c != '\0'; c++) {
        if (*c == '\\') {
            result = buf_append(text, "\\\\", 2);
        } else if (*c == '\n') {
            result = buf_append(text, "\\n", 2);
        } else {
            result = buf_append(text, c, 1);
        }
    }
    return result < 0 ? result : buf_printf(text, "\n# TYPE %s %s\n", name, type);
}

static int metrics_print_sample(struct buf *text, const char *name, const char *labels,
                                const char *value)
{
    const char *open = labels[0] == '\0' ? "" : "{";
    const char *close = labels[0] == '\0' ? "" : "}";
    return buf_printf(text, "%s%s%s%s %s\n", name, open, labels, close, value);
}

/* Whether row i is the first of its name, the one that HELP and TYPE belong to. */
static bool metrics_is_first(const struct metrics_row *rows, size_t i)
{
    return i == 0 || strcmp(rows[i - 1].name, rows[i].name) != 0;
}

static int metrics_print_counters(struct metrics *const *sets, size_t count, struct buf *text)
{
    int result = 0;
    for (size_t i = 0; result == 0 && i < METRIC_COUNTERS; i++) {
        const struct metrics_row *row = &COUNTERS[i];
        if (metrics_is_first(COUNTERS, i)) {
            result = metrics_print_head(text, row->name, row->help, "counter");
        }
        uint64_t sum = 0;
        for (size_t set = 0; set < count; set++) {
            sum += atomic_load_explicit(&sets[set]->counters[i], memory_order_relaxed);
        }
        char value[DECIMAL_BYTES_MAX];
        (void)snprintf(value, sizeof(value), "%" PRIu64, sum);
        if (result == 0) {
            result = metrics_print_sample(text, row->name, row->labels, value);
        }
    }
    return result;
}

static int metrics_print_gauges(struct metrics *const *sets, size_t count, struct buf *text)
{
    int result = 0;
    for (size_t i = 0; result == 0 && i < METRIC_GAUGES; i++) {
        const struct metrics_row *row = &GAUGES[i];
        if (metrics_is_first(GAUGES, i)) {
            result = metrics_print_head(text, row->name, row->help, "gauge");
        }
        int64_t sum = 0;
        for (size_t set = 0; set < count; set++) {
            sum += atomic_load_explicit(&sets[set]->gauges[i], memory_order_relaxed);
        }
        char value[DECIMAL_BYTES_MAX];
        (void)snprintf(value, sizeof(value), "%" PRId64, sum);
        if (result == 0) {
            result = metrics_print_sample(text, row->name, row->labels, value);
        }
    }
    return result;
}

static int metrics_print_bucket(struct buf *text, const struct metrics_row *row, const char *bound,
                                uint64_t count)
{
    const char *comma = row->labels[0] == '\0' ? "" : ",";
    return buf_printf(text, "%s_bucket{%s%sle=\"%s\"} %" PRIu64 "\n", row->name, row->labels, comma,
                      bound, count);
}

/* Print one histogram. Its count is the sum of the buckets that were read, so that +Inf and _count
 * agree while workers go on counting. */
static int metrics_print_histogram(struct metrics *const *sets, size_t count, size_t id,
                                   struct buf *text)
{
    const struct metrics_histogram_row *row = &HISTOGRAMS[id];
    char number[DECIMAL_BYTES_MAX];
    uint64_t total = 0;
    uint64_t sum = 0;
    int result = 0;
    for (size_t i = 0; result == 0 && i <= row->count; i++) {
        for (size_t set = 0; set < count; set++) {
            total +=
                atomic_load_explicit(&sets[set]->histograms[id].buckets[i], memory_order_relaxed);
        }
        if (i < row->count) {
            (void)decimal_print_ratio(number, row->bounds[i], row->scale);
        } else {
            memcpy(number, "+Inf", sizeof("+Inf"));
        }
        result = metrics_print_bucket(text, &row->row, number, total);
    }
    for (size_t set = 0; set < count; set++) {
        sum += atomic_load_explicit(&sets[set]->histograms[id].sum, memory_order_relaxed);
    }
    (void)decimal_print_ratio(number, sum, row->scale);
    const char *open = row->row.labels[0] == '\0' ? "" : "{";
    const char *close = row->row.labels[0] == '\0' ? "" : "}";
    if (result == 0) {
        result = buf_printf(text, "%s_sum%s%s%s %s\n%s_count%s%s%s %" PRIu64 "\n", row->row.name,
                            open, row->row.labels, close, number, row->row.name, open,
                            row->row.labels, close, total);
    }
    return result;
}

int metrics_print(struct metrics *const *sets, size_t count, struct buf *text)
{
    size_t size = text->size;
    int result = metrics_print_counters(sets, count, text);
    if (result == 0) {
        result = metrics_print_gauges(sets, count, text);
    }
    for (size_t id = 0; result == 0 && id < METRIC_HISTOGRAMS; id++) {
        const struct metrics_row *row = &HISTOGRAMS[id].row;
        if (id == 0 || strcmp(HISTOGRAMS[id - 1].row.name, row->name) != 0) {
            result = metrics_print_head(text, row->name, row->help, "histogram");
        }
        if (result == 0) {
            result = metrics_print_histogram(sets, count, id, text);
        }
    }
    if (result < 0) {
        text->size = size;
    }
    return result;
}

static int metrics_print_one(struct buf *text, const char *name, const char *labels,
                             const char *help, const char *type, double value)
{
    size_t size = text->size;
    char number[DECIMAL_BYTES_MAX];
    (void)decimal_print_f64(number, value);
    int result = metrics_print_head(text, name, help, type);
    if (result == 0) {
        result = metrics_print_sample(text, name, labels, number);
    }
    if (result < 0) {
        text->size = size;
    }
    return result;
}

int metrics_print_counter(struct buf *text, const char *name, const char *help, uint64_t value)
{
    return metrics_print_one(text, name, "", help, "counter", (double)value);
}

int metrics_print_gauge(struct buf *text, const char *name, const char *labels, const char *help,
                        double value)
{
    return metrics_print_one(text, name, labels, help, "gauge", value);
}

/* What /proc/self/stat tells; fields are counted from 1 as proc(5) does. */
struct metrics_stat {
    uint64_t start_ticks; /* field 22, since boot */
    uint64_t virtual_bytes;
    uint64_t resident_pages;
};

static bool metrics_read_stat(struct metrics_stat *stat)
{
    char line[1024];
    FILE *file = fopen("/proc/self/stat", "re");
    if (file == NULL) {
        return false;
    }
    size_t bytes = fread(line, 1, sizeof(line) - 1, file);
    (void)fclose(file);
    line[bytes] = '\0';

    /* Field 2 is the command in parentheses and may hold anything: count from the last one. */
    const char *rest = strrchr(line, ')');
    for (int field = 2; rest != NULL && field < 22; field++) {
        rest = strchr(rest + 1, ' ');
    }
    struct metrics_stat found;
    if (rest == NULL || sscanf(rest, " %" SCNu64 " %" SCNu64 " %" SCNu64, &found.start_ticks,
                               &found.virtual_bytes, &found.resident_pages) != 3) {
        return false;
    }
    *stat = found;
    return true;
}

/* Seconds since 1970 at which the machine started; 0 when /proc/stat does not tell. */
static uint64_t metrics_read_boot_time(void)
{
    uint64_t boot = 0;
    char line[256];
    FILE *file = fopen("/proc/stat", "re");
    if (file == NULL) {
        return 0;
    }
    while (boot == 0 && fgets(line, sizeof(line), file) != NULL) {
        if (sscanf(line, "btime %" SCNu64, &boot) != 1) {
            boot = 0;
        }
    }
    (void)fclose(file);
    return boot;
}

/* Number of open descriptors, without the one that counts them; 0 when /proc does not tell. */
static uint64_t metrics_count_descriptors(void)
{
    DIR *directory = opendir("/proc/self/fd");
    if (directory == NULL) {
        return 0;
    }
    uint64_t count = 0;
    for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
        count += entry->d_name[0] != '.';
    }
    (void)closedir(directory);
    return count > 0 ? count - 1 : 0;
}

static int metrics_print_stat(struct buf *text)
{
    struct metrics_stat stat;
    if (!metrics_read_stat(&stat)) {
        return 0;
    }
    int result = metrics_print_gauge(text, "process_resident_memory_bytes", "",
                                     "Memory of the process that is in RAM.",
                                     (double)stat.resident_pages * (double)sysconf(_SC_PAGESIZE));
    if (result == 0) {
        result = metrics_print_gauge(text, "process_virtual_memory_bytes", "",
                                     "Address space of the process.", (double)stat.virtual_bytes);
    }
    uint64_t boot = metrics_read_boot_time();
    if (result == 0 && boot > 0) {
        double up = (double)stat.start_ticks / (double)sysconf(_SC_CLK_TCK);
        result =
            metrics_print_gauge(text, "process_start_time_seconds", "",
                                "Start of the process, in seconds since 1970.", (double)boot + up);
    }
    return result;
}

int metrics_print_process(struct buf *text)
{
    size_t size = text->size;
    struct rlimit descriptors;
    uint64_t open = metrics_count_descriptors();
    int result = metrics_print_one(text, "process_cpu_seconds_total", "",
                                   "CPU time that the process has used, user and system.",
                                   "counter", (double)clock_cpu_us() / 1e6);
    if (result == 0) {
        result = metrics_print_stat(text);
    }
    if (result == 0 && open > 0) {
        result = metrics_print_gauge(text, "process_open_fds", "",
                                     "File descriptors that are open.", (double)open);
    }
    if (result == 0 && getrlimit(RLIMIT_NOFILE, &descriptors) == 0) {
        result = metrics_print_gauge(text, "process_max_fds", "",
                                     "File descriptors that may be open at once.",
                                     (double)descriptors.rlim_cur);
    }
    if (result < 0) {
        text->size = size;
    }
    return result;
}
