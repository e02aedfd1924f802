/* Finds this process's cgroups and reads their limits. Owns nothing after it returns.
 *
 * /proc/self/cgroup names the process's group in each hierarchy, /proc/self/mountinfo where a
 * hierarchy is mounted and which of its groups is the mount's root. The part of the group's path
 * below that root is walked up; in a container the group may not be visible, its files are then
 * missing, and the walk ends at the mount's root, which is the container's own group. */
#include "base/cgroup.h"

#include "base/alloc.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* v1 writes "no limit" as the largest whole number of pages; nothing real is near it. */
static const uint64_t CGROUP_MEMORY_NONE = UINT64_C(1) << 60;

enum cgroup_controller { CGROUP_CPU, CGROUP_MEMORY, CGROUP_V2, CGROUP_CONTROLLERS };

/* Where one controller's files are. Empty mount: not found. */
struct cgroup_place {
    char group[PATH_MAX]; /* this process's group, "/..." */
    char base[PATH_MAX];  /* the group that is the mount's root */
    char mount[PATH_MAX];
};

/* Copy text that fits; else leave it empty, which counts as not found. */
static void cgroup_copy(char to[PATH_MAX], const char *text)
{
    size_t bytes = strlen(text);
    to[0] = '\0';
    if (bytes < PATH_MAX) {
        memcpy(to, text, bytes + 1);
    }
}

/* Whether a comma-separated list holds the word. */
static bool cgroup_list_has(const char *list, const char *word)
{
    size_t bytes = strlen(word);
    for (const char *item = list; item != NULL; item = strchr(item, ',')) {
        item += *item == ',';
        if (strncmp(item, word, bytes) == 0 && (item[bytes] == ',' || item[bytes] == '\0')) {
            return true;
        }
    }
    return false;
}

/* Turn the octal escapes of mountinfo (\040 is a space) into bytes, in place. */
static void cgroup_unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from != '\0'; to++) {
        unsigned code = 0;
        if (from[0] == '\\' && sscanf(from + 1, "%3o", &code) == 1 && code > 0 && code < 256) {
            *to = (char)code;
            from += 4;
        } else {
            *to = *from++;
        }
    }
    *to = '\0';
}

/* Take in a line "id:controllers:path" of /proc/self/cgroup. */
static void cgroup_take_group(struct cgroup_place places[CGROUP_CONTROLLERS], char *line)
{
    char *controllers = strchr(line, ':');
    char *path = controllers == NULL ? NULL : strchr(controllers + 1, ':');
    if (path == NULL) {
        return;
    }
    *controllers++ = '\0';
    *path++ = '\0';
    if (*controllers == '\0') {
        cgroup_copy(places[CGROUP_V2].group, path);
        return;
    }
    if (cgroup_list_has(controllers, "cpu")) {
        cgroup_copy(places[CGROUP_CPU].group, path);
    }
    if (cgroup_list_has(controllers, "memory")) {
        cgroup_copy(places[CGROUP_MEMORY].group, path);
    }
}

static void cgroup_set_mount(struct cgroup_place *place, const char *base, const char *mount)
{
    if (place->mount[0] == '\0') { /* the first mount is as good as a second one */
        cgroup_copy(place->base, base);
        cgroup_copy(place->mount, mount);
    }
}

/* Take in a line of /proc/self/mountinfo: "id parent device base mount options... - type source
 * options". */
static void cgroup_take_mount(struct cgroup_place places[CGROUP_CONTROLLERS], char *line)
{
    char *tail = strstr(line, " - ");
    if (tail == NULL) {
        return;
    }
    *tail = '\0';
    char *head[5] = {NULL};
    char *rest = line;
    for (size_t i = 0; i < 5; i++) {
        head[i] = strsep(&rest, " ");
    }
    rest = tail + 3;
    const char *type = strsep(&rest, " ");
    (void)strsep(&rest, " ");
    if (head[4] == NULL || type == NULL) {
        return;
    }
    cgroup_unescape(head[3]);
    cgroup_unescape(head[4]);
    if (strcmp(type, "cgroup2") == 0) {
        cgroup_set_mount(&places[CGROUP_V2], head[3], head[4]);
    } else if (strcmp(type, "cgroup") == 0 && rest != NULL) {
        if (cgroup_list_has(rest, "cpu")) {
            cgroup_set_mount(&places[CGROUP_CPU], head[3], head[4]);
        }
        if (cgroup_list_has(rest, "memory")) {
            cgroup_set_mount(&places[CGROUP_MEMORY], head[3], head[4]);
        }
    }
}

static void cgroup_each_line(const char *root, const char *path,
                             void (*take)(struct cgroup_place *places, char *line),
                             struct cgroup_place places[CGROUP_CONTROLLERS])
{
    char name[PATH_MAX];
    if (snprintf(name, sizeof(name), "%s%s", root, path) >= (int)sizeof(name)) {
        return;
    }
    FILE *file = fopen(name, "re");
    if (file == NULL) {
        return;
    }
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, file) > 0) {
        line[strcspn(line, "\n")] = '\0';
        take(places, line);
    }
    free(line);
    (void)fclose(file);
}

/* Read the first line of a small file; false when there is none. */
static bool cgroup_read_line(const char *directory, const char *file_name, char line[64])
{
    char name[2 * PATH_MAX];
    if (snprintf(name, sizeof(name), "%s/%s", directory, file_name) >= (int)sizeof(name)) {
        return false;
    }
    FILE *file = fopen(name, "re");
    if (file == NULL) {
        return false;
    }
    bool read = fgets(line, 64, file) != NULL;
    (void)fclose(file);
    return read;
}

