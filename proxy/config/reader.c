/* Reads files and notes them. Owns nothing after it returns. */
#include "config/reader.h"

#include "base/alloc.h"
#include "base/escape.h"
#include "config/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATH_SHOWN_BYTES_MAX 240

/* FNV-1a, 64 bits: to see a change, not to resist one that is made to be overlooked. */
#define FNV_START UINT64_C(0xcbf29ce484222325)
#define FNV_PRIME UINT64_C(0x100000001b3)

static void reader_digest(struct material_files *files, const void *bytes, size_t count)
{
    const unsigned char *from = bytes;
    uint64_t sum = files->fingerprint == 0 ? FNV_START : files->fingerprint;
    for (size_t i = 0; i < count; i++) {
        sum = (sum ^ from[i]) * FNV_PRIME;
    }
    files->fingerprint = sum;
}

static void reader_note(struct material_files *files, const char *path)
{
    for (size_t i = 0; i < files->count; i++) {
        if (strcmp(files->paths[i], path) == 0) {
            return;
        }
    }
    char **paths = alloc_zero(files->count + 1, sizeof(*paths));
    if (files->count > 0) {
        memcpy(paths, files->paths, files->count * sizeof(*paths));
    }
    free(files->paths);
    paths[files->count++] = alloc_copy(path, strlen(path));
    files->paths = paths;
}

int reader_refuse(struct reader *reader, const char *where, const char *format, ...)
{
    va_list arguments;
    int size = snprintf(reader->error, MATERIAL_ERROR_BYTES, "%s: ", where);
    if (size > 0 && size < MATERIAL_ERROR_BYTES) {
        va_start(arguments, format);
        (void)vsnprintf(reader->error + size, (size_t)(MATERIAL_ERROR_BYTES - size), format,
                        arguments);
        va_end(arguments);
    }
    return -EINVAL;
}

static int reader_refuse_file(struct reader *reader, const char *where, const char *path,
                              const char *reason, int code)
{
    char shown[PATH_SHOWN_BYTES_MAX + 1];
    size_t size = escape_json(shown, PATH_SHOWN_BYTES_MAX, path, strlen(path));
    shown[size] = '\0';
    (void)reader_refuse(reader, where, "%s: %s", shown, reason);
    return code;
}

/* Read up to the end, at most room bytes. Returns the bytes or a negative errno. */
static ssize_t reader_read_all(int fd, char *text, size_t room)
{
    size_t size = 0;
    while (size < room) {
        ssize_t got = read(fd, text + size, room - size);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return got < 0 ? -errno : (ssize_t)size;
        }
        size += (size_t)got;
    }
    return (ssize_t)size;
}

/* Read an open file. Errors: a negative errno, *reason is then why. */
static int reader_read_open(int fd, char **text, size_t *bytes, const char **reason)
{
    struct stat status;
    if (fstat(fd, &status) < 0) {
        return -errno;
    }
    if (!S_ISREG(status.st_mode)) {
        *reason = "is no regular file";
        return -EINVAL;
    }
    /* One more than may be there, so that a file that grows meanwhile is seen too. */
    size_t room = (size_t)READER_FILE_BYTES_MAX + 1;
    if (status.st_size >= 0 && (size_t)status.st_size < room) {
        room = (size_t)status.st_size + 1;
    }
    char *read_text = alloc_zero(room + 1, 1);
    ssize_t got = reader_read_all(fd, read_text, room);
    int result = got < 0 ? (int)got : 0;
    if (result == 0 && (size_t)got == room) {
        *reason = room > READER_FILE_BYTES_MAX ? "is larger than 1 MiB" : "grew while it was read";
        result = -EINVAL;
    } else if (result == 0 && memchr(read_text, '\0', (size_t)got) != NULL) {
        *reason = "has a zero byte, so it is no text";
        result = -EINVAL;
    }
    if (result < 0) {
        explicit_bzero(read_text, room);
        free(read_text);
        return result;
    }
    *text = read_text;
    *bytes = (size_t)got;
    return 0;
}

int reader_read(struct reader *reader, const char *where, const char *path, char **text)
{
    const char *reason = NULL;
    size_t bytes = 0;
    /* Without O_NONBLOCK a pipe would hold up the start. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    int result = fd < 0 ? -errno : reader_read_open(fd, text, &bytes, &reason);
    if (fd >= 0) {
        close(fd);
    }
    if (result < 0) {
        return reader_refuse_file(reader, where, path, reason == NULL ? strerror(-result) : reason,
                                  result);
    }
    if (reader->files != NULL) {
        reader_note(reader->files, path);
        reader_digest(reader->files, path, strlen(path) + 1);
        reader_digest(reader->files, *text, bytes + 1);
    }
    return 0;
}

int reader_read_source(struct reader *reader, const struct reader_source *source, char **text)
{
    if (source->path != NULL) {
        return reader_read(reader, source->where, source->path, text);
    }
    *text = alloc_copy(source->text, strlen(source->text));
    return 0;
}

bool reader_source_is_given(const struct reader_source *source)
{
    return source->path != NULL || source->text != NULL;
}

void reader_source_deinit(struct reader_source *source)
{
    free(source->where);
    free(source->path);
    secret_free(source->text);
    *source = (struct reader_source){0};
}
