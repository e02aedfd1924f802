/* Tells when one of some files may have changed, Kubernetes' swapped symlinks included: it watches
 * their folders, since a mounted secret changes by a rename beside the file. */
#ifndef AGENT_PROXY_IO_FILE_WATCH_H
#define AGENT_PROXY_IO_FILE_WATCH_H

#include <stdbool.h>
#include <stddef.h>

struct file_watch;

/* Errors: NULL and errno. */
__attribute__((warn_unused_result)) struct file_watch *file_watch_new(void);
void file_watch_free(struct file_watch *watch);

/* The descriptor that is readable when something happened. */
int file_watch_fd(const struct file_watch *watch);

/* Watch the folder of path. Errors: -errno, -ENOMEM; a folder that is watched already is fine. */
__attribute__((warn_unused_result)) int file_watch_add(struct file_watch *watch, const char *path);

/* Take what happened off the descriptor. True when there was something. */
bool file_watch_drain(struct file_watch *watch);

#endif
