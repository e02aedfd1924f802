/* A ring of lines under a lock: what comes here is rare. */
#include "base/log_recent.h"

#include "base/buf.h"

#include <assert.h>
#include <string.h>

void log_recent_init(struct log_recent *recent)
{
    *recent = (struct log_recent){.count = 0};
    (void)pthread_mutex_init(&recent->lock, NULL);
}

void log_recent_deinit(struct log_recent *recent)
{
    (void)pthread_mutex_destroy(&recent->lock);
}

void log_recent_add(struct log_recent *recent, const char *line, size_t bytes)
{
    assert(bytes <= LOG_RECENT_BYTES);
    (void)pthread_mutex_lock(&recent->lock);
    memcpy(recent->lines[recent->next], line, bytes);
    recent->bytes[recent->next] = bytes;
    recent->next = (recent->next + 1) % LOG_RECENT_MAX;
    recent->count += recent->count < LOG_RECENT_MAX;
    (void)pthread_mutex_unlock(&recent->lock);
}

int log_recent_print(struct log_recent *recent, struct buf *text)
{
    int status = buf_append(text, "[", 1);
    (void)pthread_mutex_lock(&recent->lock);
    for (size_t i = 1; status == 0 && i <= recent->count; i++) {
        size_t at = (recent->next + LOG_RECENT_MAX - i) % LOG_RECENT_MAX;
        status = i > 1 ? buf_append(text, ",\n", 2) : 0;
        if (status == 0) {
            status = buf_append(text, recent->lines[at], recent->bytes[at]);
        }
    }
    (void)pthread_mutex_unlock(&recent->lock);
    return status == 0 ? buf_append(text, "]", 1) : status;
}