/* Read a whole number greater than 0 and move *text behind it; false for anything else ("max",
 * "-1"), which is no limit. */
static bool cgroup_parse_number(const char **text, uint64_t *number)
{
    const char *digits = *text;
    if (*digits < '0' || *digits > '9') {
        return false;
    }
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(digits, &end, 10);
    if (errno != 0 || value == 0 || (*end != '\0' && *end != ' ' && *end != '\n')) {
        return false;
    }
    *text = *end == ' ' ? end + 1 : end;
    *number = value;
    return true;
}

static void cgroup_lower(uint64_t *limit, uint64_t value)
{
    if (*limit == 0 || value < *limit) {
        *limit = value;
    }
}

static void cgroup_take_cpu(struct cgroup_limits *limits, uint64_t quota, uint64_t period)
{
    if (quota <= UINT64_MAX / 1000) {
        uint64_t millis = quota * 1000 / period;
        cgroup_lower(&limits->cpu_millis, millis > 0 ? millis : 1);
    }
}

static void cgroup_take_memory(struct cgroup_limits *limits, const char *directory,
                               const char *file_name)
{
    char line[64];
    const char *text = line;
    uint64_t bytes = 0;
    if (cgroup_read_line(directory, file_name, line) && cgroup_parse_number(&text, &bytes) &&
        bytes < CGROUP_MEMORY_NONE) {
        cgroup_lower(&limits->memory_bytes, bytes);
    }
}

/* Take in the limits of one group. */
static void cgroup_take_limits(struct cgroup_limits *limits, enum cgroup_controller controller,
                               const char *directory)
{
    char line[64];
    const char *text = line;
    uint64_t quota = 0;
    uint64_t period = 0;
    switch (controller) {
    case CGROUP_V2:
        if (cgroup_read_line(directory, "cpu.max", line) && cgroup_parse_number(&text, &quota) &&
            cgroup_parse_number(&text, &period)) {
            cgroup_take_cpu(limits, quota, period);
        }
        cgroup_take_memory(limits, directory, "memory.max");
        break;
    case CGROUP_CPU:
        if (!cgroup_read_line(directory, "cpu.cfs_quota_us", line) ||
            !cgroup_parse_number(&text, &quota)) {
            break;
        }
        text = line;
        if (cgroup_read_line(directory, "cpu.cfs_period_us", line) &&
            cgroup_parse_number(&text, &period)) {
            cgroup_take_cpu(limits, quota, period);
        }
        break;
    case CGROUP_MEMORY:
        cgroup_take_memory(limits, directory, "memory.limit_in_bytes");
        break;
    case CGROUP_CONTROLLERS:
    default:
        break;
    }
}

/* The group's path below the mount's root; "" when it is that root or cannot be seen there. */
static const char *cgroup_below_base(const struct cgroup_place *place)
{
    const char *base = strcmp(place->base, "/") == 0 ? "" : place->base;
    size_t bytes = strlen(base);
    const char *below = place->group + bytes;
    if (strncmp(place->group, base, bytes) != 0 || *below != '/' || strstr(below, "/..") != NULL) {
        return "";
    }
    return below;
}

/* Walk from the process's own group up to the mount's root. */
static void cgroup_walk(struct cgroup_limits *limits, enum cgroup_controller controller,
                        const struct cgroup_place *place, const char *root)
{
    char directory[2 * PATH_MAX];
    if (place->mount[0] == '\0') {
        return;
    }
    int top = snprintf(directory, sizeof(directory), "%s%s", root, place->mount);
    if (top < 0 || top >= PATH_MAX) {
        return;
    }
    size_t top_bytes = (size_t)top;
    const char *below = cgroup_below_base(place);
    memcpy(directory + top_bytes, below, strlen(below) + 1);
    for (;;) {
        cgroup_take_limits(limits, controller, directory);
        char *slash = strrchr(directory + top_bytes, '/');
        if (slash == NULL) {
            return;
        }
        *slash = '\0';
    }
}

/* Where hierarchies are mounted by custom, for when mountinfo tells nothing. */
static void cgroup_set_usual_mounts(struct cgroup_place places[CGROUP_CONTROLLERS])
{
    cgroup_set_mount(&places[CGROUP_V2], "/", "/sys/fs/cgroup");
    cgroup_set_mount(&places[CGROUP_CPU], "/", "/sys/fs/cgroup/cpu");
    cgroup_set_mount(&places[CGROUP_MEMORY], "/", "/sys/fs/cgroup/memory");
}

struct cgroup_limits cgroup_read(const char *root)
{
    struct cgroup_limits limits = {0};
    struct cgroup_place *places = alloc_zero(CGROUP_CONTROLLERS, sizeof(*places));
    cgroup_each_line(root, "/proc/self/cgroup", cgroup_take_group, places);
    cgroup_each_line(root, "/proc/self/mountinfo", cgroup_take_mount, places);
    cgroup_set_usual_mounts(places);
    cgroup_walk(&limits, CGROUP_V2, &places[CGROUP_V2], root);
    cgroup_walk(&limits, CGROUP_CPU, &places[CGROUP_CPU], root);
    cgroup_walk(&limits, CGROUP_MEMORY, &places[CGROUP_MEMORY], root);
    free(places);
    return limits;
}

unsigned cgroup_workers(const struct cgroup_limits *limits, unsigned cpus_online)
{
    unsigned most = cpus_online > 0 ? cpus_online : 1;
    if (limits->cpu_millis == 0 || limits->cpu_millis > (uint64_t)most * 1000) {
        return most;
    }
    return (unsigned)((limits->cpu_millis + 999) / 1000);
}
