/* What the unit tests of config share: a folder of files that a test writes and that is gone after
 * it. */
#ifndef AGENT_PROXY_TEST_FOLDER_H
#define AGENT_PROXY_TEST_FOLDER_H

#include "../base/unit.h"

#include <dirent.h>
#include <limits.h>

/* Owner: the test, on its stack. */
struct folder {
    char path[64];
    char file[PATH_MAX]; /* as folder_path() or folder_write() last said */
};

static inline void folder_init(struct folder *folder)
{
    (void)snprintf(folder->path, sizeof(folder->path), "/tmp/agent-proxy-unit-XXXXXX");
    assert_non_null(mkdtemp(folder->path));
}

static inline void folder_deinit(struct folder *folder)
{
    DIR *open_folder = opendir(folder->path);
    assert_non_null(open_folder);
    const struct dirent *entry;
    while ((entry = readdir(open_folder)) != NULL) {
        if (entry->d_name[0] != '.') {
            (void)snprintf(folder->file, sizeof(folder->file), "%s/%s", folder->path,
                           entry->d_name);
            (void)remove(folder->file);
        }
    }
    closedir(open_folder);
    assert_int_equal(rmdir(folder->path), 0);
}

/* The path of a file in it; valid until the next call. */
static inline const char *folder_path(struct folder *folder, const char *name)
{
    (void)snprintf(folder->file, sizeof(folder->file), "%s/%s", folder->path, name);
    return folder->file;
}

/* Write a file, and say its path as folder_path(). */
static inline const char *folder_write_bytes(struct folder *folder, const char *name,
                                             const void *bytes, size_t count)
{
    FILE *file = fopen(folder_path(folder, name), "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    assert_int_equal(fclose(file), 0);
    return folder->file;
}

static inline const char *folder_write(struct folder *folder, const char *name, const char *text)
{
    return folder_write_bytes(folder, name, text, strlen(text));
}

#endif
