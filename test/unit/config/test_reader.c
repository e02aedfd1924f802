/* Tests of config/reader: what is read, noted and refused. */
#include "config/reader.h"

#include "config/secret.h"
#include "folder.h"

#include <errno.h>
#include <sys/stat.h>

static void forget(struct material_files *files)
{
    for (size_t i = 0; i < files->count; i++) {
        free(files->paths[i]);
    }
    free(files->paths);
}

static void test_read(void **state)
{
    (void)state;
    struct material_files files = {0};
    char error[MATERIAL_ERROR_BYTES] = "none";
    struct reader reader = {.files = &files, .error = error};
    struct folder folder;
    folder_init(&folder);
    char *text = NULL;
    assert_int_equal(reader_read(&reader, "--x", folder_write(&folder, "a", "hello\n"), &text), 0);
    assert_string_equal(text, "hello\n");
    secret_free(text);
    uint64_t once = files.fingerprint;
    assert_int_not_equal(once, 0);
    assert_int_equal(reader_read(&reader, "--x", folder_path(&folder, "a"), &text), 0);
    secret_free(text);
    assert_int_equal(files.count, 1);
    assert_int_equal(reader_read(&reader, "--x", folder_write(&folder, "b", ""), &text), 0);
    assert_string_equal(text, "");
    secret_free(text);
    assert_int_equal(files.count, 2);
    assert_string_equal(files.paths[1], folder_path(&folder, "b"));
    forget(&files);

    files = (struct material_files){0};
    assert_int_equal(reader_read(&reader, "--x", folder_write(&folder, "a", "hallo\n"), &text), 0);
    secret_free(text);
    assert_int_not_equal(files.fingerprint, once);
    forget(&files);

    reader.files = NULL;
    assert_int_equal(reader_read(&reader, "--x", folder_path(&folder, "a"), &text), 0);
    secret_free(text);
    folder_deinit(&folder);
}

static void expect_error(const char *path, int code, const char *reason)
{
    struct material_files files = {0};
    char error[MATERIAL_ERROR_BYTES] = "none";
    struct reader reader = {.files = &files, .error = error};
    char *text = NULL;
    assert_int_equal(reader_read(&reader, "--flag", path, &text), code);
    assert_null(text);
    assert_memory_equal(error, "--flag: ", 8);
    if (strstr(error, reason) == NULL) {
        fail_msg("%s", error);
    }
    assert_int_equal(files.count, 0);
}

static void test_what_is_refused(void **state)
{
    (void)state;
    struct folder folder;
    folder_init(&folder);
    expect_error("/nowhere/at all", -ENOENT, "/nowhere/at all: No such file or directory");
    expect_error(folder.path, -EINVAL, ": is no regular file");
    expect_error("/dev/null", -EINVAL, "/dev/null: is no regular file");
    assert_int_equal(mkfifo(folder_path(&folder, "fifo"), 0600), 0);
    expect_error(folder.file, -EINVAL, ": is no regular file"); /* and nothing waits */
    expect_error(folder_write_bytes(&folder, "zero", "a\0b", 3), -EINVAL, "zero byte");
    expect_error("/a\nb", -ENOENT, "/a\\nb");
    char *large = calloc(1, READER_FILE_BYTES_MAX + 1);
    assert_non_null(large);
    memset(large, 'a', READER_FILE_BYTES_MAX + 1);
    expect_error(folder_write_bytes(&folder, "large", large, READER_FILE_BYTES_MAX + 1), -EINVAL,
                 "larger than 1 MiB");
    (void)folder_write_bytes(&folder, "large", large, READER_FILE_BYTES_MAX);
    char error[MATERIAL_ERROR_BYTES];
    struct reader reader = {.error = error};
    char *text = NULL;
    assert_int_equal(reader_read(&reader, "--x", folder.file, &text), 0);
    assert_int_equal(strlen(text), READER_FILE_BYTES_MAX);
    free(text);
    free(large);
    folder_deinit(&folder);
}

static void test_sources(void **state)
{
    (void)state;
    char error[MATERIAL_ERROR_BYTES] = "none";
    struct reader reader = {.error = error};
    struct reader_source source = {0};
    char *text = NULL;
    assert_false(reader_source_is_given(&source));
    source.where = strdup("--x");
    source.text = strdup("itself");
    assert_true(reader_source_is_given(&source));
    assert_int_equal(reader_read_source(&reader, &source, &text), 0);
    assert_string_equal(text, "itself");
    secret_free(text);
    reader_source_deinit(&source);
    assert_false(reader_source_is_given(&source));
    source.where = strdup("--y");
    source.path = strdup("/nowhere");
    assert_true(reader_source_is_given(&source));
    assert_int_equal(reader_read_source(&reader, &source, &text), -ENOENT);
    assert_string_equal(error, "--y: /nowhere: No such file or directory");
    reader_source_deinit(&source);
}

static void test_a_long_place_is_cut(void **state)
{
    (void)state;
    char error[MATERIAL_ERROR_BYTES];
    struct reader reader = {.error = error};
    char where[2 * MATERIAL_ERROR_BYTES];
    memset(where, 'a', sizeof(where));
    where[sizeof(where) - 1] = '\0';
    assert_int_equal(reader_refuse(&reader, where, "reason"), -EINVAL);
    assert_int_equal(strlen(error), MATERIAL_ERROR_BYTES - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_what_is_refused),
        cmocka_unit_test(test_sources),
        cmocka_unit_test(test_a_long_place_is_cut),
    };
    return cmocka_run_group_tests_name("config/reader", tests, NULL, NULL);
}
