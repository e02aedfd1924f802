/* Tells when files may have changed. Owns one inotify descriptor. */
#include "io/file_watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

struct file_watch {
    int fd;
};

struct file_watch *file_watch_new(void)
{
    struct file_watch *watch = calloc(1, sizeof(*watch));
    if (watch == NULL) {
        return NULL;
    }
    watch->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (watch->fd < 0) {
        free(watch);
        return NULL;
    }
    return watch;
}

void file_watch_free(struct file_watch *watch)
{
    if (watch == NULL) {
        return;
    }
    close(watch->fd);
    free(watch);
}

int file_watch_fd(const struct file_watch *watch)
{
    return watch->fd;
}

int file_watch_add(struct file_watch *watch, const char *path)
{
    const char *slash = strrchr(path, '/');
    size_t bytes = slash == NULL ? 0 : slash == path ? 1 : (size_t)(slash - path);
    char *folder = slash == NULL ? strdup(".") : strndup(path, bytes);
    if (folder == NULL) {
        return -ENOMEM;
    }
    int id = inotify_add_watch(watch->fd, folder,
                               IN_CLOSE_WRITE | IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_ATTRIB);
    int status = id < 0 ? -errno : 0;
    free(folder);
    return status;
}

bool file_watch_drain(struct file_watch *watch)
{
    char events[4096];
    bool any = false;
    while (read(watch->fd, events, sizeof(events)) > 0) {
        any = true;
    }
    return any;
}
