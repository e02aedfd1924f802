/* Series as a cluster's Prometheus sends them: of the kubelet's cAdvisor, kube-state-metrics and
 * node-exporter, deterministic by a seed. */
#ifndef BENCH_KUBERNETES_H
#define BENCH_KUBERNETES_H

#include <stddef.h>
#include <stdint.h>

#define LABELS_MAX      24
#define LABEL_BYTES_MAX 256 /* of a value, terminator included */

struct label {
    const char *name; /* a constant */
    char value[LABEL_BYTES_MAX];
};

/* The labels of one series, unique, in any order until labels_sort(). */
struct labels {
    size_t count;
    struct label all[LABELS_MAX];
};

__attribute__((format(printf, 3, 4))) void labels_add(struct labels *labels, const char *name,
                                                      const char *format, ...);

/* Sort by name, as remote write demands. */
void labels_sort(struct labels *labels);

/* The labels of series number index of total. Neighbours have the metric's name in common and
 * differ in pod or device, as in a scrape. */
void kubernetes_series(uint64_t seed, uint32_t index, uint32_t total, struct labels *labels);

#endif
