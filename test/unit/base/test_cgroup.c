/* Tests of base/cgroup over made-up trees: both versions, what containers see, odd files. */
#include "base/cgroup.h"

#include "unit.h"

#include <ftw.h>
#include <sys/stat.h>

/* A directory that stands for "/". */
struct tree {
    char root[64];
};

static int setup(void **state)
{
    struct tree *tree = calloc(1, sizeof(*tree));
    assert_non_null(tree);
    memcpy(tree->root, "/tmp/test_cgroup.XXXXXX", sizeof("/tmp/test_cgroup.XXXXXX"));
    assert_non_null(mkdtemp(tree->root));
    *state = tree;
    return 0;
}

static int remove_entry(const char *path, const struct stat *info, int type, struct FTW *place)
{
    (void)info;
    (void)type;
    (void)place;
    return remove(path);
}

static int teardown(void **state)
{
    struct tree *tree = *state;
    int result = nftw(tree->root, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
    free(tree);
    return result;
}

/* Write a file and the folders above it. */
static void put(const struct tree *tree, const char *path, const char *text)
{
    char name[512];
    assert_true(snprintf(name, sizeof(name), "%s%s", tree->root, path) < (int)sizeof(name));
    for (char *slash = strchr(name + strlen(tree->root) + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void)mkdir(name, 0700);
        *slash = '/';
    }
    FILE *file = fopen(name, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void expect(const struct tree *tree, uint64_t cpu_millis, uint64_t memory_bytes)
{
    struct cgroup_limits limits = cgroup_read(tree->root);
    assert_int_equal(limits.cpu_millis, cpu_millis);
    assert_int_equal(limits.memory_bytes, memory_bytes);
}

static const char V2_MOUNT[] =
    "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
    "30 22 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

static void test_nothing_there_is_no_limit(void **state)
{
    expect(*state, 0, 0);
}

static void test_v2_own_group(void **state)
{
    put(*state, "/proc/self/cgroup", "0::/system.slice/a.service\n");
    put(*state, "/proc/self/mountinfo", V2_MOUNT);
    put(*state, "/sys/fs/cgroup/system.slice/a.service/cpu.max", "15000 100000\n");
    put(*state, "/sys/fs/cgroup/system.slice/a.service/memory.max", "314572800\n");
    expect(*state, 150, 314572800);
}

static void test_v2_smallest_on_the_path_wins(void **state)
{
    put(*state, "/proc/self/cgroup", "0::/pod/ctr\n");
    put(*state, "/proc/self/mountinfo", V2_MOUNT);
    put(*state, "/sys/fs/cgroup/pod/ctr/cpu.max", "max 100000\n");
    put(*state, "/sys/fs/cgroup/pod/ctr/memory.max", "1000\n");
    put(*state, "/sys/fs/cgroup/pod/cpu.max", "50000 20000\n");
    put(*state, "/sys/fs/cgroup/pod/memory.max", "max\n");
    put(*state, "/sys/fs/cgroup/cpu.max", "300000 100000\n");
    put(*state, "/sys/fs/cgroup/memory.max", "500\n");
    put(*state, "/sys/fs/cgroup/other/memory.max", "1\n");
    expect(*state, 2500, 500);
}

static void test_v2_own_cgroup_namespace(void **state)
{
    put(*state, "/proc/self/cgroup", "0::/\n");
    put(*state, "/proc/self/mountinfo", V2_MOUNT);
    put(*state, "/sys/fs/cgroup/cpu.max", "200000 100000\n");
    put(*state, "/sys/fs/cgroup/memory.max", "4096\n");
    expect(*state, 2000, 4096);
}

/* A container without a cgroup namespace: the path is the host's, only its end is mounted. */
static void test_v2_mount_of_a_part_of_the_tree(void **state)
{
    put(*state, "/proc/self/cgroup", "0::/kubepods/pod1/ctr/inner\n");
    put(*state, "/proc/self/mountinfo",
        "30 22 0:26 /kubepods/pod1/ctr /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
    put(*state, "/sys/fs/cgroup/memory.max", "2000\n");
    put(*state, "/sys/fs/cgroup/inner/memory.max", "1000\n");
    put(*state, "/sys/fs/cgroup/kubepods/pod1/ctr/inner/memory.max", "10\n");
    expect(*state, 0, 1000);
}

static void test_path_that_is_not_visible_means_the_mount(void **state)
{
    static const char *const groups[] = {"0::/kubepods/pod1/ctr\n", "0::/../../pod1/ctr\n",
                                         "0::/../evil\n", "0::\n"};
    put(*state, "/proc/self/mountinfo", V2_MOUNT);
    put(*state, "/sys/fs/cgroup/memory.max", "2000\n");
    put(*state, "/sys/fs/cgroup/cpu.max", "100000 100000\n");
    put(*state, "/sys/fs/evil/memory.max", "10\n");
    for (size_t i = 0; i < COUNT(groups); i++) {
        put(*state, "/proc/self/cgroup", groups[i]);
        expect(*state, 1000, 2000);
    }
}

/* A name that only begins like the mount's root is another group. */
static void test_sibling_of_the_mounts_root(void **state)
{
    put(*state, "/proc/self/cgroup", "0::/pod10/x\n");
    put(*state, "/proc/self/mountinfo", "30 22 0:26 /pod1 /sys/fs/cgroup ro - cgroup2 cgroup rw\n");
    put(*state, "/sys/fs/cgroup/memory.max", "2000\n");
    put(*state, "/sys/fs/cgroup0/x/memory.max", "10\n");
    expect(*state, 0, 2000);
}

static void test_v1_controllers(void **state)
{
    put(*state, "/proc/self/cgroup",
        "12:cpuset:/\n5:memory:/docker/a\n4:cpu,cpuacct:/docker/b\n1:name=systemd:/x\n0::/y\n");
    put(*state, "/proc/self/mountinfo",
        "33 32 0:29 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n"
        "34 32 0:30 / /sys/fs/cgroup/cpu,cpuacct rw shared:2 master:1 - cgroup cgroup "
        "rw,cpu,cpuacct\n"
        "35 32 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
    put(*state, "/sys/fs/cgroup/cpu,cpuacct/docker/b/cpu.cfs_quota_us", "25000\n");
    put(*state, "/sys/fs/cgroup/cpu,cpuacct/docker/b/cpu.cfs_period_us", "50000\n");
    put(*state, "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n");
    put(*state, "/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n");
    put(*state, "/sys/fs/cgroup/memory/docker/a/memory.limit_in_bytes", "8192\n");
    put(*state, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put(*state, "/sys/fs/cgroup/cpuset/cpu.cfs_quota_us", "1\n");
    put(*state, "/sys/fs/cgroup/cpuset/cpu.cfs_period_us", "100000\n");
    expect(*state, 500, 8192);
}

static void test_v1_bind_mount_in_a_container(void **state)
{
    put(*state, "/proc/self/cgroup", "5:memory:/docker/a\n4:cpuacct,cpu:/docker/a\n");
    put(*state, "/proc/self/mountinfo",
        "34 32 0:30 /docker/a /sys/fs/cgroup/cpuacct,cpu ro - cgroup cgroup rw,cpuacct,cpu\n"
        "35 32 0:31 /docker/a /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n");
    put(*state, "/sys/fs/cgroup/cpuacct,cpu/cpu.cfs_quota_us", "150000\n");
    put(*state, "/sys/fs/cgroup/cpuacct,cpu/cpu.cfs_period_us", "100000\n");
    put(*state, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "4096\n");
    expect(*state, 1500, 4096);
}

static void test_v1_mounted_elsewhere(void **state)
{
    put(*state, "/proc/self/cgroup", "5:memory:/a\n4:cpu:/a\n");
    put(*state, "/proc/self/mountinfo",
        "33 32 0:28 / /mnt/tmp rw - tmpfs tmpfs rw,cpu,memory\n"
        "34 32 0:30 / /mnt/cpu rw - cgroup cgroup rw,cpu\n"
        "35 32 0:31 / /mnt/memory rw - cgroup cgroup rw,memory\n");
    put(*state, "/mnt/cpu/a/cpu.cfs_quota_us", "150000\n");
    put(*state, "/mnt/cpu/a/cpu.cfs_period_us", "100000\n");
    put(*state, "/mnt/memory/a/memory.limit_in_bytes", "4096\n");
    expect(*state, 1500, 4096);
}

static void test_v1_memory_limit_that_is_none(void **state)
{
    put(*state, "/proc/self/cgroup", "5:memory:/\n");
    put(*state, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "1152921504606846976\n");
    expect(*state, 0, 0);
    put(*state, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "1152921504606846975\n");
    expect(*state, 0, UINT64_C(1152921504606846975));
}

static void test_v1_no_limit(void **state)
{
    put(*state, "/proc/self/cgroup", "5:memory:/\n4:cpu:/\n");
    put(*state, "/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
    put(*state, "/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    put(*state, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    expect(*state, 0, 0);
}

static void test_both_versions_together(void **state)
{
    put(*state, "/proc/self/cgroup", "5:memory:/m\n0::/u\n");
    put(*state, "/proc/self/mountinfo",
        "30 22 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
        "35 32 0:31 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n");
    put(*state, "/sys/fs/cgroup/unified/u/cpu.max", "70000 100000\n");
    put(*state, "/sys/fs/cgroup/memory/m/memory.limit_in_bytes", "4096\n");
    expect(*state, 700, 4096);
}

static void test_usual_mounts_without_mountinfo(void **state)
{
    put(*state, "/proc/self/cgroup", "0::/a\n");
    put(*state, "/sys/fs/cgroup/a/memory.max", "77\n");
    put(*state, "/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "30000\n");
    put(*state, "/sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
    expect(*state, 300, 77);
}

static void test_mount_point_with_a_space(void **state)
{
    put(*state, "/proc/self/cgroup", "0::/a b/c\n");
    put(*state, "/proc/self/mountinfo",
        "30 22 0:26 /a\\040b /mnt/my\\040groups rw - cgroup2 cgroup2 rw\n");
    put(*state, "/mnt/my groups/c/memory.max", "77\n");
    expect(*state, 0, 77);
}

static void test_odd_files_are_no_limit(void **state)
{
    static const char *const odd[] = {"",
                                      "\n",
                                      "max",
                                      "-5 100000",
                                      "5",
                                      "5 ",
                                      "5 0",
                                      "0 100000",
                                      "x 100000",
                                      "5 y",
                                      "5,100000",
                                      "99999999999999999999999 100000",
                                      "18446744073709551615 100000",
                                      "18446744073709552 100000",
                                      "5 99999999999999999999999"};
    put(*state, "/proc/self/cgroup", "0::/a\n");
    put(*state, "/proc/self/mountinfo", V2_MOUNT);
    for (size_t i = 0; i < COUNT(odd); i++) {
        put(*state, "/sys/fs/cgroup/a/cpu.max", odd[i]);
        expect(*state, 0, 0);
    }
    static const char *const odd_memory[] = {
        "", "max\n", "0\n", "-1\n", "12k\n", "x", "99999999999999999999999\n"};
    for (size_t i = 0; i < COUNT(odd_memory); i++) {
        put(*state, "/sys/fs/cgroup/a/memory.max", odd_memory[i]);
        expect(*state, 0, 0);
    }
}

static void test_odd_lines_are_skipped(void **state)
{
    char line[8192];
    memset(line, 'x', sizeof(line) - 2);
    line[sizeof(line) - 2] = '\n';
    line[sizeof(line) - 1] = '\0';
    memcpy(line, "0::/", 4);
    put(*state, "/proc/self/cgroup", line); /* longer than any path */
    put(*state, "/proc/self/mountinfo",
        "\n - \n1 2\n1 2 3 - cgroup2\n1 2 3 / - cgroup2 x y\n1 2 3 / /m rw - cgroup\n - cgroup2 x\n"
        "30 22 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    put(*state, "/sys/fs/cgroup/memory.max", "55\n");
    expect(*state, 0, 55);
    put(*state, "/proc/self/cgroup", "\n:\nnonsense\n0:\n::\n0::/a\n");
    put(*state, "/sys/fs/cgroup/a/memory.max", "44\n");
    expect(*state, 0, 44);
}

static void test_tiny_quota_is_not_none(void **state)
{
    put(*state, "/proc/self/cgroup", "0::/\n");
    put(*state, "/sys/fs/cgroup/cpu.max", "1 1000000\n");
    expect(*state, 1, 0);
}

static void test_workers_for_a_quota(void **state)
{
    static const struct {
        uint64_t cpu_millis;
        unsigned online;
        unsigned workers;
    } cases[] = {{150, 8, 1},  {1000, 8, 1}, {1001, 8, 2}, {2500, 8, 3},
                 {8000, 8, 8}, {9000, 8, 8}, {0, 8, 8},    {UINT64_MAX, 4, 4},
                 {0, 0, 1},    {5000, 0, 1}, {1, 1, 1},    {7500, 8, 8}};

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct cgroup_limits limits = {.cpu_millis = cases[i].cpu_millis};
        assert_int_equal(cgroup_workers(&limits, cases[i].online), cases[i].workers);
    }
}

static void test_this_machine_can_be_read(void **state)
{
    (void)state;
    struct cgroup_limits limits = cgroup_read("");
    assert_true(limits.memory_bytes < UINT64_C(1) << 60);
    assert_true(cgroup_workers(&limits, 1) == 1);
}

#define WITH_TREE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_TREE(test_nothing_there_is_no_limit),
        WITH_TREE(test_v2_own_group),
        WITH_TREE(test_v2_smallest_on_the_path_wins),
        WITH_TREE(test_v2_own_cgroup_namespace),
        WITH_TREE(test_v2_mount_of_a_part_of_the_tree),
        WITH_TREE(test_path_that_is_not_visible_means_the_mount),
        WITH_TREE(test_sibling_of_the_mounts_root),
        WITH_TREE(test_v1_controllers),
        WITH_TREE(test_v1_bind_mount_in_a_container),
        WITH_TREE(test_v1_mounted_elsewhere),
        WITH_TREE(test_v1_memory_limit_that_is_none),
        WITH_TREE(test_v1_no_limit),
        WITH_TREE(test_both_versions_together),
        WITH_TREE(test_usual_mounts_without_mountinfo),
        WITH_TREE(test_mount_point_with_a_space),
        WITH_TREE(test_odd_files_are_no_limit),
        WITH_TREE(test_odd_lines_are_skipped),
        WITH_TREE(test_tiny_quota_is_not_none),
        cmocka_unit_test(test_workers_for_a_quota),
        cmocka_unit_test(test_this_machine_can_be_read),
    };
    return cmocka_run_group_tests_name("base/cgroup", tests, NULL, NULL);
}
