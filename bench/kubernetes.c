/* Series of a Kubernetes cluster; see kubernetes.h. Shapes: the metrics that the three exporters
 * document, with the labels that kube-prometheus' ServiceMonitors add. */
#include "bench/kubernetes.h"
#include "bench/bytes.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* Containers of one node, near the kubelet's limit of 110 pods. A metric's series are neighbours,
 * so this is also how far a container's identifiers are from their next appearance, which decides
 * how well a body compresses. */
#define CONTAINERS 100

/* Of a hundred series; the rest is node-exporter's. */
#define CADVISOR_PERCENT      62
#define STATE_METRICS_PERCENT 22

static const char *const cadvisor_metrics[] = {
    "container_cpu_usage_seconds_total",
    "container_cpu_user_seconds_total",
    "container_cpu_system_seconds_total",
    "container_cpu_cfs_periods_total",
    "container_cpu_cfs_throttled_periods_total",
    "container_cpu_cfs_throttled_seconds_total",
    "container_memory_working_set_bytes",
    "container_memory_usage_bytes",
    "container_memory_rss",
    "container_memory_cache",
    "container_memory_swap",
    "container_memory_mapped_file",
    "container_memory_failcnt",
    "container_memory_max_usage_bytes",
    "container_spec_cpu_period",
    "container_spec_cpu_quota",
    "container_spec_cpu_shares",
    "container_spec_memory_limit_bytes",
    "container_spec_memory_reservation_limit_bytes",
    "container_start_time_seconds",
    "container_last_seen",
    "container_processes",
    "container_threads",
    "container_sockets",
    "container_file_descriptors",
    "container_fs_reads_total",
    "container_fs_writes_total",
    "container_fs_reads_bytes_total",
    "container_fs_writes_bytes_total",
    "container_fs_usage_bytes",
    "container_oom_events_total",
};

static const char *const state_metrics[] = {
    "kube_pod_container_status_ready",
    "kube_pod_container_status_running",
    "kube_pod_container_status_restarts_total",
    "kube_pod_container_info",
    "kube_pod_container_resource_limits",
    "kube_pod_container_resource_requests",
    "kube_pod_status_phase",
    "kube_pod_status_ready",
    "kube_pod_info",
    "kube_pod_owner",
    "kube_pod_start_time",
    "kube_pod_created",
};

static const char *const node_metrics[] = {
    "node_network_receive_bytes_total",   "node_network_transmit_bytes_total",
    "node_network_receive_packets_total", "node_network_transmit_packets_total",
    "node_network_receive_drop_total",    "node_network_transmit_errs_total",
    "node_disk_read_bytes_total",         "node_disk_written_bytes_total",
    "node_disk_io_time_seconds_total",    "node_filesystem_avail_bytes",
    "node_filesystem_size_bytes",         "node_filesystem_files_free",
    "node_memory_MemAvailable_bytes",     "node_load1",
};

static const char *const cpu_modes[] = {"idle",    "iowait", "irq",    "nice",
                                        "softirq", "steal",  "system", "user"};

static const char *const apps[] = {
    "coredns",        "calico-node",     "ks-apiserver",  "ks-controller-manager",
    "prometheus-k8s", "alertmanager",    "kube-proxy",    "node-exporter",
    "openebs-lvm",    "gitea",           "checkout",      "payment-gateway",
    "inventory",      "recommendations", "session-cache", "web-frontend",
};

static const char *const namespaces[] = {"kube-system", "kubesphere-system",
                                         "kubesphere-monitoring-system", "shop-production",
                                         "shop-staging"};

/* What is random about one container, by its number. */
struct container {
    uint64_t random;
    const char *app;
    const char *namespace;
    unsigned node;
    char pod[64];
    char uid[40];
    char id[68];
    char image[160];
};

static uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

static void random_hex(uint64_t *state, char *out, size_t digits)
{
    static const char hex[] = "0123456789abcdef";
    uint64_t bits = 0;
    for (size_t i = 0; i < digits; i++) {
        bits = i % 16 == 0 ? next_random(state) : bits >> 4;
        out[i] = hex[bits & 15];
    }
    out[digits] = '\0';
}

static void container_make(uint64_t seed, uint32_t number, struct container *container)
{
    uint64_t state = seed * 1000003 + number;
    char digits[65];
    *container = (struct container){.random = next_random(&state), .node = number / CONTAINERS};
    container->app = apps[number % COUNT_OF(apps)];
    container->namespace = namespaces[container->random % COUNT_OF(namespaces)];
    random_hex(&state, digits, 15);
    (void)snprintf(container->pod, sizeof container->pod, "%s-%.10s-%.5s", container->app, digits,
                   digits + 10);
    random_hex(&state, digits, 32);
    (void)snprintf(container->uid, sizeof container->uid, "%.8s-%.4s-%.4s-%.4s-%.12s", digits,
                   digits + 8, digits + 12, digits + 16, digits + 20);
    random_hex(&state, container->id, 64);
    (void)snprintf(container->image, sizeof container->image, "registry.example.com/%s:v1.%u.0",
                   container->app, number % 7);
}

void labels_add(struct labels *labels, const char *name, const char *format, ...)
{
    if (labels->count == LABELS_MAX) {
        bench_die("more than %d labels", LABELS_MAX);
    }
    struct label *label = &labels->all[labels->count++];
    label->name = name;
    va_list arguments;
    va_start(arguments, format);
    int bytes = vsnprintf(label->value, sizeof label->value, format, arguments);
    va_end(arguments);
    if (bytes < 0 || (size_t)bytes >= sizeof label->value) {
        bench_die("label %s is too long", name);
    }
}

static int compare_labels(const void *left, const void *right)
{
    return strcmp(((const struct label *)left)->name, ((const struct label *)right)->name);
}

