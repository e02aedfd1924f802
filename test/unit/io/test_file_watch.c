/* The watch of files: plain changes, and the way Kubernetes swaps a mounted secret. */
#include "io/file_watch.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct folder {
    char path[64];
    char file[PATH_MAX];
};

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int folder_make(void **state)
{
    static struct folder folder;
    (void)snprintf(folder.path, sizeof(folder.path), "/tmp/file_watch.XXXXXX");
    if (mkdtemp(folder.path) == NULL) {
        return -1;
    }
    (void)snprintf(folder.file, sizeof(folder.file), "%s/token", folder.path);
    *state = &folder;
    return 0;
}

static int folder_remove(void **state)
{
    const struct folder *folder = *state;
    char command[PATH_MAX];
    const char *const names[] = {"token",   "other",   "..data", "..new",
                                 "a/token", "b/token", "a",      "b"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        (void)snprintf(command, sizeof(command), "%s/%s", folder->path, names[i]);
        (void)remove(command);
    }
    return rmdir(folder->path);
}

static void test_nothing_happened(void **state)
{
    const struct folder *folder = *state;
    write_file(folder->file, "one");
    struct file_watch *watch = file_watch_new();
    assert_non_null(watch);
    assert_int_equal(file_watch_add(watch, folder->file), 0);
    assert_false(file_watch_drain(watch));
    file_watch_free(watch);
}

static void test_a_file_is_written(void **state)
{
    const struct folder *folder = *state;
    write_file(folder->file, "one");
    struct file_watch *watch = file_watch_new();
    assert_int_equal(file_watch_add(watch, folder->file), 0);
    assert_int_equal(file_watch_add(watch, folder->file), 0);
    write_file(folder->file, "two");
    assert_true(file_watch_drain(watch));
    assert_false(file_watch_drain(watch));
    file_watch_free(watch);
}

static void test_a_file_is_replaced_by_a_rename(void **state)
{
    const struct folder *folder = *state;
    char other[PATH_MAX + 8];
    (void)snprintf(other, sizeof(other), "%s/other", folder->path);
    write_file(folder->file, "one");
    write_file(other, "two");
    struct file_watch *watch = file_watch_new();
    assert_int_equal(file_watch_add(watch, folder->file), 0);
    assert_int_equal(rename(other, folder->file), 0);
    assert_true(file_watch_drain(watch));
    file_watch_free(watch);
}

/* token -> ..data/token, and ..data -> a is renamed over by ..data -> b. */
static void test_a_mounted_secret_is_swapped(void **state)
{
    const struct folder *folder = *state;
    assert_int_equal(chdir(folder->path), 0);
    assert_int_equal(mkdir("a", 0700), 0);
    assert_int_equal(mkdir("b", 0700), 0);
    write_file("a/token", "one");
    write_file("b/token", "two");
    assert_int_equal(symlink("a", "..data"), 0);
    assert_int_equal(symlink("..data/token", "token"), 0);
    struct file_watch *watch = file_watch_new();
    assert_int_equal(file_watch_add(watch, folder->file), 0);
    assert_int_equal(symlink("b", "..new"), 0);
    (void)file_watch_drain(watch);
    assert_int_equal(rename("..new", "..data"), 0);
    assert_true(file_watch_drain(watch));
    file_watch_free(watch);
    assert_int_equal(chdir("/"), 0);
}

static void test_a_folder_that_is_not_there(void **state)
{
    (void)state;
    struct file_watch *watch = file_watch_new();
    assert_true(file_watch_add(watch, "/no/such/folder/token") < 0);
    file_watch_free(watch);
    file_watch_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_happened, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(test_a_file_is_written, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(test_a_file_is_replaced_by_a_rename, folder_make,
                                        folder_remove),
        cmocka_unit_test_setup_teardown(test_a_mounted_secret_is_swapped, folder_make,
                                        folder_remove),
        cmocka_unit_test(test_a_folder_that_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
