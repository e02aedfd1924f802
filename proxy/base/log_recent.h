/* The last warnings and errors that were logged, for people who look at a page and not at a log. */
#ifndef AGENT_PROXY_BASE_LOG_RECENT_H
#define AGENT_PROXY_BASE_LOG_RECENT_H

#include <pthread.h>
#include <stddef.h>

struct buf;

#define LOG_RECENT_MAX   20
#define LOG_RECENT_BYTES 1024 /* of a line; a longer one is cut at a field */

/* Owner: main; outlives every thread that logs. Any thread may add and print. */
struct log_recent {
    pthread_mutex_t lock; /* of all below */
    size_t next;          /* where the next goes: over the oldest */
    size_t count;
    size_t bytes[LOG_RECENT_MAX];
    char lines[LOG_RECENT_MAX][LOG_RECENT_BYTES];
};

void log_recent_init(struct log_recent *recent);
void log_recent_deinit(struct log_recent *recent);

/* Keep a line, a JSON object. Shape: bytes <= LOG_RECENT_BYTES. */
void log_recent_add(struct log_recent *recent, const char *line, size_t bytes);

/* Print the lines as a JSON array, the newest first. Errors: as buf_append(). */
__attribute__((warn_unused_result)) int log_recent_print(struct log_recent *recent,
                                                         struct buf *text);

#endif