void labels_sort(struct labels *labels)
{
    qsort(labels->all, labels->count, sizeof labels->all[0], compare_labels);
}

static void add_cadvisor(uint64_t seed, uint32_t index, struct labels *labels)
{
    const uint32_t metrics = COUNT_OF(cadvisor_metrics);
    uint32_t node = index / (CONTAINERS * metrics);
    const char *metric = cadvisor_metrics[index / CONTAINERS % metrics];
    struct container container;
    container_make(seed, node * CONTAINERS + index % CONTAINERS, &container);
    char uid[40];
    memcpy(uid, container.uid, sizeof uid);
    for (char *c = uid; *c != '\0'; c++) {
        *c = *c == '-' ? '_' : *c;
    }
    labels_add(labels, "__name__", "%s", metric);
    labels_add(labels, "container", "%s", container.app);
    labels_add(labels, "id",
               "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod%s.slice/"
               "cri-containerd-%s.scope",
               uid, container.id);
    labels_add(labels, "image", "%s", container.image);
    labels_add(labels, "instance", "10.0.%u.%u:10250", node / 250 % 250, node % 250 + 1);
    labels_add(labels, "job", "kubelet");
    labels_add(labels, "metrics_path", "/metrics/cadvisor");
    labels_add(labels, "name", "%s", container.id);
    labels_add(labels, "namespace", "%s", container.namespace);
    labels_add(labels, "node", "worker-%u", node);
    labels_add(labels, "pod", "%s", container.pod);
    if (strncmp(metric, "container_fs_", 13) == 0) {
        labels_add(labels, "device", "/dev/nvme%un1", index % 2);
    } else if (strcmp(metric, "container_cpu_usage_seconds_total") == 0) {
        labels_add(labels, "cpu", "total");
    }
}

static void add_state_metrics(uint64_t seed, uint32_t index, struct labels *labels)
{
    const uint32_t metrics = COUNT_OF(state_metrics);
    uint32_t node = index / (CONTAINERS * metrics);
    const char *metric = state_metrics[index / CONTAINERS % metrics];
    struct container container;
    container_make(seed, node * CONTAINERS + index % CONTAINERS, &container);
    labels_add(labels, "__name__", "%s", metric);
    labels_add(labels, "container", "%s", container.app);
    labels_add(labels, "endpoint", "https-main");
    labels_add(labels, "instance", "10.233.71.14:8443");
    labels_add(labels, "job", "kube-state-metrics");
    labels_add(labels, "namespace", "%s", container.namespace);
    labels_add(labels, "node", "worker-%u", node);
    labels_add(labels, "pod", "%s", container.pod);
    labels_add(labels, "service", "kube-state-metrics");
    labels_add(labels, "uid", "%s", container.uid);
    if (strstr(metric, "resource") != NULL) {
        labels_add(labels, "resource", "memory");
        labels_add(labels, "unit", "byte");
    } else if (strstr(metric, "owner") != NULL || strstr(metric, "pod_info") != NULL) {
        labels_add(labels, "created_by_kind", "ReplicaSet");
        labels_add(labels, "created_by_name", "%.*s",
                   (int)(strrchr(container.pod, '-') - container.pod), container.pod);
        labels_add(labels, "host_ip", "10.0.0.%u", node % 250 + 1);
    } else if (strstr(metric, "phase") != NULL) {
        labels_add(labels, "phase", "Running");
    }
}

static void add_node(uint32_t index, struct labels *labels)
{
    enum { CPU_SERIES = 64, DEVICES = 6 };

    const uint32_t per_node = CPU_SERIES + COUNT_OF(node_metrics) * DEVICES;
    uint32_t node = index / per_node;
    uint32_t own = index % per_node;
    labels_add(labels, "container", "kube-rbac-proxy");
    labels_add(labels, "endpoint", "https");
    labels_add(labels, "instance", "worker-%u", node);
    labels_add(labels, "job", "node-exporter");
    labels_add(labels, "namespace", "kubesphere-monitoring-system");
    labels_add(labels, "pod", "node-exporter-%05x", node * 7919 % 0xfffff);
    labels_add(labels, "role", "%s", node % 10 == 0 ? "control-plane" : "worker");
    labels_add(labels, "service", "node-exporter");
    if (own < CPU_SERIES) {
        labels_add(labels, "__name__", "node_cpu_seconds_total");
        labels_add(labels, "cpu", "%u", own / 8);
        labels_add(labels, "mode", "%s", cpu_modes[own % 8]);
        return;
    }
    labels_add(labels, "__name__", "%s", node_metrics[(own - CPU_SERIES) / DEVICES]);
    uint32_t device = (own - CPU_SERIES) % DEVICES;
    labels_add(labels, "device", "%s%u", device < 2 ? "eth" : "/dev/nvme0n1p", device);
    if (device >= 2) {
        labels_add(labels, "fstype", "ext4");
        labels_add(labels, "mountpoint", "/var/lib/volume-%u", device);
    }
}

void kubernetes_series(uint64_t seed, uint32_t index, uint32_t total, struct labels *labels)
{
    uint32_t cadvisor = (uint32_t)((uint64_t)total * CADVISOR_PERCENT / 100);
    uint32_t state = (uint32_t)((uint64_t)total * STATE_METRICS_PERCENT / 100);
    labels->count = 0;
    if (index < cadvisor) {
        add_cadvisor(seed, index, labels);
    } else if (index < cadvisor + state) {
        add_state_metrics(seed, index - cadvisor, labels);
    } else {
        add_node(index - cadvisor - state, labels);
    }
    labels_add(labels, "cluster", "member-%u", (unsigned)(seed % 100));
}
